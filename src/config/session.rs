//! The session that a broker keeps for a client.

use crate::error::{Error, Result};

/// The longest client id of MQTT, in bytes.
const MAX_CLIENT_ID: usize = 65_535;

/// Whether a [broker of one's own](crate::MqttClient::own_broker) keeps messages for a client that is away; set
/// with [`MqttClientBuilder::session`](crate::MqttClientBuilder::session).
///
/// A broker keeps what is published at QoS 1; how much, and for how long, are options of the broker. The client
/// subscribes again at each connect, also if the broker has kept its session
/// ([`Connected::session_present`](crate::Connected::session_present)): some brokers forget subscriptions when they
/// restart. [`close`](crate::MqttClient::close) leaves the session with the broker, which goes on keeping messages;
/// [`forget_session`](crate::MqttClient::forget_session) ends it.
///
/// The session includes the subscriptions. A client that comes back with other topics, another group or other partitions
/// also receives what the earlier subscriptions match, until the session is forgotten.
///
/// ```
/// use ttn::Session;
///
/// assert_ne!(Session::persistent("worker-1"), Session::clean());
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Session(Option<String>);

impl Session {
    /// Returns a session that ends with the connection: the broker keeps nothing for the client. This is the default.
    ///
    /// ```
    /// assert_eq!(ttn::Session::clean(), ttn::Session::default());
    /// ```
    pub fn clean() -> Self {
        Self(None)
    }

    /// Returns a session that the broker keeps for the client with this id. Only one client may use the id: of two, the
    /// broker disconnects one whenever the other connects.
    ///
    /// The id has 1 to 65,535 bytes and no NUL; anything else is an error of
    /// [`build`](crate::MqttClientBuilder::build). Every broker accepts up to 23 letters and digits, most accept more.
    ///
    /// ```
    /// let session = ttn::Session::persistent("worker-1");
    /// # let _ = session;
    /// ```
    pub fn persistent(client_id: impl Into<String>) -> Self {
        Self(Some(client_id.into()))
    }

    pub(super) fn check(&self) -> Result<()> {
        match self.client_id() {
            Some("") => Err(Error::config(
                "the client id of a persistent session is empty, so that the broker could not tell whose it is; give \
                 each client an id of its own, such as Session::persistent(\"worker-1\")",
            )),
            Some(id) if id.contains('\0') => Err(Error::config(format!(
                "the client id {id:?} of the persistent session contains NUL, which MQTT does not allow; every broker \
                 accepts up to 23 letters and digits"
            ))),
            Some(id) if id.len() > MAX_CLIENT_ID => Err(Error::config(format!(
                "the client id of the persistent session has {} bytes, and MQTT allows {MAX_CLIENT_ID}; every broker \
                 accepts up to 23 letters and digits",
                id.len()
            ))),
            _ => Ok(()),
        }
    }

    /// Returns the client id of a persistent session.
    pub(crate) fn client_id(&self) -> Option<&str> {
        self.0.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_id_that_mqtt_does_not_allow_is_named_with_what_it_allows() {
        let long = "c".repeat(MAX_CLIENT_ID + 1);
        for (id, expected) in [
            ("", "is empty"),
            ("worker\0", "contains NUL"),
            (&long, "has 65536 bytes, and MQTT allows 65535"),
        ] {
            let error = Session::persistent(id).check().unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        for id in ["w", "Werk 1/ä", &long[1..]] {
            assert!(Session::persistent(id).check().is_ok());
        }
        assert!(Session::clean().check().is_ok());
    }
}
