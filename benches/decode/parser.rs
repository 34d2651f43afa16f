//! `serde_json::Value` without `float_roundtrip`, in a process of its own: in this one, this crate
//! enables the feature.
#![allow(unreachable_pub, reason = "programs export nothing anyway")]

use std::{
    env,
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

/// Dropping it ends the process.
pub struct Parser {
    child: Child,
    stdin: ChildStdin,
    reports: BufReader<ChildStdout>,
}

impl Parser {
    /// Starts the process, or returns why there is none.
    pub fn start() -> Result<Self, String> {
        let program = env::var_os("TTN_BENCH_PARSE").ok_or_else(|| {
            env::var("TTN_BENCH_NO_BY_HAND").unwrap_or_else(|_| {
                "not built: `benches/run` builds it, and sets TTN_BENCH_PARSE".to_owned()
            })
        })?;
        let mut child = Command::new(program)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("it does not start: {error}"))?;
        let stdin = child.stdin.take().expect("it is a pipe");
        let stdout = child.stdout.take().expect("it is a pipe");
        Ok(Self {
            child,
            stdin,
            reports: BufReader::new(stdout),
        })
    }

    /// Returns the microseconds in which a value is created and dropped.
    pub fn microseconds(&mut self, payload: &[u8]) -> f64 {
        let line = [payload, b"\n"].concat();
        self.stdin.write_all(&line).expect("the process reads");
        let mut report = String::new();
        let read = self.reports.read_line(&mut report);
        read.expect("the process reports");
        report.trim().parse().expect("the report is a number")
    }
}

impl Drop for Parser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
