//! Messages as the server's schema describes them: read from any JSON, and printed in its order.

use serde_json::Value;

use super::text::{double, free, time};
use crate::simulator::{
    json::{self, Object},
    v3::request::is_id,
};

/// The type of a member.
pub(super) enum Kind {
    Flag,
    Integer,
    Port,
    Float,
    Double,
    /// A 64-bit integer, printed as a string.
    Long,
    /// Also bytes, durations and enumerations.
    Text,
    Time,
    /// Any object.
    Free,
    /// Strings by ids.
    Attributes,
    List(&'static Kind),
    Map(&'static Kind),
    Message(&'static [Member]),
}

/// Name, type, and whether a message without it is refused.
pub(super) type Member = (&'static str, Kind, bool);

/// Why a value does not fit the schema: the path to it.
pub(crate) type Misfit = String;

const fn may(name: &'static str, kind: Kind) -> Member {
    (name, kind, false)
}

const fn must(name: &'static str, kind: Kind) -> Member {
    (name, kind, true)
}

const TEXTS: Kind = Kind::List(&Kind::Text);

pub(super) const VERSION_IDS: &[Member] = &[
    may("brand_id", Kind::Text),
    may("model_id", Kind::Text),
    may("hardware_version", Kind::Text),
    may("firmware_version", Kind::Text),
    may("band_id", Kind::Text),
];

const NETWORK_IDS: &[Member] = &[
    may("net_id", Kind::Text),
    may("ns_id", Kind::Text),
    may("tenant_id", Kind::Text),
    may("cluster_id", Kind::Text),
    may("cluster_address", Kind::Text),
    may("tenant_address", Kind::Text),
];

const LOCATION: &[Member] = &[
    may("latitude", Kind::Double),
    may("longitude", Kind::Double),
    may("altitude", Kind::Integer),
    may("accuracy", Kind::Integer),
    may("source", Kind::Text),
];

const KEY: &[Member] = &[
    may("key", Kind::Text),
    may("kek_label", Kind::Text),
    may("encrypted_key", Kind::Text),
];

const GATEWAY_IDS: &[Member] = &[may("gateway_id", Kind::Text), may("eui", Kind::Text)];

const HOP: &[Member] = &[
    may("received_at", Kind::Time),
    may("sender_name", Kind::Text),
    may("sender_address", Kind::Text),
    may("receiver_name", Kind::Text),
    may("receiver_agent", Kind::Text),
];

const PACKET_BROKER: &[Member] = &[
    may("message_id", Kind::Text),
    may("forwarder_net_id", Kind::Text),
    may("forwarder_tenant_id", Kind::Text),
    may("forwarder_cluster_id", Kind::Text),
    may("forwarder_gateway_eui", Kind::Text),
    may("forwarder_gateway_id", Kind::Text),
    may("home_network_net_id", Kind::Text),
    may("home_network_tenant_id", Kind::Text),
    may("home_network_cluster_id", Kind::Text),
    may("hops", Kind::List(&Kind::Message(HOP))),
];

const RELAY: &[Member] = &[may("device_id", Kind::Text), may("wor_channel", Kind::Text)];

const RECEPTION: &[Member] = &[
    must("gateway_ids", Kind::Message(GATEWAY_IDS)),
    may("packet_broker", Kind::Message(PACKET_BROKER)),
    may("relay", Kind::Message(RELAY)),
    may("antenna_index", Kind::Integer),
    may("time", Kind::Time),
    may("timestamp", Kind::Integer),
    may("fine_timestamp", Kind::Long),
    may("encrypted_fine_timestamp", Kind::Text),
    may("encrypted_fine_timestamp_key_id", Kind::Text),
    may("rssi", Kind::Float),
    may("signal_rssi", Kind::Float),
    may("channel_rssi", Kind::Float),
    may("rssi_standard_deviation", Kind::Float),
    may("snr", Kind::Float),
    may("frequency_offset", Kind::Long),
    may("location", Kind::Message(LOCATION)),
    may("downlink_path_constraint", Kind::Text),
    may("uplink_token", Kind::Text),
    may("channel_index", Kind::Integer),
    may("hopping_width", Kind::Integer),
    may("frequency_drift", Kind::Integer),
    may("gps_time", Kind::Time),
    may("received_at", Kind::Time),
    may("advanced", Kind::Free),
];

const LORA: &[Member] = &[
    may("bandwidth", Kind::Integer),
    may("spreading_factor", Kind::Integer),
    may("coding_rate", Kind::Text),
];

const FSK: &[Member] = &[may("bit_rate", Kind::Integer)];

const LR_FHSS: &[Member] = &[
    may("modulation_type", Kind::Integer),
    may("operating_channel_width", Kind::Integer),
    may("coding_rate", Kind::Text),
];

const DATA_RATE: &[Member] = &[
    may("lora", Kind::Message(LORA)),
    may("fsk", Kind::Message(FSK)),
    may("lrfhss", Kind::Message(LR_FHSS)),
];

const SETTINGS: &[Member] = &[
    must("data_rate", Kind::Message(DATA_RATE)),
    must("frequency", Kind::Long),
    may("enable_crc", Kind::Flag),
    may("timestamp", Kind::Integer),
    may("time", Kind::Time),
    may("concentrator_timestamp", Kind::Long),
];

const BATTERY: &[Member] = &[
    may("f_cnt", Kind::Integer),
    may("value", Kind::Float),
    may("received_at", Kind::Time),
];

const RECEPTIONS: Kind = Kind::List(&Kind::Message(RECEPTION));
const LOCATIONS: Kind = Kind::Map(&Kind::Message(LOCATION));

const UPLINK: &[Member] = &[
    may("session_key_id", Kind::Text),
    may("f_port", Kind::Port),
    may("f_cnt", Kind::Integer),
    may("frm_payload", Kind::Text),
    may("decoded_payload", Kind::Free),
    may("decoded_payload_warnings", TEXTS),
    may("normalized_payload", Kind::List(&Kind::Free)),
    may("normalized_payload_warnings", TEXTS),
    may("rx_metadata", RECEPTIONS),
    must("settings", Kind::Message(SETTINGS)),
    may("received_at", Kind::Time),
    may("app_s_key", Kind::Message(KEY)),
    may("last_a_f_cnt_down", Kind::Integer),
    may("confirmed", Kind::Flag),
    may("consumed_airtime", Kind::Text),
    may("packet_error_rate", Kind::Float),
    may("locations", LOCATIONS),
    may("version_ids", Kind::Message(VERSION_IDS)),
    may("network_ids", Kind::Message(NETWORK_IDS)),
    may("last_battery_percentage", Kind::Message(BATTERY)),
    may("attributes", Kind::Attributes),
];

const NORMALIZED: &[Member] = &[
    may("session_key_id", Kind::Text),
    must("f_port", Kind::Port),
    may("f_cnt", Kind::Integer),
    may("frm_payload", Kind::Text),
    must("normalized_payload", Kind::Free),
    may("normalized_payload_warnings", TEXTS),
    may("rx_metadata", RECEPTIONS),
    must("settings", Kind::Message(SETTINGS)),
    must("received_at", Kind::Time),
    may("confirmed", Kind::Flag),
    may("consumed_airtime", Kind::Text),
    may("locations", LOCATIONS),
    may("version_ids", Kind::Message(VERSION_IDS)),
    may("network_ids", Kind::Message(NETWORK_IDS)),
    may("attributes", Kind::Attributes),
];

const FIXED_GATEWAY: &[Member] = &[
    must("gateway_ids", Kind::Message(GATEWAY_IDS)),
    may("antenna_index", Kind::Integer),
    may("group_index", Kind::Integer),
];

const CLASS_B_C: &[Member] = &[
    may("gateways", Kind::List(&Kind::Message(FIXED_GATEWAY))),
    may("absolute_time", Kind::Time),
];

const RETRY: &[Member] = &[
    may("attempt", Kind::Integer),
    may("max_attempts", Kind::Integer),
];

const DOWNLINK: &[Member] = &[
    may("session_key_id", Kind::Text),
    may("f_port", Kind::Port),
    may("f_cnt", Kind::Integer),
    may("frm_payload", Kind::Text),
    may("decoded_payload", Kind::Free),
    may("decoded_payload_warnings", TEXTS),
    may("confirmed", Kind::Flag),
    may("class_b_c", Kind::Message(CLASS_B_C)),
    may("priority", Kind::Text),
    may("correlation_ids", TEXTS),
    may("confirmed_retry", Kind::Message(RETRY)),
];

const DOWNLINKS: Kind = Kind::List(&Kind::Message(DOWNLINK));

const JOIN: &[Member] = &[
    may("session_key_id", Kind::Text),
    may("app_s_key", Kind::Message(KEY)),
    may("invalidated_downlinks", DOWNLINKS),
    may("pending_session", Kind::Flag),
    must("received_at", Kind::Time),
];

const ERROR: &[Member] = &[
    may("namespace", Kind::Text),
    may("name", Kind::Text),
    may("message_format", Kind::Text),
    may("attributes", Kind::Free),
    may("correlation_id", Kind::Text),
    may("cause", Kind::Free),
    may("code", Kind::Integer),
    may("details", Kind::List(&Kind::Free)),
];

const FAILED: &[Member] = &[
    must("downlink", Kind::Message(DOWNLINK)),
    must("error", Kind::Message(ERROR)),
];

const INVALIDATED: &[Member] = &[
    may("downlinks", DOWNLINKS),
    may("last_f_cnt_down", Kind::Integer),
    may("session_key_id", Kind::Text),
];

const SOLVED: &[Member] = &[
    may("service", Kind::Text),
    must("location", Kind::Message(LOCATION)),
    may("attributes", Kind::Attributes),
];

const SERVICE_DATA: &[Member] = &[may("service", Kind::Text), may("data", Kind::Free)];

/// The messages by the name of their member in the envelope.
const MESSAGES: [(&str, &[Member]); 11] = [
    ("uplink_message", UPLINK),
    ("uplink_normalized", NORMALIZED),
    ("join_accept", JOIN),
    ("downlink_ack", DOWNLINK),
    ("downlink_nack", DOWNLINK),
    ("downlink_sent", DOWNLINK),
    ("downlink_failed", FAILED),
    ("downlink_queued", DOWNLINK),
    ("downlink_queue_invalidated", INVALIDATED),
    ("location_solved", SOLVED),
    ("service_data", SERVICE_DATA),
];

/// Returns a message as the server prints it, without members that it does not know.
pub(crate) fn print(name: &str, body: &Value) -> Result<String, Misfit> {
    object(message(name)?, body, name)
}

/// Returns an error if the server refuses to simulate a message.
pub(crate) fn check(name: &str, body: &Value) -> Result<(), Misfit> {
    print(name, body)?;
    match missing(message(name)?, body, name) {
        Some(path) => Err(path),
        None => Ok(()),
    }
}

/// Returns version ids as the server prints them; `None` if they are not valid.
pub(crate) fn version_ids(ids: &Value) -> Option<String> {
    object(VERSION_IDS, ids, "version_ids").ok()
}

fn message(name: &str) -> Result<&'static [Member], Misfit> {
    let found = MESSAGES.iter().find(|(known, _)| *known == name);
    found.map(|(_, members)| *members).ok_or(name.to_owned())
}

/// Returns the path to a member that must be there and is not, if any.
fn missing(members: &[Member], value: &Value, path: &str) -> Option<Misfit> {
    let inner = |kind: &Kind, value: &Value, path: &str| match kind {
        Kind::Message(members) => missing(members, value, path),
        Kind::List(Kind::Message(members)) => {
            let mut items = value.as_array()?.iter();
            items.find_map(|item| missing(members, item, path))
        }
        _ => None,
    };
    members.iter().find_map(|(name, kind, is_required)| {
        let path = format!("{path}.{name}");
        match value.get(*name).filter(|value| !value.is_null()) {
            Some(value) => inner(kind, value, &path),
            None => is_required.then_some(path),
        }
    })
}

fn object(members: &[Member], value: &Value, path: &str) -> Result<String, Misfit> {
    let given = value.as_object().ok_or(path)?;
    let mut object = Object::new();
    for (name, kind, _) in members {
        let path = format!("{path}.{name}");
        if let Some(value) = given.get(*name).filter(|value| !value.is_null()) {
            object = object.option(name, text(kind, value, &path)?);
        }
    }
    Ok(object.finish())
}

/// Returns the JSON text of a value, `None` if it is left out.
fn text(kind: &Kind, value: &Value, path: &str) -> Result<Option<String>, Misfit> {
    let some = |text: String, is_zero: bool| (!is_zero).then_some(text);
    Ok(match kind {
        Kind::Flag => {
            let on = value.as_bool().ok_or(path)?;
            some(on.to_string(), !on)
        }
        Kind::Integer => {
            let number = value.as_i64().ok_or(path)?;
            some(number.to_string(), number == 0)
        }
        Kind::Port => {
            let port = value.as_u64().filter(|port| *port <= 255 && *port != 224);
            let port = port.ok_or(path)?;
            some(port.to_string(), port == 0)
        }
        Kind::Float => {
            let number = value.as_f64().ok_or(path)? as f32;
            some(json::float32(number), number == 0.0)
        }
        Kind::Double => {
            let number = value.as_f64().ok_or(path)?;
            some(json::value(&double(number)), number == 0.0)
        }
        Kind::Long => {
            let number = match value {
                Value::String(text) => text.parse().ok(),
                _ => value.as_i64(),
            };
            let number: i64 = number.ok_or(path)?;
            some(json::string(&number.to_string()), number == 0)
        }
        Kind::Text => {
            let text = value.as_str().ok_or(path)?;
            some(json::string(text), text.is_empty())
        }
        Kind::Time => {
            let text = value.as_str().ok_or(path)?;
            Some(time(humantime::parse_rfc3339(text).map_err(|_| path)?))
        }
        Kind::Free => Some(free(value)),
        Kind::Attributes => {
            let attributes = value.as_object().ok_or(path)?;
            if !attributes.keys().all(|key| is_id(key)) {
                return Err(path.into());
            }
            Some(free(value))
        }
        Kind::List(item) => {
            let items = value.as_array().ok_or(path)?.iter();
            let empty = || "{}".into();
            let texts = items.map(|value| Ok(text(item, value, path)?.unwrap_or_else(empty)));
            let texts: Vec<String> = texts.collect::<Result<_, Misfit>>()?;
            let is_empty = texts.is_empty();
            some(json::array(texts), is_empty)
        }
        Kind::Map(member) => {
            let mut object = Object::new();
            for (key, value) in json::sorted(value.as_object().ok_or(path)?) {
                object = object.option(key, text(member, value, path)?);
            }
            Some(object.finish())
        }
        Kind::Message(members) => Some(object(members, value, path)?),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn members_are_printed_in_the_order_of_the_schema_without_zeros() {
        let body = json!({
            "packet_error_rate": 0.125,
            "settings": {"frequency": 868_000_000, "data_rate": {"lora": {"bandwidth": 125_000}}},
            "f_cnt": 0,
            "f_port": 7,
            "confirmed": false,
            "received_at": "2026-11-28T14:25:12.5Z",
            "whatever": 1,
        });
        let expected = concat!(
            r#"{"f_port":7,"settings":{"data_rate":{"lora":{"bandwidth":125000}},"#,
            r#""frequency":"868000000"},"received_at":"2026-11-28T14:25:12.500Z","#,
            r#""packet_error_rate":0.125}"#,
        );
        assert_eq!(print("uplink_message", &body).unwrap(), expected);
    }

    #[test]
    fn a_misfit_is_named_by_its_path() {
        for (name, body, path) in [
            ("uplink_message", json!({}), "uplink_message.settings"),
            ("uplink_message", json!([]), "uplink_message"),
            (
                "downlink_ack",
                json!({"f_port": 224}),
                "downlink_ack.f_port",
            ),
            (
                "location_solved",
                json!({"location": {}, "attributes": {"k": "v"}}),
                "location_solved.attributes",
            ),
            ("join_accept", json!({}), "join_accept.received_at"),
            ("gossip", json!({}), "gossip"),
        ] {
            assert_eq!(check(name, &body).unwrap_err(), path);
        }
    }
}
