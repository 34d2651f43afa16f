//! Messages that are published with QoS 1: each is written at once or not at all, and its outcome is told.

use std::collections::HashMap;

use crossbeam_channel::Sender;

use super::{Session, lifecycle::Outgoing, reasons};
use crate::{error::Result, message::RawMessage};

/// A message to publish with QoS 1.
pub(crate) struct Publication {
    /// What the answer repeats.
    pub(crate) number: u64,
    pub(crate) message: RawMessage,
    /// Gets the answer: once, and without anybody having to wait.
    pub(crate) done: Sender<Published>,
}

/// The answer to a [`Publication`].
#[derive(Debug)]
pub(crate) struct Published {
    pub(crate) number: u64,
    /// `Ok` when the broker has acknowledged the message. Otherwise it is not known to be there.
    pub(crate) result: Result<()>,
}

/// The publications that wait for their PUBACK.
#[derive(Default)]
pub(super) struct Publishing {
    last: u64,
    open: HashMap<u64, Asker>,
}

/// Who published, and its own number of the message.
struct Asker {
    number: u64,
    done: Sender<Published>,
}

impl Asker {
    fn answer(self, result: Result<()>) {
        let number = self.number;
        // It may have stopped waiting.
        let _ = self.done.send(Published { number, result });
    }
}

impl Publishing {
    /// Tells what became of a publication.
    pub(super) fn answer(&mut self, number: u64, result: Result<()>) {
        if let Some(asker) = self.open.remove(&number) {
            asker.answer(result);
        }
    }
}

impl Session {
    /// Publishes a message if the client is connected; otherwise it fails at once.
    pub(super) fn publish(&mut self, publication: Publication) {
        let Publication {
            number,
            message,
            done,
        } = publication;
        let asker = Asker { number, done };
        let transport = match (self.lifecycle.outgoing(), self.lifecycle.draining()) {
            (Outgoing::Written(attempt), None) => self.connections.transport(attempt),
            _ => None,
        };
        // Until it notices the end, the MQTT client accepts messages for a dead connection.
        let Some(transport) = transport.filter(|transport| transport.end().is_none()) else {
            return asker.answer(Err(reasons::not_connected()));
        };
        self.publishing.last += 1;
        let number = self.publishing.last;
        match transport.publish_acknowledged(number, &message) {
            Ok(()) => {
                self.publishing.open.insert(number, asker);
            }
            Err(error) => asker.answer(Err(error)),
        }
    }
}
