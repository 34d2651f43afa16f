//! A test in a process of its own, for what concerns a whole process.

use std::env;
use std::ffi::OsStr;
use std::process::Command;

/// Runs one test of the same file in a process of its own, with these environment variables.
#[track_caller]
pub fn run_alone(test: &str, variables: &[(&str, &OsStr)]) {
    run_after(":", test, variables);
}

/// As [`run_alone`], after a command of the shell that limits the process.
#[track_caller]
pub fn run_after(limit: &str, test: &str, variables: &[(&str, &OsStr)]) {
    run(Command::new("sh"), limit, test, variables);
}

/// As [`run_alone`], in a network of its own, which these commands of the shell set up.
#[track_caller]
pub fn run_in_network(setup: &str, test: &str, variables: &[(&str, &OsStr)]) {
    run(network(), setup, test, variables);
}

/// Why a process cannot have such a network, if it cannot.
pub fn want_of_network(setup: &str) -> Option<String> {
    match network().args(["-c", setup]).output() {
        Ok(output) if output.status.success() => None,
        Ok(output) => Some(format!(
            "no network of its own: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        )),
        Err(error) => Some(format!("no network of its own: unshare: {error}")),
    }
}

/// A shell in a network that has only a loopback, which is down.
fn network() -> Command {
    let mut command = Command::new("unshare");
    command.args(["--map-root-user", "--net", "sh"]);
    command
}

#[track_caller]
fn run(mut shell: Command, before: &str, test: &str, variables: &[(&str, &OsStr)]) {
    let program = env::current_exe().expect("a test knows its program");
    let output = shell
        .arg("-c")
        .arg(format!(
            r#"{before} && exec "$0" --exact {test} --nocapture"#
        ))
        .arg(program)
        .envs(variables.iter().copied())
        .output()
        .expect("the shell runs");
    assert!(
        output.status.success(),
        "{}\n{}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}
