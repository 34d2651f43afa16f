//! What a feed needs of its clients beyond what programs use.

use crossbeam_channel::{Receiver, bounded};

use super::MqttClient;
use crate::{
    config::Overflow,
    downlink::Draft,
    error::Result,
    events::{Events, subscription},
    message::{Event, MessageId},
    mqtt,
    network::Request,
    session::{Command, Farewell, Publication},
};

impl MqttClient {
    /// Publishes a message with QoS 1, if the client is connected. The outcome goes to the publication's channel.
    ///
    /// # Errors
    ///
    /// In a fork, or if the client's thread has ended; nothing goes to the channel then.
    pub(crate) fn publish(&self, publication: Publication) -> Result<()> {
        self.command(Command::Publish(publication))
    }

    /// Sends a downlink request that is encoded already, like [`send`](Self::send).
    /// [`Event::Published`] and [`Event::PublishFailed`] tell what became of it.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send), except that the request is not checked.
    pub(crate) fn forward(&self, request: Request, dev_id: &str) -> Result<MessageId> {
        let draft = Draft::of_request(request, dev_id);
        let (first, room) = self.admit(draft.len())?;
        self.hand_over(draft.into_batch(first, room))?;
        Ok(MessageId(first))
    }

    /// Subscribes to the events that `wants` selects, and to what is reported about the client itself.
    pub(crate) fn events_only(
        &self,
        capacity: usize,
        overflow: Overflow,
        wants: impl Fn(&Event) -> bool + Send + 'static,
    ) -> Events {
        let (subscriber, events) = subscription(capacity, overflow);
        let _ = self.command(Command::Subscribe(subscriber.named("the feed").only(wants)));
        events
    }

    /// Begins to connect, and does not wait.
    pub(crate) fn begin_to_connect(&self) {
        mqtt::claim_process();
        // Events tell what comes of it.
        let (reply, _) = bounded(1);
        let _ = self.command(Command::Connect(reply));
    }

    /// Begins to close, and does not wait. Returns the channel of the answer.
    pub(crate) fn begin_to_close(&self) -> Receiver<Farewell> {
        let (reply, answer) = bounded(1);
        let link = &self.core().link;
        let _ = link.interrupt.try_send(());
        let _ = link.commands.send(Command::Close(reply));
        answer
    }

    /// Returns how many messages were dropped before they became events.
    pub(crate) fn dropped(&self) -> u64 {
        self.core().link.status.tally().dropped_so_far()
    }

    /// Returns whether the client is connecting, connected or about to reconnect.
    pub(crate) fn is_open(&self) -> bool {
        self.core().link.status.is_open()
    }
}

#[cfg(all(test, feature = "simulator"))]
mod tests {
    use std::time::Duration;

    use crossbeam_channel::unbounded;

    use super::*;
    use crate::{
        ErrorKind, Network, message::RawMessage, session::Published, simulator::Simulator,
    };

    const SOON: Duration = Duration::from_secs(10);

    fn connected(network: &Simulator) -> MqttClient {
        let builder = MqttClient::builder(network.app_id(), network.access_key())
            .mqtt_address(network.mqtt_address())
            .reconnect(false);
        let client = builder.build().unwrap();
        client.connect().unwrap();
        client
    }

    /// Publishes this many messages, numbered from 0. Returns the channel of the outcomes.
    fn publish(client: &MqttClient, messages: u64) -> Receiver<Published> {
        let (done, outcomes) = unbounded();
        for number in 0..messages {
            let publication = Publication {
                number,
                message: RawMessage::new("v3/any/devices/any/down/push", &number.to_be_bytes()),
                done: done.clone(),
            };
            client.publish(publication).unwrap();
        }
        outcomes
    }

    /// Returns the outcomes, one for each message, in the order of their numbers.
    fn all(outcomes: &Receiver<Published>, messages: u64) -> Vec<Result<()>> {
        let next = |_| outcomes.recv_timeout(SOON).unwrap();
        let mut all: Vec<Published> = (0..messages).map(next).collect();
        all.sort_by_key(|published| published.number);
        assert!(all.iter().map(|it| it.number).eq(0..messages));
        assert!(outcomes.try_recv().is_err(), "one outcome each");
        all.into_iter().map(|published| published.result).collect()
    }

    #[test]
    fn each_publication_is_answered_with_its_acknowledgement() {
        let network = Simulator::start(Network::V3).unwrap();
        let client = connected(&network);
        let results = all(&publish(&client, 500), 500);
        assert!(results.iter().all(Result::is_ok));
        assert_eq!(network.dropped(), 0);
        client.close().unwrap();
    }

    #[test]
    fn without_a_connection_a_publication_fails_at_once() {
        let network = Simulator::start(Network::V3).unwrap();
        let client = connected(&network);
        client.close().unwrap();
        for result in all(&publish(&client, 3), 3) {
            assert_eq!(result.unwrap_err().kind(), ErrorKind::NotConnected);
        }
    }

    #[test]
    fn the_end_of_the_connection_answers_every_publication() {
        let network = Simulator::start(Network::V3).unwrap();
        let client = connected(&network);
        let outcomes = publish(&client, 2_000);
        network.disconnect_clients();
        let results = all(&outcomes, 2_000);
        let kinds: Vec<_> = results.into_iter().filter_map(Result::err).collect();
        for error in kinds {
            assert!(
                matches!(
                    error.kind(),
                    ErrorKind::ConnectionLost | ErrorKind::NotConnected
                ),
                "{error}"
            );
        }
        client.close().unwrap();
    }

    #[test]
    fn closing_waits_for_the_acknowledgements() {
        let network = Simulator::start(Network::V3).unwrap();
        let client = connected(&network);
        let outcomes = publish(&client, 2_000);
        client.close().unwrap();
        let results = all(&outcomes, 2_000);
        assert!(results.iter().all(Result::is_ok));
    }
}
