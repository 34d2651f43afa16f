//! A broker of one's own instead of the network: a bridge to it, a Pub/Sub integration, several servers.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use ttn::{
    DeliveryState, Downlink, ErrorKind, Event, Events, MqttClient, MqttClientBuilder, Network,
    Schedule, Topics,
    doctor::{Step, Verdict},
    simulator::Simulator,
};

use crate::support::{
    harness::SOON,
    mosquitto::Mosquitto,
    peer::MqttPeer,
    resources::{loopback, wait_until, wait_until_refused},
    watchdog::watchdog,
};

const LIMIT: Duration = Duration::from_secs(120);
const APP: &str = "greenhouse@ttn";

fn builder(broker: impl ToString) -> MqttClientBuilder {
    MqttClient::own_broker(APP)
        .mqtt_address(broker.to_string())
        .reconnect_delay(Duration::from_millis(20), Duration::from_millis(100))
}

fn peer(broker: &Mosquitto) -> MqttPeer {
    MqttPeer::connect(broker.address(), "network", "network").unwrap()
}

fn ids(app_id: &str, dev_id: &str) -> Value {
    json!({"device_id": dev_id, "application_ids": {"application_id": app_id}})
}

fn uplink(app_id: &str, dev_id: &str, counter: u32) -> String {
    json!({
        "end_device_ids": ids(app_id, dev_id),
        "received_at": "2026-11-27T07:30:00.9Z",
        "uplink_message": {"f_port": 1, "f_cnt": counter, "frm_payload": "AQ==",
            "received_at": "2026-11-27T07:30:00.7Z"},
    })
    .to_string()
}

/// Waits for an event.
#[track_caller]
fn next<T>(events: &Events, mut wanted: impl FnMut(&Event) -> Option<T>) -> T {
    let deadline = Instant::now() + SOON;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let event = events.recv_timeout(left).expect("the event comes");
        if let Some(found) = wanted(&event) {
            return found;
        }
    }
}

#[track_caller]
fn next_uplink(events: &Events) -> (String, u32) {
    next(events, |event| match event {
        Event::Uplink(uplink) => Some((uplink.dev_id.clone(), uplink.counter)),
        _ => None,
    })
}

#[test]
fn a_mosquitto_that_bridges_the_network_is_read_and_written_like_the_network_itself() {
    let _watchdog = watchdog(LIMIT);
    let network = Simulator::builder(Network::V3).start().unwrap();
    let (app_id, key) = (network.app_id().to_owned(), network.access_key().to_owned());
    let server: SocketAddr = network.mqtt_address().parse().unwrap();
    let topic = |end: &str| format!("v3/{app_id}/devices/+/{end}");
    let incoming = ["up", "join", "down/queued", "down/sent", "down/ack"].map(topic);
    let outgoing = ["down/push", "down/replace"].map(topic);
    let broker = Mosquitto::builder().at(loopback());
    let broker = broker.bridge((server, &app_id, &key), "ttn/", &incoming, &outgoing);
    let Some(broker) = broker.start() else { return };

    let client = MqttClient::own_broker(&app_id)
        .mqtt_address(broker.address().to_string())
        .topics(Topics::with_prefix("ttn/"))
        .build()
        .unwrap();
    let events = client.events();
    client.connect().unwrap();
    let device = network.device("bed-07");
    // The bridge may need a moment.
    let bridged = wait_until(SOON, || {
        device.uplink(2, [7]);
        let event = events.recv_timeout(Duration::from_millis(200));
        matches!(event, Ok(Event::Uplink(_)))
    });
    assert!(bridged, "{}", broker.log());
    device.uplink(3, [1, 2, 3]);
    let topic = next(&events, |event| match event {
        Event::Uplink(uplink) if uplink.payload_raw == [1, 2, 3] => {
            assert_eq!((uplink.dev_id.as_str(), uplink.port), ("bed-07", 3));
            Some(uplink.raw().topic().to_owned())
        }
        _ => None,
    });
    assert_eq!(topic, format!("ttn/v3/{app_id}/devices/bed-07/up"));

    let downlink = Downlink::bytes([9, 8]).port(4).confirmed(true);
    let delivery = client.send("bed-07", downlink).unwrap();
    delivery.wait_for(DeliveryState::Queued, SOON).unwrap();
    device.uplink(2, [7]);
    let received = device.next_downlink(SOON).unwrap();
    assert_eq!(
        (received.port, received.payload.as_slice()),
        (4, &[9, 8][..])
    );
    delivery.wait_for(DeliveryState::Sent, SOON).unwrap();
    device.uplink(2, [7]);
    delivery
        .wait_for(DeliveryState::Acknowledged, SOON)
        .unwrap();
    client.close().unwrap();
}

#[test]
fn a_pub_sub_integration_is_read_by_content_and_gets_its_downlinks() {
    let _watchdog = watchdog(LIMIT);
    let Some(broker) = Mosquitto::builder().at(loopback()).start() else {
        return;
    };
    let mut integration = peer(&broker);
    for topic in ["base/down/push", "base/down/replace"] {
        integration.subscribe(topic).unwrap();
    }
    let topics = Topics::pub_sub("base")
        .uplink("up")
        .downlink_push("down/push")
        .downlink_replace("down/replace");
    let client = builder(broker.address()).topics(topics).build().unwrap();
    let events = client.events();
    client.connect().unwrap();

    integration
        .publish("base/up", uplink("orchard", "bed-07", 1))
        .unwrap();
    integration
        .publish("base/up", uplink("greenhouse", "bed-07", 2))
        .unwrap();
    // The uplink of the other application came first, if it came at all.
    assert_eq!(next_uplink(&events), ("bed-07".to_owned(), 2));
    let join = json!({"end_device_ids": ids("greenhouse", "bed-08"), "join_accept": {}});
    integration.publish("base", join.to_string()).unwrap();
    let is_its = next(&events, |event| match event {
        Event::Activation(join) => Some(join.dev_id == "bed-08"),
        _ => None,
    });
    assert!(is_its);
    integration.publish("base", "21.5").unwrap();
    let is_its = next(&events, |event| match event {
        Event::Other(raw) => Some(raw.payload() == b"21.5"),
        _ => None,
    });
    assert!(is_its);

    for (schedule, topic) in [
        (Schedule::Last, "base/down/push"),
        (Schedule::Replace, "base/down/replace"),
    ] {
        let downlink = Downlink::bytes([1]).schedule(schedule);
        let delivery = client.send("bed-07", downlink).unwrap();
        let (on, body) = integration.next(SOON).unwrap();
        assert_eq!(on, topic);
        let mut body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["end_device_ids"], ids("greenhouse", "bed-07"));
        let report = json!({
            "end_device_ids": ids("greenhouse", "bed-07"),
            "correlation_ids": body["downlinks"][0]["correlation_ids"],
            "downlink_sent": body["downlinks"][0].take(),
        });
        integration.publish("base", report.to_string()).unwrap();
        delivery.wait_for(DeliveryState::Sent, SOON).unwrap();
    }
    client.close().unwrap();
}

#[test]
fn an_integration_without_a_topic_for_downlinks_makes_send_say_what_to_set() {
    let _watchdog = watchdog(LIMIT);
    let Some(broker) = Mosquitto::builder().at(loopback()).start() else {
        return;
    };
    let topics = Topics::pub_sub("base").downlink_push("down/push");
    let client = builder(broker.address()).topics(topics).build().unwrap();
    client.connect().unwrap();
    let error = client.send("bed-07", [1]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Downlink);
    assert!(error.to_string().contains(".downlink_replace("), "{error}");
    let error = client.clear_queue("bed-07").unwrap_err();
    assert!(error.to_string().contains(".downlink_replace("), "{error}");
    client.close().unwrap();
}

#[test]
fn the_topics_of_v3_fit_an_integration_that_imitates_them() {
    let _watchdog = watchdog(LIMIT);
    let Some(broker) = Mosquitto::builder().at(loopback()).start() else {
        return;
    };
    let client = builder(broker.address()).build().unwrap();
    let events = client.events();
    client.connect().unwrap();
    let topic = "v3/greenhouse@ttn/devices/any/up";
    peer(&broker)
        .publish(topic, uplink("greenhouse", "bed-07", 7))
        .unwrap();
    assert_eq!(next_uplink(&events), ("bed-07".to_owned(), 7));
    client.close().unwrap();
}

#[test]
fn user_and_password_of_the_broker_are_its_own_and_never_printed() {
    let _watchdog = watchdog(LIMIT);
    const PASSWORD: &str = "wrong-and-nobody-sees-it";
    let broker = Mosquitto::builder().at(loopback()).user("worker", "right");
    let Some(broker) = broker.start() else { return };
    let client = builder(broker.address()).credentials("worker", "right");
    let client = client.build().unwrap();
    client.connect().unwrap();
    client.close().unwrap();

    let wrong = builder(broker.address()).credentials("worker", PASSWORD);
    assert!(!format!("{wrong:?}").contains(PASSWORD));
    let client = wrong.clone().build().unwrap();
    assert!(!format!("{client:?}").contains(PASSWORD));
    let error = client.connect().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotAuthorized);
    let text = format!("{error} {error:?} {}", wrong.diagnose());
    assert!(text.contains("the user name \"worker\""), "{text}");
    assert!(!text.contains(PASSWORD), "{text}");
    assert!(!text.contains("API key"), "{text}");

    let error = builder(broker.address())
        .build()
        .unwrap()
        .connect()
        .unwrap_err();
    assert!(error.to_string().contains("credentials"), "{error}");
}

#[cfg(feature = "tls")]
#[test]
fn a_broker_with_tls_is_checked_like_any_other_server() {
    let _watchdog = watchdog(LIMIT);
    let certificates = crate::support::certificates::Certificates::new();
    let broker = Mosquitto::builder().tls(&certificates.server).start();
    let Some(broker) = broker else { return };
    let port = broker.tls_address().unwrap().port();
    // Nothing listens at the first one.
    let address = format!("mqtts://localhost:1,localhost:{port}");
    let with = |pem| builder(&address).ca_pem(pem).build().unwrap();
    let client = with(certificates.authority.certificate_pem());
    client.connect().unwrap();
    client.close().unwrap();
    let client = with(certificates.foreign_authority.certificate_pem());
    let error = client.connect().unwrap_err();
    assert!(error.to_string().contains("certificate of"), "{error}");
}

#[test]
fn a_client_goes_to_the_next_server_when_one_is_dead_and_when_one_dies() {
    let _watchdog = watchdog(LIMIT);
    let start = || Mosquitto::builder().at(loopback()).start();
    let (Some(mut dead), Some(mut second), Some(third)) = (start(), start(), start()) else {
        return;
    };
    dead.kill();
    wait_until_refused(dead.address());
    let address = format!(
        "mqtt://{},{},{}",
        dead.address(),
        second.address(),
        third.address()
    );
    let client = builder(address).build().unwrap();
    let events = client.events();
    client.connect().unwrap();
    next(&events, |event| match event {
        Event::ConnectFailed(failed) => {
            let text = failed.error.to_string();
            assert!(text.contains(&dead.address().to_string()), "{text}");
            assert_eq!(failed.retry_in, Some(Duration::ZERO));
            Some(())
        }
        Event::Connected(connected) => panic!("{connected:?} without a failure before"),
        _ => None,
    });
    let connected = || {
        next(&events, |event| match event {
            Event::Connected(connected) => Some(connected.address.clone()),
            _ => None,
        })
    };
    assert_eq!(connected(), format!("mqtt://{}", second.address()));
    second.kill();
    assert_eq!(connected(), format!("mqtt://{}", third.address()));
    let topic = "v3/greenhouse@ttn/devices/bed-07/up";
    peer(&third)
        .publish(topic, uplink("greenhouse", "bed-07", 1))
        .unwrap();
    assert_eq!(next_uplink(&events), ("bed-07".to_owned(), 1));
    client.close().unwrap();

    // And if none is left, the error names them all.
    let dead = [dead.address(), second.address()];
    dead.iter().for_each(|address| wait_until_refused(*address));
    let client = builder(format!("mqtt://{},{}", dead[0], dead[1]));
    let error = client.build().unwrap().connect().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    for address in dead {
        assert!(error.to_string().contains(&address.to_string()), "{error}");
    }
}

#[test]
fn an_uplink_that_comes_again_is_marked_and_counted_once() {
    let _watchdog = watchdog(LIMIT);
    let Some(broker) = Mosquitto::builder().at(loopback()).start() else {
        return;
    };
    let client = builder(broker.address()).build().unwrap();
    let events = client.events();
    client.connect().unwrap();
    let mut feeds = [peer(&broker), peer(&broker)];
    let topic = "v3/greenhouse@ttn/devices/bed-07/up";
    let mut keys = Vec::new();
    for counter in [5, 6, 7] {
        for (feed, is_again) in feeds.iter_mut().zip([false, true]) {
            feed.publish(topic, uplink("greenhouse", "bed-07", counter))
                .unwrap();
            next(&events, |event| match event {
                Event::Uplink(uplink) => {
                    assert_eq!(uplink.is_duplicate(), is_again, "{counter}");
                    keys.push(uplink.key());
                    Some(())
                }
                Event::Counter(report) => panic!("{report:?}"),
                _ => None,
            });
        }
    }
    assert_eq!(keys[0], keys[1]);
    keys.dedup();
    assert_eq!(keys.len(), 3);
    client.close().unwrap();
}

#[test]
fn a_downlink_that_nobody_takes_from_the_broker_is_explained_without_keys_of_the_network() {
    let _watchdog = watchdog(LIMIT);
    let Some(broker) = Mosquitto::builder().at(loopback()).start() else {
        return;
    };
    let client = builder(broker.address())
        .unconfirmed_after(Duration::from_millis(50))
        .build()
        .unwrap();
    client.connect().unwrap();
    let delivery = client.send("bed-07", [1]).unwrap();
    let error = delivery.wait_for(DeliveryState::Sent, SOON).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unconfirmed, "{error}");
    let text = error.to_string();
    for words in [
        "access control of the broker",
        "from the broker to the network",
        "network behind the broker",
    ] {
        assert!(text.contains(words), "{words:?} is missing in: {text}");
    }
    assert!(!text.contains("key") && !text.contains("RIGHT_"), "{text}");
    client.close().unwrap();
}

#[test]
fn the_doctor_looks_at_a_broker_of_ones_own_and_says_what_it_leaves_out() {
    let _watchdog = watchdog(LIMIT);
    let broker = Mosquitto::builder().at(loopback()).user("worker", "right");
    let Some(broker) = broker.start() else { return };
    let report = builder(broker.address())
        .credentials("worker", "right")
        .shared_group("workers")
        .diagnose();
    assert!(report.is_healthy(), "{report}");
    let names: Vec<_> = report.steps.iter().map(|step| step.name).collect();
    assert_eq!(names, Step::NAMES);
    for name in ["options", "TCP", "MQTT", "shared group"] {
        assert_eq!(report.step(name).unwrap().verdict, Verdict::Ok, "{report}");
    }
    for name in ["HTTP API", "key", "uplinks", "devices", "least rights"] {
        match &report.step(name).unwrap().verdict {
            Verdict::Skipped(why) => assert!(why.contains("broker of its own"), "{name}: {why}"),
            verdict => panic!("{name}: {verdict:?}"),
        }
    }
    let wrong = builder(broker.address()).credentials("worker", "wrong");
    let report = wrong.diagnose();
    assert!(
        report.verdict().contains("user name \"worker\""),
        "{report}"
    );
}
