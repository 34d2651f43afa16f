//! The downlinks to send: of the arguments, or of a file with one on each line. Pure.

use std::{collections::HashMap, iter};

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use serde::Deserialize;
use ttn::{
    Downlink, Priority, Schedule,
    serde_json::{self, Map, Value},
};

use crate::status::usage;

/// What some editors put at the beginning of a file.
const BYTE_ORDER_MARK: char = '\u{feff}';

/// How a payload is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Hex,
    Base64,
    Json,
}

/// The options of a downlink; a line of a file may have its own.
#[derive(Args, Clone, Debug, Default)]
pub(super) struct Options {
    /// Read the payload as base64
    #[arg(long, conflicts_with = "json")]
    base64: bool,

    /// Read the payload as fields, such as {"led": "on"}
    #[arg(long, alias = "fields")]
    json: bool,

    /// The FPort, 1 to 223 [default: 1]
    #[arg(short, long, value_name = "FPORT", value_parser = clap::value_parser!(u8).range(1..=223))]
    port: Option<u8>,

    /// Ask the device for an acknowledgement
    #[arg(long)]
    confirmed: bool,

    /// replace the queue (default), last, or first (V2)
    #[arg(
        long,
        value_enum,
        default_value_t,
        value_name = "PLACE",
        hide_default_value = true,
        hide_possible_values = true
    )]
    schedule: Place,

    /// lowest (default), low, below-normal ... highest (v3)
    #[arg(long, value_enum, value_name = "LEVEL", hide_possible_values = true)]
    priority: Option<Level>,

    /// Send it only in class B or C (v3)
    #[arg(long)]
    class_b_c: bool,
}

/// A schedule, as users write it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
enum Place {
    #[default]
    Replace,
    Last,
    First,
}

/// A priority, as users write it.
#[derive(Clone, Copy, Debug, Deserialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
enum Level {
    Lowest,
    Low,
    BelowNormal,
    Normal,
    AboveNormal,
    High,
    Highest,
}

/// A line of a file in JSON. The names are those of the crate's own JSON.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct JsonLine {
    dev_id: String,
    payload_hex: Option<String>,
    payload_raw: Option<String>,
    payload_fields: Option<Map<String, Value>>,
    port: Option<u8>,
    confirmed: Option<bool>,
    schedule: Option<Place>,
    priority: Option<Level>,
    class_b_c: Option<bool>,
}

/// A downlink for a device.
#[derive(Clone, Debug)]
pub(super) struct Order {
    /// Its line in the file, from 1.
    pub(super) line: Option<usize>,
    pub(super) dev_id: String,
    pub(super) downlink: Downlink,
    pub(super) is_confirmed: bool,
    schedule: Schedule,
}

impl Order {
    pub(super) fn is_first(&self) -> bool {
        self.schedule == Schedule::First
    }

    fn goes_with(&self, other: &Self) -> bool {
        self.dev_id == other.dev_id && self.schedule == other.schedule
    }
}

/// Returns how many downlinks are sent together, in their order: those that follow each other, to one device and with
/// one schedule. So the second to a device does not replace the first.
pub(super) fn groups(mut orders: &[Order]) -> impl Iterator<Item = usize> {
    iter::from_fn(move || {
        let count = orders
            .iter()
            .take_while(|order| order.goes_with(&orders[0]));
        let count = count.count();
        orders = &orders[count..];
        (count > 0).then_some(count)
    })
}

impl From<Place> for Schedule {
    fn from(place: Place) -> Self {
        match place {
            Place::Replace => Self::Replace,
            Place::Last => Self::Last,
            Place::First => Self::First,
        }
    }
}

impl From<Level> for Priority {
    fn from(level: Level) -> Self {
        match level {
            Level::Lowest => Self::Lowest,
            Level::Low => Self::Low,
            Level::BelowNormal => Self::BelowNormal,
            Level::Normal => Self::Normal,
            Level::AboveNormal => Self::AboveNormal,
            Level::High => Self::High,
            Level::Highest => Self::Highest,
        }
    }
}

impl Options {
    fn form(&self) -> Form {
        match (self.base64, self.json) {
            (true, _) => Form::Base64,
            (_, true) => Form::Json,
            _ => Form::Hex,
        }
    }

    /// Returns the downlink of a device and a payload.
    pub(super) fn order(&self, dev_id: &str, payload: &str) -> Result<Order> {
        let downlink = match self.form() {
            Form::Hex => Downlink::hex(without_space(payload)),
            Form::Base64 => Downlink::base64(without_space(payload)),
            Form::Json => Downlink::fields(object(payload)?),
        };
        Ok(self.with_options(dev_id, downlink))
    }

    fn with_options(&self, dev_id: &str, mut downlink: Downlink) -> Order {
        let schedule = self.schedule.into();
        if let Some(port) = self.port {
            downlink = downlink.port(port);
        }
        if let Some(level) = self.priority {
            downlink = downlink.priority(level.into());
        }
        if self.class_b_c {
            downlink = downlink.class_b_c(true);
        }
        Order {
            line: None,
            dev_id: dev_id.to_owned(),
            downlink: downlink.confirmed(self.confirmed).schedule(schedule),
            is_confirmed: self.confirmed,
            schedule,
        }
    }

    /// Reads a file with a downlink on each line: JSON, or a device and a payload. Lines that are empty or begin with
    /// `#` are not read.
    ///
    /// # Errors
    ///
    /// For the first line that is wrong, with its number.
    pub(super) fn orders(&self, text: &str) -> Result<Vec<Order>> {
        let mut orders = Vec::new();
        let text = text.trim_start_matches(BYTE_ORDER_MARK);
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let order = match line.starts_with('{') {
                true => self.json_line(line),
                false => self.plain_line(line),
            };
            let order = order.with_context(|| format!("line {number}"))?;
            orders.push(Order {
                line: Some(number),
                ..order
            });
        }
        Ok(orders)
    }

    fn plain_line(&self, line: &str) -> Result<Order> {
        match line.split_once(char::is_whitespace) {
            Some((dev_id, payload)) => self.order(dev_id, payload.trim_start()),
            None => Err(usage(
                "there is no payload; write the device, a space and the payload, or a JSON object",
            )),
        }
    }

    fn json_line(&self, line: &str) -> Result<Order> {
        let line: JsonLine = serde_json::from_str(line).map_err(|error| usage(not_json(&error)))?;
        let downlink = match (line.payload_hex, line.payload_raw, line.payload_fields) {
            (Some(digits), None, None) => Downlink::hex(digits),
            (None, Some(base64), None) => Downlink::base64(base64),
            (None, None, Some(fields)) => Downlink::fields(fields),
            _ => {
                return Err(usage(
                    "exactly one payload is needed: payload_hex, payload_raw (base64) or payload_fields",
                ));
            }
        };
        let options = Self {
            port: line.port.or(self.port),
            confirmed: line.confirmed.unwrap_or(self.confirmed),
            schedule: line.schedule.unwrap_or(self.schedule),
            priority: line.priority.or(self.priority),
            class_b_c: line.class_b_c.unwrap_or(self.class_b_c),
            ..*self
        };
        Ok(options.with_options(&line.dev_id, downlink))
    }
}

/// Checks that no downlink discards one of an earlier line: who writes both wants both.
///
/// # Errors
///
/// For the first line that would.
pub(super) fn check_replaced(orders: &[Order]) -> Result<()> {
    let mut earlier = HashMap::new();
    let mut start = 0;
    for count in groups(orders) {
        let first = &orders[start];
        start += count;
        let line = first.line.unwrap_or_default();
        let before = earlier.insert(first.dev_id.as_str(), line);
        if let (Some(before), Schedule::Replace) = (before, first.schedule) {
            return Err(usage(format!(
                "line {line}: it would replace the downlink of line {before}; write the lines of a device one after the other, or use --schedule last"
            )));
        }
    }
    Ok(())
}

fn without_space(payload: &str) -> String {
    payload.split_whitespace().collect()
}

fn object(payload: &str) -> Result<Map<String, Value>> {
    serde_json::from_str(payload).map_err(|error| {
        usage(format!(
            "the payload is not a JSON object such as {{\"led\": \"on\"}}: {error}"
        ))
    })
}

/// Returns the message of an error without the place, which is that in the line and not in the file.
fn not_json(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    let text = text.strip_suffix(&place).unwrap_or(&text);
    match error.column() {
        0 => text.to_owned(),
        column => format!("column {column}: {text}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ttn::serde_json::json;

    fn order(options: &Options, text: &str) -> Downlink {
        let mut orders = options.orders(text).expect("the line is right");
        assert_eq!(orders.len(), 1);
        orders.remove(0).downlink
    }

    #[track_caller]
    fn error(text: &str) -> String {
        let error = Options::default().orders(text).unwrap_err();
        assert_eq!(
            crate::status::Status::of(&error),
            crate::status::Status::Usage
        );
        format!("{error:#}")
    }

    #[test]
    fn a_line_is_a_device_and_a_payload_in_the_form_of_the_options() {
        let plain = Options::default();
        assert_eq!(order(&plain, "pump-1 01 02"), Downlink::hex("0102"));
        let base64 = Options {
            base64: true,
            ..Options::default()
        };
        assert_eq!(order(&base64, "pump-1\tAQI="), Downlink::base64("AQI="));
        let json = Options {
            json: true,
            ..Options::default()
        };
        assert_eq!(
            order(&json, r#"pump-1 {"led": "on"}"#),
            Downlink::fields(json!({"led": "on"}))
        );
    }

    #[test]
    fn a_json_line_has_its_own_options_before_those_of_the_command() {
        let options = Options {
            port: Some(3),
            confirmed: true,
            ..Options::default()
        };
        let line = r#"{"dev_id":"pump-1","payload_raw":"AQI=","confirmed":false,"schedule":"last","priority":"below_normal","class_b_c":true}"#;
        let expected = Downlink::base64("AQI=")
            .port(3)
            .schedule(Schedule::Last)
            .priority(Priority::BelowNormal)
            .class_b_c(true);
        assert_eq!(order(&options, line), expected);
        assert_eq!(
            order(
                &options,
                r#"{"dev_id":"pump-1","payload_hex":"01","port":9}"#
            ),
            Downlink::hex("01").port(9).confirmed(true)
        );
    }

    #[test]
    fn comments_and_empty_lines_count_as_lines_and_nothing_else() {
        let orders = Options::default()
            .orders("\u{feff}# pumps\n\n  pump-1 01\r\n")
            .unwrap();
        assert_eq!(orders.len(), 1);
        assert_eq!(orders[0].line, Some(3));
    }

    #[test]
    fn what_follows_each_other_to_one_device_is_sent_together() {
        let text = "a 01\na 02\nb 03\na 04\n{\"dev_id\":\"a\",\"payload_hex\":\"05\",\"schedule\":\"last\"}\n";
        let orders = Options::default().orders(text).unwrap();
        assert_eq!(groups(&orders).collect::<Vec<_>>(), [2, 1, 1, 1]);
        assert_eq!(groups(&[]).count(), 0);
    }

    #[test]
    fn a_line_that_would_replace_an_earlier_one_is_refused() {
        let check = |text: &str| {
            let orders = Options::default().orders(text).unwrap();
            check_replaced(&orders).map_err(|error| error.to_string())
        };
        assert_eq!(check("a 01\na 02\nb 03\n"), Ok(()));
        let error = check("a 01\nb 02\n\na 03\n").unwrap_err();
        assert!(
            error.starts_with("line 4: it would replace the downlink of line 1"),
            "{error}"
        );
        let last = |line: &str| {
            format!("{{\"dev_id\":\"a\",\"payload_hex\":\"01\",\"schedule\":\"last\"}}\n{line}")
        };
        assert!(check(&last("a 01\n")).is_err());
        assert_eq!(check(&format!("a 01\n{}", last(""))), Ok(()));
    }

    #[test]
    fn a_wrong_line_is_named_by_its_number() {
        for (bad, part) in [
            ("pump-1", "payload"),
            ("{\"dev_id\":\"pump-1\"}", "payload_hex"),
            (
                "{\"dev_id\":\"pump-1\",\"payload_hex\":\"01\",\"payload_raw\":\"AQ==\"}",
                "exactly one",
            ),
            (
                "{\"dev_id\":\"pump-1\",\"payload_hex\":\"01\",\"fport\":2}",
                "fport",
            ),
            (
                "{\"dev_id\":\"pump-1\",\"payload_hex\":\"01\",\"schedule\":\"soon\"}",
                "soon",
            ),
            ("{\"dev_id\":", "column 10: EOF"),
        ] {
            let told = error(&format!("pump-0 00\n{bad}\n"));
            assert!(told.starts_with("line 2: "), "{told}");
            assert!(told.contains(part), "{told}");
        }
    }
}
