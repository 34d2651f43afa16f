//! Who still works on a message that a broker wants to have acknowledged.

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

/// What acknowledges messages to a broker.
pub(crate) trait Acknowledger: fmt::Debug + Send + Sync {
    /// Notes that a message is in the queues of the subscribers.
    fn queued(&self, place: u64);

    /// Notes that nobody works on a message any more. `is_handled` is whether it may be acknowledged.
    fn ended(&self, place: u64, is_handled: bool);

    /// Notes that the handler of a message has failed. Returns whether the message comes again.
    fn failed(&self, place: u64) -> bool;
}

/// One message that a broker wants to have acknowledged. When the last clone is dropped, the message is handled.
#[derive(Clone, Debug)]
pub(crate) struct Receipt(Arc<Message>);

#[derive(Debug)]
struct Message {
    acknowledger: Arc<dyn Acknowledger>,
    /// Its place in the order of arrival.
    place: u64,
    is_redelivered: bool,
    /// Whether it must not be acknowledged.
    is_discarded: AtomicBool,
}

impl Drop for Message {
    fn drop(&mut self) {
        let is_handled = !*self.is_discarded.get_mut();
        self.acknowledger.ended(self.place, is_handled);
    }
}

impl Receipt {
    pub(crate) fn new(
        acknowledger: Arc<dyn Acknowledger>,
        place: u64,
        is_redelivered: bool,
    ) -> Self {
        Self(Arc::new(Message {
            acknowledger,
            place,
            is_redelivered,
            is_discarded: AtomicBool::new(false),
        }))
    }

    /// Returns whether the broker has delivered the message before.
    pub(crate) fn is_redelivered(&self) -> bool {
        self.0.is_redelivered
    }

    /// Notes that the message is in the queues of the subscribers.
    pub(crate) fn queued(&self) {
        self.0.acknowledger.queued(self.0.place);
    }

    /// Notes that nobody gets the message, so that the broker must deliver it again.
    pub(crate) fn discard(&self) {
        self.0.is_discarded.store(true, Ordering::Relaxed);
    }

    fn fail(&self) {
        if self.0.acknowledger.failed(self.0.place) {
            self.discard();
        }
    }
}

/// What keeps the message of an uplink from being acknowledged, if anything: one subscriber's copy of it, with
/// all clones of that copy. It ends when they are dropped, or earlier by [`end`](Self::end).
#[derive(Clone, Default)]
pub(crate) struct Hold(Option<Arc<Mutex<Option<Receipt>>>>);

impl Hold {
    pub(crate) fn new(receipt: Receipt) -> Self {
        Self(Some(Arc::new(Mutex::new(Some(receipt)))))
    }

    pub(crate) fn is_held(&self) -> bool {
        self.0.is_some()
    }

    /// Turns a clone into a hold of its own, for another subscriber.
    pub(crate) fn separate(&mut self) {
        let Some(receipt) = &self.0 else { return };
        let receipt = receipt
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        self.0 = receipt.map(|receipt| Arc::new(Mutex::new(Some(receipt))));
    }

    /// Ends the hold, whatever clones there are.
    pub(crate) fn end(&self) {
        // Dropped when the lock is free.
        drop(self.take());
    }

    /// Does the same after a handler has failed.
    pub(crate) fn fail(&self) {
        if let Some(receipt) = self.take() {
            receipt.fail();
        }
    }

    /// Does the same for a message that was not handled, so that the broker delivers it again.
    pub(crate) fn discard(&self) {
        if let Some(receipt) = self.take() {
            receipt.discard();
        }
    }

    fn take(&self) -> Option<Receipt> {
        let receipt = self.0.as_ref()?;
        receipt
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }
}

impl fmt::Debug for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hold").finish_non_exhaustive()
    }
}

/// An uplink is the same one whoever holds it.
impl PartialEq for Hold {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Hold {}

#[cfg(test)]
mod tests {
    use super::*;

    /// Notes what it is told.
    #[derive(Debug, Default)]
    struct Notes {
        redelivers: bool,
        told: Mutex<Vec<&'static str>>,
    }

    impl Notes {
        fn tell(&self, what: &'static str) {
            self.told.lock().unwrap().push(what);
        }

        fn told(&self) -> Vec<&'static str> {
            self.told.lock().unwrap().clone()
        }
    }

    impl Acknowledger for Notes {
        fn queued(&self, _: u64) {
            self.tell("queued");
        }

        fn ended(&self, _: u64, is_handled: bool) {
            self.tell(if is_handled { "handled" } else { "discarded" });
        }

        fn failed(&self, _: u64) -> bool {
            self.tell("failed");
            self.redelivers
        }
    }

    fn hold(redelivers: bool) -> (Arc<Notes>, Hold) {
        let notes = Arc::new(Notes {
            redelivers,
            ..Notes::default()
        });
        let receipt = Receipt::new(Arc::clone(&notes) as Arc<dyn Acknowledger>, 1, false);
        (notes, Hold::new(receipt))
    }

    #[test]
    fn a_message_is_handled_when_every_subscriber_has_dropped_it_with_all_its_clones() {
        let (notes, first) = hold(false);
        let mut second = first.clone();
        second.separate();
        let clone = second.clone();
        drop(first);
        drop(second);
        assert!(notes.told().is_empty());
        drop(clone);
        assert_eq!(notes.told(), ["handled"]);
    }

    #[test]
    fn a_hold_that_ends_early_ends_for_its_clones_and_not_for_another_subscriber() {
        let (notes, first) = hold(false);
        let mut second = first.clone();
        second.separate();
        let clone = first.clone();
        first.end();
        first.end();
        assert!(notes.told().is_empty());
        second.end();
        assert_eq!(notes.told(), ["handled"]);
        drop((first, second, clone));
        assert_eq!(notes.told(), ["handled"]);
    }

    #[test]
    fn a_message_that_one_subscriber_gives_back_comes_again_when_nobody_works_on_it_any_more() {
        let (notes, first) = hold(false);
        let mut second = first.clone();
        second.separate();
        first.discard();
        assert!(notes.told().is_empty());
        second.end();
        assert_eq!(notes.told(), ["discarded"]);
    }

    #[test]
    fn a_failed_message_is_handled_unless_it_comes_again() {
        for (redelivers, ended) in [(false, "handled"), (true, "discarded")] {
            let (notes, hold) = hold(redelivers);
            hold.fail();
            assert_eq!(notes.told(), ["failed", ended]);
            hold.fail();
            assert_eq!(notes.told().len(), 2);
        }
    }

    #[test]
    fn a_message_that_nobody_wants_is_not_handled() {
        let (notes, hold) = hold(false);
        let clone = hold.clone();
        hold.discard();
        drop((hold, clone));
        assert_eq!(notes.told(), ["discarded"]);
    }
}
