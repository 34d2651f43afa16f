use super::*;

#[test]
fn storage_and_events_that_keep_nothing_are_not_enabled() {
    let off = unfinished("X-Warning: Events storage is not enabled\r\n", &[]);
    let server = Server::start(move |request, stream| {
        let answer = match request {
            _ if request.contains("/storage/") => not_found(),
            _ => off.clone(),
        };
        let _ = stream.write_all(answer.as_bytes());
    });
    let task = task(&server, quick());
    let api = task.api.clone();
    let (_, outcome) = Fetching::start(task).finish();
    assert_eq!(reasons(&outcome), [UncoveredReason::NotEnabled]);
    assert!(outcome.is_settled && outcome.error.is_none());
    assert_eq!(outcome.source, None);
    assert!(server.requests()[1].contains("\"tail\":1000"));
    // It is not asked for storage again.
    let again = Task {
        api,
        ..self::task(&server, quick())
    };
    Fetching::start(again).finish();
    let requests = server.requests();
    assert_eq!(requests.len(), 3);
    assert!(requests[2].starts_with("/api/v3/events"));

    let server = Server::with(&[empty()]);
    let settings = quick().source(BackfillSource::Storage);
    let (_, outcome) = Fetching::start(self::task(&server, settings)).finish();
    assert_eq!(reasons(&outcome), [UncoveredReason::NotEnabled]);
    assert_eq!(outcome.source, Some(BackfillSource::Storage));
}

/// Answers 404 to requests for storage, and keeps the stream of events open after these.
fn keeping(events: Vec<String>) -> Server {
    let streams = Mutex::new(Vec::new());
    Server::start(move |request, stream| {
        if request.contains("/storage/") {
            let _ = stream.write_all(not_found().as_bytes());
            return;
        }
        let _ = stream.write_all(unfinished("", &events).as_bytes());
        streams.lock().unwrap().push(stream.try_clone().unwrap());
    })
}

fn backlog() -> Vec<String> {
    let forward = "as.up.data.forward";
    vec![
        event("events.stream.start", 2_005, "bed-07", None),
        event(forward, 900, "bed-07", Some(&up("bed-07", 1, 900))),
        event(forward, 1_100, "bed-07", None),
        event("as.up.join.forward", 1_150, "bed-07", None),
        event(forward, 1_200, "bed-07", Some(&up("bed-07", 2, 1_200))),
        event("as.down.data.receive", 1_250, "bed-07", None),
        event(forward, 1_300, "bed-07", Some(&up("bed-07", 3, 1_300))),
    ]
}

#[test]
fn the_backlog_of_the_event_stream_is_fetched_without_storage() {
    let server = keeping(backlog());
    let (all, outcome) = fetched(&server);
    assert_eq!(all.counters, [2, 3]);
    assert_eq!(all.traces, ["bed-07"]);
    assert_eq!(all.reached, [at(2_000)]);
    assert_eq!(outcome.source, Some(BackfillSource::Events));
    assert!(
        outcome.is_settled && outcome.uncovered.is_empty(),
        "{outcome:?}"
    );
    let request = &server.requests()[1];
    assert!(
        !request.contains("names") && !request.contains("after"),
        "{request}"
    );
}

#[test]
fn events_that_are_not_kept_are_named() {
    let mut events = backlog();
    events.remove(1);
    let (all, outcome) = fetched(&keeping(events));
    assert_eq!(all.counters, [2, 3]);
    let [time] = &outcome.uncovered[..] else {
        panic!("{outcome:?}");
    };
    assert_eq!(time.reason, UncoveredReason::NotKept);
    assert_eq!((time.from, time.until), (at(1_000), at(1_100)));
    let (_, outcome) = fetched(&keeping(backlog()[..1].to_vec()));
    assert_eq!(outcome.uncovered[0].until, at(2_000));
}

#[test]
fn the_first_live_event_ends_the_backlog() {
    let live = event(
        "as.up.data.forward",
        2_006,
        "bed-07",
        Some(&up("bed-07", 4, 2_006)),
    );
    let (all, _) = fetched(&keeping([backlog(), vec![live]].concat()));
    assert_eq!(all.counters, [2, 3]);
}

#[test]
fn what_was_forgotten_after_a_cut_is_named() {
    let first = Mutex::new(true);
    let server = Server::start(move |_, stream| {
        let is_first = std::mem::take(&mut *first.lock().unwrap());
        let events = backlog();
        let events = match is_first {
            true => events[..3].to_vec(),
            false => [&events[..1], &events[6..]].concat(),
        };
        let _ = stream.write_all(unfinished("", &events).as_bytes());
        if !is_first {
            let _ = stream.read(&mut [0]);
        }
    });
    let settings = quick().source(BackfillSource::Events);
    let (all, outcome) = Fetching::start(task(&server, settings)).finish();
    assert_eq!(all.counters, [3]);
    assert!(all.reached.is_empty(), "{all:?}");
    let [time] = &outcome.uncovered[..] else {
        panic!("{outcome:?}");
    };
    assert_eq!((time.from, time.until), (at(1_100), at(1_300)));
    assert_eq!(time.reason, UncoveredReason::NotKept);
}

#[test]
fn a_cut_event_stream_is_asked_for_once_more() {
    let first = Mutex::new(true);
    let server = Server::start(move |_, stream| {
        let is_first = std::mem::take(&mut *first.lock().unwrap());
        let events = backlog();
        let events = if is_first { &events[..5] } else { &events[..] };
        let _ = stream.write_all(unfinished("", events).as_bytes());
        if !is_first {
            let _ = stream.read(&mut [0]);
        }
    });
    let settings = quick().source(BackfillSource::Events);
    let (all, outcome) = Fetching::start(task(&server, settings.clone())).finish();
    assert_eq!((all.counters, all.traces.len()), (vec![2, 3], 1));
    assert!(
        outcome.is_settled && outcome.uncovered.is_empty(),
        "{outcome:?}"
    );

    let server = Server::with(&[unfinished("", &backlog())]);
    let (_, outcome) = Fetching::start(task(&server, settings)).finish();
    assert_eq!(reasons(&outcome), [UncoveredReason::CutOff]);
    assert!(!outcome.is_settled);
    assert_eq!(server.requests().len(), 2);
    let error = outcome.error.unwrap().to_string();
    assert!(error.ends_with("the answer broke off"), "{error}");
}
