//! What each input does in each state.

use super::*;
use crate::{config::ConnectRetry, message::CallbackFailed, session::lifecycle::Outgoing};

/// The states, by the shortest way there.
const STATES: [&str; 14] = [
    "idle",
    "waiting to look up",
    "looking up",
    "dialing",
    "entering",
    "inquiring",
    "subscribing",
    "up",
    "up and ended",
    "asking",
    "backing off",
    "closing",
    "settling",
    "leaving",
];

/// A machine, and the time.
struct Bench {
    lifecycle: Lifecycle,
    start: Moment,
    now: Moment,
    attempt: Attempt,
}

impl Bench {
    fn new(builder: MqttClientBuilder) -> Self {
        let start = now();
        Self {
            lifecycle: machine(builder),
            start,
            now: start,
            attempt: Attempt(0),
        }
    }

    /// A machine in a state, with everything done that it asked for. Waiter 1 is answered in all
    /// states in which a client has been connected.
    fn in_state(state: &str) -> Self {
        let mut bench = Self::new(builder());
        if state == "idle" {
            return bench;
        }
        if state == "waiting to look up" {
            // Four lookups that never end.
            for _ in 0..4 {
                bench.feed(Input::Connect(Waiter(90)));
                bench.feed(Input::Close(Waiter(91)));
            }
            bench.attempt = Attempt(4);
        }
        bench.feed(Input::Connect(Waiter(1)));
        bench.attempt = Attempt(bench.attempt.0 + 1);
        let attempt = bench.attempt;
        if ["waiting to look up", "looking up"].contains(&state) {
            return bench;
        }
        bench.feed(Input::LookedUp(attempt, Ok("server".into())));
        if state == "dialing" {
            return bench;
        }
        if state == "inquiring" {
            bench.feed(Input::Refused(attempt, error(ErrorKind::NotAuthorized)));
            return bench;
        }
        bench.feed(Input::Accepted(attempt));
        if state == "entering" {
            return bench;
        }
        bench.feed(Input::Entered(attempt));
        if state == "subscribing" {
            return bench;
        }
        bench.feed(Input::Granted(attempt));
        match state {
            "up" => {}
            "up and ended" => drop(bench.feed(Input::Ended(attempt, closed_by_server()))),
            "asking" => drop(bench.lose()),
            "backing off" => {
                bench.lose();
                bench.feed(Input::Answered(Question(1), Ok(Some(30 * SECOND))));
            }
            "closing" => drop(bench.feed(Input::Close(Waiter(2)))),
            "settling" | "leaving" => {
                bench.feed(Input::Close(Waiter(2)));
                let left = match state {
                    "settling" => Left::Unreported,
                    _ => Left::Nothing,
                };
                bench.feed(Input::Drained { attempt, left });
            }
            other => panic!("{other}"),
        }
        bench
    }

    fn feed(&mut self, input: Input) -> Vec<String> {
        self.lifecycle.handle(input, self.now);
        self.done()
    }

    /// Lets time pass, to the next deadline at most.
    fn pass(&mut self, time: Duration) -> Vec<String> {
        self.now = self.now.after(time);
        self.lifecycle.handle_deadline(self.now);
        self.done()
    }

    /// Lets time pass until the deadline, and says how long that was.
    fn expire(&mut self) -> (Duration, Vec<String>) {
        let deadline = self.lifecycle.next_deadline().unwrap();
        let time = deadline - self.now.instant;
        (time, self.pass(time))
    }

    fn done(&mut self) -> Vec<String> {
        actions(&mut self.lifecycle)
            .iter()
            .map(|action| brief(action, self.start.instant))
            .collect()
    }

    fn lose(&mut self) -> Vec<String> {
        self.feed(Input::Ended(self.attempt, closed_by_server()));
        self.feed(Input::Over(self.attempt))
    }

    fn shape(&self) -> String {
        format!("{:?}", self.lifecycle)
    }
}

#[test]
fn the_way_to_a_connection_is_one_step_for_each_answer() {
    let mut bench = Bench::new(builder());
    let one = Attempt(1);
    assert_eq!(bench.lifecycle.outgoing(), Outgoing::Refused);
    let done = bench.feed(Input::Connect(Waiter(1)));
    assert_eq!(done, ["begin", "look up 1"]);
    assert_eq!(bench.lifecycle.outgoing(), Outgoing::Kept);
    bench.pass(SECOND);
    let done = bench.feed(Input::LookedUp(one, Ok("server".into())));
    assert_eq!(done, ["dial 1 until 10s"]);
    assert_eq!(bench.feed(Input::Accepted(one)), ["enter 1"]);
    assert_eq!(bench.feed(Input::Entered(one)), ["subscribe 1"]);
    assert_eq!(bench.lifecycle.outgoing(), Outgoing::Kept);
    let done = bench.feed(Input::Granted(one));
    assert_eq!(done, ["open 1 gap None", "connect 1 ok"]);
    assert_eq!(bench.lifecycle.outgoing(), Outgoing::Written(one));
    assert_eq!(bench.lifecycle.next_deadline(), None);
}

#[test]
fn connect_in_each_state() {
    for (state, expected) in [
        ("idle", vec!["begin", "look up 1"]),
        ("waiting to look up", vec![]),
        ("looking up", vec![]),
        ("dialing", vec![]),
        ("entering", vec![]),
        ("inquiring", vec![]),
        ("subscribing", vec![]),
        ("up", vec!["connect 7 ok"]),
        ("up and ended", vec![]),
        ("asking", vec![]),
        ("backing off", vec!["begin", "look up 2"]),
        ("closing", vec![]),
        ("settling", vec![]),
        ("leaving", vec![]),
    ] {
        let done = Bench::in_state(state).feed(Input::Connect(Waiter(7)));
        assert_eq!(done, expected, "{state}");
    }
}

#[test]
fn close_in_each_state() {
    let end = |last: &str| {
        [
            "discard Closed",
            &format!("closed None up to {last}"),
            "close [8] within 5s",
        ]
        .map(str::to_owned)
    };
    let with = |first: &[&str], last: &str| {
        let mut all: Vec<String> = first.iter().map(ToString::to_string).collect();
        all.extend(end(last));
        all
    };
    for (state, expected) in [
        (
            "idle",
            vec![
                "discard Closed".to_owned(),
                "close [8] within 5s".to_owned(),
            ],
        ),
        ("waiting to look up", with(&["connect 1 Closed"], "5")),
        ("looking up", with(&["connect 1 Closed"], "1")),
        ("dialing", with(&["connect 1 Closed", "abandon 1"], "1")),
        ("entering", with(&["connect 1 Closed", "abandon 1"], "1")),
        ("inquiring", with(&["connect 1 Closed"], "1")),
        ("subscribing", with(&["connect 1 Closed", "abandon 1"], "1")),
        ("up", vec!["drain 1".to_owned()]),
        (
            "up and ended",
            vec!["drain 1".to_owned(), "finish 1".to_owned()],
        ),
        ("asking", with(&["lost after 0ns in None"], "1")),
        ("backing off", with(&[], "1")),
        ("closing", vec![]),
        ("settling", vec![]),
        ("leaving", vec![]),
    ] {
        let mut bench = Bench::in_state(state);
        assert_eq!(bench.feed(Input::Close(Waiter(8))), expected, "{state}");
        assert!(!bench.lifecycle.is_ended(), "{state}");
    }
}

#[test]
fn after_a_shutdown_in_each_state_the_machine_ends_within_the_close_timeout() {
    for state in STATES {
        let mut bench = Bench::in_state(state);
        let start = bench.now.instant;
        bench.feed(Input::Shutdown);
        while !bench.lifecycle.is_ended() {
            bench.expire();
        }
        assert!(bench.now.instant - start < 5 * SECOND, "{state}");
    }
}

#[test]
fn each_deadline_has_its_consequence() {
    for (state, time, expected) in [
        (
            "waiting to look up",
            10 * SECOND,
            vec![
                "failed TimedOut #1 in None",
                "discard TimedOut",
                "idle",
                "connect 1 TimedOut",
            ],
        ),
        (
            "looking up",
            10 * SECOND,
            vec![
                "failed TimedOut #1 in None",
                "discard TimedOut",
                "idle",
                "connect 1 TimedOut",
            ],
        ),
        (
            "dialing",
            12 * SECOND,
            vec![
                "abandon 1",
                "failed TimedOut #1 in None",
                "discard TimedOut",
                "idle",
                "connect 1 TimedOut",
            ],
        ),
        (
            "entering",
            12 * SECOND,
            vec![
                "abandon 1",
                "failed TimedOut #1 in None",
                "discard TimedOut",
                "idle",
                "connect 1 TimedOut",
            ],
        ),
        (
            "subscribing",
            10 * SECOND,
            vec![
                "abandon 1",
                "failed TimedOut #1 in None",
                "discard TimedOut",
                "idle",
                "connect 1 TimedOut",
            ],
        ),
        (
            "inquiring",
            3 * SECOND,
            vec![
                "failed NotAuthorized #1 in None",
                "discard NotAuthorized",
                "idle",
                "connect 1 NotAuthorized",
            ],
        ),
        ("backing off", 30 * SECOND, vec!["begin", "look up 2"]),
        (
            "closing",
            Duration::from_millis(4_500),
            vec![
                "linger 1",
                "discard Closed",
                "closed None up to 1",
                "close [2] within 5s",
            ],
        ),
        ("settling", Duration::from_millis(200), vec!["finish 1"]),
        (
            "leaving",
            Duration::from_millis(4_500),
            vec![
                "release 1",
                "discard Closed",
                "closed None up to 1",
                "close [2] within 5s",
            ],
        ),
    ] {
        let mut bench = Bench::in_state(state);
        assert!(
            bench.pass(time - Duration::from_nanos(1)).is_empty(),
            "{state}"
        );
        let (_, done) = bench.expire();
        assert_eq!(done, expected, "{state}");
    }
    for state in ["idle", "up"] {
        let mut bench = Bench::in_state(state);
        assert_eq!(bench.lifecycle.next_deadline(), None, "{state}");
        assert!(bench.pass(1_000_000 * SECOND).is_empty(), "{state}");
    }
}

#[test]
fn an_end_that_the_mqtt_client_never_notices_counts_after_ten_seconds() {
    let mut bench = Bench::in_state("up and ended");
    assert_eq!(bench.lifecycle.outgoing(), Outgoing::Held);
    let (time, done) = bench.expire();
    assert_eq!(time, 10 * SECOND);
    assert_eq!(done[..2], ["interrupt 1 limited false", "abandon 1"]);
}

#[test]
fn a_retry_callback_that_is_silent_has_no_say() {
    let mut bench = Bench::in_state("asking");
    let (time, done) = bench.expire();
    assert_eq!(time, 10 * SECOND);
    let [lost] = &done[..] else {
        panic!("{done:?}")
    };
    assert!(lost.starts_with("lost after 0ns in Some("), "{lost}");
    let answer = Ok(Some(SECOND));
    assert!(bench.feed(Input::Answered(Question(1), answer)).is_empty());
}

#[test]
fn the_time_of_a_retry_callback_begins_when_it_is_asked() {
    let mut bench = Bench::in_state("asking");
    bench.now = bench.now.after(12 * SECOND);
    assert!(bench.feed(Input::Asked(Question(1))).is_empty());
    assert!(bench.pass(9 * SECOND).is_empty());
    let done = bench.feed(Input::Answered(Question(1), Ok(Some(7 * SECOND))));
    assert_eq!(done, ["lost after 0ns in Some(7s)"]);
}

#[test]
fn a_retry_callback_decides_on_the_delay_or_the_end() {
    let mut bench = Bench::in_state("asking");
    let done = bench.feed(Input::Answered(Question(1), Ok(Some(7 * SECOND))));
    assert_eq!(done, ["lost after 0ns in Some(7s)"]);
    assert_eq!(
        bench.expire(),
        (7 * SECOND, vec!["begin".to_owned(), "look up 2".to_owned()])
    );

    let done = Bench::in_state("asking").feed(Input::Answered(Question(1), Ok(None)));
    assert_eq!(
        done,
        [
            "lost after 0ns in None",
            "discard ConnectionLost",
            "closed Some(ConnectionLost) up to 1"
        ]
    );
}

#[test]
fn a_retry_callback_that_fails_or_is_not_there_leaves_the_plan_as_it_is() {
    let failed = CallbackFailed {
        callback: "retry",
        message: "no".to_owned(),
        panicked: false,
        worker: None,
    };
    let mut bench = Bench::in_state("asking");
    let done = bench.feed(Input::Answered(Question(1), Err(failed)));
    assert_eq!(done[0], "callback failed");
    assert!(done[1].starts_with("lost after 0ns in Some("), "{done:?}");

    let done = Bench::in_state("asking").feed(Input::NotAsked(Question(1)));
    assert!(done[0].starts_with("lost after 0ns in Some("), "{done:?}");
}

#[test]
fn a_failure_in_each_state_of_an_attempt_ends_it_and_in_no_other() {
    for state in STATES {
        let mut bench = Bench::in_state(state);
        let before = bench.shape();
        let refused = error(ErrorKind::NotAuthorized);
        let done = bench.feed(Input::Failed(bench.attempt, refused));
        if ["dialing", "entering", "subscribing"].contains(&state) {
            assert_eq!(
                done,
                [
                    "abandon 1",
                    "failed NotAuthorized #1 in None",
                    "discard NotAuthorized",
                    "idle",
                    "connect 1 NotAuthorized"
                ],
                "{state}"
            );
        } else {
            assert!(done.is_empty(), "{state}: {done:?}");
            assert_eq!(bench.shape(), before, "{state}");
        }
    }
}

#[test]
fn a_refused_login_is_a_failed_attempt_with_the_reason_that_the_network_tells() {
    let refused = || error(ErrorKind::NotAuthorized);
    let mut bench = Bench::in_state("dialing");
    assert_eq!(
        bench.feed(Input::Refused(Attempt(1), refused())),
        ["abandon 1", "inquire 1 until 3s"]
    );
    assert_eq!(bench.lifecycle.outgoing(), Outgoing::Kept);
    for (reason, kind) in [
        (
            Some(error(ErrorKind::ServerUnavailable)),
            "ServerUnavailable",
        ),
        (None, "NotAuthorized"),
    ] {
        let mut bench = Bench::in_state("inquiring");
        assert_eq!(
            bench.feed(Input::Explained(Attempt(1), reason)),
            [
                format!("failed {kind} #1 in None"),
                format!("discard {kind}"),
                "idle".to_owned(),
                format!("connect 1 {kind}"),
            ]
        );
        let late = Some(error(ErrorKind::Protocol));
        assert!(bench.feed(Input::Explained(Attempt(1), late)).is_empty());
    }
}

#[test]
fn the_reason_of_a_refusal_is_not_waited_for_longer_than_the_attempt_may_take() {
    let refused = || error(ErrorKind::NotAuthorized);
    let mut bench = Bench::in_state("dialing");
    bench.pass(9 * SECOND);
    let done = bench.feed(Input::Refused(Attempt(1), refused()));
    assert_eq!(done, ["abandon 1", "inquire 1 until 10s"]);

    let mut bench = Bench::in_state("dialing");
    bench.pass(10 * SECOND);
    let done = bench.feed(Input::Refused(Attempt(1), refused()));
    assert_eq!(done[..2], ["abandon 1", "failed NotAuthorized #1 in None"]);
}

#[test]
fn a_server_that_cannot_check_keys_does_not_end_a_connect_that_retries() {
    let retry = ConnectRetry::For(60 * SECOND);
    let mut bench = Bench::new(builder().connect_retry(retry));
    bench.feed(Input::Connect(Waiter(1)));
    bench.feed(Input::LookedUp(Attempt(1), Ok("server".into())));
    bench.feed(Input::Refused(Attempt(1), error(ErrorKind::NotAuthorized)));
    let away = error(ErrorKind::ServerUnavailable);
    bench.feed(Input::Explained(Attempt(1), Some(away)));
    let done = bench.feed(Input::NotAsked(Question(1)));
    assert_eq!(done.len(), 1, "{done:?}");
    assert_eq!(bench.expire().1, ["begin", "look up 2"]);
}

#[test]
fn a_lookup_that_fails_is_a_failed_attempt() {
    let mut bench = Bench::in_state("looking up");
    let unknown = Err(error(ErrorKind::UnknownHost));
    assert_eq!(
        bench.feed(Input::LookedUp(Attempt(1), unknown)),
        [
            "failed UnknownHost #1 in None",
            "discard UnknownHost",
            "idle",
            "connect 1 UnknownHost"
        ]
    );
}

#[test]
fn a_fifth_lookup_waits_until_an_earlier_one_ends() {
    let mut bench = Bench::in_state("waiting to look up");
    let late = Ok("server".into());
    assert_eq!(bench.feed(Input::LookedUp(Attempt(2), late)), ["look up 5"]);
    let found = Ok("server".into());
    let done = bench.feed(Input::LookedUp(Attempt(5), found));
    assert_eq!(done, ["dial 5 until 10s"]);
}

#[test]
fn the_end_of_a_connection_before_its_subscriptions_is_a_failed_attempt() {
    let mut bench = Bench::in_state("subscribing");
    assert!(
        bench
            .feed(Input::Ended(Attempt(1), closed_by_server()))
            .is_empty()
    );
    // The subscriptions fail with the connection; the end is the reason.
    let failed = error(ErrorKind::SubscriptionRefused);
    assert!(bench.feed(Input::Failed(Attempt(1), failed)).is_empty());
    assert_eq!(
        bench.feed(Input::Over(Attempt(1))),
        [
            "release 1",
            "failed ConnectionLost #1 in None",
            "discard ConnectionLost",
            "idle",
            "connect 1 ConnectionLost"
        ]
    );
}

#[test]
fn a_connection_that_ends_while_its_last_subscription_is_granted_is_open_and_lost() {
    let mut bench = Bench::in_state("subscribing");
    bench.feed(Input::Ended(Attempt(1), closed_by_server()));
    let done = bench.feed(Input::Granted(Attempt(1)));
    assert_eq!(done, ["open 1 gap None", "connect 1 ok"]);
    assert_eq!(bench.lifecycle.outgoing(), Outgoing::Held);
    let done = bench.feed(Input::Over(Attempt(1)));
    assert_eq!(done[..2], ["interrupt 1 limited false", "abandon 1"]);
}

#[test]
fn the_silence_before_a_loss_begins_when_the_server_last_sent_anything() {
    let mut bench = Bench::in_state("up");
    bench.pass(3 * SECOND);
    let end = End::Lost {
        loss: wire::Loss::Closed,
        heard: bench.now,
        error: error(ErrorKind::ConnectionLost),
    };
    bench.pass(5 * SECOND);
    bench
        .lifecycle
        .handle(Input::Ended(Attempt(1), end), bench.now);
    bench.pass(2 * SECOND);
    bench.lifecycle.handle(Input::Over(Attempt(1)), bench.now);
    let interrupt = bench.lifecycle.poll();
    let Some(Action::Interrupt { silence, .. }) = interrupt else {
        panic!("{interrupt:?}");
    };
    assert_eq!(silence, 7 * SECOND);
}

#[test]
fn a_lost_connection_comes_back_with_its_gap() {
    let mut bench = Bench::in_state("up");
    bench.pass(3 * SECOND);
    let done = bench.lose();
    assert_eq!(done[..2], ["interrupt 1 limited false", "abandon 1"]);
    assert!(
        done[2].starts_with("ask 1 ConnectionLost #0 in Some("),
        "{done:?}"
    );
    bench.feed(Input::Answered(Question(1), Ok(Some(4 * SECOND))));
    assert_eq!(bench.expire().1, ["begin", "look up 2"]);
    let two = Attempt(2);
    bench.feed(Input::LookedUp(two, Ok("server".into())));
    bench.feed(Input::Accepted(two));
    bench.feed(Input::Entered(two));
    assert_eq!(bench.feed(Input::Granted(two)), ["open 2 gap Some(4s)"]);
}

#[test]
fn without_reconnect_a_lost_connection_closes_the_client() {
    let mut bench = Bench::new(builder().reconnect(false));
    bench.feed(Input::Connect(Waiter(1)));
    bench.attempt = Attempt(1);
    bench.feed(Input::LookedUp(Attempt(1), Ok("server".into())));
    bench.feed(Input::Accepted(Attempt(1)));
    bench.feed(Input::Entered(Attempt(1)));
    bench.feed(Input::Granted(Attempt(1)));
    assert_eq!(
        bench.lose(),
        [
            "interrupt 1 limited false",
            "abandon 1",
            "lost after 0ns in None",
            "discard ConnectionLost",
            "closed Some(ConnectionLost) up to 1"
        ]
    );
}

#[test]
fn connect_while_the_retry_callback_is_asked_gets_an_attempt_as_soon_as_it_has_answered() {
    for failed_first in [false, true] {
        let mut bench = Bench::in_state("asking");
        let mut question = Question(1);
        let mut next = "look up 2";
        if failed_first {
            bench.feed(Input::Answered(question, Ok(Some(SECOND))));
            bench.expire();
            let unknown = Err(error(ErrorKind::UnknownHost));
            bench.feed(Input::LookedUp(Attempt(2), unknown));
            (question, next) = (Question(2), "look up 3");
        }
        assert!(bench.feed(Input::Connect(Waiter(7))).is_empty());
        let done = bench.feed(Input::Answered(question, Ok(Some(3_600 * SECOND))));
        assert_eq!(done[1..], ["begin", next], "{done:?}");
    }
}

#[test]
fn one_attempt_of_a_connect_while_backing_off_is_answered_with_its_error() {
    let mut bench = Bench::in_state("backing off");
    bench.feed(Input::Connect(Waiter(7)));
    let unknown = Err(error(ErrorKind::UnknownHost));
    let done = bench.feed(Input::LookedUp(Attempt(2), unknown));
    assert_eq!(done[0], "connect 7 UnknownHost");
    assert!(
        done[1].starts_with("ask 2 UnknownHost #1 in Some("),
        "{done:?}"
    );
}

#[test]
fn connect_while_closing_connects_again_when_the_client_is_closed() {
    for state in ["closing", "settling", "leaving"] {
        let mut bench = Bench::in_state(state);
        bench.feed(Input::Connect(Waiter(7)));
        assert_eq!(
            bench.feed(Input::Over(Attempt(1))),
            [
                "release 1",
                "discard Closed",
                "closed None up to 1",
                "close [2] within 5s",
                "begin",
                "look up 2"
            ],
            "{state}"
        );
    }
}

fn drained(left: Left) -> Input {
    Input::Drained {
        attempt: Attempt(1),
        left,
    }
}

#[test]
fn a_closing_client_leaves_when_the_server_has_processed_everything() {
    let mut bench = Bench::in_state("closing");
    assert_eq!(bench.lifecycle.draining(), Some(Attempt(1)));
    assert_eq!(bench.lifecycle.outgoing(), Outgoing::Written(Attempt(1)));
    assert_eq!(bench.feed(drained(Left::Unprocessed)), ["flush 1"]);
    assert_eq!(bench.feed(drained(Left::Nothing)), ["finish 1"]);
    assert_eq!(bench.lifecycle.draining(), None);
    assert_eq!(bench.lifecycle.outgoing(), Outgoing::Kept);
    assert!(bench.feed(drained(Left::Unprocessed)).is_empty());
    let done = bench.feed(Input::Over(Attempt(1)));
    assert_eq!(
        done,
        [
            "release 1",
            "discard Closed",
            "closed None up to 1",
            "close [2] within 5s"
        ]
    );
}

#[test]
fn a_closing_client_waits_a_moment_for_late_reports() {
    let mut bench = Bench::in_state("closing");
    bench.pass(SECOND);
    assert!(bench.feed(drained(Left::Unreported)).is_empty());
    assert!(bench.lifecycle.is_settling());
    assert_eq!(bench.lifecycle.outgoing(), Outgoing::Written(Attempt(1)));
    assert!(bench.feed(drained(Left::Unreported)).is_empty());
    assert_eq!(bench.feed(drained(Left::Nothing)), ["finish 1"]);
}

#[test]
fn a_closing_client_does_not_wait_for_late_reports_longer_than_it_has_time() {
    let mut bench = Bench::in_state("closing");
    bench.pass(Duration::from_millis(4_400));
    bench.feed(drained(Left::Unreported));
    let (time, done) = bench.expire();
    assert_eq!((time, done[0].as_str()), (SECOND / 10, "finish 1"));
}

#[test]
fn what_is_sent_while_the_client_waits_for_late_reports_is_processed_too() {
    let mut bench = Bench::in_state("settling");
    assert_eq!(bench.feed(drained(Left::Unprocessed)), ["flush 1"]);
    assert!(!bench.lifecycle.is_settling());
    assert_eq!(bench.expire().1[0], "linger 1");
}

#[test]
fn the_time_to_close_grows_with_what_the_server_has_to_process() {
    let mut bench = Bench::in_state("closing");
    let unfinished = |messages| Input::Unfinished {
        attempt: Attempt(1),
        messages,
    };
    assert!(bench.feed(unfinished(900)).is_empty());
    let (time, done) = bench.expire();
    assert_eq!(time, Duration::from_millis(12_600));
    assert_eq!(done.last().unwrap(), "close [2] within 14s");

    let mut bench = Bench::in_state("leaving");
    let before = bench.shape();
    bench.feed(unfinished(900));
    assert_eq!(bench.shape(), before);
}

#[test]
fn a_server_that_has_processed_everything_does_not_hold_up_the_end() {
    let mut bench = Bench::in_state("closing");
    bench.feed(Input::Unfinished {
        attempt: Attempt(1),
        messages: 100_000,
    });
    bench.pass(SECOND);
    bench.feed(drained(Left::Nothing));
    let (time, done) = bench.expire();
    assert_eq!(time, Duration::from_millis(4_500));
    assert_eq!(done[0], "release 1");
}

#[test]
fn a_closing_client_leaves_when_the_server_ends_the_connection() {
    for state in ["closing", "settling"] {
        let mut bench = Bench::in_state(state);
        assert_eq!(
            bench.feed(Input::Ended(Attempt(1), closed_by_server())),
            ["finish 1"]
        );
        assert_eq!(bench.expire().0, Duration::from_millis(4_500), "{state}");
    }
}

#[test]
fn connect_with_retry_tries_until_its_time_is_over() {
    let retry = ConnectRetry::For(60 * SECOND);
    let mut bench = Bench::new(builder().connect_retry(retry));
    bench.feed(Input::Connect(Waiter(1)));
    let start = bench.now.instant;
    let mut attempts = 1;
    loop {
        let unknown = Err(error(ErrorKind::UnknownHost));
        let done = bench.feed(Input::LookedUp(Attempt(attempts), unknown));
        assert!(done[0].starts_with("ask "), "{done:?}");
        let done = bench.feed(Input::NotAsked(Question(attempts)));
        if done.last().unwrap() == "connect 1 UnknownHost" {
            break;
        }
        assert_eq!(
            bench.expire().1,
            ["begin".to_owned(), format!("look up {}", attempts + 1)]
        );
        attempts += 1;
    }
    assert!(attempts > 3, "{attempts} attempts");
    assert!(bench.now.instant - start < 60 * SECOND);
    assert_eq!(bench.lifecycle.outgoing(), Outgoing::Refused);
}

#[test]
fn a_signal_of_an_earlier_attempt_changes_nothing_in_any_state() {
    for state in STATES {
        for kind in 0..10 {
            let mut bench = Bench::in_state(state);
            let before = bench.shape();
            let stale = Attempt(bench.attempt.0.wrapping_sub(1));
            let done = bench.feed(match kind {
                0 => Input::Accepted(stale),
                1 => Input::Entered(stale),
                2 => Input::Granted(stale),
                3 => Input::Failed(stale, error(ErrorKind::Protocol)),
                4 => Input::Ended(stale, closed_by_server()),
                5 => Input::Over(stale),
                6 => Input::Unfinished {
                    attempt: stale,
                    messages: 9,
                },
                7 => Input::Refused(stale, error(ErrorKind::NotAuthorized)),
                8 => Input::Explained(stale, Some(error(ErrorKind::Protocol))),
                _ => Input::Drained {
                    attempt: stale,
                    left: Left::Nothing,
                },
            });
            assert!(done.is_empty(), "{state}, {kind}: {done:?}");
            assert_eq!(bench.shape(), before, "{state}, {kind}");
        }
        for question in [0, 9] {
            let mut bench = Bench::in_state(state);
            let before = bench.shape();
            let question = Question(question);
            assert!(bench.feed(Input::NotAsked(question)).is_empty(), "{state}");
            assert!(
                bench.feed(Input::Answered(question, Ok(None))).is_empty(),
                "{state}"
            );
            assert_eq!(bench.shape(), before, "{state}");
        }
    }
}

#[test]
fn a_signal_that_does_not_belong_to_a_state_changes_nothing_there() {
    for (state, ignored) in [
        ("idle", "aegofdrx"),
        ("waiting to look up", "aegofdrx"),
        ("looking up", "aegofdrx"),
        ("dialing", "egodx"),
        ("entering", "agodx"),
        ("inquiring", "aegofdr"),
        ("subscribing", "aedx"),
        ("up", "aefgdrx"),
        ("asking", "aegofdrx"),
        ("backing off", "aegofdrx"),
        ("closing", "aefgrx"),
        ("settling", "aefgrx"),
        ("leaving", "aefgdrx"),
    ] {
        for signal in ignored.chars() {
            let mut bench = Bench::in_state(state);
            let attempt = bench.attempt;
            let before = bench.shape();
            let done = bench.feed(match signal {
                'a' => Input::Accepted(attempt),
                'e' => Input::Entered(attempt),
                'g' => Input::Granted(attempt),
                'o' => Input::Over(attempt),
                'r' => Input::Refused(attempt, error(ErrorKind::NotAuthorized)),
                'x' => Input::Explained(attempt, Some(error(ErrorKind::Protocol))),
                'f' => Input::Failed(attempt, error(ErrorKind::Protocol)),
                _ => Input::Drained {
                    attempt,
                    left: Left::Nothing,
                },
            });
            assert!(done.is_empty(), "{state}, {signal}: {done:?}");
            assert_eq!(bench.shape(), before, "{state}, {signal}");
        }
    }
}
