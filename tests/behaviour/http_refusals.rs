//! What The Things Stack answers over HTTP if it refuses, as recorded: the error of `connect` names the
//! cause. The key goes to the server that was set, and nowhere else.

#![cfg(unix)]

use std::{
    fs,
    io::Write,
    net::{Ipv4Addr, Shutdown, TcpListener},
    path::Path,
    time::Duration,
};

use crate::support::{
    attempts,
    certificates::Certificates,
    discovery_server::{Answer, DiscoveryServer},
    recorded::Recorded,
    tls_front::TlsFront,
    watchdog::watchdog,
    way_out::{Speech, WayOut},
};
use ttn::{Error, ErrorKind, MqttClient, MqttClientBuilder};

const LIMIT: Duration = Duration::from_secs(60);

/// The time limit for an attempt to connect.
const TIMEOUT: Duration = Duration::from_secs(4);

const APP: &str = "greenhouse@ttn";
const KEY: &str = "NNSXS.A-KEY.OF-THE-TESTS-ALONE";
const PATH: &str = "/api/v3/as/applications/greenhouse/mqtt-connection-info";

fn recording(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/v3-http");
    fs::read(path.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Returns an answer with this head and body.
fn answer(status: u16, headers: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let mut answer = format!(
        "HTTP/1.1 {status} Some Reason\r\nContent-Length: {length}\r\nConnection: close\r\n{headers}\r\n"
    )
    .into_bytes();
    answer.extend_from_slice(body);
    answer
}

fn builder(url: impl Into<String>) -> MqttClientBuilder {
    MqttClient::builder(APP, KEY)
        .discovery_address(url)
        .connect_timeout(TIMEOUT)
}

/// Returns why a client cannot connect that asks a server with this answer.
#[track_caller]
fn failure(answer: impl Into<Vec<u8>>) -> Error {
    let server = Recorded::start(answer).expect("a free port");
    let client = builder(server.url())
        .build()
        .expect("the options are valid");
    let error = attempts::failure(&client, TIMEOUT);
    assert_eq!(server.received().len(), 1);
    error
}

#[track_caller]
fn says(error: &Error, kind: ErrorKind, words: &[&str]) {
    attempts::says(error, kind, words);
    let debug = format!("{error:?}");
    assert!(!debug.contains("OF-THE-TESTS"), "{debug}");
    assert_eq!(
        error.is_transient(),
        kind == ErrorKind::ServerUnavailable,
        "{error}"
    );
}

#[test]
fn each_refusal_of_the_server_names_its_cause() {
    use ErrorKind::*;
    let _guard = watchdog(LIMIT);
    for (status, name, kind, words) in [
        (
            400,
            "error-400-token.json",
            NotAuthorized,
            &["not a whole API key", "pkg/auth:token"][..],
        ),
        (
            401,
            "error-401.json",
            NotAuthorized,
            &["does not know the API key", "API key not found"],
        ),
        (
            401,
            "error-401-application-deleted.json",
            NotAuthorized,
            &["the application that the API key belongs to was deleted"],
        ),
        (
            401,
            "error-401-secret.json",
            NotAuthorized,
            &["its secret is wrong"],
        ),
        (
            401,
            "error-401-expired.json",
            NotAuthorized,
            &["the API key has expired"],
        ),
        (
            403,
            "error-403.json",
            NotAuthorized,
            &["lacks the right RIGHT_APPLICATION_INFO", "mqtt_address"],
        ),
        (
            403,
            "error-403-no-rights.json",
            NotAuthorized,
            &["no rights on the application \"greenhouse\"", "no such"],
        ),
        (
            403,
            "error-old-shape.json",
            NotAuthorized,
            &["no rights on the application \"greenhouse@ttn\""],
        ),
        (
            400,
            "error-400-id.json",
            Config,
            &["does not accept this application_id", "regex"],
        ),
        (400, "error-400-tenant.json", Config, &["TENANT.CLUSTER"]),
        (
            404,
            "error-404.json",
            DiscoveryAnswer,
            &["not served there", "host or the port", "\"Not Found\""],
        ),
        (
            404,
            "error-404-outside.json",
            DiscoveryAnswer,
            &["not served there", "superfluous path"],
        ),
        (
            404,
            "error-404-application.json",
            ApplicationNotFound,
            &["does not know the application \"greenhuose\"", "cluster"],
        ),
        (
            429,
            "error-429.json",
            ServerUnavailable,
            &["too many requests", "later"],
        ),
        (
            501,
            "error-501-method.json",
            DiscoveryAnswer,
            &["Method Not Allowed"],
        ),
        (
            503,
            "error-503-identity-server.json",
            ServerUnavailable,
            &["cannot reach its Identity Server", "nothing about"],
        ),
        (504, "error-504-timeout.json", ServerUnavailable, &["later"]),
        (502, "error-proxy.html", ServerUnavailable, &["later"]),
        (404, "error-proxy.html", DiscoveryAnswer, &["not served"]),
        (418, "error-proxy.html", DiscoveryAnswer, &["is it The"]),
        (499, "error-404.json", ServerUnavailable, &["later"]),
    ] {
        let error = failure(answer(status, "", &recording(name)));
        says(&error, kind, &[APP, PATH, &format!("HTTP {status}")]);
        says(&error, kind, words);
    }
}

#[test]
fn a_server_without_an_mqtt_server_says_so() {
    let _guard = watchdog(LIMIT);
    let body = br#"{"code":12,"message":"error:pkg/x:no_configuration_provider (no provider)","details":[{"namespace":"pkg/x","name":"no_configuration_provider"}]}"#;
    let words = ["no MQTT server", "mqtt_address", "no provider"];
    says(
        &failure(answer(501, "", body)),
        ErrorKind::NoMqttAddress,
        &words,
    );
}

#[test]
fn a_whole_recorded_answer_is_read_with_its_head() {
    let _guard = watchdog(LIMIT);
    // Www-Authenticate without a scheme.
    let error = failure(recording("head-unary-401.txt"));
    says(
        &error,
        ErrorKind::NotAuthorized,
        &["does not know the API key"],
    );
    // HTTP/1.0 without a header.
    let error = failure(recording("head-plain-on-tls-400.txt"));
    says(
        &error,
        ErrorKind::DiscoveryAnswer,
        &["requires TLS", "https://"],
    );
    let error = failure(recording("head-redirect-301.txt"));
    says(
        &error,
        ErrorKind::DiscoveryAnswer,
        &["redirects to \"/api/v3/auth_info\""],
    );
    // A body that is announced and does not come.
    let error = failure(recording("head-head-501.txt"));
    says(&error, ErrorKind::DiscoveryAnswer, &["HTTP 501"]);
    // In chunks, and wrapped.
    let error = failure(recording("head-stream-403.txt"));
    says(&error, ErrorKind::NotAuthorized, &["API key"]);
}

#[test]
fn a_rate_limit_says_how_long_to_wait_and_counts_the_second_that_was_cut_off() {
    let _guard = watchdog(LIMIT);
    let error = failure(recording("head-unary-429.txt"));
    says(&error, ErrorKind::ServerUnavailable, &["in 5 s"]);
    for name in ["X-Rate-Limit-Retry", "x-ratelimit-retry"] {
        let head = format!("{name}: 0\r\n");
        let error = failure(answer(429, &head, &recording("error-429.json")));
        says(&error, ErrorKind::ServerUnavailable, &["in 1 s"]);
    }
}

#[test]
fn an_address_may_end_in_the_path_of_the_api_or_of_the_console() {
    let _guard = watchdog(LIMIT);
    let server =
        DiscoveryServer::start(|_| Answer::Json(200, "{}".to_owned())).expect("a free port");
    for end in [
        "",
        "/",
        "/api",
        "/api/v3",
        "/api/v3/",
        "/console",
        "/console/",
    ] {
        let client = builder(format!("{}{end}", server.url()))
            .build()
            .expect("the options are valid");
        attempts::failure(&client, TIMEOUT);
    }
    assert_eq!(server.paths(), [PATH; 7]);
}

#[test]
fn the_client_names_itself_and_its_version() {
    let _guard = watchdog(LIMIT);
    let server = Recorded::start(recording("head-unary-401.txt")).expect("a free port");
    let client = builder(server.url())
        .build()
        .expect("the options are valid");
    attempts::failure(&client, TIMEOUT);
    let request = server.received().concat().to_lowercase();
    let agent = format!("user-agent: ttn/{}\r\n", env!("CARGO_PKG_VERSION"));
    assert!(request.contains(&agent), "{request}");
}

#[test]
fn nobody_comes_to_the_target_of_a_redirect() {
    let _guard = watchdog(LIMIT);
    let stranger = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    stranger.set_nonblocking(true).expect("a listener");
    let place = stranger.local_addr().expect("bound");
    for status in [300, 301, 302, 303, 307, 308] {
        let head = format!("Location: http://{place}{PATH}\r\n");
        let error = failure(answer(status, &head, b""));
        let words = [&*place.to_string(), "goes only to the server that was set"];
        says(&error, ErrorKind::DiscoveryAnswer, &words);
    }
    let visit = stranger.accept().map(|(_, from)| from);
    assert!(visit.is_err(), "{visit:?}");
}

#[test]
#[cfg_attr(not(feature = "tls"), ignore = "needs the feature `tls`")]
fn a_proxy_does_not_see_the_key_of_a_request_over_tls() {
    let _guard = watchdog(LIMIT);
    let certificates = Certificates::new();
    let server = Recorded::start(recording("head-unary-401.txt")).expect("a free port");
    let front = TlsFront::start(&certificates.server, server.address()).expect("a free port");
    let target = format!("localhost:{}", front.port());
    for speech in [Speech::Http, Speech::Socks5] {
        let proxy = WayOut::builder(speech)
            .knows("localhost")
            .start()
            .expect("a free port");
        let client = builder(format!("https://{target}"))
            .ca_file(certificates.authority.certificate_file())
            .proxy(proxy.url())
            .build()
            .expect("the options are valid");
        let error = attempts::failure(&client, TIMEOUT);
        says(&error, ErrorKind::NotAuthorized, &["does not know"]);
        // Nothing but the target is readable on the way.
        assert_eq!(proxy.targets(), std::slice::from_ref(&target));
        assert!(!proxy.passed().contains("OF-THE-TESTS"));
    }
    let requests = server.received();
    assert_eq!(requests.len(), 2);
    assert!(requests.iter().all(|request| request.contains(KEY)));
}

#[test]
fn an_answer_of_random_bytes_is_an_error_without_the_key() {
    let _guard = watchdog(LIMIT);
    for bytes in [
        &b""[..],
        b"\0\xff\xfe",
        b"HTTP/1.1",
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 999 Odd\r\n\r\n",
        b"HTTP/1.1 401 \xff\r\nX-Rate-Limit-Retry: \xff\r\nLocation: \xff\r\nX-Warning: \xff\r\n\r\n\xff",
        b"SSH-2.0-OpenSSH_9.6\r\n",
    ] {
        let error = failure(bytes);
        let text = format!("{error:?}");
        assert!(!text.contains("OF-THE-TESTS"), "{text}");
        assert!(text.len() < 2_000, "{text}");
    }
    // A server that repeats the request in its answer.
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let address = listener.local_addr().expect("bound");
    let body =
        format!(r#"{{"code":16,"message":"no key {KEY}","details":[{{"namespace":"{KEY}"}}]}}"#);
    let echo = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a client comes");
        let head = format!("X-Warning: {KEY}\r\nLocation: http://{KEY}.example\r\n");
        let _ = stream.write_all(&answer(307, &head, body.as_bytes()));
        let _ = stream.shutdown(Shutdown::Write);
        // Until the client closes.
        let _ = std::io::copy(&mut stream, &mut std::io::sink());
    });
    let client = builder(format!("http://{address}"))
        .build()
        .expect("the options are valid");
    let error = attempts::failure(&client, TIMEOUT);
    says(
        &error,
        ErrorKind::DiscoveryAnswer,
        &["redirects to another place"],
    );
    echo.join().expect("the server answers");
}
