//! Writing what V2 networks accept: one message for each downlink.

use crate::{
    message::{Downlink, ReadPayload, Schedule, to_base64},
    network::request::{Effect, Request, check_port, in_batch},
};

/// The largest payload of a LoRaWAN frame in any region.
const MAX_PAYLOAD: usize = 242;

/// Returns one message for each downlink, or says why the network would reject one of them.
pub(in crate::network) fn encode_downlinks(
    app_id: &str,
    dev_id: &str,
    downlinks: &[Downlink],
    schedule: Schedule,
) -> Result<Vec<Request>, String> {
    let mut requests = downlinks
        .iter()
        .enumerate()
        .map(|(index, downlink)| {
            // The others follow the first one.
            let schedule = match (index, schedule) {
                (0, schedule) | (_, schedule @ Schedule::First) => schedule,
                _ => Schedule::Last,
            };
            Ok(Request {
                topic: format!("{app_id}/devices/{dev_id}/down"),
                payload: encode_downlink(downlink, schedule)
                    .map_err(|why| in_batch(index, downlinks.len(), why))?,
                downlinks: index..index + 1,
                effect: Effect::of(schedule),
            })
        })
        .collect::<Result<Vec<_>, String>>()?;
    if schedule == Schedule::First {
        requests.reverse();
    }
    Ok(requests)
}

fn encode_downlink(downlink: &Downlink, schedule: Schedule) -> Result<Vec<u8>, String> {
    if let Some(option) = v3_option(downlink) {
        return Err(format!(
            "{option} is an option of v3; V2 networks do not have it"
        ));
    }
    let port = downlink.port.unwrap_or(1);
    check_port(port)?;
    let payload = match downlink.payload.read()? {
        ReadPayload::Bytes(bytes) if bytes.is_empty() => {
            return Err("the payload is empty".to_owned());
        }
        ReadPayload::Bytes(bytes) if bytes.len() > MAX_PAYLOAD => {
            return Err(format!(
                "{} bytes are too many; no LoRaWAN region carries more than {MAX_PAYLOAD}",
                bytes.len()
            ));
        }
        ReadPayload::Bytes(bytes) => format!(r#""payload_raw":"{}""#, to_base64(&bytes)),
        ReadPayload::Fields(fields) if fields.is_empty() => {
            return Err("the payload has no fields".to_owned());
        }
        ReadPayload::Fields(fields) => {
            let json = serde_json::to_string(fields).map_err(|cause| cause.to_string())?;
            format!(r#""payload_fields":{json}"#)
        }
    };
    Ok(format!(
        r#"{{"port":{port},"confirmed":{},"schedule":"{schedule}",{payload}}}"#,
        downlink.confirmed,
    )
    .into_bytes())
}

/// Names an option of the downlink that only v3 has.
fn v3_option(downlink: &Downlink) -> Option<&'static str> {
    [
        (downlink.priority.is_some(), "priority"),
        (downlink.class_b_c, "class_b_c"),
        (!downlink.gateways.is_empty(), "gateway"),
        (downlink.absolute_time.is_some(), "absolute_time"),
        (downlink.max_attempts.is_some(), "max_attempts"),
        (!downlink.correlation_ids.is_empty(), "correlation_id"),
    ]
    .into_iter()
    .find_map(|(given, option)| given.then_some(option))
}
