//! Whether a server is an Application Server of The Things Stack.

use super::{Api, Failure, hosts::Task};

impl Api {
    /// Asks for the configuration of the Application Server, without showing the key. Returns whether
    /// the answer is that of The Things Stack.
    pub(crate) fn is_application_server(&self) -> Result<bool, Failure> {
        let mut answer = self.get_without_key(Task::Application, "/api/v3/as/configuration")?;
        Ok(answer.take_object("configuration")?.is_some())
    }
}
