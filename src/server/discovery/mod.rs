//! From an application id to the address of its MQTT server, by asking a server over HTTP.
//!
//! Blocking, within a time limit; called on threads that may wait.

mod v2;
mod v3;

use std::{net::IpAddr, time::Duration};

use crate::{
    config::{AccessKey, Address, HttpAddress, Options},
    error::{Error, ErrorKind, Result},
    http::Failure,
    network::Network,
};

/// The fraction of the time that a search leaves unused, so that its own error arrives before the
/// caller stops waiting.
const SPARE: u32 = 8;

/// Returns the MQTT address of the application.
pub(super) fn find(
    server: &HttpAddress,
    options: &Options,
    access_key: &AccessKey,
    timeout: Duration,
) -> Result<Address> {
    let timeout = timeout - timeout / SPARE;
    match options.network {
        Network::V2 => v2::find(server, options, timeout),
        Network::V3 => v3::find(server, options, access_key, timeout),
    }
}

/// Explains why a server gave no answer, or only the beginning of one.
fn unanswered(server: &HttpAddress, network: Network, failure: Failure) -> Error {
    let Failure {
        kind,
        is_transient,
        seen,
        has_advice,
        source,
        ..
    } = failure;
    let kind = kind.unwrap_or(ErrorKind::DiscoveryAnswer);
    // Where the question contains a key, an address without a scheme means TLS, perhaps by mistake.
    let may_be_plain = network.asks_with_key();
    let advice = match (server.closed(), kind) {
        (Some(closed), _) => closed,
        (None, ErrorKind::TimedOut) if may_be_plain && !server.is_plain() => {
            "no answer in time; if it does not use TLS, specify it with http://"
        }
        (None, ErrorKind::TimedOut) => "no answer in time",
        (None, ErrorKind::Tls) if may_be_plain => {
            "its TLS certificate is not accepted; if it does not use TLS, specify it with http://"
        }
        (None, ErrorKind::Tls) => "its TLS certificate is not accepted, or it does not use TLS",
        (None, ErrorKind::ConnectionLost) => "it closed the connection",
        _ if has_advice => "",
        _ => "check the address and the network",
    };
    let why = match advice {
        "" => seen,
        advice => format!("{advice} ({seen})"),
    };
    let context = format!("cannot ask the discovery server {server}: {why}");
    if is_transient {
        return Error::transient(kind, context, source);
    }
    Error::with_source(kind, context, source)
}

/// Returns whether a host name or address means the machine itself.
fn is_local(host: &str) -> bool {
    let ip = host.parse().map(|ip: IpAddr| ip.to_canonical());
    host.eq_ignore_ascii_case("localhost")
        || ip.is_ok_and(|ip| ip.is_loopback() || ip.is_unspecified())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn not_found(network: Network, server: &str) -> String {
        let server = HttpAddress::parse(network, "discovery address", server).unwrap();
        let failure = Failure {
            kind: None,
            is_transient: false,
            seen: "host not found".to_owned(),
            has_advice: false,
            is_unsent: true,
            source: "host not found".into(),
        };
        unanswered(&server, network, failure).to_string()
    }

    #[test]
    fn the_closed_server_is_named_however_it_fails() {
        for server in [
            "http://discovery.thethingsnetwork.org",
            "https://discovery.thethings.network/base",
            "Discovery.TheThingsNetwork.org:8080",
        ] {
            for (network, instead) in [
                (Network::V2, "mqtt_address"),
                (Network::V3, "cluster(\"eu1\")"),
            ] {
                let text = not_found(network, server);
                assert!(text.contains("closed in December 2021"), "{text}");
                assert!(text.contains(instead), "{text}");
            }
        }
        for server in [
            "http://discovery.example/discovery.thethingsnetwork.org",
            "http://discovery.thethingsnetwork.org.example",
        ] {
            let text = not_found(Network::V2, server);
            assert!(!text.contains("2021"), "{text}");
        }
    }

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
