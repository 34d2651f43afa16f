//! HTTP over connections of the wire. The only file that names `ureq`. It knows nothing about
//! networks or the servers that it asks.

use std::{
    error, fmt,
    io::{self, Read},
    net::Ipv4Addr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use crossbeam_channel::{bounded, select};
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
    process,
    sync::{Stop, is_stopped},
    wire::{Blocking, Destination},
};

const MAX_REDIRECTS: u32 = 10;

/// How often a wait looks whether it is still wanted.
const LOOK: Duration = Duration::from_millis(200);

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
    /// For everything, from the name lookup to the end of the body; for a stream, to the end of the head.
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

/// The body of an answer.
pub(crate) struct Body {
    reader: BodyReader<'static>,
    pace: Arc<Pace>,
}

impl Body {
    /// Returns what sets how long the body of a stream may be silent.
    pub(crate) fn idle(&self) -> Idle {
        Idle(Arc::clone(&self.pace))
    }
}

/// What to do each time before a stream is waited for.
#[derive(Clone)]
pub(crate) struct BeforeWait(Arc<dyn Fn() + Send + Sync>);

impl BeforeWait {
    pub(crate) fn new(act: impl Fn() + Send + Sync + 'static) -> Self {
        Self(Arc::new(act))
    }
}

impl fmt::Debug for BeforeWait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BeforeWait(…)")
    }
}

/// Sets how long the body of a stream may be silent; a longer silence is an error of the kind
/// [`TimedOut`](ErrorKind::TimedOut).
pub(crate) struct Idle(Arc<Pace>);

impl Idle {
    pub(crate) fn set(&self, idle: Duration) {
        self.0.set_idle(idle);
    }
}

impl Read for Body {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.reader.read(buffer)
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Body").finish_non_exhaustive()
    }
}

/// How long to wait for the server.
#[derive(Debug)]
struct Pace {
    /// For everything; for a stream, for the head.
    deadline: Instant,
    /// How many milliseconds the body of a stream may be silent; 0 for anything else.
    idle: AtomicU64,
    stop: Option<Stop>,
    before_wait: Option<BeforeWait>,
}

impl Pace {
    fn set_idle(&self, idle: Duration) {
        let milliseconds = u64::try_from(idle.as_millis()).unwrap_or(u64::MAX);
        self.idle.store(milliseconds.max(1), Ordering::Relaxed);
    }

    fn deadline(&self) -> Instant {
        match self.idle.load(Ordering::Relaxed) {
            0 => self.deadline,
            idle => Instant::now() + Duration::from_millis(idle),
        }
    }

    /// Repeats an operation that returns `TimedOut` at its deadline, until the time is over or nobody wants
    /// its result any more.
    fn wait<T>(&self, mut operation: impl FnMut(Instant) -> io::Result<T>) -> Result<T, Waited> {
        if let Some(BeforeWait(act)) = &self.before_wait {
            act();
        }
        let deadline = self.deadline();
        loop {
            if self.stop.as_ref().is_some_and(is_stopped) {
                return Err(Waited::Stopped);
            }
            // A server that never pauses is late too.
            if Instant::now() >= deadline {
                return Err(Waited::Late);
            }
            let until = match self.stop {
                Some(_) => deadline.min(Instant::now() + LOOK),
                None => deadline,
            };
            match operation(until) {
                Err(cause) if cause.kind() == io::ErrorKind::TimedOut => {}
                result => return result.map_err(Waited::Failed),
            }
        }
    }
}

/// Why a wait brought nothing.
enum Waited {
    Late,
    Stopped,
    Failed(io::Error),
}

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
        self.start(None, None, None)
    }

    /// Does the same, but ends, also while the body is read, when nobody wants the answer any more.
    pub(crate) fn send_unless(&self, stop: &Stop) -> Result<Answer, Failure> {
        self.start(Some(stop), None, None)
    }

    /// Does the same for a stream: its body may take any time, as long as it is never silent for longer than
    /// `idle`.
    pub(crate) fn stream(
        &self,
        stop: Option<&Stop>,
        before_wait: Option<&BeforeWait>,
        idle: Duration,
    ) -> Result<Answer, Failure> {
        self.start(stop, before_wait, Some(idle))
    }

    fn start(
        &self,
        stop: Option<&Stop>,
        before_wait: Option<&BeforeWait>,
        idle: Option<Duration>,
    ) -> Result<Answer, Failure> {
        let pace = Arc::new(Pace {
            deadline: Instant::now() + self.timeout,
            idle: AtomicU64::new(0),
            stop: stop.cloned(),
            before_wait: before_wait.cloned(),
        });
        let may_move = self.follows && self.key.is_none();
        let config = ureq::Agent::config_builder()
            .user_agent(USER_AGENT)
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
            pace: Arc::clone(&pace),
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
        // A refusal is not a stream.
        if let Some(idle) = idle.filter(|_| head.status == 200) {
            pace.set_idle(idle);
        }
        let answer = Answer {
            status: head.status.as_u16(),
            headers: head.headers,
            body: Body {
                reader: body.into_reader(),
                pace,
            },
        };
        match answer.header("content-encoding") {
            // The server's own answers are not compressed unless that is asked for. It is not, because it
            // delays the frames of a stream.
            Some(coding) if answer.status == 200 && !coding.eq_ignore_ascii_case("identity") => {
                Err(Failure::of_coding(&coding))
            }
            _ => Ok(answer),
        }
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
        let is_cut = cause.kind() == io::ErrorKind::UnexpectedEof;
        let failure = Self::of(cause.into());
        match is_cut {
            true => Self {
                seen: "the answer broke off".to_owned(),
                ..failure
            },
            false => failure,
        }
    }

    /// A body that is compressed, although nothing asked for that.
    fn of_coding(coding: &str) -> Self {
        let coding: String = coding.escape_debug().take(20).collect();
        let seen = format!(
            "the answer is compressed ({coding}), although this client does not ask for that; let the proxy in \
             front of the server pass on answers as they are"
        );
        Self {
            kind: None,
            is_transient: false,
            has_advice: true,
            is_unsent: false,
            source: seen.clone().into(),
            seen,
        }
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
    pace: Arc<Pace>,
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
        let deadline = self.pace.deadline();
        let server = format!("{scheme}://{}:{port}", in_brackets(host));
        let host = host.to_owned();
        let certificates = is_tls.then(|| Arc::clone(&self.certificates));
        let way_out = self.way_out.clone();
        let open = move || {
            let certificates = certificates.as_deref();
            Destination::find(server, &host, port, certificates, &way_out, Some(deadline))
                .and_then(|destination| Blocking::open(&destination, deadline))
        };
        let connection = match &self.pace.stop {
            Some(stop) => open_unless(stop, open),
            None => open(),
        };
        let connection = connection.map_err(|error| ureq::Error::Other(error.into()))?;
        self.is_open.store(true, Ordering::Relaxed);
        let config = details.config;
        Ok(Some(WireTransport {
            connection,
            pace: Arc::clone(&self.pace),
            buffers: LazyBuffers::new(config.input_buffer_size(), config.output_buffer_size()),
        }))
    }
}

/// Opens a connection on a thread, which is abandoned when nobody wants the connection any more.
fn open_unless(
    stop: &Stop,
    open: impl FnOnce() -> Result<Blocking, Error> + Send + 'static,
) -> Result<Blocking, Error> {
    let (done, opened) = bounded(1);
    process::start_thread("ttn-open", move || drop(done.send(open()))).map_err(Error::no_thread)?;
    select! {
        recv(opened) -> opened => opened.unwrap_or_else(|_| Err(cancelled())),
        recv(stop) -> _ => Err(cancelled()),
    }
}

fn cancelled() -> Error {
    Error::new(ErrorKind::Closed, "the request was cancelled")
}

#[derive(Debug)]
struct WireTransport {
    connection: Blocking,
    pace: Arc<Pace>,
    buffers: LazyBuffers,
}

impl WireTransport {
    /// Reports a late answer as `ureq` does, and anything else in the wire's own words.
    fn failed(&self, why: Waited, timeout: NextTimeout) -> ureq::Error {
        match why {
            Waited::Late => ureq::Error::Timeout(timeout.reason),
            Waited::Stopped => ureq::Error::Other(cancelled().into()),
            Waited::Failed(cause) => ureq::Error::Other(self.connection.explain(cause).into()),
        }
    }
}

impl Transport for WireTransport {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        let output = &self.buffers.output()[..amount];
        let deadline = self.pace.deadline();
        self.connection
            .write_all(output, deadline)
            .map_err(|cause| match cause.kind() {
                io::ErrorKind::TimedOut => self.failed(Waited::Late, timeout),
                _ => self.failed(Waited::Failed(cause), timeout),
            })
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        let room = self.buffers.input_append_buf();
        let connection = &mut self.connection;
        match self.pace.wait(|until| connection.read(room, until)) {
            Ok(length) => {
                self.buffers.input_appended(length);
                Ok(length > 0)
            }
            Err(why) => Err(self.failed(why, timeout)),
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
    use std::{io::Write, net::TcpListener, thread};

    use super::*;
    use crate::{
        config::{HttpAddress, MqttClientBuilder},
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

    /// Returns the address of a server that answers each request with these bytes and then waits.
    fn server(answer: &'static str) -> String {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        thread::spawn(move || {
            let mut streams = Vec::new();
            while let Ok((mut stream, _)) = listener.accept() {
                let _ = stream.read(&mut [0; 1024]);
                let _ = stream.write_all(answer.as_bytes());
                streams.push(stream);
            }
        });
        url
    }

    fn with_request<T>(url: &str, timeout: Duration, send: impl FnOnce(&Request<'_>) -> T) -> T {
        let options = MqttClientBuilder::new("greenhouse".to_owned(), "NNSXS.ID.KEY".to_owned())
            .network(Network::V3)
            .mqtt_address("mqtt://127.0.0.1")
            .check()
            .unwrap();
        send(&Request {
            url,
            key: None,
            follows: false,
            accept: "application/json",
            body: None,
            certificates: &options.certificates,
            way_out: &options.way_out,
            timeout,
        })
    }

    const HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n";
    const SHORT: Duration = Duration::from_millis(100);
    const LONG: Duration = Duration::from_secs(60);

    fn kind_of(cause: io::Error) -> Option<ErrorKind> {
        Failure::of_body(cause).kind
    }

    #[test]
    fn a_stream_ends_by_its_silence_and_a_request_by_its_age() {
        let url = server(HEAD);
        let (_held, stop) = bounded(0);
        let started = Instant::now();
        let mut answer = with_request(&url, LONG, |request| {
            request.stream(Some(&stop), None, SHORT)
        })
        .unwrap();
        let cause = answer.body.read(&mut [0; 10]).unwrap_err();
        assert_eq!(kind_of(cause), Some(ErrorKind::TimedOut));

        let mut answer = with_request(&url, SHORT, |request| request.send_unless(&stop)).unwrap();
        let cause = answer.body.read(&mut [0; 10]).unwrap_err();
        assert_eq!(kind_of(cause), Some(ErrorKind::TimedOut));

        // The head of a stream has its time too.
        let silent = server("");
        let failure = with_request(&silent, SHORT, |request| request.stream(None, None, LONG));
        assert_eq!(failure.err().unwrap().kind, Some(ErrorKind::TimedOut));
        assert!(started.elapsed() < LONG / 2);
    }

    #[test]
    fn a_silence_can_be_made_shorter_in_the_middle() {
        let mut answer = with_request(&server(HEAD), LONG, |request| {
            request.stream(None, None, LONG)
        })
        .unwrap();
        answer.body.idle().set(SHORT);
        let cause = answer.body.read(&mut [0; 10]).unwrap_err();
        assert_eq!(kind_of(cause), Some(ErrorKind::TimedOut));
    }

    #[test]
    fn a_request_ends_when_nobody_wants_it_any_more() {
        let (wanted, stop) = bounded(0);
        thread::spawn(move || {
            // The request has begun by then.
            thread::sleep(SHORT);
            drop(wanted);
        });
        let failure = with_request(&server(""), LONG, |request| request.send_unless(&stop));
        assert_eq!(failure.err().unwrap().kind, Some(ErrorKind::Closed));
        let failure = with_request(&server(HEAD), LONG, |request| request.send_unless(&stop));
        assert_eq!(failure.err().unwrap().kind, Some(ErrorKind::Closed));
    }

    #[test]
    fn an_answer_that_is_compressed_unasked_is_an_error_that_says_so() {
        let url = server("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 0\r\n\r\n");
        let failure = with_request(&url, LONG, |request| request.send())
            .err()
            .unwrap();
        assert!(failure.seen.contains("compressed (gzip)"), "{failure:?}");
        assert!(failure.has_advice);
    }

    #[test]
    fn a_key_in_a_header_prints_as_nothing() {
        let key = AccessKey::new("NNSXS.ID.SECRET".to_owned());
        assert_eq!(format!("{:?}", bearer(&key).unwrap()), "Sensitive");
    }
}
