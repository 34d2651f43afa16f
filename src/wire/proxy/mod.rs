//! The exchange with a proxy until it has opened a connection to the server: bytes in, bytes out.

mod connect;
mod failure;
mod socks5;
#[cfg(test)]
mod tests;

use std::fmt;

use crate::{
    config::{Protocol, Proxy, in_brackets},
    error::{Error, Result},
};

/// The state of the exchange with a proxy.
pub(crate) struct Talk {
    proxy: Proxy,
    /// A name or an IP address; IPv6 without brackets.
    host: String,
    port: u16,
    stage: Stage,
    /// The bytes that the proxy has sent in this stage.
    heard: Vec<u8>,
}

/// What the proxy sends next.
#[derive(Clone, Copy)]
enum Stage {
    /// The answer to CONNECT, which starts here, after interim answers.
    Answer { start: usize },
    /// SOCKS: the authentication method that it has chosen.
    Method,
    /// SOCKS: whether it accepts user and secret.
    Authentication,
    /// SOCKS: the answer to the request for a connection.
    Reply,
    /// SOCKS: the length of the name to which it is bound.
    NameLength,
    /// SOCKS: the rest of the address to which it is bound.
    Bound(usize),
    /// Nothing: the connection to the server is open.
    Open,
}

/// What to do next.
#[derive(PartialEq, Eq)]
pub(crate) enum Step {
    /// Read more.
    Read,
    /// Send this, then read more.
    Send(Vec<u8>),
    /// The proxy passes everything that follows to the server.
    Open,
}

/// Does not print the bytes, which may contain the user's secret.
impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read => f.write_str("Read"),
            Self::Send(bytes) => write!(f, "Send({} bytes)", bytes.len()),
            Self::Open => f.write_str("Open"),
        }
    }
}

impl Talk {
    /// Starts the exchange. Returns it with the bytes to send first.
    pub(crate) fn start(proxy: &Proxy, host: &str, port: u16) -> Result<(Self, Vec<u8>)> {
        let host = host
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
            .unwrap_or(host);
        if host.is_empty() || host.len() > 255 {
            return Err(Error::config(format!(
                "the host name of the server has {} bytes; through a proxy it can have 1 to 255",
                host.len()
            )));
        }
        if !host.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Error::config(format!(
                "the host name {host:?} cannot be sent to the proxy {proxy}: it contains a character that is not printable ASCII; write an international name in its xn-- form"
            )));
        }
        let (stage, first) = match proxy.protocol() {
            Protocol::Http => (
                Stage::Answer { start: 0 },
                connect::request(proxy, &target(host, port)),
            ),
            Protocol::Socks5 => (Stage::Method, socks5::methods(proxy)),
        };
        let talk = Self {
            proxy: proxy.clone(),
            host: host.to_owned(),
            port,
            stage,
            heard: Vec::new(),
        };
        Ok((talk, first))
    }

    /// Returns how many bytes may be read now; the bytes after them may be the server's.
    pub(crate) fn wants(&self) -> usize {
        let heard = self.heard.len();
        match self.stage {
            Stage::Answer { start } => connect::wants(heard - start),
            Stage::Method | Stage::Authentication => 2 - heard,
            Stage::Reply => 4 - heard,
            Stage::NameLength => 1 - heard,
            Stage::Bound(length) => length - heard,
            Stage::Open => 0,
        }
    }

    /// Processes the bytes that were read, at most [`wants`](Self::wants).
    pub(crate) fn on_bytes(&mut self, bytes: &[u8]) -> Result<Step> {
        if bytes.len() > self.wants() {
            return Err(self.unexpected("it sends more than its answer"));
        }
        self.heard.extend_from_slice(bytes);
        match self.stage {
            Stage::Answer { start } => self.on_answer(start),
            _ => self.on_socks(),
        }
    }

    fn go_to(&mut self, stage: Stage) -> Step {
        self.stage = stage;
        Step::Read
    }

    fn target(&self) -> String {
        target(&self.host, self.port)
    }
}

fn target(host: &str, port: u16) -> String {
    format!("{}:{port}", in_brackets(host))
}
