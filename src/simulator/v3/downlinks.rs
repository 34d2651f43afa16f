//! Downlinks of The Things Stack: from the request to the queue, and what the next uplink decides.

use fastrand::Rng;
use serde_json::Value;

use super::{
    ACK, FAILED, INVALIDATED, NACK, QUEUED, V3,
    device::{Device, Unanswered},
    formatters::{self, Unencoded},
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

/// Why a request is not carried out.
pub(super) enum Refusal {
    UnknownDevice,
    NoPayload,
    /// The encoder failed with that text.
    Encoder(String),
    Failed(Box<Failure>),
}

impl V3 {
    /// Handles a request on `v3/U/devices/D/down/push` or `replace`.
    pub(super) fn request(&self, topic: &str, payload: &[u8]) {
        let levels: Vec<&str> = topic.split('/').collect();
        let ["v3", app_id, "devices", dev_id, "down", operation] = levels[..] else {
            return;
        };
        let id = DeviceId { app_id, dev_id };
        let Ok(downlinks) = request::read(payload) else {
            log::debug!("dropping unreadable downlinks for {id}");
            return;
        };
        if !is_id(dev_id) {
            return;
        }
        // What the server says about it over HTTP only is lost.
        let _ = self.handle(id, downlinks, operation == "replace", false);
    }

    /// Handles a request over HTTP and returns whether it is accepted.
    pub(in crate::simulator) fn request_over_http(
        &self,
        id: DeviceId<'_>,
        request: &Value,
        replace: bool,
    ) -> bool {
        let downlinks = request::read(request.to_string().as_bytes());
        let is_done = |downlinks| self.handle(id, downlinks, replace, true).is_ok();
        is_id(id.dev_id) && downlinks.is_ok_and(is_done)
    }

    /// Handles a request. Of an error, only a failure is published.
    pub(super) fn handle(
        &self,
        id: DeviceId<'_>,
        mut downlinks: Vec<Downlink>,
        replace: bool,
        over_http: bool,
    ) -> Result<(), Refusal> {
        let knows = |device: &mut Device| device.elsewhere.is_none();
        if !lock(&self.state).devices.get(id).is_some_and(knows) {
            log::debug!("dropping downlinks for the unknown device {id}");
            return Err(Refusal::UnknownDevice);
        }
        let functions = self.env.applications.functions_of(id);
        if let Err(cause) = formatters::encode(&mut downlinks, &functions) {
            log::debug!("dropping downlinks for {id} without a payload");
            return Err(match cause {
                Unencoded::Empty => Refusal::NoPayload,
                Unencoded::Failed(text) => Refusal::Encoder(text),
            });
        }
        let mut state = lock(&self.state);
        let Some((device, _, random)) = state.parts(id) else {
            return Err(Refusal::UnknownDevice);
        };
        if over_http {
            let call = Correlation::new(self.env.clock.now(), random).over_http(replace);
            for downlink in &mut downlinks {
                downlink.correlation_ids.push(call.clone());
            }
        }
        let done = self.enqueue(id, device, downlinks, replace, random);
        self.serve_listening(&mut state, id);
        done.map_err(Refusal::Failed)
    }

    /// Queues all of the downlinks or none.
    pub(super) fn enqueue(
        &self,
        id: DeviceId<'_>,
        device: &mut Device,
        mut downlinks: Vec<Downlink>,
        replace: bool,
        random: &mut Rng,
    ) -> Result<(), Box<Failure>> {
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
            return Err(Box::new(failure));
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
        Ok(())
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
