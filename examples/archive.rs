//! An archive: stores every uplink of an application in an SQLite file, once. After an outage, or when it was not
//! running, it fetches what it missed from the network. Kill it at any moment, and start it again.
//!
//! Without an account it runs on a simulated network that breaks down now and then, and ends with the program:
//!
//! ```text
//! cargo run --example archive
//! sqlite3 uplinks.sqlite "SELECT device, counter, received_at, hex(payload) FROM uplinks ORDER BY time"
//! ```
//!
//! With an account it takes the file as its argument, and reads `TTN_APP_ID`, `TTN_ACCESS_KEY`, and `TTN_CLUSTER`
//! or `TTN_MQTT_ADDRESS` with `TTN_HTTP_ADDRESS` from the environment. One file is for one application. Ctrl-C and
//! SIGTERM end it. The page `running_for_a_year` of the documentation says what else a service needs that runs for long.

use std::{
    env, thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, bail};
use humantime::format_rfc3339_nanos;
use indicatif::{ProgressBar, ProgressStyle};
use rusqlite::{Connection, params};
use signal_hook::{
    consts::{SIGINT, SIGTERM},
    iterator::Signals,
};
use ttn::{
    Backfill, BackfillProgress, ConnectRetry, ErrorKind, Event, MqttClient, MqttClientBuilder,
    Network, UplinkMessage, Watermark,
    crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded, never, select},
    simulator::{Simulator, Storage},
};

/// The most uplinks in one transaction.
const BATCH: usize = 1_000;

/// How often the progress bar moves.
const GLANCE: Duration = Duration::from_millis(200);

/// After how long without news the progress bar goes away.
const STANDSTILL: Duration = Duration::from_secs(5);

// The key of an uplink: a device sends a counter again after it has joined again, but not at the same time.
const SCHEMA: &str = "
    PRAGMA journal_mode = WAL;
    CREATE TABLE IF NOT EXISTS uplinks (
        device TEXT NOT NULL,
        time INTEGER NOT NULL, -- when the network server received it, in nanoseconds since 1970
        counter INTEGER NOT NULL,
        port INTEGER NOT NULL,
        payload BLOB NOT NULL,
        fields TEXT, -- JSON
        received_at TEXT, -- when the application server received it
        gateway TEXT, -- the one that received it best
        rssi REAL,
        snr REAL,
        PRIMARY KEY (device, time, counter)
    );
    CREATE TABLE IF NOT EXISTS progress (id INTEGER PRIMARY KEY CHECK (id = 1), watermark TEXT NOT NULL);";

fn main() -> Result<()> {
    let file = env::args().nth(1);
    fill(file.as_deref().unwrap_or("uplinks.sqlite"))
}

/// Stores uplinks in that file until a signal arrives.
pub(crate) fn fill(file: &str) -> Result<()> {
    let mut archive = Archive::open(file)?;
    let (builder, backfill, _simulation) = match env::var_os("TTN_APP_ID") {
        Some(_) => (builder_of_environment()?, Backfill::new(), None),
        None => {
            let simulation = Simulation::start()?;
            // The network breaks down again before the later ones of the default.
            let backfill = Backfill::new().passes([0, 1, 2].map(Duration::from_secs));
            (simulation.builder(), backfill, Some(simulation))
        }
    };
    let builder = builder
        .backfill(backfill)
        .resume_from(archive.watermark()?)
        .connect_retry(ConnectRetry::Forever);
    run(&builder.build()?, &mut archive)
}

fn run(client: &MqttClient, archive: &mut Archive) -> Result<()> {
    let signals = receive_signals()?;
    let mut screen = Screen::default();
    let events = client.events();
    // On a thread of its own, because it may wait for the network while a signal arrives.
    let (report, mut connected) = bounded(1);
    let connecting = thread::spawn({
        let client = client.clone();
        move || report.send(client.connect())
    });

    loop {
        select! {
            recv(signals) -> _ => break,
            recv(connected) -> result => {
                result??;
                connected = never();
            }
            recv(events.receiver()) -> event => {
                let waiting = events.receiver().try_iter().take(BATCH - 1);
                archive.take([event?].into_iter().chain(waiting), &screen)?;
            }
            default(GLANCE) => {}
        }
        screen.show(client.backfill_progress());
    }

    screen.say("closing");
    client.close()?;
    // What arrived before the end is still in the queue.
    archive.take(events.receiver().try_iter(), &screen)?;
    let _ = connecting.join();
    screen.say(&format!("{} uplinks stored", archive.stored));
    Ok(())
}

/// The file.
struct Archive {
    database: Connection,
    stored: usize,
}

impl Archive {
    fn open(file: &str) -> Result<Self> {
        let open = || {
            let database = Connection::open(file)?;
            database.execute_batch(SCHEMA)?;
            Ok::<_, rusqlite::Error>(database)
        };
        Ok(Self {
            database: open().with_context(|| format!("cannot open {file}"))?,
            stored: 0,
        })
    }

    /// Returns how far earlier runs have got: in the first one, that nothing before this moment is wanted.
    fn watermark(&self) -> Result<Watermark> {
        let now = Watermark::from(SystemTime::now()).to_string();
        let begin = "INSERT OR IGNORE INTO progress VALUES (1, ?1)";
        self.database.execute(begin, [now])?;
        let query = "SELECT watermark FROM progress";
        let text: String = self.database.query_row(query, [], |row| row.get(0))?;
        Ok(text.parse()?)
    }

    /// Stores the uplinks among some events, and the watermark of the last one, in one transaction.
    fn take(&mut self, events: impl Iterator<Item = Event>, screen: &Screen) -> Result<()> {
        let transaction = self.database.transaction()?;
        let mut watermark = None;
        let mut closed = None;
        for event in events {
            match event {
                Event::Uplink(uplink) => {
                    self.stored += store(&transaction, &uplink)?;
                    watermark = Some(uplink);
                }
                Event::Closed(reason) => closed = reason.error,
                Event::Connected(connected) => screen.say(&match connected.gap {
                    Some(gap) => format!("connected again after {} s", gap.length.as_secs()),
                    None => "connected".to_owned(),
                }),
                Event::ConnectFailed(failed) => {
                    screen.say(&format!("not connected: {}", failed.error));
                }
                Event::Disconnected(lost) => screen.say(&lost.error.to_string()),
                Event::Lagged(events) => {
                    screen.say(&format!("too slow: {events} events are fetched later"));
                }
                Event::Malformed(malformed) => screen.say(&malformed.error.to_string()),
                Event::Backfilled(report) => screen.say(&match &report.error {
                    Some(error) if error.kind() == ErrorKind::Closed => {
                        "the next run fetches what this one has not".to_owned()
                    }
                    _ => format!("caught up: {report}"),
                }),
                _ => {}
            }
        }
        if let Some(watermark) = watermark.and_then(|uplink| uplink.watermark()) {
            let moved = "UPDATE progress SET watermark = ?1";
            transaction.execute(moved, [watermark.to_string()])?;
        }
        transaction.commit()?;
        match closed {
            Some(error) => Err(error.into()),
            None => Ok(()),
        }
    }
}

/// Returns the number of uplinks that are new: none if the archive has this one.
fn store(database: &Connection, uplink: &UplinkMessage) -> Result<usize> {
    let mut insert = database.prepare_cached(
        "INSERT OR IGNORE INTO uplinks VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
    )?;
    // Some simulated uplinks have only the second time.
    let time = uplink.metadata.time.or(uplink.received_at);
    let fields = Some(&uplink.payload_fields).filter(|fields| !fields.is_null());
    let gateway = uplink.best_gateway();
    Ok(insert.execute(params![
        uplink.dev_id,
        nanoseconds(time.unwrap_or(UNIX_EPOCH))?,
        uplink.counter,
        uplink.port,
        uplink.payload_raw,
        fields.map(ToString::to_string),
        uplink
            .received_at
            .map(|time| format_rfc3339_nanos(time).to_string()),
        gateway.map(|gateway| &gateway.gtw_id),
        gateway.and_then(|gateway| gateway.rssi),
        gateway.and_then(|gateway| gateway.snr),
    ])?)
}

fn nanoseconds(time: SystemTime) -> Result<i64> {
    Ok(time.duration_since(UNIX_EPOCH)?.as_nanos().try_into()?)
}

/// Messages, with a progress bar below them while the client catches up. What was missed for a short time comes too
/// quickly for a bar.
#[derive(Default)]
struct Screen {
    bar: Option<ProgressBar>,
    /// The first time that the backfill has reached.
    begin: Option<SystemTime>,
    /// How many uplinks were fetched, and when that was new.
    fetched: Option<(u64, Instant)>,
}

impl Screen {
    fn say(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| println!("{text}")),
            None => println!("{text}"),
        }
    }

    fn show(&mut self, progress: Option<BackfillProgress>) {
        let Some((progress, reached)) = self.moving(progress) else {
            if let Some(bar) = self.bar.take() {
                bar.finish_and_clear();
            }
            self.begin = None;
            return;
        };
        let bar = self.bar.get_or_insert_with(|| {
            let style = ProgressStyle::with_template("catching up {bar:30} {percent:>3} %, {msg}");
            ProgressBar::new(1).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        });
        bar.set_message(format!("{} missed uplinks", progress.delivered));
        let begin = *self.begin.get_or_insert(reached);
        let seconds = |time: SystemTime| time.duration_since(begin).unwrap_or_default().as_secs();
        bar.set_length(seconds(SystemTime::now()).max(1));
        bar.set_position(seconds(reached));
    }

    /// Returns how far the client has got, unless it waits to look once more for uplinks that storage shows late.
    fn moving(
        &mut self,
        progress: Option<BackfillProgress>,
    ) -> Option<(BackfillProgress, SystemTime)> {
        let Some(progress) = progress else {
            self.fetched = None;
            return None;
        };
        let now = Instant::now();
        let fetched = progress.delivered + progress.known;
        let since = match self.fetched {
            Some((before, since)) if before == fetched => since,
            _ => now,
        };
        self.fetched = Some((fetched, since));
        let reached = progress.reached?;
        (now - since < STANDSTILL).then_some((progress, reached))
    }
}

fn receive_signals() -> Result<Receiver<i32>> {
    let mut signals = Signals::new([SIGTERM, SIGINT])?;
    let (sender, receiver) = bounded(1);
    thread::spawn(move || signals.forever().try_for_each(|signal| sender.send(signal)));
    Ok(receiver)
}

fn builder_of_environment() -> Result<MqttClientBuilder> {
    let app_id = env::var("TTN_APP_ID").context("TTN_APP_ID cannot be read")?;
    let access_key = env::var("TTN_ACCESS_KEY").context("TTN_ACCESS_KEY cannot be read")?;
    let builder = MqttClient::builder(app_id, access_key);
    let variables = ["TTN_CLUSTER", "TTN_MQTT_ADDRESS", "TTN_HTTP_ADDRESS"];
    Ok(match variables.map(|name| env::var(name).ok()) {
        [Some(cluster), None, None] => builder.cluster(cluster),
        [None, Some(mqtt), Some(http)] => builder.mqtt_address(mqtt).http_address(http),
        _ => bail!("set either TTN_CLUSTER, or TTN_MQTT_ADDRESS and TTN_HTTP_ADDRESS"),
    })
}

/// A simulated network with storage, whose two devices send ten uplinks a second until this is dropped. Its
/// MQTT server is away for three of every eight seconds.
struct Simulation {
    app_id: String,
    access_key: String,
    addresses: [String; 2],
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
            addresses: [network.mqtt_address(), network.http_address()],
            _stop: stop,
        };
        thread::spawn(move || {
            let devices = ["bed-07", "greenhouse-door"].map(|name| network.device(name));
            for round in 0_u16.. {
                match round % 80 {
                    50 => network.stop(),
                    0 if round > 0 => network.restart()?,
                    _ => {}
                }
                devices[usize::from(round % 2)].uplink(1, round.to_be_bytes());
                let pause = stopped.recv_timeout(Duration::from_millis(100));
                if pause != Err(RecvTimeoutError::Timeout) {
                    break;
                }
            }
            std::io::Result::Ok(())
        });
        Ok(simulation)
    }

    fn builder(&self) -> MqttClientBuilder {
        let [mqtt, http] = &self.addresses;
        MqttClient::builder(&*self.app_id, &*self.access_key)
            .mqtt_address(mqtt)
            .http_address(http)
    }
}
