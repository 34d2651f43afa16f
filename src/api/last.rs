//! What the last answer said beside its body.

use std::sync::Mutex;

use super::Limits;
use crate::{http::Answer, sync::lock};

/// The rate limit that the last answer told.
#[derive(Debug, Default)]
pub(super) struct Last(Mutex<Limits>);

impl Last {
    pub(super) fn note(&self, answer: &Answer) {
        *lock(&self.0) = Limits::of(answer);
    }

    /// Forgets the last answer.
    pub(super) fn clear(&self) {
        *lock(&self.0) = Limits::default();
    }

    pub(super) fn limits(&self) -> Limits {
        *lock(&self.0)
    }
}

/// Threads that ask with clones do not see the answers of each other.
impl Clone for Last {
    fn clone(&self) -> Self {
        Self::default()
    }
}
