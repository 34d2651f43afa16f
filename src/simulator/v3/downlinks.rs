//! Downlinks of The Things Stack: from the request to the queue, and what the next uplink decides.

use fastrand::Rng;
use serde_json::Value;

use super::{
    ACK, FAILED, INVALIDATED, NACK, QUEUED, V3,
    device::{Device, Unanswered},
    formatters,
    messages::{self, Correlation, Downlink, Failure, Ids, Retry, joined},
    request::{self, is_id},
    uplinks::Heard,
};
use crate::simulator::{
    lorawan::{DeviceId, QueuedDownlink},
    sync::lock,
};

/// How often a confirmed downlink is sent unless the request says otherwise.
const MAX_ATTEMPTS: u32 = 8;

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
        let limit = self.broker.quirks().downlink_queue;
        let refusal = device.refusal(&downlinks, replace, limit, now, random);
        if let Some(failure) = refusal {
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

    /// Reports whether the device acknowledged the confirmed downlink that it was sent.
    pub(super) fn settle(
        &self,
        ids: &Ids<'_>,
        device: &mut Device,
        heard: &Heard<'_>,
        random: &mut Rng,
    ) {
        let Some(Unanswered { mut downlink, .. }) = device.unanswered.take() else {
            return;
        };
        let received = heard.received;
        let correlation_ids = joined(&downlink.correlation_ids, &heard.correlation_ids);
        if heard.frame.acknowledges {
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

    /// Empties the queue of the device and posts what it held.
    pub(in crate::simulator) fn invalidate_queue(&self, id: DeviceId<'_>) {
        let mut state = lock(&self.state);
        let Some((device, _, random)) = state.parts(id) else {
            return;
        };
        let (last, key_id) = match &device.session {
            Some(session) => (session.given, &session.key_id[..]),
            None => (0, &[][..]),
        };
        let body = messages::invalidated(device.queue.iter(), last, key_id);
        device.queue.clear();
        let now = self.env.clock.now();
        let mut correlation = Correlation::new(now, random);
        let cause = correlation.uplink();
        let correlation_ids = correlation.passed_on(Some(&cause));
        self.post(now, &device.ids(id), INVALIDATED, &correlation_ids, &body);
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
