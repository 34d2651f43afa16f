//! One NATS node as a child process: a real broker that grants shared subscriptions and delivers nothing.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::panic::Location;
use std::process::{Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use super::guarded::Guarded;
use super::mosquitto::{find, skip};
use super::peer::MqttPeer;
use super::resources::{loopback, wait_until};

const START: Duration = Duration::from_secs(30);

/// A node on free ports of a loopback address. Dropping it kills it and removes its files.
#[derive(Debug)]
pub struct NatsNode {
    address: SocketAddr,
    _process: Guarded,
    _folder: TempDir,
}

impl NatsNode {
    /// Starts a node, and returns once it accepts MQTT clients.
    ///
    /// Without NATS, prints to standard error that the test is skipped and returns `None`; panics if
    /// `TTN_TEST_REQUIRE_NATS` is `1`.
    #[track_caller]
    pub fn start() -> Option<Self> {
        let program = find("TTN_TEST_NATS", "nats-server").or_else(|| {
            skip(
                Location::caller(),
                "nats-server not found. Install it (Debian: apt-get install nats-server) or set \
                 TTN_TEST_NATS=/path/to/nats-server.",
                "TTN_TEST_REQUIRE_NATS",
            )
        })?;
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let file = |name: &str| folder.path().join(name);
        let host = loopback();
        // It chooses the ports itself, so that nobody else can take them before.
        let text = format!(
            "server_name: node\nlisten: \"{host}:-1\"\njetstream {{ store_dir: \"{}\" }}\nmqtt {{ listen: \"{host}:-1\" }}\n",
            file("store").display()
        );
        fs::write(file("config"), text).expect("the folder is writable");
        let log = File::create(file("log")).expect("the folder is writable");
        let mut command = Command::new(&program);
        command
            .arg("-c")
            .arg(file("config"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        let process = Guarded::start(&mut command, Some(folder.path()))
            .unwrap_or_else(|error| panic!("{}: {error}", program.display()));
        let mut address = None;
        let read = || fs::read_to_string(file("log")).unwrap_or_default();
        let accepts = wait_until(START, || {
            address = port(&read()).map(|port| SocketAddr::from((host, port)));
            address.is_some_and(|address| MqttPeer::connect(address, "any", "any").is_ok())
        });
        assert!(accepts, "the node did not start:\n{}", read());
        Some(Self {
            address: address?,
            _process: process,
            _folder: folder,
        })
    }

    /// Returns where it accepts MQTT clients.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Returns the port for MQTT that a log names.
fn port(log: &str) -> Option<u16> {
    let line = log.lines().find(|line| line.contains("mqtt://"))?;
    line.rsplit(':').next()?.trim().parse().ok()
}
