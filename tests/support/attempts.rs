//! Attempts to connect, and their results.

use std::time::{Duration, Instant};

use super::raw::LONG;
use ttn::{Error, ErrorKind, Event, Events, MqttClient};

/// The time by which a busy machine may exceed a deadline.
pub const SLACK: Duration = Duration::from_millis(700);

/// Connects and closes.
#[track_caller]
pub fn connects(client: &MqttClient) {
    if let Err(error) = client.connect() {
        panic!("{error:?}");
    }
    assert!(client.is_connected());
    client.close().expect("no callback runs");
}

/// Fails to connect within this time, and returns why.
#[track_caller]
pub fn failure(client: &MqttClient, limit: Duration) -> Error {
    let start = Instant::now();
    let error = client.connect().expect_err("connecting should have failed");
    let took = start.elapsed();
    assert!(took < limit, "after {took:?}: {error}");
    assert!(!client.is_connected());
    error
}

/// Returns why the next attempt of a client that reconnects fails.
#[track_caller]
pub fn next_failure(events: &Events) -> Error {
    match events.recv_timeout(LONG).expect("it is tried again") {
        Event::ConnectFailed(failed) => {
            assert!(failed.retry_in.is_some());
            failed.error
        }
        event => panic!("{event:?}"),
    }
}

/// Checks the kind of an error, and that its text contains these words.
#[track_caller]
pub fn says(error: &Error, kind: ErrorKind, words: &[&str]) {
    let text = error.to_string();
    assert_eq!(error.kind(), kind, "{text}");
    for word in words {
        assert!(text.contains(word), "{word:?} is missing in: {text}");
    }
}
