//! `ttn queue`

use ttn::{
    Downlink, MqttClient, Network, Priority, Schedule,
    serde_json::{self, Value},
    simulator::Simulator,
};

use crate::program::{LIMIT, finish, ttn_on};

/// A network and a device with two downlinks in its queue.
fn start() -> Simulator {
    let network = Simulator::start(Network::V3).expect("the simulated network starts");
    network.device("pump-1").join();
    let client = MqttClient::builder(network.app_id(), network.access_key())
        .mqtt_address(network.mqtt_address())
        .build()
        .expect("the options are right");
    client.connect().expect("the network is up");
    let downlinks = [
        Downlink::bytes([0x0a, 0xbc]).port(7),
        Downlink::bytes([1])
            .confirmed(true)
            .priority(Priority::High),
    ];
    for downlink in downlinks {
        let downlink = downlink.schedule(Schedule::Last);
        let delivery = client.send("pump-1", downlink).expect("it is right");
        let queued = ttn::DeliveryState::Queued;
        delivery
            .wait_for(queued, LIMIT)
            .expect("the network queues it");
    }
    client.close().expect("the network is up");
    network
}

#[test]
fn a_queue_is_a_table_for_people() {
    let network = start();
    let (status, out, errors) = finish(ttn_on(&network, ["queue", "pump-1"]));
    assert_eq!((status, errors.as_str()), (0, ""));
    let rows: Vec<Vec<&str>> = out
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    let [heading, first, second] = &rows[..] else {
        panic!("{out}");
    };
    assert_eq!(heading[..4], ["FPORT", "PAYLOAD", "CONFIRMED", "PRIORITY"]);
    assert_eq!(first[..4], ["7", "0ABC", "no", "lowest"]);
    assert_eq!(second[..4], ["1", "01", "yes", "high"]);
    assert!(
        second.last().is_some_and(|key| key.starts_with("ttn:")),
        "{out}"
    );
    let column = out.find("PAYLOAD").expect("a heading");
    assert!(
        out.lines().all(|line| line.as_bytes()[column - 1] == b' '),
        "{out}"
    );
}

#[test]
fn a_queue_is_lines_of_json_for_programs() {
    let network = start();
    let (status, out, errors) = finish(ttn_on(&network, ["queue", "pump-1", "--json"]));
    assert_eq!((status, errors.as_str()), (0, ""));
    let queue: Vec<Value> = out
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert_eq!(queue.len(), 2, "{out}");
    assert_eq!(queue[0]["payload_hex"], "0ABC");
    assert_eq!(queue[1]["priority"], "high");
}

#[test]
fn an_empty_queue_is_nothing_on_standard_output() {
    let network = Simulator::start(Network::V3).expect("the simulated network starts");
    network.device("pump-1").join();
    for json in [false, true] {
        let mut command = ttn_on(&network, ["queue", "pump-1"]);
        command.args(json.then_some("--json"));
        let (status, out, _) = finish(command);
        assert_eq!((status, out.as_str()), (0, ""));
    }
}

#[test]
fn what_another_program_has_queued_cannot_control_the_terminal() {
    let network = start();
    let client = MqttClient::builder(network.app_id(), network.access_key())
        .mqtt_address(network.mqtt_address())
        .build()
        .expect("the options are right");
    client.connect().expect("the network is up");
    let downlink = Downlink::bytes([1]).correlation_id("ttn:\u{1b}[2J\u{202e}");
    let delivery = client.send("pump-1", downlink).expect("it is right");
    let queued = ttn::DeliveryState::Queued;
    delivery.wait_for(queued, LIMIT).expect("it is queued");
    for arguments in [["queue", "pump-1", "-v"], ["queue", "pump-1", "--json"]] {
        let (status, out, errors) = finish(ttn_on(&network, arguments));
        assert_eq!(status, 0, "{errors}");
        let is_obeyed = |it: char| it == '\u{202e}' || it.is_control() && it != '\n';
        assert!(!out.contains(is_obeyed), "{out:?}");
    }
}

#[test]
fn a_queue_that_cannot_be_read_says_why() {
    let network = start();
    let (status, out, errors) = finish(ttn_on(&network, ["queue", "pump-9"]));
    assert_eq!((status, out.as_str()), (2, ""));
    assert!(errors.contains("pump-9"), "{errors}");

    let rights = ["RIGHT_APPLICATION_INFO"];
    network.set_rights(network.app_id(), network.access_key(), &rights);
    let (status, out, errors) = finish(ttn_on(&network, ["queue", "pump-1"]));
    assert_eq!((status, out.as_str()), (4, ""));
    assert!(
        errors.contains("RIGHT_APPLICATION_TRAFFIC_READ"),
        "{errors}"
    );

    network.stop();
    let (status, out, errors) = finish(ttn_on(&network, ["queue", "pump-1"]));
    assert_eq!((status, out.as_str()), (3, ""), "{errors}");
}

#[test]
fn v2_has_no_list_of_a_queue_and_says_so() {
    let network = Simulator::start(Network::V2).expect("the simulated network starts");
    let (status, out, errors) = finish(ttn_on(&network, ["queue", "pump-1"]));
    assert_eq!((status, out.as_str()), (2, ""));
    assert!(errors.contains("V2"), "{errors}");
}
