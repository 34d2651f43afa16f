//! The JSON that messages are written as. `src/message/tests.rs` has the events of the client itself.

use std::{fs, path::Path};

use serde_json::{Value, json};
use ttn::{DeliveryState, Event, MqttClient, Network, UplinkMessage};

use crate::support::golden;

/// The file with the JSON, the network, the topic below the device, and the file with the message.
const MESSAGES: [(&str, Network, &str, &str); 30] = [
    (
        "uplink-v2",
        Network::V2,
        "up",
        "up-lora-us915-device-location",
    ),
    ("uplink-v2-fsk", Network::V2, "up", "up-fsk-one-gateway"),
    ("uplink-v2-minimal", Network::V2, "up", "up-minimal"),
    (
        "uplink_field-v2",
        Network::V2,
        "up/temperature_1",
        "upfield-number",
    ),
    (
        "uplink_failed-v2",
        Network::V2,
        "events/up/errors",
        "event-up-errors-decoder",
    ),
    (
        "activation-v2",
        Network::V2,
        "events/activations",
        "event-activation",
    ),
    (
        "activation_failed-v2",
        Network::V2,
        "events/activations/errors",
        "event-activations-errors",
    ),
    ("device-v2", Network::V2, "events/create", "event-create"),
    (
        "downlink-v2",
        Network::V2,
        "events/down/scheduled",
        "event-down-scheduled",
    ),
    (
        "downlink-v2-sent",
        Network::V2,
        "events/down/sent",
        "event-down-sent-lora",
    ),
    (
        "downlink-v2-failed",
        Network::V2,
        "events/down/errors",
        "event-down-errors-encoder",
    ),
    ("other-v2", Network::V2, "events/something", "event-create"),
    (
        "uplink-v3",
        Network::V3,
        "up",
        "up-lora-gps-time-and-path-constraint",
    ),
    ("uplink-v3-battery", Network::V3, "up", "up-battery-3-33"),
    (
        "uplink-v3-packet-broker",
        Network::V3,
        "up",
        "up-lora-packet-broker-gateways",
    ),
    (
        "downlink-v3-class-b-c",
        Network::V3,
        "down/failed",
        "down-failed-fixed-paths",
    ),
    ("uplink-v3-decoded", Network::V3, "up", "up-decoded-nested"),
    (
        "uplink-v3-locations",
        Network::V3,
        "up",
        "up-locations-several",
    ),
    ("uplink-v3-lrfhss", Network::V3, "up", "up-lrfhss"),
    (
        "uplink-v3-own-keys",
        Network::V3,
        "up",
        "up-skip-payload-crypto",
    ),
    ("uplink-v3-simulated", Network::V3, "up", "up-simulated"),
    (
        "uplink_normalized-v3",
        Network::V3,
        "up/normalized",
        "normalized-air",
    ),
    ("activation-v3", Network::V3, "join", "join-accept"),
    (
        "downlink-v3",
        Network::V3,
        "down/queued",
        "down-queued-confirmed",
    ),
    (
        "downlink-v3-failed",
        Network::V3,
        "down/failed",
        "down-failed-queue-full",
    ),
    ("downlink-v3-sent", Network::V3, "down/sent", "down-sent"),
    (
        "queue_invalidated-v3",
        Network::V3,
        "down/invalidated",
        "down-queue-invalidated",
    ),
    (
        "location_solved-v3",
        Network::V3,
        "location/solved",
        "location-solved-frm-payload",
    ),
    (
        "service_data-v3",
        Network::V3,
        "service/data",
        "service-data-lora-cloud",
    ),
    ("other-v3", Network::V3, "something", "service-data-empty"),
];

/// Decodes a message of `MESSAGES`.
fn decode(network: Network, kind: &str, message: &str) -> Event {
    let (folder, start) = match network {
        Network::V2 => ("v2", "greenhouse/devices"),
        _ => ("v3", "v3/greenhouse@ttn/devices"),
    };
    let file = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures")
        .join(folder)
        .join(format!("{message}.json"));
    let topic = format!("{start}/bed-07/{kind}");
    Event::decode(network, topic, fs::read(file).unwrap()).unwrap()
}

fn events() -> impl Iterator<Item = (&'static str, Event)> {
    MESSAGES
        .iter()
        .map(|(name, network, kind, message)| (*name, decode(*network, kind, message)))
}

#[test]
fn the_json_of_messages_stays_as_it_is() {
    for (name, event) in events() {
        golden::compare(name, &event);
    }
}

#[test]
fn both_networks_have_the_same_members() {
    fn members(value: &Value) -> Vec<String> {
        value.as_object().unwrap().keys().cloned().collect()
    }
    let json = |name: &str| {
        let (_, event) = events().find(|(other, _)| *other == name).unwrap();
        serde_json::to_value(event).unwrap()
    };
    for kind in ["uplink", "activation", "downlink", "other"] {
        let [v2, v3] = ["v2", "v3"].map(|network| json(&format!("{kind}-{network}")));
        assert_eq!(members(&v2), members(&v3), "{kind}");
        if kind == "uplink" {
            let (v2, v3) = (&v2["metadata"], &v3["metadata"]);
            assert_eq!(members(v2), members(v3));
            assert_eq!(members(&v2["gateways"][0]), members(&v3["gateways"][0]));
            assert_eq!(
                members(&v2["location"]),
                ["accuracy", "altitude", "latitude", "longitude", "source"]
            );
        }
    }
}

#[test]
fn a_message_is_written_without_its_raw_bytes_and_its_keys() {
    let event = decode(Network::V3, "up", "up-skip-payload-crypto");
    let Event::Uplink(uplink) = &event else {
        panic!("{event:?}")
    };
    let key = uplink.app_s_key.as_ref().unwrap();
    let json = serde_json::to_string(&event).unwrap();
    assert_eq!(
        serde_json::to_value(&event).unwrap()["app_s_key"],
        json!({ "kek_label": key.kek_label })
    );
    assert!(!json.contains("uplink_message"), "{json}");
    for body in [
        r#"{"end_device_ids":{"device_id":"bed-07","application_ids":{"application_id":"greenhouse"}},
            "uplink_message":{"app_s_key":{"key":"00112233445566778899AABBCCDDEEFF"}}}"#,
        r#"{"end_device_ids":{"device_id":"bed-07","application_ids":{"application_id":"greenhouse"}},
            "uplink_message":{"app_s_key":{"kek_label":"own","encrypted_key":"ABEiM0RVZneImaq7zN3u/w=="}}}"#,
    ] {
        let uplink = UplinkMessage::from_json(Network::V3, body).unwrap();
        assert!(uplink.app_s_key.is_some());
        let json = serde_json::to_string(&uplink).unwrap();
        for key in ["00112233", "ABEiM0RV"] {
            assert!(!json.contains(key), "{json}");
        }
    }
}

#[test]
fn an_event_is_one_line() {
    for (name, event) in events() {
        let line = serde_json::to_string(&event).unwrap();
        assert!(!line.contains('\n'), "{name}");
        assert!(line.starts_with("{\"event\":\""), "{line}");
    }
}

#[test]
fn the_state_of_a_delivery_is_an_object_with_a_state() {
    let error = UplinkMessage::from_json(Network::V2, "no JSON").unwrap_err();
    let told = json!({"kind": "decode", "message": error.to_string(), "is_transient": false});
    for (state, expected) in [
        (DeliveryState::Queued, json!({"state": "queued"})),
        (
            DeliveryState::NotAcknowledged { attempt: Some(2) },
            json!({"state": "not_acknowledged", "attempt": 2}),
        ),
        (
            DeliveryState::Failed(error),
            json!({"state": "failed", "error": told}),
        ),
    ] {
        assert_eq!(serde_json::to_value(state).unwrap(), expected);
    }
}

#[test]
fn the_counters_of_a_client_are_members() {
    for network in [Network::V2, Network::V3] {
        let client = MqttClient::builder("greenhouse", "key")
            .network(network)
            .mqtt_address("localhost")
            .build()
            .unwrap();
        let stats = serde_json::to_value(client.stats()).unwrap();
        assert_eq!(stats["received"], 0);
        assert_eq!(stats["frames"]["late"], 0);
        assert_eq!(stats["connected_since"], Value::Null);
    }
}
