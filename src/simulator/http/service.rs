//! What answers the requests.

use super::{Answer, Request};

/// What a server serves.
pub(crate) trait Service: Send + Sync {
    /// Does what is asked, and returns the answer to it.
    fn answer(&self, request: &Request) -> Answer;

    /// Does what the server does once it has answered.
    fn answered(&self);

    /// Returns the answer of a server that fails with that status and does nothing.
    fn failed(&self, request: &Request, status: u16) -> Answer;

    /// Returns the refusal of a server that is asked too often.
    fn limited(&self, request: &Request) -> Answer;
}
