//! Recordings that may be shown to others.

mod json;
mod rules;
mod secret;

use serde_json::Value;

use self::{json::Writer, secret::Secret};

/// Replaces everything in messages that says whose they are and where: ids, EUIs, DevAddrs, names, keys, tokens, texts,
/// addresses, coordinates, payloads and decoded fields. Everything is replaced **except** what is known to be harmless:
///
/// | stays | such as |
/// |---|---|
/// | the members and topics of the networks' specifications | `uplink_message`, `down/queued` |
/// | counters, FPorts and flags | `f_cnt`, `f_port`, `confirmed` |
/// | radio data | `rssi`, `snr`, `frequency`, `data_rate`, `airtime`, timestamps of gateways |
/// | times, enums, and names of the server's own errors | `received_at`, `SOURCE_GPS`, `NORMAL`, `TOO_LATE`, `pkg/networkserver` |
///
/// Members that are not in the specifications are replaced, together with their names. So is a value whose form does not
/// fit its name.
///
/// The same original always gets the same replacement, in whatever place, topic or case it stands, and no two words of
/// up to 20 letters and digits in the same places get the same one. Replacements have the form of the originals: an EUI has 16 hex digits, a
/// coordinate is a number with as many digits, a text has as many letters. A payload has the same number of bytes, and a
/// decoded field the same type. So the messages decode to events of the same kinds, with the same counters, times and radio
/// data. A message that is not JSON becomes text of the same length.
///
/// # What it still tells
///
/// Times, counters and radio data tell somebody who has the original traffic which it is; frequencies tell the region, and
/// the time of day at which devices are busy the time zone. The sign and the number of digits of a coordinate stay, as do
/// the lengths of ids and texts, and which words are the same. Words that the network itself writes, such as those in
/// correlation ids, show what the same words in ids are: do not count on the anonymity of a device that is called `up`.
///
/// ```
/// use ttn::Anonymizer;
///
/// let anonymizer = Anonymizer::new();
/// let (topic, payload) = anonymizer.message("v3/greenhouse@ttn/devices/bed-07/up", br#"{"end_device_ids":{"device_id":"bed-07"},"uplink_message":{"f_cnt":117,"frm_payload":"AWc="}}"#);
/// assert!(topic.starts_with("v3/") && topic.ends_with("/up"));
/// let text = String::from_utf8(payload)?;
/// assert!(text.contains(r#""f_cnt":117"#));
/// for original in ["greenhouse", "bed", "AWc="] {
///     assert!(!topic.contains(original) && !text.contains(original));
/// }
/// # Ok::<(), std::string::FromUtf8Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Anonymizer {
    secret: Secret,
    keeps_payloads: bool,
}

impl Default for Anonymizer {
    fn default() -> Self {
        Self::new()
    }
}

impl Anonymizer {
    /// Returns an anonymizer with a random secret: its replacements differ from those of every other one.
    ///
    /// ```
    /// let [one, other] = [ttn::Anonymizer::new(), ttn::Anonymizer::new()];
    /// assert_ne!(one.text("greenhouse"), other.text("greenhouse"));
    /// ```
    pub fn new() -> Self {
        Self {
            secret: Secret::random(),
            keeps_payloads: false,
        }
    }

    /// Sets a secret, so that several recordings get the same replacements, on whatever machines. Whoever knows it can
    /// restore the originals.
    ///
    /// Defaults to a random one.
    ///
    /// ```
    /// let anonymizer = || ttn::Anonymizer::new().secret([17, 4]);
    /// assert_eq!(anonymizer().text("greenhouse"), anonymizer().text("greenhouse"));
    /// ```
    #[must_use]
    pub fn secret(self, secret: [u64; 2]) -> Self {
        Self {
            secret: Secret::new(secret),
            ..self
        }
    }

    /// Sets whether payloads and decoded fields stay as they are. They can contain anything, such as positions.
    ///
    /// Defaults to `false`.
    ///
    /// ```
    /// let anonymizer = ttn::Anonymizer::new().keep_payloads(true);
    /// let (_, payload) = anonymizer.message("a/devices/d/up", br#"{"payload_raw":"AWc="}"#);
    /// assert_eq!(payload, br#"{"payload_raw":"AWc="}"#);
    /// ```
    #[must_use]
    pub fn keep_payloads(self, keep: bool) -> Self {
        Self {
            keeps_payloads: keep,
            ..self
        }
    }

    /// Returns a message with replacements: its topic and its payload.
    ///
    /// ```
    /// let (topic, payload) = ttn::Anonymizer::new().message("greenhouse/devices/bed-07/up", b"no JSON");
    /// assert!(!topic.contains("greenhouse"));
    /// assert_eq!(payload.len(), b"no JSON".len());
    /// ```
    pub fn message(&self, topic: &str, payload: &[u8]) -> (String, Vec<u8>) {
        let is_field = rules::is_field_topic(topic) && !json::is_message(payload);
        let writer = Writer {
            secret: &self.secret,
            keeps_payloads: self.keeps_payloads,
        };
        let payload = if is_field && self.keeps_payloads {
            payload.to_vec()
        } else {
            writer
                .message(payload, is_field)
                .unwrap_or_else(|| self.secret.letters(payload))
        };
        (self.topic(topic, is_field), payload)
    }

    /// Returns a text with replacements, such as the id of a device: the same ones as in messages.
    ///
    /// ```
    /// let anonymizer = ttn::Anonymizer::new();
    /// let (topic, _) = anonymizer.message("v3/greenhouse/devices/bed-07/up", b"{}");
    /// assert_eq!(topic, format!("v3/{}/devices/{}/up", anonymizer.text("greenhouse"), anonymizer.text("bed-07")));
    /// ```
    pub fn text(&self, text: &str) -> String {
        self.secret.text(text)
    }

    /// Returns a topic with replacements.
    fn topic(&self, topic: &str, is_field: bool) -> String {
        let places = rules::places(topic);
        let levels = topic.split('/').zip(places);
        let replaced = levels.map(|(level, place)| match place {
            rules::Level::Known => level.to_owned(),
            rules::Level::Field if self.keeps_payloads && is_field => level.to_owned(),
            rules::Level::Field | rules::Level::Id => self.secret.text(level),
        });
        replaced.collect::<Vec<_>>().join("/")
    }

    /// Replaces the texts in an event that is not a message, except the kinds of what happened.
    pub(super) fn note(&self, mut event: Value) -> Value {
        self.replace(&mut event, "");
        event
    }

    fn replace(&self, value: &mut Value, name: &str) {
        match value {
            Value::String(text) => {
                // An id can look like a number or an enum.
                let is_harmless = rules::is_kind(name) && rules::is_constant(text)
                    || name == "rights" && rules::is_harmless(text)
                    || rules::is_time(text);
                if !is_harmless {
                    *text = self.secret.text(text);
                }
            }
            Value::Array(list) => list.iter_mut().for_each(|value| self.replace(value, name)),
            Value::Object(members) => {
                for (name, value) in members {
                    self.replace(value, name);
                }
            }
            _ => {}
        }
    }
}
