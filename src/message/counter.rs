//! What frame counters reveal about uplinks that did not arrive.

use serde::Serialize;

/// The content of [`Event::Counter`](crate::Event::Counter). The uplink that it is about is the next
/// event, or the one after a second report.
///
/// ```
/// use ttn::{CounterFinding, CounterReport};
///
/// fn explain(report: &CounterReport) -> String {
///     let CounterReport { dev_id, counter, previous, .. } = report;
///     match report.finding {
///         CounterFinding::Missing { frames, loss } => format!("{dev_id}: {frames} lost before {counter} ({loss:?})"),
///         CounterFinding::Late => format!("{dev_id}: {counter} came after {previous}"),
///         CounterFinding::Filled { .. } => format!("{dev_id}: {counter} was missing, and is fetched"),
///         _ => format!("{dev_id}: {previous}, then {counter}"),
///     }
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct CounterReport {
    /// The application id.
    pub app_id: String,
    /// The device id.
    pub dev_id: String,
    /// The counter of the uplink.
    pub counter: u32,
    /// The latest counter before it: the highest one, or the last one since the counter wrapped.
    pub previous: u32,
    /// What the counters reveal.
    pub finding: CounterFinding,
}

/// What a frame counter reveals.
///
/// ```
/// assert_ne!(ttn::CounterFinding::Repeated, ttn::CounterFinding::Reset);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum CounterFinding {
    /// Uplinks between the two did not arrive. If they were lost in two places, there are two reports.
    /// A counter that wraps, after 16 bits (65535, then 0) or after 32, goes on: what is missing before and
    /// after the wrap counts, up to 255 frames. One that arrived only as a
    /// [retained](crate::Event::is_retained) message is missing.
    Missing {
        /// How many.
        frames: u32,
        /// Where they were lost.
        loss: FrameLoss,
    },
    /// The uplink was reported missing, and arrives after its successors, however late: the network received
    /// it before them ([`Metadata::time`](crate::Metadata::time)).
    ///
    /// Without that time, it counts as late for 5 minutes after the last one of them. No network holds an
    /// uplink back for longer, so it is a [`Reset`](Self::Reset) after that.
    Late,
    /// The uplink was reported missing, and the client fetched it; see
    /// [`backfill`](crate::MqttClientBuilder::backfill). It is not missing any more: what was reported as
    /// [`Missing`](Self::Missing) with a loss, less what was filled with it, is still missing, except for what
    /// came [`Late`](Self::Late), which is most often reported as [`Upstream`](FrameLoss::Upstream) before.
    ///
    /// A fetched uplink that was not reported missing yet, because nothing of the device has come since, is no
    /// [`Filled`](Self::Filled): it continues the counter. Those of a session that is over, or from before a
    /// [`Reset`](Self::Reset), arrive without a report, so that what was missing of it stays counted. Uplinks from
    /// storage belong to the session with their device address.
    Filled {
        /// How it was reported. Nobody knows that of a single uplink: all that was reported as
        /// [`Away`](FrameLoss::Away) is filled first, then [`DroppedHere`](FrameLoss::DroppedHere), then
        /// [`Upstream`](FrameLoss::Upstream). At most 65,535 uplinks of a device count for each.
        loss: FrameLoss,
    },
    /// The uplink arrived before: the network, or a bridge of your own, delivered it again, however much
    /// later, or the device sent it again. The network received the former before the latest uplink
    /// or at the same moment ([`Metadata::time`](crate::Metadata::time)). An uplink from before a
    /// [`Reset`](Self::Reset), one that precedes the first one that the client heard and one whose counter is
    /// lower by 64 or more count as repetitions too. Only V2 publishes what a device sends again.
    ///
    /// On V2, and without that time, this is a guess: a device that restarts and sends the same content with
    /// the same counter within 5 minutes looks the same. Devices repeat a frame after seconds, or after 5 minutes
    /// at most: one that may transmit for 1 % of the time waits as long after the longest frame of
    /// the slowest data rate. Other content (port, payload, or whether it is confirmed) is a
    /// [`Reset`](Self::Reset). The client remembers the content of the last seven counters, each in one
    /// byte, so that one of 255 others looks the same.
    /// [`is_retry`](crate::UplinkMessage::is_retry) makes no difference: V2 sets it for any uplink with the
    /// counter of the one before.
    Repeated,
    /// The counter went back without a join: the device restarted, or lost its counter in deep sleep. The
    /// watch starts over with this uplink.
    ///
    /// This is certain if the network received it after the latest uplink
    /// ([`Metadata::time`](crate::Metadata::time)), except for the guess on V2 that it is
    /// [`Repeated`](Self::Repeated). Nobody can tell that a device started over if what the client hears of it
    /// next has a higher counter than what it heard last: that looks like a gap, or like the next frame.
    ///
    /// Without that time, it is certain if the counter went back by 64 or more, or to that of an uplink with
    /// other content. It is inferred if the uplink with the same counter, or the latest uplink, arrived more
    /// than 5 minutes ago, and if two in a row look like repetitions. A device that starts over sooner with the
    /// same content looks like one that repeats a frame, and one that starts over at a counter that is
    /// missing looks [late](Self::Late).
    ///
    /// A device that starts over when its counter is about to wrap
    /// looks like one that wraps, with up to 255 frames missing: with 16 bits, that happens in one of 256
    /// restarts if they are spread over the whole range, and less often if the device restarts often.
    Reset,
}

/// Where uplinks were lost.
///
/// ```
/// fn is_ours(loss: ttn::FrameLoss) -> bool {
///     loss != ttn::FrameLoss::Upstream
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FrameLoss {
    /// This client was away for a part of the time between the two uplinks: it had no connection, or one
    /// that may have been dead already, because the server had sent nothing at all, not even an answer to
    /// a ping ([`Gap::silence`](crate::Gap::silence)). Not more than fit into that time: the client
    /// assumes that the device sent its frames at equal intervals, counts those that fall into it, with a
    /// second more for each outage, and adds one for each outage. Further ones were lost elsewhere.
    ///
    /// With [`backfill`](crate::MqttClientBuilder::backfill), those that the network keeps come back:
    /// each is [`CounterFinding::Filled`], or was fetched before it could be missing. What stays missing did not
    /// reach the network either, or the network does not keep it ([`Event::Backfilled`](crate::Event::Backfilled)
    /// tells).
    Away,
    /// This client was connected, but dropped messages because its queue was full
    /// ([`receive_capacity`](crate::MqttClientBuilder::receive_capacity)) between the two uplinks.
    DroppedHere,
    /// They did not reach this client, although it was connected: they were lost on the radio or by
    /// the server, or one was [malformed](crate::Event::Malformed), so its counter is unknown. A loss
    /// on the radio affects one device; a server that drops messages for a client, as v3 does in
    /// bursts (The Things Stack keeps 64 messages for each connection), causes gaps for many devices
    /// at the same time.
    ///
    /// What is missing between two uplinks that the client has [fetched](crate::MqttClientBuilder::backfill) of the
    /// same outage is of this kind as well: the network, which has both, does not have it.
    Upstream,
}
