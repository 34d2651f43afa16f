use super::*;

#[test]
fn the_passes_after_the_first_read_the_end_of_the_gap_again() {
    let late = record(9, 1_950);
    let server = Server::with(&[
        chunked("", &page(0..3)),
        empty(),
        chunked("", &[late]),
        empty(),
    ]);
    let settings = quick()
        .passes([Duration::ZERO, Duration::from_millis(10)])
        .recheck(600 * SECOND);
    let (all, outcome) = Fetching::start(task(&server, settings)).finish();
    assert_eq!(all.counters, [0, 1, 2, 9]);
    // What the second pass reads again is not settled before it.
    assert_eq!(all.reached, [at(1_460), at(1_950), at(2_000)]);
    assert!(outcome.uncovered.is_empty());
    assert!(server.requests()[2].contains(&rfc(at(1_460))));
}

#[test]
fn a_time_that_was_asked_for_is_read_exactly() {
    let mut lines = page(9..12);
    lines.push(record(30, 2_000));
    let server = Server::with(&[chunked("", &lines), chunked("", &page(0..1))]);
    let task = Task {
        is_on_request: true,
        ..task(&server, quick())
    };
    let (all, outcome) = Fetching::start(task).finish();
    assert_eq!(all.counters, [10, 11]);
    assert!(server.requests()[0].contains("after=2023-11-14T22:29:59.999999999Z"));
    assert!(outcome.uncovered.is_empty(), "{outcome:?}");
    assert_eq!(all.reached, [at(1_001), at(2_000)]);
}

#[test]
fn what_is_too_old_is_not_asked_for() {
    let server = Server::with(&[empty()]);
    let settings = quick().max_age(SECOND);
    let (_, outcome) = Fetching::start(task(&server, settings)).finish();
    assert_eq!(reasons(&outcome), [UncoveredReason::TooOld]);
    assert_eq!(outcome.uncovered[0].until, at(2_000));
    assert!(outcome.is_settled);
    assert!(server.requests().is_empty());
}

#[test]
fn the_date_of_an_answer_tells_the_clock_of_the_network() {
    let server = Server::start(|request, stream| {
        let answer = match request.contains("configuration") {
            // 10 000 s.
            true => sized("200 OK", "Date: Wed, 15 Nov 2023 01:00:00 GMT\r\n", "{}"),
            false => empty(),
        };
        let _ = stream.write_all(answer.as_bytes());
    });
    let now = crate::clock::Moment::now();
    let task = Task {
        from: Bound::Here(crate::clock::Moment {
            instant: now.instant,
            time: now.time - 100 * SECOND,
        }),
        until: Bound::Here(now),
        ..task(&server, quick().source(BackfillSource::Storage))
    };
    let (_, outcome) = Fetching::start(task).finish();
    let near = |time: SystemTime, seconds| {
        let distance = time.duration_since(at(seconds)).unwrap();
        assert!(distance < 20 * SECOND, "{distance:?}");
    };
    near(outcome.from, 9_890);
    near(outcome.until, 9_990);
}
