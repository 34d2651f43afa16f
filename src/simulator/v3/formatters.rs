//! The payload formatters of The Things Stack.

use serde_json::{Map, Value};

use super::{
    measurement::{self, Valid},
    messages::Downlink,
};
use crate::simulator::lorawan::{self, Decoded, Functions, Normalized, Uplink};

/// The port of frames that carry MAC commands only.
const MAC_COMMANDS: u8 = 0;

/// What the formatters make of an uplink.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Formatted {
    pub(super) fields: Option<Value>,
    pub(super) warnings: Vec<String>,
    pub(super) normalized: Vec<Value>,
    pub(super) normalized_warnings: Vec<String>,
}

/// Returns what the formatters make of an uplink, `None` if the Application Server fails over it.
pub(super) fn decode(uplink: &Uplink, functions: &Functions) -> Option<Formatted> {
    let mut formatted = Formatted {
        warnings: uplink.warnings.clone(),
        normalized: uplink.normalized.clone(),
        ..Formatted::default()
    };
    if uplink.port == MAC_COMMANDS {
        return Some(formatted);
    }
    let decoded = functions.decoded(uplink).unwrap_or_else(|_| None.into());
    if decoded.crashes {
        return None;
    }
    let Some(data) = decoded.fields else {
        return Some(formatted);
    };
    let Some(fields) = as_object(data.clone()) else {
        return Some(formatted);
    };
    if formatted.normalized.is_empty() {
        let Ok(normalized) = normalize(&data, &fields, functions) else {
            return Some(formatted);
        };
        if normalized.crashes {
            return None;
        }
        formatted.normalized = normalized.measurements;
        formatted.normalized_warnings = normalized.warnings;
    }
    formatted.warnings = [decoded.warnings, formatted.warnings].concat();
    formatted.fields = Some(fields);
    Some(formatted)
}

/// Returns the measurements in range: those that the normalizer makes of the data or, if it is not
/// called, the fields if they are a measurement. An error means that the normalizer failed.
fn normalize(data: &Value, fields: &Value, functions: &Functions) -> Result<Normalized, String> {
    let normalizer = functions.normalizer.as_ref();
    let normalized = match normalizer.filter(|_| !data.is_null()) {
        Some(normalizer) => lorawan::call(|| normalizer(data))?,
        None => fields.clone().into(),
    };
    if normalized.crashes {
        return Ok(normalized);
    }
    let checked = normalized.measurements.iter().map(measurement::check);
    let Some(checked) = checked.collect::<Option<Vec<Valid>>>() else {
        return Ok(Normalized::default());
    };
    let mut valid = Normalized {
        warnings: normalized.warnings,
        ..Normalized::default()
    };
    for (index, measurement) in checked.into_iter().enumerate() {
        let warnings = measurement.warnings.iter();
        let numbered = warnings.map(|warning| format!("measurement {}: {warning}", index + 1));
        valid.warnings.extend(numbered);
        if !measurement.parts.is_empty() {
            valid.measurements.push(measurement.parts.into());
        }
    }
    Ok(valid)
}

/// Returns the value as the object that the server takes it for, if any.
fn as_object(value: Value) -> Option<Value> {
    match value {
        Value::Null => Some(Map::new().into()),
        Value::Array(items) => {
            let items = items.into_iter().enumerate();
            let members = items.map(|(index, item)| (index.to_string(), item));
            Some(members.collect::<Map<_, _>>().into())
        }
        Value::Object(_) => Some(value),
        _ => None,
    }
}

/// Why a downlink has no payload.
pub(super) enum Unencoded {
    /// Neither bytes nor fields were given.
    Empty,
    /// The encoder failed with that text.
    Failed(String),
}

/// Encodes the downlinks with fields, and decodes the payload of each for its later events.
pub(super) fn encode(downlinks: &mut [Downlink], functions: &Functions) -> Result<(), Unencoded> {
    for downlink in downlinks {
        let bytes = downlink.payload.take().filter(|bytes| !bytes.is_empty());
        let is_given = bytes.is_some();
        downlink.payload = Some(match (bytes, &downlink.decoded, &functions.encoder) {
            (Some(bytes), ..) => bytes,
            (None, None, _) => return Err(Unencoded::Empty),
            (None, Some(_), None) => Vec::new(),
            (None, Some(fields), Some(encoder)) => {
                let encoded = lorawan::call(|| encoder(downlink.f_port, fields))
                    .map_err(Unencoded::Failed)?;
                if encoded.value.is_some() {
                    let text = String::from("the encoder returned no bytes");
                    return Err(Unencoded::Failed(text));
                }
                downlink.f_port = match encoded.port {
                    Some(port) => port as u8,
                    None => downlink.f_port.max(1),
                };
                downlink.warnings = encoded.warnings;
                encoded.bytes
            }
        });
        downlink.heard = decoded(downlink, functions);
        if is_given && downlink.decoded.is_none() {
            (downlink.decoded, downlink.warnings) = downlink.heard.clone();
        }
    }
    Ok(())
}

/// Returns the fields and warnings of the downlink decoder.
fn decoded(downlink: &Downlink, functions: &Functions) -> (Option<Value>, Vec<String>) {
    let payload = downlink.payload.as_deref().unwrap_or_default();
    let decoded = match &functions.downlink_decoder {
        Some(decoder) => lorawan::call(|| decoder(downlink.f_port, payload)),
        None => Ok(None.into()),
    };
    let decoded = decoded.unwrap_or_else(|_| None.into());
    let Decoded {
        fields, warnings, ..
    } = decoded;
    match fields.and_then(as_object) {
        Some(fields) => (Some(fields), warnings),
        None => (None, Vec::new()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn formatted(data: Value, normalized: Value) -> Formatted {
        let mut functions = Functions::default();
        functions.set_decoder(move |_, _| Ok(data.clone()));
        functions.set_normalizer(move |_| Ok(normalized.clone()));
        decode(&Uplink::new(1, [1]), &functions).unwrap()
    }

    #[test]
    fn a_normalizer_is_called_only_with_data() {
        let air = json!({"air": {"temperature": 1}});
        for data in [json!({}), json!([])] {
            assert_eq!(formatted(data, air.clone()).normalized.len(), 1);
        }
        for data in [Value::Null, json!(7)] {
            assert!(formatted(data, air.clone()).normalized.is_empty());
        }
    }

    #[test]
    fn what_a_normalizer_returns_must_be_measurements() {
        for wrong in [Value::Null, json!(7), json!({"smell": 1})] {
            let formatted = formatted(json!({"t": 1}), wrong);
            assert_eq!(formatted.fields, Some(json!({"t": 1})));
            assert!(formatted.normalized.is_empty());
        }
    }

    #[test]
    fn an_uplink_of_mac_commands_is_not_decoded() {
        let mut functions = Functions::default();
        functions.set_decoder(|_, _| Ok(json!({"t": 1})));
        let formatted = decode(&Uplink::new(0, [2]), &functions);
        assert_eq!(formatted, Some(Formatted::default()));
    }
}
