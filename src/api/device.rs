//! What a server knows about a device.

use std::time::SystemTime;

use super::{Api, Failure, hosts::Task};

/// What the Network Server has counted of a device in its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Counted {
    /// The counter of the last uplink.
    pub(crate) last: u32,
    /// When the session began, if the server says so.
    pub(crate) started_at: Option<SystemTime>,
}

impl Api {
    /// Asks on which Application Server the device is registered; empty if it is not set. A refusal with
    /// status 404 means that there is no such device. Needs `RIGHT_APPLICATION_DEVICES_READ`.
    pub(crate) fn application_server_of(&self, dev_id: &str) -> Result<String, Failure> {
        let path = format!("/devices/{dev_id}?field_mask=application_server_address");
        let mut answer = self.get(Task::Identity, &self.of_application(&path))?;
        answer.take_text("application_server_address")
    }

    /// Asks for the counter of a device's last uplink; `None` if it has no session. Needs
    /// `RIGHT_APPLICATION_DEVICES_READ`.
    pub(crate) fn counted(&self, dev_id: &str) -> Result<Option<Counted>, Failure> {
        let path = format!("/devices/{dev_id}?field_mask=session.last_f_cnt_up,session.started_at");
        let mut answer = self.get(Task::Application, &self.of_network_server(&path))?;
        let Some(mut session) = answer.take_object("session")? else {
            return Ok(None);
        };
        Ok(Some(Counted {
            last: session.take_number("last_f_cnt_up")?,
            started_at: session.take_time("started_at")?,
        }))
    }
}
