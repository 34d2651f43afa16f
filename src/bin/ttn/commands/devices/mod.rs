//! `ttn devices`

mod pattern;
mod row;
mod screen;
mod table;
mod watch;

use std::{
    env,
    io::{self, IsTerminal},
    time::{Duration, SystemTime},
};

use anyhow::Result;
use clap::Args;
use ttn::{Backfill, DeviceStatus, MqttClient, MqttClientBuilder};

use crate::{
    connection::{self, Connection},
    output::{self, Background},
    status::Status,
    times,
};
use pattern::Pattern;
use row::{Row, Sort};
use screen::Screen;
use watch::Watch;

/// How long to listen if nothing else was said, and nobody looks on.
const LISTEN: Duration = Duration::from_secs(60);

/// Show each device: when it was last heard, and how well
#[derive(Args, Debug)]
#[command(
    after_help = "On a terminal, the table renews itself until Ctrl-C or --for. Otherwise it is printed once, \
    after --for, after the backfill of --since, or after 60 s. The status is 1 if the backfill fails, and 8 if \
    a signal ends it.\n\n\
    Example: ttn devices --app my-app@ttn --cluster eu1 --since 24h --sort last"
)]
pub(crate) struct Devices {
    /// Print each device as a line of JSON, once
    #[arg(long)]
    json: bool,

    /// Show only these: bed-07, or bed-* (repeatable)
    #[arg(short, long, value_name = "PATTERN")]
    device: Vec<Pattern>,

    /// Sort by this; what needs attention comes first
    #[arg(long, value_enum, value_name = "COLUMN", default_value = "name")]
    sort: Sort,

    /// First fetch uplinks since: 24h, or RFC 3339
    #[arg(short, long, value_name = "TIME", value_parser = times::past)]
    since: Option<SystemTime>,

    /// End after this time, such as 10m
    #[arg(long = "for", value_name = "DURATION", value_parser = times::duration)]
    time: Option<Duration>,

    /// Call a device silent after this many intervals
    #[arg(long, value_name = "NUMBER", default_value_t = 3.0)]
    silent_after: f32,

    #[command(flatten)]
    connection: Connection,
}

/// Returns whether the terminal cannot move its cursor.
fn is_dumb() -> bool {
    env::var_os("TERM").is_some_and(|kind| kind == "dumb")
}

impl Devices {
    pub(crate) fn run(self) -> Result<Status> {
        let client = self.client(self.connection.builder()?)?;
        let is_shown = !self.json && io::stdout().is_terminal() && !is_dumb();
        let mut screen = is_shown.then(Screen::start);
        let watch = Watch {
            client: client.clone(),
            since: self.since,
            time: match (self.time, self.since) {
                (None, None) if !is_shown => Some(LISTEN),
                (time, _) => time,
            },
            ends_with_backfill: !is_shown && self.time.is_none(),
            is_shown,
        };
        let stopped = watch.run(|news| match &mut screen {
            Some(screen) => screen.show(&self.rows(&client)?, news),
            None => Ok(()),
        });
        // The cursor is back before anything else is written.
        drop(screen.take());
        let ended = stopped.and_then(|status| match is_shown {
            true => Ok(status),
            false => self.print(&client).map(|()| status),
        });
        if let Err(error) = client.close() {
            output::note(format_args!("warning: {error}"));
        }
        ended
    }

    fn client(&self, builder: MqttClientBuilder) -> ttn::Result<MqttClient> {
        let builder = builder.silence_after(self.silent_after);
        match self.since {
            Some(_) => builder.backfill(Backfill::new()).build(),
            None => connection::patient(builder),
        }
    }

    /// Returns the devices that were asked for.
    fn devices(&self, client: &MqttClient) -> ttn::Result<Vec<DeviceStatus>> {
        let mut devices = client.devices()?;
        devices.retain(|device| {
            let mut patterns = self.device.iter();
            self.device.is_empty() || patterns.any(|it| it.fits(&device.dev_id))
        });
        Ok(devices)
    }

    fn rows(&self, client: &MqttClient) -> Result<Vec<Row>> {
        let devices = self.devices(client)?;
        let mut rows: Vec<_> = devices.iter().map(Row::new).collect();
        rows.sort_by(|one, other| self.sort.compare(one, other));
        Ok(rows)
    }

    fn print(&self, client: &MqttClient) -> Result<()> {
        let mut out = Background::start()?;
        if self.json {
            let mut devices: Vec<_> = self
                .devices(client)?
                .into_iter()
                .map(|device| (Row::new(&device), device))
                .collect();
            devices.sort_by(|(one, _), (other, _)| self.sort.compare(one, other));
            return devices.iter().try_for_each(|(_, device)| out.json(device));
        }
        let rows = self.rows(client)?;
        if rows.is_empty() {
            output::note("no device was heard");
        }
        table::lines(&rows, usize::MAX, false)
            .into_iter()
            .try_for_each(|line| out.line(line))
    }
}
