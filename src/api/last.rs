//! What the last answer said beside its body.

use std::sync::Mutex;

use super::{Limits, answer::quote};
use crate::{config::AccessKey, http::Answer, sync::lock};

/// The head of the last answer.
#[derive(Debug, Default)]
pub(super) struct Last(Mutex<Head>);

#[derive(Clone, Debug, Default)]
struct Head {
    limits: Limits,
    /// Quoted.
    warning: Option<String>,
}

impl Last {
    pub(super) fn note(&self, answer: &Answer, key: &AccessKey) {
        let warning = answer.header("x-warning");
        *lock(&self.0) = Head {
            limits: Limits::of(answer),
            warning: warning.and_then(|text| quote(&text, key)),
        };
    }

    /// Forgets the last answer.
    pub(super) fn clear(&self) {
        *lock(&self.0) = Head::default();
    }

    pub(super) fn limits(&self) -> Limits {
        lock(&self.0).limits
    }

    pub(super) fn warning(&self) -> Option<String> {
        lock(&self.0).warning.clone()
    }
}

/// Threads that ask with clones do not see the answers of each other.
impl Clone for Last {
    fn clone(&self) -> Self {
        Self::default()
    }
}
