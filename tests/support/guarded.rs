//! Programs that end with this process, however it ends: also when it panics, aborts or is killed.

use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Waits for the end of its input, which lasts as long as the process that started it; then kills a process and
/// removes a folder.
const GUARDIAN: &str = r#"read -r _; kill -KILL "$1"; [ -z "$2" ] || rm -rf -- "$2""#;

/// Kills a process if this one ends first. Dropping it ends the watch.
#[derive(Debug)]
pub struct Guardian(Child);

impl Guardian {
    /// Watches over a process; after it, removes `folder`.
    pub fn start(process: u32, folder: Option<&Path>) -> io::Result<Self> {
        Command::new("sh")
            .args(["-c", GUARDIAN, "guardian", &process.to_string()])
            .arg(folder.unwrap_or(Path::new("")))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Ctrl-C ends this process, and not the guardian.
            .process_group(0)
            .spawn()
            .map(Self)
    }
}

impl Drop for Guardian {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A child process. Dropping it kills it (SIGKILL).
#[derive(Debug)]
pub struct Guarded {
    child: Child,
    _guardian: Guardian,
}

impl Guarded {
    /// Starts a program. If this process ends first, the program is killed and `folder` is removed.
    pub fn start(command: &mut Command, folder: Option<&Path>) -> io::Result<Self> {
        let child = command.spawn()?;
        let guardian = Guardian::start(child.id(), folder)?;
        Ok(Self {
            child,
            _guardian: guardian,
        })
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
