//! The V2 handler: access control, devices, downlink queues, and the messages that follow from them.

use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use crossbeam_channel::{Receiver, Sender};
use fastrand::Rng;
use serde_json::Value;

use super::broker::{Account, Broker, Policy};
use super::device::{
    Decoder, Description, Encoder, Handler, PayloadFunction, QueuedDownlink, Received, Rights,
    Uplink, Validator,
};
use super::json::{self, Object};
use super::radio::{self, FrameHeader, Gateway, Location, Modulation};
use super::{lock, wait, wait_until};

const APP_EUI: &str = "70B3D57ED000AB01";
const NO_GATEWAYS: &str = "No gateways available for downlink";

/// The handler with its applications and devices.
pub(super) struct V2 {
    broker: Arc<Broker>,
    receive_window: Duration,
    started: Instant,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    applications: BTreeMap<String, Application>,
    /// Open receive windows by the time they close.
    windows: BTreeMap<(Instant, u64), (String, String)>,
    opened: u64,
    gateways_down: bool,
    halted: bool,
    random: Rng,
}

#[derive(Default)]
struct Application {
    keys: BTreeMap<String, Rights>,
    devices: BTreeMap<String, Device>,
    decoder: Option<Arc<Decoder>>,
    encoder: Option<Arc<Encoder>>,
    validator: Option<Arc<Validator>>,
}

struct Device {
    dev_eui: u64,
    dev_addr: u32,
    location: Option<Location>,
    up_counter: Option<u32>,
    down_counter: u32,
    queue: VecDeque<QueuedDownlink>,
    in_progress: Option<QueuedDownlink>,
    window: Option<((Instant, u64), Window)>,
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
        self.applications.get_mut(app_id)?.devices.get_mut(dev_id)
    }
}

impl V2 {
    pub(super) fn new(broker: Arc<Broker>, receive_window: Duration, seed: Option<u64>) -> Self {
        Self {
            broker,
            receive_window,
            started: Instant::now(),
            state: Mutex::new(State {
                applications: BTreeMap::new(),
                windows: BTreeMap::new(),
                opened: 0,
                gateways_down: false,
                halted: false,
                random: seed.map_or_else(Rng::new, Rng::with_seed),
            }),
            changed: Condvar::new(),
        }
    }

    fn event(&self, app_id: &str, dev_id: &str, event: &str, payload: String) {
        self.broker
            .post(format!("{app_id}/devices/{dev_id}/events/{event}"), payload);
    }

    fn uplink_error(&self, app_id: &str, dev_id: &str, error: &str) {
        let payload = Object::new().string("error", error).finish();
        self.event(app_id, dev_id, "up/errors", payload);
    }

    /// `message` is the finished text of the downlink the error is about.
    fn downlink_error(&self, app_id: &str, dev_id: &str, error: &str, message: Option<String>) {
        let payload = Object::new()
            .string("error", error)
            .option("message", message)
            .finish();
        self.event(app_id, dev_id, "down/errors", payload);
    }

    fn publish_uplink(
        &self,
        app_id: &str,
        dev_id: &str,
        payload: String,
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
            self.broker.post(topic.clone(), payload.as_str());
            if field_topics {
                for (path, value) in fields {
                    self.broker.post(format!("{topic}/{path}"), value.as_str());
                }
            }
        }
    }

    /// Metadata of a frame that was received over the air.
    fn metadata(&self, time: SystemTime, frame: &Frame<'_>, device: Option<Location>) -> String {
        let uptime = self.started.elapsed().as_micros() as u32;
        let airtime = frame.modulation.airtime(frame.length).as_nanos() as i64;
        let gateways = frame.gateways.iter().map(|gateway| {
            let claimed = if gateway.has_clock {
                self::time(time)
            } else {
                String::new()
            };
            let object = Object::new()
                .string("gtw_id", &gateway.id)
                .flag("gtw_trusted", gateway.trusted)
                .integer("timestamp", uptime.max(1))
                .member("time", json::string(&claimed))
                .member("channel", frame.channel)
                .member("rssi", json::float32(gateway.rssi))
                .member("snr", json::float32(gateway.snr))
                .member("rf_chain", 1);
            located(object, gateway.location).finish()
        });
        let gateways = (!frame.gateways.is_empty()).then(|| json::array(gateways));
        let object = Object::new()
            .member("time", json::string(&self::time(time)))
            .float("frequency", (f64::from(frame.frequency) / 1e6) as f32)
            .string("modulation", frame.modulation.name())
            .string("data_rate", frame.modulation.data_rate())
            .integer("bit_rate", frame.modulation.bit_rate())
            .integer("airtime", airtime)
            .string("coding_rate", "4/5")
            .option("gateways", gateways);
        located(object, device).finish()
    }

    /// Ends the device's receive window, if it is still open, with the downlink that is due.
    fn close_window(&self, app_id: &str, dev_id: &str, key: Option<(Instant, u64)>) {
        let window = {
            let mut state = lock(&self.state);
            let Some(device) = state.device(app_id, dev_id) else {
                return;
            };
            let due = |(open, _): &mut ((Instant, u64), Window)| key.is_none_or(|key| key == *open);
            let Some((key, window)) = device.window.take_if(due) else {
                return;
            };
            state.windows.remove(&key);
            window
        };
        self.answer(app_id, dev_id, &window);
    }

    /// Sends the downlink in progress, or else the next one of the queue, or else a mere acknowledgement if one is due.
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
            let application = state.applications.get(app_id);
            (
                downlink,
                application.and_then(|application| application.encoder.clone()),
            )
        };
        let mut downlink = downlink.unwrap_or(QueuedDownlink {
            port: 0,
            confirmed: false,
            payload: None,
            fields: None,
        });
        match encode(&downlink, encoder.as_deref()) {
            Ok(payload) => {
                downlink.payload = payload;
                self.transmit(app_id, dev_id, &downlink, window);
            }
            Err(error) => {
                let message = message(Some((app_id, dev_id)), &downlink, "");
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
        let State {
            applications,
            random,
            ..
        } = &mut *state;
        let Some(device) = applications
            .get_mut(app_id)
            .and_then(|application| application.devices.get_mut(dev_id))
        else {
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
        let config = Object::new()
            .string("modulation", window.modulation.name())
            .string("data_rate", window.modulation.data_rate())
            .integer("bit_rate", window.modulation.bit_rate())
            .integer(
                "airtime",
                window.modulation.airtime(frame.len()).as_nanos() as i64,
            )
            .integer("counter", counter)
            .integer("frequency", window.frequency)
            .integer("power", 14);
        let sent = Object::new()
            .string("payload", &BASE64.encode(&frame))
            .member("message", message(Some((app_id, dev_id)), downlink, ""))
            .string(
                "gateway_id",
                window.gateway_id.as_deref().unwrap_or_default(),
            )
            .member("config", config.finish());
        self.event(app_id, dev_id, "down/sent", sent.finish());
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

    /// A request on `A/devices/D/down`. What cannot be read leaves no trace, as on the real network.
    fn request(&self, topic: &str, payload: &[u8]) {
        let levels: Vec<&str> = topic.split('/').collect();
        let [app_id, "devices", dev_id, "down"] = levels[..] else {
            return;
        };
        if !is_id(app_id) || !is_id(dev_id) {
            return;
        }
        let Some((downlink, schedule)) = parse_request(payload) else {
            log::debug!("unreadable downlink for {app_id}/{dev_id}");
            return;
        };
        let mut state = lock(&self.state);
        let Some(device) = state.device(app_id, dev_id) else {
            log::debug!("downlink for the unknown device {app_id}/{dev_id}");
            return;
        };
        if downlink.payload.is_none() && downlink.fields.is_none() {
            let message = message(Some((app_id, dev_id)), &downlink, &schedule);
            let error = "Downlink Payload not valid: empty";
            self.downlink_error(app_id, dev_id, error, Some(message));
            return;
        }
        let message = message(None, &downlink, "");
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
        let scheduled = Object::new().member("message", message).finish();
        self.event(app_id, dev_id, "down/scheduled", scheduled);
    }
}

impl Policy for V2 {
    fn authenticate(&self, username: &str, password: &[u8]) -> Option<Account> {
        let key = std::str::from_utf8(password).ok()?;
        if !is_id(username) || !key.contains('.') {
            return None;
        }
        let rights = *lock(&self.state)
            .applications
            .get(username)?
            .keys
            .get(key)?;
        if !rights.read && !rights.write {
            return None;
        }
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
        lock(&self.state)
            .applications
            .entry(app_id.to_owned())
            .or_default()
            .keys
            .insert(access_key.to_owned(), rights);
    }

    fn set_function(&self, app_id: &str, function: PayloadFunction) {
        let mut state = lock(&self.state);
        let application = state.applications.entry(app_id.to_owned()).or_default();
        match function {
            PayloadFunction::Decoder(decoder) => application.decoder = Some(decoder),
            PayloadFunction::Encoder(encoder) => application.encoder = Some(encoder),
            PayloadFunction::Validator(validator) => application.validator = Some(validator),
        }
    }

    fn set_gateways_down(&self, down: bool) {
        lock(&self.state).gateways_down = down;
    }

    fn register(&self, app_id: &str, dev_id: &str, location: Option<Location>, event: bool) {
        {
            let mut state = lock(&self.state);
            let dev_addr = new_address(&mut state.random);
            let application = state.applications.entry(app_id.to_owned()).or_default();
            if application.devices.contains_key(dev_id) {
                return;
            }
            let device = Device {
                dev_eui: dev_eui(app_id, dev_id),
                dev_addr,
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
            application.devices.insert(dev_id.to_owned(), device);
            if event {
                self.event(app_id, dev_id, "create", saved(location, true));
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
            let payload = saved(Some(changed), before != now);
            self.event(app_id, dev_id, "update", payload);
        }
        self.broker.flush();
        true
    }

    fn delete(&self, app_id: &str, dev_id: &str) -> bool {
        {
            let mut state = lock(&self.state);
            let removed = state
                .applications
                .get_mut(app_id)
                .and_then(|application| application.devices.remove(dev_id));
            let Some(device) = removed else {
                return false;
            };
            if let Some((key, _)) = device.window {
                state.windows.remove(&key);
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
            dev_eui: format!("{:016X}", device.dev_eui),
            dev_addr: format!("{:08X}", device.dev_addr),
            in_progress: device.in_progress.clone(),
            queue: device.queue.iter().cloned().collect(),
            received: device.radio.1.clone(),
        })
    }

    fn join(&self, app_id: &str, dev_id: &str, refusal: Option<&str>) {
        {
            let mut state = lock(&self.state);
            let State {
                applications,
                windows,
                gateways_down,
                random,
                ..
            } = &mut *state;
            let Some(device) = applications
                .get_mut(app_id)
                .and_then(|application| application.devices.get_mut(dev_id))
            else {
                return;
            };
            let no_gateways = format!("Activation not valid: {NO_GATEWAYS}");
            let refusal = refusal.or(gateways_down.then_some(no_gateways.as_str()));
            let activation = Object::new()
                .string("error", refusal.unwrap_or_default())
                .member("app_eui", json::string(APP_EUI))
                .member("dev_eui", json::string(&format!("{:016X}", device.dev_eui)));
            if refusal.is_some() {
                let activation = activation
                    .member("dev_addr", r#""""#)
                    .member("metadata", r#"{"time":""}"#);
                self.event(app_id, dev_id, "activations/errors", activation.finish());
            } else {
                if let Some((key, _)) = device.window.take() {
                    windows.remove(&key);
                }
                let before = device.dev_addr;
                while device.dev_addr == before {
                    device.dev_addr = new_address(random);
                }
                device.up_counter = None;
                device.down_counter = 0;
                device.owes_ack = false;
                // The handler reckons the airtime of an activation with no bytes at all.
                let frame = Frame {
                    length: 0,
                    modulation: &Modulation::Lora("SF7BW125".into()),
                    frequency: 868_100_000,
                    channel: 0,
                    gateways: &radio::gateways(1, random),
                };
                let activation = activation
                    .member("dev_addr", format!("\"{:08X}\"", device.dev_addr))
                    .member("metadata", self.metadata(SystemTime::now(), &frame, None));
                self.event(app_id, dev_id, "activations", activation.finish());
            }
        }
        self.broker.flush();
    }

    fn uplink(&self, app_id: &str, dev_id: &str, uplink: Uplink) -> u32 {
        if !uplink.simulated {
            self.close_window(app_id, dev_id, None);
        }
        let (counter, decoder, validator) = {
            let mut state = lock(&self.state);
            let Some(device) = state.device(app_id, dev_id) else {
                return 0;
            };
            let counter = if uplink.simulated {
                0
            } else {
                let (counter, acknowledged) = device.take_uplink(&uplink);
                if let Some(downlink) = acknowledged {
                    let acknowledged =
                        Object::new().member("message", message(None, &downlink, ""));
                    self.event(app_id, dev_id, "down/acks", acknowledged.finish());
                }
                counter
            };
            let application = state.applications.get(app_id);
            (
                counter,
                application.and_then(|application| application.decoder.clone()),
                application.and_then(|application| application.validator.clone()),
            )
        };
        let decoded = decode(&uplink, decoder.as_deref(), validator.as_deref());
        if let Some(window) = self.receive(app_id, dev_id, &uplink, counter, decoded) {
            self.answer(app_id, dev_id, &window);
        }
        self.broker.flush();
        counter
    }

    fn set_acknowledging(&self, app_id: &str, dev_id: &str, on: bool) {
        if let Some(device) = lock(&self.state).device(app_id, dev_id) {
            device.acknowledges = on;
        }
    }

    fn run(&self) {
        let mut state = lock(&self.state);
        while !std::mem::take(&mut state.halted) {
            let Some((key, (app_id, dev_id))) = state.windows.first_key_value() else {
                state = wait(&self.changed, state);
                continue;
            };
            let key = *key;
            if Instant::now() < key.0 {
                state = wait_until(&self.changed, state, key.0);
                continue;
            }
            let (app_id, dev_id) = (app_id.clone(), dev_id.clone());
            drop(state);
            self.close_window(&app_id, &dev_id, Some(key));
            self.broker.flush();
            state = lock(&self.state);
        }
    }

    fn halt(&self) {
        lock(&self.state).halted = true;
        self.changed.notify_all();
    }
}

impl V2 {
    /// Publishes the uplink. The window it opened is kept, or returned when it has to be answered at once.
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
        let gateways = radio::gateways(uplink.gateways, &mut state.random);
        let device = state.device(app_id, dev_id)?;
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
        let time = uplink.time.unwrap_or_else(SystemTime::now);
        let location = uplink.location.or(device.location);
        let metadata = if uplink.simulated {
            let object = Object::new().member("time", json::string(&self::time(time)));
            located(object, location).finish()
        } else {
            let frame = Frame {
                length: radio::frame_length(&uplink.payload),
                modulation: &uplink.modulation,
                frequency,
                channel,
                gateways: &gateways,
            };
            self.metadata(time, &frame, location)
        };
        let payload_raw = if uplink.port == 0 || uplink.payload.is_empty() {
            "null".into()
        } else {
            json::string(&BASE64.encode(&uplink.payload))
        };
        let attributes = (!uplink.attributes.is_empty()).then(|| {
            let object = Object::new();
            let attributes = uplink.attributes.iter();
            attributes
                .fold(object, |object, (key, value)| {
                    object.member(key, json::string(value))
                })
                .finish()
        });
        let object = Object::new()
            .string("app_id", app_id)
            .string("dev_id", dev_id)
            .string("hardware_serial", &format!("{:016X}", device.dev_eui))
            .member("port", uplink.port)
            .member("counter", counter)
            .flag("confirmed", uplink.confirmed)
            .flag("is_retry", uplink.retry)
            .member("payload_raw", payload_raw)
            .option("payload_fields", fields.as_ref().map(json::value))
            .member("metadata", metadata)
            .option("attributes", attributes);
        let field_topics = fields.as_ref().map(field_topics).unwrap_or_default();
        self.publish_uplink(app_id, dev_id, object.finish(), &field_topics);
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
        state.opened += 1;
        let key = (Instant::now() + self.receive_window, state.opened);
        state
            .windows
            .insert(key, (app_id.to_owned(), dev_id.to_owned()));
        if let Some((older, _)) = state.device(app_id, dev_id)?.window.replace((key, window)) {
            state.windows.remove(&older);
        }
        self.changed.notify_all();
        None
    }
}

impl Device {
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

/// A frame as the gateways heard it.
struct Frame<'a> {
    length: usize,
    modulation: &'a Modulation,
    frequency: u32,
    channel: u32,
    gateways: &'a [Gateway],
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

/// Runs a payload function of the user; a panic is an error like any other, as an exception in the real one is.
fn run<T>(name: &str, function: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(function))
        .unwrap_or_else(|_| Err("panicked".into()))
        .map_err(|error| format!("Internal error: {name} threw error: {error}"))
}

/// A downlink as events print it.
fn message(ids: Option<(&str, &str)>, downlink: &QueuedDownlink, schedule: &str) -> String {
    let (app_id, dev_id) = ids.unwrap_or_default();
    let payload = downlink.payload.as_deref().unwrap_or_default();
    Object::new()
        .string("app_id", app_id)
        .string("dev_id", dev_id)
        .member("port", downlink.port)
        .flag("confirmed", downlink.confirmed)
        .string("schedule", schedule)
        .string("payload_raw", &BASE64.encode(payload))
        .option("payload_fields", downlink.fields.as_ref().map(json::value))
        .finish()
}

/// The request and its schedule. Go's rules: keys in any case, null changes nothing, a wrong type spoils the whole.
fn parse_request(payload: &[u8]) -> Option<(QueuedDownlink, String)> {
    let mut downlink = QueuedDownlink {
        port: 0,
        confirmed: false,
        payload: None,
        fields: None,
    };
    let mut schedule = String::new();
    let text = String::from_utf8_lossy(payload);
    let members = match serde_json::from_str(&text).ok()? {
        Value::Null => serde_json::Map::new(),
        Value::Object(members) => members,
        _ => return None,
    };
    for (key, member) in members.into_iter().filter(|(_, member)| !member.is_null()) {
        match key.to_ascii_lowercase().as_str() {
            "port" => downlink.port = u8::try_from(member.as_u64()?).ok()?,
            "confirmed" => downlink.confirmed = member.as_bool()?,
            "schedule" => schedule = member.as_str()?.to_owned(),
            "payload_raw" => {
                let text = member.as_str()?.replace(['\r', '\n'], "");
                let bytes = BASE64.decode(text).ok()?;
                downlink.payload = (!bytes.is_empty()).then_some(bytes);
            }
            "payload_fields" => {
                let empty = member.as_object()?.is_empty();
                downlink.fields = (!empty).then_some(member);
            }
            "app_id" | "dev_id" => {
                member.as_str()?;
            }
            _ => {}
        }
    }
    Some((downlink, schedule))
}

/// Path below `up/` and value of every field; objects are also opened.
fn field_topics(fields: &Value) -> Vec<(String, String)> {
    fn collect(prefix: &str, fields: &Value, topics: &mut Vec<(String, String)>) {
        let Value::Object(members) = fields else {
            return;
        };
        for (key, member) in json::sorted(members) {
            if key.contains(['+', '*', '#', '\0']) {
                continue;
            }
            let path = format!("{prefix}{key}");
            topics.push((path.clone(), json::value(member)));
            collect(&format!("{path}/"), member, topics);
        }
    }
    let mut topics = Vec::new();
    collect("", fields, &mut topics);
    topics
}

/// What the events `create` and `update` carry.
fn saved(location: Option<Location>, now: bool) -> String {
    let location = location.unwrap_or_default();
    let time = if now {
        time(SystemTime::now())
    } else {
        "0001-01-01T00:00:00Z".into()
    };
    Object::new()
        .float("latitude", location.latitude)
        .float("longitude", location.longitude)
        .integer("altitude", location.altitude)
        .member("update_at", json::string(&time))
        .finish()
}

fn changed<T: PartialEq + Default>(before: T, now: T) -> T {
    if before == now { T::default() } else { now }
}

fn located(object: Object, location: Option<Location>) -> Object {
    match location {
        None => object,
        Some(location) => object
            .float("latitude", location.latitude)
            .float("longitude", location.longitude)
            .integer("altitude", location.altitude)
            .string("location_source", "registry"),
    }
}

/// RFC 3339 in UTC with trailing zeros of the fraction removed; instants outside 1970..=9999 are moved to its ends.
fn time(time: SystemTime) -> String {
    let longest = Duration::from_secs(253_402_300_799);
    let since = time
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let time = SystemTime::UNIX_EPOCH + since.min(longest);
    let text = humantime::format_rfc3339_nanos(time).to_string();
    let digits = text
        .trim_end_matches('Z')
        .trim_end_matches('0')
        .trim_end_matches('.');
    format!("{digits}Z")
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

/// The same device has the same DevEUI in every run.
fn dev_eui(app_id: &str, dev_id: &str) -> u64 {
    let bytes = app_id.bytes().chain([b'/']).chain(dev_id.bytes());
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    0xa840_4100_0000_0000 | (hash & 0xff_ffff_ffff)
}

/// An address of The Things Network's block.
fn new_address(random: &mut Rng) -> u32 {
    0x2601_0000 | random.u32(..0x1_0000)
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

    #[test]
    fn times_lose_trailing_zeros_and_nothing_else() {
        let at = |seconds, nanos| time(SystemTime::UNIX_EPOCH + Duration::new(seconds, nanos));
        assert_eq!(
            at(1_520_581_282, 518_304_771),
            "2018-03-09T07:41:22.518304771Z"
        );
        assert_eq!(at(1_520_581_282, 500_000_000), "2018-03-09T07:41:22.5Z");
        assert_eq!(at(1_520_581_200, 0), "2018-03-09T07:40:00Z");
        assert_eq!(
            time(SystemTime::UNIX_EPOCH - Duration::from_secs(1)),
            "1970-01-01T00:00:00Z"
        );
    }

    #[test]
    fn requests_are_read_as_go_reads_them() {
        let read = |text: &str| parse_request(text.as_bytes());
        let (downlink, schedule) =
            read(r#"{"Port":20,"CONFIRMED":true,"schedule":null,"payload_raw":"AQ==","x":1}"#)
                .unwrap();
        assert_eq!((downlink.port, downlink.confirmed), (20, true));
        assert_eq!(downlink.payload, Some(vec![1]));
        assert_eq!(schedule, "");
        let (empty, _) = read("null").unwrap();
        assert_eq!((empty.payload, empty.fields), (None, None));
        for unreadable in [
            "",
            "[]",
            "{",
            r#"{"port":300}"#,
            r#"{"port":-1}"#,
            r#"{"port":1.0}"#,
            r#"{"port":"1"}"#,
            r#"{"payload_raw":"not base64!"}"#,
            r#"{"payload_raw":"AQ"}"#,
            r#"{"payload_fields":[1]}"#,
            r#"{"schedule":1}"#,
            r#"{"confirmed":1}"#,
            r#"{"dev_id":1}"#,
        ] {
            assert_eq!(read(unreadable), None, "{unreadable}");
        }
    }

    #[test]
    fn objects_are_published_whole_and_then_opened() {
        let fields = serde_json::json!({"gps": {"lat": 51.5, "a+b": 1}, "a": [1, {"b": 2}]});
        let expected = [
            ("a", r#"[1,{"b":2}]"#),
            ("gps", r#"{"a+b":1,"lat":51.5}"#),
            ("gps/lat", "51.5"),
        ];
        let expected = expected.map(|(path, value)| (path.to_owned(), value.to_owned()));
        assert_eq!(field_topics(&fields), expected);
    }
}
