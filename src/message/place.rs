//! Which of the uplinks that a client delivers a message is, so that it can tell its watermark.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use super::Watermark;

/// What knows the watermark of each uplink.
pub(crate) trait Marks: fmt::Debug + Send + Sync {
    /// Returns the watermark after an uplink. Everything before the time `low` was delivered before it.
    fn watermark(&self, uplink: u64, low: SystemTime) -> Watermark;

    /// Returns whether the threads that deliver are in this process. In a fork, they may hold a lock for ever.
    fn are_here(&self) -> bool {
        true
    }
}

/// The place of an uplink among those that a client has delivered, if the client keeps track of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Place(Option<Mark>);

#[derive(Clone, Debug)]
struct Mark {
    /// The number of the uplink.
    number: u64,
    /// Everything before that time was delivered before it. As long as it exists, what a watermark names is
    /// remembered.
    low: Arc<SystemTime>,
    marks: Arc<dyn Marks>,
    /// What the subscriber has lost who gets this one.
    lost: Option<Arc<Losses>>,
}

/// What holds back the watermarks of a subscriber.
#[derive(Debug, Default)]
pub(crate) struct Lost {
    /// The first uplink that it has lost: its number, and the time before which everything was delivered
    /// before it.
    first: Option<(u64, SystemTime)>,
    /// What several subscribers, who share the uplinks, handle side by side.
    shared: Option<Shared>,
}

/// The uplinks of subscribers who share them, by number, with the time before which everything was delivered
/// before each.
#[derive(Debug, Default)]
struct Shared {
    /// Those that are not handled yet.
    open: BTreeMap<u64, Arc<SystemTime>>,
    /// The last one that was delivered.
    last: Option<(u64, Arc<SystemTime>)>,
}

impl Shared {
    /// Returns how far all of them have got once this uplink is handled too.
    fn reached(&self, number: u64) -> Option<(u64, SystemTime)> {
        let open = self.open.iter().find(|(open, _)| **open != number);
        match open {
            Some((open, low)) => Some((open.saturating_sub(1), **low)),
            None => self.last.as_ref().map(|(last, low)| (*last, **low)),
        }
    }
}

/// What a subscriber has lost. The lock is held while one is taken from the queue, so that
/// the reader of the next one knows of it.
#[derive(Debug, Default)]
pub(crate) struct Losses(pub(crate) Mutex<Lost>);

impl Losses {
    /// Creates those of several subscribers who share the uplinks: each uplink goes to one of them.
    pub(crate) fn shared() -> Self {
        Self(Mutex::new(Lost {
            first: None,
            shared: Some(Shared::default()),
        }))
    }

    fn lock(&self) -> MutexGuard<'_, Lost> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns how far the subscriber has got once it has handled this uplink.
    fn reached(&self, number: u64, low: SystemTime) -> (u64, SystemTime) {
        let lost = self.lock();
        let shared = lost.shared.as_ref();
        let (number, low) = shared
            .and_then(|shared| shared.reached(number))
            .unwrap_or((number, low));
        match lost.first {
            Some((first, before)) if first <= number => (first.saturating_sub(1), before.min(low)),
            _ => (number, low),
        }
    }
}

impl Place {
    pub(crate) fn new(number: u64, low: Arc<SystemTime>, marks: Arc<dyn Marks>) -> Self {
        Self(Some(Mark {
            number,
            low,
            marks,
            lost: None,
        }))
    }

    pub(crate) fn is_known(&self) -> bool {
        self.0.is_some()
    }

    /// Notes who gets the uplink.
    pub(crate) fn goes_to(&mut self, lost: &Arc<Losses>) {
        let Some(mark) = &mut self.0 else { return };
        mark.lost = Some(Arc::clone(lost));
        if let Some(shared) = &mut lost.lock().shared {
            shared.open.insert(mark.number, Arc::clone(&mark.low));
            shared.last = Some((mark.number, Arc::clone(&mark.low)));
        }
    }

    /// Notes that the subscriber has handled the uplink.
    pub(crate) fn is_handled(&self) {
        let lost = self
            .0
            .as_ref()
            .and_then(|mark| Some((mark.number, mark.lost.as_ref()?)));
        if let Some((number, lost)) = lost {
            if let Some(shared) = &mut lost.lock().shared {
                shared.open.remove(&number);
            }
        }
    }

    /// Notes that the uplink is lost to a subscriber.
    pub(crate) fn is_lost(&self, lost: &mut Lost) {
        let Some(mark) = &self.0 else { return };
        if lost.first.is_none_or(|(number, _)| mark.number < number) {
            lost.first = Some((mark.number, *mark.low));
        }
        if let Some(shared) = &mut lost.shared {
            shared.open.remove(&mark.number);
        }
    }

    /// Returns the watermark once the subscriber has handled this uplink.
    pub(crate) fn watermark(&self) -> Option<Watermark> {
        let mark = self.0.as_ref().filter(|mark| mark.marks.are_here())?;
        let reached = |lost: &Arc<Losses>| lost.reached(mark.number, *mark.low);
        let (number, low) = mark.lost.as_ref().map_or((mark.number, *mark.low), reached);
        Some(mark.marks.watermark(number, low))
    }
}

/// An uplink is the same one wherever it is in a stream.
impl PartialEq for Place {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}
