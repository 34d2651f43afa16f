//! The Things Stack v3: its access control, its servers and their messages.

mod access;
mod arrivals;
mod clock_package;
mod device;
mod downlinks;
mod event;
mod event_store;
mod events;
mod formatters;
mod frame;
mod gateways;
mod http;
mod identity;
mod joins;
mod measurement;
mod messages;
mod position;
mod refusal;
mod request;
mod services;
mod session;
mod settings;
mod simulated;
mod storage;
mod stored;
mod transmissions;
mod turn;
mod uplinks;

use std::{
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use fastrand::Rng;

use self::{
    arrivals::Arrival, device::Device, event::News, events::Events, gateways::Gateways, http::Http,
    identity::IdentityServer, messages::Ids, stored::Stored,
};
pub use self::{event_store::EventStore, identity::KeyOf, storage::Storage};
pub(super) use self::{messages::Downlink, request::is_id};
#[cfg(test)]
pub(super) use self::{
    messages::{ClassBC, FixedGateway, Retry},
    request::read,
};
use super::{
    lorawan::{
        Description, DeviceId, Devices, Environment, Location, NetworkServer, Rights, Uplink,
        WindowKey,
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
const KINDS: [Kind; 11] = [
    JOIN,
    UP,
    NORMALIZED,
    QUEUED,
    SENT,
    ACK,
    NACK,
    FAILED,
    INVALIDATED,
    LOCATION,
    SERVICE,
];

/// The servers with their devices.
pub(super) struct V3 {
    broker: Arc<Broker>,
    env: Environment,
    identities: Mutex<IdentityServer>,
    http: Http,
    stored: Stored,
    events: Events,
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

impl V3 {
    pub(super) fn new(broker: Arc<Broker>, env: Environment, random: Rng) -> Self {
        Self {
            broker,
            env,
            identities: Mutex::default(),
            http: Http::default(),
            // Of their own, so that what they draw changes no message.
            stored: Stored::new(Rng::with_seed(random.get_seed() ^ 1)),
            events: Events::new(Rng::with_seed(random.get_seed() ^ 2)),
            state: Mutex::new(State {
                devices: Devices::new(),
                gateways: Gateways::default(),
                random,
            }),
        }
    }

    /// Deletes all devices of an application.
    fn delete_devices_of(&self, app_id: &str) {
        let dev_ids: Vec<String> = {
            let state = lock(&self.state);
            let devices = state.devices.of(app_id);
            devices.map(|(dev_id, _)| dev_id.to_owned()).collect()
        };
        for dev_id in &dev_ids {
            self.delete(DeviceId { app_id, dev_id });
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
        let message = ids.envelope(correlation_ids, at, (kind.1, body), false);
        self.post_message(at, ids, kind, correlation_ids, message);
    }

    /// Posts a message over MQTT, tells those who listen to events, and keeps it for those who ask later.
    fn post_message(
        &self,
        at: SystemTime,
        ids: &Ids<'_>,
        kind: Kind,
        correlation_ids: &[String],
        message: String,
    ) {
        self.events.add(&News {
            name: event::name_of(kind),
            time: at,
            ids,
            is_of_device: false,
            data: Some((event::MESSAGE, &message)),
            correlation_ids,
        });
        let (path, _) = kind;
        if kind == UP {
            let id = (ids.uid, ids.dev_id);
            self.stored.add(id, at, self.env.clock.now(), &message);
        }
        let topic = format!("v3/{}/devices/{}/{path}", ids.uid, ids.dev_id);
        if !path.starts_with("down/") {
            self.broker.post(topic, message);
        } else if let Some(due) = self.broker.report(ids.uid, topic, message) {
            self.env.windows.deliver_at(due);
        }
    }
}

impl V3 {
    /// Sets how the storage behaves; `None` for none.
    pub(super) fn set_storage(&self, settings: Option<Storage>) {
        self.stored.set(settings);
    }

    /// Sets which events are kept; `None` for none.
    pub(super) fn set_event_store(&self, store: Option<EventStore>) {
        self.events.set_store(store);
    }

    /// Sets the clock ahead.
    pub(super) fn advance_clock(&self, by: Duration) {
        self.env.clock.advance(by);
    }
}

impl NetworkServer for V3 {
    fn register(&self, id: DeviceId<'_>, location: Option<Location>, _announce: bool) {
        let mut state = lock(&self.state);
        if state.devices.get(id).is_none() {
            let device = Device::new(id, location, self.env.clock.now(), &mut state.random);
            state.devices.insert(id, device);
        }
    }

    fn update(&self, id: DeviceId<'_>, location: Option<Location>) -> bool {
        let mut state = lock(&self.state);
        let Some(device) = state.devices.get(id) else {
            return false;
        };
        device.location = location;
        device.updated_at = self.env.clock.now();
        true
    }

    fn describe_as(&self, id: DeviceId<'_>, _: &str) -> bool {
        // v3 has no MQTT message about changes of devices.
        self.describe(id).is_some()
    }

    fn add_key(&self, app_id: &str, access_key: &str, rights: Rights) {
        self.add_application_key(app_id, access_key, rights);
    }

    fn remove_key(&self, app_id: &str, access_key: &str) -> bool {
        lock(&self.identities).remove_key(app_id, access_key)
    }

    fn delete(&self, id: DeviceId<'_>) -> bool {
        let Some(mut device) = lock(&self.state).devices.remove(id) else {
            return false;
        };
        device.window.close(&self.env.windows, None);
        for (key, _) in device.arrivals {
            self.env.windows.forget(key);
        }
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

    fn device_ids(&self, app_id: &str) -> Vec<String> {
        let state = lock(&self.state);
        let ids = state
            .devices
            .of(app_id)
            .map(|(dev_id, _)| dev_id.to_owned());
        ids.collect()
    }

    fn join(&self, id: DeviceId<'_>, frame: Result<&Uplink, &str>) {
        let mut state = lock(&self.state);
        // v3 has no MQTT message about a join that fails.
        if frame.is_err() || state.gateways.down {
            return;
        }
        let device = state.devices.get(id);
        if let Some(device) = device.filter(|device| device.elsewhere.is_none()) {
            device.end_device.restart();
            self.send(&mut state, id, Arrival::Join);
        }
    }

    fn uplink(&self, id: DeviceId<'_>, uplink: Uplink) -> u32 {
        if uplink.simulated {
            self.simulate_from_console(id, &uplink);
            return 0;
        }
        if self.env.delays.is_none() {
            self.close_and_serve(&mut lock(&self.state), id, None);
        }
        let formatted = formatters::decode(&uplink, &self.env.applications.functions_of(id));
        let mut state = lock(&self.state);
        let device = state.devices.get(id);
        let device = device.filter(|device| device.elsewhere.is_none());
        let Some(frame) = device.and_then(|device| device.frame(uplink, formatted)) else {
            return 0;
        };
        let counter = frame.counter;
        self.send(&mut state, id, Arrival::Uplink(Box::new(frame)));
        counter
    }

    fn close_window(&self, id: DeviceId<'_>, key: WindowKey) {
        if !self.arrive_at(id, key) {
            self.close_and_serve(&mut lock(&self.state), id, Some(key));
        }
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
