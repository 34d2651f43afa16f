//! The Things Stack v3: its access control, its servers and their messages.

mod access;
mod device;
mod downlinks;
mod messages;
mod request;
mod uplinks;

use std::{
    sync::{Arc, Mutex},
    time::SystemTime,
};

use fastrand::Rng;
use serde_json::Value;

pub(super) use self::messages::Downlink;
use self::{
    device::{Device, Session, Window},
    messages::{Failure, Ids},
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

    fn post(&self, ids: &Ids<'_>, kind: Kind, correlation_ids: &[String], body: &str) {
        let now = self.env.clock.now();
        self.post_at(now, ids, kind, correlation_ids, body, false);
    }

    fn post_at(
        &self,
        time: SystemTime,
        ids: &Ids<'_>,
        (path, member): Kind,
        correlation_ids: &[String],
        body: &str,
        simulated: bool,
    ) {
        let topic = format!("v3/{}/devices/{}/{path}", ids.uid, ids.dev_id);
        let message = ids.envelope(correlation_ids, time, (member, body), simulated);
        if !path.starts_with("down/") {
            self.broker.post(topic, message);
        } else if let Some(due) = self.broker.report(ids.uid, topic, message) {
            self.env.windows.deliver_at(due);
        }
    }

    fn post_failure(
        &self,
        ids: &Ids<'_>,
        downlink: &Downlink,
        failure: &Failure,
        random: &mut Rng,
    ) {
        let event = failure.event(&downlink.message(), random);
        self.post(ids, FAILED, &downlink.correlation_ids, &event);
    }

    fn correlation_id(&self, entry: &str, random: &mut Rng) -> String {
        format!("{entry}:{}", messages::ulid(self.env.clock.now(), random))
    }

    /// Posts a message of a service about the device.
    fn post_service(&self, id: DeviceId<'_>, kind: Kind, body: &str) {
        let mut state = lock(&self.state);
        if let Some((device, _, random)) = state.parts(id) {
            let correlation_id = self.correlation_id("as:up", random);
            self.post(&device.ids(id), kind, &[correlation_id], body);
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

    /// Sets whether the device listens all the time.
    pub(super) fn set_class_c(&self, id: DeviceId<'_>, on: bool) {
        let mut state = lock(&self.state);
        let Some(device) = state.devices.get(id) else {
            return;
        };
        device.class_c = on;
        if on {
            self.serve(&mut state, id, &Window::ALWAYS);
        }
    }

    /// Deletes session and queue of the device.
    pub(super) fn forget_session(&self, id: DeviceId<'_>) {
        if let Some(device) = lock(&self.state).devices.get(id) {
            device.session = None;
            device.pending = None;
            device.unanswered = None;
            device.queue.clear();
        }
    }

    /// Empties the queue of the device and posts what it held.
    pub(super) fn invalidate_queue(&self, id: DeviceId<'_>) {
        let mut state = lock(&self.state);
        let Some((device, _, random)) = state.parts(id) else {
            return;
        };
        let session = device.session.as_ref();
        let last = session.map_or(0, |session| session.down_counter.saturating_sub(1));
        let key_id = session.map_or(&[][..], |session| &session.key_id);
        let body = messages::invalidated(device.queue.iter(), last, key_id);
        device.queue.clear();
        let correlation_id = self.correlation_id("ns:downlink", random);
        self.post(&device.ids(id), INVALIDATED, &[correlation_id], &body);
    }

    /// Sets whether the gateways transmit without a report.
    pub(super) fn set_gateways_silent(&self, silent: bool) {
        self.change_gateways(|gateways| gateways.silent = silent);
    }

    /// Sets the result of each transmission, `None` if it succeeds.
    pub(super) fn set_transmission_failure(&self, result: Option<String>) {
        self.change_gateways(|gateways| gateways.failure = result);
    }

    fn change_gateways(&self, change: impl FnOnce(&mut Gateways)) {
        let mut state = lock(&self.state);
        change(&mut state.gateways);
        for (app_id, dev_id) in state.devices.find(|device| device.class_c) {
            let (app_id, dev_id) = (app_id.as_str(), dev_id.as_str());
            self.serve(&mut state, DeviceId { app_id, dev_id }, &Window::ALWAYS);
        }
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

    fn delete(&self, id: DeviceId<'_>) -> bool {
        let Some(mut device) = lock(&self.state).devices.remove(id) else {
            return false;
        };
        device.window.close(&self.env.windows, None);
        true
    }

    fn describe(&self, id: DeviceId<'_>) -> Option<Description> {
        let mut state = lock(&self.state);
        let device = state.devices.get(id)?;
        let ids = device.ids(id);
        Some(Description {
            dev_eui: ids.dev_eui,
            dev_addr: ids.dev_addr,
            in_progress: device.unanswered.as_ref().map(Downlink::described),
            queue: device.queue.iter().map(Downlink::described).collect(),
            received: device.end_device.received(),
        })
    }

    fn join(&self, id: DeviceId<'_>, refusal: Option<&str>) {
        let mut state = lock(&self.state);
        let Some((device, gateways, random)) = state.parts(id) else {
            return;
        };
        // v3 has no MQTT message about a join that fails.
        if refusal.is_some() || gateways.down {
            return;
        }
        device.window.close(&self.env.windows, None);
        let session = Session::new(device.address(), random);
        let message = messages::join_accept(&session.key_id, self.env.clock.now());
        device.pending = Some(session);
        device.end_device.restart();
        let correlation_ids = [self.correlation_id("gs:uplink", random)];
        self.post(&device.ids(id), JOIN, &correlation_ids, &message);
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

    fn set_gateways_down(&self, down: bool) {
        self.change_gateways(|gateways| gateways.down = down);
    }
}
