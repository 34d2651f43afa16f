//! Servers that support only TLS versions before 1.2, run by the `openssl` program.

use std::io::{self, BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::thread;

use super::certificates::Identity;

/// A server of the `openssl` program. Dropping it ends the process.
#[derive(Debug)]
pub struct OldTls {
    child: Child,
    port: u16,
}

impl OldTls {
    /// Starts a server with this option, such as `-tls1`. If the program is missing or no longer
    /// supports the version, prints to standard error that the test is skipped.
    pub fn start(identity: &Identity, version: &str) -> Option<Self> {
        let child = Command::new("openssl")
            .args(["s_server", "-accept", "127.0.0.1:0", version])
            .args(["-cipher", "ALL:@SECLEVEL=0"])
            .arg("-cert")
            .arg(identity.certificate_file())
            .arg("-key")
            .arg(identity.key_file())
            // It ends when its input ends.
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        let mut child = match child {
            Ok(child) => child,
            Err(error) => return skip(&format!("the openssl program does not start: {error}")),
        };
        let output = child.stdout.take().expect("a pipe was asked for");
        let mut lines = BufReader::new(output).lines().map_while(Result::ok);
        let port = lines.find_map(|line| {
            line.strip_prefix("ACCEPT ")?
                .rsplit_once(':')?
                .1
                .parse()
                .ok()
        });
        let Some(port) = port else {
            let _ = child.kill();
            let _ = child.wait();
            return skip(&format!("openssl s_server does not know {version}"));
        };
        // Reads on, so that the server never waits for a reader.
        thread::spawn(move || lines.for_each(drop));
        Some(Self { child, port })
    }

    /// Returns its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for OldTls {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn skip(reason: &str) -> Option<OldTls> {
    let thread = thread::current();
    let test = thread.name().unwrap_or("main");
    // Not `eprintln!`: the test harness would swallow it.
    let _ = writeln!(io::stderr(), "SKIPPED {test}: {reason}");
    None
}
