//! Reads commands from standard input and carries them out.

use std::{
    io::{self, BufRead, Read},
    sync::{Arc, PoisonError},
    thread,
};

use anyhow::{Context, Result};
use ttn::{
    Network,
    crossbeam_channel::Sender,
    serde_json::{Value, json},
    simulator::{Activity, QueuedDownlink, Simulator, Uplink},
};

use super::{
    Downlinks, faults,
    printer::{Line, Object, Printer},
    report::{self, Happened},
    typed::{HELP, Typed},
};

/// The longest line that is read.
const LONGEST: u64 = 64 << 10;

/// What commands act on.
pub(super) struct Prompt {
    pub(super) network: Network,
    pub(super) simulator: Arc<Simulator>,
    pub(super) printer: Printer,
    pub(super) downlinks: Downlinks,
    /// Asks the program to end.
    pub(super) quit: Sender<()>,
}

impl Prompt {
    /// Starts a thread that reads; it ends with standard input, and then the program too if asked.
    pub(super) fn start(self, until_eof: bool) -> Result<()> {
        let thread = thread::Builder::new().name("ttn-commands".into());
        let run = move || {
            let input = io::stdin().lock();
            self.run(input);
            if until_eof {
                let _ = self.quit.try_send(());
            }
        };
        thread.spawn(run).context("cannot start a thread")?;
        Ok(())
    }

    fn run(&self, mut input: impl BufRead) {
        let mut line = Vec::new();
        loop {
            line.clear();
            let read = input.by_ref().take(LONGEST).read_until(b'\n', &mut line);
            if !matches!(read, Ok(1..)) {
                return;
            }
            if line.len() as u64 == LONGEST && !line.ends_with(b"\n") {
                self.fail(&format!(
                    "a line has at most {LONGEST} bytes; this one is ignored"
                ));
                if input.skip_until(b'\n').is_err() {
                    return;
                }
                continue;
            }
            match std::str::from_utf8(&line) {
                Ok(line) => self.read(line),
                Err(_) => self.fail("the line is not UTF-8"),
            }
        }
    }

    fn read(&self, line: &str) {
        match Typed::read(self.network, line) {
            Ok(Some(typed)) => self.carry_out(typed),
            Ok(None) => {}
            Err(error) => self.fail(&error),
        }
    }

    fn say(&self, what: &'static str, text: impl Into<String>, members: Value) {
        self.printer.print(&Happened::new(what, text, members));
    }

    /// Tells that a command is wrong or failed.
    fn fail(&self, error: &str) {
        self.say("error", error, json!({"text": error}));
    }

    fn carry_out(&self, typed: Typed) {
        let network = &self.simulator;
        match typed {
            Typed::Uplink {
                device,
                port,
                payload,
                confirmed,
            } => {
                self.register(&device);
                let digits = hex::encode(&payload);
                let uplink = Uplink::new(port, payload).confirmed(confirmed);
                let counter = network.device(&device).send(uplink);
                let text = format!(
                    "{device}: {} on FPort {port}, counter {counter}",
                    report::shown(&digits)
                );
                self.say(
                    "uplink",
                    text,
                    json!({"device": device, "port": port, "payload": digits, "confirmed": confirmed, "counter": counter}),
                );
            }
            Typed::Join(device) => {
                self.register(&device);
                network.device(&device).join();
                self.say("join", &device, json!({"device": device}));
            }
            Typed::Queue(device) => match network.has_device(&device) {
                true => self.queue(&device),
                false => self.fail(&format!("there is no device {device}")),
            },
            Typed::Downlinks => self.list_downlinks(),
            Typed::Devices => {
                let devices = network.device_ids();
                self.say("devices", devices.join(" "), json!({"devices": devices}));
            }
            Typed::Clients => self.list_clients(),
            Typed::Publish { topic, text } => {
                network.publish(&topic, &text);
                self.say(
                    "sent",
                    format!("{topic} {text}"),
                    json!({"topic": topic, "payload": text}),
                );
            }
            Typed::Fault(text, fault) => {
                fault.apply(network);
                self.say("fault", &text, json!({"fault": text}));
            }
            Typed::FaultList => self.printer.print(&List {
                what: "faults",
                lines: faults::list(self.network),
            }),
            Typed::Stop => {
                network.stop();
                self.say("stopped", "the ports are closed", json!({}));
            }
            Typed::Restart => match network.restart() {
                Ok(()) => self.say("restarted", "the ports are open again", json!({})),
                Err(error) => self.fail(&format!("the network cannot start again: {error}")),
            },
            Typed::Disconnect => {
                let count = network.clients().len();
                network.disconnect_clients();
                self.say(
                    "disconnect",
                    format!("{count} clients"),
                    json!({"clients": count}),
                );
            }
            Typed::Help => {
                let lines = HELP.map(str::to_owned).to_vec();
                self.printer.print(&List {
                    what: "help",
                    lines,
                });
            }
            Typed::Quit => {
                let _ = self.quit.try_send(());
            }
        }
    }

    /// Registers a device that is not known yet, and says so, since it may be a mistake.
    fn register(&self, device: &str) {
        if !self.simulator.has_device(device) {
            self.simulator.create_device(device, None);
            self.say("registered", device, json!({"device": device}));
        }
    }

    fn queue(&self, name: &str) {
        let device = self.simulator.device(name);
        // On V2, the one that is being sent again is not in the queue.
        let waiting: Vec<_> = device
            .in_progress()
            .into_iter()
            .chain(device.queue())
            .collect();
        let list: Vec<_> = waiting.iter().map(shown).collect();
        let text = match list.as_slice() {
            [] => String::from("empty"),
            list => list.join("; "),
        };
        let downlinks: Vec<_> = waiting.iter().map(object).collect();
        self.say(
            "queue",
            format!("{name}: {text}"),
            json!({"device": name, "downlinks": downlinks}),
        );
    }

    fn list_downlinks(&self) {
        let downlinks = self
            .downlinks
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let lines = downlinks.iter().filter_map(|activity| match activity {
            Activity::Received {
                dev_id, downlink, ..
            } => Some(report::received(dev_id, downlink)),
            _ => None,
        });
        let lines = lines.collect();
        self.printer.print(&List {
            what: "downlinks",
            lines,
        });
    }

    fn list_clients(&self) {
        let clients = self.simulator.clients();
        let lines = clients.iter().map(|client| {
            let (id, user) = (&client.client_id, &client.username);
            format!("{id} as {user}: {}", client.subscriptions.join(" "))
        });
        let lines = lines.collect();
        self.printer.print(&List {
            what: "clients",
            lines,
        });
    }
}

/// Says what waits in a queue.
fn shown(downlink: &QueuedDownlink) -> String {
    let content = match (&downlink.payload, &downlink.fields) {
        (Some(payload), _) => report::shown(&hex::encode(payload)).to_owned(),
        (None, Some(fields)) => fields.to_string(),
        (None, None) => String::from("no payload"),
    };
    let confirmed = if downlink.confirmed {
        ", confirmed"
    } else {
        ""
    };
    format!("{content} on FPort {}{confirmed}", downlink.port)
}

fn object(downlink: &QueuedDownlink) -> Value {
    json!({
        "port": downlink.port,
        "confirmed": downlink.confirmed,
        "payload": downlink.payload.as_ref().map(hex::encode),
        "fields": downlink.fields,
    })
}

/// An answer of several lines.
struct List {
    what: &'static str,
    lines: Vec<String>,
}

impl Line for List {
    fn text(&self) -> Vec<String> {
        match self.lines.is_empty() {
            true => vec![format!("{}: none", self.what)],
            false => self.lines.clone(),
        }
    }

    fn json(&self) -> Object {
        Happened::new(self.what, "", json!({"lines": self.lines})).json()
    }
}
