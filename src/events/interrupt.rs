//! Ends the wait for a slow subscriber.

use std::cell::Cell;

use crossbeam_channel::Receiver;

/// A flag that is raised by a message on its channel, and ends every wait until it is lowered.
pub(super) struct Interrupt {
    signal: Receiver<()>,
    raised: Cell<bool>,
}

impl Interrupt {
    pub(super) fn new(signal: Receiver<()>) -> Self {
        Self {
            signal,
            raised: Cell::new(false),
        }
    }

    /// Returns whether waiting must end.
    pub(super) fn is_raised(&self) -> bool {
        if self.signal.try_recv().is_ok() {
            self.raised.set(true);
        }
        self.raised.get()
    }

    /// Allows waiting again.
    pub(super) fn lower(&self) {
        while self.signal.try_recv().is_ok() {}
        self.raised.set(false);
    }
}
