//! The options of a client that reads from a broker of its own.

use super::{AccessKey, Acknowledge, MqttClientBuilder, Partitions, Session, Topics};

/// A broker between the network and the client.
#[derive(Clone, Debug, Default)]
pub(crate) struct Broker {
    pub(crate) credentials: Option<(String, AccessKey)>,
    pub(crate) topics: Topics,
    pub(crate) session: Session,
    pub(crate) acknowledge: Acknowledge,
    /// Whether a message whose handler failed is not acknowledged.
    pub(crate) redelivers_failed: bool,
    pub(crate) shared_group: Option<String>,
    /// Whether `connect` proves that the broker shares.
    pub(crate) proves_sharing: bool,
    /// How many partitions there are. What the client reads of them is in `partitions`.
    pub(crate) partitions: Option<Partitions>,
}

/// Options for a [broker of one's own](crate::MqttClient::own_broker).
impl MqttClientBuilder {
    /// Sets the user name and the password for the broker. Defaults to none.
    ///
    /// ```
    /// # use ttn::MqttClient;
    /// let client = MqttClient::own_broker("my-app@ttn")
    ///     .mqtt_address("mqtts://broker.example.org")
    ///     .credentials("worker", "secret")
    ///     .build()?;
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn credentials(mut self, user: impl Into<String>, password: impl Into<String>) -> Self {
        let password = AccessKey::new(password.into());
        self.broker_options().credentials = Some((user.into(), password));
        self
    }

    /// Sets the topics. Defaults to [`Topics::V3`].
    ///
    /// ```
    /// # use ttn::{MqttClient, Topics};
    /// let client = MqttClient::own_broker("my-app@ttn")
    ///     .mqtt_address("localhost:1883")
    ///     .topics(Topics::with_prefix("ttn/"))
    ///     .build()?;
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn topics(mut self, topics: Topics) -> Self {
        self.broker_options().topics = topics;
        self
    }

    /// Sets whether the broker keeps messages for the client while it is away. Defaults to
    /// [`Session::clean`].
    ///
    /// ```
    /// # use ttn::{MqttClient, Session};
    /// let client = MqttClient::own_broker("my-app@ttn")
    ///     .mqtt_address("localhost:1883")
    ///     .session(Session::persistent("worker-1"))
    ///     .build()?;
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn session(mut self, session: Session) -> Self {
        self.broker_options().session = session;
        self
    }

    /// Sets when messages are acknowledged to the broker. Defaults to [`Acknowledge::Received`].
    ///
    /// ```
    /// # use ttn::{Acknowledge, MqttClient, Session};
    /// let client = MqttClient::own_broker("my-app@ttn")
    ///     .mqtt_address("localhost:1883")
    ///     .session(Session::persistent("worker-1"))
    ///     .acknowledge(Acknowledge::Handled)
    ///     .build()?;
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn acknowledge(mut self, acknowledge: Acknowledge) -> Self {
        self.broker_options().acknowledge = acknowledge;
        self
    }

    /// Sets whether a message whose callback or worker has failed comes again: it is not acknowledged, and the
    /// connection ends. Only with [`Acknowledge::Handled`]. Defaults to `false`: it counts as handled.
    ///
    /// ```
    /// # use ttn::{Acknowledge, MqttClient, Session};
    /// let client = MqttClient::own_broker("my-app@ttn")
    ///     .mqtt_address("localhost:1883")
    ///     .session(Session::persistent("worker-1"))
    ///     .acknowledge(Acknowledge::Handled)
    ///     .redeliver_failed(true)
    ///     .build()?;
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn redeliver_failed(mut self, redelivers: bool) -> Self {
        self.broker_options().redelivers_failed = redelivers;
        self
    }

    /// Shares the uplinks with all other clients of this group: each goes to one of them.
    ///
    /// ```
    /// # use ttn::{MqttClient, Session};
    /// let client = MqttClient::own_broker("my-app@ttn")
    ///     .mqtt_address("localhost:1883")
    ///     .session(Session::persistent("worker-1"))
    ///     .shared_group("workers")
    ///     .build()?;
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn shared_group(mut self, group: impl Into<String>) -> Self {
        self.broker_options().shared_group = Some(group.into());
        self
    }

    fn broker_options(&mut self) -> &mut Broker {
        self.broker.get_or_insert_with(Broker::default)
    }
}
