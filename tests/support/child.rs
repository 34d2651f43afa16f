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
    let program = env::current_exe().expect("a test knows its program");
    let output = Command::new("sh")
        .arg("-c")
        .arg(format!(
            r#"{limit} && exec "$0" --exact {test} --nocapture"#
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
