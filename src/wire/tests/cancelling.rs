//! Cancelled attempts and connections end at once, at any stage.

use std::{io::Read, io::Write, time::Duration};

use super::{
    Attempt, Setting, at_once,
    peer::{DISCONNECT, FullBacklog, Server, publish, read_out, read_packet},
};
use crate::wire::End;

#[track_caller]
fn is_cancelled_at_once(attempt: Attempt) {
    let end = at_once(|| {
        attempt.wire.cancel();
        attempt.end()
    });
    assert!(matches!(end, End::Closed), "{end:?}");
}

#[test]
fn while_the_server_neither_accepts_nor_refuses() {
    let full = FullBacklog::new();
    is_cancelled_at_once(Setting::default().start(full.address()));
}

#[test]
fn while_a_proxy_is_silent() {
    for proxy in ["http://proxy", "socks5://proxy"] {
        let server = Server::start();
        let setting = Setting {
            proxy: Some(proxy),
            ..Setting::default()
        };
        let attempt = setting.start(server.address());
        let mut stream = server.accept_plain();
        assert_ne!(stream.read(&mut [0; 512]).unwrap(), 0);
        is_cancelled_at_once(attempt);
        at_once(|| read_out(stream));
    }
}

#[test]
fn while_a_server_is_silent_in_the_handshake() {
    let server = Server::start();
    let attempt = Setting::tls(true).start(server.address());
    let mut stream = server.accept_plain();
    assert_ne!(stream.read(&mut [0; 512]).unwrap(), 0);
    is_cancelled_at_once(attempt);
    at_once(|| read_out(stream));
}

#[test]
fn while_a_server_does_not_answer_the_login() {
    for tls in [false, true] {
        let server = Server::start();
        let attempt = Setting::tls(tls).start(server.address());
        let mut peer = server.accept(tls);
        peer.read_connect();
        is_cancelled_at_once(attempt);
        at_once(|| read_out(peer.stream()));
    }
}

#[test]
fn while_the_client_does_not_come_in() {
    let server = Server::start();
    let attempt = Setting::default().start(server.address());
    let mut peer = server.accept(false);
    peer.log_in();
    let doorway = attempt.doorway();
    is_cancelled_at_once(attempt);
    at_once(|| read_out(peer.stream()));
    let late = std::net::TcpStream::connect(("127.0.0.1", doorway.port));
    assert!(late.is_err(), "the door is still open");
}

#[test]
fn while_it_works() {
    for tls in [false, true] {
        let (attempt, peer, client) = Setting::tls(tls).connect();
        is_cancelled_at_once(attempt);
        at_once(|| client.leave());
        at_once(|| read_out(peer.stream()));
    }
}

#[test]
fn while_neither_side_reads() {
    let (attempt, mut peer, mut client) = Setting::default().connect();
    for stream in [peer.stream(), &client.0] {
        let wait = Some(Duration::from_millis(300));
        stream.set_write_timeout(wait).unwrap();
    }
    let packet = publish(1, 100_000);
    while peer.write_all(&packet).is_ok() {}
    while client.0.write_all(&packet).is_ok() {}
    is_cancelled_at_once(attempt);
    client.leave();
    at_once(|| read_out(peer.stream()));
}

#[test]
fn while_it_takes_leave() {
    let (attempt, mut peer, client) = Setting::default().connect();
    attempt.wire.finish();
    client.leave();
    // It now waits for the server to close its side.
    assert_eq!(read_packet(&mut peer), DISCONNECT);
    is_cancelled_at_once(attempt);
}

#[test]
fn by_dropping_it() {
    let (attempt, peer, client) = Setting::default().connect();
    let Attempt { wire, reports, .. } = attempt;
    drop(wire);
    let report = at_once(|| reports.recv().unwrap());
    assert!(matches!(report, super::Report::Ended(End::Closed)));
    client.leave();
    at_once(|| read_out(peer.stream()));
}

#[test]
fn a_client_that_stays_does_not_keep_the_connection_to_the_server() {
    let (attempt, peer, client) = Setting::default().connect();
    at_once(|| {
        attempt.wire.cancel();
        read_out(peer.stream())
    });
    assert!(matches!(attempt.end(), End::Closed));
    attempt.is_over();
    drop(client);
}
