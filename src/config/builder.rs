//! Every option of a client, its default, and what is valid.

use std::{fmt, path::PathBuf, sync::Arc, time::Duration};

use super::{
    AccessKey, Certificates, ConnectRetry, DiscoveryAddress, Options, Overflow, Pace, Passphrase,
    Pem, Server, WayOut,
};
use crate::{
    error::{Error, Result},
    network::Network,
};

/// Builds an [`MqttClient`](crate::MqttClient); made by
/// [`MqttClient::builder`](crate::MqttClient::builder).
///
/// ```
/// use std::time::Duration;
/// use ttn::MqttClient;
///
/// let client = MqttClient::builder("my-app@ttn", "NNSXS.ID.SECRET")
///     .mqtt_address("mqtts://ttn.example.org")
///     .keep_alive(Duration::from_secs(15))
///     .reconnect(false)
///     .build()?;
/// # Ok::<(), ttn::Error>(())
/// ```
#[derive(Clone)]
#[must_use = "a builder does nothing until build() is called"]
pub struct MqttClientBuilder {
    app_id: String,
    access_key: AccessKey,
    network: Option<Network>,
    cluster: Option<String>,
    mqtt_address: Option<String>,
    discovery_address: Option<String>,
    ca: Option<Pem>,
    certificate_and_key: Option<(Pem, Pem)>,
    passphrase: Option<Passphrase>,
    proxy: Option<String>,
    proxy_from_environment: bool,
    client_id_prefix: String,
    field_topics: bool,
    keep_alive: Duration,
    connect_timeout: Duration,
    close_timeout: Duration,
    connect_retry: ConnectRetry,
    reconnect: bool,
    reconnect_delay: (Duration, Duration),
    refused_retry: Option<(Option<Duration>, Option<Duration>)>,
    offline_queue: Option<(usize, Duration)>,
    pace: Option<Pace>,
    counter_watch: usize,
    follow_downlinks: (usize, Duration),
    unconfirmed_after: Duration,
    event_capacity: usize,
    overflow: Overflow,
    receive_capacity: (usize, usize),
    max_packet_size: usize,
    send_capacity: usize,
}

/// Prints no options: nobody has checked yet that none of them is the access key by mistake.
impl fmt::Debug for MqttClientBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MqttClientBuilder").finish_non_exhaustive()
    }
}

impl MqttClientBuilder {
    pub(crate) fn new(app_id: String, access_key: String) -> Self {
        Self {
            app_id,
            access_key: AccessKey::new(access_key),
            network: None,
            cluster: None,
            mqtt_address: None,
            discovery_address: None,
            ca: None,
            certificate_and_key: None,
            passphrase: None,
            proxy: None,
            proxy_from_environment: false,
            client_id_prefix: "ttn-".to_owned(),
            field_topics: false,
            keep_alive: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(10),
            close_timeout: Duration::from_secs(5),
            connect_retry: ConnectRetry::default(),
            reconnect: true,
            reconnect_delay: (Duration::from_secs(1), Duration::from_secs(60)),
            refused_retry: None,
            offline_queue: None,
            pace: None,
            counter_watch: 100_000,
            follow_downlinks: (10_000, Duration::from_secs(48 * 3600)),
            unconfirmed_after: Duration::from_secs(10),
            event_capacity: 10_000,
            overflow: Overflow::default(),
            receive_capacity: (10_000, 64 << 20),
            max_packet_size: 16 << 20,
            send_capacity: 1_000,
        }
    }

    /// The network's language. Defaults to what application id and key look like.
    ///
    /// ```
    /// # use ttn::{MqttClient, Network};
    /// let client = MqttClient::builder("my-app", "some-key").network(Network::V2).build()?;
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn network(mut self, network: Network) -> Self {
        self.network = Some(network);
        self
    }

    /// The hosted v3 cluster that the application is on, in place of an [MQTT
    /// address](Self::mqtt_address). The tenant of the application id says whose it is:
    ///
    /// | application id | clusters | MQTT address |
    /// |---|---|---|
    /// | `my-app@ttn`, The Things Network | `eu1`, `nam1`, `au1` | `<cluster>.cloud.thethings.network` |
    /// | `my-app@my-tenant`, The Things Stack Cloud | `eu1`, `eu2`, `nam1`, `au1`, `as1` | `<tenant>.<cluster>.cloud.thethings.industries` |
    ///
    /// It is the cluster that the devices are on, by which the console is reached.
    ///
    /// ```
    /// # use ttn::MqttClient;
    /// let client = MqttClient::builder("my-app@ttn", "NNSXS.ID.SECRET").cluster("eu1").build()?;
    /// let error = MqttClient::builder("my-app@ttn", "NNSXS.ID.SECRET").cluster("eu3").build().unwrap_err();
    /// assert!(error.to_string().contains("eu1, nam1, au1"));
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn cluster(mut self, cluster: impl Into<String>) -> Self {
        self.cluster = Some(cluster.into());
        self
    }

    /// The MQTT server: `host`, `host:port`, `mqtt://host[:port]` (plain, port 1883) or
    /// `mqtts://host[:port]` (TLS, port 8883); IPv6 addresses stand in brackets. Without a scheme,
    /// no port or port 8883 means TLS and any other port means plain TCP, over which the access key
    /// travels in the clear.
    ///
    /// Defaults to that of the [cluster](Self::cluster), or what the [discovery
    /// server](Self::discovery_address) says; without any, connecting fails.
    ///
    /// ```
    /// # use ttn::MqttClient;
    /// let client = MqttClient::builder("my-app@ttn", "NNSXS.ID.SECRET").mqtt_address("localhost:1883").build()?;
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn mqtt_address(mut self, address: impl Into<String>) -> Self {
        self.mqtt_address = Some(address.into());
        self
    }

    /// A server to ask over HTTP, at each connecting, for the MQTT address of the application:
    /// `https://host[:port]` or `http://host[:port]`, perhaps with a path. When it is out of order,
    /// an address that has worked before is used again. Not asked when there is an [MQTT
    /// address](Self::mqtt_address) or a [cluster](Self::cluster).
    ///
    /// | | The Things Stack v3 | V2 |
    /// |---|---|---|
    /// | the server | The Things Stack: the host of the console, without `/console` | a discovery server, by default on port 8080 |
    /// | without a scheme | `https://` | `http://` |
    /// | it gets | the access key, with the right to view application information | no key |
    /// | a redirect | is an error that says where it leads: the key goes nowhere else | is followed |
    /// | what is taken | the address with TLS; the plain one only if there is no other and the server was given with `http://` | what the handler of the application announces |
    ///
    /// With `http://` the key of a v3 application travels in the clear. The v3 server also says by
    /// which id it knows the application; another one than was given, such as one without its
    /// tenant, is an error that names the right one.
    ///
    /// There is no default. The discovery server of the public V2 network,
    /// `discovery.thethingsnetwork.org`, was closed in December 2021.
    ///
    /// ```
    /// # use ttn::MqttClient;
    /// let client = MqttClient::builder("my-app", "NNSXS.ID.SECRET")
    ///     .discovery_address("https://lorawan.example.org")
    ///     .build()?;
    /// let client = MqttClient::builder("my-app", "ttn-account-v2.secret")
    ///     .discovery_address("http://ttn.example.org:8080")
    ///     .build()?;
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn discovery_address(mut self, address: impl Into<String>) -> Self {
        self.discovery_address = Some(address.into());
        self
    }

    /// A PEM file with the authorities to trust for TLS, read at each connecting. Defaults to the
    /// system's authorities, which it replaces.
    ///
    /// ```
    /// # use ttn::MqttClient;
    /// let client = MqttClient::builder("my-app@ttn", "NNSXS.ID.SECRET")
    ///     .mqtt_address("mqtts://ttn.example.org")
    ///     .ca_file("/etc/ttn/ca.pem")
    ///     .build()?;
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn ca_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.ca = Some(Pem::File(path.into()));
        self
    }

    /// As [`ca_file`](Self::ca_file), from memory.
    ///
    /// ```no_run
    /// # use ttn::MqttClient;
    /// let client = MqttClient::builder("my-app@ttn", "NNSXS.ID.SECRET")
    ///     .mqtt_address("mqtts://ttn.example.org")
    ///     .ca_pem(std::fs::read("ca.pem")?)
    ///     .build()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn ca_pem(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.ca = Some(Pem::Bytes(pem.into()));
        self
    }

    /// PEM files with the certificate (and its chain) and the private key that the client shows to
    /// the server. The key is RSA, P-256, P-384 or Ed25519, in PKCS #1, PKCS #8 or SEC 1. Defaults
    /// to none.
    ///
    /// ```
    /// # use ttn::MqttClient;
    /// let client = MqttClient::builder("my-app@ttn", "NNSXS.ID.SECRET")
    ///     .mqtt_address("mqtts://ttn.example.org")
    ///     .client_certificate_files("/etc/ttn/client.pem", "/etc/ttn/client.key")
    ///     .build()?;
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn client_certificate_files(
        mut self,
        certificate: impl Into<PathBuf>,
        key: impl Into<PathBuf>,
    ) -> Self {
        self.certificate_and_key = Some((Pem::File(certificate.into()), Pem::File(key.into())));
        self
    }

    /// As [`client_certificate_files`](Self::client_certificate_files), from memory.
    ///
    /// ```no_run
    /// # use ttn::MqttClient;
    /// let client = MqttClient::builder("my-app@ttn", "NNSXS.ID.SECRET")
    ///     .mqtt_address("mqtts://ttn.example.org")
    ///     .client_certificate_pem(std::fs::read("client.pem")?, std::fs::read("client.key")?)
    ///     .build()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn client_certificate_pem(
        mut self,
        certificate: impl Into<Vec<u8>>,
        key: impl Into<Vec<u8>>,
    ) -> Self {
        self.certificate_and_key = Some((Pem::Bytes(certificate.into()), Pem::Bytes(key.into())));
        self
    }

    /// Connects through a proxy: MQTT, with TLS and without, and everything over HTTP.
    ///
    /// | address | proxy | without a port |
    /// |---|---|---|
    /// | `http://[user[:secret]@]host[:port]`, also without `http://` | an HTTP proxy that allows CONNECT | 80 |
    /// | `socks5://[user[:secret]@]host[:port]`; `socks5h://` means the same | a SOCKS 5 proxy | 1080 |
    ///
    /// In user and secret, `%` and two hex digits stand for a byte (`%40` for `@`, `%25` for `%`); an
    /// HTTP proxy receives both as Basic authentication, in the clear. IPv6 addresses stand in
    /// brackets. The proxy looks up the name of the server; this machine looks up only that of the
    /// proxy. Every connection goes through it, those to this machine included. TLS stays end to end:
    /// the proxy sees the name of the server, but neither messages nor key. Without TLS it sees all of
    /// them.
    ///
    /// An HTTP proxy must allow CONNECT to the port of the server: Squid by default allows only 443.
    /// User and secret are kept like the access key: no error, log line or debug output has them.
    ///
    /// Defaults to none. Excludes [`proxy_from_environment`](Self::proxy_from_environment).
    ///
    /// ```
    /// # use ttn::MqttClient;
    /// let client = MqttClient::builder("my-app@ttn", "NNSXS.ID.SECRET")
    ///     .cluster("eu1")
    ///     .proxy("http://user:secret@proxy:3128")
    ///     .build()?;
    /// let client = MqttClient::builder("my-app@ttn", "NNSXS.ID.SECRET")
    ///     .cluster("eu1")
    ///     .proxy("socks5://proxy")
    ///     .build()?;
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn proxy(mut self, address: impl Into<String>) -> Self {
        self.proxy = Some(address.into());
        self
    }

    /// Whether to connect through the [proxy](Self::proxy) that environment variables name. They are
    /// read at each connection, with the names and the order of curl; an empty one counts as unset.
    ///
    /// | connection | variables, the first one set |
    /// |---|---|
    /// | with TLS: `mqtts://`, `https://` | `https_proxy`, `HTTPS_PROXY`, `all_proxy`, `ALL_PROXY` |
    /// | without: `mqtt://`, `http://` | `http_proxy`, `all_proxy`, `ALL_PROXY` |
    ///
    /// `HTTP_PROXY` in capitals is ignored: in a CGI program it holds a header that anyone can send.
    ///
    /// `no_proxy`, or else `NO_PROXY`, lists what to connect to directly, separated by commas or
    /// spaces: a name (`example.com`, `.example.com` or `*.example.com`: that host and all below it),
    /// an IP address, a network (`10.0.0.0/8`), each host and address also with a port
    /// (`example.com:8883`); `*` is everything. Names are not looked up for this, and `localhost` is
    /// not exempt unless listed.
    ///
    /// A variable that cannot be read fails the attempt to connect with
    /// [`ErrorKind::Config`](crate::ErrorKind::Config). Defaults to `false`: the environment is not
    /// read.
    ///
    /// ```
    /// # use ttn::MqttClient;
    /// let client = MqttClient::builder("my-app@ttn", "NNSXS.ID.SECRET")
    ///     .cluster("eu1")
    ///     .proxy_from_environment(true)
    ///     .build()?;
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn proxy_from_environment(mut self, from_environment: bool) -> Self {
        self.proxy_from_environment = from_environment;
        self
    }

    /// The pass phrase that the client's private key is encrypted with (PKCS #8 with AES or triple
    /// DES, `BEGIN ENCRYPTED PRIVATE KEY`). Defaults to none: the key is not encrypted. Never
    /// printed; nothing ever asks for it on a terminal.
    ///
    /// # Errors
    ///
    /// [`build`](Self::build) returns [`ErrorKind::Config`](crate::ErrorKind::Config) if there is
    /// no client certificate. [`connect`](MqttClient::connect) returns it if the pass phrase is
    /// wrong, or with the command that converts the key if it is encrypted in another form.
    ///
    /// ```
    /// # use ttn::MqttClient;
    /// let client = MqttClient::builder("my-app@ttn", "NNSXS.ID.SECRET")
    ///     .mqtt_address("mqtts://ttn.example.org")
    ///     .client_certificate_files("/etc/ttn/client.pem", "/etc/ttn/client.key")
    ///     .client_key_passphrase("correct horse battery staple")
    ///     .build()?;
    /// # Ok::<(), ttn::Error>(())
    /// ```
    #[cfg(feature = "encrypted-keys")]
    pub fn client_key_passphrase(mut self, passphrase: impl Into<String>) -> Self {
        self.passphrase = Some(Passphrase::new(passphrase.into()));
        self
    }

    /// The start of the MQTT client id; 16 random hex digits follow, so that two programs never
    /// throw each other out where a server allows each id once; the networks' servers do not care.
    /// Defaults to `ttn-`.
    ///
    /// ```
    /// # use ttn::MqttClient;
    /// let client = MqttClient::builder("my-app@ttn", "NNSXS.ID.SECRET").client_id_prefix("greenhouse-").build()?;
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn client_id_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.client_id_prefix = prefix.into();
        self
    }

    /// Whether to receive each decoded field on a topic of its own as
    /// [`Event::UplinkField`](crate::Event::UplinkField), beside the uplinks; fields inside objects
    /// down to a depth of 8. Defaults to `false`. V2 only, and not every installation publishes
    /// them; on v3 [`build`](Self::build) refuses it.
    ///
    /// ```
    /// # use ttn::MqttClient;
    /// let client = MqttClient::builder("my-app", "ttn-account-v2.secret").field_topics(true).build()?;
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn field_topics(mut self, field_topics: bool) -> Self {
        self.field_topics = field_topics;
        self
    }

    /// How long the connection may be idle in either direction before the client pings the server.
    /// The answer may take as long again, and at least 5 s, so a dead connection is noticed within
    /// twice this, or this and 5 s. A server that still reads what was written before is not taken for
    /// dead; one that reads nothing at all, so that the ping cannot leave, is after a minute.
    /// Defaults to 30 s; whole seconds, at least 1 s.
    ///
    /// ```
    /// # use ttn::MqttClient;
    /// # use std::time::Duration;
    /// let client = MqttClient::builder("my-app@ttn", "NNSXS.ID.SECRET").keep_alive(Duration::from_secs(60)).build()?;
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn keep_alive(mut self, keep_alive: Duration) -> Self {
        self.keep_alive = keep_alive;
        self
    }

    /// How long one attempt to connect may take, from asking the discovery server to the last
    /// subscription; `connect` returns within it. Defaults to 10 s.
    ///
    /// ```
    /// # use ttn::MqttClient;
    /// # use std::time::Duration;
    /// let client = MqttClient::builder("my-app@ttn", "NNSXS.ID.SECRET").connect_timeout(Duration::from_secs(4)).build()?;
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// How long `close` may take; half of it is for writing what `send` accepted and for the server to
    /// read it, the rest for the server to close its side and for the callbacks. Defaults to 5 s.
    ///
    /// ```
    /// # use ttn::MqttClient;
    /// # use std::time::Duration;
    /// let client = MqttClient::builder("my-app@ttn", "NNSXS.ID.SECRET").close_timeout(Duration::from_secs(1)).build()?;
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn close_timeout(mut self, timeout: Duration) -> Self {
        self.close_timeout = timeout;
        self
    }

    /// How long [`connect`](MqttClient::connect) goes on trying when the first attempt fails, with
    /// the delays of [`reconnect_delay`](Self::reconnect_delay). Defaults to
    /// [`ConnectRetry::Never`]: one attempt, and its error is the answer.
    ///
    /// Wrong options ([`ErrorKind::Config`](crate::ErrorKind::Config)) and a refused key end it at
    /// once; see [`refused_retry`](Self::refused_retry).
    ///
    /// ```
    /// # use ttn::{ConnectRetry, MqttClient};
    /// // A service that is started before the network is up.
    /// let client = MqttClient::builder("my-app@ttn", "NNSXS.ID.SECRET")
    ///     .connect_retry(ConnectRetry::Forever)
    ///     .build()?;
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn connect_retry(mut self, retry: ConnectRetry) -> Self {
        self.connect_retry = retry;
        self
    }

    /// Whether to connect again, and subscribe again, when a connection is lost. Defaults to
    /// `true`. With `false` the client closes then and says why.
    ///
    /// ```
    /// # use ttn::MqttClient;
    /// let client = MqttClient::builder("my-app@ttn", "NNSXS.ID.SECRET").reconnect(false).build()?;
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn reconnect(mut self, reconnect: bool) -> Self {
        self.reconnect = reconnect;
        self
    }

    /// The shortest and the longest delay between attempts to connect again. In between they grow,
    /// with a random part. Defaults to 1 s and 60 s.
    ///
    /// ```
    /// # use ttn::MqttClient;
    /// # use std::time::Duration;
    /// let client = MqttClient::builder("my-app@ttn", "NNSXS.ID.SECRET")
    ///     .reconnect_delay(Duration::from_millis(100), Duration::from_secs(5))
    ///     .build()?;
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn reconnect_delay(mut self, shortest: Duration, longest: Duration) -> Self {
        self.reconnect_delay = (shortest, longest);
        self
    }

    /// After how long to try again when the server refuses the key or the application's own topics
    /// ([`NotAuthorized`](crate::ErrorKind::NotAuthorized),
    /// [`SubscriptionRefused`](crate::ErrorKind::SubscriptionRefused)): before a connection has
    /// worked, and after one has. `None` stops: `connect` returns the error, and a client that was connected
    /// closes with it as the reason.
    ///
    /// Defaults to `None` before, since a key that never worked is wrong; and to the longest
    /// [`reconnect_delay`](Self::reconnect_delay) after, since The Things Stack refuses keys as well
    /// while a part of it is out of order. The first is only of use with
    /// [`connect_retry`](Self::connect_retry). To supply another key:
    /// [`set_retry_callback`](MqttClient::set_retry_callback).
    ///
    /// ```
    /// # use ttn::MqttClient;
    /// # use std::time::Duration;
    /// let stops_when_the_key_is_deleted = MqttClient::builder("my-app@ttn", "NNSXS.ID.SECRET")
    ///     .refused_retry(None, None)
    ///     .build()?;
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn refused_retry(mut self, before: Option<Duration>, after: Option<Duration>) -> Self {
        self.refused_retry = Some((before, after));
        self
    }

    /// Has [`send`](MqttClient::send) accept so many downlinks while the connection is lost or not
    /// made yet, to be written when it is there, in the order of the calls. Each is written once, or
    /// reported as [`Event::PublishFailed`](crate::Event::PublishFailed): with
    /// [`Expired`](crate::ErrorKind::Expired) when it has waited for a connection for `expire_after`,
    /// with [`Closed`](crate::ErrorKind::Closed) when the client was closed before, and with the error
    /// for which the client gave up when it did. One that was being written when the connection ended may
    /// or may not have arrived; it is reported with
    /// [`ConnectionLost`](crate::ErrorKind::ConnectionLost) and never written again.
    ///
    /// Defaults to none: `send` returns [`NotConnected`](crate::ErrorKind::NotConnected). A client
    /// that is closed accepts nothing in any case.
    ///
    /// ```
    /// # use ttn::MqttClient;
    /// # use std::time::Duration;
    /// let client = MqttClient::builder("my-app@ttn", "NNSXS.ID.SECRET")
    ///     .offline_queue(500, Duration::from_secs(600))
    ///     .build()?;
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn offline_queue(mut self, capacity: usize, expire_after: Duration) -> Self {
        self.offline_queue = Some((capacity, expire_after));
        self
    }

    /// Writes messages with downlinks at this pace: `per_minute` of them, and `burst` at once after
    /// a time of rest. `send` accepts as before and does not wait; what is not due yet waits, in the
    /// order of the calls, with the room of [`send_capacity`](Self::send_capacity).
    ///
    /// A v3 server closes the connection of an application that publishes more than its limit allows,
    /// which is given in the same two numbers (`as:down:mqtt`, The Things Stack's documentation under
    /// Rate Limiting; the one that is over it is lost). It counts messages: a
    /// [batch](MqttClient::send_batch) is one. Stay somewhat below it, since all connections with the
    /// same key count together and messages bunch up on their way. When the server closes the
    /// connection all the same ([`DisconnectCause::RateLimit`](crate::DisconnectCause::RateLimit)),
    /// the client goes on at half the pace, and for each ten minutes without another one a sixteenth
    /// of `pace` faster again. A V2 server does not close: it reads 10 packets a second, and more have
    /// to wait.
    ///
    /// What waits for its turn when the connection is lost goes on waiting with an
    /// [`offline_queue`](Self::offline_queue), for which that is the first moment of waiting, and
    /// fails without. [`close`](MqttClient::close) keeps to the pace, and what is not due before
    /// [`close_timeout`](Self::close_timeout) ends fails: wait for the deliveries first.
    ///
    /// Defaults to none: everything is written at once.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use ttn::{DeliveryState, MqttClient, Network, simulator::Simulator};
    /// # let network = Simulator::start(Network::V3)?;
    /// # ["lamp-1", "lamp-2", "lamp-3"].map(|lamp| network.device(lamp).join());
    /// let client = MqttClient::builder("my-app@ttn", "NNSXS.ID.SECRET")
    /// #   ;let client = MqttClient::builder(network.app_id(), network.access_key()).mqtt_address(network.mqtt_address())
    ///     .pace(300, 10)
    ///     .build()?;
    /// client.connect()?;
    /// let lamps = ["lamp-1", "lamp-2", "lamp-3"];
    /// for delivery in client.send_many(lamps.map(|lamp| (lamp, [1])))? {
    ///     delivery.wait_for(DeliveryState::Queued, Duration::from_secs(60))?;
    /// }
    /// client.close()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn pace(mut self, per_minute: u32, burst: u32) -> Self {
        self.pace = Some(Pace { per_minute, burst });
        self
    }

    /// How many devices to watch the frame counters of, for
    /// [`Event::Counter`](crate::Event::Counter) and [`Stats::frames`](crate::Stats::frames), and to
    /// count the use of by themselves in [`Stats::fair_use`](crate::Stats::fair_use); 0 for none. When
    /// there are more, the half that was silent longest is forgotten. Defaults to 100 000, which take
    /// about 17 MB if there are as many. Simulated uplinks are not counted, and a join or a new session
    /// is no gap.
    ///
    /// ```
    /// # use ttn::MqttClient;
    /// let client = MqttClient::builder("my-app@ttn", "NNSXS.ID.SECRET").counter_watch(0).build()?;
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn counter_watch(mut self, devices: usize) -> Self {
        self.counter_watch = devices;
        self
    }

    /// How many downlinks that are not [final](crate::Delivery::is_final) to follow, and for how long
    /// each. When there are more, those go first whose [`Delivery`](crate::Delivery) was dropped,
    /// then the oldest. Defaults to 10 000 and 48 hours.
    ///
    /// ```
    /// # use ttn::MqttClient;
    /// # use std::time::Duration;
    /// // Devices that send once a week.
    /// let client = MqttClient::builder("my-app@ttn", "NNSXS.ID.SECRET")
    ///     .follow_downlinks(1_000, Duration::from_secs(14 * 86_400))
    ///     .build()?;
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn follow_downlinks(mut self, downlinks: usize, time: Duration) -> Self {
        self.follow_downlinks = (downlinks, time);
        self
    }

    /// How long after it was written a downlink of which the network has said nothing becomes
    /// [`Unconfirmed`](crate::DeliveryState::Unconfirmed). Defaults to 10 s.
    ///
    /// ```
    /// # use ttn::MqttClient;
    /// # use std::time::Duration;
    /// let client = MqttClient::builder("my-app@ttn", "NNSXS.ID.SECRET")
    ///     .unconfirmed_after(Duration::from_secs(30))
    ///     .build()?;
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn unconfirmed_after(mut self, time: Duration) -> Self {
        self.unconfirmed_after = time;
        self
    }

    /// How many events may wait for the callbacks, and for each [`events`](MqttClient::events)
    /// subscription. Defaults to 10 000.
    ///
    /// ```
    /// # use ttn::MqttClient;
    /// let client = MqttClient::builder("my-app@ttn", "NNSXS.ID.SECRET").event_capacity(100).build()?;
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn event_capacity(mut self, events: usize) -> Self {
        self.event_capacity = events;
        self
    }

    /// What happens when more events wait than that. Defaults to [`Overflow::DropOldest`].
    ///
    /// ```
    /// # use ttn::{MqttClient, Overflow};
    /// let client = MqttClient::builder("my-app@ttn", "NNSXS.ID.SECRET").overflow(Overflow::Block).build()?;
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn overflow(mut self, overflow: Overflow) -> Self {
        self.overflow = overflow;
        self
    }

    /// How many messages and how many bytes may wait between the network and the client's thread;
    /// what comes beyond is dropped and reported as [`Event::Lagged`](crate::Event::Lagged).
    /// Defaults to 10 000 messages and 64 MiB.
    ///
    /// ```
    /// # use ttn::MqttClient;
    /// let client = MqttClient::builder("my-app@ttn", "NNSXS.ID.SECRET").receive_capacity(1_000, 1 << 20).build()?;
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn receive_capacity(mut self, messages: usize, bytes: usize) -> Self {
        self.receive_capacity = (messages, bytes);
        self
    }

    /// The largest MQTT packet to accept, in bytes. A larger one ends the connection before memory is
    /// spent on it; the error and [`DisconnectCause::PacketTooLarge`](crate::DisconnectCause::PacketTooLarge)
    /// say so. While a packet is received it takes up to three times its size. Defaults to 16 MiB; an
    /// uplink has some thousand bytes. 1 KiB to 256 MiB.
    ///
    /// ```
    /// # use ttn::MqttClient;
    /// let client = MqttClient::builder("my-app@ttn", "NNSXS.ID.SECRET").max_packet_size(1 << 20).build()?;
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn max_packet_size(mut self, bytes: usize) -> Self {
        self.max_packet_size = bytes;
        self
    }

    /// How many downlinks may wait for the client's thread, and how many messages with downlinks may be
    /// on their way out;
    /// `send` refuses more with [`QueueFull`](crate::ErrorKind::QueueFull). Defaults to 1 000.
    ///
    /// ```
    /// # use ttn::MqttClient;
    /// let client = MqttClient::builder("my-app@ttn", "NNSXS.ID.SECRET").send_capacity(50).build()?;
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn send_capacity(mut self, downlinks: usize) -> Self {
        self.send_capacity = downlinks;
        self
    }

    pub(crate) fn check(self) -> Result<Options> {
        let Self {
            app_id,
            access_key,
            network,
            cluster,
            mqtt_address,
            discovery_address,
            ca,
            certificate_and_key,
            passphrase,
            proxy,
            proxy_from_environment,
            client_id_prefix,
            field_topics,
            keep_alive,
            connect_timeout,
            close_timeout,
            connect_retry,
            reconnect,
            reconnect_delay,
            refused_retry,
            offline_queue,
            pace,
            counter_watch,
            follow_downlinks,
            unconfirmed_after,
            event_capacity,
            overflow,
            receive_capacity,
            max_packet_size,
            send_capacity,
        } = self;

        if passphrase.is_some() && certificate_and_key.is_none() {
            return Err(Error::config(
                "there is a client_key_passphrase but no client certificate; set it with client_certificate_files or client_certificate_pem",
            ));
        }
        let key = access_key.reveal();
        if Network::is_key(&app_id) {
            return Err(Error::config(
                "what is given as application id looks like an access key; the id comes first, then the key",
            ));
        }
        for (name, value) in [
            ("cluster", cluster.as_deref()),
            ("mqtt_address", mqtt_address.as_deref()),
            ("discovery_address", discovery_address.as_deref()),
            ("proxy", proxy.as_deref()),
            ("client_id_prefix", Some(client_id_prefix.as_str())),
        ] {
            // A key of few letters may be part of a name by chance.
            if key.len() >= 16 && value.is_some_and(|value| value.contains(key)) {
                return Err(Error::config(format!(
                    "the {name} holds the access key, which would be seen there; leave it out"
                )));
            }
        }
        let network = match network {
            Some(network) => network,
            None => Network::detect(&app_id, key),
        };
        network.check_app_id(&app_id)?;
        access_key.check(network, &app_id)?;
        if field_topics && network != Network::V2 {
            return Err(Error::config(
                "field_topics is for V2 networks; v3 publishes no field on a topic of its own, all of them are in payload_fields",
            ));
        }
        let mqtt_address = match (cluster, mqtt_address) {
            (Some(_), Some(_)) => {
                return Err(Error::config(
                    "there is a cluster and an mqtt_address; give one of them",
                ));
            }
            (Some(cluster), None) => Some(network.cluster_host(&app_id, &cluster)?),
            (None, address) => address,
        };
        let server = match (mqtt_address, discovery_address) {
            (Some(address), discovery) => {
                if let Some(discovery) = discovery {
                    DiscoveryAddress::parse(network, &discovery)?;
                }
                Server::At(address.parse()?)
            }
            (None, Some(discovery)) => {
                Server::AskedOf(DiscoveryAddress::parse(network, &discovery)?)
            }
            (None, None) => Server::Unknown,
        };
        let way_out = match (proxy, proxy_from_environment) {
            (Some(_), true) => {
                return Err(Error::config(
                    "there is a proxy and proxy_from_environment; set only one of them",
                ));
            }
            (Some(proxy), false) => WayOut::Through(proxy.parse()?),
            (None, true) => WayOut::Environment,
            (None, false) => WayOut::Direct,
        };
        if client_id_prefix.contains('\0') || client_id_prefix.len() > 200 {
            return Err(Error::config(format!(
                "the client_id_prefix {client_id_prefix:?} is longer than 200 bytes or holds NUL"
            )));
        }
        const DAY: Duration = Duration::from_secs(86_400);
        at_least("keep_alive", keep_alive, Duration::from_secs(1))?;
        at_most("keep_alive", keep_alive, Duration::from_secs(65_535))?;
        for (name, timeout) in [
            ("connect_timeout", connect_timeout),
            ("close_timeout", close_timeout),
        ] {
            at_least(name, timeout, Duration::from_millis(1))?;
            at_most(name, timeout, DAY)?;
        }
        let (shortest, longest) = reconnect_delay;
        at_least("reconnect_delay", shortest, Duration::from_millis(1))?;
        at_least("the longest reconnect_delay", longest, shortest)?;
        at_most("reconnect_delay", longest, DAY)?;
        let (refused_first, refused_later) = refused_retry.unwrap_or((None, Some(longest)));
        for delay in [refused_first, refused_later].into_iter().flatten() {
            at_least("refused_retry", delay, Duration::from_millis(1))?;
            at_most("refused_retry", delay, DAY)?;
        }
        if let ConnectRetry::For(time) = connect_retry {
            at_most("connect_retry", time, 365 * DAY)?;
        }
        let (followed, follow_for) = follow_downlinks;
        if followed == 0 {
            return Err(Error::config(
                "the number of follow_downlinks is 0, it has to be at least 1",
            ));
        }
        for (name, time) in [
            ("the time of follow_downlinks", follow_for),
            ("unconfirmed_after", unconfirmed_after),
        ] {
            at_least(name, time, Duration::from_millis(1))?;
            at_most(name, time, 365 * DAY)?;
        }
        if let Some((capacity, expire_after)) = offline_queue {
            if !(1..=1_000_000).contains(&capacity) {
                return Err(Error::config(format!(
                    "the capacity of offline_queue is {capacity}, it has to be 1 to 1000000"
                )));
            }
            at_least(
                "offline_queue's expire_after",
                expire_after,
                Duration::from_millis(1),
            )?;
            at_most("offline_queue's expire_after", expire_after, 365 * DAY)?;
        }
        if let Some(Pace { per_minute, burst }) = pace {
            for (name, number) in [("per_minute", per_minute), ("burst", burst)] {
                if !(1..=30_000).contains(&number) {
                    return Err(Error::config(format!(
                        "the {name} of pace is {number}, it has to be 1 to 30000"
                    )));
                }
            }
        }
        for (name, number) in [
            ("event_capacity", event_capacity),
            (
                "receive_capacity",
                receive_capacity.0.min(receive_capacity.1),
            ),
            ("send_capacity", send_capacity),
        ] {
            if number == 0 {
                return Err(Error::config(format!(
                    "{name} is 0, it has to be at least 1"
                )));
            }
        }
        if !(1 << 10..=256 << 20).contains(&max_packet_size) {
            return Err(Error::config(format!(
                "max_packet_size is {max_packet_size}, it has to be 1024 to 268435456"
            )));
        }
        // Paho's own buffer, which must not be the first to fill.
        if send_capacity > 30_000 {
            return Err(Error::config(format!(
                "send_capacity is {send_capacity}, it can be at most 30000"
            )));
        }
        Ok(Options {
            network,
            app_id,
            access_key,
            server,
            certificates: Arc::new(Certificates::new(ca, certificate_and_key, passphrase)),
            way_out,
            client_id_prefix,
            field_topics,
            keep_alive: Duration::from_secs(keep_alive.as_secs()),
            connect_timeout,
            close_timeout,
            connect_retry,
            reconnect,
            reconnect_delay,
            refused_retry: (refused_first, refused_later),
            offline_queue,
            pace,
            counter_watch,
            follow_downlinks,
            unconfirmed_after,
            event_capacity,
            overflow,
            receive_capacity,
            max_packet_size,
            send_capacity,
        })
    }
}

fn at_least(name: &str, value: Duration, least: Duration) -> Result<()> {
    if value < least {
        return Err(Error::config(format!(
            "{name} is {value:?}, it has to be at least {least:?}"
        )));
    }
    Ok(())
}

fn at_most(name: &str, value: Duration, most: Duration) -> Result<()> {
    if value > most {
        return Err(Error::config(format!(
            "{name} is {value:?}, it can be at most {most:?}"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn builder() -> MqttClientBuilder {
        MqttClientBuilder::new("greenhouse@ttn".to_owned(), "NNSXS.ID.SECRET".to_owned())
    }

    #[test]
    fn a_hosted_cluster_is_reached_by_tls_at_its_usual_port() {
        let options = builder().cluster("eu1").check().unwrap();
        assert_eq!(options.network, Network::V3);
        let Server::At(address) = options.server else {
            panic!("{:?}", options.server);
        };
        assert_eq!(
            address.to_string(),
            "mqtts://eu1.cloud.thethings.network:8883"
        );
    }

    #[test]
    fn the_way_out_is_the_one_that_was_set() {
        let way_out = |builder: MqttClientBuilder| builder.check().unwrap().way_out;
        assert!(matches!(way_out(builder()), WayOut::Direct));
        let through = way_out(builder().proxy("http://user:secret@proxy:3128"));
        assert_eq!(format!("{through:?}"), "Through(Proxy(http://proxy:3128))");
        let environment = way_out(builder().proxy_from_environment(true));
        assert!(matches!(environment, WayOut::Environment));
        let again = way_out(
            builder()
                .proxy_from_environment(true)
                .proxy_from_environment(false),
        );
        assert!(matches!(again, WayOut::Direct));
    }

    #[test]
    fn two_ways_out_are_refused() {
        let both = builder().proxy("http://proxy").proxy_from_environment(true);
        let error = both.check().unwrap_err();
        assert_eq!(error.kind(), crate::ErrorKind::Config);
        assert!(error.to_string().contains("set only one"), "{error}");
    }

    #[test]
    fn what_belongs_to_another_network_is_refused() {
        let v2 =
            || MqttClientBuilder::new("greenhouse".to_owned(), "ttn-account-v2.secret".to_owned());
        for (builder, words) in [
            (
                builder().cluster("eu1").mqtt_address("localhost"),
                "give one of them",
            ),
            (builder().field_topics(true), "payload_fields"),
            (builder().network(Network::V2), "@"),
            (v2().cluster("eu1"), "V2"),
            (v2().network(Network::V3), "API key"),
            (
                MqttClientBuilder::new(
                    "greenhouse@ttn".to_owned(),
                    "ttn-account-v2.secret".to_owned(),
                ),
                "make an API key",
            ),
            (
                MqttClientBuilder::new("greenhouse".to_owned(), "NNSXS.ID.SECRET".to_owned())
                    .network(Network::V2),
                "The Things Stack v3",
            ),
        ] {
            let error = builder.check().unwrap_err();
            assert!(error.to_string().contains(words), "{words}: {error}");
            assert_eq!(error.kind(), crate::ErrorKind::Config);
        }
    }
}
