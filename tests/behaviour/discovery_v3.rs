//! The Things Stack leads from an application id and its API key to the MQTT server, or to an error
//! that explains why not.

#![cfg(unix)]

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    thread,
    time::Duration,
};

use crate::support::{
    attempts,
    certificates::Certificates,
    discovery_server::{Answer, DiscoveryServer},
    harness::SOON,
    tls_front::TlsFront,
    watchdog::watchdog,
};
use serde_json::{Value, json};
use ttn::{Error, ErrorKind, Event, MqttClient, MqttClientBuilder, Network, simulator::Simulator};

const LIMIT: Duration = Duration::from_secs(60);

/// The time limit for an attempt to connect.
const TIMEOUT: Duration = Duration::from_secs(4);

const APP: &str = "greenhouse@ttn";
const KEY: &str = "NNSXS.A-KEY.OF-THE-TESTS";
const PATH: &str = "/api/v3/as/applications/greenhouse/mqtt-connection-info";

fn network() -> Simulator {
    Simulator::builder(Network::V3)
        .application(APP, KEY)
        .start()
        .expect("the simulated network starts")
}

/// Starts a server that answers every request with this.
fn server(answer: Answer) -> DiscoveryServer {
    DiscoveryServer::start(move |_| answer.clone()).expect("a free port")
}

fn server_of(info: &Value) -> DiscoveryServer {
    server(Answer::Json(200, info.to_string()))
}

/// Returns an answer that announces only a plain address.
fn plain(address: SocketAddr) -> Value {
    json!({"public_address": address, "public_tls_address": "", "username": APP})
}

fn builder(url: impl Into<String>) -> MqttClientBuilder {
    MqttClient::builder(APP, KEY)
        .discovery_address(url)
        .connect_timeout(TIMEOUT)
}

fn client_of(url: impl Into<String>) -> MqttClient {
    builder(url).build().expect("the options are valid")
}

/// Connects, and returns the address that it connected to. The client asks nothing else over HTTP.
#[track_caller]
fn connects(builder: MqttClientBuilder) -> String {
    let builder = builder.ask_over_http(false);
    let client = builder.build().expect("the options are valid");
    let events = client.events();
    if let Err(error) = client.connect() {
        panic!("{error:?}");
    }
    match events.recv_timeout(SOON) {
        Ok(Event::Connected(connected)) => connected.address.clone(),
        event => panic!("{event:?}"),
    }
}

/// Asserts that connecting fails with these words, and no part of the key.
#[track_caller]
fn fails(client: &MqttClient, kind: ErrorKind, words: &[&str]) -> Error {
    let error = attempts::failure(client, TIMEOUT);
    attempts::says(&error, kind, words);
    assert!(!format!("{error:?}").contains("OF-THE-TESTS"), "{error:?}");
    error
}

#[test]
#[cfg_attr(not(feature = "tls"), ignore = "needs the feature `tls`")]
fn the_address_with_tls_is_taken_though_there_is_a_plain_one() {
    let _guard = watchdog(LIMIT);
    let network = network();
    let certificates = Certificates::new();
    let front = TlsFront::start(&certificates.server, network.address()).expect("a free port");
    let address = format!("localhost:{}", front.port());
    for announced in [address.clone(), format!("https://{address}")] {
        let server = server_of(&json!({
            "public_address": network.address(),
            "public_tls_address": announced,
            "username": APP,
        }));
        let builder = builder(server.url()).ca_file(certificates.authority.certificate_file());
        assert_eq!(connects(builder), format!("mqtts://{address}"));
    }
}

#[test]
fn a_server_that_is_asked_in_plain_may_lead_to_a_plain_address() {
    let _guard = watchdog(LIMIT);
    let network = network();
    let server = server_of(&plain(network.address()));
    assert_eq!(
        connects(builder(server.url())),
        format!("mqtt://{}", network.address())
    );
}

#[test]
#[cfg_attr(not(feature = "tls"), ignore = "needs the feature `tls`")]
fn a_server_that_is_asked_over_tls_does_not_lead_to_a_plain_address() {
    let _guard = watchdog(LIMIT);
    let certificates = Certificates::new();
    let network = network();
    let server = server_of(&plain(network.address()));
    let front = TlsFront::start(&certificates.server, server.address()).expect("a free port");
    let client = builder(format!("https://localhost:{}", front.port()))
        .ca_file(certificates.authority.certificate_file())
        .build()
        .expect("the options are valid");
    let advice = format!("mqtt_address(\"mqtt://{}\")", network.address());
    let error = fails(
        &client,
        ErrorKind::NoMqttAddress,
        &["only the plain", &advice],
    );
    assert!(!error.is_transient());
    assert!(network.clients().is_empty());
}

#[test]
fn the_server_is_asked_with_the_key_for_the_application_without_its_tenant() {
    let _guard = watchdog(LIMIT);
    let network = network();
    let server = server_of(&plain(network.address()));
    connects(builder(server.url()));
    let requests = server.requests();
    assert_eq!(requests.len(), 1);
    assert_eq!(requests[0].path, PATH);
    let bearer = format!("Bearer {KEY}");
    assert_eq!(requests[0].authorization.as_deref(), Some(bearer.as_str()));
}

#[test]
fn an_application_without_a_tenant_is_found_by_its_id() {
    let _guard = watchdog(LIMIT);
    let network = Simulator::builder(Network::V3)
        .application("silo", KEY)
        .start()
        .expect("the simulated network starts");
    for username in [json!("silo"), json!(""), Value::Null] {
        let server = server_of(&json!({"public_address": network.address(), "username": username}));
        connects(
            MqttClient::builder("silo", KEY)
                .discovery_address(server.url())
                .connect_timeout(TIMEOUT),
        );
        let path = "/api/v3/as/applications/silo/mqtt-connection-info";
        assert_eq!(server.paths(), [path]);
    }
}

#[test]
fn a_missing_tenant_is_told() {
    let _guard = watchdog(LIMIT);
    let network = network();
    let server = server_of(&plain(network.address()));
    let client = MqttClient::builder("greenhouse", KEY)
        .discovery_address(server.url())
        .build()
        .expect("the options are valid");
    let words = [
        "knows this application as \"greenhouse@ttn\"",
        "\"greenhouse\"",
        &server.url(),
    ];
    let error = fails(&client, ErrorKind::Config, &words);
    assert!(!error.is_transient());
    assert!(network.clients().is_empty());
}

/// Returns an error in the form that The Things Stack sends.
fn refusal(status: u16, words: &str) -> Answer {
    let body = json!({"code": 7, "message": words, "details": [{"namespace": "pkg/auth/rights"}]});
    Answer::Json(status, body.to_string())
}

#[test]
fn a_key_without_the_right_is_told_what_is_missing() {
    let _guard = watchdog(LIMIT);
    for status in [401, 403] {
        let server = server(refusal(status, "no application rights"));
        let words = [
            APP,
            "RIGHT_APPLICATION_INFO",
            &format!("HTTP {status}"),
            "it says \"no application rights\"",
            &format!("{}{PATH}", server.url()),
        ];
        let error = fails(&client_of(server.url()), ErrorKind::NotAuthorized, &words);
        assert!(!error.is_transient());
    }
}

#[test]
fn an_application_that_is_not_there_may_be_on_another_cluster() {
    let _guard = watchdog(LIMIT);
    for (answer, kind) in [
        (
            refusal(404, "application `greenhouse` not found"),
            ErrorKind::ApplicationNotFound,
        ),
        // Not an application, but a path that is not served.
        (
            Answer::Text(404, "Not Found".to_owned()),
            ErrorKind::DiscoveryAnswer,
        ),
    ] {
        let server = server(answer);
        let words = [APP, "cluster", "The Things Stack", &server.url()];
        let error = fails(&client_of(server.url()), kind, &words);
        assert!(!error.is_transient());
    }
}

#[test]
fn a_server_that_cannot_answer_now_is_asked_again_later() {
    let _guard = watchdog(LIMIT);
    for status in [429, 500, 502, 503] {
        for answer in [
            refusal(status, "rate limit exceeded"),
            Answer::Text(status, "<html>".to_owned()),
        ] {
            let server = server(answer);
            let words = [&format!("HTTP {status}"), "later", &server.url()];
            let error = fails(
                &client_of(server.url()),
                ErrorKind::ServerUnavailable,
                &words,
            );
            assert!(error.is_transient());
        }
    }
}

#[test]
fn another_status_is_no_answer() {
    let _guard = watchdog(LIMIT);
    for status in [201, 400, 405, 418] {
        let server = server(refusal(status, "who is there?"));
        let words = [
            &format!("HTTP {status}"),
            "\"who is there?\"",
            &server.url(),
        ];
        let error = fails(&client_of(server.url()), ErrorKind::DiscoveryAnswer, &words);
        assert!(!error.is_transient());
    }
}

#[test]
fn the_words_of_a_server_stay_short() {
    let _guard = watchdog(LIMIT);
    for (length, told) in [(1_000, true), (100_000, false)] {
        let server = server(refusal(403, &"long ".repeat(length)));
        let error = fails(&client_of(server.url()), ErrorKind::NotAuthorized, &[]);
        let text = error.to_string();
        assert_eq!(text.contains("long long"), told, "{text}");
        assert!(text.len() < 1_000, "{text}");
    }
}

#[test]
fn an_answer_that_is_no_connection_information_is_told() {
    let _guard = watchdog(LIMIT);
    let long = json!({"public_tls_address": "x".repeat(70_000)}).to_string();
    for text in [
        "",
        "hello",
        "<!DOCTYPE html><html><body>Console</body></html>",
        "7",
        "[]",
        "\"localhost:1883\"",
        r#"{"public_address":7}"#,
        r#"{"public_tls_address":["host"]}"#,
        r#"{"username":{}}"#,
        r#"{"public_address":"host""#,
        &"[".repeat(1_000),
        &long,
    ] {
        let server = server(Answer::Text(200, text.to_owned()));
        let words = ["something other than connection information", &server.url()];
        let error = fails(&client_of(server.url()), ErrorKind::DiscoveryAnswer, &words);
        assert!(!error.is_transient());
        assert!(error.to_string().len() < 500, "{error}");
    }
}

#[test]
fn an_answer_without_end_is_given_up_soon() {
    let _guard = watchdog(LIMIT);
    let server = server(Answer::EndlessList);
    fails(
        &client_of(server.url()),
        ErrorKind::DiscoveryAnswer,
        &[&server.url(), "too long"],
    );
}

#[test]
fn a_server_without_any_mqtt_address_is_named() {
    let _guard = watchdog(LIMIT);
    for info in [
        json!({}),
        json!({"public_address": "", "public_tls_address": null, "username": APP}),
    ] {
        let server = server_of(&info);
        let words = [&server.url(), APP, "no MQTT address", "mqtt_address"];
        fails(&client_of(server.url()), ErrorKind::NoMqttAddress, &words);
    }
}

#[test]
fn an_address_that_cannot_be_read_is_not_passed_over() {
    let _guard = watchdog(LIMIT);
    let network = network();
    for address in ["host:0", "host:port", "a b", "mqtts://"] {
        let mut info = plain(network.address());
        info["public_tls_address"] = address.into();
        let server = server_of(&info);
        let words = [&server.url(), &*format!("{address:?}"), "mqtt_address"];
        fails(&client_of(server.url()), ErrorKind::NoMqttAddress, &words);
    }
    assert!(network.clients().is_empty());
}

#[test]
fn a_redirect_is_told_and_the_key_is_sent_nowhere_else() {
    let _guard = watchdog(LIMIT);
    let network = network();
    let target = server_of(&plain(network.address()));
    for status in [301, 302, 303, 307, 308] {
        let place = format!("{}/moved", target.url());
        let server = server(Answer::Redirect(status, place.clone()));
        let words = [&server.url(), &*place, "API key"];
        let error = fails(&client_of(server.url()), ErrorKind::DiscoveryAnswer, &words);
        assert!(!error.is_transient());
        assert_eq!(server.requests().len(), 1);
    }
    assert!(target.requests().is_empty());
}

#[test]
#[cfg_attr(not(feature = "tls"), ignore = "needs the feature `tls`")]
fn a_redirect_from_https_to_http_does_not_show_the_key() {
    let _guard = watchdog(LIMIT);
    let certificates = Certificates::new();
    let target = server_of(&json!({}));
    let place = target.url().replace("127.0.0.1", "localhost");
    let server = server(Answer::Redirect(302, place.clone()));
    let front = TlsFront::start(&certificates.server, server.address()).expect("a free port");
    let client = builder(format!("https://localhost:{}", front.port()))
        .ca_file(certificates.authority.certificate_file())
        .build()
        .expect("the options are valid");
    fails(&client, ErrorKind::DiscoveryAnswer, &[&place]);
    assert_eq!(server.requests().len(), 1);
    assert!(target.requests().is_empty());
}

#[test]
#[cfg_attr(not(feature = "tls"), ignore = "needs the feature `tls`")]
fn an_address_without_a_scheme_is_asked_over_tls() {
    let _guard = watchdog(LIMIT);
    let certificates = Certificates::new();
    let network = network();
    let mqtt = TlsFront::start(&certificates.server, network.address()).expect("a free port");
    let announced = format!("localhost:{}", mqtt.port());
    let server = server_of(&json!({"public_tls_address": announced}));
    let front = TlsFront::start(&certificates.server, server.address()).expect("a free port");
    connects(
        builder(format!("localhost:{}", front.port()))
            .ca_file(certificates.authority.certificate_file()),
    );
    assert_eq!(server.requests().len(), 1);
}

#[test]
#[cfg_attr(not(feature = "tls"), ignore = "needs the feature `tls`")]
fn a_plain_server_without_a_scheme_does_not_get_the_key() {
    let _guard = watchdog(LIMIT);
    // A server that waits for the rest of the question, and a server that rejects it.
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let address = listener.local_addr().expect("bound").to_string();
    let patient = thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a client comes");
        let mut question = Vec::new();
        // The client gives up, maybe with a reset.
        let _ = stream.read_to_end(&mut question);
        question
    });
    let words = [&*format!("https://{address}"), "specify it with http://"];
    fails(&client_of(&address), ErrorKind::TimedOut, &words);
    let question = patient.join().expect("the client asked");
    assert!(!String::from_utf8_lossy(&question).contains("OF-THE-TESTS"));

    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let address = listener.local_addr().expect("bound").to_string();
    let strict = thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a client comes");
        let mut question = [0; 4096];
        let length = stream.read(&mut question).expect("the client asks");
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        question[..length].to_vec()
    });
    let words = [&*format!("https://{address}"), "specify it with http://"];
    fails(&client_of(&address), ErrorKind::Tls, &words);
    let question = strict.join().expect("the client asked");
    assert!(!String::from_utf8_lossy(&question).contains("OF-THE-TESTS"));
}

#[test]
fn a_v2_discovery_server_is_no_things_stack_and_the_other_way_round() {
    let _guard = watchdog(LIMIT);
    let not_found = Answer::Json(404, r#"{"error":"Not Found","code":5}"#.to_owned());
    let v2 = server(not_found);
    let words = ["V2 discovery server", "network(Network::V2)"];
    fails(&client_of(v2.url()), ErrorKind::DiscoveryAnswer, &words);

    for answer in [
        refusal(404, "Not Found"),
        Answer::Text(200, "<html>".to_owned()),
    ] {
        let v3 = server(answer);
        let client = MqttClient::builder("greenhouse", "some.key")
            .discovery_address(v3.url())
            .build()
            .expect("the options are valid");
        let words = ["The Things Stack v3", "network(Network::V3)"];
        fails(&client, ErrorKind::DiscoveryAnswer, &words);
        for request in v3.requests() {
            assert_eq!(request.authorization, None);
        }
    }
}

#[test]
fn without_any_address_the_error_lists_the_ways_to_give_one() {
    let _guard = watchdog(LIMIT);
    let client = MqttClient::new(APP, KEY).expect("the options are valid");
    let words = [
        APP,
        "cluster(\"eu1\")",
        "nam1",
        "au1",
        "eu2",
        "as1",
        "mqtt_address",
        "discovery_address",
    ];
    let error = fails(&client, ErrorKind::Config, &words);
    assert!(!error.to_string().contains("2021"), "{error}");
}
