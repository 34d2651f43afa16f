//! The topics of a broker of one's own.

use std::borrow::Cow;

use crate::{
    error::{Error, Result},
    network::Network,
};

/// The most characters that an integration's base topic has, and each topic below it.
const MAX_PUB_SUB_TOPIC: usize = 100;

const MAX_PREFIX: usize = 1_000;

/// The topics of a [broker of one's own](crate::MqttClient::own_broker); set with
/// [`MqttClientBuilder::topics`](crate::MqttClientBuilder::topics).
///
/// | what fills the broker | topics |
/// |---|---|
/// | a feed, or a bridge of the broker to the network's MQTT server | [`Topics::V3`], or [`with_prefix`](Self::with_prefix) if it adds one |
/// | the Pub/Sub integration of a self-hosted Things Stack | [`pub_sub`](Self::pub_sub) |
///
/// A broker fed by a V2 network has the topics of V2 if the client is set to
/// [`Network::V2`]; `V3` and `with_prefix` then mean those.
///
/// ```
/// use ttn::Topics;
///
/// let bridged = Topics::with_prefix("ttn/");
/// let integration = Topics::pub_sub("base").uplink("up").downlink_push("down/push");
/// # let _ = (bridged, integration);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topics {
    form: Form,
    /// A method that sets a topic of an integration, although these are not the topics of one.
    misplaced: Option<&'static str>,
}

/// How the topics are formed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// Those of the network, behind a prefix.
    Network(Cow<'static, str>),
    /// Those of a Pub/Sub integration.
    PubSub(PubSub),
}

/// What a Pub/Sub integration was told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PubSub {
    pub(crate) base: String,
    /// The topics of kinds that have one of their own.
    topics: Vec<(Kind, String)>,
    pub(crate) downlink_push: Option<String>,
    pub(crate) downlink_replace: Option<String>,
}

/// The kinds of messages that an integration publishes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Uplink,
    UplinkNormalized,
    Join,
    LocationSolved,
    ServiceData,
    DownlinkQueued,
    DownlinkSent,
    DownlinkAck,
    DownlinkNack,
    DownlinkFailed,
    DownlinkQueueInvalidated,
}

impl Kind {
    pub(crate) const ALL: [Self; 11] = [
        Self::Uplink,
        Self::UplinkNormalized,
        Self::Join,
        Self::LocationSolved,
        Self::ServiceData,
        Self::DownlinkQueued,
        Self::DownlinkSent,
        Self::DownlinkAck,
        Self::DownlinkNack,
        Self::DownlinkFailed,
        Self::DownlinkQueueInvalidated,
    ];

    /// Returns whether it is a report on downlinks, as opposed to what a device has sent.
    pub(crate) fn is_report(self) -> bool {
        match self {
            Self::Uplink
            | Self::UplinkNormalized
            | Self::Join
            | Self::LocationSolved
            | Self::ServiceData => false,
            Self::DownlinkQueued
            | Self::DownlinkSent
            | Self::DownlinkAck
            | Self::DownlinkNack
            | Self::DownlinkFailed
            | Self::DownlinkQueueInvalidated => true,
        }
    }
}

impl PubSub {
    /// Returns the topic of a kind.
    pub(crate) fn topic_of(&self, kind: Kind) -> String {
        let own = self.topics.iter().rfind(|(other, _)| *other == kind);
        match own {
            Some((_, topic)) if !topic.is_empty() => self.below(topic),
            _ => self.base.clone(),
        }
    }

    /// Returns a topic below the base topic.
    pub(crate) fn below(&self, topic: &str) -> String {
        format!("{}/{topic}", self.base)
    }

    fn set(&mut self, kind: Kind, topic: String) {
        self.topics.push((kind, topic));
    }

    fn check(&self) -> Result<()> {
        check_part("base topic", &self.base)?;
        for (kind, topic) in &self.topics {
            if !topic.is_empty() {
                check_part(&format!("topic of {kind:?}"), topic)?;
            }
        }
        let requests = [
            ("downlink_push", self.downlink_push.as_deref()),
            ("downlink_replace", self.downlink_replace.as_deref()),
        ];
        for (name, topic) in requests {
            let Some(topic) = topic else { continue };
            if topic.contains(['+', '#']) {
                return Err(Error::config(format!(
                    "the topic of {name} is {topic:?}: the client publishes there, so it has no wildcard; if the \
                     integration listens to a wildcard such as +/down/push, set a topic that matches, such as any/down/push"
                )));
            }
            check_part(&format!("topic of {name}"), topic)?;
            let topic = self.below(topic);
            if Kind::ALL.iter().any(|kind| self.topic_of(*kind) == topic) {
                return Err(Error::config(format!(
                    "{topic:?} is the topic of {name} and one on which the integration publishes; give {name} a topic of \
                     its own, or the client receives its own downlinks"
                )));
            }
        }
        if self.downlink_push.is_some() && self.downlink_push == self.downlink_replace {
            return Err(Error::config(
                "downlink_push and downlink_replace have the same topic, and the integration would take each downlink for \
                 one or the other at random; give each its own",
            ));
        }
        Ok(())
    }
}

impl PubSub {
    /// Checks that a shared group can share uplinks and nothing else.
    pub(super) fn check_group(&self) -> Result<()> {
        let uplinks = self.topic_of(Kind::Uplink);
        let is_report = |kind: &&Kind| kind.is_report() && self.topic_of(**kind) == uplinks;
        if Kind::ALL.iter().any(|kind| is_report(&kind)) {
            return Err(Error::config(format!(
                "uplinks and reports on downlinks are both on {uplinks:?}; a shared group shares uplinks only, so give them \
                 a topic of their own in the integration, and set it with Topics::pub_sub(..).uplink(..)"
            )));
        }
        Ok(())
    }
}

/// Checks a part of a topic.
fn check_part(name: &str, part: &str) -> Result<()> {
    let why = if part.is_empty() {
        "it is empty"
    } else if part.chars().count() > MAX_PUB_SUB_TOPIC {
        "an integration takes at most 100 characters"
    } else if let Some(why) = not_a_topic(part) {
        why
    } else if part.split('/').any(str::is_empty) {
        "it has an empty level: it begins or ends with /, or has two in a row"
    } else {
        return Ok(());
    };
    Err(Error::config(format!("the {name} is {part:?}: {why}")))
}

/// Says why text cannot be a part of a topic.
fn not_a_topic(text: &str) -> Option<&'static str> {
    if text.starts_with('$') {
        Some("topics that begin with $ belong to the broker itself")
    } else if text.contains(['+', '#']) {
        Some("+ and # are wildcards of filters, and not allowed in topics")
    } else if text.chars().any(char::is_control) {
        Some("it contains a control character")
    } else {
        None
    }
}

/// Methods that set the topics of kinds.
macro_rules! kinds {
    ($($name:ident, $kind:ident, $what:literal;)*) => {
        /// Methods for the topics of a Pub/Sub integration's messages, as set in the integration. Only after
        /// [`Topics::pub_sub`]: elsewhere they are errors of [`build`](crate::MqttClientBuilder::build).
        impl Topics {$(
            #[doc = concat!("Sets the topic, below the base topic, of ", $what, ". Defaults to the base topic.")]
            ///
            /// ```
            #[doc = concat!("let topics = ttn::Topics::pub_sub(\"base\").", stringify!($name), "(\"topic\");")]
            /// # let _ = topics;
            /// ```
            #[must_use]
            pub fn $name(mut self, topic: impl Into<String>) -> Self {
                match &mut self.form {
                    Form::PubSub(pub_sub) => pub_sub.set(Kind::$kind, topic.into()),
                    Form::Network(_) => self.misplaced = Some(stringify!($name)),
                }
                self
            }
        )*}
    };
}

kinds! {
    uplink, Uplink, "uplinks (`uplink_message`)";
    uplink_normalized, UplinkNormalized, "normalized uplinks, which the integration publishes over NATS only (`uplink_normalized`)";
    join, Join, "activations (`join_accept`)";
    location_solved, LocationSolved, "locations (`location_solved`)";
    service_data, ServiceData, "data of services (`service_data`)";
    downlink_queued, DownlinkQueued, "reports of queued downlinks (`downlink_queued`)";
    downlink_sent, DownlinkSent, "reports of sent downlinks (`downlink_sent`)";
    downlink_ack, DownlinkAck, "reports of acknowledged downlinks (`downlink_ack`)";
    downlink_nack, DownlinkNack, "reports of downlinks that were not acknowledged (`downlink_nack`)";
    downlink_failed, DownlinkFailed, "reports of failed downlinks (`downlink_failed`)";
    downlink_queue_invalidated, DownlinkQueueInvalidated, "reports of invalidated queues (`downlink_queue_invalidated`)";
}

impl Topics {
    /// The topics of The Things Stack v3, such as `v3/my-app@ttn/devices/dev-1/up`. This is the default.
    ///
    /// The device in a topic matters only if the message does not name it. So these topics also fit a Pub/Sub
    /// integration with the base topic `v3/my-app/devices` and topics such as `any/up`, `any/join` and
    /// `any/down/queued`, and, for downlinks, `+/down/push` and `+/down/replace`.
    pub const V3: Self = Self::new(Form::Network(Cow::Borrowed("")));

    /// Returns the topics of the network behind this prefix, such as `ttn/v3/my-app@ttn/devices/dev-1/up`. The prefix
    /// must end with `/`, and have no wildcards and no empty levels; anything else is an error of
    /// [`build`](crate::MqttClientBuilder::build).
    ///
    /// ```
    /// use ttn::{MqttClient, Topics};
    ///
    /// let of = |prefix: &str| MqttClient::own_broker("my-app@ttn").mqtt_address("localhost:1883").topics(Topics::with_prefix(prefix));
    /// of("ttn/").build()?;
    /// assert!(of("ttn").build().unwrap_err().to_string().contains("end with /"));
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn with_prefix(prefix: impl Into<String>) -> Self {
        Self::new(Form::Network(Cow::Owned(prefix.into())))
    }

    /// Returns the topics of a Pub/Sub integration with this base topic. Set the topics of the kinds as they are set in
    /// the integration: [`uplink`](Self::uplink), [`join`](Self::join) and so on.
    ///
    /// The client subscribes to exactly these topics and the base topic, not to everything below it: its own
    /// downlinks are published there too, and in a [shared group](crate::MqttClientBuilder::shared_group) each
    /// member receives all reports on downlinks, but only its share of the uplinks. In a group, uplinks must
    /// therefore have another topic than reports.
    ///
    /// The client recognizes the kind of a message by its content. It leaves out messages of other applications on the
    /// same topics; what is not a message of The Things Stack is [`Event::Other`](crate::Event::Other).
    ///
    /// ```
    /// let topics = ttn::Topics::pub_sub("base").uplink("up").downlink_push("down/push");
    /// # let _ = topics;
    /// ```
    pub fn pub_sub(base: impl Into<String>) -> Self {
        Self::new(Form::PubSub(PubSub {
            base: base.into(),
            ..PubSub::default()
        }))
    }

    /// Sets the topic, below the base topic, from which the integration takes downlinks to push. Defaults to none: then
    /// [`send`](crate::MqttClient::send) fails for a downlink that does not replace the queue.
    ///
    /// ```
    /// let topics = ttn::Topics::pub_sub("base").downlink_push("down/push");
    /// # let _ = topics;
    /// ```
    #[must_use]
    pub fn downlink_push(mut self, topic: impl Into<String>) -> Self {
        match &mut self.form {
            Form::PubSub(pub_sub) => pub_sub.downlink_push = Some(topic.into()),
            Form::Network(_) => self.misplaced = Some("downlink_push"),
        }
        self
    }

    /// Sets the topic, below the base topic, from which the integration takes downlinks that replace the queue, which
    /// is the [default](crate::Schedule) of [`send`](crate::MqttClient::send). Defaults to none: then `send` fails for
    /// such a downlink.
    ///
    /// ```
    /// let topics = ttn::Topics::pub_sub("base").downlink_replace("down/replace");
    /// # let _ = topics;
    /// ```
    #[must_use]
    pub fn downlink_replace(mut self, topic: impl Into<String>) -> Self {
        match &mut self.form {
            Form::PubSub(pub_sub) => pub_sub.downlink_replace = Some(topic.into()),
            Form::Network(_) => self.misplaced = Some("downlink_replace"),
        }
        self
    }

    const fn new(form: Form) -> Self {
        Self {
            form,
            misplaced: None,
        }
    }

    pub(crate) fn form(&self) -> &Form {
        &self.form
    }

    /// Returns what all topics begin with.
    pub(super) fn root(&self) -> &str {
        match &self.form {
            Form::Network(prefix) => prefix,
            Form::PubSub(pub_sub) => &pub_sub.base,
        }
    }

    pub(super) fn check(&self, network: Network) -> Result<()> {
        if let Some(name) = self.misplaced {
            return Err(Error::config(format!(
                "{name} sets a topic of a Pub/Sub integration, but these topics are not those of one; begin with \
                 Topics::pub_sub, or leave it out"
            )));
        }
        match &self.form {
            Form::Network(prefix) => check_prefix(prefix),
            Form::PubSub(_) if network == Network::V2 => Err(Error::config(
                "Topics::pub_sub is for v3: a V2 network has no Pub/Sub integration",
            )),
            Form::PubSub(pub_sub) => pub_sub.check(),
        }
    }
}

fn check_prefix(prefix: &str) -> Result<()> {
    let why = if prefix.is_empty() {
        return Ok(());
    } else if prefix.len() > MAX_PREFIX {
        "it is longer than 1000 bytes"
    } else if let Some(why) = not_a_topic(prefix) {
        why
    } else if !prefix.ends_with('/') {
        "it must end with /, such as ttn/"
    } else if prefix.starts_with('/') || prefix.contains("//") {
        "it has an empty level: it begins with /, or has two in a row"
    } else {
        return Ok(());
    };
    Err(Error::config(format!(
        "the prefix of the topics is {prefix:?}: {why}"
    )))
}

impl Default for Topics {
    fn default() -> Self {
        Self::V3
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn why(topics: Topics) -> String {
        let checked = topics.check(Network::V3);
        checked.map_or_else(|error| error.to_string(), |()| String::new())
    }

    #[test]
    fn a_prefix_that_makes_no_topic_is_refused_with_the_reason() {
        for prefix in ["", "ttn/", "a/b/", "äöü/", "with space/"] {
            assert_eq!(why(Topics::with_prefix(prefix)), "", "{prefix}");
        }
        for (prefix, words) in [
            ("ttn", "end with /"),
            ("/", "empty level"),
            ("/ttn/", "empty level"),
            ("a//b/", "empty level"),
            ("$SYS/", "begin with $"),
            ("$share/group/", "begin with $"),
            ("+/", "wildcards"),
            ("a/#/", "wildcards"),
            ("a\0/", "control character"),
            (&format!("{}/", "a".repeat(1_000)), "1000 bytes"),
        ] {
            let why = why(Topics::with_prefix(prefix));
            assert!(why.contains(words), "{prefix:?}: {why}");
        }
    }

    #[test]
    fn a_topic_of_an_integration_is_refused_where_there_is_none() {
        let prefixed = || Topics::with_prefix("ttn/");
        for (topics, name) in [
            (prefixed().uplink("up"), "uplink sets"),
            (Topics::V3.join("join"), "join sets"),
            (prefixed().downlink_push("push"), "downlink_push sets"),
            (prefixed().downlink_replace("new"), "downlink_replace sets"),
        ] {
            let why = why(topics);
            assert!(why.contains(name) && why.contains("pub_sub"), "{why}");
        }
    }

    #[test]
    fn topics_of_an_integration_that_it_would_not_take_are_refused_with_the_reason() {
        let of = || Topics::pub_sub("base");
        let longest = "ä".repeat(100);
        for topics in [
            of(),
            of().uplink("up").join(""),
            of().downlink_push("down/push"),
            Topics::pub_sub(&longest).uplink(&longest),
        ] {
            assert_eq!(why(topics.clone()), "", "{topics:?}");
        }
        for (topics, words) in [
            (Topics::pub_sub(""), "it is empty"),
            (Topics::pub_sub("a".repeat(101)), "100 characters"),
            (Topics::pub_sub("base/"), "empty level"),
            (Topics::pub_sub("$base"), "begin with $"),
            (of().uplink("a".repeat(101)), "100 characters"),
            (of().uplink("+/up"), "wildcards"),
            (of().join("/join"), "empty level"),
            (of().downlink_push("+/down/push"), "any/down/push"),
            (of().downlink_push(""), "it is empty"),
            (of().uplink("up").downlink_push("up"), "its own downlinks"),
            (
                of().downlink_push("down").downlink_replace("down"),
                "at random",
            ),
        ] {
            let why = why(topics);
            assert!(why.contains(words), "{words:?} is missing in: {why}");
        }
        let of_v2 = of().check(Network::V2).unwrap_err();
        assert!(of_v2.to_string().contains("v3"), "{of_v2}");
    }
}
