//! The downlink queue of a device.

use super::{Api, Failure, hosts::Task};
use crate::{message::QueuedDownlink, network};

impl Api {
    /// Asks for the queue of a device; that of a device without a session is empty. A refusal with status
    /// 404 means that this server does not know the device. Needs `RIGHT_APPLICATION_TRAFFIC_READ`.
    pub(crate) fn queue(&self, dev_id: &str) -> Result<Vec<QueuedDownlink>, Failure> {
        let path = self.of_application_server(&format!("/devices/{dev_id}/down"));
        let mut answer = self.get_list(Task::Application, &path)?;
        let downlinks = answer.take_objects("downlinks")?.into_iter();
        downlinks
            .map(|downlink| {
                let json = downlink.into_json();
                network::queued_downlink(json.as_bytes()).map_err(Failure::unreadable)
            })
            .collect()
    }

    /// Adds downlinks to the queue of a device; the body is that of an MQTT message. Needs
    /// `RIGHT_APPLICATION_TRAFFIC_DOWN_WRITE`.
    pub(crate) fn push(&self, dev_id: &str, body: &[u8]) -> Result<(), Failure> {
        self.post_to_queue(dev_id, "push", body)
    }

    /// Replaces the queue of a device, as [`push`](Self::push) adds to it.
    pub(crate) fn replace(&self, dev_id: &str, body: &[u8]) -> Result<(), Failure> {
        self.post_to_queue(dev_id, "replace", body)
    }

    fn post_to_queue(&self, dev_id: &str, what: &str, body: &[u8]) -> Result<(), Failure> {
        let path = self.of_application_server(&format!("/devices/{dev_id}/down/{what}"));
        self.post(Task::Application, &path, body).map(drop)
    }
}
