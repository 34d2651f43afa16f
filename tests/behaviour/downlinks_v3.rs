//! What a client sends to a v3 network, as a real broker receives it, and what it rejects because
//! the network would silently drop it; and how much of that a V2 network supports.
#![cfg(unix)]

use std::{
    collections::{BTreeSet, VecDeque},
    fs,
    path::PathBuf,
    time::{Duration, SystemTime},
};

use crate::support::{
    harness::SOON,
    mosquitto::Mosquitto,
    peer::MqttPeer,
    watchdog::{Watchdog, watchdog},
};
use serde_json::{Value, json};
use ttn::{Antenna, Delivery, Downlink, Error, ErrorKind, Event, MqttClient, Priority, Schedule};

const LIMIT: Duration = Duration::from_secs(60);
const DEVICE: &str = "bed-07";
const PUSH: &str = "v3/greenhouse@ttn/devices/bed-07/down/push";
const REPLACE: &str = "v3/greenhouse@ttn/devices/bed-07/down/replace";

/// A connected client, and a peer that sees everything that it publishes.
struct Wire {
    client: MqttClient,
    peer: MqttPeer,
    _broker: Mosquitto,
    _watchdog: Watchdog,
}

impl Wire {
    fn v3() -> Option<Self> {
        Self::new("greenhouse@ttn", "NNSXS.TEST.KEY")
    }

    fn v2() -> Option<Self> {
        Self::new("greenhouse", "ttn-account-v2.test-key")
    }

    fn new(app_id: &str, access_key: &str) -> Option<Self> {
        let watchdog = watchdog(LIMIT);
        let broker = Mosquitto::builder()
            .user(app_id, access_key)
            .user("network", "network")
            .start()?;
        let mut peer = MqttPeer::connect(broker.address(), "network", "network").unwrap();
        peer.subscribe("#").unwrap();
        let client = MqttClient::builder(app_id, access_key)
            .mqtt_address(broker.address().to_string())
            .build()
            .unwrap();
        client.connect().unwrap();
        Some(Self {
            client,
            peer,
            _broker: broker,
            _watchdog: watchdog,
        })
    }

    /// Returns the next message that reached the broker; on v3 without the ids of the device, which
    /// must be those of its topic.
    fn next(&mut self) -> (String, Value) {
        let (topic, body) = self.peer.next(SOON).expect("a message arrives");
        let mut body: Value = serde_json::from_slice(&body).expect("a downlink is JSON");
        if let ["v3", _, "devices", dev_id, ..] = *topic.split('/').collect::<Vec<_>>() {
            let ids =
                json!({"device_id": dev_id, "application_ids": {"application_id": "greenhouse"}});
            let own = body
                .as_object_mut()
                .expect("an object")
                .remove("end_device_ids");
            assert_eq!(own, Some(ids), "{topic}");
        }
        (topic, body)
    }

    /// Sends these together, and returns what reached the broker, without the ids that the client
    /// added.
    fn batch<D: Into<Downlink>>(&mut self, downlinks: Vec<D>) -> (String, Value) {
        let deliveries = self.client.send_batch(DEVICE, downlinks).unwrap();
        let (topic, mut body) = self.next();
        take_ids(&mut body, &deliveries);
        (topic, body)
    }

    /// Returns the item that a downlink becomes, without the id that the client added.
    fn item(&mut self, downlink: impl Into<Downlink>) -> Value {
        let delivery = self.client.send(DEVICE, downlink).unwrap();
        let (_, mut body) = self.next();
        take_ids(&mut body, &[delivery]);
        assert_eq!(body.as_object().unwrap().len(), 1, "{body}");
        body["downlinks"][0].take()
    }

    /// Asserts that a downlink is rejected, with these words.
    fn refuses(&self, downlink: impl Into<Downlink>, words: &str) {
        let downlink = downlink.into();
        let error = match self.client.send(DEVICE, downlink.clone()) {
            Err(error) => error,
            Ok(_) => panic!("sent: {downlink:?}"),
        };
        assert_is_refused(&error, words);
    }

    /// Asserts that the broker received nothing except what was accepted.
    fn has_no_more(&mut self) {
        self.client.send("last-one", "AQ==").unwrap();
        let (topic, body) = self.next();
        assert!(topic.contains("/devices/last-one/down"), "{topic}: {body}");
    }
}

fn assert_is_refused(error: &Error, words: &str) {
    assert_eq!(error.kind(), ErrorKind::Downlink, "{error}");
    let text = error.to_string();
    assert!(text.contains(words), "{text}");
}

/// Returns a time in its shortest form: the network accepts a fraction of up to nine digits.
fn shortest(time: &str) -> String {
    match time.strip_suffix('Z').and_then(|time| time.split_once('.')) {
        Some((whole, fraction)) => {
            let fraction = fraction.trim_end_matches('0');
            let point = if fraction.is_empty() { "" } else { "." };
            format!("{whole}{point}{fraction}Z")
        }
        None => time.to_owned(),
    }
}

/// Removes the client's own ids from a request, and writes times in their shortest form.
fn take_ids(body: &mut Value, deliveries: &[Delivery]) {
    let items = body["downlinks"].as_array_mut().expect("a list");
    assert_eq!(items.len(), deliveries.len());
    for (item, delivery) in items.iter_mut().zip(deliveries) {
        let own = delivery.correlation_id().expect("v3 has ids");
        if let Some(Value::String(time)) = item.pointer_mut("/class_b_c/absolute_time") {
            *time = shortest(time);
        }
        let ids = item["correlation_ids"].as_array_mut().expect("a list");
        let before = ids.len();
        ids.retain(|id| id != own);
        assert_eq!(ids.len(), before - 1, "{own} is there once");
        if ids.is_empty() {
            item.as_object_mut().unwrap().remove("correlation_ids");
        }
    }
}

/// Returns a request from the fixtures.
fn request(name: &str) -> Value {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/v3")
        .join(format!("{name}.json"));
    let text = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&text).unwrap()
}

/// Returns the first moment of the year 2100.
fn in_2100() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(4_102_444_800)
}

fn last(byte: u8) -> Downlink {
    Downlink::bytes([byte]).schedule(Schedule::Last)
}

#[test]
fn every_form_of_a_payload_arrives_as_base64_or_fields() {
    let Some(mut wire) = Wire::v3() else { return };
    for downlink in [
        Downlink::bytes([1, 2]),
        Downlink::hex("0102"),
        Downlink::base64("AQI="),
        Downlink::base64("AQI"),
        "0102".into(),
        "AQI=".into(),
        vec![1, 2].into(),
        json!("0102").into(),
    ] {
        let item = wire.item(downlink);
        assert_eq!(item, json!({"f_port": 1, "frm_payload": "AQI="}));
    }
    let item = wire.item(Downlink::bytes([0xfb, 0xff, 0xbf]).port(2));
    assert_eq!(item, json!({"f_port": 2, "frm_payload": "+/+/"}));
    for downlink in [
        Downlink::fields(json!({"led": "on", "counter": 1})),
        json!({"led": "on", "counter": 1}).into(),
    ] {
        let item = wire.item(downlink);
        // An encoder may choose another port, and many fail without one.
        assert_eq!(
            item,
            json!({"f_port": 1, "decoded_payload": {"led": "on", "counter": 1}})
        );
    }
    let item = wire.item(Downlink::fields(json!({})).port(3));
    assert_eq!(item, json!({"f_port": 3, "decoded_payload": {}}));
    wire.has_no_more();
}

#[test]
fn an_empty_payload_is_refused_however_it_is_sent() {
    let Some(mut wire) = Wire::v3() else { return };
    let dropped = request("request-dropped-empty-payload");
    assert_eq!(dropped["downlinks"][0]["frm_payload"], "");
    for downlink in [
        Downlink::bytes([]),
        Downlink::hex(""),
        Downlink::base64(""),
        "".into(),
    ] {
        let downlink = downlink.port(7);
        wire.refuses(downlink.clone(), "the payload is empty");
        wire.refuses(downlink.clone().confirmed(true), "the fields {}");
        let batch = [Downlink::bytes([1]), downlink.clone()];
        let error = wire.client.send_batch(DEVICE, batch).unwrap_err();
        assert_is_refused(&error, "downlink 2 of 2: the payload is empty");
        let error = wire.client.send_many([(DEVICE, downlink)]).unwrap_err();
        assert_is_refused(&error, "the payload is empty");
    }
    wire.has_no_more();
}

#[test]
fn a_time_that_is_too_near_for_the_network_is_refused() {
    let Some(mut wire) = Wire::v3() else { return };
    let ahead = |time| Downlink::bytes([1]).absolute_time(SystemTime::now() + time);
    for time in [
        Duration::ZERO,
        Duration::from_secs(1),
        Duration::from_millis(2_499),
    ] {
        let error = wire.client.send(DEVICE, ahead(time)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Downlink, "{error}");
    }
    wire.refuses(ahead(Duration::from_millis(2_499)), "at least 2.5s ahead");
    wire.item(ahead(Duration::from_secs(5)));
    wire.has_no_more();
}

#[test]
fn the_largest_payload_and_both_ends_of_ports_are_sent() {
    let Some(mut wire) = Wire::v3() else { return };
    for length in [222, 242, 243, 254, 255] {
        let item = wire.item(Downlink::hex("00".repeat(length)));
        let text = item["frm_payload"].as_str().unwrap();
        assert_eq!(text.len(), length.div_ceil(3) * 4);
        assert!(
            text.trim_end_matches('=')
                .bytes()
                .all(|digit| digit == b'A')
        );
    }
    for port in [1, 223] {
        let item = wire.item(Downlink::bytes([1]).port(port));
        assert_eq!(item, json!({"f_port": port, "frm_payload": "AQ=="}));
    }
}

#[test]
fn the_schedule_is_the_topic() {
    const WAY_OUT: &str = "Schedule::Last";
    let Some(mut wire) = Wire::v3() else { return };
    for (downlink, topic) in [
        (Downlink::bytes([1]), REPLACE),
        (Downlink::bytes([1]).schedule(Schedule::Replace), REPLACE),
        (last(1), PUSH),
    ] {
        wire.client.send(DEVICE, downlink).unwrap();
        assert_eq!(wire.next().0, topic);
    }
    wire.refuses(Downlink::bytes([1]).schedule(Schedule::First), WAY_OUT);
    let error = wire
        .client
        .send_batch(DEVICE, [last(1).schedule(Schedule::First)])
        .unwrap_err();
    assert_is_refused(&error, WAY_OUT);
    wire.has_no_more();
}

#[test]
fn several_downlinks_are_one_message_in_their_order() {
    let Some(mut wire) = Wire::v3() else { return };
    let events = wire.client.events();
    let deliveries = wire.client.send_batch(DEVICE, (1..=5).map(last)).unwrap();
    assert_eq!(deliveries.len(), 5);
    let (topic, mut body) = wire.next();
    assert_eq!(topic, PUSH);
    take_ids(&mut body, &deliveries);
    let items = ["AQ==", "Ag==", "Aw==", "BA==", "BQ=="]
        .map(|text| json!({"f_port": 1, "frm_payload": text}));
    assert_eq!(body, json!({"downlinks": items}));

    let mut published = Vec::new();
    while published.len() < 5 {
        if let Event::Published(id) = events.recv_timeout(SOON).unwrap() {
            published.push(id);
        }
    }
    let ids: Vec<_> = deliveries.iter().map(Delivery::message_id).collect();
    assert_eq!(published, ids);

    let (topic, body) = wire.batch(vec![[1], [2]]);
    assert_eq!(topic, REPLACE);
    assert_eq!(body["downlinks"].as_array().unwrap().len(), 2);
    wire.has_no_more();
}

#[test]
fn a_batch_is_sent_as_a_whole_or_not_at_all() {
    let Some(mut wire) = Wire::v3() else { return };
    let refused = |downlinks: Vec<Downlink>, words: &str| {
        let error = wire.client.send_batch(DEVICE, downlinks).unwrap_err();
        assert_is_refused(&error, words);
    };
    refused(Vec::new(), "no downlink");
    refused(vec![last(1), last(2).port(0), last(3)], "FPort 0");
    refused(vec![last(1), Downlink::bytes([2])], "schedule");
    refused(vec![Downlink::bytes([2]), last(1)], "schedule");
    let error = wire.client.send_batch("Bed", [last(1)]).unwrap_err();
    assert_is_refused(&error, "\"Bed\"");
    wire.has_no_more();
}

#[test]
fn a_queue_is_emptied_by_an_empty_replacement() {
    let Some(mut wire) = Wire::v3() else { return };
    let events = wire.client.events();
    let id = wire.client.clear_queue(DEVICE).unwrap();
    let expected = request("request-replace-clear");
    assert_eq!(expected, json!({"downlinks": []}));
    assert_eq!(wire.next(), (REPLACE.to_owned(), expected));
    loop {
        if let Event::Published(published) = events.recv_timeout(SOON).unwrap() {
            assert_eq!(published, id);
            break;
        }
    }
    for dev_id in ["", "ab", "a_b", "Bed-07", "bed/07"] {
        let error = wire.client.clear_queue(dev_id).unwrap_err();
        assert_is_refused(&error, &format!("{dev_id:?}"));
    }
    wire.has_no_more();
}

#[test]
fn a_priority_is_sent_by_its_name() {
    let Some(mut wire) = Wire::v3() else { return };
    let misspelt = request("request-priority-misspelt");
    for (priority, name) in [
        (Priority::Low, "LOW"),
        (Priority::BelowNormal, "BELOW_NORMAL"),
        (Priority::Normal, "NORMAL"),
        (Priority::AboveNormal, "ABOVE_NORMAL"),
        (Priority::High, "HIGH"),
        (Priority::Highest, "HIGHEST"),
    ] {
        let item = wire.item(Downlink::bytes([1]).priority(priority));
        assert_eq!(
            item,
            json!({"f_port": 1, "frm_payload": "AQ==", "priority": name})
        );
        assert_ne!(item, misspelt["downlinks"][0]);
    }
    // The network's default may be written or left out.
    let item = wire.item(Downlink::bytes([1]).priority(Priority::Lowest));
    let priority = item.get("priority").unwrap_or(&Value::Null);
    assert!(priority.is_null() || priority == "LOWEST", "{item}");
}

#[test]
fn a_downlink_of_class_b_or_c_says_by_which_antennas_and_when() {
    let Some(mut wire) = Wire::v3() else { return };
    let mut class = |downlink: Downlink| {
        let mut item = wire.item(downlink);
        item.as_object_mut().unwrap().remove("class_b_c")
    };
    let downlink = || Downlink::bytes([1]);
    assert_eq!(class(downlink()), None);
    assert_eq!(class(downlink().class_b_c(true)), Some(json!({})));
    assert_eq!(
        class(
            downlink()
                .gateway("roof-east")
                .gateway(Antenna::new("harbour-2").index(1).group(2))
                .gateway("eui-0016c001f10a1b2c".to_owned())
        ),
        Some(json!({"gateways": [
            {"gateway_ids": {"gateway_id": "roof-east"}},
            {"gateway_ids": {"gateway_id": "harbour-2"}, "antenna_index": 1, "group_index": 2},
            {"gateway_ids": {"gateway_id": "eui-0016c001f10a1b2c"}}
        ]}))
    );
    assert_eq!(
        class(downlink().absolute_time(in_2100())),
        Some(json!({"absolute_time": "2100-01-01T00:00:00Z"}))
    );
    let precise = in_2100() + Duration::from_nanos(123_456_789);
    assert_eq!(
        class(downlink().absolute_time(precise).class_b_c(true)),
        Some(json!({"absolute_time": "2100-01-01T00:00:00.123456789Z"}))
    );
}

#[test]
fn a_confirmed_downlink_may_have_a_number_of_attempts() {
    let Some(mut wire) = Wire::v3() else { return };
    let item = wire.item(Downlink::bytes([1]).confirmed(true));
    assert_eq!(
        item,
        json!({"f_port": 1, "frm_payload": "AQ==", "confirmed": true})
    );
    for attempts in [1, 3, 32] {
        let item = wire.item(Downlink::bytes([1]).confirmed(true).max_attempts(attempts));
        // Without the first number, the network would count from 0 and send once more.
        assert_eq!(
            item["confirmed_retry"],
            json!({"max_attempts": attempts, "attempt": 1})
        );
    }
}

#[test]
fn every_downlink_has_an_id_of_its_own_beside_the_programs() {
    let Some(mut wire) = Wire::v3() else { return };
    let Some(mut other) = Wire::v3() else { return };
    let longest = "\u{e9}".repeat(100);
    let item = wire.item(
        Downlink::bytes([1])
            .correlation_id("order-4711")
            .correlation_id(&longest),
    );
    assert_eq!(item["correlation_ids"], json!(["order-4711", longest]));

    let mut seen = BTreeSet::new();
    for wire in [&mut wire, &mut other] {
        let mut deliveries = wire.client.send_batch(DEVICE, (0..20).map(last)).unwrap();
        for byte in 0..20 {
            deliveries.push(wire.client.send("bed-08", [byte]).unwrap());
        }
        let mut wanted: VecDeque<_> = deliveries
            .iter()
            .map(|delivery| delivery.correlation_id().unwrap())
            .collect();
        while !wanted.is_empty() {
            let (_, body) = wire.next();
            for item in body["downlinks"].as_array().unwrap() {
                let id = wanted.pop_front().unwrap();
                assert_eq!(item["correlation_ids"], json!([id]));
                assert!((1..=100).contains(&id.len()), "{id}");
                assert!(seen.insert(id.to_owned()), "{id} twice");
            }
        }
    }
    assert_eq!(seen.len(), 80);
}

#[test]
fn every_valid_request_can_be_made() {
    let Some(mut wire) = Wire::v3() else { return };

    let raw = Downlink::hex("beef")
        .port(15)
        .priority(Priority::Normal)
        .schedule(Schedule::Last);
    let expected = (PUSH.to_owned(), request("request-push-raw"));
    assert_eq!(wire.batch(vec![raw]), expected);

    let confirmed = Downlink::base64("vu8=")
        .port(15)
        .priority(Priority::High)
        .confirmed(true)
        .correlation_id("valve-open-0042")
        .max_attempts(3)
        .schedule(Schedule::Last);
    let mut expected = request("request-push-confirmed");
    // Three transmissions, not four.
    expected["downlinks"][0]["confirmed_retry"]["attempt"] = json!(1);
    assert_eq!(wire.batch(vec![confirmed]), (PUSH.to_owned(), expected));

    #[derive(serde::Serialize)]
    struct Valve {
        valve: u8,
        open: bool,
    }
    let fields = Downlink::fields(Valve {
        valve: 3,
        open: true,
    })
    .port(2)
    .schedule(Schedule::Last);
    let expected = (PUSH.to_owned(), request("request-push-decoded"));
    assert_eq!(wire.batch(vec![fields]), expected);

    let many = (1..=3).map(|number| last(number).correlation_id(format!("batch-{number}/3")));
    let expected = (PUSH.to_owned(), request("request-push-many"));
    assert_eq!(wire.batch(many.collect()), expected);

    let class_c = Downlink::bytes([0xc0, 0xff, 0xee])
        .port(201)
        .gateway("roof-east")
        .gateway(Antenna::new("harbour-2").index(1).group(1))
        .absolute_time(in_2100())
        .schedule(Schedule::Last);
    let mut expected = request("request-push-class-c");
    // The original time has passed.
    expected["downlinks"][0]["class_b_c"]["absolute_time"] = json!("2100-01-01T00:00:00Z");
    assert_eq!(wire.batch(vec![class_c]), (PUSH.to_owned(), expected));

    let one = Downlink::from("beef").port(15);
    let expected = (REPLACE.to_owned(), request("request-replace-one"));
    assert_eq!(wire.batch(vec![one]), expected);
    wire.has_no_more();
}

#[test]
fn no_request_can_be_made_that_the_network_would_drop_or_misread() {
    let Some(mut wire) = Wire::v3() else { return };
    let item = |name: &str| request(name)["downlinks"][0].take();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let port = |item: &Value| u8::try_from(item["f_port"].as_u64().unwrap()).unwrap();
    let payload = || Downlink::base64("AQ==");

    let id = text(&item("request-dropped-correlation-id")["correlation_ids"][0]);
    wire.refuses(payload().correlation_id(id), "correlation id");

    let ids = item("request-dropped-gateway-id")["class_b_c"]["gateways"][0]["gateway_ids"].take();
    let id = text(&ids["gateway_id"]);
    wire.refuses(payload().gateway(id.as_str()), &id);

    // The API accepts the EUI only in the place of the id.
    let ids = item("request-dropped-eui-as-hex")["class_b_c"]["gateways"][0]["gateway_ids"].take();
    let eui = text(&ids["eui"]);
    wire.refuses(payload().gateway(eui.as_str()), &eui);

    assert_eq!(item("request-dropped-no-payload"), json!({"f_port": 1}));
    wire.refuses(Downlink::fields(Value::Null).port(1), "null");
    wire.refuses(Downlink::fields(()).port(1), "null");

    let reserved = port(&item("request-dropped-port-224"));
    wire.refuses(payload().port(reserved), "FPort 224");
    let zero = port(&item("request-failed-port-zero"));
    wire.refuses(payload().port(zero), "FPort 0");
    wire.refuses(Downlink::fields(json!({"led": 1})).port(zero), "FPort 0");
    wire.has_no_more();
}

#[test]
fn what_cannot_be_is_refused_and_nothing_is_sent() {
    let Some(mut wire) = Wire::v3() else { return };
    let payload = || Downlink::bytes([1]);
    for port in [0, 224, 225, 255] {
        wire.refuses(payload().port(port), &format!("FPort {port}"));
    }
    wire.refuses(Downlink::bytes(vec![0; 256]), "256 bytes");
    wire.refuses(Downlink::hex("00".repeat(300)), "300 bytes");
    wire.refuses("not base64!", "not base64!");
    wire.refuses(json!([1, 2]), "an array");
    wire.refuses(json!(7), "a number");

    wire.refuses(payload().correlation_id(""), "correlation id");
    wire.refuses(payload().correlation_id("x".repeat(101)), "correlation id");
    wire.refuses(
        payload().correlation_id("\u{e9}".repeat(101)),
        "correlation id",
    );
    wire.refuses(
        payload().correlation_id("good").correlation_id(""),
        "correlation id",
    );

    wire.refuses(payload().confirmed(true).max_attempts(0), "0");
    wire.refuses(payload().confirmed(true).max_attempts(33), "33");
    wire.refuses(payload().confirmed(true).max_attempts(u32::MAX), "32");
    wire.refuses(payload().max_attempts(3), "confirmed");

    let now = SystemTime::now();
    for past in [
        now - Duration::from_secs(1),
        SystemTime::UNIX_EPOCH,
        SystemTime::UNIX_EPOCH - Duration::from_secs(1),
    ] {
        wire.refuses(payload().absolute_time(past), "past");
    }
    wire.has_no_more();
}

#[test]
fn a_time_that_has_no_written_form_is_refused() {
    let Some(mut wire) = Wire::v3() else { return };
    let beyond_9999 = SystemTime::UNIX_EPOCH + Duration::from_secs(400_000_000_000);
    wire.refuses(Downlink::bytes([1]).absolute_time(beyond_9999), "9999");
    wire.has_no_more();
}

#[test]
fn ids_of_gateways_and_devices_follow_the_rule_of_the_network() {
    let Some(mut wire) = Wire::v3() else { return };
    let too_long = "a".repeat(37);
    for bad in [
        "",
        "a",
        "ab",
        "a-b",
        "a_b",
        "a_bc",
        "Roof",
        "-abc",
        "abc-",
        "a--b",
        "roof/east",
        "roof east",
        "r\u{f6}of",
        "roof+",
        "#",
        "abc\n",
        "abc\0",
        "roof.east",
        &too_long,
    ] {
        wire.refuses(Downlink::bytes([1]).gateway(bad), &format!("{bad:?}"));
        let error = wire.client.send(bad, [1]).unwrap_err();
        assert_is_refused(&error, &format!("{bad:?}"));
    }
    let longest = "a".repeat(36);
    for good in ["abc", "a-b-c-1", "007", &longest] {
        let item = wire.item(Downlink::bytes([1]).gateway(good));
        let ids = &item["class_b_c"]["gateways"][0]["gateway_ids"];
        assert_eq!(*ids, json!({"gateway_id": good}));
        wire.client.send(good, [1]).unwrap();
        let topic = format!("v3/greenhouse@ttn/devices/{good}/down/replace");
        assert_eq!(wire.next().0, topic);
    }
    wire.has_no_more();
}

#[test]
fn a_v2_network_is_not_asked_for_what_only_v3_has() {
    let Some(mut wire) = Wire::v2() else { return };
    let payload = || Downlink::bytes([1]);
    for downlink in [
        payload().priority(Priority::High),
        payload().class_b_c(true),
        payload().gateway("roof-east"),
        payload().absolute_time(in_2100()),
        payload().confirmed(true).max_attempts(3),
        payload().correlation_id("order-4711"),
    ] {
        wire.refuses(downlink.clone(), "V2");
        let batch = [payload(), downlink];
        let error = wire.client.send_batch(DEVICE, batch).unwrap_err();
        assert_is_refused(&error, "V2");
    }
    let error = wire.client.clear_queue(DEVICE).unwrap_err();
    assert_is_refused(&error, "V2");
    let delivery = wire.client.send(DEVICE, payload()).unwrap();
    assert_eq!(delivery.correlation_id(), None);
    let (topic, body) = wire.next();
    assert_eq!(topic, "greenhouse/devices/bed-07/down");
    assert_eq!(body["payload_raw"], "AQ==");
    wire.has_no_more();
}

#[test]
fn a_batch_goes_to_a_v2_network_one_by_one_so_that_the_queue_is_in_order() {
    let Some(mut wire) = Wire::v2() else { return };
    for (schedule, expected) in [
        (Schedule::Replace, ["AQ==", "Ag==", "Aw=="].as_slice()),
        (Schedule::Last, &["old", "AQ==", "Ag==", "Aw=="]),
        (Schedule::First, &["AQ==", "Ag==", "Aw==", "old"]),
    ] {
        let batch = [1, 2, 3].map(|byte| {
            Downlink::bytes([byte])
                .port(byte)
                .confirmed(byte == 2)
                .schedule(schedule)
        });
        let deliveries = wire.client.send_batch(DEVICE, batch).unwrap();
        assert_eq!(deliveries.len(), 3);
        // How the network changes the queue.
        let mut queue = VecDeque::from(["old".to_owned()]);
        for _ in 0..3 {
            let (topic, body) = wire.next();
            assert_eq!(topic, "greenhouse/devices/bed-07/down");
            let payload = body["payload_raw"].as_str().unwrap().to_owned();
            let number = ["AQ==", "Ag==", "Aw=="]
                .iter()
                .position(|text| *text == payload)
                .unwrap()
                + 1;
            assert_eq!(body["port"], json!(number));
            assert_eq!(body["confirmed"], json!(number == 2));
            match body["schedule"].as_str().unwrap() {
                "replace" => queue = VecDeque::from([payload]),
                "last" => queue.push_back(payload),
                "first" => queue.push_front(payload),
                other => panic!("{other}"),
            }
        }
        assert_eq!(queue, expected, "{schedule}");
    }
    let empty = wire.client.send_batch(DEVICE, [] as [Downlink; 0]);
    assert_is_refused(&empty.unwrap_err(), "no downlink");
    let mixed = [Downlink::bytes([1]), last(2)];
    let error = wire.client.send_batch(DEVICE, mixed).unwrap_err();
    assert_is_refused(&error, "schedule");
    wire.has_no_more();
}
