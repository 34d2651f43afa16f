//! The V2 network's side: access control, devices and their downlink queues.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender};
use fastrand::Rng;
use serde_json::Value;

use super::applications::{self, Applications, Decoder, Encoder, PayloadFunction, Validator};
use super::broker::{Broker, Policy};
use super::clock::Clock;
use super::device::{
    Description, GatewayState, Handler, Order, QueuedDownlink, Received, Rights, Uplink,
};
use super::radio::{self, FrameHeader, Location, Modulation};
use super::session::Account;
use super::v2_messages::{self as messages, Frame};
use super::windows::{WindowKey, Windows};
use super::{deadline, json, lock};

const NO_GATEWAYS: &str = "No gateways available for downlink";

/// The handler with its applications and devices.
pub(super) struct V2 {
    broker: Arc<Broker>,
    receive_window: Duration,
    clock: Clock,
    windows: Windows,
    state: Mutex<State>,
}

struct State {
    applications: Applications<Device>,
    gateways_down: bool,
    random: Rng,
}

struct Device {
    dev_eui: u64,
    dev_addr: u32,
    location: Option<Location>,
    up_counter: Option<u32>,
    down_counter: u32,
    queue: VecDeque<QueuedDownlink>,
    in_progress: Option<QueuedDownlink>,
    window: Option<(WindowKey, Window)>,
    /// The device's own mind: it heard a confirmed downlink and has not answered yet.
    owes_ack: bool,
    acknowledges: bool,
    radio: (Sender<Received>, Receiver<Received>),
}

/// How an uplink can be answered.
struct Window {
    port: u8,
    wants_ack: bool,
    /// `None` when no gateway can send.
    gateway_id: Option<String>,
    modulation: Modulation,
    frequency: u32,
}

impl State {
    fn device(&mut self, app_id: &str, dev_id: &str) -> Option<&mut Device> {
        self.applications.device(app_id, dev_id)
    }

    fn parts(&mut self, app_id: &str, dev_id: &str) -> Option<(&mut Device, &mut Rng)> {
        let device = self.applications.device(app_id, dev_id)?;
        Some((device, &mut self.random))
    }
}

impl V2 {
    pub(super) fn new(
        broker: Arc<Broker>,
        clock: Clock,
        receive_window: Duration,
        random: Rng,
    ) -> Self {
        Self {
            broker,
            receive_window,
            clock,
            windows: Windows::default(),
            state: Mutex::new(State {
                applications: Applications::new(),
                gateways_down: false,
                random,
            }),
        }
    }

    fn post(&self, topic: String, payload: &str) {
        self.broker.post(topic, json::html_escaped(payload));
    }

    fn event(&self, app_id: &str, dev_id: &str, event: &str, payload: String) {
        let topic = format!("{app_id}/devices/{dev_id}/events/{event}");
        if !event.starts_with("down/") {
            self.post(topic, &payload);
            return;
        }
        let payload = json::html_escaped(&payload);
        if let Some(due) = self.broker.report(app_id, topic, payload) {
            self.windows.remind(due);
        }
    }

    fn uplink_error(&self, app_id: &str, dev_id: &str, error: &str) {
        self.event(app_id, dev_id, "up/errors", messages::error(error));
    }

    /// `message` is the finished text of the downlink the error is about.
    fn downlink_error(&self, app_id: &str, dev_id: &str, error: &str, message: Option<String>) {
        let payload = messages::downlink_event(error, message);
        self.event(app_id, dev_id, "down/errors", payload);
    }

    fn publish_uplink(
        &self,
        app_id: &str,
        dev_id: &str,
        payload: &str,
        fields: &[(String, String)],
    ) {
        let (copies, field_topics) = {
            let quirks = self.broker.quirks();
            (
                1 + usize::from(quirks.duplicate_uplinks),
                quirks.field_topics,
            )
        };
        let topic = format!("{app_id}/devices/{dev_id}/up");
        for _ in 0..copies {
            self.post(topic.clone(), payload);
            if field_topics {
                for (path, value) in fields {
                    self.post(format!("{topic}/{path}"), value);
                }
            }
        }
    }

    /// Ends the device's receive window, if it is still open, with the downlink that is due.
    fn close_window(&self, app_id: &str, dev_id: &str, key: Option<WindowKey>) {
        let window = {
            let mut state = lock(&self.state);
            let Some(device) = state.device(app_id, dev_id) else {
                return;
            };
            let due = |(open, _): &mut (WindowKey, Window)| key.is_none_or(|key| key == *open);
            let Some((key, window)) = device.window.take_if(due) else {
                return;
            };
            self.windows.forget(key);
            window
        };
        self.answer(app_id, dev_id, &window);
    }

    /// Sends the downlink in progress, or else the next one of the queue, or else a mere
    /// acknowledgement if one is due.
    fn answer(&self, app_id: &str, dev_id: &str, window: &Window) {
        let (downlink, encoder) = {
            let mut state = lock(&self.state);
            let Some(device) = state.device(app_id, dev_id) else {
                return;
            };
            if window.gateway_id.is_none() {
                if device.in_progress.is_some() || !device.queue.is_empty() {
                    self.downlink_error(app_id, dev_id, NO_GATEWAYS, None);
                }
                return;
            }
            if device.in_progress.is_none() {
                device.in_progress = device.queue.pop_front();
            }
            let downlink = device.in_progress.clone();
            (downlink, state.applications.functions(app_id).encoder)
        };
        let mut downlink = downlink.unwrap_or_default();
        match encode(&downlink, encoder.as_deref()) {
            Ok(payload) => {
                downlink.payload = payload;
                self.transmit(app_id, dev_id, &downlink, window);
            }
            Err(error) => {
                let message = messages::downlink(Some((app_id, dev_id)), &downlink, "");
                self.downlink_error(app_id, dev_id, &error, Some(message));
                self.uplink_error(app_id, dev_id, &error);
            }
        }
    }

    fn transmit(&self, app_id: &str, dev_id: &str, downlink: &QueuedDownlink, window: &Window) {
        let payload = downlink.payload.as_deref().unwrap_or_default();
        if payload.is_empty() && !window.wants_ack {
            return;
        }
        let port = [downlink.port, window.port, 1]
            .into_iter()
            .find(|port| *port != 0)
            .unwrap_or(1);
        let mut state = lock(&self.state);
        let Some((device, random)) = state.parts(app_id, dev_id) else {
            return;
        };
        let counter = device.down_counter;
        device.down_counter = counter.wrapping_add(1);
        let header = FrameHeader {
            confirmed: downlink.confirmed,
            dev_addr: device.dev_addr,
            ack: window.wants_ack,
            more_queued: !device.queue.is_empty(),
            counter,
        };
        let frame = radio::downlink_frame(&header, port, payload, random);
        let sent = messages::downlink_sent(
            &frame,
            counter,
            &messages::downlink(Some((app_id, dev_id)), downlink, ""),
            window.gateway_id.as_deref().unwrap_or_default(),
            &window.modulation,
            window.frequency,
        );
        self.event(app_id, dev_id, "down/sent", sent);
        if !payload.is_empty() {
            device.owes_ack |= downlink.confirmed;
            let _ = device.radio.0.send(Received {
                port,
                payload: payload.to_vec(),
                confirmed: downlink.confirmed,
                counter,
            });
        }
    }

    /// A request on `A/devices/D/down`. What cannot be read leaves no trace, as on the real
    /// network.
    fn request(&self, topic: &str, payload: &[u8]) {
        let levels: Vec<&str> = topic.split('/').collect();
        let [app_id, "devices", dev_id, "down"] = levels[..] else {
            return;
        };
        if !is_id(app_id) || !is_id(dev_id) {
            return;
        }
        let Some((downlink, schedule)) = messages::parse_request(payload) else {
            log::debug!("unreadable downlink for {app_id}/{dev_id}");
            return;
        };
        let mut state = lock(&self.state);
        let Some(device) = state.device(app_id, dev_id) else {
            log::debug!("downlink for the unknown device {app_id}/{dev_id}");
            return;
        };
        if downlink.payload.is_none() && downlink.fields.is_none() {
            let message = messages::downlink(Some((app_id, dev_id)), &downlink, &schedule);
            let error = "Downlink Payload not valid: empty";
            self.downlink_error(app_id, dev_id, error, Some(message));
            return;
        }
        let message = messages::downlink(None, &downlink, "");
        match schedule.as_str() {
            "" | "replace" => {
                device.in_progress = None;
                device.queue.clear();
                device.queue.push_back(downlink);
            }
            "first" => device.queue.push_front(downlink),
            "last" => device.queue.push_back(downlink),
            _ => {
                let error = "ScheduleType not valid: unknown";
                self.downlink_error(app_id, dev_id, error, Some(message));
                return;
            }
        }
        let scheduled = messages::downlink_event("", Some(message));
        self.event(app_id, dev_id, "down/scheduled", scheduled);
    }
}

impl Policy for V2 {
    fn authenticate(&self, username: &str, password: &[u8]) -> Option<Account> {
        let key = std::str::from_utf8(password).ok()?;
        if !is_id(username) || !key.contains('.') {
            return None;
        }
        let rights = lock(&self.state).applications.rights(username, key)?;
        let filters = |on: bool, filters: &[&str]| {
            let prefixed = filters.iter().map(|filter| format!("{username}/{filter}"));
            prefixed.filter(|_| on).collect()
        };
        let readable = [
            "devices/+/up",
            "devices/+/up/#",
            "devices/+/events",
            "devices/+/events/#",
            "events",
            "events/#",
        ];
        Some(Account {
            app_id: username.to_owned(),
            read: filters(rights.read, &readable),
            write: filters(rights.write, &["devices/+/down"]),
        })
    }

    fn rewrite(&self, account: &Account, filter: &str) -> Option<String> {
        let app_id = &account.app_id;
        match filter.split_once('/') {
            None if filter == "#" => Some(format!("{app_id}/#")),
            None if filter == "+" || filter == app_id => Some(app_id.clone()),
            Some((first, rest)) if first == "+" || first == app_id => {
                Some(format!("{app_id}/{rest}"))
            }
            _ => None,
        }
    }

    fn message(&self, topic: &str, payload: &[u8]) {
        self.request(topic, payload);
    }
}

impl Handler for V2 {
    fn add_key(&self, app_id: &str, access_key: &str, rights: Rights) {
        let mut state = lock(&self.state);
        state.applications.add_key(app_id, access_key, rights);
    }

    fn set_function(&self, app_id: &str, function: PayloadFunction) {
        let mut state = lock(&self.state);
        state.applications.set_function(app_id, function);
    }

    fn set_gateways(&self, setting: GatewayState) {
        if let GatewayState::Down(down) = setting {
            lock(&self.state).gateways_down = down;
        }
    }

    fn register(&self, app_id: &str, dev_id: &str, location: Option<Location>, event: bool) {
        {
            let mut state = lock(&self.state);
            if state.device(app_id, dev_id).is_some() {
                return;
            }
            let device = Device {
                dev_eui: applications::dev_eui(app_id, dev_id),
                dev_addr: radio::new_address(&mut state.random),
                location,
                up_counter: None,
                down_counter: 0,
                queue: VecDeque::new(),
                in_progress: None,
                window: None,
                owes_ack: false,
                acknowledges: true,
                radio: crossbeam_channel::unbounded(),
            };
            state.applications.insert(app_id, dev_id, device);
            if event {
                let payload = messages::saved(location, Some(self.clock.now()));
                self.event(app_id, dev_id, "create", payload);
            }
        }
        self.broker.flush();
    }

    fn update(&self, app_id: &str, dev_id: &str, location: Option<Location>) -> bool {
        {
            let mut state = lock(&self.state);
            let Some(device) = state.device(app_id, dev_id) else {
                return false;
            };
            let before = device.location.unwrap_or_default();
            let now = location.unwrap_or_default();
            device.location = location;
            // Only what changed is printed.
            let changed = Location {
                latitude: changed(before.latitude, now.latitude),
                longitude: changed(before.longitude, now.longitude),
                altitude: changed(before.altitude, now.altitude),
            };
            let payload = messages::saved(Some(changed), (before != now).then(|| self.clock.now()));
            self.event(app_id, dev_id, "update", payload);
        }
        self.broker.flush();
        true
    }

    fn delete(&self, app_id: &str, dev_id: &str) -> bool {
        {
            let mut state = lock(&self.state);
            let Some(device) = state.applications.remove(app_id, dev_id) else {
                return false;
            };
            if let Some((key, _)) = device.window {
                self.windows.forget(key);
            }
            self.event(app_id, dev_id, "delete", "null".into());
        }
        self.broker.flush();
        true
    }

    fn describe(&self, app_id: &str, dev_id: &str) -> Option<Description> {
        let mut state = lock(&self.state);
        let device = state.device(app_id, dev_id)?;
        Some(Description {
            dev_eui: device.eui(),
            dev_addr: device.address(),
            in_progress: device.in_progress.clone(),
            queue: device.queue.iter().cloned().collect(),
            received: device.radio.1.clone(),
        })
    }

    fn join(&self, app_id: &str, dev_id: &str, refusal: Option<&str>) {
        {
            let mut state = lock(&self.state);
            let gateways_down = state.gateways_down;
            let Some((device, random)) = state.parts(app_id, dev_id) else {
                return;
            };
            let no_gateways = format!("Activation not valid: {NO_GATEWAYS}");
            let refusal = refusal.or(gateways_down.then_some(no_gateways.as_str()));
            if let Some(refusal) = refusal {
                let activation = messages::activation(&device.eui(), Err(refusal));
                self.event(app_id, dev_id, "activations/errors", activation);
            } else {
                if let Some((key, _)) = device.window.take() {
                    self.windows.forget(key);
                }
                let before = device.dev_addr;
                while device.dev_addr == before {
                    device.dev_addr = radio::new_address(random);
                }
                device.up_counter = None;
                device.down_counter = 0;
                device.owes_ack = false;
                // The handler reckons the airtime of an activation with no bytes at all.
                let frame = Frame {
                    time: self.clock.now(),
                    length: 0,
                    modulation: &Modulation::Lora("SF7BW125".into()),
                    frequency: 868_100_000,
                    channel: 0,
                    gateways: &radio::gateways(1, random),
                    uptime: self.clock.uptime(),
                };
                let metadata = frame.metadata(None);
                let (dev_eui, dev_addr) = (device.eui(), device.address());
                let activation = messages::activation(&dev_eui, Ok((&dev_addr, &metadata)));
                self.event(app_id, dev_id, "activations", activation);
            }
        }
        self.broker.flush();
    }

    fn uplink(&self, app_id: &str, dev_id: &str, uplink: Uplink) -> u32 {
        if !uplink.simulated {
            self.close_window(app_id, dev_id, None);
        }
        let (counter, functions) = {
            let mut state = lock(&self.state);
            let Some(device) = state.device(app_id, dev_id) else {
                return 0;
            };
            let counter = if uplink.simulated {
                0
            } else {
                let (counter, acknowledged) = device.take_uplink(&uplink);
                if let Some(downlink) = acknowledged {
                    let message = messages::downlink(None, &downlink, "");
                    let acknowledged = messages::downlink_event("", Some(message));
                    self.event(app_id, dev_id, "down/acks", acknowledged);
                }
                counter
            };
            (counter, state.applications.functions(app_id))
        };
        let decoder = functions.decoder.as_deref();
        let decoded = decode(&uplink, decoder, functions.validator.as_deref());
        if let Some(window) = self.receive(app_id, dev_id, &uplink, counter, decoded) {
            self.answer(app_id, dev_id, &window);
        }
        self.broker.flush();
        counter
    }

    fn order(&self, app_id: &str, dev_id: &str, order: Order<'_>) {
        if let Order::Acknowledge(on) = order {
            if let Some(device) = lock(&self.state).device(app_id, dev_id) {
                device.acknowledges = on;
            }
        }
    }

    fn run(&self) {
        self.windows.run(
            |app_id, dev_id, key| self.close_window(app_id, dev_id, Some(key)),
            || self.broker.flush(),
        );
    }

    fn halt(&self) {
        self.windows.halt();
    }
}

impl V2 {
    /// Publishes the uplink. The window it opened is kept, or returned when it has to be answered
    /// at once.
    fn receive(
        &self,
        app_id: &str,
        dev_id: &str,
        uplink: &Uplink,
        counter: u32,
        decoded: Result<Option<Value>, UplinkError>,
    ) -> Option<Window> {
        let mut state = lock(&self.state);
        let no_gateway = state.gateways_down || uplink.gateways == 0;
        let (device, random) = state.parts(app_id, dev_id)?;
        let gateways = radio::gateways(uplink.gateways, random);
        let fields = match decoded {
            Ok(fields) => fields,
            Err(UplinkError::Invalid) => {
                let error = "Payload not valid: payload validator function returned false";
                self.uplink_error(app_id, dev_id, error);
                return None;
            }
            Err(UplinkError::Undecodable(error)) => {
                let error = format!("Unable to decode payload fields: {error}");
                self.uplink_error(app_id, dev_id, &error);
                None
            }
        };
        let channel = counter % 3;
        let frequency = uplink.frequency.unwrap_or(868_100_000 + 200_000 * channel);
        let time = uplink.time.unwrap_or_else(|| self.clock.now());
        let location = uplink.location.or(device.location);
        let metadata = if uplink.simulated {
            messages::simulated_metadata(time, location)
        } else {
            let frame = Frame {
                time,
                length: radio::frame_length(&uplink.payload),
                modulation: &uplink.modulation,
                frequency,
                channel,
                gateways: &gateways,
                uptime: self.clock.uptime(),
            };
            frame.metadata(location)
        };
        let payload = messages::uplink(
            (app_id, dev_id),
            &device.eui(),
            uplink,
            counter,
            fields.as_ref(),
            &metadata,
        );
        let field_topics = fields.as_ref().map(messages::field_topics);
        self.publish_uplink(app_id, dev_id, &payload, &field_topics.unwrap_or_default());
        if uplink.simulated {
            return None;
        }
        let window = Window {
            port: uplink.port,
            wants_ack: uplink.confirmed,
            gateway_id: gateways
                .into_iter()
                .next()
                .map(|gateway| gateway.id)
                .filter(|_| !no_gateway),
            modulation: uplink.modulation.clone(),
            frequency,
        };
        if device.in_progress.is_some() || self.receive_window.is_zero() {
            return Some(window);
        }
        let closes = deadline(self.receive_window);
        let key = self.windows.open(closes, app_id, dev_id);
        if let Some((older, _)) = device.window.replace((key, window)) {
            self.windows.forget(older);
        }
        None
    }
}

impl Device {
    fn eui(&self) -> String {
        format!("{:016X}", self.dev_eui)
    }

    fn address(&self) -> String {
        format!("{:08X}", self.dev_addr)
    }

    /// Counts the uplink and clears the downlink in progress; the downlink it acknowledges.
    fn take_uplink(&mut self, uplink: &Uplink) -> (u32, Option<QueuedDownlink>) {
        let following = |last: u32| last.wrapping_add(u32::from(!uplink.retry));
        let counter = uplink
            .counter
            .unwrap_or_else(|| self.up_counter.map_or(0, following));
        self.up_counter = Some(counter);
        if uplink.retry {
            return (counter, None);
        }
        let ack = std::mem::take(&mut self.owes_ack) && self.acknowledges;
        let finished = self
            .in_progress
            .take_if(|downlink| !downlink.confirmed || ack);
        (counter, finished.filter(|downlink| downlink.confirmed))
    }
}

enum UplinkError {
    Invalid,
    Undecodable(String),
}

/// The fields of an uplink, `None` when there are none.
fn decode(
    uplink: &Uplink,
    decoder: Option<&Decoder>,
    validator: Option<&Validator>,
) -> Result<Option<Value>, UplinkError> {
    let decoded = match (&uplink.fields, decoder) {
        (Some(fields), _) => Some(fields.clone()),
        (None, Some(decoder)) => run("Decoder", || decoder(uplink.port, &uplink.payload))
            .map_err(UplinkError::Undecodable)?,
        (None, None) => None,
    };
    let Some(fields) = decoded else {
        return Ok(None);
    };
    if !fields.is_object() {
        let error = "Decoder not valid: does not return an object".into();
        return Err(UplinkError::Undecodable(error));
    }
    if let Some(validator) = validator {
        let valid = run("Validator", || Ok(validator(uplink.port, &fields)))
            .map_err(UplinkError::Undecodable)?;
        if !valid {
            return Err(UplinkError::Invalid);
        }
    }
    let empty = fields.as_object().is_some_and(serde_json::Map::is_empty);
    Ok((!empty).then_some(fields))
}

/// The bytes of a downlink, or the handler's error text.
fn encode(downlink: &QueuedDownlink, encoder: Option<&Encoder>) -> Result<Option<Vec<u8>>, String> {
    let Some(fields) = &downlink.fields else {
        return Ok(downlink.payload.clone());
    };
    if downlink.payload.is_some() {
        return Err("Downlink not valid: Both Fields and Payload provided".into());
    }
    let Some(encoder) = encoder else {
        return Err(
            "Downlink Payload not valid: fields supplied, but no Encoder function set".into(),
        );
    };
    run("Encoder", || encoder(downlink.port, fields)).map(Some)
}

fn run<T>(name: &str, function: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    applications::call(function)
        .map_err(|error| format!("Internal error: {name} threw error: {error}"))
}

fn changed<T: PartialEq + Default>(before: T, now: T) -> T {
    if before == now { T::default() } else { now }
}

/// Ids have 2 to 36 lower-case letters and digits, with single `-` or `_` between them.
fn is_id(id: &str) -> bool {
    let letters = |part: &str| {
        let lower = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        !part.is_empty() && part.bytes().all(lower)
    };
    let length = id.bytes().filter(u8::is_ascii_alphanumeric).count();
    (2..=36).contains(&length) && id.split(['-', '_']).all(letters)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_follow_the_networks_rules() {
        for id in [
            "ab",
            "soil-probe-07",
            "buoy_3",
            "0a",
            &"a".repeat(36),
            "a-b",
        ] {
            assert!(is_id(id), "{id}");
        }
        for id in [
            "",
            "a",
            "Pump",
            "-ab",
            "ab-",
            "a--b",
            "a-_b",
            "a.b",
            "é-ab",
            "a b",
            &"a".repeat(37),
        ] {
            assert!(!is_id(id), "{id}");
        }
    }
}
