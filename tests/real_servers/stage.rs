//! The stage on which a recording is played: a simulated network, its devices, and a client that shares
//! no code with the crate.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use ttn::{
    Network,
    simulator::{Device, Simulator, SimulatorBuilder, Uplink},
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

/// How long nothing may come in the end.
const SILENCE: Duration = Duration::from_millis(300);

type Step = Box<dyn FnOnce(&Stage)>;
type Change = Box<dyn Fn(&Json, Uplink) -> Uplink>;

/// A recording, and what is to be known besides it to play it.
pub struct Scene {
    name: &'static str,
    lines: Vec<Line>,
    builder: SimulatorBuilder,
    before: BTreeMap<usize, Vec<Step>>,
    instead: BTreeMap<usize, Step>,
    /// Lines that the network does not send.
    without: BTreeSet<usize>,
    uplink: Change,
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
            builder: Simulator::builder(Network::V3)
                .application(APP_ID, KEY)
                .receive_window(WINDOW),
            before: BTreeMap::new(),
            instead: BTreeMap::new(),
            without: BTreeSet::new(),
            uplink: Box::new(|_, uplink| uplink),
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

    /// Changes each uplink; the closure gets the recorded `uplink_message`.
    pub fn uplinks(mut self, change: impl Fn(&Json, Uplink) -> Uplink + 'static) -> Self {
        self.uplink = Box::new(change);
        self
    }

    /// Plays the recording and compares what the network sends.
    ///
    /// # Panics
    ///
    /// With the differences, if there are any.
    #[track_caller]
    pub fn plays(mut self) {
        let network = self.builder.clone().start().unwrap();
        let device = network.device(self.name);
        let stage = Stage { network, device };
        let mut peer = MqttPeer::connect(stage.network.address(), APP_ID, KEY).unwrap();
        peer.subscribe("#").unwrap();
        let lines = std::mem::take(&mut self.lines);
        let mut player = Player {
            lines: &lines,
            stage: &stage,
            peer: &mut peer,
            found: Vec::new(),
            caused: BTreeSet::new(),
            sessions: BTreeMap::new(),
        };
        for (index, line) in lines.iter().enumerate() {
            player.wait_as_recorded(index);
            for step in self.before.remove(&(index + 1)).unwrap_or_default() {
                step(&stage);
            }
            if index == 0 {
                player.be_heard();
            }
            let instead = self.instead.remove(&(index + 1));
            player.play(line, index, instead, &self.uplink);
        }
        player.expect_silence();
        let found = std::mem::take(&mut player.found);
        let expected = lines
            .iter()
            .enumerate()
            .filter_map(|(index, line)| match &line.kind {
                Kind::Received(message) if !self.without.contains(&(index + 1)) => {
                    Some((line.topic.clone(), message.clone()))
                }
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
}

impl Player<'_> {
    /// Waits if the recording shows that the receive window was over, and until then at most.
    fn wait_as_recorded(&self, index: usize) {
        let Some(last) = index.checked_sub(1) else {
            return;
        };
        let passed = self.lines[index].at.saturating_sub(self.lines[last].at);
        let is_request = matches!(self.lines[index].kind, Kind::Sent(_) | Kind::Http(_));
        if is_request && passed > Duration::from_millis(200) {
            pause(2 * WINDOW);
        }
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
            pause(2 * WINDOW);
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
                let payload = self.translated(payload);
                self.peer.publish(&line.topic, payload).unwrap();
                return;
            }
            (Kind::Http(_), None) => panic!("line {} needs a step", index + 1),
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

    /// Returns a request with the session key ids of the simulated network.
    fn translated(&self, payload: &[u8]) -> Vec<u8> {
        let Ok(text) = std::str::from_utf8(payload) else {
            return payload.to_vec();
        };
        let replaced = self
            .sessions
            .iter()
            .fold(text.to_owned(), |text, (recorded, own)| {
                text.replace(recorded, own)
            });
        replaced.into_bytes()
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

/// Returns the uplink that the server described in that way.
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
    Uplink::new(u8::try_from(number("f_port")).unwrap(), base64(payload))
        .counter(number("f_cnt"))
        .confirmed(up.get("confirmed").is_some())
        .data_rate(format!("SF{spreading}BW{bandwidth}"))
        .frequency(hertz / 1e6)
}

fn base64(text: &str) -> Vec<u8> {
    use ::base64::{Engine, engine::general_purpose::STANDARD};
    STANDARD.decode(text).unwrap()
}
