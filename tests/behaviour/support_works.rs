//! The test support itself works.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Output};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use rustls::crypto::ring;
use rustls::{
    ALL_VERSIONS, ClientConfig, ClientConnection, HandshakeKind, ProtocolVersion, RootCertStore,
    StreamOwned, SupportedProtocolVersion, version,
};

use crate::support::certificates::{Authority, Certificates, Identity};
use crate::support::child::full_name;
use crate::support::discovery_server::{Answer, DiscoveryServer};
use crate::support::relay::{Fault, Relay, Way};
use crate::support::resources::{pause, wait_until};
use crate::support::tls_front::TlsFront;
use crate::support::watchdog::watchdog;

const SOON: Duration = Duration::from_secs(5);
const SHORT: Duration = Duration::from_millis(150);

/// Runs one test of this binary in a process of its own.
fn run_alone(test: &str, variables: &[(&str, &str)]) -> Output {
    Command::new(std::env::current_exe().expect("a test knows its program"))
        .args(["--exact", test, "--test-threads", "2"])
        .env_remove("TTN_TEST_REQUIRE_MOSQUITTO")
        .envs(variables.iter().copied())
        .output()
        .expect("the test program runs")
}

fn errors_of(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect_timeout(&address, SOON).expect("the port is open");
    stream.set_nodelay(true).expect("open");
    stream.set_read_timeout(Some(SOON)).expect("not zero");
    stream
}

/// Returns whether nothing can be read for a while.
fn is_silent(mut stream: &TcpStream) -> bool {
    stream.set_read_timeout(Some(SHORT)).expect("not zero");
    let error = stream.read(&mut [0]).err().map(|error| error.kind());
    stream.set_read_timeout(Some(SOON)).expect("not zero");
    matches!(
        error,
        Some(io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
    )
}

fn read<const N: usize>(mut stream: &TcpStream) -> [u8; N] {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes).expect("enough bytes arrive");
    bytes
}

/// Returns whether the connection ends before another byte arrives.
fn has_ended(mut stream: &TcpStream) -> bool {
    match stream.read(&mut [0]) {
        Ok(length) => length == 0,
        Err(error) => error.kind() == io::ErrorKind::ConnectionReset,
    }
}

/// A server's socket with a relay in front of it, and both ends of a connection through it.
struct Line {
    relay: Relay,
    server: TcpListener,
    client: TcpStream,
    peer: TcpStream,
}

impl Line {
    fn new() -> Self {
        let server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let relay = Relay::start(server.local_addr().expect("bound")).expect("a free port");
        let client = connect(relay.address());
        let peer = Self::accept(&server);
        assert!(wait_until(SOON, || relay.connections() == 1));
        Self {
            relay,
            server,
            client,
            peer,
        }
    }

    fn accept(server: &TcpListener) -> TcpStream {
        let (peer, _) = server.accept().expect("the relay connects");
        peer.set_nodelay(true).expect("open");
        peer.set_read_timeout(Some(SOON)).expect("not zero");
        peer
    }
}

#[test]
fn a_relay_passes_bytes_both_ways() {
    let mut line = Line::new();
    line.client.write_all(b"up").expect("open");
    assert_eq!(&read(&line.peer), b"up");
    line.peer.write_all(b"down").expect("open");
    assert_eq!(&read(&line.client), b"down");
}

#[test]
fn a_relay_passes_the_end_of_a_connection() {
    let Line {
        relay,
        client,
        peer,
        ..
    } = Line::new();
    drop(peer);
    assert!(has_ended(&client));
    assert!(wait_until(SOON, || relay.connections() == 0));
}

#[test]
fn a_stall_holds_bytes_back_until_it_is_lifted() {
    let mut line = Line::new();
    line.relay.stall();
    line.client.write_all(b"up").expect("open");
    line.peer.write_all(b"down").expect("open");
    assert!(is_silent(&line.client) && is_silent(&line.peer));
    line.relay.pass();
    assert_eq!(&read(&line.peer), b"up");
    assert_eq!(&read(&line.client), b"down");
}

#[test]
fn a_stall_in_one_direction_leaves_the_other_alone() {
    let mut line = Line::new();
    line.relay.set(Way::ToClients, Fault::Stall);
    line.client.write_all(b"up").expect("open");
    line.peer.write_all(b"down").expect("open");
    assert_eq!(&read(&line.peer), b"up");
    assert!(is_silent(&line.client));
}

#[test]
fn a_stall_hides_that_the_server_is_gone() {
    let Line {
        relay,
        client,
        peer,
        ..
    } = Line::new();
    relay.stall();
    drop(peer);
    assert!(is_silent(&client));
    relay.pass();
    assert!(has_ended(&client));
}

#[test]
fn a_cut_ends_both_sides_and_the_next_connection_works() {
    let line = Line::new();
    line.relay.cut();
    assert!(has_ended(&line.client) && has_ended(&line.peer));
    let mut client = connect(line.relay.address());
    let peer = Line::accept(&line.server);
    client.write_all(b"again").expect("open");
    assert_eq!(&read(&peer), b"again");
    assert_eq!(line.relay.accepted(), 2);
}

#[test]
fn a_cut_ends_stalled_connections_too() {
    let mut line = Line::new();
    line.relay.stall();
    line.client.write_all(b"up").expect("open");
    assert!(is_silent(&line.peer));
    line.relay.cut();
    assert!(has_ended(&line.client));
    assert!(wait_until(SOON, || line.relay.connections() == 0));
}

#[test]
fn a_relay_that_refuses_keeps_its_connections_and_its_port() {
    let mut line = Line::new();
    let address = line.relay.address();
    line.relay.refuse();
    let refused = TcpStream::connect_timeout(&address, SOON).expect_err("closed");
    assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    line.client.write_all(b"up").expect("open");
    assert_eq!(&read(&line.peer), b"up");
    line.relay.listen().expect("the port is still free");
    assert_eq!(line.relay.address(), address);
    connect(address).write_all(b"x").expect("open");
    assert_eq!(&read(&Line::accept(&line.server)), b"x");
}

#[test]
fn a_relay_that_rejects_accepts_and_closes() {
    let line = Line::new();
    line.relay.reject(true);
    assert!(has_ended(&connect(line.relay.address())));
    line.relay.reject(false);
    let client = connect(line.relay.address());
    Line::accept(&line.server).write_all(b"x").expect("open");
    assert_eq!(&read(&client), b"x");
}

#[test]
fn a_slow_relay_pauses_after_each_chunk() {
    let mut line = Line::new();
    let pause = Duration::from_millis(30);
    line.relay
        .set(Way::ToClients, Fault::Slow { chunk: 2, pause });
    let start = Instant::now();
    line.peer.write_all(b"123456789").expect("open");
    assert_eq!(&read(&line.client), b"123456789");
    let took = start.elapsed();
    assert!(took >= pause * 4, "9 bytes took {took:?}");
}

#[test]
fn a_relay_cuts_after_so_many_bytes() {
    let mut line = Line::new();
    line.peer.write_all(b"before").expect("open");
    assert_eq!(&read(&line.client), b"before");
    line.relay.set(Way::ToClients, Fault::CutAfter(3));
    line.peer.write_all(b"12").expect("open");
    assert_eq!(&read(&line.client), b"12");
    line.peer.write_all(b"3").expect("open");
    assert_eq!(&read(&line.client), b"3");
    assert!(has_ended(&line.client));

    let client = connect(line.relay.address());
    let mut peer = Line::accept(&line.server);
    peer.write_all(b"12345").expect("open");
    assert_eq!(&read(&client), b"123");
    assert!(has_ended(&client));
}

#[test]
fn a_relay_stalls_after_so_many_bytes() {
    let mut line = Line::new();
    line.relay.set(Way::ToServer, Fault::StallAfter(3));
    line.client.write_all(b"12345").expect("open");
    assert_eq!(&read(&line.peer), b"123");
    assert!(is_silent(&line.peer));
    line.relay.pass();
    assert_eq!(&read(&line.peer), b"45");
}

#[test]
fn a_relay_injects_bytes_that_the_server_never_sent() {
    let line = Line::new();
    assert_eq!(line.relay.inject(b"noise"), 1);
    assert_eq!(&read(&line.client), b"noise");
    assert!(is_silent(&line.peer));
}

#[test]
fn dropping_a_relay_ends_its_stalled_connections() {
    let _guard = watchdog(SOON * 4);
    let Line {
        relay, mut client, ..
    } = Line::new();
    relay.stall();
    client.write_all(b"up").expect("open");
    drop(relay);
    assert!(has_ended(&client));
}

type TlsStream = StreamOwned<ClientConnection, TcpStream>;

/// Returns the configuration of a TLS client that trusts `authority`.
fn tls_client(
    authority: &Authority,
    identity: Option<&Identity>,
    versions: &[&'static SupportedProtocolVersion],
) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    let root = authority.certificate().clone();
    roots.add(root).expect("a root certificate");
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(versions)
        .expect("known versions")
        .with_root_certificates(roots);
    let config = match identity {
        None => builder.with_no_client_auth(),
        Some(identity) => builder
            .with_client_auth_cert(identity.chain(), identity.key())
            .expect("they belong together"),
    };
    Arc::new(config)
}

fn shake_hands(
    config: &Arc<ClientConfig>,
    address: SocketAddr,
    host: &str,
) -> Result<TlsStream, String> {
    let name = host.to_owned().try_into().expect("a name or an address");
    let client = ClientConnection::new(Arc::clone(config), name).expect("a valid configuration");
    let mut stream = StreamOwned::new(client, connect(address));
    while stream.conn.is_handshaking() {
        let result = stream.conn.complete_io(&mut stream.sock);
        result.map_err(|error| error.to_string())?;
    }
    Ok(stream)
}

/// Returns the result of a handshake by a TLS client that trusts `authority`.
fn handshake(
    address: SocketAddr,
    host: &str,
    authority: &Authority,
    identity: Option<&Identity>,
) -> Result<TlsStream, String> {
    let config = tls_client(authority, identity, ALL_VERSIONS);
    shake_hands(&config, address, host)
}

/// Starts a front for a server that echoes what it receives.
fn echoing_front(start: impl FnOnce(SocketAddr) -> io::Result<TlsFront>) -> TlsFront {
    let server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let front = start(server.local_addr().expect("bound")).expect("a free port");
    thread::spawn(move || {
        let mut stream = Line::accept(&server);
        let mut sink = stream.try_clone().expect("descriptors are left");
        io::copy(&mut stream, &mut sink)
    });
    front
}

#[test]
fn a_tls_front_is_trusted_by_host_name_and_by_address() {
    let certificates = Certificates::new();
    for host in ["localhost", "127.0.0.1"] {
        let front = echoing_front(|server| TlsFront::start(&certificates.server, server));
        let mut tls = handshake(front.address(), host, &certificates.authority, None)
            .expect("the certificate is in order");
        tls.write_all(b"hello").expect("open");
        let mut answer = [0; 5];
        tls.read_exact(&mut answer).expect("the server answers");
        assert_eq!(&answer, b"hello");
    }
}

#[test]
fn certificates_that_are_not_in_order_are_refused_for_their_reason() {
    let certificates = Certificates::new();
    for (identity, reason) in [
        (&certificates.expired, "certificate expired"),
        (&certificates.wrong_host, "not valid for name"),
        (&certificates.foreign, "UnknownIssuer"),
    ] {
        let front = echoing_front(|server| TlsFront::start(identity, server));
        let refused = handshake(front.address(), "localhost", &certificates.authority, None)
            .expect_err("not in order");
        assert!(refused.contains(reason), "{refused}");
    }
}

/// Starts a front for a server that echoes what it receives, for any number of clients.
fn front_for_many(start: impl FnOnce(SocketAddr) -> io::Result<TlsFront>) -> TlsFront {
    let server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let front = start(server.local_addr().expect("bound")).expect("a free port");
    thread::spawn(move || {
        for stream in server.incoming().map_while(Result::ok) {
            let mut sink = stream.try_clone().expect("descriptors are left");
            thread::spawn(move || io::copy(&mut { stream }, &mut sink));
        }
    });
    front
}

fn echoes(mut tls: TlsStream) -> Result<(), String> {
    let mut answer = [0; 2];
    tls.write_all(b"hi")
        .and_then(|()| tls.read_exact(&mut answer))
        .map_err(|error| error.to_string())?;
    assert_eq!(&answer, b"hi");
    Ok(())
}

#[test]
fn a_tls_front_can_ask_for_a_certificate() {
    let certificates = Certificates::new();
    let authority = &certificates.authority;
    let folder = certificates.folder();
    let stranger = certificates.foreign_authority.client(folder, "stranger");
    for version in ALL_VERSIONS {
        let versions = &[*version];
        let front = front_for_many(|server| {
            TlsFront::builder(&certificates.server)
                .known_clients(authority)
                .versions(versions)
                .start(server)
        });
        // Repeated: whether a reset overtakes the alert is a matter of luck.
        for (identity, welcome) in [
            (Some(&certificates.client), true),
            (Some(&stranger), false),
            (None, false),
        ]
        .repeat(30)
        {
            let config = tls_client(authority, identity, ALL_VERSIONS);
            // With TLS 1.3, the refusal comes after the client's side of the handshake.
            let echoed = shake_hands(&config, front.address(), "localhost").and_then(echoes);
            assert_eq!(echoed.is_ok(), welcome, "{version:?}: {echoed:?}");
            if let Err(reason) = echoed {
                assert!(reason.contains("alert"), "{version:?}: {reason}");
            }
        }
    }
}

#[test]
fn a_tls_front_speaks_the_versions_it_is_told_to() {
    let certificates = Certificates::new();
    let authority = &certificates.authority;
    for (version, other, number) in [
        (&version::TLS12, &version::TLS13, ProtocolVersion::TLSv1_2),
        (&version::TLS13, &version::TLS12, ProtocolVersion::TLSv1_3),
    ] {
        let versions = &[version];
        let front = front_for_many(|server| {
            TlsFront::builder(&certificates.server)
                .versions(versions)
                .start(server)
        });
        let config = tls_client(authority, None, ALL_VERSIONS);
        let tls = shake_hands(&config, front.address(), "localhost").expect("a common version");
        assert_eq!(tls.conn.protocol_version(), Some(number));
        echoes(tls).expect("open");
        let config = tls_client(authority, None, &[other]);
        let refused = shake_hands(&config, front.address(), "localhost").expect_err("no version");
        assert!(refused.contains("ProtocolVersion"), "{refused}");
    }
}

#[test]
fn sessions_of_a_tls_front_resume_with_and_without_a_client_certificate() {
    let certificates = Certificates::new();
    let authority = &certificates.authority;
    for version in ALL_VERSIONS {
        for identity in [None, Some(&certificates.client)] {
            let front = front_for_many(|server| {
                let front = TlsFront::builder(&certificates.server);
                match identity {
                    None => front.start(server),
                    Some(_) => front.known_clients(authority).start(server),
                }
            });
            let config = tls_client(authority, identity, &[*version]);
            for kind in [HandshakeKind::Full, HandshakeKind::Resumed] {
                let tls = shake_hands(&config, front.address(), "localhost").expect("in order");
                assert_eq!(tls.conn.handshake_kind(), Some(kind), "{version:?}");
                echoes(tls).expect("open");
            }
        }
    }
}

#[test]
fn a_tls_front_passes_the_end_of_either_side_after_all_that_came_before() {
    let _guard = watchdog(SOON * 4);
    let certificates = Certificates::new();
    let config = tls_client(&certificates.authority, None, ALL_VERSIONS);
    let server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let upstream = server.local_addr().expect("bound");
    let front = TlsFront::start(&certificates.server, upstream).expect("a free port");
    let sent = vec![7; 300_000];

    let mut tls = shake_hands(&config, front.address(), "localhost").expect("in order");
    let mut peer = Line::accept(&server);
    tls.conn.send_close_notify();
    tls.flush().expect("open");
    assert!(has_ended(&peer));
    peer.write_all(&sent).expect("open");
    drop(peer);
    let mut received = Vec::new();
    tls.read_to_end(&mut received).expect("an orderly end");
    assert_eq!(sent, received);

    let mut tls = shake_hands(&config, front.address(), "localhost").expect("in order");
    let mut peer = Line::accept(&server);
    peer.write_all(&sent).expect("open");
    peer.shutdown(Shutdown::Write).expect("open");
    let mut received = Vec::new();
    tls.read_to_end(&mut received).expect("an orderly end");
    assert_eq!(sent, received);
    tls.write_all(b"hello").expect("open");
    assert_eq!(&read(&peer), b"hello");
}

#[test]
fn a_tls_front_carries_long_messages_both_ways() {
    let _guard = watchdog(Duration::from_secs(60));
    let certificates = Certificates::new();
    let front = echoing_front(|server| TlsFront::start(&certificates.server, server));
    let mut tls = handshake(front.address(), "localhost", &certificates.authority, None)
        .expect("the certificate is in order");
    for round in 0..200_u8 {
        let sent = vec![round; 20_000];
        tls.write_all(&sent).expect("open");
        let mut received = vec![0; sent.len()];
        tls.read_exact(&mut received).expect("the echo comes");
        assert_eq!(sent, received);
    }
}

#[test]
fn dropping_a_tls_front_ends_its_connections() {
    let _guard = watchdog(SOON * 4);
    let certificates = Certificates::new();
    let front = echoing_front(|server| TlsFront::start(&certificates.server, server));
    let mut open = handshake(front.address(), "localhost", &certificates.authority, None)
        .expect("the certificate is in order");
    let half_open = connect(front.address());
    drop(front);
    assert!(!matches!(open.read(&mut [0]), Ok(1..)));
    assert!(has_ended(&half_open));
}

fn get(server: &DiscoveryServer, path: &str) -> TcpStream {
    let mut stream = connect(server.address());
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer key\r\nConnection: close\r\n\r\n"
    )
    .expect("open");
    stream
}

fn answer(server: &DiscoveryServer, path: &str) -> String {
    let mut text = String::new();
    get(server, path)
        .read_to_string(&mut text)
        .expect("the answer is text and ends");
    text
}

#[test]
fn a_discovery_server_answers_and_remembers() {
    let server = DiscoveryServer::start(|path| match path {
        "/ok?x=1" => Answer::Json(200, r#"{"services":[]}"#.to_owned()),
        "/moved" => Answer::Redirect(302, "/ok".to_owned()),
        _ => Answer::Text(404, "nothing here".to_owned()),
    })
    .expect("a free port");
    let found = answer(&server, "/ok?x=1");
    assert!(found.starts_with("HTTP/1.1 200") && found.ends_with(r#"{"services":[]}"#));
    assert!(found.contains("Content-Type: application/json\r\n"));
    let missing = answer(&server, "/other");
    assert!(missing.starts_with("HTTP/1.1 404") && missing.ends_with("nothing here"));
    assert!(answer(&server, "/moved").contains("Location: /ok\r\n"));
    assert_eq!(server.paths(), ["/ok?x=1", "/other", "/moved"]);
    let key = server.requests()[0].authorization.clone();
    assert_eq!(key.as_deref(), Some("Bearer key"));
}

#[test]
fn a_discovery_server_hangs_until_it_is_dropped() {
    let server = DiscoveryServer::start(|_| Answer::Hang).expect("a free port");
    let client = get(&server, "/");
    assert!(wait_until(SOON, || server.paths().len() == 1));
    assert!(is_silent(&client));
    drop(server);
    assert!(!is_silent(&client));
}

#[test]
fn an_endless_list_ends_when_nobody_listens() {
    let _guard = watchdog(SOON * 4);
    let server = DiscoveryServer::start(|_| Answer::EndlessList).expect("a free port");
    let mut client = get(&server, "/");
    let mut some = vec![0; 4 * 1024 * 1024];
    client.read_exact(&mut some).expect("it is endless");
    assert!(String::from_utf8_lossy(&some).contains(r#"{"services":[{"service_name""#));
    drop(client);
    let start = Instant::now();
    drop(server);
    assert!(start.elapsed() < Duration::from_secs(2));
}

#[test]
fn waiting_ends_with_the_condition_or_the_time() {
    let mut asked = 0;
    assert!(wait_until(SOON, || {
        asked += 1;
        asked == 3
    }));
    let start = Instant::now();
    assert!(!wait_until(SHORT, || false));
    assert!(start.elapsed() >= SHORT);
}

#[cfg(target_os = "linux")]
#[test]
fn resources_are_counted() {
    use crate::support::resources::{descriptors, resident_kib, thread_names, threads};

    let (end, ended) = mpsc::channel::<()>();
    let thread = thread::Builder::new()
        .name("counted".to_owned())
        .spawn(move || ended.recv_timeout(SOON))
        .expect("a thread can be started");
    let is_named = || thread_names().contains(&"counted".to_owned());
    assert!(wait_until(SOON, is_named));
    assert!(threads() >= 2 && descriptors() >= 3);
    assert!((100..4_000_000).contains(&resident_kib()));
    drop(end);
    assert!(thread.join().is_ok());
    assert!(wait_until(SOON, || !is_named()));
}

#[test]
fn a_watchdog_ends_a_test_that_hangs() {
    const NAME: &str = "a_watchdog_ends_a_test_that_hangs";
    if std::env::var_os("TTN_TEST_HANG").is_some() {
        let _guard = watchdog(Duration::from_millis(50));
        pause(SOON * 4);
        return;
    }
    let start = Instant::now();
    let name = full_name(module_path!(), NAME);
    let output = run_alone(&name, &[("TTN_TEST_HANG", "1")]);
    assert!(start.elapsed() < SOON * 2);
    assert!(!output.status.success());
    let errors = errors_of(&output);
    assert!(errors.contains(&format!("WATCHDOG {name}")), "{errors}");
}

#[test]
fn a_watchdog_that_is_dropped_does_nothing() {
    drop(watchdog(SHORT));
    pause(SHORT * 2);
}

#[cfg(unix)]
mod mosquitto {
    use super::*;
    use crate::support::mosquitto::{Mosquitto, TlsVersion};
    use crate::support::old_tls::OldTls;
    use crate::support::peer::MqttPeer;

    fn peer(broker: &Mosquitto) -> MqttPeer {
        MqttPeer::connect(broker.address(), "app", "secret").expect("the broker is up")
    }

    fn exchange(broker: &Mosquitto) {
        let mut reader = peer(broker);
        reader.subscribe("app/#").expect("allowed");
        let long = vec![7; 100_000];
        let mut writer = peer(broker);
        writer.publish("app/devices/dev/up", &long).expect("open");
        writer.publish("app/events", []).expect("open");
        let message = reader.next(SOON).expect("a message comes");
        assert_eq!(message, ("app/devices/dev/up".to_owned(), long));
        assert_eq!(reader.next(SOON), Some(("app/events".to_owned(), vec![])));
        assert_eq!(reader.next(SHORT), None);
    }

    #[test]
    fn messages_pass_through_mosquitto() {
        let Some(broker) = Mosquitto::builder().start() else {
            return;
        };
        exchange(&broker);
    }

    #[test]
    fn a_password_keeps_others_out() {
        let Some(broker) = Mosquitto::builder()
            .user("other", "x")
            .user("app", "secret")
            .start()
        else {
            return;
        };
        exchange(&broker);
        let refused = MqttPeer::connect(broker.address(), "app", "wrong").expect_err("wrong");
        assert_eq!(refused.to_string(), "CONNACK [0, 5]");
    }

    #[test]
    fn an_acl_keeps_messages_from_those_who_may_not_read_them() {
        let Some(broker) = Mosquitto::builder()
            .user("app", "secret")
            .user("network", "secret")
            .acl("user app\ntopic read app/#\n\nuser network\ntopic readwrite #\n")
            .start()
        else {
            return;
        };
        let mut reader = peer(&broker);
        reader.subscribe("#").expect("granted");
        let mut network = MqttPeer::connect(broker.address(), "network", "secret").expect("up");
        network
            .publish("foreign/devices/dev/up", "x")
            .expect("open");
        network.publish("app/devices/dev/up", "y").expect("open");
        let message = reader.next(SOON).expect("a message comes");
        assert_eq!(message, ("app/devices/dev/up".to_owned(), b"y".to_vec()));
    }

    #[test]
    fn a_flood_loses_nothing() {
        const MESSAGES: usize = 20_000;
        let Some(broker) = Mosquitto::builder().start() else {
            return;
        };
        let mut reader = peer(&broker);
        reader.subscribe("flood").expect("allowed");
        let mut writer = peer(&broker);
        // Together they exceed the kernel's buffers.
        let payload = |number: usize| format!("{number:01000}").into_bytes();
        for number in 0..MESSAGES {
            writer.publish("flood", payload(number)).expect("open");
        }
        writer.flush().expect("the broker has read them");
        for number in 0..MESSAGES {
            let (_, received) = reader.next(SOON).expect("none is lost");
            assert_eq!(received, payload(number));
        }
    }

    #[test]
    fn a_killed_broker_comes_back_on_the_same_ports() {
        let certificates = Certificates::new();
        let Some(mut broker) = Mosquitto::builder().tls(&certificates.server).start() else {
            return;
        };
        let addresses = (broker.address(), broker.tls_address());
        let connection = connect(broker.address());
        broker.kill();
        assert!(has_ended(&connection));
        assert!(TcpStream::connect_timeout(&broker.address(), SOON).is_err());
        broker.restart();
        assert_eq!(addresses, (broker.address(), broker.tls_address()));
        exchange(&broker);
        broker.restart();
        exchange(&broker);
    }

    #[test]
    fn a_stopped_broker_is_silent_until_it_is_resumed() {
        let Some(broker) = Mosquitto::builder().start() else {
            return;
        };
        let mut reader = peer(&broker);
        reader.subscribe("x").expect("allowed");
        let mut writer = peer(&broker);
        broker.stop();
        writer.publish("x", "late").expect("the kernel takes it");
        assert_eq!(reader.next(SHORT), None);
        broker.resume();
        assert_eq!(reader.next(SOON), Some(("x".to_owned(), b"late".to_vec())));
    }

    #[test]
    fn a_stopped_broker_can_be_dropped() {
        let _guard = watchdog(SOON * 4);
        let Some(broker) = Mosquitto::builder().start() else {
            return;
        };
        broker.stop();
        let address = broker.address();
        drop(broker);
        assert!(TcpStream::connect_timeout(&address, SOON).is_err());
    }

    #[test]
    fn a_changed_password_ends_the_sessions_of_the_old_one() {
        let Some(broker) = Mosquitto::builder().user("app", "secret").start() else {
            return;
        };
        let mut old = peer(&broker);
        broker.change_password("app", "changed");
        assert!(old.flush().is_err());
        assert!(MqttPeer::connect(broker.address(), "app", "secret").is_err());
        assert!(MqttPeer::connect(broker.address(), "app", "changed").is_ok());
    }

    #[test]
    fn mosquitto_speaks_tls() {
        let certificates = Certificates::new();
        let Some(broker) = Mosquitto::builder().tls(&certificates.server).start() else {
            return;
        };
        let address = broker.tls_address().expect("there is a TLS listener");
        let authority = &certificates.authority;
        assert!(handshake(address, "localhost", authority, None).is_ok());
        assert!(handshake(address, "127.0.0.1", authority, None).is_ok());
        let foreign = &certificates.foreign_authority;
        assert!(handshake(address, "localhost", foreign, None).is_err());
        exchange(&broker);
    }

    #[test]
    fn mosquitto_speaks_the_version_of_tls_it_is_told_to() {
        let certificates = Certificates::new();
        let authority = &certificates.authority;
        for (version, number) in [
            (TlsVersion::V12, ProtocolVersion::TLSv1_2),
            (TlsVersion::V13, ProtocolVersion::TLSv1_3),
        ] {
            let broker = Mosquitto::builder().tls(&certificates.server);
            let Some(broker) = broker.tls_version(version).start() else {
                return;
            };
            let address = broker.tls_address().expect("there is a TLS listener");
            let tls = handshake(address, "localhost", authority, None).expect("a common version");
            assert_eq!(tls.conn.protocol_version(), Some(number));
            let others = ALL_VERSIONS.iter().filter(|other| other.version != number);
            let config = tls_client(authority, None, &others.copied().collect::<Vec<_>>());
            let refused = shake_hands(&config, address, "localhost").expect_err("no version");
            assert!(refused.contains("ProtocolVersion"), "{refused}");
        }
    }

    #[test]
    fn an_old_server_speaks_no_current_version_of_tls() {
        let certificates = Certificates::new();
        for version in ["-tls1", "-tls1_1"] {
            let Some(server) = OldTls::start(&certificates.server, version) else {
                return;
            };
            let address = (Ipv4Addr::LOCALHOST, server.port()).into();
            let refused = handshake(address, "localhost", &certificates.authority, None);
            let refused = refused.expect_err("no version");
            assert!(refused.contains("ProtocolVersion"), "{refused}");
        }
    }

    #[test]
    fn mosquitto_can_ask_for_a_certificate() {
        let certificates = Certificates::new();
        let authority = &certificates.authority;
        let Some(broker) = Mosquitto::builder()
            .tls_for_known_clients(&certificates.server, authority)
            .start()
        else {
            return;
        };
        let address = broker.tls_address().expect("there is a TLS listener");
        for (identity, welcome) in [(Some(&certificates.client), true), (None, false)] {
            let answered = handshake(address, "localhost", authority, identity)
                .map_err(io::Error::other)
                .and_then(|mut tls| {
                    // CONNECT with an empty client id.
                    tls.write_all(b"\x10\x0c\x00\x04MQTT\x04\x02\x00\x00\x00\x00")?;
                    tls.read_exact(&mut [0; 4])
                });
            assert_eq!(answered.is_ok(), welcome, "{answered:?}");
        }
    }

    #[test]
    fn without_mosquitto_a_test_is_skipped_aloud_or_fails() {
        let name = full_name(module_path!(), "messages_pass_through_mosquitto");
        let absent = ("TTN_TEST_MOSQUITTO", "/nonexistent/mosquitto");
        let output = run_alone(&name, &[absent]);
        let errors = errors_of(&output);
        assert!(output.status.success(), "{errors}");
        assert!(
            errors.contains(&format!("SKIPPED {name}: mosquitto not found. Install it")),
            "{errors}"
        );
        let output = run_alone(&name, &[absent, ("TTN_TEST_REQUIRE_MOSQUITTO", "1")]);
        assert!(!output.status.success());
    }

    #[test]
    fn a_watchdog_takes_the_brokers_along() {
        const NAME: &str = "a_watchdog_takes_the_brokers_along";
        const PORT: &str = "PORT ";
        let Some(broker) = Mosquitto::builder().start() else {
            return;
        };
        if std::env::var_os("TTN_TEST_HANG").is_some() {
            let _guard = watchdog(Duration::from_millis(50));
            let _ = writeln!(io::stderr(), "{PORT}{}", broker.port());
            pause(SOON * 4);
            return;
        }
        let name = full_name(module_path!(), NAME);
        let errors = errors_of(&run_alone(&name, &[("TTN_TEST_HANG", "1")]));
        let port = errors.lines().find_map(|line| line.strip_prefix(PORT));
        let port: u16 = port.and_then(|port| port.parse().ok()).expect("a port");
        let gone = || TcpStream::connect_timeout(&(Ipv4Addr::LOCALHOST, port).into(), SOON);
        assert!(wait_until(SOON, || gone().is_err()));
    }

    #[test]
    fn a_broker_that_does_not_start_shows_its_log() {
        let broken = Mosquitto::builder().acl("nonsense\n");
        let Some(_) = Mosquitto::builder().start() else {
            return;
        };
        let panic = std::panic::catch_unwind(|| broken.start()).expect_err("it does not start");
        let text = panic.downcast_ref::<String>().expect("it has a message");
        assert!(text.contains("Error: "), "{text}");
    }
}
