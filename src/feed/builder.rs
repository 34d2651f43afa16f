//! Every option of a feed, with its default.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use crossbeam_channel::unbounded;

use super::{
    Control, Feed,
    event::Shared,
    file::WatermarkFile,
    ledger::Limits,
    run::{Plan, Runner},
};
use crate::{
    api::Hosts,
    config::{Acknowledge, Backfill, Broker, Form, MqttClientBuilder, Options, Partitions},
    error::{Error, ErrorKind, Result},
    message::Watermark,
    process::{self, Home},
};

/// The group that shares downlink requests.
const GROUP: &str = "ttn-feed";

/// Builds a [`Feed`]; returned by [`Feed::builder`].
///
/// ```no_run
/// # use ttn::{Feed, MqttClient};
/// let network = MqttClient::builder("my-app@ttn", "NNSXS.ID.SECRET").cluster("eu1");
/// let broker = MqttClient::own_broker("my-app@ttn").mqtt_address("localhost:1883");
/// let feed = Feed::builder(network, broker)
///     .capacity(50_000)
///     .watermark_file("watermark")
///     .start()?;
/// # Ok::<(), ttn::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until start() is called"]
pub struct FeedBuilder {
    network: MqttClientBuilder,
    broker: MqttClientBuilder,
    capacity: usize,
    max_bytes: usize,
    in_flight: usize,
    watermark_file: Option<PathBuf>,
    takes_downlinks: bool,
    shares_downlinks: bool,
    close_timeout: Duration,
}

impl FeedBuilder {
    pub(super) fn new(network: MqttClientBuilder, broker: MqttClientBuilder) -> Self {
        Self {
            network,
            broker,
            capacity: 10_000,
            max_bytes: 64 << 20,
            in_flight: 100,
            watermark_file: None,
            takes_downlinks: true,
            shares_downlinks: true,
            close_timeout: Duration::from_secs(10),
        }
    }

    /// Sets how many messages wait for the broker at most: 1 to 10,000,000. Defaults to 10,000.
    ///
    /// ```
    /// # use ttn::{Feed, MqttClient};
    /// # let network = MqttClient::builder("my-app@ttn", "NNSXS.ID.SECRET").cluster("eu1");
    /// # let broker = MqttClient::own_broker("my-app@ttn").mqtt_address("localhost:1883");
    /// let feed = Feed::builder(network, broker).capacity(50_000);
    /// ```
    pub fn capacity(mut self, messages: usize) -> Self {
        self.capacity = messages;
        self
    }

    /// Sets how many bytes of topics and messages wait for the broker at most: at least 1. A list with one message may be
    /// larger. Defaults to 64 MiB.
    ///
    /// ```
    /// # use ttn::{Feed, MqttClient};
    /// # let network = MqttClient::builder("my-app@ttn", "NNSXS.ID.SECRET").cluster("eu1");
    /// # let broker = MqttClient::own_broker("my-app@ttn").mqtt_address("localhost:1883");
    /// let feed = Feed::builder(network, broker).max_bytes(16 << 20);
    /// ```
    pub fn max_bytes(mut self, bytes: usize) -> Self {
        self.max_bytes = bytes;
        self
    }

    /// Sets how many messages may wait for their acknowledgement by the broker at the same time: 1 to 10,000. Defaults to
    /// 100.
    ///
    /// ```
    /// # use ttn::{Feed, MqttClient};
    /// # let network = MqttClient::builder("my-app@ttn", "NNSXS.ID.SECRET").cluster("eu1");
    /// # let broker = MqttClient::own_broker("my-app@ttn").mqtt_address("localhost:1883");
    /// let feed = Feed::builder(network, broker).in_flight(20);
    /// ```
    pub fn in_flight(mut self, messages: usize) -> Self {
        self.in_flight = messages;
        self
    }

    /// Keeps in this file how far the broker has acknowledged uplinks, as a watermark. The next run fetches what came
    /// since, even if this one is killed. The file is read at the start, and overrides
    /// [`resume_from`](MqttClientBuilder::resume_from); if it does not exist yet, the feed begins with that, or with what
    /// comes from now on. It is written at most once a second, and at the end, by replacing it with a new file beside it:
    /// its folder must be writable. Each feed needs a file of its own: one that finds another's watermark in it reports that,
    /// and no longer writes it. Defaults to none: a restart misses what came in between.
    ///
    /// ```
    /// # use ttn::{Feed, MqttClient};
    /// # let network = MqttClient::builder("my-app@ttn", "NNSXS.ID.SECRET").cluster("eu1");
    /// # let broker = MqttClient::own_broker("my-app@ttn").mqtt_address("localhost:1883");
    /// let feed = Feed::builder(network, broker).watermark_file("/var/lib/ttn-feed/watermark");
    /// ```
    pub fn watermark_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.watermark_file = Some(path.into());
        self
    }

    /// Sets whether the feed takes downlink requests from the broker to the network. Defaults to `true`. If
    /// several feeds run on a broker without shared groups, set it to `false` on all but one.
    ///
    /// ```
    /// # use ttn::{Feed, MqttClient};
    /// # let network = MqttClient::builder("my-app@ttn", "NNSXS.ID.SECRET").cluster("eu1");
    /// # let broker = MqttClient::own_broker("my-app@ttn").mqtt_address("localhost:1883");
    /// let feed = Feed::builder(network, broker).take_downlinks(false);
    /// ```
    pub fn take_downlinks(mut self, takes: bool) -> Self {
        self.takes_downlinks = takes;
        self
    }

    /// Sets whether feeds share the downlink requests, so that each reaches the network once however many feeds run: in the
    /// [`shared_group`](MqttClientBuilder::shared_group) of the broker's options, or in `ttn-feed`. Defaults to `true`.
    /// On a broker without shared groups `start` fails and says so; with `false`, only one feed may
    /// [take downlinks](Self::take_downlinks), because each would send every one.
    ///
    /// ```
    /// # use ttn::{Feed, MqttClient};
    /// # let network = MqttClient::builder("my-app@ttn", "NNSXS.ID.SECRET").cluster("eu1");
    /// # let broker = MqttClient::own_broker("my-app@ttn").mqtt_address("localhost:1883");
    /// let feed = Feed::builder(network, broker).share_downlinks(false);
    /// ```
    pub fn share_downlinks(mut self, shares: bool) -> Self {
        self.shares_downlinks = shares;
        self
    }

    /// Sets how long [`close`](Feed::close) may take, up to an hour. Defaults to 10 s.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use ttn::{Feed, MqttClient};
    /// # let network = MqttClient::builder("my-app@ttn", "NNSXS.ID.SECRET").cluster("eu1");
    /// # let broker = MqttClient::own_broker("my-app@ttn").mqtt_address("localhost:1883");
    /// let feed = Feed::builder(network, broker).close_timeout(Duration::from_secs(60));
    /// ```
    pub fn close_timeout(mut self, timeout: Duration) -> Self {
        self.close_timeout = timeout;
        self
    }

    /// Reads the watermark, connects to the broker and then to the network, and starts the feed. Each connects as
    /// [`MqttClient::connect`](crate::MqttClient::connect) does: within its `connect_timeout`, or for the time of its
    /// [`connect_retry`](MqttClientBuilder::connect_retry). From then on, both reconnect for as long as the feed exists.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`](crate::ErrorKind::Config) if an option is wrong, or if the watermark file is damaged or cannot be
    /// written; otherwise the error of the side that cannot connect, as from [`MqttClient::connect`](crate::MqttClient::connect).
    ///
    /// ```
    /// # use ttn::{Feed, MqttClient};
    /// let network = MqttClient::builder("my-app@ttn", "NNSXS.ID.SECRET").cluster("eu1");
    /// let broker = MqttClient::own_broker("another-app@ttn").mqtt_address("localhost:1883");
    /// let error = Feed::builder(network, broker).start().unwrap_err();
    /// assert!(error.to_string().contains("another-app"));
    /// ```
    pub fn start(self) -> Result<Feed> {
        self.check_ranges()?;
        let broker = self.broker_options()?;
        let (network, options) = self.network_options()?;
        check_pair(&options, &broker)?;
        let fetches = options.backfill.as_ref().is_some_and(|it| it.is_automatic);
        if !fetches {
            log::warn!(
                "the feed of {} cannot fetch what it misses, because it knows no HTTP API of the network, or backfill is on \
                 request only: uplinks are lost while the connection to the network is away, while the feed does not run, \
                 and while the broker is away and the list is full",
                options.app_id
            );
        }
        let (mut file, found) = match &self.watermark_file {
            Some(_) if !fetches => return Err(no_use_of_a_file()),
            Some(path) => {
                let (file, found) = WatermarkFile::open(path, &options.app_id)?;
                (Some(file), found)
            }
            None => (None, None),
        };
        let resume_from = found.or_else(|| options.resume_from.clone());
        let mark = resume_from.clone();
        let mark = mark.unwrap_or_else(|| Watermark::from(SystemTime::now()));
        if let Some(file) = &mut file {
            file.write(&mark)?;
        }
        let plan = Plan {
            network,
            queue: options.event_capacity,
            network_app_id: options.app_id.clone(),
            broker: Arc::new(broker),
            limits: Limits {
                messages: self.capacity,
                bytes: self.max_bytes,
                in_flight: self.in_flight,
                fetches,
            },
            resume_from,
            mark,
            file,
        };
        let shared = Arc::new(Shared::new(self.close_timeout));
        let (control, requests) = unbounded();
        let runner = Runner::new(plan, requests, Arc::clone(&shared))?;
        let (broker, network) = runner.clients();
        process::start_thread("ttn-feed", move || runner.run()).map_err(Error::no_thread)?;
        let feed = Feed {
            home: Home::here(),
            shared,
            control,
        };
        broker.connect().map_err(in_terms_of_a_feed)?;
        if let Some(network) = network {
            network.connect()?;
        }
        // The thread lives as long as the feed does.
        let _ = feed.control.send(Control::KeepOpen);
        Ok(feed)
    }

    fn broker_options(&self) -> Result<Options> {
        let mut options = self.broker.clone().check()?;
        options.reconnect = true;
        let Some(broker) = &mut options.broker else {
            return Err(Error::config(
                "the second client of a feed is that of the broker; begin its options with MqttClient::own_broker",
            ));
        };
        check_topics(broker)?;
        broker.is_feed = true;
        broker.takes_downlinks = self.takes_downlinks;
        broker.acknowledge = Acknowledge::Handled;
        broker.shared_group = match self.takes_downlinks && self.shares_downlinks {
            true => Some(
                broker
                    .shared_group
                    .take()
                    .unwrap_or_else(|| GROUP.to_owned()),
            ),
            false => None,
        };
        Ok(options)
    }

    /// Returns the options of the network's client, with backfill if that is possible.
    fn network_options(&self) -> Result<(MqttClientBuilder, Options)> {
        let network = self.network.clone().reconnect(true);
        let options = network.clone().check()?;
        if options.broker.is_some() {
            return Err(Error::config(
                "the first client of a feed is that of the network; begin its options with MqttClient::builder",
            ));
        }
        if options.backfill.is_some() || Hosts::of(&options).is_none() {
            return Ok((network, options));
        }
        let network = network.backfill(Backfill::new());
        let options = network.clone().check()?;
        Ok((network, options))
    }

    fn check_ranges(&self) -> Result<()> {
        let check = |name: &str, value: usize, most: usize| match (1..=most).contains(&value) {
            true => Ok(()),
            false => Err(Error::config(format!(
                "{name} of the feed is {value}; it must be 1 to {most}"
            ))),
        };
        check("capacity", self.capacity, 10_000_000)?;
        check("max_bytes", self.max_bytes, usize::MAX)?;
        check("in_flight", self.in_flight, 10_000)?;
        const HOUR: Duration = Duration::from_secs(3600);
        if self.close_timeout > HOUR {
            return Err(Error::config(format!(
                "close_timeout of the feed is {:?}; it must be at most {HOUR:?}",
                self.close_timeout
            )));
        }
        Ok(())
    }
}

/// Checks that the broker gets everything, with topics that a feed can publish on.
fn check_topics(broker: &Broker) -> Result<()> {
    if let Form::PubSub(_) = broker.topics.form() {
        return Err(Error::config(
            "a feed publishes on the topics of the network, and Topics::pub_sub is for clients of a Pub/Sub integration; use \
             Topics::with_prefix, or leave out topics",
        ));
    }
    let reads_some = |it: &Partitions| it.read.len() < it.total as usize;
    if broker.partitions.as_ref().is_some_and(reads_some) {
        return Err(Error::config(
            "a feed publishes in all partitions; leave out partition and partitions_of, which are for the clients that read \
             them",
        ));
    }
    Ok(())
}

fn check_pair(network: &Options, broker: &Options) -> Result<()> {
    let is_without_tenant = network.network.application_of(&network.app_id) == broker.app_id;
    if network.app_id != broker.app_id && !is_without_tenant {
        return Err(Error::config(format!(
            "the network's client of the feed is of the application {:?}, and the broker's of {:?}; use the same id for both, or \
             leave out the tenant on the broker's",
            network.app_id, broker.app_id
        )));
    }
    if network.network != broker.network {
        return Err(Error::config(format!(
            "the network's client of the feed speaks {:?}, and the broker's {:?}; set network({:?}) on the latter",
            network.network, broker.network, network.network
        )));
    }
    Ok(())
}

/// Names the options of a feed in the error of a broker that does not share.
fn in_terms_of_a_feed(error: Error) -> Error {
    match error.kind() {
        ErrorKind::SharedSubscription => Error::new(
            ErrorKind::SharedSubscription,
            "feeds cannot share the downlink requests on this broker: it grants shared subscriptions without delivering what \
             is shared, as NATS, RabbitMQ and aedes do; set share_downlinks(false) on one feed, and take_downlinks(false) on \
             all others",
        ),
        _ => error,
    }
}

fn no_use_of_a_file() -> Error {
    Error::config(
        "a watermark_file needs a feed that can fetch what it has missed: set http_address on the network's client, or leave \
         out the file",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{MqttClient, Topics};

    #[test]
    fn a_feed_refuses_options_that_only_its_readers_have() {
        let of_broker = || MqttClient::own_broker("barn@ttn").mqtt_address("localhost:1883");
        let why = |broker: MqttClientBuilder| {
            let network = MqttClient::builder("barn@ttn", "NNSXS.ID.SECRET").cluster("eu1");
            let checked = Feed::builder(network, broker).broker_options();
            checked.map_or_else(|error| error.to_string(), |_| String::new())
        };
        assert_eq!(why(of_broker().partitions(4)), "");
        assert_eq!(why(of_broker().topics(Topics::with_prefix("ttn/"))), "");
        for (broker, words) in [
            (of_broker().partitions(4).partition(1), "all partitions"),
            (
                of_broker().partitions(4).partitions_of(0, 2),
                "all partitions",
            ),
            (of_broker().topics(Topics::pub_sub("base")), "with_prefix"),
        ] {
            let why = why(broker);
            assert!(why.contains(words), "{words:?} is missing in: {why}");
        }
    }
}
