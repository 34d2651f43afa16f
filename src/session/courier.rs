//! Takes downlinks to the network over HTTP: one request at a time, on a thread of its own.

use std::{
    collections::HashMap,
    io,
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
    round: Round,
}

/// What the courier does, and when. Pure state.
#[derive(Default)]
struct Round {
    errand: Errand,
    /// The requests whose answers the client has stopped waiting for, by their numbers.
    left: HashMap<u64, (MessageIds, Effect)>,
    /// The number of the last request.
    last: u64,
}

/// A request to make.
struct Request {
    number: u64,
    dev_id: Arc<str>,
    effect: Effect,
    body: Vec<u8>,
}

#[derive(Default)]
enum Errand {
    #[default]
    None,
    /// The network wants no request before that time.
    Resting {
        until: Instant,
    },
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
    /// How long the network wants no further request.
    pause: Duration,
}

/// What became of a message.
pub(super) enum Word {
    /// The network has taken it.
    Taken { ids: MessageIds, effect: Effect },
    /// The network has taken it, after the client stopped waiting for the answer.
    TakenLate { ids: MessageIds, effect: Effect },
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
            round: Round::default(),
        })
    }

    /// Uses another key from now on.
    pub(super) fn key_changed(&mut self, key: &AccessKey) {
        self.api = self.api.with_key(key.clone());
    }

    /// Returns whether it can take a message.
    pub(super) fn is_free(&self) -> bool {
        matches!(self.round.errand, Errand::None)
    }

    /// Returns whether it has no message.
    pub(super) fn is_idle(&self) -> bool {
        matches!(self.round.errand, Errand::None | Errand::Resting { .. })
    }

    /// Returns whether the network may be taking a message at the moment.
    pub(super) fn is_asking(&self) -> bool {
        matches!(self.round.errand, Errand::Asked { .. })
    }

    /// Takes a message to the network.
    pub(super) fn take(&mut self, message: Message) {
        let request = self.round.take(message, 0);
        self.ask(request);
    }

    /// Returns when [`on_time`](Self::on_time) is due.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.round.next_deadline()
    }

    /// Repeats a request when it is time.
    pub(super) fn on_time(&mut self, now: Instant) {
        if let Some(request) = self.round.on_time(now) {
            self.ask(request);
        }
    }

    /// Takes back a message that the network has certainly not taken.
    pub(super) fn take_back(&mut self) -> Option<Message> {
        self.round.take_back()
    }

    /// Stops waiting for an answer. Returns what the network may be taking.
    pub(super) fn leave(&mut self) -> Option<MessageIds> {
        self.round.leave()
    }

    /// Handles an answer. Returns what became of the message, unless it is tried again.
    pub(super) fn told(&mut self, told: Told, now: Instant) -> Option<Word> {
        self.round.told(told, now)
    }

    fn ask(&self, request: Request) {
        let Request {
            number,
            dev_id,
            effect,
            body,
        } = request;
        let api = self.api.clone();
        let mut reply = Reply::new(number, self.job_done.clone());
        let started = process::start_thread("ttn-courier", move || {
            reply.begins();
            let result = match effect {
                Effect::Adds => api.push(&dev_id, &body),
                Effect::Replaces | Effect::Clears => api.replace(&dev_id, &body),
            };
            let pause = api.last_limits().pause();
            reply.send(result, pause);
        });
        if let Err(cause) = started {
            log::debug!("cannot send a downlink over HTTP: {cause}");
        }
    }
}

/// The way back from a thread. If the thread does not start, or panics, the session learns that too.
struct Reply {
    told: Option<Told>,
    done: Sender<Job>,
}

impl Reply {
    fn new(number: u64, done: Sender<Job>) -> Self {
        let told = Told {
            number,
            result: Err(Failure::no_thread(io::ErrorKind::WouldBlock.into())),
            pause: Duration::ZERO,
        };
        Self {
            told: Some(told),
            done,
        }
    }

    /// From now on, the network may take the message.
    fn begins(&mut self) {
        if let Some(told) = &mut self.told {
            told.result = Err(Failure::Unreadable {
                why: "the thread that sent the request has ended".to_owned(),
                source: None,
            });
        }
    }

    fn send(mut self, result: Result<(), Failure>, pause: Duration) {
        if let Some(told) = &mut self.told {
            told.result = result;
            told.pause = pause;
        }
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        if let Some(told) = self.told.take() {
            // The session may have ended.
            let _ = self.done.send(Job::Told(told));
        }
    }
}

impl Round {
    fn take(&mut self, message: Message, repeats: u32) -> Request {
        self.last += 1;
        let request = Request {
            number: self.last,
            dev_id: Arc::clone(&message.dev_id),
            effect: message.effect,
            body: message.payload.clone(),
        };
        self.errand = Errand::Asked { message, repeats };
        request
    }

    fn next_deadline(&self) -> Option<Instant> {
        match self.errand {
            Errand::Waiting { until, .. } | Errand::Resting { until } => Some(until),
            _ => None,
        }
    }

    fn on_time(&mut self, now: Instant) -> Option<Request> {
        if self.next_deadline().is_none_or(|until| now < until) {
            return None;
        }
        match std::mem::take(&mut self.errand) {
            Errand::Waiting {
                message, repeats, ..
            } => Some(self.take(message, repeats)),
            _ => None,
        }
    }

    fn take_back(&mut self) -> Option<Message> {
        match std::mem::take(&mut self.errand) {
            // It is as if the network had not been asked.
            Errand::Waiting { message, until, .. } => {
                self.errand = Errand::Resting { until };
                Some(message)
            }
            errand => {
                self.errand = errand;
                None
            }
        }
    }

    fn leave(&mut self) -> Option<MessageIds> {
        match std::mem::take(&mut self.errand) {
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

    fn told(&mut self, told: Told, now: Instant) -> Option<Word> {
        let Told {
            number,
            result,
            pause,
        } = told;
        if let Some((ids, effect)) = self.left.remove(&number) {
            return result.is_ok().then_some(Word::TakenLate { ids, effect });
        }
        if number != self.last {
            return None;
        }
        let word = match std::mem::take(&mut self.errand) {
            Errand::Asked { message, repeats } => match judge(result, &message, repeats) {
                Judgement::Word(word) => Some(word),
                Judgement::Again { after, repeats } => {
                    self.errand = Errand::Waiting {
                        message,
                        repeats,
                        until: now + after.max(pause),
                    };
                    return None;
                }
            },
            errand => {
                self.errand = errand;
                return None;
            }
        };
        if !pause.is_zero() {
            self.errand = Errand::Resting { until: now + pause };
        }
        word
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
            // Given up on the way, or aborted, by something that does not say how far it came.
            Meaning::Other if refusal.details.is_none() && matches!(refusal.status, 408 | 409) => {
                Taken::Perhaps
            }
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
mod tests;
