//! Downlink requests of The Things Stack, read as its server reads them: by protobuf's JSON rules,
//! then by the limits of the schema.

mod json;

use serde::de::Deserialize;

use self::json::{
    Json, bool, bytes, list, members, number, object, optional, read_or_default, text, time,
};
use super::messages::{ClassBC, Downlink, FixedGateway, PRIORITIES, Retry};
use crate::simulator::lorawan;

/// Why a request is refused as it stands.
#[derive(Debug, PartialEq)]
pub(crate) enum Misfit {
    /// It cannot be read.
    Unreadable,
    /// A value of the downlink at that index is not allowed: its name, and why.
    Invalid(usize, &'static str, &'static str),
}

/// Reads the downlinks of a `down/push` or `down/replace`. Ignores what follows the first JSON value.
pub(crate) fn read(payload: &[u8]) -> Result<Vec<Downlink>, Misfit> {
    let given = read_json(payload).ok_or(Misfit::Unreadable)?;
    let [downlinks] = members(&given, ["downlinks"]).ok_or(Misfit::Unreadable)?;
    let items = list(downlinks).ok_or(Misfit::Unreadable)?;
    let mut downlinks = Vec::new();
    let mut invalid = None;
    for (index, item) in items.iter().enumerate() {
        match downlink(item).ok_or(Misfit::Unreadable)? {
            Ok(downlink) => downlinks.push(downlink),
            Err((field, reason)) => {
                invalid.get_or_insert(Misfit::Invalid(index, field, reason));
            }
        }
    }
    match invalid {
        Some(misfit) => Err(misfit),
        None => Ok(downlinks),
    }
}

fn read_json(payload: &[u8]) -> Option<Json> {
    let mut deserializer = serde_json::Deserializer::from_slice(payload);
    Json::deserialize(&mut deserializer).ok()
}

/// Reads a downlink; an error is the name of a value that is not allowed, and why.
fn downlink(json: &Json) -> Option<Result<Downlink, (&'static str, &'static str)>> {
    let names = [
        "session_key_id",
        "f_port",
        "f_cnt",
        "frm_payload",
        "decoded_payload",
        "confirmed",
        "class_b_c",
        "priority",
        "correlation_ids",
        "confirmed_retry",
    ];
    let [
        session_key_id,
        f_port,
        f_cnt,
        frm_payload,
        decoded_payload,
        confirmed,
        class_b_c,
        priority,
        correlation_ids,
        confirmed_retry,
    ] = members(json, names)?;
    let port = read_or_default(f_port, number)?;
    let class_b_c = optional(class_b_c, class_bc)?;
    let retry = optional(confirmed_retry, retry)?;
    let downlink = Downlink {
        session_key_id: read_or_default(session_key_id, bytes)?,
        f_port: u8::try_from(port).unwrap_or_default(),
        f_cnt: read_or_default(f_cnt, number)?,
        payload: optional(frm_payload, bytes)?.filter(|bytes| !bytes.is_empty()),
        decoded: optional(decoded_payload, object)?,
        warnings: Vec::new(),
        heard: (None, Vec::new()),
        confirmed: read_or_default(confirmed, bool)?,
        class_b_c: class_b_c.clone().and_then(Result::ok),
        priority: read_or_default(priority, self::priority)?,
        correlation_ids: list(correlation_ids)?
            .iter()
            .map(text)
            .collect::<Option<_>>()?,
        retry: retry.clone().and_then(Result::ok),
    };
    let payload = downlink.payload.as_deref().unwrap_or_default();
    let mut ids = downlink.correlation_ids.iter();
    let attempts = downlink.retry.as_ref().and_then(|retry| retry.max_attempts);
    let too_many = downlink.confirmed && attempts.is_some_and(|attempts| attempts > 32);
    let embedded = "embedded message failed validation";
    Some(if port > 255 {
        Err(("f_port", "value must be less than or equal to 255"))
    } else if port == 224 {
        Err(("f_port", "value must not be in list [224]"))
    } else if payload.len() > 255 {
        Err(("frm_payload", "value length must be at most 255 bytes"))
    } else if matches!(class_b_c, Some(Err(()))) {
        Err(("class_b_c", embedded))
    } else if ids.any(|id| id.chars().count() > 100) {
        let reason = "value length must be at most 100 runes";
        Err(("correlation_ids", reason))
    } else if matches!(retry, Some(Err(()))) || too_many {
        Err(("confirmed_retry", embedded))
    } else {
        Ok(downlink)
    })
}

fn class_bc(json: &Json) -> Option<Result<ClassBC, ()>> {
    let [gateways, absolute_time] = members(json, ["gateways", "absolute_time"])?;
    let gateways: Option<Vec<_>> = list(gateways)?.iter().map(gateway).collect();
    let absolute_time = optional(absolute_time, time)?;
    let gateways: Result<Vec<_>, ()> = gateways?.into_iter().collect();
    Some(gateways.map(|gateways| ClassBC {
        gateways,
        absolute_time,
    }))
}

fn gateway(json: &Json) -> Option<Result<FixedGateway, ()>> {
    let names = ["gateway_ids", "antenna_index", "group_index"];
    let [ids, antenna_index, group_index] = members(json, names)?;
    let Some(ids) = ids else {
        return Some(Err(()));
    };
    let [gateway_id, eui] = members(ids, ["gateway_id", "eui"])?;
    let gateway_id = read_or_default(gateway_id, text)?;
    // In messages to clients, it is in hexadecimal digits instead.
    let eui = read_or_default(eui, bytes)?;
    let valid = is_id(&gateway_id) || gateway_id.is_empty();
    let gateway = FixedGateway {
        gateway_id,
        eui: hex::encode_upper(&eui),
        antenna_index: read_or_default(antenna_index, number)?,
        group_index: read_or_default(group_index, number)?,
    };
    let has_eui = matches!(eui.len(), 0 | 8);
    Some(if valid && has_eui {
        Ok(gateway)
    } else {
        Err(())
    })
}

fn retry(json: &Json) -> Option<Result<Retry, ()>> {
    let [attempt, max_attempts] = members(json, ["attempt", "max_attempts"])?;
    let max_attempts = optional(max_attempts, number)?;
    let retry = Retry {
        attempt: read_or_default(attempt, number)?,
        max_attempts,
    };
    Some(if max_attempts == Some(0) {
        Err(())
    } else {
        Ok(retry)
    })
}

/// Reads a priority. An unknown name stands for the first one; an unknown number is an error.
fn priority(json: &Json) -> Option<usize> {
    match json {
        Json::String(name) => {
            let known = PRIORITIES.iter().position(|priority| priority == name);
            Some(known.unwrap_or_default())
        }
        Json::Number(_) => {
            let number = usize::try_from(number(json)?).ok()?;
            (number < PRIORITIES.len()).then_some(number)
        }
        _ => None,
    }
}

/// Returns whether it is a valid id of an application, tenant, device or gateway: at least 3 lower-case
/// letters and digits, with single `-` between them, and at most 36 characters.
pub(in crate::simulator) fn is_id(id: &str) -> bool {
    let count = id.bytes().filter(|byte| *byte != b'-').count();
    count >= 3 && id.len() <= 36 && lorawan::is_well_formed(id, &['-'])
}
