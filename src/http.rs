//! HTTP over connections of the wire. The only file that names `ureq`. It knows nothing about
//! networks or the servers that it asks.

use std::{
    error, io,
    net::Ipv4Addr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use ureq::{
    BodyReader, RequestBuilder,
    http::{HeaderMap, HeaderValue, Uri, header},
    unversioned::{
        resolver::{ResolvedSocketAddrs, Resolver},
        transport::{Buffers, ConnectionDetails, Connector, LazyBuffers, NextTimeout, Transport},
    },
};

use crate::{
    config::{AccessKey, Certificates, WayOut, in_brackets},
    error::{Error, ErrorKind},
    wire::{Blocking, Destination},
};

const MAX_REDIRECTS: u32 = 10;

const USER_AGENT: &str = concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION"));

/// A request: GET, or POST if it has a body.
#[derive(Clone, Debug)]
pub(crate) struct Request<'a> {
    pub(crate) url: &'a str,
    /// Sent as bearer token.
    pub(crate) key: Option<&'a AccessKey>,
    /// Whether to follow redirects. A request with a key follows none: the key is only for the server
    /// that was named.
    pub(crate) follows: bool,
    /// The media type to ask for.
    pub(crate) accept: &'static str,
    /// JSON to post.
    pub(crate) body: Option<&'a [u8]>,
    pub(crate) certificates: &'a Arc<Certificates>,
    pub(crate) way_out: &'a WayOut,
    /// For everything, from the name lookup to the end of the body.
    pub(crate) timeout: Duration,
}

/// What a server answers.
pub(crate) struct Answer {
    pub(crate) status: u16,
    headers: HeaderMap,
    pub(crate) body: Body,
}

impl Answer {
    /// Returns a header; of several with this name, the first.
    pub(crate) fn header(&self, name: &str) -> Option<String> {
        let value = self.headers.get(name)?;
        Some(String::from_utf8_lossy(value.as_bytes()).into_owned())
    }
}

pub(crate) type Body = BodyReader<'static>;

/// Why there is no answer, or only the beginning of one.
#[derive(Debug)]
pub(crate) struct Failure {
    /// `None`: something answers, but not with valid HTTP.
    pub(crate) kind: Option<ErrorKind>,
    /// Whether it may go away without any change, though others of its kind do not.
    pub(crate) is_transient: bool,
    /// What was seen, as part of a sentence.
    pub(crate) seen: String,
    /// Whether [`seen`](Self::seen) also says what to do.
    pub(crate) has_advice: bool,
    /// Whether there was no connection, so that the server cannot have the request.
    pub(crate) is_unsent: bool,
    pub(crate) source: Box<dyn error::Error + Send + Sync>,
}

impl Request<'_> {
    /// Sends the request and waits for the head of the answer.
    pub(crate) fn send(&self) -> Result<Answer, Failure> {
        let may_move = self.follows && self.key.is_none();
        let config = ureq::Agent::config_builder()
            .user_agent(USER_AGENT)
            .timeout_global(Some(self.timeout))
            .http_status_as_error(false)
            .max_redirects(if may_move { MAX_REDIRECTS } else { 0 })
            // The wire connects through a proxy if one is set.
            .proxy(None)
            .build();
        let is_open = Arc::<AtomicBool>::default();
        let connector = WireConnector {
            certificates: Arc::clone(self.certificates),
            way_out: self.way_out.clone(),
            is_open: Arc::clone(&is_open),
        };
        let agent = ureq::Agent::with_parts(config, connector, NoResolver);
        let response = match self.body {
            None => self.headed(agent.get(self.url))?.call(),
            Some(body) => {
                let request = self.headed(agent.post(self.url))?;
                request
                    .header(header::CONTENT_TYPE, "application/json")
                    .send(body)
            }
        };
        let (head, body) = response
            .map_err(|cause| Failure {
                is_unsent: !is_open.load(Ordering::Relaxed),
                ..Failure::of(cause)
            })?
            .into_parts();
        Ok(Answer {
            status: head.status.as_u16(),
            headers: head.headers,
            body: body.into_reader(),
        })
    }
}

impl Request<'_> {
    fn headed<B>(&self, request: RequestBuilder<B>) -> Result<RequestBuilder<B>, Failure> {
        let request = request.header(header::ACCEPT, self.accept);
        Ok(match self.key {
            Some(key) => request.header(header::AUTHORIZATION, bearer(key)?),
            None => request,
        })
    }
}

impl Failure {
    /// A request that no thread could send.
    pub(crate) fn no_thread(cause: io::Error) -> Self {
        let error = Error::no_thread(cause);
        Self {
            kind: Some(error.kind()),
            is_transient: error.is_transient(),
            seen: error.to_string(),
            has_advice: true,
            is_unsent: true,
            source: error.into(),
        }
    }

    /// A body that could not be read to its end.
    pub(crate) fn of_body(cause: io::Error) -> Self {
        Self::of(cause.into())
    }

    fn of(cause: ureq::Error) -> Self {
        let mut is_transient = false;
        let (kind, seen) = match &cause {
            ureq::Error::Timeout(_) => (Some(ErrorKind::TimedOut), None),
            ureq::Error::Io(cause) if cause.kind() == io::ErrorKind::InvalidData => (None, None),
            ureq::Error::Io(cause) => {
                let kind = ErrorKind::of_io(cause).unwrap_or(ErrorKind::Unreachable);
                (Some(kind), None)
            }
            // What the wire saw.
            ureq::Error::Other(other) => match other.downcast_ref::<Error>() {
                Some(error) => {
                    is_transient = error.is_transient();
                    (Some(error.kind()), Some(error.to_string()))
                }
                None => (None, None),
            },
            _ => (None, None),
        };
        Self {
            kind,
            is_transient,
            has_advice: seen.is_some(),
            is_unsent: false,
            seen: seen.unwrap_or_else(|| cause.to_string()),
            source: cause.into(),
        }
    }
}

/// Makes the header value, marked as sensitive so that it is never printed.
fn bearer(key: &AccessKey) -> Result<HeaderValue, Failure> {
    let value = HeaderValue::try_from(format!("Bearer {}", key.reveal()));
    let mut value = value.map_err(|cause| Failure {
        kind: Some(ErrorKind::Config),
        is_transient: false,
        seen: "the access key contains a character that HTTP headers do not allow".to_owned(),
        has_advice: true,
        is_unsent: true,
        source: cause.into(),
    })?;
    value.set_sensitive(true);
    Ok(value)
}

/// Opens the connections of `ureq` over the wire, with the same dialing, proxy and TLS as MQTT.
#[derive(Debug)]
struct WireConnector {
    certificates: Arc<Certificates>,
    way_out: WayOut,
    /// Whether a connection was opened.
    is_open: Arc<AtomicBool>,
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
        self.is_open.store(true, Ordering::Relaxed);
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
    /// Reports a late answer as `ureq` does, and anything else in the wire's own words.
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

    /// A connection is never reused.
    fn is_open(&mut self) -> bool {
        false
    }

    fn is_tls(&self) -> bool {
        self.connection.is_tls()
    }
}

/// Resolves nothing: the wire looks up names, or leaves that to a proxy.
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
    use crate::{
        config::HttpAddress,
        network::Network,
        seeds::{for_seeds, text_of},
    };

    #[test]
    fn an_address_that_can_be_read_is_a_url_with_the_same_host() {
        let parts = [
            "http://", "https://", "host", "/", ":", "[::1]", "[", "]", "80", "+", "%", "%41", ".",
            "-", "_", "~", "*", "é", "\"", "{", "|", "^", "`", "'", ";", "=", "&", "<", "..",
        ];
        let mut readable = 0;
        for_seeds(20_000, |random| {
            let text = text_of(random, &parts, 1..7);
            let Ok(address) = HttpAddress::parse(Network::V3, "discovery address", &text) else {
                return;
            };
            let url = format!("{address}/api");
            let uri: Uri = url.parse().unwrap_or_else(|error| panic!("{url}: {error}"));
            let host = uri.host().map(|host| host.trim_matches(['[', ']']));
            assert_eq!(host, Some(address.host()), "{url}");
            readable += 1;
        });
        assert!(readable > 1_000, "{readable}");
    }

    #[test]
    fn a_key_in_a_header_prints_as_nothing() {
        let key = AccessKey::new("NNSXS.ID.SECRET".to_owned());
        assert_eq!(format!("{:?}", bearer(&key).unwrap()), "Sensitive");
    }
}
