//! One behaviour, two servers: the simulated network and a real Mosquitto.

use std::time::Duration;

use ttn::{MqttClient, MqttClientBuilder, Network, simulator::Simulator};

use super::{mosquitto::Mosquitto, peer::MqttPeer};

const APP: &str = "greenhouse-demo";
const KEY: &str = "ttn-account-v2.test-key";
const PEER: &str = "network-server";

/// How long a test waits for something that should happen.
pub const SOON: Duration = Duration::from_secs(10);

/// A server to test against, with one application.
pub enum Harness {
    Simulator(Simulator),
    Mosquitto {
        broker: Mosquitto,
        /// Plays the network server's part.
        peer: MqttPeer,
    },
}

impl Harness {
    /// Runs a test against the simulated network and, where there is one, against Mosquitto.
    pub fn each(test: impl Fn(&mut Harness)) {
        test(&mut Self::simulator());
        if let Some(mut harness) = Self::mosquitto() {
            test(&mut harness);
        }
    }

    pub fn simulator() -> Self {
        let network = Simulator::builder(Network::V2)
            .application(APP, KEY)
            .start()
            .expect("the simulated network starts");
        Self::Simulator(network)
    }

    pub fn mosquitto() -> Option<Self> {
        let broker = Mosquitto::builder()
            .user(APP, KEY)
            .user(PEER, PEER)
            .start()?;
        let peer = Self::peer(&broker);
        Some(Self::Mosquitto { broker, peer })
    }

    fn peer(broker: &Mosquitto) -> MqttPeer {
        let mut peer = MqttPeer::connect(broker.address(), PEER, PEER).expect("the peer connects");
        peer.subscribe("+/devices/+/down")
            .expect("the peer subscribes");
        peer
    }

    pub fn address(&self) -> std::net::SocketAddr {
        match self {
            Self::Simulator(network) => network.address(),
            Self::Mosquitto { broker, .. } => broker.address(),
        }
    }

    pub fn builder(&self) -> MqttClientBuilder {
        MqttClient::builder(APP, KEY).mqtt_address(self.address().to_string())
    }

    pub fn client(&self) -> MqttClient {
        self.builder().build().expect("the options are valid")
    }

    /// The network publishes a message of the application.
    pub fn publish(&mut self, kind: &str, body: &str) {
        let topic = format!("{APP}/devices/{kind}");
        match self {
            Self::Simulator(network) => network.publish(&topic, body),
            Self::Mosquitto { peer, .. } => peer.publish(&topic, body).expect("the peer publishes"),
        }
    }

    /// A device sends an uplink with this counter.
    pub fn uplink(&mut self, dev_id: &str, counter: u32) {
        let body = format!(r#"{{"port":1,"counter":{counter},"payload_raw":"AQI="}}"#);
        self.publish(&format!("{dev_id}/up"), &body);
    }

    /// The next downlink that a client published: topic and body.
    pub fn downlinks(&mut self, count: usize) -> Vec<(String, String)> {
        let messages = match self {
            Self::Simulator(network) => {
                assert!(
                    network.wait_for_published(count, SOON),
                    "{:?}",
                    network.published()
                );
                network.published()
            }
            Self::Mosquitto { peer, .. } => (0..count).map_while(|_| peer.next(SOON)).collect(),
        };
        let text = |bytes| String::from_utf8(bytes).expect("a downlink is UTF-8");
        let messages: Vec<_> = messages
            .into_iter()
            .map(|(topic, body)| (topic, text(body)))
            .collect();
        assert_eq!(messages.len(), count, "{messages:?}");
        messages
    }

    /// The server is gone from one moment to the next.
    pub fn kill(&mut self) {
        match self {
            Self::Simulator(network) => network.stop(),
            Self::Mosquitto { broker, .. } => broker.kill(),
        }
    }

    /// The server is back, on the same port.
    pub fn restart(&mut self) {
        match self {
            Self::Simulator(network) => network.restart().expect("the port is free again"),
            Self::Mosquitto { broker, peer } => {
                broker.restart();
                *peer = Self::peer(broker);
            }
        }
    }
}
