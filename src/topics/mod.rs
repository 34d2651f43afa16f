//! Which topics a client reads and writes. The one place that knows; no I/O, no threads.
//!
//! On the network, the topics are the network's. A broker of one's own can have them behind a prefix, what
//! devices send in partitions, or the topics of a Pub/Sub integration.

mod pub_sub;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use crate::{
    config::{Form, Options, PubSub, partition_of},
    error::{Error, ErrorKind, Result},
    message::{RawMessage, Spare},
    network::{Decoded, Effect, Network, Request},
};

/// The level below which partitions are, before their number.
const PARTITION: &str = "p/";

/// The topics of a client.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    network: Network,
    app_id: String,
    field_topics: bool,
    place: Place,
}

#[derive(Clone, Debug)]
enum Place {
    /// The network itself.
    Network,
    /// A broker of one's own with the network's topics.
    Behind(Behind),
    /// A broker of one's own with the topics of an integration.
    PubSub {
        pub_sub: PubSub,
        group: Option<String>,
    },
}

/// The network's topics on a broker of one's own.
#[derive(Clone, Debug)]
struct Behind {
    prefix: String,
    group: Option<String>,
    /// How many partitions there are.
    partitions: Option<u32>,
    /// What stands for the number in the filters of the partitions to read.
    read: Vec<String>,
    is_feed: bool,
    takes_downlinks: bool,
}

impl Layout {
    pub(crate) fn new(options: &Options) -> Self {
        let place = match &options.broker {
            None => Place::Network,
            Some(broker) => match broker.topics.form() {
                Form::Network(prefix) => Place::Behind(Behind {
                    prefix: prefix.clone().into_owned(),
                    group: broker.shared_group.clone(),
                    partitions: broker.partitions.as_ref().map(|it| it.total),
                    read: match &broker.partitions {
                        Some(it) if it.read.len() < it.total as usize => {
                            it.read.iter().map(u32::to_string).collect()
                        }
                        Some(_) => vec!["+".to_owned()],
                        None => Vec::new(),
                    },
                    is_feed: broker.is_feed,
                    takes_downlinks: broker.takes_downlinks,
                }),
                Form::PubSub(pub_sub) => Place::PubSub {
                    pub_sub: pub_sub.clone(),
                    group: broker.shared_group.clone(),
                },
            },
        };
        Self {
            network: options.network,
            app_id: options.app_id.clone(),
            field_topics: options.field_topics,
            place,
        }
    }

    /// Returns whether the client feeds a broker, and reads the requests for downlinks.
    pub(crate) fn is_feed(&self) -> bool {
        matches!(&self.place, Place::Behind(behind) if behind.is_feed)
    }

    /// Returns the quality of service of the subscriptions.
    pub(crate) fn qos(&self) -> u8 {
        match self.place {
            Place::Network => 0,
            Place::Behind(_) | Place::PubSub { .. } => 1,
        }
    }

    /// Returns the filters to subscribe to. No two of them match the same topic, because brokers differ in how
    /// they deliver such a message, and they match no topic to which the client publishes.
    pub(crate) fn filters(&self) -> Vec<String> {
        match &self.place {
            Place::Network => self.network.subscriptions(&self.app_id, self.field_topics),
            Place::Behind(behind) if behind.is_feed => {
                let requests = match behind.takes_downlinks {
                    true => self.network.request_filters(&self.app_id),
                    false => Vec::new(),
                };
                let requests = behind.prefixed(requests);
                requests
                    .map(|filter| share(&behind.group, filter))
                    .collect()
            }
            Place::Behind(behind) => {
                let from_devices = match behind.partitions {
                    Some(_) => behind.in_partitions(&self.network.whole_application(&self.app_id)),
                    None => {
                        let filters = self.network.device_filters(&self.app_id, self.field_topics);
                        behind.prefixed(filters).collect()
                    }
                };
                let shared = from_devices.into_iter();
                let shared = shared.map(|filter| share(&behind.group, filter));
                let reports = self.network.report_filters(&self.app_id);
                shared.chain(behind.prefixed(reports)).collect()
            }
            Place::PubSub { pub_sub, group } => {
                let shared = pub_sub::topics(pub_sub, false).into_iter();
                let shared = shared.map(|filter| share(group, filter));
                shared.chain(pub_sub::topics(pub_sub, true)).collect()
            }
        }
    }

    /// Reads a message; its topic stays the one on which it came. Returns `None` for one of another
    /// application. One that cannot be read becomes [`Event::Malformed`](crate::Event::Malformed), one that is
    /// not of the network [`Event::Other`](crate::Event::Other). An uplink takes the `spare` memory.
    pub(crate) fn decode(&self, raw: &RawMessage, spare: Spare) -> Option<Decoded> {
        match &self.place {
            Place::Network => Some(self.network.decode_on(raw.topic(), raw, spare)),
            Place::Behind(behind) => {
                let topic = behind.network_topic(raw.topic());
                Some(self.network.decode_on(topic, raw, spare))
            }
            Place::PubSub { .. } => self.network.decode_by_member(raw, &self.app_id),
        }
    }

    /// Returns why a message is in a partition from which it should not come, if so.
    pub(crate) fn misplaced(&self, topic: &str) -> Option<&'static str> {
        let Place::Behind(behind) = &self.place else {
            return None;
        };
        let total = behind.partitions?;
        let (number, topic) = behind.partition(topic)?;
        if !behind.read.iter().any(|it| it == "+" || it == number) {
            return Some(
                "this client does not read that partition, but the broker has kept an earlier subscription of its client \
                 id; call forget_session before a client id gets other partitions",
            );
        }
        let dev_id = self.network.sender(topic)?;
        (number.parse() != Ok(partition_of(dev_id, total))).then_some(
            "the publisher has another number of partitions, so this client misses uplinks of its devices; set the same \
             number on the feed and on all clients",
        )
    }

    /// Moves a downlink request to the topic to which the client publishes it.
    ///
    /// # Errors
    ///
    /// When an integration takes no such request, as far as the options say.
    pub(crate) fn place(&self, request: &mut Request) -> Result<()> {
        request.topic = match &self.place {
            Place::Network => return Ok(()),
            Place::Behind(behind) => format!("{}{}", behind.prefix, request.topic),
            Place::PubSub { pub_sub, .. } => {
                let (name, topic) = match request.effect {
                    Effect::Adds => ("downlink_push", &pub_sub.downlink_push),
                    Effect::Replaces | Effect::Clears => {
                        ("downlink_replace", &pub_sub.downlink_replace)
                    }
                };
                let topic = topic
                    .as_ref()
                    .ok_or_else(|| no_topic(name, request.effect))?;
                pub_sub.below(topic)
            }
        };
        Ok(())
    }

    /// Returns the topic on which a feed publishes a message of the network.
    pub(crate) fn publication(&self, topic: &str) -> String {
        let Place::Behind(behind) = &self.place else {
            return topic.to_owned();
        };
        let prefix = &behind.prefix;
        let topic = &*self.network.topic_of(&self.app_id, topic);
        match (behind.partitions, self.network.sender(topic)) {
            (Some(partitions), Some(dev_id)) => {
                let number = partition_of(dev_id, partitions);
                format!("{prefix}{PARTITION}{number}/{topic}")
            }
            _ => format!("{prefix}{topic}"),
        }
    }

    /// Returns the topic, on the network where the application has this id, of a downlink request that came from
    /// the broker; `None` if it is none of the application.
    pub(crate) fn request<'a>(&self, network_app_id: &str, topic: &'a str) -> Option<Cow<'a, str>> {
        let topic = match &self.place {
            Place::Network => topic,
            Place::Behind(behind) => topic.strip_prefix(&behind.prefix)?,
            Place::PubSub { .. } => return None,
        };
        self.network
            .is_request(&self.app_id, topic)
            .then(|| self.network.topic_of(network_app_id, topic))
    }

    /// Returns a topic for the client's own use on the broker.
    pub(crate) fn own(&self, name: &str) -> String {
        match &self.place {
            Place::Network => format!("ttn-check/{name}"),
            Place::Behind(behind) => format!("{}ttn-check/{name}", behind.prefix),
            Place::PubSub { pub_sub, .. } => pub_sub.below(&format!("ttn-check/{name}")),
        }
    }
}

impl Behind {
    fn prefixed(&self, filters: Vec<String>) -> impl Iterator<Item = String> {
        let prefix = &self.prefix;
        filters
            .into_iter()
            .map(move |filter| format!("{prefix}{filter}"))
    }

    /// Returns a filter in every partition to read.
    fn in_partitions(&self, filter: &str) -> Vec<String> {
        let in_one = |number| format!("{}{PARTITION}{number}/{filter}", self.prefix);
        self.read.iter().map(in_one).collect()
    }

    /// Returns the network's topic without what the broker has before it.
    fn network_topic<'a>(&self, topic: &'a str) -> &'a str {
        match self.partition(topic) {
            Some((_, rest)) => rest,
            None => topic.strip_prefix(&self.prefix).unwrap_or(topic),
        }
    }

    /// Returns the number of the partition in a topic, and the network's topic behind it.
    fn partition<'a>(&self, topic: &'a str) -> Option<(&'a str, &'a str)> {
        self.partitions?;
        let topic = topic.strip_prefix(&self.prefix).unwrap_or(topic);
        let (number, rest) = topic.strip_prefix(PARTITION)?.split_once('/')?;
        let is_number = !number.is_empty() && number.bytes().all(|it| it.is_ascii_digit());
        is_number.then_some((number, rest))
    }
}

/// Returns a filter that the members of the group share.
fn share(group: &Option<String>, filter: String) -> String {
    match group {
        Some(group) => shared(group, &filter),
        None => filter,
    }
}

/// Returns the filter by which the members of a group share what another filter matches.
pub(crate) fn shared(group: &str, filter: &str) -> String {
    format!("$share/{group}/{filter}")
}

/// Returns whether a filter is one of a group.
pub(crate) fn is_shared(filter: &str) -> bool {
    filter.starts_with("$share/")
}

fn no_topic(name: &str, effect: Effect) -> Error {
    let what = match effect {
        Effect::Adds => "adds to the queue of a device",
        Effect::Replaces => "replaces the queue of a device",
        Effect::Clears => "empties the queue of a device",
    };
    Error::new(
        ErrorKind::Downlink,
        format!(
            "cannot send a downlink that {what}: the topic from which the Pub/Sub integration takes it is not known; set \
             its {name} topic with Topics::pub_sub(..).{name}(..), and enable it in the integration"
        ),
    )
}
