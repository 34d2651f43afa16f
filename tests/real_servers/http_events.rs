//! The event stream of the simulated network next to that of the real one.

use std::io::Read;
use std::net::TcpStream;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use ttn::simulator::{Decoded, EventStore, Gateway, Location, Uplink};

use crate::http_client::{Reply, normal, read_chunk, recorded, request, send};
use crate::site::{Site, received_at, shape};
use crate::support::peer::MqttPeer;

const UP: &str = "as.up.data.forward";
const MINUTE: Duration = Duration::from_secs(60);
const LONG: Duration = Duration::from_secs(10);
const SILENCE: Duration = Duration::from_millis(150);

fn site() -> Site {
    Site::of("greenhouse")
}

/// Starts a network that keeps events.
fn with_store(store: EventStore) -> Site {
    let site = site();
    site.network.event_store(Some(store));
    site
}

fn application() -> Value {
    json!({"application_ids": {"application_id": "greenhouse"}})
}

fn device(dev_id: &str) -> Value {
    json!({"device_ids": {"device_id": dev_id, "application_ids": {"application_id": "greenhouse"}}})
}

fn text(time: SystemTime) -> String {
    humantime::format_rfc3339_nanos(time).to_string()
}

/// Reads the next event of a stream.
#[track_caller]
fn next(stream: &mut TcpStream) -> Value {
    let chunk = read_chunk(stream).expect("the stream goes on");
    let mut line: Value = serde_json::from_str(&chunk).expect("JSON");
    assert!(chunk.ends_with("}\n"));
    line["result"].take()
}

/// Asks for events, and returns those of the past. What follows them is the present: an uplink of another
/// application.
#[track_caller]
fn told(site: &Site, body: &Value) -> Vec<Value> {
    static CALLS: AtomicU32 = AtomicU32::new(0);
    let other = format!("other-{}", CALLS.fetch_add(1, Ordering::Relaxed));
    let key = site.authorization.as_deref().unwrap();
    let key = key.trim_start_matches("Bearer ");
    let read = "RIGHT_APPLICATION_TRAFFIC_READ";
    site.network.set_rights(&other, key, &[read]);
    let mut body = body.clone();
    let ids = body["identifiers"].as_array_mut().unwrap();
    ids.push(json!({"application_ids": {"application_id": other}}));

    let (head, mut stream) = site.events(&body);
    assert_eq!(head.status, 200, "{head:?}");
    assert_eq!(next(&mut stream)["name"], "events.stream.start");
    site.network.device_of(&other, "last").uplink(1, [1]);
    let mut events = Vec::new();
    loop {
        let event = next(&mut stream);
        let device = &event["identifiers"][0]["device_ids"];
        if device["application_ids"]["application_id"] == other.as_str() {
            return events;
        }
        events.push(event);
    }
}

/// Returns whether nothing comes for a while.
fn is_silent(stream: &TcpStream) -> bool {
    stream.set_read_timeout(Some(SILENCE)).unwrap();
    let seen = stream.peek(&mut [0]);
    stream.set_read_timeout(Some(LONG)).unwrap();
    match seen {
        Ok(0) => panic!("the stream has ended"),
        seen => seen.is_err(),
    }
}

/// Returns the frame counters of the uplinks in events.
fn counters(events: &[Value]) -> Vec<u64> {
    let uplinks = events.iter().filter(|event| event["name"] == UP);
    let counter = |event: &Value| {
        event["data"]["uplink_message"]["f_cnt"]
            .as_u64()
            .unwrap_or(0)
    };
    uplinks.map(counter).collect()
}

fn recorded_events(name: &str) -> Vec<Value> {
    let text = recorded(name);
    let result = |line: &str| serde_json::from_str::<Value>(line).unwrap()["result"].take();
    text.lines()
        .filter(|line| !line.is_empty())
        .map(result)
        .collect()
}

/// Lets a device join and send what the recorded one sent, and the network make of it what it made.
fn play(site: &Site) {
    site.network
        .set_decoder(|_, bytes| Ok(Decoded::new(json!({"t": bytes[0]})).warning("w1")));
    site.network
        .set_normalizer(|_| Ok(json!({"air": {"temperature": 22}})));
    let place = Location {
        latitude: 52.37,
        longitude: 4.9,
        altitude: 7,
    };
    let gateway = Gateway::new("roof-east").location(place).channel(0);
    let device = site.device("tank-1");
    device.join();
    device.send(Uplink::new(2, [22, 2]).counter(2).heard_by(gateway));
}

#[test]
fn the_stream_of_an_application_looks_like_the_recorded_one() {
    let site = with_store(EventStore::new());
    play(&site);
    let names = [UP, "as.up.join.forward"];
    let body = json!({"identifiers": [application()], "names": names, "tail": 2});
    let (head, mut stream) = site.events(&body);
    assert_eq!(head.header("Content-Type"), Some("application/json"));
    assert_eq!(head.header("X-Warning"), None);
    let found = [next(&mut stream), next(&mut stream)];
    let expected = recorded_events("events-tail.ndjson");
    for (found, expected) in found.iter().zip(&expected) {
        assert_eq!(shape(found), shape(expected));
        assert_eq!(found["name"], expected["name"]);
        assert_eq!(found["visibility"], expected["visibility"]);
    }
    for member in ["data", "identifiers"] {
        assert_eq!(found[0][member], expected[0][member]);
    }
    assert_eq!(found[1]["data"]["@type"], expected[1]["data"]["@type"]);
}

#[test]
fn the_stream_of_a_device_has_what_all_servers_do_with_an_uplink() {
    let site = with_store(EventStore::new());
    play(&site);
    let body = json!({"identifiers": [device("tank-1")], "tail": 7});
    let (_, mut stream) = site.events(&body);
    let found: Vec<Value> = (0..8).map(|_| next(&mut stream)).collect();
    let expected = recorded_events("events-device.ndjson");
    assert_eq!(found.len(), expected.len());
    for expected in &expected {
        let name = &expected["name"];
        let found = found.iter().find(|event| event["name"] == *name);
        let mut found = found.unwrap_or_else(|| panic!("no {name}")).clone();
        let mut expected = expected.clone();
        if name.as_str().unwrap().starts_with("ns.") {
            expected.as_object_mut().unwrap().remove("data");
        }
        for event in [&mut found, &mut expected] {
            event["time"] = json!("a time");
        }
        assert_eq!(shape(&found), shape(&expected), "{name}");
    }
    // Each event has one of the application's members; only the device's stream shows those of others.
    let body = json!({"identifiers": [application()], "tail": 100});
    let names: Vec<Value> = told(&site, &body)
        .iter()
        .map(|event| event["name"].clone())
        .collect();
    let expected = [
        "js.join.accept",
        "ns.up.join.process",
        "as.up.join.forward",
        "as.up.data.decode.warning",
        "as.up.normalized.forward",
        UP,
    ];
    assert_eq!(names, expected);
}

#[test]
fn old_events_have_lost_their_messages_like_the_recorded_one() {
    let site = with_store(EventStore::new());
    play(&site);
    site.network.advance_clock(11 * MINUTE);
    let body = json!({"identifiers": [application()], "names": [UP], "tail": 2});
    let (_, mut stream) = site.events(&body);
    let found = [next(&mut stream), next(&mut stream)];
    let expected = recorded_events("events-tail-old.ndjson");
    for (found, expected) in found.iter().zip(&expected) {
        assert_eq!(shape(found), shape(expected));
    }
    assert_eq!(found[1]["identifiers"], expected[1]["identifiers"]);
    // The list is forgotten a day after its last event.
    site.network.advance_clock(24 * 60 * MINUTE);
    let body = json!({"identifiers": [application()], "tail": 100});
    assert_eq!(told(&site, &body), [] as [Value; 0]);

    let site = with_store(EventStore::new().message_ttl(MINUTE));
    play(&site);
    site.network.advance_clock(MINUTE);
    let body = json!({"identifiers": [application()], "names": [UP], "tail": 2});
    assert_eq!(told(&site, &body)[0]["data"], Value::Null);
}

#[test]
fn an_event_holds_the_very_message_that_mqtt_brings() {
    let site = with_store(EventStore::new());
    let mut peer = MqttPeer::connect(site.network.address(), site.uid, "NNSXS.OTHER.KEY").unwrap();
    peer.subscribe("#").unwrap();
    let (_, mut live) = site.events(&json!({"identifiers": [application()]}));
    next(&mut live);
    play(&site);
    let tank = site.device("tank-1");
    tank.location_solved("geolocation", Location::default());
    tank.service_data("weather", &json!({"rain": true}));
    tank.push_over_http(
        &json!({"downlinks": [{"f_port": 1, "frm_payload": "AQ==", "confirmed": true}]}),
    );
    tank.uplink(1, [1]);
    tank.stops_acknowledging(true);
    tank.uplink(1, [1]);
    let past = json!({"identifiers": [application()], "tail": 1000});
    let past = told(&site, &past);
    let mut names = Vec::new();
    for event in &past {
        let event_live = next(&mut live);
        assert_eq!(event_live, *event);
        if event["data"]["@type"] != "type.googleapis.com/ttn.lorawan.v3.ApplicationUp" {
            continue;
        }
        let (topic, payload) = peer.next(LONG).unwrap();
        let mut message: Value = serde_json::from_slice(&payload).unwrap();
        message["@type"] = event["data"]["@type"].clone();
        assert_eq!(event["data"], message, "{topic}");
        assert_eq!(event["correlation_ids"], message["correlation_ids"]);
        assert_eq!(event["time"], message["received_at"], "{topic}");
        let kind = topic.split('/').skip(4).collect::<Vec<_>>().join("/");
        names.push((kind, event["name"].as_str().unwrap().to_owned()));
    }
    for (kind, name) in [
        ("join", "as.up.join.forward"),
        ("up", UP),
        ("up/normalized", "as.up.normalized.forward"),
        ("location/solved", "as.up.location.forward"),
        ("service/data", "as.up.service.forward"),
        ("down/queued", "as.down.data.receive"),
        ("down/sent", "as.down.data.sent.forward"),
        ("down/nack", "as.down.data.nack.forward"),
    ] {
        assert!(
            names.contains(&(kind.into(), name.into())),
            "{kind}: {names:?}"
        );
    }
}

#[test]
fn the_tail_counts_events_before_their_names_do() {
    let site = with_store(EventStore::new());
    let bed = site.device("bed-07");
    for _ in 0..10 {
        bed.uplink(1, [1]);
        bed.service_data("weather", &json!({}));
    }
    let of = |tail: Value| {
        let body = json!({"identifiers": [application()], "names": [UP], "tail": tail});
        counters(&told(&site, &body))
    };
    assert_eq!(of(json!(10)), [5, 6, 7, 8, 9]);
    assert_eq!(of(json!("4")), [8, 9]);
    assert_eq!(of(json!(1)), [0; 0]);
    assert_eq!(of(json!(4_000_000_000_u32)), (0..10).collect::<Vec<u64>>());
    assert_eq!(of(json!(0)), [0; 0]);
    assert_eq!(of(Value::Null), [0; 0]);
}

#[test]
fn after_leaves_out_its_own_millisecond_and_without_a_tail_most_of_the_rest() {
    let site = with_store(EventStore::new());
    let bed = site.device("bed-07");
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap();
    let start = SystemTime::UNIX_EPOCH + Duration::from_secs(since.as_secs() - 100);
    let at = |number: u32| start + Duration::from_micros(u64::from(number) * 1_000_000 + 123_456);
    for number in 0..25 {
        bed.send(received_at(at(number)).counter(number));
    }
    let of = |after: SystemTime, tail: u32| {
        let id = application();
        let after = text(after);
        let body = json!({"identifiers": [id], "names": [UP], "after": after, "tail": tail});
        counters(&told(&site, &body))
    };
    let rest = |first: u64| (first..25).collect::<Vec<u64>>();
    let step = |nanos: u64| Duration::from_nanos(nanos);
    assert_eq!(of(at(9), 1000), rest(10));
    // The rest of its millisecond is left out, and what is just before is not.
    assert_eq!(of(at(10) - step(456_000), 1000), rest(11));
    assert_eq!(of(at(10) - step(456_001), 1000), rest(10));
    assert_eq!(of(at(10) + step(1_000_000), 5), rest(20));
    let lossy = of(start, 0);
    assert!((8..25).contains(&lossy.len()), "{lossy:?}");
    assert_eq!(lossy[..8], rest(0)[..8]);
    assert_eq!(of(at(20), 0), rest(21));
}

#[test]
fn a_store_keeps_the_last_events_of_each_application_and_each_device() {
    let site = with_store(EventStore::new().events(20));
    let quiet = site.device("quiet");
    for _ in 0..6 {
        quiet.uplink(1, [1]);
    }
    let busy = site.device("busy");
    for _ in 0..30 {
        busy.uplink(1, [1]);
    }
    let of = |ids: &[Value]| {
        let body = json!({"identifiers": ids, "names": [UP], "tail": 1000});
        counters(&told(&site, &body))
    };
    assert_eq!(of(&[application()]), (10..30).collect::<Vec<u64>>());
    // Five events are one uplink.
    assert_eq!(of(&[device("busy")]), [26, 27, 28, 29]);
    assert_eq!(of(&[device("quiet")]), [2, 3, 4, 5]);
    let both = of(&[device("quiet"), device("busy"), application()]);
    let expected: Vec<u64> = (2..6).chain(10..30).collect();
    assert_eq!(both, expected);
    assert_eq!(of(&[device("nobody")]), [0; 0]);
    site.network.event_store(None);
    site.network.event_store(Some(EventStore::new()));
    assert_eq!(of(&[application()]), [0; 0], "what was kept is gone");
    for _ in 0..130 {
        busy.uplink(1, [1]);
    }
    assert_eq!(of(&[application()]).len(), 100);
}

#[test]
fn without_a_store_streams_are_live_only_and_say_so_when_asked_for_more() {
    let site = site();
    let bed = site.device("bed-07");
    bed.uplink(1, [1]);
    let now = text(SystemTime::now() - MINUTE);
    for (more, warning) in [
        (json!({}), None),
        (json!({"tail": 1}), Some("Events storage is not enabled")),
        (json!({"after": now}), Some("Events storage is not enabled")),
    ] {
        let mut body = more.clone();
        body["identifiers"] = json!([application()]);
        body["names"] = json!([UP]);
        let (head, mut stream) = site.events(&body);
        assert_eq!(head.header("X-Warning"), warning, "{more}");
        next(&mut stream);
        assert!(is_silent(&stream), "{more}");
        bed.uplink(1, [1]);
        assert_eq!(next(&mut stream)["name"], UP);
    }
}

#[test]
fn names_are_exact_or_expressions() {
    let site = site();
    let start = |names: &[&str]| {
        let (_, mut stream) = site.events(&json!({"identifiers": [application()], "names": names}));
        next(&mut stream)["data"]["value"].clone()
    };
    assert_eq!(start(&[]), Value::Null);
    assert_eq!(start(&[UP, UP]), json!([UP]));
    let expected = json!([
        "as.up.location.forward",
        "as.up.normalized.forward",
        "js.join.accept"
    ]);
    assert_eq!(
        start(&["js.join.accept", r"/\.[ln]o.*\.forward$/"]),
        expected
    );
}

#[test]
fn streams_are_refused_like_by_the_real_server() {
    let site = site();
    let compare = |reply: &Reply, status, file: &str| {
        let expected: Value = serde_json::from_str(&recorded(file)).unwrap();
        assert_eq!(reply.status, status, "{reply:?}");
        assert_eq!(normal(&reply.json()), normal(&expected), "{file}");
        assert_eq!(reply.chunks.len(), 1);
        assert_eq!(reply.header("Www-Authenticate"), None);
    };
    compare(
        &site.refused_events("{}"),
        400,
        "error-400-no-identifiers-stream.json",
    );
    compare(
        &site.refused_events(""),
        400,
        "error-400-no-identifiers-stream.json",
    );
    let body = json!({"identifiers": [application()]}).to_string();
    let unknown = format!("Bearer NNSXS.{}.SECRET", "A".repeat(39));
    for (authorization, status, file) in [
        (Some(unknown.as_str()), 401, "error-401-stream.json"),
        (
            Some("Bearer NNSXS.HALF"),
            400,
            "error-400-token-stream.json",
        ),
        (None, 403, "error-403-no-rights-stream.json"),
    ] {
        let post = request("POST", "/events", authorization, &body);
        compare(&send(&site.network.http_address(), &post), status, file);
    }
    let orchard =
        json!({"identifiers": [application(), {"application_ids": {"application_id": "orchard"}}]});
    let reply = site.refused_events(&orchard.to_string());
    let detail = &reply.json()["error"]["details"][0];
    assert_eq!(
        (reply.status, &detail["name"]),
        (403, &json!("no_application_rights"))
    );
    assert_eq!(detail["attributes"]["uid"], "orchard");

    for (name, error) in [
        ("as.up.data.forwards", "unknown_event_name"),
        ("/(/", "invalid_regexp"),
        ("/^forward/", "no_matching_events"),
    ] {
        let body = json!({"identifiers": [application()], "names": [UP, name]});
        let reply = site.refused_events(&body.to_string());
        let detail = &reply.json()["error"]["details"][0];
        assert_eq!((reply.status, &detail["name"]), (400, &json!(error)));
        assert_eq!(detail["namespace"], "pkg/events");
    }
    for body in [
        "{",
        "[]",
        r#"{"identifiers": 1}"#,
        r#"{"names": [1]}"#,
        r#"{"tail": -1}"#,
        r#"{"after": "yesterday"}"#,
    ] {
        let reply = site.refused_events(body);
        assert_eq!(
            (reply.status, &reply.json()["code"]),
            (400, &json!(3)),
            "{body}"
        );
        assert!(reply.json()["details"].is_null());
    }
    let id = r#"{"identifiers":[{"application_ids":{"application_id":"greenhouse@ttn"}}]}"#;
    let reply = site.refused_events(id);
    assert_eq!(reply.json()["error"]["details"][0]["name"], "identifiers");
    let head = site.refused_events("{}").head;
    let names = |head: &str| {
        let lines = head.lines().skip(1).take_while(|line| !line.is_empty());
        let mut names: Vec<String> = lines
            .map(|line| line.split_once(':').unwrap().0.to_owned())
            .filter(|name| name != "Connection")
            .collect();
        names.sort();
        names
    };
    assert_eq!(names(&head), names(&recorded("head-stream-403.txt")));
    site.network.http_rate_limit(1, 1);
    assert_eq!(site.refused_events("{}").status, 400);
    assert_eq!(site.refused_events("{}").status, 429);
}

#[test]
fn a_key_that_may_not_read_opens_a_silent_stream() {
    let site = Site::with_rights("greenhouse", &["RIGHT_APPLICATION_INFO"]);
    site.network.event_store(Some(EventStore::new()));
    let bed = site.device("bed-07");
    bed.uplink(1, [1]);
    let (head, mut stream) = site.events(&json!({"identifiers": [application()], "tail": 10}));
    assert_eq!(head.status, 200);
    next(&mut stream);
    bed.uplink(1, [1]);
    assert!(is_silent(&stream));
}

#[test]
fn an_event_stream_by_name_has_other_delimiters_and_no_data_lines() {
    let site = site();
    let body = json!({"identifiers": [application()]});
    let (head, mut stream) = site.events_with(&body, "Accept: text/event-stream\r\n");
    assert_eq!(head.header("Content-Type"), Some("text/event-stream"));
    let chunk = read_chunk(&mut stream).unwrap();
    assert!(
        chunk.starts_with(r#"{"result":{"#) && chunk.ends_with("}}\n\n"),
        "{chunk}"
    );
}

#[test]
fn a_stream_ends_with_its_client_and_with_the_network() {
    let site = site();
    let body = json!({"identifiers": [application()]});
    let (_, mut stream) = site.events(&body);
    next(&mut stream);
    site.network.stop();
    assert_eq!(stream.read(&mut [0]).unwrap_or(0), 0);
    site.network.restart().unwrap();
    let (_, mut stream) = site.events(&body);
    next(&mut stream);
    // An old client gets no chunks.
    let mut old = site.open(
        "POST",
        "/events",
        &body.to_string(),
        "Connection: close\r\n",
    );
    assert!(
        Reply::read_head(&mut old)
            .head
            .contains("Connection: close")
    );
    drop(site);
    assert_eq!(stream.read(&mut [0]).unwrap_or(0), 0);
}

#[test]
#[cfg(target_os = "linux")]
fn no_thread_is_left_of_clients_that_went() {
    let site = site();
    let body = json!({"identifiers": [application()]});
    let streams: Vec<TcpStream> = (0..20).map(|_| site.events(&body).1).collect();
    let serving = || {
        let names = crate::support::resources::thread_names();
        names
            .iter()
            .filter(|name| name.starts_with("ttn-sim-request"))
            .count()
    };
    assert!(serving() >= 20);
    drop(streams);
    // Other tests have threads of this name, too.
    let left = crate::support::resources::wait_until(LONG, || serving() < 15);
    assert!(left, "{} threads are left", serving());
}
