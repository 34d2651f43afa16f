//! Connecting through a proxy: MQTT and discovery, with and without TLS, and the errors if the
//! proxy does not open a connection.

#![cfg(unix)]

use std::{
    env,
    ffi::OsStr,
    net::{SocketAddr, TcpListener},
    time::{Duration, Instant},
};

use crate::support::{
    attempts,
    certificates::{Certificates, Identity},
    child::run_alone,
    discovery_server::{Answer, DiscoveryServer},
    harness::SOON,
    resources::{loopback, wait_until_refused},
    tls_front::TlsFront,
    watchdog::watchdog,
    way_out::{Speech, WayOut, WayOutBuilder},
};
use serde_json::json;
use ttn::{Error, ErrorKind, Event, MqttClient, MqttClientBuilder, Network, simulator::Simulator};

const LIMIT: Duration = Duration::from_secs(60);

/// The time limit for an attempt that must not end by timeout.
const TIMEOUT: Duration = Duration::from_secs(20);

const APP: &str = "greenhouse";
const KEY: &str = "ttn-account-v2.a-key-of-the-tests";

/// A name that only the proxy can resolve.
const NAME: &str = "network.invalid";

const USER: &str = "jane";
const SECRET: &str = "kEepTh1s:@/%é";
const CREDENTIALS: &str = "jane:kEepTh1s%3A%40%2F%25%C3%A9@";

const BOTH: [Speech; 2] = [Speech::Http, Speech::Socks5];

fn network() -> Simulator {
    Simulator::builder(Network::V2)
        .application(APP, KEY)
        .start()
        .expect("the simulated network starts")
}

fn way_out(speech: Speech) -> WayOutBuilder {
    WayOut::builder(speech).knows(NAME)
}

fn start(builder: WayOutBuilder) -> WayOut {
    builder.start().expect("a free port")
}

fn builder() -> MqttClientBuilder {
    MqttClient::builder(APP, KEY).connect_timeout(TIMEOUT)
}

/// Returns an identity for a server of this name.
fn identity(certificates: &Certificates) -> Identity {
    let folder = certificates.folder();
    certificates
        .authority
        .server_named(folder, "behind-a-proxy", NAME)
}

/// Asserts that the client connects, and that messages pass both ways.
#[track_caller]
fn works(builder: MqttClientBuilder, network: &Simulator) {
    let client = builder.build().expect("the options are valid");
    let events = client.events();
    if let Err(error) = client.connect() {
        panic!("{error:?}");
    }
    network.device("pump-1").uplink(3, [7; 1000]);
    let is_uplink = |event| matches!(event, Ok(Event::Uplink(_)));
    assert!((0..3).any(|_| is_uplink(events.recv_timeout(SOON))));
    let before = network.published().len();
    let _ = client.send("pump-1", [1]).expect("connected");
    client.close().expect("no callback runs");
    assert_eq!(network.published().len(), before + 1);
}

#[track_caller]
fn failure(builder: MqttClientBuilder) -> Error {
    let client = builder.build().expect("the options are valid");
    let error = client.connect().expect_err("connecting should have failed");
    assert!(!client.is_connected());
    error
}

#[track_caller]
fn says(error: &Error, kind: ErrorKind, words: &[&str]) {
    attempts::says(error, kind, words);
    for secret in [KEY, "kEepTh1s"] {
        assert!(!format!("{error:?}").contains(secret), "{error}");
    }
}

#[test]
fn mqtt_goes_through_a_proxy_that_looks_up_the_name() {
    let _guard = watchdog(LIMIT);
    let network = network();
    let certificates = Certificates::new();
    let front = TlsFront::start(&identity(&certificates), network.address()).expect("a free port");
    let ca = certificates.authority.certificate_file();
    for speech in BOTH {
        for has_user in [false, true] {
            let proxy = match has_user {
                false => way_out(speech),
                true => way_out(speech).wants(USER, SECRET),
            };
            let proxy = start(proxy);
            let url = proxy.url_with(if has_user { CREDENTIALS } else { "" });
            let plain = network.address().port();
            let tls = front.port();
            let client = builder().proxy(&url);
            works(
                client
                    .clone()
                    .mqtt_address(format!("mqtt://{NAME}:{plain}")),
                &network,
            );
            works(
                client
                    .clone()
                    .mqtt_address(format!("mqtts://{NAME}:{tls}"))
                    .ca_file(ca),
                &network,
            );
            let targets = [plain, tls].map(|port| format!("{NAME}:{port}"));
            assert_eq!(proxy.targets(), targets);
            let given = has_user.then(|| (USER.to_owned(), SECRET.to_owned()));
            assert!(proxy.asked().iter().all(|asked| asked.credentials == given));
        }
    }
}

#[test]
fn an_address_is_passed_on_as_an_address() {
    let _guard = watchdog(LIMIT);
    let network = network();
    for speech in BOTH {
        let proxy = start(way_out(speech));
        let address = network.address();
        works(
            builder()
                .proxy(proxy.url())
                .mqtt_address(format!("mqtt://{address}")),
            &network,
        );
        let port = refusing().port();
        failure(
            builder()
                .proxy(proxy.url())
                .mqtt_address(format!("mqtt://[::1]:{port}")),
        );
        let targets = [address.to_string(), format!("[::1]:{port}")];
        assert_eq!(proxy.targets(), targets);
    }
}

/// Starts a server, itself at a name that only the proxy can resolve, that announces the network's
/// MQTT address by such a name.
fn announcing(network: &Simulator) -> DiscoveryServer {
    let list = json!({"services": [{
        "id": "handler-1",
        "mqtt_address": format!("{NAME}:{}", network.address().port()),
        "metadata": [{"app_id": APP}],
    }]});
    DiscoveryServer::start(move |_| Answer::Json(200, list.to_string())).expect("a free port")
}

#[test]
fn discovery_goes_through_the_proxy_as_well() {
    let _guard = watchdog(LIMIT);
    let network = network();
    let server = announcing(&network);
    let certificates = Certificates::new();
    let front = TlsFront::start(&identity(&certificates), server.address()).expect("a free port");
    let ca = certificates.authority.certificate_file();
    let (plain, tls) = (server.address().port(), front.port());
    let mqtt = format!("{NAME}:{}", network.address().port());
    for speech in BOTH {
        let proxy = start(way_out(speech).wants(USER, SECRET));
        let client = builder().proxy(proxy.url_with(CREDENTIALS)).ca_file(ca);
        for (scheme, port) in [("http", plain), ("https", tls)] {
            let url = format!("{scheme}://{NAME}:{port}");
            let asked = proxy.asked().len();
            let client = client.clone().discovery_address(url);
            works(client, &network);
            let targets = &proxy.targets()[asked..];
            assert_eq!(targets, [format!("{NAME}:{port}"), mqtt.clone()]);
        }
    }
    for seen in server.requests() {
        assert_eq!(seen.authorization, None);
    }
}

/// Returns an address at which nothing listens.
fn refusing() -> SocketAddr {
    let listener = TcpListener::bind((loopback(), 0)).expect("a free port");
    let address = listener.local_addr().expect("bound");
    drop(listener);
    wait_until_refused(address);
    address
}

/// Asserts the errors of MQTT, with and without TLS, and of discovery, with this proxy.
#[track_caller]
fn each_says(proxy: WayOutBuilder, credentials: &str, kind: ErrorKind, words: &[&str]) {
    let proxy = start(proxy);
    let client = builder().proxy(proxy.url_with(credentials));
    let name = proxy.url();
    let words = [&[name.as_str(), "the proxy"], words].concat();
    for address in ["mqtt", "mqtts"].map(|scheme| format!("{scheme}://{NAME}:1234")) {
        let start = Instant::now();
        says(&failure(client.clone().mqtt_address(address)), kind, &words);
        assert!(start.elapsed() < TIMEOUT / 2);
    }
    for address in ["http", "https"].map(|scheme| format!("{scheme}://{NAME}:1234")) {
        let start = Instant::now();
        says(
            &failure(client.clone().discovery_address(address)),
            kind,
            &words,
        );
        assert!(start.elapsed() < TIMEOUT / 2);
    }
}

#[test]
fn a_proxy_that_wants_authentication_says_how_to_give_it() {
    let _guard = watchdog(LIMIT);
    for speech in BOTH {
        let proxy = || way_out(speech).wants(USER, SECRET);
        let words = ["wants authentication", "://user:secret@127.0.0.1:"];
        each_says(proxy(), "", ErrorKind::Proxy, &words);
        let words = ["refuses the user and secret"];
        for wrong in ["jane:kEepTh1sT00@", "john:kEepTh1s@", "kEepTh1s@"] {
            each_says(proxy(), wrong, ErrorKind::Proxy, &words);
        }
    }
    let negotiate = b"HTTP/1.1 407 No\r\nProxy-Authenticate: Negotiate\r\n\r\n";
    let proxy = way_out(Speech::Http).denies(*negotiate);
    each_says(proxy, "", ErrorKind::Proxy, &["Negotiate", "only Basic"]);
}

#[test]
fn a_proxy_that_forbids_the_way_is_told_with_the_target() {
    let _guard = watchdog(LIMIT);
    let target = format!("{NAME}:1234");
    let squid = b"HTTP/1.1 403 Forbidden\r\nServer: squid/5.7\r\nX-Squid-Error: ERR_ACCESS_DENIED 0\r\nContent-Length: 5\r\n\r\n<html";
    let proxy = way_out(Speech::Http).denies(*squid);
    let words = ["forbids", "403 Forbidden", "port 1234", &target];
    each_says(proxy, "", ErrorKind::PermissionDenied, &words);
    let proxy = way_out(Speech::Socks5).denies(*b"\x05\x02\0\x01\0\0\0\0\0\0");
    let words = ["forbids", "rules", &target];
    each_says(proxy, "", ErrorKind::PermissionDenied, &words);
}

#[test]
fn a_proxy_that_cannot_reach_the_server_says_why() {
    let _guard = watchdog(LIMIT);
    let target = format!("{NAME}:1234");
    let words = ["cannot reach", target.as_str()];
    for (answer, kind) in [
        (
            "503 A\r\nX-Squid-Error: ERR_DNS_FAIL 0",
            ErrorKind::UnknownHost,
        ),
        (
            "503 A\r\nX-Squid-Error: ERR_CONNECT_FAIL 111",
            ErrorKind::ConnectionRefused,
        ),
        ("504 Gateway Timeout", ErrorKind::TimedOut),
        ("502 Bad Gateway", ErrorKind::Unreachable),
    ] {
        let answer = format!("HTTP/1.1 {answer}\r\n\r\n");
        each_says(way_out(Speech::Http).denies(answer), "", kind, &words);
    }
    for (code, kind) in [
        (3, ErrorKind::Unreachable),
        (4, ErrorKind::Unreachable),
        (5, ErrorKind::ConnectionRefused),
        (6, ErrorKind::TimedOut),
    ] {
        let answer = [5, code, 0, 1, 0, 0, 0, 0, 0, 0];
        each_says(way_out(Speech::Socks5).denies(answer), "", kind, &words);
    }
}

#[test]
fn a_proxy_that_answers_something_else_is_taken_for_none() {
    let _guard = watchdog(LIMIT);
    for rubbish in [
        &b"SSH-2.0-OpenSSH_9.2\r\n"[..],
        b"\x15\x03\x01\0\x02\x02\x46",
        b"\x20\x02\0\x05",
    ] {
        let proxy = way_out(Speech::Http).answers(rubbish);
        let words = ["sent an unexpected answer", "is it an HTTP proxy"];
        each_says(proxy, "", ErrorKind::Proxy, &words);
        let proxy = way_out(Speech::Socks5).answers(rubbish);
        let words = ["sent an unexpected answer", "is it a SOCKS 5 proxy"];
        each_says(proxy, "", ErrorKind::Proxy, &words);
    }
    // Each kind of proxy, mistaken for the other.
    let proxy = way_out(Speech::Socks5).answers(*b"HTTP/1.1 400 Bad Request\r\n\r\n");
    each_says(proxy, "", ErrorKind::Proxy, &["write http://"]);
    let proxy = way_out(Speech::Http).answers(*b"\x05\xff");
    each_says(proxy, "", ErrorKind::Proxy, &["is not HTTP"]);
}

#[test]
fn a_proxy_that_closes_is_told() {
    let _guard = watchdog(LIMIT);
    for speech in BOTH {
        let words = ["closed the connection"];
        each_says(way_out(speech).closes(), "", ErrorKind::Protocol, &words);
    }
}

#[test]
fn a_proxy_that_resets_is_told() {
    let _guard = watchdog(LIMIT);
    for speech in BOTH {
        let words = ["was reset"];
        let proxy = way_out(speech).resets();
        each_says(proxy, "", ErrorKind::ConnectionLost, &words);
    }
}

#[test]
fn a_proxy_that_keeps_silent_is_told_at_the_deadline() {
    const TIMEOUT: Duration = Duration::from_secs(1);
    let _guard = watchdog(LIMIT);
    for speech in BOTH {
        let proxy = start(way_out(speech).keeps_silent());
        let client = builder().proxy(proxy.url()).connect_timeout(TIMEOUT);
        let (mqtt, http) = (format!("mqtt://{NAME}"), format!("https://{NAME}"));
        for client in [
            client.clone().mqtt_address(mqtt),
            client.clone().discovery_address(http),
        ] {
            let start = Instant::now();
            let error = failure(client);
            assert!(start.elapsed() < 2 * TIMEOUT);
            let words = ["the proxy", &*proxy.url(), "did not answer"];
            says(&error, ErrorKind::TimedOut, &words);
        }
    }
}

#[test]
fn a_proxy_that_is_not_there_is_named_and_not_the_server() {
    let _guard = watchdog(LIMIT);
    let refusing = refusing();
    for (proxy, kind, word) in [
        (
            format!("http://{refusing}"),
            ErrorKind::ConnectionRefused,
            refusing.to_string(),
        ),
        (
            format!("socks5://{refusing}"),
            ErrorKind::ConnectionRefused,
            refusing.to_string(),
        ),
        (
            "http://proxy.invalid:3128".to_owned(),
            ErrorKind::UnknownHost,
            "proxy.invalid".to_owned(),
        ),
    ] {
        let client = builder().proxy(proxy);
        let (mqtt, http) = (format!("mqtt://{NAME}"), format!("http://{NAME}"));
        for client in [
            client.clone().mqtt_address(mqtt),
            client.clone().discovery_address(http),
        ] {
            says(&failure(client), kind, &[&word]);
        }
    }
}

#[test]
fn the_end_of_a_proxy_is_the_end_of_the_connection_and_the_client_comes_back() {
    let _guard = watchdog(LIMIT);
    let network = network();
    let proxy = start(way_out(Speech::Socks5));
    let client = builder()
        .proxy(proxy.url())
        .mqtt_address(format!("mqtt://{NAME}:{}", network.address().port()))
        .reconnect_delay(Duration::from_millis(20), Duration::from_millis(50))
        .build()
        .expect("the options are valid");
    let events = client.events();
    client.connect().expect("the proxy works");
    drop(proxy);
    let next = || events.recv_timeout(SOON).expect("an event");
    assert!(matches!(next(), Event::Connected(_)));
    assert!(matches!(next(), Event::Disconnected(_)));
    let Event::ConnectFailed(failed) = next() else {
        panic!("the proxy is gone");
    };
    says(&failed.error, ErrorKind::ConnectionRefused, &["the proxy"]);
}

const PORT: &str = "TTN_TEST_PORT";
const IS_USED: &str = "TTN_TEST_IS_USED";

/// Runs in a process whose environment was set by the other test.
#[test]
fn a_client_of_the_environment_finds_its_way() {
    let Ok(is_used) = env::var(IS_USED) else {
        return;
    };
    let _guard = watchdog(LIMIT);
    let port = env::var(PORT).expect("set by the other test");
    let client = |address: String| {
        builder()
            .proxy_from_environment(true)
            .mqtt_address(address)
            .build()
            .expect("the options are valid")
    };
    let through = client(format!("mqtt://{NAME}:{port}")).connect();
    match is_used.as_str() {
        "always" => through.expect("the proxy knows the name"),
        _ => {
            let error = through.expect_err("nobody but the proxy knows the name");
            says(&error, ErrorKind::UnknownHost, &[NAME]);
            client(format!("mqtt://127.0.0.1:{port}"))
                .connect()
                .expect("there is a direct route");
        }
    }
    // This client does not read the environment.
    let client = builder()
        .mqtt_address(format!("mqtt://{NAME}:{port}"))
        .build()
        .expect("the options are valid");
    let error = client.connect().expect_err("nobody knows the name");
    assert_eq!(error.kind(), ErrorKind::UnknownHost);
}

#[test]
fn the_environment_says_which_proxy_and_for_whom() {
    let _guard = watchdog(LIMIT);
    let network = network();
    let proxy = start(way_out(Speech::Http).wants(USER, SECRET));
    let url = proxy.url_with(CREDENTIALS);
    let port = network.address().port().to_string();
    let run = |is_used: &str, variables: &[(&str, &str)]| {
        let before = proxy.asked().len();
        let mut all: Vec<(&str, &OsStr)> = vec![(IS_USED, is_used.as_ref()), (PORT, port.as_ref())];
        for name in ["http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy"] {
            all.push((name, "".as_ref()));
        }
        for name in ["ALL_PROXY", "no_proxy", "NO_PROXY"] {
            all.push((name, "".as_ref()));
        }
        all.extend(
            variables
                .iter()
                .map(|(name, value)| (*name, OsStr::new(*value))),
        );
        run_alone(
            module_path!(),
            "a_client_of_the_environment_finds_its_way",
            &all,
        );
        assert_eq!(proxy.asked().len() > before, is_used == "always");
    };
    for name in ["http_proxy", "all_proxy", "ALL_PROXY"] {
        run("always", &[(name, &url)]);
    }
    // The variables for TLS, and one that a stranger's request could set.
    for name in ["https_proxy", "HTTPS_PROXY", "HTTP_PROXY"] {
        run("never", &[(name, &url)]);
    }
    for list in ["*", "other.example,.invalid,127.0.0.1"] {
        run("never", &[("ALL_PROXY", &url), ("NO_PROXY", list)]);
    }
    run(
        "always",
        &[("ALL_PROXY", &url), ("NO_PROXY", "other.invalid")],
    );
    run("never", &[]);
}
