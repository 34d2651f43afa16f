//! Asking a server over HTTP. The only file that names `ureq`.

use std::{
    io,
    net::Ipv4Addr,
    sync::Arc,
    time::{Duration, Instant},
};

use ureq::{
    BodyReader,
    http::{HeaderValue, Uri, header},
    unversioned::{
        resolver::{ResolvedSocketAddrs, Resolver},
        transport::{Buffers, ConnectionDetails, Connector, LazyBuffers, NextTimeout, Transport},
    },
};

use crate::{
    config::{AccessKey, Certificates, DiscoveryAddress, Options, WayOut, in_brackets},
    error::{Error, ErrorKind, Result},
    network::Network,
    wire::{Blocking, Destination},
};

/// The part of its time that a search leaves unused: whoever waits for it waits no longer than that
/// time.
const SPARE: u32 = 8;

const MAX_REDIRECTS: u32 = 10;

/// What a server says to a question.
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Where a redirect that was not followed leads.
    pub(crate) location: Option<String>,
    pub(crate) body: BodyReader<'static>,
}

pub(crate) fn is_url(text: &str) -> bool {
    text.parse::<Uri>().is_ok()
}

impl DiscoveryAddress {
    /// Redirects are followed only without a key: a key is for the server that was named.
    pub(crate) fn get(
        &self,
        url: &str,
        key: Option<&AccessKey>,
        options: &Options,
        timeout: Duration,
    ) -> Result<Answer> {
        let timeout = timeout - timeout / SPARE;
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(timeout))
            .http_status_as_error(false)
            .max_redirects(key.map_or(MAX_REDIRECTS, |_| 0))
            // The wire goes through one, if that is asked for.
            .proxy(None)
            .build();
        let connector = WireConnector {
            certificates: Arc::clone(&options.certificates),
            way_out: options.way_out.clone(),
        };
        let agent = ureq::Agent::with_parts(config, connector, NoResolver);
        let mut request = agent.get(url).header(header::ACCEPT, "application/json");
        if let Some(key) = key {
            request = request.header(header::AUTHORIZATION, bearer(key)?);
        }
        let response = request.call().map_err(|cause| self.failed(cause))?;
        let location = response.headers().get(header::LOCATION);
        Ok(Answer {
            status: response.status().as_u16(),
            location: location.map(|place| String::from_utf8_lossy(place.as_bytes()).into_owned()),
            body: response.into_body().into_reader(),
        })
    }

    /// Why there is no answer, or only the beginning of one.
    pub(crate) fn failed(&self, cause: impl Into<ureq::Error>) -> Error {
        let cause = cause.into();
        let (kind, words) = match &cause {
            ureq::Error::Timeout(_) => (ErrorKind::TimedOut, None),
            ureq::Error::Io(cause) if cause.kind() == io::ErrorKind::InvalidData => {
                (ErrorKind::DiscoveryAnswer, None)
            }
            ureq::Error::Io(cause) => (
                ErrorKind::of_io(cause).unwrap_or(ErrorKind::Unreachable),
                None,
            ),
            // What the wire has seen.
            ureq::Error::Other(other) => match other.downcast_ref::<Error>() {
                Some(error) => (error.kind(), Some(error.to_string())),
                None => (ErrorKind::DiscoveryAnswer, None),
            },
            _ => (ErrorKind::DiscoveryAnswer, None),
        };
        let is_v3 = self.network == Network::V3;
        let advice = match (self.closed(), kind) {
            (Some(closed), _) => closed,
            (None, ErrorKind::TimedOut) if is_v3 && !self.is_plain() => {
                "no answer in time; if it speaks no TLS, it has to be given with http://"
            }
            (None, ErrorKind::TimedOut) => "no answer in time",
            (None, ErrorKind::Tls) if is_v3 => {
                "its TLS certificate is not accepted, or it speaks no TLS and has to be given with http://"
            }
            (None, ErrorKind::Tls) => "its TLS certificate is not accepted, or it speaks no TLS",
            (None, ErrorKind::ConnectionLost) => "it closed the connection",
            // The wire has advice of its own.
            _ if words.is_some() => "",
            _ => "check the address and the network",
        };
        let seen = words.unwrap_or_else(|| cause.to_string());
        let why = match advice {
            "" => seen,
            advice => format!("{advice} ({seen})"),
        };
        let context = format!("cannot ask the discovery server {self}: {why}");
        Error::with_source(kind, context, cause)
    }
}

/// Marked as sensitive, so that it prints as nothing.
fn bearer(key: &AccessKey) -> Result<HeaderValue> {
    let value = HeaderValue::try_from(format!("Bearer {}", key.reveal()));
    let mut value = value
        .map_err(|_| Error::config("the access key holds a character that no HTTP header may"))?;
    value.set_sensitive(true);
    Ok(value)
}

/// Connections of `ureq` over the wire: the same dial, proxy and TLS as those of MQTT.
#[derive(Debug)]
struct WireConnector {
    certificates: Arc<Certificates>,
    way_out: WayOut,
}

impl Connector for WireConnector {
    type Out = WireTransport;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        _: Option<()>,
    ) -> Result<Option<WireTransport>, ureq::Error> {
        let uri = details.uri;
        let is_tls = details.needs_tls();
        let host = uri.host().unwrap_or_default();
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let port = uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        let scheme = if is_tls { "https" } else { "http" };
        let deadline = Instant::now() + *details.timeout.after;
        let connection = Destination::find(
            format!("{scheme}://{}:{port}", in_brackets(host)),
            host,
            port,
            is_tls.then_some(&*self.certificates),
            &self.way_out,
            Some(deadline),
        )
        .and_then(|destination| Blocking::open(&destination, deadline))
        .map_err(|error| ureq::Error::Other(error.into()))?;
        let config = details.config;
        Ok(Some(WireTransport {
            connection,
            buffers: LazyBuffers::new(config.input_buffer_size(), config.output_buffer_size()),
        }))
    }
}

#[derive(Debug)]
struct WireTransport {
    connection: Blocking,
    buffers: LazyBuffers,
}

impl WireTransport {
    /// A failure of TLS is told as the wire sees it, a late answer as `ureq` does.
    fn failed(&self, cause: io::Error, timeout: NextTimeout) -> ureq::Error {
        match cause.kind() {
            io::ErrorKind::TimedOut => ureq::Error::Timeout(timeout.reason),
            _ => ureq::Error::Other(self.connection.explain(cause).into()),
        }
    }
}

impl Transport for WireTransport {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        let deadline = Instant::now() + *timeout.after;
        let output = &self.buffers.output()[..amount];
        self.connection
            .write_all(output, deadline)
            .map_err(|cause| self.failed(cause, timeout))
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        let deadline = Instant::now() + *timeout.after;
        let room = self.buffers.input_append_buf();
        match self.connection.read(room, deadline) {
            Ok(length) => {
                self.buffers.input_appended(length);
                Ok(length > 0)
            }
            Err(cause) => Err(self.failed(cause, timeout)),
        }
    }

    /// No connection serves twice.
    fn is_open(&mut self) -> bool {
        false
    }

    fn is_tls(&self) -> bool {
        self.connection.is_tls()
    }
}

/// The wire looks names up, or leaves that to a proxy.
#[derive(Debug)]
struct NoResolver;

impl Resolver for NoResolver {
    fn resolve(
        &self,
        _: &Uri,
        _: &ureq::config::Config,
        _: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let mut nowhere = self.empty();
        nowhere.push((Ipv4Addr::UNSPECIFIED, 0).into());
        Ok(nowhere)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn not_found(network: Network, server: &str) -> String {
        let server = DiscoveryAddress::parse(network, server).unwrap();
        server.failed(ureq::Error::HostNotFound).to_string()
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
    fn a_key_in_a_header_prints_as_nothing() {
        let key = AccessKey::new("NNSXS.ID.SECRET".to_owned());
        assert_eq!(format!("{:?}", bearer(&key).unwrap()), "Sensitive");
    }
}
