//! Uplinks of the V2 network: from the device to the clients.

use std::{collections::BTreeMap, time::Duration};

use fastrand::Rng;

use super::{
    V2,
    device::{Taken, Window},
    messages,
    metadata::{self, Frame},
    payload::{self, Fields, UplinkError},
};
use crate::simulator::{
    lorawan::{self, DeviceId, Gateway, PayloadFormat, QueuedDownlink, Uplink},
    sync::{deadline, lock},
};

/// What the last servers add to every uplink.
const SHUTDOWN_WARNING: &str =
    "The Things Network V2 is shutting down in December 2021. Migrate to V3 NOW!";

/// How long the handler takes to connect again when its broker closes the connection.
const RECONNECT: Duration = Duration::from_millis(50);

impl V2 {
    /// Handles an uplink and returns its frame counter, or `None` if the device is not registered.
    pub(super) fn receive(&self, id: DeviceId<'_>, uplink: &Uplink) -> Option<u32> {
        self.finish_burst();
        let taken = if uplink.simulated {
            Taken::default()
        } else {
            let counted = lock(&self.state).devices.get(id)?.count(uplink);
            let Ok(counter) = counted else {
                log::debug!(
                    "dropping an uplink of {id}: repeated, or with an unexpected frame counter"
                );
                return counted.err();
            };
            self.close_and_answer(id, None);
            self.take(id, counter)?
        };
        let functions = self.env.applications.functions(id.app_id);
        let fields = payload::decode(uplink, &functions);
        let has_format = functions.format != PayloadFormat::None;
        if let Some(window) = self.publish_uplink(id, uplink, &taken, fields, has_format) {
            self.answer(id, &window);
        }
        Some(taken.counter)
    }

    /// Takes an uplink with that frame counter and reports the downlink that it acknowledges.
    fn take(&self, id: DeviceId<'_>, counter: u32) -> Option<Taken> {
        let taken = lock(&self.state).devices.get(id)?.take_uplink(counter);
        let confirmed = |downlink: &&QueuedDownlink| downlink.confirmed;
        if let Some(downlink) = taken.finished.as_ref().filter(confirmed) {
            let message = messages::downlink(None, downlink, "");
            self.post_downlink_event(id, "down/acks", "", Some(message));
        }
        Some(taken)
    }

    /// Publishes the uplink. Keeps the window that it opens, or returns it if it is due at once.
    /// `has_format` tells whether the application has a payload format.
    fn publish_uplink(
        &self,
        id: DeviceId<'_>,
        uplink: &Uplink,
        taken: &Taken,
        decoded: Result<Option<Fields>, UplinkError>,
        has_format: bool,
    ) -> Option<Window> {
        let mut state = lock(&self.state);
        let gateways_down = state.gateways_down;
        let (device, random) = state.parts(id)?;
        let gateways = heard(uplink, random);
        let answering = lorawan::answering(&gateways).first().copied();
        let answering = answering.filter(|_| !gateways_down);
        let (fields, error) = match decoded {
            Ok(fields) => (fields, None),
            Err(UplinkError::Invalid) => {
                let error = "Payload not valid: payload validator function returned false";
                if !uplink.simulated {
                    self.post_uplink_error(id, error);
                }
                return None;
            }
            Err(UplinkError::Undecodable(error)) => (None, Some(error)),
        };
        if !uplink.simulated {
            device.keep(taken);
        }
        let time = uplink.time.unwrap_or_else(|| self.env.clock.now());
        let location = uplink.location.or(device.location);
        let metadata = if uplink.simulated {
            metadata::simulated_metadata(time, location)
        } else {
            let frame = Frame {
                uplink,
                time,
                length: uplink.length() + uplink.options.unwrap_or_default(),
                frequency: uplink.hertz(taken.counter),
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
            fields: fields.as_ref().map(|fields| &fields.value),
            attributes: attributes(uplink, has_format && error.is_none(), shutdown_warning),
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
            gateway_id: answering.map(|gateway| gateway.id.clone()),
            is_deaf: answering.is_some_and(|gateway| gateway.deaf),
            modulation: uplink.modulation.clone(),
            frequency: uplink.hertz(taken.counter),
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

/// Returns how gateways hear a frame, in any order. Of the simulator's own, the first has a clock, and
/// the network trusts the second.
pub(super) fn heard(uplink: &Uplink, random: &mut Rng) -> Vec<Gateway> {
    let mut heard = uplink.receptions(random);
    if uplink.heard_by.is_empty() {
        for (index, gateway) in heard.iter_mut().enumerate() {
            gateway.has_clock = index == 0;
            gateway.trusted = index == 1;
        }
    }
    random.shuffle(&mut heard);
    heard
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
