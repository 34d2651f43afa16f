//! What the simulator tells about clients and devices.

use std::time::Duration;

use ttn::Network;
use ttn::crossbeam_channel::{Receiver, bounded};
use ttn::simulator::{Activity, Disconnection, HttpRequest, Quirks, Simulator, SimulatorBuilder};

use crate::support::raw::{Hello, LONG, Raw, frame, string};

const V3_UP: &str = "v3/simulated-app@ttn/devices/+/up";
const V3_PUSH: &str = "v3/simulated-app@ttn/devices/pump-1/down/push";

fn told(network: Network) -> (Simulator, Receiver<Activity>) {
    of(Simulator::builder(network).receive_window(Duration::ZERO))
}

fn of(builder: SimulatorBuilder) -> (Simulator, Receiver<Activity>) {
    let (sender, activities) = bounded(1000);
    (builder.activity(sender).start().unwrap(), activities)
}

#[track_caller]
fn next(activities: &Receiver<Activity>) -> Activity {
    activities.recv_timeout(LONG).expect("something is told")
}

/// Returns why the next client is gone.
#[track_caller]
fn ended(activities: &Receiver<Activity>) -> Disconnection {
    loop {
        match next(activities) {
            Activity::Disconnected { cause, .. } | Activity::Failed { cause, .. } => return cause,
            _ => {}
        }
    }
}

#[test]
fn a_client_is_told_from_its_connect_to_its_end() {
    let (network, activities) = told(Network::V3);
    let device = network.device("pump-1");
    let mut client = Raw::connect(&network);
    let Activity::Connected {
        connection,
        client: info,
    } = next(&activities)
    else {
        panic!("not a connect");
    };
    assert_eq!(
        (connection, info.client_id.as_str(), info.username.as_str()),
        (1, "raw", network.app_id())
    );
    let client_id = || String::from("raw");

    assert_eq!(client.subscribe(V3_UP, 0), [0]);
    let granted = vec![V3_UP.to_owned()];
    assert_eq!(
        next(&activities),
        Activity::Subscribed {
            connection,
            client_id: client_id(),
            granted,
            refused: Vec::new()
        }
    );
    assert_eq!(client.subscribe("v3/other@ttn/#", 0), [0x80]);
    let refused = vec![String::from("v3/other@ttn/#")];
    assert_eq!(
        next(&activities),
        Activity::Subscribed {
            connection,
            client_id: client_id(),
            granted: Vec::new(),
            refused
        }
    );

    let push = r#"{"downlinks":[{"f_port":2,"frm_payload":"AQI="}]}"#;
    client.publish_1(V3_PUSH, push);
    let published = |topic: &str, payload: &str, qos, accepted| Activity::Published {
        connection,
        client_id: client_id(),
        topic: topic.to_owned(),
        payload: payload.into(),
        qos,
        accepted,
    };
    assert_eq!(next(&activities), published(V3_PUSH, push, 1, true));
    device.uplink(1, [7]);
    let Activity::Received {
        app_id,
        dev_id,
        downlink,
    } = next(&activities)
    else {
        panic!("the device has not received it");
    };
    assert_eq!(
        (app_id.as_str(), dev_id.as_str()),
        (network.app_id(), "pump-1")
    );
    assert_eq!(
        (downlink.port, downlink.payload.as_slice()),
        (2, &[1, 2][..])
    );
    assert_eq!(device.next_downlink(LONG), Some(downlink));

    client.publish("v3/other@ttn/devices/pump-1/down/push", b"no");
    assert_eq!(
        next(&activities),
        published("v3/other@ttn/devices/pump-1/down/push", "no", 0, false)
    );
    client.write(&frame(0xa2, &[vec![0, 5], string(V3_UP)].concat()));
    let filters = vec![V3_UP.to_owned()];
    assert_eq!(
        next(&activities),
        Activity::Unsubscribed {
            connection,
            client_id: client_id(),
            filters
        }
    );
    client.write(&[0xe0, 0]);
    drop(client);
    assert_eq!(
        next(&activities),
        Activity::Disconnected {
            connection,
            client_id: client_id(),
            cause: Disconnection::Goodbye
        }
    );

    let _second = Raw::connect(&network);
    assert!(matches!(
        next(&activities),
        Activity::Connected { connection: 2, .. }
    ));
}

#[test]
fn devices_of_v2_tell_what_they_receive() {
    let (network, activities) = told(Network::V2);
    let mut client = Raw::connect(&network);
    client.publish_1(
        "simulated-app/devices/pump-1/down",
        r#"{"port":3,"payload_raw":"AQ=="}"#,
    );
    let device = network.device("pump-1");
    client.publish_1(
        "simulated-app/devices/pump-1/down",
        r#"{"port":3,"payload_raw":"Ag=="}"#,
    );
    device.uplink(1, [1]);
    let received = activities.iter().find_map(|activity| match activity {
        Activity::Received { downlink, .. } => Some(downlink),
        _ => None,
    });
    assert_eq!(received.map(|downlink| downlink.payload), Some(vec![2]));
}

#[test]
fn why_a_client_is_gone_is_told() {
    let (network, activities) = told(Network::V3);
    drop(Raw::connect(&network));
    assert_eq!(ended(&activities), Disconnection::Closed);

    let _cut = Raw::connect(&network);
    network.disconnect_clients();
    assert_eq!(ended(&activities), Disconnection::Network);

    let silent = Hello {
        keep_alive: 1,
        ..Hello::of(&network)
    };
    let _silent = Raw::accepted(&network, &silent);
    assert_eq!(ended(&activities), Disconnection::Silent);

    let mut wrong = Raw::connect(&network);
    wrong.write(&frame(
        0x82,
        &[vec![0, 9], string("a/#/b"), vec![0]].concat(),
    ));
    assert_eq!(
        ended(&activities),
        Disconnection::Mistake(String::from("\"a/#/b\" is not a topic filter"))
    );

    network.quirks(|quirks| quirks.publish_limit = Some(0));
    let mut many = Raw::connect(&network);
    many.publish(V3_PUSH, b"{}");
    assert_eq!(ended(&activities), Disconnection::Limit);
    network.quirks(|quirks| *quirks = Quirks::of(Network::V3));

    let _left = Raw::connect(&network);
    network.stop();
    assert_eq!(ended(&activities), Disconnection::Network);
}

#[test]
fn why_a_client_does_not_get_in_is_told() {
    let (network, activities) = told(Network::V3);
    let wrong = Hello {
        password: Some("NNSXS.WRONG.KEY"),
        ..Hello::of(&network)
    };
    Raw::refused(&network, &wrong, 5);
    let refused = Activity::Refused {
        connection: 1,
        client_id: String::from("raw"),
        username: network.app_id().to_owned(),
        code: 5,
    };
    assert_eq!(next(&activities), refused);
    assert!(!format!("{refused:?}").contains("WRONG"));

    drop(Raw::open(&network));
    assert_eq!(
        next(&activities),
        Activity::Failed {
            connection: 2,
            cause: Disconnection::Closed
        }
    );
    Raw::open(&network).write(&[0xc0, 0]);
    let first = Disconnection::Mistake(String::from("the first packet is not a CONNECT"));
    assert_eq!(
        next(&activities),
        Activity::Failed {
            connection: 3,
            cause: first
        }
    );

    network.quirks(|quirks| quirks.close_on_connect = true);
    Raw::hello(&network, &Hello::of(&network)).assert_closed();
    assert_eq!(
        next(&activities),
        Activity::Failed {
            connection: 4,
            cause: Disconnection::Network
        }
    );

    network.quirks(|quirks| {
        quirks.close_on_connect = false;
        quirks.connection_limit = Some(0);
    });
    Raw::refused(&network, &Hello::of(&network), 3);
    assert!(matches!(
        next(&activities),
        Activity::Refused {
            connection: 5,
            code: 3,
            ..
        }
    ));
}

#[test]
fn requests_over_http_are_told() {
    use std::io::{Read, Write};
    let (network, activities) = told(Network::V3);
    let address = network.http_address();
    let mut stream = std::net::TcpStream::connect(address.trim_start_matches("http://")).unwrap();
    let key = network.access_key();
    write!(
        stream,
        "GET /api/v3/auth_info HTTP/1.0\r\nAuthorization: Bearer {key}\r\n\r\n"
    )
    .unwrap();
    stream.read_to_end(&mut Vec::new()).unwrap();
    let Activity::Requested(HttpRequest {
        method,
        path,
        has_key,
        ..
    }) = next(&activities)
    else {
        panic!("not a request");
    };
    assert_eq!(
        (method.as_str(), path.as_str(), has_key),
        ("GET", "/api/v3/auth_info", true)
    );
}

#[test]
fn a_full_channel_does_not_stop_the_network() {
    let (sender, activities) = bounded(2);
    let builder = Simulator::builder(Network::V3).activity(sender);
    let network = builder.start().unwrap();
    let mut client = Raw::connect(&network);
    for _ in 0..20 {
        client.publish_1(V3_PUSH, "{}");
    }
    assert!(matches!(next(&activities), Activity::Connected { .. }));
    assert!(matches!(next(&activities), Activity::Published { .. }));
    client.publish_1(V3_PUSH, "{}");
    assert_eq!(next(&activities), Activity::Lagged(19));
    assert!(matches!(next(&activities), Activity::Published { .. }));
}

#[test]
fn a_network_that_runs_for_long_keeps_only_its_history() {
    let builder = Simulator::builder(Network::V3).receive_window(Duration::ZERO);
    let network = builder.history(2).start().unwrap();
    let device = network.device("pump-1");
    let mut client = Raw::connect(&network);
    for byte in ["AQ==", "Ag==", "Aw=="] {
        client.publish_1(
            V3_PUSH,
            &format!(r#"{{"downlinks":[{{"f_port":1,"frm_payload":"{byte}"}}]}}"#),
        );
        device.uplink(1, [1]);
    }
    assert!(network.wait_for_published(3, LONG));
    let kept = network.published();
    assert_eq!(kept.len(), 2);
    assert!(String::from_utf8_lossy(&kept[0].1).contains("Ag=="));
    let received: Vec<_> = device
        .received()
        .try_iter()
        .map(|downlink| downlink.payload)
        .collect();
    assert_eq!(received, [[2], [3]]);
}
