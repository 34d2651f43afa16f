//! Replays a recording into the network.

use std::{
    fs::File,
    io::BufReader,
    iter::Peekable,
    path::{Path, PathBuf},
    sync::Arc,
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context, Result, anyhow};
use ttn::{
    ErrorKind, Network, Pacing, Recorded, Recording, Replay, ReplayStopper, Speed,
    crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded},
    serde_json::json,
    simulator::Simulator,
};

use super::{printer::Printer, report::Happened};

/// How often it looks whether a client has subscribed.
const LOOK: Duration = Duration::from_millis(50);

/// A recording that is open, and whose it is.
pub(super) struct Source {
    path: PathBuf,
    recording: Peekable<Recording<BufReader<File>>>,
    pub(super) network: Network,
    pub(super) app_id: String,
}

impl Source {
    /// Opens a recording and reads its first message.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let mut recording = Recording::open(path)?.peekable();
        let unreadable = |error: &dyn std::fmt::Display| anyhow!("{}: {error}", path.display());
        let first = match recording.peek() {
            Some(Ok(first)) => first,
            Some(Err(error)) => return Err(unreadable(error)),
            None => return Err(unreadable(&"there is no message in it")),
        };
        let network = first.network();
        let (app_id, _) = parts(network, first.raw().topic()).ok_or_else(|| {
            unreadable(&format!(
                "{} is not a topic of a device",
                first.raw().topic()
            ))
        })?;
        Ok(Self {
            path: path.to_owned(),
            app_id: app_id.to_owned(),
            network,
            recording,
        })
    }

    /// Replays it once a client has subscribed.
    pub(super) fn start(
        self,
        simulator: &Arc<Simulator>,
        printer: &Printer,
        speed: Speed,
    ) -> Result<Running> {
        let (going, stopped) = bounded(0);
        let Self {
            path,
            recording,
            network,
            ..
        } = self;
        let replay = Replay::new(recording, Pacing::new(speed));
        let stopper = replay.stopper();
        let (simulator, printer) = (Arc::clone(simulator), printer.clone());
        let run = move || {
            if wait_for_client(&simulator, &stopped) {
                play(replay, network, &simulator, &printer, &path);
            }
        };
        let thread = thread::Builder::new().name("ttn-replay".into());
        let thread = thread.spawn(run).context("cannot start a thread")?;
        Ok(Running {
            thread,
            going,
            stopper,
        })
    }
}

/// The thread that replays.
pub(super) struct Running {
    thread: JoinHandle<()>,
    /// Dropped to end the wait for a client.
    going: Sender<()>,
    stopper: ReplayStopper,
}

impl Running {
    pub(super) fn stop(self) {
        drop(self.going);
        self.stopper.stop();
        let _ = self.thread.join();
    }
}

/// Waits until a client has subscribed; returns false if it is stopped before.
fn wait_for_client(simulator: &Simulator, stopped: &Receiver<()>) -> bool {
    loop {
        if simulator.wait_for_subscriptions(1, LOOK) {
            return true;
        }
        if stopped.recv_timeout(Duration::ZERO) == Err(RecvTimeoutError::Disconnected) {
            return false;
        }
    }
}

fn play(
    replay: impl Iterator<Item = ttn::Result<Recorded>>,
    network: Network,
    simulator: &Simulator,
    printer: &Printer,
    path: &Path,
) {
    let (mut count, mut unreadable) = (0_u64, 0_u64);
    for recorded in replay {
        let recorded = match recorded {
            Ok(recorded) => recorded,
            Err(error) => {
                unreadable += 1;
                let text = format!("{}: {error}", path.display());
                printer.print(&Happened::new("error", &*text, json!({"text": text})));
                if error.kind() == ErrorKind::File {
                    break;
                }
                continue;
            }
        };
        let topic = recorded.raw().topic();
        // Clients may send it downlinks.
        if let Some((_, Some(device))) =
            parts(network, topic).filter(|(app_id, _)| *app_id == simulator.app_id())
        {
            simulator.device(device);
        }
        simulator.publish(topic, recorded.raw().payload());
        count += 1;
    }
    let text = format!("{count} messages of {}", path.display());
    let members = json!({"messages": count, "unreadable": unreadable});
    printer.print(&Happened::new("replayed", text, members));
}

/// Returns the application and the device of a topic.
fn parts(network: Network, topic: &str) -> Option<(&str, Option<&str>)> {
    let rest = match network {
        Network::V2 => topic,
        _ => topic.strip_prefix("v3/")?,
    };
    let mut levels = rest.split('/');
    let app_id = levels.next().filter(|app_id| !app_id.is_empty())?;
    let device = levels
        .next()
        .filter(|level| *level == "devices")
        .and_then(|_| levels.next());
    Some((app_id, device))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_name_application_and_device() {
        assert_eq!(
            parts(Network::V3, "v3/my-app@ttn/devices/pump-1/up"),
            Some(("my-app@ttn", Some("pump-1")))
        );
        assert_eq!(
            parts(Network::V2, "my-app/devices/pump-1/up"),
            Some(("my-app", Some("pump-1")))
        );
        assert_eq!(
            parts(Network::V2, "my-app/events/x"),
            Some(("my-app", None))
        );
        assert_eq!(parts(Network::V3, "my-app/devices/pump-1/up"), None);
        assert_eq!(parts(Network::V2, ""), None);
    }
}
