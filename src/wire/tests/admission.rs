//! Strangers at the port of the loopback: they get nothing, and the client gets in.

use std::{
    io::{ErrorKind, Read, Write},
    net::{Ipv4Addr, TcpStream},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use super::{
    Attempt, Setting, Way,
    alone::is_alone,
    at_once,
    peer::{CONNACK, Client, Peer, Server, number, password, publish, read_packet},
};
use crate::wire::End;

fn ready() -> (Attempt, Peer, Way) {
    let server = Server::start();
    let attempt = Setting::default().start(server.address());
    let mut peer = server.accept(false);
    peer.log_in();
    let doorway = attempt.doorway();
    (attempt, peer, doorway)
}

/// Asserts that the client is admitted and the connection works.
#[track_caller]
fn client_comes_in(peer: &mut Peer, doorway: &Way) -> Client {
    let mut client = at_once(|| Client::come_in(doorway));
    peer.write_all(&publish(1, 4)).unwrap();
    assert_eq!(number(&read_packet(&mut client.0)), 1);
    client.0.write_all(&publish(2, 4)).unwrap();
    assert_eq!(number(&read_packet(peer)), 2);
    client
}

/// Asserts that a stream is closed and has received nothing.
#[track_caller]
fn is_closed_without_a_byte(mut stranger: TcpStream) {
    match stranger.read(&mut [0; 16]) {
        Ok(0) => {}
        Err(cause) if cause.kind() == ErrorKind::ConnectionReset => {}
        other => panic!("{other:?}"),
    }
}

fn wrong_token() -> Vec<u8> {
    password(&"0123456789abcdef".repeat(2))
}

#[test]
fn a_wrong_token_of_the_right_form_is_closed_at_once() {
    let (_attempt, mut peer, doorway) = ready();
    let mut stranger = Client::knock(doorway.port).0;
    stranger.write_all(&wrong_token()).unwrap();
    at_once(|| is_closed_without_a_byte(stranger));
    client_comes_in(&mut peer, &doorway);
}

#[test]
fn any_other_first_byte_is_closed_at_once() {
    let (_attempt, mut peer, doorway) = ready();
    let other_id = password(&doorway.token[..31]);
    let longer_id = password(&format!("{}0", doorway.token));
    let mut with_user = password(&doorway.token);
    with_user[9] |= 0x80;
    for said in [
        b"GET / HTTP/1.1\r\n\r\n".as_slice(),
        b"\x16\x03\x01",
        b"\xc0\0",
        &[0xff; 10_000],
        &other_id,
        &longer_id,
        &with_user,
    ] {
        let mut stranger = Client::knock(doorway.port).0;
        // It may be closed while it is still writing.
        let _ = stranger.write_all(said);
        at_once(|| is_closed_without_a_byte(stranger));
    }
    client_comes_in(&mut peer, &doorway);
}

#[test]
fn those_who_are_silent_or_say_half_a_packet_are_closed_when_the_client_is_in() {
    let (_attempt, mut peer, doorway) = ready();
    let half = password(&doorway.token);
    let mut strangers = Vec::new();
    for length in 0..half.len() {
        let mut stranger = Client::knock(doorway.port).0;
        // A guess can be right up to the last byte but one.
        stranger.write_all(&half[..length.min(14)]).unwrap();
        strangers.push(stranger);
    }
    client_comes_in(&mut peer, &doorway);
    for stranger in strangers {
        at_once(|| is_closed_without_a_byte(stranger));
    }
}

#[test]
fn a_stranger_who_comes_after_the_client_finds_no_door() {
    let (_attempt, mut peer, doorway) = ready();
    let _client = client_comes_in(&mut peer, &doorway);
    let late = TcpStream::connect((Ipv4Addr::LOCALHOST, doorway.port));
    assert_eq!(late.unwrap_err().kind(), ErrorKind::ConnectionRefused);
}

#[test]
fn a_client_that_speaks_a_byte_at_a_time_comes_in() {
    let (_attempt, _peer, doorway) = ready();
    let mut client = Client::knock(doorway.port).0;
    for byte in password(&doorway.token) {
        client.write_all(&[byte]).unwrap();
    }
    let mut answer = [0; 4];
    client.read_exact(&mut answer).unwrap();
    assert_eq!(answer, CONNACK);
}

#[test]
fn what_the_client_says_with_its_connect_is_not_lost() {
    let (_attempt, mut peer, doorway) = ready();
    let mut client = Client::knock(doorway.port).0;
    let said = [password(&doorway.token), publish(5, 4)].concat();
    client.write_all(&said).unwrap();
    assert_eq!(number(&read_packet(&mut peer)), 5);
}

#[test]
fn only_one_comes_in_with_the_token() {
    let (_attempt, mut peer, doorway) = ready();
    let mut second = Client::knock(doorway.port).0;
    let mut first = Client::knock(doorway.port).0;
    first.write_all(&password(&doorway.token)).unwrap();
    let mut answer = [0; 4];
    first.read_exact(&mut answer).unwrap();
    let _ = second.write_all(&password(&doorway.token));
    is_closed_without_a_byte(second);
    peer.write_all(&publish(1, 4)).unwrap();
    assert_eq!(number(&read_packet(&mut first)), 1);
}

#[test]
fn a_thousand_strangers_who_come_and_go_keep_nobody_out() {
    let (_attempt, mut peer, doorway) = ready();
    for index in 0..1000 {
        let mut stranger = Client::knock(doorway.port).0;
        if index % 2 == 0 {
            let _ = stranger.write_all(&wrong_token());
        }
    }
    client_comes_in(&mut peer, &doorway);
}

#[test]
fn a_thousand_strangers_who_stay_keep_nobody_out() {
    if !is_alone("admission::a_thousand_strangers_who_stay_keep_nobody_out") {
        return;
    }
    let (_attempt, mut peer, doorway) = ready();
    let strangers: Vec<_> = (0..1000).map(|_| Client::knock(doorway.port).0).collect();
    #[cfg(target_os = "linux")]
    {
        // Our own and the few that still wait for their turn.
        let descriptors = std::fs::read_dir("/proc/self/fd").unwrap().count();
        assert!(descriptors < 1100, "{descriptors}");
    }
    client_comes_in(&mut peer, &doorway);
    for stranger in strangers {
        is_closed_without_a_byte(stranger);
    }
}

/// Runs `test` while four threads connect to the port and do nothing else.
fn besieged(port: u16, stays: bool, test: impl FnOnce()) {
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut open = std::collections::VecDeque::new();
                while !stop.load(Ordering::Relaxed) {
                    match TcpStream::connect((Ipv4Addr::LOCALHOST, port)) {
                        Ok(stream) if stays => open.push_back(stream),
                        _ => {}
                    }
                    if open.len() > 100 {
                        open.pop_front();
                    }
                }
            });
        }
        let tested = std::panic::catch_unwind(std::panic::AssertUnwindSafe(test));
        stop.store(true, Ordering::Relaxed);
        if let Err(panic) = tested {
            std::panic::resume_unwind(panic);
        }
    });
}

#[test]
fn four_threads_that_connect_without_pause_keep_nobody_out() {
    if !is_alone("admission::four_threads_that_connect_without_pause_keep_nobody_out") {
        return;
    }
    for stays in [false, true] {
        for _ in 0..10 {
            let (_attempt, mut peer, doorway) = ready();
            besieged(doorway.port, stays, || {
                let _client = client_comes_in(&mut peer, &doorway);
            });
        }
    }
}

#[test]
fn four_threads_that_connect_without_pause_do_not_keep_an_attempt_from_being_cancelled() {
    if !is_alone(
        "admission::four_threads_that_connect_without_pause_do_not_keep_an_attempt_from_being_cancelled",
    ) {
        return;
    }
    for stays in [false, true] {
        let (attempt, _peer, doorway) = ready();
        besieged(doorway.port, stays, || {
            assert!(
                attempt
                    .reports
                    .recv_timeout(Duration::from_millis(50))
                    .is_err()
            );
            let end = at_once(|| {
                attempt.wire.cancel();
                attempt.end()
            });
            assert!(matches!(end, End::Closed), "{end:?}");
        });
    }
}
