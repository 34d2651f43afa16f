//! Replaying a recording in time.

use std::{
    fmt,
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, Sender, bounded};

use super::{Pacing, Recorded};
use crate::error::Result;

/// An iterator that returns each message of a recording when it is due. The work between two messages does not add
/// up: a message that is late is returned at once.
///
/// ```
/// use ttn::{Pacing, Recording, Replay, Speed};
///
/// let text = r#"{"recording":1,"network":"v2"}
/// {"time":"2026-03-01T12:00:00.000000000Z","topic":"my-app/devices/dev-1/up/temperature","payload":"21.5"}
/// {"time":"2026-03-01T12:00:10.000000000Z","topic":"my-app/devices/dev-1/up/temperature","payload":"21.0"}
/// "#;
/// let recording = Recording::new(text.as_bytes());
/// let replay = Replay::new(recording, Pacing::new(Speed::times(1_000.0)?));
/// assert_eq!(replay.count(), 2); // after 10 ms
/// # Ok::<(), ttn::Error>(())
/// ```
///
/// Into the simulated network, from which any client receives the messages:
///
/// ```
/// use ttn::{MqttClient, Network, Pacing, Recording, Replay, Speed, simulator::Simulator};
/// # let text = r#"{"recording":1,"network":"v3"}
/// # {"time":"2026-03-01T12:00:00.000000000Z","topic":"v3/simulated-app@ttn/devices/dev-1/up","payload":"{\"uplink_message\":{\"f_cnt\":7}}"}"#;
/// # let recording = Recording::new(text.as_bytes());
///
/// let network = Simulator::start(Network::V3)?;
/// # let client = MqttClient::builder(network.app_id(), network.access_key()).mqtt_address(network.mqtt_address()).build()?;
/// # let events = client.events();
/// # client.connect()?;
/// for recorded in Replay::new(recording, Pacing::new(Speed::MAX)) {
///     let recorded = recorded?;
///     network.publish(recorded.raw().topic(), recorded.raw().payload());
/// }
/// # assert!(events.iter().any(|event| matches!(event, ttn::Event::Uplink(_))));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Replay<I> {
    recording: I,
    pacing: Pacing,
    /// When the last message was due.
    due: Option<Instant>,
    sender: Sender<()>,
    stopped: Receiver<()>,
}

/// Ends a [`Replay`] from another thread.
///
/// ```
/// use std::thread;
/// use ttn::{Pacing, Recording, Replay, Speed};
///
/// let text = r#"{"time":"2026-03-01T12:00:00.000000000Z","topic":"a","payload":"1"}
/// {"time":"2026-03-01T12:30:00.000000000Z","topic":"a","payload":"2"}"#;
/// let replay = Replay::new(Recording::new(text.as_bytes()), Pacing::new(Speed::ORIGINAL));
/// let stopper = replay.stopper();
/// thread::spawn(move || stopper.stop());
/// assert!(replay.count() < 2); // without waiting for half an hour
/// ```
#[derive(Clone, Debug)]
pub struct ReplayStopper(Sender<()>);

impl ReplayStopper {
    /// Ends the replay, even while it waits: its iterator returns `None` from now on. Does not wait.
    ///
    /// ```
    /// # use ttn::{Pacing, Recording, Replay, Speed};
    /// # let text = r#"{"topic":"a","payload":"1"}"#;
    /// let mut replay = Replay::new(Recording::new(text.as_bytes()), Pacing::new(Speed::ORIGINAL));
    /// replay.stopper().stop();
    /// assert!(replay.next().is_none());
    /// ```
    pub fn stop(&self) {
        // If it is full, it was stopped before.
        let _ = self.0.try_send(());
    }
}

impl<I: Iterator<Item = Result<Recorded>>> Replay<I> {
    /// Returns the messages of a [`Recording`](crate::Recording) in time. The first one is due when it is asked for.
    ///
    /// ```
    /// use ttn::{Pacing, Recording, Replay, Speed};
    ///
    /// let replay = Replay::new(Recording::new("".as_bytes()), Pacing::new(Speed::MAX));
    /// assert_eq!(replay.count(), 0);
    /// ```
    pub fn new(recording: I, pacing: Pacing) -> Self {
        let (sender, stopped) = bounded(1);
        Self {
            recording,
            pacing,
            due: None,
            sender,
            stopped,
        }
    }

    /// Waits until a time. Returns `false` if the replay was stopped.
    fn wait_until(&self, due: Option<Instant>) -> bool {
        let stopped = match due {
            Some(due) => self.stopped.recv_deadline(due).is_ok(),
            None => self.stopped.try_recv().is_ok(),
        };
        if stopped {
            let _ = self.sender.try_send(());
        }
        !stopped
    }

    fn due_after(&mut self, delay: Duration) -> Option<Instant> {
        let now = Instant::now();
        let due = self.due.unwrap_or(now).checked_add(delay);
        self.due = due;
        due.filter(|due| *due > now)
    }
}

impl<I> Replay<I> {
    /// Returns what ends the replay from another thread.
    ///
    /// ```
    /// # use ttn::{Pacing, Recording, Replay, Speed};
    /// let replay = Replay::new(Recording::new("".as_bytes()), Pacing::new(Speed::ORIGINAL));
    /// let stopper = replay.stopper();
    /// ```
    pub fn stopper(&self) -> ReplayStopper {
        ReplayStopper(self.sender.clone())
    }
}

/// An error of the recording is returned at once.
impl<I: Iterator<Item = Result<Recorded>>> Iterator for Replay<I> {
    type Item = Result<Recorded>;

    fn next(&mut self) -> Option<Result<Recorded>> {
        if !self.wait_until(None) {
            return None;
        }
        let item = self.recording.next()?;
        if let Ok(recorded) = &item {
            let delay = self.pacing.delay(recorded.time);
            let due = self.due_after(delay);
            if !self.wait_until(due) {
                return None;
            }
        }
        Some(item)
    }
}

impl<I> fmt::Debug for Replay<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replay")
            .field("pacing", &self.pacing)
            .finish_non_exhaustive()
    }
}
