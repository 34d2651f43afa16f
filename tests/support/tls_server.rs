//! Servers with TLS: the simulated network behind a front, or Mosquitto.

use std::{
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use rustls::{ALL_VERSIONS, SupportedProtocolVersion, version};
use ttn::{MqttClient, MqttClientBuilder, Network, simulator::Simulator};

use super::{
    certificates::{Authority, Identity},
    mosquitto::{Mosquitto, TlsVersion},
    tls_front::TlsFront,
};

/// The application on these servers.
pub const APP: &str = "greenhouse@ttn";
pub const KEY: &str = "NNSXS.A-KEY.OF-THE-TESTS";

/// The time limit for an attempt to connect by a client of [`builder`].
pub const TIMEOUT: Duration = Duration::from_secs(10);

/// A server with TLS.
pub enum Server {
    Simulator(Simulator, TlsFront),
    Mosquitto(Mosquitto),
}

/// What a server presents and requires.
#[derive(Clone, Debug)]
pub struct Setup<'a> {
    identity: &'a Identity,
    clients: Option<&'a Authority>,
    version: Option<TlsVersion>,
    host: IpAddr,
}

impl<'a> Setup<'a> {
    /// Sets up a server with this certificate, TLS 1.2 and 1.3, and every client, on 127.0.0.1.
    pub fn new(identity: &'a Identity) -> Self {
        Self {
            identity,
            clients: None,
            version: None,
            host: Ipv4Addr::LOCALHOST.into(),
        }
    }

    /// Accepts only clients with a certificate from `clients`.
    pub fn known_clients(mut self, clients: &'a Authority) -> Self {
        self.clients = Some(clients);
        self
    }

    /// Supports only this version of TLS.
    pub fn only(mut self, version: TlsVersion) -> Self {
        self.version = Some(version);
        self
    }

    /// Listens on this address.
    pub fn at(mut self, host: impl Into<IpAddr>) -> Self {
        self.host = host.into();
        self
    }

    /// Starts the simulated network.
    pub fn simulator(&self) -> Server {
        let versions: &[&'static SupportedProtocolVersion] = match self.version {
            None => ALL_VERSIONS,
            Some(TlsVersion::V12) => &[&version::TLS12],
            Some(TlsVersion::V13) => &[&version::TLS13],
        };
        let network = network();
        let mut front = TlsFront::builder(self.identity)
            .versions(versions)
            .at(self.host);
        if let Some(clients) = self.clients {
            front = front.known_clients(clients);
        }
        let front = front.start(network.address()).expect("a free port");
        Server::Simulator(network, front)
    }

    /// Starts Mosquitto, if it is installed.
    #[track_caller]
    pub fn mosquitto(&self) -> Option<Server> {
        let broker = Mosquitto::builder().user(APP, KEY);
        let mut broker = match self.clients {
            None => broker.tls(self.identity),
            Some(clients) => broker.tls_for_known_clients(self.identity, clients),
        }
        .tls_at(self.host);
        if let Some(version) = self.version {
            broker = broker.tls_version(version);
        }
        broker.start().map(Server::Mosquitto)
    }

    /// Runs a test against the simulated network and, if it is installed, Mosquitto.
    #[track_caller]
    pub fn each(&self, test: impl Fn(&Server)) {
        test(&self.simulator());
        if let Some(server) = self.mosquitto() {
            test(&server);
        }
    }
}

impl Server {
    /// Runs a test against the simulated network and, if it is installed, Mosquitto.
    #[track_caller]
    pub fn each(identity: &Identity, clients: Option<&Authority>, test: impl Fn(&Server)) {
        let mut setup = Setup::new(identity);
        setup.clients = clients;
        setup.each(test);
    }

    /// Returns the port with TLS.
    pub fn port(&self) -> u16 {
        match self {
            Self::Simulator(_, front) => front.port(),
            Self::Mosquitto(broker) => broker.tls_address().expect("it was asked for").port(),
        }
    }

    /// Returns the port without TLS.
    pub fn plain_port(&self) -> u16 {
        match self {
            Self::Simulator(network, _) => network.address().port(),
            Self::Mosquitto(broker) => broker.port(),
        }
    }

    /// Returns whether a client has reached the point where it sends its key.
    pub fn saw_a_key(&self) -> bool {
        match self {
            Self::Simulator(network, _) => !network.clients().is_empty(),
            Self::Mosquitto(broker) => broker.log().contains(&format!("u'{APP}'")),
        }
    }
}

/// Returns the builder of a client for the TLS server at this address.
pub fn builder(host: &str, port: u16) -> MqttClientBuilder {
    MqttClient::builder(APP, KEY)
        .mqtt_address(format!("mqtts://{host}:{port}"))
        .connect_timeout(TIMEOUT)
}

/// Starts the simulated network with that application.
pub fn network() -> Simulator {
    Simulator::builder(Network::V3)
        .application(APP, KEY)
        .start()
        .expect("the simulated network starts")
}
