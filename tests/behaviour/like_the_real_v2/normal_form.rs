//! Messages without what differs from run to run.

use std::collections::BTreeMap;

use base64::{Engine, engine::general_purpose::STANDARD};

use super::recording::Message;

impl Message {
    /// Returns the members in their order, one a line, without what differs from run to run.
    pub(super) fn normal_form(&self) -> Vec<String> {
        let is_fsk = self.payload.contains(r#""modulation":"FSK""#);
        let lines = members(&self.payload).into_iter();
        let lines = lines.map(|(path, value)| match normal(&path, &value, is_fsk) {
            Some(form) => format!("{path}: <{form}>"),
            None => format!("{path}: {value}"),
        });
        with_gateways_in_order(lines.collect())
    }

    /// Returns kind and names of the members; the location of a device has any of its three.
    pub(super) fn structure(&self) -> String {
        let members = members(&self.payload).into_iter().map(|(path, _)| path);
        let members: Vec<String> = members
            .filter(|path| !GATEWAY_TRAITS.contains(&path.as_str()))
            .filter(|path| !["latitude", "longitude", "altitude"].contains(&path.as_str()))
            .filter(|path| !path.contains("payload_fields") && !path.starts_with("attributes."))
            .collect();
        let unique: BTreeMap<&String, ()> = members.iter().map(|member| (member, ())).collect();
        format!("{} {:?}", self.kind, unique.into_keys().collect::<Vec<_>>())
    }
}

/// Returns the members with those of each gateway together, and the gateways by their ids and antennas.
fn with_gateways_in_order(lines: Vec<String>) -> Vec<String> {
    let is_of_a_gateway = |line: &String| line.starts_with("metadata.gateways[].");
    let Some(first) = lines.iter().position(is_of_a_gateway) else {
        return lines;
    };
    let count = lines.iter().filter(|line| is_of_a_gateway(line)).count();
    let mut gateways: Vec<Vec<String>> = Vec::new();
    for line in &lines[first..first + count] {
        match gateways.last_mut() {
            Some(gateway) if !line.contains(".gtw_id:") => gateway.push(line.clone()),
            _ => gateways.push(vec![line.clone()]),
        }
    }
    gateways.sort();
    let (before, after) = (&lines[..first], &lines[first + count..]);
    [before, &gateways.concat(), after].concat()
}

/// What depends on the gateway that hears a frame.
const GATEWAY_TRAITS: [&str; 5] = [
    "metadata.gateways[].gtw_trusted",
    "metadata.gateways[].latitude",
    "metadata.gateways[].longitude",
    "metadata.gateways[].altitude",
    "metadata.gateways[].location_source",
];

/// Returns what stands for a value that differs from run to run; `None` for any other one, and for one
/// that has not the form it should have.
fn normal(path: &str, value: &str, is_fsk: bool) -> Option<String> {
    let text = value
        .strip_prefix('"')
        .and_then(|text| text.strip_suffix('"'));
    let is_hex = |length: usize| {
        let is_digit = |byte: u8| byte.is_ascii_digit() || (b'A'..=b'F').contains(&byte);
        text.is_some_and(|text| text.len() == length && text.bytes().all(is_digit))
    };
    let form = match path {
        "hardware_serial" | "dev_eui" | "app_eui" if is_hex(16) => "EUI",
        "dev_addr" if is_hex(8) => "address",
        "metadata.time" | "metadata.gateways[].time" if is_time(text?) => "time",
        "update_at" if is_time(text?) => "time",
        "update_at" if is_time(&format!("{}Z", text?.strip_suffix("+05:30")?)) => "time in India",
        "gateway_id" if text.is_some() => "gateway",
        "metadata.gateways[].timestamp" | "metadata.gateways[].rf_chain" | "config.counter"
            if value.parse::<f64>().is_ok() =>
        {
            "number"
        }
        // The network answers in the first or the second window.
        "config.data_rate" if !is_fsk => "window",
        "config.airtime" | "config.frequency" | "config.power" if !is_fsk => "window",
        "payload" => return frame(text?),
        _ => return None,
    };
    Some(form.to_owned())
}

/// Returns length, kind and flags of a frame.
fn frame(text: &str) -> Option<String> {
    let bytes = STANDARD.decode(text).ok()?;
    let (kind, flags) = (bytes.first()?, bytes.get(5)?);
    Some(format!(
        "{} bytes, {kind:02x}, flags {flags:02x}",
        bytes.len()
    ))
}

/// Returns whether it is a time in UTC without trailing zeros, and not the one that stands for none.
fn is_time(text: &str) -> bool {
    let fraction = text
        .trim_end_matches('Z')
        .split_once('.')
        .map(|(_, fraction)| fraction);
    humantime::parse_rfc3339(text).is_ok()
        && !text.starts_with("0001")
        && fraction.is_none_or(|digits| !digits.ends_with('0') && digits.len() <= 9)
}

/// Returns path and text of each value that is not an object or an array, in the order of the text.
fn members(json: &str) -> Vec<(String, String)> {
    let mut members = Vec::new();
    let rest = value(String::new(), json, &mut members);
    assert_eq!(rest, "", "{json}");
    members
}

/// Reads a value and returns the rest.
fn value<'a>(path: String, json: &'a str, members: &mut Vec<(String, String)>) -> &'a str {
    let (end, is_object) = match json.as_bytes()[0] {
        b'{' => ('}', true),
        b'[' => (']', false),
        first => {
            let length = match first {
                b'"' => string_length(json),
                _ => json.find([',', '}', ']']).unwrap_or(json.len()),
            };
            let (value, rest) = json.split_at(length);
            members.push((path, value.to_owned()));
            return rest;
        }
    };
    let mut rest = &json[1..];
    if let Some(rest) = rest.strip_prefix(end) {
        members.push((path, format!("{}{end}", &json[..1])));
        return rest;
    }
    loop {
        let inner = if is_object {
            let (key, after) = rest.split_at(string_length(rest));
            rest = after.strip_prefix(':').unwrap();
            let dot = if path.is_empty() { "" } else { "." };
            format!("{path}{dot}{}", key.trim_matches('"'))
        } else {
            format!("{path}[]")
        };
        rest = value(inner, rest, members);
        match rest.strip_prefix(',') {
            Some(next) => rest = next,
            None => return rest.strip_prefix(end).unwrap(),
        }
    }
}

fn string_length(json: &str) -> usize {
    let mut escaped = false;
    let end = json[1..].find(|character| {
        let is_end = character == '"' && !escaped;
        escaped = character == '\\' && !escaped;
        is_end
    });
    end.unwrap() + 2
}
