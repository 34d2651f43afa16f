//! Why a proxy does not open the connection.

use super::{Stage, Talk, connect};
use crate::{
    config::Protocol,
    error::{Error, ErrorKind},
};

/// The longest part of an answer that an error quotes, in characters.
const MAX_QUOTE: usize = 80;

impl Talk {
    /// Explains that the proxy closed the connection during the exchange.
    pub(crate) fn on_end(&self) -> Error {
        let proxy = &self.proxy;
        let advice = match (self.stage, self.heard.is_empty()) {
            (Stage::Answer { .. } | Stage::Method, true) => format!("is it {}?", self.right_kind()),
            (Stage::Authentication, _) => {
                "check user and secret, and the log of the proxy".to_owned()
            }
            _ => "check the log of the proxy".to_owned(),
        };
        Error::new(
            ErrorKind::Protocol,
            format!(
                "the proxy {proxy} closed the connection instead of opening one to {}; {advice}",
                self.target()
            ),
        )
    }

    /// Explains that the proxy sent nothing more in time. An HTTP proxy that receives SOCKS waits for
    /// the end of a line.
    pub(crate) fn on_silence(&self) -> Error {
        Error::new(
            ErrorKind::TimedOut,
            format!(
                "the proxy {} accepted the connection and then did not answer; is it {}, and is it overloaded?",
                self.proxy,
                self.right_kind()
            ),
        )
    }

    /// Says what kind of proxy is expected.
    pub(super) fn right_kind(&self) -> &'static str {
        match self.proxy.protocol() {
            Protocol::Http => "an HTTP proxy that accepts plain HTTP on this port",
            Protocol::Socks5 => "a SOCKS 5 proxy",
        }
    }

    pub(super) fn wants_authentication(&self, said: &str) -> Error {
        let proxy = &self.proxy;
        let text = match proxy.credentials() {
            Some(_) => format!("the proxy {proxy} refuses the user and secret{said}; check them"),
            None => {
                let with_user = proxy.to_string().replacen("://", "://user:secret@", 1);
                format!("the proxy {proxy} wants authentication{said}; write it as {with_user}")
            }
        };
        Error::new(ErrorKind::Proxy, text)
    }

    /// Explains that the proxy sent something that no proxy of its kind sends.
    pub(super) fn unexpected(&self, what: &str) -> Error {
        Error::new(
            ErrorKind::Proxy,
            format!(
                "the proxy {} sent an unexpected answer: {what}; is it {}?",
                self.proxy,
                self.right_kind()
            ),
        )
    }

    /// Explains that the proxy works and cannot reach the server.
    pub(super) fn not_reached(&self, kind: ErrorKind, said: &str) -> Error {
        let target = self.target();
        let advice = match kind {
            ErrorKind::UnknownHost => "it cannot find the host; check the address",
            ErrorKind::ConnectionRefused => {
                "nothing listens there; is the server up and the port right?"
            }
            ErrorKind::TimedOut => "it got no answer in time; is there a firewall in between?",
            _ => "check the address, and the network of the proxy",
        };
        Error::new(
            kind,
            format!(
                "the proxy {} cannot reach {target} ({said}): {advice}",
                self.proxy
            ),
        )
    }

    /// Quotes the beginning of what the proxy said without characters that could harm a terminal,
    /// or not at all if it repeats the secret.
    pub(super) fn quoted(&self, text: &str) -> String {
        let repeats = self.proxy.credentials().is_some_and(|credentials| {
            let secret = match credentials.reveal() {
                [] => credentials.user(),
                secret => secret,
            };
            text.contains(&*String::from_utf8_lossy(secret))
                || text.contains(&connect::basic(credentials))
        });
        if repeats {
            return "an answer that repeats the secret".to_owned();
        }
        let mut quoted: String = text
            .chars()
            .take(MAX_QUOTE)
            .flat_map(char::escape_debug)
            .collect();
        if text.chars().nth(MAX_QUOTE).is_some() {
            quoted.push('…');
        }
        quoted
    }
}
