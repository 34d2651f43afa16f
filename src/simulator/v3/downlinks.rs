//! Downlinks of The Things Stack: from the request to the queue, and what the next uplink decides.

use std::{
    collections::VecDeque,
    time::{Duration, SystemTime},
};

use fastrand::Rng;
use serde_json::Value;

use super::{
    ACK, FAILED, NACK, QUEUED, V3,
    device::{Device, MAX_LENGTH, Unanswered},
    formatters,
    messages::{Correlation, Downlink, Failure, Ids, Retry, joined},
    request::{self, is_id},
    session::Session,
};
use crate::simulator::{
    lorawan::{DeviceId, QueuedDownlink},
    sync::lock,
};

/// How often a confirmed downlink is sent unless the request says otherwise.
const MAX_ATTEMPTS: u32 = 8;
/// How many bytes an encoder may make.
const LONGEST_ENCODED: usize = 255;
/// How long before its time a downlink must be queued.
const SHORTEST_NOTICE: Duration = Duration::from_millis(2_500);

impl V3 {
    /// Handles a request on `v3/U/devices/D/down/push` or `replace`.
    pub(super) fn request(&self, topic: &str, payload: &[u8]) {
        let levels: Vec<&str> = topic.split('/').collect();
        let ["v3", app_id, "devices", dev_id, "down", operation] = levels[..] else {
            return;
        };
        let id = DeviceId { app_id, dev_id };
        self.handle(id, payload, operation == "replace", false);
    }

    /// Handles a request over HTTP and returns whether it is accepted.
    pub(in crate::simulator) fn request_over_http(
        &self,
        id: DeviceId<'_>,
        request: &Value,
        replace: bool,
    ) -> bool {
        self.handle(id, request.to_string().as_bytes(), replace, true)
    }

    /// Handles a request and returns whether it is accepted. An unreadable one leaves no trace, as on the
    /// real network.
    fn handle(&self, id: DeviceId<'_>, payload: &[u8], replace: bool, over_http: bool) -> bool {
        let Some(mut downlinks) = request::read(payload).filter(|_| is_id(id.dev_id)) else {
            log::debug!("dropping unreadable downlinks for {id}");
            return false;
        };
        if lock(&self.state).devices.get(id).is_none() {
            log::debug!("dropping downlinks for the unknown device {id}");
            return false;
        }
        let functions = self.env.applications.functions_of(id);
        if formatters::encode(&mut downlinks, &functions).is_none() {
            log::debug!("dropping downlinks for {id} without a payload");
            return false;
        }
        let mut state = lock(&self.state);
        let Some((device, _, random)) = state.parts(id) else {
            return false;
        };
        if over_http {
            let call = Correlation::new(self.env.clock.now(), random).over_http(replace);
            for downlink in &mut downlinks {
                downlink.correlation_ids.push(call.clone());
            }
        }
        let is_accepted = self.enqueue(id, device, downlinks, replace, random);
        self.serve_listening(&mut state, id);
        is_accepted
    }

    /// Queues all of the downlinks or none, and returns whether it does.
    pub(super) fn enqueue(
        &self,
        id: DeviceId<'_>,
        device: &mut Device,
        mut downlinks: Vec<Downlink>,
        replace: bool,
        random: &mut Rng,
    ) -> bool {
        let now = self.env.clock.now();
        for downlink in &mut downlinks {
            let mut correlation = Correlation::new(now, random);
            downlink.correlation_ids = correlation.request(&downlink.correlation_ids);
            if downlink.confirmed {
                downlink.retry.get_or_insert(Retry {
                    attempt: 1,
                    max_attempts: None,
                });
            }
        }
        let ids = device.ids(id).of_request();
        if let Some(failure) = self.refusal(device, &downlinks, replace, random) {
            let correlation_id = Failure::correlation_id(random);
            for downlink in &downlinks {
                let event = failure.event(&downlink.message(), &correlation_id);
                self.post(now, &ids, FAILED, &downlink.correlation_ids, &event);
            }
            return false;
        }
        if replace {
            device.queue.clear();
        }
        for mut downlink in downlinks {
            let queued = downlink.message();
            self.post(now, &ids, QUEUED, &downlink.correlation_ids, &queued);
            (downlink.decoded, downlink.warnings) = downlink.heard.clone();
            device.enqueue(downlink);
        }
        true
    }

    /// Returns why the downlinks cannot be queued, if so.
    fn refusal(
        &self,
        device: &Device,
        downlinks: &[Downlink],
        replace: bool,
        random: &mut Rng,
    ) -> Option<Failure> {
        let limit = self.broker.quirks().downlink_queue;
        let earliest = self.env.clock.now() + SHORTEST_NOTICE;
        let is_expired = |downlink: &Downlink| {
            let class_b_c = downlink.class_b_c.as_ref();
            let time = class_b_c.and_then(|class_b_c| class_b_c.absolute_time);
            time.is_some_and(|time| time < earliest)
        };
        let has_path = |downlink: &Downlink| {
            let class_b_c = downlink.class_b_c.as_ref();
            class_b_c.is_some_and(|class_b_c| !class_b_c.gateways.is_empty())
        };
        let waiting = if replace { 0 } else { device.queue.len() };
        let mut lengths = downlinks.iter().map(Downlink::length);
        if downlinks.iter().any(|downlink| downlink.f_port == 0) {
            return Some(Failure::NO_PORT);
        }
        let Some(session) = device.newest_session() else {
            return Some(Failure::NO_SESSION);
        };
        if let Some(index) = downlinks
            .iter()
            .position(|item| item.length() > LONGEST_ENCODED)
        {
            Some(Failure::invalid(index, random))
        } else if let Some(length) = lengths.find(|length| *length > MAX_LENGTH) {
            Some(Failure::too_long(length, MAX_LENGTH))
        } else if device.is_group && downlinks.iter().any(|downlink| downlink.confirmed) {
            Some(Failure::CONFIRMED_TO_GROUP)
        } else if device.is_group && !downlinks.iter().all(has_path) {
            Some(Failure::NO_PATH)
        } else if downlinks.iter().any(is_expired) {
            Some(Failure::EXPIRED)
        } else if waiting + downlinks.len() > limit {
            Some(Failure::QUEUE_FULL)
        } else {
            let kept = if replace {
                &VecDeque::new()
            } else {
                &device.queue
            };
            let mut lowest = session.lowest(kept);
            let own = downlinks.iter().filter(|_| device.own_keys.is_some());
            own.map(|downlink| {
                let failure = misfit(downlink, session, lowest);
                lowest = downlink.f_cnt.saturating_add(1);
                failure
            })
            .find_map(|failure| failure)
        }
    }

    /// Reports whether the device acknowledged the confirmed downlink that it was sent.
    pub(super) fn settle(
        &self,
        received: SystemTime,
        ids: &Ids<'_>,
        device: &mut Device,
        uplink_ids: &[String],
        random: &mut Rng,
    ) {
        let acknowledged = device.end_device.take_ack();
        let Some(Unanswered { mut downlink, .. }) = device.unanswered.take() else {
            return;
        };
        let correlation_ids = joined(&downlink.correlation_ids, uplink_ids);
        if acknowledged {
            self.post(received, ids, ACK, &correlation_ids, &downlink.message());
            return;
        }
        if device.own_keys.is_some() {
            self.post(received, ids, NACK, &correlation_ids, &downlink.message());
            return;
        }
        let retry = downlink.retry.get_or_insert_default();
        retry.attempt = retry.attempt.saturating_add(1);
        let max = retry.max_attempts.unwrap_or(MAX_ATTEMPTS);
        let exhausted = retry.attempt > max;
        if exhausted {
            let correlation_id = Failure::correlation_id(random);
            let event = Failure::retries(max).event(&downlink.message(), &correlation_id);
            let ids = ids.of_request();
            self.post(received, &ids, FAILED, &downlink.correlation_ids, &event);
        }
        self.post(received, ids, NACK, &correlation_ids, &downlink.message());
        if !exhausted {
            device.enqueue(downlink);
        }
    }
}

/// Returns why the downlink of an application with its own keys does not fit into the session, if so.
fn misfit(downlink: &Downlink, session: &Session, lowest: u32) -> Option<Failure> {
    let given = &downlink.session_key_id;
    if !given.is_empty() && *given != session.key_id {
        Some(Failure::UNKNOWN_SESSION.of_session(session.dev_addr, &session.key_id, lowest))
    } else if downlink.f_cnt < lowest {
        let failure = Failure::counter_too_low(downlink.f_cnt, lowest);
        Some(failure.of_session(session.dev_addr, &session.key_id, lowest))
    } else {
        None
    }
}

impl Downlink {
    pub(super) fn length(&self) -> usize {
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
