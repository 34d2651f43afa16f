//! The airtime and the downlinks that devices use.
#![cfg(unix)]

use std::time::Duration;

use crate::support::{
    harness::{Harness, SOON},
    resources::wait_until,
    watchdog::watchdog,
};
use ttn::{DeliveryState, Network, simulator::Uplink};

const LIMIT: Duration = Duration::from_secs(60);

#[test]
fn uplinks_airtime_and_downlinks_are_counted_for_each_device() {
    let _watchdog = watchdog(LIMIT);
    Harness::each_simulator(|harness| {
        let client = harness.connected();
        let [valve, probe] =
            ["valve-3", "probe-1"].map(|dev_id| harness.simulated().device(dev_id));
        valve.join();
        probe.join();
        for length in [1, 50] {
            valve.uplink(1, vec![0; length]);
        }
        probe.uplink(1, [0]);
        let used = |dev_id| client.stats().fair_use.device(dev_id);
        assert!(wait_until(SOON, || used("probe-1").uplinks == 1));
        assert_eq!(used("valve-3").uplinks, 2);
        // The longer frame has more airtime.
        assert!(used("probe-1").airtime > Duration::ZERO);
        assert!(used("valve-3").airtime > 2 * used("probe-1").airtime);

        let delivery = client.send("valve-3", [1]).unwrap();
        delivery.wait_for(DeliveryState::Queued, SOON).unwrap();
        assert_eq!(used("valve-3").downlinks, 0);
        valve.uplink(1, [0]);
        assert!(wait_until(SOON, || used("valve-3").downlinks == 1));
        assert_eq!(used("probe-1").downlinks, 0);
        assert_eq!(client.stats().fair_use.devices().len(), 2);
    });
}

#[test]
fn a_frame_that_only_acknowledges_an_uplink_is_a_downlink_on_v2() {
    let _watchdog = watchdog(LIMIT);
    let harness = Harness::simulator(Network::V2);
    let client = harness.connected();
    let valve = harness.simulated().device("valve-3");
    valve.join();
    valve.send(Uplink::new(1, [0]).confirmed(true));
    let downlinks = || client.stats().fair_use.device("valve-3").downlinks;
    assert!(wait_until(SOON, || downlinks() == 1));
}

#[test]
fn simulated_uplinks_use_nothing() {
    let _watchdog = watchdog(LIMIT);
    let harness = Harness::simulator(Network::V3);
    let client = harness.connected();
    let valve = harness.simulated().device("valve-3");
    valve.join();
    valve.send(Uplink::new(1, [0]).simulated(true));
    valve.uplink(1, [0]);
    let fair_use = || client.stats().fair_use.device("valve-3");
    assert!(wait_until(SOON, || client.stats().decoded >= 3));
    assert_eq!(fair_use().uplinks, 1);
}
