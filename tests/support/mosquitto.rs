//! Mosquitto as a child process: a real broker as a reference.

use std::env;
use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::MetadataExt;
use std::panic::Location;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

use super::certificates::{Authority, Identity};
use super::child::signal;
use super::guarded::Guardian;
use super::proxy::lock;
use super::resources::wait_until;

const START: Duration = Duration::from_secs(10);
const TRIES: usize = 5;

/// An OpenSSL configuration without TLS 1.3.
const OLDER_TLS: &str = "\
openssl_conf = all
[all]
ssl_conf = ssl
[ssl]
system_default = older
[older]
MaxProtocol = TLSv1.2
";

// On Debian, the `PATH` of ordinary users lacks /usr/sbin.
const FOLDERS: [&str; 5] = [
    "/usr/sbin",
    "/usr/local/sbin",
    "/usr/bin",
    "/usr/local/bin",
    "/opt/homebrew/sbin",
];

static RUNNING: Mutex<Vec<(u32, PathBuf)>> = Mutex::new(Vec::new());

/// A Mosquitto on free ports of the loopback. Dropping it kills the process and removes its files.
#[derive(Debug)]
pub struct Mosquitto {
    program: PathBuf,
    settings: MosquittoBuilder,
    folder: TempDir,
    port: u16,
    tls_port: u16,
    child: Option<Child>,
    guardian: Option<Guardian>,
}

/// The settings of a [`Mosquitto`] before it starts.
#[derive(Clone, Debug)]
pub struct MosquittoBuilder {
    host: Ipv4Addr,
    users: Vec<(String, String)>,
    acl: Option<String>,
    queue_limit: u32,
    packet_limit: Option<u32>,
    /// The lines of a bridge in the configuration.
    bridge: Vec<String>,
    tls: Option<Tls>,
    persistent: bool,
}

#[derive(Clone, Debug)]
struct Tls {
    certificate_file: PathBuf,
    key_file: PathBuf,
    known_clients: Option<PathBuf>,
    version: Option<TlsVersion>,
    host: IpAddr,
}

/// The only version of TLS that a broker supports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsVersion {
    V12,
    V13,
}

impl MosquittoBuilder {
    /// Sets the address of the listener without TLS, instead of 127.0.0.1.
    pub fn at(mut self, host: Ipv4Addr) -> Self {
        self.host = host;
        self
    }

    /// Adds a user; without users, everybody may connect.
    pub fn user(mut self, name: &str, password: &str) -> Self {
        self.users.push((name.to_owned(), password.to_owned()));
        self
    }

    /// Sets the text of the ACL file; without one, users may do everything.
    pub fn acl(mut self, text: &str) -> Self {
        self.acl = Some(text.to_owned());
        self
    }

    /// Limits the messages that wait for a client. Without a limit, Mosquitto 2.0.11 ends the connection of a client
    /// that publishes where the ACL forbids it.
    pub fn queue_limit(mut self, messages: u32) -> Self {
        self.queue_limit = messages;
        self
    }

    /// Ends the connection of a client that sends a larger packet.
    pub fn packet_limit(mut self, bytes: u32) -> Self {
        self.packet_limit = Some(bytes);
        self
    }

    /// Adds a bridge to another server: what matches the first patterns comes from there, what matches the second
    /// ones goes there. Here, the topics have a prefix.
    pub fn bridge(
        mut self,
        (server, user, password): (SocketAddr, &str, &str),
        prefix: &str,
        incoming: &[String],
        outgoing: &[String],
    ) -> Self {
        let mut lines = vec![
            "connection bridge".to_owned(),
            format!("address {server}"),
            format!("remote_username {user}"),
            format!("remote_password {password}"),
            "bridge_protocol_version mqttv311".to_owned(),
            "try_private false".to_owned(),
            "notifications false".to_owned(),
            "cleansession true".to_owned(),
            "restart_timeout 1".to_owned(),
        ];
        for (patterns, way) in [(incoming, "in"), (outgoing, "out")] {
            let topic = |pattern| format!("topic {pattern} {way} 0 {prefix} \"\"");
            lines.extend(patterns.iter().map(topic));
        }
        self.bridge = lines;
        self
    }

    /// Adds a second listener with TLS; see [`Mosquitto::tls_address`].
    pub fn tls(mut self, identity: &Identity) -> Self {
        self.tls = Some(Tls {
            certificate_file: identity.certificate_file().to_owned(),
            key_file: identity.key_file().to_owned(),
            known_clients: None,
            version: None,
            host: Ipv4Addr::LOCALHOST.into(),
        });
        self
    }

    /// Adds a listener with TLS that accepts only clients with a certificate from `clients`.
    pub fn tls_for_known_clients(self, identity: &Identity, clients: &Authority) -> Self {
        let mut builder = self.tls(identity);
        if let Some(tls) = &mut builder.tls {
            tls.known_clients = Some(clients.certificate_file().to_owned());
        }
        builder
    }

    /// Limits the listener with TLS to one version.
    pub fn tls_version(mut self, version: TlsVersion) -> Self {
        self.tls.as_mut().expect("it speaks TLS").version = Some(version);
        self
    }

    /// Sets the address of the listener with TLS, instead of 127.0.0.1.
    pub fn tls_at(mut self, host: impl Into<IpAddr>) -> Self {
        self.tls.as_mut().expect("it speaks TLS").host = host.into();
        self
    }

    /// Keeps sessions and messages on disk, and ends with this process, however that ends.
    pub fn persistent(mut self) -> Self {
        self.persistent = true;
        self
    }

    /// Starts it. Without Mosquitto, prints to standard error that the test is skipped and returns
    /// `None`.
    ///
    /// Panics if it does not start, or if Mosquitto is missing and `TTN_TEST_REQUIRE_MOSQUITTO` is
    /// `1`.
    #[track_caller]
    pub fn start(self) -> Option<Mosquitto> {
        let program = find("TTN_TEST_MOSQUITTO", "mosquitto").or_else(|| {
            skip(
                Location::caller(),
                "mosquitto not found. Install it (Debian: apt-get install mosquitto) or set \
                 TTN_TEST_MOSQUITTO=/path/to/mosquitto.",
                "TTN_TEST_REQUIRE_MOSQUITTO",
            )
        })?;
        let mut broker = Mosquitto {
            program,
            settings: self,
            folder: tempfile::tempdir().expect("a temporary folder can be made"),
            port: 0,
            tls_port: 0,
            child: None,
            guardian: None,
        };
        for (name, password) in &broker.settings.users {
            broker.set_password(name, password);
        }
        for _ in 0..TRIES {
            (broker.port, broker.tls_port) = free_ports(broker.settings.host);
            broker.configure();
            if broker.spawn() {
                return Some(broker);
            }
            if !broker.log().contains("Address already in use") {
                break;
            }
        }
        panic!("mosquitto did not start:\n{}", broker.log());
    }
}

impl Mosquitto {
    /// Returns a builder for a broker without users and restrictions.
    pub fn builder() -> MosquittoBuilder {
        MosquittoBuilder {
            host: Ipv4Addr::LOCALHOST,
            users: Vec::new(),
            acl: None,
            queue_limit: 0,
            packet_limit: None,
            bridge: Vec::new(),
            tls: None,
            persistent: false,
        }
    }

    /// Returns the address of the listener without TLS.
    pub fn address(&self) -> SocketAddr {
        (self.settings.host, self.port).into()
    }

    /// Returns the port of [`address`](Self::address).
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns the address of the listener with TLS, if there is one.
    pub fn tls_address(&self) -> Option<SocketAddr> {
        let tls = self.settings.tls.as_ref();
        tls.map(|tls| (tls.host, self.tls_port).into())
    }

    /// Returns the id of the process while it runs.
    pub fn process(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Returns everything that the broker has written to its log.
    pub fn log(&self) -> String {
        let bytes = fs::read(self.file("log")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Kills it (SIGKILL); its connections end at once.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
            lock(&RUNNING).retain(|(pid, _)| *pid != child.id());
        }
        self.guardian = None;
    }

    /// Lets it end in order (SIGTERM), so that it saves what it keeps.
    pub fn terminate(&mut self) {
        self.signal("TERM");
        assert!(
            wait_until(START, || self.has_ended()),
            "mosquitto does not end:\n{}",
            self.log()
        );
        self.kill();
    }

    /// Suspends it (SIGSTOP): connections stay open, the kernel accepts new ones, and nothing is
    /// answered.
    pub fn stop(&self) {
        self.signal("STOP");
    }

    /// Resumes it after [`stop`](Self::stop) (SIGCONT).
    pub fn resume(&self) {
        self.signal("CONT");
    }

    /// Kills it if necessary, and starts it on the same ports.
    pub fn restart(&mut self) {
        self.kill();
        assert!(
            self.spawn(),
            "mosquitto did not start again:\n{}",
            self.log()
        );
    }

    /// Changes a password (SIGHUP) and returns once the broker knows it; the broker ends sessions
    /// that used the old one.
    pub fn change_password(&self, user: &str, password: &str) {
        const RELOADED: &str = "Reloading config";
        let before = self.log().matches(RELOADED).count();
        self.set_password(user, password);
        self.signal("HUP");
        assert!(
            wait_until(START, || self.log().matches(RELOADED).count() > before),
            "mosquitto did not reload:\n{}",
            self.log()
        );
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn set_password(&self, user: &str, password: &str) {
        let file = self.file("passwords");
        // The broker does not read plain text passwords, hence the tool.
        let tool = self.program.with_file_name("mosquitto_passwd");
        let tool = Some(tool).filter(|tool| tool.is_file());
        let tool = tool.or_else(|| find("TTN_TEST_MOSQUITTO_PASSWD", "mosquitto_passwd"));
        let mut command = Command::new(tool.expect("mosquitto_passwd comes with mosquitto"));
        command.arg("-b");
        if !file.exists() {
            command.arg("-c");
        }
        let output = command.arg(&file).args([user, password]).output();
        let output = output.expect("mosquitto_passwd runs");
        assert!(output.status.success(), "mosquitto_passwd: {output:?}");
    }

    fn configure(&self) {
        let mut lines = vec![
            "per_listener_settings false".to_owned(),
            "log_dest stderr".to_owned(),
            // The default drops messages in a flood.
            format!("max_queued_messages {}", self.settings.queue_limit),
        ];
        let packet_limit = self.settings.packet_limit;
        lines.extend(packet_limit.map(|bytes| format!("max_packet_size {bytes}")));
        if self.settings.persistent {
            lines.extend([
                "persistence true".to_owned(),
                format!("persistence_location {}/", self.folder.path().display()),
                "autosave_interval 1".to_owned(),
            ]);
            // Not each packet of thousands.
            lines.extend(
                ["error", "warning", "notice", "information"]
                    .map(|kind| format!("log_type {kind}")),
            );
        } else {
            lines.extend(["persistence false", "log_type all"].map(str::to_owned));
        }
        // As root, Mosquitto would switch to the user `mosquitto`, who cannot read the folder.
        if fs::metadata(self.folder.path()).is_ok_and(|folder| folder.uid() == 0) {
            lines.push("user root".to_owned());
        }
        if self.settings.users.is_empty() {
            lines.push("allow_anonymous true".to_owned());
        } else {
            lines.push("allow_anonymous false".to_owned());
            lines.push(format!(
                "password_file {}",
                self.file("passwords").display()
            ));
        }
        if let Some(text) = &self.settings.acl {
            write(&self.file("acl"), text);
            lines.push(format!("acl_file {}", self.file("acl").display()));
        }
        lines.push(format!("listener {} {}", self.port, self.settings.host));
        if let Some(tls) = &self.settings.tls {
            lines.push(format!("listener {} {}", self.tls_port, tls.host));
            if tls.version == Some(TlsVersion::V13) {
                lines.push("tls_version tlsv1.3".to_owned());
            }
            lines.push(format!("certfile {}", tls.certificate_file.display()));
            lines.push(format!("keyfile {}", tls.key_file.display()));
            if let Some(clients) = &tls.known_clients {
                lines.push(format!("cafile {}", clients.display()));
                lines.push("require_certificate true".to_owned());
            }
        }
        lines.extend(self.settings.bridge.iter().cloned());
        lines.push(String::new());
        write(&self.file("config"), &lines.join("\n"));
        // Removes what an attempt with another port wrote.
        write(&self.file("log"), "");
    }

    /// Returns `false` if the process ended or did not answer in time.
    fn spawn(&mut self) -> bool {
        let starts = self.starts();
        let mut command = Command::new(&self.program);
        let tls = self.settings.tls.as_ref();
        if tls.is_some_and(|tls| tls.version == Some(TlsVersion::V12)) {
            // Mosquitto's own setting names only the lowest version.
            write(&self.file("openssl"), OLDER_TLS);
            command.env("OPENSSL_CONF", self.file("openssl"));
        }
        let child = command
            .arg("-c")
            .arg(self.file("config"))
            .stdin(Stdio::null())
            .stdout(self.open_log())
            .stderr(self.open_log())
            .spawn();
        let child = child.unwrap_or_else(|error| panic!("{}: {error}", self.program.display()));
        lock(&RUNNING).push((child.id(), self.folder.path().to_owned()));
        if self.settings.persistent {
            let guardian = Guardian::start(child.id(), Some(self.folder.path()));
            self.guardian = Some(guardian.expect("sh starts"));
        }
        self.child = Some(child);
        // The log instead of the port: meanwhile, another program may have taken the port and
        // answer there.
        wait_until(START, || self.has_ended() || self.starts() > starts);
        let runs = self.starts() > starts && !self.has_ended();
        if !runs {
            self.kill();
        }
        runs
    }

    fn has_ended(&mut self) -> bool {
        let child = self.child.as_mut();
        child.is_none_or(|child| !matches!(child.try_wait(), Ok(None)))
    }

    /// Returns how often the broker has opened its ports, according to its log.
    fn starts(&self) -> usize {
        self.log().matches(" running").count()
    }

    fn open_log(&self) -> File {
        OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.file("log"))
            .expect("the log file can be opened")
    }

    fn signal(&self, name: &str) {
        let child = self.child.as_ref().expect("the broker runs");
        assert!(signal(name, child.id()), "kill -{name} failed");
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Kills every broker of this process and removes their files; for programs that end without
/// unwinding.
pub fn kill_all() {
    for (pid, folder) in lock(&RUNNING).drain(..) {
        signal("KILL", pid);
        let _ = fs::remove_dir_all(folder);
    }
}

/// Finds the program that a variable names, or else the program of that name in `PATH` or where
/// brokers are installed.
pub fn find(variable: &str, name: &str) -> Option<PathBuf> {
    if let Some(program) = env::var_os(variable) {
        return Some(PathBuf::from(program)).filter(|program| program.is_file());
    }
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(FOLDERS.map(PathBuf::from))
        .map(|folder| folder.join(name))
        .find(|program| program.is_file())
}

/// Prints to standard error that a test is skipped; panics if the variable `required` is `1`.
pub fn skip(place: &Location<'_>, help: &str, required: &str) -> Option<PathBuf> {
    assert!(
        env::var_os(required).as_deref() != Some(OsStr::new("1")),
        "{help}"
    );
    let thread = thread::current();
    let test = match thread.name() {
        // Examples have only a main thread.
        None | Some("main") => place.to_string(),
        Some(name) => name.to_owned(),
    };
    // Not `eprintln!`: the test harness would swallow it.
    let _ = writeln!(
        io::stderr(),
        "SKIPPED {test}: {help} Set {required}=1 to make this a failure."
    );
    None
}

/// Returns two free ports; another program may take one before the broker does.
fn free_ports(host: Ipv4Addr) -> (u16, u16) {
    let bind = || TcpListener::bind((host, 0));
    let port = |socket: &TcpListener| socket.local_addr().map(|address| address.port());
    let ports = bind().and_then(|one| {
        let other = bind()?;
        Ok((port(&one)?, port(&other)?))
    });
    ports.expect("the loopback has free ports")
}

fn write(file: &Path, text: &str) {
    fs::write(file, text).expect("the broker's folder is writable");
}
