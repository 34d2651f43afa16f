//! Reading messages of a network, however they arrived.

use std::sync::Arc;

use super::Network;
use crate::{
    error::{Error, ErrorKind, Result},
    message::{Event, RawMessage, UplinkMessage},
};

impl Event {
    /// Reads a message of a network in the same way as a client reads the messages that it receives.
    ///
    /// Returns [`Event::Other`] for an unknown topic.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Decode`](crate::ErrorKind::Decode) if the payload cannot be read. A client
    /// reports such a message as [`Event::Malformed`].
    ///
    /// ```
    /// use ttn::{Event, Network};
    ///
    /// let event = Event::decode(Network::V2, "my-app/devices/dev-1/up", br#"{"port":1,"counter":7,"metadata":{}}"#)?;
    /// let Event::Uplink(uplink) = event else { panic!() };
    /// assert_eq!((uplink.dev_id.as_str(), uplink.counter), ("dev-1", 7));
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn decode(
        network: Network,
        topic: impl AsRef<str>,
        payload: impl AsRef<[u8]>,
    ) -> Result<Self> {
        let raw = RawMessage::new(topic.as_ref(), payload.as_ref());
        match network.decode(&raw).event {
            Self::Malformed(malformed) => Err(malformed.error.clone()),
            event => Ok(event),
        }
    }

    /// Reads the JSON that a network sends in any way: as an MQTT message, as the body of a webhook,
    /// or as a line of a response of v3's Storage Integration. A v3 message contains its kind;
    /// outside MQTT, V2 sends only uplinks.
    ///
    /// [`read_all`](Self::read_all) reads many messages, one in each line.
    ///
    /// Returns [`Event::Other`] for a v3 message of an unknown kind. What the field mask of a webhook
    /// removes is empty or 0, also the frame counter.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Decode`](crate::ErrorKind::Decode) if the body is not JSON, for example because the
    /// format of a webhook is protobuf, if it cannot be read, or does not name the application and the
    /// device. An event of the events stream or of an export of the Console is not a message itself;
    /// pass its `data`, or all of it to [`read_all`](Self::read_all).
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
        network.event_from_json(RawMessage::new("", body.as_ref()))
    }
}

impl UplinkMessage {
    /// Reads an uplink from the JSON that a network sends: over MQTT, in the body of a webhook (V2:
    /// HTTP integration), or in a line of a response of v3's Storage Integration.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Decode`](crate::ErrorKind::Decode) if the text is not JSON or not an uplink, does
    /// not name the application and the device, or if its payload, FPort or counter cannot be read.
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
        match Event::from_json(network, body)? {
            Event::Uplink(uplink) => Ok(Arc::unwrap_or_clone(uplink)),
            _ => Err(Error::new(
                ErrorKind::Decode,
                "cannot read an uplink: the message is of another kind",
            )),
        }
    }
}
