//! `ttn simulate`

mod faults;
mod fleet;
mod printer;
mod prompt;
mod replay;
mod report;
mod typed;

use std::{
    collections::{BTreeSet, VecDeque},
    fs, io,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result, anyhow};
use clap::Args;
use ttn::{
    Network, Speed,
    crossbeam_channel::{bounded, select},
    simulator::{Activity, Simulator, SimulatorBuilder, Storage, WhenFull},
};

use self::{faults::Fault, fleet::Fleet, printer::Printer, prompt::Prompt, report::Started};
use crate::{
    connection::NetworkName,
    interrupt, output,
    status::{Status, usage},
    times,
};

/// How many activities wait to be printed.
const WAITING: usize = 10_000;
/// How many published messages, requests and downlinks of each device are kept.
const HISTORY: usize = 1000;
/// How long the last lines may take to be read.
const LAST_LINES: Duration = Duration::from_secs(1);
/// How many received downlinks the command `downlinks` lists.
const REMEMBERED: usize = 100;
/// The most devices that are simulated.
const MOST_DEVICES: u32 = 100_000;

const EXAMPLES: &str = "\
Port 0 is a free one. It reads commands from standard input: type help.

Example: ttn simulate --device pump-1 --every 5s --fault suback-delay=2s";

/// Run a simulated network for clients in any language
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Simulate {
    /// Simulate this network: v3 or V2
    #[arg(long, value_enum, default_value = "v3", hide_possible_values = true)]
    network: NetworkName,

    /// Listen here for MQTT [default: 127.0.0.1:1883]
    #[arg(long, value_name = "ADDRESS")]
    mqtt: Option<String>,

    /// Listen here for HTTP, on v3 [127.0.0.1:1885]
    #[arg(long, value_name = "ADDRESS")]
    http: Option<String>,

    /// Serve MQTT (on port 8883) and HTTP over TLS
    #[arg(long)]
    tls: bool,

    /// Write the authority's certificate to this file
    #[arg(long, value_name = "FILE", requires = "tls")]
    ca_out: Option<PathBuf>,

    /// Add a host to the certificate (repeatable)
    #[arg(long, value_name = "NAME", requires = "tls")]
    tls_name: Vec<String>,

    /// Name the application [default: simulated-app@ttn]
    #[arg(short, long, value_name = "ID")]
    app: Option<String>,

    /// Set its key [default: NNSXS.SIMULATED.KEY]
    #[arg(long, value_name = "KEY")]
    key: Option<String>,

    /// Simulate device-1 to device-N [default: 20]
    #[arg(long, value_name = "N", conflicts_with = "device",
        value_parser = clap::value_parser!(u32).range(..=i64::from(MOST_DEVICES)))]
    devices: Option<u32>,

    /// Simulate this device (repeatable)
    #[arg(short, long, value_name = "ID")]
    device: Vec<String>,

    /// Send uplinks this often; 0s for none
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = times::duration)]
    every: Duration,

    /// Send the same payloads in every run
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,

    /// Keep uplinks this long for backfill, on v3
    #[arg(long, value_name = "DURATION", value_parser = times::duration)]
    storage: Option<Duration>,

    /// Replay this recording once a client subscribes
    #[arg(long, value_name = "RECORDING", conflicts_with_all = ["devices", "device", "app", "network"])]
    from: Option<PathBuf>,

    /// Replay it that much faster, or max
    #[arg(long, value_name = "FACTOR", default_value_t = Speed::ORIGINAL, requires = "from")]
    speed: Speed,

    /// Misbehave, such as ignore-pings; list for all
    #[arg(long, value_name = "FAULT")]
    fault: Vec<String>,

    /// Print lines of JSON, the addresses first
    #[arg(long)]
    json: bool,

    /// End when standard input ends
    #[arg(long)]
    until_eof: bool,
}

/// What the devices have received lately, newest last.
type Downlinks = Arc<Mutex<VecDeque<Activity>>>;

impl Simulate {
    pub(crate) fn run(self) -> Result<Status> {
        let recorded = self.from.as_deref().map(replay::Source::open).transpose()?;
        let network = match &recorded {
            Some(recorded) => recorded.network,
            None => self.network.into(),
        };
        if self
            .fault
            .iter()
            .any(|name| name == "list" || name == "help")
        {
            for line in faults::list(network) {
                output::line(line)?;
            }
            return Ok(Status::Done);
        }
        let faults = self.faults(network)?;
        let names = self.names(network)?;
        let (sender, activities) = bounded(WAITING);
        let app_id = recorded.as_ref().map(|recorded| recorded.app_id.as_str());
        let app_id = self.app.as_deref().or(app_id);
        let builder = self.builder(network, app_id)?.activity(sender);
        let builder = faults
            .iter()
            .fold(builder, |builder, fault| fault.set(builder));
        let interrupted = interrupt::receive()?;
        let simulator = Arc::new(builder.start().map_err(|error| self.explained(error))?);
        self.write_authority(&simulator)?;
        if let Some(time) = self.storage {
            simulator.storage(Some(Storage::new().retention(time)));
        }
        for fault in &faults {
            fault.apply(&simulator);
        }

        let printer = Printer::start(self.json)?;
        let started = Started {
            network,
            simulator: &simulator,
            is_own_key: self.key.is_some(),
            authority: self.ca_out.as_deref(),
            devices: &names,
        };
        printer.print(&started);
        if self.tls && self.ca_out.is_none() {
            output::note(
                "clients need the certificate of the authority; write it to a file with --ca-out",
            );
        }
        let seed = self.seed.unwrap_or_else(|| fastrand::u64(..));
        let fleet = Fleet::start(&simulator, &names, self.every, seed)?;
        let replayed = recorded.map(|recorded| recorded.start(&simulator, &printer, self.speed));
        let replayed = replayed.transpose()?;
        let downlinks = Downlinks::default();
        // It stays here too, so that the end of standard input is no message.
        let (quit, quitting) = bounded(1);
        let prompt = Prompt {
            network,
            simulator: Arc::clone(&simulator),
            printer: printer.clone(),
            downlinks: Arc::clone(&downlinks),
            quit: quit.clone(),
        };
        prompt.start(self.until_eof)?;

        loop {
            select! {
                recv(interrupted) -> _ => break,
                recv(quitting) -> _ => break,
                recv(printer.ended()) -> ended => {
                    return ended.unwrap_or(Ok(())).map(|()| Status::Done);
                }
                recv(activities) -> activity => if let Ok(activity) = activity {
                    remember(&downlinks, &activity);
                    printer.print(&activity);
                },
            }
        }
        // A device may wait for a client that does not read.
        simulator.stop();
        fleet.stop();
        if let Some(replayed) = replayed {
            replayed.stop();
        }
        for activity in activities.try_iter() {
            printer.print(&activity);
        }
        printer.finish(LAST_LINES)?;
        Ok(Status::Done)
    }

    fn faults(&self, network: Network) -> Result<Vec<Fault>> {
        let read = |text: &String| {
            Fault::read(network, text).map_err(|error| usage(format!("--fault {text}: {error}")))
        };
        self.fault.iter().map(read).collect()
    }

    /// Returns the names of the devices.
    fn names(&self, network: Network) -> Result<Vec<String>> {
        if self.device.is_empty() {
            let default = if self.from.is_some() { 0 } else { 20 };
            let count = self.devices.unwrap_or(default);
            return Ok((1..=count)
                .map(|number| format!("device-{number}"))
                .collect());
        }
        let mut known = BTreeSet::new();
        for name in &self.device {
            if !Simulator::is_id(network, name) {
                return Err(usage(format!("--device {name}: {}", invalid_id(network))));
            }
            if !known.insert(name) {
                return Err(usage(format!("--device {name} is there twice")));
            }
        }
        Ok(self.device.clone())
    }

    fn builder(&self, network: Network, app_id_given: Option<&str>) -> Result<SimulatorBuilder> {
        let is_v3 = network == Network::V3;
        let mut builder = Simulator::builder(network)
            .address(self.mqtt_address())
            .history(HISTORY)
            // As the real networks do: one client that does not read must not hold up all others.
            .quirks(|quirks| quirks.when_full = WhenFull::Drop);
        match &self.http {
            Some(_) if !is_v3 => return Err(usage("--http is for v3; V2 has no HTTP")),
            _ if is_v3 => builder = builder.http_address(self.http_address()),
            _ => {}
        }
        if self.storage.is_some() && !is_v3 {
            return Err(usage(
                "--storage is for v3; V2 is not simulated with a storage",
            ));
        }
        if let Some(seed) = self.seed {
            builder = builder.seed(seed);
        }
        let (app_id, access_key) = match network {
            Network::V2 => ("simulated-app", "ttn-account-v2.simulated-key"),
            _ => ("simulated-app@ttn", "NNSXS.SIMULATED.KEY"),
        };
        let app_id = app_id_given.unwrap_or(app_id);
        let access_key = self.key.as_deref().unwrap_or(access_key);
        check_application(network, app_id, access_key)?;
        self.secure(builder.application(app_id, access_key), is_v3)
    }

    fn mqtt_address(&self) -> &str {
        let default = if self.tls {
            "127.0.0.1:8883"
        } else {
            "127.0.0.1:1883"
        };
        self.mqtt.as_deref().unwrap_or(default)
    }

    fn http_address(&self) -> &str {
        self.http.as_deref().unwrap_or("127.0.0.1:1885")
    }

    #[cfg(feature = "tls")]
    fn secure(&self, builder: SimulatorBuilder, is_v3: bool) -> Result<SimulatorBuilder> {
        let builder = builder.tls(self.tls);
        let builder = if is_v3 {
            builder.https(self.tls)
        } else {
            builder
        };
        let names = self.tls_name.iter();
        Ok(names.fold(builder, |builder, name| builder.certificate_name(name)))
    }

    #[cfg(not(feature = "tls"))]
    fn secure(&self, builder: SimulatorBuilder, _: bool) -> Result<SimulatorBuilder> {
        match self.tls {
            true => Err(usage(
                "--tls needs a program that was built with the feature tls",
            )),
            false => Ok(builder),
        }
    }

    fn write_authority(&self, simulator: &Simulator) -> Result<()> {
        let Some(file) = &self.ca_out else {
            return Ok(());
        };
        let written = fs::write(file, authority(simulator));
        written.with_context(|| format!("cannot write the certificate to {}", file.display()))
    }

    /// Explains why the network cannot start.
    fn explained(&self, error: io::Error) -> anyhow::Error {
        let advice = match error.kind() {
            io::ErrorKind::InvalidInput => {
                return usage(format!("{error}; write it as 127.0.0.1:1883"));
            }
            io::ErrorKind::AddrInUse => {
                "; choose another port with --mqtt and --http, or 0 for a free one"
            }
            io::ErrorKind::PermissionDenied => "; ports below 1024 often need special rights",
            _ => "",
        };
        anyhow!("the network cannot start: {error}{advice}")
    }
}

/// Returns the certificate of the authority of a network with TLS.
#[cfg(feature = "tls")]
fn authority(simulator: &Simulator) -> String {
    simulator.authority()
}

#[cfg(not(feature = "tls"))]
fn authority(_: &Simulator) -> String {
    unreachable!("a network without TLS does not start with --tls")
}

/// Keeps what a device has received.
fn remember(downlinks: &Downlinks, activity: &Activity) {
    if !matches!(activity, Activity::Received { .. }) {
        return;
    }
    let mut downlinks = downlinks.lock().unwrap_or_else(PoisonError::into_inner);
    if downlinks.len() == REMEMBERED {
        downlinks.pop_front();
    }
    downlinks.push_back(activity.clone());
}

/// Rejects an application that no client could use.
fn check_application(network: Network, app_id: &str, access_key: &str) -> Result<()> {
    let (is_v3, (id, tenant)) = match (network, app_id.split_once('@')) {
        (Network::V3, Some((id, tenant))) => (true, (id, Some(tenant))),
        (network, _) => (network == Network::V3, (app_id, None)),
    };
    let mut ids = [Some(id), tenant].into_iter().flatten();
    if !ids.all(|id| Simulator::is_id(network, id)) {
        let form = invalid_id(network);
        return Err(usage(format!("--app {app_id}: {form}")));
    }
    let parts: Vec<_> = access_key.split('.').collect();
    let has_form = match is_v3 {
        true => parts.len() == 3 && parts[0] == "NNSXS",
        false => parts.len() >= 2,
    } && parts.iter().all(|part| !part.is_empty());
    if !has_form {
        let form = match is_v3 {
            true => "NNSXS, an id and a secret, with dots between them",
            false => "ttn-account-v2 and a secret, with a dot between them",
        };
        return Err(usage(format!("--key is not a key of this network: {form}")));
    }
    Ok(())
}

fn invalid_id(network: Network) -> &'static str {
    match network {
        Network::V2 => {
            "not a valid id; use 2 to 36 lower-case letters and digits, with single - or _ between them"
        }
        _ => {
            "not a valid id; use 3 to 36 lower-case letters and digits, with single - between them"
        }
    }
}
