//! The Things Stack v3: its access control, its servers and their messages.

mod access;
mod clock_package;
mod device;
mod downlinks;
mod formatters;
mod measurement;
mod messages;
mod position;
mod request;
mod session;
mod settings;
mod simulated;
mod transmissions;
mod uplinks;

use std::{
    collections::{BTreeSet, VecDeque},
    sync::{Arc, Mutex},
    time::SystemTime,
};

use fastrand::Rng;
use serde_json::Value;

pub(super) use self::messages::Downlink;
use self::{
    device::Device,
    messages::{Correlation, Ids},
    session::Session,
};
#[cfg(test)]
pub(super) use self::{
    messages::{ClassBC, FixedGateway, Retry},
    request::read,
};
use super::{
    lorawan::{
        Description, DeviceId, Devices, Environment, Location, NetworkServer, Uplink, WindowKey,
    },
    mqtt::Broker,
    sync::lock,
};

/// The end of a topic, and the member of the message that holds the body.
type Kind = (&'static str, &'static str);
const JOIN: Kind = ("join", "join_accept");
const UP: Kind = ("up", "uplink_message");
const NORMALIZED: Kind = ("up/normalized", "uplink_normalized");
const QUEUED: Kind = ("down/queued", "downlink_queued");
const SENT: Kind = ("down/sent", "downlink_sent");
const ACK: Kind = ("down/ack", "downlink_ack");
const NACK: Kind = ("down/nack", "downlink_nack");
const FAILED: Kind = ("down/failed", "downlink_failed");
const INVALIDATED: Kind = ("down/invalidated", "downlink_queue_invalidated");
const LOCATION: Kind = ("location/solved", "location_solved");
const SERVICE: Kind = ("service/data", "service_data");

/// The servers with their devices.
pub(super) struct V3 {
    broker: Arc<Broker>,
    env: Environment,
    state: Mutex<State>,
}

struct State {
    devices: Devices<Device>,
    gateways: Gateways,
    random: Rng,
}

impl State {
    fn parts(&mut self, id: DeviceId<'_>) -> Option<(&mut Device, &Gateways, &mut Rng)> {
        let device = self.devices.get(id)?;
        Some((device, &self.gateways, &mut self.random))
    }
}

/// How well the gateways transmit.
#[derive(Default)]
struct Gateways {
    down: bool,
    /// The ids of those that heard a device.
    known: BTreeSet<String>,
    /// Whether they are connected but take no downlinks.
    deaf: bool,
    /// Whether they transmit without a report.
    silent: bool,
    /// The result of each transmission, if it fails.
    failure: Option<String>,
}

impl V3 {
    pub(super) fn new(broker: Arc<Broker>, env: Environment, random: Rng) -> Self {
        Self {
            broker,
            env,
            state: Mutex::new(State {
                devices: Devices::new(),
                gateways: Gateways::default(),
                random,
            }),
        }
    }

    fn post(
        &self,
        at: SystemTime,
        ids: &Ids<'_>,
        kind: Kind,
        correlation_ids: &[String],
        body: &str,
    ) {
        let (path, member) = kind;
        let message = ids.envelope(correlation_ids, at, (member, body), false);
        self.post_message(ids, path, message);
    }

    fn post_message(&self, ids: &Ids<'_>, path: &str, message: String) {
        let topic = format!("v3/{}/devices/{}/{path}", ids.uid, ids.dev_id);
        if !path.starts_with("down/") {
            self.broker.post(topic, message);
        } else if let Some(due) = self.broker.report(ids.uid, topic, message) {
            self.env.windows.deliver_at(due);
        }
    }

    /// Posts a message of a service about the device.
    fn post_service(&self, id: DeviceId<'_>, kind: Kind, body: &str) {
        let mut state = lock(&self.state);
        if let Some((device, _, random)) = state.parts(id) {
            let now = self.env.clock.now();
            let correlation_ids = Correlation::new(now, random).of_service();
            self.post(now, &device.ids(id), kind, &correlation_ids, body);
        }
    }

    /// Posts an object of an application package.
    pub(super) fn post_service_data(&self, id: DeviceId<'_>, service: &str, data: &Value) {
        self.post_service(id, SERVICE, &messages::service_data(service, data));
    }

    /// Posts a location that a service found.
    pub(super) fn post_location(&self, id: DeviceId<'_>, service: &str, location: Location) {
        self.post_service(id, LOCATION, &messages::location_solved(service, location));
    }

    /// Empties the queue of the device and posts what it held.
    pub(super) fn invalidate_queue(&self, id: DeviceId<'_>) {
        let mut state = lock(&self.state);
        let Some((device, _, random)) = state.parts(id) else {
            return;
        };
        let (last, key_id) = match &device.session {
            Some(session) => (session.given, &session.key_id[..]),
            None => (0, &[][..]),
        };
        let body = messages::invalidated(device.queue.iter(), last, key_id);
        device.queue.clear();
        let now = self.env.clock.now();
        let mut correlation = Correlation::new(now, random);
        let cause = correlation.uplink();
        let correlation_ids = correlation.passed_on(Some(&cause));
        self.post(now, &device.ids(id), INVALIDATED, &correlation_ids, &body);
    }
}

impl NetworkServer for V3 {
    fn register(&self, id: DeviceId<'_>, location: Option<Location>, _announce: bool) {
        let mut state = lock(&self.state);
        if state.devices.get(id).is_none() {
            let device = Device::new(id, location, &mut state.random);
            state.devices.insert(id, device);
        }
    }

    fn update(&self, id: DeviceId<'_>, location: Option<Location>) -> bool {
        let mut state = lock(&self.state);
        let device = state.devices.get(id);
        device.map(|device| device.location = location).is_some()
    }

    fn describe_as(&self, id: DeviceId<'_>, _: &str) -> bool {
        // v3 has no MQTT message about changes of devices.
        self.describe(id).is_some()
    }

    fn delete(&self, id: DeviceId<'_>) -> bool {
        let Some(mut device) = lock(&self.state).devices.remove(id) else {
            return false;
        };
        device.window.close(&self.env.windows, None);
        self.env.applications.forget(id);
        true
    }

    fn describe(&self, id: DeviceId<'_>) -> Option<Description> {
        let mut state = lock(&self.state);
        let device = state.devices.get(id)?;
        let ids = device.ids(id);
        Some(Description {
            dev_eui: ids.dev_eui,
            dev_addr: ids.dev_addr,
            in_progress: device
                .unanswered
                .as_ref()
                .map(|unanswered| unanswered.downlink.described()),
            queue: device.queue.iter().map(Downlink::described).collect(),
            received: device.end_device.received(),
        })
    }

    fn join(&self, id: DeviceId<'_>, frame: Result<&Uplink, &str>) {
        let mut state = lock(&self.state);
        let Some((device, gateways, random)) = state.parts(id) else {
            return;
        };
        // v3 has no MQTT message about a join that fails.
        if frame.is_err() || gateways.down {
            return;
        }
        device.window.close(&self.env.windows, None);
        let last = device.newest_session().map(|session| session.dev_addr);
        let session = Session::new(last, random);
        let now = self.env.clock.now();
        let own_key = device.own_key(&session);
        // Those of other applications go over to the new session.
        let invalidated = match own_key {
            Some(_) => std::mem::take(&mut device.queue),
            None => VecDeque::new(),
        };
        let message = messages::join_accept(&session.key_id, own_key, &invalidated, now);
        device.pending = Some(session);
        device.end_device.restart();
        let mut correlation = Correlation::new(now, random);
        let cause = correlation.uplink();
        let correlation_ids = correlation.passed_on(Some(&cause));
        self.post(now, &device.ids(id), JOIN, &correlation_ids, &message);
    }

    fn uplink(&self, id: DeviceId<'_>, uplink: Uplink) -> u32 {
        self.receive(id, &uplink).unwrap_or_default()
    }

    fn close_window(&self, id: DeviceId<'_>, key: WindowKey) {
        self.close_and_serve(id, Some(key));
    }

    fn set_acknowledging(&self, id: DeviceId<'_>, acknowledges: bool) {
        if let Some(device) = lock(&self.state).devices.get(id) {
            device.end_device.acknowledges = acknowledges;
        }
    }

    fn set_commands(&self, id: DeviceId<'_>, answers: u32) {
        self.change_device(id, |device| {
            if let Some(session) = &mut device.session {
                session.commands = answers;
            }
        });
    }

    fn set_counter_resets(&self, id: DeviceId<'_>, on: bool) {
        self.change_device(id, |device| device.resets_counters = on);
    }

    fn set_gateways_down(&self, down: bool) {
        self.change_gateways(|gateways| gateways.down = down);
    }
}
