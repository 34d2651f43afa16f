//! What can go wrong: a kind for programs, a sentence for people.

use std::{error, fmt, io, sync::Arc};

use serde::{Serialize, Serializer, ser::SerializeStruct};

/// A [`Result`](std::result::Result) whose error is [`Error`].
///
/// ```
/// fn port(text: &str) -> ttn::Result<u8> {
///     Ok(text.len() as u8)
/// }
/// assert_eq!(port("ab").unwrap(), 2);
/// ```
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why something failed: a kind for the program, a sentence for people, and a source.
///
/// [`Display`](fmt::Display) prints one complete sentence: it names the thing, the cause and what to
/// do, and never the access key. The underlying error, if there is one, is the
/// [`source`](error::Error::source). An error is cheap to clone.
///
/// ```
/// use ttn::{ErrorKind, MqttClient};
///
/// let error = MqttClient::new("My App", "NNSXS.ID.SECRET").unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::Config);
/// assert!(error.to_string().contains("My App"));
/// assert!(!error.is_transient());
/// ```
#[derive(Clone)]
pub struct Error(Arc<Inner>);

struct Inner {
    kind: ErrorKind,
    is_transient: bool,
    context: String,
    source: Option<Box<dyn error::Error + Send + Sync>>,
}

/// The kind of an [`Error`].
///
/// New kinds may be added; match with a `_` arm.
///
/// ```
/// use ttn::ErrorKind;
///
/// fn advice(kind: ErrorKind) -> &'static str {
///     match kind {
///         ErrorKind::NotAuthorized => "check application id and access key",
///         ErrorKind::ConnectionRefused | ErrorKind::TimedOut => "is the server up?",
///         _ => "see the message",
///     }
/// }
/// assert_eq!(advice(ErrorKind::TimedOut), "is the server up?");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ErrorKind {
    /// An option of the client is wrong: application id, access key, address, certificate file, or a
    /// number out of range. [`build`](crate::MqttClientBuilder::build) checks the options before
    /// anything is sent. Files and environment variables are read when the client connects, and only
    /// a discovery server can say that it knows the application by another id, or that its address
    /// lacks a tenant.
    Config,
    /// The network would refuse the downlink, mostly without saying so: bad device id, FPort, size or
    /// payload. Nothing has left the machine. Also a text that is not the
    /// [key](crate::Delivery::key) of a downlink.
    Downlink,
    /// The server refused the application id and access key (CONNACK 4 or 5, or an answer of a v3
    /// discovery server: HTTP 401 or 403, or 400 for what is not a key), or the key is known to lack the
    /// right for this call.
    NotAuthorized,
    /// The server cannot serve now (CONNACK 3, or HTTP 429, 499 or 5xx from a discovery server), or it has
    /// said over HTTP that it cannot check keys. Trying later may help.
    ServerUnavailable,
    /// The server does not speak MQTT 3.1.1 as this client does: it refused the protocol or the
    /// client id (CONNACK 1 or 2), sent something else, or closed the connection instead of
    /// answering.
    Protocol,
    /// The server accepted the connection and then refused a subscription.
    SubscriptionRefused,
    /// The broker of one's own has granted the subscriptions of a [shared
    /// group](crate::MqttClientBuilder::shared_group), but does not deliver what is shared.
    SharedSubscription,
    /// The host name cannot be resolved: a wrong address, or no network.
    UnknownHost,
    /// The machine answers but nothing listens on that port: the server is down or the port is wrong.
    ConnectionRefused,
    /// There is no route to the server: the network is down, or a router in between refuses.
    Unreachable,
    /// There was no answer in time: a firewall drops packets, the server hangs, or a disconnect
    /// deadline expired.
    TimedOut,
    /// The operating system forbids opening the connection, or the
    /// [proxy](crate::MqttClientBuilder::proxy) forbids one to that host or port.
    PermissionDenied,
    /// The [proxy](crate::MqttClientBuilder::proxy) refuses: it wants authentication, does not accept
    /// the user and secret, lacks something this client needs, or is not a proxy of that kind. If
    /// it works but cannot reach the server, the kind is that of the cause, such as
    /// [`UnknownHost`](Self::UnknownHost) or [`ConnectionRefused`](Self::ConnectionRefused).
    Proxy,
    /// The process is out of file descriptors, threads or memory.
    ResourcesExhausted,
    /// No authority that this client trusts signed the server's certificate. Either the CA is not
    /// among those set with [`ca_file`](crate::MqttClientBuilder::ca_file) or
    /// [`ca_pem`](crate::MqttClientBuilder::ca_pem) (without them, the system's), or it was renewed
    /// with another key, or the server does not send an intermediate certificate.
    CertificateAuthority,
    /// The server's certificate, one in its chain, or the CA certificate that was set for it has
    /// expired or is not valid yet. The message says the time of this machine's clock.
    /// [Transient](Error::is_transient) if the clock may not be set yet: the certificate is not valid
    /// yet, or the clock says a time before 2026.
    CertificateExpired,
    /// The server's certificate is for another host name, or for none: only alternative names
    /// (`subjectAltName`) count, not the common name, and a version 1 certificate has none.
    CertificateHostName,
    /// TLS failed for another reason: the port does not use TLS, or only TLS 1.0 or 1.1; the server
    /// has only ciphers or keys that are not supported, such as a P-521 key; its certificate is for
    /// another purpose or signed with SHA-1; or the server requires a client certificate, or refuses
    /// the one that was set. With TLS 1.3 the last two appear only after the handshake.
    Tls,
    /// A working connection ended unexpectedly.
    ConnectionLost,
    /// The client is not connected, so nothing can be sent.
    NotConnected,
    /// The client was closed while the call was waiting.
    Closed,
    /// This process was forked from the one that created the client, or that connected one: the
    /// client's threads are there, and not here. See
    /// [Forks](crate#forks-threads-suspended-machines).
    Forked,
    /// The client's queue of downlinks to write is full.
    QueueFull,
    /// A downlink waited longer for a connection than
    /// [`offline_queue`](crate::MqttClientBuilder::offline_queue) allows. It was not sent.
    Expired,
    /// The network refused a downlink or gave up on it, or a later one replaced it in the queue.
    DownlinkFailed,
    /// The network sent no report about a downlink; the message names the likely causes. From
    /// [`close`](crate::MqttClient::close): the server may not have processed every downlink; the
    /// message says how many.
    Unconfirmed,
    /// A message could not be read.
    Decode,
    /// A [recording](crate::Recorder) cannot be opened, written or read.
    File,
    /// The discovery server answered, but not as expected: it is another kind of server or another
    /// port, it requires TLS, or it redirects a request that contains the key. Also any other answer over HTTP that
    /// is not as expected, such as one of the [HTTP API](crate#asking-over-http) or in a text that
    /// [`Event::read_all`](crate::Event::read_all) reads.
    DiscoveryAnswer,
    /// The discovery server does not know the application. On V2 no handler serves it. v3 says so only
    /// to the key of an administrator; to another key it answers with
    /// [`NotAuthorized`](Self::NotAuthorized).
    ApplicationNotFound,
    /// The server does not know the device: the id is wrong, or the device is registered on another
    /// cluster.
    DeviceNotFound,
    /// The discovery server announces no MQTT address for the application, or only an unusable one.
    /// On v3 this includes a plain address where TLS is required, and a loopback address.
    NoMqttAddress,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, context: impl Into<String>) -> Self {
        Self::build(kind, kind.is_transient(), context.into(), None)
    }

    pub(crate) fn with_source(
        kind: ErrorKind,
        context: impl Into<String>,
        source: impl Into<Box<dyn error::Error + Send + Sync>>,
    ) -> Self {
        let source = Some(source.into());
        Self::build(kind, kind.is_transient(), context.into(), source)
    }

    /// Makes an error that may go away without any change, though others of its kind do not.
    pub(crate) fn transient(
        kind: ErrorKind,
        context: impl Into<String>,
        source: impl Into<Box<dyn error::Error + Send + Sync>>,
    ) -> Self {
        Self::build(kind, true, context.into(), Some(source.into()))
    }

    fn build(
        kind: ErrorKind,
        is_transient: bool,
        context: String,
        source: Option<Box<dyn error::Error + Send + Sync>>,
    ) -> Self {
        Self(Arc::new(Inner {
            kind,
            is_transient,
            context,
            source,
        }))
    }

    pub(crate) fn config(context: impl Into<String>) -> Self {
        Self::new(ErrorKind::Config, context)
    }

    pub(crate) fn no_thread(cause: io::Error) -> Self {
        Self::with_source(
            ErrorKind::ResourcesExhausted,
            format!(
                "cannot start a thread: {cause}; this process or its user has too many threads, or too little memory for one more"
            ),
            cause,
        )
    }

    /// Makes the error of a downlink that waited too long for a connection.
    pub(crate) fn expired() -> Self {
        Self::new(
            ErrorKind::Expired,
            "the downlink waited longer for a connection than offline_queue allows",
        )
    }

    /// Makes the error of a downlink whose connection ended before it was written.
    pub(crate) fn not_written(source: Option<Box<dyn error::Error + Send + Sync>>) -> Self {
        let kind = ErrorKind::ConnectionLost;
        let context = "the downlink was not written: the connection ended";
        Self::build(kind, kind.is_transient(), context.to_owned(), source)
    }

    /// Makes the error of a message with QoS 1 whose connection ended before the broker had acknowledged it.
    pub(crate) fn not_acknowledged(source: Option<Box<dyn error::Error + Send + Sync>>) -> Self {
        let kind = ErrorKind::ConnectionLost;
        let context = "the connection ended before the broker had acknowledged the message; it is not known to be there";
        Self::build(kind, kind.is_transient(), context.to_owned(), source)
    }

    /// Returns the kind of failure.
    ///
    /// ```
    /// # let error = ttn::UplinkMessage::from_json(ttn::Network::V2, "no JSON").unwrap_err();
    /// assert_eq!(error.kind(), ttn::ErrorKind::Decode);
    /// ```
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Returns whether the same call may succeed later without any change. This is
    /// [`ErrorKind::is_transient`], except for a
    /// [`CertificateExpired`](ErrorKind::CertificateExpired) that the clock of this machine may be to
    /// blame for, because it is not set yet.
    ///
    /// ```
    /// # let error = ttn::UplinkMessage::from_json(ttn::Network::V2, "no JSON").unwrap_err();
    /// assert!(!error.is_transient());
    /// ```
    pub fn is_transient(&self) -> bool {
        self.0.is_transient
    }
}

impl ErrorKind {
    /// Returns whether a failure of this kind may go away without any change.
    ///
    /// ```
    /// assert!(ttn::ErrorKind::TimedOut.is_transient());
    /// assert!(!ttn::ErrorKind::NotAuthorized.is_transient());
    /// ```
    pub fn is_transient(self) -> bool {
        matches!(
            self,
            Self::ServerUnavailable
                | Self::Protocol
                | Self::UnknownHost
                | Self::ConnectionRefused
                | Self::Unreachable
                | Self::TimedOut
                | Self::ResourcesExhausted
                | Self::ConnectionLost
                | Self::NotConnected
                | Self::QueueFull
        )
    }

    /// Returns the kind of a failed socket or file operation.
    pub(crate) fn of_io(error: &io::Error) -> Option<Self> {
        const OUT_OF_DESCRIPTORS: [i32; 3] = [24, 23, 10024];
        if error
            .raw_os_error()
            .is_some_and(|code| OUT_OF_DESCRIPTORS.contains(&code))
        {
            return Some(Self::ResourcesExhausted);
        }
        Some(match error.kind() {
            io::ErrorKind::ConnectionRefused => Self::ConnectionRefused,
            io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkDown
            | io::ErrorKind::AddrNotAvailable => Self::Unreachable,
            io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => Self::TimedOut,
            io::ErrorKind::PermissionDenied => Self::PermissionDenied,
            io::ErrorKind::OutOfMemory => Self::ResourcesExhausted,
            io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::UnexpectedEof => Self::ConnectionLost,
            _ => return None,
        })
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.context)
    }
}

/// Writes `kind`, `message` and `is_transient`.
impl Serialize for Error {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut error = serializer.serialize_struct("Error", 3)?;
        error.serialize_field("kind", &self.kind())?;
        error.serialize_field("message", &self.0.context)?;
        error.serialize_field("is_transient", &self.is_transient())?;
        error.end()
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.0.kind)
            .field("context", &self.0.context)
            .field("source", &self.0.source)
            .finish()
    }
}

impl error::Error for Error {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        self.0
            .source
            .as_deref()
            .map(|source| source as &(dyn error::Error + 'static))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_error_has_the_kind_of_its_cause() {
        let cases = [
            (13, ErrorKind::PermissionDenied),
            (1, ErrorKind::PermissionDenied),
            (23, ErrorKind::ResourcesExhausted),
            (24, ErrorKind::ResourcesExhausted),
            (101, ErrorKind::Unreachable),
            (110, ErrorKind::TimedOut),
            (111, ErrorKind::ConnectionRefused),
            (113, ErrorKind::Unreachable),
            (104, ErrorKind::ConnectionLost),
        ];
        if cfg!(target_os = "linux") {
            for (errno, kind) in cases {
                let error = io::Error::from_raw_os_error(errno);
                assert_eq!(ErrorKind::of_io(&error), Some(kind), "{error}");
            }
        }
    }

    #[test]
    fn an_error_is_one_pointer_and_can_be_sent() {
        fn sendable<T: Send + Sync + 'static>() {}
        sendable::<Error>();
        assert_eq!(size_of::<Error>(), size_of::<usize>());
    }

    #[test]
    fn the_error_below_is_the_source() {
        let cause = io::Error::other("the cause");
        let error = Error::with_source(ErrorKind::Decode, "the sentence", cause);
        assert_eq!(error.to_string(), "the sentence");
        assert_eq!(
            error::Error::source(&error).map(ToString::to_string),
            Some("the cause".to_owned())
        );
    }
}
