//! Workers: uplinks of different devices side by side, those of one device in order, and nothing that happens in
//! one of them is felt by the others.
#![cfg(unix)]

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Barrier, Mutex},
    thread,
    time::{Duration, Instant, SystemTime},
};

use crate::support::{
    harness::{Harness, SOON},
    mosquitto::Mosquitto,
    peer::MqttPeer,
    resources::{pause, wait_until},
    watchdog::watchdog,
};
use anyhow::bail;
use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use ttn::{
    Acknowledge, Backfill, CallbackFailed, ErrorKind, Event, Events, MqttClient, MqttClientBuilder,
    Network, Overflow, Session, Stats, UplinkMessage,
    simulator::{Simulator, Storage},
};

const LIMIT: Duration = Duration::from_secs(60);

/// Long enough that what happens at all has happened.
const SILENCE: Duration = Duration::from_millis(300);

#[track_caller]
fn next<T>(receiver: &Receiver<T>) -> T {
    receiver.recv_timeout(SOON).expect("a worker is called")
}

/// Waits for this many uplinks; the workers that were set before the subscription have them in their queues then.
#[track_caller]
fn wait_for_uplinks(events: &Events, count: usize) {
    for _ in 0..count {
        while !matches!(events.recv_timeout(SOON).unwrap(), Event::Uplink(_)) {}
    }
}

fn handled(stats: &Stats) -> u64 {
    stats.workers.iter().map(|worker| worker.handled).sum()
}

fn dropped(stats: &Stats) -> u64 {
    stats.workers.iter().map(|worker| worker.dropped).sum()
}

#[track_caller]
fn wait_for_failure(events: &Events) -> CallbackFailed {
    loop {
        if let Event::CallbackFailed(failed) = events.recv_timeout(SOON).unwrap() {
            return failed;
        }
    }
}

/// Two workers of a client. The first uplink of the first device blocks its worker.
struct Blocked {
    client: MqttClient,
    /// Each uplink that a worker has begun.
    begun: Receiver<(String, u32)>,
    /// Frees the blocked worker when it is dropped.
    free: Sender<()>,
    /// A device of the worker that is blocked, and one of the other.
    devices: [String; 2],
    id: ttn::CallbackId,
}

impl Blocked {
    /// Sets the workers, and finds devices for them.
    fn new(harness: &mut Harness, client: MqttClient) -> Self {
        let (sender, begun) = unbounded();
        let (free, freed) = bounded::<()>(0);
        let set = client.set_uplink_workers(2, |worker| {
            let (sender, freed) = (sender.clone(), freed.clone());
            move |uplink: &UplinkMessage, _: &MqttClient| {
                let told = match uplink.counter {
                    0 => format!("{worker}"),
                    _ => uplink.dev_id.clone(),
                };
                sender.send((told, uplink.counter)).unwrap();
                if uplink.counter == 1 {
                    let _ = freed.recv();
                }
            }
        });
        let mut devices = [None, None];
        for number in 0.. {
            let device = format!("bed-{number}");
            harness.uplink(&device, 0);
            let worker: usize = next(&begun).0.parse().unwrap();
            devices[worker] = Some(device);
            if devices.iter().all(Option::is_some) {
                break;
            }
        }
        let devices = devices.map(Option::unwrap);
        harness.uplink(&devices[0], 1);
        assert_eq!(next(&begun), (devices[0].clone(), 1));
        Self {
            client,
            begun,
            free,
            devices,
            id: set.unwrap(),
        }
    }
}

#[test]
fn uplinks_of_a_device_are_handled_in_order_by_one_worker_however_long_each_takes() {
    let _watchdog = watchdog(LIMIT);
    Harness::each_simulator(|harness| {
        let client = harness.connected();
        let (sender, calls) = unbounded();
        client
            .set_uplink_workers(8, |worker| {
                let sender = sender.clone();
                move |uplink: &UplinkMessage, _: &MqttClient| {
                    pause(Duration::from_micros(fastrand::u64(..3_000)));
                    let thread = thread::current().name().map(str::to_owned);
                    assert_eq!(thread, Some(format!("ttn-worker-{worker}")));
                    sender.send((uplink.dev_id.clone(), uplink.counter, worker))
                }
            })
            .unwrap();
        for counter in 1..=20 {
            (0..50).for_each(|device| harness.uplink(&format!("bed-{device}"), counter));
        }
        let mut devices = HashMap::new();
        let mut overtaken = 0;
        let mut latest = 0;
        for _ in 0..1_000 {
            let (device, counter, worker) = next(&calls);
            let (before, its) = devices.entry(device).or_insert((0, worker));
            assert_eq!((*before + 1, *its), (counter, worker));
            *before = counter;
            overtaken += u32::from(counter < latest);
            latest = counter.max(latest);
        }
        assert_eq!(devices.len(), 50);
        let workers: HashSet<usize> = devices.values().map(|(_, worker)| *worker).collect();
        assert_eq!(workers.len(), 8, "each has some of 50 devices");
        assert!(overtaken > 0, "devices do not wait for each other");
        client.close().unwrap();
        assert_eq!(
            (handled(&client.stats()), dropped(&client.stats())),
            (1_000, 0)
        );
    });
}

#[test]
fn as_many_uplinks_are_handled_at_a_time_as_there_are_workers() {
    let _watchdog = watchdog(LIMIT);
    Harness::each_simulator(|harness| {
        let client = harness.connected();
        let all_at_once = Arc::new(Barrier::new(4));
        let (sender, calls) = unbounded();
        let mut makers = HashSet::new();
        client
            .set_uplink_workers(4, |worker| {
                makers.insert((worker, thread::current().id()));
                let (all_at_once, sender) = (Arc::clone(&all_at_once), sender.clone());
                let mut is_first = true;
                move |_: &UplinkMessage, _: &MqttClient| {
                    if std::mem::take(&mut is_first) {
                        all_at_once.wait();
                        sender.send(worker).unwrap();
                    }
                }
            })
            .unwrap();
        let here = thread::current().id();
        assert_eq!(makers, (0..4).map(|worker| (worker, here)).collect());
        (0..40).for_each(|device| harness.uplink(&format!("bed-{device}"), 1));
        let workers: HashSet<usize> = (0..4).map(|_| next(&calls)).collect();
        assert_eq!(workers.len(), 4);
    });
}

#[test]
fn a_blocked_worker_holds_up_no_other_device_and_what_it_loses_is_counted() {
    let _watchdog = watchdog(LIMIT);
    for (overflow, kept) in [
        (Overflow::DropOldest, 6..=15),
        (Overflow::DropNewest, 2..=11),
    ] {
        Harness::each_simulator(|harness| {
            let options = |it: MqttClientBuilder| it.event_capacity(10).overflow(overflow);
            let client = harness.connected_with(options);
            let blocked = Blocked::new(harness, client);
            let [slow, fast] = &blocked.devices;
            (2..=15).for_each(|counter| harness.uplink(slow, counter));
            for counter in 2..=20 {
                harness.uplink(fast, counter);
                assert_eq!(next(&blocked.begun), (fast.clone(), counter));
            }
            let stats = blocked.client.stats().workers;
            assert_eq!((stats[0].worker, stats[1].worker), (0, 1));
            assert_eq!(
                (stats[0].dropped, stats[0].waiting),
                (4, 10),
                "{overflow:?}"
            );
            assert_eq!(stats[1].dropped, 0);
            assert!(blocked.client.stats().dropped_by_subscribers.is_empty());
            drop(blocked.free);
            for counter in kept.clone() {
                assert_eq!(next(&blocked.begun), (slow.clone(), counter));
            }
            blocked.client.close().unwrap();
            assert!(blocked.begun.is_empty());
            assert_eq!(dropped(&blocked.client.stats()), 4);
        });
    }
}

#[test]
fn with_block_a_blocked_worker_holds_up_all_devices_and_nothing_is_lost() {
    let _watchdog = watchdog(LIMIT);
    Harness::each_simulator(|harness| {
        let client = harness.connected_with(|it| it.event_capacity(1).overflow(Overflow::Block));
        let blocked = Blocked::new(harness, client);
        let [slow, fast] = &blocked.devices;
        (2..=4).for_each(|counter| harness.uplink(slow, counter));
        harness.uplink(fast, 2);
        let held_up = blocked.begun.recv_timeout(SILENCE);
        assert!(held_up.is_err(), "{held_up:?}");
        drop(blocked.free);
        let begun: HashSet<_> = (0..4).map(|_| next(&blocked.begun)).collect();
        let slow = (2..=4).map(|counter| (slow.clone(), counter));
        assert_eq!(begun, slow.chain([(fast.clone(), 2)]).collect());
        blocked.client.close().unwrap();
        assert_eq!(dropped(&blocked.client.stats()), 0);
    });
}

#[test]
fn close_returns_when_the_workers_have_handled_everything_that_came_before() {
    let _watchdog = watchdog(LIMIT);
    Harness::each_simulator(|harness| {
        let client = harness.connected_with(|it| it.close_timeout(SOON));
        let mut count = 0;
        let total = Arc::new(Mutex::new(0));
        client
            .set_uplink_workers(3, |_| {
                let total = Arc::clone(&total);
                move |_: &UplinkMessage, _: &MqttClient| {
                    pause(Duration::from_millis(5));
                    *total.lock().unwrap() += 1;
                }
            })
            .unwrap();
        let events = client.events();
        for round in 1..=3 {
            (0..60).for_each(|device| harness.uplink(&format!("bed-{device}"), round));
            wait_for_uplinks(&events, 60);
            count += 60;
            client.close().unwrap();
            assert_eq!(*total.lock().unwrap(), count);
            let stats = client.stats();
            assert_eq!(handled(&stats), count);
            assert!(stats.workers.iter().all(|worker| worker.waiting == 0));
            // The workers go on with the next connection.
            client.connect().unwrap();
        }
    });
}

#[test]
fn close_gives_up_on_a_worker_that_does_not_return_and_says_so() {
    let _watchdog = watchdog(LIMIT);
    Harness::each_simulator(|harness| {
        let timeout = Duration::from_millis(500);
        let client = harness.connected_with(|it| it.close_timeout(timeout));
        let blocked = Blocked::new(harness, client.clone());
        let events = client.events();
        harness.uplink(&blocked.devices[0], 2);
        wait_for_uplinks(&events, 1);
        let start = Instant::now();
        let error = client.close().unwrap_err();
        assert!(start.elapsed() >= timeout);
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        assert!(error.to_string().contains("a worker"), "{error}");
        assert!(!client.wait_timeout(Duration::ZERO));
        // It is closed nevertheless, and nothing is lost.
        assert!(!client.is_connected());
        drop(blocked.free);
        assert_eq!(next(&blocked.begun), (blocked.devices[0].clone(), 2));
        client.wait();
        client.close().unwrap();
    });
}

#[test]
fn close_callbacks_do_not_wait_for_workers() {
    let _watchdog = watchdog(LIMIT);
    Harness::each_simulator(|harness| {
        let client = harness.connected_with(|it| it.close_timeout(SOON));
        let (sender, closes) = unbounded();
        client.set_close_callback(move |asked_for, _| sender.send(asked_for));
        let blocked = Blocked::new(harness, client.clone());
        let closing = thread::spawn(move || client.close());
        assert!(next(&closes));
        assert!(!closing.is_finished());
        drop(blocked.free);
        closing.join().unwrap().unwrap();
    });
}

#[test]
fn workers_and_callbacks_may_close_their_client_at_the_same_time() {
    let _watchdog = watchdog(LIMIT);
    Harness::each_simulator(|harness| {
        // Nobody waits for another: it would take this long.
        let client = harness.connected_with(|it| it.close_timeout(LIMIT));
        let all_at_once = Arc::new(Barrier::new(5));
        let (sender, closed) = unbounded();
        let close = {
            let all_at_once = Arc::clone(&all_at_once);
            move |client: &MqttClient| {
                all_at_once.wait();
                sender.send(client.close())
            }
        };
        client
            .set_uplink_workers(4, |_| {
                let close = close.clone();
                let mut is_first = true;
                move |_: &UplinkMessage, client: &MqttClient| match std::mem::take(&mut is_first) {
                    true => close(client),
                    false => Ok(()),
                }
            })
            .unwrap();
        let mut is_first = true;
        client.set_uplink_callback(move |_, client| match std::mem::take(&mut is_first) {
            true => close(client),
            false => Ok(()),
        });
        (0..40).for_each(|device| harness.uplink(&format!("bed-{device}"), 1));
        for _ in 0..5 {
            next(&closed).unwrap();
        }
        client.wait();
        assert!(!client.is_connected());
    });
}

#[test]
fn a_worker_may_close_and_connect_its_client() {
    let _watchdog = watchdog(LIMIT);
    Harness::each_simulator(|harness| {
        let client = harness.client();
        let (sender, rounds) = unbounded();
        client
            .set_uplink_workers(2, |_| {
                let sender = sender.clone();
                move |uplink: &UplinkMessage, client: &MqttClient| {
                    client.close()?;
                    assert!(client.wait_timeout(SOON));
                    client.connect()?;
                    sender.send(uplink.counter)?;
                    anyhow::Ok(())
                }
            })
            .unwrap();
        client.connect().unwrap();
        for counter in 0..5 {
            harness.uplink("bed-1", counter);
            assert_eq!(next(&rounds), counter);
            assert!(client.is_connected());
        }
        client.close().unwrap();
    });
}

#[test]
fn a_worker_may_use_every_method_of_its_client() {
    let _watchdog = watchdog(LIMIT);
    Harness::each_simulator(|harness| {
        let client = harness.connected();
        let events = client.events();
        let (sender, done) = unbounded();
        let use_all = move |uplink: &UplinkMessage, client: &MqttClient| {
            client.connect()?;
            let delivery = client.send(&uplink.dev_id, "AQ==")?;
            drop(client.events());
            client.remove_callback(client.set_uplink_callback(|_, _| {}));
            client.remove_callback(client.set_uplink_raw_callback(|_, _| {}));
            client.remove_callback(client.set_connect_callback(|_, _| {}));
            client.remove_callback(client.set_downlink_callback(|_, _| {}));
            client.set_retry_callback(|_| {})?;
            let none = |_: usize| |_: &UplinkMessage, _: &MqttClient| {};
            let id = client.set_uplink_workers(2, none)?;
            assert_eq!(client.stats().workers.len(), 3);
            client.remove_callback(id);
            assert_eq!(client.stats().workers.len(), 1);
            assert!(client.is_connected());
            assert!(!client.wait_timeout(Duration::ZERO));
            assert!(client.app_id().starts_with(&uplink.app_id));
            let _ = (client.rights(), format!("{client:?}"), client.clone());
            sender.send(delivery)?;
            anyhow::Ok(())
        };
        client.set_uplink_workers(1, |_| use_all.clone()).unwrap();
        harness.uplink("bed-1", 1);
        let delivery = match done.recv_timeout(SOON) {
            Ok(delivery) => delivery,
            Err(_) => panic!("{:?}", wait_for_failure(&events)),
        };
        let published =
            |event: &Event| matches!(event, Event::Published(id) if *id == delivery.message_id());
        while !published(&events.recv_timeout(SOON).unwrap()) {}
        client.close().unwrap();
        assert_eq!(client.stats().workers[0].failed, 0);
    });
}

#[test]
fn a_worker_may_drop_the_last_handle_of_its_client_and_all_threads_end() {
    let _watchdog = watchdog(LIMIT);
    Harness::each_simulator(|harness| {
        let client = harness.connected();
        let (give, take) = unbounded::<MqttClient>();
        let (sender, gone) = bounded::<()>(0);
        client
            .set_uplink_workers(3, |_| {
                let (take, sender) = (take.clone(), sender.clone());
                move |_: &UplinkMessage, _: &MqttClient| {
                    let _ = &sender;
                    drop(take.recv());
                }
            })
            .unwrap();
        drop(sender);
        give.send(client).unwrap();
        harness.uplink("bed-1", 1);
        assert!(gone.recv_timeout(SOON).unwrap_err().is_disconnected());
    });
}

#[test]
fn the_last_handle_waits_for_no_worker_and_what_came_before_is_handled() {
    let _watchdog = watchdog(LIMIT);
    Harness::each_simulator(|harness| {
        let blocked = {
            let client = harness.connected();
            Blocked::new(harness, client)
        };
        let events = blocked.client.events();
        (2..=9).for_each(|counter| harness.uplink(&blocked.devices[0], counter));
        wait_for_uplinks(&events, 8);
        drop(blocked.client);
        drop(blocked.free);
        for counter in 2..=9 {
            assert_eq!(next(&blocked.begun), (blocked.devices[0].clone(), counter));
        }
        let end = blocked.begun.recv_timeout(SOON);
        assert!(end.unwrap_err().is_disconnected());
    });
}

#[test]
fn neither_a_panic_nor_an_error_stops_a_worker_and_each_is_told_with_its_number() {
    let _watchdog = watchdog(LIMIT);
    Harness::each_simulator(|harness| {
        let client = harness.connected();
        let events = client.events();
        let (sender, calls) = unbounded();
        client
            .set_uplink_workers(2, |worker| {
                let sender = sender.clone();
                move |uplink: &UplinkMessage, _: &MqttClient| match uplink.counter {
                    1 => panic!("it is one"),
                    2 => bail!("it is two"),
                    _ => Ok(sender.send(worker)?),
                }
            })
            .unwrap();
        for device in ["bed-1", "bed-2", "bed-3", "bed-4"] {
            (1..=3).for_each(|counter| harness.uplink(device, counter));
            let worker = next(&calls);
            for (message, panicked) in [("it is one", true), ("it is two", false)] {
                let failed = wait_for_failure(&events);
                assert_eq!((failed.callback, failed.worker), ("worker", Some(worker)));
                assert_eq!((&*failed.message, failed.panicked), (message, panicked));
            }
        }
        client.close().unwrap();
        let failed: u64 = client.stats().workers.iter().map(|it| it.failed).sum();
        assert_eq!((failed, handled(&client.stats())), (8, 12));
    });
}

#[test]
fn removed_workers_end_after_their_current_uplink() {
    let _watchdog = watchdog(LIMIT);
    Harness::each_simulator(|harness| {
        let client = harness.connected();
        let blocked = Blocked::new(harness, client.clone());
        let events = client.events();
        (2..=9).for_each(|counter| harness.uplink(&blocked.devices[0], counter));
        wait_for_uplinks(&events, 8);
        client.remove_callback(blocked.id);
        client.remove_callback(blocked.id);
        assert!(client.stats().workers.is_empty());
        harness.uplink(&blocked.devices[1], 2);
        wait_for_uplinks(&events, 1);
        drop(blocked.free);
        // The closures are dropped, and none was called.
        let end = blocked.begun.recv_timeout(SOON);
        assert!(end.unwrap_err().is_disconnected());
        client.close().unwrap();
    });
}

#[test]
fn a_blocked_worker_that_is_removed_holds_up_nobody_any_more() {
    let _watchdog = watchdog(LIMIT);
    Harness::each_simulator(|harness| {
        let client = harness.connected_with(|it| it.event_capacity(1).overflow(Overflow::Block));
        let blocked = Blocked::new(harness, client.clone());
        (2..=4).for_each(|counter| harness.uplink(&blocked.devices[0], counter));
        client.remove_callback(blocked.id);
        let (sender, calls) = unbounded();
        client.set_uplink_callback(move |uplink, _| sender.send(uplink.counter));
        harness.uplink(&blocked.devices[0], 5);
        while next(&calls) != 5 {}
        drop(blocked.free);
        client.close().unwrap();
    });
}

#[test]
fn a_worker_may_remove_its_own_set_and_the_others_go_on() {
    let _watchdog = watchdog(LIMIT);
    Harness::each_simulator(|harness| {
        let client = harness.connected();
        let (sender, calls) = unbounded();
        let (give, take) = unbounded();
        let id = client
            .set_uplink_workers(2, |_| {
                let (sender, take) = (sender.clone(), take.clone());
                move |uplink: &UplinkMessage, client: &MqttClient| {
                    client.remove_callback(take.recv()?);
                    client.close()?;
                    client.connect()?;
                    sender.send(("gone", uplink.counter))?;
                    anyhow::Ok(())
                }
            })
            .unwrap();
        harness.uplink("bed-1", 1);
        give.send(id).unwrap();
        assert_eq!(next(&calls), ("gone", 1));
        client
            .set_uplink_workers(2, |_| {
                let sender = sender.clone();
                move |uplink: &UplinkMessage, _: &MqttClient| sender.send(("kept", uplink.counter))
            })
            .unwrap();
        for counter in 2..=5 {
            harness.uplink("bed-1", counter);
            assert_eq!(next(&calls), ("kept", counter));
        }
        assert_eq!(client.stats().workers.len(), 2);
        client.close().unwrap();
    });
}

#[test]
fn each_set_of_workers_and_each_callback_gets_every_uplink() {
    let _watchdog = watchdog(LIMIT);
    Harness::each_simulator(|harness| {
        let client = harness.connected();
        let (sender, calls) = unbounded();
        for workers in [1, 3] {
            client
                .set_uplink_workers(workers, |_| {
                    let sender = sender.clone();
                    move |uplink: &UplinkMessage, _: &MqttClient| {
                        pause(Duration::from_micros(fastrand::u64(..500)));
                        sender.send((workers, uplink.dev_id.clone(), uplink.counter))
                    }
                })
                .unwrap();
        }
        let (in_order, all) = unbounded();
        client.set_uplink_callback(move |uplink, _| in_order.send(uplink.dev_id.clone()));
        let sent: Vec<String> = (0..100)
            .map(|number| format!("bed-{}", number % 20))
            .collect();
        for (counter, device) in (0..).zip(&sent) {
            harness.uplink(device, counter);
        }
        // In order over all devices.
        assert_eq!(sent.iter().map(|_| next(&all)).collect::<Vec<_>>(), sent);
        let handled: HashSet<_> = (0..200).map(|_| next(&calls)).collect();
        assert_eq!(handled.len(), 200);
        client.close().unwrap();
        let of_each: Vec<u64> = client.stats().workers.iter().map(|it| it.handled).collect();
        assert_eq!(of_each.len(), 4);
        assert_eq!((of_each[0], of_each[1..].iter().sum::<u64>()), (100, 100));
    });
}

#[test]
fn the_number_of_workers_is_from_1_to_256() {
    let client = MqttClient::new("greenhouse", "ttn-account-v2.test-key").unwrap();
    for number in [0, 257, usize::MAX] {
        let error = client
            .set_uplink_workers(number, |_| -> fn(&UplinkMessage, &MqttClient) {
                panic!("none is made")
            })
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        let text = error.to_string();
        assert!(
            text.contains(&number.to_string()) && text.contains("256"),
            "{text}"
        );
    }
    assert!(client.stats().workers.is_empty());
    let none = |_: usize| |_: &UplinkMessage, _: &MqttClient| {};
    client.set_uplink_workers(256, none).unwrap();
    assert_eq!(client.stats().workers.len(), 256);
    client.close().unwrap();
}

/// A v3 network with storage, which has this many uplinks of each of ten devices.
fn with_storage(uplinks: u8) -> Simulator {
    // Backfills with the same key take turns.
    let key = format!("NNSXS.{:016X}.SECRET", fastrand::u64(..));
    let network = Simulator::builder(Network::V3)
        .application("greenhouse@ttn", key)
        .start()
        .unwrap();
    network.storage(Some(Storage::new()));
    for counter in 1..=uplinks {
        (0..10).for_each(|device| send(&network, device, counter));
    }
    network
}

fn send(network: &Simulator, device: u8, counter: u8) {
    network
        .device(&format!("bed-{device}"))
        .uplink(1, [counter]);
}

fn builder(network: &Simulator, backfill: Backfill) -> MqttClientBuilder {
    MqttClient::builder(network.app_id(), network.access_key())
        .mqtt_address(network.mqtt_address())
        .http_address(network.http_address())
        .backfill(backfill)
}

fn around_now() -> std::ops::Range<SystemTime> {
    let hour = Duration::from_secs(3600);
    SystemTime::now() - hour..SystemTime::now() + hour
}

#[test]
fn what_a_backfill_brings_goes_to_the_worker_of_its_device() {
    let _watchdog = watchdog(LIMIT);
    let network = with_storage(5);
    let client = builder(&network, Backfill::on_request()).build().unwrap();
    let (sender, calls) = unbounded();
    client
        .set_uplink_workers(3, |worker| {
            let sender = sender.clone();
            move |uplink: &UplinkMessage, _: &MqttClient| {
                let number = uplink.payload_raw[0];
                sender.send((
                    uplink.dev_id.clone(),
                    number,
                    worker,
                    uplink.is_backfilled(),
                ))
            }
        })
        .unwrap();
    let report = client.backfill(around_now()).unwrap().wait().unwrap();
    assert_eq!(report.delivered, 50);
    client.connect().unwrap();
    (0..10).for_each(|device| send(&network, device, 6));
    let mut devices: HashMap<String, (u8, usize)> = HashMap::new();
    for _ in 0..60 {
        let (device, number, worker, is_backfilled) = next(&calls);
        assert_eq!(is_backfilled, number < 6);
        let (last, its) = devices.entry(device).or_insert((0, worker));
        assert_eq!((*last + 1, *its), (number, worker));
        *last = number;
    }
    client.close().unwrap();
}

#[test]
fn a_worker_may_wait_for_a_backfill() {
    let _watchdog = watchdog(LIMIT);
    let network = with_storage(3);
    let client = builder(&network, Backfill::on_request()).build().unwrap();
    let (sender, reports) = unbounded();
    client
        .set_uplink_workers(2, |_| {
            let sender = sender.clone();
            move |uplink: &UplinkMessage, client: &MqttClient| {
                if !uplink.is_backfilled() {
                    sender.send(client.backfill(around_now())?.wait()?.delivered)?;
                }
                anyhow::Ok(())
            }
        })
        .unwrap();
    client.connect().unwrap();
    send(&network, 1, 4);
    assert_eq!(next(&reports), 30);
    client.close().unwrap();
    let stats = client.stats();
    assert_eq!((handled(&stats), dropped(&stats)), (31, 0));
}

#[test]
fn the_watermark_of_a_worker_leaves_out_no_uplink_that_another_worker_still_handles() {
    let _watchdog = watchdog(LIMIT);
    let network = with_storage(0);
    let backfill = || Backfill::new().passes([Duration::ZERO]);
    let client = builder(&network, backfill()).build().unwrap();
    let (sender, stored) = unbounded();
    let (free, freed) = bounded::<()>(0);
    client
        .set_uplink_workers(8, |_| {
            let (sender, freed) = (sender.clone(), freed.clone());
            move |uplink: &UplinkMessage, _: &MqttClient| {
                if uplink.payload_raw[0] == 2 {
                    let _ = freed.recv();
                }
                let watermark = uplink.watermark().unwrap();
                sender.send((uplink.payload_raw[0], watermark)).unwrap();
            }
        })
        .unwrap();
    client.connect().unwrap();
    send(&network, 0, 1);
    next(&stored);
    // The program crashes while a worker still handles the second, and others have handled what came later.
    send(&network, 0, 2);
    (1..10).for_each(|device| send(&network, device, 3));
    let crashed = next(&stored);
    assert_eq!(crashed.0, 3);
    let delivered = |watermark: ttn::Watermark| {
        let next_run = builder(&network, backfill()).resume_from(watermark);
        let next_run = next_run.build().unwrap();
        let events = next_run.events();
        next_run.connect().unwrap();
        let mut numbers = Vec::new();
        loop {
            match events.recv_timeout(SOON).unwrap() {
                Event::Uplink(uplink) => numbers.push(uplink.payload_raw[0]),
                Event::Backfilled(_) => break,
                _ => {}
            }
        }
        next_run.close().unwrap();
        numbers
    };
    let again = delivered(crashed.1);
    assert!(again.contains(&2) && !again.contains(&1), "{again:?}");
    drop(free);
    // It is not held back for longer than that.
    assert!(wait_until(SOON, || handled(&client.stats()) == 11));
    stored.try_iter().for_each(drop);
    send(&network, 1, 4);
    let last = next(&stored);
    assert_eq!(delivered(last.1), Vec::<u8>::new());
    client.close().unwrap();
}

#[test]
fn a_client_with_workers_starts_and_ends_one_thread_for_each() {
    let _watchdog = watchdog(LIMIT);
    let client = MqttClient::new("greenhouse", "ttn-account-v2.test-key").unwrap();
    let (sender, gone) = bounded::<()>(0);
    let id = client
        .set_uplink_workers(5, |_| {
            let sender = sender.clone();
            move |_: &UplinkMessage, _: &MqttClient| {
                let _ = &sender;
            }
        })
        .unwrap();
    drop(sender);
    // Without an uplink.
    client.remove_callback(id);
    assert!(gone.recv_timeout(SOON).unwrap_err().is_disconnected());
    assert!(wait_until(SOON, || client.close().is_ok()));
}

/// A broker of one's own, and a publisher that waits for acknowledgements.
fn own_broker() -> Option<(Mosquitto, MqttPeer, MqttClientBuilder)> {
    let broker = Mosquitto::builder().start()?;
    let peer = MqttPeer::connect(broker.address(), "", "").unwrap();
    let builder = MqttClient::own_broker("greenhouse@ttn")
        .mqtt_address(broker.address().to_string())
        .session(Session::persistent("worker-1"))
        .acknowledge(Acknowledge::Handled);
    Some((broker, peer, builder))
}

fn publish(peer: &mut MqttPeer, device: &str, counter: u32) {
    let body = format!(
        r#"{{"end_device_ids":{{"device_id":"{device}","application_ids":{{"application_id":"greenhouse"}}}},
        "uplink_message":{{"f_port":1,"f_cnt":{counter},"frm_payload":"AQ=="}}}}"#
    );
    let topic = format!("v3/greenhouse@ttn/devices/{device}/up");
    peer.publish_at_least_once(&topic, body).unwrap();
}

fn acknowledged(broker: &Mosquitto) -> usize {
    broker
        .log()
        .matches("Received PUBACK from worker-1")
        .count()
}

#[track_caller]
fn wait_for_acknowledgements(broker: &Mosquitto, count: usize) {
    let all = wait_until(SOON, || acknowledged(broker) >= count);
    assert!(all, "{} of {count}", acknowledged(broker));
}

/// Returns devices of two different workers.
fn devices_of_two(calls: &Receiver<(String, usize)>, peer: &mut MqttPeer) -> [String; 2] {
    let mut devices: HashMap<usize, String> = HashMap::new();
    let mut number = 0;
    while devices.len() < 2 {
        publish(peer, &format!("bed-{number}"), 0);
        number += 1;
        let (device, worker) = next(calls);
        devices.insert(worker, device);
    }
    [0, 1].map(|worker| devices.remove(&worker).unwrap())
}

#[test]
fn a_worker_has_handled_an_uplink_of_ones_own_broker_when_it_returns_whatever_it_keeps() {
    let _watchdog = watchdog(LIMIT);
    let Some((broker, mut peer, builder)) = own_broker() else {
        return;
    };
    let client = builder.build().unwrap();
    let (sender, calls) = unbounded();
    let (free, freed) = bounded::<()>(0);
    let kept = Arc::new(Mutex::new(Vec::new()));
    client
        .set_uplink_workers(2, |worker| {
            let (sender, freed, kept) = (sender.clone(), freed.clone(), Arc::clone(&kept));
            move |uplink: &UplinkMessage, _: &MqttClient| {
                kept.lock().unwrap().push(uplink.clone());
                sender.send((uplink.dev_id.clone(), worker)).unwrap();
                if uplink.counter == 1 {
                    let _ = freed.recv();
                }
            }
        })
        .unwrap();
    client.connect().unwrap();
    let [slow, fast] = devices_of_two(&calls, &mut peer);
    let before = kept.lock().unwrap().len();
    wait_for_acknowledgements(&broker, before);
    publish(&mut peer, &slow, 1);
    assert_eq!(next(&calls).0, slow);
    // Handled before it, and acknowledged after it.
    for counter in 2..=10 {
        publish(&mut peer, &fast, counter);
        assert_eq!(next(&calls).0, fast);
    }
    pause(SILENCE);
    assert_eq!(acknowledged(&broker), before);
    drop(free);
    wait_for_acknowledgements(&broker, before + 10);
    client.close().unwrap();
    assert_eq!(handled(&client.stats()), before as u64 + 10);
}

#[test]
fn an_uplink_at_which_a_worker_failed_comes_again_if_that_is_asked_for() {
    let _watchdog = watchdog(LIMIT);
    for redelivers in [false, true] {
        let Some((broker, mut peer, builder)) = own_broker() else {
            return;
        };
        let client = builder
            .redeliver_failed(redelivers)
            .reconnect_delay(Duration::from_millis(10), Duration::from_millis(50))
            .build()
            .unwrap();
        let (sender, calls) = unbounded();
        client
            .set_uplink_workers(2, |_| {
                let sender = sender.clone();
                move |uplink: &UplinkMessage, _: &MqttClient| {
                    sender.send((uplink.counter, uplink.is_redelivered()))?;
                    match (uplink.counter, uplink.is_redelivered()) {
                        (1, false) => bail!("the disk is full"),
                        _ => Ok(()),
                    }
                }
            })
            .unwrap();
        client.connect().unwrap();
        publish(&mut peer, "bed-1", 1);
        assert_eq!(next(&calls), (1, false));
        if redelivers {
            assert_eq!(next(&calls), (1, true));
        }
        wait_for_acknowledgements(&broker, 1);
        publish(&mut peer, "bed-1", 2);
        assert_eq!(next(&calls).0, 2);
        client.close().unwrap();
    }
}

#[test]
fn a_stuck_worker_that_is_removed_holds_up_no_more_than_the_uplink_that_it_has() {
    let _watchdog = watchdog(LIMIT);
    let Some((_broker, mut peer, builder)) = own_broker() else {
        return;
    };
    let client = builder.receive_capacity(4, 1 << 20).build().unwrap();
    let events = client.events();
    let (sender, calls) = unbounded();
    let (free, freed) = bounded::<()>(0);
    let id = client
        .set_uplink_workers(1, |_| {
            let (sender, freed) = (sender.clone(), freed.clone());
            move |uplink: &UplinkMessage, _: &MqttClient| {
                sender.send(uplink.counter).unwrap();
                let _ = freed.recv();
            }
        })
        .unwrap();
    client.connect().unwrap();
    (1..=8).for_each(|counter| publish(&mut peer, "bed-1", counter));
    wait_for_uplinks(&events, 4);
    assert_eq!(next(&calls), 1);
    client.remove_callback(id);
    // The client reads on.
    wait_for_uplinks(&events, 4);
    drop(free);
    client.close().unwrap();
}

#[test]
fn what_removed_workers_leave_behind_holds_up_no_acknowledgement() {
    let _watchdog = watchdog(LIMIT);
    let Some((broker, mut peer, builder)) = own_broker() else {
        return;
    };
    let client = builder.build().unwrap();
    let events = client.events();
    let (sender, calls) = unbounded();
    let (free, freed) = bounded::<()>(0);
    let id = client
        .set_uplink_workers(1, |_| {
            let (sender, freed) = (sender.clone(), freed.clone());
            move |uplink: &UplinkMessage, _: &MqttClient| {
                sender.send(uplink.counter).unwrap();
                let _ = freed.recv();
            }
        })
        .unwrap();
    client.connect().unwrap();
    (1..=15).for_each(|counter| publish(&mut peer, "bed-1", counter));
    assert_eq!(next(&calls), 1);
    wait_for_uplinks(&events, 15);
    assert_eq!(acknowledged(&broker), 0);
    client.remove_callback(id);
    drop(free);
    wait_for_acknowledgements(&broker, 15);
    assert!(calls.is_empty());
    client.close().unwrap();
}
