//! How a feed closes.

use std::time::Instant;

use crossbeam_channel::{Receiver, Sender, at, never, select};

use super::{FeedEvent, Runner, Source, TICK};
use crate::{
    error::{Error, ErrorKind, Result},
    message::Event,
    session::Farewell,
};

/// A `close` in progress, or the end of a feed that was dropped.
pub(super) struct Closing {
    replies: Vec<Sender<Result<()>>>,
    deadline: Instant,
    network: Receiver<Farewell>,
    is_network_closed: bool,
}

impl Closing {
    pub(super) fn network(&self) -> &Receiver<Farewell> {
        &self.network
    }

    pub(super) fn deadline(&self) -> Instant {
        self.deadline
    }
}

impl Runner {
    /// Takes nothing more from the network from now on.
    pub(super) fn begin_to_close(&mut self, reply: Option<Sender<Result<()>>>) {
        if let Some(closing) = &mut self.closing {
            return closing.replies.extend(reply);
        }
        let network = match &self.source {
            Some(source) => source.client.begin_to_close(),
            None => never(),
        };
        self.closing = Some(Closing {
            replies: reply.into_iter().collect(),
            deadline: Instant::now() + self.shared.close_timeout,
            network,
            is_network_closed: self.source.is_none(),
        });
    }

    /// Notes that the network client has closed, if the feed is closing.
    pub(super) fn network_closed(&mut self) {
        if let Some(closing) = &mut self.closing {
            closing.is_network_closed = true;
            closing.network = never();
        }
    }

    /// Notes that nothing more comes, once the network client has closed and its queue is read.
    pub(super) fn end_intake(&mut self) {
        let is_closed = self.closing.as_ref().is_some_and(|it| it.is_network_closed);
        if !is_closed {
            return;
        }
        let is_read = |source: &Source| source.messages.receiver().is_empty();
        if self.source.as_ref().is_none_or(is_read) {
            self.drop_source();
            self.ledger.end();
        }
    }

    fn drop_source(&mut self) {
        if let Some(source) = self.source.take() {
            // What became of the last requests, and that the client has closed.
            let news = source.news.receiver().try_iter();
            news.for_each(|event| self.on_news(event));
            source.leave(&mut self.ledger);
        }
    }

    /// Leaves a request with the broker, which delivers it to another feed, or again. Tells what happens to the connection.
    fn give_back(&self, event: Event) {
        if let Some(raw) = event.raw() {
            raw.hold.discard();
        } else if event.is_lifecycle() {
            self.shared.tell(FeedEvent::Broker(event));
        }
    }

    /// Returns whether there is nothing more to do, or no more time.
    pub(super) fn is_done(&self) -> bool {
        let Some(closing) = &self.closing else {
            return false;
        };
        let is_empty = self.source.is_none() && self.ledger.waiting() == 0;
        is_empty || closing.deadline <= Instant::now()
    }

    /// Ends the thread. The broker keeps the requests that were not written to the network.
    pub(super) fn finish(mut self) {
        let now = Instant::now();
        for asked in self.requests.take() {
            self.give_back(asked.event);
        }
        let written = self.write_watermark(now);
        let waiting = self.ledger.waiting();
        let closed = self.broker.begin_to_close();
        let deadline = self
            .closing
            .as_ref()
            .map_or(now, |closing| closing.deadline);
        let deadline = at(deadline.max(now + TICK));
        loop {
            select! {
                recv(self.from_broker.receiver()) -> event => match event {
                    Ok(event) => self.give_back(event),
                    Err(_) => break,
                },
                recv(closed) -> _ => break,
                recv(deadline) -> _ => break,
            }
        }
        self.from_broker
            .receiver()
            .try_iter()
            .for_each(|event| self.give_back(event));
        self.drop_source();
        self.tell_drops(now);
        self.show();
        self.shared.end();
        let result = match waiting {
            0 => written,
            _ => Err(not_acknowledged(waiting, self.file.is_some())),
        };
        let replies = self.closing.take().map(|closing| closing.replies);
        for reply in replies.into_iter().flatten() {
            // It may have stopped waiting.
            let _ = reply.send(result.clone());
        }
    }
}

fn not_acknowledged(messages: usize, has_file: bool) -> Error {
    let next = match has_file {
        true => "the next run fetches the uplinks among them",
        false => "without a watermark_file, the next run does not fetch them",
    };
    Error::new(
        ErrorKind::Unconfirmed,
        format!("the broker has not acknowledged {messages} messages; {next}"),
    )
}
