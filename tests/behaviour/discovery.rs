//! A discovery server leads from an application id to its MQTT server, or to an error that explains
//! why not: what applies to both networks, and the lists of V2.

#![cfg(unix)]

use std::{
    env, fs,
    io::{Read, Write},
    net::{Ipv4Addr, TcpListener},
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use crate::support::{
    attempts::{self, SLACK, connects},
    certificates::Certificates,
    child::run_alone,
    discovery_server::{Answer, DiscoveryServer},
    harness::SOON,
    resources::{loopback, wait_until_refused},
    tls_front::TlsFront,
    watchdog::watchdog,
};
use serde_json::{Value, json};
use ttn::{
    ConnectRetry, Error, ErrorKind, Event, MqttClient, MqttClientBuilder, Network,
    simulator::Simulator,
};

const LIMIT: Duration = Duration::from_secs(60);

/// The time limit for an attempt to connect.
const TIMEOUT: Duration = Duration::from_secs(2);

const APP: &str = "greenhouse-demo";
const KEY: &str = "ttn-account-v2.a-key-of-the-tests";

/// An application, and the answers of its network's discovery server.
#[derive(Clone, Copy)]
struct Side {
    network: Network,
    app_id: &'static str,
    key: &'static str,
    path: &'static str,
    /// Returns the answer that leads to this MQTT address.
    answer: fn(&str) -> Value,
}

const V2: Side = Side {
    network: Network::V2,
    app_id: APP,
    key: KEY,
    path: "/announcements/handler",
    answer: handler,
};

const V3: Side = Side {
    network: Network::V3,
    app_id: "greenhouse-demo@ttn",
    key: "NNSXS.A-KEY.OF-THE-TESTS",
    path: "/api/v3/as/applications/greenhouse-demo/mqtt-connection-info",
    answer: |mqtt_address| match mqtt_address.strip_prefix("mqtts://") {
        Some(address) => json!({"public_tls_address": address, "username": "greenhouse-demo@ttn"}),
        None => json!({"public_address": mqtt_address, "username": "greenhouse-demo@ttn"}),
    },
};

impl Side {
    /// Returns the questions for the MQTT server. A client asks other things too.
    fn asked(&self, server: &DiscoveryServer) -> Vec<String> {
        let mut paths = server.paths();
        paths.retain(|path| path.ends_with(self.path));
        paths
    }

    fn simulator(&self) -> Simulator {
        Simulator::builder(self.network)
            .application(self.app_id, self.key)
            .start()
            .expect("the simulated network starts")
    }

    /// Starts a server whose answer to every request leads to this MQTT address.
    fn server_of(&self, mqtt_address: &str) -> DiscoveryServer {
        server_of(&(self.answer)(mqtt_address))
    }

    fn builder(&self, url: impl Into<String>) -> MqttClientBuilder {
        MqttClient::builder(self.app_id, self.key)
            .discovery_address(url)
            .connect_timeout(TIMEOUT)
    }

    fn client_of(&self, url: impl Into<String>) -> MqttClient {
        self.builder(url).build().expect("the options are valid")
    }
}

fn network() -> Simulator {
    V2.simulator()
}

fn server(answer: impl Fn(&str) -> Answer + Send + Sync + 'static) -> DiscoveryServer {
    DiscoveryServer::start(answer).expect("a free port")
}

/// Starts a server that answers every request with this list.
fn server_of(list: &Value) -> DiscoveryServer {
    let list = list.to_string();
    server(move |_| Answer::Json(200, list.clone()))
}

/// Returns a list with one handler, for this application.
fn handler(mqtt_address: &str) -> Value {
    json!({"services": [{
        "id": "handler-1",
        "service_name": "handler",
        "mqtt_address": mqtt_address,
        "metadata": [{"app_id": "other"}, {"app_id": APP}],
    }]})
}

fn fixture(name: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/v2")
        .join(format!("{name}.json"));
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn builder(url: impl Into<String>) -> MqttClientBuilder {
    V2.builder(url)
}

fn client_of(url: impl Into<String>) -> MqttClient {
    V2.client_of(url)
}

#[track_caller]
fn failure(client: &MqttClient) -> Error {
    attempts::failure(client, TIMEOUT + SLACK)
}

/// Asserts that the sentence contains these words, and no part of the key.
#[track_caller]
fn says(error: &Error, kind: ErrorKind, words: &[&str]) {
    attempts::says(error, kind, words);
    for side in [V2, V3] {
        assert!(!format!("{error:?}").contains(side.key), "{error}");
    }
}

/// Asserts what a client reports about a server that always gives this answer.
#[track_caller]
fn answer_fails(answer: Answer, kind: ErrorKind, transient: bool, words: &[&str]) {
    let server = server(move |_| answer.clone());
    let error = failure(&client_of(server.url()));
    says(&error, kind, words);
    assert_eq!(error.is_transient(), transient, "{error}");
    // Either the server or the handler is to blame.
    let url = server.url();
    assert!(
        error.to_string().contains(&url) || words.iter().any(|word| word.contains("handler")),
        "{error}"
    );
}

#[test]
fn an_application_of_the_list_leads_to_a_connection() {
    let _guard = watchdog(LIMIT);
    let network = network();
    let list = fixture("discovery-handlers-list");
    let list = list.replace("eu.thethings.network:1883", &network.mqtt_address());
    let server = server(move |_| Answer::Json(200, list.clone()));
    let client = client_of(server.url());
    let events = client.events();
    client.connect().expect("the handler is up");
    let Ok(Event::Connected(connected)) = events.recv_timeout(SOON) else {
        panic!("the client is connected");
    };
    assert_eq!(connected.address, format!("mqtt://{}", network.address()));
    network.device("pump-1").uplink(3, [7]);
    let Ok(Event::Uplink(uplink)) = events.recv_timeout(SOON) else {
        panic!("the uplink comes");
    };
    assert_eq!((&*uplink.dev_id, uplink.port), ("pump-1", 3));
    assert_eq!(server.paths(), ["/announcements/handler"]);
}

#[test]
fn the_server_is_asked_without_the_access_key() {
    let _guard = watchdog(LIMIT);
    let network = network();
    let server = server_of(&handler(&network.mqtt_address()));
    connects(&client_of(server.url()));
    for request in server.requests() {
        assert_eq!(request.authorization, None);
        assert!(!request.path.contains(KEY));
    }
}

#[test]
#[cfg_attr(not(feature = "tls"), ignore = "needs the feature `tls`")]
fn every_form_of_an_announced_address_leads_to_its_server() {
    let _guard = watchdog(LIMIT);
    let network = network();
    let (host, port) = (network.address().ip(), network.address().port());
    for address in [
        format!("{host}:{port}"),
        format!("mqtt://{host}:{port}"),
        format!("mqtt://{host}:{port}/"),
        format!("localhost:{port}"),
        format!("mqtt://localhost:{port}"),
    ] {
        let server = server_of(&handler(&address));
        connects(&client_of(server.url()));
    }
    // TLS, as the error shows.
    for (address, server_of_it) in [
        (
            format!("mqtts://{host}:{port}"),
            format!("mqtts://{host}:{port}"),
        ),
        (format!("{host}:8883"), format!("mqtts://{host}:8883")),
        (host.to_string(), format!("mqtts://{host}:8883")),
    ] {
        let server = server_of(&handler(&address));
        let text = failure(&client_of(server.url())).to_string();
        assert!(text.contains(&server_of_it), "{address}: {text}");
    }
}

#[test]
#[cfg_attr(not(feature = "tls"), ignore = "needs the feature `tls`")]
fn an_announced_server_with_tls_is_reached_with_its_authority() {
    let _guard = watchdog(LIMIT);
    let network = network();
    let certificates = Certificates::new();
    let front = TlsFront::start(&certificates.server, network.address()).expect("a free port");
    let server = server_of(&handler(&format!("mqtts://localhost:{}", front.port())));
    let client = builder(server.url())
        .ca_file(certificates.authority.certificate_file())
        .build()
        .expect("the options are valid");
    connects(&client);
}

#[test]
fn a_base_path_is_kept() {
    let _guard = watchdog(LIMIT);
    for side in [V2, V3] {
        let network = side.simulator();
        let server = side.server_of(&network.mqtt_address());
        connects(&side.client_of(format!("{}/discovery/", server.url())));
        assert_eq!(side.asked(&server), [format!("/discovery{}", side.path)]);
    }
}

#[test]
fn the_server_is_asked_again_at_each_connecting() {
    let _guard = watchdog(LIMIT);
    for side in [V2, V3] {
        let (old, new) = (side.simulator(), side.simulator());
        let announced = Arc::new(Mutex::new(old.mqtt_address()));
        let current = Arc::clone(&announced);
        let server = server(move |_| {
            let address = current.lock().expect("nobody panicked").clone();
            Answer::Json(200, (side.answer)(&address).to_string())
        });
        let client = side
            .builder(server.url())
            .reconnect_delay(Duration::from_millis(20), Duration::from_millis(50))
            .build()
            .expect("the options are valid");
        client.connect().expect("the handler is up");
        assert!(old.wait_for_clients(1, SOON));
        // The application moves to another handler.
        *announced.lock().expect("nobody panicked") = new.mqtt_address();
        old.stop();
        assert!(new.wait_for_clients(1, SOON));
        assert!(server.paths().len() >= 2);
    }
}

#[test]
fn a_client_comes_back_while_the_discovery_server_is_out_of_order() {
    let _guard = watchdog(LIMIT);
    let down = Answer::Text(503, "down".to_owned());
    for (side, trouble) in [
        (V2, Answer::Hang),
        (V2, down.clone()),
        (V3, Answer::Hang),
        (V3, down),
    ] {
        let network = side.simulator();
        let list = (side.answer)(&network.mqtt_address()).to_string();
        let first = AtomicBool::new(true);
        let server = server(move |_| match first.swap(false, Ordering::SeqCst) {
            true => Answer::Json(200, list.clone()),
            false => trouble.clone(),
        });
        let client = side
            .builder(server.url())
            .connect_timeout(Duration::from_secs(2))
            .reconnect_delay(Duration::from_millis(20), Duration::from_millis(50))
            .build()
            .expect("the options are valid");
        client.connect().expect("the handler is up");
        let events = client.events();
        network.disconnect_clients();
        let back = |event| matches!(event, Ok(Event::Connected(_)));
        assert!((0..2).any(|_| back(events.recv_timeout(SOON))));
    }
}

#[test]
fn a_client_connects_when_the_list_is_mended() {
    let _guard = watchdog(LIMIT);
    let network = network();
    let unknown_host = format!("{}.example:1883", "x".repeat(64));
    let answers = [
        Answer::Json(404, fixture("discovery-not-found")),
        Answer::Json(503, r#"{"error":"down","code":14}"#.to_owned()),
        Answer::Json(200, fixture("discovery-handlers-empty")),
        Answer::Text(200, "<html>".to_owned()),
        Answer::Json(200, handler(&unknown_host).to_string()),
    ];
    let kinds = [
        ErrorKind::DiscoveryAnswer,
        ErrorKind::ServerUnavailable,
        ErrorKind::ApplicationNotFound,
        ErrorKind::DiscoveryAnswer,
        ErrorKind::UnknownHost,
    ];
    let good = handler(&network.mqtt_address()).to_string();
    let asked = AtomicUsize::new(0);
    let server = server(move |_| {
        let number = asked.fetch_add(1, Ordering::SeqCst);
        let answer = answers.get(number).cloned();
        answer.unwrap_or(Answer::Json(200, good.clone()))
    });
    let client = client_of(server.url());
    for kind in kinds {
        let error = failure(&client);
        assert_eq!(error.kind(), kind, "{error}");
    }
    connects(&client);
}

#[test]
fn an_answer_other_than_ok_is_told_by_its_status() {
    let _guard = watchdog(LIMIT);
    let answer = |status| Answer::Json(status, fixture("discovery-not-found"));
    for (status, kind) in [
        (404, ErrorKind::DiscoveryAnswer),
        (400, ErrorKind::DiscoveryAnswer),
        (403, ErrorKind::DiscoveryAnswer),
        (429, ErrorKind::ServerUnavailable),
        (500, ErrorKind::ServerUnavailable),
        (503, ErrorKind::ServerUnavailable),
    ] {
        let transient = kind == ErrorKind::ServerUnavailable;
        let words = [&format!("HTTP {status}"), "/announcements/handler"];
        answer_fails(answer(status), kind, transient, &words);
    }
}

#[test]
fn what_a_server_since_2017_does_not_know_is_not_found_however_it_says_so() {
    let _guard = watchdog(LIMIT);
    let unknown = fixture("discovery-not-found-last-version");
    answer_fails(
        Answer::Json(500, unknown.clone()),
        ErrorKind::ApplicationNotFound,
        false,
        &["handler:no-such-handler not found", "HTTP 500", APP],
    );
    let broken = unknown.replace("not found", "no Redis");
    answer_fails(
        Answer::Json(500, broken),
        ErrorKind::ServerUnavailable,
        true,
        &["HTTP 500", "try again later"],
    );
}

#[test]
fn an_application_that_no_handler_names_is_not_found() {
    let _guard = watchdog(LIMIT);
    for list in [
        fixture("discovery-handlers-empty"),
        fixture("discovery-brokers-list"),
        r#"{"services":[]}"#.to_owned(),
        handler("host:1883").to_string().replace(APP, "another-app"),
        handler("host:1883")
            .to_string()
            .replace(APP, "greenhouse-demo2"),
    ] {
        answer_fails(
            Answer::Json(200, list),
            ErrorKind::ApplicationNotFound,
            false,
            &[APP],
        );
    }
}

#[test]
fn a_handler_without_an_address_is_named() {
    let _guard = watchdog(LIMIT);
    let mut absent = handler("");
    absent["services"][0]
        .as_object_mut()
        .expect("an object")
        .remove("mqtt_address");
    let mut null = handler("");
    null["services"][0]["mqtt_address"] = Value::Null;
    for list in [absent, null, handler("")] {
        answer_fails(
            Answer::Json(200, list.to_string()),
            ErrorKind::NoMqttAddress,
            false,
            &["the handler \"handler-1\"", APP, "no MQTT address"],
        );
    }
    for address in ["127.0.0.1:0", "host:port", "http://host", "a b"] {
        answer_fails(
            Answer::Json(200, handler(address).to_string()),
            ErrorKind::NoMqttAddress,
            false,
            &["the handler \"handler-1\"", APP, &format!("{address:?}")],
        );
    }
}

#[test]
fn an_answer_that_is_no_list_is_told() {
    let _guard = watchdog(LIMIT);
    let long = handler("host:1883").to_string();
    let half = &long[..long.len() / 2];
    for text in [
        "",
        "hello",
        "<!DOCTYPE html><html><body>It works!</body></html>",
        "7",
        "\"services\"",
        r#"{"services":7}"#,
        r#"{"services":[7]}"#,
        r#"{"services":[{"mqtt_address":7}]}"#,
        half,
        "\u{feff}{}",
    ] {
        answer_fails(
            Answer::Text(200, text.to_owned()),
            ErrorKind::DiscoveryAnswer,
            false,
            &["something other than a list of handlers"],
        );
    }
    let deep = "[".repeat(100_000);
    for text in [deep.clone(), format!(r#"{{"services":{deep}"#)] {
        answer_fails(
            Answer::Json(200, text),
            ErrorKind::DiscoveryAnswer,
            false,
            &["something other"],
        );
    }
}

#[test]
fn a_server_that_is_down_refuses_the_connection() {
    let _guard = watchdog(LIMIT);
    for side in [V2, V3] {
        let listener = TcpListener::bind((loopback(), 0)).expect("a free port");
        let address = listener.local_addr().expect("bound");
        let url = format!("http://{address}");
        drop(listener);
        wait_until_refused(address);
        let error = failure(&side.client_of(&url));
        says(
            &error,
            ErrorKind::ConnectionRefused,
            &[&url, "nothing listens"],
        );
        assert!(error.is_transient());
    }
}

#[test]
fn a_server_that_nobody_knows_is_an_unknown_host() {
    let _guard = watchdog(LIMIT);
    for side in [V2, V3] {
        // A label of 64 letters: no name server is queried for it.
        let url = format!("http://{}.example", "x".repeat(64));
        let error = failure(&side.client_of(&url));
        says(
            &error,
            ErrorKind::UnknownHost,
            &[&url, "cannot find the host"],
        );
        assert!(error.is_transient());
    }
}

#[test]
fn a_server_that_never_answers_times_out_and_is_named() {
    let _guard = watchdog(LIMIT);
    for side in [V2, V3] {
        let hanging = server(|_| Answer::Hang);
        let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let silent_url = format!("http://{}", silent.local_addr().expect("bound"));
        for url in [hanging.url(), silent_url] {
            let error = failure(&side.client_of(&url));
            says(&error, ErrorKind::TimedOut, &[&url, "discovery server"]);
            assert!(error.is_transient());
        }
    }
}

/// Starts a server that sends this after each request and then closes.
fn raw_server(answer: &'static str) -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    // The thread ends with the first client.
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a client comes");
        let _ = stream.read(&mut [0; 4096]);
        let _ = stream.write_all(answer.as_bytes());
    });
    url
}

#[test]
fn a_server_that_hangs_up_is_named() {
    let _guard = watchdog(LIMIT);
    for side in [V2, V3] {
        for answer in [
            "",
            "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"services\":[",
        ] {
            let url = raw_server(answer);
            let error = failure(&side.client_of(&url));
            says(
                &error,
                ErrorKind::ConnectionLost,
                &[&url, "closed the connection"],
            );
        }
        let url = raw_server("SSH-2.0-OpenSSH_9.2p1\r\n");
        let error = failure(&side.client_of(&url));
        says(&error, ErrorKind::DiscoveryAnswer, &[&url]);
    }
}

#[test]
fn an_endless_list_ends_in_time() {
    let _guard = watchdog(LIMIT);
    let server = server(|_| Answer::EndlessList);
    let error = failure(&client_of(server.url()));
    assert!(
        [ErrorKind::TimedOut, ErrorKind::DiscoveryAnswer].contains(&error.kind()),
        "{error}"
    );
    says(&error, error.kind(), &[&server.url()]);
}

#[test]
fn a_text_without_end_is_no_list() {
    let _guard = watchdog(LIMIT);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a client comes");
        let _ = stream.read(&mut [0; 4096]);
        let head = b"HTTP/1.1 200 OK\r\n\r\n{\"services\":[{\"id\":\"";
        let mut sent = stream.write_all(head);
        while sent.is_ok() {
            sent = stream.write_all(&[b'a'; 4096]);
        }
    });
    let error = failure(&client_of(&url));
    says(&error, ErrorKind::DiscoveryAnswer, &[&url, "too long"]);
    server.join().expect("the client hung up");
}

const URL: &str = "TTN_TEST_URL";

/// Returns the peak memory use of this process, in KiB.
#[cfg(target_os = "linux")]
fn peak_kib() -> usize {
    let status = fs::read_to_string("/proc/self/status").expect("/proc is mounted");
    status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB"))
        .and_then(|number| number.trim().parse().ok())
        .expect("the kernel names VmHWM in kB")
}

/// Returns by how much asking a server, after a smaller one, raises the peak memory use.
#[cfg(target_os = "linux")]
fn growth_kib(url: &str, ask: impl FnOnce(&str)) -> usize {
    let _ = client_of(format!("{url}/small")).connect();
    let before = peak_kib();
    ask(url);
    // The kernel's counters are exact only to some pages.
    peak_kib().saturating_sub(before)
}

#[cfg(target_os = "linux")]
#[test]
fn a_list_of_100_000_applications_is_never_held_as_a_whole() {
    let _guard = watchdog(LIMIT);
    if let Ok(url) = env::var(URL) {
        let growth = growth_kib(&url, |url| {
            // A busy machine needs some time to read all of it.
            let client = builder(url).connect_timeout(SOON).build();
            connects(&client.expect("the options are valid"));
        });
        assert!(growth < 2 * 1024, "{growth} KiB");
        return;
    }
    let network = network();
    let applications =
        (0..100_000).map(|number| json!({"app_id": format!("application-number-{number:0>17}")}));
    let mut list = handler(&network.mqtt_address());
    let metadata: Vec<_> = applications.chain([json!({"app_id": APP})]).collect();
    list["services"][0]["metadata"] = metadata.into();
    let small = handler(&network.mqtt_address()).to_string();
    let large = list.to_string();
    assert!(large.len() > 5_000_000);
    let server = server(move |path| {
        let list = if path.starts_with("/small") {
            &small
        } else {
            &large
        };
        Answer::Json(200, list.clone())
    });
    run_alone(
        module_path!(),
        "a_list_of_100_000_applications_is_never_held_as_a_whole",
        &[(URL, server.url().as_ref())],
    );
}

#[cfg(target_os = "linux")]
#[test]
fn an_endless_list_takes_no_memory() {
    let _guard = watchdog(LIMIT);
    if let Ok(url) = env::var(URL) {
        let growth = growth_kib(&url, |url| {
            failure(&client_of(url));
        });
        assert!(growth < 2 * 1024, "{growth} KiB");
        return;
    }
    let server = server(|path| match path {
        "/small/announcements/handler" => Answer::Json(200, "{}".to_owned()),
        _ => Answer::EndlessList,
    });
    run_alone(
        module_path!(),
        "an_endless_list_takes_no_memory",
        &[(URL, server.url().as_ref())],
    );
}

#[test]
fn a_redirect_is_followed() {
    let _guard = watchdog(LIMIT);
    let network = network();
    let target = server_of(&handler(&network.mqtt_address()));
    for status in [301, 302, 307, 308] {
        let place = format!("{}/moved", target.url());
        let server = server(move |_| Answer::Redirect(status, place.clone()));
        connects(&client_of(server.url()));
        assert_eq!(server.paths().len(), 1);
    }
    assert_eq!(target.paths(), ["/moved"; 4]);
}

#[test]
fn a_redirect_in_a_circle_ends() {
    let _guard = watchdog(LIMIT);
    let server = server(|_| Answer::Redirect(302, "/again".to_owned()));
    let error = failure(&client_of(server.url()));
    says(
        &error,
        ErrorKind::DiscoveryAnswer,
        &[&server.url(), "redirect"],
    );
    assert!(server.paths().len() < 20);
}

#[test]
#[cfg_attr(not(feature = "tls"), ignore = "needs the feature `tls`")]
fn an_own_authority_is_trusted_over_https() {
    let _guard = watchdog(LIMIT);
    for side in [V2, V3] {
        let network = side.simulator();
        let certificates = Certificates::new();
        let mqtt = TlsFront::start(&certificates.server, network.address()).expect("a free port");
        let server = side.server_of(&format!("mqtts://localhost:{}", mqtt.port()));
        let front = TlsFront::start(&certificates.server, server.address()).expect("a free port");
        for host in ["localhost", "127.0.0.1"] {
            let builder = || side.builder(format!("https://{host}:{}", front.port()));
            let authority = &certificates.authority;
            for builder in [
                builder().ca_file(authority.certificate_file()),
                builder().ca_pem(authority.certificate_pem()),
            ] {
                connects(&builder.build().expect("the options are valid"));
            }
        }
        assert_eq!(side.asked(&server).len(), 4);
    }
}

#[test]
#[cfg_attr(not(feature = "tls"), ignore = "needs the feature `tls`")]
fn a_certificate_that_is_not_in_order_is_refused_over_https() {
    let _guard = watchdog(LIMIT);
    for side in [V2, V3] {
        let certificates = Certificates::new();
        let server = side.server_of("127.0.0.1:1");
        let authority = certificates.authority.certificate_file();
        for (identity, kind) in [
            (&certificates.foreign, ErrorKind::CertificateAuthority),
            (&certificates.expired, ErrorKind::CertificateExpired),
            (&certificates.wrong_host, ErrorKind::CertificateHostName),
        ] {
            let front = TlsFront::start(identity, server.address()).expect("a free port");
            let url = format!("https://localhost:{}", front.port());
            let client = side.builder(&url).ca_file(authority).build();
            let error = failure(&client.expect("the options are valid"));
            says(&error, kind, &[&url, "certificate"]);
        }
        let front = TlsFront::start(&certificates.server, server.address()).expect("a free port");
        let url = format!("https://localhost:{}", front.port());
        says(
            &failure(&side.client_of(&url)),
            ErrorKind::CertificateAuthority,
            &[&url, "certificate"],
        );
        assert!(server.paths().is_empty());
    }
}

#[test]
#[cfg_attr(not(feature = "tls"), ignore = "needs the feature `tls`")]
fn a_certificate_that_is_not_valid_yet_is_tried_again_over_mqtt_and_https_alike() {
    let _guard = watchdog(LIMIT);
    for side in [V2, V3] {
        let certificates = Certificates::new();
        let authority = &certificates.authority;
        let future = authority.future_server(certificates.folder(), "future");
        let server = side.server_of("127.0.0.1:1");
        let front = TlsFront::start(&future, server.address()).expect("a free port");
        let (https, mqtts) = (
            format!("https://localhost:{}", front.port()),
            format!("mqtts://localhost:{}", front.port()),
        );
        for builder in [
            side.builder(&https),
            side.builder(&https).mqtt_address(&mqtts),
        ] {
            let client = builder
                .ca_file(authority.certificate_file())
                .connect_retry(ConnectRetry::Forever)
                .reconnect_delay(Duration::from_millis(1), Duration::from_millis(2))
                .build()
                .expect("the options are valid");
            // As the documentation shows it; the third error is enough to see.
            client
                .set_retry_callback(|retry| {
                    if !retry.error().is_transient() || retry.attempt() == 3 {
                        retry.give_up();
                    }
                })
                .expect("a thread");
            let events = client.events();
            let error = failure(&client);
            assert!(error.is_transient(), "{error}");
            let words = [
                "not valid yet",
                &future.first_day(),
                "this machine's clock says 2",
            ];
            says(&error, ErrorKind::CertificateExpired, &words);
            let attempts = events
                .receiver()
                .try_iter()
                .filter(|event| matches!(event, Event::ConnectFailed(_)))
                .count();
            assert_eq!(attempts, 3);
        }
    }
}

#[test]
#[cfg_attr(not(feature = "tls"), ignore = "needs the feature `tls`")]
fn a_plain_server_that_is_asked_over_https_is_a_tls_failure() {
    let _guard = watchdog(LIMIT);
    for side in [V2, V3] {
        let url = raw_server("HTTP/1.1 400 Bad Request\r\n\r\n").replace("http:", "https:");
        says(
            &failure(&side.client_of(&url)),
            ErrorKind::Tls,
            &[&url, "does not use TLS"],
        );
    }
}

#[test]
#[cfg_attr(not(feature = "tls"), ignore = "needs the feature `tls`")]
fn an_authority_that_cannot_be_read_is_named() {
    let _guard = watchdog(LIMIT);
    for side in [V2, V3] {
        let server = side.server_of("127.0.0.1:1");
        let url = server.url().replace("http:", "https:");
        let fails = |builder: MqttClientBuilder, words: &[&str]| {
            let client = builder.build().expect("the options are valid");
            says(&failure(&client), ErrorKind::Config, words);
        };
        let rubbish = "-----BEGIN CERTIFICATE-----\nhello\n-----END CERTIFICATE-----\n";
        fails(
            side.builder(&url).ca_file("/no/such/file.pem"),
            &["/no/such/file.pem"],
        );
        fails(
            side.builder(&url).ca_pem("hello"),
            &["CA certificates", "PEM"],
        );
        fails(side.builder(&url).ca_pem(rubbish), &["CA certificates"]);
    }
}

#[test]
fn nobody_is_asked_when_the_mqtt_address_is_given() {
    let _guard = watchdog(LIMIT);
    for side in [V2, V3] {
        let network = side.simulator();
        let server = side.server_of("127.0.0.1:1");
        let client = side
            .builder(server.url())
            .mqtt_address(network.mqtt_address())
            .build()
            .expect("the options are valid");
        connects(&client);
        assert!(server.requests().is_empty());
    }
}

#[test]
fn without_any_address_the_error_names_the_closed_server_and_what_to_give() {
    let _guard = watchdog(LIMIT);
    let client = MqttClient::new(APP, KEY).expect("the options are valid");
    let error = failure(&client);
    let words = [
        APP,
        "closed in December 2021",
        "mqtt_address",
        "discovery_address",
    ];
    says(&error, ErrorKind::Config, &words);
    assert!(!error.is_transient());
}
