//! The MQTT broker of the simulated networks: packets, sessions and delivery. It knows neither
//! devices nor a network's dialect.

mod account;
mod broker;
mod bucket;
mod client_info;
mod disconnection;
mod input;
mod line;
mod outbox;
mod packet;
mod policy;
mod session;
mod topic;

pub(crate) use account::Account;
pub(crate) use broker::Broker;
pub use client_info::ClientInfo;
pub use disconnection::Disconnection;
pub(crate) use policy::Policy;
