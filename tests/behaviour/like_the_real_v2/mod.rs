//! The simulated V2 network publishes what a real one published in the same case: the same topics, and
//! messages with the same members in the same order and the same formats.
#![allow(clippy::unwrap_used)]

mod normal_form;
mod recording;
mod stage;

use std::collections::BTreeSet;

use recording::{Case, Message, recorded};
use serde_json::json;
use stage::Stage;
use ttn::simulator::Decoded;

type Play = fn(&mut Stage, &Case);

/// How each case is played. All of them can be.
#[rustfmt::skip]
const CASES: &[(&str, Play)] = &[
    ("device created without location", |stage, _| stage.create(None)),
    ("device created with location", |stage, case| stage.create_like(case)),
    ("device created, the handler runs in another time zone", |stage, _| stage.create_in_india()),
    ("device saved again without change", |stage, _| stage.save_again()),
    ("device description changed only", |stage, _| stage.describe()),
    ("device deleted", |stage, case| stage.delete(case)),

    ("activation", Stage::join),
    ("activation, two gateways", Stage::join),
    ("activation at SF12", Stage::join),

    ("uplink, one trusted gateway with location and clock", Stage::uplinks),
    ("uplink, one untrusted gateway without clock and location", Stage::uplinks),
    ("uplink, three gateways", Stage::uplinks),
    ("uplink, gateway with two antennas and fine timestamps", Stage::uplinks),
    ("uplink, encrypted fine timestamp", Stage::uplinks),
    ("uplink, gateway location from config", Stage::uplinks),
    ("uplink, rssi minus zero", Stage::uplinks),
    ("uplink, confirmed", Stage::uplinks),
    ("uplink, the same frame again", Stage::twice),
    ("uplink, port 0 with a MAC command", Stage::uplinks),
    ("uplink, port 5 without payload", Stage::uplinks),
    ("uplink, port 224", Stage::uplinks),
    ("uplink, LinkCheckReq in FOpts", Stage::link_check),
    ("uplink, FSK", Stage::uplinks),
    ("uplink at SF11BW125", Stage::uplinks),
    ("uplink at SF7BW250", Stage::uplinks),
    ("uplink, coding rate 4/8", Stage::uplinks),
    ("uplink, counter 16380 after a gap", Stage::uplinks),
    ("uplink, device with location, latitude 0, and attributes, no payload format", Stage::without_format),
    ("simulated uplink", Stage::uplinks),
    ("simulated uplink, no payload, port 0", Stage::uplinks),
    ("first uplink", Stage::uplinks),
    ("second uplink", Stage::uplinks),
    ("first uplink after a join", |stage, case| stage.after_a_join(&[], case)),
    ("second uplink after a join", |stage, case| stage.after_a_join(&[1], case)),
    ("first uplink of the device registered on join", Stage::uplinks),

    ("uplink by a gateway that cannot send, nothing queued", Stage::unanswered),
    ("uplink confirmed by a gateway that cannot send: setup 3", Stage::requests),
    ("uplink by a gateway that cannot send, a downlink queued", |stage, _| stage.without_gateways()),
    ("uplink by a gateway that cannot send, a downlink queued: then by one that can", |stage, _| stage.answered_later()),

    ("payload format none: the first uplink of the device", Stage::without_format),
    ("payload format none", Stage::without_format),
    ("custom: numbers", Stage::uplinks),
    ("custom: strings", Stage::uplinks),
    ("custom: bool, null, undefined", Stage::uplinks),
    ("custom: keys that are odd for topics", Stage::odd_keys),
    ("custom: date and function values", Stage::uplinks),
    ("custom: bytes as array", Stage::uplinks),
    ("custom: port 0, MAC only", Stage::uplinks),
    ("custom: simulated", Stage::uplinks),
    ("custom, simulated uplink: simulated", Stage::uplinks),
    ("custom: returns an array", |stage, _| stage.decoder_returns(Ok(json!([1]).into()))),
    ("custom: NaN and Infinity", |stage, _| stage.decoder_returns(Ok(Decoded::number(f64::INFINITY)))),
    ("custom: decoder loops for ever", |stage, _| stage.decoder_returns(Ok(Decoded::endless()))),
    ("custom: decoder throws", Stage::decoder_throws),
    ("custom: decoder throws text", Stage::decoder_throws),
    ("custom: decoder syntax error", Stage::decoder_throws),
    ("custom: converter returns no object", |stage, _| stage.converter_returns(Ok(json!(1)))),
    ("custom: converter throws", |stage, _| stage.converter_returns(Err("Error: c"))),
    ("custom: validator true", |stage, case| stage.valid(case)),
    ("custom: validator returns no boolean", |stage, _| stage.validator_returns(Ok(json!(1)))),
    ("custom: validator throws", |stage, _| stage.validator_returns(Err("Error: v"))),
    ("cayennelpp: several channels", Stage::cayenne),
    ("cayennelpp: unknown type", Stage::cayenne),
    ("cayennelpp: cut short", Stage::cayenne),
    ("cayennelpp: acceleration, gyro", Stage::cayenne),

    ("downlink: minimal", Stage::requests),
    ("downlink: port 10", Stage::requests),
    ("downlink: port 224", Stage::requests),
    ("downlink: hexadecimal", Stage::requests),
    ("downlink: schedule null", Stage::requests),
    ("downlink: 51 bytes", Stage::requests),
    ("downlink: 243 bytes", Stage::requests),
    ("downlink: 300 bytes", Stage::requests),
    ("downlink: null", |stage, _| stage.request("null")),
    ("downlink: payload_raw null", |stage, _| stage.request(r#"{"port":1,"payload_raw":null}"#)),
    ("downlink: unknown schedule", |stage, _| stage.request(r#"{"port":1,"payload_raw":"AQIDBA==","schedule":"bogus"}"#)),
    ("downlink: empty, with a schedule", |stage, _| stage.request(r#"{"port":6,"schedule":"first"}"#)),
    ("two in the queue by last", Stage::requests),
    ("confirmed", Stage::requests),
    ("confirmed, replaced before its ack: replaced", Stage::requests),

    ("downlink: no port, answered to a port 0 uplink: then an uplink on port 0", Stage::sent),
    ("downlink: port 10: then an uplink", Stage::sent),
    ("downlink: unknown keys, other case: then an uplink", Stage::sent),
    ("downlink: port 224: then an uplink", Stage::sent),
    ("downlink: port 255: then an uplink", Stage::sent),
    ("downlink: 51 bytes: then an uplink", Stage::sent),
    ("downlink: 300 bytes: then another uplink", Stage::sent),
    ("downlink within the window", Stage::sent),
    ("down/sent for an uplink at SF12", Stage::sent),
    ("down/sent for an FSK uplink", Stage::sent),
    ("queue: uplink 1", Stage::sent),
    ("queue: uplink 2", Stage::sent),
    ("queue: uplink 3", Stage::sent),
    ("confirmed: uplink 1", Stage::sent),
    ("confirmed: uplink 2, no ack", Stage::unacknowledged),
    ("confirmed: uplink 4, with ack", Stage::acknowledged),
    ("confirmed: ack on a confirmed uplink", Stage::sent),

    ("fields, no payload format", Stage::dropped),
    ("fields, encoder: uplink", Stage::sent),
    ("fields, encoder and confirmed", Stage::requests),
    ("fields, encoder and confirmed: uplink", Stage::sent),
    ("fields, encoder and confirmed: another uplink: ack", Stage::acknowledged),
    ("fields, encoder without port", Stage::requests),
    ("fields, encoder without port: uplink", Stage::sent),
    ("fields, encoder returns fractions: uplink", |stage, case| stage.encoder_returns(json!([1, 2.5]), case)),
    ("fields, encoder returns 256: uplink", |stage, case| stage.encoder_returns(json!([1, 256]), case)),
    ("fields, encoder throws: uplink", Stage::not_sent),
    ("fields, encoder missing function: uplink", Stage::not_sent),
    ("fields, custom without an encoder: then an uplink", Stage::not_sent),
    ("fields, both raw and fields", Stage::requests),
    ("fields, both raw and fields: uplink", Stage::not_sent),
    ("fields, confirmed and encoder throws: uplink", Stage::not_sent),
    ("fields, cayennelpp value_1", Stage::requests),
    ("fields, cayennelpp value_1: then an uplink", Stage::sent_by_cayenne),
];

#[test]
fn the_simulated_v2_network_publishes_what_the_real_one_published() {
    let Some(cases) = recorded() else {
        return;
    };
    let names: BTreeSet<&str> = cases.iter().map(|case| case.name.as_str()).collect();
    let listed: BTreeSet<&str> = CASES.iter().map(|(name, _)| *name).collect();
    assert_eq!(listed, names);
    assert_eq!(listed.len(), CASES.len(), "one is listed twice");
    // The recording leaves out what has the structure of an earlier message.
    let known: BTreeSet<String> = cases
        .iter()
        .flat_map(|case| case.messages.iter().map(Message::structure))
        .collect();
    let mut faults = Vec::new();
    for case in &cases {
        if let Some((_, play)) = CASES.iter().find(|(name, _)| *name == case.name) {
            let mut stage = Stage::new(case);
            play(&mut stage, case);
            case.compare(stage.messages(), &known, &mut faults);
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
