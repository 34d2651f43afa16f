//! The session that a broker keeps for a client.

/// Whether a [broker of one's own](crate::MqttClient::own_broker) keeps messages for a client that is away; set
/// with [`MqttClientBuilder::session`](crate::MqttClientBuilder::session).
///
/// ```
/// use ttn::Session;
///
/// assert_ne!(Session::persistent("worker-1"), Session::clean());
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Session(Option<String>);

impl Session {
    /// The broker forgets the client at the end of its connection. This is the default.
    ///
    /// ```
    /// assert_eq!(ttn::Session::clean(), ttn::Session::default());
    /// ```
    pub fn clean() -> Self {
        Self(None)
    }

    /// The broker keeps messages for the client with this id, which must be the only one that uses it.
    ///
    /// ```
    /// let session = ttn::Session::persistent("worker-1");
    /// # let _ = session;
    /// ```
    pub fn persistent(client_id: impl Into<String>) -> Self {
        Self(Some(client_id.into()))
    }

    /// Returns the client id of a persistent session.
    pub(crate) fn client_id(&self) -> Option<&str> {
        self.0.as_deref()
    }
}
