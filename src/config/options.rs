//! The checked options of a client.

use std::{sync::Arc, time::Duration};

use super::{
    AccessKey, Address, Backfill, Broker, Certificates, ConnectRetry, HttpAddress, Over, Overflow,
    Pace, WayOut,
};
use crate::{message::Watermark, network::Network};

/// How long `close` may take by default: the first if nothing is open, the second at most.
pub(crate) const MIN_CLOSE_TIME: Duration = Duration::from_secs(5);
pub(crate) const MAX_CLOSE_TIME: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) network: Network,
    pub(crate) app_id: String,
    pub(crate) access_key: AccessKey,
    /// The broker of one's own from which the client reads, instead of from the network.
    pub(crate) broker: Option<Broker>,
    pub(crate) server: Server,
    pub(crate) http: HttpApi,
    pub(crate) downlinks: Over,
    pub(crate) backfill: Option<Backfill>,
    pub(crate) resume_from: Option<Watermark>,
    pub(crate) certificates: Arc<Certificates>,
    pub(crate) way_out: WayOut,
    pub(crate) client_id_prefix: String,
    pub(crate) field_topics: bool,
    pub(crate) keep_alive: Duration,
    pub(crate) connect_timeout: Duration,
    /// `None` for a time that depends on what is open.
    pub(crate) close_timeout: Option<Duration>,
    pub(crate) connect_retry: ConnectRetry,
    pub(crate) reconnect: bool,
    pub(crate) reconnect_delay: ReconnectDelay,
    pub(crate) refused_retry: RefusedRetry,
    pub(crate) offline_queue: Option<OfflineQueue>,
    pub(crate) pace: Option<Pace>,
    pub(crate) counter_watch: usize,
    pub(crate) device_watch: bool,
    /// The multiple of its usual interval after which a device is silent.
    pub(crate) silence_after: Option<f32>,
    /// How many uplinks to remember, to mark duplicates.
    pub(crate) duplicate_window: usize,
    pub(crate) follow_downlinks: FollowDownlinks,
    pub(crate) unconfirmed_after: Duration,
    pub(crate) event_capacity: usize,
    pub(crate) overflow: Overflow,
    pub(crate) receive_capacity: ReceiveCapacity,
    pub(crate) max_packet_size: usize,
    pub(crate) send_capacity: usize,
}

/// How to find the MQTT server.
#[derive(Clone, Debug)]
pub(crate) enum Server {
    At(Address),
    AskedOf(HttpAddress),
    /// Neither address was set.
    Unknown,
}

/// The HTTP API of the network.
#[derive(Debug)]
pub(crate) struct HttpApi {
    /// Whether the client asks it for reasons and rights on its own.
    pub(crate) asks: bool,
    pub(crate) address: Option<HttpAddress>,
    pub(crate) identity_server: Option<HttpAddress>,
}

/// The delays between attempts to connect again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReconnectDelay {
    pub(crate) shortest: Duration,
    pub(crate) longest: Duration,
}

/// When to try again after the server has refused the key; `None`: never.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RefusedRetry {
    /// Before a connection has worked.
    pub(crate) before: Option<Duration>,
    /// After a connection has worked.
    pub(crate) after: Option<Duration>,
}

/// The downlinks that wait for a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OfflineQueue {
    pub(crate) capacity: usize,
    pub(crate) expire_after: Duration,
}

/// How many downlinks to follow, and for how long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FollowDownlinks {
    pub(crate) downlinks: usize,
    pub(crate) time: Duration,
}

/// What may wait between the network and the client's thread.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReceiveCapacity {
    pub(crate) messages: usize,
    pub(crate) bytes: usize,
}
