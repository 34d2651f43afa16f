//! The normal form of messages: without what may vary between two runs of the same scenario.
//!
//! Ids and times are numbered in the order of their appearance, so that equal ones are still equal.
//! Everything else is kept: members, their order, and the form of every value.

use std::collections::HashMap;

use super::json::Json;

/// Numbers for what may vary.
#[derive(Default)]
struct Numbers(HashMap<(&'static str, String), usize>);

impl Numbers {
    /// Returns the name of a value: its kind, and its number within the kind.
    fn name(&mut self, kind: &'static str, value: &str) -> Json {
        let next = 1 + self.0.keys().filter(|(other, _)| *other == kind).count();
        let number = self.0.entry((kind, value.to_owned())).or_insert(next);
        Json::Bare(format!("<{kind} {number}>"))
    }
}

/// Returns topic and normal form of each message, one text per message.
pub fn form(messages: &[(String, Json)]) -> Vec<String> {
    let mut numbers = Numbers::default();
    let mut messages = messages.to_vec();
    sort_normalized(&mut messages);
    messages
        .iter()
        .map(|(topic, message)| format!("{topic}\n  {}", value("", message, &mut numbers).pretty()))
        .collect()
}

/// Sorts the `up/normalized` messages of one uplink, whose order varies.
fn sort_normalized(messages: &mut [(String, Json)]) {
    let is_normalized = |(topic, _): &(String, Json)| topic.ends_with("/up/normalized");
    let same = |a: &(String, Json), b: &(String, Json)| {
        is_normalized(a)
            && is_normalized(b)
            && a.1.get("correlation_ids") == b.1.get("correlation_ids")
    };
    for uplink in messages.chunk_by_mut(same) {
        uplink.sort_by_key(|(_, message)| {
            let payload = message.at("uplink_normalized/normalized_payload");
            payload.map(Json::compact)
        });
    }
}

fn value(name: &str, json: &Json, numbers: &mut Numbers) -> Json {
    let kind = match name {
        "received_at" | "absolute_time" => "time",
        "session_key_id" => "session",
        "dev_addr" => "address",
        "dev_eui" | "join_eui" | "eui" => "eui",
        "correlation_id" => "error",
        "encrypted_key" => "key",
        "time" | "gps_time" if matches!(json, Json::Text(_)) => {
            return Json::Bare(format!("<time of {} digits>", fraction(json.text())));
        }
        "uplink_token" => return Json::Bare("<token>".into()),
        "timestamp"
        | "rssi"
        | "channel_rssi"
        | "signal_rssi"
        | "snr"
        | "fine_timestamp"
        | "frequency_offset"
        | "rssi_standard_deviation" => {
            return match json {
                Json::Text(_) => Json::Text("<number>".into()),
                _ => Json::Bare("<number>".into()),
            };
        }
        "correlation_ids" => return correlation_ids(json.items(), numbers),
        "rx_metadata" => return receptions(json.items(), numbers),
        _ => "",
    };
    match json {
        Json::Text(text) if !kind.is_empty() => {
            assert!(kind != "time" || is_time(text), "{name}: {text}");
            numbers.name(kind, text)
        }
        Json::List(items) => {
            Json::List(items.iter().map(|item| value("", item, numbers)).collect())
        }
        Json::Object(members) => {
            let mut members = members.clone();
            if name == "locations" {
                members.sort_by(|a, b| a.0.cmp(&b.0));
            }
            let member = |(name, json): (String, Json)| {
                let json = value(&name, &json, numbers);
                (name, json)
            };
            Json::Object(members.into_iter().map(member).collect())
        }
        _ => json.clone(),
    }
}

/// Numbers the ULIDs, whose order by bytes is part of the form.
fn correlation_ids(ids: &[Json], numbers: &mut Numbers) -> Json {
    let texts: Vec<&str> = ids.iter().map(Json::text).collect();
    assert!(
        texts.is_sorted_by(|a, b| a < b),
        "not sorted or not unique: {texts:?}"
    );
    let name = |id: &&str| match id.rsplit_once(':') {
        Some((kind, ulid)) if ulid.len() == 26 && ulid.starts_with("01") => {
            let number = numbers.name("ulid", ulid);
            Json::Bare(format!("{kind}:{}", number.text()))
        }
        _ => Json::Text((*id).to_owned()),
    };
    Json::List(texts.iter().map(name).collect())
}

/// Sorts the receptions, whose order varies, by gateway and antenna.
fn receptions(receptions: &[Json], numbers: &mut Numbers) -> Json {
    let mut receptions = receptions.to_vec();
    receptions.sort_by_key(|reception| {
        let text = |path| {
            reception
                .at(path)
                .map(Json::text)
                .unwrap_or_default()
                .to_owned()
        };
        (text("gateway_ids/gateway_id"), text("antenna_index"))
    });
    let normal = |reception: &Json| value("", reception, numbers);
    Json::List(receptions.iter().map(normal).collect())
}

/// Returns whether it is a time in UTC with a fraction of 0, 3, 6 or 9 digits, as short as possible.
fn is_time(text: &str) -> bool {
    let digits = fraction(text);
    humantime::parse_rfc3339(text).is_ok()
        && digits % 3 == 0
        && (digits == 0 || !text.ends_with("000Z"))
}

/// Returns the number of digits of the fraction of a time.
fn fraction(time: &str) -> usize {
    time.split_once('.')
        .map_or(0, |(_, fraction)| fraction.trim_end_matches('Z').len())
}
