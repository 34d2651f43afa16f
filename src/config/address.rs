//! Where a server is: host, port, TLS or not.

use std::{fmt, net::Ipv6Addr, str::FromStr};

use crate::error::{Error, Result};

const PLAIN_PORT: u16 = 1883;
const TLS_PORT: u16 = 8883;

/// The address of an MQTT server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Address {
    /// A name or an IP address; IPv6 without brackets.
    host: String,
    port: u16,
    tls: bool,
}

impl Address {
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn tls(&self) -> bool {
        self.tls
    }
}

/// Reads `host`, `host:port`, `mqtt://host[:port]` and `mqtts://host[:port]`, with IPv6 addresses in
/// brackets.
///
/// Without a scheme, port 8883 or no port means TLS, any other port means plain TCP.
impl FromStr for Address {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let unreadable = |why: &str| {
            Error::config(format!(
                "cannot read the MQTT address {text:?}: {why}; write host, host:port, mqtt://host:port or mqtts://host:port"
            ))
        };
        if text.contains('@') {
            return Err(Error::config(
                "an MQTT address contains no user name or key; set them as application id and access key, or, for a broker of \
                 your own, with credentials",
            ));
        }
        if text.contains(',') {
            return Err(unreadable(
                "only a broker of your own has several servers; begin with MqttClient::own_broker, or name one server",
            ));
        }
        let (scheme, rest) = match text.split_once("://") {
            Some((scheme, rest)) => (Some(scheme), rest),
            None => (None, text),
        };
        let (host, port) =
            split_host_and_port(rest.strip_suffix('/').unwrap_or(rest)).map_err(unreadable)?;
        let (tls, port) = match scheme {
            Some("mqtt") => (false, port.unwrap_or(PLAIN_PORT)),
            Some("mqtts") => (true, port.unwrap_or(TLS_PORT)),
            Some(_) => return Err(unreadable("the scheme is neither mqtt nor mqtts")),
            None => {
                let port = port.unwrap_or(TLS_PORT);
                (port == TLS_PORT, port)
            }
        };
        Ok(Self { host, port, tls })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "mqtts" } else { "mqtt" };
        write!(f, "{scheme}://{}:{}", in_brackets(&self.host), self.port)
    }
}

/// Writes a host as in a URI: IPv6 addresses in brackets.
pub(crate) fn in_brackets(host: &str) -> String {
    if host.contains(':') {
        format!("[{host}]")
    } else {
        host.to_owned()
    }
}

/// Splits `host` and `host:port`. An `Err` says why the text is neither.
pub(crate) fn split_host_and_port(text: &str) -> Result<(String, Option<u16>), &'static str> {
    let (host, port) = if let Some(rest) = text.strip_prefix('[') {
        let (host, after) = rest.split_once(']').ok_or("a bracket is not closed")?;
        host.parse::<Ipv6Addr>()
            .map_err(|_| "the text in brackets is not an IPv6 address")?;
        match after.strip_prefix(':') {
            Some(port) => (host, Some(port)),
            None if after.is_empty() => (host, None),
            None => return Err("something other than a port follows the bracket"),
        }
    } else {
        match text.split_once(':') {
            Some((_, port)) if port.contains(':') => {
                return Err("an IPv6 address needs brackets");
            }
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        }
    };
    if host.is_empty() {
        return Err("the host is missing");
    }
    if host
        .chars()
        .any(|c| c.is_whitespace() || c.is_control() || "/?#\\".contains(c))
    {
        return Err("the host contains a character that no host name has");
    }
    let port = match port {
        None => None,
        Some(port) => match port.parse::<u16>() {
            // `parse` also takes a plus sign.
            Ok(number) if number > 0 && !port.starts_with('+') => Some(number),
            _ => return Err("the port is not a number from 1 to 65535"),
        },
    };
    Ok((host.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::seeds::{for_seeds, text_of};

    fn read(text: &str) -> (String, u16, bool) {
        let address: Address = text.parse().unwrap_or_else(|error| panic!("{error}"));
        (address.host, address.port, address.tls)
    }

    #[test]
    fn every_form_of_an_address_is_understood() {
        let cases = [
            ("eu.thethings.network", ("eu.thethings.network", 8883, true)),
            ("host:8883", ("host", 8883, true)),
            ("host:1883", ("host", 1883, false)),
            ("host:2000", ("host", 2000, false)),
            ("mqtt://host", ("host", 1883, false)),
            ("mqtt://host:8883", ("host", 8883, false)),
            ("mqtts://host", ("host", 8883, true)),
            ("mqtts://host:1883/", ("host", 1883, true)),
            ("127.0.0.1:1884", ("127.0.0.1", 1884, false)),
            ("[::1]:1883", ("::1", 1883, false)),
            ("[2001:db8::7]", ("2001:db8::7", 8883, true)),
            ("mqtts://[::1]:9", ("::1", 9, true)),
        ];
        for (text, (host, port, tls)) in cases {
            assert_eq!(read(text), (host.to_owned(), port, tls), "{text}");
        }
    }

    #[test]
    fn host_port_and_scheme_of_any_address_are_read_and_printed() {
        for_seeds(10_000, |random| {
            let host = match random.u8(..3) {
                0 => Ipv4Addr::from(random.u32(..)).to_string(),
                1 => Ipv6Addr::from(random.u128(..) >> random.u32(..128)).to_string(),
                _ => (0..random.usize(1..30))
                    .map(|_| char::from(b"abzABZ019-._"[random.usize(..12)]))
                    .collect(),
            };
            let port = random.bool().then(|| match random.u8(..3) {
                0 => 8883,
                1 => 1883,
                _ => random.u16(1..),
            });
            let (scheme, tls) = match random.u8(..3) {
                0 => ("mqtt://", false),
                1 => ("mqtts://", true),
                _ => ("", port.unwrap_or(8883) == 8883),
            };
            let port_text = port.map(|port| format!(":{port}")).unwrap_or_default();
            let end = if random.bool() { "/" } else { "" };
            let text = format!("{scheme}{}{port_text}{end}", in_brackets(&host));
            let port = port.unwrap_or(if tls { 8883 } else { 1883 });
            assert_eq!(read(&text), (host, port, tls), "{text}");
            let address: Address = text.parse().unwrap();
            assert_eq!(address.to_string().parse::<Address>().unwrap(), address);
        });
    }

    #[test]
    fn what_is_read_of_any_text_prints_as_it_can_be_read_again() {
        let parts = [
            "mqtt", "mqtts", "://", "http", "/", ":", "[", "]", "[::1]", "1883", "0", "65536",
            "host", "é", " ", "\n", "?", "@", ".", "-",
        ];
        let mut readable = 0;
        for_seeds(20_000, |random| {
            let text = text_of(random, &parts, 1..7);
            if let Ok(address) = text.parse::<Address>() {
                let printed = address.to_string();
                assert_eq!(printed.parse::<Address>().ok(), Some(address), "{text:?}");
                readable += 1;
            }
        });
        assert!(readable > 1_000, "{readable}");
    }

    #[test]
    fn an_address_that_cannot_be_read_is_quoted_in_the_error() {
        for text in [
            "",
            ":1883",
            "host:",
            "host:0",
            "host:65536",
            "host:port",
            "host:+1883",
            "::1",
            "[::1",
            "[::1]1883",
            "[host]:1",
            "http://host",
            "mqtt://",
            "a b",
            "host/path",
            "host1,host2",
        ] {
            let error = text.parse::<Address>().unwrap_err();
            assert!(error.to_string().contains(&format!("{text:?}")), "{error}");
        }
    }

    #[test]
    fn an_address_with_a_key_in_it_is_refused_without_repeating_the_key() {
        let error = "mqtt://app:secret@host".parse::<Address>().unwrap_err();
        assert!(!error.to_string().contains("secret"));
    }

    #[test]
    fn an_address_prints_as_it_can_be_read_again() {
        for text in ["mqtts://host:8883", "mqtt://[::1]:1883"] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
    }
}
