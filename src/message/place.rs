//! Which of the uplinks that a client delivers a message is, so that it can tell its watermark.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
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

/// The first uplink that a subscriber has lost: its number, and the time before which everything was delivered
/// before it.
pub(crate) type Lost = Option<(u64, SystemTime)>;

/// What a subscriber has lost. The lock is held while one is taken from the queue, so that
/// the reader of the next one knows of it.
#[derive(Debug, Default)]
pub(crate) struct Losses(pub(crate) Mutex<Lost>);

impl Losses {
    fn first(&self) -> Lost {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
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
        if let Some(mark) = &mut self.0 {
            mark.lost = Some(Arc::clone(lost));
        }
    }

    /// Notes that the uplink is lost to a subscriber.
    pub(crate) fn is_lost(&self, first: &mut Lost) {
        if let Some(mark) = &self.0 {
            if first.is_none_or(|(number, _)| mark.number < number) {
                *first = Some((mark.number, *mark.low));
            }
        }
    }

    /// Returns the watermark once the subscriber has handled this uplink.
    pub(super) fn watermark(&self) -> Option<Watermark> {
        let mark = self.0.as_ref().filter(|mark| mark.marks.are_here())?;
        let lost = mark.lost.as_ref().and_then(|lost| lost.first());
        Some(match lost {
            Some((number, low)) if number <= mark.number => mark
                .marks
                .watermark(number.saturating_sub(1), low.min(*mark.low)),
            _ => mark.marks.watermark(mark.number, *mark.low),
        })
    }
}

/// An uplink is the same one wherever it is in a stream.
impl PartialEq for Place {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}
