//! The doctor finds the reason, in time, and shows the key to nobody else. The table in the documentation
//! of `ttn::doctor` is read here, and every row of it is made to happen.

#![cfg(all(unix, feature = "tls"))]

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant, SystemTime},
};

use crate::support::{
    certificates::Certificates,
    discovery_server::{Answer, DiscoveryServer},
    harness::SOON,
    names::{Lookup, NAME, Names, run_with_names},
    tls_front::TlsFront,
    watchdog::watchdog,
};
use ttn::{
    Event, Events, MqttClient, MqttClientBuilder, Network,
    doctor::{Report, Step, Verdict},
    simulator::{EventStore, HttpFault, KeyOf, Simulator, Storage},
};

const LIMIT: Duration = Duration::from_secs(120);

/// The whole diagnosis, whatever the network does.
const WHOLE: Duration = Duration::from_secs(30);

const APP: &str = "greenhouse@ttn";
const KEY: &str = "NNSXS.THEKEYOFTHETESTSOFTHEDOCTOR.ASECRETTHATNOBODYELSEMAYEVERSEE";
const OTHER: &str = "NNSXS.ANOTHERKEYOFTHETESTS.ANOTHERSECRETTHATNOBODYMAYEVERSEE";

const READ: &str = "RIGHT_APPLICATION_TRAFFIC_READ";
const SEND: &str = "RIGHT_APPLICATION_TRAFFIC_DOWN_WRITE";
const INFO: &str = "RIGHT_APPLICATION_INFO";
const DEVICES: &str = "RIGHT_APPLICATION_DEVICES_READ";

const CONFIGURATION: &str = "/api/v3/as/configuration";

const DOCS: &str = include_str!("../../src/doctor/mod.rs");

fn network() -> Simulator {
    let network = Simulator::builder(Network::V3)
        .application(APP, KEY)
        .start()
        .expect("the simulated network starts");
    network.set_rights(APP, KEY, &[READ, SEND, INFO]);
    network
}

fn builder(network: &Simulator) -> MqttClientBuilder {
    MqttClient::builder(APP, KEY)
        .mqtt_address(network.mqtt_address())
        .http_address(network.http_address())
        .connect_timeout(Duration::from_secs(3))
}

/// Makes a diagnosis, which ends in time and contains no part of the key.
#[track_caller]
fn diagnosis(builder: MqttClientBuilder) -> Report {
    let start = Instant::now();
    let report = builder.diagnose();
    let took = start.elapsed();
    let text = format!(
        "{report}\n{report:?}\n{}",
        serde_json::to_string(&report).unwrap()
    );
    assert!(took < WHOLE, "after {took:?}: {report}");
    for secret in ["SECRETTHAT", "NOBODYELSE", "EVERSEE"] {
        assert!(!text.contains(secret), "{text}");
    }
    let names: Vec<_> = report.steps.iter().map(|step| step.name).collect();
    assert_eq!(names, Step::NAMES);
    report
}

/// The rows of the table: what is wrong, the error of `connect`, the event, the verdict.
fn rows() -> Vec<[&'static str; 4]> {
    let cells = |line: &'static str| -> Option<[&'static str; 4]> {
        let line = line.strip_prefix("//! | ")?.strip_suffix(" |")?;
        let cells: Vec<_> = line.split(" | ").collect();
        cells.try_into().ok()
    };
    DOCS.lines().filter_map(cells).skip(1).collect()
}

/// Returns whether the text is as the table says, in which `…` stands for anything.
fn fits(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('…');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else {
        return false;
    };
    let Some(last) = parts.next_back() else {
        return rest.is_empty();
    };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

/// Waits for the event that the table names, and returns it in the table's form.
fn event_like(events: &Events, pattern: &str) -> String {
    let mut last = "nothing".to_owned();
    let deadline = Instant::now() + SOON;
    while let Ok(event) = events.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
        last = match event {
            Event::ConnectFailed(_) => "`ConnectFailed`".to_owned(),
            Event::Connected(_) => "`Connected`".to_owned(),
            Event::KeyWarning(warning) => format!("`KeyWarning`: {warning}"),
            other => format!("{other:?}"),
        };
        if fits(pattern, &last) {
            break;
        }
    }
    last
}

/// Checks the row of this name.
#[track_caller]
fn holds(name: &str, builder: MqttClientBuilder) -> Report {
    let row = rows().into_iter().find(|row| row[0] == name);
    let [_, error, event, verdict] = row.unwrap_or([name, "", "", ""]);
    let (seen, happened) = match builder.clone().build() {
        Ok(client) => {
            let events = client.events();
            let seen = match client.connect() {
                Ok(()) => "connects".to_owned(),
                Err(error) => error.to_string(),
            };
            (seen, event_like(&events, event))
        }
        Err(error) => (error.to_string(), "–".to_owned()),
    };
    let report = diagnosis(builder);
    let found = report.verdict();
    let is_right = fits(error, &seen) && fits(event, &happened) && fits(verdict, &found);
    assert!(
        is_right,
        "the table does not say\n//! | {name} | {seen} | {happened} | {found} |\n{report}"
    );
    report
}

/// Returns an address where nothing listens.
fn closed() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.local_addr().expect("it has one")
}

/// An address that answers no SYN: its queue is full, and nobody accepts.
struct Blackhole {
    address: SocketAddr,
    _socket: socket2::Socket,
    _fillers: Vec<socket2::Socket>,
}

impl Blackhole {
    fn new() -> Self {
        let tcp = || socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
        let socket = tcp().expect("a socket");
        let any: SocketAddr = (Ipv4Addr::LOCALHOST, 0).into();
        socket.bind(&any.into()).expect("a free port");
        socket.listen(0).expect("bound");
        let address = socket.local_addr().expect("bound").as_socket().expect("IP");
        let fillers = (0..4).map(|_| {
            let filler = tcp().expect("a socket");
            filler.set_nonblocking(true).expect("a socket");
            let _ = filler.connect(&address.into());
            filler
        });
        Self {
            address,
            _fillers: fillers.collect(),
            _socket: socket,
        }
    }
}

/// A server that reads everything, says what it is told to, and notes what it has read.
struct Stranger {
    address: SocketAddr,
    heard: Arc<Mutex<Vec<u8>>>,
}

impl Stranger {
    fn new(says: &'static str) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = listener.local_addr().expect("it has one");
        let heard = Arc::new(Mutex::new(Vec::new()));
        let hearing = Arc::clone(&heard);
        thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                let heard = Arc::clone(&hearing);
                thread::spawn(move || hear(stream, says, &heard));
            }
        });
        Self { address, heard }
    }

    #[track_caller]
    fn has_not_seen_the_key(&self) {
        let heard = self.heard.lock().unwrap().clone();
        let heard = String::from_utf8_lossy(&heard).into_owned();
        assert!(!heard.contains("SECRET"), "{heard}");
        assert!(!heard.to_lowercase().contains("bearer"), "{heard}");
    }
}

fn hear(mut stream: TcpStream, says: &str, heard: &Mutex<Vec<u8>>) {
    let mut buffer = [0; 4096];
    while let Ok(length @ 1..) = stream.read(&mut buffer) {
        heard.lock().unwrap().extend(&buffer[..length]);
        if !says.is_empty() {
            let _ = stream.write_all(says.as_bytes());
            return;
        }
    }
}

#[test]
fn every_row_of_the_table_has_a_test() {
    let rows = rows();
    assert!(rows.len() > 25, "{}", rows.len());
    let tests = include_str!("doctor.rs");
    for [name, ..] in rows {
        assert!(tests.contains(&format!("\"{name}\"")), "{name}");
    }
}

#[test]
fn a_healthy_client_has_a_healthy_report_after_few_requests() {
    let _guard = watchdog(LIMIT);
    let network = network();
    network.set_rights(APP, KEY, &[READ, SEND, INFO, DEVICES]);
    let device = network.device("bed-07");
    device.uplink(1, [1]);
    let report = diagnosis(builder(&network));
    assert!(report.is_healthy(), "{report}");
    assert_eq!(report.verdict(), "all is well", "{report}");
    let text = report.to_string();
    for words in [
        "bed-07",
        "the application \"greenhouse\"",
        "connected and subscribed in",
        "webhooks",
    ] {
        assert!(text.contains(words), "{words:?} is missing in: {text}");
    }
    let requests = network.http_requests();
    assert!(requests.len() <= 5, "{requests:?}");
    assert_eq!(requests[0].path, CONFIGURATION);
    assert!(!requests[0].has_key);
}

#[test]
fn at_most_five_requests_are_made_whatever_the_key_is() {
    let _guard = watchdog(LIMIT);
    let network = network();
    let all = ["RIGHT_USER_ALL", "RIGHT_APPLICATION_ALL"];
    network.add_other_key(OTHER, KeyOf::User("gardener"), &all);
    let personal = || {
        MqttClient::builder(APP, OTHER)
            .mqtt_address(network.mqtt_address())
            .http_address(network.http_address())
    };
    let mut before = 0;
    for elsewhere in [false, true] {
        network.identity_server_elsewhere(elsewhere);
        for builder in [builder(&network), personal()] {
            let report = diagnosis(builder);
            let after = network.http_requests().len();
            assert!((1..=5).contains(&(after - before)), "{report}");
            before = after;
        }
    }
}

#[test]
fn a_server_that_is_not_the_things_stack_never_sees_the_key() {
    let _guard = watchdog(LIMIT);
    let network = network();
    for says in [
        "",
        "HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\n<html></html>",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
        "HTTP/1.1 404 Not Found\r\nContent-Length: 22\r\n\r\n{\"detail\":\"Not Found\"}",
        "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n",
        "nonsense",
    ] {
        let stranger = Stranger::new(says);
        let url = format!("http://{}", stranger.address);
        for builder in [
            builder(&network).http_address(&url),
            builder(&network).identity_server_address(&url),
            MqttClient::builder(APP, KEY).discovery_address(&url),
        ] {
            let report = diagnosis(builder);
            stranger.has_not_seen_the_key();
            let step = report.step("HTTP API").expect("a step");
            assert!(
                !matches!(step.verdict, Verdict::Ok | Verdict::Skipped(_)),
                "{says}: {report}"
            );
        }
    }
}

#[test]
fn a_redirect_and_a_proxy_never_lead_to_the_key() {
    let _guard = watchdog(LIMIT);
    let network = network();
    let target = network.http_address();
    let redirecting =
        DiscoveryServer::start(move |path| Answer::Redirect(302, format!("{target}{path}")))
            .expect("a free port");
    let report = diagnosis(builder(&network).http_address(redirecting.url()));
    assert_eq!(redirecting.paths(), [CONFIGURATION]);
    assert_eq!(redirecting.requests()[0].authorization, None);
    assert!(network.http_requests().is_empty(), "{report}");

    let proxy =
        Stranger::new("HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n");
    let report =
        diagnosis(builder(&network).proxy(format!("http://user:hush-hush@{}", proxy.address)));
    proxy.has_not_seen_the_key();
    assert!(!report.is_healthy());
    let text = format!("{report:?}");
    assert!(
        text.contains(&format!("http://{}", proxy.address)),
        "{text}"
    );
    assert!(!text.contains("hush-hush"), "{text}");
}

#[test]
fn the_report_ends_in_time_whoever_is_silent() {
    let _guard = watchdog(LIMIT);
    let network = network();
    let hole = Blackhole::new();
    let silent = Stranger::new("");
    let certificates = Certificates::new();
    let front = TlsFront::start(&certificates.server, silent.address).expect("a free port");
    let behind_tls = format!("localhost:{}", front.port());
    let long = Duration::from_secs(600);
    let silences = [
        builder(&network).mqtt_address(format!("mqtt://{}", hole.address)),
        builder(&network).mqtt_address(format!("mqtt://{}", silent.address)),
        builder(&network).http_address(format!("http://{}", hole.address)),
        builder(&network).http_address(format!("http://{}", silent.address)),
        MqttClient::builder(APP, KEY).mqtt_address(format!("mqtts://{}", silent.address)),
        MqttClient::builder(APP, KEY)
            .mqtt_address(format!("mqtts://{behind_tls}"))
            .http_address(format!("https://{behind_tls}"))
            .ca_pem(certificates.authority.certificate_pem()),
        MqttClient::builder(APP, KEY).discovery_address(format!("http://{}", silent.address)),
    ];
    let running: Vec<_> = silences
        .into_iter()
        .map(|builder| thread::spawn(move || diagnosis(builder.connect_timeout(long))))
        .collect();
    for thread in running {
        let report = thread.join().expect("it is in time");
        assert_ne!(report.verdict(), "all is well", "{report}");
    }
    // After some requests.
    for path in ["auth_info", "/devices", "/down"] {
        network.http_fault_on(path, Some(HttpFault::Silent));
        diagnosis(builder(&network));
    }
}

#[cfg(target_os = "linux")]
#[test]
fn the_report_ends_in_time_if_the_name_server_is_silent() {
    let _guard = watchdog(LIMIT);
    match Names::of_this_process() {
        None => run_with_names(
            module_path!(),
            "the_report_ends_in_time_if_the_name_server_is_silent",
        ),
        Some(names) => {
            names.set(Lookup::Stall);
            let builder = MqttClient::builder(APP, KEY)
                .mqtt_address(format!("mqtts://{NAME}"))
                .http_address(format!("https://{NAME}"))
                .connect_timeout(Duration::from_secs(2));
            holds("the name server is silent", builder);
        }
    }
}

#[test]
fn an_option_that_is_wrong_is_a_report() {
    let report = diagnosis(MqttClient::builder("My App", KEY));
    assert!(!report.is_healthy());
    assert!(report.verdict().contains("My App"), "{report}");
    holds("no server is set", MqttClient::builder(APP, KEY));
}

#[test]
fn faults_of_the_network_have_their_rows() {
    let _guard = watchdog(LIMIT);
    let network = network();
    let at = |address: SocketAddr| builder(&network).mqtt_address(format!("mqtt://{address}"));
    holds(
        "no such name",
        builder(&network).mqtt_address("mqtt://no-such-host.invalid"),
    );
    holds("closed port", at(closed()));
    holds("firewall", at(Blackhole::new().address));
    holds(
        "the HTTP port as MQTT address",
        at(Stranger::new("").address),
    );
    holds(
        "another kind of server",
        at(Stranger::new("HTTP/1.1 400 Bad Request\r\n\r\n").address),
    );
    let down = Simulator::builder(Network::V3)
        .application(APP, KEY)
        .start()
        .unwrap();
    let of_down = builder(&down);
    down.stop();
    holds("the server is down", of_down);
}

#[test]
fn a_port_that_closes_at_a_plain_connect_may_need_tls() {
    let _guard = watchdog(LIMIT);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let address = listener.local_addr().expect("it has one");
    thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let _ = stream.read(&mut [0; 4096]);
        }
    });
    let network = network();
    holds(
        "TLS is required, and the server only closes",
        builder(&network).mqtt_address(format!("mqtt://{address}")),
    );
}

#[test]
fn an_http_api_of_another_network_is_not_held_against_the_key() {
    let _guard = watchdog(LIMIT);
    let network = network();
    for key in [
        "NNSXS.NOTTHATKEYATALL.ANOTHERSECRETTHATNOBODYMAYEVERSEE",
        "NNSXS.THEKEYOFTHETESTSOFTHEDOCTOR.ANOTHERSECRETTHATNOBODYMAYEVERSEE",
    ] {
        let other = Simulator::builder(Network::V3)
            .application(APP, key)
            .start()
            .unwrap();
        let with_other = || builder(&network).http_address(other.http_address());
        let report = match key.contains("NOTTHAT") {
            true => holds("the HTTP side is of another network", with_other()),
            false => diagnosis(with_other()),
        };
        assert!(report.is_healthy(), "{report}");
        assert!(report.verdict().contains("another network"), "{report}");
    }
    let other = self::network();
    other.delete_application(APP);
    let report = diagnosis(builder(&network).http_address(other.http_address()));
    assert!(report.is_healthy(), "{report}");
    assert!(report.verdict().contains("for some minutes"), "{report}");
}

#[test]
fn a_suspended_account_has_its_row() {
    let _guard = watchdog(LIMIT);
    let network = network();
    let all = ["RIGHT_USER_ALL", "RIGHT_APPLICATION_ALL"];
    network.add_other_key(OTHER, KeyOf::User("gardener"), &all);
    network.suspend_user("gardener", true);
    let builder = MqttClient::builder(APP, OTHER)
        .mqtt_address(network.mqtt_address())
        .http_address(network.http_address());
    holds("a suspended account", builder);
}

#[test]
fn stored_uplinks_and_events_are_told() {
    let _guard = watchdog(LIMIT);
    let network = network();
    for (storage, events, words) in [
        (
            (200, r#"{"count":{"bed-07":3,"tank-1":"4"}}"#),
            404,
            "in the last hour: 7",
        ),
        ((200, "{}"), 404, "no uplink of the last hour is stored"),
        (
            (404, r#"{"code":5,"message":"Not Found"}"#),
            200,
            "keeps the last events",
        ),
        (
            (404, r#"{"code":5,"message":"Not Found"}"#),
            404,
            "has no storage",
        ),
        (
            (500, "{}"),
            404,
            "the server refuses the question (HTTP 500)",
        ),
    ] {
        let server = DiscoveryServer::start(move |path| {
            let json = |status, text: &str| Answer::Json(status, text.to_owned());
            match path {
                CONFIGURATION => json(200, r#"{"configuration":{}}"#),
                "/api/v3/auth_info" => json(
                    200,
                    r#"{"api_key":{"api_key":{"rights":["RIGHT_APPLICATION_TRAFFIC_READ","RIGHT_APPLICATION_TRAFFIC_DOWN_WRITE"]},"entity_ids":{"application_ids":{"application_id":"greenhouse"}}}}"#,
                ),
                "/api/v3/events" => json(events, "{}"),
                _ => json(storage.0, storage.1),
            }
        })
        .expect("a free port");
        let report = diagnosis(builder(&network).http_address(server.url()));
        let step = report.step("uplinks").expect("a step").to_string();
        assert!(step.contains(words), "{words}: {report}");
        assert!(server.paths().len() <= 5, "{:?}", server.paths());
    }
}

#[test]
fn what_a_network_keeps_for_programs_that_were_away_is_told() {
    let _guard = watchdog(LIMIT);
    let network = network();
    let step = || {
        let report = diagnosis(builder(&network));
        assert!(report.is_healthy(), "{report}");
        report.step("uplinks").expect("a step").to_string()
    };
    let told = step();
    assert!(told.contains("has no storage"), "{told}");
    assert!(told.contains("does not keep events"), "{told}");
    network.event_store(Some(EventStore::new()));
    let told = step();
    assert!(told.contains("has no storage"), "{told}");
    assert!(told.contains("keeps the last events"), "{told}");
    network.storage(Some(Storage::new()));
    let told = step();
    assert!(told.contains("no uplink of the last hour"), "{told}");
    for _ in 0..3 {
        network.device("bed-07").uplink(1, [1]);
    }
    network.device("tank-1").uplink(1, [1]);
    let told = step();
    assert!(told.contains("stored in the last hour: 4"), "{told}");
    network.storage(Some(Storage::new().forbidden()));
    let told = step();
    assert!(told.contains("HTTP 403"), "{told}");
}

#[test]
fn a_server_that_redirects_only_with_the_key_is_not_followed() {
    let _guard = watchdog(LIMIT);
    let network = network();
    let stranger = Stranger::new("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}");
    let target = format!("http://{}/api/v3/auth_info", stranger.address);
    let server = DiscoveryServer::start(move |path| match path {
        CONFIGURATION => Answer::Json(200, r#"{"configuration":{}}"#.to_owned()),
        _ => Answer::Redirect(302, target.clone()),
    })
    .expect("a free port");
    let report = diagnosis(builder(&network).http_address(server.url()));
    assert!(stranger.heard.lock().unwrap().is_empty(), "{report}");
    let key = &report.step("key").expect("a step").verdict;
    assert!(matches!(key, Verdict::Warning(_)), "{report}");
}

#[test]
fn a_network_with_https_of_its_own_authority_is_reached_in_every_way() {
    let _guard = watchdog(LIMIT);
    let network = Simulator::builder(Network::V3)
        .application(APP, KEY)
        .https(true)
        .start()
        .unwrap();
    let device = network.device("bed-07");
    device.uplink(1, [1]);
    let builder = builder(&network).ca_pem(network.authority());
    let report = diagnosis(builder.clone());
    assert!(report.is_healthy(), "{report}");
    let key = report.step("key").expect("a step").to_string();
    assert!(key.contains("its rights"), "{report}");
    let report = diagnosis(self::builder(&network));
    assert!(
        report
            .verdict()
            .starts_with("it works, but HTTP API: the certificate"),
        "{report}"
    );
    let client = builder.build().expect("the options are right");
    client.connect().expect("it connects");
    assert!(client.queue("bed-07").expect("it answers").is_empty());
}

#[test]
fn faults_of_tls_have_their_rows() {
    let _guard = watchdog(LIMIT);
    let network = network();
    let made = Certificates::new();
    let folder = made.folder();
    let at = |front: &TlsFront, scheme: &str| {
        MqttClient::builder(APP, KEY)
            .mqtt_address(format!("{scheme}://localhost:{}", front.port()))
            .connect_timeout(Duration::from_secs(3))
            .ca_pem(made.authority.certificate_pem())
    };
    let authority = &made.authority;
    for (name, identity) in [
        (
            "expired certificate",
            authority.expired_server(folder, "doctor-old"),
        ),
        (
            "wrong clock",
            authority.future_server(folder, "doctor-early"),
        ),
        (
            "certificate for another host",
            authority.server_named(folder, "doctor-other", "other.example"),
        ),
        (
            "certificate of an unknown authority",
            made.self_signed("doctor-own", false),
        ),
    ] {
        let front = TlsFront::start(&identity, network.address()).expect("a free port");
        holds(name, at(&front, "mqtts"));
    }
    let front = TlsFront::start(&made.server, network.address()).expect("a free port");
    holds("TLS is required", at(&front, "mqtt"));
    holds(
        "no TLS at that port",
        MqttClient::builder(APP, KEY).mqtt_address(format!("mqtts://{}", network.address())),
    );
    let report = diagnosis(at(&front, "mqtts"));
    let tls = report.step("TLS").expect("a step").to_string();
    assert!(
        tls.contains("TLS 1.3") && tls.contains("is valid from"),
        "{tls}"
    );
}

#[test]
fn faults_of_the_http_side_have_their_rows() {
    let _guard = watchdog(LIMIT);
    let network = network();
    let at = |url: String| builder(&network).http_address(url);
    let answers = |status, body: &str| {
        let body = body.to_owned();
        DiscoveryServer::start(move |_| Answer::Json(status, body.clone())).expect("a free port")
    };
    let web = answers(200, r#"{"name":"shop"}"#);
    holds("not The Things Stack", at(web.url()));
    let interop = answers(
        404,
        r#"{"code":5,"message":"error:pkg/webhandlers:route_not_found (route `/api/x` not found)","details":[{"@type":"type.googleapis.com/ttn.lorawan.v3.ErrorDetails","namespace":"pkg/webhandlers","name":"route_not_found","message_format":"route `{route}` not found","code":5}]}"#,
    );
    holds("another port of The Things Stack", at(interop.url()));
    let target = network.http_address();
    let redirecting =
        DiscoveryServer::start(move |_| Answer::Redirect(302, target.clone())).unwrap();
    holds("a redirect", at(redirecting.url()));
    holds(
        "the HTTP side is closed",
        at(format!("http://{}", closed())),
    );
    holds(
        "https where there is no TLS",
        at(network.http_address().replace("http://", "https://")),
    );
    let https = Simulator::builder(Network::V3)
        .application(APP, KEY)
        .https(true)
        .start()
        .unwrap();
    holds(
        "http where there is TLS",
        builder(&https).http_address(https.http_address().replace("https://", "http://")),
    );
    let fault = Simulator::builder(Network::V3)
        .application(APP, KEY)
        .start()
        .unwrap();
    fault.http_fault(Some(HttpFault::Html(502)));
    holds("something in front of the server fails", builder(&fault));
    holds(
        "the HTTP side is not known",
        MqttClient::builder(APP, KEY).mqtt_address(network.mqtt_address()),
    );
}

#[test]
fn refused_keys_have_their_rows() {
    let _guard = watchdog(LIMIT);
    // A network for each row: a process asks once about each key of a network.
    let with_key = |network: &Simulator, key: &str| {
        MqttClient::builder(APP, key)
            .network(Network::V3)
            .mqtt_address(network.mqtt_address())
            .http_address(network.http_address())
    };
    let holds_for = |name, key: &str| holds(name, with_key(&network(), key));
    holds_for("not a key", "NOBODYELSEMAYEVERSEE");
    holds_for(
        "no such key",
        "NNSXS.NOSUCHKEYATALL.ASECRETTHATNOBODYELSEMAYEVERSEE",
    );
    holds_for("half a key", KEY.split_at(KEY.len() - 5).0);
    let other = network();
    other.add_other_key(OTHER, KeyOf::Gateway("roof-east"), &["RIGHT_GATEWAY_INFO"]);
    holds("key of a gateway", with_key(&other, OTHER));
    let other = network();
    other.add_other_key(OTHER, KeyOf::User("gardener"), &["RIGHT_USER_INFO"]);
    holds(
        "key of a user without rights on the application",
        with_key(&other, OTHER),
    );
    let orchard = |network: &Simulator| {
        MqttClient::builder("orchard@ttn", KEY)
            .mqtt_address(network.mqtt_address())
            .http_address(network.http_address())
    };
    holds("no such application", orchard(&network()));
    let other = network();
    other.set_rights("orchard@ttn", OTHER, &[READ]);
    holds("key of another application", orchard(&other));
    let other = network();
    assert!(other.expire_key(APP, KEY, SystemTime::now()));
    holds("expired key", builder(&other));
    let other = network();
    assert!(other.delete_application(APP));
    holds("deleted application", builder(&other));
}

#[test]
fn rights_that_are_missing_have_their_rows() {
    let _guard = watchdog(LIMIT);
    let with_rights = |rights: &[&str]| {
        let network = network();
        network.device("bed-07");
        network.set_rights(APP, KEY, rights);
        network
    };
    let report = holds("no right to read", builder(&with_rights(&[SEND])));
    assert_eq!(report.step("MQTT").expect("a step").verdict, Verdict::Ok);
    holds("no right to send", builder(&with_rights(&[READ])));
    holds(
        "too many rights",
        builder(&with_rights(&["RIGHT_APPLICATION_ALL"])),
    );
    let network = with_rights(&[READ, SEND]);
    network.expire_key(APP, KEY, SystemTime::now() + Duration::from_secs(86_400));
    holds("the key expires soon", builder(&network));
}

#[test]
fn without_an_identity_server_the_application_server_tells_the_rights() {
    let _guard = watchdog(LIMIT);
    let network = network();
    network.identity_server_elsewhere(true);
    for (rights, is_healthy) in [(&[READ, SEND][..], true), (&[SEND], false), (&[READ], true)] {
        network.set_rights(APP, KEY, rights);
        let report = diagnosis(builder(&network));
        assert_eq!(report.is_healthy(), is_healthy, "{report}");
        let key = report.step("key").expect("a step").to_string();
        assert!(key.contains("no Identity Server"), "{key}");
        for right in [READ, SEND] {
            let has = rights.contains(&right);
            assert_eq!(key.contains(&format!("the key has {right}")), has, "{key}");
        }
    }
    let network = self::network();
    network.identity_server_down(true);
    holds("the Identity Server is away", builder(&network));
}

#[test]
fn a_wrong_form_of_the_application_id_has_its_row() {
    let _guard = watchdog(LIMIT);
    let network = Simulator::builder(Network::V3)
        .application("greenhouse", KEY)
        .start()
        .unwrap();
    holds("a tenant where there is none", builder(&network));
}

#[test]
fn a_server_that_sees_no_key_has_its_row() {
    let _guard = watchdog(LIMIT);
    let network = network();
    let server = DiscoveryServer::start(|path| match path {
        CONFIGURATION => Answer::Json(200, r#"{"configuration":{}}"#.to_owned()),
        _ => Answer::Json(200, "{}".to_owned()),
    })
    .expect("a free port");
    holds(
        "the key is lost on the way",
        builder(&network).http_address(server.url()),
    );
    assert!(server.paths().len() <= 10);
}

#[test]
fn a_server_with_another_time_is_a_warning() {
    let _guard = watchdog(LIMIT);
    let network = network();
    let server = Stranger::new(
        "HTTP/1.1 200 OK\r\nDate: Sun, 29 Nov 2020 06:31:54 GMT\r\nContent-Length: 20\r\n\r\n{\"configuration\":{}}",
    );
    let report = diagnosis(builder(&network).http_address(format!("http://{}", server.address)));
    let clock = report.step("clock").expect("a step").to_string();
    assert!(
        clock.contains("2020-11-29T06:31:54Z") && clock.contains("NTP"),
        "{clock}"
    );
}

#[test]
fn a_server_that_repeats_the_key_is_not_repeated() {
    let _guard = watchdog(LIMIT);
    let network = network();
    for body in [
        format!(r#"{{"code":7,"message":"what is {KEY}","details":[]}}"#),
        r#"{"code":7,"message":"what is NOBODYELSEMAYEV","details":[]}"#.to_owned(),
    ] {
        let server = DiscoveryServer::start(move |path| match path {
            CONFIGURATION => Answer::Json(200, r#"{"configuration":{}}"#.to_owned()),
            _ => Answer::Json(403, body.clone()),
        })
        .expect("a free port");
        diagnosis(builder(&network).http_address(server.url()));
    }
}

#[test]
fn v2_has_the_steps_that_exist_there() {
    let _guard = watchdog(LIMIT);
    let network = Simulator::start(Network::V2).expect("it starts");
    let of =
        |key: &str| MqttClient::builder(network.app_id(), key).mqtt_address(network.mqtt_address());
    let report = diagnosis(of(network.access_key()));
    assert!(report.is_healthy(), "{report}");
    for (name, is_skipped) in [
        ("TCP", false),
        ("HTTP API", true),
        ("key", true),
        ("MQTT", false),
    ] {
        let step = report.step(name).expect("a step");
        assert_eq!(
            matches!(step.verdict, Verdict::Skipped(_)),
            is_skipped,
            "{report}"
        );
    }
    let report = diagnosis(of("ttn-account-v2.another-key"));
    assert!(report.verdict().starts_with("MQTT: "), "{report}");
}

#[test]
fn an_address_is_asked_for_once_and_the_client_connects_to_it() {
    let _guard = watchdog(LIMIT);
    let network = network();
    let report = diagnosis(MqttClient::builder(APP, KEY).discovery_address(network.http_address()));
    let requests = network.http_requests();
    assert!(requests.len() <= 5, "{requests:?}");
    let discovery = report.step("discovery").expect("a step");
    assert_eq!(discovery.verdict, Verdict::Ok, "{report}");
    assert_eq!(
        report.step("MQTT").expect("a step").verdict,
        Verdict::Ok,
        "{report}"
    );
}
