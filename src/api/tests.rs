use std::{
    io::{BufRead, BufReader, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
    thread,
};

use super::*;
use crate::{config::MqttClientBuilder, network::Network};

const KEY: &str = "NNSXS.AN-ID.A-LONG-ENOUGH-SECRET";

/// Returns what an API asks a server that gives these answers to one request each, and what it makes
/// of the answers.
fn asked<T>(answers: &[&str], calls: impl FnOnce(&Api) -> T) -> (Vec<String>, T) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let answers: Vec<String> = answers.iter().map(|&answer| answer.to_owned()).collect();
    let server = thread::spawn(move || {
        let serve = |answer: &String| {
            let (stream, _) = listener.accept().unwrap();
            serve(&stream, answer)
        };
        answers.iter().map(serve).collect()
    });
    let options = MqttClientBuilder::new("greenhouse@ttn".to_owned(), KEY.to_owned())
        .network(Network::V3)
        .mqtt_address("mqtt://127.0.0.1")
        .http_address(format!("http://{address}"))
        .check()
        .unwrap();
    let hosts = Hosts::of(&options).unwrap();
    let key = options.access_key.clone();
    let api = Api::new(hosts, &options, key, Duration::from_secs(10));
    let results = calls(&api);
    (server.join().unwrap(), results)
}

/// Answers a request, and returns its first line and whether the key came with it.
fn serve(mut stream: &TcpStream, answer: &str) -> String {
    let mut lines = BufReader::new(stream).lines();
    let first = lines.next().unwrap().unwrap();
    let mut key = "without key";
    for line in lines
        .map_while(Result::ok)
        .take_while(|line| !line.is_empty())
    {
        if line.to_lowercase().starts_with("authorization:") {
            assert!(line.ends_with(&format!("Bearer {KEY}")), "{line}");
            key = "with key";
        }
    }
    stream.write_all(answer.as_bytes()).unwrap();
    format!("{first} {key}")
}

const EMPTY: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";

#[test]
fn only_the_question_what_a_server_is_comes_without_the_key() {
    let (lines, is_stack) = asked(&[EMPTY, EMPTY], |api| {
        api.caller().unwrap();
        api.first_contact().answer.unwrap()
    });
    assert!(!is_stack);
    assert_eq!(
        lines,
        [
            "GET /api/v3/auth_info HTTP/1.1 with key",
            "GET /api/v3/as/configuration HTTP/1.1 without key"
        ]
    );
}

#[test]
fn a_redirect_is_followed_neither_with_nor_without_the_key() {
    let moved =
        "HTTP/1.1 301 Moved\r\nLocation: /api/v3/as/configuration\r\nContent-Length: 0\r\n\r\n";
    let (lines, results) = asked(&[moved, moved], |api| {
        [api.caller().map(drop), api.first_contact().answer.map(drop)]
    });
    assert_eq!(lines.len(), 2);
    for result in results {
        match result {
            Err(Failure::Refused(refusal)) => assert_eq!(refusal.meaning(), Meaning::Redirected),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn the_limits_of_the_last_answer_are_known_whether_it_refuses_or_not() {
    let head = "X-Rate-Limit-Limit: 5\r\nX-Rate-Limit-Available: 0\r\nX-Rate-Limit-Reset: 9\r\n";
    let refused = "HTTP/1.1 429 No\r\nX-Ratelimit-Available: 0\r\nX-Ratelimit-Retry: 0\r\nContent-Length: 0\r\n\r\n";
    let granted = EMPTY.replace("\r\n\r\n", &format!("\r\n{head}\r\n"));
    let (_, ()) = asked(&[&granted, refused, EMPTY], |api| {
        assert_eq!(api.last_limits(), Limits::default());
        api.caller().unwrap();
        let limits = api.last_limits();
        assert_eq!((limits.limit, limits.available), (Some(5), Some(0)));
        assert_eq!(limits.pause(), Duration::from_secs(2));
        assert_eq!(api.clone().last_limits(), Limits::default());

        match api.caller() {
            Err(Failure::Refused(refusal)) => {
                assert_eq!(refusal.wait, Some(Duration::from_secs(1)));
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(api.last_limits().available, Some(0));

        api.caller().unwrap();
        assert_eq!(api.last_limits(), Limits::default());
    });
}

#[test]
fn a_call_without_an_answer_leaves_no_limits_of_an_older_one() {
    let head = "X-Rate-Limit-Limit: 5\r\n";
    let granted = EMPTY.replace("\r\n\r\n", &format!("\r\n{head}\r\n"));
    let (_, ()) = asked(&[&granted, ""], |api| {
        api.caller().unwrap();
        let failure = api.caller().unwrap_err();
        assert!(matches!(failure, Failure::Unanswered(_)), "{failure:?}");
        assert_eq!(api.last_limits(), Limits::default());
    });
}

#[test]
fn a_long_list_of_downlinks_is_read_and_a_long_answer_about_one_thing_is_not() {
    let body = format!("{{\"more\":{:?}}}", "x".repeat(100_000));
    let length = body.len();
    let long = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}");
    let (_, ()) = asked(&[&long, &long], |api| {
        assert!(api.queue("bed-07").unwrap().is_empty());
        match api.caller() {
            Err(Failure::Unreadable { why, .. }) => assert!(why.contains("too long"), "{why}"),
            other => panic!("{other:?}"),
        }
    });
}

#[test]
fn the_counter_of_a_device_is_that_of_its_session() {
    let sized = |body: &str| {
        let length = body.len();
        format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}")
    };
    let session =
        sized(r#"{"session":{"last_f_cnt_up":30,"started_at":"2026-11-28T14:06:44.340439028Z"}}"#);
    let odd = sized(r#"{"session":{"last_f_cnt_up":4294967296}}"#);
    let (lines, ()) = asked(
        &[&session, &sized(r#"{"session":{}}"#), EMPTY, &odd],
        |api| {
            let counted = api.counted("bed-07").unwrap().unwrap();
            assert_eq!(counted.last, 30);
            assert!(counted.started_at.is_some());
            // A zero is left out.
            assert_eq!(api.counted("bed-07").unwrap().unwrap().last, 0);
            assert_eq!(api.counted("bed-07").unwrap(), None);
            assert!(api.counted("bed-07").is_err());
        },
    );
    assert_eq!(
        lines[0],
        "GET /api/v3/ns/applications/greenhouse/devices/bed-07?field_mask=session.last_f_cnt_up,session.started_at \
         HTTP/1.1 with key"
    );
}

#[test]
fn the_time_of_the_last_answer_is_known() {
    let dated = EMPTY.replace(
        "\r\n\r\n",
        "\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\r\n",
    );
    let (_, ()) = asked(&[&dated, EMPTY], |api| {
        api.caller().unwrap();
        assert!(api.last_date().is_some());
        api.caller().unwrap();
        assert_eq!(api.last_date(), None);
    });
}
