//! What differs between networks, and nothing else: ids, topics and JSON on one side, the message
//! model on the other. No I/O, no threads.

mod json;
mod v2;
mod v3;

use std::{ops::Range, sync::Arc};

use crate::{
    error::{Error, ErrorKind, Result},
    message::{Downlink, Event, RawMessage, Schedule, UplinkMessage},
};

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
    /// The Things Stack v3: The Things Network of today, The Things Stack Cloud, and installations
    /// of one's own.
    V3,
}

impl Network {
    /// The network that an application id and key belong to by their form.
    pub(crate) fn detect(app_id: &str, access_key: &str) -> Self {
        // No V2 id has an @, so a V2 key beside one is the mistake, and has an error of its own.
        if app_id.contains('@') {
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

    /// Whether its servers end a connection that sends too many downlinks. Those of V2 take them
    /// slowly.
    pub(crate) fn limits_by_closing(self) -> bool {
        self == Self::V3
    }

    /// Whether text begins as access keys do, of any network.
    pub(crate) fn is_key(text: &str) -> bool {
        Self::of_key(text).is_some()
    }

    pub(crate) fn check_access_key(self, access_key: &str) -> Result<()> {
        match (self, Self::of_key(access_key)) {
            (Self::V3, Some(Self::V2)) => Err(Error::config(
                "the access key is one of a V2 network, and the client is to speak v3; make an API key in the console of The Things Stack",
            )),
            (Self::V2, Some(Self::V3)) => Err(Error::config(
                "the access key is one of The Things Stack v3, and the client is to speak V2; leave out network(Network::V2), or give an access key of the V2 network",
            )),
            _ => Ok(()),
        }
    }

    /// What to look at when id and key are refused. Part of an error.
    pub(crate) fn credentials_to_check(self, app_id: &str) -> String {
        match self {
            Self::V2 => {
                "check both, and that the key belongs to this application on this server".to_owned()
            }
            Self::V3 => v3::credentials_to_check(app_id),
        }
    }

    /// What it means that a server cannot serve. Part of an error.
    pub(crate) fn unavailable(self) -> &'static str {
        match self {
            Self::V2 => "the server cannot serve now; wait",
            Self::V3 => {
                "the application or its tenant has as many connections as it may have; close another one"
            }
        }
    }

    /// What a key may lack that sends in vain. Part of an error.
    pub(crate) fn write_right(self) -> &'static str {
        match self {
            Self::V2 => "the access key lacks the right to send downlinks (messages:down:w)",
            Self::V3 => {
                "the API key lacks the right to write downlink application traffic (RIGHT_APPLICATION_TRAFFIC_DOWN_WRITE)"
            }
        }
    }

    /// What to do when the application's own topics are refused. Part of an error.
    pub(crate) fn subscription_to_check(self) -> &'static str {
        match self {
            Self::V2 => "may the access key read this application's messages?",
            Self::V3 => {
                "the server knows this client by another application id; is the tenant in it right, and is it The Things Stack v3?"
            }
        }
    }

    /// What to do without any address. Part of errors.
    pub(crate) fn address_advice(self) -> &'static str {
        match self {
            Self::V2 => {
                "the discovery server of the public V2 network was closed in December 2021; \
             give the MQTT address of your own V2 network with mqtt_address, or its discovery server with discovery_address"
            }
            Self::V3 => {
                "give the hosted cluster that it is on with cluster(\"eu1\"), cluster(\"nam1\") or cluster(\"au1\") \
             (on The Things Stack Cloud also \"eu2\" and \"as1\"); for an installation of your own give its MQTT server \
             with mqtt_address(\"mqtts://…\"), or have it asked with discovery_address(\"https://…\")"
            }
        }
    }

    /// The host of a hosted cluster.
    pub(crate) fn cluster_host(self, app_id: &str, cluster: &str) -> Result<String> {
        match self {
            Self::V2 => Err(Error::config(format!(
                "the cluster {cluster:?} is one of The Things Stack v3, and the client is to speak V2; for v3 give the application id with its tenant, {app_id}@ttn on The Things Network"
            ))),
            Self::V3 => v3::cluster_host(app_id, cluster),
        }
    }

    pub(crate) fn check_app_id(self, app_id: &str) -> Result<()> {
        match self {
            Self::V2 => v2::check_app_id(app_id),
            Self::V3 => v3::check_app_id(app_id),
        }
    }

    pub(crate) fn check_device_id(self, dev_id: &str) -> Result<()> {
        match self {
            Self::V2 => v2::check_device_id(dev_id),
            Self::V3 => v3::check_device_id(dev_id),
        }
    }

    /// The topic filters of an application; no two of them match the same topic, since brokers
    /// differ in what they do then.
    pub(crate) fn subscriptions(self, app_id: &str, field_topics: bool) -> Vec<String> {
        match self {
            Self::V2 => v2::subscriptions(app_id, field_topics),
            Self::V3 => v3::subscriptions(app_id),
        }
    }

    /// Reads a message. One that cannot be read becomes [`Event::Malformed`].
    pub(crate) fn decode(self, raw: RawMessage) -> Event {
        match self {
            Self::V2 => v2::decode(raw),
            Self::V3 => v3::decode(raw),
        }
    }

    /// Whether what it reports about a downlink can carry an id of the client's own.
    pub(crate) fn correlates(self) -> bool {
        matches!(self, Self::V3)
    }

    /// The messages that bring downlinks to a device, if the network would take each of them. Those
    /// of a network that [correlates](Self::correlates) get one of `ids` each.
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

    /// The message that empties a device's queue.
    pub(crate) fn encode_clear(self, app_id: &str, dev_id: &str) -> Result<Request> {
        self.check_device_id(dev_id)?;
        match self {
            Self::V2 => Err(cannot_send(
                dev_id,
                "a V2 network has no message that empties a queue; replace it by a downlink",
            )),
            Self::V3 => Ok(v3::encode_clear(app_id, dev_id)),
        }
    }
}

/// A message to publish, and which of several downlinks are in it.
pub(crate) struct Request {
    pub(crate) topic: String,
    pub(crate) payload: Vec<u8>,
    pub(crate) downlinks: Range<usize>,
}

fn cannot_send(dev_id: &str, why: &str) -> Error {
    Error::new(
        ErrorKind::Downlink,
        format!("cannot send to {dev_id}: {why}"),
    )
}

/// Application id, device id, and what follows, of a topic such as `my-app/devices/dev-1/up`.
fn split_topic(topic: &str) -> Option<(&str, &str, &str)> {
    let (app_id, rest) = topic.split_once('/')?;
    let (dev_id, end) = rest.strip_prefix("devices/")?.split_once('/')?;
    (!app_id.is_empty() && !dev_id.is_empty()).then_some((app_id, dev_id, end))
}

/// Names the downlink that is wrong, counted from 1, when there are several.
fn in_batch(index: usize, count: usize, why: String) -> String {
    match count {
        1 => why,
        _ => format!("downlink {} of {count}: {why}", index + 1),
    }
}

fn common_schedule(downlinks: &[Downlink]) -> Result<Schedule, String> {
    let Some(first) = downlinks.first() else {
        return Err("there is no downlink; on v3 clear_queue empties the queue".to_owned());
    };
    match downlinks
        .iter()
        .find(|downlink| downlink.schedule != first.schedule)
    {
        None => Ok(first.schedule),
        Some(other) => Err(format!(
            "downlinks sent together have one schedule, not {} and {}",
            first.schedule, other.schedule
        )),
    }
}

fn check_port(port: u8) -> Result<(), String> {
    if (1..=223).contains(&port) {
        return Ok(());
    }
    Err(format!(
        "FPort {port} is not one of 1 to 223, which LoRaWAN has for applications"
    ))
}

impl Event {
    /// Reads a message of a network: what a client does with all it receives, for messages that
    /// came another way.
    ///
    /// A topic that is not known gives [`Event::Other`].
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Decode`](crate::ErrorKind::Decode) when the payload cannot be read. A client
    /// reports such a message as [`Event::Malformed`].
    ///
    /// ```
    /// use ttn::{Event, Network};
    ///
    /// let event = Event::decode(Network::V2, "my-app/devices/dev-1/up", br#"{"port":1,"counter":7}"#)?;
    /// let Event::Uplink(uplink) = event else { panic!() };
    /// assert_eq!((uplink.dev_id.as_str(), uplink.counter), ("dev-1", 7));
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn decode(
        network: Network,
        topic: impl AsRef<str>,
        payload: impl AsRef<[u8]>,
    ) -> Result<Self> {
        match network.decode(RawMessage::new(topic.as_ref(), payload.as_ref())) {
            Self::Malformed(malformed) => Err(malformed.error.clone()),
            event => Ok(event),
        }
    }
}

impl Event {
    /// Reads the JSON that a network sends, whichever way it came: an MQTT message, the body of a
    /// webhook, a line of what v3's Storage Integration answers. A v3 message says of which kind it
    /// is; V2 sends only uplinks by other ways.
    ///
    /// A v3 message of a kind that is not known gives [`Event::Other`].
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Decode`](crate::ErrorKind::Decode) when it cannot be read, or does not say which
    /// application and device it is of.
    ///
    /// ```
    /// use ttn::{Event, Network};
    ///
    /// let body = r#"{"end_device_ids":{"device_id":"bed-07","application_ids":{"application_id":"greenhouse"}},
    ///     "join_accept":{"session_key_id":"AQI="}}"#;
    /// let Event::Activation(join) = Event::from_json(Network::V3, body)? else { panic!() };
    /// assert_eq!(join.dev_id, "bed-07");
    ///
    /// let line = format!(r#"{{"result":{body}}}"#);
    /// assert!(matches!(Event::from_json(Network::V3, line)?, Event::Activation(_)));
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn from_json(network: Network, body: impl AsRef<[u8]>) -> Result<Self> {
        let raw = RawMessage::new("", body.as_ref());
        match network {
            Network::V2 => v2::uplink_from_json(raw).map(|uplink| Self::Uplink(Arc::new(uplink))),
            Network::V3 => v3::event_from_json(raw),
        }
    }
}

impl UplinkMessage {
    /// Reads an uplink from the JSON that a network sends: by MQTT, in the body of a webhook (V2:
    /// HTTP integration), or in a line of what v3's Storage Integration answers.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Decode`](crate::ErrorKind::Decode) when it is not JSON or no uplink, does not say
    /// which application and device it is of, or a member is of an unexpected kind.
    ///
    /// ```
    /// use ttn::{Network, UplinkMessage};
    ///
    /// let body = r#"{"app_id":"my-app","dev_id":"dev-1","port":1,"payload_raw":"AQI=","downlink_url":"https://…"}"#;
    /// let uplink = UplinkMessage::from_json(Network::V2, body)?;
    /// assert_eq!(uplink.payload_raw, [1, 2]);
    /// assert_eq!(uplink.extra["downlink_url"], "https://…");
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn from_json(network: Network, body: impl AsRef<[u8]>) -> Result<Self> {
        let raw = RawMessage::new("", body.as_ref());
        match network {
            Network::V2 => v2::uplink_from_json(raw),
            Network::V3 => match v3::event_from_json(raw)? {
                Event::Uplink(uplink) => Ok(Arc::unwrap_or_clone(uplink)),
                _ => Err(Error::new(
                    ErrorKind::Decode,
                    "cannot read an uplink: the message is of another kind",
                )),
            },
        }
    }
}
