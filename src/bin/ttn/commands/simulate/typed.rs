//! Commands from standard input.

use ttn::{Network, simulator::Simulator};

use super::{faults::Fault, invalid_id};

/// The longest payload of an uplink, at the fastest data rates.
const LONGEST: usize = 242;

/// What `help` prints.
pub(super) const HELP: [&str; 14] = [
    "uplink DEVICE FPORT HEX [confirmed]   send an uplink; - for no payload",
    "join DEVICE                           let a device join",
    "queue DEVICE                          list the downlinks that wait for a device",
    "downlinks                             list the last downlinks that devices received",
    "devices                               list the devices",
    "clients                               list the connected clients",
    "publish TOPIC TEXT                    publish anything to the clients",
    "fault NAME [VALUE]                    misbehave; fault list lists the faults",
    "stop                                  close the ports and all connections",
    "restart                               open the ports again",
    "disconnect                            close all connections",
    "help                                  list the commands",
    "quit                                  end the network",
    "An uplink or a join registers a device that is not known yet.",
];

/// A command.
#[derive(Debug)]
pub(super) enum Typed {
    Uplink {
        device: String,
        port: u8,
        payload: Vec<u8>,
        confirmed: bool,
    },
    Join(String),
    Queue(String),
    Downlinks,
    Devices,
    Clients,
    Publish {
        topic: String,
        text: String,
    },
    /// With how it was typed.
    Fault(String, Fault),
    FaultList,
    Stop,
    Restart,
    Disconnect,
    Help,
    Quit,
}

impl Typed {
    /// Reads a line; `None` if there is nothing in it.
    pub(super) fn read(network: Network, line: &str) -> Result<Option<Self>, String> {
        let line = line.trim();
        let words: Vec<_> = line.split_whitespace().collect();
        let [name, arguments @ ..] = words.as_slice() else {
            return Ok(None);
        };
        let typed = match (*name, arguments) {
            ("uplink", [device, port, payload]) => uplink(network, device, port, payload, false)?,
            ("uplink", [device, port, payload, "confirmed"]) => {
                uplink(network, device, port, payload, true)?
            }
            ("uplink", _) => return Err(String::from("use: uplink DEVICE FPORT HEX [confirmed]")),
            ("join", [device]) => Self::Join(id(network, device)?),
            ("queue", [device]) => Self::Queue(id(network, device)?),
            ("join" | "queue", _) => return Err(format!("use: {name} DEVICE")),
            ("publish", [topic, _, ..]) => publish(topic, line)?,
            ("publish", _) => return Err(String::from("use: publish TOPIC TEXT")),
            ("fault", ["list" | "help"]) => Self::FaultList,
            ("fault", [fault]) => Self::Fault((*fault).to_owned(), Fault::read(network, fault)?),
            ("fault", [name, value]) => Self::Fault(
                format!("{name}={value}"),
                Fault::named(network, name, value)?,
            ),
            ("fault", _) => return Err(String::from("use: fault NAME [VALUE], or fault list")),
            ("downlinks", []) => Self::Downlinks,
            ("devices", []) => Self::Devices,
            ("clients", []) => Self::Clients,
            ("stop", []) => Self::Stop,
            ("restart", []) => Self::Restart,
            ("disconnect", []) => Self::Disconnect,
            ("help", []) => Self::Help,
            ("quit", []) => Self::Quit,
            (
                "downlinks" | "devices" | "clients" | "stop" | "restart" | "disconnect" | "help"
                | "quit",
                _,
            ) => return Err(format!("{name} takes no arguments")),
            _ => return Err(format!("there is no command {name:?}; help lists them")),
        };
        Ok(Some(typed))
    }
}

fn id(network: Network, device: &str) -> Result<String, String> {
    match Simulator::is_id(network, device) {
        true => Ok(device.to_owned()),
        false => Err(format!("{device:?} is {}", invalid_id(network))),
    }
}

fn uplink(
    network: Network,
    device: &str,
    port: &str,
    payload: &str,
    confirmed: bool,
) -> Result<Typed, String> {
    let device = id(network, device)?;
    let port = port.parse().ok().filter(|port| (1..=223).contains(port));
    let port = port.ok_or("the FPort is a number from 1 to 223")?;
    let payload = match payload {
        "-" => Vec::new(),
        digits => hex::decode(digits)
            .map_err(|_| format!("{digits:?} is not hex with two digits for each byte"))?,
    };
    if payload.len() > LONGEST {
        return Err(format!(
            "a payload has at most {LONGEST} bytes, this one {}",
            payload.len()
        ));
    }
    Ok(Typed::Uplink {
        device,
        port,
        payload,
        confirmed,
    })
}

fn publish(topic: &str, line: &str) -> Result<Typed, String> {
    if topic.contains(['+', '#']) {
        return Err(format!(
            "{topic} has a wildcard; nothing can be published on it"
        ));
    }
    // The text keeps its spaces.
    let (_, rest) = line.split_once(topic).unwrap_or_default();
    Ok(Typed::Publish {
        topic: topic.to_owned(),
        text: rest.trim_start().to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Option<Typed>, String> {
        Typed::read(Network::V3, line)
    }

    #[track_caller]
    fn error(line: &str) -> String {
        read(line).map(drop).expect_err("it is wrong")
    }

    #[test]
    fn uplinks_are_read() {
        for (line, expected, confirms) in [
            ("uplink pump-1 1 01", vec![1], false),
            ("  uplink   pump-1 1 0A0b confirmed ", vec![10, 11], true),
            ("uplink pump-1 1 -", vec![], false),
        ] {
            let Ok(Some(Typed::Uplink {
                device,
                port,
                payload,
                confirmed,
            })) = read(line)
            else {
                panic!("{line}");
            };
            assert_eq!(
                (device.as_str(), port, payload, confirmed),
                ("pump-1", 1, expected, confirms)
            );
        }
    }

    #[test]
    fn an_empty_line_is_nothing() {
        for line in ["", "   ", "\t"] {
            assert!(matches!(read(line), Ok(None)));
        }
    }

    #[test]
    fn the_text_of_a_publish_keeps_its_spaces() {
        let Ok(Some(Typed::Publish { topic, text })) = read("publish a/b  {\"x\":  1} ") else {
            panic!("not read");
        };
        assert_eq!((topic.as_str(), text.as_str()), ("a/b", "{\"x\":  1}"));
        assert!(error("publish a/# x").contains("wildcard"));
        assert_eq!(error("publish a"), "use: publish TOPIC TEXT");
    }

    #[test]
    fn a_wrong_command_is_explained() {
        assert_eq!(
            error("dance"),
            r#"there is no command "dance"; help lists them"#
        );
        assert_eq!(
            error("uplink pump-1"),
            "use: uplink DEVICE FPORT HEX [confirmed]"
        );
        assert_eq!(
            error("uplink pump-1 1 01 please"),
            "use: uplink DEVICE FPORT HEX [confirmed]"
        );
        assert!(error("uplink Pump 1 01").contains("not a valid id"));
        for port in ["0", "224", "256", "x"] {
            assert_eq!(
                error(&format!("uplink pump-1 {port} 01")),
                "the FPort is a number from 1 to 223"
            );
        }
        assert!(error("uplink pump-1 1 012").contains("not hex"));
        assert!(
            error(&format!("uplink pump-1 1 {}", "00".repeat(243)))
                .contains("at most 242 bytes, this one 243")
        );
        assert_eq!(error("stop now"), "stop takes no arguments");
        assert_eq!(error("queue"), "use: queue DEVICE");
        assert_eq!(error("fault"), "use: fault NAME [VALUE], or fault list");
        assert!(error("fault dance").contains("no such fault"));
    }

    #[test]
    fn help_names_every_command() {
        for line in &HELP[..HELP.len() - 1] {
            let name = line.split(' ').next().expect("a name");
            let known =
                read(name).map_or_else(|error| error.starts_with("use: "), |typed| typed.is_some());
            assert!(known, "{name}");
        }
    }
}
