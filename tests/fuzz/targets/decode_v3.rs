//! A message of The Things Stack decodes to an event or an error, whatever its bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use ttn::{Event, Network, UplinkMessage};
use ttn_fuzz::{decode, ids, plain_number, split_form};

const KINDS: [&str; 11] = [
    "up",
    "up/normalized",
    "join",
    "down/queued",
    "down/sent",
    "down/ack",
    "down/nack",
    "down/failed",
    "down/invalidated",
    "location/solved",
    "service/data",
];

fuzz_target!(|data: &[u8]| {
    let Some((form, payload)) = split_form(data) else {
        return;
    };
    match KINDS.get(usize::from(form)) {
        Some(kind) => {
            let topic = format!("v3/greenhouse@ttn/devices/bed-07/{kind}");
            let event = decode(Network::V3, Some(&topic), payload);
            if let Some(Event::Uplink(uplink)) = event {
                check_uplink(&uplink, payload);
            }
        }
        None => check_by_content(payload),
    }
});

fn check_by_content(payload: &[u8]) {
    let event = decode(Network::V3, None, payload);
    let uplink = UplinkMessage::from_json(Network::V3, payload);
    assert_eq!(matches!(event, Some(Event::Uplink(_))), uplink.is_ok());
    let Some(event) = event else {
        return;
    };
    let ids = ids(&event);
    assert!(ids.is_none_or(|(app_id, dev_id)| !app_id.is_empty() && !dev_id.is_empty()));
    if serde_json::from_slice::<Value>(payload).is_err() {
        return;
    }
    // The same in a line of the Storage Integration.
    let line = [br#"{"result":"#, payload, b"}"].concat();
    if let Some(within) = decode(Network::V3, None, &line) {
        assert_eq!(
            std::mem::discriminant(&within),
            std::mem::discriminant(&event)
        );
        assert_eq!(ttn_fuzz::ids(&within), ids);
    }
}

/// Checks that an uplink agrees with a plain reading of its JSON.
fn check_uplink(uplink: &UplinkMessage, payload: &[u8]) {
    let Ok(json) = serde_json::from_slice::<Value>(payload) else {
        return;
    };
    let message = &json["uplink_message"];
    assert_eq!(uplink.payload_fields, message["decoded_payload"]);
    for (name, value) in [
        ("f_port", u64::from(uplink.port)),
        ("f_cnt", u64::from(uplink.counter)),
    ] {
        assert!(plain_number(&message[name]).is_none_or(|number| number == value));
    }
}
