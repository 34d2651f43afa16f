//! Reading in parts, and texts that are cut.

use std::io::Read;

use fastrand::Rng;

use super::*;
use crate::seeds::{for_seeds, text_of};

/// Hands over a text in parts, and then an error instead of the end.
struct Parts<'a> {
    text: &'a [u8],
    random: Option<&'a mut Rng>,
    part: &'a [u8],
    fails: bool,
}

impl Read for Parts<'_> {
    fn read(&mut self, target: &mut [u8]) -> io::Result<usize> {
        let read = self.fill_buf()?.read(target)?;
        self.consume(read);
        Ok(read)
    }
}

impl BufRead for Parts<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.part.is_empty() {
            if self.text.is_empty() && std::mem::take(&mut self.fails) {
                return Err(io::Error::new(io::ErrorKind::ConnectionReset, "reset"));
            }
            let most = self.text.len();
            let length = match &mut self.random {
                Some(random) => random.usize(..20).clamp(1.min(most), most),
                None => most,
            };
            if self
                .random
                .as_mut()
                .is_some_and(|random| random.u8(..8) == 0)
            {
                return Err(io::ErrorKind::Interrupted.into());
            }
            (self.part, self.text) = self.text.split_at(length);
        }
        Ok(self.part)
    }

    fn consume(&mut self, read: usize) {
        self.part = &self.part[read..];
    }
}

fn failing(text: &[u8]) -> Parts<'_> {
    Parts {
        text,
        random: None,
        part: &[],
        fails: true,
    }
}

#[test]
fn a_failure_of_the_reader_is_passed_on_once_and_ends_it() {
    let two = format!("{UP}\n{UP}");
    for (text, expected) in [
        ("", vec!["broken: reset"]),
        ("{\"result", vec!["broken: reset"]),
        ("data:", vec!["broken: reset"]),
        ("[", vec!["broken: reset"]),
        // The message is whole.
        (&two, vec!["bed-07 7", "bed-07 7", "broken: reset"]),
        (&two[..two.len() - 1], vec!["bed-07 7", "broken: reset"]),
    ] {
        assert_eq!(all(failing(text.as_bytes())), expected, "{text}");
    }
    let mut records = Event::read_all(Network::V3, failing(two.as_bytes()));
    assert!(records.next().unwrap().is_ok());
    assert!(records.next().unwrap().is_ok());
    let error = records.next().unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionLost);
    assert_eq!(error.to_string(), "cannot read more messages: reset");
    assert!(records.next().is_none());
    assert!(records.next().is_none());
}

/// Some of what a text may hold.
const PARTS: [&str; 24] = [
    UP,
    UP,
    "\n",
    "\n",
    "\r\n",
    "\n\n",
    "data: ",
    "{\"result\":",
    "}",
    "}",
    "[",
    "]",
    ",",
    "\"",
    "{",
    "\\",
    "{\"error\":{\"code\":8,\"message\":\"later\"}}",
    "{\"name\":\"as.up.data.forward\",\"time\":\"2026-11-28T14:06:41Z\",\"data\":",
    "{\"@type\":\"ttn.lorawan.v3.ApplicationUp\",\"end_device_ids\":{}",
    "<html>",
    "\u{feff}",
    "é",
    "null",
    "\"identifiers\":[{\"device_ids\":{\"device_id\":\"bed-07\"}}]",
];

#[test]
fn any_split_of_reads_gives_the_same_frames() {
    for_seeds(3_000, |random| {
        let text = text_of(random, &PARTS, 0..30);
        let fails = random.bool();
        let whole = all(Parts {
            text: text.as_bytes(),
            random: None,
            part: &[],
            fails,
        });
        let split = all(Parts {
            text: text.as_bytes(),
            random: Some(random),
            part: &[],
            fails,
        });
        assert_eq!(split, whole, "{text}");
    });
}

#[test]
fn a_text_that_is_cut_anywhere_loses_no_earlier_message_and_gains_none() {
    let all_of = |text: &str, end: usize| {
        let read = all(&text.as_bytes()[..end]);
        let failed = all(failing(&text.as_bytes()[..end]));
        let is_flaw = |line: &String| line.contains("cannot read") || line.starts_with("broken");
        let good = |lines: &[String]| -> Vec<String> {
            lines
                .iter()
                .filter(|line| !is_flaw(line))
                .cloned()
                .collect()
        };
        assert_eq!(good(&read), good(&failed), "{end}");
        assert!(read.len() <= good(&read).len() + 1, "{read:#?}");
        assert_eq!(failed.len(), good(&failed).len() + 1, "{failed:#?}");
        good(&read)
    };
    let tail = recorded!("v3-http/events-tail.ndjson");
    let list = format!("[{}]", tail.trim().replace('\n', ","));
    for text in [
        recorded!("v3-http/storage-event-stream.txt"),
        recorded!("v3-http/storage-error-midstream.ndjson"),
        recorded!("v3-http/events-tail-old.ndjson"),
        recorded!("records/storage-sse-prefix.json"),
        tail,
        &list,
    ] {
        let whole = all_of(text, text.len());
        let mut before = 0;
        for end in 0..=text.len() {
            let read = all_of(text, end);
            assert!(whole.starts_with(&read), "{end}: {read:#?}");
            assert!(read.len() >= before, "{end}: {read:#?}");
            before = read.len();
        }
        assert_eq!(before, whole.len());
    }
}

#[test]
fn random_text_is_read_without_a_panic() {
    for_seeds(20_000, |random| {
        let text = text_of(random, &PARTS, 0..20);
        for network in [Network::V2, Network::V3] {
            for read in Event::read_all(network, text.as_bytes()).app_id("greenhouse") {
                match read {
                    Ok(_) => {}
                    Err(error) => {
                        let text = error.to_string();
                        assert!(
                            text.len() < 2_000 && !text.contains(char::is_control),
                            "{text}"
                        );
                    }
                }
            }
        }
    });
}

#[test]
fn deep_nesting_is_an_error() {
    for part in [
        "[",
        "{\"a\":",
        "{\"result\":",
        "{\"data\":",
        "{\"name\":\"as.up.data.forward\",\"identifiers\":",
    ] {
        let text = format!("{}\n{UP}", part.repeat(200_000));
        let read = all(text.as_bytes());
        assert!(read.len() == 2 || part == "[", "{read:#?}");
        let close = if part == "[" { "]" } else { "}" };
        let text = format!(
            "{{\"name\":\"as.up.data.forward\",\"data\":null,\"identifiers\":{}1{}}}\n{UP}",
            part.repeat(200_000),
            close.repeat(200_000)
        );
        assert_eq!(all(text.as_bytes()).len(), 2);
    }
}
