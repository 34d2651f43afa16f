//! What tests, examples and benches share: a real broker, faults, certificates and small servers.
#![allow(
    dead_code,
    reason = "each target that includes this folder uses a part of it"
)]
#![allow(unreachable_pub, reason = "these targets export nothing anyway")]

#[cfg(not(feature = "simulator"))]
compile_error!("the tests need the feature `simulator`: cargo test --all-features");

pub mod attempts;
pub mod certificates;
pub mod child;
pub mod deliveries;
pub mod discovery_server;
pub mod fixture_kinds;
pub mod fixtures;
#[cfg(unix)]
pub mod fork;
pub mod golden;
#[cfg(unix)]
pub mod guarded;
#[cfg(unix)]
pub mod harness;
#[cfg(unix)]
pub mod mosquitto;
#[cfg(target_os = "linux")]
pub mod names;
#[cfg(unix)]
pub mod nats;
#[cfg(unix)]
pub mod nats_node;
#[cfg(unix)]
pub mod old_tls;
pub mod outages;
pub mod peer;
#[cfg(target_os = "linux")]
pub mod preload;
mod proxy;
pub mod raw;
pub mod recorded;
pub mod relay;
#[cfg(unix)]
pub mod relayed_client;
pub mod resources;
#[cfg(unix)]
pub mod soak;
pub mod tls_front;
#[cfg(unix)]
pub mod tls_server;
pub mod watchdog;
pub mod way_out;
