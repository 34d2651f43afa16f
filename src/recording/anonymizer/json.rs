//! Rewriting the JSON of a message.

use super::{
    rules::{self, Rule},
    secret::Secret,
};
use crate::{
    message::{from_base64, to_base64},
    recording::members::{Members, elements},
};

/// As many levels as the crate reads.
const MAX_DEPTH: usize = 127;

pub(super) struct Writer<'a> {
    pub(super) secret: &'a Secret,
    pub(super) keeps_payloads: bool,
}

/// Where a value is.
#[derive(Clone, Copy)]
struct Place<'a> {
    /// Of the member whose value it is.
    name: &'a str,
    is_in_error: bool,
    depth: usize,
}

impl Writer<'_> {
    /// Returns a message with replacements; `None` if it is not JSON that the crate reads.
    pub(super) fn message(&self, text: &[u8], is_field: bool) -> Option<Vec<u8>> {
        serde_json::from_slice::<serde::de::IgnoredAny>(text).ok()?;
        let text = std::str::from_utf8(text).ok()?.trim();
        let rule = if is_field { Rule::Unknown } else { Rule::Known };
        let place = Place {
            name: "",
            is_in_error: false,
            depth: 0,
        };
        let mut out = Vec::with_capacity(text.len());
        self.value(text, rule, place, &mut out)?;
        Some(out)
    }

    fn value(&self, text: &str, rule: Rule, place: Place<'_>, out: &mut Vec<u8>) -> Option<()> {
        if place.depth > MAX_DEPTH {
            return None;
        }
        let keeps = self.keeps_payloads && matches!(rule, Rule::Payload | Rule::Fields);
        match text.as_bytes().first()? {
            _ if keeps => out.extend(text.as_bytes()),
            b'{' => self.object(text, rule, place, out)?,
            b'[' => {
                let place = Place {
                    depth: place.depth + 1,
                    ..place
                };
                out.push(b'[');
                for (index, element) in elements(text)?.into_iter().enumerate() {
                    if index > 0 {
                        out.push(b',');
                    }
                    self.value(element, rule, place, out)?;
                }
                out.push(b']');
            }
            b'"' => {
                let original: String = serde_json::from_str(text).ok()?;
                let replaced = self.text(original, rule);
                out.extend(serde_json::to_vec(&replaced).ok()?);
            }
            b't' | b'f' if matches!(rule, Rule::Harmless | Rule::Known | Rule::Error) => {
                out.extend(text.as_bytes());
            }
            b't' | b'f' => {
                let flag = self.secret.flag(place.name, text);
                out.extend(flag.to_string().into_bytes());
            }
            b'n' => out.extend(text.as_bytes()),
            // It makes the message one that cannot be read.
            _ if !text.parse::<f64>().is_ok_and(f64::is_finite) => return None,
            _ => match rule {
                Rule::Harmless => out.extend(text.as_bytes()),
                Rule::Below(limit) => {
                    out.extend(self.secret.number(text, Some(limit)).into_bytes())
                }
                _ => out.extend(self.secret.number(text, None).into_bytes()),
            },
        }
        Some(())
    }

    fn object(&self, text: &str, rule: Rule, place: Place<'_>, out: &mut Vec<u8>) -> Option<()> {
        let is_unknown = matches!(rule, Rule::Unknown | Rule::Fields | Rule::Payload);
        let is_in_error = place.is_in_error || rule == Rule::Error;
        out.push(b'{');
        for (index, (name, value)) in Members::of(text)?.into_iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            let inner = match rule {
                _ if is_unknown => Rule::Unknown,
                Rule::Places => Rule::Known,
                _ => rules::rule(&name, place.name, is_in_error),
            };
            let is_name_kept = match rule {
                Rule::Places => rules::PLACES.contains(&&*name),
                _ => inner != Rule::Unknown,
            } || name == "attributes";
            let written = if is_name_kept && !is_unknown {
                name.clone()
            } else {
                self.name(&name)
            };
            out.extend(serde_json::to_vec(&written).ok()?);
            out.push(b':');
            let place = Place {
                name: &name,
                is_in_error,
                depth: place.depth + 1,
            };
            self.value(value, inner, place, out)?;
        }
        out.push(b'}');
        Some(())
    }

    /// Replaces a name of a user's by one that no specification has either.
    fn name(&self, original: &str) -> String {
        let mut name = self.secret.text(original);
        while name != original && rules::is_known(&name) {
            name = self.secret.text(&name);
        }
        name
    }

    fn text(&self, original: String, rule: Rule) -> String {
        let replaced = match rule {
            Rule::Harmless if rules::is_harmless(&original) => return original,
            Rule::Constant if rules::is_constant(&original) => return original,
            Rule::Known | Rule::Places if rules::PLACES.contains(&&*original) => return original,
            Rule::Bytes | Rule::Payload => from_base64(&original)
                .ok()
                .map(|bytes| to_base64(&self.secret.bytes(&bytes))),
            Rule::Address if is_hex(&original) => Some(self.secret.address(&original)),
            Rule::Address => self.address(&original),
            Rule::Below(limit) if original.parse::<f64>().is_ok() => {
                Some(self.secret.number(&original, Some(limit)))
            }
            _ => None,
        };
        replaced.unwrap_or_else(|| self.secret.text(&original))
    }

    /// Replaces an address that is written as bytes in base64 by the one that it gets in hex digits.
    fn address(&self, original: &str) -> Option<String> {
        let bytes = from_base64(original).ok()?;
        let replaced = self.secret.address(&hex::encode_upper(bytes));
        Some(to_base64(&hex::decode(replaced).ok()?))
    }
}

/// Returns whether a payload is a whole message, although it comes on the topic of a field: that of another broker.
pub(super) fn is_message(payload: &[u8]) -> bool {
    const NAMES: [&str; 4] = ["end_device_ids", "identifiers", "app_id", "dev_id"];
    let members = Members::split(payload).ok().flatten();
    members.is_some_and(|members| NAMES.iter().any(|name| members.has(name)))
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|it| it.is_ascii_hexdigit())
}
