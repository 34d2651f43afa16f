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
///
/// While one thread waits, another one, or the callbacks, must take the uplinks:
///
/// ```no_run
/// use std::{thread, time::{Duration, SystemTime}};
/// use ttn::Event;
/// # use ttn::{Backfill, MqttClient};
/// # let client = MqttClient::builder("my-app@ttn", "NNSXS.ID.SECRET").cluster("eu1")
/// #     .backfill(Backfill::on_request())
/// #     .build()?;
///
/// let events = client.events();
/// let printer = thread::spawn(move || {
///     for event in events.iter() {
///         match event {
///             Event::Uplink(uplink) => println!("{} sent {}", uplink.dev_id, uplink.payload_hex()),
///             Event::Backfilled(_) => break,
///             _ => {}
///         }
///     }
/// });
/// let now = SystemTime::now();
/// let backfilling = client.backfill(now - Duration::from_secs(2 * 3600)..now)?;
/// let report = backfilling.wait_with(|progress| eprint!("\r{} uplinks", progress.delivered))?;
/// printer.join().expect("it has printed everything");
/// eprintln!("\n{report}");
/// # Ok::<(), ttn::Error>(())
/// ```
pub struct Backfilling {
    core: Arc<Core>,
    ended: Receiver<Arc<Backfilled>>,
}

impl MqttClient {
    /// Fetches the uplinks of a time, by the network's clock, in the background. v3 only.
    ///
    /// They become [`Event::Uplink`](crate::Event::Uplink) for all subscriptions and callbacks, in the order in
    /// which the network received them, except those that this client remembers to have delivered.
    /// [`Event::Backfilled`](crate::Event::Backfilled) follows. The client needs no connection for it, and does not
    /// look for gaps: it reads the time once, from the sources of
    /// [`backfill`](crate::MqttClientBuilder::backfill), which must be set. The time may be longer ago than
    /// [`max_age`](crate::Backfill::max_age), and its end is not part of it. What came in the last minutes may not be
    /// readable yet, because storage writes in batches. One backfill runs at a time; others wait for it.
    /// [`close`](Self::close) ends all of them.
    ///
    /// It does not wait: read [`events`](Self::events) until `Backfilled` comes, as below, or see
    /// [`Backfilling::wait`].
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`](crate::ErrorKind::Config) without the option, and if the time is empty;
    /// [`ErrorKind::Forked`](crate::ErrorKind::Forked). What goes wrong later is in the [`Backfilled`].
    ///
    /// ```
    /// # use std::time::{Duration, SystemTime};
    /// # use ttn::{Backfill, Event, MqttClient, Network, simulator::{Simulator, Storage}};
    /// # let network = Simulator::start(Network::V3)?;
    /// # network.storage(Some(Storage::new()));
    /// # network.device("bed-07").uplink(1, [0x15]);
    /// let client = MqttClient::builder(network.app_id(), network.access_key())
    ///     .mqtt_address(network.mqtt_address())
    ///     .http_address(network.http_address())
    ///     .backfill(Backfill::on_request())
    ///     .build()?;
    /// let events = client.events();
    /// let now = SystemTime::now();
    /// let hour = Duration::from_secs(3600);
    /// client.backfill(now - hour..now + hour)?;
    /// for event in events.iter() {
    ///     match event {
    ///         Event::Uplink(uplink) => println!("{} sent {}", uplink.dev_id, uplink.payload_hex()),
    ///         Event::Backfilled(report) => {
    ///             println!("{report}");
    ///             assert_eq!(report.delivered, 1);
    ///             break; // every uplink was before it
    ///         }
    ///         _ => {}
    ///     }
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
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

    /// Returns how far the backfill has got that runs, of a gap or one that was asked for; `None` if none does.
    /// Does not wait.
    ///
    /// ```
    /// # use ttn::{Backfill, MqttClient};
    /// let client = MqttClient::builder("my-app@ttn", "NNSXS.ID.SECRET").cluster("eu1")
    ///     .backfill(Backfill::new())
    ///     .build()?;
    /// assert!(client.backfill_progress().is_none());
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn backfill_progress(&self) -> Option<BackfillProgress> {
        let core = self.core();
        core.is_here()
            .then(|| core.link.status.backfill())
            .flatten()
    }
}

impl Backfilling {
    /// Waits for the end, and returns the account. The uplinks are in the queues of callbacks and of
    /// [`events`](MqttClient::events) then, and may still be waiting there: a program that ends now loses them. This does
    /// not wait for the callbacks, nor does [`close`](MqttClient::close) of a client that has never connected.
    ///
    /// If nobody reads a queue meanwhile, because this is the thread that should, the backfill waits for 10 s when it is
    /// half full, and the queue then [drops](crate::Overflow) what is too much; with `Overflow::Block`, it waits for ever.
    /// In a callback, other callbacks wait too: call it elsewhere.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Closed`](crate::ErrorKind::Closed) if the last handle of the client was dropped,
    /// [`ErrorKind::Forked`](crate::ErrorKind::Forked). A backfill that fails is no error here: see
    /// [`Backfilled::error`].
    pub fn wait(self) -> Result<Backfilled> {
        self.wait_with(|_| {})
    }

    /// Does the same as [`wait`](Self::wait), and tells ten times a second how far the backfill has got that
    /// runs, which may be another one before it. The closure runs on the calling thread.
    ///
    /// # Errors
    ///
    /// As [`wait`](Self::wait).
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
