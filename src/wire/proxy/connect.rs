//! HTTP CONNECT.

use base64::{Engine, prelude::BASE64_STANDARD};

use super::{Stage, Step, Talk};
use crate::{
    config::{Credentials, Proxy},
    error::{Error, ErrorKind, Result},
};

/// The longest answer that is read.
const MAX_ANSWER: usize = 8 << 10;

/// The beginning of every answer.
const HTTP: &[u8] = b"HTTP/";

/// Returns the request for a connection to `target`.
pub(super) fn request(proxy: &Proxy, target: &str) -> Vec<u8> {
    let mut request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n");
    if let Some(credentials) = proxy.credentials() {
        request += &format!("Proxy-Authorization: Basic {}\r\n", basic(credentials));
    }
    request += "\r\n";
    request.into_bytes()
}

/// Returns how many bytes may be read after `heard` bytes of an answer: it ends with an empty line, and
/// what follows is the server's.
pub(super) fn wants(heard: usize) -> usize {
    HTTP.len().saturating_sub(heard).max(1)
}

/// Encodes user and secret for the header.
pub(super) fn basic(credentials: &Credentials) -> String {
    BASE64_STANDARD.encode([credentials.user(), b":", credentials.reveal()].concat())
}

/// The answer of a proxy to CONNECT.
struct Answer<'a> {
    status: u16,
    /// Status and reason, for errors.
    line: &'a str,
    headers: &'a str,
}

impl<'a> Answer<'a> {
    fn read(text: &'a str) -> Option<Self> {
        let (line, headers) = text.split_once('\n')?;
        let (_version, line) = line.trim_end().split_once(' ')?;
        let line = line.trim_start();
        let digits = line.split(' ').next().filter(|digits| digits.len() == 3)?;
        let status = digits.parse().ok().filter(|status| *status >= 100)?;
        Some(Self {
            status,
            line,
            headers,
        })
    }

    /// Returns the values of a header, in order.
    fn header(&self, name: &str) -> impl Iterator<Item = &'a str> {
        self.headers.lines().filter_map(move |line| {
            let (known, value) = line.split_once(':')?;
            known.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    /// Returns why the proxy cannot reach the server, if it says so: in the header of RFC 9209, or in
    /// Squid's own header with the error number of its system.
    fn cause(&self) -> Option<ErrorKind> {
        let squid = self.header("X-Squid-Error").find_map(|value| {
            let mut words = value.split_whitespace();
            match (words.next()?, words.next()) {
                ("ERR_DNS_FAIL", _) => Some(ErrorKind::UnknownHost),
                // Squid 5 sends this with status 500 for a name that it cannot resolve.
                ("ERR_CANNOT_FORWARD", _) => Some(ErrorKind::Unreachable),
                ("ERR_CONNECT_FAIL", Some("111" | "61")) => Some(ErrorKind::ConnectionRefused),
                ("ERR_CONNECT_FAIL", Some("110" | "60")) => Some(ErrorKind::TimedOut),
                _ => None,
            }
        });
        squid.or_else(|| {
            self.header("Proxy-Status").find_map(|value| {
                let (_, error) = value.split_once("error=")?;
                match error.split([';', ',', ' ']).next()? {
                    "dns_error" | "dns_timeout" => Some(ErrorKind::UnknownHost),
                    "connection_refused" => Some(ErrorKind::ConnectionRefused),
                    "connection_timeout" => Some(ErrorKind::TimedOut),
                    _ => None,
                }
            })
        })
    }
}

impl Talk {
    pub(super) fn on_answer(&mut self, start: usize) -> Result<Step> {
        let answer = &self.heard[start..];
        if !answer
            .iter()
            .zip(HTTP)
            .all(|(heard, expected)| heard == expected)
        {
            let speaks_tls = matches!(answer, [0x15 | 0x16, ..]);
            return Err(self.unexpected(if speaks_tls {
                "it speaks TLS at this port"
            } else {
                "its answer is not HTTP"
            }));
        }
        if !answer.ends_with(b"\n\r\n") && !answer.ends_with(b"\n\n") {
            if self.heard.len() >= MAX_ANSWER {
                return Err(self.unexpected("its answer is longer than 8 KiB"));
            }
            return Ok(Step::Read);
        }
        let text = String::from_utf8_lossy(answer);
        match Answer::read(&text) {
            Some(answer) => match answer.status {
                200..=299 => {
                    self.stage = Stage::Open;
                    Ok(Step::Open)
                }
                // 101 is final, and was not requested.
                100 | 102..=199 if self.heard.len() < MAX_ANSWER => Ok(self.go_to(Stage::Answer {
                    start: self.heard.len(),
                })),
                _ => Err(self.refused(&answer)),
            },
            None => {
                let line = text.lines().next().unwrap_or_default();
                Err(self.unexpected(&format!("its answer is not HTTP ({})", self.quoted(line))))
            }
        }
    }

    fn refused(&self, answer: &Answer<'_>) -> Error {
        let Self { proxy, port, .. } = self;
        let target = self.target();
        let said = format!("HTTP {}", self.quoted(answer.line));
        let cause = answer.cause();
        match answer.status {
            407 => {
                let offers: Vec<_> = answer.header("Proxy-Authenticate").collect();
                let basic = offers
                    .iter()
                    .any(|offer| offer.to_ascii_lowercase().contains("basic"));
                if offers.is_empty() || basic {
                    return self.wants_authentication(&format!(" ({said})"));
                }
                let schemes: Vec<_> = offers
                    .iter()
                    .filter_map(|offer| offer.split_whitespace().next())
                    .collect();
                Error::new(
                    ErrorKind::Proxy,
                    format!(
                        "the proxy {proxy} wants authentication by {}; this client supports only Basic: configure the proxy to accept it, or run a local proxy such as cntlm in between",
                        self.quoted(&schemes.join(", "))
                    ),
                )
            }
            403 | 405 => {
                let advice = match port {
                    443 => "ask its administrator to allow it".to_owned(),
                    port => format!(
                        "ask its administrator to allow port {port}: Squid by default allows CONNECT only to port 443"
                    ),
                };
                Error::new(
                    ErrorKind::PermissionDenied,
                    format!(
                        "the proxy {proxy} forbids a connection to {target} ({said}); {advice}"
                    ),
                )
            }
            504 => self.not_reached(cause.unwrap_or(ErrorKind::TimedOut), &said),
            500 | 502 | 503 if answer.status != 500 || cause.is_some() => {
                self.not_reached(cause.unwrap_or(ErrorKind::Unreachable), &said)
            }
            429 | 500.. if answer.status != 501 => Error::new(
                ErrorKind::ServerUnavailable,
                format!(
                    "the proxy {proxy} cannot open a connection to {target} now ({said}); try again later, or check its log"
                ),
            ),
            _ => Error::new(
                ErrorKind::Proxy,
                format!(
                    "the proxy {proxy} does not open a connection to {target} ({said}); is it {}?",
                    self.right_kind()
                ),
            ),
        }
    }
}
