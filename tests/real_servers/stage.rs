//! The stage on which a recording is played: a simulated network, its devices, and a client that shares
//! no code with the crate.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant, SystemTime},
};

use ttn::{
    Network,
    simulator::{Device, Gateway, Location, Simulator, SimulatorBuilder, Uplink},
};

use super::{
    difference,
    json::Json,
    normal,
    recording::{self, Kind, Line},
};
use crate::support::{peer::MqttPeer, resources::pause};

const APP_ID: &str = "barn";
const KEY: &str = "NNSXS.BARN.KEY";

/// How long the network waits after an uplink before it selects the downlink.
const WINDOW: Duration = Duration::from_millis(60);

/// How long a message may take.
const PATIENCE: Duration = Duration::from_secs(3);

/// How long nothing may come after the last line.
const SILENCE: Duration = Duration::from_millis(300);

type Step = Box<dyn FnOnce(&Stage)>;
type Change = Box<dyn Fn(&Json, Uplink) -> Uplink>;

/// A recording, and what the player must know besides.
pub struct Scene {
    name: &'static str,
    /// `None` if it is not there.
    lines: Option<Vec<Line>>,
    builder: SimulatorBuilder,
    before: BTreeMap<usize, Vec<Step>>,
    instead: BTreeMap<usize, Step>,
    last: Vec<Step>,
    uplink: Change,
    window: Duration,
    in_real_time: bool,
}

/// The stage while a recording is played.
pub struct Stage {
    pub network: Simulator,
    /// The device with the name of the scenario.
    pub device: Device,
}

impl Scene {
    /// Reads a recording.
    pub fn new(name: &'static str) -> Self {
        Self {
            name,
            lines: recording::read(name),
            builder: Simulator::builder(Network::V3).application(APP_ID, KEY),
            before: BTreeMap::new(),
            instead: BTreeMap::new(),
            last: Vec::new(),
            uplink: Box::new(|_, uplink| uplink),
            window: WINDOW,
            in_real_time: false,
        }
    }

    /// Changes how the network is built.
    pub fn network(mut self, change: impl FnOnce(SimulatorBuilder) -> SimulatorBuilder) -> Self {
        self.builder = change(self.builder);
        self
    }

    /// Runs a step before the first line.
    pub fn first(self, step: impl FnOnce(&Stage) + 'static) -> Self {
        self.before(1, step)
    }

    /// Runs a step before a line, counted from 1.
    pub fn before(mut self, line: usize, step: impl FnOnce(&Stage) + 'static) -> Self {
        self.before.entry(line).or_default().push(Box::new(step));
        self
    }

    /// Runs a step in place of what a line would cause: a join, an uplink or a request.
    pub fn instead(mut self, line: usize, step: impl FnOnce(&Stage) + 'static) -> Self {
        self.instead.insert(line, Box::new(step));
        self
    }

    /// Runs a step after the last line.
    pub fn last(mut self, step: impl FnOnce(&Stage) + 'static) -> Self {
        self.last.push(Box::new(step));
        self
    }

    /// Changes each uplink; the closure gets the recorded `uplink_message`.
    pub fn uplinks(mut self, change: impl Fn(&Json, Uplink) -> Uplink + 'static) -> Self {
        self.uplink = Box::new(change);
        self
    }

    /// Lets the network wait longer after each uplink, so that requests reach it in time.
    pub fn window(mut self, window: Duration) -> Self {
        self.window = window;
        self
    }

    /// Waits between the lines as long as the recording did.
    pub fn in_real_time(mut self) -> Self {
        self.in_real_time = true;
        self
    }

    /// Plays the recording and compares what the network sends.
    ///
    /// # Panics
    ///
    /// With the differences, if there are any.
    #[track_caller]
    pub fn plays(mut self) {
        let Some(lines) = self.lines.take() else {
            return;
        };
        let builder = self.builder.clone().receive_window(self.window);
        let network = builder.start().unwrap();
        let device = network.device(self.name);
        let stage = Stage { network, device };
        let mut peer = MqttPeer::connect(stage.network.address(), APP_ID, KEY).unwrap();
        peer.subscribe("#").unwrap();
        let mut player = Player {
            lines: &lines,
            stage: &stage,
            peer: &mut peer,
            found: Vec::new(),
            caused: BTreeSet::new(),
            sessions: BTreeMap::new(),
            window: self.window,
            started: Instant::now(),
        };
        for (index, line) in lines.iter().enumerate() {
            if self.in_real_time {
                player.wait_until(line);
            } else {
                player.wait_for_window(index);
            }
            for step in self.before.remove(&(index + 1)).unwrap_or_default() {
                step(&stage);
            }
            if index == 0 {
                player.be_heard();
                player.started = Instant::now();
            }
            let instead = self.instead.remove(&(index + 1));
            player.play(line, index, instead, &self.uplink);
        }
        for step in self.last {
            step(&stage);
        }
        player.expect_silence();
        let found = std::mem::take(&mut player.found);
        let expected = lines.iter().filter_map(|line| match &line.kind {
            Kind::Received(message) => Some((line.topic.clone(), message.clone())),
            _ => None,
        });
        let expected = normal::form(&expected.collect::<Vec<_>>());
        if let Some(difference) = difference::between(&expected, &normal::form(&found)) {
            panic!("{} differs:\n{difference}", self.name);
        }
    }
}

struct Player<'a> {
    lines: &'a [Line],
    stage: &'a Stage,
    peer: &'a mut MqttPeer,
    found: Vec<(String, Json)>,
    /// The recorded uplinks that were sent already, by the ULID of their `gs:uplink`.
    caused: BTreeSet<String>,
    /// Session key ids: recorded, and of the simulated network.
    sessions: BTreeMap<String, String>,
    window: Duration,
    /// When the first line was played.
    started: Instant,
}

impl Player<'_> {
    /// Waits until the time of a line that causes something.
    fn wait_until(&self, line: &Line) {
        if self.is_cause(line) {
            pause(line.at.saturating_sub(self.started.elapsed()));
        }
    }

    /// Returns whether the line is a request or the first message of a join or an uplink.
    fn is_cause(&self, line: &Line) -> bool {
        match &line.kind {
            Kind::Sent(_) | Kind::Http(..) => true,
            Kind::Received(message) => {
                uplink_of(message).is_some_and(|uplink| !self.caused.contains(&uplink))
            }
        }
    }

    /// Waits for the end of the receive window if the recording shows that it was over.
    fn wait_for_window(&self, index: usize) {
        let Some(last) = index.checked_sub(1) else {
            return;
        };
        let passed = self.lines[index].at.saturating_sub(self.lines[last].at);
        let is_request = matches!(self.lines[index].kind, Kind::Sent(_) | Kind::Http(..));
        let is_over = match is_request {
            true => passed > Duration::from_millis(200) && !self.is_answer(index),
            false => passed > Duration::from_secs(2) && self.is_cause(&self.lines[index]),
        };
        if is_over {
            pause(2 * self.window);
        }
    }

    /// Returns whether what the request queues is sent in answer to an uplink that came before.
    fn is_answer(&self, request: usize) -> bool {
        let messages = self.lines[request + 1..]
            .iter()
            .map_while(|line| match &line.kind {
                Kind::Received(message) => Some((line, message)),
                _ => None,
            });
        let uplinks = messages
            .filter(|(line, _)| {
                line.topic.ends_with("/down/sent") || line.topic.ends_with("/down/failed")
            })
            .filter_map(|(_, message)| uplink_of(message));
        uplinks
            .into_iter()
            .any(|uplink| self.caused.contains(&uplink))
    }

    /// Sends the first uplink of a device, which the recordings leave out.
    fn be_heard(&mut self) {
        let first = self.lines.iter().find_map(|line| match &line.kind {
            Kind::Received(message) => message.get("uplink_message"),
            _ => None,
        });
        let counter = first.and_then(|uplink| uplink.get("f_cnt")).map(Json::text);
        if counter == Some("1") {
            self.stage.device.uplink(99, []);
            self.peer
                .next(PATIENCE)
                .expect("the uplink that is left out");
            pause(2 * self.window);
        }
    }

    fn play(&mut self, line: &Line, index: usize, instead: Option<Step>, change: &Change) {
        let message = match (&line.kind, instead) {
            (kind, Some(step)) => {
                step(self.stage);
                match kind {
                    Kind::Received(message) => message,
                    _ => return,
                }
            }
            (Kind::Sent(payload), None) => {
                let payload = self.translated(line, payload);
                self.peer.publish(&line.topic, payload).unwrap();
                self.peer.flush().unwrap();
                return;
            }
            (Kind::Http(request, status), None) => {
                let request = serde_json::from_str(&request.compact()).unwrap();
                assert_eq!(
                    self.stage.device.simulate(&request),
                    *status,
                    "line {}",
                    index + 1
                );
                return;
            }
            (Kind::Received(message), None) => {
                self.cause(&line.topic, message, index, change);
                message
            }
        };
        if let Some(uplink) = uplink_of(message) {
            self.caused.insert(uplink);
        }
        if let Some((topic, payload)) = self.peer.next(PATIENCE) {
            let found = Json::read(&String::from_utf8(payload).unwrap());
            self.learn(message, &found);
            self.found.push((topic, found));
        }
    }

    /// Causes the message: a join, or the uplink that it is the first message of.
    fn cause(&mut self, topic: &str, message: &Json, index: usize, change: &Change) {
        let Some(uplink) = uplink_of(message).filter(|uplink| !self.caused.contains(uplink)) else {
            return;
        };
        if topic.ends_with("/join") {
            self.stage.device.join();
            return;
        }
        let of_uplink = |line: &&Line| match &line.kind {
            Kind::Received(message) => uplink_of(message).as_ref() == Some(&uplink),
            _ => false,
        };
        let mut messages = self.lines[index..].iter().filter(of_uplink);
        let is_nacked = messages
            .clone()
            .any(|line| line.topic.ends_with("/down/nack"));
        let up = messages.find_map(|line| match &line.kind {
            Kind::Received(message) => message.get("uplink_message"),
            _ => None,
        });
        let up = up.unwrap_or_else(|| panic!("line {} has no uplink; it needs a step", index + 1));
        self.stage.device.stops_acknowledging(is_nacked);
        self.stage.device.send(change(up, as_recorded(up)));
    }

    /// Returns a request with the session key ids of the simulated network, and with a time that is as
    /// far ahead as it was.
    fn translated(&self, line: &Line, payload: &[u8]) -> Vec<u8> {
        let Ok(text) = std::str::from_utf8(payload) else {
            return payload.to_vec();
        };
        let replaced = self
            .sessions
            .iter()
            .fold(text.to_owned(), |text, (recorded, own)| {
                text.replace(recorded, own)
            });
        self.postponed(line, replaced).into_bytes()
    }

    fn postponed(&self, line: &Line, request: String) -> String {
        const MEMBER: &str = "\"absolute_time\":\"";
        let Some((start, rest)) = request.split_once(MEMBER) else {
            return request;
        };
        let (time, end) = rest.split_once('"').unwrap();
        let Ok(time) = humantime::parse_rfc3339(time) else {
            return request;
        };
        // The messages give the time of day, and the lines the time since the first line.
        let first = self.lines.iter().find_map(|line| match &line.kind {
            Kind::Received(message) => Some((message.get("received_at")?.text(), line.at)),
            _ => None,
        });
        let (received, at) = first.expect("a message");
        let then = humantime::parse_rfc3339(received).unwrap() - at + line.at;
        let now = SystemTime::now();
        let time = match time.duration_since(then) {
            Ok(ahead) => now + ahead,
            Err(error) => now - error.duration(),
        };
        let time = humantime::format_rfc3339_millis(time);
        format!("{start}{MEMBER}{time}\"{end}")
    }

    fn learn(&mut self, recorded: &Json, found: &Json) {
        for member in ["join_accept", "uplink_message"] {
            let session =
                |json: &Json| Some(json.get(member)?.get("session_key_id")?.text().to_owned());
            if let (Some(recorded), Some(found)) = (session(recorded), session(found)) {
                self.sessions.insert(recorded, found);
            }
        }
    }

    fn expect_silence(&mut self) {
        while let Some((topic, payload)) = self.peer.next(SILENCE) {
            let message = Json::read(&String::from_utf8(payload).unwrap());
            self.found.push((topic, message));
        }
    }
}

/// Returns the ULID of the uplink that caused a message.
fn uplink_of(message: &Json) -> Option<String> {
    let ids = message.get("correlation_ids")?.items();
    let ulid = ids
        .iter()
        .find_map(|id| id.text().strip_prefix("gs:uplink:"));
    ulid.map(str::to_owned)
}

/// Returns an uplink that the network describes as `up`.
fn as_recorded(up: &Json) -> Uplink {
    let number = |name| {
        up.get(name)
            .map_or(0, |number| number.text().parse().unwrap())
    };
    let payload = up.get("frm_payload").map(Json::text).unwrap_or_default();
    let rate = up.at("settings/data_rate/lora").expect("LoRa");
    let rate = |name| -> u32 { rate.get(name).unwrap().text().parse().unwrap() };
    let (spreading, bandwidth) = (rate("spreading_factor"), rate("bandwidth") / 1000);
    let hertz: f64 = up.at("settings/frequency").unwrap().text().parse().unwrap();
    let port = u8::try_from(number("f_port")).unwrap();
    let payload = base64(payload);
    let uplink = Uplink::new(port, payload)
        .counter(number("f_cnt"))
        .confirmed(up.get("confirmed").is_some())
        .data_rate(format!("SF{spreading}BW{bandwidth}"))
        .frequency(hertz / 1e6);
    let receptions = up.get("rx_metadata").map_or(&[][..], Json::items);
    receptions
        .iter()
        .map(gateway)
        .fold(uplink, Uplink::heard_by)
}

/// Returns a gateway that the network describes as `reception`.
fn gateway(reception: &Json) -> Gateway {
    let text = |path| reception.at(path).map(Json::text);
    let number = |path| text(path).map_or(0.0, |number| number.parse::<f64>().unwrap());
    let time = |path| text(path).map(|time| humantime::parse_rfc3339(time).unwrap());
    let location = reception.get("location").map(|_| Location {
        latitude: number("location/latitude") as f32,
        longitude: number("location/longitude") as f32,
        altitude: number("location/altitude") as i32,
    });
    let mut gateway = Gateway::new(text("gateway_ids/gateway_id").unwrap())
        .antenna(number("antenna_index") as u32)
        .location(location)
        .gps(text("gps_time").is_some())
        .fine_timestamp(number("fine_timestamp") as u64)
        .channel(number("channel_index") as u32)
        .rssi(number("rssi") as f32)
        .snr(number("snr") as f32)
        .rssi_standard_deviation(number("rssi_standard_deviation") as f32)
        .frequency_offset(number("frequency_offset") as i64);
    if let Some(time) = time("time") {
        gateway = gateway.time(time);
    }
    if text("signal_rssi").is_some() {
        gateway = gateway.signal_rssi(number("signal_rssi") as f32);
    }
    if let Some(timestamp) = text("encrypted_fine_timestamp") {
        let key_id = text("encrypted_fine_timestamp_key_id").unwrap();
        gateway = gateway.encrypted_fine_timestamp(base64(timestamp), key_id);
    }
    gateway
}

fn base64(text: &str) -> Vec<u8> {
    use ::base64::{Engine, engine::general_purpose::STANDARD};
    STANDARD.decode(text).unwrap()
}
