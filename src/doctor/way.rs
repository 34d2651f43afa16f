//! The way to a server: its name, its addresses, TLS.

use std::time::{Duration, Instant, SystemTime};

use super::report::{Step, and};
use crate::{
    config::{Options, Server, in_brackets, split_host_and_port},
    error::{Error, ErrorKind},
    wire::{Blocking, Destination, Security, Tried},
};

const LOOKUP: Duration = Duration::from_secs(4);
const CONNECT: Duration = Duration::from_secs(4);
const HANDSHAKE: Duration = Duration::from_secs(4);

/// Certificates that end sooner are a warning.
const SOON: Duration = Duration::from_secs(14 * 86_400);

/// The server to look at first: the MQTT server, or the one to ask for it.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) server: String,
    pub(super) host: String,
    port: u16,
    pub(super) is_tls: bool,
}

impl Place {
    /// Returns `None` if no server is known.
    pub(super) fn of(options: &Options) -> Option<Self> {
        match &options.server {
            Server::At(address) => Some(Self {
                server: address.to_string(),
                host: address.host().to_owned(),
                port: address.port(),
                is_tls: address.tls(),
            }),
            Server::AskedOf(address) => {
                let url = address.to_string();
                let (scheme, rest) = url.split_once("://")?;
                let place = rest.split('/').next().unwrap_or_default();
                let (host, port) = split_host_and_port(place).ok()?;
                let is_tls = scheme == "https";
                let port = port.unwrap_or(if is_tls { 443 } else { 80 });
                Some(Self {
                    server: format!("{scheme}://{}:{port}", in_brackets(&host)),
                    host,
                    port,
                    is_tls,
                })
            }
            Server::Unknown => None,
        }
    }

    /// Looks at the way to the server, as far as it leads.
    pub(super) fn look(&self, options: &Options) -> [Step; 3] {
        let destination = match self.find(options) {
            Ok(destination) => destination,
            Err(error) => {
                let failed = Step::failed("name", error.to_string());
                return [failed, untried("TCP"), untried("TLS")];
            }
        };
        let found = name(&self.host, &destination);
        let tcp = match destination.try_addresses(Instant::now() + CONNECT) {
            Ok(tried) => tcp(&destination, &tried),
            Err(error) => Step::failed("TCP", error.to_string()),
        };
        if tcp.has_failed() {
            return [found, tcp, untried("TLS")];
        }
        let opened = match destination.has_tls() || destination.proxy().is_some() {
            true => Blocking::open(&destination, Instant::now() + HANDSHAKE).map(Some),
            false => Ok(None),
        };
        match opened {
            Ok(Some(connection)) => match connection.security() {
                Some(security) => [found, tcp, tls(&security)],
                None => [found, tcp, plain(options)],
            },
            Ok(None) => [found, tcp, plain(options)],
            Err(error) if destination.has_tls() => {
                let advice = match error.kind() {
                    ErrorKind::Tls if !error.to_string().contains("certificate of") => {
                        "if that port has no TLS, write mqtt:// or http://"
                    }
                    _ => "",
                };
                let failed = Step::failed("TLS", and(&error.to_string(), advice));
                [found, tcp, failed]
            }
            Err(error) => [
                found,
                Step::failed("TCP", error.to_string()),
                plain(options),
            ],
        }
    }

    fn find(&self, options: &Options) -> Result<Destination, Error> {
        Destination::find(
            self.server.clone(),
            &self.host,
            self.port,
            self.is_tls.then_some(&options.certificates),
            &options.way_out,
            Some(Instant::now() + LOOKUP),
        )
    }
}

fn untried(name: &'static str) -> Step {
    Step::skipped(name, "the step before has failed")
}

fn plain(options: &Options) -> Step {
    let secret = match &options.broker {
        Some(_) => "the password",
        None => "the access key",
    };
    Step::skipped(
        "TLS",
        format!("the address is one without TLS, so {secret} can be read by everyone on the way"),
    )
}

fn name(host: &str, destination: &Destination) -> Step {
    let addresses: Vec<String> = destination
        .addresses()
        .iter()
        .map(|address| address.ip().to_string())
        .collect();
    let addresses = addresses.join(", ");
    match destination.proxy() {
        Some(proxy) => Step::ok("name")
            .seen(format!(
                "connections go through the proxy {proxy}, at {addresses}"
            ))
            .seen(format!("the proxy looks up {host}")),
        None => Step::ok("name").seen(format!("{host} is at {addresses}")),
    }
}

fn tcp(destination: &Destination, tried: &[Tried]) -> Step {
    let evidence = tried.iter().map(|tried| match &tried.answer {
        Ok(time) => format!("{} answers in {} ms", tried.address, time.as_millis()),
        Err(silence) => format!("{}: {}", tried.address, silence.seen),
    });
    let silences = tried.iter().filter_map(|tried| tried.answer.as_ref().err());
    let step = match silences.clone().next() {
        None => Step::ok("TCP"),
        Some(first) if silences.clone().count() == tried.len() => {
            let refused = silences
                .clone()
                .find(|silence| silence.kind == ErrorKind::ConnectionRefused);
            let why = refused.unwrap_or(first).advice;
            let server = match destination.proxy() {
                Some(proxy) => format!("the proxy {proxy}"),
                None => destination.server.clone(),
            };
            Step::failed("TCP", format!("cannot reach {server}: {why}"))
        }
        Some(silence) => Step::warning(
            "TCP",
            format!(
                "not every address answers ({}), which costs time with each connection",
                silence.seen
            ),
        ),
    };
    step.all_seen(evidence)
}

fn tls(security: &Security) -> Step {
    let step = match &security.certificate {
        Some(certificate) => match certificate.not_after.duration_since(SystemTime::now()) {
            Ok(left) if left < SOON => Step::warning(
                "TLS",
                format!(
                    "the certificate of the server ends on {}; it needs a new one",
                    humantime::format_rfc3339_seconds(certificate.not_after)
                ),
            ),
            _ => Step::ok("TLS"),
        },
        None => Step::ok("TLS"),
    };
    let step = step.seen(format!(
        "{}, the chain and the host name are right",
        security.version
    ));
    match &security.certificate {
        Some(certificate) => step.seen(format!(
            "the certificate of {}, signed by {}, is valid from {} to {}",
            certificate.subject,
            certificate.issuer,
            humantime::format_rfc3339_seconds(certificate.not_before),
            humantime::format_rfc3339_seconds(certificate.not_after)
        )),
        None => step,
    }
}
