//! Copies of this process that go on with the same program.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process;

use super::{child::signal, harness::SOON};

/// What a child that found nothing wrong reports.
const GOOD: &str = "good";

/// A child that this process has forked.
pub struct Forked {
    process: i32,
    report: UnixStream,
}

/// Forks. The child does `action`, reports a panic to the parent, and exits.
#[track_caller]
pub fn fork(action: impl FnOnce()) -> Forked {
    fork_and_report(action).unwrap_or_else(|| process::exit(0))
}

/// Forks. The child does `action`, reports a panic to the parent, and gets `None`.
#[track_caller]
pub fn fork_and_report(action: impl FnOnce()) -> Option<Forked> {
    let (report, mut to_parent) = UnixStream::pair().expect("a socket");
    match fork::fork().expect("a process can be forked") {
        fork::Fork::Parent(process) => Some(Forked { process, report }),
        fork::Fork::Child => {
            drop(report);
            let done = catch_unwind(AssertUnwindSafe(action));
            let said = match &done {
                Ok(()) => GOOD,
                Err(panic) => panic.downcast_ref::<String>().map_or_else(
                    || *panic.downcast_ref::<&str>().unwrap_or(&"a panic"),
                    String::as_str,
                ),
            };
            let _ = to_parent.write_all(said.as_bytes());
            None
        }
    }
}

impl Forked {
    /// Waits until the child has ended, with nothing wrong.
    #[track_caller]
    pub fn join(mut self) {
        self.wait_for_report();
        // Everything that the child has open is closed when it ends.
        let status = fork::waitpid(self.process).expect("it is a child of this process");
        assert_eq!(status, 0, "the status of the child");
    }

    /// Waits until the child has done its action, with nothing wrong.
    #[track_caller]
    pub fn wait_for_report(&mut self) {
        let mut said = [0; 4096];
        self.report.set_read_timeout(Some(SOON)).expect("not zero");
        match self.report.read(&mut said) {
            Ok(length) => assert_eq!(String::from_utf8_lossy(&said[..length]), GOOD),
            Err(cause) => {
                signal("KILL", self.process.unsigned_abs());
                panic!("the child hangs: {cause}");
            }
        }
    }
}
