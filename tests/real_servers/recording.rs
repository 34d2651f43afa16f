//! The recordings of a real server.

use std::{fs, time::Duration};

use super::{json::Json, support::fixtures};

/// One line of a recording.
#[derive(Debug)]
pub struct Line {
    /// Since the first line.
    pub at: Duration,
    pub topic: String,
    pub kind: Kind,
}

#[derive(Debug)]
pub enum Kind {
    /// The client published it.
    Sent(Vec<u8>),
    /// The client posted it over HTTP, and got this status.
    Http(Json, u16),
    /// The server published it.
    Received(Json),
}

/// Reads a recording; `None` in the published package, which has none.
pub fn read(scenario: &str) -> Option<Vec<Line>> {
    let folder = fixtures::of_checkout("v3-real")?;
    let text = fs::read_to_string(folder.join(format!("{scenario}.ndjson"))).unwrap();
    let lines = text.split('\n').filter(|line| !line.is_empty());
    Some(lines.map(|line| parse(&Json::read(line))).collect())
}

fn parse(line: &Json) -> Line {
    let member = |name| line.get(name).map(Json::text).unwrap_or_default();
    let seconds: f64 = member("t").parse().unwrap();
    let kind = if line.get("http").is_some() {
        Kind::Http(
            line.get("payload").unwrap().clone(),
            member("status").parse().unwrap(),
        )
    } else if line.get("sent").is_some() {
        Kind::Sent(match (line.get("payload_hex"), line.get("payload")) {
            (Some(bytes), _) => hex::decode(bytes.text()).unwrap(),
            (None, Some(Json::Text(text))) => text.clone().into_bytes(),
            (None, Some(payload)) => payload.compact().into_bytes(),
            (None, None) => Vec::new(),
        })
    } else {
        Kind::Received(line.get("payload").unwrap().clone())
    };
    Line {
        at: Duration::from_secs_f64(seconds),
        topic: member("topic").to_owned(),
        kind,
    }
}
