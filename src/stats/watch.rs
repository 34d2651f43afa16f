//! What the client knows of each device beyond its frame counter, if it watches devices. Reads no clock.

use std::time::{Duration, Instant, SystemTime};

use super::{
    FrameStats,
    device_status::DeviceStatus,
    devices::{DeviceId, DeviceUse, sent},
    rhythm::{Order, Rhythm},
    vigil::{Expectation, Vigil},
};
use crate::message::{Battery, CounterFinding, DeviceBack, DeviceSilent, FrameLoss, UplinkMessage};

/// What concerns all devices.
#[derive(Debug)]
pub(super) struct Watch {
    /// The moment from which times count.
    start: Option<Instant>,
    /// The time of the network when the last live uplink was received, and when that was.
    network: Option<(SystemTime, i64)>,
    /// The application id in messages.
    app_id: String,
    pub(super) vigil: Option<Vigil>,
    /// The report about the last uplink.
    pub(super) back: Option<DeviceBack>,
}

/// An uplink that has arrived or was fetched.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arrival {
    /// When it was sent, by the network's clock.
    sent: SystemTime,
    /// When it was heard, in milliseconds since the start, or would have been.
    at: i64,
    /// The same on the clock of the vigil.
    heard: i64,
    is_fetched: bool,
}

/// What concerns one device.
#[derive(Debug)]
pub(super) struct Watched {
    hardware_serial: Box<str>,
    gateway_id: Box<str>,
    data_rate: Box<str>,
    snr: Option<f64>,
    rssi: Option<f64>,
    battery: Option<Battery>,
    counter: u32,
    last_uplink: SystemTime,
    /// When that was heard, in milliseconds since the start.
    at: i64,
    frames: FrameStats,
    rhythm: Rhythm,
    expectation: Expectation,
}

impl Watch {
    /// `silence_after` is the multiple of its usual interval after which a device is silent.
    pub(super) fn new(silence_after: Option<f32>) -> Self {
        Self {
            start: None,
            network: None,
            app_id: String::new(),
            vigil: silence_after.map(Vigil::new),
            back: None,
        }
    }

    /// Returns a time in milliseconds since the start.
    pub(super) fn milliseconds(&mut self, now: Instant) -> i64 {
        let start = *self.start.get_or_insert(now);
        i64::try_from(now.saturating_duration_since(start).as_millis()).unwrap_or(i64::MAX)
    }

    /// Notes that an uplink arrives now.
    pub(super) fn live(
        &mut self,
        uplink: &UplinkMessage,
        now: Instant,
        suspended: Duration,
        time: SystemTime,
    ) -> Arrival {
        let at = self.milliseconds(now);
        let network = sent(uplink);
        if let Some(sent) = network {
            self.network = Some((sent, at));
        }
        if self.app_id.is_empty() {
            self.app_id.clone_from(&uplink.app_id);
        }
        let heard = self.vigil.as_mut().map_or(0, |vigil| {
            vigil.advance(now, suspended);
            vigil.arrived()
        });
        Arrival {
            sent: network.unwrap_or(time),
            at,
            heard,
            is_fetched: false,
        }
    }

    /// Notes that an uplink was fetched.
    pub(super) fn fetched(
        &mut self,
        uplink: &UplinkMessage,
        now: Instant,
        suspended: Duration,
        time: SystemTime,
    ) -> Arrival {
        let now_ms = self.milliseconds(now);
        let sent = sent(uplink).unwrap_or(time);
        if self.app_id.is_empty() {
            self.app_id.clone_from(&uplink.app_id);
        }
        // The network's clock says how old it is, without this machine's, which may be wrong.
        let (network, at) = self.network.unwrap_or((time, now_ms));
        let at = match network.duration_since(sent) {
            Ok(age) => at - milliseconds(age),
            Err(later) => (at + milliseconds(later.duration())).min(now_ms),
        };
        let heard = self.vigil.as_mut().map_or(0, |vigil| {
            vigil.advance(now, suspended);
            vigil.time() - (now_ms - at).saturating_mul(1_000_000)
        });
        Arrival {
            sent,
            at,
            heard,
            is_fetched: true,
        }
    }

    /// Notes an uplink of a device. `ahead` is by how much its counter has advanced, as far as is known.
    pub(super) fn note(
        &mut self,
        watched: &mut Option<Box<Watched>>,
        uplink: &UplinkMessage,
        arrival: Arrival,
        findings: &[Option<CounterFinding>; 2],
        ahead: Option<u32>,
    ) {
        let device = watched.get_or_insert_with(|| Box::new(Watched::new(uplink, arrival)));
        let findings = findings.iter().flatten();
        for finding in findings.clone() {
            device.frames.count(*finding);
        }
        let order = |finding| match finding {
            CounterFinding::Late | CounterFinding::Repeated => Order::Behind,
            CounterFinding::Reset => Order::Restart,
            _ => Order::Next,
        };
        let order = findings.clone().copied().map(order).next();
        let order = order.unwrap_or(Order::Next);
        let (before, at) = (device.last_uplink, device.at);
        // One that comes live and is not late is new even if the network's clock was set back.
        let is_next = !arrival.is_fetched && order == Order::Next || order == Order::Restart;
        let is_newest = arrival.sent >= before || is_next;
        if arrival.is_fetched {
            device.rhythm.fetched(uplink.counter, arrival.sent);
        } else {
            let is_ours = |finding: &CounterFinding| match finding {
                CounterFinding::Missing { loss, .. } => *loss != FrameLoss::Upstream,
                _ => false,
            };
            let shows_losses = !findings.clone().any(is_ours);
            device
                .rhythm
                .arrived(uplink.counter, arrival.sent, order, shows_losses);
        }
        if is_newest {
            device.last_heard(uplink, arrival);
        }
        let is_heard = is_newest || !arrival.is_fetched;
        if let Some(vigil) = self.vigil.as_mut().filter(|_| is_heard) {
            if device.expectation.is_silent {
                self.back = Some(DeviceBack {
                    app_id: uplink.app_id.clone(),
                    dev_id: uplink.dev_id.clone(),
                    last_uplink: before,
                    silent_for: since(at, arrival.at),
                    missing: ahead.and_then(|ahead| ahead.checked_sub(1)),
                });
            }
            let usual = device.rhythm.usual().map(|usual| {
                let patience = device.rhythm.patience(usual, vigil.factor());
                (usual, patience)
            });
            let earlier = device.expectation.heard;
            let heard = earlier.map_or(arrival.heard, |earlier| earlier.max(arrival.heard));
            vigil.expect(&mut device.expectation, heard, usual, || {
                DeviceId::new(&uplink.dev_id)
            });
        }
    }

    /// Looks at a device whose time has come. Returns the report if it is silent from now on.
    pub(super) fn look_at(
        &mut self,
        device: &mut Watched,
        queued: i64,
        dev_id: DeviceId,
        now: Instant,
    ) -> Option<DeviceSilent> {
        let now = self.milliseconds(now);
        let name = dev_id.to_string();
        let vigil = self.vigil.as_mut()?;
        if !vigil.look_at(&mut device.expectation, queued, dev_id) {
            return None;
        }
        Some(DeviceSilent {
            app_id: self.app_id.clone(),
            dev_id: name,
            last_uplink: device.last_uplink,
            usual_interval: device.rhythm.usual().unwrap_or_default(),
            silent_for: since(device.at, now),
        })
    }
}

impl Watched {
    fn new(uplink: &UplinkMessage, arrival: Arrival) -> Self {
        Self {
            hardware_serial: Box::default(),
            gateway_id: Box::default(),
            data_rate: Box::default(),
            snr: None,
            rssi: None,
            battery: None,
            counter: uplink.counter,
            last_uplink: arrival.sent,
            at: arrival.at,
            frames: FrameStats::default(),
            rhythm: Rhythm::default(),
            expectation: Expectation::default(),
        }
    }

    /// Notes the latest uplink.
    fn last_heard(&mut self, uplink: &UplinkMessage, arrival: Arrival) {
        let gateway = uplink.best_gateway();
        let gateway_id = gateway.map_or("", |gateway| match &*gateway.gtw_id {
            "" => &gateway.eui,
            id => id,
        });
        replace(&mut self.gateway_id, gateway_id);
        replace(&mut self.data_rate, &uplink.metadata.data_rate);
        if !uplink.hardware_serial.is_empty() {
            replace(&mut self.hardware_serial, &uplink.hardware_serial);
        }
        self.snr = gateway.and_then(|gateway| gateway.snr);
        self.rssi = gateway.and_then(|gateway| gateway.rssi);
        if uplink.battery.is_some() {
            self.battery.clone_from(&uplink.battery);
        }
        self.counter = uplink.counter;
        self.last_uplink = arrival.sent;
        self.at = arrival.at;
    }

    /// Notes that the counter starts over.
    pub(super) fn starts_over(&mut self) {
        self.rhythm.starts_over();
    }

    /// Returns whether it is expected: not silent, with a known interval.
    pub(super) fn is_expected(&self) -> bool {
        self.expectation.is_expected()
    }

    pub(super) fn status(&self, dev_id: &DeviceId, today: DeviceUse, now: i64) -> DeviceStatus {
        DeviceStatus {
            dev_id: dev_id.to_string(),
            hardware_serial: self.hardware_serial.to_string(),
            last_uplink: self.last_uplink,
            heard_ago: since(self.at, now),
            usual_interval: self.rhythm.usual(),
            is_silent: self.expectation.is_silent,
            counter: self.counter,
            frames: self.frames,
            gateway: self.gateway_id.to_string(),
            snr: self.snr,
            rssi: self.rssi,
            data_rate: self.data_rate.to_string(),
            today,
            battery: self.battery.clone(),
            open_downlinks: 0,
        }
    }
}

/// Copies a text, unless it is the same.
fn replace(text: &mut Box<str>, new: &str) {
    if **text != *new {
        *text = new.into();
    }
}

fn milliseconds(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX / 4)
}

fn since(at: i64, now: i64) -> Duration {
    Duration::from_millis(now.saturating_sub(at).max(0).unsigned_abs())
}

#[cfg(test)]
mod tests;
