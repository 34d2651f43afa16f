//! Uplinks of The Things Stack: from the device to the clients.

use fastrand::Rng;
use serde_json::Value;

use super::{
    LOCATION, NORMALIZED, UP, V3,
    device::{Device, MAX_LENGTH, Window},
    messages::{self, Ids, Reception},
};
use crate::simulator::{
    lorawan::{self, DeviceId, Functions, Location, Modulation, Uplink},
    sync::{deadline, lock},
};

impl V3 {
    /// Handles an uplink and returns its frame counter, or `None` if the device is not heard.
    pub(super) fn receive(&self, id: DeviceId<'_>, uplink: &Uplink) -> Option<u32> {
        if !uplink.simulated {
            self.close_and_serve(id, None);
        }
        let decoded = decode(uplink, &self.env.applications.functions(id.app_id));
        let decoded = decoded.as_ref();
        let mut state = lock(&self.state);
        let (device, _, random) = state.parts(id)?;
        if uplink.simulated {
            let correlation_ids = ["as:up", "rpc:/ttn.lorawan.v3.AppAs/SimulateUplink"]
                .map(|entry| self.correlation_id(entry, random));
            let ids = device.ids(id);
            let reception = self.reception(&ids, device, uplink, 0, decoded, random);
            self.post_uplink(&ids, &reception, &correlation_ids);
            return Some(0);
        }
        if let Some(pending) = device.pending.take() {
            device.session = Some(pending);
            device.unanswered = None;
        }
        let counter = uplink.count(&mut device.session.as_mut()?.up_counter);
        let correlation_id = self.correlation_id("gs:uplink", random);
        let ids = device.ids(id);
        if !uplink.retry {
            self.settle(&ids, device, &correlation_id, random);
            if let Some(percent) = uplink.battery {
                let now = uplink.time.unwrap_or_else(|| self.env.clock.now());
                device.battery = Some(messages::battery(counter, percent, now));
            }
            let position = uplink.location.or_else(|| position(decoded?));
            device.position = position.or(device.position);
            let correlation_ids = [correlation_id.clone()];
            let reception = self.reception(&ids, device, uplink, counter, decoded, random);
            self.post_uplink(&ids, &reception, &correlation_ids);
            if let Some(position) = position {
                let solved = messages::location_solved("frm-payload", position);
                self.post(&ids, LOCATION, &correlation_ids, &solved);
            }
        }
        let window = Window {
            correlation_id: Some(correlation_id),
            reachable: uplink.gateways > 0 || uplink.packet_broker,
            max_length: max_length(&uplink.modulation),
        };
        if device.class_c || self.env.receive_window.is_zero() {
            self.serve(&mut state, id, &window);
        } else {
            let closes = deadline(self.env.receive_window);
            device.window.open(&self.env.windows, closes, id, window);
        }
        Some(counter)
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
        let (channel, frequency) = uplink.channel(counter);
        let session = device.session.as_ref();
        let own_clock = !uplink.simulated && uplink.gateways > 0;
        let mut reception = Reception {
            uid: ids.uid,
            session_key_id: session.map_or(&[], |session| &session.key_id),
            uplink,
            counter,
            decoded,
            time: uplink.time.unwrap_or_else(|| self.env.clock.now()),
            frequency,
            channel,
            uptime: own_clock.then(|| self.env.clock.uptime()),
            rx_metadata: Vec::new(),
            locations: messages::locations(device.location, device.position),
            battery: device.battery.clone(),
        };
        let mut heard = Vec::new();
        if uplink.simulated {
            heard.push(messages::test_gateway());
        } else {
            let foreign = usize::from(uplink.packet_broker);
            let gateways = lorawan::gateways(uplink.gateways + foreign, random);
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

    fn post_uplink(&self, ids: &Ids<'_>, reception: &Reception<'_>, correlation_ids: &[String]) {
        let copies = self.broker.quirks().uplink_copies();
        let uplink = reception.uplink;
        let post = |kind, body: &str| {
            self.post_at(
                reception.time,
                ids,
                kind,
                correlation_ids,
                body,
                uplink.simulated,
            );
        };
        for _ in 0..copies {
            post(UP, &reception.message());
            for measurement in &uplink.normalized {
                post(NORMALIZED, &reception.normalized(measurement));
            }
        }
    }
}

/// Returns the fields of an uplink; none if the decoder fails.
fn decode(uplink: &Uplink, functions: &Functions) -> Option<Value> {
    if uplink.port == 0 {
        return None;
    }
    let decoded = functions.decode(uplink).ok().flatten();
    decoded.filter(Value::is_object)
}

/// Returns the position in decoded fields, if any.
fn position(decoded: &Value) -> Option<Location> {
    let number = |name: &str| decoded.get(name).and_then(Value::as_f64);
    Some(Location {
        latitude: number("latitude")? as f32,
        longitude: number("longitude")? as f32,
        altitude: number("altitude").unwrap_or_default() as i32,
    })
}

/// Returns the longest payload at a data rate of EU868.
fn max_length(modulation: &Modulation) -> usize {
    let spreading = match modulation {
        Modulation::Lora(data_rate) => {
            lorawan::lora_parts(data_rate).map(|(spreading, _)| spreading)
        }
        Modulation::Fsk | Modulation::LrFhss => None,
    };
    match spreading {
        Some(10..=12) => 51,
        Some(9) => 115,
        _ => MAX_LENGTH,
    }
}
