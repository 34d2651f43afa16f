use base64::{Engine, prelude::BASE64_STANDARD};

use super::*;
use crate::{error::ErrorKind, seeds::for_seeds};

const SECRET: &str = "kEepTh1s";
const TARGET: &str = "eu1.example:8883";

const PROXIES: [&str; 4] = [
    "http://proxy:3128",
    "http://user:kEepTh1s@proxy:3128",
    "socks5://proxy",
    "socks5://user:kEepTh1s@proxy",
];

fn start(proxy: &str) -> (Talk, Vec<u8>) {
    start_to(proxy, "eu1.example")
}

fn start_to(proxy: &str, host: &str) -> (Talk, Vec<u8>) {
    let proxy = proxy.parse().unwrap();
    Talk::start(&proxy, host, 8883).unwrap_or_else(|error| panic!("{error}"))
}

/// Reads as the caller does: at most `at_most` bytes at a time, and never more than are wanted.
/// Returns what was sent, what the proxy said that was not read, and how it ended.
fn talk<'a>(
    talk: &mut Talk,
    mut said: &'a [u8],
    at_most: usize,
) -> (Vec<u8>, &'a [u8], Result<Step>) {
    let mut sent = Vec::new();
    loop {
        let (now, later) = said.split_at(talk.wants().min(at_most).min(said.len()));
        if now.is_empty() {
            return (sent, said, Ok(Step::Read));
        }
        said = later;
        match talk.on_bytes(now) {
            Ok(Step::Read) => {}
            Ok(Step::Send(bytes)) => sent.extend(bytes),
            end => return (sent, said, end),
        }
    }
}

fn opens(proxy: &str, said: &[u8]) -> Vec<u8> {
    let followed = [said, b"the server's"].concat();
    let mut first_sent = None;
    for at_most in [1, 2, 3, 7, usize::MAX] {
        let (mut state, _) = start(proxy);
        let (sent, rest, end) = talk(&mut state, &followed, at_most);
        assert_eq!(end.unwrap(), Step::Open);
        assert_eq!(rest, b"the server's");
        assert_eq!(state.wants(), 0);
        assert_eq!(*first_sent.get_or_insert_with(|| sent.clone()), sent);
    }
    for length in 0..said.len() {
        let (mut state, _) = start(proxy);
        let (_, _, end) = talk(&mut state, &said[..length], usize::MAX);
        assert_eq!(end.unwrap(), Step::Read, "{length}");
        is_sound(&state.on_end());
    }
    first_sent.unwrap()
}

#[track_caller]
fn is_sound(error: &Error) {
    let text = format!("{error} {error:?}");
    let encoded = BASE64_STANDARD.encode(format!("user:{SECRET}"));
    assert!(!text.contains(SECRET), "{text}");
    assert!(!text.contains(&encoded), "{text}");
    assert!(error.to_string().contains("proxy"), "{text}");
    assert!(!error.to_string().chars().any(char::is_control), "{text}");
    assert!(text.len() < 2_000, "{text}");
}

#[track_caller]
fn fails(proxy: &str, said: impl AsRef<[u8]>) -> Error {
    fails_to(proxy, "eu1.example", said)
}

#[track_caller]
fn fails_to(proxy: &str, host: &str, said: impl AsRef<[u8]>) -> Error {
    let texts = [1, usize::MAX].map(|at_most| {
        let (mut state, _) = start_to(proxy, host);
        let (_, _, end) = talk(&mut state, said.as_ref(), at_most);
        let error = end.unwrap_err();
        is_sound(&error);
        let named = proxy.parse::<Proxy>().unwrap().to_string();
        assert!(error.to_string().contains(&named), "{error}");
        error
    });
    let [error, other] = texts;
    assert_eq!(error.to_string(), other.to_string());
    error
}

#[track_caller]
fn is(error: &Error, kind: ErrorKind, words: &[&str]) {
    assert_eq!(error.kind(), kind, "{error}");
    for words in words {
        assert!(error.to_string().contains(words), "{words}: {error}");
    }
}

#[test]
fn connect_names_the_server_and_leaves_the_name_to_the_proxy() {
    let (_, request) = start("http://proxy:3128");
    assert_eq!(
        request,
        b"CONNECT eu1.example:8883 HTTP/1.1\r\nHost: eu1.example:8883\r\n\r\n"
    );
    for host in ["::1", "[::1]"] {
        let (_, request) = start_to("http://proxy:3128", host);
        let request = String::from_utf8(request).unwrap();
        assert!(request.starts_with("CONNECT [::1]:8883 HTTP/1.1\r\nHost: [::1]:8883\r\n"));
    }
}

#[test]
fn connect_shows_user_and_secret() {
    let (_, request) = start("http://Aladdin:open%20sesame@proxy");
    let request = String::from_utf8(request).unwrap();
    let header = "\r\nProxy-Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n\r\n";
    assert!(request.ends_with(header), "{request}");
}

#[test]
fn a_way_that_connect_opens_is_read_to_the_byte() {
    for said in [
        "HTTP/1.1 200 Connection established\r\n\r\n",
        "HTTP/1.0 200\r\n\r\n",
        "HTTP/1.1 200 OK\n\n",
        "HTTP/1.1  204 \r\n\r\n",
        "HTTP/1.1 299 Fine\r\nVia: 1.1 a\r\nContent-Length: 5\r\n\r\n",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
        "HTTP/1.1 103 \r\nA: b\r\n\r\nHTTP/1.1 102 \r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
    ] {
        for proxy in &PROXIES[..2] {
            assert!(opens(proxy, said.as_bytes()).is_empty());
        }
    }
}

#[test]
fn an_answer_of_8_kib_is_read_and_a_longer_one_is_not() {
    let answer = |length: usize| {
        let frame = "HTTP/1.1 200 OK\r\nA: \r\n\r\n".len();
        format!(
            "HTTP/1.1 200 OK\r\nA: {}\r\n\r\n",
            "x".repeat(length - frame)
        )
    };
    let (mut state, _) = start("http://proxy");
    let (_, _, end) = talk(&mut state, answer(8 << 10).as_bytes(), usize::MAX);
    assert_eq!(end.unwrap(), Step::Open);
    let error = fails("http://proxy", answer((8 << 10) + 1));
    is(&error, ErrorKind::Proxy, &["longer than 8 KiB"]);
    let interim = "HTTP/1.1 100 Continue\r\n\r\n".repeat(1_000);
    fails("http://proxy", interim);
    fails("http://proxy", format!("HTTP/{}", "\0".repeat(10_000)));
}

#[test]
fn what_is_not_http_is_seen_by_its_first_bytes() {
    for said in [
        "SSH-2.0-OpenSSH",
        "\x05\x00",
        "\x20\x02\x00\x00",
        "http/1.1 200",
    ] {
        let error = fails("http://proxy:3128", said);
        is(
            &error,
            ErrorKind::Proxy,
            &["sent an unexpected answer", "is it an HTTP proxy"],
        );
    }
    is(
        &fails("http://proxy", b"\x15\x03\x01"),
        ErrorKind::Proxy,
        &["speaks TLS"],
    );
    for said in [
        "HTTP/\n\n",
        "HTTP/1.1\r\n\r\n",
        "HTTP/1.1 \r\n\r\n",
        "HTTP/1.1 OK\r\n\r\n",
        "HTTP/1.1 20\r\n\r\n",
        "HTTP/1.1 2000\r\n\r\n",
        "HTTP/1.1 +20 OK\r\n\r\n",
        "HTTP/1.1 099 OK\r\n\r\n",
    ] {
        is(
            &fails("http://proxy", said),
            ErrorKind::Proxy,
            &["is not HTTP"],
        );
    }
}

#[test]
fn a_proxy_that_wants_authentication_says_how_to_give_it() {
    let said = "HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Negotiate\r\nproxy-authenticate: basic realm=\"a\"\r\n\r\n";
    let error = fails("http://proxy:3128", said);
    is(
        &error,
        ErrorKind::Proxy,
        &[
            "wants authentication",
            "http://user:secret@proxy:3128",
            "407",
        ],
    );
    let error = fails(PROXIES[1], said);
    is(&error, ErrorKind::Proxy, &["refuses the user and secret"]);
    assert!(!error.is_transient());
}

#[test]
fn a_proxy_that_does_not_know_basic_is_named() {
    let said =
        "HTTP/1.1 407 No\r\nProxy-Authenticate: NTLM\r\nProxy-Authenticate: Negotiate\r\n\r\n";
    for proxy in &PROXIES[..2] {
        is(
            &fails(proxy, said),
            ErrorKind::Proxy,
            &["NTLM, Negotiate", "supports only Basic"],
        );
    }
}

#[test]
fn a_proxy_that_forbids_the_port_is_named() {
    for status in ["403 Forbidden", "405 Method Not Allowed"] {
        let error = fails("http://proxy", format!("HTTP/1.1 {status}\r\n\r\n"));
        let words = ["forbids", TARGET, status, "Squid by default", "port 8883"];
        is(&error, ErrorKind::PermissionDenied, &words);
    }
    let proxy = "http://proxy".parse().unwrap();
    let (mut state, _) = Talk::start(&proxy, "host", 443).unwrap();
    let (_, _, end) = talk(&mut state, b"HTTP/1.1 403 No\r\n\r\n", usize::MAX);
    assert!(!end.unwrap_err().to_string().contains("Squid"));
}

#[test]
fn a_proxy_that_cannot_reach_the_server_says_why() {
    for (said, kind) in [
        ("502 Bad Gateway", ErrorKind::Unreachable),
        ("503 Service Unavailable", ErrorKind::Unreachable),
        ("504 Gateway Timeout", ErrorKind::TimedOut),
        (
            "503 A\r\nX-Squid-Error: ERR_DNS_FAIL 0",
            ErrorKind::UnknownHost,
        ),
        (
            "503 A\r\nx-squid-error: ERR_CONNECT_FAIL 111",
            ErrorKind::ConnectionRefused,
        ),
        (
            "503 A\r\nX-Squid-Error: ERR_CONNECT_FAIL 110",
            ErrorKind::TimedOut,
        ),
        (
            "503 A\r\nX-Squid-Error: ERR_CONNECT_FAIL 113",
            ErrorKind::Unreachable,
        ),
        ("503 A\r\nX-Squid-Error:", ErrorKind::Unreachable),
        (
            "500 Internal Server Error\r\nX-Squid-Error: ERR_CANNOT_FORWARD 0",
            ErrorKind::Unreachable,
        ),
        (
            "502 A\r\nProxy-Status: a; error=dns_error; rcode=3",
            ErrorKind::UnknownHost,
        ),
        (
            "502 A\r\nProxy-Status: a;error=connection_refused",
            ErrorKind::ConnectionRefused,
        ),
        (
            "504 A\r\nProxy-Status: a; error=connection_timeout, b",
            ErrorKind::TimedOut,
        ),
        ("504 A\r\nProxy-Status: a; error=", ErrorKind::TimedOut),
    ] {
        let error = fails("http://proxy", format!("HTTP/1.1 {said}\r\n\r\n"));
        is(&error, kind, &["cannot reach", TARGET, &said[..3]]);
        assert!(error.is_transient());
    }
}

#[test]
fn any_other_status_is_quoted() {
    for (status, kind) in [
        (101, ErrorKind::Proxy),
        (302, ErrorKind::Proxy),
        (400, ErrorKind::Proxy),
        (404, ErrorKind::Proxy),
        (429, ErrorKind::ServerUnavailable),
        (500, ErrorKind::ServerUnavailable),
        (501, ErrorKind::Proxy),
        (999, ErrorKind::ServerUnavailable),
    ] {
        let error = fails("http://proxy", format!("HTTP/1.1 {status} Reason\r\n\r\n"));
        is(&error, kind, &[&format!("HTTP {status} Reason"), TARGET]);
    }
}

#[test]
fn a_quoted_answer_harms_no_terminal_and_is_short() {
    let said = format!(
        "HTTP/1.1 400 \x1b[2J\u{202e}\x07\r\r{}\r\n\r\n",
        "x".repeat(5_000)
    );
    let error = fails("http://proxy", said);
    is(&error, ErrorKind::Proxy, &["\\u{1b}[2J\\u{202e}", "…"]);
    fails("http://proxy", b"HTTP/1.1 400 \xff\xfe\x00\r\n\r\n");
}

#[test]
fn an_answer_that_repeats_the_secret_is_not_quoted() {
    let encoded = BASE64_STANDARD.encode(format!("user:{SECRET}"));
    for secret in [SECRET, &encoded] {
        for said in [
            format!("HTTP/1.1 400 bad {secret}\r\n\r\n"),
            format!("HTTP/1.1 407 bad {secret}\r\n\r\n"),
            format!("HTTP/1.1 {secret} bad\r\n\r\n"),
            format!("HTTP/{secret}\r\n\r\n"),
            format!("HTTP/1.1 400 {}{secret}\r\n\r\n", "x".repeat(76)),
            format!("HTTP/1.1 407 No\r\nProxy-Authenticate: {secret}\r\n\r\n"),
        ] {
            fails(PROXIES[1], said);
        }
    }
    let said = format!("HTTP/1.1 400 {SECRET}\r\n\r\n");
    let (mut state, _) = start(&format!("http://{SECRET}@proxy"));
    is_sound(&talk(&mut state, said.as_bytes(), 1).2.unwrap_err());
}

/// The request for a connection to `eu1.example:8883`.
const REQUEST: &[u8] = b"\x05\x01\x00\x03\x0beu1.example\x22\xb3";

#[test]
fn socks_opens_without_authentication_whatever_the_bound_address() {
    let name = [b"\x05\x00\x00\x03\xff".as_slice(), &[7; 255 + 2]].concat();
    for reply in [
        b"\x05\x00\x00\x01\x01\x02\x03\x04\x05\x06".as_slice(),
        b"\x05\x00\x00\x03\x00\x05\x06",
        b"\x05\x00\x00\x03\x04host\x05\x06",
        b"\x05\x00\x00\x04\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\x10\x05\x06",
        &name,
    ] {
        for proxy in &PROXIES[2..] {
            let sent = opens(proxy, &[b"\x05\x00", reply].concat());
            assert_eq!(sent, REQUEST);
        }
    }
    assert_eq!(start(PROXIES[2]).1, b"\x05\x01\x00");
    assert_eq!(start(PROXIES[3]).1, b"\x05\x02\x00\x02");
}

#[test]
fn socks_opens_with_user_and_secret() {
    for version in [1, 5] {
        let said = [
            b"\x05\x02",
            [version, 0].as_slice(),
            b"\x05\x00\x00\x01......",
        ]
        .concat();
        let sent = opens(PROXIES[3], &said);
        assert_eq!(sent, [b"\x01\x04user\x08kEepTh1s", REQUEST].concat());
    }
    let longest = format!("socks5://{}:@proxy", "u".repeat(255));
    let sent = opens(&longest, b"\x05\x02\x01\x00\x05\x00\x00\x01......");
    let due = [b"\x01\xff", "u".repeat(255).as_bytes(), b"\x00", REQUEST].concat();
    assert_eq!(sent, due);
}

#[test]
fn socks_takes_addresses_as_addresses_and_names_as_names() {
    let name = "x".repeat(255);
    for (host, kind, length) in [
        ("10.0.0.1", 1, 4),
        ("::1", 4, 16),
        ("[::1]", 4, 16),
        (&name, 3, 256),
    ] {
        let (mut state, _) = start_to("socks5://proxy", host);
        let (sent, _, _) = talk(&mut state, b"\x05\x00", 2);
        assert_eq!(sent[..4], [5, 1, 0, kind]);
        assert_eq!(sent.len(), 4 + length + 2);
        assert_eq!(sent[4 + length..], 8883_u16.to_be_bytes());
    }
}

#[test]
fn each_reply_code_of_socks_is_put_into_words() {
    for (code, kind, words) in [
        (1, ErrorKind::ServerUnavailable, "general failure"),
        (2, ErrorKind::PermissionDenied, "forbids"),
        (3, ErrorKind::Unreachable, "network unreachable"),
        (4, ErrorKind::Unreachable, "host unreachable"),
        (5, ErrorKind::ConnectionRefused, "nothing listens there"),
        (6, ErrorKind::TimedOut, "no answer in time"),
        (7, ErrorKind::Proxy, "command"),
        (8, ErrorKind::Proxy, "host names"),
        (9, ErrorKind::Proxy, "unknown code 9"),
        (255, ErrorKind::Proxy, "unknown code 255"),
    ] {
        // Some proxies send nothing after the code.
        for rest in [b"".as_slice(), b"\x00\x01\x00\x00\x00\x00\x00\x00"] {
            let error = fails("socks5://proxy", [&[5, 0, 5, code], rest].concat());
            is(&error, kind, &[words]);
            if !matches!(code, 7 | 8) {
                is(&error, kind, &[TARGET]);
            }
        }
    }
    for (host, words) in [("1.2.3.4", "IPv4"), ("::1", "IPv6")] {
        let error = fails_to("socks5://proxy", host, [5, 0, 5, 8]);
        is(&error, ErrorKind::Proxy, &[words, "by its name"]);
    }
}

#[test]
fn socks_that_wants_authentication_says_how_to_give_it() {
    let words = ["wants authentication", "socks5://user:secret@proxy:1080"];
    is(
        &fails("socks5://proxy", [5, 0xff]),
        ErrorKind::Proxy,
        &words,
    );
    is(
        &fails(PROXIES[3], [5, 0xff]),
        ErrorKind::Proxy,
        &["neither"],
    );
    let error = fails(PROXIES[3], [5, 2, 1, 1]);
    is(&error, ErrorKind::Proxy, &["refuses the user and secret"]);
    is(
        &fails("socks5://proxy", [5, 2]),
        ErrorKind::Proxy,
        &["not offered"],
    );
    is(
        &fails(PROXIES[3], [5, 1]),
        ErrorKind::Proxy,
        &["not offered"],
    );
}

#[test]
fn what_is_not_socks_5_is_seen_by_its_first_byte() {
    is(
        &fails("socks5://proxy", b"HTTP/1.1 400"),
        ErrorKind::Proxy,
        &["write http://"],
    );
    is(
        &fails("socks5://proxy", [0, 91]),
        ErrorKind::Proxy,
        &["SOCKS 4"],
    );
    is(
        &fails("socks5://proxy", b"\x15"),
        ErrorKind::Proxy,
        &["the byte 21"],
    );
    is(
        &fails("socks5://proxy", [5, 0, 6]),
        ErrorKind::Proxy,
        &["the byte 6"],
    );
    is(
        &fails(PROXIES[3], [5, 2, 2]),
        ErrorKind::Proxy,
        &["the byte 2"],
    );
    let error = fails("socks5://proxy", [5, 0, 5, 0, 0, 2]);
    is(&error, ErrorKind::Proxy, &["address type 2"]);
}

#[test]
fn a_proxy_that_closes_in_the_middle_is_named() {
    for (proxy, words) in [
        (PROXIES[0], "is it an HTTP proxy"),
        (PROXIES[2], "is it a SOCKS 5"),
    ] {
        is(
            &start(proxy).0.on_end(),
            ErrorKind::Protocol,
            &[words, TARGET],
        );
    }
    let (mut state, _) = start(PROXIES[3]);
    assert!(matches!(state.on_bytes(&[5, 2]).unwrap(), Step::Send(_)));
    is(
        &state.on_end(),
        ErrorKind::Protocol,
        &["check user and secret"],
    );
}

#[test]
fn a_proxy_that_says_nothing_is_named_with_what_it_should_be() {
    for (proxy, words) in [
        (PROXIES[1], "is it an HTTP proxy"),
        (PROXIES[3], "is it a SOCKS 5"),
    ] {
        let error = start(proxy).0.on_silence();
        is(&error, ErrorKind::TimedOut, &["did not answer", words]);
    }
}

#[test]
fn a_name_that_no_proxy_can_take_is_refused() {
    for proxy in PROXIES {
        let proxy = proxy.parse().unwrap();
        for host in [
            "x".repeat(256).as_str(),
            "",
            "[]",
            "a b",
            "a\r\nX-Header: b",
            "a\0",
            "é.example",
        ] {
            let Err(error) = Talk::start(&proxy, host, 1) else {
                panic!("{host:?}");
            };
            assert_eq!(error.kind(), ErrorKind::Config, "{error}");
            assert!(!error.to_string().contains(['\r', '\n']));
        }
    }
}

#[test]
fn more_bytes_than_are_wanted_are_refused() {
    for proxy in PROXIES {
        let (mut state, _) = start(proxy);
        let error = state.on_bytes(&[5; 9]).unwrap_err();
        is(&error, ErrorKind::Proxy, &["more than its answer"]);
    }
    let (mut state, _) = start(PROXIES[2]);
    let said = b"\x05\x00\x05\x00\x00\x01......";
    assert_eq!(talk(&mut state, said, 99).2.unwrap(), Step::Open);
    assert!(state.on_bytes(b"x").is_err());
}

#[test]
fn what_is_sent_prints_without_its_bytes() {
    let (mut state, _) = start(PROXIES[3]);
    let step = state.on_bytes(&[5, 2]).unwrap();
    assert_eq!(format!("{step:?}"), "Send(15 bytes)");
}

#[test]
fn random_bytes_end_in_a_sound_error_or_a_way() {
    let parts: [&[u8]; 24] = [
        b"HTTP/1.1 ",
        b"200",
        b"407",
        b"403",
        b"502",
        b"100",
        b" ",
        b"\r\n",
        b"\r\n\r\n",
        b"\n",
        b"Proxy-Authenticate: ",
        b"X-Squid-Error: ERR_DNS_FAIL",
        b"Basic",
        b"\x05",
        b"\x00",
        b"\x01",
        b"\x02",
        b"\x03",
        b"\x04",
        b"\xff",
        b"\x1b[",
        b"\xc3\xa9",
        b"Proxy-Status: x; error=",
        SECRET.as_bytes(),
    ];
    let (mut opened, mut failed) = ([0; 4], [0; 4]);
    for_seeds(40_000, |random| {
        let which = random.usize(..4);
        let mut said = match random.u8(..4) {
            0 => Vec::new(),
            1 if random.bool() => b"HTTP/1.1 ".to_vec(),
            1 => b"HTTP/1.1 200".to_vec(),
            2 => vec![5, 0, 5, 0, 0],
            _ => vec![5, 2, 1, 0, 5, 0, 0],
        };
        for _ in 0..random.usize(..12) {
            match random.u8(..4) {
                0 => said.push(random.u8(..)),
                // Only a proxy that received the secret can repeat it.
                _ => said.extend(parts[random.usize(..23 + which % 2)]),
            }
        }
        let (mut state, _) = start(PROXIES[which]);
        let at_most = random.usize(1..9);
        let (_, rest, end) = talk(&mut state, &said, at_most);
        match end {
            Ok(Step::Open) => opened[which] += 1,
            Ok(_) => {
                assert!(rest.is_empty() && state.wants() > 0);
                is_sound(&state.on_end());
            }
            Err(error) => {
                is_sound(&error);
                failed[which] += 1;
                // Reading on regardless is harmless too.
                let (_, _, end) = talk(&mut state, rest, at_most);
                end.err().iter().for_each(is_sound);
            }
        }
    });
    assert!(
        opened.iter().chain(&failed).all(|count| *count > 20),
        "{opened:?} {failed:?}"
    );
}
