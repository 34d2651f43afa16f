//! What a v3 server answers over HTTP: one file for each subject, one reader of answers and errors, one
//! place that knows hosts and paths. A call that fails returns a [`Failure`], and its caller, who knows
//! what the answer is for, turns that into an error. Calls block, within their timeout.

mod answer;
mod application;
mod caller;
mod connection_info;
mod device;
mod event_stream;
mod frames;
mod hosts;
mod last;
mod limits;
mod meaning;
mod queue;
mod refusal;
mod secrecy;
mod storage;
mod survey;
#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use crate::{
    config::{AccessKey, Certificates, Options, WayOut},
    http::BeforeWait,
    sync::Stop,
};

pub(crate) use answer::Failure;
pub(crate) use caller::{Caller, Owner};
pub(crate) use connection_info::ConnectionInfo;
pub(crate) use device::Counted;
pub(crate) use frames::{Flaw, Frames};
pub(crate) use hosts::Hosts;
pub(crate) use limits::Limits;
pub(crate) use meaning::Meaning;
pub(crate) use refusal::Refusal;
pub(crate) use storage::Stored;
pub(crate) use survey::{Contact, Listed};

use last::Last;
use storage::NoStorage;

/// The servers of a network, and how to ask them about one application. A clone starts without a
/// [last answer](Self::last_limits).
#[derive(Clone, Debug)]
pub(crate) struct Api {
    hosts: Hosts,
    /// Without its tenant.
    application: String,
    key: AccessKey,
    certificates: Arc<Certificates>,
    way_out: WayOut,
    /// For one call.
    timeout: Duration,
    /// What ends the calls.
    stop: Option<Stop>,
    /// What happens each time before a call waits for the next part of a stream.
    before_wait: Option<BeforeWait>,
    last: Last,
    /// Shared by all clones.
    no_storage: NoStorage,
}

impl Api {
    pub(crate) fn new(hosts: Hosts, options: &Options, key: AccessKey, timeout: Duration) -> Self {
        let application = options.network.application_of(&options.app_id);
        Self {
            hosts,
            application: application.to_owned(),
            key,
            certificates: Arc::clone(&options.certificates),
            way_out: options.way_out.clone(),
            timeout,
            stop: None,
            before_wait: None,
            last: Last::default(),
            no_storage: NoStorage::default(),
        }
    }

    /// Returns the same with another limit for each call.
    pub(crate) fn within(&self, timeout: Duration) -> Self {
        Self {
            timeout,
            ..self.clone()
        }
    }

    /// Returns the same whose calls end when the other end of `stop` is gone.
    pub(crate) fn until(&self, stop: &Stop) -> Self {
        Self {
            stop: Some(stop.clone()),
            ..self.clone()
        }
    }

    /// Returns the same that does something each time before it waits for the next part of a stream.
    pub(crate) fn before_wait(self, act: impl Fn() + Send + Sync + 'static) -> Self {
        Self {
            before_wait: Some(BeforeWait::new(act)),
            ..self
        }
    }

    /// Returns the same with another key.
    pub(crate) fn with_key(&self, key: AccessKey) -> Self {
        Self {
            key,
            ..self.clone()
        }
    }

    /// Returns the state of the rate limit that the last answer to a call told, refused or not; nothing
    /// if there was no answer or no limit.
    pub(crate) fn last_limits(&self) -> Limits {
        self.last.limits()
    }

    /// How long a call may take.
    pub(crate) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Returns whether a registered server address is that of the Application Server.
    pub(crate) fn is_at(&self, address: &str) -> bool {
        self.hosts.is_application_server(address)
    }

    /// The Application Server, as a URL.
    pub(crate) fn server(&self) -> &str {
        self.hosts.of_task(hosts::Task::Application)
    }

    pub(crate) fn hosts(&self) -> &Hosts {
        &self.hosts
    }

    pub(crate) fn key(&self) -> &AccessKey {
        &self.key
    }

    /// Returns whether words, which may be a server's, contain a part of the key.
    pub(crate) fn is_revealing(&self, words: &str) -> bool {
        secrecy::reveals(words, &self.key)
    }

    /// The id of the application, without its tenant.
    pub(crate) fn application(&self) -> &str {
        &self.application
    }

    fn of_application(&self, path: &str) -> String {
        format!("/api/v3/applications/{}{path}", self.application)
    }

    fn of_application_server(&self, path: &str) -> String {
        format!("/api/v3/as/applications/{}{path}", self.application)
    }

    fn of_network_server(&self, path: &str) -> String {
        format!("/api/v3/ns/applications/{}{path}", self.application)
    }
}
