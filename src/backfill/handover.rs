//! The way to the session: what was fetched, in order, as long as it is wanted.

use std::{
    mem,
    sync::Mutex,
    time::{Duration, Instant},
};

use crossbeam_channel::{Sender, TrySendError, bounded, select};

use super::{Fetched, Parcel};
use crate::sync::{Stop, is_stopped, lock};

/// Nobody wants the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stopped;

/// How much is handed over at a time, so that the session is not woken for each uplink.
const PARCEL: usize = 32;

#[derive(Debug)]
pub(super) struct Handover {
    number: u64,
    out: Sender<Parcel>,
    stop: Stop,
    /// What will be handed over together.
    waiting: Mutex<Vec<Fetched>>,
}

impl Handover {
    pub(super) fn new(number: u64, out: Sender<Parcel>, stop: Stop) -> Self {
        Self {
            number,
            out,
            stop,
            waiting: Mutex::default(),
        }
    }

    pub(super) fn stop(&self) -> &Stop {
        &self.stop
    }

    /// Hands something over, with what follows at once. Everything is to be handed over before a wait for more:
    /// [`flush`](Self::flush).
    pub(super) fn hand(&self, fetched: Fetched) -> Result<(), Stopped> {
        self.check()?;
        let is_due = {
            let mut waiting = lock(&self.waiting);
            waiting.push(fetched);
            waiting.len() >= PARCEL
        };
        match is_due {
            true => self.flush(),
            false => Ok(()),
        }
    }

    /// Hands over what waits, once there is room.
    pub(super) fn flush(&self) -> Result<(), Stopped> {
        let parcel = mem::take(&mut *lock(&self.waiting));
        if parcel.is_empty() {
            return Ok(());
        }
        match self.out.try_send((self.number, parcel)) {
            Ok(()) => Ok(()),
            Err(TrySendError::Disconnected(_)) => Err(Stopped),
            Err(TrySendError::Full(parcel)) => select! {
                send(self.out, parcel) -> sent => sent.map_err(|_| Stopped),
                recv(self.stop) -> _ => Err(Stopped),
            },
        }
    }

    /// Hands over the last thing. One that nobody waits for may not arrive.
    pub(super) fn hand_last(&self, fetched: Fetched) {
        if is_stopped(&self.stop) {
            let _ = self.out.try_send((self.number, vec![fetched]));
        } else if self.hand(fetched).is_ok() {
            let _ = self.flush();
        }
    }

    pub(super) fn wait(&self, time: Duration) -> Result<(), Stopped> {
        self.flush()?;
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

    /// Waits until the session has dealt with everything.
    pub(super) fn wait_until_taken(&self) -> Result<(), Stopped> {
        let (taken, all_taken) = bounded(0);
        self.hand(Fetched::Mark(taken))?;
        self.flush()?;
        select! {
            recv(all_taken) -> _ => Ok(()),
            recv(self.stop) -> _ => Err(Stopped),
        }
    }
}
