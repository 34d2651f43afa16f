//! How connections end: nothing that was sent before an end is lost by it.

use std::{
    io::{Read, Write},
    net::Shutdown,
    thread,
    time::{Duration, Instant},
};

use super::{
    LONG, Setting, at_once,
    peer::{
        DISCONNECT, PINGREQ, PINGRESP, hears_nothing_for, number, publish, read_message, read_out,
        read_packet, reset, try_packet,
    },
};
use crate::{
    error::ErrorKind,
    wire::{End, Loss},
};

const COUNT: u32 = 2000;

/// Reads all packets up to the end.
fn packets(mut stream: impl Read) -> Vec<Vec<u8>> {
    let mut packets = Vec::new();
    while let Ok(packet) = try_packet(&mut stream) {
        // The relay wakes a client that had to wait with one, and asks the server how far it has come.
        if packet != PINGRESP && packet != PINGREQ {
            packets.push(packet);
        }
    }
    packets
}

#[track_caller]
fn are_all(packets: &[Vec<u8>], count: u32) {
    let numbers: Vec<u32> = packets.iter().map(|packet| number(packet)).collect();
    assert_eq!(numbers.len(), count as usize);
    assert!(numbers.into_iter().eq(0..count));
}

#[test]
fn what_the_server_sent_before_it_closed_reaches_a_client_that_was_writing() {
    for tls in [false, true] {
        for _ in 0..5 {
            let (attempt, mut peer, client) = Setting::tls(tls).connect();
            let uplinks: Vec<u8> = (0..COUNT).flat_map(|index| publish(index, 300)).collect();
            thread::scope(|scope| {
                let mut writing = client.0.try_clone().unwrap();
                scope.spawn(move || while writing.write_all(&publish(0, 500)).is_ok() {});
                peer.write_all(&uplinks).unwrap();
                peer.close_writing();
                // The client has read nothing so far, and the other side is unread.
                let (loss, error) = attempt.loss();
                assert_eq!(
                    (loss, error.kind()),
                    (Loss::Closed, ErrorKind::ConnectionLost)
                );
                let received = packets(&client.0);
                client.0.shutdown(Shutdown::Both).unwrap();
                are_all(&received, COUNT);
            });
        }
    }
}

#[test]
fn what_came_before_a_packet_that_is_a_fault_reaches_the_client() {
    for tls in [false, true] {
        let (attempt, mut peer, client) = Setting::tls(tls).connect();
        let mut bytes: Vec<u8> = (0..20).flat_map(|index| publish(index, 300)).collect();
        // A server must not send this type.
        bytes.extend([0, 0]);
        peer.write_all(&bytes).unwrap();
        assert_eq!(attempt.loss().0, Loss::Protocol);
        are_all(&packets(&client.0), 20);
    }
}

#[test]
fn what_came_before_a_reset_reaches_the_client() {
    for _ in 0..20 {
        let (attempt, mut peer, client) = Setting::tls(false).connect();
        let bytes: Vec<u8> = (0..20).flat_map(|index| publish(index, 300)).collect();
        peer.write_all(&bytes).unwrap();
        reset(peer.stream());
        drop(peer);
        assert_eq!(attempt.loss().0, Loss::Closed);
        are_all(&packets(&client.0), 20);
    }
}

#[test]
fn what_the_server_sent_before_it_closed_reaches_a_client_that_reads_late() {
    for tls in [false, true] {
        let (attempt, mut peer, client) = Setting::tls(tls).connect();
        for index in 0..COUNT {
            peer.write_all(&publish(index, 300)).unwrap();
        }
        peer.close_writing();
        let reading = thread::spawn(move || packets(&client.0));
        assert_eq!(attempt.loss().0, Loss::Closed);
        are_all(&reading.join().unwrap(), COUNT);
    }
}

#[test]
fn the_reason_is_told_before_the_client_sees_the_end() {
    for _ in 0..50 {
        let (attempt, peer, client) = Setting::default().connect();
        drop(peer);
        client.leave();
        let report = attempt.reports.try_recv();
        assert!(matches!(
            report,
            Ok(super::Report::Ended(End::Lost {
                loss: Loss::Closed,
                ..
            }))
        ));
    }
}

#[test]
fn a_reset_is_told() {
    for tls in [false, true] {
        let (attempt, peer, client) = Setting::tls(tls).connect();
        reset(peer.stream());
        drop(peer);
        let reading = thread::spawn(move || client.leave());
        let (loss, error) = at_once(|| attempt.loss());
        assert_eq!(
            (loss, error.kind()),
            (Loss::Closed, ErrorKind::ConnectionLost)
        );
        reading.join().unwrap();
    }
}

#[test]
fn what_the_client_has_written_reaches_the_server_before_its_farewell() {
    for tls in [false, true] {
        let (attempt, mut peer, client) = Setting::tls(tls).connect();
        let mut line = client.0.try_clone().unwrap();
        let writing = thread::spawn(move || {
            for index in 0..COUNT {
                line.write_all(&publish(index, 1000)).unwrap();
            }
        });
        let mut received = vec![read_message(&mut peer)];
        if tls {
            received.extend((1..COUNT).map(|_| read_message(&mut peer)));
            writing.join().unwrap();
        } else {
            // Much of it is in the relay, or still to be written to it.
            thread::scope(|scope| {
                scope.spawn(|| writing.join().unwrap());
                received.extend((1..COUNT).map(|_| read_message(&mut peer)));
            });
        }
        attempt.wire.finish();
        client.leave();
        are_all(&received, COUNT);
        assert_eq!(read_message(&mut peer), DISCONNECT);
        // With TLS a missing close_notify would be an error.
        let mut rest = Vec::new();
        peer.read_to_end(&mut rest).expect("an orderly end");
        assert_eq!(rest, b"");
        // It keeps reading until the server has closed its side too.
        let waits = attempt.reports.recv_timeout(Duration::from_millis(300));
        assert!(waits.is_err_and(|error| error.is_timeout()));
        for index in 0..COUNT {
            peer.write_all(&publish(index, 1000)).unwrap();
        }
        peer.close_writing();
        assert!(matches!(at_once(|| attempt.end()), End::Closed));
    }
}

/// Finishes a connection before the server has read anything. `count` messages of `size` bytes wait in
/// the client's socket.
fn all_leave_before_the_farewell(setting: Setting, count: u32, size: usize) {
    let (attempt, mut peer, mut client) = setting.connect();
    let many: Vec<u8> = (0..count).flat_map(|index| publish(index, size)).collect();
    let writing = thread::spawn(move || {
        client.0.write_all(&many).unwrap();
        client.leave()
    });
    attempt.wire.finish();
    let mut received = packets(&mut peer);
    assert_eq!(received.pop().unwrap(), DISCONNECT);
    are_all(&received, count);
    peer.close_writing();
    assert!(matches!(attempt.end(), End::Closed));
    writing.join().unwrap();
}

#[test]
fn what_lies_in_the_client_s_socket_leaves_before_the_farewell() {
    for tls in [false, true] {
        all_leave_before_the_farewell(Setting::tls(tls), COUNT, 1000);
    }
}

#[test]
fn the_farewell_follows_everything_however_many_questions_stand_in_between() {
    all_leave_before_the_farewell(Setting::default(), 30_000, 200);
}

#[test]
fn a_flood_of_the_server_does_not_hold_up_a_farewell() {
    let (attempt, peer, client) = Setting::default().connect();
    thread::scope(|scope| {
        let mut flooding = peer.stream();
        // Faster than it can be read.
        let packets = publish(1, 10_000).repeat(100);
        scope.spawn(move || while flooding.write_all(&packets).is_ok() {});
        scope.spawn(move || client.leave());
        attempt.wire.finish();
        let mut reading = peer.stream();
        let farewell = at_once(|| read_packet(&mut reading));
        assert_eq!(farewell, DISCONNECT);
        assert_eq!(at_once(|| reading.read(&mut [0]).unwrap()), 0);
        peer.stream().shutdown(Shutdown::Both).unwrap();
    });
    assert!(matches!(attempt.end(), End::Closed));
}

#[test]
fn a_server_that_ends_while_leave_is_taken_ends_it() {
    let (attempt, peer, client) = Setting::default().connect();
    attempt.wire.finish();
    drop(peer);
    client.leave();
    assert!(matches!(at_once(|| attempt.end()), End::Closed));
}

#[test]
fn a_client_that_has_said_its_own_farewell_has_it_passed_on_once() {
    let (attempt, mut peer, mut client) = Setting::default().connect();
    let said = [&publish(0, 4)[..], &DISCONNECT].concat();
    client.0.write_all(&said).unwrap();
    assert_eq!(number(&read_packet(&mut peer)), 0);
    hears_nothing_for(peer.stream(), Duration::from_millis(200));
    attempt.wire.finish();
    client.leave();
    assert_eq!(read_out(peer.stream()), DISCONNECT);
}

#[test]
fn a_client_that_ends_in_the_middle_of_a_packet_is_followed_by_no_farewell() {
    let (attempt, peer, mut client) = Setting::default().connect();
    client.0.write_all(&publish(0, 1000)[..500]).unwrap();
    let mut first = [0; 500];
    peer.stream().read_exact(&mut first).unwrap();
    attempt.wire.finish();
    client.leave();
    assert_eq!(read_out(peer.stream()), b"");
}

#[test]
fn a_server_that_never_closes_its_side_is_not_waited_for_for_ever() {
    let (attempt, peer, client) = Setting::default().connect();
    let start = Instant::now();
    attempt.wire.finish();
    client.leave();
    assert_eq!(read_out(peer.stream()), DISCONNECT);
    assert!(matches!(attempt.end(), End::Closed));
    let elapsed = start.elapsed();
    assert!(
        elapsed > Duration::from_secs(9) && elapsed < LONG,
        "{elapsed:?}"
    );
}
