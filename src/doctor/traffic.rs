//! What the network knows of the application's traffic and devices, and whether the key may do more than
//! a program needs.

use std::time::{Duration, SystemTime};

use super::{report::Step, survey::Asking};
use crate::{
    api::{Api, Failure, Listed},
    message::Rights,
};

const DEVICES_READ: &str = "RIGHT_APPLICATION_DEVICES_READ";

/// What a program that reads and sends has a use for.
const NEEDED: [&str; 6] = [
    "RIGHT_APPLICATION_INFO",
    "RIGHT_APPLICATION_TRAFFIC_READ",
    "RIGHT_APPLICATION_TRAFFIC_DOWN_WRITE",
    "RIGHT_APPLICATION_DEVICES_READ",
    "RIGHT_APPLICATION_LINK",
    "RIGHT_APPLICATION_TRAFFIC_UP_WRITE",
];

/// The most devices to name.
const NAMED: usize = 5;

/// Asks how many uplinks are stored, or whether the server keeps events.
pub(super) fn uplinks(asking: &mut Asking) -> Step {
    match asking.ask(Api::stored_uplinks) {
        None => Step::skipped("uplinks", "no request was left"),
        Some(Ok(0)) => Step::ok("uplinks").seen(
            "no uplink of the last hour is stored; the storage may be off, or nothing was sent",
        ),
        Some(Ok(uplinks)) => {
            Step::ok("uplinks").seen(format!("uplinks stored in the last hour: {uplinks}"))
        }
        Some(Err(Failure::Refused(refusal))) if matches!(refusal.status, 404 | 501) => {
            let step = Step::ok("uplinks").seen(
                "the server has no storage: uplinks that come while the client is away cannot be fetched later",
            );
            match asking.ask(Api::keeps_events) {
                Some(Ok(true)) => step.seen("it keeps the last events for some minutes"),
                Some(Ok(false)) => step.seen("it does not keep events either"),
                _ => step,
            }
        }
        Some(Err(failure)) => Step::skipped("uplinks", told(&failure)),
    }
}

/// Asks which devices were seen last, and whether they are on this server.
pub(super) fn devices(asking: &mut Asking, rights: &Rights, host: &str) -> Step {
    if !rights.has(DEVICES_READ) {
        return Step::skipped(
            "devices",
            format!(
                "the API key may not list devices (it lacks {DEVICES_READ}), which a client does not need"
            ),
        );
    }
    match asking.ask(Api::devices) {
        None => Step::skipped("devices", "no request was left"),
        Some(Err(failure)) => Step::skipped("devices", told(&failure)),
        Some(Ok(devices)) => listed(&devices, host, SystemTime::now()),
    }
}

fn listed(devices: &[Listed], host: &str, now: SystemTime) -> Step {
    let elsewhere: Vec<&Listed> = devices
        .iter()
        .filter(|device| is_elsewhere(&device.application_server, host))
        .collect();
    let step = match elsewhere.first() {
        _ if devices.is_empty() => Step::warning(
            "devices",
            "the application has no device; register one in the Console",
        ),
        None => Step::ok("devices"),
        Some(first) => Step::warning(
            "devices",
            format!(
                "not on {host} are {} of {} devices; {:?}, for example, is registered on {}, where its messages arrive: use the address of that cluster",
                elsewhere.len(),
                devices.len(),
                first.dev_id,
                first.application_server,
            ),
        ),
    };
    let seen = devices.iter().take(NAMED).map(|device| {
        let when = match device.last_seen_at {
            Some(time) => match now.duration_since(time) {
                Ok(ago) => format!("was seen {} ago", ago_of(ago)),
                Err(_) => "was seen just now".to_owned(),
            },
            None => "was never seen".to_owned(),
        };
        format!("{:?} {when}", device.dev_id)
    });
    let count = match devices.len() {
        1 => "1 device is registered".to_owned(),
        count => format!("{count} devices are registered"),
    };
    step.seen(count).all_seen(seen)
}

fn ago_of(ago: Duration) -> String {
    humantime::format_duration(Duration::from_secs(ago.as_secs())).to_string()
}

/// Returns whether a device's server is another one than `host`, as far as names can tell: a machine of
/// one's own has several.
fn is_elsewhere(server: &str, host: &str) -> bool {
    const HOSTED: [&str; 2] = [".cloud.thethings.network", ".cloud.thethings.industries"];
    let name = server.split(':').next().unwrap_or_default();
    let is_hosted = |name: &str| HOSTED.iter().any(|domain| name.ends_with(domain));
    is_hosted(name) && is_hosted(host) && !name.eq_ignore_ascii_case(host)
}

/// Says whether the key may do more than a program needs.
pub(super) fn least_rights(rights: &Rights) -> Step {
    let more: Vec<&str> = rights
        .rights
        .iter()
        .map(String::as_str)
        .filter(|right| !NEEDED.contains(right))
        .collect();
    let step = match more.as_slice() {
        [] => Step::ok("least rights"),
        more => Step::warning(
            "least rights",
            format!(
                "the API key may do more than a client needs ({}): whoever gets hold of it can do that, too; create one with the rights to read traffic, write downlink traffic and view the application only",
                more.join(", ")
            ),
        ),
    };
    match rights.may_read() {
        true => step.seen(
            "a key that may read traffic can also list the webhooks and Pub/Subs of the application, with their keys and passwords: keep it like those",
        ),
        false => step,
    }
}

fn told(failure: &Failure) -> String {
    match failure {
        Failure::Unanswered(failure) => format!("the server gives no answer ({})", failure.seen),
        Failure::Unreadable { why, .. } => format!("the answer cannot be read: {why}"),
        Failure::Refused(refusal) => format!(
            "the server refuses the question (HTTP {}{})",
            refusal.status,
            refusal
                .message
                .as_deref()
                .map_or_else(String::new, |message| format!(", {message}"))
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(rights: &[&str]) -> Rights {
        Rights::new(
            rights
                .iter()
                .map(|right| format!("RIGHT_APPLICATION_{right}"))
                .collect(),
        )
    }

    #[test]
    fn a_key_that_may_do_more_than_a_client_needs_is_a_warning() {
        for (rights, is_warning) in [
            (&["TRAFFIC_READ", "TRAFFIC_DOWN_WRITE", "INFO"][..], false),
            (&["TRAFFIC_READ", "DEVICES_READ"], false),
            (&["TRAFFIC_READ", "SETTINGS_API_KEYS"], true),
            (&["TRAFFIC_READ", "DEVICES_WRITE"], true),
            (&["ALL"], true),
        ] {
            let step = least_rights(&of(rights));
            let text = step.to_string();
            assert_eq!(
                text.contains("more than a client needs"),
                is_warning,
                "{text}"
            );
            assert!(text.contains("webhooks"), "{text}");
        }
    }

    #[test]
    fn devices_on_another_cluster_are_named_with_it() {
        let now = SystemTime::now();
        let device = |dev_id: &str, server: &str, ago: Option<u64>| Listed {
            dev_id: dev_id.to_owned(),
            last_seen_at: ago.map(|ago| now - Duration::from_secs(ago)),
            application_server: server.to_owned(),
        };
        let devices = [
            device("bed-07", "nam1.cloud.thethings.network", Some(61)),
            device("tank-1", "eu1.cloud.thethings.network:8884", None),
            device("pump-1", "", None),
        ];
        let text = listed(&devices, "eu1.cloud.thethings.network", now).to_string();
        for words in [
            "are 1 of 3 devices; \"bed-07\"",
            "registered on nam1.",
            "seen 1m 1s ago",
            "never seen",
        ] {
            assert!(text.contains(words), "{words:?} is missing in: {text}");
        }
        let text = listed(&devices, "localhost", now).to_string();
        assert!(!text.contains("registered on"), "{text}");
        assert!(
            listed(&[], "localhost", now)
                .to_string()
                .contains("no device")
        );
    }
}
