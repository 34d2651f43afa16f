//! The resources that this process uses, and waiting for them to change.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

const POLL: Duration = Duration::from_millis(5);
const REFUSED_WITHIN: Duration = Duration::from_secs(10);

/// Checks `condition` repeatedly until it holds; returns `false` if it did not within `limit`.
pub fn wait_until(limit: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + limit;
    loop {
        if condition() {
            return true;
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return false;
        }
        pause(left.min(POLL));
    }
}

/// Returns a loopback address for the caller alone: while a server on it is stopped, nobody else
/// takes its port.
pub fn loopback() -> Ipv4Addr {
    static TAKEN: AtomicU16 = AtomicU16::new(0);
    if !cfg!(target_os = "linux") {
        return Ipv4Addr::LOCALHOST;
    }
    let [high, low] = TAKEN.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    let process = std::process::id() % 250;
    Ipv4Addr::new(127, 2 + process as u8, high, low)
}

/// Waits until a port that this process has closed refuses connections. A child process that another
/// test starts holds the closed socket until it executes its own program.
#[track_caller]
pub fn wait_until_refused(address: SocketAddr) {
    let refused = || TcpStream::connect(address).is_err();
    assert!(wait_until(REFUSED_WITHIN, refused), "{address} is open");
}

/// Waits for `length`.
pub fn pause(length: Duration) {
    let (_never, silence) = mpsc::channel::<()>();
    let _ = silence.recv_timeout(length);
}

/// Opens files until this process has no descriptor left.
pub fn hoard() -> Vec<File> {
    const EMFILE: Option<i32> = Some(24);
    let mut hoard = Vec::new();
    loop {
        match File::open("/dev/null") {
            Ok(file) => hoard.push(file),
            Err(cause) if cause.raw_os_error() == EMFILE => return hoard,
            Err(cause) => panic!("{cause}"),
        }
    }
}

/// Returns the number of threads of this process.
#[cfg(target_os = "linux")]
pub fn threads() -> usize {
    entries("/proc/self/task")
}

/// Returns the names of this process's threads, sorted (the kernel keeps 15 bytes of each).
#[cfg(target_os = "linux")]
pub fn thread_names() -> Vec<String> {
    let tasks = std::fs::read_dir("/proc/self/task").expect("/proc is mounted");
    // A thread may end between the listing and the reading.
    let mut names: Vec<String> = tasks
        .filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok())
        .map(|name| name.trim_end().to_owned())
        .collect();
    names.sort();
    names
}

/// Returns the names of the threads that belong to clients.
#[cfg(target_os = "linux")]
pub fn client_threads() -> Vec<String> {
    let mut names = thread_names();
    names.retain(|name| name.starts_with("ttn-") && !name.starts_with("ttn-sim"));
    names
}

/// Returns the number of open file descriptors of this process.
#[cfg(target_os = "linux")]
pub fn descriptors() -> usize {
    // One of them is for the listing itself.
    entries("/proc/self/fd") - 1
}

/// Returns the resident memory of this process in KiB.
#[cfg(target_os = "linux")]
pub fn resident_kib() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("/proc is mounted");
    status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB"))
        .and_then(|number| number.trim().parse().ok())
        .expect("the kernel names VmRSS in kB")
}

#[cfg(target_os = "linux")]
fn entries(folder: &str) -> usize {
    std::fs::read_dir(folder).expect("/proc is mounted").count()
}
