use std::{
    io::{self, BufRead, BufReader, Read},
    time::{Duration, UNIX_EPOCH},
};

use super::{lines::MAX_LINE, *};
use crate::seeds::{for_seeds, text_of};

macro_rules! recorded {
    ($name:literal) => {
        include_str!(concat!("../../tests/fixtures/records/", $name))
    };
}

/// Returns what a frame is, in few words.
fn short(frame: Result<Frame<'_>, Flaw>) -> String {
    match frame {
        Ok(Frame::Up { json, at }) => {
            let timed = if at.is_some() { " at" } else { "" };
            match message(json, "greenhouse@ttn") {
                Ok(Event::Uplink(uplink)) => {
                    assert_eq!(uplink.raw().payload(), json);
                    format!("{} {}{timed}", uplink.raw().topic(), uplink.counter)
                }
                Ok(event) => format!("{event:?}"),
                Err(error) => error.to_string(),
            }
        }
        Ok(Frame::Trace { name, dev_id, .. }) => format!("trace {name} {dev_id}"),
        Ok(Frame::Started(at)) => format!("started {}", at.is_some()),
        Ok(Frame::Other(name)) => name,
        Ok(Frame::Failed(json)) => format!("failed {}", Refused::read(json).message),
        Err(Flaw::Unreadable { error, is_cut }) => format!("{error} {is_cut}"),
        Err(Flaw::Broken(cause)) => cause.to_string(),
    }
}

fn frames(reader: impl BufRead) -> Vec<String> {
    let mut frames = Frames::new(reader);
    let mut all = Vec::new();
    while let Some(frame) = frames.next() {
        all.push(short(frame));
    }
    all
}

#[test]
fn show() {
    for text in [
        recorded!("storage-two-lines.ndjson"),
        recorded!("storage-event-stream.txt"),
        recorded!("storage-mixture.ndjson"),
        recorded!("storage-cut.ndjson"),
        recorded!("storage-masked-no-time.ndjson"),
        recorded!("storage-error-midstream.ndjson"),
        recorded!("storage-unknown-fields.ndjson"),
        recorded!("storage-sse-prefix.json"),
        recorded!("storage-error-line.json"),
        recorded!("events-tail.ndjson"),
        recorded!("events-tail-old.ndjson"),
        recorded!("events-device.ndjson"),
        recorded!("console-event.json"),
    ] {
        println!("{:#?}", frames(text.as_bytes()));
        for event in Event::read_all(Network::V3, text.as_bytes()) {
            if let Err(error) = event {
                println!("{error}");
            }
        }
    }
}
