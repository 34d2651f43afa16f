//! What a client has counted: messages, events, downlinks, connections, and the frames and the fair
//! use of each device.
//!
//! The words *dropped*, *missing* and *missed* are defined in [`events`](crate::events).

mod absences;
mod device_status;
mod devices;
mod fair_use;
#[cfg(test)]
mod fleet;
mod frame_counters;
#[cfg(test)]
mod gaps;
mod rhythm;
mod tally;
mod vigil;
mod watch;

use std::time::SystemTime;

use serde::Serialize;

use crate::{
    error::Error,
    message::{CounterFinding, FrameLoss, json},
};
pub use device_status::DeviceStatus;
pub use devices::DeviceUse;
pub(crate) use devices::Devices;
pub use fair_use::FairUse;
pub(crate) use tally::{Bytes, Tally};

/// The counters of a client since its creation, over all its connections. A copy, returned by
/// [`stats`](crate::MqttClient::stats).
///
/// It serializes under the names of its fields, with the forms of [`Event`](crate::Event#as-json), and
/// without `fair_use`.
///
/// ```
/// let client = ttn::MqttClient::new("my-app@ttn", "NNSXS.ID.SECRET")?;
/// let stats = client.stats();
/// println!("{} messages, {} dropped, {} reconnects", stats.received, stats.dropped, stats.reconnects);
/// # Ok::<(), ttn::Error>(())
/// ```
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Stats {
    /// Messages that arrived: the sum of `decoded`, `malformed` and `dropped`.
    pub received: u64,
    /// Messages that became an event other than [`Event::Malformed`](crate::Event::Malformed), or uplinks that
    /// the client had already fetched ([`backfilled`](Self::backfilled)) when they arrived: those do not come twice.
    pub decoded: u64,
    /// Messages that could not be read.
    pub malformed: u64,
    /// Uplinks that were fetched over HTTP because the client had missed them, and were delivered; see
    /// [`backfill`](crate::MqttClientBuilder::backfill). They are not part of `received`.
    pub backfilled: u64,
    /// Members of messages that could not be read and were kept in `extra`, such as a negative accuracy
    /// from a payload formatter. The message arrives all the same; the field of the member is `None`, 0 or
    /// empty. If this number grows, look at the `extra` of the messages and of their parts; the first such
    /// member of a message is logged at debug level.
    pub odd_members: u64,
    /// Messages that were dropped between the network and the client's thread because its queue was
    /// full ([`receive_capacity`](crate::MqttClientBuilder::receive_capacity)), and those that were
    /// still in that queue when the client was closed, or came afterwards.
    pub dropped: u64,
    /// Messages that a [broker of one's own](crate::MqttClient::own_broker) delivered at QoS 0 although the client
    /// subscribes at QoS 1: their publisher uses QoS 0, or the broker grants no more. They count in `received` too. The
    /// broker keeps none of them for a client that is away, and delivers none again. Messages at QoS 2 count here as
    /// well; they come if the broker keeps a session in which another program has subscribed at QoS 2, and are
    /// acknowledged as soon as they are received.
    pub unacknowledged: u64,
    /// Events that were dropped because the callbacks did not keep up.
    pub dropped_by_callbacks: u64,
    /// Events that were dropped for each [`events`](crate::MqttClient::events) subscription, oldest
    /// subscription first; subscriptions that have ended are left out. See also
    /// [`Events::dropped`](crate::Events::dropped).
    pub dropped_by_subscribers: Vec<u64>,
    /// What each [worker](crate::MqttClient::set_uplink_workers) has done: the sets in the order in which they
    /// were set, and each set's workers by number. Sets that were removed are left out.
    pub workers: Vec<WorkerStats>,
    /// Downlinks, and requests to empty a queue, that have left this machine.
    pub sent: u64,
    /// Downlinks and requests that were accepted but could not be sent.
    pub not_sent: u64,
    /// Downlinks and requests that have left this machine and may be lost: their connection ended, or
    /// [`close`](crate::MqttClient::close) stopped waiting, before the server was known to have processed
    /// them and before the network reported on them. They count in `sent` too; a later report does not
    /// change this number.
    pub uncertain: u64,
    /// Downlinks and requests that were accepted and still wait for their turn or for a connection.
    pub waiting: usize,
    /// Acknowledgements that devices sent for downlinks: each is a
    /// [`DownlinkStep::Acknowledged`](crate::DownlinkStep::Acknowledged). Not the number of downlinks
    /// that ask for one with [`Downlink::confirmed`](crate::Downlink::confirmed).
    pub confirmed: u64,
    /// Bytes received on the network, including TLS, the exchange with a proxy and failed attempts,
    /// excluding HTTP requests.
    pub bytes_received: u64,
    /// Bytes sent, counted the same way.
    pub bytes_sent: u64,
    /// Connections that were lost.
    pub disconnects: u64,
    /// Connections that were made after one was lost.
    pub reconnects: u64,
    /// When the current connection was made; `None` if there is none.
    #[serde(serialize_with = "json::optional_time")]
    pub connected_since: Option<SystemTime>,
    /// The last error of a connection or of an attempt to connect.
    pub last_error: Option<Error>,
    /// Today's airtime and downlinks of each device, for networks with a fair use policy.
    #[serde(skip)]
    pub fair_use: FairUse,
    /// What the frame counters show; see [`counter_watch`](crate::MqttClientBuilder::counter_watch).
    pub frames: FrameStats,
}

/// What a [worker](crate::MqttClient::set_uplink_workers) has done.
///
/// ```
/// let client = ttn::MqttClient::new("my-app@ttn", "NNSXS.ID.SECRET")?;
/// client.set_uplink_workers(4, |_| |uplink: &ttn::UplinkMessage, _: &ttn::MqttClient| println!("{}", uplink.dev_id))?;
/// for worker in client.stats().workers {
///     println!("worker {}: {} handled, {} waiting", worker.worker, worker.handled, worker.waiting);
/// }
/// # Ok::<(), ttn::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct WorkerStats {
    /// The number of the worker in its set, from 0.
    pub worker: usize,
    /// Uplinks that its closure has handled, including those at which it failed.
    pub handled: u64,
    /// Uplinks at which its closure returned an error or panicked.
    pub failed: u64,
    /// Events that were dropped because it did not keep up.
    pub dropped: u64,
    /// Events in its queue: uplinks of its devices, and news about the client, which it skips.
    pub waiting: usize,
}

/// What the frame counters show about the uplinks of all devices, or of [one](DeviceStatus). The numbers of missing frames decrease when the client
/// [fetches](crate::MqttClientBuilder::backfill) such a frame; `late` ones stay in them.
///
/// ```
/// let client = ttn::MqttClient::new("my-app@ttn", "NNSXS.ID.SECRET")?;
/// let frames = client.stats().frames;
/// println!("{} uplinks never reached this client", frames.missing_upstream);
/// # Ok::<(), ttn::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct FrameStats {
    /// Frames missing because the client was away, less those that it fetched:
    /// [`FrameLoss::Away`](crate::FrameLoss::Away).
    pub missing_away: u64,
    /// Frames missing because the client dropped messages, less those that it fetched:
    /// [`FrameLoss::DroppedHere`](crate::FrameLoss::DroppedHere).
    pub missing_dropped_here: u64,
    /// Frames missing for another reason, less those that the client fetched:
    /// [`FrameLoss::Upstream`](crate::FrameLoss::Upstream).
    pub missing_upstream: u64,
    /// Missing frames that arrived later.
    pub late: u64,
    /// Frames that arrived more than once: [`CounterFinding::Repeated`](crate::CounterFinding::Repeated).
    pub repeated: u64,
    /// How often a counter started over: [`CounterFinding::Reset`](crate::CounterFinding::Reset).
    pub resets: u64,
}

impl FrameStats {
    /// Returns how many frames are missing, for any reason.
    ///
    /// ```
    /// assert_eq!(ttn::FrameStats::default().missing(), 0);
    /// ```
    pub fn missing(&self) -> u64 {
        self.missing_away + self.missing_dropped_here + self.missing_upstream
    }

    fn missing_for(&mut self, loss: FrameLoss) -> &mut u64 {
        match loss {
            FrameLoss::Away => &mut self.missing_away,
            FrameLoss::DroppedHere => &mut self.missing_dropped_here,
            FrameLoss::Upstream => &mut self.missing_upstream,
        }
    }

    fn count(&mut self, finding: CounterFinding) {
        match finding {
            CounterFinding::Missing { frames, loss } => {
                *self.missing_for(loss) += u64::from(frames);
            }
            CounterFinding::Filled { loss } => {
                let missing = self.missing_for(loss);
                *missing = missing.saturating_sub(1);
            }
            CounterFinding::Late => self.late += 1,
            CounterFinding::Repeated => self.repeated += 1,
            CounterFinding::Reset => self.resets += 1,
        }
    }
}
