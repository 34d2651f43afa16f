//! Every option of a client, with its default.

mod http;

use std::{fmt, path::PathBuf, time::Duration};

use super::{
    AccessKey, Backfill, Broker, ClientCertificate, ConnectRetry, FollowDownlinks, OfflineQueue,
    Over, Overflow, Pace, Passphrase, Pem, ReceiveCapacity, ReconnectDelay, RefusedRetry,
};
use crate::{message::Watermark, network::Network};

/// Builds an [`MqttClient`](crate::MqttClient); returned by
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
    pub(super) app_id: String,
    pub(super) access_key: AccessKey,
    /// Whether the client reads from a broker of one's own.
    pub(super) has_own_broker: bool,
    pub(super) broker: Option<Broker>,
    pub(super) network: Option<Network>,
    pub(super) cluster: Option<String>,
    pub(super) mqtt_address: Option<String>,
    pub(super) discovery_address: Option<String>,
    pub(super) http_address: Option<String>,
    pub(super) identity_server_address: Option<String>,
    pub(super) asks_over_http: bool,
    pub(super) backfill: Option<Backfill>,
    pub(super) resume_from: Option<Watermark>,
    pub(super) downlinks: Over,
    pub(super) ca: Option<Pem>,
    pub(super) client_certificate: Option<ClientCertificate>,
    pub(super) passphrase: Option<Passphrase>,
    pub(super) proxy: Option<String>,
    pub(super) proxy_from_environment: bool,
    pub(super) client_id_prefix: String,
    pub(super) field_topics: bool,
    pub(super) keep_alive: Duration,
    pub(super) connect_timeout: Duration,
    pub(super) close_timeout: Option<Duration>,
    pub(super) connect_retry: ConnectRetry,
    pub(super) reconnect: bool,
    pub(super) reconnect_delay: ReconnectDelay,
    pub(super) refused_retry: Option<RefusedRetry>,
    pub(super) offline_queue: Option<OfflineQueue>,
    pub(super) pace: Option<Pace>,
    pub(super) counter_watch: Option<usize>,
    pub(super) device_watch: bool,
    pub(super) silence_after: Option<f32>,
    pub(super) duplicate_window: Option<usize>,
    pub(super) follow_downlinks: FollowDownlinks,
    pub(super) unconfirmed_after: Duration,
    pub(super) event_capacity: usize,
    pub(super) overflow: Overflow,
    pub(super) receive_capacity: ReceiveCapacity,
    pub(super) max_packet_size: usize,
    pub(super) send_capacity: usize,
}

/// Prints no options: any of them may be the access key by mistake, as long as they are not checked.
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
            has_own_broker: false,
            broker: None,
            network: None,
            cluster: None,
            mqtt_address: None,
            discovery_address: None,
            http_address: None,
            identity_server_address: None,
            asks_over_http: true,
            backfill: None,
            resume_from: None,
            downlinks: Over::default(),
            ca: None,
            client_certificate: None,
            passphrase: None,
            proxy: None,
            proxy_from_environment: false,
            client_id_prefix: "ttn-".to_owned(),
            field_topics: false,
            keep_alive: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(10),
            close_timeout: None,
            connect_retry: ConnectRetry::default(),
            reconnect: true,
            reconnect_delay: ReconnectDelay {
                shortest: Duration::from_secs(1),
                longest: Duration::from_secs(60),
            },
            refused_retry: None,
            offline_queue: None,
            pace: None,
            counter_watch: None,
            device_watch: false,
            silence_after: None,
            duplicate_window: None,
            follow_downlinks: FollowDownlinks {
                downlinks: 10_000,
                time: Duration::from_secs(48 * 3600),
            },
            unconfirmed_after: Duration::from_secs(10),
            event_capacity: 10_000,
            overflow: Overflow::default(),
            receive_capacity: ReceiveCapacity {
                messages: 10_000,
                bytes: 64 << 20,
            },
            max_packet_size: 16 << 20,
            send_capacity: 1_000,
        }
    }

    pub(crate) fn own_broker(app_id: String) -> Self {
        Self {
            has_own_broker: true,
            ..Self::new(app_id, String::new())
        }
    }

    /// Sets the network that the application is on. Defaults to the one that the form of application
    /// id and key suggests; on a [broker of one's own](crate::MqttClient::own_broker) to v3.
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

    /// Sets the hosted v3 cluster that the application is on, instead of an [MQTT
    /// address](Self::mqtt_address). The tenant in the application id selects the network:
    ///
    /// | application id | clusters | MQTT address |
    /// |---|---|---|
    /// | `my-app@ttn`, The Things Network | `eu1`, `nam1`, `au1` | `<cluster>.cloud.thethings.network` |
    /// | `my-app@my-tenant`, The Things Stack Cloud | `eu1`, `eu2`, `nam1`, `au1`, `as1` | `<tenant>.<cluster>.cloud.thethings.industries` |
    ///
    /// It is the cluster of the devices, which is part of the address of their console.
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

    /// Sets the address of the MQTT server: `host`, `host:port`, `mqtt://host[:port]` (plain, port
    /// 1883) or `mqtts://host[:port]` (TLS, port 8883). IPv6 addresses need brackets. Without a scheme,
    /// no port or port 8883 means TLS, and any other port means plain TCP, which exposes the access
    /// key.
    ///
    /// A [broker of one's own](crate::MqttClient::own_broker) may have several servers, with commas between them:
    /// `mqtts://broker-1,broker-2:8884`. They must share sessions and messages, as the nodes of a cluster do. The
    /// scheme of the first holds for those without one. The client tries them in turn, without a delay until
    /// each has failed once, and begins with the next one after it has lost a connection.
    ///
    /// Defaults to the address of the [cluster](Self::cluster), or to what the [discovery
    /// server](Self::discovery_address) announces. Without any of them connecting fails. A broker of one's own
    /// has no default.
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

    /// Sets a server to ask over HTTP for the MQTT address of the application, each time the client
    /// connects: `https://host[:port]` or `http://host[:port]`, optionally with a path. If the server is
    /// down, the client uses an address that has worked before. The server is not asked if there is an
    /// [MQTT address](Self::mqtt_address) or a [cluster](Self::cluster).
    ///
    /// | | The Things Stack v3 | V2 |
    /// |---|---|---|
    /// | the server | The Things Stack: the host of the console; `/console`, `/api` or `/api/v3` at the end is cut off | a discovery server, by default on port 8080 |
    /// | without a scheme | `https://` | `http://` |
    /// | what it receives | the access key, which needs the right to view application information | no key |
    /// | a redirect | is an error that names the target, since the key goes nowhere else | is followed |
    /// | the address used | the TLS address; the plain address only if it is the only one and the server was set with `http://` | the address that the handler of the application announces |
    ///
    /// `http://` exposes the key of a v3 application. The v3 server also says by which id it knows the
    /// application. If the client's id differs, for example because the tenant is missing, the error
    /// names the right one.
    ///
    /// If a v3 server refuses, the error of [`connect`](crate::MqttClient::connect) names the cause and
    /// quotes the server:
    ///
    /// | | kind |
    /// |---|---|
    /// | the key is cut off or mistyped, unknown or deleted, has expired, its application was deleted, or the right to view application information is missing | [`NotAuthorized`](crate::ErrorKind::NotAuthorized) |
    /// | the key has no rights on the application: it belongs to another one, or there is none with this id; the server does not say which | [`NotAuthorized`](crate::ErrorKind::NotAuthorized) |
    /// | an administrator's key, and there is no such application | [`ApplicationNotFound`](crate::ErrorKind::ApplicationNotFound) |
    /// | the address does not name a tenant, or the server does not accept the id | [`Config`](crate::ErrorKind::Config) |
    /// | the host, the port or the path is not that of The Things Stack, or `http://` is set for a port with TLS | [`DiscoveryAnswer`](crate::ErrorKind::DiscoveryAnswer) |
    /// | the rate limit is exceeded (the error says for how long), or the server cannot check keys or answer | [`ServerUnavailable`](crate::ErrorKind::ServerUnavailable) |
    ///
    /// Defaults to none. The discovery server of the public V2 network,
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

    /// Sets a PEM file with the authorities to trust for TLS, instead of the system's. It is read each
    /// time the client connects. Defaults to the system's authorities.
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

    /// Sets the authorities to trust like [`ca_file`](Self::ca_file), from memory.
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

    /// Sets PEM files with the client's certificate (and its chain) and its private key, which the
    /// client presents to the server. The key is RSA, P-256, P-384 or Ed25519, in PKCS #1, PKCS #8 or
    /// SEC 1. Defaults to none.
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
        self.client_certificate = Some(ClientCertificate {
            chain: Pem::File(certificate.into()),
            key: Pem::File(key.into()),
        });
        self
    }

    /// Sets certificate and key like [`client_certificate_files`](Self::client_certificate_files), from
    /// memory.
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
        self.client_certificate = Some(ClientCertificate {
            chain: Pem::Bytes(certificate.into()),
            key: Pem::Bytes(key.into()),
        });
        self
    }

    /// Connects through a proxy: MQTT with and without TLS, and everything over HTTP.
    ///
    /// | address | proxy | default port |
    /// |---|---|---|
    /// | `http://[user[:secret]@]host[:port]`, also without `http://` | an HTTP proxy that allows CONNECT | 80 |
    /// | `socks5://[user[:secret]@]host[:port]`; `socks5h://` means the same | a SOCKS 5 proxy | 1080 |
    ///
    /// In user and secret, `%` and two hex digits are one byte (`%40` for `@`, `%25` for `%`). An HTTP
    /// proxy receives both as Basic authentication, unencrypted. IPv6 addresses need brackets. The proxy
    /// looks up the name of the server; this machine looks up only the name of the proxy. Every
    /// connection goes through the proxy, including those to this machine. TLS remains end to end: the
    /// proxy sees the name of the server, but neither messages nor key. Without TLS it sees everything.
    ///
    /// An HTTP proxy must allow CONNECT to the port of the server; by default Squid allows only 443.
    /// User and secret are protected like the access key: they appear in no error, log line or debug
    /// output.
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

    /// Sets whether to connect through the [proxy](Self::proxy) that environment variables name. They
    /// are read for each connection, with the names and the order of curl; an empty one counts as
    /// unset.
    ///
    /// | connection | variables; the first that is set applies |
    /// |---|---|
    /// | with TLS: `mqtts://`, `https://` | `https_proxy`, `HTTPS_PROXY`, `all_proxy`, `ALL_PROXY` |
    /// | without: `mqtt://`, `http://` | `http_proxy`, `all_proxy`, `ALL_PROXY` |
    ///
    /// `HTTP_PROXY` in capitals is ignored: in a CGI program it contains a header that anyone can send.
    ///
    /// `no_proxy`, or else `NO_PROXY`, lists what to connect to directly, separated by commas or
    /// spaces: a name (`example.com`, `.example.com` or `*.example.com`: that host and all below it),
    /// an IP address, a network (`10.0.0.0/8`), or `*` for everything. Hosts and addresses may have a
    /// port (`example.com:8883`). Names are not looked up for this, and `localhost` is not exempt unless
    /// it is listed.
    ///
    /// If a variable is not the address of a proxy, the attempt to connect fails with
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

    /// Sets the passphrase that the client's private key is encrypted with (PKCS #8 with AES or triple
    /// DES, `BEGIN ENCRYPTED PRIVATE KEY`). It is never printed, and the client never asks for it on a
    /// terminal. Defaults to none: the key is not encrypted.
    ///
    /// # Errors
    ///
    /// [`build`](Self::build) returns [`ErrorKind::Config`](crate::ErrorKind::Config) if there is
    /// no client certificate. [`connect`](crate::MqttClient::connect) returns it if the passphrase is
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

    /// Sets the start of the MQTT client id. 16 random hex digits follow, so that two programs never
    /// disconnect each other where a server allows each id only once. The servers of the networks
    /// accept any id. Defaults to `ttn-`.
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

    /// Sets whether to also receive each decoded field as
    /// [`Event::UplinkField`](crate::Event::UplinkField), from a topic of its own, including fields
    /// inside objects down to a depth of 8. V2 only, where not every installation publishes them; on v3
    /// [`build`](Self::build) rejects it. Defaults to `false`.
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

    /// Sets how long the connection may be idle in either direction before the client pings the server.
    /// The answer may take the same time again, but at least 5 s, so a dead connection is noticed within
    /// twice the keep-alive, or the keep-alive and 5 s. A server that still reads earlier data does not
    /// count as dead. A server that reads nothing, so that the ping cannot be sent, counts as dead after
    /// a minute. Whole seconds, at least 1 s. Defaults to 30 s.
    ///
    /// The server counts too: it ends the connection of a client that has sent nothing for one and a half
    /// times this, for example because its machine is suspended, or because the program was killed and a
    /// [fork](crate#forks-threads-suspended-machines) of it holds the socket open.
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

    /// Sets how long one attempt to connect may take, from asking the discovery server to the last
    /// subscription. `connect` returns within this time. Defaults to 10 s.
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

    /// Sets how long [`close`](crate::MqttClient::close) may take: nine tenths of it for writing what
    /// `send` accepted and for the server to process it, the rest for the callbacks. If the server needs
    /// longer, `close` returns an error with the number of downlinks that are uncertain.
    ///
    /// Defaults to 5 s, and for each message that is open when `close` is called 10 ms more on v3 and
    /// 100 ms more on V2, up to 30 s in all. The Things Stack takes 2 to 4 ms for a message, and V2 reads
    /// 10 packets per second.
    ///
    /// ```
    /// # use ttn::MqttClient;
    /// # use std::time::Duration;
    /// let client = MqttClient::builder("my-app@ttn", "NNSXS.ID.SECRET").close_timeout(Duration::from_secs(1)).build()?;
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn close_timeout(mut self, timeout: Duration) -> Self {
        self.close_timeout = Some(timeout);
        self
    }

    /// Sets how long [`connect`](crate::MqttClient::connect) retries if the first attempt fails, with the
    /// delays of [`reconnect_delay`](Self::reconnect_delay). Defaults to [`ConnectRetry::Never`]: one
    /// attempt, whose error `connect` returns.
    ///
    /// Wrong options ([`ErrorKind::Config`](crate::ErrorKind::Config)) and a refused key stop the
    /// retries at once; see [`refused_retry`](Self::refused_retry).
    ///
    /// ```
    /// # use ttn::{ConnectRetry, MqttClient};
    /// // A service that starts before the network is up.
    /// let client = MqttClient::builder("my-app@ttn", "NNSXS.ID.SECRET")
    ///     .connect_retry(ConnectRetry::Forever)
    ///     .build()?;
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn connect_retry(mut self, retry: ConnectRetry) -> Self {
        self.connect_retry = retry;
        self
    }

    /// Sets whether to reconnect and subscribe again when a connection is lost. With `false` the client
    /// closes instead, and reports why. Defaults to `true`.
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

    /// Sets the shortest and the longest delay between attempts to connect again. The delays grow from
    /// one to the other, with a random part. Defaults to 1 s and 60 s.
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
        self.reconnect_delay = ReconnectDelay { shortest, longest };
        self
    }

    /// Sets the delay before a retry when the server refuses the key or the application's own topics
    /// ([`NotAuthorized`](crate::ErrorKind::NotAuthorized),
    /// [`SubscriptionRefused`](crate::ErrorKind::SubscriptionRefused)): `before` a connection has worked,
    /// and `after` one has. With `None` the client does not retry: `connect` returns the error, and a
    /// client that was connected closes with it as the reason.
    ///
    /// `before` defaults to `None`, since a key that never worked is wrong, and matters only with
    /// [`connect_retry`](Self::connect_retry). `after` defaults to the longest
    /// [`reconnect_delay`](Self::reconnect_delay), since The Things Stack also rejects valid keys during
    /// partial outages. To supply another key, use
    /// [`set_retry_callback`](crate::MqttClient::set_retry_callback).
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
        self.refused_retry = Some(RefusedRetry { before, after });
        self
    }

    /// Lets [`send`](crate::MqttClient::send) accept up to `capacity` downlinks without a connection.
    /// The client writes them in the order of the calls once it is connected. Each is written once, or
    /// reported as [`Event::PublishFailed`](crate::Event::PublishFailed):
    ///
    /// - with [`Expired`](crate::ErrorKind::Expired) if it waited for a connection for `expire_after`,
    /// - with [`Closed`](crate::ErrorKind::Closed) if the client was closed first; `close` says how many,
    /// - with the error that made the client give up, if it did,
    /// - with [`ConnectionLost`](crate::ErrorKind::ConnectionLost) if the connection ended while it was
    ///   being written. It may or may not have arrived, and is never written again.
    ///
    /// Defaults to none: `send` returns [`NotConnected`](crate::ErrorKind::NotConnected). A closed
    /// client accepts nothing in any case.
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
        self.offline_queue = Some(OfflineQueue {
            capacity,
            expire_after,
        });
        self
    }

    /// Writes messages with downlinks at this pace: `per_minute` on average, and up to `burst` at once
    /// after a pause. `send` does not wait. Messages that are not due yet wait in the order of the calls;
    /// [`send_capacity`](Self::send_capacity) limits them.
    ///
    /// A v3 server closes the connection of an application that exceeds its rate limit. The message that
    /// exceeds it and all messages behind it are lost. The limit consists of the same two numbers
    /// (`as:down:mqtt`, under Rate Limiting in The Things Stack's documentation). It counts messages: a
    /// [batch](crate::MqttClient::send_batch) is one. Stay somewhat below the limit, since all
    /// connections with the same key count together and messages can arrive closer together than they
    /// were sent. If the server still closes the connection
    /// ([`DisconnectCause::RateLimit`](crate::DisconnectCause::RateLimit)), the client continues at half
    /// the pace, and speeds up by a sixteenth of `pace` for every ten minutes without another such
    /// disconnection. It returns to the full pace at once if the server turns out to have
    /// [stopped](crate::DisconnectCause::Stopped). A V2 server does not close the connection: it reads 10
    /// packets a second, and further ones wait.
    ///
    /// When the connection is lost, messages that are not due yet keep waiting if there is an
    /// [`offline_queue`](Self::offline_queue), whose `expire_after` then starts, and fail otherwise.
    /// [`close`](crate::MqttClient::close) keeps the pace; messages that are not due within
    /// [`close_timeout`](Self::close_timeout) fail, and `close` returns an error: wait for the
    /// deliveries first.
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

    /// Sets for how many devices to watch the frame counters, for
    /// [`Event::Counter`](crate::Event::Counter) and [`Stats::frames`](crate::Stats::frames), and to
    /// count the use of each device in [`Stats::fair_use`](crate::Stats::fair_use); 0 for none. If
    /// there are more devices, the client forgets the half that was silent longest. Simulated and
    /// [retained](crate::RawMessage::is_retained) uplinks are not counted, and a join, a new session or a
    /// counter that wraps is not a gap. Defaults to 100 000, which take about 18 MB when all are in use; in a
    /// [shared group](Self::shared_group) to 0, unless the group [shares by device](Self::shared_by_device).
    ///
    /// ```
    /// # use ttn::MqttClient;
    /// let client = MqttClient::builder("my-app@ttn", "NNSXS.ID.SECRET").counter_watch(0).build()?;
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn counter_watch(mut self, devices: usize) -> Self {
        self.counter_watch = Some(devices);
        self
    }

    /// Sets whether to remember more about each device, for [`devices`](crate::MqttClient::devices): when it was
    /// heard last and how often it usually sends, its gateway, the frames that it has lost, its battery. It takes about
    /// 400 bytes for each device, besides the 260 of [`counter_watch`](Self::counter_watch); 500 with
    /// [`silence_after`](Self::silence_after). Defaults to `false`.
    ///
    /// ```
    /// # use ttn::MqttClient;
    /// let client = MqttClient::builder("my-app@ttn", "NNSXS.ID.SECRET").device_watch(true).build()?;
    /// assert!(client.devices()?.is_empty());
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn device_watch(mut self, is_on: bool) -> Self {
        self.device_watch = is_on;
        self
    }

    /// Asks for [`Event::DeviceSilent`](crate::Event::DeviceSilent) when a device has not been heard for this multiple
    /// of its own [usual interval](crate::DeviceStatus::usual_interval), 1.5 to 1000; 3 is a good choice. It comes once,
    /// and [`Event::DeviceBack`](crate::Event::DeviceBack) at the next uplink of the device. Includes
    /// [`device_watch`](Self::device_watch). Defaults to none.
    ///
    /// - The usual interval is known after five uplinks with successive frame counters, live or
    ///   [fetched](Self::backfill).
    /// - A device that loses frames gets more time, so that it is not silent by chance: 5 intervals if it loses 5 % of
    ///   them, 8 if it loses 20 %, if that is more than the multiple. The time is never less than 5 s.
    /// - The time stands still while the client has no connection, while the machine is suspended, and after a
    ///   reconnect for up to 10 minutes while the client [fetches](Self::backfill) what it has missed. After an outage,
    ///   a device has as much time as that lasted, and one and a half of its intervals at most. The same holds when
    ///   this client has dropped messages.
    /// - It also stands still while nothing at all arrives, for longer than is usual for all devices together: then
    ///   it is the network. Which device is silent shows when another one is heard. If there is only one device that
    ///   is not silent, nobody can tell, and it is reported: it may be the network.
    /// - How many frames a device loses is known after about a hundred uplinks. Until then it gets more time as well: 6
    ///   intervals after five uplinks, 4.5 after twenty.
    /// - A device that sends on events only, at random times, is often reported without a cause: with 3, once in 40
    ///   uplinks; with 5, once in 200; with 10, hardly ever. One that sleeps at night is reported each night. Two
    ///   intervals in turn, or a clock that is off by half, are no cause.
    /// - If a gateway fails, each device that only it hears is reported.
    /// - A connection that breaks every few seconds loses uplinks, which can make a device silent by chance: about once
    ///   a day for each device if the client is away for a third of the time.
    /// - A device that from now on sends more rarely is reported at most twice before its interval is known again.
    ///   One that was deleted is not reported on V2, where the network says so; on v3 it is reported once.
    ///
    /// ```
    /// # use ttn::MqttClient;
    /// let client = MqttClient::builder("my-app@ttn", "NNSXS.ID.SECRET").silence_after(3.0).build()?;
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn silence_after(mut self, intervals: f32) -> Self {
        self.silence_after = Some(intervals);
        self
    }

    /// Sets how many uplinks the client remembers to mark [duplicates](crate::UplinkMessage::is_duplicate), by
    /// their [keys](crate::UplinkMessage::key); 0 for none. The memory is about 100 bytes for each. Defaults to
    /// 10,000 on a [broker of one's own](crate::MqttClient::own_broker), where messages may be delivered again,
    /// and to 0 elsewhere.
    ///
    /// ```
    /// # use ttn::MqttClient;
    /// let client = MqttClient::own_broker("my-app@ttn")
    ///     .mqtt_address("localhost:1883")
    ///     .duplicate_window(100_000)
    ///     .build()?;
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn duplicate_window(mut self, uplinks: usize) -> Self {
        self.duplicate_window = Some(uplinks);
        self
    }

    /// Sets how many downlinks that are not [final](crate::Delivery::is_final) to follow, and for how
    /// long each. If there are more, the client first stops following those whose
    /// [`Delivery`](crate::Delivery) was dropped, then the oldest. Defaults to 10 000 and 48 hours.
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
        self.follow_downlinks = FollowDownlinks { downlinks, time };
        self
    }

    /// Sets how long after writing a downlink becomes
    /// [`Unconfirmed`](crate::DeliveryState::Unconfirmed) if the network sends no report about it.
    /// Defaults to 10 s. On V2, 100 ms are added for each downlink that was written before it and has no
    /// report yet, because the network's own broker reads 10 packets a second.
    ///
    /// On v3, where the [HTTP API](Self::http_address) is known and [`ask_over_http`](Self::ask_over_http) is on,
    /// the client first asks why, which takes at most 10 s more: a downlink that is in the device's queue
    /// becomes [`Queued`](crate::DeliveryState::Queued) after all; otherwise the error names the cause as the
    /// network states it: no such device, no session, a missing right, or not in the queue. It asks once for
    /// all overdue downlinks of a device, for at most five devices a second, and not while the network's rate
    /// limit forbids it. Whatever HTTP does, the state stays provisional: a later report still counts.
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

    /// Sets how many events may wait for the callbacks, and for each [`events`](crate::MqttClient::events)
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

    /// Sets what happens when [`event_capacity`](Self::event_capacity) is exceeded. Defaults to
    /// [`Overflow::DropOldest`].
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

    /// Sets how many messages and how many bytes may wait between the network and the client's thread.
    /// Further messages are dropped and reported as [`Event::Lagged`](crate::Event::Lagged). With a
    /// [broker of one's own](crate::MqttClient::own_broker) none is dropped: it is the limit for messages that the
    /// program has not [handled](crate::Acknowledge#handled), and the client reads no further ones. Defaults to
    /// 10 000 messages and 64 MiB.
    ///
    /// ```
    /// # use ttn::MqttClient;
    /// let client = MqttClient::builder("my-app@ttn", "NNSXS.ID.SECRET").receive_capacity(1_000, 1 << 20).build()?;
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn receive_capacity(mut self, messages: usize, bytes: usize) -> Self {
        self.receive_capacity = ReceiveCapacity { messages, bytes };
        self
    }

    /// Sets the largest MQTT packet to accept, in bytes, from 1 KiB to 256 MiB. A larger packet ends the
    /// connection before it takes memory, with
    /// [`DisconnectCause::PacketTooLarge`](crate::DisconnectCause::PacketTooLarge). While a packet is
    /// received it takes up to three times its size. An uplink has a few thousand bytes. Defaults to
    /// 16 MiB.
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

    /// Sets how many downlinks may wait for the client's thread, and how many messages with downlinks may
    /// be in transmission. Beyond that `send` returns [`QueueFull`](crate::ErrorKind::QueueFull). At most
    /// 30 000. Defaults to 1 000.
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
}
