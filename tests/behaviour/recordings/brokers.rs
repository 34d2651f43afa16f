//! Recordings of what a real broker delivers, by a client and by `mosquitto_sub`.

use std::{
    fs::{self, File},
    process::{Command, Stdio},
};

use ttn::{Event, MqttClient, Network, Recorder, Recording, Topics};

use super::{LIMIT, json, next, replayed, uplink};
use crate::support::{
    child::Running,
    harness::SOON,
    mosquitto::{Mosquitto, find, skip},
    peer::MqttPeer,
    resources::wait_until,
    watchdog::watchdog,
};

const TOPIC: &str = "v3/greenhouse@ttn/devices/bed-07/up";

fn peer(broker: &Mosquitto) -> MqttPeer {
    MqttPeer::connect(broker.address(), "network", "network").unwrap()
}

#[test]
fn retained_messages_behind_a_prefix_replay_to_the_same_events() {
    let _watchdog = watchdog(LIMIT);
    let Some(broker) = Mosquitto::builder().start() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.jsonl");
    let mut peer = peer(&broker);
    let topic = |end: &str| format!("site/7/v3/greenhouse@ttn/devices/bed-07/{end}");
    peer.publish_retained(&topic("up"), uplink(Network::V3, 7, 100))
        .unwrap();
    peer.publish_retained(&topic("join"), b"\xff\xfe\x00")
        .unwrap();
    peer.flush().unwrap();
    let client = MqttClient::own_broker("greenhouse@ttn")
        .mqtt_address(broker.address().to_string())
        .topics(Topics::with_prefix("site/7/"))
        .build()
        .unwrap();
    let events = client.events();
    let mut recorder = Recorder::open(&path, client.network()).unwrap();
    client.connect().unwrap();
    peer.publish(&topic("up"), uplink(Network::V3, 8, 0))
        .unwrap();
    peer.flush().unwrap();
    let mut live = Vec::new();
    while live.len() < 3 {
        let event = next(&events);
        recorder.record(&event).unwrap();
        if event.raw().is_some() {
            live.push(json(&event));
        }
    }
    let retained = live
        .iter()
        .filter(|it| it.contains(r#""is_retained":true"#));
    assert_eq!(retained.count(), 2, "{live:#?}");
    assert_eq!(replayed(&path), live);
}

#[test]
#[track_caller]
fn what_mosquitto_sub_prints_is_read_as_the_client_reads_the_messages() {
    let _watchdog = watchdog(LIMIT);
    let Some(program) = find("TTN_TEST_MOSQUITTO_SUB", "mosquitto_sub") else {
        skip(
            std::panic::Location::caller(),
            "mosquitto_sub is not installed (Debian: mosquitto-clients).",
            "TTN_TEST_REQUIRE_MOSQUITTO_SUB",
        );
        return;
    };
    let Some(broker) = Mosquitto::builder().start() else {
        return;
    };
    let messages: [&[u8]; 6] = [
        &uplink(Network::V3, 7, 300).into_bytes(),
        b"no JSON",
        b"\xff\xfe\x01 \"quoted\"",
        b"\"text\"",
        b"{\"lines\":\n\n1}\n",
        &uplink(Network::V3, 8, 100_000).into_bytes(),
    ];
    for (format, expected) in [("%j", &messages[..]), ("%J", &messages[..1])] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mosquitto.jsonl");
        let mut peer = peer(&broker);
        // It is printed when the program has subscribed.
        peer.publish_retained("ready", "1").unwrap();
        peer.flush().unwrap();
        let child = Command::new(&program)
            .args(["-h", &broker.address().ip().to_string()])
            .args(["-p", &broker.port().to_string(), "-t", "#", "-F", format])
            .stdout(File::create(&path).unwrap())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut child = Running(child);
        let printed = |part: &[u8]| {
            let text = fs::read(&path).unwrap();
            text.windows(part.len()).any(|it| it == part)
        };
        assert!(wait_until(SOON, || printed(b"\"topic\":\"ready\"")));
        for message in expected {
            peer.publish(TOPIC, message).unwrap();
        }
        peer.publish("over", "1").unwrap();
        peer.flush().unwrap();
        assert!(wait_until(SOON, || printed(b"\"topic\":\"over\"")
            && fs::read(&path).unwrap().ends_with(b"\n")));
        child.kill();
        let found: Vec<_> = Recording::open(&path)
            .unwrap()
            .map(Result::unwrap)
            .filter(|it| it.raw().topic() == TOPIC)
            .collect();
        assert_eq!(found.len(), expected.len(), "{found:?}");
        for (recorded, message) in found.iter().zip(expected) {
            let event = match Event::decode(Network::V3, TOPIC, message) {
                Ok(event) => json(&event),
                Err(error) => {
                    let Event::Malformed(malformed) = &recorded.event else {
                        panic!("{:?}", recorded.event)
                    };
                    assert_eq!(malformed.error.to_string(), error.to_string());
                    json(&recorded.event)
                }
            };
            assert_eq!(json(&recorded.event), event);
            if format == "%j" {
                assert_eq!(recorded.raw().payload(), *message);
            }
            assert!(recorded.time.unwrap().elapsed().unwrap() < LIMIT);
        }
    }
}
