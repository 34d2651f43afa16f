//! An event, as the server prints it.

use std::time::SystemTime;

use super::{
    ACK, FAILED, INVALIDATED, JOIN, Kind, LOCATION, NACK, NORMALIZED, QUEUED, SENT, SERVICE, UP,
    messages::{self, Ids},
};
use crate::simulator::json::{self, Object};

/// What happened to a device.
pub(super) struct Event {
    /// In the order of all events.
    pub(super) number: u64,
    pub(super) name: &'static str,
    pub(super) time: SystemTime,
    pub(super) uid: String,
    pub(super) dev_id: String,
    /// Whether only streams of the device show it.
    pub(super) is_of_device: bool,
    /// As JSON text.
    ids: String,
    /// As JSON text.
    data: Option<String>,
    correlation_ids: Vec<String>,
    unique_id: String,
}

/// What is known when something happens.
pub(super) struct News<'a> {
    pub(super) name: &'static str,
    pub(super) time: SystemTime,
    pub(super) ids: &'a Ids<'a>,
    pub(super) is_of_device: bool,
    /// The type of the data, and its JSON text.
    pub(super) data: Option<(&'a str, &'a str)>,
    pub(super) correlation_ids: &'a [String],
}

/// The type of the messages that MQTT brings too.
pub(super) const MESSAGE: &str = "ApplicationUp";
/// The type of an uplink without what is around it.
pub(super) const UPLINK: &str = "ApplicationUplink";

/// The names of events that can be asked for; those the simulator has, and others of the Application
/// Server.
pub(super) const NAMES: [&str; 32] = [
    "application.create",
    "application.delete",
    "application.update",
    "as.down.data.ack.forward",
    "as.down.data.drop",
    "as.down.data.forward",
    "as.down.data.nack.forward",
    "as.down.data.queue.invalid",
    "as.down.data.receive",
    "as.down.data.sent.forward",
    "as.end_device.create",
    "as.end_device.delete",
    "as.end_device.update",
    "as.up.data.decode.fail",
    "as.up.data.decode.warning",
    "as.up.data.drop",
    "as.up.data.forward",
    "as.up.data.receive",
    "as.up.join.drop",
    "as.up.join.forward",
    "as.up.join.receive",
    "as.up.location.forward",
    "as.up.normalized.forward",
    "as.up.service.forward",
    "end_device.create",
    "end_device.delete",
    "end_device.update",
    "js.join.accept",
    "ns.up.data.forward",
    "ns.up.data.process",
    "ns.up.data.receive",
    "ns.up.join.process",
];

/// Returns the name of the event about a message of that kind.
pub(super) fn name_of(kind: Kind) -> &'static str {
    match kind {
        JOIN => "as.up.join.forward",
        UP => "as.up.data.forward",
        NORMALIZED => "as.up.normalized.forward",
        LOCATION => "as.up.location.forward",
        SERVICE => "as.up.service.forward",
        QUEUED => "as.down.data.receive",
        SENT => "as.down.data.sent.forward",
        ACK => "as.down.data.ack.forward",
        NACK => "as.down.data.nack.forward",
        FAILED => "as.down.data.drop",
        INVALIDATED => "as.down.data.queue.invalid",
        _ => "as.up.data.drop",
    }
}

impl Event {
    pub(super) fn new(number: u64, news: &News<'_>, unique_id: String) -> Self {
        Self {
            number,
            name: news.name,
            time: news.time,
            uid: news.ids.uid.to_owned(),
            dev_id: news.ids.dev_id.to_owned(),
            is_of_device: news.is_of_device,
            ids: news.ids.message(),
            data: news.data.map(|(kind, text)| typed(kind, text)),
            correlation_ids: news.correlation_ids.to_vec(),
            unique_id,
        }
    }

    /// Returns the event as JSON text, or what is left of it when its message is not kept any more.
    pub(super) fn text(&self, is_whole: bool) -> String {
        let (app_id, _) = messages::split(&self.uid);
        let ids = match is_whole {
            true => Object::new().member("device_ids", &self.ids).finish(),
            false => entity(app_id, Some(&self.dev_id)),
        };
        let rights = [json::string("RIGHT_APPLICATION_TRAFFIC_READ")];
        let visibility = Object::new().list("rights", rights).finish();
        let mut object = Object::new()
            .string("name", self.name)
            .member("time", messages::time(self.time))
            .member("identifiers", json::array([ids]));
        if is_whole {
            let correlation_ids = self.correlation_ids.iter().map(|id| json::string(id));
            object = object
                .option("data", self.data.clone())
                .list("correlation_ids", correlation_ids)
                .string("origin", ORIGIN);
        }
        object
            .member("visibility", visibility)
            .string("unique_id", &self.unique_id)
            .finish()
    }
}

/// The name of the host that the servers run on.
pub(super) const ORIGIN: &str = "simulated";

/// Returns the ids of an application, or of a device, as events print them.
pub(super) fn entity(app_id: &str, dev_id: Option<&str>) -> String {
    let application = Object::new().string("application_id", app_id).finish();
    let ids = match dev_id {
        None => Object::new().member("application_ids", application),
        Some(dev_id) => {
            let device = Object::new()
                .string("device_id", dev_id)
                .member("application_ids", application);
            Object::new().member("device_ids", device.finish())
        }
    };
    ids.finish()
}

/// Returns an object with its type in front.
fn typed(kind: &str, object: &str) -> String {
    let kind = format!("type.googleapis.com/ttn.lorawan.v3.{kind}");
    let start = Object::new().string("@type", &kind).finish();
    let inner = object.strip_prefix('{').unwrap_or(object);
    let comma = if inner == "}" { "" } else { "," };
    format!("{}{comma}{inner}", start.trim_end_matches('}'))
}
