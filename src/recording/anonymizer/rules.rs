//! What is known to be harmless, by the specifications of the networks. Everything else is replaced.

use humantime::parse_rfc3339_weak;

/// What is done with the value of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rule {
    /// It stays if it is a number, a flag, a time or an enum.
    Harmless,
    /// A text that is one of the server's own.
    Constant,
    /// Its texts and numbers are replaced, and its members have rules of their own.
    Known,
    /// The same, and its members are those of an error.
    Error,
    /// Its members have names that users choose, and rules of their own.
    Places,
    /// Bytes in base64.
    Bytes,
    /// A DevAddr or an EUI, in hex digits or as bytes in base64.
    Address,
    /// The payload of a device, in base64.
    Payload,
    /// What was decoded from a payload.
    Fields,
    /// All of it is replaced, with the names of its members.
    Unknown,
    /// A coordinate, below this.
    Below(u32),
}

/// Counters, ports, flags, radio data, times, enums.
const HARMLESS: &[&str] = &[
    "absolute_time",
    "accuracy",
    "airtime",
    "antenna",
    "antenna_index",
    "attempt",
    "band_id",
    "bandwidth",
    "bit_rate",
    "channel",
    "channel_index",
    "channel_rssi",
    "code",
    "coding_rate",
    "confirmed",
    "consumed_airtime",
    "counter",
    "data_rate",
    "device_channel_index",
    "downlink_path_constraint",
    "f_cnt",
    "f_port",
    "fine_timestamp",
    "fine_timestamp_encrypted",
    "frequency",
    "frequency_drift",
    "frequency_offset",
    "frequency_plan",
    "gps_time",
    "group_index",
    "grpc_code",
    "gtw_trusted",
    "hopping_width",
    "is_retry",
    "last_a_f_cnt_down",
    "last_f_cnt_down",
    "length",
    "location_accuracy",
    "location_source",
    "max",
    "max_attempts",
    "max_retries",
    "min_f_cnt",
    "min_f_cnt_down",
    "modulation",
    "modulation_type",
    "operating_channel_width",
    "packet_error_rate",
    "pending_session",
    "port",
    "power",
    "priority",
    "received_at",
    "rf_chain",
    "rssi",
    "rssi_standard_deviation",
    "schedule",
    "signal_rssi",
    "simulated",
    "snr",
    "source",
    "spreading_factor",
    "time",
    "timestamp",
    "update_at",
    "wor_channel",
];

/// Members that hold others, and texts that are replaced.
const KNOWN: &[&str] = &[
    "altitude",
    "app_id",
    "app_s_key",
    "application_id",
    "application_ids",
    "brand_id",
    "class_b_c",
    "cluster_address",
    "cluster_id",
    "config",
    "confirmed_retry",
    "correlation_id",
    "correlation_ids",
    "decoded_payload_warnings",
    "dev_id",
    "device_id",
    "device_ids",
    "downlink",
    "downlink_ack",
    "downlink_failed",
    "downlink_nack",
    "downlink_queue_invalidated",
    "downlink_queued",
    "downlink_sent",
    "downlinks",
    "encrypted_fine_timestamp_key_id",
    "end_device_ids",
    "firmware_version",
    "forwarder_cluster_id",
    "forwarder_gateway_id",
    "forwarder_net_id",
    "forwarder_tenant_id",
    "fsk",
    "gateway_id",
    "gateway_ids",
    "gateways",
    "gtw_id",
    "hardware_version",
    "home_network_cluster_id",
    "home_network_net_id",
    "home_network_tenant_id",
    "hops",
    "identifiers",
    "invalidated_downlinks",
    "join_accept",
    "kek_label",
    "key",
    "last_battery_percentage",
    "location",
    "location_solved",
    "lora",
    "lrfhss",
    "message",
    "message_id",
    "metadata",
    "model_id",
    "net_id",
    "network_ids",
    "normalized_payload_warnings",
    "packet_broker",
    "relay",
    "result",
    "rx_metadata",
    "service",
    "service_data",
    "settings",
    "tenant_address",
    "tenant_id",
    "tenant_ids",
    "unique_id",
    "uplink_message",
    "uplink_normalized",
    "version_ids",
];

const ERRORS: &[&str] = &["error", "cause", "details"];
const BYTES: &[&str] = &[
    "encrypted_fine_timestamp",
    "encrypted_key",
    "payload",
    "session_key_id",
    "uplink_token",
];
const ADDRESSES: &[&str] = &[
    "app_eui",
    "dev_addr",
    "dev_addr_prefix",
    "dev_eui",
    "eui",
    "forwarder_gateway_eui",
    "hardware_serial",
    "join_eui",
    "ns_id",
];
const PAYLOADS: &[&str] = &["frm_payload", "payload_raw"];
const FIELDS: &[&str] = &["decoded_payload", "normalized_payload", "payload_fields"];

/// Texts of the server's own in errors.
const CONSTANTS: &[&str] = &["@type", "message_format", "name", "namespace"];

/// Values in lower case that some harmless members have.
const WORDS: &[&str] = &[
    "replace",
    "first",
    "last",
    "registry",
    "config",
    "gps",
    "ip_geolocation",
    "lora_rssi_geolocation",
    "lora_tdoa_geolocation",
    "wifi_rssi_geolocation",
    "bt_rssi_geolocation",
    "combined_geolocation",
    "unknown",
    "true",
    "false",
];

/// The names of places that the network itself gives.
pub(super) const PLACES: &[&str] = &["user", "frm-payload"];

/// Returns the rule for a member. `parent` is the name of the member around it.
pub(super) fn rule(name: &str, parent: &str, is_in_error: bool) -> Rule {
    let name = &*snake_case(name);
    let is = |names: &[&str]| names.contains(&name);
    match name {
        "latitude" => Rule::Below(90),
        "longitude" => Rule::Below(180),
        "locations" => Rule::Places,
        "attributes" if is_in_error => Rule::Error,
        "value" if parent == "last_battery_percentage" => Rule::Harmless,
        // Of an enum, or of a whole answer.
        "result" if is_in_error => Rule::Harmless,
        _ if is_in_error && is(CONSTANTS) && parent != "attributes" => Rule::Constant,
        "data" if snake_case(parent) == "service_data" => Rule::Fields,
        _ if is(ERRORS) => Rule::Error,
        _ if is(HARMLESS) => Rule::Harmless,
        _ if is(KNOWN) => Rule::Known,
        _ if is(BYTES) => Rule::Bytes,
        _ if is(ADDRESSES) => Rule::Address,
        _ if is(PAYLOADS) => Rule::Payload,
        _ if is(FIELDS) => Rule::Fields,
        _ => Rule::Unknown,
    }
}

/// Returns whether a member of this name may have a meaning somewhere.
pub(super) fn is_known(name: &str) -> bool {
    let is_rule = |parent, is_in_error| rule(name, parent, is_in_error) != Rule::Unknown;
    is_rule("", true) || is_rule("service_data", false) || name == "attributes"
}

/// Returns whether a text is a number, a time, a duration, or an enum.
pub(super) fn is_harmless(text: &str) -> bool {
    let is_number = || text.len() <= 20 && text.parse::<f64>().is_ok_and(f64::is_finite);
    let is_duration = || {
        let seconds = text.strip_suffix('s').and_then(|it| it.parse::<f64>().ok());
        seconds.is_some_and(f64::is_finite)
    };
    let is_eui = || matches!(text.len(), 8 | 16 | 32) && hex::decode(text).is_ok();
    let is_enum = || {
        text.len() <= 48
            && !is_eui()
            && text.starts_with(|c: char| c.is_ascii_uppercase())
            && text
                .bytes()
                .all(|it| it.is_ascii_uppercase() || it.is_ascii_digit() || it == b'_')
    };
    let is_rate = || {
        let mut digits = text.splitn(2, '/');
        let mut is_digit = || {
            digits
                .next()
                .is_some_and(|it| it.len() == 1 && it.as_bytes()[0].is_ascii_digit())
        };
        is_digit() && is_digit()
    };
    WORDS.contains(&text)
        || text.is_empty()
        || is_number()
        || is_duration()
        || is_enum()
        || is_rate()
        || is_time(text)
}

/// Returns whether it is the time that Go writes for none, which is before all others.
fn is_zero_time(text: &str) -> bool {
    text == "0001-01-01T00:00:00Z"
}

/// Returns whether a text is one of the server's own: a name, or a sentence with the names of its variables.
pub(super) fn is_constant(text: &str) -> bool {
    let is_type = || text.starts_with("type.googleapis.com/ttn.lorawan.v3.");
    let is_name = || {
        text.bytes().all(|it| {
            it.is_ascii_lowercase() || matches!(it, b'_' | b'/' | b':' | b' ' | b'`' | b'{' | b'}')
        })
    };
    is_type() || is_name()
}

/// Returns whether a text is a time with a date.
pub(super) fn is_time(text: &str) -> bool {
    text.contains('T') && parse_rfc3339_weak(text).is_ok() || is_zero_time(text)
}

/// Returns whether a member of an event of the client itself says what happened.
pub(super) fn is_kind(name: &str) -> bool {
    [
        "event", "kind", "callback", "finding", "concern", "reason", "source",
    ]
    .contains(&name)
}

/// What a level of a topic is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Level {
    Known,
    Id,
    Field,
}

/// The levels behind the device.
const LEVELS: &[&str] = &[
    "up",
    "down",
    "join",
    "normalized",
    "queued",
    "sent",
    "ack",
    "nack",
    "failed",
    "invalidated",
    "push",
    "replace",
    "location",
    "solved",
    "service",
    "data",
    "events",
    "activations",
    "errors",
    "create",
    "update",
    "delete",
    "scheduled",
    "acks",
];

/// Returns what each level of a topic is.
pub(super) fn places(topic: &str) -> Vec<Level> {
    let levels: Vec<&str> = topic.split('/').collect();
    let is_v3 = |devices: usize| devices >= 2 && levels[devices - 2] == "v3";
    let all = || (1..levels.len().saturating_sub(1)).filter(|at| levels[*at] == "devices");
    // A prefix can have one of its own.
    let of_v3 = all().find(|at| is_v3(*at));
    let Some(devices) = of_v3.or_else(|| all().next()) else {
        let is_start = |at: usize| at == 0 && levels[0] == "v3";
        let places = (0..levels.len()).map(|at| {
            if is_start(at) {
                Level::Known
            } else {
                Level::Id
            }
        });
        return places.collect();
    };
    let behind = devices + 2;
    let is_field = !is_v3(devices) && levels.get(behind) == Some(&"up");
    let place = |at: usize| match levels[at] {
        _ if at == devices => Level::Known,
        _ if at + 2 == devices && is_v3(devices) => Level::Known,
        _ if at < behind => Level::Id,
        _ if at > behind && is_field => Level::Field,
        level if LEVELS.contains(&level) => Level::Known,
        _ => Level::Id,
    };
    (0..levels.len()).map(place).collect()
}

/// Returns whether a topic carries one field of an uplink.
pub(super) fn is_field_topic(topic: &str) -> bool {
    places(topic).contains(&Level::Field)
}

/// Returns a name as the specification writes it: `f_port` for `fPort`.
fn snake_case(name: &str) -> String {
    let mut snake = String::with_capacity(name.len() + 4);
    for character in name.chars() {
        if character.is_ascii_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.push(character.to_ascii_lowercase());
    }
    snake
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_network_names_stays_in_a_topic() {
        use Level::{Field, Id, Known};
        for (topic, expected) in [
            ("v3/a@t/devices/d/up", &[Known, Id, Known, Id, Known][..]),
            (
                "v3/up/devices/devices/down/queued",
                &[Known, Id, Known, Id, Known, Known],
            ),
            (
                "v3/a/devices/d/secret/up",
                &[Known, Id, Known, Id, Id, Known],
            ),
            ("a/devices/d/up/up", &[Id, Known, Id, Known, Field]),
            ("v3/devices/devices/d/up", &[Known, Id, Known, Id, Known]),
            (
                "site/devices/3/v3/a/devices/d/up",
                &[Id, Id, Id, Known, Id, Known, Id, Known],
            ),
            (
                "devices/devices/up/events/down/acks",
                &[Id, Known, Id, Known, Known, Known],
            ),
            (
                "site/part/3/v3/a/devices/d/join",
                &[Id, Id, Id, Known, Id, Known, Id, Known],
            ),
            ("v3/a", &[Known, Id]),
            ("secret", &[Id]),
            ("", &[Id]),
        ] {
            assert_eq!(places(topic), expected, "{topic}");
        }
    }

    #[test]
    fn a_text_is_harmless_by_its_form() {
        for text in [
            "868100000",
            "-12.5",
            "0.051456s",
            "SF7BW125",
            "4/5",
            "SOURCE_GPS",
            "2026-11-28T14:24:53.765325576Z",
            "",
        ] {
            assert!(is_harmless(text), "{text}");
        }
        for text in [
            "bed-07",
            "greenhouse",
            "4/5/6",
            "inf",
            "10.0.0.1",
            "52,1",
            "a 2026-11-28T14:24:53Z",
            "A84041000181C061",
            "FFBBCCDD",
        ] {
            assert!(!is_harmless(text), "{text}");
        }
    }
}
