//! The address of a server to ask over HTTP.

use std::fmt;

use super::split_host_and_port;
use crate::{
    error::{Error, Result},
    network::Network,
};

const MAX_LENGTH: usize = 8_000;

/// The address of a server to ask: `http://` or `https://`, a host, optionally a port and a path.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct HttpAddress {
    network: Network,
    url: String,
}

impl HttpAddress {
    /// Reads the address that an option sets. Without a scheme it means HTTPS if the question contains a key, otherwise
    /// HTTP.
    pub(crate) fn parse(network: Network, option: &str, text: &str) -> Result<Self> {
        let unreadable = |why: &str| {
            Error::config(format!(
                "cannot read the {option} {text:?}: {why}; write http://host:port or https://host:port"
            ))
        };
        if text.contains('@') {
            return Err(Error::config(format!(
                "the {option} contains no user name or key; the client sends the server what it needs to know",
            )));
        }
        let default = match network.asks_with_key() {
            true => "https",
            false => "http",
        };
        let (scheme, rest) = text.split_once("://").unwrap_or((default, text));
        if !["http", "https"].contains(&scheme) {
            return Err(unreadable("the scheme is neither http nor https"));
        }
        let rest = network.http_base(rest);
        let (place, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (host, port) = split_host_and_port(place).map_err(unreadable)?;
        let is_ipv6 = place.starts_with('[');
        if !(is_ipv6 || host.chars().all(is_in_host)) || !path.chars().all(is_in_path) {
            return Err(unreadable("it contains a character that no address has"));
        }
        if rest.len() > MAX_LENGTH {
            return Err(unreadable("it is too long"));
        }
        network
            .check_discovery_place(port, path)
            .map_err(unreadable)?;
        let url = format!("{scheme}://{rest}");
        Ok(Self { network, url })
    }

    pub(crate) fn is_plain(&self) -> bool {
        self.url.starts_with("http://")
    }

    /// A name or an IP address; IPv6 without brackets.
    pub(crate) fn host(&self) -> &str {
        let (_, rest) = self.url.split_once("://").unwrap_or_default();
        match rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((host, _)) => host,
            None => rest.split(['/', ':']).next().unwrap_or_default(),
        }
    }

    /// Returns what to do if this is the closed server of the public V2 network, as part of an
    /// error.
    pub(crate) fn closed(&self) -> Option<&'static str> {
        self.network.closed_server_advice(self.host())
    }
}

impl fmt::Display for HttpAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url)
    }
}

/// Returns whether RFC 3986 allows the character in a host name, where no percent encoding is
/// needed.
fn is_in_host(c: char) -> bool {
    c.is_ascii_alphanumeric() || "-._~!$&'()*+,;=".contains(c)
}

/// Returns whether RFC 3986 allows the character in a path.
fn is_in_path(c: char) -> bool {
    is_in_host(c) || "/:%".contains(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(network: Network, text: &str) -> String {
        let address = HttpAddress::parse(network, "discovery address", text);
        address.unwrap_or_else(|error| panic!("{error}")).url
    }

    #[test]
    fn an_address_of_a_discovery_server_may_leave_out_the_scheme() {
        for (text, expected) in [
            ("http://host:8080", "http://host:8080"),
            ("https://host/base/", "https://host/base"),
            ("http://[::1]:8080", "http://[::1]:8080"),
        ] {
            for network in [Network::V2, Network::V3] {
                assert_eq!(url(network, text), expected);
            }
        }
        assert_eq!(url(Network::V2, "host:8080"), "http://host:8080");
        assert_eq!(url(Network::V3, "host:8080"), "https://host:8080");
    }

    #[test]
    fn an_address_that_cannot_be_read_is_quoted_in_the_error() {
        for text in [
            "",
            "ftp://host",
            "http://",
            "http://a b",
            "host?x",
            "http://:80",
            "http://[]",
            "http://[::1",
            "http://[host]:80",
            "http://host:",
            "http://host:65536",
            "http://host/a b",
            "http://host/a?b",
            "http://h%6Fst",
            "http://höst",
            "http://host/ä",
            "http://a[b]",
            "http://host:+80",
            "http://host\"",
        ] {
            for network in [Network::V2, Network::V3] {
                let error = HttpAddress::parse(network, "discovery address", text).unwrap_err();
                assert!(error.to_string().contains(&format!("{text:?}")), "{error}");
            }
        }
    }

    #[test]
    fn a_page_of_the_console_is_not_the_stack() {
        for text in [
            "https://eu1.cloud.thethings.network/console/login",
            "eu1.cloud.thethings.network/console/applications/greenhouse",
        ] {
            let error = HttpAddress::parse(Network::V3, "discovery address", text).unwrap_err();
            assert!(error.to_string().contains("console"), "{error}");
        }
        let path = "https://lorawan.example.org/stack";
        assert!(HttpAddress::parse(Network::V3, "discovery address", path).is_ok());
    }

    #[test]
    fn the_path_of_the_api_or_of_the_console_at_the_end_of_an_address_is_cut_off() {
        for (text, expected) in [
            ("eu1.example/api/v3", "https://eu1.example"),
            ("https://eu1.example/api/v3//", "https://eu1.example"),
            ("http://host:1885/api/", "http://host:1885"),
            ("host:8885/console", "https://host:8885"),
            ("host:8885/console/", "https://host:8885"),
            ("host/stack/api/v3", "https://host/stack"),
            ("host/stack", "https://host/stack"),
            ("host/my-api", "https://host/my-api"),
            ("host/v3", "https://host/v3"),
            ("[::1]:8885/api/v3", "https://[::1]:8885"),
        ] {
            assert_eq!(url(Network::V3, text), expected, "{text}");
        }
        let text = "http://host:8080/api";
        assert_eq!(url(Network::V2, text), text);
        for text in ["/api/v3", "https:///console", "api/v3/x y"] {
            assert!(HttpAddress::parse(Network::V3, "http address", text).is_err());
        }
    }

    #[test]
    fn port_1900_is_wrong_on_v2_only() {
        let text = "discovery.thethings.network:1900";
        let error = HttpAddress::parse(Network::V2, "discovery address", text).unwrap_err();
        assert!(error.to_string().contains("gRPC"), "{error}");
        assert_eq!(url(Network::V3, text), format!("https://{text}"));
    }

    #[test]
    fn an_address_with_a_key_in_it_is_refused_without_repeating_the_key() {
        for text in ["http://app:secret@host", "secret@host:8080"] {
            let error = HttpAddress::parse(Network::V2, "discovery address", text).unwrap_err();
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }

    #[test]
    fn the_host_of_an_address_has_neither_port_nor_path() {
        for (text, host) in [
            ("https://host:8885/base", "host"),
            ("host/base:1", "host"),
            ("http://[2001:db8::7]:80/", "2001:db8::7"),
        ] {
            let address = HttpAddress::parse(Network::V3, "discovery address", text).unwrap();
            assert_eq!(address.host(), host);
        }
    }
}
