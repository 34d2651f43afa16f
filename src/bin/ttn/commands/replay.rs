//! `ttn replay`

use std::{
    fs::File,
    io::{self, BufRead, BufReader},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use anyhow::{Context, Result, bail};
use clap::Args;
use ttn::{
    Anonymizer, ErrorKind, Event, Network, Pacing, Recorded, Recorder, Recording, Replay as InTime,
    Speed, crossbeam_channel::select,
};

use crate::{
    connection::NetworkName,
    interrupt,
    lines::{self, Lines},
    output,
    printing::Kind,
    reader,
    status::Status,
    threads, times,
};

/// How long standard output may take for what was printed last.
const GRACE: Duration = Duration::from_secs(5);

/// Print a recording, or make it anonymous
#[derive(Args, Debug)]
#[command(
    after_help = "Reads what ttn record, ttn listen --record and mosquitto_sub -F %j write, and what a \
    Storage Integration answers. Lines that cannot be read are told on standard error.\n\n\
    Example: ttn replay run.jsonl --speed 10 --device pump-1"
)]
pub(crate) struct Replay {
    /// The recording, or - for standard input
    file: PathBuf,

    /// Print this many times faster, or max
    #[arg(short, long, value_name = "FACTOR", default_value_t = Speed::ORIGINAL)]
    speed: Speed,

    /// Wait for this long at most between two messages
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = times::duration)]
    max_wait: Duration,

    /// Print each event as a line of JSON
    #[arg(long)]
    json: bool,

    /// Print only this device (repeatable)
    #[arg(short, long, value_name = "ID")]
    device: Vec<String>,

    /// Print only this kind, such as uplink (repeatable)
    #[arg(
        short,
        long,
        value_enum,
        value_name = "KIND",
        default_value = "all",
        hide_possible_values = true
    )]
    kind: Vec<Kind>,

    /// Write a recording that shows no ids, places or payloads
    #[arg(long, visible_alias = "anonymize", value_name = "OUT", conflicts_with_all = ["speed", "json"])]
    anonymise: Option<PathBuf>,

    /// Leave payloads and decoded fields as they are
    #[arg(long, requires = "anonymise")]
    keep_payloads: bool,

    /// The application of a Storage answer, such as my-app@ttn
    #[arg(short, long, value_name = "ID")]
    app: Option<String>,

    /// The network, if neither the recording nor its topics show it
    #[arg(long, value_enum)]
    network: Option<NetworkName>,
}

type AnyReader = Box<dyn BufRead + Send>;

impl Replay {
    pub(crate) fn run(self) -> Result<Status> {
        let recording = self.recording()?;
        if let Some(path) = &self.anonymise {
            return self.copy(recording, path);
        }
        let signals = interrupt::receive()?;
        let gone = reader::watch();
        let pacing = Pacing::new(self.speed).longest(self.max_wait);
        let replay = InTime::new(recording, pacing);
        let stopper = replay.stopper();
        // Standard input and output can block for any time; a signal must end the program nevertheless.
        let ended = threads::spawn("replay", move || self.play(replay))?;
        let status = select! {
            recv(ended) -> outcome => {
                outcome.context("a thread has panicked")??;
                return Ok(Status::Done);
            }
            recv(signals) -> _ => Status::of_signal(true),
            recv(gone) -> _ => Status::Done,
        };
        stopper.stop();
        match ended.recv_timeout(GRACE) {
            Ok(outcome) => outcome?,
            Err(_) => output::note(format_args!("warning: {}", output::Stalled)),
        }
        Ok(status)
    }

    fn recording(&self) -> Result<Recording<AnyReader>> {
        let reader: AnyReader = if self.file == Path::new("-") {
            Box::new(BufReader::new(io::stdin()))
        } else {
            let file = File::open(&self.file)
                .with_context(|| format!("cannot open {}", self.file.display()))?;
            Box::new(BufReader::new(file))
        };
        let mut recording = Recording::new(reader);
        if let Some(app_id) = &self.app {
            recording = recording.app_id(app_id);
        }
        if let Some(network) = self.network {
            recording = recording.network(network.into());
        }
        Ok(recording)
    }

    fn play(&self, replay: impl Iterator<Item = ttn::Result<Recorded>>) -> Result<()> {
        for recorded in replay {
            if let Some(recorded) = self.wanted(recorded)? {
                self.print(&recorded)?;
            }
        }
        Ok(())
    }

    /// Writes an anonymous copy.
    fn copy(&self, recording: Recording<AnyReader>, path: &Path) -> Result<Status> {
        let mut recording = recording.keep_notes(true);
        let mut copy = Copy::new(path, self.keep_payloads)?;
        loop {
            let recorded = recording.next();
            for note in recording.take_notes() {
                copy.recorder(None)?.note(&note)?;
            }
            let Some(recorded) = recorded else { break };
            if let Some(recorded) = self.wanted(recorded)? {
                let recorder = copy.recorder(Some(recorded.network()))?;
                recorder.record_at(&recorded.event, recorded.time)?;
                copy.messages += 1;
            }
        }
        output::note(format_args!(
            "wrote {} messages to {}",
            copy.messages,
            path.display()
        ));
        Ok(Status::Done)
    }

    /// Returns a message that is to be printed. Tells about a line that cannot be read.
    fn wanted(&self, recorded: ttn::Result<Recorded>) -> Result<Option<Recorded>> {
        match recorded {
            Ok(recorded) => Ok(Some(recorded).filter(|it| self.is_wanted(&it.event))),
            Err(error) if error.kind() == ErrorKind::File => Err(error.into()),
            Err(error) => {
                output::note(format_args!("warning: {error}"));
                Ok(None)
            }
        }
    }

    fn is_wanted(&self, event: &Event) -> bool {
        let is_of_device = lines::device(event)
            .filter(|_| !self.device.is_empty())
            .is_none_or(|device| self.device.iter().any(|it| it == device));
        is_of_device && self.kind.iter().any(|kind| kind.includes(event))
    }

    fn print(&self, recorded: &Recorded) -> Result<()> {
        if self.json {
            return output::json(&recorded.event);
        }
        let lines = Lines::new(console::colors_enabled());
        let time = recorded.time.unwrap_or(SystemTime::UNIX_EPOCH);
        output::line(lines.line(&recorded.event, time))
    }
}

/// A recording that is made of another.
struct Copy {
    path: PathBuf,
    anonymizer: Anonymizer,
    /// With the network of what it has written last.
    recorder: Option<(Network, Recorder)>,
    messages: u64,
}

impl Copy {
    fn new(path: &Path, keeps_payloads: bool) -> Result<Self> {
        if path.exists() {
            bail!("{} exists; name a new file, or remove it", path.display());
        }
        Ok(Self {
            path: path.to_owned(),
            anonymizer: Anonymizer::new().keep_payloads(keeps_payloads),
            recorder: None,
            messages: 0,
        })
    }

    /// Returns what writes messages of a network; without one, as the last ones.
    fn recorder(&mut self, network: Option<Network>) -> Result<&mut Recorder> {
        let last = self.recorder.take();
        let of_last = last.as_ref().map(|(of, _)| *of);
        let network = network.or(of_last).unwrap_or(Network::V3);
        let recorder = match last {
            Some((of, recorder)) if of == network => recorder,
            _ => Recorder::builder(&self.path, network)
                .anonymize(self.anonymizer.clone())
                .open()?,
        };
        Ok(&mut self.recorder.insert((network, recorder)).1)
    }
}
