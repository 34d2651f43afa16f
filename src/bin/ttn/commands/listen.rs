//! `ttn listen`

use std::{
    path::PathBuf,
    time::{Duration, SystemTime},
};

use anyhow::Result;
use clap::Args;
use ttn::{Backfill, MqttClient, MqttClientBuilder, Recorder};

use crate::{
    connection::{self, Connection},
    losses::Losses,
    output,
    printing::{self, End, Kind, Printer, Stop},
    progress::Progress,
    status::Status,
    times,
};

/// The longest time that the library fetches.
const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

/// Print uplinks and other events as they arrive
#[derive(Args, Debug)]
#[command(
    after_help = "Kinds are those of the JSON, such as downlink. The status is 8 if --for or a signal \
    ends it before --count is reached.\n\n\
    Example: ttn listen --app my-app@ttn --cluster eu1 --since 2h --json"
)]
pub(crate) struct Listen {
    /// Print each event as a line of JSON
    #[arg(long)]
    json: bool,

    /// Print only this device (repeatable)
    #[arg(short, long, value_name = "ID")]
    device: Vec<String>,

    /// Print this kind, or all (repeatable)
    #[arg(
        short,
        long,
        value_enum,
        value_name = "KIND",
        default_value = "uplink",
        hide_possible_values = true
    )]
    kind: Vec<Kind>,

    /// First fetch uplinks since: 2h, or RFC 3339
    #[arg(short, long, value_name = "TIME", value_parser = times::past)]
    since: Option<SystemTime>,

    /// End after this number of events
    #[arg(short = 'n', long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,

    /// End after this time, such as 90s
    #[arg(long = "for", value_name = "DURATION", value_parser = times::duration)]
    time: Option<Duration>,

    /// Record every event in this file too
    #[arg(short, long, value_name = "FILE")]
    record: Option<PathBuf>,

    #[command(flatten)]
    connection: Connection,
}

impl Listen {
    pub(crate) fn run(self) -> Result<Status> {
        let client = self.client(self.connection.builder()?)?;
        let recorder = match self.record {
            Some(file) => Some(Recorder::open(file, client.network())?),
            None => None,
        };
        let printer = Printer {
            as_json: self.json,
            devices: self.device,
            kinds: self.kind,
            recorder,
            count: self.count,
            is_backfill: false,
            printed: 0,
            is_connected: false,
            losses: Losses::default(),
        };
        let progress = Progress::new(self.since, None);
        let ended = printing::run(client, printer, progress, self.time, MqttClient::connect)?;
        match (ended.end, self.count) {
            (Some(End::Closed(Some(error))), _) => Err(error.into()),
            (Some(End::Enough), _) => Ok(Status::Done),
            (_, Some(count)) if ended.stop == Stop::TimedOut => {
                let printed = ended.printed;
                output::note(format_args!(
                    "error: the time is over after {printed} of {count} events"
                ));
                Ok(Status::TimedOut)
            }
            (_, count) if ended.stop == Stop::Asked => {
                if let Some(count) = count {
                    let printed = ended.printed;
                    output::note(format_args!(
                        "interrupted after {printed} of {count} events"
                    ));
                }
                Ok(Status::of_signal(count.is_some()))
            }
            _ => Ok(Status::Done),
        }
    }

    fn client(&self, builder: MqttClientBuilder) -> ttn::Result<MqttClient> {
        if let Some(since) = self.since {
            let age = since.elapsed().unwrap_or_default() + Duration::from_secs(60);
            return builder
                .backfill(Backfill::new().max_age(age.min(YEAR)))
                .resume_from(since)
                .build();
        }
        connection::patient(builder)
    }
}
