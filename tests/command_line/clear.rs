//! `ttn clear`

use ttn::{Network, simulator::Simulator};

use crate::program::{finish, ttn_on};

/// A network with a device, and a downlink in its queue.
fn start() -> Simulator {
    let network = Simulator::start(Network::V3).expect("the simulated network starts");
    network.device("pump-1").join();
    let (status, out, errors) = finish(ttn_on(&network, ["send", "pump-1", "01"]));
    assert_eq!(status, 0, "{out}{errors}");
    network
}

#[test]
fn a_cleared_queue_is_empty_when_the_program_ends() {
    let network = start();
    let pump = network.device("pump-1");
    assert_eq!(pump.queue().len(), 1);
    let (status, out, errors) = finish(ttn_on(&network, ["clear", "pump-1"]));
    assert_eq!((status, out.as_str()), (0, ""), "{errors}");
    assert_eq!(
        errors,
        "the queue of pump-1 is empty; 1 downlink was discarded\n"
    );
    assert!(pump.queue().is_empty());

    let (status, _, errors) = finish(ttn_on(&network, ["clear", "pump-1"]));
    assert_eq!(
        (status, errors.as_str()),
        (0, "the queue of pump-1 was empty\n")
    );
}

#[test]
fn what_cannot_be_seen_is_not_claimed() {
    let network = start();
    let mut command = ttn_on(&network, ["clear", "pump-1"]);
    command.env_remove("TTN_HTTP_ADDRESS");
    let (status, _, errors) = finish(command);
    assert_eq!(status, 0, "{errors}");
    assert!(errors.contains("cannot be seen"), "{errors}");
    assert!(network.device("pump-1").queue().is_empty());
}

#[test]
fn a_queue_that_is_not_emptied_is_not_done() {
    let network = start();
    network.quirks(|quirks| quirks.ignore_publishes = true);
    let (status, _, errors) = finish(ttn_on(&network, ["clear", "pump-1"]));
    assert_eq!(status, 7, "{errors}");
    assert_eq!(network.device("pump-1").queue().len(), 1);
}

#[test]
fn what_is_wrong_is_refused_before_anything_is_sent() {
    let network = start();
    for (device, part) in [("Pump 1", "is not a valid device id"), ("pump-9", "pump-9")] {
        let (status, out, errors) = finish(ttn_on(&network, ["clear", device]));
        assert_eq!((status, out.as_str()), (2, ""), "{device}: {errors}");
        assert!(errors.contains(part), "{errors}");
    }
    assert_eq!(network.published().len(), 1);
}

#[test]
fn a_key_that_may_not_send_cannot_clear() {
    let network = start();
    let rights = ["RIGHT_APPLICATION_TRAFFIC_READ"];
    network.set_rights(network.app_id(), network.access_key(), &rights);
    let (status, _, errors) = finish(ttn_on(&network, ["clear", "pump-1"]));
    // The network tells the rights in the background, and need not have told them in time.
    assert!(matches!(status, 4 | 7), "{status}: {errors}");
    assert_eq!(network.device("pump-1").queue().len(), 1);
}

#[test]
fn a_network_that_is_down_is_unreachable() {
    let network = start();
    network.stop();
    let (status, out, errors) = finish(ttn_on(&network, ["clear", "pump-1"]));
    assert_eq!((status, out.as_str()), (3, ""), "{errors}");
}

#[test]
fn v2_cannot_empty_a_queue_and_says_so() {
    let network = Simulator::start(Network::V2).expect("the simulated network starts");
    let (status, out, errors) = finish(ttn_on(&network, ["clear", "pump-1"]));
    assert_eq!((status, out.as_str()), (2, ""));
    assert!(
        errors.contains("V2") || errors.contains("replaced"),
        "{errors}"
    );
    assert!(network.clients().is_empty());
}
