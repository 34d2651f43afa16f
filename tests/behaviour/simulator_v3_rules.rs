//! Rules of The Things Stack that no recording shows: each test says what the real server must send.

use std::time::{Duration, Instant, SystemTime};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use ttn::Network;
use ttn::simulator::{Device, Gateway, Simulator, SimulatorBuilder, Uplink};

use crate::support::raw::Raw;

/// A network with a device and a client.
struct Field {
    network: Simulator,
    device: Device,
    client: Raw,
    /// The session key ids and the addresses in the order of their appearance.
    sessions: Vec<String>,
    addresses: Vec<String>,
}

impl Field {
    fn of(builder: SimulatorBuilder) -> Self {
        let network = builder
            .application("barn", "NNSXS.KEY.SECRET")
            .start()
            .unwrap();
        Self {
            device: network.device("pump-1"),
            client: Raw::subscribed(&network, &["#"]),
            network,
            sessions: Vec::new(),
            addresses: Vec::new(),
        }
    }

    /// Starts a network that sends downlinks before `uplink` returns.
    fn new() -> Self {
        Self::of(Simulator::builder(Network::V3).receive_window(Duration::ZERO))
    }

    fn class_c() -> Self {
        let field = Self::new();
        field.device.class_c(true);
        field
    }

    fn request(&mut self, operation: &str, items: &[Value]) {
        let topic = format!("v3/barn/devices/pump-1/down/{operation}");
        let request = json!({"downlinks": items}).to_string();
        self.client.publish(&topic, request.as_bytes());
    }

    fn push(&mut self, items: &[Value]) {
        self.request("push", items);
    }

    /// Returns the next messages, as many as there are lines, and compares them with the lines.
    #[track_caller]
    fn expect<const N: usize>(&mut self, lines: [&str; N]) -> Vec<Value> {
        let messages: Vec<(String, Value)> = (0..N).map(|_| self.client.message()).collect();
        let found: Vec<String> = messages
            .iter()
            .map(|(topic, message)| self.line(topic, message))
            .collect();
        assert_eq!(found, lines);
        messages.into_iter().map(|(_, message)| message).collect()
    }

    #[track_caller]
    fn expect_silence(&mut self) {
        self.client.assert_silent();
    }

    /// Returns kind, FPort, and what else a message has: counter, attempt, priority, error, session
    /// and address.
    fn line(&mut self, topic: &str, message: &Value) -> String {
        let kind = topic.split('/').skip(4).collect::<Vec<_>>().join("/");
        let members = message.as_object().unwrap();
        let body = members.iter().find_map(|(name, body)| {
            let is_body = !["end_device_ids", "correlation_ids"].contains(&name.as_str());
            (is_body && body.is_object()).then_some(body)
        });
        let body = body.unwrap();
        let downlink = body.get("downlink").unwrap_or(body);
        let number = |name: &str, value: &Value| {
            let number = value.as_u64();
            number.map_or_else(String::new, |number| format!(" {name}{number}"))
        };
        let word = |value: &Value| {
            let word = value.as_str();
            word.map_or_else(String::new, |word| format!(" {word}"))
        };
        let address = &message["end_device_ids"]["dev_addr"];
        [
            kind,
            number("", &downlink["f_port"]),
            number("#", &downlink["f_cnt"]),
            number("attempt ", &downlink["confirmed_retry"]["attempt"]),
            word(&downlink["priority"]),
            word(&body["error"]["name"]),
            numbered("s", &mut self.sessions, &downlink["session_key_id"]),
            numbered("a", &mut self.addresses, address),
        ]
        .concat()
    }
}

fn numbered(name: &str, known: &mut Vec<String>, id: &Value) -> String {
    let Some(id) = id.as_str() else {
        return String::new();
    };
    let index = known.iter().position(|other| other == id);
    let index = index.unwrap_or_else(|| {
        known.push(id.to_owned());
        known.len() - 1
    });
    format!(" {name}{}", index + 1)
}

fn item(port: u8) -> Value {
    json!({"f_port": port, "frm_payload": "AQ=="})
}

fn confirmed(port: u8) -> Value {
    json!({"f_port": port, "frm_payload": "AQ==", "confirmed": true})
}

/// Returns a downlink of so many bytes.
fn long(port: u8, length: usize) -> Value {
    json!({"f_port": port, "frm_payload": STANDARD.encode(vec![7; length])})
}

fn with(mut item: Value, member: &str, value: Value) -> Value {
    item[member] = value;
    item
}

fn timed(port: u8, ahead: Duration) -> Value {
    let time = humantime::format_rfc3339_millis(SystemTime::now() + ahead).to_string();
    with(item(port), "class_b_c", json!({"absolute_time": time}))
}

/// Returns the kinds of the correlation ids.
fn kinds(message: &Value) -> Vec<String> {
    let ids = message["correlation_ids"].as_array().unwrap().iter();
    let kind = |id: &Value| id.as_str().unwrap().rsplit_once(':').unwrap().0.to_owned();
    ids.map(kind).collect()
}

fn ids_of(message: &Value, kind: &str) -> Vec<Value> {
    let ids = message["correlation_ids"].as_array().unwrap().iter();
    ids.filter(|id| id.as_str().unwrap().starts_with(kind))
        .cloned()
        .collect()
}

#[test]
fn an_unanswered_downlink_is_nacked_in_the_old_session_and_sent_in_the_new_one() {
    let mut field = Field::new();
    field.device.join();
    field.device.uplink(1, [1]);
    field.expect(["join s1 a1", "up 1 s1 a1"]);
    field.push(&[confirmed(7), item(8)]);
    field.expect(["down/queued 7 attempt 1", "down/queued 8"]);
    field.device.uplink(1, [1]);
    field.expect(["up 1 #1 s1 a1", "down/sent 7 #1 s1 a1"]);
    field.device.stops_acknowledging(true);
    field.device.join();
    field.device.uplink(1, [1]);
    field.expect([
        "join s2 a2",
        "down/nack 7 #1 attempt 2 s1 a2",
        "up 1 s2 a2",
        "down/sent 8 #1 HIGHEST s2 a2",
    ]);
    field.device.stops_acknowledging(false);
    field.device.uplink(1, [1]);
    field.expect(["up 1 #1 s2 a2", "down/sent 7 #2 s2 a2"]);
    field.device.join();
    field.device.join();
    field.device.uplink(1, [1]);
    field.expect(["join s3 a3", "join s4 a4", "down/nack 7 #2 attempt 3 s2 a4"]);
    field.expect(["up 1 s4 a4", "down/sent 7 #1 HIGHEST s4 a4"]);
    field.device.uplink(1, [1]);
    field.expect(["down/ack 7 #1 attempt 3 s4 a4", "up 1 #1 s4 a4"]);
    field.expect_silence();
}

#[test]
fn a_class_c_device_that_joins_is_sent_its_queue_after_its_first_uplink() {
    let mut field = Field::class_c();
    field.device.join();
    field.push(&[item(1)]);
    field.expect(["join s1 a1", "down/queued 1"]);
    field.expect_silence();
    field.device.uplink(1, [1]);
    field.expect(["up 1 s1 a1", "down/sent 1 #1 HIGHEST s1 a1"]);
    field.device.stops_acknowledging(true);
    field.push(&[confirmed(2), item(3)]);
    field.expect([
        "down/queued 2 attempt 1",
        "down/queued 3",
        "down/sent 2 #2 s1 a1",
        "down/sent 3 #3 s1 a1",
    ]);
    field.device.join();
    field.push(&[item(4)]);
    field.expect(["join s2 a2", "down/queued 4"]);
    field.expect_silence();
    field.device.uplink(1, [1]);
    field.expect([
        "down/nack 2 #2 attempt 2 s1 a2",
        "up 1 s2 a2",
        "down/sent 4 #1 HIGHEST s2 a2",
        "down/sent 2 #2 s2 a2",
    ]);
}

#[test]
fn attempts_of_class_c_end_as_those_of_class_a() {
    let mut field = Field::class_c();
    field.device.stops_acknowledging(true);
    field.device.uplink(1, [1]);
    field.push(&[with(
        confirmed(2),
        "confirmed_retry",
        json!({"max_attempts": 2, "attempt": 1}),
    )]);
    field.expect(["up 1 a1", "down/queued 2 attempt 1", "down/sent 2 #1 a1"]);
    field.device.uplink(1, [1]);
    field.expect([
        "down/nack 2 #1 attempt 2 a1",
        "up 1 #1 a1",
        "down/sent 2 #2 a1",
    ]);
    field.device.uplink(1, [1]);
    let messages = field.expect([
        "down/failed 2 #2 attempt 3 max_retries_reached",
        "down/nack 2 #2 attempt 3 a1",
        "up 1 #2 a1",
    ]);
    assert_eq!(kinds(&messages[0]), ["as:downlink"]);
    assert_eq!(
        messages[0]["downlink_failed"]["error"]["attributes"],
        json!({"max_retries": "2"})
    );
    field.expect_silence();
}

#[test]
fn a_class_c_device_is_nacked_whatever_the_gateway_did() {
    let mut field = Field::class_c();
    field.device.uplink(1, [1]);
    field.expect(["up 1 a1"]);
    field.network.gateways_deaf(true);
    field.push(&[confirmed(2), confirmed(3)]);
    field.expect(["down/queued 2 attempt 1", "down/queued 3 attempt 1"]);
    field.expect_silence();
    field.network.gateways_deaf(false);
    field.network.gateways_silent(true);
    // The second is sent without a report and is acknowledged; the first waits behind it.
    field.device.uplink(1, [1]);
    field.expect(["down/nack 2 #1 attempt 2 a1", "up 1 #1 a1"]);
    field.expect_silence();
    field.network.gateways_silent(false);
    field.network.transmission_fails(Some("TX_POWER"));
    field.device.uplink(1, [1]);
    field.expect([
        "down/ack 3 #2 attempt 1 a1",
        "up 1 #2 a1",
        "down/failed 2 #3 transmission a1",
    ]);
    field.network.transmission_fails(None);
    field.device.uplink(1, [1]);
    field.expect([
        "down/nack 2 #3 attempt 3 a1",
        "up 1 #3 a1",
        "down/sent 2 #4 a1",
    ]);
}

#[test]
fn downlinks_that_are_too_long_fail_together_behind_the_one_that_is_sent() {
    let mut field = Field::new();
    let slow = || Uplink::new(1, [1]).data_rate("SF12BW125");
    field.push(&[
        with(long(1, 60), "confirmed", true.into()),
        long(2, 52),
        long(3, 51),
        long(4, 52),
    ]);
    field.expect([
        "down/queued 1 attempt 1",
        "down/queued 2",
        "down/queued 3",
        "down/queued 4",
    ]);
    field.device.send(slow());
    let messages = field.expect([
        "up 1 a1",
        "down/sent 3 #3 a1",
        "down/failed 1 #1 attempt 1 application_downlink_too_long a1",
        "down/failed 2 #2 application_downlink_too_long a1",
    ]);
    let passed_on = ids_of(&messages[2], "rpc:/ttn.lorawan.v3.NsAs/");
    assert_eq!(passed_on, ids_of(&messages[3], "rpc:/ttn.lorawan.v3.NsAs/"));
    assert_eq!(
        ids_of(&messages[2], "gs:uplink"),
        ids_of(&messages[0], "gs:uplink")
    );
    let error = |message: &Value| message["downlink_failed"]["error"]["correlation_id"].clone();
    assert_ne!(error(&messages[2]), error(&messages[3]));
    // Nothing is nacked, and only an acknowledgement of the network is left to send.
    field.device.send(slow().confirmed(true));
    field.expect([
        "up 1 #1 a1",
        "down/failed 4 #4 application_downlink_too_long a1",
    ]);
    field.push(&[long(5, 115), long(6, 116)]);
    field.expect(["down/queued 5", "down/queued 6"]);
    let fast = || Uplink::new(1, [1]).data_rate("SF9BW125");
    field.device.send(fast());
    // The acknowledgement took the number 4.
    field.expect(["up 1 #2 a1", "down/sent 5 #5 a1"]);
    field.device.send(fast());
    field.expect([
        "up 1 #3 a1",
        "down/failed 6 #6 application_downlink_too_long a1",
    ]);
    field.expect_silence();
}

#[test]
fn a_downlink_of_class_a_whose_time_passed_fails_with_any_frame_of_the_network() {
    let mut field = Field::new();
    let ahead = Duration::from_millis(2_600);
    let begun = Instant::now();
    field.push(&[timed(1, ahead), with(item(2), "class_b_c", json!({}))]);
    field.expect(["down/queued 1", "down/queued 2"]);
    field.device.send(Uplink::new(1, [1]).confirmed(true));
    field.expect(["up 1 a1"]);
    let left = (ahead + Duration::from_millis(50)).saturating_sub(begun.elapsed());
    assert_eq!(field.client.try_packet(left), Err(false));
    // There is nothing to send: the second one is not for class A.
    field.device.uplink(1, [1]);
    field.expect(["up 1 #1 a1"]);
    field.expect_silence();
    field.device.send(Uplink::new(1, [1]).confirmed(true));
    let messages = field.expect(["up 1 #2 a1", "down/failed 1 #1 downlink_expired a1"]);
    let failed = kinds(&messages[1]);
    assert!(failed.contains(&"gs:uplink".into()), "{failed:?}");
    assert_eq!(field.device.queue().len(), 1);
}

#[test]
fn a_nack_on_port_224_is_lost_with_its_downlink() {
    let mut field = Field::new();
    field.device.stops_acknowledging(true);
    field.push(&[confirmed(1), item(2)]);
    field.expect(["down/queued 1 attempt 1", "down/queued 2"]);
    field.device.uplink(1, [1]);
    field.expect(["up 1 a1", "down/sent 1 #1 a1"]);
    field.device.uplink(224, [1]);
    field.expect(["down/sent 2 #2 a1"]);
    field.device.uplink(1, [1]);
    field.expect(["up 1 #2 a1"]);
    field.expect_silence();
    assert!(field.device.queue().is_empty());
}

#[test]
fn any_gateway_that_heard_the_device_and_knows_the_time_can_keep_it() {
    let mut field = Field::class_c();
    let near = || Gateway::new("roof-east").snr(9.0);
    let far = || Gateway::new("hill-top").snr(-3.0).gps(true);
    let ahead = Duration::from_secs(4);
    let uplink = Uplink::new(1, [1]);
    field.device.send(uplink.heard_by(near()).heard_by(far()));
    field.push(&[timed(1, ahead)]);
    field.expect(["up 1 a1", "down/queued 1", "down/sent 1 #1 a1"]);
    // Time and gateway together.
    let named = |id: &str| {
        let gateways = json!([{"gateway_ids": {"gateway_id": id}}]);
        let mut item = timed(2, 2 * ahead);
        item["class_b_c"]["gateways"] = gateways;
        item
    };
    let mut other = Field::class_c();
    let uplink = Uplink::new(1, [1]);
    other.device.send(uplink.heard_by(near()).heard_by(far()));
    other.push(&[named("roof-east"), named("no-such")]);
    other.expect(["up 1 a1", "down/queued 2", "down/queued 2"]);
    let failed = other.expect([
        "down/failed 2 #1 absolute_time a1",
        "down/failed 2 #2 fixed_paths a1",
    ]);
    let expected = [
        "as:downlink",
        "as:up",
        "rpc:/ttn.lorawan.v3.NsAs/HandleUplink",
    ];
    assert!(failed.iter().all(|message| kinds(message) == expected));
    let error = &failed[0]["downlink_failed"]["error"];
    assert!(error.get("correlation_id").is_none());
}

#[test]
fn a_named_gateway_need_not_be_the_one_that_heard_the_device() {
    let mut field = Field::class_c();
    let gateways = |ids: &[&str]| {
        let gateways = ids
            .iter()
            .map(|id| json!({"gateway_ids": {"gateway_id": id}}));
        json!({"gateways": gateways.collect::<Vec<_>>()})
    };
    let far = || Gateway::new("hill-top").deaf(true);
    field.device.send(Uplink::new(1, [1]).heard_by(far()));
    let near = Uplink::new(1, [1]).data_rate("SF12BW125");
    field
        .device
        .send(near.heard_by(Gateway::new("roof-east")).confirmed(true));
    field.expect(["up 1 a1", "up 1 #1 a1"]);
    // One that takes no downlinks loses it; an unknown one is passed over.
    field.push(&[
        with(item(1), "class_b_c", gateways(&["hill-top", "roof-east"])),
        with(item(2), "class_b_c", gateways(&["no-such", "roof-east"])),
    ]);
    field.expect(["down/queued 1", "down/queued 2"]);
    // The acknowledgement took the number 0.
    let messages = field.expect(["down/sent 2 #2 a1"]);
    assert!(kinds(&messages[0]).contains(&"as:up".into()));
}

#[test]
fn a_downlink_for_named_gateways_does_not_answer_an_uplink() {
    let window = Duration::from_millis(150);
    let mut field = Field::of(Simulator::builder(Network::V3).receive_window(window));
    field.device.class_c(true);
    field.device.send(
        Uplink::new(1, [1])
            .data_rate("SF12BW125")
            .heard_by(Gateway::new("roof-east")),
    );
    let gateways = json!({"gateways": [{"gateway_ids": {"gateway_id": "roof-east"}}]});
    field.push(&[with(long(1, 100), "class_b_c", gateways)]);
    let messages = field.expect(["up 1 a1", "down/queued 1", "down/sent 1 #1 a1"]);
    let sent = kinds(&messages[2]);
    assert!(sent.contains(&"as:up".into()), "{sent:?}");
    assert!(!sent.contains(&"gs:uplink".into()), "{sent:?}");
}

#[test]
fn an_application_with_its_own_keys_is_told_of_a_nack_and_sends_again_itself() {
    let mut field = Field::class_c();
    field.device.keeps_own_keys("mine");
    field.device.stops_acknowledging(true);
    field.device.join();
    let joined = &field.expect(["join s1 a1"])[0];
    let session = joined["join_accept"]["session_key_id"].clone();
    let own = |item: Value, counter: u32| {
        let item = with(item, "session_key_id", session.clone());
        with(item, "f_cnt", counter.into())
    };
    field.device.uplink(1, [1]);
    let first = field.expect(["up 1 s1 a1", "down/invalidated s1 a1"]);
    let invalidated = &first[1]["downlink_queue_invalidated"];
    assert!(invalidated.get("downlinks").is_none());
    assert!(invalidated.get("last_f_cnt_down").is_none());
    field.push(&[own(confirmed(1), 1), own(item(2), 3)]);
    field.expect([
        "down/queued 1 #1 attempt 1 s1",
        "down/queued 2 #3 s1",
        "down/sent 1 #1 s1 a1",
        "down/sent 2 #3 s1 a1",
    ]);
    field.device.uplink(1, [1]);
    let nacked = field.expect(["down/nack 1 #1 attempt 1 s1 a1", "up 1 #1 s1 a1"]);
    assert_eq!(nacked[1]["uplink_message"]["last_a_f_cnt_down"], 3);
    field.expect_silence();
    field.push(&[own(item(1), 3)]);
    field.expect(["down/failed 1 #3 f_cnt_too_low s1"]);
    field.device.class_c(false);
    field.push(&[own(item(1), 4), own(item(2), 5)]);
    field.expect(["down/queued 1 #4 s1", "down/queued 2 #5 s1"]);
    // The counters of replaced downlinks are free again.
    field.request("replace", &[own(item(3), 4)]);
    field.expect(["down/queued 3 #4 s1"]);
    field.request("replace", &[]);
    field.expect_silence();
    field.push(&[own(item(4), 4)]);
    field.expect(["down/queued 4 #4 s1"]);
    field.device.join();
    let rejoined = field.expect(["join s2 a2"]);
    let left = &rejoined[0]["join_accept"]["invalidated_downlinks"];
    assert_eq!(left.as_array().unwrap().len(), 1);
    field.push(&[own(item(5), 5)]);
    field.expect(["down/failed 5 #5 unknown_session s1"]);
    assert!(field.device.queue().is_empty());
}

#[test]
fn a_replacement_that_is_too_large_leaves_the_queue() {
    let mut field = Field::new();
    field.network.quirks(|quirks| quirks.downlink_queue = 3);
    field.push(&[item(1), item(2)]);
    field.expect(["down/queued 1", "down/queued 2"]);
    field.request("replace", &[item(3), item(4), item(5), confirmed(6)]);
    let failed = field.expect([
        "down/failed 3 downlink_queue_capacity",
        "down/failed 4 downlink_queue_capacity",
        "down/failed 5 downlink_queue_capacity",
        "down/failed 6 attempt 1 downlink_queue_capacity",
    ]);
    let error = |message: &Value| message["downlink_failed"]["error"]["correlation_id"].clone();
    assert_eq!(error(&failed[0]), error(&failed[3]));
    field.request("replace", &[item(3), item(4), item(5)]);
    field.expect(["down/queued 3", "down/queued 4", "down/queued 5"]);
    field.device.uplink(1, [1]);
    field.expect(["up 1 a1", "down/sent 3 #3 a1"]);
}

#[test]
fn the_first_bad_downlink_says_why_a_request_is_refused() {
    let mut field = Field::new();
    let past = || timed(1, Duration::from_secs(1));
    field.push(&[past(), long(2, 243)]);
    field.expect([
        "down/failed 1 downlink_expired",
        "down/failed 2 downlink_expired",
    ]);
    field.push(&[long(2, 243), past()]);
    field.expect([
        "down/failed 2 application_downlink_too_long",
        "down/failed 1 application_downlink_too_long",
    ]);
}

#[test]
fn a_frame_counter_has_32_bits() {
    let mut field = Field::new();
    for counter in [16_000, 32_000, 48_000, 64_000, 65_534] {
        field.device.send(Uplink::new(1, [1]).counter(counter));
        field.expect([format!("up 1 #{counter} a1").as_str()]);
    }
    for counter in 65_535..=65_537 {
        assert_eq!(field.device.uplink(1, [1]), counter);
        field.expect([format!("up 1 #{counter} a1").as_str()]);
    }
}

#[test]
fn a_device_that_is_registered_anew_begins_anew() {
    let mut field = Field::new();
    field.push(&[confirmed(1), item(2)]);
    field.expect(["down/queued 1 attempt 1", "down/queued 2"]);
    field.device.uplink(1, [1]);
    field.expect(["up 1 a1", "down/sent 1 #1 a1"]);
    let eui = field.device.dev_eui();
    assert!(field.network.delete_device("pump-1"));
    field.push(&[item(3)]);
    field.expect_silence();
    field.device.uplink(1, [1]);
    field.expect_silence();
    let device = field.network.device("pump-1");
    assert_eq!(device.dev_eui(), eui);
    device.uplink(1, [1]);
    field.push(&[item(4)]);
    field.expect(["up 1 a2", "down/queued 4"]);
    device.uplink(1, [1]);
    field.expect(["up 1 #1 a2", "down/sent 4 #1 a2"]);
}

#[test]
fn a_simulated_message_keeps_its_time_and_needs_a_device() {
    let mut field = Field::new();
    let ack = |member: &str, value: Value| {
        let request = json!({"downlink_ack": {"f_port": 1, "f_cnt": 2}});
        with(request, member, value)
    };
    let at = "2026-11-28T14:25:12.500Z";
    assert_eq!(field.device.simulate(&ack("received_at", at.into())), 200);
    let messages = field.expect(["down/ack 1 #2"]);
    assert_eq!(messages[0]["received_at"], at);
    for refused in [
        ack("received_at", "yesterday".into()),
        ack("simulated", true.into()),
    ] {
        assert_eq!(field.device.simulate(&refused), 400);
    }
    assert!(field.network.delete_device("pump-1"));
    assert_eq!(field.device.simulate(&ack("simulated", false.into())), 200);
    field.expect_silence();
}

#[test]
fn a_position_stays_known_when_later_uplinks_have_none() {
    let mut field = Field::new();
    field.network.set_decoder(|_, bytes: &[u8]| {
        Ok(match bytes {
            [1] => json!({"latitude": 1.5, "longitude": 2}),
            _ => json!({"level": 3}),
        })
    });
    field.device.uplink(1, [1]);
    let messages = field.expect(["up 1 a1", "location/solved a1"]);
    assert_eq!(
        messages[0]["correlation_ids"],
        messages[1]["correlation_ids"]
    );
    field.device.uplink(1, [2]);
    let up = field.expect(["up 1 #1 a1"]);
    let known = &up[0]["uplink_message"]["locations"]["frm-payload"];
    assert_eq!(
        *known,
        json!({"latitude": 1.5, "longitude": 2, "source": "SOURCE_GPS"})
    );
    field.expect_silence();
}

#[test]
fn real_delays_scale() {
    let scaled = |millis: u64| Duration::from_millis(millis / 4);
    let mut field = Field::of(Simulator::builder(Network::V3).real_delays(0.25));
    let begun = Instant::now();
    field.device.join();
    assert_eq!(field.device.uplink(1, [1]), 0);
    assert!(begun.elapsed() < scaled(3_800));
    field.expect(["join s1 a1"]);
    assert!(begun.elapsed() >= scaled(3_800));
    field.expect(["up 1 s1 a1"]);
    field.expect_silence();
    field.push(&[item(1)]);
    field.expect(["down/queued 1"]);
    let begun = Instant::now();
    assert_eq!(field.device.uplink(1, [1]), 1);
    field.expect(["up 1 #1 s1 a1"]);
    assert!(begun.elapsed() >= scaled(200));
    field.expect(["down/sent 1 #1 s1 a1"]);
    assert!(begun.elapsed() >= scaled(400));
}

#[test]
fn real_pauses_of_class_c_scale() {
    let scaled = |millis: u64| Duration::from_millis(millis / 4);
    let mut field = Field::of(Simulator::builder(Network::V3).real_delays(0.25));
    field.device.class_c(true);
    field.device.uplink(1, [1]);
    field.expect(["up 1 a1"]);
    field.expect_silence();
    let begun = Instant::now();
    field.push(&[item(1), item(2)]);
    field.expect(["down/queued 1", "down/queued 2", "down/sent 1 #1 a1"]);
    let first = begun.elapsed();
    assert!(first >= scaled(200));
    field.expect(["down/sent 2 #2 a1"]);
    assert!(begun.elapsed() >= scaled(200 + 1_500));
}

#[test]
fn what_is_on_its_way_is_lost_with_its_device() {
    let mut field = Field::of(Simulator::builder(Network::V3).real_delays(0.25));
    field.device.uplink(1, [1]);
    assert!(field.network.delete_device("pump-1"));
    let device = field.network.device("pump-1");
    field.expect_silence();
    assert_eq!(device.uplink(1, [1]), 0);
    field.expect(["up 1 a1"]);
}

#[test]
fn a_device_that_several_threads_use_loses_no_uplink() {
    let mut field = Field::new();
    let device = &field.device;
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..50 {
                    device.uplink(1, [1]);
                }
            });
        }
        for counter in 0..200 {
            let (_, message) = field.client.message();
            let found = message["uplink_message"]["f_cnt"].as_u64();
            assert_eq!(found.unwrap_or_default(), counter);
        }
    });
}
