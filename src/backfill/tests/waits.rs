use super::*;

#[test]
fn a_slow_answer_may_take_longer_than_a_request() {
    let server = Server::start(|_, stream| {
        let (head, body) = (unfinished("", &[]), chunked("", &page(0..5)));
        stream.write_all(head.as_bytes()).unwrap();
        for piece in body.as_bytes()[head.len()..].chunks(100) {
            // A slow line.
            thread::sleep(Duration::from_millis(200));
            stream.write_all(piece).unwrap();
        }
    });
    let task = task(&server, quick());
    let task = Task {
        api: task.api.within(Duration::from_secs(2)),
        ..task
    };
    let fetching = Fetching::start(task);
    for counter in 0..5 {
        match fetching.next() {
            Fetched::Uplink(uplink) => assert_eq!(uplink.counter, counter),
            other => panic!("{other:?}"),
        }
    }
}

/// Returns how long a backfill takes to end once nobody wants it.
fn time_to_stop(mut fetching: Fetching) -> Duration {
    let stopped = std::time::Instant::now();
    drop(fetching.stop.take());
    while fetching.out.recv_timeout(DEADLINE).is_ok() {}
    stopped.elapsed()
}

#[test]
fn whatever_it_waits_for_ends_soon_when_nobody_wants_it() {
    let silent = || {
        let held = Mutex::new(Vec::new());
        Server::start(move |_, stream| {
            held.lock().unwrap().push(stream.try_clone().unwrap());
        })
    };
    let (soon, moment) = (Duration::from_secs(2), Duration::from_millis(300));

    // The head of an answer.
    let server = silent();
    let fetching = Fetching::start(task(&server, quick()));
    assert!(fetching.out.recv_timeout(moment).is_err());
    // Another one with the same key.
    let first = task(&server, quick());
    let waiting = Fetching::start(first);
    assert!(time_to_stop(waiting) < soon);
    assert!(time_to_stop(fetching) < soon);

    // The rest of a page.
    let held = Mutex::new(Vec::new());
    let server = Server::start(move |_, stream| {
        let _ = stream.write_all(unfinished("", &page(0..3)).as_bytes());
        held.lock().unwrap().push(stream.try_clone().unwrap());
    });
    let fetching = Fetching::start(task(&server, quick()));
    assert!(matches!(fetching.next(), Fetched::Uplink(_)));
    assert!(time_to_stop(fetching) < soon);

    // Room.
    let server = Server::with(&[chunked("", &page(0..9)), empty()]);
    let fetching = Fetching::with_room(task(&server, quick()), 1);
    assert!(matches!(fetching.next(), Fetched::Uplink(_)));
    assert!(time_to_stop(fetching) < soon);

    // The next pass.
    let server = Server::with(&[chunked("", &page(0..3)), empty()]);
    let settings = quick().passes([Duration::ZERO, 600 * SECOND]);
    let fetching = Fetching::start(task(&server, settings));
    while !matches!(fetching.next(), Fetched::Reached(_)) {}
    assert!(fetching.out.recv_timeout(moment).is_err());
    assert!(time_to_stop(fetching) < soon);

    // What the server wants it to wait.
    let server = Server::with(&[sized("429 No", "X-Rate-Limit-Retry: 600\r\n", "")]);
    let fetching = Fetching::start(task(&server, quick().max_wait(600 * SECOND)));
    assert!(fetching.out.recv_timeout(moment).is_err());
    assert!(time_to_stop(fetching) < soon);
}

#[test]
fn a_session_that_is_gone_ends_it() {
    let server = Server::with(&[chunked("", &page(0..9))]);
    let fetching = Fetching::with_room(task(&server, quick()), 0);
    let Fetching { out, stop, .. } = fetching;
    drop(out);
    // The next one with this key has its turn.
    let again = Fetching::start(task(&server, quick()));
    assert!(matches!(again.next(), Fetched::Uplink(_)));
    drop(stop);
}

#[test]
fn a_panic_is_reported_as_the_end() {
    let server = super::counts::counting();
    let task = Task {
        heard: Arc::new(|_, _| panic!("as planned")),
        ..task(&server, quick().count_uncovered(true))
    };
    let (_, outcome) = Fetching::start(task).finish();
    assert!(!outcome.is_settled);
    let error = outcome.error.unwrap().to_string();
    assert!(error.contains("ended early"), "{error}");
}
