//! Reads the fields that payload functions and formatters send: numbers as text, with a unit, or `NaN`,
//! and truth values as 0 and 1.
//!
//! A formatter is a few lines of JavaScript, so its numbers are often text: `"21.5"` (from `toFixed`),
//! `"83 %"`. Mark such a member of your own type with `#[serde(deserialize_with = "…")]` and one of the
//! functions; those that begin with `optional_` also read a member without a value. Serde then requires
//! the member, unless you also mark it with `default`. Without a type of your own,
//! [`UplinkMessage::number`](crate::UplinkMessage::number) reads one number.
//!
//! | the member is | [`number`] | [`optional_number`] | [`whole_number`] | [`flag`] |
//! |---|---|---|---|---|
//! | `21.5`, `"21.5"`, `"21.5 °C"`, `"21,5"` | 21.5 | 21.5 | error | error |
//! | `83`, `83.0`, `"83 %"` | 83 | 83 | 83 | error |
//! | `null`, `""`, `"NaN"`, `"n/a"`, `"undefined °C"` | error | `None` | error | error |
//! | left out | error, or `default` | error, or `default` | error, or `default` | error, or `default` |
//! | `true`, `1`, `"on"` | only `1`: 1 | only `1`: 1 | only `1`: 1 | `true` |
//! | `"1,234"` (1.234 or 1234?), `"10-20"`, `"12:30"`, `"33.9° S"`, `"open"` | error | error | error | error |
//!
//! [`optional_whole_number`] and [`optional_flag`] read what the last two read, and `None` where
//! [`optional_number`] does. A unit has at most 12 characters, and no space except after `°`.
//!
//! The functions also read a [`Value`], such as that of an [`UplinkField`](crate::UplinkField):
//! `ttn::fields::number(&field.value)`.
//!
//! **A unit is left out, not converted:** `"3300 mV"` reads as 3300. Any short text of Latin, Greek or
//! Cyrillic letters counts as a unit, so hexadecimal text such as `"1F"` reads as 1: keep such a member as
//! a `String`.
//!
//! ```
//! use ttn::{Network, UplinkMessage};
//!
//! #[derive(serde::Deserialize)]
//! struct Climate {
//!     #[serde(deserialize_with = "ttn::fields::number")]
//!     temperature: f64,
//!     #[serde(default, deserialize_with = "ttn::fields::optional_number")]
//!     humidity: Option<f64>,
//!     #[serde(deserialize_with = "ttn::fields::whole_number")]
//!     battery: u8,
//!     #[serde(default, deserialize_with = "ttn::fields::flag")]
//!     leak: bool,
//! }
//!
//! let uplink = UplinkMessage::from_json(Network::V2, r#"{"app_id":"greenhouse","dev_id":"bed-07",
//!     "payload_fields":{"temperature":"21.5 °C","humidity":"NaN","battery":"83 %","leak":0}}"#)?;
//! let climate: Climate = uplink.fields()?;
//! assert_eq!((climate.temperature, climate.humidity), (21.5, None));
//! assert_eq!((climate.battery, climate.leak), (83, false));
//!
//! assert_eq!(ttn::fields::number(&uplink.payload_fields["temperature"])?, 21.5);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! For a list or a map of such numbers, wrap one of them:
//!
//! ```
//! # use ttn::{Network, UplinkMessage};
//! #[derive(serde::Deserialize)]
//! struct Number(#[serde(deserialize_with = "ttn::fields::number")] f64);
//!
//! #[derive(serde::Deserialize)]
//! struct Tank { levels: Vec<Number> }
//!
//! let uplink = UplinkMessage::from_json(Network::V2, r#"{"app_id":"greenhouse","dev_id":"bed-07",
//!     "payload_fields":{"levels":["7 cm", 8.5]}}"#)?;
//! let tank: Tank = uplink.fields()?;
//! assert_eq!((tank.levels[0].0, tank.levels[1].0), (7.0, 8.5));
//! # Ok::<(), ttn::Error>(())
//! ```

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, IntoDeserializer, Unexpected},
};
use serde_json::Value;

use super::mismatch::explain;
use crate::error::{Error, ErrorKind, Result};

/// What stands for a missing number, in lower case.
const NO_NUMBERS: [&str; 14] = [
    "nan",
    "-nan",
    "null",
    "none",
    "undefined",
    "n/a",
    "na",
    "infinity",
    "+infinity",
    "-infinity",
    "inf",
    "-inf",
    "--",
    "-",
];

/// The longest unit in characters, such as `µmol/m²/s`.
const LONGEST_UNIT: usize = 12;

/// From this number on, an `f64` does not hold every whole number.
const INEXACT: f64 = 9_007_199_254_740_992.0;

/// Reads fields as a type of your own: those of a downlink report, an entry of
/// [`normalized_payload`](crate::UplinkMessage::normalized_payload), or the data of an application
/// package. For an uplink, use [`UplinkMessage::fields`](crate::UplinkMessage::fields).
///
/// # Errors
///
/// [`ErrorKind::Decode`], which names the member that does not match `T`.
///
/// ```
/// # use ttn::{Event, Network};
/// #[derive(serde::Deserialize)]
/// struct Valve { minutes: u8 }
///
/// let event = Event::decode(Network::V3, "v3/greenhouse@ttn/devices/bed-07/down/queued",
///     r#"{"downlink_queued":{"f_port":2,"decoded_payload":{"minutes":300}}}"#)?;
/// let Event::Downlink(report) = event else { panic!() };
/// let error = ttn::fields::read::<Valve>(&report.payload_fields).err().unwrap();
/// assert_eq!(error.to_string(),
///     "the fields do not match the type: minutes: expected a whole number from 0 to 255, found 300");
/// # Ok::<(), ttn::Error>(())
/// ```
pub fn read<T: DeserializeOwned>(fields: &Value) -> Result<T> {
    T::deserialize(fields).map_err(|cause| {
        let why = explain::<T>(fields, &cause);
        let context = format!("the fields do not match the type: {why}");
        Error::with_source(ErrorKind::Decode, context, cause)
    })
}

/// Reads a number, or text of a number with or without a unit.
///
/// The text may have a decimal comma, unless exactly three digits follow it: `"1,234"` could be 1.234 or
/// 1234, and is an error.
///
/// # Errors
///
/// If the member has no number, or one that is not finite. `NaN` is an error here; see
/// [`optional_number`].
///
/// ```
/// #[derive(serde::Deserialize)]
/// struct Climate {
///     #[serde(deserialize_with = "ttn::fields::number")]
///     temperature: f64,
/// }
///
/// for text in [r#"{"temperature":21.5}"#, r#"{"temperature":"21.5"}"#, r#"{"temperature":"21,5 °C"}"#] {
///     let climate: Climate = ttn::serde_json::from_str(text)?;
///     assert_eq!(climate.temperature, 21.5);
/// }
/// # Ok::<(), ttn::serde_json::Error>(())
/// ```
pub fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    let value = Value::deserialize(deserializer)?;
    match as_number(&value) {
        Found::Number(number) => Ok(number),
        Found::Nothing | Found::Other => Err(unexpected(&value, "a number")),
        Found::Ambiguous => Err(unexpected(&value, "a number with a decimal point")),
    }
}

/// Reads a number like [`number`], and `None` if the formatter had none: `null`, empty text, `"NaN"`,
/// `"Infinity"`, `"null"`, `"none"`, `"undefined"`, `"n/a"`, `"-"`, each with or without a unit.
///
/// Mark the member with `default` as well if the formatter may leave it out.
///
/// # Errors
///
/// If the member has something else, such as other text.
///
/// ```
/// #[derive(serde::Deserialize)]
/// struct Climate {
///     #[serde(default, deserialize_with = "ttn::fields::optional_number")]
///     temperature: Option<f64>,
/// }
///
/// for text in [r#"{}"#, r#"{"temperature":null}"#, r#"{"temperature":"NaN °C"}"#] {
///     let climate: Climate = ttn::serde_json::from_str(text)?;
///     assert_eq!(climate.temperature, None);
/// }
/// # Ok::<(), ttn::serde_json::Error>(())
/// ```
pub fn optional_number<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<f64>, D::Error> {
    let value = Value::deserialize(deserializer)?;
    match as_number(&value) {
        Found::Number(number) => Ok(Some(number)),
        Found::Nothing => Ok(None),
        Found::Other => Err(unexpected(&value, "a number or null")),
        Found::Ambiguous => Err(unexpected(&value, "a number with a decimal point, or null")),
    }
}

/// Reads a number without a fraction like [`number`], as an integer type of your choice. `83.0` and
/// `"8.3e1"` are such numbers.
///
/// # Errors
///
/// If the member has no such number, or one that does not fit the type. Nothing is rounded.
///
/// ```
/// #[derive(Debug, serde::Deserialize)]
/// struct Device {
///     #[serde(deserialize_with = "ttn::fields::whole_number")]
///     battery: u8,
/// }
///
/// let device: Device = ttn::serde_json::from_str(r#"{"battery":"83 %"}"#)?;
/// assert_eq!(device.battery, 83);
/// ttn::serde_json::from_str::<Device>(r#"{"battery":82.5}"#).unwrap_err();
/// # Ok::<(), ttn::serde_json::Error>(())
/// ```
pub fn whole_number<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: DeserializeOwned,
{
    to_whole_number(&Value::deserialize(deserializer)?, "a whole number")
}

fn to_whole_number<T: DeserializeOwned, E: serde::de::Error>(
    value: &Value,
    wanted: &str,
) -> Result<T, E> {
    let digits = match value {
        Value::Number(number) => number.to_string(),
        Value::String(text) => parts(text).map_or_else(String::new, |(digits, _)| digits),
        _ => String::new(),
    };
    let float = || match as_number(value) {
        Found::Number(float) if float.fract() == 0.0 && float.abs() < INEXACT => Some(float as i64),
        _ => None,
    };
    let digits = digits.strip_prefix('+').unwrap_or(&digits);
    if let Ok(whole) = digits.parse::<u64>() {
        T::deserialize(whole.into_deserializer())
    } else if let Some(whole) = digits.parse::<i64>().ok().or_else(float) {
        match u64::try_from(whole) {
            Ok(whole) => T::deserialize(whole.into_deserializer()),
            Err(_) => T::deserialize(whole.into_deserializer()),
        }
    } else {
        Err(unexpected(value, wanted))
    }
}

/// Reads a number without a fraction like [`whole_number`], and `None` for what [`optional_number`] reads
/// as `None`.
///
/// Mark the member with `default` as well if the formatter may leave it out.
///
/// # Errors
///
/// If the member has something else, such as 82.5, or a number that does not fit the type.
///
/// ```
/// #[derive(Debug, serde::Deserialize)]
/// struct Device {
///     #[serde(default, deserialize_with = "ttn::fields::optional_whole_number")]
///     battery: Option<u8>,
/// }
///
/// for text in [r#"{}"#, r#"{"battery":null}"#, r#"{"battery":"NaN %"}"#] {
///     let device: Device = ttn::serde_json::from_str(text)?;
///     assert_eq!(device.battery, None);
/// }
/// let device: Device = ttn::serde_json::from_str(r#"{"battery":"83 %"}"#)?;
/// assert_eq!(device.battery, Some(83));
/// ttn::serde_json::from_str::<Device>(r#"{"battery":"830 %"}"#).unwrap_err();
/// # Ok::<(), ttn::serde_json::Error>(())
/// ```
pub fn optional_whole_number<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: DeserializeOwned,
{
    let value = Value::deserialize(deserializer)?;
    if is_nothing(&value) {
        return Ok(None);
    }
    to_whole_number(&value, "a whole number or null").map(Some)
}

/// Reads `true` and `false`, 1 and 0, and the texts `true` and `false`, `1` and `0`, `on` and `off`, `yes`
/// and `no`, in any case.
///
/// # Errors
///
/// If the member has something else, such as 2 or `null`.
///
/// ```
/// #[derive(serde::Deserialize)]
/// struct Device {
///     #[serde(deserialize_with = "ttn::fields::flag")]
///     leak: bool,
/// }
///
/// for text in [r#"{"leak":true}"#, r#"{"leak":1}"#, r#"{"leak":"TRUE"}"#, r#"{"leak":"on"}"#] {
///     let device: Device = ttn::serde_json::from_str(text)?;
///     assert!(device.leak);
/// }
/// # Ok::<(), ttn::serde_json::Error>(())
/// ```
pub fn flag<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    to_flag(&Value::deserialize(deserializer)?, "true or false")
}

/// Reads a truth value like [`flag`], and `None` for what [`optional_number`] reads as `None`.
///
/// Mark the member with `default` as well if the formatter may leave it out.
///
/// # Errors
///
/// If the member has something else, such as 2.
///
/// ```
/// #[derive(serde::Deserialize)]
/// struct Device {
///     #[serde(default, deserialize_with = "ttn::fields::optional_flag")]
///     leak: Option<bool>,
/// }
///
/// for (text, leak) in [(r#"{"leak":null}"#, None), (r#"{"leak":"n/a"}"#, None), (r#"{"leak":0}"#, Some(false))] {
///     let device: Device = ttn::serde_json::from_str(text)?;
///     assert_eq!(device.leak, leak);
/// }
/// # Ok::<(), ttn::serde_json::Error>(())
/// ```
pub fn optional_flag<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<bool>, D::Error> {
    let value = Value::deserialize(deserializer)?;
    if is_nothing(&value) {
        return Ok(None);
    }
    to_flag(&value, "true, false or null").map(Some)
}

fn to_flag<E: serde::de::Error>(value: &Value, wanted: &str) -> Result<bool, E> {
    let flag = match value {
        Value::Bool(flag) => Some(*flag),
        Value::Number(number) => match number.as_f64() {
            Some(1.0) => Some(true),
            Some(0.0) => Some(false),
            _ => None,
        },
        Value::String(text) => match text.trim().to_ascii_lowercase().as_str() {
            "true" | "1" | "on" | "yes" => Some(true),
            "false" | "0" | "off" | "no" => Some(false),
            _ => None,
        },
        _ => None,
    };
    flag.ok_or_else(|| unexpected(value, wanted))
}

/// Returns the value at `path`, such as `gps.lat` or `entries[0].temperature`. A member whose own name
/// is the rest of the path, or a part of it with dots, is found too.
pub(super) fn find<'a>(value: &'a Value, path: &str) -> Option<&'a Value> {
    if let Some(index) = path.strip_prefix('[') {
        let (index, rest) = index.split_once(']')?;
        let value = value.get(index.parse::<usize>().ok()?)?;
        return match rest.strip_prefix('.').unwrap_or(rest) {
            "" => Some(value),
            rest => find(value, rest),
        };
    }
    let members = value.as_object()?;
    members.get(path).or_else(|| {
        path.char_indices()
            .filter(|(_, letter)| ['.', '['].contains(letter))
            .find_map(|(end, letter)| {
                let rest = if letter == '.' { end + 1 } else { end };
                find(members.get(&path[..end])?, &path[rest..])
            })
    })
}

/// Returns the number that a value has, as [`number`] reads it.
pub(super) fn number_in(value: &Value) -> Option<f64> {
    match as_number(value) {
        Found::Number(number) => Some(number),
        _ => None,
    }
}

/// What a value has in place of a number.
enum Found {
    Number(f64),
    /// What a formatter writes if it has no number.
    Nothing,
    /// A comma that may be decimal or group thousands.
    Ambiguous,
    Other,
}

fn as_number(value: &Value) -> Found {
    let finite = |number: Option<f64>| {
        number
            .filter(|number| number.is_finite())
            .map_or(Found::Other, Found::Number)
    };
    match value {
        Value::Number(number) => finite(number.as_f64()),
        Value::String(text) if is_no_number(text) => Found::Nothing,
        Value::String(text) => match parts(text) {
            Some((_, true)) => Found::Ambiguous,
            Some((digits, false)) => finite(digits.parse().ok()),
            None => Found::Other,
        },
        Value::Null => Found::Nothing,
        _ => Found::Other,
    }
}

/// Returns whether the formatter says that it has no value.
fn is_nothing(value: &Value) -> bool {
    matches!(as_number(value), Found::Nothing)
}

fn is_no_number(text: &str) -> bool {
    let text = text.trim().to_lowercase();
    text.is_empty()
        || NO_NUMBERS.iter().any(|word| {
            text.strip_prefix(word).is_some_and(|rest| {
                rest.is_empty()
                    || (!rest.starts_with(char::is_alphanumeric) && is_unit(rest.trim()))
            })
        })
}

/// Returns the number at the beginning of a text, with a decimal point, if only a unit follows, and
/// whether its comma is ambiguous.
fn parts(text: &str) -> Option<(String, bool)> {
    let text = text.trim();
    let mut end = usize::from(text.starts_with(['+', '-']));
    let skip_digits = |from: usize| from + digits(&text[from..]);
    let whole = end..skip_digits(end);
    end = whole.end;
    let mut comma = None;
    if text[end..].starts_with(['.', ',']) {
        let fraction = end + 1..skip_digits(end + 1);
        if text[end..].starts_with(',') {
            comma = Some((end, fraction.len()));
        }
        end = fraction.end;
    }
    if whole.is_empty() && !text[..end].ends_with(|last: char| last.is_ascii_digit()) {
        return None;
    }
    if let Some(exponent) = text[end..].strip_prefix(['e', 'E']) {
        let sign = usize::from(exponent.starts_with(['+', '-']));
        match digits(&exponent[sign..]) {
            0 => {}
            length => end += 1 + sign + length,
        }
    }
    let (number, rest) = text.split_at(end);
    // Hexadecimal, not a number with a unit.
    if number.bytes().all(|byte| b"+-0".contains(&byte)) && rest.starts_with(['x', 'X']) {
        return None;
    }
    if !rest.is_empty() && !is_unit(rest.trim_start()) {
        return None;
    }
    let is_ambiguous = match comma {
        Some((_, 0)) => return None,
        Some((_, 3)) => !text[whole].starts_with('0'),
        _ => false,
    };
    Some((number.replacen(',', ".", 1), is_ambiguous))
}

fn digits(text: &str) -> usize {
    text.bytes().take_while(u8::is_ascii_digit).count()
}

/// Returns whether a text may be a unit, such as `%`, `°C`, `m/s` or `µg/m3`.
fn is_unit(text: &str) -> bool {
    let mut previous = ' ';
    text.chars().count() <= LONGEST_UNIT
        && text.starts_with(|first: char| is_letter(first) || "%‰°℃℉".contains(first))
        && !is_direction(text)
        && text.chars().all(|letter| {
            let fits = match letter {
                '2' | '3' => ['m', 's', '^'].contains(&previous),
                ' ' => ['°', '%'].contains(&previous),
                // `2m3s` has two numbers.
                _ if previous.is_ascii_digit() => "/·*".contains(letter),
                _ => is_letter(letter) || "%‰°℃℉/·*^²³⁻¹".contains(letter),
            };
            previous = letter;
            fits
        })
}

/// Returns whether a letter is one of a unit, and not a numeral such as `Ⅷ` or `〇`, a power of ten such as
/// `万`, or a part of other text.
fn is_letter(letter: char) -> bool {
    let is_of_units = letter <= '\u{24f}' || ('\u{370}'..='\u{52f}').contains(&letter);
    // The signs for ohm, kelvin, ångström and litre.
    let is_sign = ['\u{2126}', '\u{212a}', '\u{212b}', '\u{2113}'].contains(&letter);
    letter.is_alphabetic() && (is_of_units || is_sign)
}

/// Returns whether a text is what follows the degrees of a latitude or longitude, whose sign it decides.
fn is_direction(text: &str) -> bool {
    let direction = text.strip_prefix(['°', 'º']).map(str::trim_start);
    direction.is_some_and(|text| ["N", "S", "E", "W", "O"].contains(&text))
}

fn unexpected<E: serde::de::Error>(value: &Value, wanted: &str) -> E {
    let found = match value {
        Value::Null => Unexpected::Unit,
        Value::Bool(value) => Unexpected::Bool(*value),
        Value::Number(number) => match (number.as_u64(), number.as_i64(), number.as_f64()) {
            (Some(number), ..) => Unexpected::Unsigned(number),
            (_, Some(number), _) => Unexpected::Signed(number),
            (.., Some(number)) => Unexpected::Float(number),
            _ => return E::custom(format_args!("expected {wanted}, found {number}")),
        },
        Value::String(text) => Unexpected::Str(text),
        Value::Array(_) => Unexpected::Seq,
        Value::Object(_) => Unexpected::Map,
    };
    E::invalid_type(found, &wanted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seeds::for_seeds;

    #[test]
    fn any_number_comes_back_from_its_text() {
        for_seeds(20_000, |random| {
            let number = f64::from_bits(random.u64(..));
            if !number.is_finite() {
                return;
            }
            let unit = ["", " ", "%", " °C", "mV", " m/s", "\u{202f}µg/m3"][random.usize(..7)];
            for text in [format!("{number}{unit}"), format!("{number:e}{unit}")] {
                assert_eq!(number_in(&text.as_str().into()), Some(number), "{text}");
            }
        });
    }

    #[test]
    fn no_text_is_read_as_another_number() {
        let letters: Vec<char> = "0123459.,.,+--eE xXnaNif%°/:²µ\u{a0}é€".chars().collect();
        for_seeds(50_000, |random| {
            let length = random.usize(..12);
            let text: String = (0..length)
                .filter_map(|_| random.choice(&letters))
                .collect();
            let Some(number) = number_in(&text.as_str().into()) else {
                return;
            };
            // What remains without the unit is the number, and no digit is left out.
            let end = text.rfind(|last: char| last.is_ascii_digit()).unwrap();
            let digits = text[..=end].trim().replace(',', ".");
            assert_eq!(digits.parse(), Ok(number), "{text:?}");
        });
    }

    #[test]
    fn what_only_begins_like_a_number_is_not_read_as_that_number() {
        for text in [
            "-0xFF",
            "00xFF",
            "+0x1",
            "2m3s",
            "5m2h",
            "1Ⅷ",
            "1〇",
            "3万",
            "٣",
            "３",
            "5百",
            "33.9° S",
            "33.9°S",
            "151.2°W",
            "151.2º W",
            "52° N",
            "4.9 °O",
            "1.2.3",
            "12 34",
            "5-10",
            "−5",
            "½",
            "1 000",
            "1'000",
            "1\u{202f}000",
            "12:30",
            "1_000",
            "5×10",
            "10⁻³",
            "5°30'",
            "1h30",
            "<5",
            "~5",
            "5\u{200b}",
            "5\0",
            "5 m²3",
        ] {
            assert!(
                !matches!(as_number(&text.into()), Found::Number(_)),
                "{text}"
            );
        }
        for text in [
            "5 m2",
            "5 m3/h",
            "5 kg/m3",
            "5 m/s2",
            "5 ms",
            "5°",
            "5 ° C",
            "5ºC",
            "5℃",
            "5 ℉",
            "5 Ω",
            "5 \u{2126}",
            "5 kΩ",
            "5 µg/m³",
            "5 μS/cm",
            "5 % RH",
            "5 %RH",
            "5 мм",
            "5 W",
            "5 S",
            "5 \u{2113}",
            "5 \u{212a}",
        ] {
            assert_eq!(number_in(&text.into()), Some(5.0), "{text}");
        }
        assert!(matches!(as_number(&"-nan".into()), Found::Nothing));
    }

    #[test]
    fn any_path_is_found_or_not_without_a_panic() {
        let all = serde_json::json!({"a": [{"b": 1}, [2]], "a.b": {"": 3}, "é": {"]": 4}});
        let letters: Vec<char> = "aabé..[[]]01".chars().collect();
        let mut found = 0;
        for_seeds(50_000, |random| {
            let length = random.usize(..8);
            let path: String = (0..length)
                .filter_map(|_| random.choice(&letters))
                .collect();
            found += usize::from(find(&all, &path).is_some());
        });
        assert!(found > 100, "{found}");
    }
}
