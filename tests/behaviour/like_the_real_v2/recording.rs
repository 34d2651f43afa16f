//! What the real network published, case by case.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::support::fixtures;

/// What a device and the network did in a case.
pub(super) struct Case {
    pub(super) name: String,
    pub(super) app_id: String,
    pub(super) dev_id: String,
    pub(super) messages: Vec<Message>,
}

pub(super) struct Message {
    /// The part of the topic after the device id.
    pub(super) kind: String,
    pub(super) payload: String,
}

/// Returns the recorded cases; `None` in the published package, which has none. One that was played with two devices
/// stands there twice.
pub(super) fn recorded() -> Option<Vec<Case>> {
    let path = fixtures::of_checkout("v2-real")?.join("messages.ndjson");
    let mut cases: Vec<Case> = Vec::new();
    for line in std::fs::read_to_string(path).unwrap().lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        let text = |key: &str| line[key].as_str().unwrap().to_owned();
        let (name, topic) = (text("case"), text("topic"));
        let levels: Vec<&str> = topic.splitn(4, '/').collect();
        let [app_id, "devices", dev_id, kind] = levels[..] else {
            panic!("{topic}");
        };
        let message = Message {
            kind: kind.to_owned(),
            payload: text("payload"),
        };
        let same = |case: &&mut Case| case.name == name && case.dev_id == dev_id;
        if let Some(case) = cases.iter_mut().find(same) {
            case.messages.push(message);
            continue;
        }
        cases.push(Case {
            name,
            app_id: app_id.to_owned(),
            dev_id: dev_id.to_owned(),
            messages: vec![message],
        });
    }
    Some(cases)
}

impl Case {
    pub(super) fn all(&self, kind: &str) -> impl Iterator<Item = Value> {
        let messages = self
            .messages
            .iter()
            .filter(move |message| message.kind == kind);
        let parsed = messages.map(|message| serde_json::from_str(&message.payload).unwrap());
        parsed
            .filter(|value: &Value| value.is_object())
            .collect::<Vec<_>>()
            .into_iter()
    }

    pub(super) fn json(&self, kind: &str) -> Value {
        self.all(kind)
            .next()
            .unwrap_or_else(|| panic!("{}: no {kind}", self.name))
    }

    /// Compares what was played: it must contain each recorded message, in their order where that is
    /// fixed, and nothing else but messages of a structure that was recorded elsewhere.
    pub(super) fn compare(
        &self,
        mut played: Vec<Message>,
        known: &BTreeSet<String>,
        faults: &mut Vec<String>,
    ) {
        let mut last = 0;
        for recorded in &self.messages {
            let expected = recorded.normal_form();
            let is_same = |message: &Message| {
                message.kind == recorded.kind && message.normal_form() == expected
            };
            let Some(place) = played.iter().position(is_same) else {
                let of_kind = played
                    .iter()
                    .filter(|message| message.kind == recorded.kind);
                let nearest = of_kind.map(Message::normal_form);
                let nearest = nearest.min_by_key(|lines| difference(&expected, lines).len());
                let nearest = nearest.unwrap_or_default();
                let lines = difference(&expected, &nearest).join("\n");
                faults.push(format!("{}: {}\n{lines}", self.name, recorded.kind));
                continue;
            };
            if recorded.kind.starts_with("events/down/") && recorded.kind != "events/down/errors" {
                if place < last {
                    faults.push(format!("{}: {} comes too early", self.name, recorded.kind));
                }
                last = place;
            }
            played[place].kind = String::from("found");
        }
        let mut recorded = self.messages.iter();
        let records_fields = recorded.any(|message| message.kind.starts_with("up/"));
        for message in played {
            let is_known = message.kind == "found"
                || message.kind.starts_with("up/") && !records_fields
                || !message.kind.starts_with("up/") && known.contains(&message.structure());
            if !is_known {
                faults.push(format!(
                    "{}: +{} {}",
                    self.name, message.kind, message.payload
                ));
            }
        }
    }
}

/// Returns the lines of one that the other has not, marked as a diff.
fn difference(recorded: &[String], played: &[String]) -> Vec<String> {
    let only = |sign: char, these: &[String], others: &[String]| {
        let only = these.iter().filter(|line| !others.contains(line));
        only.map(|line| format!("  {sign}{line}"))
            .collect::<Vec<_>>()
    };
    let mut lines = only('-', recorded, played);
    lines.extend(only('+', played, recorded));
    if lines.is_empty() && recorded != played {
        lines.push(format!("  another order: {played:?}"));
    }
    lines
}
