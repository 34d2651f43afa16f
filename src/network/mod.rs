//! What differs between networks, and nothing else: ids, topics and JSON on one side, the message
//! model on the other. No I/O, no threads.
//!
//! Each network has a folder. This file is the only one that chooses between them.

mod decode;
mod ids;
mod json;
#[cfg(test)]
mod odd_members;
mod place;
mod request;
mod v2;
mod v3;

use std::{borrow::Cow, time::Duration};

use crate::{
    error::{Error, Result},
    message::{Downlink, DownlinkEvent, ErrorDetails, Event, QueuedDownlink, RawMessage, Spare},
};
pub(crate) use json::Odd;
pub(crate) use request::{Effect, Request};
pub(crate) use v3::Frame;

use request::{cannot_send, common_schedule};

/// Which network's language a client speaks.
///
/// ```
/// use ttn::{MqttClient, Network};
///
/// let client = MqttClient::builder("my-app", "ttn-account-v2.secret").network(Network::V2).build()?;
/// # Ok::<(), ttn::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Network {
    /// The Things Network V2: private installations, and scripts written for them. The public
    /// network was closed in December 2021.
    V2,
    /// The Things Stack v3: today's The Things Network, The Things Stack Cloud, and private
    /// installations.
    V3,
}

/// Application ids and access keys.
impl Network {
    /// Returns the network that the form of an application id and an access key points to.
    pub(crate) fn detect(app_id: &str, access_key: &str) -> Self {
        // A V2 key with a tenant is a mistake with an error of its own.
        if v3::split_uid(app_id).1.is_some() {
            return Self::V3;
        }
        Self::of_key(access_key).unwrap_or(Self::V2)
    }

    fn of_key(access_key: &str) -> Option<Self> {
        let starts_with =
            |starts: &[&str]| starts.iter().any(|start| access_key.starts_with(start));
        if starts_with(&v2::KEY_STARTS) {
            Some(Self::V2)
        } else if starts_with(&v3::KEY_STARTS) {
            Some(Self::V3)
        } else {
            None
        }
    }

    /// Returns whether text starts like an access key of any network.
    pub(crate) fn is_key(text: &str) -> bool {
        Self::of_key(text).is_some()
    }

    /// Rejects an access key that has the form of another network's.
    pub(crate) fn check_access_key(self, access_key: &str) -> Result<()> {
        match Self::of_key(access_key) {
            Some(other) if other != self => Err(Error::config(format!(
                "the access key is for {}, but the client is set to {}; {}",
                other.name(),
                self.name(),
                match self {
                    Self::V2 => v2::KEY_ADVICE,
                    Self::V3 => v3::KEY_ADVICE,
                }
            ))),
            _ => Ok(()),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::V2 => v2::NAME,
            Self::V3 => v3::NAME,
        }
    }

    pub(crate) fn check_app_id(self, app_id: &str) -> Result<()> {
        match self {
            Self::V2 => v2::check_app_id(app_id),
            Self::V3 => v3::check_app_id(app_id),
        }
    }

    pub(crate) fn check_device_id(self, dev_id: &str) -> Result<()> {
        let rule = match self {
            Self::V2 => &v2::ID_RULE,
            Self::V3 => &v3::ID_RULE,
        };
        rule.check_device_id(dev_id)
    }

    /// Returns the application in an application id, as messages name it: without a tenant.
    pub(crate) fn application_of(self, app_id: &str) -> &str {
        match self {
            Self::V2 => app_id,
            Self::V3 => v3::split_uid(app_id).0,
        }
    }

    /// Returns the host of a hosted cluster.
    pub(crate) fn cluster_host(self, app_id: &str, cluster: &str) -> Result<String> {
        match self {
            Self::V2 => v2::cluster_host(app_id, cluster),
            Self::V3 => v3::cluster_host(app_id, cluster),
        }
    }
}

/// What to check or do, as a part of errors.
impl Network {
    /// Says what to check if the server refuses the application id and the key.
    pub(crate) fn credentials_to_check(self, app_id: &str) -> String {
        match self {
            Self::V2 => v2::CREDENTIALS_TO_CHECK.to_owned(),
            Self::V3 => v3::credentials_to_check(app_id),
        }
    }

    /// Says what a port is for, if it is not for applications.
    pub(crate) fn foreign_port(self, port: u16) -> Option<&'static str> {
        match self {
            Self::V2 => None,
            Self::V3 => v3::foreign_port(port),
        }
    }

    /// Says why a server may be unavailable.
    pub(crate) fn unavailable(self) -> &'static str {
        match self {
            Self::V2 => v2::UNAVAILABLE,
            Self::V3 => v3::UNAVAILABLE,
        }
    }

    /// Names the right that a key may lack if the network does not react to downlinks.
    pub(crate) fn missing_write_right(self) -> &'static str {
        match self {
            Self::V2 => v2::MISSING_WRITE_RIGHT,
            Self::V3 => v3::MISSING_WRITE_RIGHT,
        }
    }

    /// Names the right that a key may lack if a client receives nothing.
    pub(crate) fn missing_read_right(self) -> &'static str {
        match self {
            Self::V2 => v2::MISSING_READ_RIGHT,
            Self::V3 => v3::MISSING_READ_RIGHT,
        }
    }

    /// Says why the network may silently drop fields.
    pub(crate) fn silent_fields(self) -> &'static str {
        match self {
            Self::V2 => v2::SILENT_FIELDS,
            Self::V3 => v3::SILENT_FIELDS,
        }
    }

    /// Says that the server may not know a device.
    pub(crate) fn unknown_device(self, app_id: &str, dev_id: &str) -> String {
        match self {
            Self::V2 => v2::unknown_device(app_id, dev_id),
            Self::V3 => v3::unknown_device(app_id, dev_id),
        }
    }

    /// Says what to check if the server refuses a subscription to the application's own topics.
    pub(crate) fn subscription_to_check(self) -> &'static str {
        match self {
            Self::V2 => v2::SUBSCRIPTION_TO_CHECK,
            Self::V3 => v3::SUBSCRIPTION_TO_CHECK,
        }
    }

    /// Says which addresses there are to choose from.
    pub(crate) fn address_advice(self) -> &'static str {
        match self {
            Self::V2 => v2::ADDRESS_ADVICE,
            Self::V3 => v3::ADDRESS_ADVICE,
        }
    }
}

/// Servers that know the MQTT server.
impl Network {
    /// Returns whether the question for the MQTT server contains the access key.
    pub(crate) fn asks_with_key(self) -> bool {
        match self {
            Self::V2 => false,
            Self::V3 => true,
        }
    }

    /// Returns an address of the network's servers without slashes at its end, and without the path that
    /// all of the API has in common, or a page shows.
    pub(crate) fn http_base(self, address: &str) -> &str {
        let address = address.trim_end_matches('/');
        match self {
            Self::V2 => address,
            Self::V3 => v3::http_base(address),
        }
    }

    /// Rejects a port or path that belongs to another service of the network, and says which.
    pub(crate) fn check_discovery_place(
        self,
        port: Option<u16>,
        path: &str,
    ) -> Result<(), &'static str> {
        match self {
            Self::V2 => v2::check_discovery_port(port),
            Self::V3 => v3::check_discovery_path(path),
        }
    }

    /// Says what to do if a host is the closed discovery server of the public V2 network.
    pub(crate) fn closed_server_advice(self, host: &str) -> Option<&'static str> {
        v2::is_closed_server(host).then_some(match self {
            Self::V2 => v2::ADDRESS_ADVICE,
            Self::V3 => v3::INSTEAD_OF_CLOSED_SERVER,
        })
    }
}

/// Messages from the network.
impl Network {
    /// Returns the topic filters of an application. No two of them match the same topic, because
    /// brokers differ in how they deliver such a message.
    pub(crate) fn subscriptions(self, app_id: &str, field_topics: bool) -> Vec<String> {
        match self {
            Self::V2 => v2::subscriptions(app_id, field_topics),
            Self::V3 => v3::subscriptions(app_id),
        }
    }

    /// Returns the topic filters of what the devices of an application send: uplinks, joins, locations, data
    /// of services.
    pub(crate) fn device_filters(self, app_id: &str, field_topics: bool) -> Vec<String> {
        match self {
            Self::V2 => v2::device_filters(app_id, field_topics),
            Self::V3 => v3::device_filters(app_id),
        }
    }

    /// Returns the topic filter of everything about an application.
    pub(crate) fn whole_application(self, app_id: &str) -> String {
        match self {
            Self::V2 => format!("{app_id}/devices/#"),
            Self::V3 => format!("v3/{app_id}/devices/#"),
        }
    }

    /// Returns a topic of an application with another id in it, such as the one without its tenant.
    pub(crate) fn topic_of<'a>(self, app_id: &str, topic: &'a str) -> Cow<'a, str> {
        let start = match self {
            Self::V2 => "",
            Self::V3 => "v3/",
        };
        match topic
            .strip_prefix(start)
            .and_then(|rest| rest.split_once('/'))
        {
            Some((other, rest)) if other != app_id => format!("{start}{app_id}/{rest}").into(),
            _ => topic.into(),
        }
    }

    /// Returns the topic filters of everything else that the network publishes: its reports on downlinks, and
    /// on V2, changes of devices. They match no topic of a downlink request.
    pub(crate) fn report_filters(self, app_id: &str) -> Vec<String> {
        match self {
            Self::V2 => v2::report_filters(app_id),
            Self::V3 => v3::report_filters(app_id),
        }
    }

    /// Returns the topic filters of downlink requests.
    pub(crate) fn request_filters(self, app_id: &str) -> Vec<String> {
        match self {
            Self::V2 => v2::request_filters(app_id),
            Self::V3 => v3::request_filters(app_id),
        }
    }

    /// Returns the device that has sent what this topic carries; `None` for a report on a downlink and the
    /// like.
    pub(crate) fn sender(self, topic: &str) -> Option<&str> {
        match self {
            Self::V2 => v2::sender(topic),
            Self::V3 => v3::sender(topic),
        }
    }

    /// Returns whether this is the topic of a downlink request to a device of the application.
    pub(crate) fn is_request(self, app_id: &str, topic: &str) -> bool {
        match self {
            Self::V2 => v2::is_request(app_id, topic),
            Self::V3 => v3::is_request(app_id, topic),
        }
    }

    /// Returns whether the network publishes the fields of an uplink on topics of their own.
    pub(crate) fn has_field_topics(self) -> bool {
        match self {
            Self::V2 => true,
            Self::V3 => false,
        }
    }

    /// Returns whether messages on this topic are uplinks.
    pub(crate) fn is_uplink_topic(self, topic: &str) -> bool {
        match self {
            Self::V2 => v2::is_uplink_topic(topic),
            Self::V3 => v3::is_uplink_topic(topic),
        }
    }

    /// Reads a message. One that cannot be read becomes [`Event::Malformed`].
    pub(crate) fn decode(self, raw: &RawMessage) -> Decoded {
        self.decode_on(raw.topic(), raw, Spare::default())
    }

    /// Reads a message as if it had come on this topic. An uplink takes the `spare` memory.
    pub(crate) fn decode_on(self, topic: &str, raw: &RawMessage, spare: Spare) -> Decoded {
        match self {
            Self::V2 => v2::decode(topic, raw),
            Self::V3 => v3::decode(topic, raw, spare),
        }
    }

    /// Returns whether messages on this topic are of a known kind.
    pub(crate) fn is_known_topic(self, topic: &str) -> bool {
        let empty = RawMessage::new(topic, b"");
        !matches!(self.decode(&empty).event, Event::Other(_))
    }

    /// Reads a message whose topic does not tell its kind: by the member of the JSON object that holds it.
    /// Returns `None` for one of another application. One without such a member is [`Event::Other`].
    pub(crate) fn decode_by_member(self, raw: &RawMessage, app_id: &str) -> Option<Decoded> {
        match self {
            Self::V2 => Some(Event::Other(raw.clone()).into()),
            Self::V3 => v3::decode_by_member(raw, app_id),
        }
    }

    /// Reads a message that came without a topic.
    pub(crate) fn event_from_json(self, raw: RawMessage) -> Result<Event> {
        match self {
            Self::V2 => v2::event_from_json(raw),
            Self::V3 => v3::event_from_json(raw),
        }
    }
}

/// Downlinks.
impl Network {
    /// Returns whether the network's reports about a downlink carry an id that the client chose.
    pub(crate) fn correlates(self) -> bool {
        match self {
            Self::V2 => false,
            Self::V3 => true,
        }
    }

    /// Returns whether its servers close a connection that sends too many downlinks. Others read
    /// more slowly instead.
    pub(crate) fn limits_by_closing(self) -> bool {
        match self {
            Self::V2 => false,
            Self::V3 => true,
        }
    }

    /// Returns whether a new client may take the place of another client of the application. A V2
    /// installation can use any broker.
    pub(crate) fn replaces_clients(self) -> bool {
        match self {
            Self::V2 => true,
            Self::V3 => false,
        }
    }

    /// Returns how long to allow its servers for each message with downlinks. The Things Stack takes 2 to
    /// 4 ms unless it is busy; V2 takes 100 ms, because it reads 10 packets per second.
    pub(crate) fn time_per_message(self) -> Duration {
        match self {
            Self::V2 => v2::READING_INTERVAL,
            Self::V3 => Duration::from_millis(10),
        }
    }

    /// Returns whether the network keeps the downlink of a report and tries again to transmit it.
    pub(crate) fn tries_again(self, report: &DownlinkEvent, confirmed: bool) -> bool {
        match self {
            Self::V2 => v2::tries_again(report, confirmed),
            Self::V3 => confirmed && v3::tries_again(report),
        }
    }

    /// Returns whether the network does not send a downlink again that the device has not acknowledged.
    pub(crate) fn is_not_repeated(self, report: &DownlinkEvent) -> bool {
        match self {
            Self::V2 => false,
            Self::V3 => v3::is_not_repeated(report),
        }
    }

    /// Returns whether the network transmits downlinks in the order in which it queued them, so that
    /// those before a transmitted one have left the queue. V2 can queue one before all others.
    pub(crate) fn queues_in_order(self) -> bool {
        match self {
            Self::V2 => false,
            Self::V3 => true,
        }
    }

    /// Returns whether the network may stop waiting for the acknowledgement of a confirmed downlink and
    /// transmit the next one.
    pub(crate) fn gives_up_waiting(self) -> bool {
        match self {
            Self::V2 => false,
            Self::V3 => true,
        }
    }

    /// Returns how long the network takes to read one of many messages; 0 if that is negligible.
    pub(crate) fn reading_interval(self) -> Duration {
        match self {
            Self::V2 => v2::READING_INTERVAL,
            Self::V3 => Duration::ZERO,
        }
    }

    /// Returns whether [`Schedule::Replace`](crate::Schedule::Replace) also discards the downlink
    /// that the network is transmitting.
    pub(crate) fn replaces_transmitted(self) -> bool {
        match self {
            Self::V2 => true,
            Self::V3 => false,
        }
    }

    /// Returns the messages that carry downlinks to a device, or says why the network would
    /// reject one of them. If the network [correlates](Self::correlates), each downlink gets one of
    /// `ids`.
    pub(crate) fn encode_downlinks(
        self,
        app_id: &str,
        dev_id: &str,
        downlinks: &[Downlink],
        ids: &[String],
    ) -> Result<Vec<Request>> {
        self.check_device_id(dev_id)?;
        common_schedule(downlinks)
            .and_then(|schedule| match self {
                Self::V2 => v2::encode_downlinks(app_id, dev_id, downlinks, schedule),
                Self::V3 => v3::encode_downlinks(app_id, dev_id, downlinks, schedule, ids),
            })
            .map_err(|why| cannot_send(dev_id, &why))
    }

    /// Returns the message that empties a device's queue.
    pub(crate) fn encode_clear(self, app_id: &str, dev_id: &str) -> Result<Request> {
        self.check_device_id(dev_id)?;
        match self {
            Self::V2 => Err(cannot_send(dev_id, v2::CANNOT_CLEAR)),
            Self::V3 => v3::encode_clear(app_id, dev_id).map_err(|why| cannot_send(dev_id, &why)),
        }
    }
}

/// A message, and which of its members could not be read.
#[derive(Debug)]
pub(crate) struct Decoded {
    pub(crate) event: Event,
    pub(crate) odd: Odd,
}

/// A message without such members.
impl From<Event> for Decoded {
    fn from(event: Event) -> Self {
        Self {
            event,
            odd: Odd::default(),
        }
    }
}

/// Splits a topic such as `my-app/devices/dev-1/up` into application id, device id and the rest.
fn split_topic(topic: &str) -> Option<(&str, &str, &str)> {
    let (app_id, rest) = split_at_byte(topic, b'/')?;
    let (dev_id, end) = split_at_byte(rest.strip_prefix("devices/")?, b'/')?;
    (!app_id.is_empty() && !dev_id.is_empty()).then_some((app_id, dev_id, end))
}

/// Does the same as `split_once` for an ASCII character, and takes a third of the instructions for
/// short text.
fn split_at_byte(text: &str, byte: u8) -> Option<(&str, &str)> {
    let place = text.bytes().position(|other| other == byte)?;
    Some((&text[..place], &text[place + 1..]))
}

/// Reads one JSON object of a stream of a v3 server, or of an export.
pub(crate) fn frame(line: &mut [u8]) -> serde_json::Result<Frame<'_>> {
    v3::frame(line)
}

/// Reads the message in a [`Frame::Up`]. If the application id is known, with its tenant, the message gets the
/// topic that it has over MQTT, and the id if a field mask has removed it.
pub(crate) fn event_of_record(json: &[u8], uid: &str) -> Result<Event> {
    v3::event_of_record(RawMessage::new("", json), uid)
}

/// Reads a downlink in the list of a queue of a v3 server.
pub(crate) fn queued_downlink(json: &[u8]) -> serde_json::Result<QueuedDownlink> {
    v3::queued(json)
}

/// Reads an error of a v3 server, in the form that it has in messages and in answers over HTTP.
pub(crate) fn error_details(json: &[u8]) -> Option<ErrorDetails> {
    v3::error_details(json)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_topic_of_uplinks_is_one() {
        for (network, topic, is_uplink) in [
            (Network::V2, "greenhouse/devices/bed-07/up", true),
            (Network::V2, "greenhouse/devices/bed-07/up/gps", false),
            (Network::V2, "greenhouse/devices/bed-07/events/up", false),
            (Network::V2, "greenhouse/devices//up", false),
            (Network::V3, "v3/greenhouse@ttn/devices/bed-07/up", true),
            (Network::V3, "v3/greenhouse/devices/bed-07/up", true),
            (
                Network::V3,
                "v3/greenhouse/devices/bed-07/service/up",
                false,
            ),
            (Network::V3, "greenhouse/devices/bed-07/up", false),
        ] {
            assert_eq!(network.is_uplink_topic(topic), is_uplink, "{topic}");
        }
    }

    #[test]
    fn messages_name_the_application_without_its_tenant() {
        for (network, app_id) in [
            (Network::V2, "greenhouse"),
            (Network::V3, "greenhouse"),
            (Network::V3, "greenhouse@ttn"),
        ] {
            assert_eq!(network.application_of(app_id), "greenhouse");
        }
    }
}
