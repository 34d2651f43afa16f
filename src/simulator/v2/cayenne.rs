//! CayenneLPP, which V2 has built in.

use serde_json::{Map, Number, Value};

/// How a type of channel is written: the name of its field, and the length in bytes, divisor and name of
/// each number. A type with one number has no object.
struct Kind {
    name: &'static str,
    is_signed: bool,
    numbers: &'static [(usize, f32, &'static str)],
}

const fn one(name: &'static str, numbers: &'static [(usize, f32, &'static str)]) -> Kind {
    Kind {
        name,
        is_signed: false,
        numbers,
    }
}

const fn signed(name: &'static str, numbers: &'static [(usize, f32, &'static str)]) -> Kind {
    Kind {
        name,
        is_signed: true,
        numbers,
    }
}

fn kind(number: u8) -> Option<Kind> {
    Some(match number {
        0 => one("digital_in", &[(1, 1.0, "")]),
        1 => one("digital_out", &[(1, 1.0, "")]),
        2 => signed("analog_in", &[(2, 100.0, "")]),
        3 => signed("analog_out", &[(2, 100.0, "")]),
        101 => one("luminosity", &[(2, 1.0, "")]),
        102 => one("presence", &[(1, 1.0, "")]),
        103 => signed("temperature", &[(2, 10.0, "")]),
        104 => one("relative_humidity", &[(1, 2.0, "")]),
        113 => {
            let axes = &[(2, 1000.0, "x"), (2, 1000.0, "y"), (2, 1000.0, "z")];
            signed("accelerometer", axes)
        }
        115 => signed("barometric_pressure", &[(2, 10.0, "")]),
        134 => signed(
            "gyrometer",
            &[(2, 100.0, "x"), (2, 100.0, "y"), (2, 100.0, "z")],
        ),
        136 => {
            let place = &[
                (3, 10_000.0, "latitude"),
                (3, 10_000.0, "longitude"),
                (3, 100.0, "altitude"),
            ];
            signed("gps", place)
        }
        _ => return None,
    })
}

/// Returns the fields, or the handler's error text.
pub(super) fn decode(payload: &[u8]) -> Result<Value, String> {
    let mut fields = Map::new();
    let mut rest = payload;
    while !rest.is_empty() {
        let [channel, number] = *take(&mut rest, 2)? else {
            break;
        };
        let Some(kind) = kind(number) else {
            return Err("cayennelpp: unknown type".into());
        };
        let mut members = Map::new();
        for (length, divisor, name) in kind.numbers {
            let raw = take(&mut rest, *length)?;
            let value = integer(raw, kind.is_signed) as f32 / divisor;
            members.insert((*name).to_owned(), number_of(value));
        }
        let value = members.remove("").unwrap_or(Value::Object(members));
        fields.insert(format!("{}_{channel}", kind.name), value);
    }
    Ok(Value::Object(fields))
}

/// Returns the bytes of the fields that are called `value_` and a channel, in the order of their names.
pub(super) fn encode(fields: &Value) -> Vec<u8> {
    let numbers = fields.as_object().into_iter().flatten();
    let channels = numbers.filter_map(|(name, value)| {
        let channel: u8 = name.strip_prefix("value_")?.parse().ok()?;
        let [high, low] = ((value.as_f64()? as f32 * 100.0) as i16).to_be_bytes();
        Some([channel, high, low])
    });
    channels.flatten().collect()
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Result<&'a [u8], String> {
    let Some((taken, left)) = rest.split_at_checked(length) else {
        // A channel that ends after its type has no value at all.
        let missing = if rest.is_empty() {
            "EOF"
        } else {
            "unexpected EOF"
        };
        return Err(missing.into());
    };
    *rest = left;
    Ok(taken)
}

fn integer(bytes: &[u8], is_signed: bool) -> i32 {
    let is_negative = is_signed && bytes[0] & 0x80 != 0;
    let start = if is_negative { -1 } else { 0 };
    bytes
        .iter()
        .fold(start, |number, byte| number << 8 | i32::from(*byte))
}

/// Returns the number with the fewest digits that identify it.
fn number_of(value: f32) -> Value {
    let number: Option<f64> = value.to_string().parse().ok();
    number
        .and_then(Number::from_f64)
        .map_or(Value::Null, Value::Number)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn channels_become_fields() {
        let payload = [
            0x03, 0x67, 0x01, 0x10, 0x05, 0x67, 0x00, 0xff, 0x01, 0x88, 0x06, 0x76, 0x5f, 0xf2,
            0x96, 0x0a, 0x00, 0x03, 0xe8, 0x02, 0x68, 0x64, 0x04, 0x02, 0xff, 0x38,
        ];
        let expected = json!({
            "temperature_3": 27.2,
            "temperature_5": 25.5,
            "gps_1": {"latitude": 42.3519, "longitude": -87.9094, "altitude": 10.0},
            "relative_humidity_2": 50.0,
            "analog_in_4": -2.0,
        });
        assert_eq!(decode(&payload).unwrap(), expected);
        assert_eq!(decode(&[]).unwrap(), json!({}));
    }

    #[test]
    fn a_payload_that_is_cut_short_or_unknown_is_an_error() {
        assert_eq!(decode(&[1, 103, 0]).unwrap_err(), "unexpected EOF");
        assert_eq!(decode(&[1]).unwrap_err(), "unexpected EOF");
        assert_eq!(decode(&[1, 103]).unwrap_err(), "EOF");
        assert_eq!(
            decode(&[1, 255, 0]).unwrap_err(),
            "cayennelpp: unknown type"
        );
    }

    #[test]
    fn only_numbers_that_are_called_a_value_are_encoded() {
        let fields =
            json!({"value_1": 1, "value_2": -2.5, "value_3": "x", "led": 1, "value_300": 1});
        assert_eq!(encode(&fields), [1, 0, 100, 2, 0xff, 0x06]);
    }
}
