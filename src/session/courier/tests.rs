use std::io;

use serde_json::json;

use super::*;
use crate::{
    api::Refusal,
    downlink::WaitingRoom,
    http,
    message::{ErrorDetails, MessageIds},
};

const SECOND: Duration = Duration::from_secs(1);

fn message(effect: Effect) -> Message {
    Message {
        ids: MessageIds::new(1, 1),
        topic: String::new(),
        payload: b"{}".to_vec(),
        dev_id: "bed-07".into(),
        batch: 1,
        has_next: false,
        effect,
        correlation_id: None,
        followed: Vec::new(),
        _room: WaitingRoom::default().take(1, 1).unwrap(),
    }
}

fn refusal(status: u16, name: &str) -> Failure {
    let names = name.split_once(':');
    let body = names.map(|(namespace, name)| {
        json!({"code": 3, "message": "no", "details": [{
            "@type": "type.googleapis.com/ttn.lorawan.v3.ErrorDetails",
            "namespace": namespace, "name": name,
        }]})
    });
    let body = body.map(|body| body.to_string()).unwrap_or_default();
    let key = AccessKey::new("NNSXS.ID.SECRET".to_owned());
    Failure::Refused(Box::new(Refusal::of(status, body.as_bytes(), &key)))
}

fn limited(wait: Option<Duration>) -> Failure {
    let mut failure = refusal(429, "");
    if let Failure::Refused(refusal) = &mut failure {
        refusal.wait = wait;
    }
    failure
}

fn unanswered(is_unsent: bool) -> Failure {
    Failure::Unanswered(http::Failure {
        is_unsent,
        ..http::Failure::no_thread(io::ErrorKind::TimedOut.into())
    })
}

fn unreadable() -> Failure {
    Failure::Unreadable {
        why: "half of it".to_owned(),
        source: None,
    }
}

fn answer(number: u64, result: Result<(), Failure>) -> Told {
    Told {
        number,
        result,
        pause: Duration::ZERO,
    }
}

/// What a round makes of an answer to its request number `number`.
fn verdict(round: &mut Round, number: u64, result: Result<(), Failure>, now: Instant) -> String {
    match round.told(answer(number, result), now) {
        Some(Word::Taken { .. }) => "taken".to_owned(),
        Some(Word::TakenLate { .. }) => "taken late".to_owned(),
        Some(Word::Refused(_, error)) => format!("refused: {:?}", error.kind()),
        Some(Word::Unknown(_)) => "unknown".to_owned(),
        None => match round.next_deadline() {
            Some(until) => format!("again in {} s", (until - now).as_secs()),
            None => "nothing".to_owned(),
        },
    }
}

#[test]
fn each_answer_says_whether_the_network_has_taken_a_downlink() {
    use Effect::{Adds, Clears, Replaces};
    let now = Instant::now();
    for (effect, result, expected) in [
        (Adds, Ok(()), "taken"),
        (Clears, Ok(()), "taken"),
        (
            Adds,
            Err(refusal(404, "pkg/applicationserver:device_not_found")),
            "refused: DownlinkFailed",
        ),
        (
            Adds,
            Err(refusal(400, "pkg/applicationserver:no_device_session")),
            "refused: DownlinkFailed",
        ),
        (
            Adds,
            Err(refusal(400, "pkg/errors:validation")),
            "refused: DownlinkFailed",
        ),
        (
            Adds,
            Err(refusal(
                403,
                "pkg/auth/rights:insufficient_application_rights",
            )),
            "refused: NotAuthorized",
        ),
        (Adds, Err(refusal(401, "")), "refused: NotAuthorized"),
        (Adds, Err(refusal(400, "")), "refused: DownlinkFailed"),
        (Adds, Err(refusal(404, "")), "refused: DownlinkFailed"),
        (Adds, Err(refusal(302, "")), "refused: DownlinkFailed"),
        // Nobody knows how far these came.
        (Adds, Err(refusal(408, "")), "unknown"),
        (Adds, Err(refusal(409, "")), "unknown"),
        (Adds, Err(refusal(499, "")), "unknown"),
        (Adds, Err(refusal(500, "")), "unknown"),
        (Replaces, Err(refusal(504, "")), "unknown"),
        (Replaces, Err(unreadable()), "unknown"),
        (Adds, Err(unanswered(false)), "unknown"),
        // To empty a queue twice is no harm.
        (Clears, Err(refusal(504, "")), "again in 1 s"),
        (Clears, Err(unanswered(false)), "again in 1 s"),
        // These have not arrived.
        (Adds, Err(unanswered(true)), "again in 1 s"),
        (
            Replaces,
            Err(refusal(503, "pkg/auth/rights:no_identity_server_conn")),
            "again in 1 s",
        ),
        (Adds, Err(limited(Some(4 * SECOND))), "again in 4 s"),
        (Adds, Err(limited(None)), "again in 6 s"),
    ] {
        let mut round = Round::default();
        let number = round.take(message(effect), 0).number;
        let what = format!("{effect:?} {result:?}");
        assert_eq!(verdict(&mut round, number, result, now), expected, "{what}");
    }
}

#[test]
fn what_has_not_arrived_is_sent_five_times_and_then_has_failed() {
    let mut round = Round::default();
    let mut now = Instant::now();
    let mut number = round.take(message(Effect::Adds), 0).number;
    for expected in [1, 2, 4, 8] {
        let again = verdict(&mut round, number, Err(unanswered(true)), now);
        assert_eq!(again, format!("again in {expected} s"));
        now += expected * SECOND - Duration::from_millis(1);
        assert!(round.on_time(now).is_none());
        now += Duration::from_millis(1);
        number = round.on_time(now).unwrap().number;
    }
    let last = verdict(&mut round, number, Err(unanswered(true)), now);
    assert!(last.starts_with("refused"), "{last}");
}

#[test]
fn the_rate_limit_counts_as_no_failure() {
    let mut round = Round::default();
    let mut now = Instant::now();
    let mut number = round.take(message(Effect::Adds), 0).number;
    for _ in 0..20 {
        let again = verdict(&mut round, number, Err(limited(Some(SECOND))), now);
        assert_eq!(again, "again in 1 s");
        now += SECOND;
        number = round.on_time(now).unwrap().number;
    }
    assert_eq!(verdict(&mut round, number, Ok(()), now), "taken");
}

#[test]
fn after_an_answer_that_leaves_no_request_it_rests() {
    let mut round = Round::default();
    let now = Instant::now();
    let number = round.take(message(Effect::Adds), 0).number;
    let told = Told {
        pause: 3 * SECOND,
        ..answer(number, Ok(()))
    };
    assert!(matches!(round.told(told, now), Some(Word::Taken { .. })));
    assert_eq!(round.next_deadline(), Some(now + 3 * SECOND));
    // It has nothing to give back or to wait for.
    assert!(round.take_back().is_none() && round.leave().is_none());
    assert!(round.on_time(now + 2 * SECOND).is_none());
    assert!(matches!(round.errand, Errand::Resting { .. }));
    assert!(round.on_time(now + 3 * SECOND).is_none());
    assert!(matches!(round.errand, Errand::None));
}

#[test]
fn a_message_that_is_given_back_leaves_the_wait_behind() {
    let mut round = Round::default();
    let now = Instant::now();
    let number = round.take(message(Effect::Adds), 0).number;
    assert!(round.take_back().is_none(), "the network may be taking it");
    verdict(&mut round, number, Err(limited(Some(4 * SECOND))), now);
    assert!(round.take_back().is_some());
    assert_eq!(round.next_deadline(), Some(now + 4 * SECOND));
    assert!(round.on_time(now + 4 * SECOND).is_none());
    assert!(matches!(round.errand, Errand::None));
}

#[test]
fn a_message_that_was_left_is_taken_late_or_not_told() {
    let now = Instant::now();
    for (result, expected) in [
        (Ok(()), "taken late"),
        (Err(unanswered(false)), "nothing"),
        (Err(limited(None)), "nothing"),
    ] {
        let mut round = Round::default();
        let number = round.take(message(Effect::Adds), 0).number;
        assert_eq!(round.leave(), Some(MessageIds::new(1, 1)));
        assert_eq!(round.leave(), None, "it is counted once");
        assert_eq!(verdict(&mut round, number, result, now), expected);
        assert!(matches!(round.errand, Errand::None));
    }
}

#[test]
fn an_answer_to_an_earlier_request_changes_nothing() {
    let now = Instant::now();
    let mut round = Round::default();
    let first = round.take(message(Effect::Adds), 0).number;
    verdict(&mut round, first, Err(unanswered(true)), now);
    let second = round.on_time(now + SECOND).unwrap().number;
    assert_eq!(verdict(&mut round, first, Ok(()), now), "nothing");
    assert!(matches!(round.errand, Errand::Asked { .. }));
    assert_eq!(verdict(&mut round, second, Ok(()), now), "taken");
    assert_eq!(verdict(&mut round, second, Ok(()), now), "nothing");
}

#[test]
fn a_thread_that_ends_early_tells_that_nothing_is_known() {
    for (has_begun, expected) in [(false, Taken::NotYet), (true, Taken::Perhaps)] {
        let (done, jobs) = crossbeam_channel::unbounded();
        let mut reply = Reply::new(7, done);
        if has_begun {
            reply.begins();
        }
        drop(reply);
        let Ok(Job::Told(told)) = jobs.try_recv() else {
            panic!("nothing was told");
        };
        assert_eq!(told.number, 7);
        assert_eq!(taken(&told.result.unwrap_err()), expected);
    }
}

#[test]
fn the_error_of_a_refused_downlink_has_the_details_of_the_network() {
    let mut round = Round::default();
    let number = round.take(message(Effect::Adds), 0).number;
    let failure = refusal(400, "pkg/applicationserver:no_device_session");
    let Some(Word::Refused(_, error)) = round.told(answer(number, Err(failure)), Instant::now())
    else {
        panic!("it is refused");
    };
    assert!(error.to_string().contains("bed-07"), "{error}");
    let source = std::error::Error::source(&error).unwrap();
    let details = source.downcast_ref::<ErrorDetails>().unwrap();
    assert_eq!(details.name, "no_device_session");
}
