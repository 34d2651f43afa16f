//! The options of a client, and the checks that each of them passes.

mod access_key;
mod acknowledge;
mod address;
mod backfill;
mod broker;
mod builder;
mod certificates;
mod check;
mod connect_retry;
mod http_address;
mod options;
mod over;
mod overflow;
mod pace;
mod partitions;
mod proxy;
mod session;
mod topics;

pub(crate) use access_key::AccessKey;
pub use acknowledge::Acknowledge;
pub(crate) use address::{Address, in_brackets, split_host_and_port};
pub use backfill::Backfill;
pub(crate) use broker::Broker;
pub use builder::MqttClientBuilder;
pub(crate) use certificates::{Certificates, ClientCertificate, Passphrase, Pem};
pub use connect_retry::ConnectRetry;
pub(crate) use http_address::HttpAddress;
pub(crate) use options::{
    FollowDownlinks, HttpApi, MAX_CLOSE_TIME, MIN_CLOSE_TIME, OfflineQueue, Options,
    ReceiveCapacity, ReconnectDelay, RefusedRetry, Server,
};
pub use over::Over;
pub use overflow::Overflow;
pub(crate) use pace::Pace;
pub(crate) use partitions::{Partitions, partition_of};
pub(crate) use proxy::{Credentials, Protocol, Proxy, WayOut};
pub use session::Session;
pub use topics::Topics;
pub(crate) use topics::{Form, Kind, PubSub};
