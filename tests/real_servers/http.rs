//! Each answer of the simulated HTTP API next to the one that the real server gave.

use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use ttn::Network;
use ttn::simulator::{KeyOf, Rights, Simulator};

use crate::http_client::{Reply, connect, normal, recorded, request, send};

const ID: &str = "EXAMPLEKEYIDEXAMPLEKEYIDEXAMPLEKEYIDABC";
const UP_WRITE: &str = "RIGHT_APPLICATION_TRAFFIC_UP_WRITE";

fn key() -> String {
    format!("NNSXS.{ID}.SECRET")
}

/// A network at a time that has nanoseconds.
struct Stage {
    network: Simulator,
    authorization: Option<String>,
}

impl Stage {
    /// Starts a network whose key has these rights.
    fn with(rights: &[&str]) -> Self {
        let now = SystemTime::UNIX_EPOCH + Duration::new(1_795_874_558, 123_456_789);
        let network = Simulator::builder(Network::V3)
            .application("greenhouse", "NNSXS.OTHER.KEY")
            .receive_window(Duration::ZERO)
            .fixed_time(now)
            .start()
            .unwrap();
        network.set_rights("greenhouse", &key(), rights);
        Self {
            network,
            authorization: Some(format!("Bearer {}", key())),
        }
    }

    fn with_all() -> Self {
        Self::with(&["RIGHT_APPLICATION_ALL"])
    }

    fn showing(mut self, authorization: Option<&str>) -> Self {
        self.authorization = authorization.map(str::to_owned);
        self
    }

    fn ask(&self, method: &str, path: &str, body: &str) -> Reply {
        let authorization = self.authorization.as_deref();
        let request = request(method, path, authorization, body);
        send(&self.network.http_address(), &request)
    }

    fn get(&self, path: &str) -> Reply {
        self.ask("GET", path, "")
    }

    /// Compares the answer with a recorded body and a status.
    #[track_caller]
    fn compare(&self, method: &str, path: &str, body: &str, (status, file): (u16, &str)) {
        let reply = self.ask(method, path, body);
        compare(&reply, status, file);
    }

    #[track_caller]
    fn compare_get(&self, path: &str, expected: (u16, &str)) {
        self.compare("GET", path, "", expected);
    }
}

#[track_caller]
fn compare(reply: &Reply, status: u16, file: &str) {
    let expected: Value = serde_json::from_str(&recorded(file)).unwrap();
    assert_eq!(reply.status, status, "{file}: {reply:?}");
    assert_eq!(normal(&reply.json()), normal(&expected), "{file}");
}

/// Returns a recorded `auth_info` with the name that all keys of the simulator have.
fn named(file: &str) -> Value {
    let mut info: Value = serde_json::from_str(&recorded(file)).unwrap();
    info["api_key"]["api_key"]["name"] = json!("simulated key");
    normal(&info)
}

#[test]
fn a_key_is_told_about_like_by_the_real_server() {
    let stage = Stage::with(&[]);
    let (network, key) = (&stage.network, key());
    let info = |file| {
        let reply = stage.get("/auth_info");
        assert_eq!((reply.status, normal(&reply.json())), (200, named(file)));
    };
    network.add_key("greenhouse", &key, Rights::ALL);
    info("auth-info.json");
    let read_only = Rights {
        read: true,
        write: false,
    };
    network.add_key("greenhouse", &key, read_only);
    info("auth-info-read-only.json");
    let soon = SystemTime::UNIX_EPOCH + Duration::from_secs(1_796_000_000);
    assert!(network.expire_key("greenhouse", &key, soon));
    info("auth-info-expiring.json");

    let linked = Stage::with(&["RIGHT_APPLICATION_LINK"]).get("/auth_info");
    assert_eq!(normal(&linked.json()), named("auth-info-link.json"));
    let traffic = ["RIGHT_APPLICATION_TRAFFIC_READ", "RIGHT_APPLICATION_INFO"];
    let organization = [traffic[0], traffic[1], "RIGHT_ORGANIZATION_INFO"];
    for (of, rights, file) in [
        (
            Some(KeyOf::Gateway("roof-east")),
            &["RIGHT_GATEWAY_INFO", "RIGHT_GATEWAY_LINK"][..],
            "auth-info-gateway-key.json",
        ),
        (
            Some(KeyOf::Organization("growers")),
            &organization[..],
            "auth-info-organization-key.json",
        ),
        (None, &traffic[..], "auth-info-other-application.json"),
    ] {
        let stage = Stage::with(&[]);
        assert!(stage.network.remove_key("greenhouse", &key));
        match of {
            Some(of) => stage.network.add_other_key(&key, of, rights),
            None => stage.network.set_rights("orchard", &key, rights),
        }
        let reply = stage.get("/auth_info");
        assert_eq!(normal(&reply.json()), named(file), "{file}");
    }
    let nobody = Stage::with(&[]).showing(None);
    nobody.compare_get("/auth_info", (200, "auth-info-anonymous.json"));
}

#[test]
fn rights_are_spelt_out_like_by_the_real_server_and_in_any_order() {
    let path = "/applications/greenhouse/rights";
    for (rights, file) in [
        (&["RIGHT_APPLICATION_ALL"][..], "rights-full.json"),
        (&["RIGHT_APPLICATION_LINK"], "rights-mqtt.json"),
        (&["RIGHT_APPLICATION_TRAFFIC_READ"], "rights-read-only.json"),
        (&["RIGHT_APPLICATION_INFO"], "rights-info-only.json"),
    ] {
        Stage::with(rights).compare_get(path, (200, file));
    }
    let stage = Stage::with_all();
    stage.compare_get("/applications/orchard/rights", (200, "rights-empty.json"));
    let first = stage.get(path).body;
    let is_other = (0..20).any(|_| stage.get(path).body != first);
    assert!(is_other, "the order of rights never changes");
}

#[test]
fn an_application_and_its_servers_answer_like_the_real_ones() {
    let stage = Stage::with_all();
    stage.compare_get("/applications/greenhouse", (200, "application.json"));
    let mask =
        "field_mask=name,network_server_address,application_server_address,join_server_address";
    stage.compare_get(
        &format!("/applications/greenhouse?{mask}"),
        (200, "application-addresses.json"),
    );
    let nobody = Stage::with(&[]).showing(None);
    nobody.compare_get("/as/configuration", (200, "as-configuration.json"));
    let plans = nobody.get("/configuration/frequency-plans");
    assert!(plans.json()["frequency_plans"].is_array());

    let info = stage.get("/as/applications/greenhouse/mqtt-connection-info");
    let file = recorded("connection-info-open-source.json");
    let mut expected: Value = serde_json::from_str(&file).unwrap();
    expected["public_address"] = stage.network.mqtt_address().into();
    // The simulated MQTT server has no TLS.
    expected
        .as_object_mut()
        .unwrap()
        .remove("public_tls_address");
    assert_eq!(info.json(), expected);
}

#[test]
fn devices_are_listed_and_read_like_by_the_real_server() {
    let stage = Stage::with_all();
    let network = &stage.network;
    let path = "/applications/greenhouse/devices";
    stage.compare_get(path, (200, "devices-none.json"));
    let bed = network.device("bed-07");
    bed.rename("bed-07");
    network.device("bed-08").rename("bed-08");
    network.device("bed-08").forget_session();
    let roof = network.device("roof-3");
    roof.rename("on another cluster");
    roof.on_other_cluster("nam1.example.org");
    let tank = network.device("tank-1");
    tank.rename("tank-1");
    let item = json!({"f_port": 1, "frm_payload": "AQ=="});
    for device in [&bed, &tank] {
        device.push_over_http(&json!({"downlinks": [item]}));
        device.uplink(1, [1]);
        device.uplink(1, [1]);
    }
    let mask = "name,last_seen_at,network_server_address,application_server_address";
    let list = stage.get(&format!("{path}?field_mask={mask}&limit=1000"));
    compare(&list, 200, "devices.json");
    assert_eq!(list.header("X-Total-Count"), Some("4"));
    let last = stage.get(&format!("{path}?limit=3&page=2&unknown=1"));
    assert_eq!(last.json()["end_devices"].as_array().unwrap().len(), 1);
    assert_eq!(last.header("X-Total-Count"), Some("4"));
    let past = stage.get(&format!("{path}?page=2"));
    assert_eq!(past.body, "{}");
    let falling = stage.get(&format!("{path}?order=-device_id&limit=1"));
    let first = &falling.json()["end_devices"][0]["ids"]["device_id"];
    assert_eq!(first, "tank-1");

    for (path, file) in [
        (
            "/ns/applications/greenhouse/devices/bed-07?field_mask=session.last_f_cnt_up,session.last_n_f_cnt_down,session.started_at",
            "device-ns-counters.json",
        ),
        (
            "/as/applications/greenhouse/devices/bed-07?field_mask=session.dev_addr,session.last_a_f_cnt_down",
            "device-as-session.json",
        ),
        (
            "/as/applications/greenhouse/devices/bed-08?field_mask=session.dev_addr",
            "device-as-no-session.json",
        ),
    ] {
        stage.compare_get(path, (200, file));
    }
    let one =
        stage.get("/applications/greenhouse/devices/roof-3?field_mask=application_server_address");
    assert_eq!(one.json()["application_server_address"], "nam1.example.org");
    for path in [
        "/as/applications/greenhouse/devices/roof-3",
        "/ns/applications/greenhouse/devices/roof-3",
    ] {
        stage.compare_get(path, (404, "error-404-device-list.json"));
    }
}

#[test]
fn the_queue_is_filled_and_listed_like_on_the_real_server() {
    let stage = Stage::with_all();
    let bed = stage.network.device("bed-07");
    stage
        .network
        .set_downlink_decoder(|_, bytes| Ok(json!({"v": bytes[0]})));
    let down = "/as/applications/greenhouse/devices/bed-07/down";
    stage.compare_get(down, (200, "downlink-queue-empty.json"));
    let body = recorded("request-downlink-push.json");
    for (operation, length) in [("push", 1), ("push", 2), ("replace", 1)] {
        let path = format!("{down}/{operation}");
        stage.compare("POST", &path, &body, (200, "downlink-queue-empty.json"));
        assert_eq!(bed.queue().len(), length);
    }
    stage.compare_get(down, (200, "downlink-queue.json"));
    let replace = format!("{down}/replace");
    stage.compare("POST", &replace, "", (200, "downlink-queue-empty.json"));
    assert!(bed.queue().is_empty());
}

#[test]
fn an_uplink_is_simulated_like_on_the_real_server() {
    let stage = Stage::with(&[UP_WRITE]);
    stage.network.device("bed-07");
    let body = recorded("request-simulate-uplink.json");
    for device in ["bed-07", "bed-99"] {
        let path = format!("/as/applications/greenhouse/devices/{device}/up/simulate");
        stage.compare("POST", &path, &body, (200, "downlink-queue-empty.json"));
    }
    let path = "/as/applications/greenhouse/devices/bed-07/up/simulate";
    let without = stage.ask("POST", path, r#"{"uplink_message":{"f_port":1}}"#);
    assert_eq!(
        (without.status, without.name()),
        (400, "pkg/errors:validation".into())
    );
    let mut marked: Value = serde_json::from_str(&body).unwrap();
    marked["simulated"] = json!(true);
    let marked = stage.ask("POST", path, &marked.to_string());
    let name = "pkg/applicationserver/io/grpc:simulated";
    assert_eq!((marked.status, marked.name()), (400, name.into()));
}

#[test]
fn bad_keys_are_refused_like_by_the_real_server() {
    let routes = [
        "/auth_info",
        "/applications/greenhouse",
        "/applications/greenhouse/rights",
        "/applications/greenhouse/devices",
        "/as/applications/greenhouse/mqtt-connection-info",
        "/as/applications/greenhouse/devices/bed-07/down",
    ];
    let unknown = format!("Bearer NNSXS.{}.SECRET", "A".repeat(39));
    let wrong = format!("Bearer NNSXS.{ID}.SECRE");
    for path in routes {
        for (authorization, status, file) in [
            (unknown.as_str(), 401, "error-401.json"),
            (&wrong, 401, "error-401-secret.json"),
            ("Basic cGxhbnQ6cGxhbnQ=", 401, "error-401-basic.json"),
            ("Bearer NNSXS.HALF", 400, "error-400-token.json"),
        ] {
            let stage = Stage::with_all().showing(Some(authorization));
            let reply = stage.get(path);
            compare(&reply, status, file);
            let message = reply.json()["message"].as_str().unwrap().to_owned();
            let expected = (status == 401).then_some(message.as_str());
            assert_eq!(reply.header("Www-Authenticate"), expected);
        }
        let stage = Stage::with_all();
        let past = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_000_000);
        assert!(stage.network.expire_key("greenhouse", &key(), past));
        stage.compare_get(path, (401, "error-401-expired.json"));
        let stage = Stage::with_all();
        assert!(stage.network.delete_application("greenhouse"));
        stage.compare_get(path, (401, "error-401-application-deleted.json"));
    }
}

#[test]
fn a_suspended_user_is_told_so_by_the_identity_server_alone() {
    let stage = Stage::with(&[]).showing(Some("Bearer NNSXS.PERSONAL.KEY"));
    let network = &stage.network;
    let rights = ["RIGHT_USER_INFO", "RIGHT_APPLICATION_ALL"];
    network.add_other_key("NNSXS.PERSONAL.KEY", KeyOf::User("gardener"), &rights);
    let path = "/applications/greenhouse/rights";
    stage.compare_get(path, (200, "rights-full.json"));
    network.suspend_user("gardener", true);
    stage.compare_get(path, (200, "rights-empty.json"));
    let application = stage.get("/applications/greenhouse");
    assert_eq!(application.name(), "pkg/identityserver:user_suspended");
    let info = stage.get("/auth_info");
    let warning = info.header("X-Warning").unwrap();
    assert!(warning.starts_with("Restricted rights after account suspension: "));
    assert_eq!(
        info.json()["api_key"]["api_key"]["rights"],
        json!(["RIGHT_USER_INFO"])
    );
    let connection = "/as/applications/greenhouse/mqtt-connection-info";
    stage.compare_get(connection, (403, "error-403-no-rights.json"));
}

#[test]
fn callers_without_a_key_are_refused_like_by_the_real_server() {
    for authorization in [None, Some("Bearer"), Some("NNSXS.OTHER.KEY")] {
        let stage = Stage::with_all().showing(authorization);
        let as_path = "/as/applications/greenhouse/mqtt-connection-info";
        stage.compare_get(as_path, (403, "error-403-no-key.json"));
        let list = "/applications/greenhouse/devices";
        stage.compare_get(list, (403, "error-403-no-key.json"));
        stage.compare_get("/applications/greenhouse", (401, "error-401-no-key.json"));
        stage.compare_get(
            "/applications/greenhouse/rights",
            (200, "rights-empty.json"),
        );
    }
}

#[test]
fn missing_rights_are_named_like_by_the_real_server() {
    let path = "/as/applications/greenhouse/mqtt-connection-info";
    let stage = Stage::with(&["RIGHT_APPLICATION_TRAFFIC_READ"]);
    stage.compare_get(path, (403, "error-403.json"));
    let stage = Stage::with(&[]);
    stage.network.remove_key("greenhouse", &key());
    stage
        .network
        .set_rights("orchard", &key(), &["RIGHT_APPLICATION_ALL"]);
    stage.compare_get(path, (403, "error-403-no-rights.json"));
    stage.compare_get(
        "/applications/greenhuose",
        (404, "error-404-application.json"),
    );
    // For the routes of the Application Server, an application that does not exist is one without
    // rights on it.
    let unknown = stage.get("/as/applications/greenhuose/mqtt-connection-info");
    assert_eq!(unknown.name(), "pkg/auth/rights:no_application_rights");
}

#[test]
fn downlinks_are_refused_like_by_the_real_server() {
    let stage = Stage::with_all();
    let bed = stage.network.device("bed-07");
    stage.network.device("bed-08").forget_session();
    let good = json!({"f_port": 1, "frm_payload": "AQ=="});
    let long = |length: usize| {
        use base64::prelude::{BASE64_STANDARD, Engine as _};
        BASE64_STANDARD.encode(vec![1; length])
    };
    for (device, bad, status, file) in [
        ("bed-99", json!({}), 404, "error-404-device.json"),
        ("bed-08", good.clone(), 400, "error-400-no-session.json"),
        (
            "bed-07",
            json!({"frm_payload": "AQ=="}),
            400,
            "error-400-no-port.json",
        ),
        (
            "bed-07",
            json!({"f_port": 256, "frm_payload": "AQ=="}),
            400,
            "error-400-port.json",
        ),
        (
            "bed-07",
            json!({"f_port": 1, "frm_payload": long(243)}),
            400,
            "error-400-too-long.json",
        ),
        (
            "bed-07",
            json!({"f_port": 1, "frm_payload": "vu8!"}),
            400,
            "error-400-base64.json",
        ),
    ] {
        for operation in ["push", "replace"] {
            let path = format!("/as/applications/greenhouse/devices/{device}/down/{operation}");
            let body = json!({"downlinks": [bad]}).to_string();
            stage.compare("POST", &path, &body, (status, file));
            // One bad downlink refuses the whole list.
            if device == "bed-07" {
                let body = json!({"downlinks": [good, bad, good]}).to_string();
                assert_eq!(stage.ask("POST", &path, &body).status, status);
                assert!(bed.queue().is_empty());
            }
        }
    }
    let push = "/as/applications/greenhouse/devices/bed-07/down/push";
    let name = |item: Value| {
        let body = json!({"downlinks": [item]}).to_string();
        let reply = stage.ask("POST", push, &body);
        (reply.status, reply.name())
    };
    let validation = (400, String::from("pkg/errors:validation"));
    assert_eq!(
        name(json!({"f_port": 224, "frm_payload": "AQ=="})),
        validation
    );
    assert_eq!(
        name(json!({"f_port": 1, "frm_payload": long(256)})),
        validation
    );
    assert_eq!(
        name(json!({"f_port": 1})),
        (400, "pkg/applicationserver:no_payload".into())
    );
    let unreadable = (400, String::from(":"));
    assert_eq!(
        name(json!({"f_port": 1, "frm_payload": "AQ==", "priority": "SOON"})),
        unreadable
    );
    // An empty list needs a session, too.
    let empty = "/as/applications/greenhouse/devices/bed-08/down/push";
    stage.compare(
        "POST",
        empty,
        r#"{"downlinks":[]}"#,
        (400, "error-400-no-session.json"),
    );
    stage
        .network
        .set_encoder::<Vec<u8>>(|_, _| Err("TypeError: no lamp".into()));
    let body = json!({"downlinks": [{"f_port": 1, "decoded_payload": {}}]}).to_string();
    let reply = stage.ask("POST", push, &body);
    assert!(reply.body.contains("TypeError: no lamp"), "{reply:?}");
}

#[test]
fn what_cannot_be_asked_is_refused_like_by_the_real_server() {
    let stage = Stage::with_all();
    let devices = "/applications/greenhouse/devices";
    for (path, status, file) in [
        (
            "/as/applications/greenhouse@ttn/mqtt-connection-info",
            400,
            "error-400-id.json",
        ),
        (
            &format!("{devices}?field_mask=nonsense"),
            400,
            "error-400-field-mask.json",
        ),
        (&format!("{devices}?limit=abc"), 400, "error-400-query.json"),
        (
            &format!("{devices}?limit=1001"),
            400,
            "error-400-limit.json",
        ),
        (
            &format!("{devices}/bed-99"),
            404,
            "error-404-device-is.json",
        ),
        (
            "/as/applications/greenhouse/devices/bed-99/down",
            404,
            "error-404-device-list.json",
        ),
        (
            "/as/applications/greenhouse/packages/storage/uplink_message",
            404,
            "error-404.json",
        ),
        ("/auth_info/", 404, "error-404.json"),
        ("/../v2/x", 301, ""),
    ] {
        let reply = stage.get(path);
        match file {
            "" => assert_eq!(reply.status, status, "{path}"),
            file => compare(&reply, status, file),
        }
    }
    stage.compare("POST", "/auth_info", "", (501, "error-501-method.json"));
    let stage = Stage::with_all();
    stage.network.identity_server_down(true);
    let path = "/as/applications/greenhouse/mqtt-connection-info";
    stage.compare_get(path, (503, "error-503-identity-server.json"));
    stage.compare_get("/auth_info", (404, "error-404.json"));
    stage.compare_get("/as/configuration", (200, "as-configuration.json"));
    let elsewhere = send(
        &stage.network.http_address(),
        "GET /api/v2/x HTTP/1.1\r\nHost: x\r\n\r\n",
    );
    compare(&elsewhere, 404, "error-404-outside.json");
    assert!(elsewhere.body.starts_with("{\n\t\"") && elsewhere.body.ends_with("}\n"));
    let outside = send(
        &stage.network.http_address(),
        "GET /x HTTP/1.1\r\nHost: x\r\n\r\n",
    );
    assert_eq!(
        (outside.status, &*outside.body),
        (404, "404 page not found\n")
    );
}

/// Returns the names of the headers in a recorded head, without those of a closed connection.
fn header_names(head: &str) -> Vec<&str> {
    let lines = head.lines().skip(1).take_while(|line| !line.is_empty());
    let names = lines.map(|line| line.split_once(':').unwrap().0);
    let mut names: Vec<&str> = names.filter(|name| *name != "Connection").collect();
    names.sort_unstable();
    names
}

#[test]
fn answers_have_the_headers_of_the_real_server() {
    let stage = Stage::with_all();
    stage.network.device("bed-07");
    let unknown = format!("Bearer NNSXS.{}.SECRET", "A".repeat(39));
    let path = "/as/applications/greenhouse/mqtt-connection-info";
    let bearer = stage.authorization.as_deref();
    let cases = [
        ("head-unary-200.txt", request("GET", path, bearer, "")),
        (
            "head-unary-401.txt",
            request("GET", path, Some(&unknown), ""),
        ),
        (
            "head-devices-200.txt",
            request("GET", "/applications/greenhouse/devices", bearer, ""),
        ),
        (
            "head-redirect-301.txt",
            request("GET", "//auth_info", bearer, ""),
        ),
        ("head-head-501.txt", request("HEAD", path, bearer, "")),
    ];
    for (file, request) in cases {
        let expected = recorded(file);
        let mut stream = connect(&stage.network.http_address());
        let closing = request.replace("Host:", "Connection: close\r\nHost:");
        stream.write_all(closing.as_bytes()).unwrap();
        let mut answer = String::new();
        std::io::Read::read_to_string(&mut stream, &mut answer).unwrap();
        assert_eq!(answer.lines().next(), expected.lines().next(), "{file}");
        assert_eq!(header_names(&answer), header_names(&expected), "{file}");
        if file == "head-head-501.txt" {
            assert!(answer.contains("Content-Length: 42\r\n") && answer.ends_with("\r\n\r\n"));
        }
        if file == "head-redirect-301.txt" {
            assert!(answer.contains("Location: /api/v3/auth_info\r\n"));
        }
    }
    let named = request("GET", path, bearer, "").replace("Host:", "X-Request-Id: mine\r\nHost:");
    let reply = send(&stage.network.http_address(), &named);
    assert_eq!(reply.header("X-Request-Id"), Some("mine"));
    assert_eq!(reply.header("Date"), Some("Sat, 28 Nov 2026 14:02:38 GMT"));
}

#[test]
fn the_rate_limit_is_that_of_the_real_server() {
    let stage = Stage::with_all();
    stage.network.http_rate_limit(10, 10);
    stage.network.device("bed-08");
    let path = "/as/applications/greenhouse/devices/bed-08/down";
    for left in (0..10).rev() {
        let reply = stage.get(path);
        assert_eq!(reply.status, 200);
        let available = left.to_string();
        assert_eq!(reply.header("X-Rate-Limit-Available"), Some(&*available));
        assert_eq!(reply.header("X-Rate-Limit-Limit"), Some("10"));
        assert_eq!(reply.header("X-Rate-Limit-Retry"), Some("0"));
    }
    let refused = stage.get(path);
    compare(&refused, 429, "error-429.json");
    let number = |name| refused.header(name).unwrap().parse::<u64>().unwrap();
    assert!((50..60).contains(&number("X-Rate-Limit-Reset")));
    assert!((1..6).contains(&number("X-Rate-Limit-Retry")));
    let mut names = header_names(&refused.head);
    names.sort_unstable();
    assert_eq!(names, header_names(&recorded("head-unary-429.txt")));
    // Another device and another key have a limit of their own.
    let other = "/as/applications/greenhouse/devices/bed-09/down";
    assert_eq!(stage.get(other).status, 404);
    let stage = stage.showing(Some("Bearer NNSXS.OTHER.KEY"));
    assert_eq!(stage.get(path).status, 200);
}

#[test]
fn requests_are_checked_in_the_order_of_the_real_server() {
    let stage = Stage::with(&["RIGHT_APPLICATION_INFO"]);
    stage.network.http_rate_limit(1, 1);
    let wrong = format!("Bearer NNSXS.{ID}.WRONG");
    let stage = stage.showing(Some(&wrong));
    let as_path = "/as/applications/greenhouse/devices/bed-99/down";
    let first = |method, path, body| {
        let reply: Reply = stage.ask(method, path, body);
        let has_rate = reply.header("X-Rate-Limit-Limit").is_some();
        (reply.status, has_rate)
    };
    // The route, then the method, then the query, the id and the mask: before the rate and the key.
    for _ in 0..3 {
        assert_eq!(first("GET", "/nowhere?limit=x", ""), (404, false));
        assert_eq!(
            first("POST", "/applications/x/devices?limit=x", ""),
            (501, false)
        );
        let unreadable = stage.get("/applications/x/devices?limit=x&field_mask=y");
        assert!(unreadable.body.contains("ParseUint"), "{unreadable:?}");
        let push = "/as/applications/x/devices/bed-99/down/push";
        assert_eq!(stage.ask("POST", push, "{").name(), ":");
        assert_eq!(
            stage.ask("POST", push, "{}").name(),
            "pkg/ttnpb:identifiers"
        );
        let id = stage.get("/applications/x/devices?field_mask=y");
        assert_eq!(id.name(), "pkg/errors:validation");
        let mask = stage.get("/applications/greenhouse/devices?field_mask=y");
        assert_eq!(mask.name(), "pkg/rpcmiddleware/validator:field_mask_paths");
        assert_eq!(mask.header("X-Rate-Limit-Limit"), None);
    }
    // The rate before the key, the key before rights, rights before the device.
    assert_eq!(first("GET", as_path, ""), (401, true));
    assert_eq!(first("GET", as_path, ""), (429, true));
    let stage = Stage::with(&["RIGHT_APPLICATION_INFO"]);
    stage.network.http_rate_limit(1, 1);
    let reply = stage.get(as_path);
    assert_eq!(
        (reply.status, reply.header("X-Rate-Limit-Limit")),
        (403, Some("1"))
    );
    assert_eq!(stage.get(as_path).status, 429);
}

#[test]
fn a_connection_takes_one_request_after_the_other() {
    let stage = Stage::with_all();
    let mut stream: TcpStream = connect(&stage.network.http_address());
    let one = request("GET", "/auth_info", stage.authorization.as_deref(), "");
    // Two at once, and one in pieces with a body in chunks.
    stream.write_all(format!("{one}{one}").as_bytes()).unwrap();
    assert_eq!(Reply::read(&mut stream).status, 200);
    assert_eq!(Reply::read(&mut stream).status, 200);
    let path = "/as/applications/greenhouse/devices/bed-99/down/push";
    let chunked = request("POST", path, stage.authorization.as_deref(), "")
        .replace("Content-Length: 0", "Transfer-Encoding: chunked");
    stream.write_all(chunked.as_bytes()).unwrap();
    stream.write_all(b"2\r\n{}\r\n").unwrap();
    stream.write_all(b"0\r\n\r\n").unwrap();
    assert_eq!(Reply::read(&mut stream).status, 404);
    assert_eq!(stage.network.http_requests()[2].body, "{}");
}

#[test]
fn every_recorded_answer_is_used() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut folders = [
        "src/api",
        "src/inquiry",
        "tests/behaviour",
        "tests/real_servers",
    ]
    .map(|folder| root.join(folder))
    .to_vec();
    let mut sources = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false => sources.push(std::fs::read_to_string(path).unwrap()),
            }
        }
    }
    let entries = std::fs::read_dir(root.join("tests/fixtures/v3-http")).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let is_used = |name: &String| {
        let quoted = format!("\"{name}\"");
        name == "README.md" || sources.iter().any(|source| source.contains(&quoted))
    };
    let forgotten: Vec<String> = names.filter(|name| !is_used(name)).collect();
    assert!(forgotten.is_empty(), "{forgotten:?}");
}
