//! A test in a process of its own, for what concerns a whole process.

use std::{env, process::Command};

const MARK: &str = "TTN_TEST_ALONE";

/// Returns whether this is the separate process. If not, runs the test in a process that may open
/// many descriptors.
#[track_caller]
pub(super) fn is_alone(test: &str) -> bool {
    if env::var_os(MARK).is_some() {
        return true;
    }
    let test = format!("{}::{test}", module_path!().split_once("::").unwrap().1);
    let test = test.replace("::alone::", "::");
    let output = Command::new("sh")
        .arg("-c")
        .arg(format!(
            r#"ulimit -n 4096; exec "$0" --exact {test} --nocapture"#
        ))
        .arg(env::current_exe().unwrap())
        .env(MARK, "yes")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{said}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    false
}
