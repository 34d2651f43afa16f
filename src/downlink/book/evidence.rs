//! What a client has seen of the network, and what the network's silence may therefore mean.

use std::{collections::HashSet, sync::Arc, time::Duration};

use super::Following;
use crate::network::Network;

/// From this number on, unread downlinks are a likely cause.
const MANY: usize = 10;

/// What the client has seen since it began to use its access key.
pub(super) struct Evidence {
    network: Network,
    app_id: String,
    /// Whether a broker of one's own is between the client and the network.
    is_behind_broker: bool,
    /// Whether it has received any message.
    pub(super) heard: bool,
    /// Whether the network has reported on any downlink of this client.
    pub(super) reported: bool,
    /// Devices that exist.
    known: HashSet<Arc<str>>,
    /// The most devices to remember.
    capacity: usize,
}

/// A downlink about which the network sent no report.
pub(super) struct Silence<'a> {
    pub(super) dev_id: &'a str,
    pub(super) has_fields: bool,
    pub(super) cut: Option<Cut>,
    pub(super) was_deleted: bool,
    /// How many downlinks the network had not reported on when this one was written.
    pub(super) behind: usize,
    /// Whether the network was asked about the device: it exists, and the key has the rights.
    pub(super) was_seen: bool,
}

/// The end of a connection.
#[derive(Clone, Copy)]
pub(super) struct Cut {
    /// How long before it the downlink was written.
    pub(super) after: Duration,
    pub(super) end: CutBy,
    /// Whether the server had processed the downlink.
    pub(super) is_processed: bool,
}

/// What ended a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CutBy {
    Loss,
    /// The server, as it seems, because of its rate limit.
    Limit,
    /// The user, who closed the client.
    Close,
}

impl Evidence {
    pub(super) fn new(network: Network, app_id: &str, following: &Following) -> Self {
        Self {
            network,
            app_id: app_id.to_owned(),
            is_behind_broker: following.is_behind_broker,
            heard: false,
            reported: false,
            known: HashSet::new(),
            capacity: following.capacity,
        }
    }

    /// Notes that a device exists.
    pub(super) fn exists(&mut self, dev_id: &Arc<str>) {
        if self.known.contains(dev_id) {
            return;
        }
        if self.known.len() >= self.capacity {
            self.known.clear();
        }
        self.known.insert(Arc::clone(dev_id));
    }

    /// Notes that a device was deleted.
    pub(super) fn deleted(&mut self, dev_id: &str) {
        self.known.remove(dev_id);
    }

    /// Forgets what was seen with another access key. The devices are the same.
    pub(super) fn key_changed(&mut self) {
        self.heard = false;
        self.reported = false;
    }

    /// Returns what the silence may mean, the likeliest first.
    pub(super) fn causes(&self, silence: &Silence<'_>) -> String {
        let network = self.network;
        let mut causes = Vec::new();
        if silence.was_deleted {
            causes.push("the device was deleted in the meantime".to_owned());
        }
        causes.extend(silence.cut.map(|cut| cut.to_string()));
        if !self.heard && !silence.was_seen {
            causes.push(match self.is_behind_broker {
                true => "the access control of the broker may not let this client read, or nothing publishes what comes \
                         from the network: this client has not received any message yet; the network may have queued the \
                         downlink"
                    .to_owned(),
                false => format!(
                    "{}: this client has not received any message yet; the network may have queued the downlink",
                    network.missing_read_right()
                ),
            });
        }
        if !self.reported && !silence.was_seen {
            causes.push(match self.is_behind_broker {
                true => "the access control of the broker may not let this client publish downlinks, or nothing takes them \
                         from the broker to the network (is the feed, the bridge or the integration running, and may it \
                         send?)"
                    .to_owned(),
                false => network.missing_write_right().to_owned(),
            });
        }
        if silence.behind >= MANY && !network.reading_interval().is_zero() {
            causes.push(format!(
                "{} downlinks were written before it, and the network may not have read it yet",
                silence.behind
            ));
        }
        if !silence.was_deleted && !silence.was_seen && !self.known.contains(silence.dev_id) {
            causes.push(match self.is_behind_broker {
                true => format!(
                    "there may be no device {:?} in the application {:?} on the network behind the broker",
                    silence.dev_id, self.app_id
                ),
                false => network.unknown_device(&self.app_id, silence.dev_id),
            });
        }
        if silence.has_fields {
            causes.push(network.silent_fields().to_owned());
        }
        if causes.is_empty() {
            causes.push(
                match self.is_behind_broker {
                    true => {
                        "the downlink, or the report about it, may have been lost on the way between the broker and the \
                         network, or in the network"
                    }
                    false => "the downlink, or the report about it, may have been lost in the network",
                }
                .to_owned(),
            );
        }
        causes.join("; ")
    }
}

impl std::fmt::Display for Cut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (what, limit) = match self.end {
            CutBy::Loss => ("the connection ended", ""),
            CutBy::Limit => (
                "the connection ended",
                ", as a server does when its rate limit is exceeded",
            ),
            CutBy::Close => ("the client was closed", ""),
        };
        let lost = match (self.end, self.is_processed) {
            (CutBy::Close, true) => {
                "the server had processed it, and a later report cannot be received"
            }
            (_, true) => "the server had processed it, and the report was lost with the connection",
            (_, false) => "the downlink or the report about it was lost with the connection",
        };
        write!(
            f,
            "{what} {} ms after the downlink was written{limit}: {lost}",
            self.after.as_millis()
        )
    }
}
