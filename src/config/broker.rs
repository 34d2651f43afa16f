//! The options of a client that reads from a broker of its own.

use super::{
    AccessKey, Acknowledge, Address, MqttClientBuilder, Over, Partitions, Session, Topics,
    partitions::PartitionOptions, topics::Form,
};
use crate::{
    error::{Error, Result},
    network::Network,
};

/// A broker between the network and the client.
#[derive(Clone, Debug)]
pub(crate) struct Broker {
    /// Its servers, which are tried in turn; at least one once the options are checked.
    pub(crate) addresses: Vec<Address>,
    pub(crate) credentials: Option<(String, AccessKey)>,
    pub(crate) topics: Topics,
    pub(crate) session: Session,
    pub(crate) acknowledge: Acknowledge,
    /// Whether a message whose handler failed is not acknowledged.
    pub(crate) redelivers_failed: bool,
    pub(crate) shared_group: Option<String>,
    /// Whether the broker gives all uplinks of a device to the same member of the group.
    pub(crate) shares_by_device: bool,
    /// Whether `connect` proves that the broker shares.
    pub(crate) proves_sharing: bool,
    pub(crate) partition_options: PartitionOptions,
    /// The partitions, once the options are checked.
    pub(crate) partitions: Option<Partitions>,
    /// Whether the client feeds the broker: it reads the requests for downlinks, not what the network
    /// publishes.
    pub(crate) is_feed: bool,
    /// Whether it takes these requests.
    pub(crate) takes_downlinks: bool,
}

impl Default for Broker {
    fn default() -> Self {
        Self {
            addresses: Vec::new(),
            credentials: None,
            topics: Topics::default(),
            session: Session::default(),
            acknowledge: Acknowledge::default(),
            redelivers_failed: false,
            shared_group: None,
            shares_by_device: false,
            proves_sharing: true,
            partition_options: PartitionOptions::default(),
            partitions: None,
            is_feed: false,
            takes_downlinks: true,
        }
    }
}

impl Broker {
    /// Returns whether each member of a group gets only a part of the uplinks of a device.
    pub(super) fn splits_devices(&self) -> bool {
        self.shared_group.is_some() && !self.shares_by_device
    }

    pub(crate) fn password(&self) -> Option<&AccessKey> {
        self.credentials.as_ref().map(|(_, password)| password)
    }

    /// Returns whether `connect` must see a shared message come back.
    pub(crate) fn must_prove_sharing(&self) -> bool {
        self.shared_group.is_some() && self.proves_sharing
    }

    /// Checks the options, without the addresses.
    pub(super) fn check(mut self, network: Network) -> Result<Self> {
        if let Some((user, _)) = &self.credentials {
            check_user(user)?;
        }
        self.topics.check(network)?;
        self.session.check()?;
        if let Some(group) = &self.shared_group {
            check_group(group)?;
        } else if self.shares_by_device {
            return Err(Error::config(
                "shared_by_device describes a shared group, but there is none; set shared_group too",
            ));
        }
        if self.redelivers_failed && self.acknowledge != Acknowledge::Handled {
            return Err(Error::config(
                "redeliver_failed needs acknowledge(Acknowledge::Handled): otherwise a message is acknowledged before it is \
                 handled",
            ));
        }
        self.partitions = self.partition_options.check()?;
        match self.topics.form() {
            Form::PubSub(_) if self.partitions.is_some() => Err(Error::config(
                "a Pub/Sub integration has no partitions, only a feed does; leave out partitions",
            )),
            Form::PubSub(pub_sub) if self.shared_group.is_some() => {
                pub_sub.check_group()?;
                Ok(self)
            }
            _ => Ok(self),
        }
    }
}

fn check_user(user: &str) -> Result<()> {
    if user.contains('\0') || user.len() > usize::from(u16::MAX) {
        return Err(Error::config(
            "the user name of credentials contains NUL or is longer than 65535 bytes",
        ));
    }
    Ok(())
}

fn check_group(group: &str) -> Result<()> {
    if group.is_empty() || group.contains(['/', '+', '#']) || group.chars().any(char::is_control) {
        return Err(Error::config(format!(
            "the shared_group {group:?} is empty, or contains one of / + # or a control character; choose a name such as \
             workers"
        )));
    }
    Ok(())
}

/// Reads the addresses of the servers of a broker, with commas between them. The scheme of the first holds for
/// those without one.
pub(super) fn addresses(text: Option<&str>) -> Result<Vec<Address>> {
    let Some(text) = text else {
        return Err(Error::config(
            "the address of the broker is missing; set it with mqtt_address, such as mqtt_address(\"mqtts://broker.example.org\")",
        ));
    };
    let mut scheme = None;
    let parts: Vec<&str> = text.split(',').map(str::trim).collect();
    parts
        .iter()
        .map(|part| {
            if part.is_empty() && parts.len() > 1 {
                return Err(Error::config(format!(
                    "one of the MQTT addresses in {:?} is empty; write a comma only between two of them",
                    // A key in an address has an error of its own, which does not repeat it.
                    if text.contains('@') { "…" } else { text }
                )));
            }
            match (part.split_once("://"), scheme) {
                (Some((own, _)), None) => {
                    scheme = Some(own);
                    part.parse()
                }
                (None, Some(scheme)) => format!("{scheme}://{part}").parse(),
                _ => part.parse(),
            }
        })
        .collect()
}

/// Options of the network that a client of one's own broker does not have.
pub(super) struct OfTheNetwork {
    pub(super) cluster: bool,
    pub(super) discovery_address: bool,
    pub(super) http_address: bool,
    pub(super) identity_server_address: bool,
    pub(super) backfill: bool,
    pub(super) resume_from: bool,
    pub(super) downlinks: Over,
}

impl OfTheNetwork {
    /// Refuses them.
    pub(super) fn check(&self) -> Result<()> {
        let why = if self.cluster {
            "cluster names a server of the network; set the address of your broker with mqtt_address"
        } else if self.discovery_address {
            "discovery_address asks the network for its MQTT server; set the address of your broker with mqtt_address"
        } else if self.http_address || self.identity_server_address {
            "http_address and identity_server_address are for the API of the network, for which this client has no key; \
             leave them out"
        } else if self.backfill || self.resume_from {
            "backfill and resume_from fetch uplinks from the network, for which this client has no key; let the feed \
             backfill, and the broker keep messages with Session::persistent"
        } else if self.downlinks == Over::Http {
            "downlinks(Over::Http) sends to the network, for which this client has no key; its downlinks go through the \
             broker"
        } else {
            return Ok(());
        };
        Err(Error::config(format!(
            "the client reads from a broker of its own: {why}"
        )))
    }
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

    /// Sets whether an uplink comes again if its callback or worker has failed: it is not acknowledged, and the client
    /// ends the connection and reconnects, so that the broker delivers it again, with everything after it that is not
    /// acknowledged. A handler that always fails for an uplink gets it again with each connection, for ever. Needs
    /// [`Acknowledge::Handled`], and a [persistent session](Session::persistent), without which most brokers forget the
    /// uplink. Defaults to `false`: a failed uplink counts as handled.
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

    /// Shares what devices send with all other clients of this group: the broker gives each message to one of
    /// them. Reports on downlinks come to every member, so that a [`Delivery`](crate::Delivery) ends in the
    /// process that has sent it. Defaults to no group: each client receives everything.
    ///
    /// Most brokers deal messages out in turn, so two uplinks of one device go to different members, which may
    /// handle them in another order. [`partitions`](Self::partitions) keep the order. By default, a member of a group
    /// does not [watch frame counters](Self::counter_watch), because it sees gaps where the others receive; see
    /// [`shared_by_device`](Self::shared_by_device).
    ///
    /// Some brokers grant shared subscriptions and then deliver nothing: NATS, RabbitMQ and aedes do. So `connect`
    /// proves that this one shares, and otherwise fails with
    /// [`ErrorKind::SharedSubscription`](crate::ErrorKind::SharedSubscription); see
    /// [`prove_shared_group`](Self::prove_shared_group).
    ///
    /// The name must not contain `/`, `+` or `#`. With [`partitions`](Self::partitions), the group shares the partitions
    /// that its members read.
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

    /// Sets whether the broker gives all uplinks of a device to the same member of the [shared
    /// group](Self::shared_group), for example because it chooses the member by a hash of the topic. Each
    /// member then watches the frame counters of its devices. The client cannot check this. Defaults to `false`;
    /// needs a [`shared_group`](Self::shared_group).
    ///
    /// ```
    /// # use ttn::MqttClient;
    /// let client = MqttClient::own_broker("my-app@ttn")
    ///     .mqtt_address("localhost:1883")
    ///     .shared_group("workers")
    ///     .shared_by_device(true)
    ///     .build()?;
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn shared_by_device(mut self, by_device: bool) -> Self {
        self.broker_options().shares_by_device = by_device;
        self
    }

    /// Sets whether `connect` proves that the broker delivers what it shares: it subscribes, as a group of its own, to a
    /// topic `ttn-check/…` behind the prefix of the topics, publishes a message there, and waits up to 2 s for it. If
    /// the user may not publish there, the client warns in the log and connects. Without a
    /// [`shared_group`](Self::shared_group) there is nothing to prove. Defaults to `true`.
    ///
    /// ```
    /// # use ttn::MqttClient;
    /// let client = MqttClient::own_broker("my-app@ttn")
    ///     .mqtt_address("localhost:1883")
    ///     .shared_group("workers")
    ///     .prove_shared_group(false)
    ///     .build()?;
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn prove_shared_group(mut self, proves: bool) -> Self {
        self.broker_options().proves_sharing = proves;
        self
    }

    /// Sets into how many partitions the feed divides what devices send, 1 to 1024. Set the same number on the feed and on
    /// all clients: with another one, a client misses uplinks. All messages of a device are in the same partition. Without
    /// [`partition`](Self::partition) or [`partitions_of`](Self::partitions_of), the client reads all of them.
    /// Defaults to none: the feed publishes without partitions.
    ///
    /// The topics of a partition are those of the network behind `p/` and its number, counted from 0:
    /// `p/3/v3/my-app@ttn/devices/dev-1/up`; a [prefix](crate::Topics::with_prefix) comes before that. The number
    /// is the 32-bit FNV-1a hash of the device id, modulo the number of partitions. Reports on downlinks are in
    /// no partition. On v3 a client that does not read all partitions has five filters for each; some brokers limit
    /// how many it may have, NATS to 63 by default.
    ///
    /// ```
    /// # use ttn::MqttClient;
    /// let client = MqttClient::own_broker("my-app@ttn")
    ///     .mqtt_address("localhost:1883")
    ///     .partitions(16)
    ///     .partition(3)
    ///     .build()?;
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn partitions(mut self, partitions: u32) -> Self {
        self.broker_options().partition_options.total = Some(partitions);
        self
    }

    /// Reads this [partition](Self::partitions), counted from 0. Several calls add up, also with
    /// [`partitions_of`](Self::partitions_of). Defaults to all.
    ///
    /// ```
    /// # use ttn::MqttClient;
    /// let client = MqttClient::own_broker("my-app@ttn")
    ///     .mqtt_address("localhost:1883")
    ///     .partitions(16)
    ///     .partition(3)
    ///     .partition(7)
    ///     .build()?;
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn partition(mut self, number: u32) -> Self {
        self.broker_options().partition_options.numbers.push(number);
        self
    }

    /// Reads the [partitions](Self::partitions) of one of several members, counted from 0: those whose number
    /// divided by the number of members leaves this remainder. Each partition goes to exactly one member; more members
    /// than partitions are an error. Defaults to all partitions.
    ///
    /// ```
    /// # use ttn::MqttClient;
    /// // The second of three processes.
    /// let client = MqttClient::own_broker("my-app@ttn")
    ///     .mqtt_address("localhost:1883")
    ///     .partitions(16)
    ///     .partitions_of(1, 3)
    ///     .build()?;
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn partitions_of(mut self, member: u32, members: u32) -> Self {
        self.broker_options().partition_options.share = Some((member, members));
        self
    }

    fn broker_options(&mut self) -> &mut Broker {
        self.broker.get_or_insert_with(Broker::default)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Backfill, MqttClient, config::Options};

    fn builder() -> MqttClientBuilder {
        MqttClient::own_broker("greenhouse@ttn").mqtt_address("mqtt://broker:1883")
    }

    fn why(builder: MqttClientBuilder) -> String {
        let checked = builder.check();
        checked.map_or_else(|error| error.to_string(), |_| String::new())
    }

    fn checked(builder: MqttClientBuilder) -> (Options, Broker) {
        let options = builder.check().unwrap();
        let broker = options.broker.clone().unwrap();
        (options, broker)
    }

    #[test]
    fn what_only_the_network_has_is_refused_on_a_broker_of_ones_own() {
        assert_eq!(why(builder()), "");
        assert_eq!(
            why(MqttClient::own_broker("greenhouse").mqtt_address("b")),
            ""
        );
        for (builder, words) in [
            (
                MqttClient::own_broker("greenhouse@ttn"),
                "address of the broker is missing",
            ),
            (
                MqttClient::own_broker("greenhouse@ttn").cluster("eu1"),
                "cluster names",
            ),
            (
                builder().discovery_address("https://host"),
                "discovery_address",
            ),
            (builder().http_address("https://host"), "http_address"),
            (
                builder().identity_server_address("https://host"),
                "identity_server_address",
            ),
            (builder().backfill(Backfill::new()), "let the feed backfill"),
            (builder().downlinks(Over::Http), "through the broker"),
            (builder().shared_group(""), "is empty"),
            (builder().shared_group("a/b"), "one of / + #"),
            (builder().shared_group("a+"), "one of / + #"),
            (builder().shared_group("#"), "one of / + #"),
            (builder().shared_by_device(true), "set shared_group too"),
            (builder().redeliver_failed(true), "Acknowledge::Handled"),
            (
                builder().topics(Topics::pub_sub("b")).partitions(3),
                "no partitions",
            ),
            (
                builder().topics(Topics::pub_sub("b")).shared_group("g"),
                "uplink(",
            ),
            (
                MqttClient::builder("greenhouse@ttn", "NNSXS.ID.SECRET").shared_group("g"),
                "MqttClient::own_broker",
            ),
        ] {
            let why = why(builder);
            assert!(why.contains(words), "{words:?} is missing in: {why}");
        }
        let shared = Topics::pub_sub("b").uplink("up");
        assert_eq!(why(builder().topics(shared).shared_group("g")), "");
    }

    #[test]
    fn the_servers_of_a_broker_are_a_list_and_the_first_scheme_holds() {
        for (text, expected) in [
            ("b1", &["mqtts://b1:8883"][..]),
            (
                "mqtts://b1,b2, b3",
                &["mqtts://b1:8883", "mqtts://b2:8883", "mqtts://b3:8883"],
            ),
            (
                "mqtt://b1:1,b2:2,mqtts://b3",
                &["mqtt://b1:1", "mqtt://b2:2", "mqtts://b3:8883"],
            ),
            ("b1:1883,b2", &["mqtt://b1:1883", "mqtts://b2:8883"]),
            (
                "mqtt://[::1]:7,[::2]",
                &["mqtt://[::1]:7", "mqtt://[::2]:1883"],
            ),
        ] {
            let (options, broker) = checked(builder().mqtt_address(text));
            let read: Vec<String> = broker.addresses.iter().map(ToString::to_string).collect();
            assert_eq!(read, expected, "{text}");
            assert!(
                matches!(options.server, crate::config::Server::At(first) if first == broker.addresses[0])
            );
        }
        for (text, words) in [
            ("b1,,b2", "is empty"),
            ("b1,", "is empty"),
            ("", "host is missing"),
            ("mqtts://b1,http://b2", "scheme"),
            ("mqtts://b1,user:secret@b2", "no user name"),
            ("user:secret@b2,", "no user name"),
        ] {
            let why = why(builder().mqtt_address(text));
            assert!(why.contains(words), "{text}: {why}");
            assert!(!why.contains("secret"), "{why}");
        }
    }

    #[test]
    fn the_counter_watch_is_off_in_a_group_unless_it_was_set_or_the_broker_shares_by_device() {
        let watch = |builder: MqttClientBuilder| builder.check().unwrap().counter_watch;
        assert_eq!(watch(builder()), 100_000);
        assert_eq!(watch(builder().partitions(4)), 100_000);
        assert_eq!(watch(builder().shared_group("g")), 0);
        assert_eq!(watch(builder().shared_group("g").counter_watch(7)), 7);
        assert_eq!(
            watch(builder().shared_group("g").shared_by_device(true)),
            100_000
        );
    }

    #[test]
    fn duplicates_are_marked_on_a_broker_of_ones_own_and_elsewhere_if_it_is_said() {
        let window = |builder: MqttClientBuilder| builder.check().unwrap().duplicate_window;
        assert_eq!(window(builder()), 10_000);
        assert_eq!(window(builder().duplicate_window(5)), 5);
        let of_network = || MqttClient::builder("greenhouse@ttn", "NNSXS.ID.SECRET");
        assert_eq!(window(of_network()), 0);
        assert_eq!(window(of_network().duplicate_window(5)), 5);
    }

    #[test]
    fn a_password_in_another_option_is_found() {
        let password = "a-password-of-20-letters";
        let builder = builder().credentials("worker", password);
        assert_eq!(why(builder.clone()), "");
        for builder in [
            builder.clone().client_id_prefix(password),
            builder.clone().shared_group(password),
            builder
                .clone()
                .topics(Topics::with_prefix(format!("{password}/"))),
            builder.clone().topics(Topics::pub_sub(password)),
            builder.session(Session::persistent(password)),
        ] {
            let why = why(builder);
            assert!(why.contains("contains the"), "{why}");
            assert!(!why.contains(password), "{why}");
        }
    }
}
