//! MQTT over TLS on the simulated networks.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion,
};
use serde_json::json;
use ttn::crossbeam_channel::bounded;
use ttn::simulator::{Activity, Disconnection, Simulator};
use ttn::{Event, MqttClient, MqttClientBuilder, Network};

use crate::support::attempts::connects;
use crate::support::raw::{Hello, LONG, Raw, SHORT, frame, string};

fn start(network: Network) -> Simulator {
    Simulator::builder(network).tls(true).start().unwrap()
}

fn client(network: &Simulator) -> MqttClientBuilder {
    MqttClient::builder(network.app_id(), network.access_key())
        .mqtt_address(network.mqtt_address())
        .ca_pem(network.authority())
}

type Secured = StreamOwned<ClientConnection, TcpStream>;

/// Connects with TLS of these versions, as a client that trusts the authority of the network.
fn open(
    network: &Simulator,
    name: &str,
    versions: &[&'static SupportedProtocolVersion],
) -> io::Result<Secured> {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(network.authority().as_bytes()).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut connection = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut stream = TcpStream::connect(network.address()).unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    while connection.is_handshaking() {
        connection.complete_io(&mut stream)?;
    }
    Ok(StreamOwned::new(connection, stream))
}

fn secured(network: &Simulator) -> Secured {
    open(network, "localhost", rustls::ALL_VERSIONS).unwrap()
}

fn read<const N: usize>(line: &mut impl Read) -> [u8; N] {
    let mut bytes = [0; N];
    line.read_exact(&mut bytes).unwrap();
    bytes
}

#[test]
fn our_own_client_receives_and_sends_on_both_networks() {
    for kind in [Network::V3, Network::V2] {
        let network = start(kind);
        let device = network.device("pump-1");
        let client = client(&network).build().unwrap();
        let events = client.events();
        client.connect().unwrap();
        device.uplink(2, [7]);
        let uplink = events.iter().find_map(|event| match event {
            Event::Uplink(uplink) => Some(uplink.payload_raw.to_vec()),
            _ => None,
        });
        assert_eq!(uplink, Some(vec![7]));
        client.send("pump-1", [1, 2]).unwrap();
        assert!(network.wait_for_published(1, LONG));
        device.uplink(2, [8]);
        assert_eq!(device.next_downlink(LONG).unwrap().payload, [1, 2]);
        client.close().unwrap();
        assert!(network.wait_for_clients(0, LONG));
    }
}

#[test]
fn both_versions_of_tls_are_spoken() {
    let network = start(Network::V3);
    for versions in [&[&rustls::version::TLS12], &[&rustls::version::TLS13]] {
        let mut line = open(&network, "localhost", versions).unwrap();
        line.write_all(&Hello::of(&network).bytes()).unwrap();
        assert_eq!(read(&mut line), [0x20, 2, 0, 0]);
    }
}

#[test]
fn the_certificate_has_the_names_that_are_asked_for_and_no_others() {
    let builder = Simulator::builder(Network::V3).tls(true).https(true);
    let network = builder.certificate_name("network.test").start().unwrap();
    for name in ["localhost", "127.0.0.1", "::1", "network.test"] {
        assert!(open(&network, name, rustls::ALL_VERSIONS).is_ok(), "{name}");
    }
    assert!(open(&network, "other.test", rustls::ALL_VERSIONS).is_err());
    assert!(network.http_address().starts_with("https://"));
}

#[test]
fn a_name_that_no_certificate_can_have_is_an_error() {
    let builder = Simulator::builder(Network::V3).tls(true);
    assert!(builder.certificate_name("müller.test").start().is_err());
}

#[test]
fn http_announces_the_port_with_tls() {
    let network = start(Network::V3);
    let client = MqttClient::builder(network.app_id(), network.access_key())
        .discovery_address(network.http_address())
        .ca_pem(network.authority())
        .build()
        .unwrap();
    connects(&client);
}

#[test]
fn quirks_apply_over_tls() {
    let network = start(Network::V3);
    let hello = Hello::of(&network).bytes();
    network.quirks(|quirks| quirks.connack = Some(3));
    let mut line = secured(&network);
    line.write_all(&hello).unwrap();
    assert_eq!(read(&mut line), [0x20, 2, 0, 3]);
    // It says goodbye, as a server does that ends a connection on purpose.
    assert_eq!(line.read(&mut [0]).unwrap(), 0);

    network.quirks(|quirks| {
        quirks.connack = None;
        quirks.ignore_pings = true;
    });
    let mut line = secured(&network);
    line.write_all(&hello).unwrap();
    assert_eq!(read(&mut line), [0x20, 2, 0, 0]);
    line.write_all(&[0xc0, 0]).unwrap();
    line.sock.set_read_timeout(Some(SHORT)).unwrap();
    assert!(line.read(&mut [0]).is_err());

    network.quirks(|quirks| quirks.close_on_accept = true);
    assert!(open(&network, "localhost", rustls::ALL_VERSIONS).is_err());
}

#[test]
fn a_client_without_tls_or_without_trust_is_told() {
    let (sender, activities) = bounded(100);
    let builder = Simulator::builder(Network::V3).tls(true).activity(sender);
    let network = builder.start().unwrap();
    let mut plain = Raw::open(&network);
    plain.write(&Hello::of(&network).bytes());
    let failed = |activity| match activity {
        Activity::Failed {
            cause: Disconnection::Tls(cause),
            ..
        } => cause,
        other => panic!("{other:?}"),
    };
    let cause = failed(activities.recv_timeout(LONG).unwrap());
    assert!(cause.contains("corrupt message"), "{cause}");

    let other = start(Network::V3);
    let client = client(&network).ca_pem(other.authority()).build().unwrap();
    assert!(client.connect().is_err());
    let cause = failed(activities.recv_timeout(LONG).unwrap());
    assert!(cause.contains("UnknownCA"), "{cause}");
}

#[test]
fn an_unfinished_handshake_ends_in_time_and_with_the_network() {
    let network = start(Network::V3);
    network.quirks(|quirks| quirks.connect_timeout = Duration::from_millis(200));
    let mut slow = TcpStream::connect(network.address()).unwrap();
    slow.set_read_timeout(Some(LONG)).unwrap();
    // The beginning of a ClientHello.
    slow.write_all(&[0x16, 3, 1]).unwrap();
    assert_eq!(slow.read(&mut [0]).unwrap_or(0), 0);

    network.quirks(|quirks| quirks.connect_timeout = Duration::from_secs(3600));
    let _waiting = TcpStream::connect(network.address()).unwrap();
    network.stop();
}

#[test]
fn large_messages_arrive_while_the_client_writes() {
    let network = start(Network::V3);
    let device = network.device("pump-1");
    let mut line = secured(&network);
    line.write_all(&Hello::of(&network).bytes()).unwrap();
    assert_eq!(read(&mut line), [0x20, 2, 0, 0]);
    let filter = "v3/simulated-app@ttn/devices/+/up";
    line.write_all(&frame(
        0x82,
        &[vec![0, 9], string(filter), vec![0]].concat(),
    ))
    .unwrap();
    assert_eq!(read(&mut line), [0x90, 3, 0, 9, 0]);
    // More than one record, in both directions.
    let text = "x".repeat(100_000);
    let message = json!({"text": text}).to_string();
    let topic = "v3/simulated-app@ttn/devices/pump-1/up";
    for _ in 0..20 {
        network.publish(topic, &message);
        line.write_all(&frame(
            0x30,
            &[
                &string("v3/simulated-app@ttn/devices/pump-1/down/push"),
                message.as_bytes(),
            ]
            .concat(),
        ))
        .unwrap();
        let mut packet = [vec![0; 4]].concat();
        line.read_exact(&mut packet).unwrap();
        let mut body = vec![0; 2 + topic.len() + message.len()];
        line.read_exact(&mut body).unwrap();
        assert!(body.ends_with(message.as_bytes()));
    }
    assert!(network.wait_for_published(20, LONG));
    device.uplink(1, [1]);
    line.sock.shutdown(Shutdown::Write).unwrap();
    assert!(network.wait_for_clients(0, LONG));
}
