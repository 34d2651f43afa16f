//! The subscriptions of a connection, and the proof that a broker delivers what a group shares.

use super::{Session, lifecycle::Input, reasons};
use crate::{config::Options, mqtt::Attempt};

/// Returns the filters to unsubscribe before a client leaves. With a persistent session the subscriptions stay, so that
/// the broker keeps messages; it answers for a filter that nobody has as well.
pub(super) fn last_filters(options: &Options, filters: &[String]) -> Vec<String> {
    const NOBODYS: &str = "ttn/nothing";
    let broker = options.broker.as_ref();
    match broker.and_then(|broker| broker.session.client_id()) {
        Some(_) => vec![NOBODYS.to_owned()],
        None => filters.to_vec(),
    }
}

impl Session {
    /// Subscribes, unless there is nothing to subscribe to: then that is granted, which is the input to handle.
    pub(super) fn subscribe(&mut self, attempt: Attempt) -> Option<Input> {
        let qos = self.topics.qos();
        let markers = match &mut self.sharing {
            Some(sharing) => sharing.begin(&self.topics),
            None => Vec::new(),
        };
        match markers.is_empty() {
            true if self.filters.is_empty() => return Some(Input::Granted(attempt)),
            true => self.connections.subscribe(attempt, &self.filters, qos),
            false => {
                let filters = [&self.filters[..], &markers[..]].concat();
                self.connections.subscribe(attempt, &filters, qos);
            }
        }
        None
    }

    /// Returns the input for subscriptions that the server has refused, by their numbers.
    pub(super) fn subscription_refused(
        &mut self,
        attempt: Attempt,
        numbers: &[usize],
    ) -> Option<Input> {
        let filters = numbers
            .iter()
            .filter_map(|number| self.filters.get(*number));
        let filters: Vec<&str> = filters.map(String::as_str).collect();
        if filters.is_empty() {
            // Only those of the markers.
            self.sharing.as_mut()?.refused();
            return Some(Input::Granted(attempt));
        }
        let server = self.connections.current(attempt)?.address.to_string();
        let error = reasons::subscription_refused(&server, &self.options, &filters);
        Some(Input::Failed(attempt, error))
    }

    /// Publishes the markers. Returns an input if that is not possible.
    pub(super) fn prove(&mut self, attempt: Attempt) -> Option<Input> {
        let markers = self.sharing.as_ref().and_then(|sharing| sharing.markers());
        let Some(markers) = markers else {
            return Some(Input::Unprovable(attempt));
        };
        let transport = self.connections.transport(attempt)?;
        // If the connection has ended, its signal follows.
        markers
            .iter()
            .for_each(|marker| transport.publish_marker(marker));
        None
    }

    pub(super) fn give_up_proof(&mut self) {
        log::warn!(
            "the broker may grant shared subscriptions without delivering what is shared, as NATS, RabbitMQ and aedes do; \
             this could not be ruled out, because it does not deliver what this client publishes to its topic {:?}, or ends \
             the connection: allow the user to publish there, or turn this check off with prove_shared_group(false)",
            self.topics.own("#")
        );
        self.status.set_sharing_unproved();
        if let Some(sharing) = &mut self.sharing {
            sharing.give_up();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{MqttClient, MqttClientBuilder, config::Session};

    fn last(builder: MqttClientBuilder) -> Vec<String> {
        last_filters(&builder.check().unwrap(), &["v3/#".to_owned()])
    }

    #[test]
    fn only_a_client_whose_session_is_kept_leaves_its_subscriptions_to_the_broker() {
        let own_broker = || MqttClient::own_broker("barn").mqtt_address("localhost:1883");
        let kept = own_broker().session(Session::persistent("worker-1"));
        assert_eq!(last(kept), ["ttn/nothing"]);
        assert_eq!(last(own_broker()), ["v3/#"]);
        assert_eq!(
            last(MqttClient::builder("barn", "NNSXS.ID.SECRET")),
            ["v3/#"]
        );
    }
}
