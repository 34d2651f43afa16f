//! Downlink requests of The Things Stack, read as its server reads them: by protobuf's JSON rules,
//! then by the limits of the schema.

mod json;

use serde::de::Deserialize;

use self::json::{
    Json, bool, bytes, list, members, number, object, optional, read_or_default, text, time,
};
use super::messages::{ClassBC, Downlink, FixedGateway, PRIORITIES, Retry};
use crate::simulator::lorawan;

/// Reads the downlinks of a `down/push` or `down/replace`; `None` if the server drops the request
/// silently. Ignores what follows the first JSON value.
pub(crate) fn read(payload: &[u8]) -> Option<Vec<Downlink>> {
    let mut deserializer = serde_json::Deserializer::from_slice(payload);
    let request = Json::deserialize(&mut deserializer).ok()?;
    let [downlinks] = members(&request, ["downlinks"])?;
    list(downlinks)?.iter().map(downlink).collect()
}

fn downlink(json: &Json) -> Option<Downlink> {
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
    let downlink = Downlink {
        session_key_id: read_or_default(session_key_id, bytes)?,
        f_port: u8::try_from(read_or_default(f_port, number)?).ok()?,
        f_cnt: read_or_default(f_cnt, number)?,
        payload: optional(frm_payload, bytes)?.filter(|bytes| !bytes.is_empty()),
        decoded: optional(decoded_payload, object)?,
        warnings: Vec::new(),
        heard: (None, Vec::new()),
        confirmed: read_or_default(confirmed, bool)?,
        class_b_c: optional(class_b_c, class_bc)?,
        priority: read_or_default(priority, self::priority)?,
        correlation_ids: list(correlation_ids)?
            .iter()
            .map(|id| text(id).filter(|id| id.chars().count() <= 100))
            .collect::<Option<_>>()?,
        retry: optional(confirmed_retry, retry)?,
    };
    let payload = downlink.payload.as_deref().unwrap_or_default();
    let attempts = downlink.retry.as_ref().and_then(|retry| retry.max_attempts);
    let too_many = downlink.confirmed && attempts.is_some_and(|attempts| attempts > 32);
    (downlink.f_port != 224 && payload.len() <= 255 && !too_many).then_some(downlink)
}

fn class_bc(json: &Json) -> Option<ClassBC> {
    let [gateways, absolute_time] = members(json, ["gateways", "absolute_time"])?;
    Some(ClassBC {
        gateways: list(gateways)?.iter().map(gateway).collect::<Option<_>>()?,
        absolute_time: optional(absolute_time, time)?,
    })
}

fn gateway(json: &Json) -> Option<FixedGateway> {
    let names = ["gateway_ids", "antenna_index", "group_index"];
    let [ids, antenna_index, group_index] = members(json, names)?;
    let [gateway_id, eui] = members(ids?, ["gateway_id", "eui"])?;
    let gateway_id = read_or_default(gateway_id, text)?;
    // In messages to clients, it is in hexadecimal digits instead.
    let eui = read_or_default(eui, bytes)?;
    let valid = is_id(&gateway_id) || gateway_id.is_empty();
    (valid && matches!(eui.len(), 0 | 8)).then_some(FixedGateway {
        gateway_id,
        eui: hex::encode_upper(eui),
        antenna_index: read_or_default(antenna_index, number)?,
        group_index: read_or_default(group_index, number)?,
    })
}

fn retry(json: &Json) -> Option<Retry> {
    let [attempt, max_attempts] = members(json, ["attempt", "max_attempts"])?;
    let max_attempts = optional(max_attempts, number)?;
    (max_attempts != Some(0)).then_some(Retry {
        attempt: read_or_default(attempt, number)?,
        max_attempts,
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
pub(super) fn is_id(id: &str) -> bool {
    let count = id.bytes().filter(|byte| *byte != b'-').count();
    count >= 3 && id.len() <= 36 && lorawan::is_well_formed(id, &['-'])
}
