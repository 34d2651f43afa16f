//! The network on which cases are played.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use ttn::{
    Network,
    simulator::{Decoded, Device, Encoded, Gateway, Location, PayloadFormat, Simulator, Uplink},
};

use super::recording::{Case, Message};
use crate::support::raw::{Raw, split};

/// A simulated network with the device of a case, and a client that hears all messages.
pub(super) struct Stage {
    network: Simulator,
    device: Device,
    client: Raw,
    /// The messages that arrived.
    seen: Vec<Vec<u8>>,
    /// The topic of requests.
    down: String,
}

impl Stage {
    pub(super) fn new(case: &Case) -> Self {
        let network = Simulator::builder(Network::V2)
            .application(&case.app_id, "ttn-account-v2.simulated-key")
            .receive_window(Duration::ZERO)
            .quirks(|quirks| {
                quirks.rate_limit = None;
                quirks.shutdown_warning = true;
            })
            .start()
            .unwrap();
        let client = Raw::subscribed(&network, &["#"]);
        let up = case.all("up").next().unwrap_or_default();
        let metadata = up.get("metadata").cloned().unwrap_or_else(|| {
            let activation = case.all("events/activations").next();
            activation.map_or(Value::Null, |activation| activation["metadata"].clone())
        });
        let has_place = metadata.get("longitude").is_some();
        let creates = case.messages[0].kind.starts_with("events/create");
        let device = if has_place {
            network.create_device(&case.dev_id, Some(place(&metadata)))
        } else if creates {
            network.device("another-device")
        } else {
            network.device(&case.dev_id)
        };
        // What it sent before the case is not played.
        device.resets_counters(true);
        Self {
            down: format!("{}/devices/{}/down", case.app_id, case.dev_id),
            network,
            device,
            client,
            seen: Vec::new(),
        }
    }

    /// Returns all messages about the device that were published.
    pub(super) fn messages(&mut self) -> Vec<Message> {
        self.settle();
        let prefix = self.down.strip_suffix("down").unwrap();
        let messages = self.seen.drain(..).map(|packet| split(&packet));
        messages
            .filter_map(|(topic, payload)| {
                let kind = topic.strip_prefix(prefix)?.to_owned();
                Some(Message { kind, payload })
            })
            .collect()
    }

    /// Waits until the network has acted on what the client sent.
    fn settle(&mut self) {
        self.client.ping();
        loop {
            match self.client.packet() {
                packet if packet == [0xd0, 0] => return,
                packet => self.seen.push(packet),
            }
        }
    }

    pub(super) fn request(&mut self, request: &str) {
        let topic = self.down.clone();
        self.client.publish(&topic, request.as_bytes());
        self.settle();
    }
}

// Devices.

impl Stage {
    pub(super) fn create(&mut self, location: Option<Location>) {
        let dev_id = self.down.split('/').nth(2).unwrap();
        self.network.create_device(dev_id, location);
    }

    pub(super) fn create_like(&mut self, case: &Case) {
        self.create(Some(place(&case.json("events/create"))));
    }

    pub(super) fn create_in_india(&mut self) {
        self.network.quirks(|quirks| quirks.utc_offset = 330);
        self.create(None);
    }

    pub(super) fn save_again(&mut self) {
        let place = Location {
            latitude: 51.5,
            longitude: -0.127758,
            altitude: -7,
        };
        let dev_id = self.device.dev_id();
        assert!(self.network.update_device(dev_id, Some(place)));
        assert!(self.network.update_device(dev_id, Some(place)));
    }

    pub(super) fn describe(&mut self) {
        let dev_id = self.device.dev_id();
        assert!(self.network.describe_device(dev_id, "behind the barn"));
    }

    pub(super) fn delete(&mut self, case: &Case) {
        assert!(self.network.delete_device(&case.dev_id));
    }

    /// Joins by the recorded gateways; in addition, the network knows them.
    pub(super) fn join(&mut self, case: &Case) {
        let metadata = &case.json("events/activations")["metadata"];
        let frame = radio(Uplink::new(0, []), metadata, |heard| {
            let place = json!({"latitude": 52.3731, "longitude": 4.8926, "altitude": 12});
            gateway(heard).trusted(true).location(self::place(&place))
        });
        self.device.join_with(frame);
    }
}

// Uplinks.

impl Stage {
    pub(super) fn uplinks(&mut self, case: &Case) {
        for up in case.all("up") {
            self.device.send(like(&up));
        }
    }

    pub(super) fn twice(&mut self, case: &Case) {
        let up = case.json("up");
        self.device.send(like(&up));
        self.device.send(like(&up).retry(true));
    }

    pub(super) fn link_check(&mut self, case: &Case) {
        self.sent_before();
        self.device.mac_commands(1);
        self.device.send(like(&case.json("up")).options(1));
    }

    /// Sends after a join, and after an uplink with each of the payloads.
    pub(super) fn after_a_join(&mut self, payloads: &[u8], case: &Case) {
        self.device.join();
        for payload in payloads {
            self.device.uplink(2, [*payload]);
        }
        self.uplinks(case);
    }

    pub(super) fn unanswered(&mut self, case: &Case) {
        self.network.gateways_down(true);
        self.uplinks(case);
    }

    pub(super) fn without_gateways(&mut self) {
        self.network.gateways_down(true);
        self.request(r#"{"port":3,"payload_raw":"AQ=="}"#);
        self.device.uplink(2, [1]);
    }

    pub(super) fn answered_later(&mut self) {
        self.without_gateways();
        self.network.gateways_down(false);
        self.device.uplink(2, [1]);
    }
}

// Payload functions.

impl Stage {
    pub(super) fn without_format(&mut self, case: &Case) {
        self.network.set_payload_format(PayloadFormat::None);
        for up in case.all("up") {
            self.device.send(like(&up).attribute("colour", "red"));
        }
    }

    pub(super) fn odd_keys(&mut self, case: &Case) {
        let fields = case.messages.iter().map(|message| {
            let key = message.kind.strip_prefix("up/").unwrap_or_default();
            let value: Value = serde_json::from_str(&message.payload).unwrap();
            (key.to_owned(), value)
        });
        let skipped = ["a+", "*b", "c\0"].map(|key| (key.to_owned(), json!(1)));
        let fields: Value = fields.chain(skipped).collect();
        self.device.send(Uplink::new(2, [1]).fields(fields));
    }

    pub(super) fn decoder_returns(&mut self, result: Result<Decoded, String>) {
        self.network.set_decoder(move |_, _| result.clone());
        self.device.uplink(2, [1]);
    }

    pub(super) fn decoder_throws(&mut self, case: &Case) {
        let error = case.json("events/up/errors");
        let start = "Unable to decode payload fields: Internal error: Decoder threw error: ";
        let error = error["error"].as_str().unwrap();
        let thrown = error.strip_prefix(start).unwrap().to_owned();
        self.decoder_returns(Err(thrown));
    }

    pub(super) fn converter_returns(&mut self, result: Result<Value, &'static str>) {
        let result = result.map_err(str::to_owned);
        self.network.set_converter(move |_, _| result.clone());
        self.decoder_returns(Ok(json!({"t": 1}).into()));
    }

    pub(super) fn valid(&mut self, case: &Case) {
        self.network.set_validator(|_, _| true);
        self.uplinks(case);
    }

    pub(super) fn validator_returns(&mut self, result: Result<Value, &'static str>) {
        let result = result.map_err(str::to_owned);
        self.network.set_validator(move |_, _| result.clone());
        self.decoder_returns(Ok(json!({"t": 1}).into()));
    }

    /// Lets the network decode the payload itself.
    pub(super) fn cayenne(&mut self, case: &Case) {
        self.network.set_payload_format(PayloadFormat::CayenneLpp);
        let up = case.json("up");
        self.device.send(without_fields(&up));
    }

    /// Queues what the recorded frame carries as fields, and sends an uplink that it answers.
    pub(super) fn sent_by_cayenne(&mut self, case: &Case) {
        self.network.set_payload_format(PayloadFormat::CayenneLpp);
        self.sent(case);
    }
}

// Downlinks.

impl Stage {
    pub(super) fn requests(&mut self, case: &Case) {
        for scheduled in case.all("events/down/scheduled") {
            self.request(&scheduled["message"].to_string());
        }
    }

    /// Queues fields that the network drops without a word.
    pub(super) fn dropped(&mut self, case: &Case) {
        self.network.set_payload_format(PayloadFormat::None);
        self.requests(case);
        self.device.send(Uplink::new(2, [1]));
        assert_eq!(self.device.received().try_recv().ok(), None);
    }

    /// Lets the device receive a downlink, so that the next frame has a counter.
    fn sent_before(&mut self) {
        self.request(r#"{"port":1,"payload_raw":"AQ=="}"#);
        self.device.send(Uplink::new(2, [1]).frequency(868.1));
    }

    /// Queues what the recorded frame carries, and sends an uplink that it answers.
    pub(super) fn sent(&mut self, case: &Case) {
        let Some(sent) = case.all("events/down/sent").next() else {
            return self.requests(case);
        };
        if sent["config"].get("counter").is_some() {
            self.sent_before();
        }
        let message = &sent["message"];
        if message.get("payload_raw").is_some() {
            self.request_like(message, "replace");
        }
        let flags = bytes(&sent["payload"])[5];
        if flags & 0x10 != 0 {
            self.request(r#"{"port":9,"payload_raw":"CQ==","schedule":"last"}"#);
        }
        let usual = Uplink::new(2, [1]).frequency(868.1);
        let uplink = case.all("up").next().map_or(usual, |up| like(&up));
        self.device.send(uplink.confirmed(flags & 0x20 != 0));
    }

    pub(super) fn unacknowledged(&mut self, case: &Case) {
        self.device.stops_acknowledging(true);
        self.sent(case);
        self.device.uplink(2, [1]);
    }

    pub(super) fn acknowledged(&mut self, case: &Case) {
        let acks = case.json("events/down/acks");
        self.sent_before();
        self.request_like(&acks["message"], "replace");
        for sent in case.all("events/down/sent") {
            self.request_like(&sent["message"], "last");
        }
        self.device.uplink(2, [1]);
        self.device.uplink(2, [1]);
    }

    pub(super) fn encoder_returns(&mut self, value: Value, case: &Case) {
        self.network
            .set_encoder(move |_, _| Ok(Encoded::value(value.clone())));
        self.not_sent(case);
    }

    pub(super) fn not_sent(&mut self, case: &Case) {
        let failed = case.json("events/down/errors");
        let mut request = failed["message"].clone();
        let members = request.as_object_mut().unwrap();
        members.retain(|key, _| key != "app_id" && key != "dev_id");
        let error = failed["error"].as_str().unwrap();
        if let Some(error) = error.strip_prefix("Internal error: Encoder threw error: ") {
            let error = error.to_owned();
            let throw = move |_, _: &Value| Err::<Vec<u8>, _>(error.clone());
            self.network.set_encoder(throw);
        }
        self.request(&request.to_string());
        self.device.uplink(2, [1]);
    }

    /// Sends the request for a downlink as a message shows it, and lets the encoder make its bytes.
    fn request_like(&mut self, message: &Value, schedule: &str) {
        let mut request = message.clone();
        let members = request.as_object_mut().unwrap();
        members.remove("app_id");
        members.remove("dev_id");
        if members.contains_key("payload_fields") {
            let bytes = members
                .remove("payload_raw")
                .map_or_else(|| vec![1], |raw| bytes(&raw));
            self.network.set_encoder(move |_, _| Ok(bytes.clone()));
        }
        members.insert("schedule".into(), schedule.into());
        self.request(&request.to_string());
    }
}

fn place(value: &Value) -> Location {
    let number = |key: &str| value[key].as_f64().unwrap_or_default();
    Location {
        latitude: number("latitude") as f32,
        longitude: number("longitude") as f32,
        altitude: number("altitude") as i32,
    }
}

fn bytes(base64: &Value) -> Vec<u8> {
    base64
        .as_str()
        .map_or_else(Vec::new, |text| STANDARD.decode(text).unwrap())
}

/// Returns an uplink like the recorded one.
fn like(up: &Value) -> Uplink {
    let uplink = without_fields(up);
    match up.get("payload_fields") {
        Some(fields) => uplink.fields(fields.clone()),
        None => uplink,
    }
}

fn without_fields(up: &Value) -> Uplink {
    let metadata = &up["metadata"];
    let port = up["port"].as_u64().unwrap() as u8;
    let payload = match port {
        // A MAC command.
        0 => vec![2],
        _ => bytes(&up["payload_raw"]),
    };
    let mut uplink = Uplink::new(port, payload)
        .counter(up["counter"].as_u64().unwrap() as u32)
        .confirmed(up["confirmed"] == true)
        .simulated(metadata.get("gateways").is_none());
    for (key, value) in up["attributes"].as_object().unwrap() {
        if key != "warning" {
            uplink = uplink.attribute(key, value.as_str().unwrap());
        }
    }
    radio(uplink, metadata, gateway)
}

/// Returns the uplink as the recorded gateways heard it.
fn radio(mut uplink: Uplink, metadata: &Value, gateway: fn(&Value) -> Gateway) -> Uplink {
    if metadata["modulation"] == "FSK" {
        uplink = uplink.fsk();
    } else if let Some(data_rate) = metadata["data_rate"].as_str() {
        uplink = uplink.data_rate(data_rate);
    }
    if let Some(coding_rate) = metadata["coding_rate"].as_str() {
        uplink = uplink.coding_rate(coding_rate);
    }
    if let Some(frequency) = metadata["frequency"].as_f64() {
        uplink = uplink.frequency(frequency);
    }
    let gateways = metadata["gateways"].as_array().into_iter().flatten();
    gateways.map(gateway).fold(uplink, Uplink::heard_by)
}

/// Returns a gateway that hears like the recorded one.
fn gateway(heard: &Value) -> Gateway {
    let integer = |key: &str| heard[key].as_u64().unwrap_or_default();
    let number = |key: &str| heard[key].as_f64().unwrap() as f32;
    let source = heard["location_source"].as_str();
    let mut gateway = Gateway::new(heard["gtw_id"].as_str().unwrap())
        .trusted(heard["gtw_trusted"] == true)
        .clock(heard["time"] != "")
        .fine_timestamp(integer("fine_timestamp"))
        .antenna(integer("antenna") as u32)
        .channel(integer("channel") as u32)
        .rssi(number("rssi"))
        .snr(number("snr"))
        .location(source.map(|_| place(heard)))
        .location_accuracy(integer("location_accuracy") as u32);
    if let Some(source) = source.filter(|source| *source != "registry") {
        gateway = gateway.location_source(source);
    }
    match heard.get("fine_timestamp_encrypted") {
        Some(timestamp) => gateway.encrypted_fine_timestamp(bytes(timestamp), "key"),
        None => gateway,
    }
}
