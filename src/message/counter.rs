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
    /// The highest counter before it.
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
    Missing {
        /// How many.
        frames: u32,
        /// Where they were lost.
        loss: FrameLoss,
    },
    /// The uplink was reported missing, and arrives after its successors.
    Late,
    /// The uplink arrived before: the device sent it again, or the network delivered it again.
    Repeated,
    /// The counter went back without a join: the device restarted. If it went back by less than 64,
    /// the first uplink counts as a repetition, and the second one reveals the restart.
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
    Away,
    /// This client was connected, but dropped messages because its queue was full
    /// ([`receive_capacity`](crate::MqttClientBuilder::receive_capacity)) between the two uplinks.
    DroppedHere,
    /// They did not reach this client, although it was connected: they were lost on the radio or by
    /// the server, or one was [malformed](crate::Event::Malformed), so its counter is unknown. A loss
    /// on the radio affects one device; a server that drops messages for a client, as v3 does in
    /// bursts (The Things Stack keeps 64 messages for each connection), causes gaps for many devices
    /// at the same time.
    Upstream,
}
