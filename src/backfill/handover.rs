//! The way to the session: what was fetched, in order, as long as it is wanted.

use std::time::{Duration, Instant};

use crossbeam_channel::{Sender, select};

use super::Fetched;
use crate::sync::{Stop, is_stopped};

/// Nobody wants the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stopped;

/// How often to look whether the session has taken what was handed over.
const LOOK: Duration = Duration::from_millis(20);

#[derive(Debug)]
pub(super) struct Handover {
    number: u64,
    out: Sender<(u64, Fetched)>,
    stop: Stop,
}

impl Handover {
    pub(super) fn new(number: u64, out: Sender<(u64, Fetched)>, stop: Stop) -> Self {
        Self { number, out, stop }
    }

    pub(super) fn stop(&self) -> &Stop {
        &self.stop
    }

    /// Hands something over, once there is room.
    pub(super) fn hand(&self, fetched: Fetched) -> Result<(), Stopped> {
        self.check()?;
        select! {
            send(self.out, (self.number, fetched)) -> sent => sent.map_err(|_| Stopped),
            recv(self.stop) -> _ => Err(Stopped),
        }
    }

    /// Hands over the last thing. One that nobody waits for may not arrive.
    pub(super) fn hand_last(&self, fetched: Fetched) {
        match is_stopped(&self.stop) {
            true => drop(self.out.try_send((self.number, fetched))),
            false => drop(self.hand(fetched)),
        }
    }

    pub(super) fn wait(&self, time: Duration) -> Result<(), Stopped> {
        select! {
            recv(self.stop) -> _ => Err(Stopped),
            default(time) => Ok(()),
        }
    }

    pub(super) fn wait_until(&self, time: Instant) -> Result<(), Stopped> {
        self.wait(time.saturating_duration_since(Instant::now()))
    }

    /// Returns an error if nobody wants the rest.
    pub(super) fn check(&self) -> Result<(), Stopped> {
        match is_stopped(&self.stop) {
            true => Err(Stopped),
            false => Ok(()),
        }
    }

    /// Waits until the session has taken everything.
    pub(super) fn wait_until_taken(&self) -> Result<(), Stopped> {
        while !self.out.is_empty() {
            self.wait(LOOK)?;
        }
        Ok(())
    }
}
