//! The parts of a stored record that a field mask asks for.

use crate::simulator::{
    json::{self, rebuilt},
    v3::KINDS,
};

/// The parts outside the message of a kind.
const OUTER: [&str; 10] = [
    "end_device_ids",
    "end_device_ids.application_ids",
    "end_device_ids.application_ids.application_id",
    "end_device_ids.device_id",
    "end_device_ids.dev_eui",
    "end_device_ids.join_eui",
    "end_device_ids.dev_addr",
    "correlation_ids",
    "received_at",
    "simulated",
];
/// The parts of an uplink.
const OF_UPLINKS: [&str; 19] = [
    "app_s_key",
    "confirmed",
    "consumed_airtime",
    "decoded_payload",
    "decoded_payload_warnings",
    "f_cnt",
    "f_port",
    "frm_payload",
    "last_a_f_cnt_down",
    "locations",
    "network_ids",
    "normalized_payload",
    "normalized_payload_warnings",
    "packet_error_rate",
    "received_at",
    "rx_metadata",
    "session_key_id",
    "settings",
    "version_ids",
];
/// Those of them that have parts of their own.
const WITH_PARTS: [&str; 4] = ["app_s_key", "network_ids", "settings", "version_ids"];
/// What is left over of an uplink whose settings nobody asked for.
const NO_SETTINGS: &str = r#"{"data_rate":{}}"#;

/// Returns whether that part can be asked for.
pub(super) fn has(path: &str) -> bool {
    if OUTER.contains(&path) || path == "up" {
        return true;
    }
    let Some(path) = path.strip_prefix("up.") else {
        return false;
    };
    let (kind, part) = path.split_once('.').unwrap_or((path, ""));
    if !KINDS.iter().any(|(_, member)| *member == kind) {
        return false;
    }
    let (first, rest) = part.split_once('.').unwrap_or((part, ""));
    kind != "uplink_message"
        || part.is_empty()
        || OF_UPLINKS.contains(&first) && (rest.is_empty() || WITH_PARTS.contains(&first))
}

/// Returns the parts of a record that are asked for, with what always comes and what is left over; all of
/// it without a mask.
pub(super) fn masked(record: &str, mask: &[String]) -> String {
    if mask.is_empty() {
        return record.to_owned();
    }
    rebuilt(record, |name, value| match name {
        "received_at" => Some(value.to_owned()),
        "end_device_ids" => Some(ids(value, mask)),
        "uplink_message" => Some(match selected(value, "up.uplink_message", mask) {
            Some(message) if message == value => message,
            message => with_leftovers(value, message.as_deref().unwrap_or("{}")),
        }),
        _ => selected(value, name, mask),
    })
}

fn ids(value: &str, mask: &[String]) -> String {
    let selected = selected(value, "end_device_ids", mask);
    let selected = selected.as_deref().unwrap_or("{}");
    rebuilt(value, |name, value| match name {
        "device_id" => Some(value.to_owned()),
        "application_ids" => {
            let found = json::member(selected, name);
            Some(found.unwrap_or("{}").to_owned())
        }
        _ => json::member(selected, name).map(str::to_owned),
    })
}

fn with_leftovers(whole: &str, selected: &str) -> String {
    rebuilt(whole, |name, _| {
        let leftover = (name == "settings").then_some(NO_SETTINGS);
        json::member(selected, name).or(leftover).map(str::to_owned)
    })
}

/// Returns what is asked for of a value at that path.
fn selected(value: &str, path: &str, mask: &[String]) -> Option<String> {
    let is_whole = |asked: &String| {
        let rest = path.strip_prefix(asked.as_str());
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    if mask.iter().any(is_whole) {
        return Some(value.to_owned());
    }
    let below = format!("{path}.");
    let has_parts = mask.iter().any(|asked| asked.starts_with(&below));
    has_parts.then(|| {
        rebuilt(value, |name, value| {
            selected(value, &format!("{path}.{name}"), mask)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECORD: &str = concat!(
        r#"{"end_device_ids":{"device_id":"bed-07","application_ids":{"application_id":"greenhouse"},"dev_eui":"01"},"#,
        r#""received_at":"2026-11-27T06:00:00Z","uplink_message":{"f_port":2,"frm_payload":"AQ==","#,
        r#""settings":{"data_rate":{"lora":{"bandwidth":125000}},"frequency":"868100000"},"confirmed":true}}"#
    );

    fn of(mask: &str) -> String {
        let mask: Vec<String> = mask.split(',').map(str::to_owned).collect();
        masked(RECORD, &mask)
    }

    #[test]
    fn a_mask_leaves_what_it_names_and_some_leftovers() {
        let device = r#"{"end_device_ids":{"device_id":"bed-07","application_ids":{}},"#;
        let start = format!(r#"{device}"received_at":"2026-11-27T06:00:00Z","uplink_message":"#);
        for (mask, message) in [
            (
                "up.uplink_message.frm_payload",
                r#"{"frm_payload":"AQ==","settings":{"data_rate":{}}}"#,
            ),
            (
                "up.uplink_message.settings.frequency,up.uplink_message.f_port",
                r#"{"f_port":2,"settings":{"frequency":"868100000"}}"#,
            ),
            ("received_at", r#"{"settings":{"data_rate":{}}}"#),
        ] {
            assert_eq!(of(mask), format!("{start}{message}}}"), "{mask}");
        }
        assert_eq!(of("end_device_ids,up"), RECORD);
        assert_eq!(masked(RECORD, &[]), RECORD);
        assert!(of("end_device_ids.dev_eui").contains(r#""application_ids":{},"dev_eui":"01"}"#));
    }

    #[test]
    fn only_known_parts_can_be_asked_for() {
        for (path, is_known) in [
            ("up", true),
            ("up.uplink_message", true),
            ("up.uplink_message.decoded_payload", true),
            ("up.uplink_message.settings.data_rate", true),
            ("up.join_accept.session_key_id", true),
            ("end_device_ids.device_id", true),
            ("uplink_message", false),
            ("up.uplink_message.frm_paylod", false),
            ("up.uplink_message.f_port.x", false),
            ("up.weather", false),
            ("", false),
        ] {
            assert_eq!(has(path), is_known, "{path}");
        }
    }
}
