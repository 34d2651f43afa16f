//! Runs a test in a process of its own, for what concerns a whole process.

use std::env;
use std::ffi::OsStr;
use std::process::Command;

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

/// Returns why a process cannot have a network of its own, if it cannot.
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
    let output = shell
        .arg("-c")
        .arg(format!(
            r#"{before} && exec "$0" --exact {name} --nocapture"#
        ))
        .arg(program)
        .envs(variables.iter().copied())
        .output()
        .expect("the shell runs");
    let printed = String::from_utf8_lossy(&output.stdout);
    // A name without a test would pass as well.
    assert!(
        output.status.success() && printed.contains("running 1 test"),
        "{name}: {}\n{printed}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
}
