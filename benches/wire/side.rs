//! The clients to measure: the same program, built with this checkout and with an earlier commit,
//! against the same servers.
#![allow(unreachable_pub, reason = "programs export nothing anyway")]

use std::{
    env,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use crate::{
    common::source::{Link, Source},
    process::Memory,
};

pub const BEFORE: &str = "before: Paho's sockets, OpenSSL";
const AFTER: &str = "after: our own sockets, rustls";

const NOT_BUILT: &str = "`benches/run` builds it, and sets";

/// Programs with clients. The first is the reference.
pub struct Builds {
    pub all: Vec<Build>,
    /// Why there is no program of the earlier commit.
    pub lacking: Option<String>,
}

pub struct Build {
    pub name: &'static str,
    program: PathBuf,
}

impl Builds {
    /// Returns the available programs, or why there are none.
    pub fn find() -> Result<Self, String> {
        let find = |name, variable| {
            let program = env::var_os(variable);
            let program = program.ok_or_else(|| format!("not built: {NOT_BUILT} {variable}"))?;
            let program = PathBuf::from(program);
            Ok::<_, String>(Build { name, program })
        };
        let after = find(AFTER, "TTN_BENCH_WIRE_AFTER")?;
        Ok(match find(BEFORE, "TTN_BENCH_WIRE_BEFORE") {
            Ok(before) => Self {
                all: vec![before, after],
                lacking: None,
            },
            Err(why) => Self {
                all: vec![after],
                lacking: Some(env::var("TTN_BENCH_NO_WIRE_BEFORE").unwrap_or(why)),
            },
        })
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
    pub fn start(build: &Build, way: &Way, count: usize, step: usize) -> Self {
        let mut child = Command::new(&build.program)
            .arg(&way.address)
            .arg(&way.authority)
            .args([count, step].map(|number| number.to_string()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", build.program.display()));
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
    pub fn start_one(build: &Build, way: &Way, source: &Source, step: usize) -> (Self, Link) {
        source.forget_link();
        let client = Self::start(build, way, 1, step);
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
        self.stdin.write_all(b"\n").expect("the process reads");
        let report = self.report();
        let [work] = report[..] else {
            panic!("the process reports one time");
        };
        work
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
