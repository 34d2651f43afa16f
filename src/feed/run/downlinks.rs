//! Downlinks: from the broker to the network.

use std::time::Instant;

use super::Runner;
use crate::{
    error::{Error, ErrorKind},
    message::Event,
    network::{Effect, Request},
};

/// A downlink request. The broker's event is kept, because dropping it acknowledges the request.
pub(super) struct Asked {
    pub(super) dev_id: String,
    pub(super) topic: String,
    pub(super) event: Event,
}

impl Runner {
    /// Notes a request, or that some were dropped.
    pub(super) fn on_request(&mut self, event: Event) {
        if let Event::Lagged(lost) = event {
            return self.requests_lost(lost);
        }
        let Some(raw) = event.raw() else { return };
        if raw.is_retained() {
            log::warn!(
                "the downlink request on {:?} is retained, so that it would be sent again with every connection; it is \
                 ignored: let the publisher clear MQTT's retain flag",
                raw.topic()
            );
            return;
        }
        let topic = self.layout.request(&self.network_app_id, raw.topic());
        match topic.and_then(|topic| Some((device(&topic)?, topic.into_owned()))) {
            Some((dev_id, topic)) => {
                let asked = Asked {
                    dev_id,
                    topic,
                    event,
                };
                if let Err(asked) = self.requests.add(asked) {
                    let full = "too many requests wait that were published at QoS 0; let the publisher use QoS 1";
                    self.refused(&asked, &Error::new(ErrorKind::QueueFull, full));
                }
            }
            None => log::debug!("not a downlink request: {:?}", raw.topic()),
        }
    }

    /// Counts requests that came while a queue was full, and tells of them.
    fn requests_lost(&mut self, requests: u64) {
        self.stats.requests_refused += requests;
        self.fail(Error::new(
            ErrorKind::QueueFull,
            format!(
                "{requests} downlink requests are lost: they were published at QoS 0 and came too fast; let the publisher \
                 use QoS 1"
            ),
        ));
    }

    /// Writes downlink requests to the network.
    pub(super) fn forward(&mut self, now: Instant) {
        while let Some((place, asked)) = self.requests.next(now) {
            let Some(source) = &self.source else {
                return self.requests.put_back(place, asked, now);
            };
            let request = Request {
                topic: asked.topic.clone(),
                payload: asked
                    .event
                    .raw()
                    .map_or_else(Vec::new, |raw| raw.payload().to_vec()),
                downlinks: 0..1,
                effect: match asked.topic.ends_with("replace") {
                    true => Effect::Replaces,
                    false => Effect::Adds,
                },
            };
            match source.client.forward(request, &asked.dev_id) {
                Ok(id) => self.requests.handed_over(place, asked, id.get()),
                Err(error) if is_passing(&error) => {
                    self.requests.put_back(place, asked, now);
                }
                Err(error) => self.refused(&asked, &error),
            }
        }
    }

    pub(super) fn refused(&mut self, asked: &Asked, error: &Error) {
        self.stats.requests_refused += 1;
        self.fail(Error::new(
            error.kind(),
            format!("a downlink to {} is lost: {error}", asked.dev_id),
        ));
    }
}

/// Returns the device of a request.
fn device(topic: &str) -> Option<String> {
    let (_, rest) = topic.split_once("/devices/")?;
    let (dev_id, _) = rest.split_once('/')?;
    Some(dev_id.to_owned())
}

/// Returns whether a request can be written later.
pub(super) fn is_passing(error: &Error) -> bool {
    error.is_transient()
        || matches!(
            error.kind(),
            ErrorKind::NotConnected
                | ErrorKind::QueueFull
                | ErrorKind::Closed
                | ErrorKind::Expired
                | ErrorKind::ConnectionLost
        )
}
