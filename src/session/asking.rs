//! What the session asks over HTTP. The questions run on threads of their own, a few at a time, and the
//! answers come back as jobs.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use crossbeam_channel::Sender;

use super::Job;
use crate::{
    api::{Api, Caller, Failure, Hosts, Queued},
    config::{AccessKey, Options},
    process,
};

/// How long one question may take.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The most questions at a time.
const MAX_ASKED: usize = 2;

/// A question over HTTP.
#[derive(Debug)]
pub(super) enum Inquiry {
    /// Whose key it is, and what it allows.
    Caller,
    /// What waits in the queue of a device.
    Queue(Arc<str>),
}

/// The answer to an [`Inquiry`].
#[derive(Debug)]
pub(super) enum Findings {
    Caller(Result<Caller, Failure>),
    Queue(Arc<str>, Result<Vec<Queued>, Failure>),
}

/// The questions that wait, and how to ask them.
pub(super) struct Asking {
    /// `None` if the client asks nothing.
    api: Option<Api>,
    job_done: Sender<Job>,
    asked: usize,
    waiting: VecDeque<Inquiry>,
}

impl Asking {
    pub(super) fn new(options: &Options, job_done: Sender<Job>) -> Self {
        let hosts = Hosts::of(options).filter(|_| options.http.asks);
        Self {
            api: hosts.map(|hosts| Api::new(hosts, options, options.access_key.clone(), TIMEOUT)),
            job_done,
            asked: 0,
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

    /// Notes that an answer has come.
    pub(super) fn answered(&mut self) {
        self.asked -= 1;
        self.ask_next();
    }

    fn ask_next(&mut self) {
        let Some(api) = &self.api else { return };
        while self.asked < MAX_ASKED {
            let Some(inquiry) = self.waiting.pop_front() else {
                return;
            };
            let api = api.clone();
            let done = self.job_done.clone();
            let started = process::start_thread("ttn-ask", move || {
                let findings = inquiry.ask(&api);
                // The session may have ended.
                let _ = done.send(Job::Found(findings));
            });
            match started {
                Ok(_) => self.asked += 1,
                Err(cause) => {
                    log::debug!("cannot ask the network over HTTP: {cause}");
                    return;
                }
            }
        }
    }
}

impl Inquiry {
    fn ask(self, api: &Api) -> Findings {
        match self {
            Self::Caller => Findings::Caller(api.caller()),
            Self::Queue(dev_id) => {
                let queue = api.queue(&dev_id);
                Findings::Queue(dev_id, queue)
            }
        }
    }
}
