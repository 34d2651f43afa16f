//! Programs that are started while a client is connected: they inherit nothing of its connection to
//! the network.

#![cfg(target_os = "linux")]

use std::{
    collections::HashSet,
    fs,
    io::{Read, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
    os::unix::{fs::MetadataExt, process::CommandExt},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::support::{
    certificates::Certificates,
    child::alone,
    harness::SOON,
    tls_front::TlsFront,
    tls_server::{APP, KEY, network},
    watchdog::watchdog,
};
use ttn::{MqttClient, MqttClientBuilder};

const LIMIT: Duration = Duration::from_secs(60);

/// A program that runs until its standard input ends.
struct Program(Child);

impl Program {
    #[track_caller]
    fn start() -> Self {
        Self::of(&mut Command::new("cat"))
    }

    /// Starts a program in another way, which copies the whole process first.
    #[track_caller]
    fn start_after_a_fork() -> Self {
        // The same user as before.
        let user = fs::metadata("/proc/self").expect("/proc is mounted").uid();
        Self::of(Command::new("cat").uid(user))
    }

    #[track_caller]
    fn of(command: &mut Command) -> Self {
        let child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("cat can be run");
        let mut program = Self(child);
        // Its answer shows that it has become another program.
        let line = program.0.stdin.as_mut().expect("piped");
        line.write_all(b"x").expect("it reads");
        let answer = program.0.stdout.as_mut().expect("piped");
        answer.read_exact(&mut [0]).expect("it writes");
        program
    }

    fn sockets(&self) -> HashSet<u64> {
        sockets(&self.0.id().to_string())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

/// Returns the inodes of the sockets of a process.
fn sockets(process: &str) -> HashSet<u64> {
    let folder = fs::read_dir(format!("/proc/{process}/fd")).expect("/proc is mounted");
    folder
        .filter_map(|entry| {
            let target = fs::read_link(entry.ok()?.path()).ok()?;
            let inode = target
                .to_str()?
                .strip_prefix("socket:[")?
                .strip_suffix(']')?;
            inode.parse().ok()
        })
        .collect()
}

/// Returns the sockets of this machine that are connected to this port.
fn sockets_to(port: u16) -> HashSet<u64> {
    let table = fs::read_to_string("/proc/net/tcp").expect("/proc is mounted");
    let remote = format!(":{port:04X}");
    table
        .lines()
        .skip(1)
        .filter_map(|line| {
            let columns: Vec<&str> = line.split_whitespace().collect();
            columns[2]
                .ends_with(&remote)
                .then(|| columns[9].parse().ok())?
        })
        .filter(|inode| *inode != 0)
        .collect()
}

fn builder(address: String) -> MqttClientBuilder {
    MqttClient::builder(APP, KEY)
        .mqtt_address(address)
        .reconnect(false)
}

#[track_caller]
fn connected(builder: MqttClientBuilder) -> MqttClient {
    let client = builder.build().expect("the options are valid");
    client.connect().expect("the network is up");
    client
}

#[test]
fn a_program_that_is_started_has_no_socket_to_the_network() {
    let _guard = watchdog(LIMIT);
    if !alone(
        module_path!(),
        "a_program_that_is_started_has_no_socket_to_the_network",
    ) {
        return;
    }
    let network = network();
    let certificates = Certificates::new();
    let front = TlsFront::start(&certificates.server, network.address()).expect("a free port");
    let ca = certificates.authority.certificate_file();
    let plain = format!("mqtt://{}", network.address());
    let tls = format!("mqtts://localhost:{}", front.port());
    for (address, port) in [(plain, network.address().port()), (tls, front.port())] {
        let client = connected(builder(address).ca_file(ca));
        let ours = &sockets("self") & &sockets_to(port);
        assert!(!ours.is_empty(), "this process is connected");
        for program in [Program::start(), Program::start_after_a_fork()] {
            assert_eq!(&program.sockets() & &ours, HashSet::new());
        }
        client.close().expect("no callback runs");
    }
}

/// Runs a server that accepts one client and grants it everything.
pub(crate) fn serve(stream: &mut TcpStream) -> std::io::Result<Instant> {
    stream.set_read_timeout(Some(SOON))?;
    loop {
        let mut head = [0; 2];
        if stream.read(&mut head[..1])? == 0 {
            return Ok(Instant::now());
        }
        stream.read_exact(&mut head[1..])?;
        let mut length = usize::from(head[1] & 127);
        let mut shift = 7;
        let mut last = head[1];
        while last & 128 != 0 {
            let mut byte = [0];
            stream.read_exact(&mut byte)?;
            last = byte[0];
            length |= usize::from(last & 127) << shift;
            shift += 7;
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body)?;
        match head[0] >> 4 {
            1 => stream.write_all(&[0x20, 2, 0, 0])?,
            8 => stream.write_all(&[0x90, 3, body[0], body[1], 0])?,
            10 => stream.write_all(&[0xb0, 2, body[0], body[1]])?,
            12 => stream.write_all(&[0xd0, 0])?,
            _ => {}
        }
    }
}

#[test]
fn a_program_that_outlives_a_connection_does_not_keep_it_open() {
    let _guard = watchdog(LIMIT);
    if !alone(
        module_path!(),
        "a_program_that_outlives_a_connection_does_not_keep_it_open",
    ) {
        return;
    }
    for start in [Program::start, Program::start_after_a_fork] {
        for lost in [false, true] {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
            let address = listener.local_addr().expect("bound");
            let serving = thread::spawn(move || {
                let (mut stream, _) = listener.accept().expect("a client");
                serve(&mut stream)
            });
            let client = connected(builder(format!("mqtt://{address}")));
            let program = start();
            let before = Instant::now();
            match lost {
                false => client.close().expect("no callback runs"),
                true => drop(client),
            }
            let end = serving.join().expect("the server ran");
            let end = end.expect("the server sees the end of the connection");
            let took = end - before;
            assert!(took < Duration::from_secs(2), "it took {took:?}");
            drop(program);
        }
    }
}
