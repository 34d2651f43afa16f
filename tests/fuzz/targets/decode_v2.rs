//! A V2 message decodes to an event or an error, whatever its bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use ttn::{Event, Network, UplinkMessage};
use ttn_fuzz::{decode, plain_number, split_form};

const KINDS: [&str; 12] = [
    "up",
    "events/up/errors",
    "events/activations",
    "events/activations/errors",
    "events/create",
    "events/update",
    "events/delete",
    "events/down/scheduled",
    "events/down/sent",
    "events/down/acks",
    "events/down/errors",
    "up/temperature",
];

fuzz_target!(|data: &[u8]| {
    let Some((form, payload)) = split_form(data) else {
        return;
    };
    match KINDS.get(usize::from(form)) {
        Some(kind) => {
            let topic = format!("garden/devices/pump-1/{kind}");
            let event = decode(Network::V2, Some(&topic), payload);
            if let Some(Event::Uplink(uplink)) = event {
                check_uplink(&uplink, payload);
            }
        }
        None => {
            let event = decode(Network::V2, None, payload);
            let uplink = UplinkMessage::from_json(Network::V2, payload);
            assert_eq!(event.is_some(), uplink.is_ok());
            if let Ok(uplink) = uplink {
                assert!(!uplink.app_id.is_empty() && !uplink.dev_id.is_empty());
                check_uplink(&uplink, payload);
            }
        }
    }
});

/// Checks that an uplink agrees with a plain reading of its JSON.
fn check_uplink(uplink: &UplinkMessage, payload: &[u8]) {
    let Ok(json) = serde_json::from_slice::<Value>(payload) else {
        return;
    };
    assert_eq!(uplink.payload_fields, json["payload_fields"]);
    for (name, value) in [
        ("port", u64::from(uplink.port)),
        ("counter", u64::from(uplink.counter)),
    ] {
        assert!(plain_number(&json[name]).is_none_or(|number| number == value));
    }
    for (name, value) in &uplink.extra {
        assert_eq!(*value, json[name]);
    }
}
