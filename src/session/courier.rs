//! Takes downlinks to the network over HTTP: one request at a time, on a thread of its own.

use std::{
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
    /// The client has left the connection and does not wait for the answer.
    Left {
        ids: MessageIds,
        effect: Effect,
    },
}

/// What the network has answered, or not, to a request.
#[derive(Debug)]
pub(super) struct Told {
    number: u64,
    result: Result<(), Failure>,
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
            last: 0,
        })
    }

    /// Uses another key from now on.
    pub(super) fn key_changed(&mut self, key: &AccessKey) {
        self.api = self.api.with_key(key.clone());
    }

    /// Returns whether it can take a message.
    pub(super) fn is_free(&self) -> bool {
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
            _ => None,
        }
    }

    /// Repeats a request when it is time.
    pub(super) fn on_time(&mut self, now: Instant) {
        if self.next_deadline().is_none_or(|until| now < until) {
            return;
        }
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
                let (ids, effect) = (message.ids, message.effect);
                self.errand = Errand::Left { ids, effect };
                Some(ids)
            }
            errand => {
                self.errand = errand;
                None
            }
        }
    }

    /// Handles an answer. Returns what became of the message, unless it is tried again.
    pub(super) fn told(&mut self, told: Told, now: Instant) -> Option<Word> {
        if told.number != self.last {
            return None;
        }
        match self.take_errand() {
            Errand::Asked { message, repeats } => match judge(told.result, &message, repeats) {
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
            Errand::Left { ids, effect } => {
                told.result.is_ok().then_some(Word::Taken { ids, effect })
            }
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
            // The session may have ended.
            let _ = done.send(Job::Told(Told { number, result }));
        });
        self.errand = Errand::Asked { message, repeats };
        if let Err(cause) = started {
            let result = Err(Failure::no_thread(cause));
            let _ = self.job_done.send(Job::Told(Told { number, result }));
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
