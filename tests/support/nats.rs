//! A cluster of three NATS nodes as child processes: a real cluster that speaks MQTT and keeps sessions and
//! messages on the disks of all nodes.

use std::fmt::Write as _;
use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::panic::Location;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use super::guarded::Guarded;
use super::mosquitto::{find, skip};
use super::peer::MqttPeer;
use super::resources::{loopback, pause, wait_until};

/// The nodes elect leaders and create what MQTT needs: 5 seconds on an idle machine.
const START: Duration = Duration::from_secs(60);
const ANSWER: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(50);
const TRIES: usize = 3;
const LINES: usize = 40;

/// How often in a row a node lacks nothing before it counts as ready: what it says of consumers may hide more.
const CALM: usize = 5;

pub const NODES: usize = 3;

/// Three nodes on free ports of a loopback address. Dropping it kills them and removes their files.
#[derive(Debug)]
pub struct NatsCluster {
    program: PathBuf,
    folder: TempDir,
    host: Ipv4Addr,
    ack_wait: Duration,
    nodes: Vec<Node>,
}

#[derive(Debug)]
struct Node {
    nats: u16,
    route: u16,
    mqtt: u16,
    monitor: u16,
    process: Option<Guarded>,
}

impl NatsCluster {
    /// Starts three nodes, and returns once each of them accepts MQTT clients. A message that is not acknowledged is
    /// delivered again after `ack_wait`, for which NATS has a default of 30 seconds.
    ///
    /// Without NATS, prints to standard error that the test is skipped and returns `None`; panics if
    /// `TTN_TEST_REQUIRE_NATS` is `1`.
    #[track_caller]
    pub fn start(ack_wait: Duration) -> Option<Self> {
        let program = find("TTN_TEST_NATS", "nats-server").or_else(|| {
            skip(
                Location::caller(),
                "nats-server not found. Install it (Debian: apt-get install nats-server) or set \
                 TTN_TEST_NATS=/path/to/nats-server.",
                "TTN_TEST_REQUIRE_NATS",
            )
        })?;
        let mut failures = String::new();
        for _ in 0..TRIES {
            let mut cluster = Self {
                program: program.clone(),
                folder: tempfile::tempdir().expect("a temporary folder can be made"),
                host: loopback(),
                ack_wait,
                nodes: Vec::new(),
            };
            match cluster.start_all() {
                Ok(()) => return Some(cluster),
                // Another program may have taken a port.
                Err(reason) => failures = format!("{failures}{reason}\n{}", cluster.logs()),
            }
        }
        panic!("the cluster did not start:\n{failures}");
    }

    /// Returns where a node accepts MQTT clients.
    pub fn address(&self, node: usize) -> SocketAddr {
        (self.host, self.nodes[node].mqtt).into()
    }

    /// Returns where the nodes accept MQTT clients, beginning with this one.
    pub fn addresses_from(&self, node: usize) -> Vec<SocketAddr> {
        (0..NODES)
            .map(|other| self.address((node + other) % NODES))
            .collect()
    }

    /// Kills a node (SIGKILL).
    pub fn kill(&mut self, node: usize) {
        self.nodes[node].process = None;
    }

    /// Starts a node that was killed; see [`wait_for`](Self::wait_for).
    #[track_caller]
    pub fn start_again(&mut self, node: usize) {
        if let Err(reason) = self.start_node(node) {
            panic!("node {node} did not start again: {reason}");
        }
    }

    /// Waits until a node has caught up with the others and accepts MQTT clients.
    #[track_caller]
    pub fn wait_for(&self, node: usize) {
        let mut lacks = String::new();
        let mut calm = 0;
        let ready = wait_until(START, || {
            // Not more often than necessary: the node logs each failure.
            pause(POLL);
            lacks = self.lacks(node);
            // NATS 2.9 says so of each consumer without messages since the node is back.
            let is_current = lacks.is_empty() || lacks.contains("JetStream consumer");
            calm = if is_current { calm + 1 } else { 0 };
            calm >= CALM && self.accepts_clients(node)
        });
        assert!(ready, "node {node} is not ready: {lacks}\n{}", self.logs());
    }

    /// Returns the ids of the processes.
    pub fn processes(&self) -> Vec<u32> {
        let running = self.nodes.iter().filter_map(|node| node.process.as_ref());
        running.map(Guarded::id).collect()
    }

    fn start_all(&mut self) -> Result<(), String> {
        self.nodes = free_ports(self.host)
            .map_err(|error| format!("no free ports: {error}"))?
            .map(|[nats, route, mqtt, monitor]| Node {
                nats,
                route,
                mqtt,
                monitor,
                process: None,
            })
            .into();
        for node in 0..NODES {
            self.configure(node);
            self.start_node(node)?;
        }
        for node in 0..NODES {
            let mut ended = false;
            let ready = wait_until(START, || {
                let process = self.nodes[node].process.as_mut();
                ended = process.is_none_or(Guarded::has_ended);
                pause(POLL);
                ended || self.lacks(node).is_empty() && self.accepts_clients(node)
            });
            if ended || !ready {
                return Err(format!("node {node} is not ready (ended: {ended})"));
            }
        }
        Ok(())
    }

    fn configure(&self, node: usize) {
        let host = self.host;
        let Node {
            nats,
            route,
            mqtt,
            monitor,
            ..
        } = self.nodes[node];
        let routes = self.nodes.iter().fold(String::new(), |mut routes, node| {
            let _ = write!(routes, "\"nats://{host}:{}\", ", node.route);
            routes
        });
        let store = self.file(node, "store");
        let text = format!(
            "server_name: node{node}\n\
             listen: \"{host}:{nats}\"\n\
             http: \"{host}:{monitor}\"\n\
             jetstream {{ store_dir: \"{}\" }}\n\
             cluster {{\n  name: ttn\n  listen: \"{host}:{route}\"\n  routes: [{routes}]\n}}\n\
             mqtt {{\n  listen: \"{host}:{mqtt}\"\n  ack_wait: \"{}ms\"\n}}\n",
            store.display(),
            self.ack_wait.as_millis(),
        );
        fs::write(self.file(node, "config"), text).expect("the cluster's folder is writable");
    }

    fn start_node(&mut self, node: usize) -> Result<(), String> {
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.file(node, "log"))
            .map_err(|error| error.to_string())?;
        let mut command = Command::new(&self.program);
        command
            .arg("-c")
            .arg(self.file(node, "config"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        let process = Guarded::start(&mut command, Some(self.folder.path()))
            .map_err(|error| format!("{}: {error}", self.program.display()))?;
        self.nodes[node].process = Some(process);
        Ok(())
    }

    /// Returns what the node says it lacks: contact with the leader, or what the others have and it has not.
    fn lacks(&self, node: usize) -> String {
        let ask = || -> io::Result<String> {
            let address = (self.host, self.nodes[node].monitor).into();
            let mut stream = TcpStream::connect_timeout(&address, ANSWER)?;
            stream.set_read_timeout(Some(ANSWER))?;
            stream.write_all(b"GET /healthz HTTP/1.0\r\n\r\n")?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        };
        match ask() {
            Ok(answer) if answer.contains(" 200 ") => String::new(),
            Ok(answer) => answer,
            Err(error) => error.to_string(),
        }
    }

    fn accepts_clients(&self, node: usize) -> bool {
        MqttPeer::connect(self.address(node), "any", "any").is_ok()
    }

    /// Returns the ends of the logs, without the failures of health checks.
    pub fn logs(&self) -> String {
        let last = |node| {
            let log = fs::read_to_string(self.file(node, "log")).unwrap_or_default();
            let lines = log.lines().filter(|line| !line.contains("Healthcheck"));
            let lines: Vec<_> = lines.collect();
            let start = lines.len().saturating_sub(LINES);
            format!("node {node}:\n{}\n", lines[start..].join("\n"))
        };
        (0..NODES).map(last).collect()
    }

    fn file(&self, node: usize, name: &str) -> PathBuf {
        self.folder.path().join(format!("{name}-{node}"))
    }
}

/// Returns four free ports for each node; another program may take one before the node does.
fn free_ports(host: Ipv4Addr) -> io::Result<[[u16; 4]; NODES]> {
    let mut ports = [[0; 4]; NODES];
    // All at once, so that none is given out twice.
    let mut held = Vec::new();
    for port in ports.iter_mut().flatten() {
        let listener = TcpListener::bind((host, 0))?;
        *port = listener.local_addr()?.port();
        held.push(listener);
    }
    Ok(ports)
}
