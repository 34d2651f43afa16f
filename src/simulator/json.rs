//! JSON text as the servers print it: in a given key order, without empty members, with numbers in
//! Go's format.

use std::{collections::BTreeMap, fmt::Display};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::Value;

/// Writes an object member by member.
pub(super) struct Object(String);

impl Object {
    pub(super) fn new() -> Self {
        Self(String::from("{"))
    }

    /// Adds a member; `json` is its text.
    pub(super) fn member(mut self, key: &str, json: impl Display) -> Self {
        if self.0.len() > 1 {
            self.0.push(',');
        }
        self.0.push_str(&string(key));
        self.0.push(':');
        self.0.push_str(&json.to_string());
        self
    }

    /// Adds a member unless it is empty.
    pub(super) fn string(self, key: &str, text: &str) -> Self {
        if text.is_empty() {
            return self;
        }
        self.member(key, string(text))
    }

    /// Adds a member unless it is 0.
    pub(super) fn integer(self, key: &str, number: impl Into<i64>) -> Self {
        match number.into() {
            0 => self,
            number => self.member(key, number),
        }
    }

    /// Adds a member unless it is 0.
    pub(super) fn float(self, key: &str, number: f32) -> Self {
        if number == 0.0 {
            return self;
        }
        self.member(key, float32(number))
    }

    /// Adds a member unless it is false.
    pub(super) fn flag(self, key: &str, on: bool) -> Self {
        if !on {
            return self;
        }
        self.member(key, true)
    }

    /// Adds a member unless it is empty.
    pub(super) fn list(self, key: &str, items: impl IntoIterator<Item = String>) -> Self {
        match array(items).as_str() {
            "[]" => self,
            list => self.member(key, list),
        }
    }

    /// Adds a member in Base64 unless it is empty.
    pub(super) fn bytes(self, key: &str, bytes: &[u8]) -> Self {
        self.string(key, &STANDARD.encode(bytes))
    }

    /// Adds a member unless it is `None`; `json` is its text.
    pub(super) fn option(self, key: &str, json: Option<String>) -> Self {
        match json {
            Some(json) => self.member(key, json),
            None => self,
        }
    }

    pub(super) fn finish(mut self) -> String {
        self.0.push('}');
        self.0
    }
}

/// Returns an object of strings, or `None` if there are none.
pub(super) fn attributes(attributes: &BTreeMap<String, String>) -> Option<String> {
    (!attributes.is_empty()).then(|| {
        let attributes = attributes.iter();
        attributes
            .fold(Object::new(), |object, (key, value)| {
                object.member(key, string(value))
            })
            .finish()
    })
}

pub(super) fn string(text: &str) -> String {
    let mut json = String::with_capacity(text.len() + 2);
    json.push('"');
    for character in text.chars() {
        match character {
            '"' => json.push_str("\\\""),
            '\\' => json.push_str("\\\\"),
            '\n' => json.push_str("\\n"),
            '\r' => json.push_str("\\r"),
            '\t' => json.push_str("\\t"),
            '\0'..='\x1f' => {
                json.push_str(&format!("\\u{:04x}", u32::from(character)));
            }
            _ => json.push(character),
        }
    }
    json.push('"');
    json
}

/// Returns JSON text with the escapes that Go's encoder adds for HTML. Outside strings, JSON has none
/// of these characters.
pub(super) fn html_escaped(json: &str) -> String {
    let mut escaped = String::with_capacity(json.len());
    for character in json.chars() {
        match character {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                escaped.push_str(&format!("\\u{:04x}", u32::from(character)));
            }
            _ => escaped.push(character),
        }
    }
    escaped
}

/// Returns an array; the items are JSON text.
pub(super) fn array(items: impl IntoIterator<Item = String>) -> String {
    let items: Vec<String> = items.into_iter().collect();
    format!("[{}]", items.join(","))
}

/// Returns the shortest text that identifies the 32-bit number.
pub(super) fn float32(number: f32) -> String {
    if plain(f64::from(number)) {
        number.to_string()
    } else {
        with_exponent(format!("{number:e}"))
    }
}

fn float64(number: f64) -> String {
    if plain(number) {
        number.to_string()
    } else {
        with_exponent(format!("{number:e}"))
    }
}

fn plain(number: f64) -> bool {
    number == 0.0 || (1e-6..1e21).contains(&number.abs())
}

fn with_exponent(text: String) -> String {
    if text.contains("e-") {
        text
    } else {
        text.replace('e', "e+")
    }
}

/// Returns any value, with keys sorted by bytes at every depth.
pub(super) fn value(value: &Value) -> String {
    match value {
        Value::Null => "null".into(),
        Value::Bool(on) => on.to_string(),
        Value::Number(number) if number.is_f64() => {
            number.as_f64().map_or_else(|| number.to_string(), float64)
        }
        Value::Number(number) => number.to_string(),
        Value::String(text) => string(text),
        Value::Array(items) => array(items.iter().map(self::value)),
        Value::Object(members) => sorted(members)
            .into_iter()
            .fold(Object::new(), |object, (key, member)| {
                object.member(key, self::value(member))
            })
            .finish(),
    }
}

/// Returns the members in byte order, even if the program enables serde_json's `preserve_order`.
pub(super) fn sorted(members: &serde_json::Map<String, Value>) -> BTreeMap<&str, &Value> {
    members
        .iter()
        .map(|(key, member)| (key.as_str(), member))
        .collect()
}

/// Returns names and values of an object, as they stand in its text. It is one that this module printed:
/// without blanks.
pub(super) fn members(object: &str) -> Vec<(&str, &str)> {
    let inner = object
        .strip_prefix('{')
        .and_then(|text| text.strip_suffix('}'));
    let parts = parts(inner.unwrap_or_default()).into_iter();
    parts
        .filter_map(|part| {
            let (name, value) = part.split_at(end_of_string(part));
            let name = name.strip_prefix('"')?.strip_suffix('"')?;
            Some((name, value.strip_prefix(':')?))
        })
        .collect()
}

/// Returns the value of a member of such an object.
pub(super) fn member<'a>(object: &'a str, name: &str) -> Option<&'a str> {
    let mut members = members(object).into_iter();
    members.find_map(|(known, value)| (known == name).then_some(value))
}

/// Returns such an object with what becomes of its members.
pub(super) fn rebuilt(
    object: &str,
    mut change: impl FnMut(&str, &str) -> Option<String>,
) -> String {
    let members = members(object).into_iter();
    members
        .fold(Object::new(), |object, (name, value)| {
            object.option(name, change(name, value))
        })
        .finish()
}

/// Returns such an object without one of its members.
pub(super) fn without(object: &str, unwanted: &str) -> String {
    rebuilt(object, |name, value| {
        (name != unwanted).then(|| value.to_owned())
    })
}

/// Returns the items of such an array.
pub(super) fn items(array: &str) -> Vec<&str> {
    let inner = array
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'));
    parts(inner.unwrap_or_default())
}

/// Returns what commas separate, but for those in strings and in what is nested.
fn parts(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut start, mut at, mut depth) = (0, 0, 0_usize);
    while let Some(byte) = text.as_bytes().get(at) {
        match byte {
            b'"' => {
                at += end_of_string(&text[at..]);
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            b',' if depth == 0 => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
        at += 1;
    }
    if start < text.len() {
        parts.push(&text[start..]);
    }
    parts
}

/// Returns the length of the string that a text begins with, with its quotes.
fn end_of_string(text: &str) -> usize {
    let mut is_escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = true,
            b'"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn numbers_look_as_go_prints_them() {
        for (number, text) in [
            (868.1, "868.1"),
            (5.0, "5"),
            (-87.0, "-87"),
            (9.25, "9.25"),
            (51.92442, "51.92442"),
            (1e-7, "1e-7"),
            (1e21, "1e+21"),
        ] {
            assert_eq!(float32(number), text);
        }
        let values = json!([1e-6, 1.5e-7, 1e20, 2.5e21, 27.2, 29.0, 3, -4, u64::MAX]);
        let text =
            "[0.000001,1.5e-7,100000000000000000000,2.5e+21,27.2,29,3,-4,18446744073709551615]";
        assert_eq!(value(&values), text);
    }

    #[test]
    fn strings_are_escaped_as_go_does_and_keys_are_sorted() {
        let fields =
            json!({"z": "<b>5 & 6</b>", "a": "say \"hi\"\\\n\tbye\u{2028}\u{1}", "é": "地点"});
        let text = concat!(
            r#"{"a":"say \"hi\"\\\n\tbye\u2028\u0001","#,
            r#""z":"\u003cb\u003e5 \u0026 6\u003c/b\u003e","é":"地点"}"#
        );
        assert_eq!(html_escaped(&value(&fields)), text);
        let plain = "{\"a\":\"say \\\"hi\\\"\\\\\\n\\tbye\u{2028}\\u0001\",\"z\":\"<b>5 & 6</b>\",\"é\":\"地点\"}";
        assert_eq!(value(&fields), plain);
    }

    #[test]
    fn empty_members_are_left_out() {
        let object = Object::new()
            .string("a", "")
            .integer("b", 0)
            .float("c", 0.0)
            .flag("d", false)
            .option("e", None)
            .member("f", "null");
        assert_eq!(object.finish(), r#"{"f":null}"#);
    }

    #[test]
    fn an_object_is_taken_apart_as_it_stands() {
        let text = r#"{"a":{"b":[1,"}"],"c":{}},"d,\"":[],"e":"x,\"y","f":-1.5e+21}"#;
        let expected = [
            ("a", r#"{"b":[1,"}"],"c":{}}"#),
            (r#"d,\""#, "[]"),
            ("e", r#""x,\"y""#),
            ("f", "-1.5e+21"),
        ];
        assert_eq!(members(text), expected);
        assert_eq!(member(text, "e"), Some(r#""x,\"y""#));
        assert_eq!(
            items(r#"[{"a":[1,2]},"],",3]"#),
            [r#"{"a":[1,2]}"#, r#""],""#, "3"]
        );
        assert!(members("{}").is_empty() && items("[]").is_empty());
    }
}
