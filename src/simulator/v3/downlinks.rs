//! Downlinks of The Things Stack: from the request to the device.

use std::time::SystemTime;

use fastrand::Rng;

use super::{
    ACK, FAILED, Gateways, NACK, QUEUED, SENT, State, V3,
    device::{Device, MAX_LENGTH, Window},
    messages::{Downlink, Failure, Ids, Retry},
    request::{self, is_id},
};
use crate::simulator::{
    lorawan::{self, DeviceId, QueuedDownlink, Received, WindowKey},
    sync::{deadline, lock},
};

/// How often a confirmed downlink is sent unless the request says otherwise.
const MAX_ATTEMPTS: u32 = 8;

/// What can be done with the first downlink of a queue.
enum Turn {
    Now,
    Later(SystemTime),
    /// Not in this window.
    Wait,
    Never(Failure),
}

impl V3 {
    /// Closes the device's receive window, if it is still open, and sends what is due.
    pub(super) fn close_and_serve(&self, id: DeviceId<'_>, key: Option<WindowKey>) {
        let mut state = lock(&self.state);
        let device = state.devices.get(id);
        let window = device.and_then(|device| device.window.close(&self.env.windows, key));
        if let Some(window) = window {
            self.serve(&mut state, id, &window);
        }
    }

    /// Sends a class A device the first downlink of its queue, and a class C device all of them.
    pub(super) fn serve(&self, state: &mut State, id: DeviceId<'_>, window: &Window) {
        let Some((device, gateways, random)) = state.parts(id) else {
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
                    let wait = at.duration_since(self.env.clock.now()).unwrap_or_default();
                    let windows = &self.env.windows;
                    device
                        .window
                        .open(windows, deadline(wait), id, Window::ALWAYS);
                    return;
                }
                Turn::Never(failure) => Some(failure),
                Turn::Now => None,
            };
            let ids = device.ids(id);
            let (Some(mut downlink), Some(session)) =
                (device.queue.pop_front(), device.session.as_mut())
            else {
                return;
            };
            downlink.session_key_id = session.key_id.to_vec();
            downlink.f_cnt = session.down_counter;
            session.down_counter = session.down_counter.wrapping_add(1);
            if let Some(failure) = failure {
                self.post_failure(&ids, &downlink, &failure, random);
                continue;
            }
            self.transmit(&ids, device, downlink, window, gateways, random);
            if !device.class_c {
                return;
            }
        }
    }

    /// Returns what can be done with the first downlink of a queue.
    fn turn(&self, device: &Device, next: &Downlink, window: &Window) -> Turn {
        if next.confirmed && device.unanswered.is_some() {
            return Turn::Wait;
        }
        if let Some(class_b_c) = &next.class_b_c {
            let mut gateways = class_b_c.gateways.iter();
            match class_b_c.absolute_time {
                Some(at) if at > self.env.clock.now() => {
                    return if device.class_c {
                        Turn::Later(at)
                    } else {
                        Turn::Wait
                    };
                }
                Some(_) if !device.class_c => return Turn::Never(Failure::EXPIRED),
                _ if !device.class_c => return Turn::Wait,
                _ if class_b_c.gateways.is_empty() => {}
                _ if gateways.any(|gateway| lorawan::is_gateway(&gateway.gateway_id)) => {}
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
            device.end_device.hear(Received {
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

    /// Handles a request on `v3/U/devices/D/down/push` or `replace`. An unreadable one leaves no
    /// trace, as on the real network.
    pub(super) fn request(&self, topic: &str, payload: &[u8]) {
        let levels: Vec<&str> = topic.split('/').collect();
        let ["v3", app_id, "devices", dev_id, "down", operation] = levels[..] else {
            return;
        };
        let id = DeviceId { app_id, dev_id };
        let Some(mut downlinks) = request::read(payload).filter(|_| is_id(dev_id)) else {
            log::debug!("dropping unreadable downlinks for {id}");
            return;
        };
        if lock(&self.state).devices.get(id).is_none() {
            log::debug!("dropping downlinks for the unknown device {id}");
            return;
        }
        let encoder = self.env.applications.functions(app_id).encoder;
        for downlink in downlinks.iter_mut().filter(|item| item.payload.is_none()) {
            let encoded = match (&downlink.decoded, &encoder) {
                (None, _) => return,
                (Some(_), None) => Ok(Vec::new()),
                (Some(fields), Some(encoder)) => {
                    let encoded = lorawan::call(|| encoder(downlink.f_port, fields));
                    downlink.f_port = downlink.f_port.max(1);
                    encoded
                }
            };
            match encoded {
                Ok(bytes) => downlink.payload = Some(bytes),
                Err(error) => {
                    log::debug!("cannot encode a downlink for {id}: {error}");
                    return;
                }
            }
        }
        self.enqueue(id, downlinks, operation == "replace");
    }

    /// Queues all of the downlinks or none.
    fn enqueue(&self, id: DeviceId<'_>, mut downlinks: Vec<Downlink>, replace: bool) {
        let limit = self.broker.quirks().downlink_queue;
        let mut state = lock(&self.state);
        let Some((device, _, random)) = state.parts(id) else {
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
        let ids = device.ids(id);
        if let Some(failure) = self.refusal(device, &downlinks, replace, limit) {
            for downlink in &downlinks {
                self.post_failure(&ids, downlink, &failure, random);
            }
            return;
        }
        if replace {
            device.queue.clear();
        }
        for mut downlink in downlinks {
            let queued = downlink.message();
            self.post(&ids, QUEUED, &downlink.correlation_ids, &queued);
            // Later events omit the fields, because there is no downlink decoder.
            downlink.decoded = None;
            device.queue.push_back(downlink);
        }
        if device.class_c {
            self.serve(&mut state, id, &Window::ALWAYS);
        }
    }

    /// Returns why the downlinks cannot be queued, if so.
    fn refusal(
        &self,
        device: &Device,
        downlinks: &[Downlink],
        replace: bool,
        limit: usize,
    ) -> Option<Failure> {
        let now = self.env.clock.now();
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
        } else if let Some(length) = lengths.find(|length| *length > MAX_LENGTH) {
            Some(Failure::too_long(length, MAX_LENGTH))
        } else if downlinks.iter().any(expired) {
            Some(Failure::EXPIRED)
        } else if waiting + downlinks.len() > limit {
            Some(Failure::QUEUE_FULL)
        } else {
            None
        }
    }

    /// Reports whether the device acknowledged the confirmed downlink that it was sent.
    pub(super) fn settle(
        &self,
        ids: &Ids<'_>,
        device: &mut Device,
        uplink_id: &str,
        random: &mut Rng,
    ) {
        let acknowledged = device.end_device.take_ack();
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
        let max = retry.max_attempts.unwrap_or(MAX_ATTEMPTS);
        let exhausted = retry.attempt > max;
        if exhausted {
            self.post_failure(ids, &downlink, &Failure::retries(max), random);
        }
        self.post(ids, NACK, &correlation_ids, &downlink.message());
        if !exhausted {
            device.queue.push_back(downlink);
        }
    }
}

impl Downlink {
    fn length(&self) -> usize {
        self.payload.as_deref().unwrap_or_default().len()
    }

    pub(super) fn described(&self) -> QueuedDownlink {
        QueuedDownlink {
            port: self.f_port,
            confirmed: self.confirmed,
            payload: self.payload.clone(),
            fields: None,
        }
    }
}
