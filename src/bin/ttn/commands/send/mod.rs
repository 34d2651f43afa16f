//! `ttn send`

mod order;
mod outcome;
mod watch;

use std::{
    fs,
    io::{self, Read},
    path::PathBuf,
    time::Duration,
};

use anyhow::{Context, Result};
use clap::{ArgAction, Args};
use ttn::{ErrorKind, MqttClient, MqttClientBuilder, Network, Over};

use crate::{
    connecting::connect,
    connection::Connection,
    interrupt,
    output::note,
    status::{Status, usage},
    times,
};
use order::{Options, Order};
use outcome::Wait;
use watch::{Manner, Watch};

/// How long a single payload on standard input may be.
const MAX_PAYLOAD: u64 = 64 * 1024;

/// How many messages of a batch are written a minute.
const PACE: u32 = 300;

/// How many downlinks may be written at once after a pause.
const BURST: u32 = 10;

/// What reads standard input.
const STDIN: &str = "-";

/// How long to wait for the network, and for a device.
const NETWORK: Duration = Duration::from_secs(30);
const DEVICE: Duration = Duration::from_secs(3600);

/// The arguments without a meaning for a downlink of before.
const FOR_SENDING: [&str; 10] = [
    "payload",
    "batch",
    "base64",
    "json",
    "port",
    "confirmed",
    "schedule",
    "priority",
    "class_b_c",
    "over_http",
];

/// How long the network is given to report, at least.
const FOLLOWED: Duration = Duration::from_secs(48 * 3600);

/// How long a downlink can be followed.
const LONGEST: Duration = Duration::from_secs(365 * 86_400);

/// How long a batch waits for the report about a downlink.
const REPORT: Duration = Duration::from_secs(20);

/// How long a batch waits for a lost connection.
const OUTAGE: Duration = Duration::from_secs(300);

const EXAMPLES: &str = "\
Examples:
  ttn send pump-1 0102 --port 2 --confirmed --wait acknowledged
  echo '{\"dev_id\": \"pump-1\", \"payload_hex\": \"01\"}' | ttn send --batch -";

/// Send a downlink to a device, and show what becomes of it
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Send {
    /// The device id
    #[arg(required_unless_present = "batch")]
    device: Option<String>,

    /// The payload in hex; - is stdin
    #[arg(required_unless_present_any = ["batch", "follow"])]
    payload: Option<String>,

    #[command(flatten)]
    options: Options,

    /// Read lines of DEVICE PAYLOAD, or JSON; - is stdin
    #[arg(long, value_name = "FILE", conflicts_with_all = ["device", "payload"])]
    batch: Option<PathBuf>,

    /// Write this many of a batch a minute [default: 300]
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..=30_000))]
    pace: Option<u32>,

    /// Wait for written, queued (default), sent, acknowledged
    #[arg(
        short,
        long,
        value_enum,
        value_name = "STATE",
        default_value = "queued",
        hide_default_value = true,
        hide_possible_values = true
    )]
    wait: Wait,

    /// Wait this long [default: 30s; for a device 1h]
    #[arg(short, long, value_name = "TIME", value_parser = timeout)]
    timeout: Option<Duration>,

    /// Send over HTTP, which tells why not (v3)
    #[arg(long)]
    over_http: bool,

    /// Send nothing; follow an earlier downlink by its key
    #[arg(long, value_name = "KEY", conflicts_with_all = FOR_SENDING)]
    follow: Option<String>,

    /// Print each state as a JSON object
    #[arg(long, action = ArgAction::SetTrue)]
    json_output: bool,

    #[command(flatten)]
    connection: Connection,
}

impl Send {
    pub(crate) fn run(self) -> Result<Status> {
        if self.pace.is_some() && self.batch.is_none() {
            return Err(usage("--pace is for a --batch"));
        }
        let orders = self.orders()?;
        let signals = interrupt::receive()?;
        let builder = self.builder(&orders)?;
        check(&builder, &orders)?;
        let client = builder.build()?;
        let followed = match (&self.follow, &self.device) {
            (Some(key), Some(dev_id)) => Some((dev_id.clone(), client.follow(key, dev_id)?)),
            _ => None,
        };
        if !connect(&client, &signals)? {
            note("interrupted: nothing was sent");
            return Ok(Status::of_signal(true));
        }

        let mut watch = Watch::new(&client, self.manner(), orders)?;
        if let Some((dev_id, delivery)) = followed {
            watch.add(dev_id, delivery);
        }
        let ended = watch.run(&signals);
        let closed = client.close();
        let status = watch.finish(ended)?;
        match closed {
            Err(error) if status == Status::Done => Err(error.into()),
            Err(error) => {
                note(error);
                Ok(status)
            }
            Ok(()) => Ok(status),
        }
    }

    fn orders(&self) -> Result<Vec<Order>> {
        let orders = match (&self.batch, &self.device, &self.payload) {
            (Some(file), ..) => self.batch(file)?,
            (None, Some(device), Some(payload)) if payload == STDIN => {
                vec![self.options.order(device, &payload_of_stdin()?)?]
            }
            (None, Some(device), Some(payload)) => vec![self.options.order(device, payload)?],
            _ => Vec::new(),
        };
        if self.wait == Wait::Acknowledged {
            if let Some(order) = orders.iter().find(|order| !order.is_confirmed) {
                return Err(in_line(
                    order,
                    usage("the device acknowledges only a confirmed downlink; use --confirmed"),
                ));
            }
        }
        Ok(orders)
    }

    fn batch(&self, file: &PathBuf) -> Result<Vec<Order>> {
        let (name, text) = if file.as_os_str() == STDIN {
            ("standard input".to_owned(), io::read_to_string(io::stdin()))
        } else {
            (file.display().to_string(), fs::read_to_string(file))
        };
        let text = text.map_err(|error| usage(format!("cannot read {name}: {error}")))?;
        let orders = self.options.orders(&text).context(name.clone())?;
        if orders.is_empty() {
            return Err(usage(format!("there are no downlinks in {name}")));
        }
        order::check_replaced(&orders).context(name)?;
        Ok(orders)
    }

    fn builder(&self, orders: &[Order]) -> Result<MqttClientBuilder> {
        let mut builder = self.connection.builder()?;
        if self.over_http {
            builder = builder.downlinks(Over::Http);
        }
        if self.batch.is_some() {
            let together = order::groups(orders).max().unwrap_or_default();
            let capacity = together.clamp(1_000, 30_000);
            builder = builder
                .pace(self.pace(), BURST)
                .send_capacity(capacity)
                .offline_queue(capacity, OUTAGE)
                .unconfirmed_after(REPORT);
        }
        let time = self.timeout().max(FOLLOWED);
        builder = builder.follow_downlinks(orders.len().max(10_000), time);
        Ok(builder)
    }

    fn manner(&self) -> Manner {
        Manner {
            wait: self.wait,
            timeout: self.timeout(),
            // What is written within two seconds: a signal stops the rest.
            unwritten: (self.pace() / 30).clamp(1, 100) as usize,
            is_json: self.json_output,
        }
    }

    fn pace(&self) -> u32 {
        self.pace.unwrap_or(PACE)
    }

    fn timeout(&self) -> Duration {
        self.timeout.unwrap_or(match self.wait {
            Wait::Written | Wait::Queued => NETWORK,
            Wait::Sent | Wait::Acknowledged => DEVICE,
        })
    }
}

fn timeout(text: &str) -> Result<Duration, String> {
    match times::duration(text)? {
        time if time > LONGEST => Err("it is longer than a year".to_owned()),
        time => Ok(time),
    }
}

/// Checks what can be checked before anything is sent.
fn check(builder: &MqttClientBuilder, orders: &[Order]) -> Result<()> {
    // `send` checks a downlink first; without a connection it then goes no further.
    let client: MqttClient = builder.clone().build()?;
    let is_v3 = client.network() == Network::V3;
    for order in orders {
        if is_v3 && order.is_first() {
            return Err(in_line(
                order,
                usage(
                    "v3 cannot put a downlink at the front of the queue; use --schedule last or replace",
                ),
            ));
        }
        match client.send(&order.dev_id, order.downlink.clone()) {
            Err(error) if error.kind() != ErrorKind::NotConnected => {
                return Err(in_line(order, error.into()));
            }
            _ => {}
        }
    }
    Ok(())
}

fn in_line(order: &Order, error: anyhow::Error) -> anyhow::Error {
    match order.line {
        Some(line) => error.context(format!("line {line}")),
        None => error,
    }
}

fn payload_of_stdin() -> Result<String> {
    let mut payload = String::new();
    io::stdin()
        .take(MAX_PAYLOAD + 1)
        .read_to_string(&mut payload)
        .map_err(|error| {
            usage(format!(
                "cannot read the payload from standard input: {error}"
            ))
        })?;
    if payload.len() as u64 > MAX_PAYLOAD {
        return Err(usage(format!(
            "the payload on standard input is longer than {MAX_PAYLOAD} bytes; a device receives at most 242"
        )));
    }
    Ok(payload)
}
