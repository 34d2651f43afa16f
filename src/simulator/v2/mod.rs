//! The V2 network: its access control, its handler and its messages.

mod access;
mod burst;
mod device;
mod downlinks;
mod messages;
mod request;
mod uplinks;

use std::{
    sync::{Arc, Mutex},
    time::Instant,
};

use fastrand::Rng;

#[cfg(test)]
pub(super) use request::read;

use self::{burst::Burst, device::Device};
use super::{
    json,
    lorawan::{
        self, Description, DeviceId, Devices, Environment, Location, Modulation, NetworkServer,
        Uplink, WindowKey,
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
    fn register(&self, id: DeviceId<'_>, location: Option<Location>, announce: bool) {
        let mut state = lock(&self.state);
        if state.devices.get(id).is_some() {
            return;
        }
        let device = Device::new(id, location, &mut state.random);
        state.devices.insert(id, device);
        if announce {
            let payload = messages::saved(location, Some(self.env.clock.now()));
            self.post_event(id, "create", &payload);
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
        let at = (before != now).then(|| self.env.clock.now());
        self.post_event(id, "update", &messages::saved(Some(changed), at));
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

    fn join(&self, id: DeviceId<'_>, refusal: Option<&str>) {
        let mut state = lock(&self.state);
        let gateways_down = state.gateways_down;
        let Some((device, random)) = state.parts(id) else {
            return;
        };
        if let Some(refusal) = refusal {
            let activation = messages::activation(&device.eui(), Err(refusal));
            self.post_event(id, "activations/errors", &activation);
            return;
        }
        if gateways_down {
            // The handler hears only of joins that can be answered.
            return;
        }
        device.window.close(&self.env.windows, None);
        device.start_session(random);
        let frame = messages::Frame {
            time: self.env.clock.now(),
            // The real handler computes the airtime of an activation without any bytes.
            length: 0,
            modulation: &Modulation::Lora("SF7BW125".into()),
            frequency: 868_100_000,
            channel: 0,
            gateways: &lorawan::gateways(1, random),
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

    fn set_gateways_down(&self, down: bool) {
        lock(&self.state).gateways_down = down;
    }
}

/// Returns the new value if it changed, otherwise the default, which is not printed.
fn changed<T: PartialEq + Default>(before: T, now: T) -> T {
    if before == now { T::default() } else { now }
}
