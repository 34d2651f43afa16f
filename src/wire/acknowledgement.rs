//! What the threads share that receive, handle and acknowledge the messages of a broker.

use std::sync::{Arc, Mutex};

use super::{
    relay::Ordered,
    waiter::Handle,
    window::{Limits, Window},
};
use crate::{
    config::Acknowledge,
    message::{Acknowledger, Receipt},
    process::Home,
    sync,
};

/// The messages of a client that are to be acknowledged, over all its connections.
#[derive(Debug)]
pub(crate) struct Acknowledgement {
    /// Where the threads are that acknowledge.
    home: Home,
    redelivers_failed: bool,
    shared: Mutex<Shared>,
}

#[derive(Debug)]
struct Shared {
    window: Window,
    /// The number of the connection in use.
    connection: u64,
    /// Wakes its thread.
    handle: Option<Handle>,
}

impl Acknowledgement {
    /// Starts with no connection. The limits are for what is passed on and not handled.
    pub(crate) fn new(
        acknowledge: Acknowledge,
        redelivers_failed: bool,
        limits: Limits,
    ) -> Arc<Self> {
        Arc::new(Self {
            home: Home::here(),
            redelivers_failed,
            shared: Mutex::new(Shared {
                window: Window::new(acknowledge, limits),
                connection: 0,
                handle: None,
            }),
        })
    }

    /// Returns what the connection with this number needs. Numbers grow.
    pub(crate) fn connection(self: &Arc<Self>, number: u64) -> Acknowledging {
        Acknowledging {
            all: Arc::clone(self),
            connection: number,
        }
    }

    /// Returns how many messages nobody works on any more, and how many must be handled.
    pub(crate) fn progress(&self) -> (u64, usize) {
        sync::lock(&self.shared).window.progress()
    }

    /// Changes the window, and wakes the connection's thread if there is something to do for it.
    fn update<T>(&self, change: impl FnOnce(&mut Window) -> T) -> Option<T> {
        // A fork has copies of the messages, and acknowledges none.
        if !self.home.is_here() {
            return None;
        }
        let mut shared = sync::lock(&self.shared);
        let was_full = (shared.window.is_full(), shared.window.is_crowded());
        let result = change(&mut shared.window);
        let window = &shared.window;
        let is_full = (window.is_full(), window.is_crowded());
        let is_news = window.is_due() || was_full != is_full || window.has_failed();
        if let Some(handle) = shared.handle.as_ref().filter(|_| is_news) {
            handle.wake();
        }
        Some(result)
    }
}

impl Acknowledger for Acknowledgement {
    fn queued(&self, place: u64) {
        self.update(|window| window.queued(place));
    }

    fn ended(&self, place: u64, is_handled: bool) {
        self.update(|window| window.ended(place, is_handled));
    }

    fn failed(&self, place: u64) -> bool {
        if self.redelivers_failed {
            self.update(|window| window.failed(place));
        }
        self.redelivers_failed
    }
}

/// The part that one connection has in it. When there is a later connection, it has none any more.
#[derive(Clone, Debug)]
pub(crate) struct Acknowledging {
    all: Arc<Acknowledgement>,
    connection: u64,
}

impl Acknowledging {
    /// Starts the connection. `handle` wakes its thread.
    pub(super) fn begin(&self, handle: Handle) {
        let mut shared = sync::lock(&self.all.shared);
        if shared.connection < self.connection {
            shared.connection = self.connection;
            shared.handle = Some(handle);
            shared.window.begin();
        }
    }

    /// Does something with the window, if this is the connection in use.
    fn with<T>(&self, action: impl FnOnce(&mut Window) -> T) -> Option<T> {
        let mut shared = sync::lock(&self.all.shared);
        (shared.connection == self.connection).then(|| action(&mut shared.window))
    }

    /// Returns whether no further message may be passed on.
    pub(super) fn is_full(&self) -> bool {
        self.with(|window| window.is_full()).unwrap_or(false)
    }

    /// Returns the same while an answer is waited for that may come behind messages.
    pub(super) fn is_crowded(&self) -> bool {
        self.with(|window| window.is_crowded()).unwrap_or(false)
    }

    /// Returns whether a message must come again, so that the connection has to end.
    pub(super) fn has_failed(&self) -> bool {
        self.with(|window| window.has_failed()).unwrap_or(false)
    }

    /// Notes a message that is passed on to the client.
    pub(super) fn passed(&self, publish: Ordered) {
        self.with(|window| {
            let place = window.arrived(publish.packet_id, publish.bytes);
            window.passed(place, publish.is_redelivered);
        });
    }

    /// Notes a message that does not go through the client.
    pub(super) fn taken_out(&self, publish: Ordered) -> Option<Receipt> {
        let place = self.with(|window| window.arrived(publish.packet_id, publish.bytes))?;
        Some(self.receipt(place, publish.is_redelivered))
    }

    /// Returns the receipt for the message that the client sees next.
    pub(crate) fn see(&self) -> Option<Receipt> {
        let (place, is_redelivered) = self.with(Window::see)??;
        Some(self.receipt(place, is_redelivered))
    }

    fn receipt(&self, place: u64, is_redelivered: bool) -> Receipt {
        let all = Arc::clone(&self.all) as Arc<dyn Acknowledger>;
        Receipt::new(all, place, is_redelivered)
    }

    /// Returns the packet ids to acknowledge now.
    pub(super) fn due(&self) -> Vec<u16> {
        self.with(|window| std::iter::from_fn(|| window.acknowledge()).collect())
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::waiter::Waiter;

    fn publish(packet_id: u16) -> Ordered {
        Ordered {
            packet_id,
            bytes: 1,
            is_redelivered: false,
        }
    }

    fn limits(messages: usize) -> Limits {
        Limits {
            messages,
            bytes: 100,
            most_messages: 2 * messages,
        }
    }

    #[test]
    fn a_failed_message_ends_the_connection_only_if_it_is_to_come_again() {
        let waiter = Waiter::new().unwrap();
        for redelivers in [true, false] {
            let all = Acknowledgement::new(Acknowledge::Handled, redelivers, limits(2));
            let connection = all.connection(1);
            connection.begin(waiter.handle().clone());
            connection.passed(publish(1));
            assert_eq!(all.failed(0), redelivers);
            assert_eq!(connection.has_failed(), redelivers);
        }
    }

    #[test]
    fn an_earlier_connection_has_no_part_in_it_any_more() {
        let waiter = Waiter::new().unwrap();
        let all = Acknowledgement::new(Acknowledge::Handled, false, limits(2));
        let (old, new) = (all.connection(1), all.connection(2));
        old.begin(waiter.handle().clone());
        old.passed(publish(1));
        new.begin(waiter.handle().clone());
        // Its thread may still be at work.
        old.begin(waiter.handle().clone());
        old.passed(publish(2));
        assert!(old.see().is_none());
        assert!(old.taken_out(publish(3)).is_none());
        new.passed(publish(4));
        assert!(new.is_full() && !old.is_full());
        drop(new.see().unwrap());
        assert!(old.due().is_empty());
        assert_eq!(new.due(), [4]);
        new.passed(publish(5));
        all.update(|window| window.failed(2));
        assert!(new.has_failed() && !old.has_failed());
    }
}
