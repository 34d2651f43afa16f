//! Clients to measure, each program in a process of its own, all against the same servers.
#![allow(dead_code, reason = "each program uses a part of it")]
#![allow(unreachable_pub, reason = "programs export nothing anyway")]

mod flood;
mod memory;
mod pace;
#[path = "../feed/process.rs"]
mod process;
mod stage;
mod stamped;

use std::{
    env,
    ffi::OsStr,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use crate::common::source::{Link, Source};
use process::Memory;
pub use stage::{Figure, Rival, Stage};

/// A program that `benches/clients/program.rs` describes.
pub struct Program {
    pub name: &'static str,
    file: PathBuf,
}

impl Program {
    /// Returns the program that a variable names, or why there is none.
    pub fn find(name: &'static str, variable: &str) -> Result<Self, String> {
        let file = env::var_os(variable)
            .ok_or_else(|| format!("not built: `benches/run` builds it, and sets {variable}"))?;
        let file = PathBuf::from(file);
        Ok(Self { name, file })
    }
}

/// A server, and how to reach it.
pub struct Way {
    pub name: &'static str,
    address: String,
    authority: PathBuf,
}

impl Way {
    pub fn tls(name: &'static str, port: u16, authority: &Path) -> Self {
        Self {
            name,
            address: format!("mqtts://127.0.0.1:{port}"),
            authority: authority.to_owned(),
        }
    }

    pub fn plain(name: &'static str, port: u16) -> Self {
        Self {
            name,
            address: format!("mqtt://127.0.0.1:{port}"),
            authority: PathBuf::new(),
        }
    }

    pub fn is_tls(&self) -> bool {
        self.address.starts_with("mqtts")
    }
}

/// A process with clients. Dropping it ends the process and the clients.
pub struct Clients {
    child: Child,
    stdin: ChildStdin,
    reports: BufReader<ChildStdout>,
    /// The microseconds that each client took to connect.
    pub connecting: Vec<f64>,
}

impl Clients {
    /// Returns once all clients are connected and subscribed. From then on, each client reports every
    /// time it has received the uplinks of a step.
    pub fn start(program: &Program, way: &Way, count: usize, step: usize) -> Self {
        let mut child = Command::new(&program.file)
            .args([OsStr::new(&way.address), way.authority.as_os_str()])
            .args([count, step].map(|number| number.to_string()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", program.file.display()));
        let stdin = child.stdin.take().expect("it is a pipe");
        let stdout = child.stdout.take().expect("it is a pipe");
        let mut clients = Self {
            child,
            stdin,
            reports: BufReader::new(stdout),
            connecting: Vec::new(),
        };
        clients.connecting = clients.report();
        assert_eq!(clients.connecting.len(), count, "all of them connect");
        clients
    }

    /// Starts one client; returns it with the server's end of its connection.
    pub fn start_one(program: &Program, way: &Way, source: &Source, step: usize) -> (Self, Link) {
        source.forget_link();
        let client = Self::start(program, way, 1, step);
        (client, source.link())
    }

    /// Waits for the end of a step. Returns the ages, in microseconds, of its uplinks that carry the
    /// time of writing.
    pub fn report(&mut self) -> Vec<f64> {
        let mut line = String::new();
        let _ = self.reports.read_line(&mut line);
        assert!(
            line.ends_with('\n'),
            "the clients' process ended: {:?}",
            self.child.wait()
        );
        let times = line.split_whitespace().map(str::parse::<f64>);
        times
            .map(|time| time.expect("it is a number") / 1e3)
            .collect()
    }

    /// Returns the CPU time of the clients' process in microseconds. Call it between two steps.
    pub fn work(&mut self) -> f64 {
        let report = self.ask("");
        let [work] = report[..] else {
            panic!("the process reports one time");
        };
        work
    }

    /// Returns the microseconds that each of `count` new clients takes, one after another, to be
    /// created, to connect and to be closed and dropped.
    pub fn cycles(&mut self, count: usize) -> Vec<f64> {
        self.ask(&format!("cycles {count}"))
    }

    fn ask(&mut self, question: &str) -> Vec<f64> {
        writeln!(self.stdin, "{question}").expect("the process reads");
        self.report()
    }

    pub fn memory(&self) -> Option<Memory> {
        Memory::settled(self.child.id())
    }
}

impl Drop for Clients {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
