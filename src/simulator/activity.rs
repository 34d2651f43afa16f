//! What clients and devices do, as a channel tells it.

use std::sync::Mutex;

use crossbeam_channel::Sender;

use super::{
    http::HttpRequest,
    lorawan::{DeviceId, Received},
    mqtt::{ClientInfo, Disconnection},
    sync::lock,
};

/// What a client or a device has done; [`SimulatorBuilder::activity`](super::SimulatorBuilder::activity)
/// sends it to a channel.
///
/// A connection has a number, since client ids may be empty or used twice. What happens on one
/// connection is told in order; a message is told once the network has acted on it, a request before. Access
/// keys appear nowhere.
///
/// ```
/// use ttn::Network;
/// use ttn::crossbeam_channel::bounded;
/// use ttn::simulator::{Activity, Simulator};
///
/// let (sender, activities) = bounded(1000);
/// let network = Simulator::builder(Network::V3).activity(sender).start()?;
/// for activity in activities.try_iter() {
///     if let Activity::Published { client_id, topic, .. } = activity {
///         println!("{client_id} published on {topic}");
///     }
/// }
/// # Ok::<(), std::io::Error>(())
/// ```
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Activity {
    /// A client has connected.
    Connected {
        /// Number of the connection.
        connection: u64,
        /// What its CONNECT contained.
        client: ClientInfo,
    },
    /// A client was refused with that code, such as 5 for a wrong key.
    Refused {
        /// Number of the connection.
        connection: u64,
        /// Client id; may be empty.
        client_id: String,
        /// User name; empty if there is none.
        username: String,
        /// Code of the CONNACK.
        code: u8,
    },
    /// A connection has ended before it was answered: no CONNECT came, TLS failed, or a
    /// [quirk](super::Quirks) does not answer.
    Failed {
        /// Number of the connection.
        connection: u64,
        /// Why it has ended.
        cause: Disconnection,
    },
    /// A client has subscribed.
    Subscribed {
        /// Number of the connection.
        connection: u64,
        /// Client id; may be empty.
        client_id: String,
        /// Filters as the client asked for them, which were granted.
        granted: Vec<String>,
        /// Filters that were refused with 0x80.
        refused: Vec<String>,
    },
    /// A client has unsubscribed.
    Unsubscribed {
        /// Number of the connection.
        connection: u64,
        /// Client id; may be empty.
        client_id: String,
        /// Filters as the client sent them.
        filters: Vec<String>,
    },
    /// A client has published a message.
    Published {
        /// Number of the connection.
        connection: u64,
        /// Client id; may be empty.
        client_id: String,
        /// Topic.
        topic: String,
        /// Payload.
        payload: Vec<u8>,
        /// QoS.
        qos: u8,
        /// Whether the network acts on it: not if the client may not write to the topic, has exceeded a
        /// limit, or repeats it, or if a [quirk](super::Quirks::ignore_publishes) ignores it. What it does
        /// with the downlinks in it is another matter.
        accepted: bool,
    },
    /// A client that was connected is gone.
    Disconnected {
        /// Number of the connection.
        connection: u64,
        /// Client id; may be empty.
        client_id: String,
        /// Why it is gone.
        cause: Disconnection,
    },
    /// The HTTP server has read a request.
    Requested(HttpRequest),
    /// A device has received a downlink.
    Received {
        /// Application of the device.
        app_id: String,
        /// Device id.
        dev_id: String,
        /// The downlink.
        downlink: Received,
    },
    /// The channel was full, and this number of the above is missing here.
    Lagged(u64),
}

/// Tells what happens, if anybody wants to know.
#[derive(Default)]
pub(super) struct Activities {
    sender: Option<Sender<Activity>>,
    /// How many did not fit into the channel since the last [`Activity::Lagged`].
    lost: Mutex<u64>,
}

impl Activities {
    pub(super) fn new(sender: Option<Sender<Activity>>) -> Self {
        Self {
            sender,
            lost: Mutex::new(0),
        }
    }

    /// Sends an activity without waiting, so that the caller may hold a lock.
    pub(super) fn tell(&self, activity: impl FnOnce() -> Activity) {
        let Some(sender) = &self.sender else { return };
        let mut lost = lock(&self.lost);
        if *lost > 0 && sender.try_send(Activity::Lagged(*lost)).is_ok() {
            *lost = 0;
        }
        if *lost > 0 || sender.try_send(activity()).is_err() {
            *lost += 1;
        }
    }

    pub(super) fn received(&self, id: DeviceId<'_>, downlink: &Received) {
        self.tell(|| Activity::Received {
            app_id: id.app_id.to_owned(),
            dev_id: id.dev_id.to_owned(),
            downlink: downlink.clone(),
        });
    }
}

#[cfg(test)]
mod tests {
    use crossbeam_channel::bounded;

    use super::*;

    fn failed(connection: u64) -> Activity {
        let cause = Disconnection::Closed;
        Activity::Failed { connection, cause }
    }

    #[test]
    fn what_does_not_fit_is_counted_and_told_once_there_is_room() {
        let (sender, receiver) = bounded(2);
        let activities = Activities::new(Some(sender));
        for connection in 1..=5 {
            activities.tell(|| failed(connection));
        }
        let told: Vec<_> = receiver.try_iter().collect();
        assert_eq!(told, [failed(1), failed(2)]);
        activities.tell(|| failed(6));
        activities.tell(|| failed(7));
        let told: Vec<_> = receiver.try_iter().collect();
        assert_eq!(told, [Activity::Lagged(3), failed(6)]);
        activities.tell(|| failed(8));
        let told: Vec<_> = receiver.try_iter().collect();
        assert_eq!(told, [Activity::Lagged(1), failed(8)]);
    }

    #[test]
    fn without_a_listener_nothing_is_made_up() {
        Activities::default().tell(|| unreachable!("nobody wants to know"));
    }
}
