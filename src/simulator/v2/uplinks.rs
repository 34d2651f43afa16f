//! Uplinks of the V2 network: from the device to the clients.

use serde_json::Value;

use super::{
    V2,
    device::Window,
    messages::{self, Frame},
};
use crate::simulator::{
    lorawan::{self, DeviceId, Functions, Uplink},
    sync::{deadline, lock},
};

enum UplinkError {
    Invalid,
    Undecodable(String),
}

impl V2 {
    /// Handles an uplink and returns its frame counter, or `None` if the device is not registered.
    pub(super) fn receive(&self, id: DeviceId<'_>, uplink: &Uplink) -> Option<u32> {
        if !uplink.simulated {
            self.close_and_answer(id, None);
        }
        let counter = self.count(id, uplink)?;
        let fields = decode(uplink, &self.env.applications.functions(id.app_id));
        if let Some(window) = self.publish_uplink(id, uplink, counter, fields) {
            self.answer(id, &window);
        }
        Some(counter)
    }

    /// Counts the uplink and reports the downlink that it acknowledges.
    fn count(&self, id: DeviceId<'_>, uplink: &Uplink) -> Option<u32> {
        let mut state = lock(&self.state);
        let device = state.devices.get(id)?;
        if uplink.simulated {
            return Some(0);
        }
        let (counter, acknowledged) = device.take_uplink(uplink);
        if let Some(downlink) = acknowledged {
            let message = messages::downlink(None, &downlink, "");
            self.post_downlink_event(id, "down/acks", "", Some(message));
        }
        Some(counter)
    }

    /// Publishes the uplink. Keeps the window that it opens, or returns it if it is due at once.
    fn publish_uplink(
        &self,
        id: DeviceId<'_>,
        uplink: &Uplink,
        counter: u32,
        decoded: Result<Option<Value>, UplinkError>,
    ) -> Option<Window> {
        let mut state = lock(&self.state);
        let can_transmit = !state.gateways_down && uplink.gateways > 0;
        let (device, random) = state.parts(id)?;
        let gateways = lorawan::gateways(uplink.gateways, random);
        let fields = match decoded {
            Ok(fields) => fields,
            Err(UplinkError::Invalid) => {
                let error = "Payload not valid: payload validator function returned false";
                self.post_uplink_error(id, error);
                return None;
            }
            Err(UplinkError::Undecodable(error)) => {
                let error = format!("Unable to decode payload fields: {error}");
                self.post_uplink_error(id, &error);
                None
            }
        };
        let (channel, frequency) = uplink.channel(counter);
        let time = uplink.time.unwrap_or_else(|| self.env.clock.now());
        let location = uplink.location.or(device.location);
        let metadata = if uplink.simulated {
            messages::simulated_metadata(time, location)
        } else {
            let frame = Frame {
                time,
                length: lorawan::uplink_length(&uplink.payload),
                modulation: &uplink.modulation,
                frequency,
                channel,
                gateways: &gateways,
                uptime: self.env.clock.uptime(),
            };
            frame.metadata(location)
        };
        let fields = fields.as_ref();
        let message = messages::uplink(id, &device.eui(), uplink, counter, fields, &metadata);
        let field_topics = fields.map(messages::field_topics).unwrap_or_default();
        self.post_uplink(id, &message, &field_topics);
        if uplink.simulated {
            return None;
        }
        let nearest = gateways.into_iter().next().map(|gateway| gateway.id);
        let window = Window {
            port: uplink.port,
            wants_ack: uplink.confirmed,
            gateway_id: nearest.filter(|_| can_transmit),
            modulation: uplink.modulation.clone(),
            frequency,
        };
        if device.in_progress.is_some() || self.env.receive_window.is_zero() {
            return Some(window);
        }
        let closes = deadline(self.env.receive_window);
        device.window.open(&self.env.windows, closes, id, window);
        None
    }

    fn post_uplink(&self, id: DeviceId<'_>, message: &str, fields: &[(String, String)]) {
        let (copies, field_topics) = {
            let quirks = self.broker.quirks();
            (quirks.uplink_copies(), quirks.field_topics)
        };
        let topic = format!("{}/devices/{}/up", id.app_id, id.dev_id);
        for _ in 0..copies {
            self.post(topic.clone(), message);
            if field_topics {
                for (path, value) in fields {
                    self.post(format!("{topic}/{path}"), value);
                }
            }
        }
    }
}

/// Returns the fields of an uplink, if any.
fn decode(uplink: &Uplink, functions: &Functions) -> Result<Option<Value>, UplinkError> {
    let threw = |function, error: String| {
        let error = messages::threw(function, &error);
        UplinkError::Undecodable(error)
    };
    let decoded = functions.decode(uplink);
    let Some(fields) = decoded.map_err(|error| threw("Decoder", error))? else {
        return Ok(None);
    };
    if !fields.is_object() {
        let error = "Decoder not valid: does not return an object".into();
        return Err(UplinkError::Undecodable(error));
    }
    if let Some(validator) = &functions.validator {
        let valid = lorawan::call(|| Ok(validator(uplink.port, &fields)));
        if !valid.map_err(|error| threw("Validator", error))? {
            return Err(UplinkError::Invalid);
        }
    }
    let empty = fields.as_object().is_some_and(serde_json::Map::is_empty);
    Ok((!empty).then_some(fields))
}
