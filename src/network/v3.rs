//! The Things Stack v3: its ids, topics and JSON.

use crate::{
    error::{Error, ErrorKind, Result},
    message::{Event, RawMessage},
};

const ID_RULE: &str =
    "ids have 3 to 36 lower-case letters and digits, with single - between them";

/// An application id, on hosted networks with `@` and a tenant id behind it.
pub(super) fn check_app_id(app_id: &str) -> Result<()> {
    let (application, tenant) = split_uid(app_id);
    if is_id(application) && tenant.is_none_or(is_id) {
        return Ok(());
    }
    Err(Error::config(format!(
        "{app_id:?} is no application id of The Things Stack, as my-app or my-app@tenant: {ID_RULE}"
    )))
}

pub(super) fn check_device_id(dev_id: &str) -> Result<()> {
    if is_id(dev_id) {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Downlink,
        format!("{dev_id:?} is no device id of The Things Stack: {ID_RULE}"),
    ))
}

/// `^[a-z0-9](?:[-]?[a-z0-9]){2,}$`, at most 36 characters
fn is_id(text: &str) -> bool {
    let mut letters = 0;
    let mut after_letter = false;
    for byte in text.bytes() {
        match byte {
            b'0'..=b'9' | b'a'..=b'z' => {
                letters += 1;
                after_letter = true;
            }
            b'-' if after_letter => after_letter = false,
            _ => return false,
        }
    }
    after_letter && letters >= 3 && text.len() <= 36
}

/// Application id and tenant id.
pub(super) fn split_uid(app_id: &str) -> (&str, Option<&str>) {
    match app_id.split_once('@') {
        Some((application, tenant)) => (application, Some(tenant)),
        None => (app_id, None),
    }
}

pub(super) fn subscriptions(app_id: &str) -> Vec<String> {
    vec![format!("v3/{app_id}/devices/+/#")]
}

pub(super) fn decode(raw: RawMessage) -> Event {
    Event::Other(raw)
}
