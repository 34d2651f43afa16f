//! Callbacks: when they are called, in which order, on which thread, and that none of them can stop
//! delivery.
#![cfg(unix)]

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use crate::support::{
    harness::{Harness, SOON},
    resources::wait_until,
    watchdog::watchdog,
};
use anyhow::bail;
use crossbeam_channel::{Receiver, bounded, unbounded};
use ttn::{ErrorKind, Event, MqttClient, Network, Overflow};

const LIMIT: Duration = Duration::from_secs(60);

fn next<T>(receiver: &Receiver<T>) -> T {
    receiver.recv_timeout(SOON).expect("a callback is called")
}

#[test]
fn callbacks_of_one_event_are_called_in_the_order_in_which_they_were_added() {
    let _watchdog = watchdog(LIMIT);
    Harness::each(|harness| {
        let client = harness.connected();
        let (sender, calls) = unbounded();
        for number in 0..5 {
            let sender = sender.clone();
            client.set_uplink_callback(move |uplink, _| sender.send((uplink.counter, number)));
        }
        harness.uplink("dev-1", 1);
        harness.uplink("dev-1", 2);
        let expected = (1..=2).flat_map(|counter| (0..5).map(move |number| (counter, number)));
        for call in expected {
            assert_eq!(next(&calls), call);
        }
    });
}

#[test]
fn uplinks_that_came_together_are_freed_once_they_are_handled_and_no_more_come() {
    let _watchdog = watchdog(LIMIT);
    Harness::each(|harness| {
        let client = harness.connected();
        let events = client.events();
        let (sender, calls) = unbounded();
        let (go_on, wait) = bounded::<()>(0);
        client.set_uplink_callback(move |uplink, _| {
            let _ = wait.recv();
            sender.send(uplink.counter)
        });
        let mut uplink = |counter| {
            harness.uplink("dev-1", counter);
            let is_uplink = |event| match event {
                Event::Uplink(uplink) => Some(uplink),
                _ => None,
            };
            let mut all = std::iter::from_fn(|| events.recv_timeout(SOON).ok());
            all.find_map(is_uplink).expect("the uplink arrives")
        };
        let mut uplinks: Vec<_> = (1..=50).map(&mut uplink).collect();
        drop(go_on);
        (1..=50).for_each(|counter| assert_eq!(next(&calls), counter));
        // With this one, the client takes the memory of the others.
        uplinks.push(uplink(51));
        assert_eq!(next(&calls), 51);
        let kept = || {
            uplinks
                .iter()
                .filter(|it| Arc::strong_count(it) > 1)
                .count()
        };
        // The last two may have come back too late for that, and wait for the next uplink.
        assert!(wait_until(SOON, || kept() <= 2), "{} are kept", kept());
    });
}

#[test]
fn a_callback_may_be_set_before_and_after_connecting() {
    let _watchdog = watchdog(LIMIT);
    Harness::each(|harness| {
        let client = harness.client();
        let (sender, calls) = unbounded();
        let before = sender.clone();
        client.set_uplink_callback(move |_, _| before.send("before"));
        client.connect().unwrap();
        client.set_uplink_callback(move |_, _| sender.send("after"));
        harness.uplink("dev-1", 1);
        assert_eq!([next(&calls), next(&calls)], ["before", "after"]);
    });
}

#[test]
fn a_connect_callback_may_set_one_for_the_uplinks_that_have_come_meanwhile() {
    let _watchdog = watchdog(LIMIT);
    Harness::each(|harness| {
        let client = harness.client();
        let events = client.events();
        let (sender, calls) = unbounded();
        let (go_on, wait) = bounded(1);
        client.set_connect_callback(move |_, client: &MqttClient| {
            wait.recv_timeout(SOON)?;
            let sender = sender.clone();
            client.set_uplink_callback(move |uplink, _| sender.send(uplink.counter));
            anyhow::Ok(())
        });
        client.connect().unwrap();
        harness.uplink("dev-1", 1);
        while !matches!(next(events.receiver()), Event::Uplink(_)) {}
        go_on.send(()).unwrap();
        assert_eq!(next(&calls), 1);
    });
}

#[test]
fn a_removed_callback_is_not_called_any_more() {
    let _watchdog = watchdog(LIMIT);
    Harness::each_simulator(|harness| {
        let client = harness.connected();
        let (sender, calls) = unbounded();
        let gone = sender.clone();
        let id = client.set_uplink_callback(move |_, _| gone.send("gone"));
        client.set_uplink_callback(move |_, _| sender.send("kept"));
        client.remove_callback(id);
        client.remove_callback(id);
        harness.uplink("dev-1", 1);
        harness.uplink("dev-1", 2);
        assert_eq!([next(&calls), next(&calls)], ["kept", "kept"]);
    });
}

#[test]
fn a_removed_callback_is_dropped_without_waiting_for_an_event() {
    let _watchdog = watchdog(LIMIT);
    Harness::each_simulator(|harness| {
        let client = harness.client();
        let (sender, dropped) = unbounded::<()>();
        let id = client.set_uplink_callback(move |_, _| drop(sender.clone()));
        client.remove_callback(id);
        assert!(dropped.recv_timeout(SOON).unwrap_err().is_disconnected());
    });
}

#[test]
fn callbacks_run_on_a_thread_of_their_own_and_one_at_a_time() {
    let _watchdog = watchdog(LIMIT);
    Harness::each_simulator(|harness| {
        let client = harness.connected();
        let (sender, names) = unbounded();
        let busy = Arc::new(AtomicBool::new(false));
        for _ in 0..2 {
            let (sender, busy) = (sender.clone(), Arc::clone(&busy));
            client.set_uplink_callback(move |_, _| {
                assert!(!busy.swap(true, Ordering::SeqCst));
                sender
                    .send(thread::current().name().map(str::to_owned))
                    .unwrap();
                busy.store(false, Ordering::SeqCst);
            });
        }
        (0..20).for_each(|counter| harness.uplink("dev-1", counter));
        for _ in 0..40 {
            assert_eq!(next(&names).as_deref(), Some("ttn-callbacks"));
        }
    });
}

#[test]
fn a_callback_may_close_its_own_client() {
    let _watchdog = watchdog(LIMIT);
    Harness::each(|harness| {
        let client = harness.connected();
        let (sender, closes) = unbounded();
        client.set_close_callback(move |asked_for, _| sender.send(asked_for));
        client.set_uplink_callback(|_, client| client.close());
        harness.uplink("dev-1", 1);
        assert!(next(&closes));
        assert!(!client.is_connected());
    });
}

#[test]
fn a_callback_may_connect_again_after_close() {
    let _watchdog = watchdog(LIMIT);
    Harness::each(|harness| {
        let client = harness.client();
        let (sender, connects) = unbounded();
        client.set_connect_callback(move |connected, _| sender.send(connected));
        let (sender, uplinks) = unbounded();
        let mut rounds = 0;
        client.set_close_callback(move |_, client| {
            rounds += 1;
            if rounds < 5 { client.connect() } else { Ok(()) }
        });
        client.set_uplink_callback(move |uplink, client| {
            sender.send(uplink.counter).unwrap();
            client.close()
        });
        client.connect().unwrap();
        for counter in 0..5 {
            assert!(next(&connects));
            harness.uplink("dev-1", counter);
            assert_eq!(next(&uplinks), counter);
        }
        client.wait();
    });
}

#[test]
fn a_callback_may_use_every_method_of_its_client() {
    let _watchdog = watchdog(LIMIT);
    Harness::each(|harness| {
        let client = harness.connected();
        let (sender, done) = unbounded();
        client.set_uplink_callback(move |uplink, client| {
            client.connect()?;
            let delivery = client.send(&uplink.dev_id, "AQ==")?;
            let events = client.events();
            drop(events);
            let id = client.set_downlink_callback({
                let sender = sender.clone();
                move |mid, _| sender.send(Some(mid))
            });
            client.remove_callback(client.set_uplink_raw_callback(|_, _| {}));
            client.remove_callback(client.set_connect_callback(|_, _| {}));
            assert!(client.is_connected());
            assert!(!client.wait_timeout(Duration::ZERO));
            assert!(client.app_id().starts_with(&uplink.app_id));
            let _ = (id, format!("{client:?}"), client.clone());
            client.set_close_callback({
                let sender = sender.clone();
                move |_, _| sender.send(None)
            });
            sender.send(Some(delivery.message_id()))?;
            anyhow::Ok(())
        });
        harness.uplink("dev-1", 1);
        let sent = next(&done).unwrap();
        assert_eq!(next(&done), Some(sent));
        client.close().unwrap();
        assert_eq!(next(&done), None);
    });
}

#[test]
fn a_callback_may_drop_the_last_handle_of_its_client() {
    let _watchdog = watchdog(LIMIT);
    Harness::each_simulator(|harness| {
        let client = harness.connected();
        let (sender, closes) = unbounded();
        client.set_close_callback(move |asked_for, _| sender.send(asked_for));
        let (give, take) = unbounded::<MqttClient>();
        client.set_uplink_callback(move |_, _| drop(take.recv()));
        give.send(client).unwrap();
        harness.uplink("dev-1", 1);
        assert!(next(&closes));
    });
}

#[test]
fn a_client_lives_as_long_as_a_callback_that_holds_it() {
    let _watchdog = watchdog(LIMIT);
    Harness::each_simulator(|harness| {
        let (sender, kept) = unbounded();
        let client = harness.connected();
        client.set_uplink_callback(move |_, client| sender.send(client.clone()));
        harness.uplink("dev-1", 1);
        let clone = next(&kept);
        drop(client);
        assert!(clone.is_connected());
        clone.close().unwrap();
    });
}

#[test]
fn neither_a_panic_nor_an_error_stops_the_next_callback_or_the_next_message() {
    let _watchdog = watchdog(LIMIT);
    Harness::each(|harness| {
        let client = harness.connected();
        let events = client.events();
        let (sender, calls) = unbounded();
        client.set_uplink_callback(|uplink, _| assert!(uplink.counter > 2, "too small"));
        client.set_uplink_callback(|uplink, _| match uplink.counter {
            2 => bail!("it is two"),
            _ => Ok(()),
        });
        client.set_uplink_callback(move |uplink, _| sender.send(uplink.counter));
        (1..=3).for_each(|counter| harness.uplink("dev-1", counter));
        assert_eq!([next(&calls), next(&calls), next(&calls)], [1, 2, 3]);
        let mut failures = Vec::new();
        while failures.len() < 3 {
            if let Event::CallbackFailed(failed) = events.recv_timeout(SOON).unwrap() {
                failures.push((failed.callback, failed.message, failed.panicked));
            }
        }
        assert_eq!(
            failures,
            [
                ("uplink", "too small".to_owned(), true),
                ("uplink", "too small".to_owned(), true),
                ("uplink", "it is two".to_owned(), false),
            ]
        );
    });
}

#[test]
fn a_panic_in_any_kind_of_callback_is_survived() {
    let _watchdog = watchdog(LIMIT);
    Harness::each_simulator(|harness| {
        let client = harness.client();
        let events = client.events();
        client.set_connect_callback(|_, _| panic!("connect"));
        client.set_uplink_callback(|_, _| panic!("uplink"));
        client.set_uplink_raw_callback(|_, _| panic!("raw uplink"));
        client.set_downlink_callback(|_, _| panic!("downlink"));
        client.set_close_callback(|_, _| std::panic::panic_any(7));
        client.connect().unwrap();
        let mut failed = Vec::new();
        let mut wait_for = |count| {
            while failed.len() < count {
                if let Event::CallbackFailed(failure) = events.recv_timeout(SOON).unwrap() {
                    failed.push((failure.callback, failure.message));
                }
            }
        };
        harness.uplink("dev-1", 1);
        client.send("dev-1", "AQ==").unwrap();
        wait_for(4);
        client.close().unwrap();
        wait_for(5);
        failed.sort();
        let expected = [
            ("close", "panic"),
            ("connect", "connect"),
            ("downlink", "downlink"),
            ("raw uplink", "raw uplink"),
            ("uplink", "uplink"),
        ];
        assert_eq!(
            failed,
            expected.map(|(callback, message)| (callback, message.to_owned()))
        );
    });
}

#[test]
fn the_raw_callback_follows_the_uplink_callbacks_and_hears_what_cannot_be_read() {
    let _watchdog = watchdog(LIMIT);
    Harness::each(|harness| {
        let client = harness.connected();
        let (sender, calls) = unbounded();
        let raw = sender.clone();
        client.set_uplink_raw_callback(move |message, _| {
            raw.send(format!(
                "{} {}",
                message.topic(),
                String::from_utf8_lossy(message.payload())
            ))
        });
        client.set_uplink_callback(move |uplink, _| sender.send(uplink.counter.to_string()));
        let topic = harness.topic("dev-1", "up");
        let body = harness.uplink_body("dev-1", 8);
        harness.publish(&topic, "no JSON");
        harness.publish(&topic, &body);
        assert_eq!(next(&calls), format!("{topic} no JSON"));
        assert_eq!(next(&calls), "8");
        assert_eq!(next(&calls), format!("{topic} {body}"));
    });
}

#[test]
fn the_raw_callback_hears_what_has_no_uplink_in_it() {
    let _watchdog = watchdog(LIMIT);
    Harness::each_of(Network::V3, |harness| {
        let client = harness.connected();
        let (sender, calls) = unbounded();
        client.set_uplink_raw_callback(move |raw, _| sender.send(raw.payload().to_vec()));
        let body = r#"{"end_device_ids":{"device_id":"dev-1"},"uplink_message":null}"#;
        harness.publish(&harness.topic("dev-1", "join"), body);
        harness.publish(&harness.topic("dev-1", "up"), body);
        harness.uplink("dev-1", 1);
        assert_eq!(next(&calls), body.as_bytes());
        assert_eq!(next(&calls), harness.uplink_body("dev-1", 1).as_bytes());
    });
}

#[test]
fn one_malformed_uplink_does_not_end_reception() {
    let _watchdog = watchdog(LIMIT);
    Harness::each(|harness| {
        let client = harness.connected();
        let events = client.events();
        for bad in [
            "",
            "{",
            "null",
            "\"\u{fffd}\"",
            r#"{"port":"x","uplink_message":{"f_port":"x"}}"#,
            "[1,2",
        ] {
            harness.publish(&harness.topic("dev-1", "up"), bad);
            let event = events.recv_timeout(SOON).unwrap();
            let Event::Malformed(malformed) = event else {
                panic!("{event:?}")
            };
            assert_eq!(malformed.raw.payload(), bad.as_bytes());
            assert_eq!(malformed.error.kind(), ErrorKind::Decode);
        }
        harness.uplink("dev-1", 9);
        assert!(
            matches!(events.recv_timeout(SOON).unwrap(), Event::Uplink(uplink) if uplink.counter == 9)
        );
    });
}

#[test]
fn the_downlink_callback_gets_the_id_that_send_returned() {
    let _watchdog = watchdog(LIMIT);
    Harness::each(|harness| {
        let client = harness.connected();
        let (sender, ids) = unbounded();
        client.set_downlink_callback(move |mid, _| sender.send(mid));
        let sent: Vec<_> = (0..50)
            .map(|number| client.send("dev-1", [number]).unwrap().message_id())
            .collect();
        let written: Vec<_> = sent.iter().map(|_| next(&ids)).collect();
        assert_eq!(written, sent);
        assert!(sent.is_sorted() && sent.windows(2).all(|pair| pair[0] != pair[1]));
    });
}

#[test]
fn a_slow_callback_holds_up_neither_send_nor_close_nor_other_subscribers() {
    let _watchdog = watchdog(LIMIT);
    Harness::each_simulator(|harness| {
        let client =
            harness.connected_with(|builder| builder.close_timeout(Duration::from_millis(200)));
        let events = client.events();
        let (free, freed) = unbounded::<()>();
        client.set_uplink_callback(move |_, _| freed.recv());
        (0..10).for_each(|counter| harness.uplink("dev-1", counter));
        for counter in 0..10 {
            let event = events.recv_timeout(SOON).unwrap();
            assert!(matches!(event, Event::Uplink(uplink) if uplink.counter == counter));
        }
        client.send("dev-1", "AQ==").unwrap();
        assert_eq!(harness.downlinks(1).len(), 1);
        let start = Instant::now();
        assert!(client.close().is_err());
        assert!(start.elapsed() < Duration::from_secs(2));
        drop(free);
    });
}

#[test]
fn an_end_that_found_no_room_in_the_queue_of_the_callbacks_is_still_an_end() {
    let _watchdog = watchdog(LIMIT);
    Harness::each_simulator(|harness| {
        for overflow in [Overflow::Block, Overflow::DropOldest, Overflow::DropNewest] {
            let client = harness
                .builder()
                .event_capacity(1)
                .overflow(overflow)
                .close_timeout(Duration::from_millis(200))
                .build()
                .unwrap();
            let (running, runs) = unbounded();
            let (release, hang) = bounded::<()>(0);
            client.set_uplink_callback(move |_, _| {
                let _ = running.send(());
                let _ = hang.recv();
            });
            let (called, calls) = unbounded();
            client.set_connect_callback(move |_, _| {
                let _ = called.send(());
            });
            client.connect().unwrap();
            // That report no longer takes the place of the uplink.
            next(&calls);
            harness.uplink("dev-1", 1);
            next(&runs);
            let error = client.close().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::TimedOut);
            // A report that takes the place of the end.
            harness
                .simulated()
                .quirks(|quirks| quirks.connack = Some(5));
            for _ in 0..20 {
                client.connect().unwrap_err();
            }
            harness.simulated().quirks(|quirks| quirks.connack = None);
            assert!(!client.wait_timeout(Duration::ZERO));
            drop(release);
            assert!(client.wait_timeout(SOON), "{overflow:?}");
            client.close().unwrap();
        }
    });
}
