//! Other clients to measure against, each in its own process.

use std::{
    env,
    ffi::OsStr,
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use super::{
    APP, FILTER_V3, PATIENCE,
    source::{Source, Uplinks},
};

/// How often to check that a peer that has not subscribed yet is still alive.
const GLANCE: Duration = Duration::from_millis(100);

/// The time limit for the slowest peer.
const SLOW: Duration = Duration::from_secs(60);

/// A program that receives a number of messages from a port of this machine.
pub struct Peer {
    pub name: &'static str,
    command: fn(port: String, count: String) -> Result<Command, String>,
    /// Whether it prints "done" when it has received them; otherwise it exits.
    says: bool,
}

pub const RUMQTTC: Peer = Peer {
    name: "`rumqttc`, sync, `serde_json::Value`",
    command: |port, count| {
        let program = env::var_os("TTN_BENCH_RUMQTTC")
            .ok_or("not built: `benches/run` builds it, and sets TTN_BENCH_RUMQTTC")?;
        let mut command = Command::new(program);
        command.args([&port, FILTER_V3, &count]);
        Ok(command)
    },
    says: true,
};

pub const MOSQUITTO_SUB: Peer = Peer {
    name: "`mosquitto_sub`, receiving only",
    command: |port, count| {
        let program = find("mosquitto_sub").ok_or("not installed")?;
        let mut command = Command::new(program);
        command.args(["-h", "127.0.0.1", "-p", &port, "-V", "mqttv311"]);
        // It would reconnect to a source that is gone, hence the time limit, in seconds.
        command.args(["-t", FILTER_V3, "-C", &count, "-W", "60"]);
        Ok(command)
    },
    says: false,
};

pub const PYTHON_SDK: Peer = Peer {
    name: "the Python SDK, V2",
    command: |port, count| {
        let python = env::var_os("TTN_BENCH_PYTHON").ok_or_else(|| {
            env::var("TTN_BENCH_NO_PYTHON").unwrap_or_else(|_| {
                "not installed: `benches/run` installs it, and sets TTN_BENCH_PYTHON".to_owned()
            })
        })?;
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/peers/python_sdk.py");
        let mut command = Command::new(python);
        command.arg(script).args([&port, APP, &count]);
        Ok(command)
    },
    says: true,
};

impl Peer {
    /// Returns the seconds from the first write until it has `count` uplinks, or what went wrong.
    pub fn receive(&self, source: &Source, uplinks: &Uplinks, count: usize) -> Result<f64, String> {
        let port = source.address().port().to_string();
        let mut command = (self.command)(port, count.to_string())?;
        source.forget_link();
        let (mut process, reports) = Process::start(&mut command, self.says)?;
        let subscribing = Instant::now();
        let link = loop {
            if let Some(link) = source.wait_for_link(GLANCE) {
                break link;
            }
            if let Ok(report) = reports.try_recv() {
                return Err(process.end(report));
            }
            if subscribing.elapsed() > PATIENCE {
                return Err("it does not subscribe".to_owned());
            }
        };
        let start = Instant::now();
        let written = link.try_flood(uplinks, count);
        let report = match reports.recv_timeout(SLOW) {
            Ok(report) => report,
            Err(RecvTimeoutError::Timeout) => return Err("it did not finish in time".to_owned()),
            Err(RecvTimeoutError::Disconnected) => Report::Ended(String::new()),
        };
        let took = start.elapsed().as_secs_f64();
        let report = match report {
            // Its last line may be read after the end of its standard error.
            Report::Ended(text) if self.says => {
                reports.recv_timeout(GLANCE).unwrap_or(Report::Ended(text))
            }
            report => report,
        };
        match report {
            Report::Done if written.is_some() => Ok(took),
            Report::Ended(_) if !self.says && written.is_some() && process.succeeded() => Ok(took),
            report => Err(process.end(report)),
        }
    }
}

enum Report {
    Done,
    /// Contains what it has written to its standard error.
    Ended(String),
}

/// Kills the process when dropped.
struct Process {
    child: Child,
}

impl Process {
    fn start(command: &mut Command, says: bool) -> Result<(Self, Receiver<Report>), String> {
        let stdout = if says { Stdio::piped() } else { Stdio::null() };
        let child = command
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(Stdio::piped())
            .spawn();
        let program = command.get_program().to_string_lossy();
        let mut child = child.map_err(|error| format!("{program}: {error}"))?;
        let (report, reports) = mpsc::channel();
        if let Some(stdout) = child.stdout.take() {
            let report = report.clone();
            thread::spawn(move || {
                let mut lines = BufReader::new(stdout).lines().map_while(Result::ok);
                if lines.any(|line| line == "done") {
                    let _ = report.send(Report::Done);
                }
            });
        }
        if let Some(mut stderr) = child.stderr.take() {
            thread::spawn(move || {
                let mut text = Vec::new();
                let _ = stderr.read_to_end(&mut text);
                let text = String::from_utf8_lossy(&text).into_owned();
                let _ = report.send(Report::Ended(text));
            });
        }
        Ok((Self { child }, reports))
    }

    fn succeeded(&mut self) -> bool {
        self.child.wait().is_ok_and(|status| status.success())
    }

    /// Returns what went wrong, on one line.
    fn end(&mut self, report: Report) -> String {
        let Report::Ended(text) = report else {
            return "it reports that it is done before it can be".to_owned();
        };
        let status = self.child.wait().map_or_else(
            |error| format!("its state is unknown: {error}"),
            |status| status.to_string(),
        );
        let last = text.lines().rfind(|line| !line.trim().is_empty());
        match last {
            // Avoids the characters that delimit tables.
            Some(line) => format!("{status}: {}", line.trim().replace(['|', '\t'], " ")),
            None => status,
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Finds a program in `PATH`, or where servers are installed.
pub fn find(program: impl AsRef<OsStr>) -> Option<PathBuf> {
    const FOLDERS: [&str; 3] = ["/usr/sbin", "/usr/local/sbin", "/opt/homebrew/sbin"];
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(FOLDERS.map(PathBuf::from))
        .map(|folder| folder.join(program.as_ref()))
        .find(|program| program.is_file())
}
