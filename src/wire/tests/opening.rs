//! Servers and proxies that do not answer as they should, at each step until the client is in.

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use super::{
    AT_ONCE, Attempt, Setting,
    peer::{
        CONNACK, Client, FullBacklog, Peer, Server, number, publish, read_out, read_packet, reset,
    },
};
use crate::{
    error::{Error, ErrorKind},
    wire::End,
};

const HTTP: &str = "http://user:s3cret@proxy.example:3128";
const SOCKS: &str = "socks5://user:s3cret@proxy.example:1080";

/// How far an attempt has come when something happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    HttpProxy,
    SocksProxy,
    Tls,
    Login,
    LoginOverTls,
}

const STEPS: [Step; 5] = [
    Step::HttpProxy,
    Step::SocksProxy,
    Step::Tls,
    Step::Login,
    Step::LoginOverTls,
];

impl Step {
    fn setting(self, limit: Duration) -> Setting {
        Setting {
            limit,
            tls: matches!(self, Self::Tls | Self::LoginOverTls),
            proxy: match self {
                Self::HttpProxy => Some(HTTP),
                Self::SocksProxy => Some(SOCKS),
                _ => None,
            },
            ..Setting::default()
        }
    }

    /// Advances to where the server or the proxy must answer.
    fn reach(self, server: &Server) -> Peer {
        let mut peer = server.accept(self == Self::LoginOverTls);
        let mut bytes = [0; 512];
        match self {
            Self::HttpProxy | Self::SocksProxy | Self::Tls => {
                assert_ne!(peer.read(&mut bytes).unwrap(), 0);
            }
            Self::Login | Self::LoginOverTls => peer.read_connect(),
        }
        peer
    }

    /// What the error must name.
    fn name(self) -> &'static str {
        match self {
            Self::HttpProxy => "the proxy http://proxy.example:3128",
            Self::SocksProxy => "the proxy socks5://proxy.example:1080",
            _ => "the server",
        }
    }

    #[track_caller]
    fn is_named_by(self, error: &Error, kinds: &[ErrorKind]) {
        let text = error.to_string();
        assert!(kinds.contains(&error.kind()), "{self:?}: {error:?}");
        assert!(text.contains(self.name()), "{self:?}: {text}");
        assert!(!format!("{error:?}").contains("s3cret"), "{error:?}");
    }
}

/// Returns the error of an attempt to which `happens` happens at this step.
#[track_caller]
fn fails(step: Step, kinds: &[ErrorKind], happens: impl FnOnce(Peer)) -> Error {
    let server = Server::start();
    let attempt = step
        .setting(Duration::from_secs(60))
        .start(server.address());
    let start = Instant::now();
    happens(step.reach(&server));
    let error = attempt.failure();
    assert!(start.elapsed() < AT_ONCE, "{step:?}: {:?}", start.elapsed());
    step.is_named_by(&error, kinds);
    error
}

#[test]
fn silence_at_any_step_ends_at_the_deadline() {
    const LIMIT: Duration = Duration::from_millis(400);
    for step in STEPS {
        let server = Server::start();
        let start = Instant::now();
        let attempt = step.setting(LIMIT).start(server.address());
        let peer = step.reach(&server);
        let error = attempt.failure();
        assert!(start.elapsed() >= LIMIT && start.elapsed() < LIMIT + AT_ONCE);
        step.is_named_by(&error, &[ErrorKind::TimedOut]);
        assert!(error.to_string().contains("did not answer"), "{error}");
        assert_eq!(read_out(peer.stream()), b"");
    }
}

#[test]
fn a_port_that_neither_accepts_nor_refuses_ends_at_the_deadline() {
    const LIMIT: Duration = Duration::from_millis(400);
    let full = FullBacklog::new();
    for proxy in [None, Some(HTTP)] {
        let start = Instant::now();
        let setting = Setting {
            proxy,
            ..Setting::limit(LIMIT)
        };
        let error = setting.start(full.address()).failure();
        assert!(start.elapsed() >= LIMIT && start.elapsed() < LIMIT + AT_ONCE);
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        let name = if proxy.is_some() {
            "the proxy"
        } else {
            "the server"
        };
        assert!(error.to_string().contains(name), "{error}");
        assert!(error.to_string().contains(&full.address().to_string()));
    }
}

#[test]
fn rubbish_at_any_step_is_seen_at_once_while_the_connection_stays_open() {
    for rubbish in [
        &b"SSH-2.0-OpenSSH_9.2\r\n"[..],
        b"220 mail.example ESMTP\r\n",
        b"\0\0\0\0\0\0\0\0",
        &[0xff; 600],
    ] {
        for step in STEPS {
            let kinds = match step {
                Step::HttpProxy | Step::SocksProxy => [ErrorKind::Proxy].as_slice(),
                Step::Tls => &[ErrorKind::Tls, ErrorKind::Protocol],
                _ => &[ErrorKind::Protocol],
            };
            let mut kept = None;
            fails(step, kinds, |mut peer| {
                peer.write_all(rubbish).unwrap();
                kept = Some(peer);
            });
        }
    }
}

#[test]
fn an_end_of_file_at_any_step_is_told() {
    for step in STEPS {
        let kinds = match step {
            Step::Tls => [ErrorKind::Tls, ErrorKind::Protocol].as_slice(),
            _ => &[ErrorKind::Protocol],
        };
        let mut kept = None;
        fails(step, kinds, |peer| {
            peer.stream().shutdown(Shutdown::Write).unwrap();
            kept = Some(peer);
        });
    }
}

#[test]
fn a_reset_at_any_step_is_told() {
    for step in STEPS {
        let kinds = [
            ErrorKind::Protocol,
            ErrorKind::Tls,
            ErrorKind::ConnectionLost,
        ];
        fails(step, &kinds, |peer| reset(peer.stream()));
    }
}

#[test]
fn a_connection_that_ends_before_a_byte_was_said_is_told() {
    for step in STEPS {
        let server = Server::start();
        let attempt = step
            .setting(Duration::from_secs(60))
            .start(server.address());
        let stream = server.accept_plain();
        reset(&stream);
        drop(stream);
        let kinds = [
            ErrorKind::Protocol,
            ErrorKind::Tls,
            ErrorKind::ConnectionLost,
        ];
        step.is_named_by(&attempt.failure(), &kinds);
    }
}

/// The beginning of the answer that each step waits for.
const HALVES: [(Step, &[u8]); 5] = [
    (Step::HttpProxy, b"HTTP/1.1 200 OK\r\nVia: a"),
    (Step::SocksProxy, b"\x05\0\x05\0\0\x01"),
    // The head of a ServerHello.
    (Step::Tls, b"\x16\x03\x03\0\x7a\x02"),
    (Step::Login, b"\x20\x02\0"),
    (Step::LoginOverTls, b"\x20\x02\0"),
];

#[test]
fn half_an_answer_and_then_the_end_is_told() {
    for (step, half) in HALVES {
        let kinds = [ErrorKind::Protocol, ErrorKind::Tls];
        fails(step, &kinds, |mut peer| {
            peer.write_all(half).unwrap();
            peer.stream().shutdown(Shutdown::Write).unwrap();
            read_out(peer.stream());
        });
        let kinds = [kinds[0], kinds[1], ErrorKind::ConnectionLost];
        fails(step, &kinds, |mut peer| {
            peer.write_all(half).unwrap();
            reset(peer.stream());
        });
    }
}

#[test]
fn half_an_answer_and_then_silence_ends_at_the_deadline() {
    const LIMIT: Duration = Duration::from_millis(300);
    for (step, half) in HALVES {
        let server = Server::start();
        let attempt = step.setting(LIMIT).start(server.address());
        let mut peer = step.reach(&server);
        peer.write_all(half).unwrap();
        step.is_named_by(&attempt.failure(), &[ErrorKind::TimedOut]);
    }
}

#[test]
fn an_answer_without_end_is_given_up() {
    for step in [Step::HttpProxy, Step::Login] {
        let head: &[u8] = match step {
            Step::HttpProxy => b"HTTP/1.1 200 OK\r\nX: ",
            _ => b"",
        };
        let mut writing = None;
        let kinds = [ErrorKind::Proxy, ErrorKind::Protocol];
        fails(step, &kinds, |mut peer| {
            writing = Some(thread::spawn(move || {
                if peer.write_all(head).is_ok() {
                    while peer.write_all(&[b'x'; 1000]).is_ok() {}
                }
            }));
        });
        writing.unwrap().join().unwrap();
    }
}

/// Writes the bytes one by one.
fn slowly(stream: &mut Peer, bytes: &[u8]) {
    for byte in bytes {
        stream.write_all(&[*byte]).unwrap();
    }
}

fn read_request(peer: &mut Peer) -> String {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        peer.read_exact(&mut byte).unwrap();
        request.push(byte[0]);
    }
    String::from_utf8(request).unwrap()
}

/// Connects the client, which receives one message.
#[track_caller]
fn works(attempt: &Attempt, peer: &mut Peer) {
    let mut client = Client::come_in(&attempt.doorway());
    peer.write_all(&publish(7, 4)).unwrap();
    assert_eq!(number(&read_packet(&mut client.0)), 7);
}

#[test]
fn answers_that_come_a_byte_at_a_time_are_answers() {
    for tls in [false, true] {
        let server = Server::start();
        let setting = Setting {
            tls,
            proxy: Some(HTTP),
            ..Setting::default()
        };
        let attempt = setting.start(server.address());
        let mut peer = server.accept(false);
        let request = read_request(&mut peer);
        let port = server.address().port();
        assert!(request.starts_with(&format!("CONNECT localhost:{port} HTTP/1.1\r\n")));
        slowly(&mut peer, b"HTTP/1.1 200 OK\r\nVia: slow\r\n\r\n");
        let stream = peer.stream().try_clone().unwrap();
        let mut peer = if tls { Peer::with_tls(stream, 1) } else { peer };
        peer.read_connect();
        slowly(&mut peer, &CONNACK);
        works(&attempt, &mut peer);
    }
}

/// Starts an attempt through a proxy. Returns it with the proxy's end.
fn through(proxy: &'static str) -> (Attempt, Peer) {
    let server = Server::start();
    let setting = Setting {
        proxy: Some(proxy),
        ..Setting::default()
    };
    let attempt = setting.start(server.address());
    let peer = server.accept(false);
    (attempt, peer)
}

#[test]
fn a_socks_proxy_that_answers_a_byte_at_a_time_opens_the_way() {
    let (attempt, mut peer) = through(SOCKS);
    let said = |peer: &mut Peer, length| {
        let mut bytes = vec![0; length];
        peer.read_exact(&mut bytes).unwrap();
        bytes
    };
    assert_eq!(said(&mut peer, 4), b"\x05\x02\0\x02");
    slowly(&mut peer, b"\x05\x02");
    assert_eq!(said(&mut peer, 13), b"\x01\x04user\x06s3cret");
    slowly(&mut peer, b"\x01\0");
    let request = said(&mut peer, 4 + 1 + "localhost".len() + 2);
    assert!(request.starts_with(b"\x05\x01\0\x03\x09localhost"));
    slowly(&mut peer, b"\x05\0\0\x03\x04host\0\0");
    peer.log_in();
    works(&attempt, &mut peer);
}

#[test]
fn what_follows_the_answer_of_a_proxy_is_the_server_s() {
    let (attempt, mut peer) = through(HTTP);
    read_request(&mut peer);
    // All at once, even before the CONNECT of MQTT.
    let answer = [b"HTTP/1.1 200 OK\r\n\r\n", &CONNACK[..], &publish(1, 4)].concat();
    peer.write_all(&answer).unwrap();
    let mut client = Client::come_in(&attempt.doorway());
    assert_eq!(number(&read_packet(&mut client.0)), 1);
}

#[test]
fn each_connack_other_than_0_is_a_refusal_with_its_code() {
    for code in [1, 2, 3, 4, 5, 6, 255] {
        let server = Server::start();
        let attempt = Setting::default().start(server.address());
        let mut peer = server.accept(false);
        peer.read_connect();
        peer.write_all(&[0x20, 2, 0, code]).unwrap();
        match attempt.end() {
            End::Refused(told) => assert_eq!(told, code),
            other => panic!("{other:?}"),
        }
        assert_eq!(read_out(peer.stream()), b"");
    }
}

/// Returns an address at which nothing listens.
fn refusing() -> SocketAddr {
    let socket = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    socket.local_addr().unwrap()
}

#[test]
fn a_port_that_refuses_is_told_at_once() {
    let error = Setting::default().start(refusing()).failure();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    let setting = Setting {
        proxy: Some(SOCKS),
        ..Setting::default()
    };
    let error = setting.start(refusing()).failure();
    Step::SocksProxy.is_named_by(&error, &[ErrorKind::ConnectionRefused]);
}

#[test]
fn bytes_of_a_failed_attempt_are_counted() {
    let server = Server::start();
    let attempt = Setting::default().start(server.address());
    let mut peer = server.accept(false);
    peer.read_connect();
    peer.write_all(&[0x20, 2, 0, 5]).unwrap();
    attempt.end();
    let ours = (attempt.traffic.sent(), attempt.traffic.received());
    assert_eq!(ours, peer.counts());
}

#[test]
fn a_stream_of_records_that_say_nothing_ends_at_the_deadline() {
    const LIMIT: Duration = Duration::from_millis(500);
    static SENT: AtomicU64 = AtomicU64::new(0);
    let server = Server::start();
    let setting = Setting {
        tls: true,
        ..Setting::limit(LIMIT)
    };
    let start = Instant::now();
    let attempt = setting.start(server.address());
    let mut stream: TcpStream = server.accept_plain();
    let writing = thread::spawn(move || {
        // A handshake message of 16 MB that never ends.
        let head = b"\x16\x03\x03\x40\x00\x02\xff\xff\xff";
        let mut record = vec![0; 5 + 0x4000];
        record[..9].copy_from_slice(head);
        while stream.write_all(&record).is_ok() {
            SENT.fetch_add(record.len() as u64, Ordering::Relaxed);
            record[5..9].copy_from_slice(&[0; 4]);
        }
    });
    attempt.failure();
    assert!(start.elapsed() < LIMIT + AT_ONCE);
    writing.join().unwrap();
}
