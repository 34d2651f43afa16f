//! The event contains what the topic says; an unknown topic becomes another message.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ttn::{Event, Network};
use ttn_fuzz::{decode, ids};

const V2_KINDS: [&str; 11] = [
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
];

/// The kinds of v3 messages, each with the member that holds it.
const V3_KINDS: [(&str, &str); 11] = [
    ("up", "uplink_message"),
    ("up/normalized", "uplink_normalized"),
    ("join", "join_accept"),
    ("down/queued", "downlink_queued"),
    ("down/sent", "downlink_sent"),
    ("down/ack", "downlink_ack"),
    ("down/nack", "downlink_nack"),
    ("down/failed", "downlink_failed"),
    ("down/invalidated", "downlink_queue_invalidated"),
    ("location/solved", "location_solved"),
    ("service/data", "service_data"),
];

fuzz_target!(|topic: &str| {
    check(Network::V2, topic, v2(topic), "{}");
    let (wanted, member) = match v3(topic) {
        Some((app_id, dev_id, member)) => (Some((app_id, dev_id)), member),
        None => (None, "uplink_message"),
    };
    check(
        Network::V3,
        topic,
        wanted,
        &format!("{{\"{member}\":{{}}}}"),
    );
    // An unreadable message is an error, or another message if the topic is unknown.
    for network in [Network::V2, Network::V3] {
        let unread = decode(network, Some(topic), b"[");
        assert!(unread.is_none_or(|event| matches!(event, Event::Other(_))));
    }
});

fn check(network: Network, topic: &str, wanted: Option<(&str, &str)>, payload: &str) {
    let event = decode(network, Some(topic), payload.as_bytes());
    let event = event.expect("it can be read");
    match wanted {
        Some(wanted) => assert_eq!(ids(&event), Some(wanted)),
        None => assert!(matches!(event, Event::Other(_)), "{event:?}"),
    }
}

/// Returns application and device of a topic, level by level.
fn v2(topic: &str) -> Option<(&str, &str)> {
    let (app_id, rest) = topic.split_once('/')?;
    let (dev_id, kind) = rest.strip_prefix("devices/")?.split_once('/')?;
    let known = V2_KINDS.contains(&kind) || (kind.starts_with("up/") && kind != "up/");
    (known && !app_id.is_empty() && !dev_id.is_empty()).then_some((app_id, dev_id))
}

/// Returns application without tenant, device, and the member of its kind.
fn v3(topic: &str) -> Option<(&str, &str, &'static str)> {
    let mut levels = topic.splitn(5, '/');
    let mut level = || levels.next();
    let (version, uid, devices, dev_id, end) = (level()?, level()?, level()?, level()?, level()?);
    let (_, member) = V3_KINDS.iter().find(|(kind, _)| *kind == end)?;
    let app_id = uid.split('@').next()?;
    let known = version == "v3" && devices == "devices";
    (known && !app_id.is_empty() && !dev_id.is_empty()).then_some((app_id, dev_id, member))
}
