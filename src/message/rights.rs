//! What an access key allows.

use std::time::SystemTime;

use serde::Serialize;

use super::json;

const READ: &str = "RIGHT_APPLICATION_TRAFFIC_READ";
const SEND: &str = "RIGHT_APPLICATION_TRAFFIC_DOWN_WRITE";
const INFO: &str = "RIGHT_APPLICATION_INFO";

/// The right that stands for [`LINKED`].
const LINK: &str = "RIGHT_APPLICATION_LINK";
const LINKED: [&str; 3] = [INFO, READ, SEND];

/// The rights that stand for others, with the beginning of their names.
const ALL: [(&str, &str); 2] = [
    ("RIGHT_ALL", "RIGHT_"),
    ("RIGHT_APPLICATION_ALL", "RIGHT_APPLICATION_"),
];

/// The access key of a client, and what it allows on the application; from
/// [`MqttClient::rights`](crate::MqttClient::rights). The key itself is not in it.
///
/// ```
/// use std::time::Duration;
/// use ttn::{Event, MqttClient, Network, simulator::Simulator};
///
/// let network = Simulator::start(Network::V3)?;
/// network.set_rights(network.app_id(), network.access_key(), &["RIGHT_APPLICATION_TRAFFIC_DOWN_WRITE"]);
/// let client = MqttClient::builder(network.app_id(), network.access_key())
///     .mqtt_address(network.mqtt_address())
///     .http_address(network.http_address())
///     .build()?;
/// let events = client.events();
/// client.connect()?;
/// loop {
///     // The network answers within about a second.
///     if let Event::KeyWarning(warning) = events.recv_timeout(Duration::from_secs(10))? {
///         break println!("{warning}");
///     }
/// }
/// let rights = client.rights().expect("the network has answered");
/// assert!(rights.may_send() && !rights.may_read());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Rights {
    /// The id of the key, as the Console lists it. It is not secret.
    pub key_id: String,
    /// The name of the key; empty if it has none.
    pub key_name: String,
    /// What the key belongs to, such as `the application "greenhouse"` or `the user "gardener"`.
    pub owner: String,
    /// The rights on the application by name, sorted. There may be names that this crate does not know.
    pub rights: Vec<String>,
    /// When the key expires; `None` if it does not.
    #[serde(serialize_with = "json::optional_time")]
    pub expires_at: Option<SystemTime>,
}

impl Rights {
    pub(crate) fn new(mut rights: Vec<String>) -> Self {
        rights.sort_unstable();
        rights.dedup();
        Self {
            key_id: String::new(),
            key_name: String::new(),
            owner: String::new(),
            rights,
            expires_at: None,
        }
    }

    /// Names the key in a sentence.
    pub(crate) fn key(&self) -> String {
        match self.key_name.is_empty() {
            true => format!("the API key with the id {}", self.key_id),
            false => format!("the API key {:?}", self.key_name),
        }
    }

    /// Returns whether the key has this right. `RIGHT_APPLICATION_LINK` stands for the rights to read
    /// traffic, to send downlinks and to view the application; `RIGHT_APPLICATION_ALL` and `RIGHT_ALL`
    /// stand for all others.
    pub fn has(&self, right: &str) -> bool {
        self.rights.iter().any(|own| {
            own == right
                || (own == LINK && LINKED.contains(&right))
                || ALL
                    .iter()
                    .any(|(all, start)| own == all && right.starts_with(start))
        })
    }

    /// Returns whether the key may read traffic. Without this right
    /// (`RIGHT_APPLICATION_TRAFFIC_READ`) a client connects, and no message ever arrives.
    pub fn may_read(&self) -> bool {
        self.has(READ)
    }

    /// Returns whether the key may send downlinks. Without this right
    /// (`RIGHT_APPLICATION_TRAFFIC_DOWN_WRITE`) the network drops them silently.
    pub fn may_send(&self) -> bool {
        self.has(SEND)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(rights: &[&str]) -> Rights {
        Rights::new(rights.iter().map(|right| (*right).to_owned()).collect())
    }

    #[test]
    fn a_right_that_stands_for_others_gives_them() {
        for (right, may) in [
            ("RIGHT_APPLICATION_LINK", [true, true, true, false]),
            ("RIGHT_APPLICATION_ALL", [true, true, true, true]),
            ("RIGHT_ALL", [true, true, true, true]),
            ("RIGHT_APPLICATION_INFO", [false, false, true, false]),
            (READ, [true, false, false, false]),
            (SEND, [false, true, false, false]),
            ("RIGHT_SOMETHING_NEW", [false, false, false, false]),
        ] {
            let rights = of(&[right]);
            let seen = [
                rights.may_read(),
                rights.may_send(),
                rights.has(INFO),
                rights.has("RIGHT_APPLICATION_PURGE"),
            ];
            assert_eq!(seen, may, "{right}");
            assert!(rights.has(right));
        }
        assert!(!of(&["RIGHT_APPLICATION_ALL"]).has("RIGHT_GATEWAY_INFO"));
        assert!(!of(&[]).may_read());
    }

    #[test]
    fn rights_are_sorted_because_the_network_shuffles_them() {
        assert_eq!(of(&["B", "A", "B"]).rights, ["A", "B"]);
    }
}
