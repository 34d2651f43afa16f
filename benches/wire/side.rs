//! The clients that are measured: the same program, built with this checkout and with the commit
//! before, against the same servers.
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
const AFTER: &str = "after: sockets of our own, rustls";

const NOT_BUILT: &str = "`benches/run` does that, and names it in";

/// Programs with clients. The first is measured against.
pub struct Builds {
    pub all: Vec<Build>,
    /// Why there is none of before.
    pub lacking: Option<String>,
}

pub struct Build {
    pub name: &'static str,
    program: PathBuf,
}

impl Builds {
    /// Those that are there, or why there is none at all.
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

/// A server, and how one gets there.
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

/// A process with clients. It ends when dropped, and they with it.
pub struct Clients {
    child: Child,
    stdin: ChildStdin,
    reports: BufReader<ChildStdout>,
    /// Microseconds that each took to connect.
    pub connecting: Vec<f64>,
}

impl Clients {
    /// Returns when all clients are connected and subscribed. A client says so each time that it
    /// has got as many uplinks as a step has.
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

    /// One client, and the server's end of its connection.
    pub fn start_one(build: &Build, way: &Way, source: &Source, step: usize) -> (Self, Link) {
        source.forget_link();
        let client = Self::start(build, way, 1, step);
        (client, source.link())
    }

    /// Waits for the end of a step. Returns the ages, in microseconds, of those of its uplinks
    /// that tell when they were written.
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

    /// Microseconds for which processors have worked for the clients' process. Is asked between
    /// two steps.
    pub fn work(&mut self) -> f64 {
        self.stdin.write_all(b"\n").expect("the process reads");
        let report = self.report();
        let [work] = report[..] else {
            panic!("it tells one time");
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
