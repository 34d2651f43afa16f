//! From an application id to the address of its MQTT server, by asking a server over HTTP.
//!
//! Blocking, within a time limit; called on threads that may wait.

mod v2;
mod v3;

use std::{net::IpAddr, time::Duration};

use crate::{
    config::{AccessKey, Address, DiscoveryAddress, Options},
    error::Result,
    network::Network,
};

/// The MQTT address of the application.
pub(super) fn find(
    server: &DiscoveryAddress,
    options: &Options,
    access_key: &AccessKey,
    timeout: Duration,
) -> Result<Address> {
    match options.network {
        Network::V2 => v2::find(server, options, timeout),
        Network::V3 => v3::find(server, options, access_key, timeout),
    }
}

/// Whether a host means the machine that says it.
fn is_local(host: &str) -> bool {
    let ip = host.parse().map(|ip: IpAddr| ip.to_canonical());
    host.eq_ignore_ascii_case("localhost")
        || ip.is_ok_and(|ip| ip.is_loopback() || ip.is_unspecified())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_that_means_every_machine_itself_is_local() {
        for host in [
            "localhost",
            "LocalHost",
            "127.0.0.1",
            "127.0.1.1",
            "::1",
            "0.0.0.0",
        ] {
            assert!(is_local(host), "{host}");
        }
        for host in ["localhost.example", "10.0.0.1", "2001:db8::1", "host"] {
            assert!(!is_local(host), "{host}");
        }
    }
}
