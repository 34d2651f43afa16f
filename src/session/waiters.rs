//! The threads that wait for an answer from the session.

use std::collections::HashMap;

use crossbeam_channel::Sender;

use super::{lifecycle::Waiter, link::Farewell};
use crate::error::Result;

/// The reply channels of the calls that wait.
#[derive(Default)]
pub(super) struct Waiters {
    last: u64,
    connecting: HashMap<Waiter, Sender<Result<()>>>,
    closing: HashMap<Waiter, Sender<Farewell>>,
}

impl Waiters {
    fn next(&mut self) -> Waiter {
        self.last += 1;
        Waiter(self.last)
    }

    pub(super) fn add_connect(&mut self, reply: Sender<Result<()>>) -> Waiter {
        let waiter = self.next();
        self.connecting.insert(waiter, reply);
        waiter
    }

    pub(super) fn add_close(&mut self, reply: Sender<Farewell>) -> Waiter {
        let waiter = self.next();
        self.closing.insert(waiter, reply);
        waiter
    }

    // Sending fails if the caller has stopped waiting.

    pub(super) fn answer_connect(&mut self, waiter: Waiter, answer: Result<()>) {
        let reply = self.connecting.remove(&waiter);
        let _ = reply.map(|reply| reply.send(answer));
    }

    pub(super) fn answer_close(&mut self, waiter: Waiter, answer: Farewell) {
        let reply = self.closing.remove(&waiter);
        let _ = reply.map(|reply| reply.send(answer));
    }
}
