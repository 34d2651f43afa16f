//! Clients that share the work: groups, the proof that a broker shares, partitions.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use ttn::{
    DeliveryState, ErrorKind, Event, Events, MqttClient, MqttClientBuilder, Session, Topics,
    doctor::Verdict,
};

use crate::support::{
    harness::SOON, mosquitto::Mosquitto, nats_node::NatsNode, peer::MqttPeer, resources::loopback,
    watchdog::watchdog,
};

const LIMIT: Duration = Duration::from_secs(180);
const MEMBERS: usize = 3;

fn builder(broker: &Mosquitto) -> MqttClientBuilder {
    MqttClient::own_broker("greenhouse@ttn").mqtt_address(broker.address().to_string())
}

fn uplink(dev_id: &str, counter: u32) -> String {
    json!({
        "end_device_ids": {"device_id": dev_id, "application_ids": {"application_id": "greenhouse"}},
        "uplink_message": {"f_port": 1, "f_cnt": counter, "frm_payload": "AQ==",
            "received_at": "2026-11-27T07:30:00.7Z"},
    })
    .to_string()
}

/// Connects members with these options.
fn members(change: impl Fn(usize) -> MqttClientBuilder) -> (Vec<MqttClient>, Vec<Events>) {
    let clients: Vec<_> = (0..MEMBERS)
        .map(|member| change(member).build().unwrap())
        .collect();
    let events = clients.iter().map(MqttClient::events).collect();
    clients.iter().for_each(|client| client.connect().unwrap());
    (clients, events)
}

/// Returns the uplinks of all members: which member has received which, with how many in all.
fn uplinks(events: &[Events], count: usize) -> BTreeMap<(String, u32), Vec<usize>> {
    let mut received: BTreeMap<_, Vec<usize>> = BTreeMap::new();
    let mut found = 0;
    let deadline = Instant::now() + SOON;
    while found < count && Instant::now() < deadline {
        for (member, events) in events.iter().enumerate() {
            if let Ok(event) = events.recv_timeout(Duration::from_millis(1)) {
                match event {
                    Event::Uplink(uplink) => {
                        let key = (uplink.dev_id.clone(), uplink.counter);
                        received.entry(key).or_default().push(member);
                        found += 1;
                    }
                    Event::Counter(report) => panic!("{report:?} in a group"),
                    _ => {}
                }
            }
        }
    }
    received
}

/// Reads downlink requests and reports that each was sent.
fn report_sent(network: &mut MqttPeer, requests: usize) {
    for _ in 0..requests {
        let (topic, body) = network.next(SOON).expect("a request comes");
        let mut body: Value = serde_json::from_slice(&body).unwrap();
        let report = json!({
            "end_device_ids": body["end_device_ids"],
            "correlation_ids": body["downlinks"][0]["correlation_ids"],
            "downlink_sent": body["downlinks"][0].take(),
        });
        let topic = topic.replace("/down/replace", "/down/sent");
        network.publish(&topic, report.to_string()).unwrap();
    }
}

#[test]
fn each_uplink_goes_to_one_member_of_a_group_and_each_delivery_ends_where_it_was_sent() {
    let _watchdog = watchdog(LIMIT);
    let Some(broker) = Mosquitto::builder().at(loopback()).start() else {
        return;
    };
    let (clients, events) = members(|_| builder(&broker).shared_group("workers"));
    let mut network = MqttPeer::connect(broker.address(), "network", "network").unwrap();
    network
        .subscribe("v3/greenhouse@ttn/devices/+/down/replace")
        .unwrap();
    const UPLINKS: u32 = 60;
    for counter in 1..=UPLINKS {
        let topic = "v3/greenhouse@ttn/devices/bed-07/up";
        network.publish(topic, uplink("bed-07", counter)).unwrap();
    }
    let received = uplinks(&events, UPLINKS as usize);
    assert_eq!(received.len(), UPLINKS as usize);
    assert!(
        received.values().all(|members| members.len() == 1),
        "{received:?}"
    );
    let sharing: BTreeSet<usize> = received.values().flatten().copied().collect();
    assert_eq!(sharing.len(), MEMBERS, "{received:?}");

    let deliveries: Vec<_> = clients
        .iter()
        .map(|client| client.send("bed-07", [7]).unwrap())
        .collect();
    report_sent(&mut network, MEMBERS);
    for delivery in deliveries {
        delivery.wait_for(DeliveryState::Sent, SOON).unwrap();
    }
    clients.iter().for_each(|client| client.close().unwrap());
}

#[test]
fn the_members_of_partitions_read_each_uplink_once_and_every_report() {
    let _watchdog = watchdog(LIMIT);
    let Some(broker) = Mosquitto::builder().at(loopback()).start() else {
        return;
    };
    let (clients, events) = members(|member| {
        builder(&broker)
            .topics(Topics::with_prefix("ttn/"))
            .partitions(16)
            .partitions_of(member as u32, MEMBERS as u32)
    });
    let mut network = MqttPeer::connect(broker.address(), "network", "network").unwrap();
    network
        .subscribe("ttn/v3/greenhouse@ttn/devices/+/down/replace")
        .unwrap();
    // Computed by hand, as a feed in another language would.
    let partition = |dev_id: &str| {
        let hash = dev_id.bytes().fold(2_166_136_261_u32, |hash, byte| {
            (hash ^ u32::from(byte)).wrapping_mul(16_777_619)
        });
        hash % 16
    };
    const DEVICES: usize = 40;
    for counter in [1, 2] {
        for device in 0..DEVICES {
            let dev_id = format!("dev-{device}");
            let topic = format!(
                "ttn/p/{}/v3/greenhouse@ttn/devices/{dev_id}/up",
                partition(&dev_id)
            );
            network.publish(&topic, uplink(&dev_id, counter)).unwrap();
        }
    }
    let received = uplinks(&events, 2 * DEVICES);
    assert_eq!(received.len(), 2 * DEVICES);
    for ((dev_id, counter), members) in &received {
        let member = partition(dev_id) as usize % MEMBERS;
        assert_eq!(members, &[member], "{dev_id} {counter}");
    }
    let delivery = clients[1].send("dev-0", [7]).unwrap();
    report_sent(&mut network, 1);
    delivery.wait_for(DeliveryState::Sent, SOON).unwrap();
    clients.iter().for_each(|client| client.close().unwrap());
}

/// A broker on which the user may not publish the marker.
fn forbidding(queue_limit: u32) -> Option<Mosquitto> {
    const ACL: &str = "user worker
topic read v3/greenhouse@ttn/devices/#
topic write v3/greenhouse@ttn/devices/+/down/replace
";
    Mosquitto::builder()
        .at(loopback())
        .user("worker", "secret")
        .acl(ACL)
        .queue_limit(queue_limit)
        .start()
}

#[track_caller]
fn doctor_warns(builder: MqttClientBuilder) {
    let report = builder.diagnose();
    match &report.step("shared group").unwrap().verdict {
        Verdict::Warning(why) => assert!(why.contains("ttn-check/"), "{why}"),
        verdict => panic!("{verdict:?}: {report}"),
    }
}

#[test]
fn a_client_that_may_not_publish_the_marker_connects_and_the_doctor_warns() {
    let _watchdog = watchdog(LIMIT);
    let Some(broker) = forbidding(1_000) else {
        return;
    };
    let builder = builder(&broker)
        .credentials("worker", "secret")
        .shared_group("workers");
    let client = builder.clone().build().unwrap();
    let events = client.events();
    let start = Instant::now();
    client.connect().unwrap();
    let took = start.elapsed();
    assert!(took >= Duration::from_secs(2), "{took:?}");
    // From now on it is left out, also when the client connects again.
    client.close().unwrap();
    client.connect().unwrap();
    let log = broker.log();
    assert_eq!(log.matches("Denied PUBLISH").count(), 2, "{log}");
    let failed = std::iter::from_fn(|| events.try_recv().ok())
        .find(|event| matches!(event, Event::ConnectFailed(_)));
    assert!(failed.is_none(), "{failed:?}");
    client.close().unwrap();
    doctor_warns(builder);
}

#[test]
fn where_the_marker_costs_the_connection_the_client_connects_without_it() {
    let _watchdog = watchdog(LIMIT);
    let Some(broker) = forbidding(0) else { return };
    let builder = builder(&broker)
        .credentials("worker", "secret")
        .shared_group("workers");
    let client = builder.clone().build().unwrap();
    let events = client.events();
    client.connect().unwrap();
    let failed = std::iter::from_fn(|| events.try_recv().ok()).find_map(|event| match event {
        Event::ConnectFailed(failed) => Some(failed.error.to_string()),
        _ => None,
    });
    let failed = failed.expect("the first connection has ended");
    assert!(failed.contains("connects again without it"), "{failed}");
    client.close().unwrap();
    client.connect().unwrap();
    let log = broker.log();
    assert_eq!(log.matches("Denied PUBLISH").count(), 1, "{log}");
    client.close().unwrap();
    doctor_warns(builder);
}

#[test]
fn a_member_with_a_persistent_session_proves_the_group_each_time_it_connects() {
    let _watchdog = watchdog(LIMIT);
    let Some(broker) = Mosquitto::builder().at(loopback()).start() else {
        return;
    };
    let client = builder(&broker)
        .shared_group("workers")
        .session(Session::persistent("worker-1"))
        .build()
        .unwrap();
    for _ in 0..3 {
        client.connect().unwrap();
        client.close().unwrap();
    }
}

#[test]
fn nats_grants_a_group_and_delivers_nothing_so_connect_fails_and_says_why() {
    let _watchdog = watchdog(LIMIT);
    let Some(node) = NatsNode::start() else {
        return;
    };
    let builder = MqttClient::own_broker("greenhouse@ttn")
        .mqtt_address(node.address().to_string())
        .connect_timeout(Duration::from_secs(60))
        .shared_group("workers");
    let client = builder.clone().build().unwrap();
    let error = client.connect().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::SharedSubscription, "{error}");
    let text = error.to_string();
    for words in [
        "NATS, RabbitMQ and aedes",
        "partitions",
        "prove_shared_group(false)",
    ] {
        assert!(text.contains(words), "{words:?} is missing in: {text}");
    }
    let report = builder.clone().diagnose();
    match &report.step("shared group").unwrap().verdict {
        Verdict::Failed(why) => assert!(why.contains("NATS"), "{why}"),
        verdict => panic!("{verdict:?}: {report}"),
    }
    let client = builder.prove_shared_group(false).build().unwrap();
    client.connect().unwrap();
    client.close().unwrap();
}
