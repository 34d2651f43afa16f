//! What frame counters say of uplinks that did not arrive.

/// With [`Event::Counter`](crate::Event::Counter), and about the uplink that is the next event.
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
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CounterReport {
    /// The application's id.
    pub app_id: String,
    /// The device's id.
    pub dev_id: String,
    /// The counter of the uplink.
    pub counter: u32,
    /// The highest counter before it.
    pub previous: u32,
    /// What that means.
    pub finding: CounterFinding,
}

/// What a frame counter says.
///
/// ```
/// assert_ne!(ttn::CounterFinding::Repeated, ttn::CounterFinding::Reset);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CounterFinding {
    /// The uplinks between the two did not arrive.
    Missing {
        /// How many.
        frames: u32,
        /// Where they were lost.
        loss: FrameLoss,
    },
    /// It was reported missing, and arrives after its successors.
    Late,
    /// It was here before: the device sent it again, or the network delivered it again.
    Repeated,
    /// The counter went back without a join: the device was restarted. When it went back by less than
    /// 64, its first uplink is taken for a repetition, and the second tells.
    Reset,
}

/// Where uplinks were lost.
///
/// ```
/// fn is_ours(loss: ttn::FrameLoss) -> bool {
///     loss != ttn::FrameLoss::Upstream
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FrameLoss {
    /// This client was not connected for a part of the time between the two uplinks; see
    /// [`Connected::gap`](crate::Connected::gap).
    Away,
    /// This client was connected, and dropped messages for want of room
    /// ([`receive_capacity`](crate::MqttClientBuilder::receive_capacity)) between the two uplinks.
    DroppedHere,
    /// They did not reach this client, which was there: lost on the radio, or by the server; or one
    /// was [malformed](crate::Event::Malformed), so that nobody knows its counter. A loss
    /// on the radio is one device's; a server that drops messages for a client, as v3 does in bursts
    /// (The Things Stack, 64 messages are kept for each connection), makes holes for many devices at
    /// the same moment.
    Upstream,
}
