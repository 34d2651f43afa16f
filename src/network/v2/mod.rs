//! The Things Network V2: its ids, topics and JSON.

mod downlink;
mod message;
mod parts;
mod request;
mod uplink;

pub(super) use downlink::tries_again;
pub(super) use message::{decode, event_from_json};
pub(super) use request::encode_downlinks;

use std::time::Duration;

use super::{ids::IdRule, json::Dialect, split_topic};
use crate::error::{Error, Result};

/// Marks how this network names the members of its JSON.
enum V2 {}

impl Dialect for V2 {
    const HAS_CAMEL_CASE: bool = false;
}

pub(super) const NAME: &str = "a V2 network";

/// How access keys start.
pub(super) const KEY_STARTS: [&str; 1] = ["ttn-account-v2."];

pub(super) const KEY_ADVICE: &str =
    "remove network(Network::V2), or use an access key of the V2 network";

pub(super) const CREDENTIALS_TO_CHECK: &str =
    "check both, and that the key belongs to this application on this server";

pub(super) const UNAVAILABLE: &str = "the server is temporarily unavailable; wait";

pub(super) const MISSING_READ_RIGHT: &str =
    "the access key may lack the right to receive messages (messages:up:r)";

pub(super) const MISSING_WRITE_RIGHT: &str =
    "the access key may lack the right to send downlinks (messages:down:w)";

pub(super) const SILENT_FIELDS: &str = "it was sent as fields, and the application may have no payload format: the network then drops fields silently";

/// How often the network's own broker reads a packet of a client.
pub(super) const READING_INTERVAL: Duration = Duration::from_millis(100);

pub(super) const SUBSCRIPTION_TO_CHECK: &str =
    "check that the access key may read this application's messages";

/// The hosts of the public network's discovery server, which old scripts still ask.
const CLOSED_SERVERS: [&str; 2] = [
    "discovery.thethingsnetwork.org",
    "discovery.thethings.network",
];

/// The port of a discovery server's gRPC service.
const GRPC_PORT: u16 = 1900;

pub(super) fn is_closed_server(host: &str) -> bool {
    CLOSED_SERVERS
        .iter()
        .any(|closed| host.eq_ignore_ascii_case(closed))
}

pub(super) fn check_discovery_port(port: Option<u16>) -> Result<(), &'static str> {
    match port {
        Some(GRPC_PORT) => Err(
            "1900 is the port of the gRPC service; this client asks over HTTP, by default on port 8080 of a V2 installation",
        ),
        _ => Ok(()),
    }
}

pub(super) const ADDRESS_ADVICE: &str = "the discovery server of the public V2 network was closed in December 2021; \
     set the MQTT address of your own V2 network with mqtt_address, or its discovery server with discovery_address";

pub(super) const CANNOT_CLEAR: &str =
    "a V2 network has no message that empties a queue; replace the queue with a downlink instead";

/// How deeply a field may be nested in objects to be received on a topic of its own.
const MAX_FIELD_DEPTH: usize = 8;

/// `^[0-9a-z](?:[_-]?[0-9a-z]){1,35}$`
pub(super) const ID_RULE: IdRule = IdRule {
    separators: b"-_",
    min_letters: 2,
    max_letters: 36,
    max_length: 71,
    description: "ids have 2 to 36 lower-case letters and digits, with single - or _ between them",
};

pub(super) fn check_app_id(app_id: &str) -> Result<()> {
    if ID_RULE.allows(app_id) {
        return Ok(());
    }
    Err(Error::config(format!(
        "{app_id:?} is not a valid application id: {}",
        ID_RULE.description
    )))
}

pub(super) fn cluster_host(app_id: &str, cluster: &str) -> Result<String> {
    Err(Error::config(format!(
        "the cluster {cluster:?} belongs to The Things Stack v3, but the client is set to V2; \
         for v3, use the application id with its tenant, {app_id}@ttn on The Things Network"
    )))
}

pub(super) fn unknown_device(app_id: &str, dev_id: &str) -> String {
    format!("there may be no device {dev_id:?} in the application {app_id:?} on this server")
}

pub(super) fn is_uplink_topic(topic: &str) -> bool {
    split_topic(topic).is_some_and(|(_, _, end)| end == "up")
}

pub(super) fn subscriptions(app_id: &str, field_topics: bool) -> Vec<String> {
    let mut filters = vec![
        format!("{app_id}/devices/+/up"),
        format!("{app_id}/devices/+/events/#"),
    ];
    if field_topics {
        filters.extend(field_filters(app_id));
    }
    filters
}

fn field_filters(app_id: &str) -> impl Iterator<Item = String> {
    // `up/#` would be one filter, but only some brokers match `up` itself with it.
    (1..=MAX_FIELD_DEPTH).map(move |depth| format!("{app_id}/devices/+/up{}", "/+".repeat(depth)))
}

/// The ends of the topics of what devices send, besides fields.
const FROM_DEVICES: [&str; 4] = [
    "up",
    "events/up/errors",
    "events/activations",
    "events/activations/errors",
];

/// The ends of the topics of everything else that the network publishes.
const REPORTS: [&str; 7] = [
    "events/down/scheduled",
    "events/down/sent",
    "events/down/acks",
    "events/down/errors",
    "events/create",
    "events/update",
    "events/delete",
];

fn filters(app_id: &str, ends: &[&str]) -> Vec<String> {
    ends.iter()
        .map(|end| format!("{app_id}/devices/+/{end}"))
        .collect()
}

pub(super) fn device_filters(app_id: &str, field_topics: bool) -> Vec<String> {
    let mut filters = filters(app_id, &FROM_DEVICES);
    if field_topics {
        filters.extend(field_filters(app_id));
    }
    filters
}

pub(super) fn report_filters(app_id: &str) -> Vec<String> {
    filters(app_id, &REPORTS)
}

pub(super) fn request_filters(app_id: &str) -> Vec<String> {
    filters(app_id, &["down"])
}

pub(super) fn sender(topic: &str) -> Option<&str> {
    let (_, dev_id, end) = split_topic(topic)?;
    (FROM_DEVICES.contains(&end) || end.starts_with("up/")).then_some(dev_id)
}

pub(super) fn is_request(app_id: &str, topic: &str) -> bool {
    split_topic(topic).is_some_and(|(uid, _, end)| uid == app_id && end == "down")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_follow_the_networks_rule() {
        let longest = format!("{}a", "a-".repeat(35));
        for id in ["ab", "a-b", "a_b", "bed-07", "0a", &longest] {
            assert!(ID_RULE.allows(id), "{id}");
        }
        for id in [
            "", "a", "Bed", "-ab", "ab-", "a--b", "a-_b", "a.b", "äbc", "a b",
        ] {
            assert!(!ID_RULE.allows(id), "{id}");
        }
        assert!(!ID_RULE.allows(&"a".repeat(37)));
    }
}
