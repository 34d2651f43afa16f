//! The tool as a child process.

use std::{
    io::Write,
    process::{Child, ChildStdin, Command, ExitStatus, Output, Stdio},
    time::Duration,
};

use crate::support::child::Running;
use ttn::{crossbeam_channel::Receiver, simulator::Simulator};

/// How long anything may take on a busy machine.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);

/// Returns the tool with arguments, without any setting of the environment.
pub(crate) fn ttn<const N: usize>(arguments: [&str; N]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ttn"));
    command.args(arguments).stdin(Stdio::null());
    for variable in [
        "TTN_ACCESS_KEY",
        "TTN_APP_ID",
        "TTN_CLUSTER",
        "TTN_MQTT_ADDRESS",
        "TTN_HTTP_ADDRESS",
        "TTN_CA_FILE",
        "TTN_BROKER",
        "CREDENTIALS_DIRECTORY",
        // The width of the help.
        "COLUMNS",
    ] {
        command.env_remove(variable);
    }
    command
}

/// Returns the tool with arguments, and the settings for a simulated network.
pub(crate) fn ttn_on<const N: usize>(network: &Simulator, arguments: [&str; N]) -> Command {
    let mut command = ttn(arguments);
    command
        .env("TTN_ACCESS_KEY", network.access_key())
        .env("TTN_APP_ID", network.app_id())
        .env("TTN_MQTT_ADDRESS", network.mqtt_address());
    // V2 has no such address.
    if network.access_key().starts_with("NNSXS.") {
        command.env("TTN_HTTP_ADDRESS", network.http_address());
    }
    command
}

/// Runs a command to its end.
#[track_caller]
pub(crate) fn finish(mut command: Command) -> (i32, String, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().expect("the tool starts");
    let text = |bytes| String::from_utf8(bytes).expect("it prints UTF-8");
    (code(status), text(stdout), text(stderr))
}

/// Returns the exit status; panics if a signal killed it.
#[track_caller]
pub(crate) fn code(status: ExitStatus) -> i32 {
    status
        .code()
        .unwrap_or_else(|| panic!("it did not end by itself: {status}"))
}

/// A command that runs beside the test.
pub(crate) struct Program {
    pub(crate) running: Running,
    pub(crate) stdin: Option<ChildStdin>,
    pub(crate) stdout: Receiver<String>,
    pub(crate) stderr: Receiver<String>,
}

impl Program {
    /// Starts a command with pipes for everything.
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child: Child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the tool starts");
        Self {
            stdin: child.stdin.take(),
            stdout: Running::lines(child.stdout.take().expect("piped")),
            stderr: Running::lines(child.stderr.take().expect("piped")),
            running: Running(child),
        }
    }

    /// Writes a line to its standard input.
    #[track_caller]
    pub(crate) fn type_line(&mut self, line: &str) {
        let stdin = self.stdin.as_mut().expect("not closed yet");
        writeln!(stdin, "{line}").expect("it reads");
    }

    /// Returns the next line of its standard output.
    #[track_caller]
    pub(crate) fn line(&self) -> String {
        match self.stdout.recv_timeout(LIMIT) {
            Ok(line) => line,
            Err(error) => panic!("{error}; standard error: {:#?}", self.notes()),
        }
    }

    /// Waits for a line on standard error that contains this text, and returns it.
    #[track_caller]
    pub(crate) fn note(&self, part: &str) -> String {
        let mut seen = Vec::new();
        loop {
            match self.stderr.recv_timeout(LIMIT) {
                Ok(line) if line.contains(part) => return line,
                Ok(line) => seen.push(line),
                Err(error) => panic!("{error} for {part:?}: {seen:#?}"),
            }
        }
    }

    /// Returns what it has written to standard error and nobody has read yet.
    pub(crate) fn notes(&self) -> Vec<String> {
        self.stderr.try_iter().collect()
    }

    /// Waits until it has ended, and returns its exit status.
    #[track_caller]
    pub(crate) fn end(&mut self) -> i32 {
        match self.running.end(LIMIT) {
            Some(status) => code(status),
            None => panic!("it still runs; standard error: {:#?}", self.notes()),
        }
    }
}
