//! A service: runs until SIGTERM or Ctrl-C, and then closes cleanly. A device that sends
//! `"alarm": true` is answered.
//!
//! Without an account it runs on a simulated network:
//!
//! ```text
//! cargo run --example service
//! ```
//!
//! With an account it reads the variables `TTN_APP_ID`, `TTN_CLUSTER` or `TTN_MQTT_ADDRESS`, and the
//! access key from the credential `ttn-access-key` of systemd, otherwise from `TTN_ACCESS_KEY`. The file
//! `service.service` beside this one is a unit for systemd.
//!
//! | exit status | meaning |
//! |---|---|
//! | 0 | a signal ended it, and the server has processed every downlink |
//! | 1 | it could not go on, or downlinks are uncertain; the log says which |
//! | 78 | a setting is wrong, so that starting it again does not help |
//!
//! A second signal ends it immediately. The page `running_for_a_year` of the documentation says what else a service
//! needs; `examples/metrics.rs` serves its counters, and `examples/archive.rs` misses nothing.

use std::{
    env, fs,
    io::{self, Write},
    path::Path,
    process::ExitCode,
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use log::{Level, LevelFilter, Log, Metadata, Record};
use serde_json::json;
use signal_hook::{
    consts::{SIGINT, SIGTERM},
    iterator::Signals,
    low_level::{emulate_default_handler, signal_name},
};
use ttn::{
    ConnectRetry, ErrorKind, Event, MqttClient, MqttClientBuilder, Network,
    crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded, never, select},
    simulator::Simulator,
};

const CREDENTIAL: &str = "ttn-access-key";

/// EX_CONFIG of sysexits.h.
const WRONG_SETTING: u8 = 78;

fn main() -> ExitCode {
    ExitCode::from(run())
}

/// Runs the service. Returns its exit status.
pub(crate) fn run() -> u8 {
    start_logging();
    let (status, error) = match client() {
        Ok((client, _simulation)) => match serve(&client) {
            Ok(()) => return 0,
            // For example, a certificate file that does not exist.
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

fn client() -> Result<(MqttClient, Option<Simulation>)> {
    let (builder, simulation) = match env::var_os("TTN_APP_ID") {
        Some(_) => (builder_of_environment()?, None),
        None => {
            let simulation = Simulation::start()?;
            (simulation.builder(), Some(simulation))
        }
    };
    // The network may come up later than this program.
    let client = builder.connect_retry(ConnectRetry::Forever).build()?;
    Ok((client, simulation))
}

fn serve(client: &MqttClient) -> Result<()> {
    let signals = receive_signals()?;
    let events = client.events();
    // On a thread of its own, because it may wait for the network while a signal arrives.
    let (report, mut connected) = bounded(1);
    let connecting = thread::spawn({
        let client = client.clone();
        move || report.send(client.connect())
    });

    loop {
        select! {
            recv(signals) -> signal => {
                let name = signal_name(signal?).unwrap_or("a signal");
                log::info!("{name}: closing");
                break;
            }
            recv(connected) -> result => {
                result??;
                connected = never();
            }
            recv(events.receiver()) -> event => match event? {
                Event::Closed(closed) => match closed.error {
                    Some(error) => return Err(error.into()),
                    None => bail!("the client is closed"),
                },
                event => handle(&event, client),
            },
        }
    }

    // From here on, another signal ends the program.
    drop(signals);
    let closed = client.close();
    // What arrived before the end is still in the queue.
    for event in events.receiver().try_iter() {
        handle(&event, client);
    }
    let _ = connecting.join();
    closed.context("not everything was processed")?;
    log::info!("closed; {} messages received", client.stats().received);
    Ok(())
}

fn handle(event: &Event, client: &MqttClient) {
    match event {
        Event::Connected(connected) => log::info!("connected to {}", connected.address),
        Event::ConnectFailed(failed) => log::warn!("not connected: {}", failed.error),
        Event::Disconnected(lost) => log::warn!("{}", lost.error),
        Event::Lagged(dropped) => log::warn!("too slow: {dropped} events dropped"),
        Event::Malformed(malformed) => log::warn!("{}", malformed.error),
        Event::PublishFailed(failed) => log::warn!("{}", failed.error),
        Event::Uplink(uplink) => {
            log::info!("{} sent {}", uplink.dev_id, uplink.payload_hex());
            if uplink.payload_fields["alarm"] == true {
                match client.reply(uplink, "01") {
                    Ok(_) => log::info!("{} is answered", uplink.dev_id),
                    Err(error) => log::warn!("{} is not answered: {error}", uplink.dev_id),
                }
            }
        }
        _ => {}
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

fn builder_of_environment() -> Result<MqttClientBuilder> {
    let access_key = match env::var_os("CREDENTIALS_DIRECTORY") {
        Some(folder) => {
            let file = Path::new(&folder).join(CREDENTIAL);
            fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?
        }
        None => env::var("TTN_ACCESS_KEY").context("TTN_ACCESS_KEY cannot be read")?,
    };
    let app_id = env::var("TTN_APP_ID").context("TTN_APP_ID cannot be read")?;
    let mut builder = MqttClient::builder(app_id, access_key.trim());
    if let Ok(cluster) = env::var("TTN_CLUSTER") {
        builder = builder.cluster(cluster);
    }
    if let Ok(address) = env::var("TTN_MQTT_ADDRESS") {
        builder = builder.mqtt_address(address);
    }
    Ok(builder)
}

/// A simulated network with one device, which sends an uplink every second until this is dropped.
struct Simulation {
    app_id: String,
    access_key: String,
    address: String,
    _stop: Sender<()>,
}

impl Simulation {
    fn start() -> Result<Self> {
        let network = Simulator::start(Network::V3)?;
        network.set_decoder(|_, bytes| Ok(Some(json!({"alarm": bytes == [1]}))));
        let (stop, stopped) = bounded::<()>(0);
        let simulation = Self {
            app_id: network.app_id().to_owned(),
            access_key: network.access_key().to_owned(),
            address: network.mqtt_address(),
            _stop: stop,
        };
        thread::spawn(move || {
            let device = network.device("greenhouse-door");
            let mut round = 0_u8;
            while stopped.recv_timeout(Duration::from_secs(1)) == Err(RecvTimeoutError::Timeout) {
                device.uplink(1, [u8::from(round % 3 == 2)]);
                round = round.wrapping_add(1);
            }
        });
        Ok(simulation)
    }

    fn builder(&self) -> MqttClientBuilder {
        MqttClient::builder(&*self.app_id, &*self.access_key).mqtt_address(&*self.address)
    }
}

/// Logs to standard error, which is where systemd collects it. The library's own messages are included.
struct Logger {
    is_journal: bool,
}

fn start_logging() {
    let logger = Logger {
        is_journal: env::var_os("JOURNAL_STREAM").is_some(),
    };
    if log::set_logger(Box::leak(Box::new(logger))).is_ok() {
        log::set_max_level(LevelFilter::Info);
    }
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        // Paho calls the regular end of its loopback a lost connection.
        !metadata.target().starts_with("paho_mqtt")
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        // The levels of sd-daemon(3).
        let level = match record.level() {
            _ if !self.is_journal => "",
            Level::Error => "<3>",
            Level::Warn => "<4>",
            Level::Info => "<6>",
            Level::Debug | Level::Trace => "<7>",
        };
        // Unlike `eprintln!`, does not panic if nobody reads it.
        let _ = writeln!(io::stderr(), "{level}{}", record.args());
    }

    fn flush(&self) {}
}
