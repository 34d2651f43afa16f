//! Sockets that are slow, hostile or broken.

use std::{
    collections::VecDeque,
    io::{self, Read, Write},
};

use rustls::version::{TLS12, TLS13};

use super::peer::{Authority, Peer, SERVER, Server, VERSIONS, await_greeting, says, shake_hands};
use crate::{ErrorKind, error::Error, wire::tls::Tls};

/// Accepts everything and answers with prepared bytes.
#[derive(Default)]
struct Canned {
    answer: VecDeque<u8>,
    /// How it ends after that; without it, it waits.
    end: Option<io::ErrorKind>,
    /// How writing fails.
    refuses: Option<io::ErrorKind>,
    written: Vec<u8>,
}

impl Canned {
    fn new(answer: &[u8], end: Option<io::ErrorKind>) -> Self {
        Self {
            answer: answer.to_vec().into(),
            end,
            ..Self::default()
        }
    }
}

impl Read for Canned {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if !self.answer.is_empty() {
            return self.answer.read(buffer);
        }
        match self.end {
            None => Err(io::ErrorKind::WouldBlock.into()),
            Some(io::ErrorKind::UnexpectedEof) => Ok(0),
            Some(kind) => Err(kind.into()),
        }
    }
}

impl Write for Canned {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Some(kind) = self.refuses {
            return Err(kind.into());
        }
        self.written.extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

const EOF: Option<io::ErrorKind> = Some(io::ErrorKind::UnexpectedEof);
const RESET: Option<io::ErrorKind> = Some(io::ErrorKind::ConnectionReset);

fn tls() -> Tls {
    Authority::new("Authority")
        .trust()
        .start("localhost")
        .unwrap()
}

fn failure(mut socket: Canned) -> Error {
    let mut tls = tls();
    let cause = loop {
        match tls.handshake(&mut socket) {
            Ok(done) => assert!(!done, "it cannot be over"),
            Err(cause) => break cause,
        }
    };
    tls.explain(&SERVER, &cause)
}

fn alert(code: u8) -> [u8; 7] {
    [21, 3, 3, 0, 2, 2, code]
}

#[test]
fn a_server_that_does_not_speak_tls_is_told() {
    let http = b"HTTP/1.1 400 Bad Request\r\n\r\n";
    let answers: [(&[u8], _); 6] = [
        (http, None),
        // An MQTT server that refuses.
        (&[0x20, 2, 0, 1], EOF),
        (b"", EOF),
        (b"", RESET),
        // Half a record.
        (&[22, 3, 3, 0, 100, 2, 0, 0], EOF),
        (&[22, 3, 3, 0, 100, 2, 0, 0], RESET),
    ];
    for (answer, end) in answers {
        let error = failure(Canned::new(answer, end));
        says(&error, ErrorKind::Tls, &[SERVER, "is this a TLS port"]);
    }
}

#[test]
fn rubbish_never_panics() {
    let mut random = fastrand::Rng::with_seed(7);
    for _ in 0..500 {
        let mut answer: Vec<u8> = (0..random.usize(..600)).map(|_| random.u8(..)).collect();
        if random.bool() {
            answer.splice(0..0, [random.u8(20..25), 3, 3, 0, random.u8(..)]);
        }
        let error = failure(Canned::new(&answer, EOF));
        assert!(matches!(error.kind(), ErrorKind::Tls), "{error}");
    }
}

#[test]
fn an_endless_handshake_message_is_not_kept() {
    // The header of a message of 16 MiB, and records that never end it.
    let mut answer = vec![22, 3, 3, 0x40, 0, 2, 0xff, 0xff, 0xff];
    answer.resize(5 + 0x4000, 0);
    for _ in 0..100 {
        answer.extend([22, 3, 3, 0x40, 0]);
        answer.resize(answer.len() + 0x4000, 0);
    }
    let error = failure(Canned::new(&answer, EOF));
    says(&error, ErrorKind::Tls, &[SERVER, "is this a TLS port"]);
}

#[test]
fn a_changed_byte_never_panics_or_hangs() {
    let authority = Authority::new("Authority");
    let server = authority.sign(&["localhost"]);
    for version in VERSIONS {
        for position in (0..600).step_by(7) {
            let mut peer = server.clone().version(version).start();
            let mut tls = authority.trust().start("localhost").unwrap();
            assert!(!tls.handshake(&mut Writing(&mut peer)).unwrap());
            if let Some(byte) = peer.line.get_mut(position) {
                *byte ^= 0x55;
            }
            peer.ended = true;
            let result =
                shake_hands(&mut tls, &mut peer).and_then(|()| await_greeting(&mut tls, &mut peer));
            if let Err(cause) = result {
                assert_ne!(cause.kind(), io::ErrorKind::TimedOut);
                let _ = tls.explain(&SERVER, &cause);
            }
        }
    }
}

/// Writes only.
struct Writing<'a>(&'a mut Peer);

impl Read for Writing<'_> {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::ErrorKind::WouldBlock.into())
    }
}

impl Write for Writing<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn an_alert_is_told() {
    let cases = [
        (70, "TLS 1.0 or 1.1"),
        (40, "no cipher or kind of key in common"),
        (112, "does not know the host name localhost"),
        (116, "wants a client certificate"),
        (80, "InternalError"),
        (255, "TLS alert"),
    ];
    for (code, word) in cases {
        for end in [None, EOF, RESET] {
            let error = failure(Canned::new(&alert(code), end));
            says(&error, ErrorKind::Tls, &[SERVER, word]);
        }
    }
}

#[test]
fn a_server_that_closes_instead_of_naming_a_missing_client_certificate_is_told() {
    let authority = Authority::new("Authority");
    let mut server = authority.sign(&["localhost"]);
    server.clients = Some(authority.der());
    for version in VERSIONS {
        for end in [EOF, RESET] {
            let mut peer = server.clone().version(version).start();
            let mut tls = authority.trust().start("localhost").unwrap();
            assert!(!tls.handshake(&mut Writing(&mut peer)).unwrap());
            assert!(!tls.lacks_client_certificate());
            let mut socket = Canned::new(peer.line.make_contiguous(), end);
            // In TLS 1.3 the client is the last to speak.
            match tls.handshake(&mut socket) {
                Ok(done) => assert!(done && version == &TLS13),
                Err(cause) => {
                    assert_eq!(version, &TLS12);
                    let error = tls.explain(&SERVER, &cause);
                    let words = [SERVER, "asked for a client certificate", "_files"];
                    says(&error, ErrorKind::Tls, &words);
                }
            }
            assert!(tls.lacks_client_certificate());
        }
    }
}

#[test]
fn an_alert_that_waits_explains_a_failed_write() {
    for kind in [io::ErrorKind::BrokenPipe, io::ErrorKind::ConnectionReset] {
        let mut socket = Canned::new(&alert(70), RESET);
        socket.refuses = Some(kind);
        says(&failure(socket), ErrorKind::Tls, &["TLS 1.0 or 1.1"]);
        let mut socket = Canned::new(b"", RESET);
        socket.refuses = Some(kind);
        says(&failure(socket), ErrorKind::Tls, &["closed the connection"]);
    }
}

#[test]
fn our_own_alert_leaves() {
    let authority = Authority::new("Authority");
    let server = Authority::new("Stranger").sign(&["localhost"]);
    for version in VERSIONS {
        let mut peer = server.clone().version(version).start();
        let mut tls = authority.trust().start("localhost").unwrap();
        shake_hands(&mut tls, &mut peer).unwrap_err();
        let heard = peer.connection.process_new_packets().unwrap_err();
        assert!(heard.to_string().contains("UnknownCA"), "{heard}");
    }
}

#[test]
fn a_deadline_is_told() {
    let mut tls = tls();
    assert!(!tls.handshake(&mut Canned::default()).unwrap());
    let error = tls.explain(&SERVER, &io::ErrorKind::TimedOut.into());
    says(&error, ErrorKind::TimedOut, &[SERVER, "TLS handshake"]);
    assert!(error.is_transient());
}

fn connected(server: &Server, authority: &Authority) -> (Tls, Peer) {
    let mut peer = server.start();
    let mut tls = authority.trust().start("localhost").unwrap();
    shake_hands(&mut tls, &mut peer).unwrap();
    await_greeting(&mut tls, &mut peer).unwrap();
    (tls, peer)
}

#[test]
fn bytes_pass_through_any_socket() {
    let authority = Authority::new("Authority");
    let server = authority.sign(&["localhost"]);
    for version in VERSIONS {
        for step in [1, 2, 5, 1000, usize::MAX] {
            for blocks in [false, true] {
                let mut peer = server.clone().version(version).start();
                peer.step = step;
                peer.every_second_call_blocks = blocks;
                let mut tls = authority.trust().start("localhost").unwrap();
                shake_hands(&mut tls, &mut peer).unwrap();
                await_greeting(&mut tls, &mut peer).unwrap();
                let sent: Vec<u8> = (0..100_000_u32).map(|n| n as u8).collect();
                let mut rest = &sent[..];
                while !rest.is_empty() {
                    match tls.write(&mut peer, rest) {
                        Ok(count) => rest = &rest[count..],
                        Err(cause) => assert_eq!(cause.kind(), io::ErrorKind::WouldBlock),
                    }
                }
                while let Err(cause) = tls.flush(&mut peer) {
                    assert_eq!(cause.kind(), io::ErrorKind::WouldBlock);
                }
                assert!(!tls.wants_write());
                assert_eq!(peer.received, sent);
            }
        }
    }
}

#[test]
fn many_bytes_are_read_without_loss() {
    let authority = Authority::new("Authority");
    let (mut tls, mut peer) = connected(&authority.sign(&["localhost"]), &authority);
    let sent: Vec<u8> = (0..300_000_u32).map(|n| n as u8).collect();
    peer.connection.set_buffer_limit(None);
    peer.connection.writer().write_all(&sent).unwrap();
    peer.work();
    let mut read = Vec::<u8>::new();
    let mut buffer = [0; 7000];
    while read.len() < sent.len() {
        let count = tls.read(&mut peer, &mut buffer).unwrap();
        read.extend(&buffer[..count]);
    }
    assert_eq!(read, sent);
    let cause = tls.read(&mut peer, &mut buffer).unwrap_err();
    assert_eq!(cause.kind(), io::ErrorKind::WouldBlock);
}

#[test]
fn a_writer_that_outruns_the_socket_waits() {
    let authority = Authority::new("Authority");
    let (mut tls, _peer) = connected(&authority.sign(&["localhost"]), &authority);
    let mut full = Canned {
        refuses: Some(io::ErrorKind::WouldBlock),
        ..Canned::default()
    };
    let mut taken = 0;
    let cause = loop {
        match tls.write(&mut full, &[7; 10_000]) {
            Ok(count) => taken += count,
            Err(cause) => break cause,
        }
    };
    assert_eq!(cause.kind(), io::ErrorKind::WouldBlock);
    assert!(taken <= 16 << 10, "{taken}");
    assert!(tls.wants_write());
    full.refuses = None;
    tls.flush(&mut full).unwrap();
    assert!(full.written.len() > taken);
    assert_eq!(tls.write(&mut full, &[]).unwrap(), 0);
}

#[test]
fn the_end_is_the_end_with_a_close_notify_and_without() {
    let authority = Authority::new("Authority");
    for version in VERSIONS {
        let server = authority.sign(&["localhost"]).version(version);
        for orderly in [true, false] {
            let (mut tls, mut peer) = connected(&server, &authority);
            peer.connection.writer().write_all(b"last").unwrap();
            if orderly {
                peer.connection.send_close_notify();
            }
            peer.work();
            peer.ended = !orderly;
            let mut buffer = [0; 100];
            assert_eq!(tls.read(&mut peer, &mut buffer).unwrap(), 4);
            for _ in 0..3 {
                assert_eq!(tls.read(&mut peer, &mut buffer).unwrap(), 0);
            }
        }
    }
}

#[test]
fn we_may_close_and_still_read() {
    let authority = Authority::new("Authority");
    for version in VERSIONS {
        let server = authority.sign(&["localhost"]).version(version);
        let (mut tls, mut peer) = connected(&server, &authority);
        tls.close_notify();
        assert!(tls.wants_write());
        tls.flush(&mut peer).unwrap();
        assert_eq!(peer.connection.reader().read(&mut [0]).unwrap(), 0);
        peer.connection.writer().write_all(b"last").unwrap();
        peer.work();
        let mut buffer = [0; 100];
        assert_eq!(tls.read(&mut peer, &mut buffer).unwrap(), 4);
    }
}

#[test]
fn what_breaks_a_connection_that_worked_is_transient() {
    let authority = Authority::new("Authority");
    let server = authority.sign(&["localhost"]);
    let explained = |answer: &[u8], end| {
        let (mut tls, _peer) = connected(&server, &authority);
        let mut socket = Canned::new(answer, end);
        let cause = tls.read(&mut socket, &mut [0; 100]).unwrap_err();
        tls.explain(&SERVER, &cause)
    };
    for (answer, end) in [
        (&b""[..], RESET),
        (b"HTTP/1.1 400 Bad Request", None),
        (
            &[
                23, 3, 3, 0, 20, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19,
                20,
            ],
            None,
        ),
        (&[23, 3, 3, 0, 20, 1, 2, 3], RESET),
    ] {
        let error = explained(answer, end);
        says(&error, ErrorKind::ConnectionLost, &[SERVER, "was lost"]);
        assert!(error.is_transient());
    }
}
