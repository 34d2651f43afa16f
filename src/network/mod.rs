//! What differs between networks, and nothing else: ids, topics and JSON on one side, the message
//! model on the other. No I/O, no threads.

mod json;
mod v2;
mod v3;

use crate::{
    error::{Error, Result},
    message::{Downlink, Event, RawMessage, UplinkMessage},
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
    pub(crate) fn detect(app_id: &str, access_key: &str) -> Result<Self> {
        let v3_key = ["NNSXS.", "MFRWG."]
            .iter()
            .any(|start| access_key.starts_with(start));
        if v3_key || app_id.contains('@') {
            return Ok(Self::V3);
        }
        Ok(Self::V2)
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

    /// The topic and body of a downlink, if it is one that the network would accept.
    pub(crate) fn encode_downlink(
        self,
        app_id: &str,
        dev_id: &str,
        downlink: &Downlink,
    ) -> Result<(String, Vec<u8>)> {
        self.check_device_id(dev_id)?;
        match self {
            Self::V2 => v2::encode_downlink(app_id, dev_id, downlink),
            Self::V3 => unimplemented!(),
        }
    }
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
        topic: impl Into<String>,
        payload: impl Into<Vec<u8>>,
    ) -> Result<Self> {
        match network.decode(RawMessage::new(topic, payload)) {
            Self::Malformed(malformed) => Err(malformed.error.clone()),
            event => Ok(event),
        }
    }
}

impl UplinkMessage {
    /// Reads an uplink from the JSON that a network sends: by MQTT, or in the body of its HTTP
    /// integration.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Decode`](crate::ErrorKind::Decode) when it is not JSON, has no `app_id` or
    /// `dev_id`, or a member is of an unexpected kind.
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
    pub fn from_json(network: Network, body: impl Into<Vec<u8>>) -> Result<Self> {
        let raw = RawMessage::new(String::new(), body);
        match network {
            Network::V2 => v2::uplink_from_json(raw),
            Network::V3 => unimplemented!(),
        }
    }
}
