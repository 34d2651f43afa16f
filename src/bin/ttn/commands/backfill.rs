//! `ttn backfill`

use std::time::SystemTime;

use anyhow::Result;
use clap::Args;
use ttn::{Backfill as Options, Backfilled};

use crate::{
    connection::Connection,
    losses::Losses,
    options, output,
    printing::{self, End, Kind, Printer, Stop},
    progress::Progress,
    status::Status,
    times,
};

/// Print the uplinks of a time that has passed
#[derive(Args, Debug)]
#[command(
    after_help = "Ends with status 1 if something of that time could not be fetched, and with 8 if a signal \
    ends it before.\n\n\
    Example: ttn backfill --app my-app@ttn --cluster eu1 --from 2h --json"
)]
pub(crate) struct Backfill {
    /// Begin then: 2h ago, or RFC 3339
    #[arg(short, long, value_name = "TIME", value_parser = times::past)]
    from: SystemTime,

    /// End then; by default now
    #[arg(short, long, value_name = "TIME", value_parser = times::past)]
    to: Option<SystemTime>,

    /// Print each uplink as a line of JSON
    #[arg(long)]
    json: bool,

    /// Print only this device (repeatable)
    #[arg(short, long, value_name = "ID")]
    device: Vec<String>,

    #[command(flatten)]
    connection: Connection,
}

impl Backfill {
    pub(crate) fn run(self) -> Result<Status> {
        let client = self
            .connection
            .builder()?
            .backfill(Options::on_request())
            .build()?;
        let printer = Printer {
            as_json: self.json,
            devices: self.device,
            kinds: vec![Kind::Uplink],
            recorder: None,
            count: None,
            is_backfill: true,
            printed: 0,
            is_connected: false,
            losses: Losses::default(),
        };
        let time = self.from..self.to.unwrap_or_else(SystemTime::now);
        let progress = Progress::new(Some(time.start), Some(time.end));
        let ended = printing::run(client, printer, progress, None, move |client| {
            client.backfill(time).map(|_| ())
        })?;
        match ended.end {
            _ if ended.stop == Stop::Gone => Ok(Status::Done),
            Some(End::Backfilled(report)) => Ok(match (told(&report), ended.stop) {
                // It was broken off.
                (Status::Failed, Stop::Asked) => Status::of_signal(true),
                (status, _) => status,
            }),
            // A signal came before it had begun, or standard output takes nothing.
            _ if ended.stop == Stop::Asked => Ok(Status::of_signal(true)),
            _ => Ok(Status::Failed),
        }
    }
}

/// Tells what came of it.
fn told(report: &Backfilled) -> Status {
    output::note(options::named(&report.to_string()));
    match report.uncovered.is_empty() && report.error.is_none() {
        true => Status::Done,
        false => Status::Failed,
    }
}
