//! What a client is told: every option, checked. It knows networks by name and nothing of what
//! runs.

mod access_key;
mod address;
mod builder;
mod certificates;
mod connect_retry;
mod discovery_address;
mod options;
mod overflow;
mod pace;
mod proxy;

pub(crate) use access_key::AccessKey;
pub(crate) use address::{Address, in_brackets, split_host_and_port};
pub use builder::MqttClientBuilder;
pub(crate) use certificates::{Certificates, Passphrase, Pem};
pub use connect_retry::ConnectRetry;
pub(crate) use discovery_address::DiscoveryAddress;
pub(crate) use options::{Options, Server};
pub use overflow::Overflow;
pub(crate) use pace::Pace;
pub(crate) use proxy::{Credentials, Protocol, Proxy, WayOut};
