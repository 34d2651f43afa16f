//! What the session asks over HTTP. The questions run on threads of their own, a few at a time, and the
//! answers come back as jobs.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use crossbeam_channel::Sender;

use super::{Job, Session, device_inquiry};
use crate::{
    api::{Api, Hosts},
    config::{AccessKey, Options},
    downlink::{Answer, Lookup, NotSeen},
    inquiry::{self, Verdict},
    mqtt::Attempt,
    process,
};

/// How long one question may take.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The most questions at a time.
const MAX_ASKED: usize = 2;

/// The most questions that an attempt to connect waits for. Each ends with the attempt, unless the name
/// lookup of the system hangs.
const MAX_AT_ONCE: usize = 2;

/// A question over HTTP.
#[derive(Clone, Debug)]
pub(super) enum Inquiry {
    /// Why an attempt was refused with the key of this number.
    Why {
        attempt: Attempt,
        key: u64,
        app_id: Arc<str>,
        deadline: Instant,
    },
    /// What became of the downlinks to a device.
    Device(Lookup),
}

/// The answer to an [`Inquiry`].
#[derive(Debug)]
pub(super) enum Findings {
    Why {
        attempt: Attempt,
        key: u64,
        verdict: Verdict,
    },
    /// What the key of this number allows.
    Rights {
        key: u64,
        verdict: Verdict,
    },
    Device(Arc<str>, Answer),
}

/// The questions that wait, and how to ask them.
pub(super) struct Asking {
    /// `None` if the client asks nothing.
    api: Option<Api>,
    job_done: Sender<Job>,
    asked: usize,
    asked_at_once: usize,
    waiting: VecDeque<Inquiry>,
}

impl Asking {
    pub(super) fn new(options: &Options, job_done: Sender<Job>) -> Self {
        let hosts = Hosts::of(options).filter(|_| options.http.asks);
        Self {
            api: hosts.map(|hosts| Api::new(hosts, options, options.access_key.clone(), TIMEOUT)),
            job_done,
            asked: 0,
            asked_at_once: 0,
            waiting: VecDeque::new(),
        }
    }

    /// Returns whether the client can ask.
    pub(super) fn is_possible(&self) -> bool {
        self.api.is_some()
    }

    /// Uses another key from now on.
    pub(super) fn key_changed(&mut self, key: &AccessKey) {
        if let Some(api) = &mut self.api {
            *api = api.with_key(key.clone());
        }
    }

    /// Asks as soon as fewer than [`MAX_ASKED`] questions are open. The answer is a [`Job::Found`].
    pub(super) fn ask(&mut self, inquiry: Inquiry) {
        if self.is_possible() {
            self.waiting.push_back(inquiry);
            self.ask_next();
        }
    }

    /// Asks without waiting for other questions. Returns `false` if that is not possible.
    pub(super) fn ask_at_once(&mut self, inquiry: Inquiry) -> bool {
        if !self.is_possible() || self.asked_at_once >= MAX_AT_ONCE {
            return false;
        }
        self.asked_at_once += 1;
        self.start(inquiry);
        true
    }

    /// Asks what the key of this number allows, unless another client of the process has asked the same in
    /// the last `max_age`.
    pub(super) fn ask_rights(&self, key: u64, max_age: Duration) {
        let Some(api) = &self.api else { return };
        let done = self.job_done.clone();
        inquiry::share_rights(api, max_age, TIMEOUT, move |verdict| {
            // The session may have ended.
            let _ = done.send(Job::Found(Findings::Rights { key, verdict }));
        });
    }

    /// Notes that an answer has come.
    fn answered(&mut self, findings: &Findings) {
        match findings {
            Findings::Rights { .. } => {}
            Findings::Why { .. } => self.asked_at_once -= 1,
            Findings::Device(..) => {
                self.asked -= 1;
                self.ask_next();
            }
        }
    }

    fn ask_next(&mut self) {
        while self.asked < MAX_ASKED {
            let Some(inquiry) = self.waiting.pop_front() else {
                return;
            };
            self.asked += 1;
            self.start(inquiry);
        }
    }

    /// Starts a thread that asks. A job follows in any case.
    fn start(&self, inquiry: Inquiry) {
        let Some(api) = self.api.clone() else { return };
        let reply = Reply {
            findings: Some(inquiry.unasked()),
            done: self.job_done.clone(),
        };
        let started = process::start_thread("ttn-ask", move || reply.send(inquiry.ask(&api)));
        if let Err(cause) = started {
            log::debug!("cannot ask the network over HTTP: {cause}");
        }
    }
}

/// The way back from a thread. If the thread does not start, or panics, the session learns that it has no
/// answer.
struct Reply {
    findings: Option<Findings>,
    done: Sender<Job>,
}

impl Reply {
    fn send(mut self, findings: Findings) {
        self.findings = Some(findings);
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        if let Some(findings) = self.findings.take() {
            // The session may have ended.
            let _ = self.done.send(Job::Found(findings));
        }
    }
}

impl Session {
    /// Handles the answer to a question.
    pub(super) fn on_found(&mut self, findings: Findings) {
        self.asking.answered(&findings);
        match findings {
            Findings::Why {
                attempt,
                key,
                verdict,
            } => self.on_reason(attempt, key, verdict),
            Findings::Rights { key, verdict } => self.on_rights(key, verdict),
            Findings::Device(dev_id, answer) => {
                self.sending.answered(&dev_id, &answer, Instant::now());
            }
        }
    }
}

impl Inquiry {
    fn ask(self, api: &Api) -> Findings {
        match self {
            Self::Why {
                attempt,
                key,
                app_id,
                deadline,
            } => Findings::Why {
                attempt,
                key,
                verdict: inquiry::ask_why_refused(api, &app_id, deadline),
            },
            Self::Device(lookup) => {
                let answer = device_inquiry::ask(api, &lookup);
                Findings::Device(lookup.dev_id, answer)
            }
        }
    }

    /// Returns the answer if nobody can ask.
    fn unasked(&self) -> Findings {
        let why = || "no thread could ask the network over HTTP".to_owned();
        match self {
            Self::Why { attempt, key, .. } => Findings::Why {
                attempt: *attempt,
                key: *key,
                verdict: Verdict::NotKnown(why()),
            },
            Self::Device(lookup) => {
                let not_seen = NotSeen {
                    why: why(),
                    wait: None,
                };
                Findings::Device(Arc::clone(&lookup.dev_id), Err(not_seen))
            }
        }
    }
}
