//! The resources that a client takes and returns: threads, file descriptors, memory.
#![cfg(target_os = "linux")]

use std::time::Duration;

use crate::support::{
    child::alone,
    harness::Harness,
    resources::{client_threads, descriptors, resident_kib, thread_names, wait_until},
    watchdog::watchdog,
};
use ttn::MqttClient;

const SOON: Duration = Duration::from_secs(20);

#[test]
fn a_thousand_connections_leave_nothing_behind() {
    let _watchdog = watchdog(Duration::from_secs(300));
    if !alone(
        module_path!(),
        "a_thousand_connections_leave_nothing_behind",
    ) {
        return;
    }
    Harness::each_simulator(|harness| {
        let network = harness.simulated();

        let cycle = |client: MqttClient, succeeds: bool| {
            assert_eq!(client.connect().is_ok(), succeeds);
            client.close().unwrap();
        };
        let settled = |threads: usize| wait_until(SOON, || client_threads().len() == threads);
        // The first connections start Paho's threads, its keeper and the allocator's arenas.
        (0..50).for_each(|_| cycle(harness.client(), true));
        assert!(settled(0), "{:?}", thread_names());
        assert!(network.wait_for_clients(0, SOON));
        let before = (descriptors(), resident_kib());

        for _ in 0..300 {
            cycle(harness.client(), true);
        }
        let one = harness.client();
        for _ in 0..300 {
            cycle(one.clone(), true);
        }
        drop(one);
        network.quirks(|quirks| quirks.connack = Some(5));
        for _ in 0..200 {
            cycle(harness.client(), false);
        }
        network.quirks(|quirks| quirks.close_on_connect = true);
        for _ in 0..200 {
            cycle(harness.client(), false);
        }

        assert!(settled(0), "{:?}", thread_names());
        let (descriptors_before, memory_before) = before;
        assert!(
            wait_until(SOON, || descriptors() <= descriptors_before),
            "{} descriptors, {descriptors_before} before",
            descriptors()
        );
        let grown = resident_kib().saturating_sub(memory_before);
        assert!(grown < 4 * 1024, "{grown} KiB more than before");

        // Attempts that a silent server delays end as well.
        network.quirks(|quirks| {
            quirks.close_on_connect = false;
            quirks.connack = None;
            quirks.ignore_connect = true;
        });
        let clients: Vec<_> = (0..20)
            .map(|_| {
                harness
                    .builder()
                    .connect_timeout(Duration::from_secs(1))
                    .build()
                    .unwrap()
            })
            .collect();
        std::thread::scope(|scope| {
            for client in &clients {
                scope.spawn(|| assert!(client.connect().is_err()));
            }
        });
        drop(clients);
        assert!(settled(0), "{:?}", thread_names());
    });
}
