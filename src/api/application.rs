//! Whether an application exists.

use super::{Api, Failure, hosts::Task};

impl Api {
    /// Asks for the application. Any key may ask, and a refusal with status 404 means that there is none.
    pub(crate) fn find_application(&self) -> Result<(), Failure> {
        self.get(Task::Identity, &self.of_application("")).map(drop)
    }
}
