//! What the handler makes of payloads and fields, with the functions of an application.

use serde_json::Value;

use super::cayenne;
use crate::simulator::lorawan::{
    self, Decoded, Failure, Functions, PayloadFormat, QueuedDownlink, Uplink,
};

/// The fields of an uplink.
pub(super) struct Fields {
    pub(super) value: Value,
    /// Whether the members of objects have topics of their own.
    pub(super) are_opened: bool,
}

/// Why an uplink has no fields.
pub(super) enum UplinkError {
    /// The validator rejects it.
    Invalid,
    /// The text of the event.
    Undecodable(String),
}

/// Returns the fields of an uplink, if any.
pub(super) fn decode(
    uplink: &Uplink,
    functions: &Functions,
) -> Result<Option<Fields>, UplinkError> {
    let fields = match (&uplink.fields, functions.format) {
        (Some(fields), _) => object(Ok(fields.clone().into()), "Decoder")?,
        (None, PayloadFormat::None) => None,
        (None, PayloadFormat::Custom) => decode_by_functions(uplink, functions)?,
        (None, PayloadFormat::CayenneLpp) => {
            Some(cayenne::decode(payload(uplink)).map_err(undecodable)?)
        }
    };
    if functions.format == PayloadFormat::Custom {
        if let Some(fields) = &fields {
            validate(uplink.port, fields, functions)?;
        }
    }
    let empty = |fields: &Value| fields.as_object().is_some_and(serde_json::Map::is_empty);
    Ok(fields.filter(|fields| !empty(fields)).map(|value| Fields {
        value,
        are_opened: functions.format != PayloadFormat::CayenneLpp,
    }))
}

/// Returns the payload without MAC commands, which a frame with port 0 carries.
fn payload(uplink: &Uplink) -> &[u8] {
    match uplink.port {
        0 => &[],
        _ => &uplink.payload,
    }
}

fn decode_by_functions(
    uplink: &Uplink,
    functions: &Functions,
) -> Result<Option<Value>, UplinkError> {
    let Some(decoder) = &functions.decoder else {
        return Ok(None);
    };
    let decoded = lorawan::call(|| decoder(uplink.port, payload(uplink)));
    let Some(fields) = object(decoded, "Decoder")? else {
        return Ok(None);
    };
    let Some(converter) = &functions.converter else {
        return Ok(Some(fields));
    };
    let converted = lorawan::call(|| converter(uplink.port, &fields));
    object(converted, "Converter")
}

/// Returns the object that a function returned, if any.
fn object(result: Result<Decoded, String>, function: &str) -> Result<Option<Value>, UplinkError> {
    let decoded = result.map_err(|error| undecodable(threw(function, &error)))?;
    match decoded.failure {
        Some(Failure::Endless) => {
            return Err(undecodable(format!(
                "Internal error: Interrupted javascript execution for {function} after 102.191093ms"
            )));
        }
        Some(Failure::Number(number)) => return Err(unprintable(number)),
        None => {}
    }
    match decoded.fields {
        Some(fields) if !fields.is_object() => Err(undecodable(format!(
            "{function} not valid: does not return an object"
        ))),
        fields => Ok(fields),
    }
}

fn validate(port: u8, fields: &Value, functions: &Functions) -> Result<(), UplinkError> {
    let Some(validator) = &functions.validator else {
        return Ok(());
    };
    match lorawan::call(|| validator(port, fields).0) {
        Ok(Value::Bool(true)) => Ok(()),
        Ok(Value::Bool(false)) => Err(UplinkError::Invalid),
        Ok(_) => Err(undecodable(
            "Validator not valid: does not return a boolean",
        )),
        Err(error) => Err(undecodable(threw("Validator", &error))),
    }
}

fn undecodable(error: impl std::fmt::Display) -> UplinkError {
    UplinkError::Undecodable(format!("Unable to decode payload fields: {error}"))
}

fn unprintable(number: f64) -> UplinkError {
    let sign = if number > 0.0 { '+' } else { '-' };
    let number = if number.is_nan() {
        String::from("NaN")
    } else {
        format!("{sign}Inf")
    };
    UplinkError::Undecodable(format!(
        "Payload Function output cannot be marshaled to JSON: json: unsupported value: {number}"
    ))
}

fn threw(function: &str, error: &str) -> String {
    format!("Internal error: {function} threw error: {error}")
}

/// Returns the bytes of a downlink, or the handler's error text.
pub(super) fn encode(
    downlink: &QueuedDownlink,
    functions: &Functions,
) -> Result<Option<Vec<u8>>, String> {
    let Some(fields) = &downlink.fields else {
        return Ok(downlink.payload.clone());
    };
    if downlink.payload.is_some() {
        return Err("Downlink not valid: Both Fields and Payload provided".into());
    }
    match functions.format {
        PayloadFormat::None => return Ok(None),
        PayloadFormat::CayenneLpp => return Ok(Some(cayenne::encode(fields))),
        PayloadFormat::Custom => {}
    }
    let Some(encoder) = &functions.encoder else {
        return Err(
            "Downlink Payload not valid: fields supplied, but no Encoder function set".into(),
        );
    };
    let encoded = lorawan::call(|| encoder(downlink.port, fields));
    let encoded = encoded.map_err(|error| threw("Encoder", &error))?;
    match encoded.value {
        Some(value) => Err(not_bytes(&value).into()),
        None => Ok(Some(encoded.bytes)),
    }
}

/// Returns what is wrong with the result of an encoder.
fn not_bytes(value: &Value) -> &'static str {
    let is_whole = |number: &Value| number.as_f64().is_some_and(|number| number.fract() == 0.0);
    let is_byte = |number: &Value| {
        let in_range = |number| (0.0..=255.0).contains(&number);
        is_whole(number) && number.as_f64().is_some_and(in_range)
    };
    // The handler stops at the first number that is wrong.
    match value {
        Value::Array(numbers) => {
            let wrong = numbers.iter().find(|number| !is_byte(number));
            if wrong.is_some_and(is_whole) {
                "Encoder Output not valid: Numbers in Array should be between 0 and 255"
            } else {
                "Encoder not valid: should return an Array of integer numbers"
            }
        }
        Value::Object(_) => "Encoder not valid: does not return an Array",
        _ => "Encoder not valid: does not return an object",
    }
}
