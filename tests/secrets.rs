//! The access key never appears: not in debug output, not in errors, not in the log, whatever
//! fails.

#![cfg(unix)]

mod support;

use std::{
    error::Error as _,
    fmt::Debug,
    net::{Ipv4Addr, TcpListener},
    sync::{Mutex, MutexGuard, Once, PoisonError},
    time::{Duration, SystemTime},
};

use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde_json::json;
use support::{
    certificates::Certificates,
    discovery_server::{Answer, DiscoveryServer},
    harness::{Harness, SOON},
    relay::{Fault, Relay, Way},
    tls_front::TlsFront,
    watchdog::watchdog,
    way_out::{Speech, WayOut},
};
use ttn::{
    Backfill, BackfillSource, Error, ErrorKind, Event, Events, MqttClient, MqttClientBuilder,
    Network, simulator::Simulator,
};

const LIMIT: Duration = Duration::from_secs(60);
const TIMEOUT: Duration = Duration::from_secs(1);

const APP: &str = "greenhouse";
const KEY: &str = "ttn-account-v2.kEepTh1sToY0urself";
const API_KEY: &str = "NNSXS.ID.kEepTh1sToY0urself";
/// The part that is left if the beginning is cut off.
const SECRET: &str = "kEepTh1sToY0urself";

/// Keeps every line of every target and level.
struct Log(Mutex<Vec<(String, String)>>);

static LOG: Log = Log(Mutex::new(Vec::new()));

impl Log {
    fn lines(&self) -> MutexGuard<'_, Vec<(String, String)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl log::Log for Log {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        let line = (record.target().to_owned(), record.args().to_string());
        self.lines().push(line);
    }

    fn flush(&self) {}
}

/// Starts to record the log.
fn listen() {
    static START: Once = Once::new();
    START.call_once(|| {
        log::set_logger(&LOG).expect("the only logger");
        log::set_max_level(log::LevelFilter::Trace);
    });
}

/// Asserts that the log so far contains these words, and no part of the key.
#[track_caller]
fn log_is_clean(words: &str) {
    let lines = LOG.lines();
    let ours = |target: &str| target == "ttn" || target.starts_with("ttn::");
    // Bytes as Paho prints them.
    let bytes = format!("{:?}", SECRET.as_bytes());
    let bytes = bytes.trim_start_matches('[').trim_end_matches(']');
    for (target, line) in lines.iter() {
        assert!(!line.contains(SECRET), "{target}: {line}");
        assert!(!line.contains(bytes), "{target}: {line}");
    }
    assert!(
        lines
            .iter()
            .any(|(target, line)| ours(target) && line.contains(words)),
        "nobody said {words:?}"
    );
}

#[track_caller]
fn is_clean(thing: &impl Debug) {
    for text in [format!("{thing:?}"), format!("{thing:#?}")] {
        assert!(!text.contains(SECRET), "{text}");
    }
}

#[track_caller]
fn error_is_clean(error: &Error) {
    is_clean(error);
    let mut source = error.source();
    let mut text = error.to_string();
    while let Some(cause) = source {
        text += &format!(" {cause} {cause:?}");
        source = cause.source();
    }
    assert!(!text.contains(SECRET), "{text}");
}

/// Reads events up to this one, and asserts that none contains any part of the key.
#[track_caller]
fn events_are_clean(events: &Events, last: impl Fn(&Event) -> bool) {
    loop {
        let event = events.recv_timeout(SOON).expect("an event comes");
        is_clean(&event);
        is_clean(&ttn::serde_json::to_string(&event).expect("an event can be written"));
        if last(&event) {
            return;
        }
    }
}

fn network() -> Simulator {
    Simulator::builder(Network::V2)
        .application(APP, KEY)
        .start()
        .expect("the simulated network starts")
}

fn builder(address: impl ToString) -> MqttClientBuilder {
    MqttClient::builder(APP, KEY)
        .mqtt_address(address.to_string())
        .connect_timeout(TIMEOUT)
}

/// Asserts that connecting fails, with no part of the key in the error.
#[track_caller]
fn fails(builder: MqttClientBuilder) -> Error {
    is_clean(&builder);
    let client = builder.build().expect("the options are valid");
    let events = client.events();
    let error = client.connect().expect_err("connecting should have failed");
    error_is_clean(&error);
    is_clean(&client);
    events_are_clean(&events, |event| matches!(event, Event::ConnectFailed(_)));
    error
}

#[test]
fn the_key_is_not_in_what_builder_client_and_events_print() {
    let _guard = watchdog(LIMIT);
    listen();
    let network = network();
    let builder = builder(network.address())
        .reconnect(false)
        .discovery_address("http://localhost:8080")
        .client_certificate_pem("certificate", "key");
    is_clean(&builder);
    let client = builder.build().expect("the options are valid");
    is_clean(&client);
    let events = client.events();
    is_clean(&events);
    client.set_uplink_callback(|_, _| -> ttn::anyhow::Result<()> { ttn::anyhow::bail!("no") });
    client.connect().expect("the network is up");
    is_clean(&client);
    network.device("pump-1").uplink(1, [1]);
    network.publish(&format!("{APP}/devices/pump-1/up"), "no JSON");
    let delivery = client.send("pump-1", "01").expect("connected");
    is_clean(&delivery);
    assert!(network.wait_for_published(1, SOON));
    network.disconnect_clients();
    events_are_clean(&events, |event| matches!(event, Event::Closed(_)));
    log_is_clean("connected to");
    log_is_clean("ended unexpectedly");
}

#[test]
fn a_key_is_sent_to_the_server_and_to_nobody_else() {
    let _guard = watchdog(LIMIT);
    listen();
    // If the key were wrong, the other checks would prove nothing.
    let network = network();
    let client = builder(network.address())
        .build()
        .expect("the options are valid");
    client.connect().expect("the key is right");
    for info in network.clients() {
        assert!(!info.client_id.contains(SECRET));
        assert_eq!(info.username, APP);
    }
    client.close().expect("no callback runs");
    log_is_clean("connected to");
}

#[test]
fn the_key_is_not_in_what_a_failure_says() {
    let _guard = watchdog(LIMIT);
    listen();
    let network = network();
    let address = network.address();
    for code in 1..=6 {
        network.quirks(|quirks| quirks.connack = Some(code));
        fails(builder(address));
    }
    network.quirks(|quirks| *quirks = Default::default());
    network.quirks(|quirks| quirks.refuse_subscriptions = true);
    fails(builder(address));
    network.quirks(|quirks| *quirks = Default::default());
    network.quirks(|quirks| quirks.ignore_subscriptions = true);
    fails(builder(address));
    network.quirks(|quirks| *quirks = Default::default());
    network.quirks(|quirks| quirks.ignore_connect = true);
    fails(builder(address));
    network.quirks(|quirks| *quirks = Default::default());
    network.quirks(|quirks| quirks.close_on_connect = true);
    fails(builder(address));
    network.quirks(|quirks| *quirks = Default::default());

    let relay = Relay::start(address).expect("a free port");
    relay.set(Way::ToClients, Fault::CutAfter(4));
    fails(builder(relay.address()));
    relay.refuse();
    fails(builder(relay.address()));
    fails(builder(format!("{}.example", "x".repeat(64))));
    log_is_clean("nothing listens");
    log_is_clean("CONNACK 5");
}

#[test]
fn the_key_is_not_in_what_a_refusing_server_says() {
    let _guard = watchdog(LIMIT);
    listen();
    Harness::each(|harness| {
        let error = fails(builder(harness.address()));
        assert_eq!(error.kind(), ErrorKind::NotAuthorized);
    });
    log_is_clean("not accepted");
}

#[test]
#[cfg_attr(not(feature = "tls"), ignore = "needs the feature `tls`")]
fn the_key_is_not_in_what_tls_says() {
    let _guard = watchdog(LIMIT);
    listen();
    let network = network();
    let certificates = Certificates::new();
    let ca = certificates.authority.certificate_file();
    for identity in [
        &certificates.foreign,
        &certificates.expired,
        &certificates.wrong_host,
    ] {
        let front = TlsFront::start(identity, network.address()).expect("a free port");
        fails(builder(format!("mqtts://localhost:{}", front.port())).ca_file(ca));
    }
    let front = TlsFront::start(&certificates.server, network.address()).expect("a free port");
    let address = format!("mqtts://localhost:{}", front.port());
    fails(builder(&address).ca_file("/no/such/file"));
    fails(builder(&address).ca_pem("no PEM"));
    let client = builder(&address)
        .ca_file(ca)
        .build()
        .expect("the options are valid");
    client.connect().expect("the certificate is in order");
    is_clean(&client);
    log_is_clean("expired");
}

#[test]
fn the_key_is_not_in_what_discovery_says() {
    let _guard = watchdog(LIMIT);
    listen();
    let network = network();
    let list = json!({"services": [{
        "id": "handler-1",
        "mqtt_address": network.mqtt_address(),
        "metadata": [{"app_id": APP}],
    }]});
    let server = DiscoveryServer::start(move |path| match path.split('/').nth(1) {
        Some("good") => Answer::Json(200, list.to_string()),
        Some("empty") => Answer::Json(200, "{}".to_owned()),
        Some("hangs") => Answer::Hang,
        Some("html") => Answer::Text(200, "<html>".to_owned()),
        _ => Answer::Text(404, "Not Found".to_owned()),
    });
    let server = server.expect("a free port");
    let builder = |path: &str| {
        MqttClient::builder(APP, KEY)
            .discovery_address(format!("{}/{path}", server.url()))
            .connect_timeout(TIMEOUT)
    };
    for path in ["empty", "hangs", "html", "missing"] {
        fails(builder(path));
    }
    fails(MqttClient::builder(APP, KEY));
    let client = builder("good").build().expect("the options are valid");
    client.connect().expect("the handler is up");
    for request in server.requests() {
        assert!(!request.path.contains(SECRET));
        assert_eq!(request.authorization, None);
    }
    log_is_clean("knows no handlers");
}

#[test]
fn the_key_is_not_in_what_discovery_on_v3_says() {
    let _guard = watchdog(LIMIT);
    listen();
    let network = Simulator::builder(Network::V3)
        .application(APP, API_KEY)
        .start()
        .expect("the simulated network starts");
    let address = network.mqtt_address();
    let other = DiscoveryServer::start(|_| Answer::Json(200, "{}".to_owned()));
    let other = other.expect("a free port");
    let place = other.url();
    let repeat = |name: &str| json!({name: format!("key {API_KEY} or {SECRET}")}).to_string();
    let server = DiscoveryServer::start(move |path| match path.split('/').nth(1) {
        Some("good") => Answer::Json(200, json!({"public_address": address}).to_string()),
        Some("hangs") => Answer::Hang,
        Some("html") => Answer::Text(200, "<html>".to_owned()),
        Some("moved") => Answer::Redirect(302, place.clone()),
        Some("repeats-in-address") => Answer::Json(200, repeat("public_address")),
        Some("repeats-in-name") => Answer::Json(200, repeat("username")),
        Some("repeats-in-error") => Answer::Json(403, repeat("message")),
        Some("repeats-in-text") => Answer::Text(200, API_KEY.to_owned()),
        Some("renamed") => Answer::Json(200, json!({"username": "greenhouse@ttn"}).to_string()),
        Some("refused") => Answer::Json(401, json!({"message": "no such key"}).to_string()),
        _ => Answer::Text(404, "Not Found".to_owned()),
    });
    let server = server.expect("a free port");
    let builder = |path: &str| {
        MqttClient::builder(APP, API_KEY)
            .discovery_address(format!("{}/{path}", server.url()))
            .connect_timeout(TIMEOUT)
    };
    for path in [
        "hangs",
        "html",
        "moved",
        "repeats-in-address",
        "repeats-in-name",
        "repeats-in-error",
        "repeats-in-text",
        "renamed",
        "refused",
        "missing",
    ] {
        fails(builder(path));
    }
    fails(builder("good").discovery_address(server.url().replace("http:", "https:")));
    fails(MqttClient::builder(APP, API_KEY));
    let client = builder("good").build().expect("the options are valid");
    client.connect().expect("the network is up");
    is_clean(&client);
    // If the key were not sent, the other checks would prove nothing.
    for request in server.requests() {
        assert!(!request.path.contains(SECRET));
        let authorization = request.authorization.expect("the server is shown the key");
        assert_eq!(authorization, format!("Bearer {API_KEY}"));
    }
    assert!(other.requests().is_empty());
    log_is_clean("RIGHT_APPLICATION_INFO");
    assert!(LOG.lines().iter().any(|(target, line)| {
        target.starts_with("ureq") && line.contains("mqtt-connection-info")
    }));
}

#[test]
fn the_secret_of_a_proxy_is_in_nothing_that_is_said() {
    let _guard = watchdog(LIMIT);
    listen();
    let network = network();
    let credentials = format!("jane:{SECRET}@");
    let encoded = BASE64_STANDARD.encode(format!("jane:{SECRET}"));
    for speech in [Speech::Http, Speech::Socks5] {
        let proxy = || WayOut::builder(speech);
        let repeats =
            format!("HTTP/1.1 407 {SECRET} {encoded}\r\nProxy-Authenticate: {SECRET}\r\n\r\n");
        for proxy in [
            proxy().wants("jane", "another"),
            proxy().answers(repeats.clone()),
            proxy().answers(format!("{SECRET}\r\n{encoded}\r\n\r\n")),
            proxy().denies(repeats),
            proxy().denies([5, 2, 0, 1]),
            proxy().closes(),
            proxy().resets(),
            proxy().keeps_silent(),
        ] {
            let proxy = proxy.start().expect("a free port");
            let url = proxy.url_with(&credentials);
            fails(builder(network.address()).proxy(&url));
            let discovery = MqttClient::builder(APP, KEY)
                .discovery_address("http://discovery.invalid")
                .connect_timeout(TIMEOUT);
            fails(discovery.proxy(&url));
        }
        let proxy = proxy().wants("jane", SECRET).start().expect("a free port");
        let client = builder(network.address()).proxy(proxy.url_with(&credentials));
        is_clean(&client);
        let client = client.build().expect("the options are valid");
        client.connect().expect("the secret is right");
        is_clean(&client);
    }
    for address in [
        format!("http://jane:{SECRET}"),
        format!("ftp://jane:{SECRET}@proxy"),
        format!("https://jane:{SECRET}@proxy"),
        format!("socks4://jane:{SECRET}@proxy"),
        format!("http://jane:%{SECRET}@proxy"),
        format!("http://jane:{SECRET}@proxy:{SECRET}"),
        format!("http://proxy/{SECRET}"),
        format!("{SECRET}://proxy"),
    ] {
        is_refused(builder(network.address()).proxy(address));
    }
    let lines = LOG.lines();
    let said = |(_, line): &&(String, String)| line.contains(&encoded);
    assert_eq!(lines.iter().find(said), None);
    drop(lines);
    log_is_clean("the proxy http://127.0.0.1");
    log_is_clean("the proxy socks5://127.0.0.1");
}

#[test]
fn the_key_is_not_in_what_a_silent_port_says() {
    let _guard = watchdog(LIMIT);
    listen();
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let address = silent.local_addr().expect("bound");
    fails(builder(address));
    fails(builder(format!("mqtts://{address}")));
    log_is_clean("did not answer");
}

/// Asserts that building fails, with no part of the key in the error.
#[track_caller]
fn is_refused(builder: MqttClientBuilder) {
    is_clean(&builder);
    let error = builder.build().expect_err("the option is wrong");
    assert_eq!(error.kind(), ErrorKind::Config, "{error}");
    error_is_clean(&error);
}

#[test]
fn a_key_that_cannot_be_one_is_not_repeated() {
    let _guard = watchdog(LIMIT);
    for key in [
        format!("{KEY}\n"),
        format!(" {KEY}"),
        format!("{KEY} {KEY}"),
        format!("\"{KEY}\""),
        format!("NNSXS.{KEY}"),
    ] {
        // A key may contain quotes, so nothing is wrong yet.
        let builder = MqttClient::builder(APP, key);
        is_clean(&builder);
        if let Err(error) = builder.build() {
            error_is_clean(&error);
        }
    }
    is_refused(MqttClient::builder("My App", KEY));
    is_refused(MqttClient::builder("greenhouse@ttn", KEY));
    is_refused(MqttClient::builder(APP, KEY).mqtt_address("http://host"));
    is_refused(MqttClient::builder(APP, KEY).discovery_address("ftp://host"));
    is_refused(MqttClient::builder(APP, KEY).send_capacity(0));
}

#[test]
fn a_key_in_an_mqtt_address_is_not_repeated() {
    let _guard = watchdog(LIMIT);
    for address in [
        format!("mqtt://{APP}:{KEY}@localhost:1883"),
        format!("{APP}:{KEY}@localhost"),
        format!("mqtts://{KEY}@localhost"),
        format!("localhost:{KEY}"),
        format!("mqtt://localhost/{KEY}"),
        format!("mqtt://localhost?key={KEY}"),
        format!("{KEY}://localhost"),
        format!("[{KEY}]"),
        KEY.to_owned(),
        format!("{KEY}:1883"),
        format!("mqtts://{KEY}"),
    ] {
        is_refused(MqttClient::builder(APP, KEY).mqtt_address(address));
    }
}

#[test]
fn a_key_in_a_discovery_address_is_not_repeated() {
    let _guard = watchdog(LIMIT);
    for address in [
        format!("http://{APP}:{KEY}@localhost:8080"),
        format!("{KEY}@localhost"),
        format!("localhost:{KEY}"),
        format!("http://localhost/{KEY}"),
        format!("http://localhost?key={KEY}"),
        format!("{KEY}://localhost"),
        KEY.to_owned(),
        format!("https://{KEY}"),
    ] {
        is_refused(MqttClient::builder(APP, KEY).discovery_address(&address));
        is_refused(
            MqttClient::builder(APP, KEY)
                .mqtt_address("localhost")
                .discovery_address(&address),
        );
    }
    for address in [
        format!("https://{APP}:{API_KEY}@localhost"),
        format!("{API_KEY}@localhost"),
        format!("https://localhost/{API_KEY}"),
        format!("localhost?key={API_KEY}"),
    ] {
        is_refused(MqttClient::builder(APP, API_KEY).discovery_address(&address));
    }
}

#[test]
fn the_secret_of_a_proxy_is_not_repeated() {
    let _guard = watchdog(LIMIT);
    listen();
    for address in [
        format!("https://user:{SECRET}@proxy:3128"),
        format!("ftp://user:{SECRET}@proxy"),
        format!("{SECRET}://proxy"),
        format!("http://user:{SECRET}"),
        format!("http://user:{SECRET}@"),
        format!("http://user:{SECRET}@proxy:port"),
        format!("http://user:{SECRET}@proxy/path"),
        format!("http://user:{SECRET}%@proxy"),
        format!("http://user:{SECRET} @proxy"),
        format!("http://proxy:{SECRET}"),
        format!("http://proxy/{SECRET}"),
        format!("socks4://{SECRET}@proxy"),
        format!("socks5://user:{}@proxy", SECRET.repeat(20)),
        format!("socks5://[{SECRET}]"),
        format!("http://user:{KEY}@proxy"),
    ] {
        is_refused(MqttClient::builder(APP, KEY).proxy(address));
    }
    for address in [
        format!("http://user:{SECRET}@proxy:3128"),
        format!("http://{SECRET}@proxy"),
        format!("socks5://user:{SECRET}@proxy"),
    ] {
        let builder = || MqttClient::builder(APP, KEY).proxy(&address);
        is_clean(&builder());
        is_clean(&builder().build().expect("the options are valid"));
        is_refused(builder().proxy_from_environment(true));
    }
}

#[test]
fn a_key_in_the_place_of_the_application_id_is_not_repeated() {
    let _guard = watchdog(LIMIT);
    is_refused(MqttClient::builder(KEY, APP));
    is_refused(MqttClient::builder(KEY, KEY));
    is_refused(MqttClient::builder(KEY, ""));
    is_refused(MqttClient::builder(
        format!("NNSXS.{SECRET}"),
        "greenhouse@ttn",
    ));
}

#[test]
fn a_key_in_the_client_id_is_refused() {
    let _guard = watchdog(LIMIT);
    is_refused(MqttClient::builder(APP, KEY).client_id_prefix(format!("{KEY}-")));
    is_refused(MqttClient::builder(APP, KEY).client_id_prefix(format!("{KEY}\0")));
}

#[test]
fn the_key_is_not_in_what_rights_and_their_warnings_say() {
    listen();
    let _watchdog = watchdog(LIMIT);
    let network = Simulator::builder(Network::V3)
        .application(APP, API_KEY)
        .start()
        .expect("the simulated network starts");
    network.set_rights(APP, API_KEY, &["RIGHT_APPLICATION_INFO"]);
    let client = MqttClient::builder(APP, API_KEY)
        .mqtt_address(network.mqtt_address())
        .http_address(network.http_address())
        .build()
        .expect("the options are valid");
    let events = client.events();
    client.connect().expect("the key has a right");
    events_are_clean(&events, |event| matches!(event, Event::KeyWarning(_)));
    log_is_clean("may not read the traffic");
    let rights = client.rights().expect("they are known");
    is_clean(&rights);
    is_clean(&ttn::serde_json::to_string(&rights).expect("rights can be written"));
    let downlink = ttn::Downlink::bytes([1]).port(2);
    error_is_clean(
        &client
            .send("bed-07", downlink)
            .expect_err("it may not send"),
    );
    error_is_clean(&client.queue("bed-07").expect_err("it may not look"));
    is_clean(&client);
}

#[test]
fn the_key_is_not_in_what_a_backfill_says_and_reaches_no_other_host() {
    listen();
    let _watchdog = watchdog(LIMIT);
    let other = DiscoveryServer::start(|_| Answer::Json(200, "{}".to_owned()));
    let other = other.expect("a free port");
    let repeated = format!("key {API_KEY} or {SECRET}");
    let error = json!({"code": 7, "message": repeated, "details": [{
        "@type": "type.googleapis.com/ttn.lorawan.v3.ErrorDetails",
        "namespace": "pkg/auth", "name": "odd", "message_format": repeated,
        "attributes": {"key": repeated}, "code": 7,
    }]});
    let record = json!({"result": {
        "end_device_ids": {"device_id": SECRET, "application_ids": {"application_id": SECRET}},
        "received_at": SECRET, "uplink_message": {"f_port": SECRET},
    }});
    let wrapped = json!({"error": error}).to_string();
    for source in [BackfillSource::Storage, BackfillSource::Events] {
        for answer in [
            Answer::Redirect(301, other.url()),
            Answer::Redirect(302, other.url()),
            Answer::Redirect(307, other.url()),
            Answer::Redirect(308, other.url()),
            Answer::Json(401, error.to_string()),
            Answer::Json(403, wrapped.clone()),
            Answer::Json(429, wrapped.clone()),
            Answer::Json(502, error.to_string()),
            Answer::Text(500, repeated.clone()),
            Answer::Json(200, wrapped.clone()),
            Answer::Json(200, format!("{record}\n{wrapped}")),
            Answer::Json(200, record.to_string()),
            Answer::Text(200, repeated.clone()),
            Answer::Text(200, format!("<html>{repeated}</html>")),
        ] {
            let what = format!("{answer:?}");
            let server = DiscoveryServer::start(move |_| answer.clone()).expect("a free port");
            let backfill = Backfill::on_request()
                .source(source)
                .max_wait(Duration::from_millis(1));
            let client = MqttClient::builder(APP, API_KEY)
                .mqtt_address("mqtt://127.0.0.1:9")
                .http_address(server.url())
                .backfill(backfill)
                .build()
                .expect("the options are valid");
            let events = client.events();
            let hour_ago = SystemTime::now() - Duration::from_secs(3600);
            let backfilling = client
                .backfill(hour_ago..SystemTime::now())
                .expect("it is set");
            let report = backfilling.wait().expect("the client is there");
            assert!(!report.uncovered.is_empty(), "{what}: {report}");
            is_clean(&report);
            is_clean(&report.to_string());
            if let Some(error) = &report.error {
                error_is_clean(error);
            }
            events_are_clean(&events, |event| matches!(event, Event::Backfilled(_)));
            is_clean(&client);
            // If the key were not sent, the other checks would prove nothing.
            let requests = server.requests();
            assert!(!requests.is_empty(), "{what}");
            for request in requests {
                assert!(!request.path.contains(SECRET), "{what}");
                let authorization = request.authorization.expect("the server is shown the key");
                assert_eq!(authorization, format!("Bearer {API_KEY}"));
            }
        }
    }
    assert!(other.requests().is_empty());
    log_is_clean("what is wrong with it repeats the access key");
}
