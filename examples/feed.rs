//! A feed: publishes everything that an application gets into a broker of one's own, at least once, and takes
//! downlinks from there to the network. Runs until SIGTERM or Ctrl-C, and then closes cleanly.
//!
//! Without an account it reads a simulated network; the broker must be there, for example Mosquitto:
//!
//! ```text
//! mosquitto -p 1883 &
//! cargo run --example feed
//! mosquitto_sub -v -t '#'
//! ```
//!
//! | variable | is |
//! |---|---|
//! | `TTN_APP_ID` | the application; without it, the network is simulated |
//! | `TTN_ACCESS_KEY` | its key, unless systemd has the credential `ttn-access-key` |
//! | `TTN_CLUSTER`, or `TTN_MQTT_ADDRESS` and `TTN_HTTP_ADDRESS` | where the network is |
//! | `FEED_BROKER` | the address of the broker, or several with commas between them; by default `localhost:1883` |
//! | `FEED_USER`, `FEED_PASSWORD` | the login to the broker, if it needs one |
//! | `FEED_CLIENT_ID` | the client id at the broker, different for each feed; by default `ttn-feed` and the application |
//! | `FEED_PREFIX` | what stands before all topics, such as `ttn/` |
//! | `FEED_PARTITIONS` | the number of partitions |
//! | `FEED_WATERMARK` | the file of the watermark, different for each feed; without it, a restart misses what came in between |
//! | `FEED_DOWNLINKS` | `share` (the default), `alone` for the only feed that takes downlinks on a broker without shared groups, `no` for all others |
//!
//! | exit status | meaning |
//! |---|---|
//! | 0 | a signal ended it, and the broker has acknowledged everything |
//! | 1 | it could not go on, or messages are not acknowledged; the log says which |
//! | 78 | a setting is wrong, so that starting it again does not help |
//!
//! A second signal ends it immediately. The pages `scaling_out` and `running_for_a_year` of the documentation say more.

use std::{
    env, fs,
    io::{self, Write},
    path::Path,
    process::ExitCode,
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use log::{LevelFilter, Log, Metadata, Record};
use signal_hook::{
    consts::{SIGINT, SIGTERM},
    iterator::Signals,
    low_level::{emulate_default_handler, signal_name},
};
use ttn::{
    ConnectRetry, ErrorKind, Feed, FeedBuilder, MqttClient, MqttClientBuilder, Network, Session,
    Topics,
    crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded, select, tick},
    simulator::{Simulator, Storage},
};

const CREDENTIAL: &str = "ttn-access-key";

/// EX_CONFIG of sysexits.h.
const WRONG_SETTING: u8 = 78;

/// How often the feed says what it has counted.
const EVERY: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    ExitCode::from(run())
}

/// Runs the feed. Returns its exit status.
pub(crate) fn run() -> u8 {
    if log::set_logger(&Logger).is_ok() {
        log::set_max_level(LevelFilter::Info);
    }
    let (status, error) = match feed() {
        Ok((feed, _simulation)) => match serve(feed) {
            Ok(()) => return 0,
            Err(error) if is_about_settings(&error) => (WRONG_SETTING, error),
            Err(error) => (1, error),
        },
        Err(error) => (WRONG_SETTING, error),
    };
    log::error!("{error:#}");
    status
}

fn is_about_settings(error: &anyhow::Error) -> bool {
    let error = error.downcast_ref::<ttn::Error>();
    error.is_some_and(|error| error.kind() == ErrorKind::Config)
}

fn serve(builder: FeedBuilder) -> Result<()> {
    let signals = receive_signals()?;
    // On a thread of its own, because it may wait for the network or the broker while a signal arrives.
    let (report, starting) = bounded(1);
    thread::spawn(move || report.send(builder.start()));
    let feed = select! {
        recv(signals) -> signal => {
            log::info!("{}: it had not started", name(signal?));
            return Ok(());
        }
        recv(starting) -> feed => feed??,
    };
    let events = feed.events();
    let counts = tick(EVERY);
    loop {
        select! {
            recv(signals) -> signal => {
                log::info!("{}: closing", name(signal?));
                break;
            }
            recv(events) -> event => match event {
                Ok(event) => log::info!("{event}"),
                Err(_) => bail!("the feed has ended"),
            },
            recv(counts) -> _ => log_counts(&feed),
        }
    }
    // From here on, another signal ends the program.
    drop(signals);
    let closed = feed.close();
    log_counts(&feed);
    closed.context("not everything is acknowledged")?;
    log::info!("closed");
    Ok(())
}

fn log_counts(feed: &Feed) {
    let stats = feed.stats();
    log::info!(
        "{} acknowledged, {} waiting, {} fetched, {} dropped; {} downlinks taken",
        stats.acknowledged,
        stats.waiting,
        stats.fetched,
        stats.dropped,
        stats.requests
    );
}

fn feed() -> Result<(FeedBuilder, Option<Simulation>)> {
    let (network, app_id, simulation) = match variable("TTN_APP_ID")? {
        Some(app_id) => (network(&app_id)?, app_id, None),
        None => {
            let simulation = Simulation::start()?;
            let app_id = simulation.app_id.clone();
            (simulation.builder(), app_id, Some(simulation))
        }
    };
    // Both may come up later than this program.
    let network = network.connect_retry(ConnectRetry::Forever);
    let broker = broker(&app_id)?.connect_retry(ConnectRetry::Forever);
    let mut feed = Feed::builder(network, broker);
    if let Some(file) = variable("FEED_WATERMARK")? {
        feed = feed.watermark_file(file);
    }
    feed = match variable("FEED_DOWNLINKS")?.as_deref() {
        None | Some("share") => feed,
        Some("alone") => feed.share_downlinks(false),
        Some("no") => feed.take_downlinks(false),
        Some(other) => bail!("FEED_DOWNLINKS is {other:?}; it can be share, alone or no"),
    };
    Ok((feed, simulation))
}

fn network(app_id: &str) -> Result<MqttClientBuilder> {
    let access_key = match env::var_os("CREDENTIALS_DIRECTORY") {
        Some(folder) => {
            let file = Path::new(&folder).join(CREDENTIAL);
            fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?
        }
        None => env::var("TTN_ACCESS_KEY").context("TTN_ACCESS_KEY cannot be read")?,
    };
    let mut builder = MqttClient::builder(app_id, access_key.trim());
    if let Some(cluster) = variable("TTN_CLUSTER")? {
        builder = builder.cluster(cluster);
    }
    if let Some(address) = variable("TTN_MQTT_ADDRESS")? {
        builder = builder.mqtt_address(address);
    }
    if let Some(address) = variable("TTN_HTTP_ADDRESS")? {
        builder = builder.http_address(address);
    }
    Ok(builder)
}

fn broker(app_id: &str) -> Result<MqttClientBuilder> {
    let address = variable("FEED_BROKER")?.unwrap_or_else(|| "localhost:1883".to_owned());
    let client_id = variable("FEED_CLIENT_ID")?.unwrap_or_else(|| format!("ttn-feed-{app_id}"));
    let mut builder = MqttClient::own_broker(app_id)
        .mqtt_address(address)
        .session(Session::persistent(client_id));
    if let Some(user) = variable("FEED_USER")? {
        let password = variable("FEED_PASSWORD")?.unwrap_or_default();
        builder = builder.credentials(user, password);
    }
    if let Some(prefix) = variable("FEED_PREFIX")? {
        builder = builder.topics(Topics::with_prefix(prefix));
    }
    if let Some(partitions) = variable("FEED_PARTITIONS")? {
        let partitions = partitions.parse();
        builder = builder.partitions(partitions.context("FEED_PARTITIONS is not a number")?);
    }
    Ok(builder)
}

fn variable(name: &str) -> Result<Option<String>> {
    match env::var(name) {
        Ok(value) => Ok(Some(value)),
        Err(env::VarError::NotPresent) => Ok(None),
        Err(error) => Err(error).with_context(|| format!("{name} cannot be read")),
    }
}

/// Turns signals into messages. A signal that nobody receives does what it does by default.
fn receive_signals() -> Result<Receiver<i32>> {
    let mut signals = Signals::new([SIGTERM, SIGINT])?;
    let (sender, receiver) = bounded(1);
    thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            for signal in signals.forever() {
                if sender.try_send(signal).is_err() {
                    let _ = emulate_default_handler(signal);
                }
            }
        })?;
    Ok(receiver)
}

fn name(signal: i32) -> &'static str {
    signal_name(signal).unwrap_or("a signal")
}

/// A simulated network with one device, which sends an uplink every second until this is dropped.
struct Simulation {
    app_id: String,
    access_key: String,
    mqtt_address: String,
    http_address: String,
    _stop: Sender<()>,
}

impl Simulation {
    fn start() -> Result<Self> {
        let network = Simulator::start(Network::V3)?;
        network.storage(Some(Storage::new()));
        let (stop, stopped) = bounded::<()>(0);
        let simulation = Self {
            app_id: network.app_id().to_owned(),
            access_key: network.access_key().to_owned(),
            mqtt_address: network.mqtt_address(),
            http_address: network.http_address(),
            _stop: stop,
        };
        thread::spawn(move || {
            let device = network.device("greenhouse-door");
            let mut round = 0_u8;
            while stopped.recv_timeout(Duration::from_secs(1)) == Err(RecvTimeoutError::Timeout) {
                device.uplink(1, [round]);
                round = round.wrapping_add(1);
            }
        });
        Ok(simulation)
    }

    fn builder(&self) -> MqttClientBuilder {
        MqttClient::builder(&*self.app_id, &*self.access_key)
            .mqtt_address(&*self.mqtt_address)
            .http_address(&*self.http_address)
    }
}

/// Logs to standard error. The library's own messages are included.
struct Logger;

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        // Paho calls the regular end of its loopback a lost connection.
        !metadata.target().starts_with("paho_mqtt")
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            // Unlike `eprintln!`, does not panic if nobody reads it.
            let _ = writeln!(io::stderr(), "{}", record.args());
        }
    }

    fn flush(&self) {}
}
