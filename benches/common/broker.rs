//! Mosquitto as users run it, without the log that the tests rely on.

use std::{
    env, fs,
    io::{BufRead, BufReader},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
};

use tempfile::TempDir;

use super::{PATIENCE, peer::find, support::certificates::Identity};

/// A Mosquitto on this machine. Dropping it ends it.
pub struct Broker {
    address: SocketAddr,
    shell: Child,
    _folder: TempDir,
}

impl Broker {
    /// Starts a broker that sends small packets immediately, or returns why it cannot.
    pub fn start() -> Result<Self, String> {
        Self::start_with("set_tcp_nodelay true\n")
    }

    /// Starts a broker with TLS and otherwise its defaults, or returns why it cannot.
    pub fn start_tls(identity: &Identity) -> Result<Self, String> {
        Self::start_with(&format!(
            "certfile {}\nkeyfile {}\n",
            identity.certificate_file().display(),
            identity.key_file().display(),
        ))
    }

    /// Starts a broker with these settings, or returns why it cannot.
    pub fn start_with(settings: &str) -> Result<Self, String> {
        let program = env::var_os("TTN_TEST_MOSQUITTO")
            .map_or_else(|| find("mosquitto"), |path| Some(path.into()));
        let program = program.ok_or("Mosquitto is not installed")?;
        let failed = |error| format!("{}: {error}", program.display());
        let folder = tempfile::tempdir().map_err(failed)?;
        let address = free_address().map_err(failed)?;
        let settings = format!(
            "listener {} {}\nallow_anonymous true\npersistence false\nlog_dest stderr\nlog_type information\nlog_type error\n\
             user root\n{settings}",
            address.port(),
            address.ip(),
        );
        let file = folder.path().join("settings");
        fs::write(&file, settings).map_err(failed)?;
        // The shell's standard input ends with this process, even if the process is aborted.
        let mut shell = Command::new("sh")
            .args(["-c", r#""$0" -c "$1" & read -r _; kill $!; wait"#])
            .args([&program, &file])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        let (line, lines) = mpsc::channel();
        let stderr = shell.stderr.take();
        thread::spawn(move || {
            let log = stderr
                .into_iter()
                .flat_map(|log| BufReader::new(log).lines());
            for text in log.map_while(Result::ok) {
                // Reads the log even if nobody listens any longer.
                let _ = line.send(text);
            }
        });
        let broker = Self {
            address,
            shell,
            _folder: folder,
        };
        while let Ok(text) = lines.recv_timeout(PATIENCE) {
            if text.ends_with(" running") {
                return Ok(broker);
            }
            if text.contains("Error") {
                return Err(format!("Mosquitto does not start: {text}"));
            }
        }
        Err("Mosquitto does not start".to_owned())
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        let _ = self.shell.wait();
    }
}

fn free_address() -> std::io::Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}
