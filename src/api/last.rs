//! What the last answer said beside its body.

use std::{sync::Mutex, time::SystemTime};

use super::{Limits, survey};
use crate::{http::Answer, sync::lock};

/// What the last answer told.
#[derive(Debug, Default)]
pub(super) struct Last(Mutex<(Limits, Option<SystemTime>)>);

impl Last {
    pub(super) fn note(&self, answer: &Answer) {
        *lock(&self.0) = (Limits::of(answer), survey::date_of(answer));
    }

    /// Forgets the last answer.
    pub(super) fn clear(&self) {
        *lock(&self.0) = Default::default();
    }

    pub(super) fn limits(&self) -> Limits {
        lock(&self.0).0
    }

    pub(super) fn date(&self) -> Option<SystemTime> {
        lock(&self.0).1
    }
}

/// Threads that ask with clones do not see the answers of each other.
impl Clone for Last {
    fn clone(&self) -> Self {
        Self::default()
    }
}
