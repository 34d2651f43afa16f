//! Writing what The Things Stack accepts: downlinks to push and queues to replace.
//!
//! The server silently drops a request that it cannot read, so everything that can be checked here
//! is checked here.

use std::time::{Duration, SystemTime};

use serde::Serialize;
use serde_json::{Map, Value};

use super::{ID_RULE, split_uid};
use crate::{
    message::{Antenna, Downlink, ReadPayload, Schedule, to_base64},
    network::request::{Effect, Request, check_port, in_batch},
};

/// The most bytes that a request may carry. Most regions allow fewer; the network reports that.
const MAX_PAYLOAD: usize = 255;

const EMPTY: &str = "the payload is empty, and The Things Stack silently drops a downlink without a payload; \
     to send an empty one to a device without a downlink formatter, use the fields {}";

/// The most characters of a correlation id.
const MAX_CORRELATION_ID: usize = 100;

const MAX_ATTEMPTS: u32 = 32;

/// The most downlinks in the queue of a device.
const MAX_DOWNLINKS: usize = 10_000;

/// How far ahead an absolute time must be for the server to take it.
const LEAD: Duration = Duration::from_millis(2_500);

#[derive(Serialize)]
struct Body<'a> {
    end_device_ids: EndDeviceIds<'a>,
    downlinks: Vec<Item<'a>>,
}

/// The addressee, for brokers between the client and the network. The network itself goes by the topic.
#[derive(Serialize)]
struct EndDeviceIds<'a> {
    device_id: &'a str,
    application_ids: ApplicationIds<'a>,
}

#[derive(Serialize)]
struct ApplicationIds<'a> {
    /// Never has a tenant.
    application_id: &'a str,
}

#[derive(Serialize)]
struct Item<'a> {
    f_port: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    frm_payload: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    decoded_payload: Option<&'a Map<String, Value>>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    confirmed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    class_b_c: Option<ClassBC<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    priority: Option<&'static str>,
    correlation_ids: Vec<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    confirmed_retry: Option<ConfirmedRetry>,
}

#[derive(Serialize)]
struct ClassBC<'a> {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    gateways: Vec<FixedPath<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    absolute_time: Option<String>,
}

#[derive(Serialize)]
struct FixedPath<'a> {
    gateway_ids: GatewayIds<'a>,
    #[serde(skip_serializing_if = "is_zero")]
    antenna_index: u32,
    #[serde(skip_serializing_if = "is_zero")]
    group_index: u32,
}

/// Does not have the EUI, because servers read it as base64 here, and never as hex.
#[derive(Serialize)]
struct GatewayIds<'a> {
    gateway_id: &'a str,
}

#[derive(Serialize)]
struct ConfirmedRetry {
    max_attempts: u32,
    /// Starts at 1; 0 would allow one more attempt.
    attempt: u32,
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// Returns one message for all downlinks, or says why the network would reject it.
pub(in crate::network) fn encode_downlinks(
    app_id: &str,
    dev_id: &str,
    downlinks: &[Downlink],
    schedule: Schedule,
    ids: &[String],
) -> Result<Vec<Request>, String> {
    let operation = match schedule {
        Schedule::Replace => "replace",
        Schedule::Last => "push",
        Schedule::First => {
            return Err(
                "The Things Stack cannot put a downlink at the front of the queue; use Schedule::Last, \
                 or Schedule::Replace with everything to send"
                    .to_owned(),
            );
        }
    };
    if downlinks.len() > MAX_DOWNLINKS {
        return Err(format!(
            "{} downlinks are too many; the queue of a device holds {MAX_DOWNLINKS}",
            downlinks.len()
        ));
    }
    let items = downlinks
        .iter()
        .zip(ids)
        .enumerate()
        .map(|(index, (downlink, id))| {
            item(downlink, id).map_err(|why| in_batch(index, downlinks.len(), why))
        })
        .collect::<Result<_, _>>()?;
    Ok(vec![Request {
        topic: format!("v3/{app_id}/devices/{dev_id}/down/{operation}"),
        payload: body(app_id, dev_id, items)?,
        downlinks: 0..downlinks.len(),
        effect: Effect::of(schedule),
    }])
}

pub(in crate::network) fn encode_clear(app_id: &str, dev_id: &str) -> Result<Request, String> {
    Ok(Request {
        topic: format!("v3/{app_id}/devices/{dev_id}/down/replace"),
        payload: body(app_id, dev_id, Vec::new())?,
        downlinks: 0..1,
        effect: Effect::Clears,
    })
}

fn body(app_id: &str, dev_id: &str, downlinks: Vec<Item<'_>>) -> Result<Vec<u8>, String> {
    let body = Body {
        end_device_ids: EndDeviceIds {
            device_id: dev_id,
            application_ids: ApplicationIds {
                application_id: split_uid(app_id).0,
            },
        },
        downlinks,
    };
    serde_json::to_vec(&body).map_err(|cause| cause.to_string())
}

fn item<'a>(downlink: &'a Downlink, id: &'a str) -> Result<Item<'a>, String> {
    // Without an FPort, most formatters fail. A formatter can still choose another one.
    let f_port = downlink.port.unwrap_or(1);
    check_port(f_port)?;
    let (frm_payload, decoded_payload) = match downlink.payload.read()? {
        ReadPayload::Bytes(bytes) if bytes.is_empty() => return Err(EMPTY.to_owned()),
        ReadPayload::Bytes(bytes) if bytes.len() > MAX_PAYLOAD => {
            return Err(format!(
                "{} bytes are too many; a downlink has at most {MAX_PAYLOAD}, and fewer in most regions",
                bytes.len()
            ));
        }
        ReadPayload::Bytes(bytes) => (Some(to_base64(&bytes)), None),
        ReadPayload::Fields(fields) => (None, Some(fields)),
    };
    Ok(Item {
        f_port,
        frm_payload,
        decoded_payload,
        confirmed: downlink.confirmed,
        class_b_c: class_b_c(downlink)?,
        priority: downlink.priority.map(|priority| priority.name()),
        correlation_ids: correlation_ids(downlink, id)?,
        confirmed_retry: confirmed_retry(downlink)?,
    })
}

fn class_b_c(downlink: &Downlink) -> Result<Option<ClassBC<'_>>, String> {
    let Downlink {
        gateways,
        absolute_time,
        ..
    } = downlink;
    if !downlink.class_b_c && gateways.is_empty() && absolute_time.is_none() {
        return Ok(None);
    }
    Ok(Some(ClassBC {
        gateways: gateways.iter().map(fixed_path).collect::<Result<_, _>>()?,
        absolute_time: absolute_time.map(ahead).transpose()?,
    }))
}

fn fixed_path(antenna: &Antenna) -> Result<FixedPath<'_>, String> {
    let gateway_id = antenna.gateway_id();
    if !ID_RULE.allows(gateway_id) {
        return Err(format!(
            "{gateway_id:?} is not a valid gateway id: {}",
            ID_RULE.description
        ));
    }
    Ok(FixedPath {
        gateway_ids: GatewayIds { gateway_id },
        antenna_index: antenna.antenna_index(),
        group_index: antenna.group_index(),
    })
}

fn ahead(time: SystemTime) -> Result<String, String> {
    /// The last second of the year 9999.
    const LATEST: Duration = Duration::from_secs(253_402_300_799);
    if time > SystemTime::UNIX_EPOCH + LATEST {
        return Err("the absolute time is after the year 9999".to_owned());
    }
    let now = SystemTime::now();
    if let Ok(ago) = now.duration_since(time) {
        return Err(format!(
            "the absolute time is in the past, {} ago according to the clock of this machine",
            humantime::format_duration(Duration::from_secs(ago.as_secs()))
        ));
    }
    if time < now + LEAD {
        return Err(format!(
            "the absolute time must be at least {LEAD:?} ahead by the clock of this machine, or the network rejects it"
        ));
    }
    Ok(humantime::format_rfc3339_nanos(time).to_string())
}

fn correlation_ids<'a>(downlink: &'a Downlink, id: &'a str) -> Result<Vec<&'a str>, String> {
    let own = &downlink.correlation_ids;
    if let Some(bad) = own
        .iter()
        .find(|own| own.is_empty() || own.chars().count() > MAX_CORRELATION_ID)
    {
        return Err(format!(
            "the correlation id {bad:?} has {} characters; 1 to {MAX_CORRELATION_ID} are allowed",
            bad.chars().count()
        ));
    }
    Ok(own.iter().map(String::as_str).chain([id]).collect())
}

fn confirmed_retry(downlink: &Downlink) -> Result<Option<ConfirmedRetry>, String> {
    match downlink.max_attempts {
        None => Ok(None),
        Some(_) if !downlink.confirmed => {
            Err("max_attempts is only for confirmed downlinks".to_owned())
        }
        Some(max_attempts) if (1..=MAX_ATTEMPTS).contains(&max_attempts) => {
            Ok(Some(ConfirmedRetry {
                max_attempts,
                attempt: 1,
            }))
        }
        Some(attempts) => Err(format!(
            "max_attempts is {attempts}; it must be 1 to {MAX_ATTEMPTS}"
        )),
    }
}
