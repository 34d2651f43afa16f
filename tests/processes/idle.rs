//! Runs alone in its process, so that all its threads' activity is that of one client.
#![cfg(target_os = "linux")]

use std::{fs, time::Duration};

use crate::support::{
    child::alone,
    harness::{Harness, SOON},
    resources::{pause, wait_until},
    watchdog::watchdog,
};
use ttn::Event;

/// Returns how often the threads of this name were woken up.
fn wake_ups(name: &str) -> u64 {
    let tasks = fs::read_dir("/proc/self/task").unwrap();
    tasks
        .filter_map(|task| fs::read_to_string(task.unwrap().path().join("status")).ok())
        .filter(|status| status.lines().next() == Some(&format!("Name:\t{name}")))
        .map(|status| {
            let line = status
                .lines()
                .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:\t"));
            line.unwrap().parse::<u64>().unwrap()
        })
        .sum()
}

#[test]
fn a_client_that_hears_nothing_sleeps() {
    let _watchdog = watchdog(Duration::from_secs(60));
    if !alone(module_path!(), "a_client_that_hears_nothing_sleeps") {
        return;
    }
    Harness::each_simulator(|harness| {
        let client = harness.client();
        let events = client.events();
        client.set_uplink_callback(|_, _| {});
        client.connect().unwrap();
        let _ = client.send("dev-1", [1]).unwrap();
        harness.uplink("dev-1", 1);
        let is_uplink = |event| matches!(event, Ok(Event::Uplink(_)));
        assert!(wait_until(SOON, || is_uplink(events.try_recv())));
        let all = || ["ttn-session", "ttn-callbacks", "ttn-wire"].map(wake_ups);
        // A thread that has found work each time falls asleep for the first time now.
        assert!(wait_until(SOON, || all().iter().all(|number| *number > 0)));

        // The network still sends reports about the downlink for a moment.
        pause(Duration::from_millis(500));
        let before = all();
        pause(Duration::from_secs(3));
        assert_eq!(all(), before);
    });
}
