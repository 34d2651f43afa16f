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
        let _ = self.command(Command::Subscribe(subscriber.only(wants)));
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

    /// Returns whether the client is connecting, connected or about to reconnect.
    pub(crate) fn is_open(&self) -> bool {
        self.core().link.status.is_open()
    }
}
