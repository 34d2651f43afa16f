//! Two servers and two networks with the same behaviour: the simulated network and a real
//! Mosquitto, each as V2 and as v3.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use serde_json::json;
use ttn::{Events, MqttClient, MqttClientBuilder, Network, simulator::Simulator};

use super::{
    mosquitto::Mosquitto,
    peer::MqttPeer,
    relay::Relay,
    resources::{loopback, wait_until, wait_until_refused},
};

const PEER: &str = "network-server";

/// An address where nothing listens: a privileged port without a service.
pub const NOWHERE: &str = "127.0.0.1:1";

/// How long a test waits for something that should happen.
pub const SOON: Duration = Duration::from_secs(10);

/// A server to test against, with one application.
pub struct Harness {
    pub network: Network,
    pub server: Server,
}

pub enum Server {
    Simulator(Simulator),
    Mosquitto {
        broker: Box<Mosquitto>,
        /// Plays the part of the network server.
        peer: MqttPeer,
    },
}

impl Harness {
    /// Runs a test for each network, against the simulated network and, if it is installed,
    /// Mosquitto.
    pub fn each(test: impl Fn(&mut Harness)) {
        for network in [Network::V2, Network::V3] {
            Self::each_of(network, &test);
        }
    }

    /// Runs a test against both servers.
    pub fn each_of(network: Network, test: impl Fn(&mut Harness)) {
        test(&mut Self::simulator(network));
        if let Some(mut harness) = Self::mosquitto(network) {
            test(&mut harness);
        }
    }

    /// Does the same as [`each`](Self::each), with servers on the address of `localhost`.
    pub fn each_at_localhost(test: impl Fn(&mut Harness)) {
        for network in [Network::V2, Network::V3] {
            test(&mut Self::simulator_at(network, Ipv4Addr::LOCALHOST));
            if let Some(mut harness) = Self::mosquitto_at(network, Ipv4Addr::LOCALHOST) {
                test(&mut harness);
            }
        }
    }

    /// Runs a test for each simulated network.
    pub fn each_simulator(test: impl Fn(&mut Harness)) {
        for network in [Network::V2, Network::V3] {
            test(&mut Self::simulator(network));
        }
    }

    /// Starts the simulated network on an address of its own.
    pub fn simulator(network: Network) -> Self {
        Self::simulator_at(network, loopback())
    }

    /// Starts the simulated network on this address.
    pub fn simulator_at(network: Network, host: Ipv4Addr) -> Self {
        let simulator = Simulator::builder(network)
            .address(format!("{host}:0"))
            .application(app_id(network), access_key(network))
            .quirks(|quirks| quirks.rate_limit = None)
            .start()
            .expect("the simulated network starts");
        Self {
            network,
            server: Server::Simulator(simulator),
        }
    }

    /// Starts Mosquitto on an address of its own.
    pub fn mosquitto(network: Network) -> Option<Self> {
        Self::mosquitto_at(network, loopback())
    }

    fn mosquitto_at(network: Network, host: Ipv4Addr) -> Option<Self> {
        let broker = Mosquitto::builder()
            .at(host)
            .user(app_id(network), access_key(network))
            .user(PEER, PEER)
            .start()?;
        let peer = Self::peer(&broker);
        Some(Self {
            network,
            server: Server::Mosquitto {
                broker: Box::new(broker),
                peer,
            },
        })
    }

    fn peer(broker: &Mosquitto) -> MqttPeer {
        let mut peer = MqttPeer::connect(broker.address(), PEER, PEER).expect("the peer connects");
        for filter in [
            "+/devices/+/down",
            "v3/+/devices/+/down/push",
            "v3/+/devices/+/down/replace",
        ] {
            peer.subscribe(filter).expect("the peer subscribes");
        }
        peer
    }

    /// Returns the simulated network; panics if the server is Mosquitto.
    pub fn simulated(&self) -> &Simulator {
        match &self.server {
            Server::Simulator(network) => network,
            Server::Mosquitto { .. } => panic!("this is Mosquitto"),
        }
    }

    pub fn app_id(&self) -> &'static str {
        app_id(self.network)
    }

    pub fn access_key(&self) -> &'static str {
        access_key(self.network)
    }

    /// Returns a key that the server does not know.
    pub fn wrong_key(&self) -> &'static str {
        match self.network {
            Network::V3 => "NNSXS.WRONG.WRONG",
            _ => "ttn-account-v2.wrong-key",
        }
    }

    pub fn address(&self) -> SocketAddr {
        match &self.server {
            Server::Simulator(network) => network.address(),
            Server::Mosquitto { broker, .. } => broker.address(),
        }
    }

    pub fn builder(&self) -> MqttClientBuilder {
        MqttClient::builder(self.app_id(), access_key(self.network))
            .mqtt_address(self.address().to_string())
    }

    /// Starts a relay to the server; returns it with a builder of clients behind it that reconnect
    /// quickly.
    pub fn relay(&self) -> (Relay, MqttClientBuilder) {
        let relay = Relay::start(self.address()).expect("a free port");
        let builder = self
            .builder()
            .mqtt_address(relay.address().to_string())
            .reconnect_delay(Duration::from_millis(10), Duration::from_millis(50));
        (relay, builder)
    }

    pub fn client(&self) -> MqttClient {
        self.builder().build().expect("the options are valid")
    }

    /// Connects a client with more options; returns it with everything that it reports.
    #[track_caller]
    pub fn listening(
        &self,
        options: impl FnOnce(MqttClientBuilder) -> MqttClientBuilder,
    ) -> (MqttClient, Events) {
        let client = options(self.builder()).build();
        let client = client.expect("the options are valid");
        let events = client.events();
        client.connect().expect("the server is there");
        (client, events)
    }

    /// Connects a client.
    #[track_caller]
    pub fn connected(&self) -> MqttClient {
        self.connected_with(|builder| builder)
    }

    /// Connects a client with more options.
    #[track_caller]
    pub fn connected_with(
        &self,
        options: impl FnOnce(MqttClientBuilder) -> MqttClientBuilder,
    ) -> MqttClient {
        self.listening(options).0
    }

    /// Returns the topic of a device; `kind` is the part after its id.
    pub fn topic(&self, dev_id: &str, kind: &str) -> String {
        let prefix = match self.network {
            Network::V3 => "v3/",
            _ => "",
        };
        format!("{prefix}{}/devices/{dev_id}/{kind}", self.app_id())
    }

    /// Publishes a message of the application, as the network does.
    pub fn publish(&mut self, topic: &str, body: &str) {
        match &mut self.server {
            Server::Simulator(network) => network.publish(topic, body),
            Server::Mosquitto { peer, .. } => {
                peer.publish(topic, body).expect("the peer publishes")
            }
        }
    }

    /// Publishes a message with MQTT's retain flag; returns once the broker has it. Panics if the server
    /// is not Mosquitto.
    pub fn publish_retained(&mut self, topic: &str, body: &str) {
        match &mut self.server {
            Server::Simulator(_) => panic!("the simulated network retains nothing"),
            Server::Mosquitto { peer, .. } => {
                let published = peer.publish_retained(topic, body);
                published
                    .and_then(|()| peer.flush())
                    .expect("the peer publishes");
            }
        }
    }

    /// Returns the network's message for an uplink with this counter.
    pub fn uplink_body(&self, dev_id: &str, counter: u32) -> String {
        let body = match self.network {
            Network::V3 => json!({
                "end_device_ids": {"device_id": dev_id, "application_ids": {"application_id": "greenhouse-demo"}},
                "uplink_message": {"f_port": 1, "f_cnt": counter, "frm_payload": "AQI="},
            }),
            _ => json!({
                "port": 1, "counter": counter, "payload_raw": "AQI=",
                "metadata": {"gateways": [{"gtw_id": "roof"}]},
            }),
        };
        body.to_string()
    }

    /// Publishes an uplink of a device with this counter.
    pub fn uplink(&mut self, dev_id: &str, counter: u32) {
        let body = self.uplink_body(dev_id, counter);
        self.publish(&self.topic(dev_id, "up"), &body);
    }

    /// Returns topic and body of the next messages with downlinks that a client published.
    pub fn downlinks(&mut self, count: usize) -> Vec<(String, String)> {
        let messages = match &mut self.server {
            Server::Simulator(network) => {
                assert!(
                    network.wait_for_published(count, SOON),
                    "{:?}",
                    network.published()
                );
                network.published()
            }
            Server::Mosquitto { peer, .. } => (0..count).map_while(|_| peer.next(SOON)).collect(),
        };
        let text = |bytes| String::from_utf8(bytes).expect("a downlink is UTF-8");
        let messages: Vec<_> = messages
            .into_iter()
            .map(|(topic, body)| (topic, text(body)))
            .collect();
        assert_eq!(messages.len(), count, "{messages:?}");
        messages
    }

    /// Returns all messages with downlinks that clients published, up to the one with the last
    /// body.
    pub fn downlinks_until(&mut self, is_last: impl Fn(&str) -> bool) -> Vec<(String, String)> {
        let is_end = |(_, body): &(String, Vec<u8>)| std::str::from_utf8(body).is_ok_and(&is_last);
        let messages = match &mut self.server {
            Server::Simulator(network) => {
                let ended = || network.published().last().is_some_and(is_end);
                assert!(wait_until(SOON, ended), "the last one is missing");
                network.published()
            }
            Server::Mosquitto { peer, .. } => {
                let mut messages = Vec::new();
                while !messages.last().is_some_and(is_end) {
                    messages.push(peer.next(SOON).expect("the last one is missing"));
                }
                messages
            }
        };
        let text = |bytes| String::from_utf8(bytes).expect("a downlink is UTF-8");
        messages
            .into_iter()
            .map(|(topic, body)| (topic, text(body)))
            .collect()
    }

    /// Ends the server abruptly.
    pub fn kill(&mut self) {
        match &mut self.server {
            Server::Simulator(network) => {
                network.stop();
                wait_until_refused(network.address());
            }
            Server::Mosquitto { broker, .. } => broker.kill(),
        }
    }

    /// Starts the server again on the same port.
    pub fn restart(&mut self) {
        match &mut self.server {
            // A child process that another test starts may hold the socket for a moment.
            Server::Simulator(network) => {
                assert!(wait_until(SOON, || network.restart().is_ok()));
            }
            Server::Mosquitto { broker, peer } => {
                broker.restart();
                *peer = Self::peer(broker);
            }
        }
    }
}

fn app_id(network: Network) -> &'static str {
    match network {
        Network::V3 => "greenhouse-demo@ttn",
        _ => "greenhouse-demo",
    }
}

fn access_key(network: Network) -> &'static str {
    match network {
        Network::V3 => "NNSXS.TEST.KEY",
        _ => "ttn-account-v2.test-key",
    }
}
