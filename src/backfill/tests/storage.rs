use super::*;

#[test]
fn stored_uplinks_are_fetched_in_order_and_the_request_is_as_documented() {
    let server = Server::with(&[chunked("", &page(0..5)), empty()]);
    let (all, outcome) = fetched(&server);
    assert_eq!(all.counters, [0, 1, 2, 3, 4]);
    assert_eq!(all.reached, [at(2_000)]);
    assert_eq!(outcome.source, Some(BackfillSource::Storage));
    assert_eq!((outcome.from, outcome.until), (at(1_000), at(2_000)));
    assert_eq!((outcome.requests, outcome.unreadable), (2, 0));
    assert!(outcome.is_settled && outcome.error.is_none());
    assert!(outcome.uncovered.is_empty(), "{outcome:?}");
    assert_eq!(
        server.requests()[0],
        "/api/v3/as/applications/greenhouse/packages/storage/uplink_message\
         ?after=2023-11-14T22:29:00.000000000Z&order=received_at&limit=1000"
    );
}

#[test]
fn blank_lines_and_the_delimiters_of_server_sent_events_are_no_uplinks() {
    let lines: Vec<String> = page(0..3)
        .into_iter()
        .map(|line| format!("\n\ndata: {line}\n\n"))
        .collect();
    let server = Server::with(&[chunked("", &lines), empty()]);
    let (all, outcome) = fetched(&server);
    assert_eq!((all.counters.len(), outcome.unreadable), (3, 0));
}

#[test]
fn a_cut_answer_is_continued_after_its_last_uplink() {
    for second in [
        unfinished("", &page(0..3)),
        format!("{}20\r\n{{\"result\":{{", unfinished("", &page(0..3))),
        sized(
            "200 OK",
            "",
            &format!("{}\n{{\"resu", page(0..3).join("\n")),
        ),
        sized("200 OK", "X: y\r\n", &page(0..3).join("\n"))
            .replace("Content-Length: ", "Content-Length: 9"),
        chunked(
            "",
            &[
                page(0..3),
                vec![r#"{"error":{"code":14,"message":"gone"}}"#.to_owned()],
            ]
            .concat(),
        ),
    ] {
        let server = Server::with(&[second, chunked("", &page(1..6)), empty()]);
        let (all, outcome) = fetched(&server);
        assert_eq!(all.counters, [0, 1, 2, 3, 4, 5], "{outcome:?}");
        assert!(
            outcome.is_settled && outcome.uncovered.is_empty(),
            "{outcome:?}"
        );
        let after = rfc(at(991));
        assert!(
            server.requests()[1].contains(&after),
            "{:?}",
            server.requests()
        );
    }
}

#[test]
fn an_error_as_the_only_answer_is_tried_again_and_then_reported() {
    let server = Server::with(&[sized("503 Gone", "", r#"{"code":14,"message":"gone"}"#)]);
    let (all, outcome) = fetched(&server);
    assert!(all.counters.is_empty() && all.reached.is_empty());
    assert_eq!(reasons(&outcome), [UncoveredReason::CutOff]);
    assert!(!outcome.is_settled);
    assert_eq!(server.requests().len(), 9);
    let error = outcome.error.unwrap().to_string();
    assert!(
        error.contains("Storage Integration of http://127.0.0.1"),
        "{error}"
    );
}

#[test]
fn html_and_compressed_answers_are_reported() {
    let html = "<html>\n<p>Sign in</p>\n</html>\n";
    for (answer, words) in [
        (sized("200 OK", "Content-Type: text/html\r\n", html), "HTML"),
        (sized("200 OK", "", html), "none of its lines"),
        (
            sized("200 OK", "Content-Encoding: gzip\r\n", "\u{1f}"),
            "compressed (gzip)",
        ),
        (
            sized("302 Found", "Location: https://login.example/\r\n", ""),
            "login.example",
        ),
    ] {
        let server = Server::with(&[answer]);
        let (_, outcome) = fetched(&server);
        assert_eq!(reasons(&outcome), [UncoveredReason::CutOff]);
        assert!(!outcome.is_settled);
        let error = outcome.error.unwrap().to_string();
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn a_line_that_cannot_be_read_is_counted_and_the_others_come() {
    let mut lines = page(0..3);
    lines.insert(1, "garbage".to_owned());
    lines.insert(2, record(7, 993).replace("\"AQI=\"", "7"));
    let server = Server::with(&[chunked("", &lines), empty()]);
    let (all, outcome) = fetched(&server);
    assert_eq!((all.counters.len(), outcome.unreadable), (3, 2));
}

#[test]
fn a_refused_key_ends_it_at_once() {
    for (status, body) in [
        ("401 No", r#"{"error":{"code":16,"message":"no such key"}}"#),
        (
            "400 No",
            r#"{"error":{"code":3,"message":"x","details":[{"namespace":"pkg/auth","name":"token","code":3}]}}"#,
        ),
    ] {
        let server = Server::with(&[sized(status, "", body)]);
        let (_, outcome) = fetched(&server);
        assert_eq!(reasons(&outcome), [UncoveredReason::Refused]);
        assert!(!outcome.is_settled, "another key may be there next time");
        assert_eq!(server.requests().len(), 1);
    }
}

#[test]
fn a_missing_right_is_asked_for_once_more() {
    let body = r#"{"error":{"code":7,"message":"no"}}"#;
    let server = Server::with(&[sized("403 No", "", body)]);
    let (_, outcome) = fetched(&server);
    assert_eq!(reasons(&outcome), [UncoveredReason::Refused]);
    assert_eq!(server.requests().len(), 2);

    let server = Server::with(&[sized("403 No", "", body), chunked("", &page(0..3)), empty()]);
    let (all, outcome) = fetched(&server);
    assert_eq!(all.counters.len(), 3);
    assert!(outcome.uncovered.is_empty());
}

#[test]
fn too_many_requests_are_waited_out_and_reported_in_the_end() {
    let busy = sized("429 No", "X-Rate-Limit-Retry: 0\r\n", "");
    let server = Server::with(&[
        busy.clone(),
        chunked("", &page(0..3)),
        busy.clone(),
        empty(),
    ]);
    let (all, outcome) = fetched(&server);
    assert_eq!(all.counters.len(), 3);
    assert!(outcome.is_settled && outcome.uncovered.is_empty());

    let server = Server::with(&[busy]);
    let (_, outcome) = fetched(&server);
    assert_eq!(reasons(&outcome), [UncoveredReason::RateLimited]);
    assert!(!outcome.is_settled);
    assert_eq!(server.requests().len(), 11);
}

#[test]
fn a_limit_that_is_refused_is_halved() {
    let body = r#"{"error":{"code":3,"message":"x","details":[{"namespace":"pkg/errors","name":"validation",
        "attributes":{"field":"limit","reason":"too large"},"code":3}]}}"#;
    let server = Server::with(&[sized("400 No", "", body), chunked("", &page(0..3)), empty()]);
    let (all, _) = fetched(&server);
    assert_eq!(all.counters.len(), 3);
    assert!(server.requests()[1].ends_with("limit=500"));
}

#[test]
fn the_token_of_a_page_is_used_for_the_next_one() {
    let server = Server::with(&[
        chunked("X-Continuation-Token: a+b\r\n", &page(0..3)),
        chunked("", &page(3..5)),
    ]);
    let (all, _) = fetched(&server);
    assert_eq!(all.counters, [0, 1, 2, 3, 4]);
    let requests = server.requests();
    assert_eq!(requests.len(), 2);
    assert!(requests[1].ends_with("uplink_message?continuation_token=a%2Bb"));
}

#[test]
fn what_storage_does_not_keep_any_more_is_named() {
    // The oldest uplink of all is later than the start of the gap.
    let server = Server::with(&[
        chunked("", &page(20..23)),
        empty(),
        chunked("", &page(20..21)),
    ]);
    let (_, outcome) = fetched(&server);
    assert_eq!(reasons(&outcome), [UncoveredReason::NotKept]);
    let time = &outcome.uncovered[0];
    assert_eq!((time.from, time.until), (at(1_000), at(1_010)));
    assert!(outcome.is_settled);
    assert!(server.requests()[2].ends_with("?order=received_at&limit=1"));

    // It is earlier, so nothing was sent in between.
    let server = Server::with(&[
        chunked("", &page(20..23)),
        empty(),
        chunked("", &page(0..1)),
    ]);
    let (_, outcome) = fetched(&server);
    assert!(outcome.uncovered.is_empty());
}

#[test]
fn a_page_of_more_than_a_megabyte_is_read() {
    let filler = "x".repeat(1_500);
    let lines: Vec<String> = (0..1_000)
        .map(|counter| {
            record(counter, 990 + u64::from(counter))
                .replace("AQI=", "AQI=\",\"more\":\"")
                .replace("\"more\":\"", &format!("\"more\":\"{filler}"))
        })
        .collect();
    let server = Server::with(&[chunked("", &lines), chunked("", &page(998..1_003)), empty()]);
    let (all, outcome) = fetched(&server);
    assert_eq!(all.counters, (0..1_003).collect::<Vec<_>>());
    assert!(outcome.uncovered.is_empty(), "{outcome:?}");
}
