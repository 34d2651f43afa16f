//! Why fields do not match a type, in words: `temperature.middle: expected a number, found null`.

use serde::de::DeserializeOwned;
use serde_json::{Error, Value};
use serde_path_to_error::{Path, Segment};

/// The most characters of a found text.
const SHOWN: usize = 40;

/// The most names of found members.
const NAMES: usize = 6;

/// Explains why `fields` do not match `T`; `cause` is how serde puts it.
pub(super) fn explain<T: DeserializeOwned>(fields: &Value, cause: &Error) -> String {
    // Follows the path only now, because that costs time.
    match serde_path_to_error::deserialize::<_, T>(fields) {
        Err(error) => {
            let cause = error.inner().to_string();
            let found = at(fields, error.path()).map_or_else(String::new, names);
            sentence(written(error.path()), &cause, &found)
        }
        Ok(_) => sentence(String::new(), &cause.to_string(), &names(fields)),
    }
}

/// Returns the value at the path.
fn at<'a>(fields: &'a Value, path: &Path) -> Option<&'a Value> {
    path.iter()
        .try_fold(fields, |value, segment| match segment {
            Segment::Seq { index } => value.get(index),
            Segment::Map { key: name } | Segment::Enum { variant: name } => value.get(name),
            Segment::Unknown => None,
        })
}

/// Says which members an object has, behind "is missing"; empty if there are none.
fn names(value: &Value) -> String {
    let Some(members) = value.as_object().filter(|members| !members.is_empty()) else {
        return String::new();
    };
    let names: Vec<_> = members
        .keys()
        .take(NAMES)
        .map(|name| quoted(name))
        .collect();
    let more = if members.len() > NAMES { ", …" } else { "" };
    format!("; found {}{more}", names.join(", "))
}

/// Writes a path as `entries[0].temperature`; empty for the whole.
fn written(path: &Path) -> String {
    path.iter()
        .fold(String::new(), |path, segment| match segment {
            Segment::Seq { index } => format!("{path}[{index}]"),
            Segment::Map { key: name } | Segment::Enum { variant: name } => join(path, name),
            Segment::Unknown => path,
        })
}

/// Names are a formatter's, and so may have line breaks.
fn join(mut path: String, name: &str) -> String {
    if !path.is_empty() {
        path.push('.');
    }
    path.extend(name.escape_debug());
    path
}

/// Says what serde found at the path; `found` are the members there.
fn sentence(path: String, cause: &str, found: &str) -> String {
    let member = cause.strip_prefix("missing field `");
    if let Some(name) = member.and_then(|rest| rest.strip_suffix('`')) {
        return format!("{} is missing{found}", join(path, name));
    }
    let what = mismatch(cause).unwrap_or_else(|| cause.to_owned());
    if path.is_empty() {
        what
    } else {
        format!("{path}: {what}")
    }
}

fn mismatch(cause: &str) -> Option<String> {
    if let Some(rest) = cause.strip_prefix("unknown variant `") {
        let (found, wanted) = rest.rsplit_once("`, expected ")?;
        return Some(format!("expected {wanted}, found {}", quoted(found)));
    }
    if let Some(rest) = cause.strip_prefix("invalid length ") {
        let (length, wanted) = rest.split_once(", expected ")?;
        return Some(format!("expected {}, found {length}", plain(wanted)));
    }
    let rest = cause
        .strip_prefix("invalid type: ")
        .or_else(|| cause.strip_prefix("invalid value: "))?;
    let (found, wanted) = rest.rsplit_once(", expected ")?;
    Some(format!("expected {}, found {}", plain(wanted), seen(found)))
}

/// Says what serde expects: `f64` is a number.
fn plain(wanted: &str) -> String {
    let (least, most) = match wanted {
        "u8" => (0, i64::from(u8::MAX)),
        "u16" => (0, i64::from(u16::MAX)),
        "u32" => (0, i64::from(u32::MAX)),
        "i8" => (i64::from(i8::MIN), i64::from(i8::MAX)),
        "i16" => (i64::from(i16::MIN), i64::from(i16::MAX)),
        "i32" => (i64::from(i32::MIN), i64::from(i32::MAX)),
        _ => return wider(wanted),
    };
    format!("a whole number from {least} to {most}")
}

fn wider(wanted: &str) -> String {
    let elements = |list: &str| {
        let list = wanted.strip_prefix(list)?;
        Some(format!("a list of {list} values"))
    };
    let words = match wanted {
        "f32" | "f64" => "a number",
        "u64" | "u128" | "usize" => "a whole number of 0 or more",
        "i64" | "i128" | "isize" => "a whole number",
        "a boolean" => "true or false",
        "a sequence" => "a list",
        "a map" => "an object",
        "a character" => "one character",
        "a borrowed string" => "a string",
        "unit" => "null",
        "string or map" => "a string or an object",
        _ if wanted.starts_with("struct ") => "an object",
        _ => {
            return elements("a tuple of size ")
                .or_else(|| elements("an array of length "))
                .unwrap_or_else(|| wanted.to_owned());
        }
    };
    words.to_owned()
}

/// Says what serde found: `` integer `5` `` is 5.
fn seen(found: &str) -> String {
    let kinds = ["boolean `", "integer `", "floating point `", "character `"];
    let scalar = kinds.iter().find_map(|kind| {
        let value = found.strip_prefix(kind)?;
        value.strip_suffix('`')
    });
    match found {
        "unit value" | "Option value" => "null".to_owned(),
        "map" => "an object".to_owned(),
        "sequence" => "a list".to_owned(),
        _ => match (scalar, found.strip_prefix("string ")) {
            (Some(value), _) => value.to_owned(),
            (None, Some(text)) => {
                let text = text.strip_prefix('"').unwrap_or(text);
                shortened(text.strip_suffix('"').unwrap_or(text))
            }
            (None, None) => found.to_owned(),
        },
    }
}

fn quoted(text: &str) -> String {
    let text = format!("{text:?}");
    shortened(&text[1..text.len() - 1])
}

/// Quotes a text whose special characters are escaped already.
fn shortened(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("\"{}…\"", &text[..end]),
        None => format!("\"{text}\""),
    }
}
