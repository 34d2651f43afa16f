//! Uplinks of the V2 network: from the device to the clients.

use std::{borrow::Cow, collections::BTreeMap, time::Duration};

use fastrand::Rng;
use serde_json::Value;

use super::{
    V2,
    device::{Taken, Window},
    messages::{self, Frame},
};
use crate::simulator::{
    lorawan::{self, DeviceId, Functions, QueuedDownlink, Uplink},
    sync::{deadline, lock},
};

/// What the last servers add to every uplink.
const SHUTDOWN_WARNING: &str =
    "The Things Network V2 is shutting down in December 2021. Migrate to V3 NOW!";

/// How long the handler takes to connect again when its broker closes the connection.
const RECONNECT: Duration = Duration::from_millis(50);

enum UplinkError {
    Invalid,
    Undecodable(String),
}

impl V2 {
    /// Handles an uplink and returns its frame counter, or `None` if the device is not registered.
    pub(super) fn receive(&self, id: DeviceId<'_>, uplink: &Uplink) -> Option<u32> {
        self.finish_burst();
        let unheard = lock(&self.state).devices.get(id)?.unheard(uplink);
        if unheard.is_some() {
            return unheard;
        }
        if !uplink.simulated {
            self.close_and_answer(id, None);
        }
        let taken = self.take(id, uplink)?;
        let fields = decode(uplink, &self.env.applications.functions(id.app_id));
        if let Some(window) = self.publish_uplink(id, uplink, &taken, fields) {
            self.answer(id, &window);
        }
        Some(taken.counter)
    }

    /// Counts the uplink and reports the downlink that it acknowledges.
    fn take(&self, id: DeviceId<'_>, uplink: &Uplink) -> Option<Taken> {
        let mut state = lock(&self.state);
        let device = state.devices.get(id)?;
        if uplink.simulated {
            return Some(Taken::default());
        }
        let taken = device.take_uplink(uplink);
        let confirmed = |downlink: &&QueuedDownlink| downlink.confirmed;
        if let Some(downlink) = taken.finished.as_ref().filter(confirmed) {
            let message = messages::downlink(None, downlink, "");
            self.post_downlink_event(id, "down/acks", "", Some(message));
        }
        Some(taken)
    }

    /// Publishes the uplink. Keeps the window that it opens, or returns it if it is due at once.
    fn publish_uplink(
        &self,
        id: DeviceId<'_>,
        uplink: &Uplink,
        taken: &Taken,
        decoded: Result<Option<Value>, UplinkError>,
    ) -> Option<Window> {
        let mut state = lock(&self.state);
        let can_transmit = !state.gateways_down && uplink.gateways > 0;
        let (device, random) = state.parts(id)?;
        let mut gateways = lorawan::gateways(uplink.gateways, random);
        let nearest = gateways.first().map(|gateway| gateway.id.clone());
        random.shuffle(&mut gateways);
        let (fields, error) = match decoded {
            Ok(fields) => (fields, None),
            Err(UplinkError::Invalid) => {
                let error = "Payload not valid: payload validator function returned false";
                if !uplink.simulated {
                    self.post_uplink_error(id, error);
                }
                return None;
            }
            Err(UplinkError::Undecodable(error)) => {
                let error = format!("Unable to decode payload fields: {error}");
                (None, Some(error))
            }
        };
        if !uplink.simulated {
            device.keep(taken);
        }
        let (channel, frequency) = uplink.channel(taken.counter);
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
        let (shutdown_warning, field_topics) = {
            let quirks = self.broker.quirks();
            (quirks.shutdown_warning, quirks.field_topics)
        };
        let contents = messages::Contents {
            uplink,
            taken,
            fields: fields.as_ref(),
            attributes: attributes(uplink, error.is_none(), shutdown_warning),
            metadata: &metadata,
        };
        let message = messages::uplink(id, &device.eui(), &contents);
        let fields = fields.as_ref().filter(|_| field_topics);
        let fields = fields.map(messages::field_topics).unwrap_or_default();
        let error = error.as_deref().map(messages::error);
        if self.post_uplink(id, message, error, fields, random) {
            state.away_until = Some(deadline(RECONNECT));
        }
        if uplink.simulated {
            return None;
        }
        let device = state.devices.get(id)?;
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

    /// Posts an uplink, the error event about it and its field topics; returns whether the handler lost
    /// its connection to the broker, and the rest of the messages with it.
    fn post_uplink(
        &self,
        id: DeviceId<'_>,
        message: String,
        error: Option<String>,
        fields: BTreeMap<String, String>,
        random: &mut Rng,
    ) -> bool {
        let (copies, plain) = {
            let quirks = self.broker.quirks();
            (quirks.uplink_copies(), quirks.plain_broker)
        };
        let device = format!("{}/devices/{}", id.app_id, id.dev_id);
        let topic = format!("{device}/up");
        let mut messages: Vec<_> = fields
            .into_iter()
            .map(|(path, value)| match path.as_str() {
                "" => (topic.clone(), value),
                path => (format!("{topic}/{path}"), value),
            })
            .collect();
        random.shuffle(&mut messages);
        // A quarter of the uplinks are overtaken by some of their fields.
        let overtaken = !plain && random.u8(..4) == 0;
        let place = if overtaken {
            random.usize(..=messages.len())
        } else {
            0
        };
        messages.insert(place, (topic, message));
        if let Some(error) = error {
            let place = usize::from(!plain && random.bool());
            messages.insert(place, (format!("{device}/events/up/errors"), error));
        }
        for (topic, message) in std::iter::repeat_n(messages, copies).flatten() {
            if topic.contains('#') {
                return true;
            }
            self.post(topic, &message);
        }
        false
    }
}

/// Returns the attributes to publish: those of the device unless its fields could not be decoded.
fn attributes(uplink: &Uplink, decoded: bool, shutdown_warning: bool) -> BTreeMap<String, String> {
    let mut attributes = BTreeMap::new();
    if decoded {
        attributes.clone_from(&uplink.attributes);
    }
    if shutdown_warning {
        attributes.insert("warning".into(), SHUTDOWN_WARNING.into());
    }
    attributes
}

/// Returns the fields of an uplink, if any.
fn decode(uplink: &Uplink, functions: &Functions) -> Result<Option<Value>, UplinkError> {
    let threw = |function, error: String| {
        let error = messages::threw(function, &error);
        UplinkError::Undecodable(error)
    };
    let mut uplink = Cow::Borrowed(uplink);
    if uplink.port == 0 {
        // The payload of such a frame is MAC commands.
        uplink.to_mut().payload.clear();
    }
    let decoded = functions.decode(&uplink);
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
