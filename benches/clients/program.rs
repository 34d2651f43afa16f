//! What the programs with clients share. `PROGRAM ADDRESS AUTHORITY CLIENTS STEP` connects CLIENTS
//! clients in turn, and writes lines of numbers, all in nanoseconds. The first line contains how long
//! each client took to connect. A further line follows each time a client has received STEP uplinks,
//! with the ages of those that carry the time of writing. The program ends when its standard input
//! ends. For each line that it reads, it writes one: for `cycles N`, the times that N new clients
//! took, one after another, to be created, to connect and to be closed and dropped; otherwise the CPU
//! time of the process.
#![allow(unreachable_pub, reason = "programs export nothing anyway")]

use std::{
    env,
    io::{self, Write},
    mem, process,
    time::{Duration, Instant, SystemTime},
};

use cpu_time::ProcessTime;

pub const APP: &str = "bench-app@ttn";
pub const KEY: &str = "NNSXS.BENCH.SECRET";

/// The address of a server, with the file of the authority to trust if the address uses TLS.
pub struct Server {
    pub address: String,
    pub authority: Option<String>,
}

/// A client that the program measures.
pub trait Client: Sized {
    /// Creates the client with this number, which counts its uplinks.
    fn create(server: &Server, number: usize, steps: Steps) -> Self;

    /// Returns once the server has accepted the client and granted its subscription.
    fn connect(&mut self, server: &Server);

    /// Panics if something else happened than what is measured.
    fn check(&self) {}

    /// Disconnects and drops the client.
    fn close(self);
}

pub fn run<C: Client>() {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let [address, authority, clients, step] = &arguments[..] else {
        panic!("usage: PROGRAM ADDRESS AUTHORITY CLIENTS STEP");
    };
    let clients: usize = clients.parse().expect("the third argument is a number");
    let step = step.parse().expect("the fourth argument is a number");
    let server = Server {
        address: address.clone(),
        authority: Some(authority.clone()).filter(|file| !file.is_empty()),
    };
    let create = |number| C::create(&server, number, Steps::new(step));
    let cycle = |number| {
        let mut client = create(number);
        client.connect(&server);
        client.close();
    };
    let mut all: Vec<_> = (0..clients).map(create).collect();
    tell((all.iter_mut()).map(|client| time(|| client.connect(&server))));
    for line in io::stdin().lines() {
        let line = line.expect("the standard input is a pipe");
        match line.strip_prefix("cycles ") {
            None => {
                let used = ProcessTime::now().as_duration();
                all.iter().for_each(C::check);
                tell([used]);
            }
            Some(count) => {
                let count: usize = count.parse().expect("the number of cycles follows");
                tell((clients..clients + count).map(|number| time(|| cycle(number))));
            }
        }
    }
    // Dropping the clients would disconnect from a server that is gone.
    process::exit(0);
}

/// Counts the uplinks of a client, and tells when a step is complete.
pub struct Steps {
    step: usize,
    called: usize,
    ages: Vec<Duration>,
}

impl Steps {
    fn new(step: usize) -> Self {
        Self {
            step,
            called: 0,
            ages: Vec::new(),
        }
    }

    /// Counts an uplink, with the time of writing if it carries one: the nanoseconds since 1970.
    pub fn count(&mut self, written_ns: Option<u64>) {
        self.ages.extend(written_ns.and_then(age));
        self.called += 1;
        if self.called == self.step {
            self.called = 0;
            tell(mem::take(&mut self.ages));
        }
    }
}

/// Returns `None` if the clock was set back in between.
fn age(written_ns: u64) -> Option<Duration> {
    let written = SystemTime::UNIX_EPOCH + Duration::from_nanos(written_ns);
    written.elapsed().ok()
}

fn time(work: impl FnOnce()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}

fn tell(times: impl IntoIterator<Item = Duration>) {
    let words = times.into_iter().map(|time| time.as_nanos().to_string());
    let line = words.collect::<Vec<_>>().join(" ");
    let mut stdout = io::stdout().lock();
    let told = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
    told.expect("the measuring process listens");
}
