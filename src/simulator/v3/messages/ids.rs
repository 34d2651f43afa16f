//! The ids in messages.

use std::time::SystemTime;

use super::text::{strings, time};
use crate::simulator::json::Object;

const JOIN_EUI: &str = "70B3D57ED000AB01";

/// The device that a message is about.
#[derive(Clone)]
pub(crate) struct Ids<'a> {
    /// Application id, on hosted networks including the tenant.
    pub(crate) uid: &'a str,
    pub(crate) dev_id: &'a str,
    /// Empty if it was registered without.
    pub(crate) dev_eui: String,
    /// Empty without a session, and in messages about requests.
    pub(crate) dev_addr: String,
}

impl Ids<'_> {
    /// Returns the ids in messages of the Application Server about a request.
    pub(crate) fn of_request(&self) -> Self {
        Self {
            dev_addr: String::new(),
            ..self.clone()
        }
    }

    /// Returns the ids as JSON text.
    pub(crate) fn message(&self) -> String {
        let (app_id, _) = split(self.uid);
        let application = Object::new().string("application_id", app_id);
        Object::new()
            .string("device_id", self.dev_id)
            .member("application_ids", application.finish())
            .string("dev_eui", &self.dev_eui)
            .string(
                "join_eui",
                if self.dev_eui.is_empty() {
                    ""
                } else {
                    JOIN_EUI
                },
            )
            .string("dev_addr", &self.dev_addr)
            .finish()
    }

    /// Returns a whole message; `body` is the JSON text of its main member.
    pub(crate) fn envelope(
        &self,
        correlation_ids: &[String],
        received_at: SystemTime,
        (member, body): (&str, &str),
        simulated: bool,
    ) -> String {
        Object::new()
            .member("end_device_ids", self.message())
            .list("correlation_ids", strings(correlation_ids))
            .member("received_at", time(received_at))
            .member(member, body)
            .flag("simulated", simulated)
            .finish()
    }
}

/// Returns application and tenant id.
pub(crate) fn split(uid: &str) -> (&str, Option<&str>) {
    match uid.split_once('@') {
        Some((app_id, tenant)) => (app_id, Some(tenant)),
        None => (uid, None),
    }
}
