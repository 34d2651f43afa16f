//! The HTTP server as tests watch and break it.

use std::io::{Read, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::json;
use ttn::Network;
use ttn::simulator::{HttpFault, Rights, Simulator};

use crate::http_client::{Reply, connect, read_chunk, recorded, request, send};

const LONG: Duration = Duration::from_secs(10);

fn key() -> String {
    String::from("Bearer NNSXS.SIMULATED.KEY")
}

fn get(network: &Simulator, path: &str) -> Reply {
    let request = request("GET", path, Some(&key()), "");
    send(&network.http_address(), &request)
}

/// Returns everything that the server writes until it closes the connection.
fn whole(network: &Simulator, request: &str) -> String {
    let mut stream = connect(&network.http_address());
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn each_request_is_noted_without_its_key() {
    let network = Simulator::start(Network::V3).unwrap();
    assert!(!network.wait_for_http_requests(1, Duration::ZERO));
    get(&network, "/auth_info?x=1");
    let body = r#"{"downlinks":[]}"#;
    let post = request(
        "POST",
        "/as/applications/simulated-app/devices/bed-07/down/push",
        None,
        body,
    );
    send(&network.http_address(), &post);
    assert!(network.wait_for_http_requests(2, LONG));
    let requests = network.http_requests();
    let first = &requests[0];
    assert_eq!(
        (&*first.method, &*first.path),
        ("GET", "/api/v3/auth_info?x=1")
    );
    assert!(first.has_key && first.body.is_empty());
    let second = &requests[1];
    assert_eq!(
        (&*second.method, second.has_key, &*second.body),
        ("POST", false, body)
    );
    assert!(!format!("{requests:?}").contains("SIMULATED"));
}

#[test]
fn each_fault_is_met() {
    let network = Simulator::start(Network::V3).unwrap();
    let one = request("GET", "/auth_info", Some(&key()), "");
    let meets = |fault| network.http_fault(Some(fault));

    meets(HttpFault::Slow(Duration::from_millis(50)));
    let start = Instant::now();
    assert_eq!(get(&network, "/auth_info").status, 200);
    assert!(start.elapsed() >= Duration::from_millis(50));

    meets(HttpFault::Status(503));
    let reply = get(&network, "/auth_info");
    assert_eq!(
        (reply.status, reply.json()["code"].as_u64()),
        (503, Some(14))
    );
    meets(HttpFault::RateLimited);
    let reply = get(&network, "/auth_info");
    assert_eq!(
        (reply.status, reply.name()),
        (429, "pkg/ratelimit:rate_limit_exceeded".into())
    );
    assert_eq!(reply.header("X-Rate-Limit-Retry"), Some("4"));
    meets(HttpFault::Html(502));
    let reply = get(&network, "/auth_info");
    assert_eq!(
        (reply.status, reply.header("Content-Type")),
        (502, Some("text/html"))
    );
    assert!(reply.body.starts_with("<html>"));
    meets(HttpFault::Redirect(String::from("http://example.org/")));
    let reply = get(&network, "/auth_info");
    assert_eq!(
        (reply.status, reply.header("Location")),
        (302, Some("http://example.org/"))
    );
    meets(HttpFault::CutOff);
    let cut = whole(&network, &one);
    let (head, body) = cut.split_once("\r\n\r\n").unwrap();
    let length = head.split("Content-Length: ").nth(1).unwrap();
    let length: usize = length.lines().next().unwrap().parse().unwrap();
    assert!(!body.is_empty() && body.len() < length);
    meets(HttpFault::NotHttp);
    assert!(!whole(&network, &one).starts_with("HTTP"));
    meets(HttpFault::Silent);
    let mut silent = connect(&network.http_address());
    silent.write_all(one.as_bytes()).unwrap();
    silent
        .set_read_timeout(Some(Duration::from_millis(50)))
        .unwrap();
    assert!(silent.read(&mut [0]).is_err());
    network.http_fault(None);
    assert_eq!(get(&network, "/auth_info").status, 200);
}

#[test]
fn a_fault_on_one_path_leaves_the_others_alone() {
    let network = Simulator::start(Network::V3).unwrap();
    network.http_fault_on("/auth_info", Some(HttpFault::Status(500)));
    assert_eq!(get(&network, "/auth_info").status, 500);
    assert_eq!(get(&network, "/as/configuration").status, 200);
    network.http_fault(Some(HttpFault::Status(502)));
    assert_eq!(get(&network, "/auth_info").status, 500);
    assert_eq!(get(&network, "/as/configuration").status, 502);
    network.http_fault_on("/auth_info", None);
    assert_eq!(get(&network, "/auth_info").status, 502);
}

#[test]
fn the_next_requests_meet_one_fault_each() {
    let network = Simulator::start(Network::V3).unwrap();
    let status = |path: &str| get(&network, path).status;
    network.http_fault_on("/auth_info", Some(HttpFault::Status(500)));
    let next = [HttpFault::Status(502), HttpFault::RateLimited];
    network.http_faults_next("/auth_", next);
    network.http_faults_next("/as/", [HttpFault::Status(504)]);
    assert_eq!(status("/auth_info"), 502);
    assert_eq!(status("/as/configuration"), 504);
    assert_eq!(status("/as/configuration"), 200);
    assert_eq!(status("/auth_info"), 429);
    assert_eq!(status("/auth_info"), 500);
    network.http_fault_on("/auth_info", None);
    network.http_faults_next("/auth_", [HttpFault::Status(502)]);
    network.http_faults_next("/auth_", []);
    assert_eq!(status("/auth_info"), 200);
}

#[test]
fn an_answer_that_is_late_or_cut_off_does_not_undo_what_was_done() {
    let network = Simulator::start(Network::V3).unwrap();
    let device = network.device("bed-07");
    let path = "/as/applications/simulated-app/devices/bed-07/down/push";
    let body = json!({"downlinks": [{"f_port": 1, "frm_payload": "AQ=="}]}).to_string();
    let push = request("POST", path, Some(&key()), &body);
    network.http_fault(Some(HttpFault::CutOff));
    whole(&network, &push);
    assert_eq!(device.queue().len(), 1);
    network.http_fault(Some(HttpFault::Status(500)));
    assert_eq!(send(&network.http_address(), &push).status, 500);
    assert_eq!(device.queue().len(), 1);
}

#[test]
fn stopping_ends_slow_and_silent_answers_and_a_restart_keeps_the_port() {
    let network = Simulator::start(Network::V3).unwrap();
    let address = network.http_address();
    let one = request("GET", "/auth_info", Some(&key()), "");
    let mut streams = Vec::new();
    for (count, fault) in [
        (1, HttpFault::Silent),
        (2, HttpFault::Slow(Duration::from_secs(3600))),
    ] {
        network.http_fault(Some(fault));
        let mut stream = connect(&address);
        stream.write_all(one.as_bytes()).unwrap();
        assert!(network.wait_for_http_requests(count, LONG));
        streams.push(stream);
    }
    let start = Instant::now();
    network.stop();
    assert!(start.elapsed() < LONG);
    for mut stream in streams {
        assert_eq!(stream.read(&mut [0]).unwrap_or(0), 0);
    }
    network.restart().unwrap();
    network.http_fault(None);
    assert_eq!(network.http_address(), address);
    assert_eq!(get(&network, "/auth_info").status, 200);
}

/// Returns a line to the server that trusts this authority.
fn secured(
    network: &Simulator,
    authority: &str,
) -> StreamOwned<ClientConnection, std::net::TcpStream> {
    let mut roots = RootCertStore::empty();
    let certificate = CertificateDer::from_pem_slice(authority.as_bytes()).unwrap();
    roots.add(certificate).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = "127.0.0.1".try_into().unwrap();
    let connection = ClientConnection::new(Arc::new(config), name).unwrap();
    StreamOwned::new(connection, connect(&network.http_address()))
}

#[test]
#[cfg(feature = "tls")]
fn https_is_signed_by_the_networks_own_authority() {
    let start = || Simulator::builder(Network::V3).https(true).start().unwrap();
    let (network, other) = (start(), start());
    assert!(network.http_address().starts_with("https://127.0.0.1:"));
    let one = request("GET", "/auth_info", Some(&key()), "");
    let mut line = secured(&network, &network.authority());
    for _ in 0..2 {
        line.write_all(one.as_bytes()).unwrap();
        assert_eq!(Reply::read(&mut line).status, 200);
    }
    // A stream over TLS ends with the network, too.
    let body = r#"{"identifiers":[{"application_ids":{"application_id":"simulated-app"}}]}"#;
    let follow = request("POST", "/events", Some(&key()), body);
    let mut line = secured(&network, &network.authority());
    line.write_all(follow.as_bytes()).unwrap();
    assert_eq!(Reply::read_head(&mut line).status, 200);
    assert!(
        read_chunk(&mut line)
            .unwrap()
            .contains("events.stream.start")
    );
    network.device("bed-07").uplink(1, [1]);
    assert!(
        read_chunk(&mut line)
            .unwrap()
            .contains("as.up.data.forward")
    );
    network.stop();
    assert_eq!(line.read(&mut [0]).unwrap_or(0), 0);
    network.restart().unwrap();
    let mut line = secured(&network, &other.authority());
    assert!(line.write_all(one.as_bytes()).is_err());
    // A request without TLS is told so.
    let plain = whole(&network, &one);
    let expected = recorded("head-plain-on-tls-400.txt");
    assert_eq!(plain.trim(), expected.trim());
}

#[test]
fn what_is_no_request_is_refused_once_its_line_ends() {
    let network = Simulator::start(Network::V3).unwrap();
    let mut mqtt = connect(&network.http_address());
    mqtt.write_all(b"\x10\x0c\0\x04MQTT\x04\x02\0\x3c\0\0")
        .unwrap();
    mqtt.set_read_timeout(Some(Duration::from_millis(50)))
        .unwrap();
    assert!(
        mqtt.read(&mut [0]).is_err(),
        "MQTT is answered with silence"
    );
    mqtt.write_all(b"\n\n").unwrap();
    mqtt.set_read_timeout(Some(LONG)).unwrap();
    assert_eq!(Reply::read(&mut mqtt).status, 400);
    let without_host = whole(&network, "GET /api/v3/auth_info HTTP/1.1\r\n\r\n");
    assert!(without_host.starts_with("HTTP/1.1 400 "));
    let old = whole(&network, "GET /api/v3/auth_info HTTP/1.0\r\n\r\n");
    assert!(old.starts_with("HTTP/1.1 200 OK"));
    assert!(network.http_requests().len() == 1);
}

#[test]
fn requests_too_large_are_refused() {
    let network = Simulator::start(Network::V3).unwrap();
    let large = 16 << 20;
    for length in [large + 1, usize::MAX] {
        let head = request("POST", "/auth_info", Some(&key()), "")
            .replace("Length: 0", &format!("Length: {length}"));
        assert_eq!(send(&network.http_address(), &head).status, 400, "{length}");
        let chunked = head.replace(
            &format!("Content-Length: {length}"),
            "Transfer-Encoding: chunked",
        );
        let chunk = format!("{chunked}{length:x}\r\n");
        assert_eq!(
            send(&network.http_address(), &chunk).status,
            400,
            "{length}"
        );
    }
    assert!(network.http_requests().is_empty());
    let body = " ".repeat(1 << 20);
    let path = "/as/applications/simulated-app/devices/bed-99/down/push";
    let push = request("POST", path, Some(&key()), &body);
    assert_eq!(send(&network.http_address(), &push).status, 404);

    let mut stream = connect(&network.http_address());
    // One byte too many, so that none is left unread when the connection is closed.
    let start = "GET /api/v3/auth_info HTTP/1.1\r\nHost: simulated\r\nX-Long: ";
    let rest = "x".repeat((1 << 20) + 1 - start.len());
    stream
        .write_all(format!("{start}{rest}").as_bytes())
        .unwrap();
    assert_eq!(Reply::read(&mut stream).status, 431);
    assert_eq!(get(&network, "/auth_info").status, 200);
}

#[test]
fn bodies_come_in_every_form_that_http_allows() {
    let network = Simulator::start(Network::V3).unwrap();
    let path = "/as/applications/simulated-app/devices/bed-99/down/push";
    let head = request("POST", path, Some(&key()), "");
    let mut stream = connect(&network.http_address());
    // The client waits before it sends the body.
    let patient = head.replace("Length: 0", "Length: 2\r\nExpect: 100-continue");
    stream.write_all(patient.as_bytes()).unwrap();
    assert_eq!(Reply::read(&mut stream).status, 100);
    stream.write_all(b"{}").unwrap();
    assert_eq!(Reply::read(&mut stream).status, 404);
    // Chunks with an extension and trailers, and the next request right behind them.
    let chunked = head.replace("Content-Length: 0", "Transfer-Encoding: chunked");
    let chunks = "1;quick=yes\r\n{\r\n1\r\n}\r\n0\r\nX-Sum: 7\r\nX-End: 1\r\n\r\n";
    let next = request("GET", "/auth_info", Some(&key()), "");
    stream
        .write_all(format!("{chunked}{chunks}{next}").as_bytes())
        .unwrap();
    assert_eq!(Reply::read(&mut stream).status, 404);
    assert_eq!(Reply::read(&mut stream).status, 200);
    let requests = network.http_requests();
    let bodies: Vec<&str> = requests.iter().map(|request| &*request.body).collect();
    assert_eq!(bodies, ["{}", "{}", ""]);
    for broken in ["x\r\n", "1\r\n{}\r\n", "1\r\n{x\r\n0\r\n\r\n"] {
        let reply = send(&network.http_address(), &format!("{chunked}{broken}"));
        assert_eq!(reply.status, 400, "{broken:?}");
    }
    assert_eq!(network.http_requests().len(), 3);
}

#[test]
fn a_hundred_connections_are_served_at_once_and_none_outlives_the_network() {
    let network = Simulator::start(Network::V3).unwrap();
    let one = request("GET", "/auth_info", Some(&key()), "");
    let half = &one[..one.len() / 2];
    let mut streams: Vec<_> = (0..100).map(|_| connect(&network.http_address())).collect();
    for stream in &mut streams {
        stream.write_all(half.as_bytes()).unwrap();
    }
    for stream in streams.iter_mut().take(50) {
        stream.write_all(&one.as_bytes()[half.len()..]).unwrap();
    }
    for stream in streams.iter_mut().take(50) {
        assert_eq!(Reply::read(stream).status, 200);
    }
    // Half a request is none.
    drop(streams.split_off(90));
    assert_eq!(network.http_requests().len(), 50);
    let start = Instant::now();
    network.stop();
    assert!(start.elapsed() < LONG);
    for stream in &mut streams {
        assert_eq!(stream.read(&mut [0]).unwrap_or(0), 0);
    }
}

#[test]
fn the_tenant_is_that_of_the_network_or_of_the_key() {
    let network = Simulator::start(Network::V3).unwrap();
    let info = |key: &str, app: &str| {
        let path = format!("/as/applications/{app}/mqtt-connection-info");
        let request = request("GET", &path, Some(key), "");
        send(&network.http_address(), &request).json()
    };
    assert_eq!(
        info(&key(), "simulated-app")["username"],
        "simulated-app@ttn"
    );
    network.add_key("orchard@acme", "NNSXS.ORCHARD.KEY", Rights::ALL);
    assert_eq!(
        info("Bearer NNSXS.ORCHARD.KEY", "orchard")["username"],
        "orchard@acme"
    );
    let refused = info("Bearer NNSXS.ORCHARD.KEY", "simulated-app");
    assert_eq!(
        refused["details"][0]["attributes"]["uid"],
        "simulated-app@acme"
    );
}
