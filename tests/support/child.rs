//! Runs a test in a process of its own, for what concerns a whole process, and sends signals to processes.

use std::env;
use std::ffi::OsStr;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::process::{Child, Command, ExitStatus};
use std::thread;
use std::time::Duration;

use ttn::crossbeam_channel::{Receiver, unbounded};

use super::resources::wait_until;

/// Set in a process that [`alone`] started.
const ALONE: &str = "TTN_TEST_ALONE";

/// Runs a test in a process of its own and returns `false`; in that process, returns `true`.
///
/// `module` is the `module_path!()` of the test, here and in the other functions.
#[track_caller]
pub fn alone(module: &str, test: &str) -> bool {
    let alone = env::var_os(ALONE).is_some();
    if !alone {
        run_alone(module, test, &[(ALONE, "1".as_ref())]);
    }
    alone
}

/// Does the same as [`alone`], after a shell command that limits the process.
#[track_caller]
pub fn alone_after(limit: &str, module: &str, test: &str) -> bool {
    let alone = env::var_os(ALONE).is_some();
    if !alone {
        run_after(limit, module, test, &[(ALONE, "1".as_ref())]);
    }
    alone
}

/// Runs one test of this program in a process of its own, with these environment variables.
#[track_caller]
pub fn run_alone(module: &str, test: &str, variables: &[(&str, &OsStr)]) {
    run_after(":", module, test, variables);
}

/// Does the same as [`run_alone`], after a shell command that limits the process.
#[track_caller]
pub fn run_after(limit: &str, module: &str, test: &str, variables: &[(&str, &OsStr)]) {
    run(Command::new("sh"), limit, module, test, variables);
}

/// Does the same as [`run_alone`], in a network of its own that these shell commands set up.
#[track_caller]
pub fn run_in_network(setup: &str, module: &str, test: &str, variables: &[(&str, &OsStr)]) {
    run(network(), setup, module, test, variables);
}

/// Runs a test, by its [full name](full_name), in a process of a user who may have this many threads, and
/// returns `false`; in that process, returns `true`. If this process cannot become another user, prints to
/// standard error that the test is skipped: other processes of its own user count too.
#[cfg(target_os = "linux")]
#[track_caller]
pub fn limited(threads: usize, name: &str) -> bool {
    use std::os::unix::fs::PermissionsExt;

    if env::var_os(ALONE).is_some() {
        return true;
    }
    // A user that nobody else is, among the 65,536 that a container may have.
    let user = 30_000 + std::process::id() % 30_000;
    let as_user = || {
        let mut command = Command::new("setpriv");
        command
            .arg(format!("--reuid={user}"))
            .args(["--clear-groups", "prlimit"])
            .arg(format!("--nproc={threads}"));
        command
    };
    if let Some(reason) = want_of_success(as_user().arg("true")) {
        let _ = writeln!(
            io::stderr(),
            "SKIPPED {name}: cannot become another user: {reason}"
        );
        return false;
    }
    // Where any user can read it.
    let folder = tempfile::tempdir().expect("a folder for temporary files");
    let all = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(folder.path(), all).expect("it is ours");
    let program = folder.path().join("test");
    let own = env::current_exe().expect("a test knows its program");
    std::fs::copy(own, &program).expect("room for a copy");
    let mut command = as_user();
    command
        .arg(program)
        .args(["--exact", name, "--nocapture"])
        .env(ALONE, "1");
    check(name, &mut command);
    false
}

/// A program that runs beside the test, and is killed when this is dropped.
pub struct Running(pub Child);

impl Running {
    /// Returns the lines that it writes from now on.
    pub fn lines(output: impl Read + Send + 'static) -> Receiver<String> {
        let (sender, lines) = unbounded();
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        lines
    }

    #[track_caller]
    pub fn signal(&self, name: &str) {
        assert!(signal(name, self.0.id()), "kill -{name} failed");
    }

    /// Waits until it has ended, and returns how; `None` if it still runs after this time.
    pub fn end(&mut self, limit: Duration) -> Option<ExitStatus> {
        let mut status = None;
        wait_until(limit, || {
            status = self.0.try_wait().expect("it is our child");
            status.is_some()
        });
        status
    }

    pub fn kill(&mut self) {
        self.0.kill().expect("it is our child");
        self.0.wait().expect("it is our child");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Sends a signal such as `TERM`. Returns whether the process has got it.
pub fn signal(name: &str, process: u32) -> bool {
    // The shell has `kill` built in; the program is not installed everywhere.
    Command::new("sh")
        .args(["-c", &format!("kill -{name} {process}")])
        .status()
        .is_ok_and(|status| status.success())
}

/// Returns why a process cannot have a network of its own, if it cannot.
pub fn want_of_network(setup: &str) -> Option<String> {
    let reason = want_of_success(network().args(["-c", setup]))?;
    Some(format!("no network of its own: {reason}"))
}

/// Returns why a command fails, if it does.
fn want_of_success(command: &mut Command) -> Option<String> {
    match command.output() {
        Ok(output) if output.status.success() => None,
        Ok(output) => Some(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        Err(error) => Some(format!(
            "{}: {error}",
            command.get_program().to_string_lossy()
        )),
    }
}

/// Returns the name by which the test harness knows a test.
pub fn full_name(module: &str, test: &str) -> String {
    match module.split_once("::") {
        Some((_program, module)) => format!("{module}::{test}"),
        None => test.to_owned(),
    }
}

/// Returns a command for a shell in a network that has only a loopback, which is down.
fn network() -> Command {
    let mut command = Command::new("unshare");
    command.args(["--map-root-user", "--net", "sh"]);
    command
}

#[track_caller]
fn run(mut shell: Command, before: &str, module: &str, test: &str, variables: &[(&str, &OsStr)]) {
    let program = env::current_exe().expect("a test knows its program");
    let name = full_name(module, test);
    shell
        .arg("-c")
        .arg(format!(
            r#"{before} && exec "$0" --exact {name} --nocapture"#
        ))
        .arg(program)
        .envs(variables.iter().copied());
    check(&name, &mut shell);
}

/// Checks that a command runs one test, which passes.
#[track_caller]
fn check(name: &str, command: &mut Command) {
    let output = command.output().expect("the program can be started");
    let printed = String::from_utf8_lossy(&output.stdout);
    // A name without a test would pass as well.
    assert!(
        output.status.success() && printed.contains("running 1 test"),
        "{name}: {}\n{printed}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
}
