//! The stored uplinks of the simulated network next to those of the real one.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use ttn::simulator::{Storage, Uplink};

use crate::http_client::{Reply, connect, normal, recorded, request};
use crate::site::{ID, Site, at, like_recorded, received_at, shape, storage};
use crate::support::peer::MqttPeer;

const HOUR: Duration = Duration::from_secs(3600);

/// Starts a network with a storage.
fn site(settings: Storage) -> Site {
    let site = Site::of("greenhouse@ttn");
    site.network.storage(Some(settings));
    site
}

/// Keeps whatever the time says.
fn forever() -> Storage {
    Storage::new().retention(1_000_000 * HOUR)
}

/// Returns how the time is written in messages.
fn text(time: SystemTime) -> String {
    humantime::format_rfc3339_nanos(time).to_string()
}

/// Returns the frame counters of the records.
fn counters(reply: &Reply) -> Vec<u64> {
    let counter = |record: &Value| record["uplink_message"]["f_cnt"].as_u64().unwrap_or(0);
    reply.results().iter().map(counter).collect()
}

fn recorded_lines(name: &str) -> Vec<Value> {
    let text = recorded(name);
    let lines = text.lines().filter(|line| !line.is_empty());
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn header_names(head: &str) -> BTreeSet<&str> {
    let lines = head.lines().skip(1).take_while(|line| !line.is_empty());
    lines.map(|line| line.split_once(':').unwrap().0).collect()
}

#[track_caller]
fn compare(reply: &Reply, status: u16, file: &str) {
    let expected: Value = serde_json::from_str(&recorded(file)).unwrap();
    assert_eq!(reply.status, status, "{file}: {reply:?}");
    let mut given = normal(&reply.json());
    let mut expected = normal(&expected);
    for body in [&mut given, &mut expected] {
        // The recorded key id is another one.
        let text = body.to_string().replace(":token:EXAMPLE\"", ":token:…\"");
        let text = text.replace(&format!(":token:{ID}"), ":token:…");
        *body = serde_json::from_str(&text.replace(":token:EXAMPLE", ":token:…")).unwrap();
    }
    assert_eq!(given, expected, "{file}");
}

#[test]
fn stored_uplinks_have_the_members_of_recorded_ones() {
    let site = site(Storage::new());
    let device = site.device("bed-07");
    device.send(like_recorded(&["roof-east"]).counter(118));
    device.send(like_recorded(&["roof-east", "barn-west"]));
    let reply = site.stored("?after=2026-11-27T05:59:00Z&order=received_at&limit=1000");
    assert_eq!(reply.status, 200);
    let shapes = |lines: &[Value]| -> Vec<Value> { lines.iter().map(shape).collect() };
    let expected = recorded_lines("storage-two-lines.ndjson");
    assert_eq!(shapes(&reply.lines()), shapes(&expected));
    // One chunk is one frame.
    assert_eq!(reply.chunks.len(), 2);
    assert!(reply.chunks.iter().all(|chunk| chunk.ends_with("}\n")));

    let stream = site.get_with(&storage(""), "Accept: text/event-stream\r\n");
    assert_eq!(stream.header("Content-Type"), Some("text/event-stream"));
    assert!(stream.chunks.iter().all(|chunk| chunk.ends_with("}\n\n")));
    assert_eq!(stream.lines(), reply.lines());
    let recording = recorded_lines("storage-event-stream.txt");
    assert_eq!(shapes(&stream.lines()), shapes(&recording));
    assert!(recorded("storage-event-stream.txt").ends_with("}\n\n"));
    // Any other text is passed over.
    let both = site.get_with(&storage(""), "Accept: text/event-stream, */*\r\n");
    assert_eq!(both.body, reply.body);

    site.network
        .storage(Some(Storage::new().keeps_all_members(true)));
    device.join();
    device.send(like_recorded(&["roof-east"]).counter(118));
    let whole = site.stored("?order=-received_at&limit=1");
    let expected = recorded_lines("storage-full-fields.ndjson");
    assert_eq!(shapes(&whole.lines()), shapes(&expected));
}

#[test]
fn what_is_stored_is_what_mqtt_brings_without_some_members() {
    let site = site(Storage::new());
    let mut peer = MqttPeer::connect(site.network.address(), site.uid, "NNSXS.OTHER.KEY").unwrap();
    peer.subscribe("#").unwrap();
    let device = site.device("bed-07");
    let fields = json!({"join_eui": "01", "correlation_ids": ["x"], "session_key_id": "y"});
    device.send(
        like_recorded(&["roof-east", "barn-west"])
            .fields(fields)
            .confirmed(true),
    );
    let path = "/as/applications/greenhouse/devices/bed-07/up/simulate";
    let body = recorded("request-simulate-uplink.json");
    let other = Some("Bearer NNSXS.UP.KEY");
    let up = "RIGHT_APPLICATION_TRAFFIC_UP_WRITE";
    site.network.set_rights(site.uid, "NNSXS.UP.KEY", &[up]);
    let simulate = request("POST", path, other, &body);
    crate::http_client::send(&site.network.http_address(), &simulate);

    let mut expected = Vec::new();
    while expected.len() < 2 {
        let (topic, payload) = peer.next(Duration::from_secs(10)).unwrap();
        if topic.ends_with("/up") {
            let mut message: Value = serde_json::from_slice(&payload).unwrap();
            let outer = message.as_object_mut().unwrap();
            outer.remove("correlation_ids").unwrap();
            let ids = outer["end_device_ids"].as_object_mut().unwrap();
            ids.remove("join_eui").unwrap();
            let uplink = outer["uplink_message"].as_object_mut().unwrap();
            uplink.remove("session_key_id");
            let entries = uplink.get_mut("rx_metadata").and_then(Value::as_array_mut);
            for entry in entries.into_iter().flatten() {
                entry.as_object_mut().unwrap().remove("uplink_token");
            }
            expected.push(message);
        }
    }
    assert_eq!(site.stored("").results(), expected);
    assert_eq!(expected[1]["simulated"], json!(true));
}

#[test]
fn an_answer_without_records_has_neither_a_body_nor_a_type() {
    let site = site(Storage::new());
    let expected = recorded("head-storage-empty.txt");
    site.network.http_rate_limit(10, 60);
    for path in [
        storage(""),
        storage("/devices/bed-99"),
        storage("").replace("uplink_message", "join_accept"),
    ] {
        let reply = site.get(&path);
        assert_eq!(
            (reply.status, &*reply.body),
            (200, recorded("storage-empty.ndjson").as_str())
        );
        let missing: Vec<&str> = header_names(&expected)
            .difference(&header_names(&reply.head))
            .copied()
            .collect();
        assert!(missing.is_empty(), "{missing:?} in {reply:?}");
        assert_eq!(reply.header("Content-Type"), None);
    }
    let count = site.get(&format!("{}/count", storage("")));
    compare(&count, 200, "count-none.json");
    let mut stream = site.open("GET", &storage(""), "", "Connection: close\r\n");
    let mut whole = String::new();
    stream.read_to_string(&mut whole).unwrap();
    assert!(whole.ends_with("\r\n\r\n0\r\n\r\n"), "{whole}");
}

#[test]
fn answers_have_the_headers_of_recorded_ones() {
    let site = site(Storage::new());
    site.network.http_rate_limit(10, 10);
    site.device("bed-07").uplink(2, [1]);
    for left in (0..10).rev() {
        let reply = site.stored("");
        let expected = recorded("head-storage-200.txt");
        assert!(
            header_names(&expected).is_subset(&header_names(&reply.head)),
            "{reply:?}"
        );
        let left = left.to_string();
        assert_eq!(reply.header("X-Rate-Limit-Available"), Some(&*left));
    }
    let refused = site.get(&storage("/devices/tank-1"));
    compare(&refused, 429, "error-429-stream.json");
    let expected = recorded("head-storage-429.txt");
    assert!(
        header_names(&expected).is_subset(&header_names(&refused.head)),
        "{refused:?}"
    );
    let number = |name| refused.header(name).unwrap().parse::<u64>().unwrap();
    assert!((50..60).contains(&number("X-Rate-Limit-Reset")));
    assert_eq!(number("X-Rate-Limit-Limit"), 10);
    // Of this, each application and device has one of its own.
    assert_eq!(site.get(&format!("{}/count", storage(""))).status, 200);
    // The network's clock counts.
    site.network.advance_clock(Duration::from_secs(6));
    assert_eq!(site.stored("").status, 200);
    assert_eq!(site.stored("").status, 429);
}

#[test]
fn records_are_selected_by_time_port_and_device() {
    let site = site(forever());
    let (bed, tank) = (site.device("bed-07"), site.device("tank-1"));
    for second in 1..=5 {
        bed.send(received_at(at(second * 1000)).counter(second as u32));
    }
    let tanks = Uplink::new(10, [1]).time(at(3000) - Duration::from_millis(205));
    tank.send(tanks.counter(40));
    let of = |query: &str| counters(&site.stored(query));
    let second = |second: u64| text(at(second * 1000));
    assert_eq!(of(""), [1, 2, 3, 40, 4, 5]);
    assert_eq!(of("?order=-received_at"), [5, 4, 40, 3, 2, 1]);
    assert_eq!(of("?limit=2"), [1, 2]);
    assert_eq!(of("?limit=2&order=-received_at"), [5, 4]);
    assert_eq!(of("?limit=0"), [0; 0]);
    assert_eq!(of(&format!("?after={}", second(3))), [4, 5]);
    assert_eq!(of(&format!("?before={}", second(3))), [1, 2]);
    let between = format!("?after={}&before={}", second(1), second(4));
    assert_eq!(of(&between), [2, 3, 40]);
    assert_eq!(of(&between.replace('Z', "%2B00:00")), [2, 3, 40]);
    assert_eq!(
        of(&format!("?after={}&before={}", second(4), second(1))),
        [0; 0]
    );
    assert_eq!(of("?f_port=10"), [40]);
    assert_eq!(of("?fPort=2&limit=1"), [1]);
    assert_eq!(of("?unknown=1&limit=1"), [1]);
    let one = site.get(&format!(
        "{}?after={}",
        storage("/devices/bed-07"),
        second(2)
    ));
    assert_eq!(counters(&one), [3, 4, 5]);
    let all = storage("").replace("uplink_message", "");
    assert_eq!(counters(&site.get(&all)), [1, 2, 3, 40, 4, 5]);
    // Two devices share a time; nothing is between them.
    let times: BTreeSet<String> = site
        .stored("")
        .results()
        .iter()
        .map(|record| record["received_at"].to_string())
        .collect();
    assert_eq!(times.len(), 5);

    site.network.storage(Some(forever().before_inclusive(true)));
    assert_eq!(of(&format!("?before={}", second(3))), [1, 2, 3, 40]);

    let now = SystemTime::now();
    bed.send(received_at(now - 2 * HOUR).counter(6));
    bed.send(received_at(now - HOUR).counter(7));
    assert_eq!(of("?last=90m"), [7]);
    assert_eq!(of("?last=2h30m"), [6, 7]);
}

#[test]
fn uplinks_are_counted_by_device() {
    let site = site(forever());
    for (dev_id, uplinks) in [("bed-07", 4), ("bed-08", 3), ("tank-1", 3)] {
        for second in 1..=uplinks {
            site.device(dev_id).send(received_at(at(second * 1000)));
        }
    }
    let count = |query: &str| site.get(&format!("{}/count{query}", storage(""))).json();
    let expected = json!({"count": {"bed-07": 4, "bed-08": 3, "tank-1": 3}});
    assert_eq!(count(""), expected);
    let recording: Value = serde_json::from_str(&recorded("count.json")).unwrap();
    assert_eq!(shape(&expected), shape(&recording));
    let after = format!("?after={}", text(at(3000)));
    assert_eq!(count(&after), json!({"count": {"bed-07": 1}}));
    let one = site.get(&format!("{}/count", storage("/devices/bed-08")));
    assert_eq!(one.json(), json!({"count": {"bed-08": 3}}));
    site.network.storage(Some(forever().doubled(true)));
    assert_eq!(count(&after), json!({"count": {"bed-07": 2}}));
    let normalized = storage("").replace("uplink_message", "uplink_normalized/count");
    assert_eq!(site.get(&normalized).name(), "pkg/errors:validation");
}

#[test]
fn a_mask_leaves_parts_and_what_the_server_forgets() {
    let site = site(Storage::new());
    let device = site.device("bed-07");
    device.send(like_recorded(&["roof-east"]));
    device.send(like_recorded(&["roof-east"]));
    let masked = site.stored("?field_mask=up.uplink_message.frm_payload");
    let shapes = |lines: Vec<Value>| -> Vec<Value> { lines.iter().map(shape).collect() };
    let expected = recorded_lines("storage-masked.ndjson");
    assert_eq!(shapes(masked.lines()), shapes(expected));
    let twice = "?field_mask.paths=up.uplink_message.decoded_payload&field_mask.paths=up.uplink_message.f_port";
    let uplink = &site.stored(twice).results()[0]["uplink_message"];
    let expected = json!({
        "f_port": 2,
        "decoded_payload": {"temperature": 28.86, "humidity": 45.6},
        "settings": {"data_rate": {}},
    });
    assert_eq!(*uplink, expected);
    let refused = site.stored("?field_mask=up.uplink_message.frm_paylod");
    let name = refused.lines()[0]["error"]["details"][0]["name"].clone();
    assert_eq!((refused.status, name), (400, json!("field_mask_paths")));
}

#[test]
fn pages_end_without_a_word() {
    let site = site(forever());
    let device = site.device("bed-07");
    for second in 1..=1005 {
        device.send(received_at(at(second * 1000)).counter(second as u32));
    }
    let page = site.stored("");
    assert_eq!(counters(&page), (1..=1000).collect::<Vec<u64>>());
    assert_eq!(page.header("X-Continuation-Token"), None);
    let next = site.stored(&format!("?after={}", text(at(1_000_000))));
    assert_eq!(counters(&next), (1001..=1005).collect::<Vec<u64>>());
    let refused = site.stored("?limit=1001");
    let mut expected: Value = serde_json::from_str(&recorded("error-400-limit.json")).unwrap();
    expected["details"][0]["attributes"]["name"] =
        json!("GetStoredApplicationUpRequestValidationError");
    assert_eq!(refused.status, 400);
    assert_eq!(normal(&refused.lines()[0]["error"]), normal(&expected));

    site.network.storage(Some(forever().page_cap(10)));
    assert_eq!(
        counters(&site.stored("?limit=1000")),
        (1..=10).collect::<Vec<u64>>()
    );
    assert_eq!(counters(&site.stored("?limit=3")).len(), 3);
}

#[test]
fn old_uplinks_are_gone_and_new_ones_not_there_yet() {
    let site = site(Storage::new().retention(HOUR));
    let device = site.device("bed-07");
    device.send(received_at(SystemTime::now() - HOUR / 2));
    device.uplink(2, [1]);
    assert_eq!(counters(&site.stored("")), [0, 1]);
    site.network.advance_clock(HOUR * 3 / 4);
    assert_eq!(counters(&site.stored("")), [1]);
    site.network.advance_clock(HOUR);
    assert_eq!(site.stored("").body, "");

    let delay = Duration::from_secs(30);
    site.network
        .storage(Some(Storage::new().write_delay(delay)));
    device.uplink(2, [1]);
    assert_eq!(counters(&site.stored("?last=30m")), [0; 0]);
    site.network.advance_clock(delay);
    assert_eq!(counters(&site.stored("?last=30m")), [2]);

    let jitter = Duration::from_secs(1000);
    site.network
        .storage(Some(Storage::new().write_jitter(jitter)));
    for _ in 0..100 {
        device.uplink(2, [1]);
    }
    site.network.advance_clock(jitter / 2);
    let half = counters(&site.stored("?after=2026-01-01T00:00:00Z&last=20m"));
    let half: Vec<u64> = half.into_iter().filter(|counter| *counter > 2).collect();
    assert!((20..80).contains(&half.len()), "{half:?}");
    let has_gap = half.windows(2).any(|pair| pair[1] > pair[0] + 1);
    assert!(has_gap, "later ones come before earlier ones: {half:?}");
    site.network.advance_clock(jitter / 2);
    assert!(counters(&site.stored("?last=30m")).len() >= 100);
}

#[test]
fn records_can_come_twice_and_in_any_order() {
    let site = site(forever().doubled(true));
    let device = site.device("bed-07");
    for second in 1..=30 {
        device.send(received_at(at(second * 1000)).counter(second as u32));
    }
    assert_eq!(counters(&site.stored("?limit=5")), [1, 1, 2, 2, 3]);
    site.network.storage(Some(forever().shuffled(true)));
    let mut mixed = counters(&site.stored(""));
    let expected: Vec<u64> = (1..=30).collect();
    assert_ne!(mixed, expected);
    mixed.sort_unstable();
    assert_eq!(mixed, expected);
}

#[test]
fn an_uplink_that_is_handed_over_twice_has_two_outer_times_and_one_inner_time() {
    let site = site(forever());
    let mut peer = MqttPeer::connect(site.network.address(), site.uid, "NNSXS.OTHER.KEY").unwrap();
    peer.subscribe("#").unwrap();
    let uplink = received_at(at(0)).repeated_after(Duration::from_secs(60));
    site.device("bed-07").send(uplink);
    let message = |(_, payload): (String, Vec<u8>)| serde_json::from_slice(&payload).unwrap();
    let message = |peer: &mut MqttPeer| peer.next(Duration::from_secs(10)).map(message);
    let live: [Value; 2] = [message(&mut peer).unwrap(), message(&mut peer).unwrap()];
    let stored = site.stored("").results();
    assert_eq!(stored.len(), 2);
    for pair in [&live[..], &stored[..]] {
        assert_eq!(pair[0]["received_at"], "2026-11-27T06:00:00Z");
        assert_eq!(pair[1]["received_at"], "2026-11-27T06:01:00Z");
        assert_eq!(pair[0]["uplink_message"], pair[1]["uplink_message"]);
    }
}

#[test]
fn a_storage_is_there_or_not_enabled_or_forbidden_or_missing() {
    let site = site(Storage::new());
    let device = site.device("bed-07");
    device.uplink(2, [1]);
    let set = |settings| site.network.storage(settings);
    set(Some(Storage::new().not_enabled()));
    device.uplink(2, [1]);
    let reply = site.stored("");
    assert_eq!((reply.status, &*reply.body), (200, ""));
    assert_eq!(site.get(&format!("{}/count", storage(""))).body, "{}");
    set(Some(Storage::new().forbidden()));
    device.uplink(2, [1]);
    compare(&site.stored(""), 403, "error-403-stream.json");
    set(Some(Storage::new()));
    // What came while it was not enabled is not there.
    assert_eq!(counters(&site.stored("")), [0, 2]);
    set(None);
    device.uplink(2, [1]);
    for path in [
        storage(""),
        storage("/devices/bed-07"),
        format!("{}/count", storage("")),
    ] {
        for authorization in [site.authorization.as_deref(), None] {
            let get = request("GET", &path, authorization, "");
            let reply = crate::http_client::send(&site.network.http_address(), &get);
            compare(&reply, 404, "error-404.json");
        }
    }
    set(Some(Storage::new()));
    assert_eq!(site.stored("").body, "");
    // A device of another cluster leaves nothing here.
    site.device("roof-3").on_other_cluster("nam1.example.org");
    site.device("roof-3").uplink(2, [1]);
    assert_eq!(site.stored("").body, "");
}

#[test]
fn errors_are_wrapped_unless_the_query_cannot_be_read() {
    let site = site(Storage::new());
    let other_key = |authorization: &str, status, file: &str| {
        let get = request("GET", &storage(""), Some(authorization), "");
        let mut stream = connect(&site.network.http_address());
        stream.write_all(get.as_bytes()).unwrap();
        let reply = Reply::read(&mut stream);
        compare(&reply, status, file);
        assert!(reply.body.ends_with("}}\n"), "{reply:?}");
        assert_eq!(reply.header("Www-Authenticate"), None);
    };
    let unknown = format!("Bearer NNSXS.{}.SECRET", "A".repeat(39));
    other_key(&unknown, 401, "error-401-stream.json");
    other_key("Bearer NNSXS.HALF", 400, "error-400-token-stream.json");
    site.network.set_rights(
        "greenhouse@ttn",
        "NNSXS.INFO.KEY",
        &["RIGHT_APPLICATION_INFO"],
    );
    other_key("Bearer NNSXS.INFO.KEY", 403, "error-403-stream.json");

    let plain = |query: &str| {
        let reply = site.stored(query);
        let body = reply.json();
        assert_eq!(
            (reply.status, &body["code"]),
            (400, &json!(3)),
            "{query}: {reply:?}"
        );
        assert!(body["details"].is_null(), "{query}: {reply:?}");
    };
    for query in [
        "?limit=abc",
        "?limit=4294967296",
        "?after=2026-11-27",
        "?after=1795759200",
        "?after=",
        "?after=2026-11-27T06:00:00+01:00",
        "?last=1d",
        "?last=5",
        "?f_port=x",
        "?limit=1&limit=2",
    ] {
        plain(query);
    }
    let wrapped = |path: &str, query: &str, field: &str| {
        let reply = site.get(&format!("{path}{query}"));
        let error = &reply.lines()[0]["error"];
        assert_eq!(reply.status, 400, "{query}");
        let detail = &error["details"][0];
        let found = [&detail["attributes"]["field"], &detail["name"]].contains(&&json!(field));
        assert!(found, "{query}: {reply:?}");
    };
    wrapped(&storage(""), "?order=f_cnt", "order");
    wrapped(&storage(""), "?field_mask=nonsense", "field_mask_paths");
    wrapped(
        &storage("").replace("uplink_message", "weather"),
        "",
        "type",
    );
    wrapped(&storage("/devices/Bed"), "", "identifiers");
    // Of the number alone, nothing is wrapped.
    let count = site.get(&format!("{}/count?after=x", storage("")));
    assert_eq!((count.status, &count.json()["code"]), (400, &json!(3)));
    let count = storage("").replace("uplink_message", "weather/count");
    assert_eq!(site.get(&count).name(), "pkg/errors:validation");
}

#[test]
fn requests_are_checked_in_the_order_of_the_real_server() {
    let site = site(Storage::new()).showing(Some("Bearer NNSXS.WRONG.KEY"));
    site.network.http_rate_limit(1, 1);
    let of = |query: &str| {
        let reply = site.stored(query);
        (reply.status, reply.header("X-Rate-Limit-Limit").is_some())
    };
    for _ in 0..3 {
        // Whether it can be read, then ids, type, order, mask and limit: before the rate and the key.
        assert_eq!(of("?limit=x&order=y"), (400, false));
        assert_eq!(of("?limit=1001"), (400, false));
        assert_eq!(of("?order=y"), (400, false));
        assert_eq!(of("?field_mask=y"), (400, false));
    }
    assert_eq!(of(""), (401, true));
    assert_eq!(of(""), (429, true));
    let post = request("POST", &storage(""), None, "");
    let reply = crate::http_client::send(&site.network.http_address(), &post);
    compare(&reply, 501, "error-501-method.json");
}
