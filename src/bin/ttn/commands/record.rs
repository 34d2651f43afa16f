//! `ttn record`

use std::{
    io::{self, IsTerminal},
    path::PathBuf,
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context, Result};
use clap::Args;
use indicatif::{HumanCount, ProgressBar};
use ttn::{
    Anonymizer, Closed, Event, MqttClient, Overflow, Recorder,
    crossbeam_channel::{after, at, never, select},
};

use crate::{
    connection::{self, Connection},
    interrupt,
    lines::Lines,
    losses::Losses,
    output,
    printing::tell_lost,
    sizes,
    status::Status,
    threads, times,
};

/// How many events may wait for the disk. When it takes none for long, the network's server is not read.
const WAITING: usize = 10_000;

/// Record everything that arrives in a file
#[derive(Args, Debug)]
#[command(
    after_help = "A file that exists is continued. The status is 8 if --for or a signal ends it before \
    --count is reached.\n\n\
    Example: ttn record run.jsonl --app my-app@ttn --cluster eu1 --max-size 10M"
)]
pub(crate) struct Record {
    /// The recording
    #[arg(default_value = "recording.jsonl")]
    file: PathBuf,

    /// Begin a new file at this size, such as 10M
    #[arg(long, value_name = "SIZE", value_parser = sizes::size)]
    max_size: Option<u64>,

    /// Keep this number of older files, FILE.1 and so on
    #[arg(
        long,
        value_name = "NUMBER",
        default_value_t = 9,
        requires = "max_size"
    )]
    keep: u32,

    /// End after this number of messages
    #[arg(short = 'n', long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,

    /// End after this time, such as 2h
    #[arg(long = "for", value_name = "DURATION", value_parser = times::duration)]
    duration: Option<Duration>,

    /// Replace ids, places, payloads and all unknown
    #[arg(long, visible_alias = "anonymize")]
    anonymise: bool,

    /// Leave payloads and decoded fields as they are
    #[arg(long, requires = "anonymise")]
    keep_payloads: bool,

    #[command(flatten)]
    connection: Connection,
}

/// Why it ends.
enum End {
    Asked,
    Enough,
    TimedOut,
    Closed(Closed),
}

impl Record {
    pub(crate) fn run(self) -> Result<Status> {
        let signals = interrupt::receive()?;
        let client = connection::patient(self.connection.builder()?)?;
        let events = client.events_with(WAITING, Overflow::Block);
        let mut writer = Writer {
            recorder: self.recorder(&client)?,
            messages: 0,
            losses: Losses::default(),
            bar: bar(),
        };
        output::note(format_args!("recording in {}", self.file.display()));
        let connecting = client.clone();
        let mut connected = threads::spawn("connect", move || connecting.connect())?;
        let deadline = self.duration.map_or_else(never, after);
        let end = loop {
            let now = Instant::now();
            tell_lost(writer.losses.take(now));
            let losses = writer.losses.due(now).map_or_else(never, at);
            select! {
                recv(losses) -> _ => {}
                recv(events.receiver()) -> event => {
                    let event = event.context("the client has ended")?;
                    if let Some(end) = writer.take(&event, self.count)? {
                        break end;
                    }
                }
                recv(connected) -> outcome => {
                    outcome.context("a thread has panicked")??;
                    connected = never();
                }
                recv(signals) -> _ => break End::Asked,
                recv(deadline) -> _ => break End::TimedOut,
            }
        };
        if let Err(error) = client.close() {
            output::note(format_args!("warning: {error}"));
        }
        drop(client);
        // What has arrived before the end.
        if !matches!(end, End::Enough) {
            for event in events.iter() {
                writer.take(&event, None)?;
                if let Event::Closed(_) = event {
                    break;
                }
            }
        }
        self.ended(end, &mut writer)
    }

    fn recorder(&self, client: &MqttClient) -> Result<Recorder> {
        let mut builder = Recorder::builder(&self.file, client.network()).keep(self.keep);
        if let Some(size) = self.max_size {
            builder = builder.max_size(size);
        }
        if self.anonymise {
            builder = builder.anonymize(Anonymizer::new().keep_payloads(self.keep_payloads));
        }
        Ok(builder.open()?)
    }

    fn ended(&self, end: End, writer: &mut Writer) -> Result<Status> {
        tell_lost(writer.losses.rest());
        writer.bar.finish_and_clear();
        output::above(None);
        let messages = HumanCount(writer.messages);
        output::note(format_args!(
            "recorded {messages} messages in {}",
            self.file.display()
        ));
        match (end, self.count) {
            (
                End::Closed(Closed {
                    error: Some(error), ..
                }),
                _,
            ) => Err(error.into()),
            (End::TimedOut, Some(count)) if writer.messages < count => {
                output::note(format_args!(
                    "error: the time is over before {count} messages"
                ));
                Ok(Status::TimedOut)
            }
            (End::Asked, Some(count)) if writer.messages < count => {
                output::note(format_args!("interrupted before {count} messages"));
                Ok(Status::of_signal(true))
            }
            _ => Ok(Status::Done),
        }
    }
}

/// Writes events, and shows how many.
struct Writer {
    recorder: Recorder,
    messages: u64,
    losses: Losses,
    bar: ProgressBar,
}

impl Writer {
    fn take(&mut self, event: &Event, count: Option<u64>) -> Result<Option<End>> {
        self.recorder.record(event)?;
        if event.raw().is_some() {
            self.messages += 1;
            self.bar
                .set_message(format!("{} messages", HumanCount(self.messages)));
            self.bar.tick();
            if count.is_some_and(|count| self.messages >= count) {
                return Ok(Some(End::Enough));
            }
        }
        match event {
            Event::Closed(closed) => return Ok(Some(End::Closed(closed.clone()))),
            Event::Lagged(lost) => self.losses.add(*lost),
            Event::Connected(_) | Event::Disconnected(_) => {
                output::note(Lines::new(false).line(event, SystemTime::now()));
            }
            _ => {}
        }
        Ok(None)
    }
}

/// Returns a bar that tells how many messages there are, on a terminal.
fn bar() -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new_spinner();
    output::above(Some(bar.clone()));
    bar
}
