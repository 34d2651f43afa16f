//! A refused connection names its cause, which the network tells over HTTP; whatever HTTP does, a
//! connection that works is not delayed, and nobody is blamed without proof.

use std::{
    fs,
    net::{Ipv4Addr, TcpListener},
    path::Path,
    thread,
    time::{Duration, Instant},
};

use crate::support::{
    discovery_server::{Answer, DiscoveryServer},
    harness::SOON,
    watchdog::watchdog,
};
use ttn::{
    ConnectRetry, Error, ErrorKind, Event, MqttClient, MqttClientBuilder, Network,
    simulator::Simulator,
};

const LIMIT: Duration = Duration::from_secs(60);

const APP: &str = "greenhouse@ttn";
const KEY: &str = "NNSXS.THE-KEY.THAT-THE-NETWORK-KNOWS";
const WRONG: &str = "NNSXS.THE-KEY.THAT-NOBODY-HAS-MADE";

const CALLER: &str = "/api/v3/auth_info";
const RIGHTS: &str = "/api/v3/applications/greenhouse/rights";
const APPLICATION: &str = "/api/v3/applications/greenhouse";
const INFO: &str = "/api/v3/as/applications/greenhouse/mqtt-connection-info";

type Answers = &'static [(&'static str, u16, &'static str)];

fn recorded(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/v3-http");
    fs::read_to_string(folder.join(name)).expect("a recorded answer")
}

/// Starts a server that gives recorded answers, and says of all else that it is not served.
fn http(answers: Answers) -> DiscoveryServer {
    DiscoveryServer::start(move |path| {
        let answer = answers.iter().find(|(of, ..)| *of == path);
        let (status, name) = answer.map_or((404, "error-404.json"), |(_, s, n)| (*s, *n));
        Answer::Json(status, recorded(name))
    })
    .expect("a free port")
}

fn network() -> Simulator {
    Simulator::builder(Network::V3)
        .application(APP, KEY)
        .start()
        .expect("the simulated network starts")
}

fn builder(network: &Simulator, key: &str, url: impl Into<String>) -> MqttClientBuilder {
    MqttClient::builder(APP, key)
        .mqtt_address(network.mqtt_address())
        .http_address(url)
        .connect_timeout(Duration::from_secs(10))
}

/// Returns the error of a client that the network refuses, after it was also an event.
fn refused(builder: MqttClientBuilder) -> Error {
    let client = builder.build().expect("the options are valid");
    let events = client.events();
    let error = client.connect().expect_err("the key is wrong");
    let Event::ConnectFailed(failed) = events.recv_timeout(SOON).expect("an event") else {
        panic!("the failure is the first event");
    };
    assert_eq!(failed.error.to_string(), error.to_string());
    for text in [error.to_string(), format!("{error:?} {failed:?}")] {
        assert!(!text.contains("NOBODY"), "{text}");
    }
    client.close().expect("the client closes");
    error
}

#[test]
fn each_cause_of_a_refused_connection_ends_in_its_sentence() {
    let _watchdog = watchdog(LIMIT);
    let network = network();
    let causes: [(Answers, &str, usize); 14] = [
        (
            &[(CALLER, 401, "error-401-secret.json")],
            "its id is right, its secret is not",
            1,
        ),
        (
            &[(CALLER, 401, "error-401.json")],
            "the network does not know the API key",
            1,
        ),
        (
            &[(CALLER, 401, "error-401-application-deleted.json")],
            "the application of the API key was deleted",
            1,
        ),
        (
            &[(CALLER, 401, "error-401-expired.json")],
            "the API key has expired",
            1,
        ),
        (
            &[(CALLER, 400, "error-400-token.json")],
            "is not a whole API key",
            1,
        ),
        (
            &[(CALLER, 200, "auth-info-anonymous.json")],
            "the network sees no API key",
            1,
        ),
        (
            &[
                (CALLER, 200, "auth-info-other-application.json"),
                (APPLICATION, 200, "application.json"),
            ],
            "belongs to the application \"orchard\", not to \"greenhouse\"",
            2,
        ),
        (
            &[
                (CALLER, 200, "auth-info-other-application.json"),
                (APPLICATION, 404, "error-404-application.json"),
            ],
            "the network has no application \"greenhouse\"",
            2,
        ),
        (
            &[(CALLER, 200, "auth-info-gateway-key.json")],
            "the gateway \"roof-east\"",
            1,
        ),
        (
            &[
                (CALLER, 200, "auth-info-user-key.json"),
                (RIGHTS, 200, "rights-empty.json"),
                (APPLICATION, 200, "application.json"),
            ],
            "the user \"somebody\" and has no right",
            3,
        ),
        (
            &[
                (CALLER, 200, "auth-info.json"),
                (INFO, 200, "connection-info-open-source.json"),
            ],
            "the server knows the application as \"greenhouse\"; use that as the application id",
            2,
        ),
        (
            &[
                (CALLER, 200, "auth-info-read-only.json"),
                (INFO, 403, "error-403.json"),
            ],
            "the form of the application id \"greenhouse@ttn\" is probably wrong",
            2,
        ),
        // The Application Server asks another Identity Server.
        (
            &[(INFO, 401, "error-401-secret.json")],
            "its id is right, its secret is not",
            2,
        ),
        (
            &[(INFO, 403, "error-403-no-rights.json")],
            "has no right on the application \"greenhouse\", or there is no such application",
            2,
        ),
    ];
    for (answers, words, requests) in causes {
        let http = http(answers);
        let error = refused(builder(&network, WRONG, http.url()));
        assert_eq!(error.kind(), ErrorKind::NotAuthorized, "{error}");
        let text = error.to_string();
        assert!(text.contains(words), "{words}: {text}");
        assert!(
            text.contains("refused the connection (CONNACK 5)"),
            "{text}"
        );
        assert_eq!(http.requests().len(), requests, "{text}");
    }
}

#[test]
fn an_identity_server_that_is_away_does_not_end_a_connect_that_retries() {
    let _watchdog = watchdog(LIMIT);
    let network = network();
    let away = http(&[(INFO, 503, "error-503-identity-server.json")]);
    let client = builder(&network, WRONG, away.url())
        .connect_retry(ConnectRetry::Forever)
        .reconnect_delay(Duration::from_millis(50), Duration::from_millis(50))
        .build()
        .expect("the options are valid");
    let events = client.events();
    thread::scope(|scope| {
        let connecting = scope.spawn(|| client.connect());
        for _ in 0..3 {
            let Event::ConnectFailed(failed) = events.recv_timeout(SOON).expect("an event") else {
                panic!("only failures");
            };
            assert_eq!(failed.error.kind(), ErrorKind::ServerUnavailable);
            assert!(failed.error.is_transient() && failed.retry_in.is_some());
            let text = failed.error.to_string();
            assert!(text.contains("says nothing about the API key"), "{text}");
        }
        client.close().expect("the client closes");
        let error = connecting.join().expect("no panic").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Closed);
    });
    // A reason that may go away is asked for again: two requests for each attempt.
    assert!(away.requests().len() >= 6);
}

#[test]
fn a_key_that_is_refused_again_is_not_asked_about_again() {
    let _watchdog = watchdog(LIMIT);
    let network = network();
    let http = http(&[(CALLER, 401, "error-401-secret.json")]);
    let client = builder(&network, WRONG, http.url()).build().expect("valid");
    for _ in 0..3 {
        let text = client.connect().expect_err("the key is wrong").to_string();
        assert!(text.contains("its secret is not"), "{text}");
    }
    assert_eq!(http.paths(), [CALLER]);
}

#[test]
fn http_that_tells_nothing_blames_nobody() {
    let _watchdog = watchdog(LIMIT);
    let network = network();
    for answer in [
        Answer::Text(200, recorded("error-proxy.html")),
        Answer::Text(502, recorded("error-proxy.html")),
        Answer::Text(403, recorded("error-proxy.html")),
        Answer::Json(401, "{}".to_owned()),
        Answer::Json(429, recorded("error-429.json")),
        Answer::Json(504, recorded("error-504-timeout.json")),
        Answer::Json(404, recorded("error-404.json")),
        Answer::EndlessList,
    ] {
        let http = DiscoveryServer::start({
            let answer = answer.clone();
            move |_| answer.clone()
        })
        .expect("a free port");
        let error = refused(builder(&network, WRONG, http.url()));
        let text = error.to_string();
        assert_eq!(error.kind(), ErrorKind::NotAuthorized, "{text}");
        // As without HTTP, and what was tried.
        assert!(
            text.contains("is not accepted; check the form"),
            "{answer:?}: {text}"
        );
        assert!(text.contains("why is not known"), "{answer:?}: {text}");
    }
}

#[test]
fn the_reason_of_a_refusal_is_waited_for_three_seconds_and_close_does_not_wait() {
    let _watchdog = watchdog(LIMIT);
    let network = network();
    let silent = DiscoveryServer::start(|_| Answer::Hang).expect("a free port");
    let begin = Instant::now();
    let error = refused(builder(&network, WRONG, silent.url()));
    let taken = begin.elapsed();
    assert_eq!(error.kind(), ErrorKind::NotAuthorized);
    assert!(taken < Duration::from_secs(5), "{taken:?}");
    assert!(taken > Duration::from_secs(2), "{taken:?}");

    let client = builder(&network, WRONG, silent.url())
        .build()
        .expect("valid");
    thread::scope(|scope| {
        let connecting = scope.spawn(|| client.connect());
        let asked = Instant::now() + SOON;
        while silent.requests().len() < 2 {
            assert!(Instant::now() < asked, "nobody asks");
            thread::yield_now();
        }
        let begin = Instant::now();
        client.close().expect("the client closes");
        assert!(begin.elapsed() < Duration::from_secs(1));
        let error = connecting.join().expect("no panic").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Closed);
    });
    let begin = Instant::now();
    drop(client);
    assert!(begin.elapsed() < Duration::from_secs(1));
}

#[test]
fn a_reason_that_comes_late_never_outlasts_the_attempt() {
    let _watchdog = watchdog(LIMIT);
    let network = network();
    let silent = DiscoveryServer::start(|_| Answer::Hang).expect("a free port");
    let hasty = builder(&network, WRONG, silent.url()).connect_timeout(Duration::from_secs(1));
    let begin = Instant::now();
    let error = refused(hasty);
    assert_eq!(error.kind(), ErrorKind::NotAuthorized, "{error}");
    assert!(begin.elapsed() < Duration::from_millis(2_500));
}

#[test]
fn a_client_that_may_not_ask_or_knows_no_host_asks_nobody() {
    let _watchdog = watchdog(LIMIT);
    let network = network();
    let http = http(&[(CALLER, 401, "error-401-secret.json")]);
    let silent = builder(&network, WRONG, http.url()).ask_over_http(false);
    let error = refused(silent);
    let text = error.to_string();
    assert!(text.contains("is not accepted; check the form"), "{text}");
    let unknown = MqttClient::builder(APP, WRONG).mqtt_address(network.mqtt_address());
    let advice = refused(unknown).to_string();
    let advice = advice.strip_prefix(&text).expect("the same, and more");
    assert!(advice.contains("set http_address"), "{advice}");
    assert_eq!(http.requests(), []);
}

#[test]
fn the_key_goes_to_the_identity_server_that_was_named_and_nowhere_else() {
    let _watchdog = watchdog(LIMIT);
    let network = network();
    let (application, identity) = (http(&[]), http(&[(CALLER, 401, "error-401-expired.json")]));
    let named = builder(&network, WRONG, application.url()).identity_server_address(identity.url());
    let text = refused(named).to_string();
    assert!(text.contains("has expired"), "{text}");
    assert_eq!(identity.paths(), [CALLER]);
    assert_eq!(application.requests(), []);

    // A server that redirects gets no further with the key.
    let stranger = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    stranger.set_nonblocking(true).expect("it can");
    let place = format!(
        "http://{}/api/v3/auth_info",
        stranger.local_addr().expect("it listens")
    );
    for status in [301, 302, 307, 308] {
        let place = place.clone();
        let redirecting = DiscoveryServer::start(move |_| Answer::Redirect(status, place.clone()))
            .expect("a free port");
        let text = refused(builder(&network, WRONG, redirecting.url())).to_string();
        assert!(text.contains("why is not known"), "{text}");
    }
    assert!(stranger.accept().is_err(), "the stranger was asked");
}

#[test]
fn with_discovery_the_same_server_is_asked() {
    let _watchdog = watchdog(LIMIT);
    let network = network();
    let address = network.mqtt_address().to_string();
    let place = address.trim_start_matches("mqtt://").to_owned();
    let http = DiscoveryServer::start(move |path| match path {
        INFO => Answer::Json(
            200,
            format!(r#"{{"public_address":"{place}","username":"{APP}"}}"#),
        ),
        CALLER => Answer::Json(401, recorded("error-401-secret.json")),
        _ => Answer::Json(404, recorded("error-404.json")),
    })
    .expect("a free port");
    let error = refused(MqttClient::builder(APP, WRONG).discovery_address(http.url()));
    assert!(error.to_string().contains("its secret is not"), "{error}");
    assert_eq!(http.paths(), [INFO, CALLER]);
}

#[test]
fn a_plain_http_address_is_not_used_beside_a_discovery_server_with_tls() {
    let error = MqttClient::builder(APP, KEY)
        .discovery_address("https://lorawan.example.org")
        .http_address("http://lorawan.example.org")
        .build()
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(
        error.to_string().contains("expose the access key"),
        "{error}"
    );
}
