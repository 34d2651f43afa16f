//! A recording of a run reproduces the run.

mod anonymized;
mod attacks;
#[cfg(unix)]
mod brokers;

use std::{
    fs,
    path::Path,
    thread,
    time::{Duration, Instant, SystemTime},
};

use serde_json::json;
use ttn::{
    Error, Event, Events, MqttClient, Network, Pacing, Recorded, Recorder, Recording, Replay,
    Speed, serde_json, simulator::Simulator,
};

use crate::support::{harness::SOON, watchdog::watchdog};

const LIMIT: Duration = Duration::from_secs(300);

fn json(event: &Event) -> String {
    serde_json::to_string(event).unwrap()
}

/// Returns the JSON of each message in a recording.
#[track_caller]
fn replayed(path: &Path) -> Vec<String> {
    Recording::open(path)
        .unwrap()
        .map(|recorded| json(&recorded.unwrap().event))
        .collect()
}

fn client(network: &Simulator) -> MqttClient {
    MqttClient::builder(network.app_id(), network.access_key())
        .mqtt_address(network.mqtt_address())
        .reconnect_delay(Duration::from_millis(10), Duration::from_millis(50))
        .duplicate_window(100)
        .field_topics(!network.app_id().contains('@'))
        .ask_over_http(false)
        .build()
        .unwrap()
}

#[track_caller]
fn next(events: &Events) -> Event {
    events.recv_timeout(SOON).expect("an event comes")
}

fn topic(network: &Simulator, kind: &str) -> String {
    let start = match network.app_id().contains('@') {
        true => "v3/",
        false => "",
    };
    format!("{start}{}/devices/bed-07/{kind}", network.app_id())
}

/// Returns an uplink, with text of some length in its fields.
fn uplink(network: Network, counter: u32, length: usize) -> String {
    let note = "é\"\\\u{1}x".repeat(length / 6);
    let body = match network {
        Network::V2 => json!({"port": 1, "counter": counter, "payload_raw": "AQ==", "metadata": {},
            "payload_fields": {"note": note, "value": 0.1}}),
        _ => json!({"uplink_message": {"f_port": 1, "f_cnt": counter, "frm_payload": "AQ==",
            "received_at": format!("2026-11-27T07:30:{:02}.123456789Z", counter % 60),
            "decoded_payload": {"note": note, "value": 0.1}}}),
    };
    body.to_string()
}

/// What a network sends, and what it should not.
fn messages(network: Network) -> Vec<(&'static str, Vec<u8>)> {
    let binary: Vec<u8> = (0..=255).collect();
    let uplink = |counter, length| uplink(network, counter, length).into_bytes();
    let mut messages = vec![
        ("up", uplink(1, 0)),
        ("up", uplink(1, 0)),
        ("up", b"no JSON".to_vec()),
        ("up", b"".to_vec()),
        ("up", b"{\"cut o".to_vec()),
        ("up", binary.clone()),
        ("up", uplink(2, 600_000)),
        ("up", binary.repeat(400)),
        ("up", vec![0; 100_000]),
        ("up", b"{ \"spaces\" :\n [1 , 2]\t}\r\n".to_vec()),
        ("up", uplink(7, 0)),
    ];
    match network {
        Network::V2 => messages.extend([
            ("up/light", b"\xff\xfe".to_vec()),
            ("up/light", b"\"7\"".to_vec()),
            ("events/else", binary),
            ("events/down/sent", b"{}".to_vec()),
        ]),
        _ => messages.extend([
            ("down/failed", br#"{"downlink_failed":{}}"#.to_vec()),
            (
                "join",
                br#"{"join_accept":{"session_key_id":"AQI="}}"#.to_vec(),
            ),
            ("location/solved", b"[]".to_vec()),
        ]),
    }
    messages
}

/// Records until as many messages have come, and returns their JSON.
fn record(events: &Events, recorder: &mut Recorder, messages: usize) -> Vec<String> {
    let mut live = Vec::new();
    while live.len() < messages {
        let event = next(events);
        recorder.record(&event).unwrap();
        if event.raw().is_some() {
            live.push(json(&event));
        }
    }
    live
}

#[test]
fn a_run_with_faults_replays_to_the_same_events_byte_for_byte() {
    let _watchdog = watchdog(LIMIT);
    for kind in [Network::V3, Network::V2] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.jsonl");
        let network = Simulator::start(kind).unwrap();
        let client = client(&network);
        let events = client.events();
        let mut recorder = Recorder::open(&path, client.network()).unwrap();
        client.connect().unwrap();
        let mut live = Vec::new();
        for round in 0..2 {
            for (kind, payload) in messages(kind) {
                network.publish(&topic(&network, kind), payload);
                live.extend(record(&events, &mut recorder, 1));
            }
            network.device("bed-08").uplink(2, [round]);
            live.extend(record(&events, &mut recorder, 1));
            network.disconnect_clients();
            loop {
                let event = next(&events);
                recorder.record(&event).unwrap();
                assert!(event.raw().is_none(), "{event:?}");
                if let Event::Connected(_) = event {
                    break;
                }
            }
        }
        assert!(
            live.iter()
                .any(|json| json.contains(r#""is_duplicate":true"#))
        );
        assert_eq!(replayed(&path), live);
        let text = fs::read_to_string(&path).unwrap();
        // What is published here on V2 counts as simulated, of which no counters can be missing.
        let notes = ["connected", "disconnected", "counter"];
        for note in &notes[..if kind == Network::V3 { 3 } else { 2 }] {
            assert!(
                text.contains(&format!(r#""note":{{"event":"{note}""#)),
                "{note}"
            );
        }
        drop(client);
        network.stop();
        assert_eq!(through_simulator(kind, &path, live.len()), live);
    }
}

/// Replays a recording into another simulated network, and returns the JSON of what another client gets from it.
fn through_simulator(network: Network, path: &Path, count: usize) -> Vec<String> {
    let network = Simulator::start(network).unwrap();
    let client = client(&network);
    let events = client.events();
    client.connect().unwrap();
    let recording = Recording::open(path).unwrap();
    let mut found = Vec::new();
    for recorded in Replay::new(recording, Pacing::new(Speed::MAX)) {
        let recorded = recorded.unwrap();
        network.publish(recorded.raw().topic(), recorded.raw().payload());
        found.push(loop {
            let event = next(&events);
            if event.raw().is_some() {
                break json(&event);
            }
        });
    }
    assert_eq!(found.len(), count);
    found
}

fn recorded_at(seconds: &[u64]) -> Vec<Result<Recorded, Error>> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.jsonl");
    let mut recorder = Recorder::open(&path, Network::V2).unwrap();
    let event = Event::decode(Network::V2, "a/devices/d/up/x", "1").unwrap();
    for second in seconds {
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(*second);
        recorder.record_at(&event, time).unwrap();
    }
    Recording::open(&path).unwrap().collect()
}

#[test]
fn a_replay_keeps_the_distances_of_the_recording() {
    let recording = recorded_at(&[100, 110, 90, 100]);
    let speed = Speed::times(100.0).unwrap();
    let started = Instant::now();
    let replay = Replay::new(recording.into_iter(), Pacing::new(speed));
    let times: Vec<_> = replay.map(|_| started.elapsed()).collect();
    for (time, least) in times.iter().zip([0, 100, 100, 200]) {
        assert!(*time >= Duration::from_millis(least), "{times:?}");
    }
}

#[test]
fn a_replay_that_waits_is_stopped_from_another_thread() {
    let _watchdog = watchdog(LIMIT);
    let recording = recorded_at(&[0, 1_000_000, 2_000_000]);
    let mut replay = Replay::new(recording.into_iter(), Pacing::new(Speed::ORIGINAL));
    assert!(replay.next().is_some());
    let stopper = replay.stopper();
    let stopping = thread::spawn(move || stopper.stop());
    assert!(replay.next().is_none());
    assert!(replay.next().is_none());
    stopping.join().unwrap();
}

#[test]
fn the_lines_of_two_recorders_on_one_file_stay_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.jsonl");
    let event = Event::decode(
        Network::V2,
        "a/devices/d/up/x",
        format!("\"{}\"", "1".repeat(5_000)),
    )
    .unwrap();
    let recording: Vec<_> = (0..2)
        .map(|_| {
            let (path, event) = (path.clone(), event.clone());
            thread::spawn(move || {
                let mut recorder = Recorder::open(path, Network::V2).unwrap();
                for _ in 0..300 {
                    recorder.record(&event).unwrap();
                }
            })
        })
        .collect();
    for thread in recording {
        thread.join().unwrap();
    }
    assert_eq!(replayed(&path), vec![json(&event); 600]);
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_an_error_that_says_so() {
    let error = Recorder::open("/dev/full", Network::V3).unwrap_err();
    assert_eq!(error.kind(), ttn::ErrorKind::File);
    let text = error.to_string();
    assert!(
        text.contains("/dev/full") && text.contains("make room"),
        "{text}"
    );
}

#[test]
fn what_is_rotated_away_is_the_oldest_and_nothing_else_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.jsonl");
    let mut recorder = Recorder::builder(&path, Network::V2)
        .max_size(1_000)
        .keep(3)
        .open()
        .unwrap();
    for number in 0..100 {
        let event = Event::decode(Network::V2, "a/devices/d/up/x", number.to_string()).unwrap();
        recorder.record(&event).unwrap();
    }
    let mut found = Vec::new();
    for number in (0..=3).rev() {
        let path = match number {
            0 => path.clone(),
            _ => folder.path().join(format!("run.jsonl.{number}")),
        };
        assert!(fs::metadata(&path).unwrap().len() <= 1_000);
        for recorded in Recording::open(path).unwrap() {
            let payload = recorded.unwrap().raw().payload().to_vec();
            found.push(
                String::from_utf8(payload)
                    .unwrap()
                    .parse::<usize>()
                    .unwrap(),
            );
        }
    }
    assert!(found.len() > 20, "{found:?}");
    assert_eq!(found, (100 - found.len()..100).collect::<Vec<_>>());
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 4);
}
