//! Pinging the server, and noticing that it is dead.

use std::{
    io::{Read, Write},
    thread,
    time::{Duration, Instant},
};

use super::{
    Setting, at_once,
    peer::{Client, PINGREQ, PINGRESP, Server, hears_nothing_for, number, publish, read_packet},
};
use crate::{error::ErrorKind, wire::Loss};

const SECOND: Duration = Duration::from_secs(1);

/// A second, less the tolerance of a clock.
const ALMOST: Duration = Duration::from_millis(950);

#[test]
fn a_keep_alive_of_a_second_asks_every_second_and_keeps_the_answers() {
    for tls in [false, true] {
        let setting = Setting {
            tls,
            ..Setting::keep_alive(1)
        };
        let (_attempt, mut peer, client) = setting.connect();
        for _ in 0..3 {
            let start = Instant::now();
            assert_eq!(read_packet(&mut peer), PINGREQ);
            let elapsed = start.elapsed();
            // Servers wait for one and a half times the interval.
            assert!(elapsed > ALMOST && elapsed < SECOND * 3 / 2, "{elapsed:?}");
            peer.write_all(&PINGRESP).unwrap();
        }
        client.hears_nothing_for(Duration::from_millis(100));
    }
}

#[test]
fn a_server_is_asked_while_the_client_is_on_its_way_in() {
    let server = Server::start();
    let attempt = Setting::keep_alive(1).start(server.address());
    let mut peer = server.accept(false);
    peer.log_in();
    let logged_in = Instant::now();
    let way = attempt.doorway();
    assert_eq!(read_packet(&mut peer), PINGREQ);
    assert!(logged_in.elapsed() < SECOND * 3 / 2);
    peer.write_all(&PINGRESP).unwrap();
    Client::come_in(&way);
}

#[test]
fn it_does_not_ask_in_the_middle_of_a_packet() {
    let (_attempt, peer, mut client) = Setting::keep_alive(1).connect();
    let long = publish(1, 1000);
    client.0.write_all(&long[..500]).unwrap();
    let mut bytes = vec![0; long.len()];
    peer.stream().read_exact(&mut bytes[..500]).unwrap();
    hears_nothing_for(peer.stream(), 5 * SECOND / 2);
    client.0.write_all(&long[500..]).unwrap();
    peer.stream().read_exact(&mut bytes[500..]).unwrap();
    assert_eq!(bytes, long);
    let mut stream = peer.stream();
    assert_eq!(at_once(|| read_packet(&mut stream)), PINGREQ);
    // Once, however long it had to wait.
    hears_nothing_for(peer.stream(), ALMOST / 2);
}

#[test]
fn a_server_that_speaks_while_a_question_waits_is_asked_once() {
    let (_attempt, peer, mut client) = Setting::keep_alive(1).connect();
    let long = publish(1, 1000);
    client.0.write_all(&long[..500]).unwrap();
    let mut stream = peer.stream();
    let mut bytes = vec![0; long.len()];
    stream.read_exact(&mut bytes[..500]).unwrap();
    for index in 0..4 {
        hears_nothing_for(peer.stream(), SECOND * 6 / 5);
        stream.write_all(&publish(index, 4)).unwrap();
        assert_eq!(number(&read_packet(&mut client.0)), index);
    }
    client.0.write_all(&long[500..]).unwrap();
    stream.read_exact(&mut bytes[500..]).unwrap();
    assert_eq!(at_once(|| read_packet(&mut stream)), PINGREQ);
    hears_nothing_for(peer.stream(), ALMOST / 2);
}

#[test]
fn a_server_that_has_gone_silent_is_given_five_seconds() {
    let (attempt, mut peer, client) = Setting::keep_alive(1).connect();
    assert_eq!(read_packet(&mut peer), PINGREQ);
    let asked = Instant::now();
    let reading = thread::spawn(move || client.leave());
    let (loss, error) = attempt.loss();
    let elapsed = asked.elapsed();
    assert_eq!(
        (loss, error.kind()),
        (Loss::Silent, ErrorKind::ConnectionLost)
    );
    assert!(error.to_string().contains("sent nothing for"), "{error}");
    assert!(elapsed > 5 * ALMOST && elapsed < 7 * SECOND, "{elapsed:?}");
    assert_eq!(reading.join().unwrap(), b"");
}

#[test]
fn the_end_says_when_the_server_last_sent_anything_and_an_answer_to_a_ping_counts() {
    for tls in [false, true] {
        let setting = Setting {
            tls,
            ..Setting::keep_alive(1)
        };
        let (attempt, mut peer, client) = setting.connect();
        assert_eq!(read_packet(&mut peer), PINGREQ);
        let before = Instant::now();
        peer.write_all(&PINGRESP).unwrap();
        assert_eq!(read_packet(&mut peer), PINGREQ);
        let after = Instant::now();
        // A part of a packet proves nothing about what was sent before its end.
        peer.write_all(&publish(1, 100)[..50]).unwrap();
        drop(peer);
        client.leave();
        let heard = attempt.end().heard().unwrap().instant;
        assert!(heard >= before && heard < after, "{:?}", heard - before);
        assert!(after - heard > ALMOST, "{:?}", after - heard);
    }
}

#[test]
fn a_server_that_answers_a_moment_before_it_is_given_up_lives() {
    let (attempt, mut peer, client) = Setting::keep_alive(1).connect();
    for _ in 0..2 {
        assert_eq!(read_packet(&mut peer), PINGREQ);
        hears_nothing_for(peer.stream(), SECOND * 9 / 2);
        peer.write_all(&PINGRESP).unwrap();
    }
    client.hears_nothing_for(Duration::from_millis(100));
    assert!(attempt.reports.is_empty());
}

#[test]
fn a_server_that_answers_by_other_bytes_lives() {
    let (attempt, mut peer, mut client) = Setting::keep_alive(1).connect();
    let start = Instant::now();
    // A byte of a packet at a time, and no other answer.
    let packet = publish(1, 4);
    let mut stream = peer.stream().try_clone().unwrap();
    let asked = thread::spawn(move || {
        let mut asked = 0;
        while let Ok(packet) = super::peer::try_packet(&mut stream) {
            assert_eq!(packet, PINGREQ);
            asked += 1;
        }
        asked
    });
    for byte in &packet {
        peer.write_all(&[*byte]).unwrap();
        let report = attempt.reports.recv_timeout(Duration::from_millis(600));
        assert!(report.is_err(), "{report:?}");
    }
    assert!(start.elapsed() > 7 * SECOND);
    assert_eq!(number(&read_packet(&mut client.0)), 1);
    assert!(attempt.reports.is_empty());
    attempt.wire.cancel();
    client.leave();
    assert!(asked.join().unwrap() >= 3);
}

#[test]
fn a_client_that_does_not_read_is_no_dead_server() {
    let (attempt, mut peer, mut client) = Setting::keep_alive(1).connect();
    // More than all buffers can hold; everything else that the server sends waits behind it.
    const COUNT: u32 = 6000;
    let writing = thread::spawn(move || {
        for index in 0..COUNT {
            peer.write_all(&publish(index, 10_000)).unwrap();
        }
        peer
    });
    let report = attempt.reports.recv_timeout(8 * SECOND);
    assert!(report.is_err(), "{report:?}");
    assert!(!writing.is_finished());
    for index in 0..COUNT {
        assert_eq!(number(&read_packet(&mut client.0)), index);
    }
    let _peer = writing.join().unwrap();
}

/// Returns how many voluntary context switches a thread has made.
#[cfg(target_os = "linux")]
fn switches(thread: &str) -> u64 {
    let mut found = Vec::new();
    for task in std::fs::read_dir("/proc/self/task").unwrap() {
        let status = std::fs::read_to_string(task.unwrap().path().join("status")).unwrap();
        if !status.starts_with(&format!("Name:\t{thread}\n")) {
            continue;
        }
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))
            .unwrap();
        found.push(line.trim().parse().unwrap());
    }
    assert_eq!(found.len(), 1, "one such thread");
    found[0]
}

#[cfg(target_os = "linux")]
#[test]
fn an_idle_connection_wakes_twice_an_interval() {
    if !super::alone::is_alone("keep_alive::an_idle_connection_wakes_twice_an_interval") {
        return;
    }
    for tls in [false, true] {
        let setting = Setting {
            tls,
            ..Setting::keep_alive(1)
        };
        let (attempt, mut peer, client) = setting.connect();
        let mut answer = || {
            assert_eq!(read_packet(&mut peer), PINGREQ);
            peer.write_all(&PINGRESP).unwrap();
        };
        answer();
        let before = switches("ttn-wire");
        for _ in 0..4 {
            answer();
        }
        let woken = switches("ttn-wire") - before;
        // An answer may come before the thread has gone to sleep.
        assert!((4..=10).contains(&woken), "{woken}");
        attempt.wire.cancel();
        client.leave();
        attempt.end();
    }
}
