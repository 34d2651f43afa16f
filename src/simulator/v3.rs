//! The Things Stack's side: access control, devices, their sessions and their downlink queues.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use crossbeam_channel::{Receiver, Sender};
use fastrand::Rng;
use serde_json::Value;

use super::applications::{self, Applications, Decoder, PayloadFunction};
use super::broker::{Broker, Policy};
use super::clock::Clock;
use super::device::{
    Description, GatewayState, Handler, Order, QueuedDownlink, Received, Rights, Uplink,
};
use super::radio::{self, Location, Modulation};
use super::session::Account;
use super::v3_messages::{self as messages, Downlink, Failure, Ids, Reception, Retry};
use super::v3_request::{self as request, is_id};
use super::windows::{WindowKey, Windows};
use super::{deadline, lock};

/// The longest payload of any data rate.
const LONGEST: usize = 242;
/// How often a confirmed downlink is sent unless the request says otherwise.
const ATTEMPTS: u32 = 8;

/// End of the topic and member of the message.
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

/// The servers with their applications and devices.
pub(super) struct V3 {
    broker: Arc<Broker>,
    receive_window: Duration,
    clock: Clock,
    windows: Windows,
    state: Mutex<State>,
}

struct State {
    applications: Applications<Device>,
    gateways: Gateways,
    random: Rng,
}

impl State {
    fn parts(&mut self, app_id: &str, dev_id: &str) -> Option<(&mut Device, &Gateways, &mut Rng)> {
        let device = self.applications.device(app_id, dev_id)?;
        Some((device, &self.gateways, &mut self.random))
    }
}

#[derive(Default)]
struct Gateways {
    down: bool,
    silent: bool,
    failure: Option<String>,
}

struct Device {
    dev_eui: u64,
    location: Option<Location>,
    /// Where its payloads say it is.
    position: Option<Location>,
    /// Finished text.
    battery: Option<String>,
    session: Option<Session>,
    /// Begins with the next uplink.
    pending: Option<Session>,
    queue: VecDeque<Downlink>,
    /// A confirmed downlink that was sent; the next uplink decides about it.
    unanswered: Option<Downlink>,
    window: Option<(WindowKey, Window)>,
    class_c: bool,
    /// The device's own mind: it heard a confirmed downlink and has not answered yet.
    owes_ack: bool,
    acknowledges: bool,
    radio: (Sender<Received>, Receiver<Received>),
}

struct Session {
    key_id: [u8; 16],
    dev_addr: u32,
    up_counter: Option<u32>,
    down_counter: u32,
}

impl Session {
    fn new(random: &mut Rng) -> Self {
        Self {
            key_id: messages::random_bytes(random),
            dev_addr: radio::new_address(random),
            up_counter: None,
            down_counter: 0,
        }
    }
}

/// How a downlink can be sent.
struct Window {
    /// Of the uplink that opened it.
    correlation_id: Option<String>,
    reachable: bool,
    max_length: usize,
}

impl Window {
    /// That of a device that always listens.
    const OPEN: Self = Self {
        correlation_id: None,
        reachable: true,
        max_length: LONGEST,
    };
}

/// What can be done about the first downlink of a queue.
enum Turn {
    Now,
    Later(SystemTime),
    /// Not in this window.
    Wait,
    Never(Failure),
}

impl V3 {
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
                gateways: Gateways::default(),
                random,
            }),
        }
    }

    fn post(&self, ids: &Ids<'_>, kind: Kind, correlation_ids: &[String], body: &str) {
        let now = self.clock.now();
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
            self.windows.remind(due);
        }
    }

    fn fail(&self, ids: &Ids<'_>, downlink: &Downlink, failure: &Failure, random: &mut Rng) {
        let event = failure.event(&downlink.message(), random);
        self.post(ids, FAILED, &downlink.correlation_ids, &event);
    }

    fn correlation_id(&self, entry: &str, random: &mut Rng) -> String {
        format!("{entry}:{}", messages::ulid(self.clock.now(), random))
    }

    /// Ends the device's receive window, if it is still open, with the downlink that is due.
    fn close_window(&self, app_id: &str, dev_id: &str, key: Option<WindowKey>) {
        let mut state = lock(&self.state);
        let Some(device) = state.applications.device(app_id, dev_id) else {
            return;
        };
        let due = |(open, _): &mut (WindowKey, Window)| key.is_none_or(|key| key == *open);
        if let Some((key, window)) = device.window.take_if(due) {
            self.windows.forget(key);
            self.serve(&mut state, app_id, dev_id, &window);
        }
    }

    /// Sends a device of class A the first downlink of its queue, one of class C all of them.
    fn serve(&self, state: &mut State, app_id: &str, dev_id: &str, window: &Window) {
        let Some((device, gateways, random)) = state.parts(app_id, dev_id) else {
            return;
        };
        let asleep = device.session.is_none() || device.pending.is_some();
        if !window.reachable || gateways.down || asleep {
            return;
        }
        while let Some(next) = device.queue.front() {
            let failure = match self.turn(device, next, window) {
                Turn::Wait => return,
                Turn::Later(at) => {
                    let wait = at.duration_since(self.clock.now()).unwrap_or_default();
                    self.open_window(device, (app_id, dev_id), deadline(wait), Window::OPEN);
                    return;
                }
                Turn::Never(failure) => Some(failure),
                Turn::Now => None,
            };
            let ids = device.ids(app_id, dev_id);
            let (Some(mut downlink), Some(session)) =
                (device.queue.pop_front(), device.session.as_mut())
            else {
                return;
            };
            downlink.session_key_id = session.key_id.to_vec();
            downlink.f_cnt = session.down_counter;
            session.down_counter = session.down_counter.wrapping_add(1);
            if let Some(failure) = failure {
                self.fail(&ids, &downlink, &failure, random);
                continue;
            }
            self.transmit(&ids, device, downlink, window, gateways, random);
            if !device.class_c {
                return;
            }
        }
    }

    fn turn(&self, device: &Device, next: &Downlink, window: &Window) -> Turn {
        if next.confirmed && device.unanswered.is_some() {
            return Turn::Wait;
        }
        if let Some(class_b_c) = &next.class_b_c {
            let mut gateways = class_b_c.gateways.iter();
            match class_b_c.absolute_time {
                Some(at) if at > self.clock.now() => {
                    return if device.class_c {
                        Turn::Later(at)
                    } else {
                        Turn::Wait
                    };
                }
                Some(_) if !device.class_c => return Turn::Never(Failure::EXPIRED),
                _ if !device.class_c => return Turn::Wait,
                _ if class_b_c.gateways.is_empty() => {}
                _ if gateways.any(|gateway| radio::is_gateway(&gateway.gateway_id)) => {}
                _ => return Turn::Never(Failure::FIXED_PATHS),
            }
        }
        if next.length() > window.max_length {
            return Turn::Never(Failure::too_long(next.length(), window.max_length));
        }
        Turn::Now
    }

    fn transmit(
        &self,
        ids: &Ids<'_>,
        device: &mut Device,
        downlink: Downlink,
        window: &Window,
        gateways: &Gateways,
        random: &mut Rng,
    ) {
        let mut correlation_ids = downlink.correlation_ids.clone();
        correlation_ids.push(self.correlation_id("gs:tx_ack", random));
        correlation_ids.extend(window.correlation_id.clone());
        correlation_ids.sort();
        let sent = downlink.sent(&correlation_ids);
        if let Some(result) = &gateways.failure {
            let event = Failure::transmission(result).event(&sent, random);
            self.post(ids, FAILED, &correlation_ids, &event);
        } else {
            if !gateways.silent {
                self.post(ids, SENT, &correlation_ids, &sent);
            }
            device.owes_ack |= downlink.confirmed;
            let _ = device.radio.0.send(Received {
                port: downlink.f_port,
                payload: downlink.payload.clone().unwrap_or_default(),
                confirmed: downlink.confirmed,
                counter: downlink.f_cnt,
            });
        }
        if downlink.confirmed {
            device.unanswered = Some(downlink);
        }
    }

    fn open_window(
        &self,
        device: &mut Device,
        (app_id, dev_id): (&str, &str),
        closes: Instant,
        window: Window,
    ) {
        let key = self.windows.open(closes, app_id, dev_id);
        if let Some((older, _)) = device.window.replace((key, window)) {
            self.windows.forget(older);
        }
    }

    /// A request on `v3/U/devices/D/down/push` or `replace`. What cannot be read leaves no trace,
    /// as on the real network.
    fn request(&self, topic: &str, payload: &[u8]) {
        let levels: Vec<&str> = topic.split('/').collect();
        let ["v3", app_id, "devices", dev_id, "down", operation] = levels[..] else {
            return;
        };
        let Some(mut downlinks) = request::read(payload).filter(|_| is_id(dev_id)) else {
            log::debug!("unreadable downlinks for {app_id}/{dev_id}");
            return;
        };
        let encoder = {
            let mut state = lock(&self.state);
            if state.applications.device(app_id, dev_id).is_none() {
                log::debug!("downlinks for the unknown device {app_id}/{dev_id}");
                return;
            }
            state.applications.functions(app_id).encoder
        };
        for downlink in downlinks.iter_mut().filter(|item| item.payload.is_none()) {
            let encoded = match (&downlink.decoded, &encoder) {
                (None, _) => return,
                (Some(_), None) => Ok(Vec::new()),
                (Some(fields), Some(encoder)) => {
                    let encoded = applications::call(|| encoder(downlink.f_port, fields));
                    downlink.f_port = downlink.f_port.max(1);
                    encoded
                }
            };
            match encoded {
                Ok(bytes) => downlink.payload = Some(bytes),
                Err(error) => {
                    log::debug!("downlink for {app_id}/{dev_id} cannot be encoded: {error}");
                    return;
                }
            }
        }
        self.enqueue(app_id, dev_id, downlinks, operation == "replace");
    }

    /// Queues all or none.
    fn enqueue(&self, app_id: &str, dev_id: &str, mut downlinks: Vec<Downlink>, replace: bool) {
        let limit = self.broker.quirks().downlink_queue;
        let mut state = lock(&self.state);
        let Some((device, _, random)) = state.parts(app_id, dev_id) else {
            return;
        };
        let correlation_id = self.correlation_id("as:downlink", random);
        for downlink in &mut downlinks {
            downlink.correlation_ids.push(correlation_id.clone());
            downlink.correlation_ids.sort();
            downlink.correlation_ids.dedup();
            if downlink.confirmed {
                downlink.retry.get_or_insert(Retry {
                    attempt: 1,
                    max_attempts: None,
                });
            }
        }
        let ids = device.ids(app_id, dev_id);
        if let Some(failure) = self.refusal(device, &downlinks, replace, limit) {
            for downlink in &downlinks {
                self.fail(&ids, downlink, &failure, random);
            }
            return;
        }
        if replace {
            device.queue.clear();
        }
        for mut downlink in downlinks {
            let queued = downlink.message();
            self.post(&ids, QUEUED, &downlink.correlation_ids, &queued);
            // Later events would show fields only if there were a decoder of downlinks.
            downlink.decoded = None;
            device.queue.push_back(downlink);
        }
        if device.class_c {
            self.serve(&mut state, app_id, dev_id, &Window::OPEN);
        }
    }

    fn refusal(
        &self,
        device: &Device,
        downlinks: &[Downlink],
        replace: bool,
        limit: usize,
    ) -> Option<Failure> {
        let now = self.clock.now();
        let expired = |downlink: &Downlink| {
            let class_b_c = downlink.class_b_c.as_ref();
            let time = class_b_c.and_then(|class_b_c| class_b_c.absolute_time);
            time.is_some_and(|time| time <= now)
        };
        let waiting = if replace { 0 } else { device.queue.len() };
        let mut lengths = downlinks.iter().map(Downlink::length);
        if downlinks.iter().any(|downlink| downlink.f_port == 0) {
            Some(Failure::NO_PORT)
        } else if device.session.is_none() && device.pending.is_none() {
            Some(Failure::NO_SESSION)
        } else if let Some(length) = lengths.find(|length| *length > LONGEST) {
            Some(Failure::too_long(length, LONGEST))
        } else if downlinks.iter().any(expired) {
            Some(Failure::EXPIRED)
        } else if waiting + downlinks.len() > limit {
            Some(Failure::QUEUE_FULL)
        } else {
            None
        }
    }

    /// Publishes the uplink and what it decides; the frame counter it had.
    fn receive(&self, app_id: &str, dev_id: &str, uplink: &Uplink, decoded: Option<&Value>) -> u32 {
        let copies = 1 + usize::from(self.broker.quirks().duplicate_uplinks);
        let mut state = lock(&self.state);
        let Some((device, _, random)) = state.parts(app_id, dev_id) else {
            return 0;
        };
        if uplink.simulated {
            let correlation_ids = ["as:up", "rpc:/ttn.lorawan.v3.AppAs/SimulateUplink"]
                .map(|entry| self.correlation_id(entry, random));
            let ids = device.ids(app_id, dev_id);
            let reception = self.reception(&ids, device, uplink, 0, decoded, random);
            for _ in 0..copies {
                self.publish(&ids, &reception, &correlation_ids);
            }
            return 0;
        }
        if let Some(pending) = device.pending.take() {
            device.session = Some(pending);
            device.unanswered = None;
        }
        let Some(session) = device.session.as_mut() else {
            return 0;
        };
        let following = |last: u32| last.wrapping_add(u32::from(!uplink.retry));
        let counter = uplink
            .counter
            .unwrap_or_else(|| session.up_counter.map_or(0, following));
        session.up_counter = Some(counter);
        let correlation_id = self.correlation_id("gs:uplink", random);
        let ids = device.ids(app_id, dev_id);
        if !uplink.retry {
            self.settle(&ids, device, &correlation_id, random);
            if let Some(percent) = uplink.battery {
                let now = uplink.time.unwrap_or_else(|| self.clock.now());
                device.battery = Some(messages::battery(counter, percent, now));
            }
            let position = uplink.location.or_else(|| position(decoded?));
            device.position = position.or(device.position);
            let correlation_ids = [correlation_id.clone()];
            let reception = self.reception(&ids, device, uplink, counter, decoded, random);
            for _ in 0..copies {
                self.publish(&ids, &reception, &correlation_ids);
            }
            if let Some(position) = position {
                let solved = messages::location_solved("frm-payload", position);
                self.post(&ids, LOCATION, &correlation_ids, &solved);
            }
        }
        let window = Window {
            correlation_id: Some(correlation_id),
            reachable: uplink.gateways > 0 || uplink.packet_broker,
            max_length: longest(&uplink.modulation),
        };
        if device.class_c || self.receive_window.is_zero() {
            self.serve(&mut state, app_id, dev_id, &window);
        } else {
            let closes = deadline(self.receive_window);
            self.open_window(device, (app_id, dev_id), closes, window);
        }
        counter
    }

    /// Whether the device answered the confirmed downlink it was sent.
    fn settle(&self, ids: &Ids<'_>, device: &mut Device, uplink_id: &str, random: &mut Rng) {
        let acknowledged = std::mem::take(&mut device.owes_ack) && device.acknowledges;
        let Some(mut downlink) = device.unanswered.take() else {
            return;
        };
        let mut correlation_ids = downlink.correlation_ids.clone();
        correlation_ids.push(uplink_id.to_owned());
        correlation_ids.sort();
        if acknowledged {
            self.post(ids, ACK, &correlation_ids, &downlink.message());
            return;
        }
        let retry = downlink.retry.get_or_insert_default();
        retry.attempt = retry.attempt.saturating_add(1);
        let max = retry.max_attempts.unwrap_or(ATTEMPTS);
        let given_up = retry.attempt > max;
        if given_up {
            self.fail(ids, &downlink, &Failure::retries(max), random);
        }
        self.post(ids, NACK, &correlation_ids, &downlink.message());
        if !given_up {
            device.queue.push_back(downlink);
        }
    }

    fn reception<'a>(
        &self,
        ids: &Ids<'a>,
        device: &'a Device,
        uplink: &'a Uplink,
        counter: u32,
        decoded: Option<&'a Value>,
        random: &mut Rng,
    ) -> Reception<'a> {
        let channel = counter % 3;
        let session = device.session.as_ref();
        let own_clock = !uplink.simulated && uplink.gateways > 0;
        let mut reception = Reception {
            uid: ids.uid,
            session_key_id: session.map_or(&[], |session| &session.key_id),
            uplink,
            counter,
            decoded,
            time: uplink.time.unwrap_or_else(|| self.clock.now()),
            frequency: uplink.frequency.unwrap_or(868_100_000 + 200_000 * channel),
            channel,
            uptime: own_clock.then(|| self.clock.uptime()),
            rx_metadata: Vec::new(),
            locations: messages::locations(device.location, device.position),
            battery: device.battery.clone(),
        };
        let mut heard = Vec::new();
        if uplink.simulated {
            heard.push(messages::test_gateway());
        } else {
            let foreign = usize::from(uplink.packet_broker);
            let gateways = radio::gateways(uplink.gateways + foreign, random);
            for (index, gateway) in gateways.iter().enumerate() {
                heard.push(if index < uplink.gateways {
                    reception.gateway(gateway, random)
                } else {
                    reception.foreign_gateway(gateway, random)
                });
            }
        }
        reception.rx_metadata = heard;
        reception
    }

    fn publish(&self, ids: &Ids<'_>, reception: &Reception<'_>, correlation_ids: &[String]) {
        let simulated = reception.uplink.simulated;
        let time = reception.time;
        let message = reception.message();
        self.post_at(time, ids, UP, correlation_ids, &message, simulated);
        for measurement in &reception.uplink.normalized {
            let message = reception.normalized(measurement);
            self.post_at(time, ids, NORMALIZED, correlation_ids, &message, simulated);
        }
    }
}

impl Policy for V3 {
    fn authenticate(&self, username: &str, password: &[u8]) -> Option<Account> {
        let key = std::str::from_utf8(password).ok()?;
        let (app_id, tenant) = messages::split(username);
        if !is_id(app_id) || !tenant.is_none_or(is_id) {
            return None;
        }
        let rights = lock(&self.state).applications.rights(username, key)?;
        let filters = |on: bool, filters: &[&str]| {
            let prefixed = filters.iter().map(|end| format!("v3/{username}/{end}"));
            prefixed.filter(|_| on).collect()
        };
        let writable = ["devices/+/down/push", "devices/+/down/replace"];
        Some(Account {
            app_id: username.to_owned(),
            read: filters(rights.read, &["#"]),
            write: filters(rights.write, &writable),
        })
    }

    fn rewrite(&self, account: &Account, filter: &str) -> Option<String> {
        let uid = &account.app_id;
        if matches!(filter, "#" | "v3/#") {
            return Some(format!("v3/{uid}/#"));
        }
        let rest = filter.strip_prefix("v3/")?;
        let end = rest.strip_prefix('+').or(rest.strip_prefix(uid.as_str()))?;
        (end.is_empty() || end.starts_with('/')).then(|| format!("v3/{uid}{end}"))
    }

    fn message(&self, topic: &str, payload: &[u8]) {
        self.request(topic, payload);
    }
}

impl Handler for V3 {
    fn add_key(&self, app_id: &str, access_key: &str, rights: Rights) {
        let mut state = lock(&self.state);
        state.applications.add_key(app_id, access_key, rights);
    }

    fn set_function(&self, app_id: &str, function: PayloadFunction) {
        let mut state = lock(&self.state);
        state.applications.set_function(app_id, function);
    }

    fn set_gateways(&self, setting: GatewayState) {
        {
            let mut state = lock(&self.state);
            match setting {
                GatewayState::Down(down) => state.gateways.down = down,
                GatewayState::Silent(silent) => state.gateways.silent = silent,
                GatewayState::Failing(result) => state.gateways.failure = result,
            }
            for (app_id, dev_id) in state.applications.devices(|device| device.class_c) {
                self.serve(&mut state, &app_id, &dev_id, &Window::OPEN);
            }
        }
        self.broker.flush();
    }

    fn register(&self, app_id: &str, dev_id: &str, location: Option<Location>, _event: bool) {
        let mut state = lock(&self.state);
        if state.applications.device(app_id, dev_id).is_some() {
            return;
        }
        let device = Device {
            dev_eui: applications::dev_eui(app_id, dev_id),
            location,
            position: None,
            battery: None,
            session: Some(Session::new(&mut state.random)),
            pending: None,
            queue: VecDeque::new(),
            unanswered: None,
            window: None,
            class_c: false,
            owes_ack: false,
            acknowledges: true,
            radio: crossbeam_channel::unbounded(),
        };
        state.applications.insert(app_id, dev_id, device);
    }

    fn update(&self, app_id: &str, dev_id: &str, location: Option<Location>) -> bool {
        let mut state = lock(&self.state);
        let device = state.applications.device(app_id, dev_id);
        device.map(|device| device.location = location).is_some()
    }

    fn delete(&self, app_id: &str, dev_id: &str) -> bool {
        let device = lock(&self.state).applications.remove(app_id, dev_id);
        let window = device.as_ref().and_then(|device| device.window.as_ref());
        if let Some((key, _)) = window {
            self.windows.forget(*key);
        }
        device.is_some()
    }

    fn describe(&self, app_id: &str, dev_id: &str) -> Option<Description> {
        let mut state = lock(&self.state);
        let device = state.applications.device(app_id, dev_id)?;
        let ids = device.ids(app_id, dev_id);
        Some(Description {
            dev_eui: ids.dev_eui,
            dev_addr: ids.dev_addr,
            in_progress: device.unanswered.as_ref().map(Downlink::described),
            queue: device.queue.iter().map(Downlink::described).collect(),
            received: device.radio.1.clone(),
        })
    }

    fn join(&self, app_id: &str, dev_id: &str, refusal: Option<&str>) {
        {
            let mut state = lock(&self.state);
            let Some((device, gateways, random)) = state.parts(app_id, dev_id) else {
                return;
            };
            // A join that fails has no message of its own on MQTT.
            if refusal.is_some() || gateways.down {
                return;
            }
            if let Some((key, _)) = device.window.take() {
                self.windows.forget(key);
            }
            let before = device.address();
            let mut session = Session::new(random);
            while Some(session.dev_addr) == before {
                session.dev_addr = radio::new_address(random);
            }
            let message = messages::join_accept(&session.key_id, self.clock.now());
            device.pending = Some(session);
            device.owes_ack = false;
            let correlation_ids = [self.correlation_id("gs:uplink", random)];
            let ids = device.ids(app_id, dev_id);
            self.post(&ids, JOIN, &correlation_ids, &message);
        }
        self.broker.flush();
    }

    fn uplink(&self, app_id: &str, dev_id: &str, uplink: Uplink) -> u32 {
        if !uplink.simulated {
            self.close_window(app_id, dev_id, None);
        }
        let functions = lock(&self.state).applications.functions(app_id);
        let decoded = decode(&uplink, functions.decoder.as_deref());
        let counter = self.receive(app_id, dev_id, &uplink, decoded.as_ref());
        self.broker.flush();
        counter
    }

    fn order(&self, app_id: &str, dev_id: &str, order: Order<'_>) {
        {
            let mut state = lock(&self.state);
            let Some((device, _, random)) = state.parts(app_id, dev_id) else {
                return;
            };
            let ids = device.ids(app_id, dev_id);
            let mut correlation_id = |entry: &str| [self.correlation_id(entry, random)];
            match order {
                Order::Acknowledge(on) => device.acknowledges = on,
                Order::ClassC(on) => {
                    device.class_c = on;
                    if on {
                        self.serve(&mut state, app_id, dev_id, &Window::OPEN);
                    }
                }
                Order::ForgetSession => {
                    device.session = None;
                    device.pending = None;
                    device.unanswered = None;
                    device.queue.clear();
                }
                Order::InvalidateQueue => {
                    let session = device.session.as_ref();
                    let last = session.map_or(0, |session| session.down_counter.saturating_sub(1));
                    let key_id = session.map_or(&[][..], |session| &session.key_id);
                    let body = messages::invalidated(device.queue.iter(), last, key_id);
                    device.queue.clear();
                    self.post(&ids, INVALIDATED, &correlation_id("ns:downlink"), &body);
                }
                Order::ServiceData(service, data) => {
                    let body = messages::service_data(service, data);
                    self.post(&ids, SERVICE, &correlation_id("as:up"), &body);
                }
                Order::LocationSolved(service, location) => {
                    let body = messages::location_solved(service, location);
                    self.post(&ids, LOCATION, &correlation_id("as:up"), &body);
                }
            }
        }
        self.broker.flush();
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

impl Device {
    /// Of the newest session.
    fn address(&self) -> Option<u32> {
        let session = self.pending.as_ref().or(self.session.as_ref());
        session.map(|session| session.dev_addr)
    }

    fn ids<'a>(&self, uid: &'a str, dev_id: &'a str) -> Ids<'a> {
        let address = self.address();
        Ids {
            uid,
            dev_id,
            dev_eui: format!("{:016X}", self.dev_eui),
            dev_addr: address.map_or_else(String::new, |address| format!("{address:08X}")),
        }
    }
}

impl Downlink {
    fn length(&self) -> usize {
        self.payload.as_deref().unwrap_or_default().len()
    }

    fn described(&self) -> QueuedDownlink {
        QueuedDownlink {
            port: self.f_port,
            confirmed: self.confirmed,
            payload: self.payload.clone(),
            fields: None,
        }
    }
}

/// The fields of an uplink; a decoder that fails leaves none.
fn decode(uplink: &Uplink, decoder: Option<&Decoder>) -> Option<Value> {
    let decoded = match (&uplink.fields, decoder) {
        _ if uplink.port == 0 => None,
        (Some(fields), _) => Some(fields.clone()),
        (None, Some(decoder)) => {
            let decoded = applications::call(|| decoder(uplink.port, &uplink.payload));
            decoded.ok().flatten()
        }
        (None, None) => None,
    };
    decoded.filter(Value::is_object)
}

/// The position that decoded fields tell.
fn position(decoded: &Value) -> Option<Location> {
    let number = |name: &str| decoded.get(name).and_then(Value::as_f64);
    Some(Location {
        latitude: number("latitude")? as f32,
        longitude: number("longitude")? as f32,
        altitude: number("altitude").unwrap_or_default() as i32,
    })
}

/// The longest payload at a data rate of EU868.
fn longest(modulation: &Modulation) -> usize {
    let spreading = match modulation {
        Modulation::Lora(data_rate) => radio::lora_parts(data_rate).map(|(spreading, _)| spreading),
        Modulation::Fsk | Modulation::LrFhss => None,
    };
    match spreading {
        Some(10..=12) => 51,
        Some(9) => 115,
        _ => LONGEST,
    }
}
