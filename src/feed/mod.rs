//! The feed: from a network into a broker of one's own, and downlinks back.

mod builder;
mod event;
mod file;
mod ledger;
mod requests;
mod run;
mod stats;

use std::{fmt, sync::Arc, time::Duration};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use crate::{
    config::MqttClientBuilder,
    error::{Error, ErrorKind, Result},
    process::Home,
};
pub use builder::FeedBuilder;
pub use event::FeedEvent;
pub use stats::FeedStats;

use event::Shared;

/// How much longer than its time limit `close` waits for the feed's thread.
const GRACE: Duration = Duration::from_secs(2);

/// Publishes everything that an application gets from its network into a broker of one's own, and takes downlinks
/// from there to the network.
///
/// Programs read the broker as clients of [`MqttClient::own_broker`](crate::MqttClient::own_broker), as many as they
/// like, on as many machines as they like: uplinks, joins, locations and service data arrive there with the topics
/// and bytes of the network, and `send` and its [`Delivery`](crate::Delivery) work as usual. `ttn feed`, of the feature
/// `cli`, is a complete program.
///
/// ```no_run
/// use ttn::{Feed, MqttClient, Session};
///
/// let network = MqttClient::builder("my-app@ttn", "NNSXS.ID.SECRET").cluster("eu1");
/// let broker = MqttClient::own_broker("my-app@ttn")
///     .mqtt_address("mqtts://broker.example.org")
///     .credentials("feed", "secret")
///     .partitions(16)
///     .session(Session::persistent("feed-1"));
/// let feed = Feed::builder(network, broker)
///     .watermark_file("/var/lib/ttn-feed/watermark")
///     .start()?;
/// for event in feed.events() {
///     println!("{event}");
/// }
/// # Ok::<(), ttn::Error>(())
/// ```
///
/// # What is guaranteed
///
/// | matter | what the feed does |
/// |---|---|
/// | uplinks | at least once, from the network's storage to the broker's acknowledgement (PUBACK): what the broker has not acknowledged is published again, and fetched again after a restart. It needs an HTTP API of the network with [storage or an event backlog](crate#fetching-what-was-missed) and, over restarts, a [watermark file](FeedBuilder::watermark_file). What the network no longer keeps is lost; [`Event::Backfilled`](crate::Event::Backfilled) in [`events`](Self::events) reports it |
/// | joins, locations, service data, reports on downlinks | once or more while the feed runs and both sides are connected, or the broker is away for less than [`capacity`](FeedBuilder::capacity) allows. No network keeps them: those of an outage of the network's connection, of an overflow and of a restart are lost |
/// | downlinks | a request is acknowledged to the broker when it was written to the network's connection. It can be written more than once if the feed is killed in between, or the broker's connection ends |
/// | order | that of the network, as long as nothing is published again, fetched or given up |
/// | repetitions | both uplinks have the same [`key`](crate::UplinkMessage::key) |
/// | memory | at most [`capacity`](FeedBuilder::capacity) messages and [`max_bytes`](FeedBuilder::max_bytes), besides the queues of the two clients: [`event_capacity`](MqttClientBuilder::event_capacity), [`receive_capacity`](MqttClientBuilder::receive_capacity) |
///
/// **Without an HTTP API** (on V2, or if only the MQTT address of a v3 server is known) nothing can be fetched: an
/// uplink is lost if it comes while the network's connection is away, while the feed does not run, or while the broker is
/// away and the list is full. Joins and all else that no network keeps are lost at the same times. Of these, the feed sees
/// only what comes while the list is full: it counts that in [`FeedStats::dropped`], and tells it with
/// [`FeedEvent::Dropped`]. The feed runs nevertheless, and logs a warning when it starts.
///
/// # The broker is away
///
/// Messages wait in a list. If it becomes full, the feed closes its connection to the network. When the
/// broker is back and has acknowledged the whole list, it connects to the network again, and fetches the uplinks from
/// where the list ended, as far back as [`Backfill::max_age`](crate::Backfill::max_age) allows.
/// [`FeedEvent::Overflowed`] and [`FeedEvent::Resumed`] report it.
///
/// # The broker does not take a message
///
/// - If it ends the connection because of a message, for example because the message is too large for it or the user may
///   not publish to its topic, the feed publishes others first, one by one. After ten connections that have acknowledged
///   another message and ended with this one, it gives the message up: [`FeedEvent::Failed`] names it, and
///   [`FeedStats::dropped`] counts it. As long as connections end whatever is published, nothing is given up;
///   `FeedEvent::Failed` then names the first message that waits.
/// - If it acknowledges a message and drops it, as Mosquitto does when the user may not publish to the topic, the message
///   is lost, and no client can see that. Check the rights of the feed's user with one message of each kind.
///
/// # Keys, clocks, disks
///
/// If the network refuses the key, or the broker the login, the feed goes on trying and tells each failure; when it is
/// accepted again, the uplinks since then are fetched. The time of this machine's clock counts for one thing only: a first
/// run without [`resume_from`](MqttClientBuilder::resume_from) that is killed before the broker has acknowledged an uplink
/// goes on from the time at which it started. A watermark file that cannot be written is told with `FeedEvent::Failed`, once
/// until it can be written again; the feed goes on.
///
/// # Two feeds
///
/// For availability, two feeds may run at once, each with a watermark file and a client id of its own. With one file for
/// both, one of them says so with [`FeedEvent::Failed`] and writes it no more; with one client id, the broker ends the
/// connection of each when the other connects, again and again, which [`events`](Self::events) shows. Every message is then
/// published twice; both uplinks have the same [`key`](crate::UplinkMessage::key). Each downlink request reaches the network once, because the feeds
/// share them in a group, `$share/ttn-feed/…`. A broker without shared groups (NATS, RabbitMQ) needs
/// [`share_downlinks(false)`](FeedBuilder::share_downlinks) on the first feed, and
/// [`take_downlinks(false)`](FeedBuilder::take_downlinks) on all others; downlinks then wait while the first is away.
/// Mosquitto shares requests with absent members too: what it has for a feed that is away, and has a persistent session,
/// waits for that feed.
///
/// # Threads
///
/// One of its own, and those of its two clients. Neither side waits for the other. Dropping the feed closes it in the
/// background; call [`close`](Self::close) before the program ends. In a [fork](crate#forks-threads-suspended-machines) of the
/// process the feed does nothing.
pub struct Feed {
    home: Home,
    shared: Arc<Shared>,
    control: Sender<Control>,
}

/// A request to the feed's thread.
enum Control {
    /// Both clients were connected by the caller; from now on, the thread keeps them open.
    KeepOpen,
    /// Close. The answer is the result.
    Close(Sender<Result<()>>),
}

impl Feed {
    /// Starts building a feed from a network, whose client `network` describes, into a broker, whose client `broker`
    /// describes: one that begins with [`MqttClient::own_broker`](crate::MqttClient::own_broker).
    ///
    /// Of the network's options, `backfill` is set if it is not and can be, and `reconnect` is always on.
    /// [`receive_capacity`](MqttClientBuilder::receive_capacity) and [`event_capacity`](MqttClientBuilder::event_capacity)
    /// say how many messages wait until the feed reads them; what comes when these queues are full counts as
    /// [`dropped`](FeedStats::dropped). Of the broker's,
    /// `acknowledge` and `reconnect` are set, and [`partitions`](MqttClientBuilder::partitions) and
    /// [`topics`](MqttClientBuilder::topics) say where messages go. Set a persistent
    /// [`session`](MqttClientBuilder::session), so that the broker keeps downlink requests while the feed is away.
    /// [`start`](FeedBuilder::start) refuses `partition`, `partitions_of` and [`Topics::pub_sub`](crate::Topics::pub_sub),
    /// which are for clients that read.
    ///
    /// Both have the same application id. The broker's may lack the tenant, and its topics then lack it too, for brokers
    /// that [cannot deal with the `@`](crate::scaling_out#many-machines-a-clustered-broker).
    ///
    /// ```
    /// use ttn::{Feed, MqttClient};
    ///
    /// let network = MqttClient::builder("my-app@ttn", "NNSXS.ID.SECRET").cluster("eu1");
    /// let broker = MqttClient::own_broker("my-app@ttn").mqtt_address("localhost:1883");
    /// let feed = Feed::builder(network, broker).capacity(50_000);
    /// # let _ = feed;
    /// ```
    pub fn builder(network: MqttClientBuilder, broker: MqttClientBuilder) -> FeedBuilder {
        FeedBuilder::new(network, broker)
    }

    /// Returns what the feed has counted. Does not wait.
    ///
    /// ```no_run
    /// # fn show(feed: &ttn::Feed) {
    /// let stats = feed.stats();
    /// println!("{} acknowledged, {} waiting", stats.acknowledged, stats.waiting);
    /// # }
    /// ```
    pub fn stats(&self) -> FeedStats {
        match self.home.is_here() {
            true => self.shared.stats(),
            false => FeedStats::default(),
        }
    }

    /// Returns the channel of what happens to the feed: its connections, overflows, failures. All that this returns
    /// are ends of one channel, so each event goes to one of them. It keeps the last 1,000 events, and ends when the
    /// feed has closed.
    ///
    /// ```no_run
    /// # fn watch(feed: &ttn::Feed) {
    /// for event in feed.events() {
    ///     println!("{event}");
    /// }
    /// # }
    /// ```
    pub fn events(&self) -> Receiver<FeedEvent> {
        self.shared.events()
    }

    /// Closes the feed within its [`close_timeout`](FeedBuilder::close_timeout): takes nothing more from the network,
    /// publishes what it has, waits for the acknowledgements, writes the watermark, and closes both connections. Closing a
    /// closed feed does nothing.
    ///
    /// # Errors
    ///
    /// The feed is closed nevertheless.
    ///
    /// - [`ErrorKind::Unconfirmed`] if the broker has not acknowledged everything; the error says how many messages. With a
    ///   watermark file, the next run fetches the uplinks among them.
    /// - [`ErrorKind::Config`] if the watermark file cannot be written.
    /// - [`ErrorKind::TimedOut`] if the feed's thread does not answer.
    /// - [`ErrorKind::Forked`] in a fork of the process.
    ///
    /// ```no_run
    /// # fn end(feed: ttn::Feed) -> ttn::Result<()> {
    /// feed.close()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn close(&self) -> Result<()> {
        self.home.check()?;
        let (reply, answer) = bounded(1);
        if self.control.send(Control::Close(reply)).is_err() {
            return Ok(());
        }
        match answer.recv_timeout(self.shared.close_timeout + GRACE) {
            Ok(result) => result,
            Err(RecvTimeoutError::Disconnected) => Ok(()),
            Err(RecvTimeoutError::Timeout) => Err(Error::new(
                ErrorKind::TimedOut,
                format!(
                    "closing the feed took longer than {:?}; is the disk of the watermark file busy?",
                    self.shared.close_timeout
                ),
            )),
        }
    }
}

impl fmt::Debug for Feed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Feed")
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}
