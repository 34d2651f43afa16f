//! Fetching a time on request.

use std::{
    fmt,
    ops::Range,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use crossbeam_channel::{Receiver, RecvTimeoutError, bounded};

use super::{Core, MqttClient, gone};
use crate::{
    error::{Error, Result},
    message::{BackfillProgress, Backfilled},
    session::{Command, FillRequest},
};

/// How often progress is told.
const TELL: Duration = Duration::from_millis(100);

/// A backfill that was asked for with [`MqttClient::backfill`]. Dropping it does not end the backfill.
pub struct Backfilling {
    core: Arc<Core>,
    ended: Receiver<Arc<Backfilled>>,
}

impl MqttClient {
    /// Fetches the uplinks of a time, by the network's clock, in the background. Those that this client has not
    /// delivered yet become events like all others, and [`Event::Backfilled`](crate::Event::Backfilled) follows.
    pub fn backfill(&self, time: Range<SystemTime>) -> Result<Backfilling> {
        let core = self.core();
        core.check_process()?;
        if core.options.backfill.is_none() {
            return Err(Error::config(
                "this client remembers nothing that a backfill needs; set backfill(Backfill::on_request()), or Backfill::new(), on its builder",
            ));
        }
        if time.start >= time.end {
            return Err(Error::config("the time to fetch ends before it begins"));
        }
        let (reply, ended) = bounded(1);
        self.command(Command::Fill(FillRequest { time, reply }))?;
        Ok(Backfilling {
            core: Arc::clone(&self.handle.core),
            ended,
        })
    }

    /// Returns how far the backfill has got that runs; `None` if none does.
    pub fn backfill_progress(&self) -> Option<BackfillProgress> {
        let core = self.core();
        core.is_here()
            .then(|| core.link.status.backfill())
            .flatten()
    }
}

impl Backfilling {
    /// Waits for the end.
    pub fn wait(self) -> Result<Backfilled> {
        self.wait_with(|_| {})
    }

    /// Waits for the end, and tells how far the backfill has got, several times a second.
    pub fn wait_with(self, mut progress: impl FnMut(&BackfillProgress)) -> Result<Backfilled> {
        loop {
            match self.ended.recv_deadline(Instant::now() + TELL) {
                Ok(ended) => return Ok(Arc::unwrap_or_clone(ended)),
                Err(RecvTimeoutError::Disconnected) => return Err(gone()),
                Err(RecvTimeoutError::Timeout) => {
                    self.core.check_process()?;
                    if let Some(now) = self.core.link.status.backfill() {
                        progress(&now);
                    }
                }
            }
        }
    }
}

impl fmt::Debug for Backfilling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Backfilling").finish_non_exhaustive()
    }
}
