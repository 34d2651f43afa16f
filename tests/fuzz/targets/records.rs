//! The messages of a text are the same however it is read and wherever it is cut.
#![no_main]

use std::io::{self, BufReader, Read};

use libfuzzer_sys::fuzz_target;
use serde::de::IgnoredAny;
use serde_json::Value;
use ttn::{Event, Network};
use ttn_fuzz::{check_short, raw, split_form};

/// The most memory for each byte of a text, with all that it returns.
const MOST_MEMORY: u64 = 2_000;

fuzz_target!(|data: &[u8]| {
    let Some((form, text)) = split_form(data) else {
        return;
    };
    let network = match form % 4 {
        0 => Network::V2,
        _ => Network::V3,
    };
    let whole = read(network, text);
    let mut again = Vec::new();
    let memory = allocation_counter::measure(|| {
        let reader = BufReader::with_capacity(7, Dripping(text, 1 + usize::from(form)));
        again = read(network, reader);
    });
    assert_eq!(format!("{again:?}"), format!("{whole:?}"));
    let most = 64_000 + MOST_MEMORY * text.len() as u64;
    let used = memory.bytes_max;
    assert!(used <= most, "{used} bytes of {}", text.len());
    for event in whole.iter().flatten() {
        let json = raw(event).payload();
        assert!(serde_json::from_slice::<IgnoredAny>(json).is_ok());
    }
    if network == Network::V3 {
        check_storage(text, &whole);
    }
    // A line that is not JSON may begin with a message.
    if whole.iter().all(Outcome::is_ok) {
        check_cut(network, text, &whole, usize::from(form) * 37);
    }
});

type Outcome = Result<Event, ttn::Error>;

fn read(network: Network, reader: impl io::BufRead) -> Vec<Outcome> {
    let mut records = Event::read_all(network, reader).app_id("greenhouse@ttn");
    let all: Vec<_> = records.by_ref().collect();
    assert!(records.next().is_none());
    for error in all.iter().filter_map(|read| read.as_ref().err()) {
        check_short(error, 0);
    }
    all
}

/// Checks an answer of storage, which has nothing else, against a plain reading of its lines.
fn check_storage(text: &[u8], whole: &[Outcome]) {
    let Ok(text) = std::str::from_utf8(text) else {
        return;
    };
    let lines: Vec<_> = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    let is_record = |line: &&str| {
        let value: Value = serde_json::from_str(line).unwrap_or_default();
        let members = value.as_object().map_or(0, |object| object.len());
        line.starts_with("{\"result\":{\"end_device_ids\":{") && members == 1
    };
    if !lines.iter().all(is_record) {
        return;
    }
    assert_eq!(whole.len(), lines.len());
    for (read, line) in whole.iter().zip(lines) {
        // Without an application id the two differ.
        if let Ok(plain) = Event::from_json(Network::V3, line) {
            let read = read.as_ref().expect("from_json reads it");
            assert_eq!(ttn_fuzz::ids(read), ttn_fuzz::ids(&plain));
        }
    }
}

/// Checks that a cut loses no earlier message, and makes none.
fn check_cut(network: Network, text: &[u8], whole: &[Outcome], end: usize) {
    let payloads = |all: &[Outcome]| -> Vec<Vec<u8>> {
        let messages = all.iter().flatten();
        messages
            .map(|event| raw(event).payload().to_vec())
            .collect()
    };
    let cut = read(network, &text[..end.min(text.len())]);
    let (cut, whole) = (payloads(&cut), payloads(whole));
    assert!(whole.starts_with(&cut), "{cut:?} {whole:?}");
}

/// A reader that hands over a few bytes at a time.
struct Dripping<'a>(&'a [u8], usize);

impl Read for Dripping<'_> {
    fn read(&mut self, target: &mut [u8]) -> io::Result<usize> {
        let most = self.1.min(target.len());
        self.0.read(&mut target[..most])
    }
}
