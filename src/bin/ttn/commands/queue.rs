//! `ttn queue`

use anyhow::Result;
use clap::Args;
use ttn::QueuedDownlink;

use crate::{
    connection::Connection,
    escape::escaped,
    output::{json, line, note},
    status::Status,
};

/// What the crate puts before the keys of its downlinks.
const OWN_KEY: &str = "ttn:";

const HEADING: [&str; 7] = [
    "FPORT",
    "PAYLOAD",
    "CONFIRMED",
    "PRIORITY",
    "COUNTER",
    "ATTEMPT",
    "KEY",
];

/// List the downlinks that wait for a device (v3, over HTTP)
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  ttn queue pump-1")]
pub(crate) struct Queue {
    /// The device id
    device: String,

    /// Print each downlink as a JSON object
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    connection: Connection,
}

impl Queue {
    pub(crate) fn run(self) -> Result<Status> {
        let client = self.connection.builder()?.build()?;
        let queue = client.queue(&self.device)?;
        if self.json {
            for downlink in &queue {
                json(downlink)?;
            }
        } else if queue.is_empty() {
            note(format_args!("the queue of {} is empty", self.device));
        } else {
            for row in table(&queue) {
                line(escaped(&row))?;
            }
        }
        Ok(Status::Done)
    }
}

/// Returns the lines of a table, the next downlink first.
fn table(queue: &[QueuedDownlink]) -> Vec<String> {
    let heading = HEADING.map(str::to_owned);
    let rows: Vec<_> = [heading].into_iter().chain(queue.iter().map(row)).collect();
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.max().unwrap_or_default()
    };
    let widths: [usize; HEADING.len()] = std::array::from_fn(width);
    let line = |row: &[String; HEADING.len()]| {
        let cells = row.iter().zip(widths);
        let cells: Vec<_> = cells
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        cells.join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

fn row(downlink: &QueuedDownlink) -> [String; HEADING.len()] {
    let number = |number: Option<u32>| number.map_or_else(|| "-".to_owned(), |n| n.to_string());
    let payload: String = downlink
        .payload_raw
        .iter()
        .map(|byte| format!("{byte:02X}"))
        .collect();
    let attempt = match (downlink.attempt, downlink.max_attempts) {
        (Some(attempt), Some(max)) => format!("{attempt} of {max}"),
        (attempt, _) => number(attempt),
    };
    let keys = &downlink.correlation_ids;
    let key = keys.iter().find(|id| id.starts_with(OWN_KEY));
    [
        downlink.port.to_string(),
        if payload.is_empty() {
            "-".to_owned()
        } else {
            payload
        },
        if downlink.confirmed { "yes" } else { "no" }.to_owned(),
        downlink
            .priority
            .to_string()
            .to_lowercase()
            .replace('_', "-"),
        number(downlink.counter),
        attempt,
        key.cloned().unwrap_or_else(|| "-".to_owned()),
    ]
}
