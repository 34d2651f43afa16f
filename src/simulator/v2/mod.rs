//! The V2 network: its access control, its handler and its messages.

mod access;
mod burst;
mod cayenne;
mod device;
mod downlinks;
mod messages;
mod metadata;
mod payload;
mod request;
mod time;
mod uplinks;

use std::{
    sync::{Arc, Mutex},
    time::Instant,
};

use fastrand::Rng;

#[cfg(test)]
pub(super) use request::read;

pub(super) use self::access::is_id;
use self::{burst::Burst, device::Device};
use super::{
    json,
    lorawan::{
        self, Description, DeviceId, Devices, Environment, Location, NetworkServer, Rights, Uplink,
        WindowKey,
    },
    mqtt::Broker,
    sync::lock,
};

const NO_GATEWAYS: &str = "No gateways available for downlink";

/// The handler with its devices.
pub(super) struct V2 {
    broker: Arc<Broker>,
    env: Environment,
    state: Mutex<State>,
    burst: Mutex<Burst>,
}

struct State {
    devices: Devices<Device>,
    gateways_down: bool,
    /// Until when the handler has no connection to its broker.
    away_until: Option<Instant>,
    random: Rng,
}

impl State {
    fn parts(&mut self, id: DeviceId<'_>) -> Option<(&mut Device, &mut Rng)> {
        Some((self.devices.get(id)?, &mut self.random))
    }
}

impl V2 {
    pub(super) fn new(broker: Arc<Broker>, env: Environment, random: Rng) -> Self {
        Self {
            broker,
            env,
            state: Mutex::new(State {
                devices: Devices::new(),
                gateways_down: false,
                away_until: None,
                random,
            }),
            burst: Mutex::default(),
        }
    }

    fn post(&self, topic: String, payload: &str) {
        self.broker.post(topic, json::html_escaped(payload));
    }

    fn post_event(&self, id: DeviceId<'_>, event: &str, payload: &str) {
        let topic = format!("{}/devices/{}/events/{event}", id.app_id, id.dev_id);
        if !event.starts_with("down/") {
            self.post(topic, payload);
            return;
        }
        let payload = json::html_escaped(payload);
        if let Some(due) = self.broker.report(id.app_id, topic, payload) {
            self.env.windows.deliver_at(due);
        }
    }

    fn post_uplink_error(&self, id: DeviceId<'_>, error: &str) {
        self.post_event(id, "up/errors", &messages::error(error));
    }

    /// Posts that the device was saved; `location` is what changed of its location.
    fn post_saved(
        &self,
        id: DeviceId<'_>,
        event: &str,
        location: Option<Location>,
        is_changed: bool,
    ) {
        let at = is_changed.then(|| self.env.clock.now());
        let offset = self.broker.quirks().utc_offset;
        self.post_event(id, event, &messages::saved(location, at, offset));
    }

    /// Posts a downlink event; `message` is the downlink as events print it.
    fn post_downlink_event(
        &self,
        id: DeviceId<'_>,
        event: &str,
        error: &str,
        message: Option<String>,
    ) {
        self.post_event(id, event, &messages::downlink_event(error, message));
    }
}

impl NetworkServer for V2 {
    fn add_key(&self, app_id: &str, access_key: &str, rights: Rights) {
        let applications = &self.env.applications;
        applications.add_key(app_id, access_key, rights);
    }

    fn remove_key(&self, app_id: &str, access_key: &str) -> bool {
        self.env.applications.remove_key(app_id, access_key)
    }

    fn register(&self, id: DeviceId<'_>, location: Option<Location>, announce: bool) {
        let mut state = lock(&self.state);
        if state.devices.get(id).is_some() {
            return;
        }
        let device = Device::new(id, location, &mut state.random);
        state.devices.insert(id, device);
        if announce {
            self.post_saved(id, "create", location, true);
        }
    }

    fn update(&self, id: DeviceId<'_>, location: Option<Location>) -> bool {
        let mut state = lock(&self.state);
        let Some(device) = state.devices.get(id) else {
            return false;
        };
        let before = device.location.unwrap_or_default();
        let now = location.unwrap_or_default();
        device.location = location;
        // The event contains only what changed.
        let changed = Location {
            latitude: changed(before.latitude, now.latitude),
            longitude: changed(before.longitude, now.longitude),
            altitude: changed(before.altitude, now.altitude),
        };
        self.post_saved(id, "update", Some(changed), before != now);
        true
    }

    fn describe_as(&self, id: DeviceId<'_>, description: &str) -> bool {
        let mut state = lock(&self.state);
        let Some(device) = state.devices.get(id) else {
            return false;
        };
        let is_changed = device.description != description;
        device.description = description.to_owned();
        self.post_saved(id, "update", None, is_changed);
        true
    }

    fn delete(&self, id: DeviceId<'_>) -> bool {
        let mut state = lock(&self.state);
        let Some(mut device) = state.devices.remove(id) else {
            return false;
        };
        device.window.close(&self.env.windows, None);
        self.post_event(id, "delete", "null");
        true
    }

    fn describe(&self, id: DeviceId<'_>) -> Option<Description> {
        let mut state = lock(&self.state);
        let device = state.devices.get(id)?;
        Some(Description {
            dev_eui: device.eui(),
            dev_addr: device.address(),
            in_progress: device.in_progress.clone(),
            queue: device.queue.iter().cloned().collect(),
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
        let gateways_down = state.gateways_down;
        let Some((device, random)) = state.parts(id) else {
            return;
        };
        let uplink = match frame {
            Ok(uplink) => uplink,
            Err(refusal) => {
                let activation = messages::activation(&device.eui(), Err(refusal));
                self.post_event(id, "activations/errors", &activation);
                return;
            }
        };
        let gateways = uplinks::heard(uplink, random);
        if gateways_down || lorawan::answering(&gateways).is_empty() {
            // The handler hears only of joins that can be answered.
            return;
        }
        device.window.close(&self.env.windows, None);
        device.start_session(random);
        let frame = metadata::Frame {
            uplink,
            time: uplink.time.unwrap_or_else(|| self.env.clock.now()),
            // The real handler computes the airtime of an activation without any bytes.
            length: 0,
            frequency: uplink.hertz(0),
            gateways: &gateways,
            uptime: self.env.clock.uptime(),
        };
        let accepted = (device.address(), frame.activation_metadata(device.location));
        let activation = messages::activation(&device.eui(), Ok((&accepted.0, &accepted.1)));
        self.post_event(id, "activations", &activation);
    }

    fn uplink(&self, id: DeviceId<'_>, uplink: Uplink) -> u32 {
        self.receive(id, &uplink).unwrap_or_default()
    }

    fn settle(&self) {
        self.finish_burst();
    }

    fn close_window(&self, id: DeviceId<'_>, key: WindowKey) {
        self.close_and_answer(id, Some(key));
    }

    fn set_acknowledging(&self, id: DeviceId<'_>, acknowledges: bool) {
        if let Some(device) = lock(&self.state).devices.get(id) {
            device.end_device.acknowledges = acknowledges;
        }
    }

    fn set_commands(&self, id: DeviceId<'_>, answers: u32) {
        if let Some(device) = lock(&self.state).devices.get(id) {
            device.commands = answers;
        }
    }

    fn set_counter_resets(&self, id: DeviceId<'_>, on: bool) {
        if let Some(device) = lock(&self.state).devices.get(id) {
            device.resets_counters = on;
        }
    }

    fn set_gateways_down(&self, down: bool) {
        lock(&self.state).gateways_down = down;
    }
}

/// Returns the new value if it changed, otherwise the default, which is not printed.
fn changed<T: PartialEq + Default>(before: T, now: T) -> T {
    if before == now { T::default() } else { now }
}
