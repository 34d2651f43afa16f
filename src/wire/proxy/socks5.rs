//! SOCKS 5 (RFC 1928).

use std::{mem, net::IpAddr};

use super::{Stage, Step, Talk};
use crate::{
    config::Proxy,
    error::{Error, ErrorKind, Result},
};

const VERSION: u8 = 5;
const NO_AUTHENTICATION: u8 = 0;
const USER_AND_SECRET: u8 = 2;
const NO_METHOD: u8 = 0xff;
/// RFC 1929 has a version of its own.
const AUTHENTICATION_VERSION: u8 = 1;
const CONNECT: u8 = 1;
const IPV4: u8 = 1;
const NAME: u8 = 3;
const IPV6: u8 = 4;

/// Returns the authentication methods that are offered.
pub(super) fn methods(proxy: &Proxy) -> Vec<u8> {
    match proxy.credentials() {
        None => vec![VERSION, 1, NO_AUTHENTICATION],
        Some(_) => vec![VERSION, 2, NO_AUTHENTICATION, USER_AND_SECRET],
    }
}

impl Talk {
    /// Processes what the proxy has sent in this stage.
    pub(super) fn on_socks(&mut self) -> Result<Step> {
        self.check_beginning()?;
        if self.wants() > 0 {
            return Ok(Step::Read);
        }
        let heard = mem::take(&mut self.heard);
        match (self.stage, heard.as_slice()) {
            (Stage::Method, [_, method]) => self.on_method(*method),
            (Stage::Authentication, [_, 0]) => Ok(self.request_connection()),
            (Stage::Authentication, _) => Err(self.wants_authentication("")),
            (Stage::Reply, [.., kind]) => match *kind {
                IPV4 => Ok(self.go_to(Stage::Bound(4 + 2))),
                IPV6 => Ok(self.go_to(Stage::Bound(16 + 2))),
                NAME => Ok(self.go_to(Stage::NameLength)),
                other => Err(self.unexpected(&format!(
                    "its answer has the address type {other}, which SOCKS 5 does not define"
                ))),
            },
            (Stage::NameLength, [length]) => Ok(self.go_to(Stage::Bound(usize::from(*length) + 2))),
            _ => {
                self.stage = Stage::Open;
                Ok(Step::Open)
            }
        }
    }

    /// Checks the first bytes of an answer: a proxy that refuses may send no more.
    fn check_beginning(&self) -> Result<()> {
        let version = match (self.stage, self.heard.first()) {
            (Stage::Method | Stage::Reply | Stage::Authentication, Some(version)) => *version,
            _ => return Ok(()),
        };
        match (self.stage, version) {
            // Some proxies answer the authentication with the version of SOCKS.
            (Stage::Authentication, AUTHENTICATION_VERSION) | (_, VERSION) => {}
            (_, 0 | 4) => return Err(self.unexpected("it speaks SOCKS 4")),
            (_, b'H') => {
                return Err(self.unexpected("it speaks HTTP; write http:// if it is an HTTP proxy"));
            }
            (_, version) => {
                return Err(self.unexpected(&format!(
                    "its answer begins with the byte {version} instead of the version"
                )));
            }
        }
        match (self.stage, self.heard.get(1)) {
            (Stage::Reply, Some(code)) if *code != 0 => Err(self.denied(*code)),
            _ => Ok(()),
        }
    }

    fn on_method(&mut self, method: u8) -> Result<Step> {
        match (method, self.proxy.credentials()) {
            (NO_AUTHENTICATION, _) => Ok(self.request_connection()),
            (USER_AND_SECRET, Some(credentials)) => {
                let mut request = vec![AUTHENTICATION_VERSION];
                for field in [credentials.user(), credentials.reveal()] {
                    request.extend(counted(field));
                }
                self.stage = Stage::Authentication;
                Ok(Step::Send(request))
            }
            (NO_METHOD, None) => Err(self.wants_authentication("")),
            (NO_METHOD, Some(_)) => Err(Error::new(
                ErrorKind::Proxy,
                format!(
                    "the proxy {} accepts neither a user with a secret nor a client without one; configure it to accept one of them",
                    self.proxy
                ),
            )),
            (method, _) => Err(self.unexpected(&format!(
                "it chose the authentication method {method}, which was not offered"
            ))),
        }
    }

    fn request_connection(&mut self) -> Step {
        let mut request = vec![VERSION, CONNECT, 0];
        match self.host.parse() {
            Ok(IpAddr::V4(address)) => {
                request.push(IPV4);
                request.extend(address.octets());
            }
            Ok(IpAddr::V6(address)) => {
                request.push(IPV6);
                request.extend(address.octets());
            }
            Err(_) => {
                request.push(NAME);
                request.extend(counted(self.host.as_bytes()));
            }
        }
        request.extend(self.port.to_be_bytes());
        self.stage = Stage::Reply;
        Step::Send(request)
    }

    fn denied(&self, code: u8) -> Error {
        let Self { proxy, .. } = self;
        let target = self.target();
        let (kind, text) = match code {
            1 => (
                ErrorKind::ServerUnavailable,
                format!(
                    "cannot open a connection to {target} (general failure); try again later, or check its log"
                ),
            ),
            2 => (
                ErrorKind::PermissionDenied,
                format!(
                    "forbids a connection to {target} by its rules; ask its administrator to allow it"
                ),
            ),
            3 => return self.not_reached(ErrorKind::Unreachable, "network unreachable"),
            4 => {
                return self.not_reached(
                    ErrorKind::Unreachable,
                    "host unreachable, or its name unknown to the proxy",
                );
            }
            5 => return self.not_reached(ErrorKind::ConnectionRefused, "connection refused"),
            6 => return self.not_reached(ErrorKind::TimedOut, "TTL expired"),
            7 => (
                ErrorKind::Proxy,
                "does not support the command CONNECT; use another proxy".to_owned(),
            ),
            8 => (
                ErrorKind::Proxy,
                match self.host.parse() {
                    Ok(IpAddr::V4(_)) => {
                        "does not accept IPv4 addresses; specify the server by its name".to_owned()
                    }
                    Ok(IpAddr::V6(_)) => {
                        "does not accept IPv6 addresses; specify the server by its name".to_owned()
                    }
                    Err(_) => "does not accept host names; specify the server by its IP address"
                        .to_owned(),
                },
            ),
            code => (
                ErrorKind::Proxy,
                format!(
                    "refuses a connection to {target} with the unknown code {code}; check its log"
                ),
            ),
        };
        Error::new(kind, format!("the proxy {proxy} {text}"))
    }
}

/// Returns the bytes after their length. Longer ones have been rejected before.
fn counted(bytes: &[u8]) -> impl Iterator<Item = u8> {
    let length = u8::try_from(bytes.len()).unwrap_or(u8::MAX);
    let bytes = &bytes[..usize::from(length)];
    [length].into_iter().chain(bytes.iter().copied())
}
