//! Takes downlinks to the network over HTTP: one request at a time, on a thread of its own.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use crossbeam_channel::Sender;

use super::Job;
use crate::{
    api::{Api, Failure, Hosts, Meaning},
    config::{AccessKey, Options, Over},
    downlink::Message,
    error::{Error, ErrorKind},
    message::MessageIds,
    network::Effect,
    process,
};

/// How long a request may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// How often a request is repeated that the network certainly has not taken.
const MAX_REPEATS: u32 = 4;

/// The wait before the first repetition; the next ones take twice as long each.
const FIRST_WAIT: Duration = Duration::from_secs(1);

/// The wait when the network limits the rate and does not say for how long.
const LIMITED_WAIT: Duration = Duration::from_secs(6);

pub(super) struct Courier {
    api: Api,
    job_done: Sender<Job>,
    errand: Errand,
    /// The requests whose answers the client did not wait for, by their numbers.
    left: HashMap<u64, (MessageIds, Effect)>,
    /// The network's rate limit allows no further request before this time.
    rests_until: Option<Instant>,
    /// The number of the last request.
    last: u64,
}

/// What the courier is doing.
enum Errand {
    None,
    /// A request that the network has not taken is repeated at that time.
    Waiting {
        message: Message,
        repeats: u32,
        until: Instant,
    },
    Asked {
        message: Message,
        repeats: u32,
    },
}

/// What the network has answered, or not, to a request.
#[derive(Debug)]
pub(super) struct Told {
    number: u64,
    result: Result<(), Failure>,
    /// How long the rate limit allows no further request.
    pause: Duration,
}

/// What became of a message.
pub(super) enum Word {
    /// The network has taken it.
    Taken { ids: MessageIds, effect: Effect },
    /// The network has refused it, or cannot be reached.
    Refused(MessageIds, Error),
    /// The network may have taken it.
    Unknown(MessageIds),
}

impl Courier {
    /// Returns the courier if downlinks are to go over HTTP.
    pub(super) fn new(options: &Options, job_done: Sender<Job>) -> Option<Self> {
        if options.downlinks != Over::Http {
            return None;
        }
        let hosts = Hosts::of(options)?;
        Some(Self {
            api: Api::new(hosts, options, options.access_key.clone(), TIMEOUT),
            job_done,
            errand: Errand::None,
            left: HashMap::new(),
            rests_until: None,
            last: 0,
        })
    }

    /// Uses another key from now on.
    pub(super) fn key_changed(&mut self, key: &AccessKey) {
        self.api = self.api.with_key(key.clone());
    }

    /// Returns whether it can take a message.
    pub(super) fn is_free(&self) -> bool {
        self.is_idle() && self.rests_until.is_none()
    }

    /// Returns whether it has no message.
    pub(super) fn is_idle(&self) -> bool {
        matches!(self.errand, Errand::None)
    }

    /// Returns whether the network may be taking a message at the moment.
    pub(super) fn is_asking(&self) -> bool {
        matches!(self.errand, Errand::Asked { .. })
    }

    /// Takes a message to the network.
    pub(super) fn take(&mut self, message: Message) {
        self.ask(message, 0);
    }

    /// Returns when [`on_time`](Self::on_time) is due.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        match self.errand {
            Errand::Waiting { until, .. } => Some(until),
            _ => self.rests_until,
        }
    }

    /// Repeats a request, and takes messages again, when it is time.
    pub(super) fn on_time(&mut self, now: Instant) {
        if self.next_deadline().is_none_or(|until| now < until) {
            return;
        }
        self.rests_until = None;
        if let Errand::Waiting {
            message, repeats, ..
        } = self.take_errand()
        {
            self.ask(message, repeats);
        }
    }

    /// Takes back a message that the network has certainly not taken.
    pub(super) fn take_back(&mut self) -> Option<Message> {
        match self.take_errand() {
            Errand::Waiting { message, .. } => Some(message),
            errand => {
                self.errand = errand;
                None
            }
        }
    }

    /// Stops waiting for an answer. Returns what the network may be taking.
    pub(super) fn leave(&mut self) -> Option<MessageIds> {
        match self.take_errand() {
            Errand::Asked { message, .. } => {
                self.left.insert(self.last, (message.ids, message.effect));
                Some(message.ids)
            }
            errand => {
                self.errand = errand;
                None
            }
        }
    }

    /// Handles an answer. Returns what became of the message, unless it is tried again.
    pub(super) fn told(&mut self, told: Told, now: Instant) -> Option<Word> {
        let Told {
            number,
            result,
            pause,
        } = told;
        if !pause.is_zero() {
            self.rests_until = now.checked_add(pause);
        }
        if let Some((ids, effect)) = self.left.remove(&number) {
            return result.is_ok().then_some(Word::Taken { ids, effect });
        }
        match self.take_errand() {
            Errand::Asked { message, repeats } => match judge(result, &message, repeats) {
                Judgement::Word(word) => Some(word),
                Judgement::Again { after, repeats } => {
                    self.errand = Errand::Waiting {
                        message,
                        repeats,
                        until: now + after,
                    };
                    None
                }
            },
            errand => {
                self.errand = errand;
                None
            }
        }
    }

    fn take_errand(&mut self) -> Errand {
        std::mem::replace(&mut self.errand, Errand::None)
    }

    fn ask(&mut self, message: Message, repeats: u32) {
        self.last += 1;
        let number = self.last;
        let (api, done) = (self.api.clone(), self.job_done.clone());
        let (dev_id, effect) = (Arc::clone(&message.dev_id), message.effect);
        let body = message.payload.clone();
        let started = process::start_thread("ttn-courier", move || {
            let result = match effect {
                Effect::Adds => api.push(&dev_id, &body),
                Effect::Replaces | Effect::Clears => api.replace(&dev_id, &body),
            };
            let told = Told {
                number,
                result,
                pause: api.last_limits().pause(),
            };
            // The session may have ended.
            let _ = done.send(Job::Told(told));
        });
        self.errand = Errand::Asked { message, repeats };
        if let Err(cause) = started {
            let told = Told {
                number,
                result: Err(Failure::no_thread(cause)),
                pause: Duration::ZERO,
            };
            let _ = self.job_done.send(Job::Told(told));
        }
    }
}

enum Judgement {
    Word(Word),
    Again { after: Duration, repeats: u32 },
}

/// Decides what an answer means for a message, whose request was repeated this often.
fn judge(result: Result<(), Failure>, message: &Message, repeats: u32) -> Judgement {
    let (ids, effect) = (message.ids, message.effect);
    let failure = match result {
        Ok(()) => return Judgement::Word(Word::Taken { ids, effect }),
        Err(failure) => failure,
    };
    if let Failure::Refused(refusal) = &failure {
        if refusal.meaning() == Meaning::RateLimited {
            return Judgement::Again {
                after: refusal.wait.unwrap_or(LIMITED_WAIT),
                repeats,
            };
        }
    }
    match taken(&failure) {
        Taken::Never => Judgement::Word(Word::Refused(ids, refused(&message.dev_id, failure))),
        Taken::NotYet if repeats < MAX_REPEATS => Judgement::Again {
            after: FIRST_WAIT * 2_u32.pow(repeats),
            repeats: repeats + 1,
        },
        Taken::NotYet => Judgement::Word(Word::Refused(ids, refused(&message.dev_id, failure))),
        // To empty a queue twice is the same as once.
        Taken::Perhaps if effect == Effect::Clears && repeats < MAX_REPEATS => Judgement::Again {
            after: FIRST_WAIT * 2_u32.pow(repeats),
            repeats: repeats + 1,
        },
        Taken::Perhaps => {
            log::debug!(
                "it is not known whether a downlink to {} was taken: {failure}",
                message.dev_id
            );
            Judgement::Word(Word::Unknown(ids))
        }
    }
}

/// Whether the network has taken a request that was not answered with success.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Taken {
    Never,
    /// It has not, and may take a repetition.
    NotYet,
    Perhaps,
}

fn taken(failure: &Failure) -> Taken {
    match failure {
        Failure::Refused(refusal) => match refusal.meaning() {
            Meaning::NoIdentityServer => Taken::NotYet,
            Meaning::Busy => Taken::Perhaps,
            _ => Taken::Never,
        },
        Failure::Unreadable { .. } => Taken::Perhaps,
        Failure::Unanswered(failure) if failure.is_unsent => Taken::NotYet,
        Failure::Unanswered(_) => Taken::Perhaps,
    }
}

/// Explains why the network has not taken a downlink.
fn refused(dev_id: &str, failure: Failure) -> Error {
    let kind = match failure.kind() {
        kind @ ErrorKind::NotAuthorized => kind,
        _ if matches!(failure, Failure::Refused(_)) => ErrorKind::DownlinkFailed,
        kind => kind,
    };
    let text = format!("the network has not taken a downlink to {dev_id}: {failure}");
    match failure {
        Failure::Refused(refusal) => match refusal.details {
            Some(details) => Error::with_source(kind, text, *details),
            None => Error::new(kind, text),
        },
        Failure::Unanswered(failure) => Error::with_source(kind, text, failure.source),
        Failure::Unreadable { .. } => Error::new(kind, text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{api::Refusal, downlink::WaitingRoom, http};

    fn message(effect: Effect) -> Message {
        Message {
            ids: MessageIds::new(7, 1),
            topic: String::new(),
            payload: b"{}".to_vec(),
            dev_id: "bed-07".into(),
            batch: 7,
            has_next: false,
            effect,
            correlation_id: None,
            followed: Vec::new(),
            _room: WaitingRoom::default().take(1, 1).unwrap(),
        }
    }

    /// Returns what an answer means for a message that was repeated this often.
    fn judged(result: Result<(), Failure>, effect: Effect, repeats: u32) -> String {
        match judge(result, &message(effect), repeats) {
            Judgement::Word(Word::Taken { .. }) => "taken".to_owned(),
            Judgement::Word(Word::Unknown(_)) => "unknown".to_owned(),
            Judgement::Word(Word::Refused(_, error)) => format!("refused: {error}"),
            Judgement::Again { after, repeats } => format!("again after {after:?}, {repeats}"),
        }
    }

    fn refusal(status: u16, body: &str) -> Result<(), Failure> {
        let key = AccessKey::new("NNSXS.ID.A-LONG-ENOUGH-SECRET".to_owned());
        let refusal = Refusal::of(status, body.as_bytes(), &key);
        Err(Failure::Refused(Box::new(refusal)))
    }

    fn unanswered(is_unsent: bool) -> Result<(), Failure> {
        Err(Failure::Unanswered(http::Failure {
            kind: Some(ErrorKind::ConnectionLost),
            is_transient: true,
            seen: "it closed the connection".to_owned(),
            has_advice: false,
            is_unsent,
            source: "closed".into(),
        }))
    }

    const IDENTITY_SERVER: &str =
        include_str!("../../tests/fixtures/v3-http/error-503-identity-server.json");
    const LIMITED: &str = include_str!("../../tests/fixtures/v3-http/error-429.json");
    const UNKNOWN_DEVICE: &str = include_str!("../../tests/fixtures/v3-http/error-404-device.json");

    #[test]
    fn only_what_the_network_certainly_has_not_taken_is_sent_again() {
        let adds = |result| judged(result, Effect::Adds, 0);
        assert_eq!(adds(Ok(())), "taken");
        assert_eq!(adds(unanswered(true)), "again after 1s, 1");
        assert_eq!(adds(refusal(503, IDENTITY_SERVER)), "again after 1s, 1");
        assert_eq!(adds(unanswered(false)), "unknown");
        assert_eq!(adds(refusal(500, "{}")), "unknown");
        assert_eq!(adds(refusal(502, "<html>")), "unknown");
        let unreadable = Failure::Unreadable {
            why: "it is no JSON".to_owned(),
            source: None,
        };
        assert_eq!(adds(Err(unreadable)), "unknown");
    }

    #[test]
    fn a_queue_may_be_emptied_twice_and_replaced_once() {
        let lost = || unanswered(false);
        assert_eq!(judged(lost(), Effect::Clears, 0), "again after 1s, 1");
        assert_eq!(judged(lost(), Effect::Clears, MAX_REPEATS), "unknown");
        assert_eq!(judged(lost(), Effect::Replaces, 0), "unknown");
    }

    #[test]
    fn a_request_is_repeated_a_few_times_with_growing_waits() {
        let again = |repeats| judged(unanswered(true), Effect::Adds, repeats);
        assert_eq!(again(1), "again after 2s, 2");
        assert_eq!(again(3), "again after 8s, 4");
        assert!(again(MAX_REPEATS).starts_with("refused: "));
    }

    #[test]
    fn the_rate_limit_is_no_reason_to_give_up() {
        let limited = |repeats| judged(refusal(429, LIMITED), Effect::Adds, repeats);
        assert_eq!(limited(0), "again after 6s, 0");
        assert_eq!(limited(MAX_REPEATS), "again after 6s, 4");
    }

    #[test]
    fn a_refusal_has_the_words_and_the_parts_of_the_network() {
        let word = judge(refusal(404, UNKNOWN_DEVICE), &message(Effect::Adds), 0);
        let Judgement::Word(Word::Refused(_, error)) = word else {
            panic!("it is refused");
        };
        assert_eq!(error.kind(), ErrorKind::DownlinkFailed);
        assert!(error.to_string().contains("bed-07"), "{error}");
        let source = std::error::Error::source(&error).unwrap();
        assert!(source.is::<crate::message::ErrorDetails>());
    }
}
