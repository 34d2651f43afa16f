//! The topics of a broker of one's own.

use std::borrow::Cow;

/// The topics of a [broker of one's own](crate::MqttClient::own_broker); set with
/// [`MqttClientBuilder::topics`](crate::MqttClientBuilder::topics).
///
/// ```
/// use ttn::Topics;
///
/// let bridged = Topics::with_prefix("ttn/");
/// let integration = Topics::pub_sub("base").downlink_push("down/push");
/// # let _ = (bridged, integration);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topics(pub(super) Form);

/// How the topics are formed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Those of the network, behind a prefix.
    Network(Cow<'static, str>),
    /// Those of a Pub/Sub integration.
    PubSub(PubSub),
}

/// What a Pub/Sub integration was told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct PubSub {
    pub(super) base: String,
    pub(super) downlink_push: Option<String>,
    pub(super) downlink_replace: Option<String>,
}

impl Topics {
    /// The topics of The Things Stack v3. This is the default.
    pub const V3: Self = Self(Form::Network(Cow::Borrowed("")));

    /// The topics of the network behind this text, such as `ttn/`.
    ///
    /// ```
    /// let topics = ttn::Topics::with_prefix("ttn/");
    /// # let _ = topics;
    /// ```
    pub fn with_prefix(prefix: impl Into<String>) -> Self {
        Self(Form::Network(Cow::Owned(prefix.into())))
    }

    /// The topics of a Pub/Sub integration with this base topic.
    ///
    /// ```
    /// let topics = ttn::Topics::pub_sub("base").downlink_push("down/push");
    /// # let _ = topics;
    /// ```
    pub fn pub_sub(base: impl Into<String>) -> Self {
        Self(Form::PubSub(PubSub {
            base: base.into(),
            ..PubSub::default()
        }))
    }

    /// The topic, below the base topic, from which the integration takes downlinks to push.
    ///
    /// ```
    /// let topics = ttn::Topics::pub_sub("base").downlink_push("down/push");
    /// # let _ = topics;
    /// ```
    #[must_use]
    pub fn downlink_push(mut self, topic: impl Into<String>) -> Self {
        if let Form::PubSub(pub_sub) = &mut self.0 {
            pub_sub.downlink_push = Some(topic.into());
        }
        self
    }

    /// The topic, below the base topic, from which the integration takes downlinks that replace the queue.
    ///
    /// ```
    /// let topics = ttn::Topics::pub_sub("base").downlink_replace("down/replace");
    /// # let _ = topics;
    /// ```
    #[must_use]
    pub fn downlink_replace(mut self, topic: impl Into<String>) -> Self {
        if let Form::PubSub(pub_sub) = &mut self.0 {
            pub_sub.downlink_replace = Some(topic.into());
        }
        self
    }
}

impl Default for Topics {
    fn default() -> Self {
        Self::V3
    }
}
