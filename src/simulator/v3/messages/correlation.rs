//! Correlation ids: the calls and events that a message goes back to.

use std::time::SystemTime;

use fastrand::Rng;

use super::text::ulid;

const RECEIVED: &str = "gs:uplink";
const HANDLED: &str = "rpc:/ttn.lorawan.v3.GsNs/HandleUplink";
const PASSED_ON: &str = "rpc:/ttn.lorawan.v3.NsAs/HandleUplink";
const SCHEDULED: &str = "rpc:/ttn.lorawan.v3.NsGs/ScheduleDownlink";
const REPORTED: &str = "rpc:/ttn.lorawan.v3.GsNs/ReportTxAcknowledgment";
const PUSHED: &str = "rpc:/ttn.lorawan.v3.AppAs/DownlinkQueuePush";
const REPLACED: &str = "rpc:/ttn.lorawan.v3.AppAs/DownlinkQueueReplace";
const SIMULATED: &str = "rpc:/ttn.lorawan.v3.AppAs/SimulateUplink";

/// The ids that an uplink brings in, those of the Gateway Server and the Network Server.
#[derive(Clone, Debug)]
pub(crate) struct Cause([String; 2]);

/// Makes ids at one time.
pub(crate) struct Correlation<'a> {
    at: SystemTime,
    random: &'a mut Rng,
}

impl<'a> Correlation<'a> {
    pub(crate) fn new(at: SystemTime, random: &'a mut Rng) -> Self {
        Self { at, random }
    }

    fn id(&mut self, kind: &str) -> String {
        format!("{kind}:{}", ulid(self.at, self.random))
    }

    /// Returns the ids of a new uplink.
    pub(crate) fn uplink(&mut self) -> Cause {
        Cause([self.id(RECEIVED), self.id(HANDLED)])
    }

    /// Returns the ids of what the Network Server passes on when it has that cause.
    pub(crate) fn passed_on(&mut self, cause: Option<&Cause>) -> Vec<String> {
        let mut ids = match cause {
            Some(Cause(ids)) => ids.to_vec(),
            None => vec![self.id("as:up")],
        };
        ids.push(self.id(PASSED_ON));
        ids
    }

    /// Returns the ids of a message that is simulated.
    pub(crate) fn simulated(&mut self) -> Vec<String> {
        vec![self.id("as:up"), self.id(SIMULATED)]
    }

    /// Returns the ids of a message of the Application Server about a device.
    pub(crate) fn of_service(&mut self) -> Vec<String> {
        vec![self.id("as:up")]
    }

    /// Returns the id of a request over HTTP.
    pub(crate) fn over_http(&mut self, replace: bool) -> String {
        self.id(if replace { REPLACED } else { PUSHED })
    }

    /// Adds the id of a requested downlink to its own.
    pub(crate) fn request(&mut self, own: &[String]) -> Vec<String> {
        joined(own, &[self.id("as:downlink")])
    }

    /// Returns the ids of a downlink that was transmitted because of an uplink, or on its own: those
    /// of the report, and those inside it.
    pub(crate) fn transmitted(
        &mut self,
        own: &[String],
        cause: Option<&Cause>,
    ) -> (Vec<String>, Vec<String>) {
        let made = ["gs:tx_ack", "ns:transmission", REPORTED, SCHEDULED].map(|kind| self.id(kind));
        let mut inner = joined(own, &made);
        if let Some(Cause(ids)) = cause {
            inner = joined(&inner, ids);
        }
        (joined(&inner, &self.passed_on(cause)), inner)
    }
}

/// Returns the ids of both, each once, sorted by bytes.
pub(crate) fn joined(some: &[String], others: &[String]) -> Vec<String> {
    let mut ids = [some, others].concat();
    ids.sort();
    ids.dedup();
    ids
}
