//! Which proxy a connection goes through, if any.

use std::{
    env, fmt,
    net::IpAddr,
    str::{self, FromStr},
};

use super::{in_brackets, split_host_and_port};
use crate::error::{Error, Result};

/// The port of `http://`.
const HTTP_PORT: u16 = 80;
const SOCKS5_PORT: u16 = 1080;

const FORMS: &str = "write http://host:port or socks5://host:port, with user:secret@ before the host if the proxy wants authentication";

/// A proxy. Printed without user and secret.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Proxy {
    protocol: Protocol,
    /// A name or an IP address; IPv6 without brackets.
    host: String,
    port: u16,
    credentials: Option<Credentials>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Protocol {
    /// HTTP with CONNECT.
    Http,
    Socks5,
}

/// The user and secret for a proxy. Never printed. Bytes, since percent encoding can express any.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Credentials {
    user: Vec<u8>,
    secret: Vec<u8>,
}

impl Proxy {
    pub(crate) fn protocol(&self) -> Protocol {
        self.protocol
    }

    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn credentials(&self) -> Option<&Credentials> {
        self.credentials.as_ref()
    }

    /// Reads an address. An `Err` says why it is not that of a proxy, and quotes nothing: a mistyped
    /// address may contain the secret anywhere.
    fn read(text: &str) -> Result<Self, String> {
        let unreadable = |why: &str| format!("{why}; {FORMS}");
        let (scheme, rest) = match text.split_once("://") {
            Some((scheme, rest)) if scheme.chars().all(|c| c.is_ascii_alphanumeric()) => {
                (scheme, rest)
            }
            _ => ("http", text),
        };
        let protocol = match scheme.to_ascii_lowercase().as_str() {
            "http" => Protocol::Http,
            "socks5" | "socks5h" => Protocol::Socks5,
            "https" => {
                return Err(
                    "a proxy that itself speaks TLS (https://) is not supported; write http:// if it also accepts plain HTTP (TLS to the server stays end to end)"
                        .to_owned(),
                );
            }
            "socks" | "socks4" | "socks4a" => {
                return Err(
                    "SOCKS 4 is not supported; write socks5:// if the proxy speaks SOCKS 5"
                        .to_owned(),
                );
            }
            _ => return Err(unreadable("the scheme is neither http nor socks5")),
        };
        // The last one: a host contains no @, but a secret may.
        let (credentials, place) = match rest.rsplit_once('@') {
            Some((credentials, place)) => (Some(credentials), place),
            None => (None, rest),
        };
        let (host, port) =
            split_host_and_port(place.strip_suffix('/').unwrap_or(place)).map_err(unreadable)?;
        let credentials = match credentials {
            None | Some("") => None,
            Some(text) => Some(Credentials::read(text, protocol).map_err(unreadable)?),
        };
        Ok(Self {
            protocol,
            host,
            port: port.unwrap_or(match protocol {
                Protocol::Http => HTTP_PORT,
                Protocol::Socks5 => SOCKS5_PORT,
            }),
            credentials,
        })
    }
}

/// Reads `http://[user[:secret]@]host[:port]`, with or without the scheme, and
/// `socks5://[user[:secret]@]host[:port]`; `socks5h` means the same as `socks5`.
impl FromStr for Proxy {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::read(text).map_err(|why| Error::config(format!("cannot read the proxy: {why}")))
    }
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.protocol {
            Protocol::Http => "http",
            Protocol::Socks5 => "socks5",
        };
        write!(f, "{scheme}://{}:{}", in_brackets(&self.host), self.port)
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proxy({self})")
    }
}

impl Credentials {
    pub(crate) fn user(&self) -> &[u8] {
        &self.user
    }

    pub(crate) fn reveal(&self) -> &[u8] {
        &self.secret
    }

    fn read(text: &str, protocol: Protocol) -> Result<Self, &'static str> {
        if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err("user or secret contains a space or a line end; write them as %20 and %0A");
        }
        let (user, secret) = text.split_once(':').unwrap_or((text, ""));
        let (Some(user), Some(secret)) = (percent_decoded(user), percent_decoded(secret)) else {
            return Err(
                "in user or secret, a % is not followed by two hex digits; write % itself as %25",
            );
        };
        match protocol {
            Protocol::Http if user.contains(&b':') => {
                Err("the user contains a colon, which HTTP does not allow")
            }
            Protocol::Socks5 if user.len() > 255 || secret.len() > 255 => {
                Err("user or secret is longer than the 255 bytes that SOCKS 5 allows")
            }
            _ => Ok(Self { user, secret }),
        }
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(…)")
    }
}

fn percent_decoded(text: &str) -> Option<Vec<u8>> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => {
                let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
                let high = digit(bytes.next())?;
                u8::try_from(high * 16 + digit(bytes.next())?).ok()?
            }
            byte => byte,
        });
    }
    Some(decoded)
}

/// How connections leave the machine.
#[derive(Clone, Default, Debug)]
pub(crate) enum WayOut {
    #[default]
    Direct,
    Through(Proxy),
    /// The proxy that environment variables name at the time of each connection.
    Environment,
}

impl WayOut {
    /// Returns whether no connection goes through a proxy.
    pub(crate) fn is_direct(&self) -> bool {
        matches!(self, Self::Direct)
    }

    /// Returns the proxy for a connection to this host.
    pub(crate) fn proxy_for(&self, tls: bool, host: &str, port: u16) -> Result<Option<Proxy>> {
        match self {
            Self::Direct => Ok(None),
            Self::Through(proxy) => Ok(Some(proxy.clone())),
            Self::Environment => {
                let variable = |name: &str| Some(env::var_os(name)?.to_string_lossy().into_owned());
                proxy_in(&variable, tls, host, port)
            }
        }
    }
}

/// Reads the environment as curl does: the names and order of the variables, and the meaning of
/// `NO_PROXY`. Beyond curl it accepts `*.name` and `host:port`.
fn proxy_in(
    variable: &dyn Fn(&str) -> Option<String>,
    tls: bool,
    host: &str,
    port: u16,
) -> Result<Option<Proxy>> {
    let first = |names: &[&'static str]| {
        names.iter().find_map(|name| {
            let value = variable(name)?;
            (!value.trim().is_empty()).then(|| (*name, value.trim().to_owned()))
        })
    };
    // Not HTTP_PROXY: in a CGI program it contains the header `Proxy` of the request.
    let names: &[_] = if tls {
        &["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"]
    } else {
        &["http_proxy", "all_proxy", "ALL_PROXY"]
    };
    let Some((name, value)) = first(names) else {
        return Ok(None);
    };
    if first(&["no_proxy", "NO_PROXY"]).is_some_and(|(_, list)| exempts(&list, host, port)) {
        return Ok(None);
    }
    match Proxy::read(&value) {
        Ok(proxy) => Ok(Some(proxy)),
        Err(why) => Err(Error::config(format!(
            "cannot read the proxy in the environment variable {name}: {why}"
        ))),
    }
}

/// Returns whether a value of `NO_PROXY` names the host. Unreadable entries name nothing.
fn exempts(list: &str, host: &str, port: u16) -> bool {
    let host = host.strip_prefix('[').unwrap_or(host);
    let host = host.strip_suffix([']', '.']).unwrap_or(host);
    let address = address(host);
    list.split(|c: char| c == ',' || c.is_whitespace())
        .any(|entry| match (entry.split_once('/'), address) {
            (Some((network, bits)), Some(address)) => is_in(address, network, bits),
            (Some(_), None) => false,
            (None, _) => {
                let (name, only_port) = match entry.parse::<IpAddr>() {
                    Ok(_) => (entry.to_owned(), None),
                    Err(_) => split_host_and_port(entry).unwrap_or_default(),
                };
                only_port.is_none_or(|only| only == port)
                    && (name == "*"
                        || match address {
                            Some(address) => self::address(&name) == Some(address),
                            None => is_below(host, &name),
                        })
            }
        })
}

fn address(text: &str) -> Option<IpAddr> {
    text.parse::<IpAddr>().ok().map(|ip| ip.to_canonical())
}

fn is_in(address: IpAddr, network: &str, bits: &str) -> bool {
    let network = network.strip_prefix('[').unwrap_or(network);
    let network = network.strip_suffix(']').unwrap_or(network);
    let (Ok(network), Ok(bits)) = (network.parse(), bits.parse::<u32>()) else {
        return false;
    };
    match (address, network) {
        (IpAddr::V4(address), IpAddr::V4(network)) if bits <= 32 => {
            let differ = address.to_bits() ^ network.to_bits();
            differ.checked_shr(32 - bits).unwrap_or(0) == 0
        }
        (IpAddr::V6(address), IpAddr::V6(network)) if bits <= 128 => {
            let differ = address.to_bits() ^ network.to_bits();
            differ.checked_shr(128 - bits).unwrap_or(0) == 0
        }
        _ => false,
    }
}

/// Returns whether a host is this domain or below it.
fn is_below(host: &str, domain: &str) -> bool {
    let domain = domain.strip_prefix('*').unwrap_or(domain);
    let domain = domain.strip_prefix('.').unwrap_or(domain);
    let domain = domain.strip_suffix('.').unwrap_or(domain);
    if domain.is_empty() {
        return false;
    }
    // As bytes: the cut may fall inside a character.
    let (host, domain) = (host.as_bytes(), domain.as_bytes());
    let Some(start) = host.len().checked_sub(domain.len()) else {
        return false;
    };
    host[start..].eq_ignore_ascii_case(domain) && (start == 0 || host[start - 1] == b'.')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        error::ErrorKind,
        seeds::{for_seeds, text_of},
    };

    const SECRET: &str = "kEepTh1s";

    fn read(text: &str) -> Proxy {
        text.parse().unwrap_or_else(|error| panic!("{error}"))
    }

    /// Returns the proxy for a host in an environment of `NAME=value` pairs.
    fn in_environment(variables: &[(&str, &str)], tls: bool, host: &str) -> Option<String> {
        let variable = |name: &str| {
            let found = variables.iter().find(|(known, _)| *known == name)?;
            Some(found.1.to_owned())
        };
        let proxy = proxy_in(&variable, tls, host, 8883).unwrap();
        proxy.map(|proxy| proxy.to_string())
    }

    #[test]
    fn every_form_of_a_proxy_is_understood() {
        for (text, printed) in [
            ("http://proxy:3128", "http://proxy:3128"),
            ("http://proxy", "http://proxy:80"),
            ("HTTP://proxy:3128/", "http://proxy:3128"),
            ("proxy:3128", "http://proxy:3128"),
            ("user:secret@proxy:3128", "http://proxy:3128"),
            ("socks5://proxy", "socks5://proxy:1080"),
            ("socks5h://proxy:9050", "socks5://proxy:9050"),
            ("http://user:secret@10.0.0.1:3128", "http://10.0.0.1:3128"),
            ("socks5://user@[::1]:9", "socks5://[::1]:9"),
            ("http://@proxy", "http://proxy:80"),
        ] {
            let proxy = read(text);
            assert_eq!(proxy.to_string(), printed, "{text}");
            assert_eq!(proxy.credentials.is_some(), text.contains("user"), "{text}");
            let port = printed.rsplit_once(':').unwrap().1;
            assert_eq!(proxy.port().to_string(), port);
            assert!(!proxy.host().contains(['[', '@']));
        }
    }

    #[test]
    fn user_and_secret_are_percent_decoded() {
        for (text, user, secret) in [
            ("user:secret", "user", "secret"),
            ("user", "user", ""),
            (":secret", "", "secret"),
            ("us%65r:s%3A%40%2f%25", "user", "s:@/%"),
            ("user:a:b@c/d?e#f", "user", "a:b@c/d?e#f"),
            ("user:a://b", "user", "a://b"),
            ("é:%C3%A9", "é", "é"),
        ] {
            for scheme in ["http://", "socks5://", ""] {
                let proxy = read(&format!("{scheme}{text}@proxy:1"));
                let credentials = proxy.credentials().unwrap();
                assert_eq!(credentials.user(), user.as_bytes(), "{text}");
                assert_eq!(credentials.reveal(), secret.as_bytes(), "{text}");
            }
        }
    }

    #[test]
    fn any_secret_is_read_as_it_was_encoded() {
        for_seeds(2_000, |random| {
            let secret: Vec<u8> = (0..random.usize(1..30)).map(|_| random.u8(..)).collect();
            let encoded: String = secret.iter().map(|byte| format!("%{byte:02x}")).collect();
            let proxy = read(&format!("socks5://u:{encoded}@h"));
            assert_eq!(proxy.credentials().unwrap().reveal(), secret);
        });
    }

    #[test]
    fn a_proxy_that_cannot_be_read_says_why() {
        let long = "x".repeat(256);
        for (text, why) in [
            (
                "https://proxy:3128".to_owned(),
                "https://) is not supported",
            ),
            ("socks4://proxy".to_owned(), "write socks5://"),
            ("socks://proxy".to_owned(), "write socks5://"),
            ("ftp://proxy".to_owned(), "neither http nor socks5"),
            ("://proxy".to_owned(), "neither http nor socks5"),
            (String::new(), "the host is missing"),
            ("http://user:secret@".to_owned(), "the host is missing"),
            ("http://proxy:0".to_owned(), "the port is not a number"),
            ("http://user:secret".to_owned(), "the port is not a number"),
            ("http://::1".to_owned(), "needs brackets"),
            ("http://proxy/path".to_owned(), "no host name has"),
            ("http://u:100%@proxy".to_owned(), "write % itself as %25"),
            ("http://u:%g0@proxy".to_owned(), "write % itself as %25"),
            ("http://u:%+1@proxy".to_owned(), "write % itself as %25"),
            ("http://u:a b@proxy".to_owned(), "%20"),
            ("http://a%3ab:c@proxy".to_owned(), "contains a colon"),
            (format!("socks5://{long}:s@proxy"), "255 bytes"),
            (format!("socks5://u:{long}@proxy"), "255 bytes"),
        ] {
            let error = text.parse::<Proxy>().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config);
            assert!(error.to_string().contains(why), "{text}: {error}");
        }
        read(&format!("http://u:{long}@proxy"));
    }

    #[test]
    fn nothing_that_prints_has_the_secret() {
        let parts = [
            "http", "https", "socks5", "://", "/", ":", "[", "]", "user", "%", "%4", "1080", "é",
            " ", "\n", "?", "proxy", SECRET,
        ];
        let mut readable = 0;
        for_seeds(20_000, |random| {
            let mut some = || text_of(random, &parts, 0..5);
            let text = format!("{}{SECRET}{}@{}", some(), some(), some());
            match text.parse::<Proxy>() {
                Err(error) => assert!(!format!("{error} {error:?}").contains(SECRET), "{error}"),
                // A secret in place of the host is not recognized as a secret.
                Ok(proxy) if proxy.host().contains(SECRET) => {}
                Ok(proxy) => {
                    let printed = format!("{proxy} {proxy:?} {:#?}", proxy.credentials());
                    assert!(!printed.contains(SECRET), "{printed}");
                    assert_eq!(read(&proxy.to_string()).to_string(), proxy.to_string());
                    readable += 1;
                }
            }
            // The @ was forgotten.
            if let Err(error) = text.replace('@', "").parse::<Proxy>() {
                assert!(!error.to_string().contains(SECRET), "{error}");
            }
        });
        assert!(readable > 200, "{readable}");
    }

    #[test]
    fn each_kind_of_connection_has_its_variable() {
        let all = [
            ("https_proxy", "a"),
            ("HTTPS_PROXY", "b"),
            ("http_proxy", "c"),
            ("HTTP_PROXY", "d"),
            ("all_proxy", "socks5://e"),
            ("ALL_PROXY", "f"),
        ];
        for (tls, without, found) in [
            (true, 0, Some("http://a:80")),
            (true, 1, Some("http://b:80")),
            (true, 2, Some("socks5://e:1080")),
            (true, 5, Some("http://f:80")),
            (true, 6, None),
            (false, 0, Some("http://c:80")),
            (false, 3, Some("socks5://e:1080")),
            (false, 5, Some("http://f:80")),
            (false, 6, None),
        ] {
            let found = found.map(str::to_owned);
            assert_eq!(in_environment(&all[without..], tls, "host"), found);
        }
    }

    #[test]
    fn an_upper_case_http_proxy_is_not_believed() {
        let variables = [("HTTP_PROXY", "http://stranger:1")];
        assert_eq!(in_environment(&variables, false, "host"), None);
        assert_eq!(in_environment(&variables, true, "host"), None);
    }

    #[test]
    fn an_empty_variable_is_none() {
        let variables = [
            ("https_proxy", ""),
            ("HTTPS_PROXY", " "),
            ("all_proxy", "a"),
        ];
        let found = in_environment(&variables, true, "host");
        assert_eq!(found.as_deref(), Some("http://a:80"));
        let variables = [("all_proxy", "a"), ("no_proxy", ""), ("NO_PROXY", "host")];
        assert_eq!(in_environment(&variables, true, "host"), None);
    }

    #[test]
    fn a_variable_that_cannot_be_read_is_named_without_its_secret() {
        let variable =
            |name: &str| (name == "ALL_PROXY").then(|| format!("https://user:{SECRET}@proxy:443"));
        let error = proxy_in(&variable, true, "host", 1).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains("ALL_PROXY"), "{error}");
        assert!(!format!("{error:?}").contains(SECRET), "{error}");
    }

    #[test]
    fn hosts_of_no_proxy_are_reached_directly() {
        for (list, host, exempt) in [
            ("*", "anything", true),
            ("other, *", "10.0.0.1", true),
            ("example.com", "example.com", true),
            ("example.com", "EU.Example.com", true),
            ("Example.COM.", "eu.example.com", true),
            ("example.com", "example.com.", true),
            (".example.com", "example.com", true),
            (".example.com", "eu.example.com", true),
            ("*.example.com", "eu.example.com", true),
            ("example.com", "badexample.com", false),
            ("eu.example.com", "example.com", false),
            ("é.com", "xé.com", false),
            ("com", "\u{e9}com", false),
            ("a,b c\td", "d", true),
            ("a, ,b", "c", false),
            (".", "host", false),
            ("host:8883", "host", true),
            ("host:1883", "host", false),
            ("*:8883", "host", true),
            ("*:1883", "host", false),
            ("host:", "host", false),
            ("10.0.0.1", "10.0.0.1", true),
            ("10.0.0.1:8883", "10.0.0.1", true),
            ("10.0.0.1:1", "10.0.0.1", false),
            ("0.1", "10.0.0.1", false),
            ("10.0.0.0/8", "10.9.9.9", true),
            ("10.0.0.0/8", "11.9.9.9", false),
            ("10.0.0.0/8", "ten.example", false),
            ("10.0.0.0/8", "::ffff:10.9.9.9", true),
            ("192.168.1.128/25", "192.168.1.127", false),
            ("192.168.1.128/25", "192.168.1.129", true),
            ("1.2.3.4/32", "1.2.3.4", true),
            ("1.2.3.4/0", "9.9.9.9", true),
            ("1.2.3.4/33", "1.2.3.4", false),
            ("1.2.3.4/-1", "1.2.3.4", false),
            ("1.2.3.4/", "1.2.3.4", false),
            ("::1", "::1", true),
            ("[::1]", "::1", true),
            ("[::1]:8883", "::1", true),
            ("[::1]:8884", "::1", false),
            ("::1", "[::1]", true),
            ("0:0::1", "::1", true),
            ("fd00::/8", "fd12::1", true),
            ("[fd00::]/8", "fd12::1", true),
            ("fd00::/8", "fe12::1", false),
            ("::/0", "fe12::1", true),
            ("::/0", "1.2.3.4", false),
            ("::/129", "::", false),
        ] {
            assert_eq!(exempts(list, host, 8883), exempt, "{list:?} {host:?}");
            let variables = [("ALL_PROXY", "proxy"), ("NO_PROXY", list)];
            assert_eq!(in_environment(&variables, true, host).is_none(), exempt);
        }
    }

    #[test]
    fn no_list_of_exemptions_is_too_strange() {
        let parts = [
            "*", ".", ",", " ", ":", "/", "[", "]", "::1", "10.0.0.1", "8", "8883", "host", "é",
            "\0", "%",
        ];
        for_seeds(20_000, |random| {
            let mut some = || text_of(random, &parts, 0..8);
            exempts(&some(), &some(), 8883);
        });
    }

    #[test]
    fn a_way_out_is_direct_unless_it_was_chosen() {
        let found = WayOut::default().proxy_for(true, "host", 8883).unwrap();
        assert_eq!(found, None);
        let proxy = read("socks5://proxy");
        for host in ["host", "localhost", "127.0.0.1"] {
            let way_out = WayOut::Through(proxy.clone());
            let found = way_out.proxy_for(false, host, 1883).unwrap();
            assert_eq!(found.as_ref(), Some(&proxy));
        }
    }
}
