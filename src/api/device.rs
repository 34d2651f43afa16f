//! What a server knows about a device.

use super::{Api, Failure, hosts::Task};

impl Api {
    /// Asks on which Application Server the device is registered; empty if it is not set. A refusal with
    /// status 404 means that there is no such device. Needs `RIGHT_APPLICATION_DEVICES_READ`.
    pub(crate) fn application_server_of(&self, dev_id: &str) -> Result<String, Failure> {
        let path = format!("/devices/{dev_id}?field_mask=application_server_address");
        let mut answer = self.get(Task::Identity, &self.of_application(&path))?;
        answer.take_text("application_server_address")
    }
}
