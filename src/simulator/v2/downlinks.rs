//! Downlinks of the V2 network: from the request to the device.

use std::time::Instant;

use super::{
    NO_GATEWAYS, V2,
    access::is_id,
    device::Window,
    messages, payload,
    request::{self, Request},
};
use crate::simulator::{
    lorawan::{DeviceId, DownlinkFrame, QueuedDownlink, Received, WindowKey},
    sync::lock,
};

/// The answer to a link check: a margin of 16 dB, and one gateway.
const LINK_CHECK: &[u8] = &[0x02, 16, 1];

impl V2 {
    /// Handles a request on `A/devices/D/down`. An unreadable one leaves no trace, as on the real
    /// network.
    pub(super) fn request(&self, topic: &str, payload: &[u8]) {
        let levels: Vec<&str> = topic.split('/').collect();
        let [app_id, "devices", dev_id, "down"] = levels[..] else {
            return;
        };
        if !is_id(app_id) || !is_id(dev_id) {
            return;
        }
        let id = DeviceId { app_id, dev_id };
        let Some(Request { downlink, schedule }) = request::read(payload) else {
            log::debug!("dropping an unreadable downlink for {id}");
            return;
        };
        let mut state = lock(&self.state);
        if state.away_until.is_some_and(|end| Instant::now() < end) {
            log::debug!("dropping a downlink for {id}: the handler is not connected");
            return;
        }
        let Some(device) = state.devices.get(id) else {
            log::debug!("dropping a downlink for the unknown device {id}");
            return;
        };
        if downlink.payload.is_none() && downlink.fields.is_none() {
            let message = messages::downlink(Some(id), &downlink, &schedule);
            let error = "Downlink Payload not valid: empty";
            self.post_downlink_event(id, "down/errors", error, Some(message));
            return;
        }
        let message = messages::downlink(None, &downlink, "");
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
                self.post_downlink_event(id, "down/errors", error, Some(message));
                return;
            }
        }
        self.post_downlink_event(id, "down/scheduled", "", Some(message));
    }

    /// Closes the device's receive window, if it is still open, and sends what is due.
    pub(super) fn close_and_answer(&self, id: DeviceId<'_>, key: Option<WindowKey>) {
        let window = {
            let mut state = lock(&self.state);
            let device = state.devices.get(id);
            device.and_then(|device| device.window.close(&self.env.windows, key))
        };
        if let Some(window) = window {
            self.answer(id, &window);
        }
    }

    /// Sends the downlink in progress, otherwise the next one from the queue, otherwise an
    /// acknowledgement if one is due.
    pub(super) fn answer(&self, id: DeviceId<'_>, window: &Window) {
        let downlink = {
            let mut state = lock(&self.state);
            let Some(device) = state.devices.get(id) else {
                return;
            };
            if window.gateway_id.is_none() {
                if device.in_progress.is_some() || !device.queue.is_empty() {
                    self.post_downlink_event(id, "down/errors", NO_GATEWAYS, None);
                }
                return;
            }
            if device.in_progress.is_none() {
                device.in_progress = device.queue.pop_front();
            }
            device.in_progress.clone()
        };
        let mut downlink = downlink.unwrap_or_default();
        let functions = self.env.applications.functions(id.app_id);
        match payload::encode(&downlink, &functions) {
            Ok(payload) => {
                downlink.payload = payload;
                self.transmit(id, &downlink, window);
            }
            Err(error) => {
                let overtakes = {
                    let in_any_order = !self.broker.quirks().plain_broker;
                    lock(&self.state).random.bool() && in_any_order
                };
                if overtakes {
                    self.post_uplink_error(id, &error);
                }
                let message = messages::downlink(Some(id), &downlink, "");
                self.post_downlink_event(id, "down/errors", &error, Some(message));
                if !overtakes {
                    self.post_uplink_error(id, &error);
                }
            }
        }
    }

    fn transmit(&self, id: DeviceId<'_>, downlink: &QueuedDownlink, window: &Window) {
        let payload = downlink.payload.as_deref().unwrap_or_default();
        let port = [downlink.port, window.port, 1]
            .into_iter()
            .find(|port| *port != 0)
            .unwrap_or(1);
        let mut state = lock(&self.state);
        let Some((device, random)) = state.parts(id) else {
            return;
        };
        if payload.is_empty() && !window.wants_ack && device.commands == 0 {
            return;
        }
        let options = if device.commands > 0 { LINK_CHECK } else { &[] };
        device.commands = device.commands.saturating_sub(1);
        let counter = device.down_counter;
        device.down_counter = counter.wrapping_add(1);
        let frame = DownlinkFrame {
            confirmed: downlink.confirmed,
            dev_addr: device.dev_addr,
            ack: window.wants_ack,
            more_queued: !device.queue.is_empty(),
            counter,
            options,
            port,
            payload,
        };
        let message = messages::downlink(Some(id), downlink, "");
        let second = window.answers_in_the_second(random);
        let bytes = frame.bytes(random);
        let sent = messages::downlink_sent(&bytes, counter, &message, window, second);
        self.post_event(id, "down/sent", &sent);
        if !payload.is_empty() && !window.is_deaf {
            let received = Received {
                port,
                payload: payload.to_vec(),
                confirmed: downlink.confirmed,
                counter,
            };
            self.env.activities.received(id, &received);
            device.end_device.hear(received, self.env.history);
        }
    }
}
