//! `ttn feed`

use std::{path::PathBuf, time::Duration};

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use ttn::{
    Event, Feed as Running, FeedBuilder, FeedEvent, FeedStats, Session,
    crossbeam_channel::{after, select, tick},
};

use crate::{
    broker::BrokerArguments, connection::Connection, interrupt, lines, options, output,
    status::Status, threads,
};

/// How often the feed tells what it has counted.
const EVERY: Duration = Duration::from_secs(60);

/// The longest delay between attempts to start.
const LONGEST: Duration = Duration::from_secs(60);

/// Publish everything into an MQTT broker of your own
#[derive(Args, Debug)]
#[command(
    after_help = "The default broker is localhost:1883. Of several feeds, each has its own watermark and client id; they \
    share downlinks.\n\n\
    Example: ttn feed --broker localhost:1883 --watermark /var/lib/ttn/feed"
)]
pub(crate) struct Feed {
    /// Keep how far it has got in this file
    #[arg(short, long, value_name = "FILE")]
    watermark: Option<PathBuf>,

    /// Take downlinks: share, alone or no
    #[arg(
        long,
        value_enum,
        value_name = "HOW",
        default_value = "share",
        hide_possible_values = true
    )]
    downlinks: Downlinks,

    #[command(flatten)]
    connection: Connection,

    #[command(flatten)]
    broker: BrokerArguments,

    /// The number of partitions
    #[arg(long, value_name = "NUMBER", help_heading = "Broker")]
    partitions: Option<u32>,

    /// The client id, different for each feed
    #[arg(long, value_name = "ID", help_heading = "Broker")]
    client_id: Option<String>,
}

/// Which feed takes downlinks from the broker.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Downlinks {
    /// All feeds share them.
    Share,
    /// This one alone, for a broker without shared groups.
    Alone,
    /// Another one.
    No,
}

impl Feed {
    pub(crate) fn run(self) -> Result<Status> {
        let builder = self.builder()?;
        let signals = interrupt::receive()?;
        // On a thread of its own, because it may wait for the network or the broker while a signal arrives.
        let starting = threads::spawn("start", move || start(&builder))?;
        let feed = select! {
            recv(signals) -> _ => return Ok(Status::Done),
            recv(starting) -> feed => feed.context("a thread has panicked")??,
        };
        let events = feed.events();
        let counts = tick(EVERY);
        let mut told = FeedStats::default();
        loop {
            select! {
                recv(signals) -> _ => break,
                recv(events) -> event => match event {
                    Ok(event) => tell(&event),
                    Err(_) => bail!("the feed has ended"),
                },
                recv(counts) -> _ => tell_counts(&feed, &mut told),
            }
        }
        let closed = feed.close();
        tell_counts(&feed, &mut told);
        Ok(match closed {
            Ok(()) => Status::Done,
            Err(error) => {
                output::note(format_args!(
                    "error: not everything is acknowledged: {error}"
                ));
                Status::Failed
            }
        })
    }

    fn builder(&self) -> Result<FeedBuilder> {
        let app_id = self.connection.app()?;
        let client_id = match &self.client_id {
            Some(id) => id.clone(),
            None => format!("ttn-feed-{app_id}"),
        };
        let network = self.connection.builder()?;
        let address = self.broker.address().unwrap_or("localhost:1883");
        let mut broker = self
            .broker
            .builder(app_id, address)?
            // The id and the key show which one it is, and the broker has no key.
            .network(network.clone().build()?.network())
            .session(Session::persistent(client_id));
        if let Some(partitions) = self.partitions {
            broker = broker.partitions(partitions);
        }
        let mut feed = Running::builder(network, broker);
        if let Some(file) = &self.watermark {
            feed = feed.watermark_file(file);
        }
        Ok(match self.downlinks {
            Downlinks::Share => feed,
            Downlinks::Alone => feed.share_downlinks(false),
            Downlinks::No => feed.take_downlinks(false),
        })
    }
}

/// Starts it. Both sides may come up later than this program, and the user is told so.
fn start(builder: &FeedBuilder) -> ttn::Result<Running> {
    let mut delay = Duration::from_secs(1);
    loop {
        match builder.clone().start() {
            Err(error) if error.is_transient() => {
                note(format_args!(
                    "{error}; the next attempt is in {}",
                    lines::seconds(delay)
                ));
            }
            outcome => return outcome,
        }
        // Nothing else happens until then; a signal ends the program.
        let _ = after(delay).recv();
        delay = (2 * delay).min(LONGEST);
    }
}

fn tell(event: &FeedEvent) {
    match event {
        // The library logs them as warnings.
        FeedEvent::Network(Event::KeyWarning(_))
        | FeedEvent::Dropped(_)
        | FeedEvent::Overflowed
        | FeedEvent::Failed(_) => {}
        other => note(other),
    }
}

/// Tells what the feed has counted, if there is anything new.
fn tell_counts(feed: &Running, told: &mut FeedStats) {
    let stats = feed.stats();
    if stats != *told {
        *told = stats;
        note(format_args!(
            "{} acknowledged, {} waiting, {} fetched, {} dropped; {} taken",
            stats.acknowledged,
            stats.waiting,
            stats.fetched,
            stats.dropped,
            lines::counted(stats.requests, "downlink")
        ));
    }
}

fn note(text: impl std::fmt::Display) {
    let now = lines::time(std::time::SystemTime::now());
    let text = options::named(&text.to_string());
    output::note(format_args!("{now}  {text}"));
}
