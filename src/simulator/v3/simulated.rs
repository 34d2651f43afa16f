//! Messages that are simulated over HTTP.

use std::time::SystemTime;

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::{
    KINDS, Kind, NORMALIZED, UP, V3,
    formatters::{self, Formatted},
    messages::{self, Correlation},
};
use crate::simulator::{
    lorawan::{DeviceId, Modulation, Uplink, lora_parts},
    sync::lock,
};

const OK: u16 = 200;
const BAD_REQUEST: u16 = 400;

/// A message to simulate.
pub(super) struct Simulation {
    kind: Kind,
    received: SystemTime,
    /// Whether it says already that it is simulated.
    pub(super) is_marked: bool,
    /// Port and payload of an uplink.
    uplink: Uplink,
    body: Value,
}

impl V3 {
    /// Publishes the message that the body of a request describes, and returns the HTTP status.
    pub(in crate::simulator) fn simulate(&self, id: DeviceId<'_>, request: &Value) -> u16 {
        match self.simulation(request.clone()) {
            Ok(simulation) if !simulation.is_marked => {
                self.publish_simulation(id, simulation);
                OK
            }
            Ok(_) => BAD_REQUEST,
            Err(path) => {
                log::debug!("refusing to simulate a message for {id}: invalid {path}");
                BAD_REQUEST
            }
        }
    }

    /// Returns what a request describes, or the path to what is wrong with it.
    pub(super) fn simulation(&self, mut request: Value) -> Result<Simulation, String> {
        let given = KINDS
            .iter()
            .filter(|(_, member)| request.get(*member).is_some());
        let [kind] = given.collect::<Vec<_>>()[..] else {
            return Err(String::from("up"));
        };
        let (_, member) = *kind;
        let received = match request.get("received_at") {
            Some(time) => time
                .as_str()
                .and_then(|text| humantime::parse_rfc3339(text).ok()),
            None => Some(self.env.clock.now()),
        };
        let received = received.ok_or("received_at")?;
        let is_marked = request.get("simulated") == Some(&Value::Bool(true));
        let body = request[member].take();
        messages::check(member, &body)?;
        let bytes = body["frm_payload"]
            .as_str()
            .filter(|_| *kind == UP)
            .map(|text| STANDARD.decode(text));
        let bytes = bytes.unwrap_or_else(|| Ok(Vec::new()));
        let port = body["f_port"].as_u64().unwrap_or_default();
        Ok(Simulation {
            kind: *kind,
            received,
            is_marked,
            uplink: Uplink::new(port as u8, bytes.map_err(|_| "frm_payload")?),
            body,
        })
    }

    /// Publishes a simulated message.
    pub(super) fn publish_simulation(&self, id: DeviceId<'_>, simulation: Simulation) {
        let Simulation {
            kind,
            received,
            uplink,
            body,
            ..
        } = simulation;
        if kind == UP {
            self.simulate_uplink(id, &uplink, received, body);
        } else {
            self.post_simulated(id, received, |_| vec![(kind, body)]);
        }
    }

    /// Publishes an uplink as the Console simulates it: heard by a gateway that does not exist.
    pub(super) fn simulate_from_console(&self, id: DeviceId<'_>, uplink: &Uplink) {
        let gateway = json!({
            "gateway_ids": {"gateway_id": "test"}, "rssi": 42, "channel_rssi": 42, "snr": 4.2,
        });
        let rate = match &uplink.modulation {
            Modulation::Lora(rate) => {
                let (spreading, bandwidth) = lora_parts(rate).unwrap_or_default();
                let bandwidth = bandwidth.saturating_mul(1000);
                json!({"lora": {"bandwidth": bandwidth, "spreading_factor": spreading}})
            }
            Modulation::Fsk => json!({"fsk": {"bit_rate": uplink.modulation.bit_rate()}}),
            Modulation::LrFhss => json!({"lrfhss": {"operating_channel_width": 137_000}}),
        };
        let body = json!({
            "f_port": uplink.port,
            "frm_payload": STANDARD.encode(&uplink.payload),
            "rx_metadata": [gateway],
            "settings": {"data_rate": rate, "frequency": uplink.frequency.unwrap_or(868_000_000)},
            "confirmed": uplink.confirmed,
        });
        self.simulate_uplink(id, uplink, self.env.clock.now(), body);
    }

    /// Publishes an uplink, decoded and normalized.
    fn simulate_uplink(
        &self,
        id: DeviceId<'_>,
        uplink: &Uplink,
        received: SystemTime,
        mut body: Value,
    ) {
        let functions = self.env.applications.functions_of(id);
        let Some(formatted) = formatters::decode(uplink, &functions) else {
            return;
        };
        self.post_simulated(id, received, |locations| {
            format(&mut body, &formatted);
            if let Some(locations) = locations {
                body["locations"] = locations;
            }
            let mut messages = vec![(UP, body.clone())];
            for measurement in formatted.normalized {
                let mut normalized = body.clone();
                normalized["normalized_payload"] = measurement;
                messages.push((NORMALIZED, normalized));
            }
            messages
        });
    }

    /// Posts messages, which may contain the known locations of the device; about an unknown device,
    /// none.
    fn post_simulated(
        &self,
        id: DeviceId<'_>,
        received: SystemTime,
        messages: impl FnOnce(Option<Value>) -> Vec<(Kind, Value)>,
    ) {
        let mut state = lock(&self.state);
        let Some((device, _, random)) = state.parts(id) else {
            return;
        };
        let locations = messages::locations(device.location, device.position);
        let locations = locations.and_then(|text| serde_json::from_str(&text).ok());
        let now = self.env.clock.now();
        let correlation_ids = Correlation::new(now, random).simulated();
        let ids = device.ids(id).of_request();
        for (kind, body) in messages(locations) {
            let Ok(body) = messages::print(kind.1, &body) else {
                continue;
            };
            let message = ids.envelope(&correlation_ids, received, (kind.1, &body), true);
            self.post_message(received, &ids, kind, &correlation_ids, message);
        }
    }
}

/// Puts what the formatters made of an uplink into its body.
fn format(body: &mut Value, formatted: &Formatted) {
    if let Some(fields) = &formatted.fields {
        body["decoded_payload"] = fields.clone();
    }
    let texts = [
        ("decoded_payload_warnings", &formatted.warnings),
        (
            "normalized_payload_warnings",
            &formatted.normalized_warnings,
        ),
    ];
    for (member, warnings) in texts.into_iter().filter(|(_, texts)| !texts.is_empty()) {
        body[member] = json!(warnings);
    }
    if !formatted.normalized.is_empty() {
        body["normalized_payload"] = json!(formatted.normalized);
    }
}
