//! The settings of a simulator.

use std::{
    io,
    net::{SocketAddr, ToSocketAddrs},
    sync::Arc,
    time::{Duration, SystemTime},
};

use crossbeam_channel::Sender;
use fastrand::Rng;

use super::{Instance, Simulator};
#[cfg(feature = "tls")]
use crate::simulator::tls::Authority;
use crate::{
    Network,
    simulator::{
        activity::{Activities, Activity},
        lorawan::{Clock, Delays, Environment, Release, Rights},
        quirks::Quirks,
        security::Security,
    },
};

/// The settings of a network before it starts; created by [`Simulator::builder`].
///
/// ```
/// use std::time::Duration;
/// use ttn::Network;
/// use ttn::simulator::Simulator;
///
/// let network = Simulator::builder(Network::V3)
///     .address("127.0.0.1:0")
///     .application("greenhouse@ttn", "NNSXS.KEY.SECRET")
///     .receive_window(Duration::from_millis(20))
///     .seed(7)
///     .quirks(|quirks| quirks.publish_limit = Some(100))
///     .start()?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until start is called"]
pub struct SimulatorBuilder {
    network: Network,
    address: String,
    http_address: String,
    #[cfg(feature = "tls")]
    tls: bool,
    #[cfg(feature = "tls")]
    https: bool,
    #[cfg(feature = "tls")]
    certificate_names: Vec<String>,
    app_id: String,
    access_key: String,
    receive_window: Duration,
    delays: Option<Delays>,
    seed: Option<u64>,
    time: Option<SystemTime>,
    release: Release,
    quirks: Quirks,
    activity: Option<Sender<Activity>>,
    history: usize,
}

impl SimulatorBuilder {
    pub(super) fn new(network: Network) -> Self {
        let (app_id, access_key) = match network {
            Network::V2 => ("simulated-app", "ttn-account-v2.simulated-key"),
            Network::V3 => ("simulated-app@ttn", "NNSXS.SIMULATED.KEY"),
        };
        Self {
            network,
            address: String::from("127.0.0.1:0"),
            http_address: String::from("127.0.0.1:0"),
            #[cfg(feature = "tls")]
            tls: false,
            #[cfg(feature = "tls")]
            https: false,
            #[cfg(feature = "tls")]
            certificate_names: Vec::new(),
            app_id: String::from(app_id),
            access_key: String::from(access_key),
            receive_window: Duration::from_millis(100),
            delays: None,
            seed: None,
            time: None,
            release: [3, 32, 1],
            quirks: Quirks::of(network),
            activity: None,
            history: usize::MAX,
        }
    }

    /// Sets the host and port to listen on; port 0 stands for a free port. Default: `127.0.0.1:0`.
    ///
    /// ```
    /// # use ttn::{Network, simulator::Simulator};
    /// let builder = Simulator::builder(Network::V3).address("127.0.0.1:1883");
    /// ```
    pub fn address(mut self, address: impl Into<String>) -> Self {
        self.address = address.into();
        self
    }

    /// Sets the host and port that the HTTP server listens on; port 0 stands for a free port. Default:
    /// `127.0.0.1:0`.
    ///
    /// # Panics
    ///
    /// On V2, which has no HTTP server.
    ///
    /// ```
    /// # use ttn::{Network, simulator::Simulator};
    /// let builder = Simulator::builder(Network::V3).http_address("127.0.0.1:1885");
    /// ```
    #[track_caller]
    pub fn http_address(mut self, address: impl Into<String>) -> Self {
        self.require_v3("http_address");
        self.http_address = address.into();
        self
    }

    /// Sets whether MQTT is over TLS, with a certificate that an [authority](Simulator::authority) of this
    /// network signs. It is for the loopback and the addresses that the network listens on, unless
    /// [other names](Self::certificate_name) are added. Clients without TLS are not served then. Default:
    /// without TLS.
    ///
    /// ```
    /// # use ttn::{Network, simulator::Simulator};
    /// let network = Simulator::builder(Network::V3).tls(true).start()?;
    /// assert!(network.mqtt_address().starts_with("mqtts://127.0.0.1:"));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[cfg(feature = "tls")]
    pub fn tls(mut self, on: bool) -> Self {
        self.tls = on;
        self
    }

    /// Adds a host name or an IP address to the certificate with which MQTT and HTTP speak TLS. Default:
    /// localhost, 127.0.0.1, ::1, and the addresses that the network listens on.
    ///
    /// ```
    /// # use ttn::{Network, simulator::Simulator};
    /// let builder = Simulator::builder(Network::V3).tls(true).certificate_name("network.test");
    /// ```
    #[cfg(feature = "tls")]
    pub fn certificate_name(mut self, name: impl Into<String>) -> Self {
        self.certificate_names.push(name.into());
        self
    }

    /// Sends what clients and devices do to this channel, as it happens and without waiting. What does not
    /// fit into a bounded channel is counted and told by [`Activity::Lagged`]; an unbounded one grows if
    /// nobody reads it. Default: nothing is sent.
    ///
    /// ```
    /// use ttn::crossbeam_channel::bounded;
    /// # use ttn::{Network, simulator::Simulator};
    /// let (sender, activities) = bounded(10_000);
    /// let network = Simulator::builder(Network::V3).activity(sender).start()?;
    /// assert!(activities.is_empty());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn activity(mut self, sender: Sender<Activity>) -> Self {
        self.activity = Some(sender);
        self
    }

    /// Sets how many of the published messages, HTTP requests and received downlinks of each device are
    /// kept for [`Simulator::published`], [`Simulator::http_requests`] and
    /// [`Device::received`](super::Device::received), so that a network that runs for long does not
    /// grow. The oldest ones are forgotten; methods that wait for a number of them count all. Default: all.
    ///
    /// ```
    /// # use ttn::{Network, simulator::Simulator};
    /// let builder = Simulator::builder(Network::V3).history(1000);
    /// ```
    pub fn history(mut self, count: usize) -> Self {
        self.history = count;
        self
    }

    /// Sets whether the HTTP server speaks TLS, with the certificate that [`tls`](Self::tls) describes.
    /// Default: it does not.
    ///
    /// # Panics
    ///
    /// On V2, which has no HTTP server.
    ///
    /// ```
    /// # use ttn::{Network, simulator::Simulator};
    /// let network = Simulator::builder(Network::V3).https(true).start()?;
    /// assert!(network.http_address().starts_with("https://127.0.0.1:"));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[cfg(feature = "tls")]
    #[track_caller]
    pub fn https(mut self, on: bool) -> Self {
        self.require_v3("https");
        self.https = on;
        self
    }

    #[track_caller]
    fn require_v3(&self, method: &str) {
        assert!(
            self.network == Network::V3,
            "SimulatorBuilder::{method} is for v3 only, and this network is V2"
        );
    }

    /// Sets id and access key of the first application; [`Simulator::add_application`] describes their
    /// form. Default: those of [`Simulator::start`].
    ///
    /// ```
    /// # use ttn::{Network, simulator::Simulator};
    /// let builder = Simulator::builder(Network::V3).application("greenhouse@ttn", "NNSXS.KEY.SECRET");
    /// ```
    pub fn application(mut self, app_id: impl Into<String>, access_key: impl Into<String>) -> Self {
        self.app_id = app_id.into();
        self.access_key = access_key.into();
        self
    }

    /// Sets how long the network waits after an uplink before it selects the downlink. With zero, the
    /// downlink is sent before the uplink call returns. Downlinks to a class C device are as far apart;
    /// with zero, they leave at once. Default: 100 ms.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use ttn::{Network, simulator::Simulator};
    /// let builder = Simulator::builder(Network::V3).receive_window(Duration::ZERO);
    /// ```
    pub fn receive_window(mut self, receive_window: Duration) -> Self {
        self.receive_window = receive_window;
        self
    }

    /// Lets the network take as long as the real one, times that factor; 1 is real time. Default: it takes
    /// no time but the [receive window](Self::receive_window), which this replaces.
    ///
    /// | what | with factor 1 |
    /// |---|---|
    /// | an uplink is published | after 200 ms, while copies from other gateways may come |
    /// | the answer to it leaves | 200 ms later |
    /// | a join is published | after 3.8 s; the device sends its next uplink after that |
    /// | the first downlink of a class C device leaves | 0.2 to 2.3 s after it is queued |
    /// | each further one | 1.5 to 2.5 s later |
    ///
    /// [`Device::send`](super::Device::send) and [`Device::join`](super::Device::join) return at once, before
    /// anything is published.
    ///
    /// # Panics
    ///
    /// On V2, and if the factor is not a positive number.
    ///
    /// ```
    /// use std::time::Duration;
    /// # use ttn::{Network, simulator::Simulator};
    /// let network = Simulator::builder(Network::V3).real_delays(0.1).start()?;
    /// network.device("pump-1").uplink(2, [0x01]); // published after 20 ms
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[track_caller]
    pub fn real_delays(mut self, factor: f64) -> Self {
        self.require_v3("real_delays");
        assert!(
            factor.is_finite() && factor > 0.0,
            "{factor} is no factor of delays; use a positive number, 1 for real time"
        );
        self.delays = Some(Delays { factor });
        self
    }

    /// Sets the seed of everything random: device addresses, signal strengths, made-up bytes. Default:
    /// a different one in each run.
    ///
    /// ```
    /// # use ttn::{Network, simulator::Simulator};
    /// let builder = Simulator::builder(Network::V3).seed(7);
    /// ```
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Stops the network's clock at that time, so that with a [`seed`](Self::seed) every run prints the
    /// same messages. Timeouts and receive windows are not affected. A downlink for a later time is
    /// never sent. Default: the time of day.
    ///
    /// ```
    /// # use std::time::{Duration, SystemTime};
    /// # use ttn::{Network, simulator::Simulator};
    /// let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_747_210_897);
    /// let builder = Simulator::builder(Network::V3).seed(7).fixed_time(time);
    /// ```
    pub fn fixed_time(mut self, time: SystemTime) -> Self {
        self.time = Some(time);
        self
    }

    /// Sets the release of The Things Stack whose messages the network prints: from 3.33.1 on with
    /// `last_battery_percentage`, from 3.34.0 on with `attributes`. Default: 3.32.1, which the simulator
    /// was compared with; the hosted networks run a later one.
    ///
    /// # Panics
    ///
    /// On V2, and if it is not three numbers with dots between them.
    ///
    /// ```
    /// # use ttn::{Network, simulator::Simulator};
    /// let builder = Simulator::builder(Network::V3).release("3.36.0");
    /// ```
    #[track_caller]
    pub fn release(mut self, release: &str) -> Self {
        self.require_v3("release");
        let numbers: Vec<u32> = release
            .split('.')
            .map_while(|part| part.parse().ok())
            .collect();
        self.release = numbers.try_into().unwrap_or_else(|_| {
            panic!(
                "{release:?} is not a release of The Things Stack; use three numbers, such as 3.36.0"
            )
        });
        self
    }

    /// Changes how the network behaves from the start.
    ///
    /// # Panics
    ///
    /// If [`Quirks::downlink_queue`] is changed on V2.
    ///
    /// ```
    /// # use ttn::{Network, simulator::Simulator};
    /// let builder = Simulator::builder(Network::V3).quirks(|quirks| quirks.connection_limit = Some(2));
    /// ```
    #[track_caller]
    pub fn quirks(mut self, change: impl FnOnce(&mut Quirks)) -> Self {
        self.quirks.change(self.network, change);
        self
    }

    /// Starts the network.
    ///
    /// # Errors
    ///
    /// If the address cannot be resolved or opened, a thread cannot be started, or a name cannot be in a
    /// certificate.
    ///
    /// ```
    /// # use ttn::{Network, simulator::Simulator};
    /// let network = Simulator::builder(Network::V3).start()?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn start(self) -> io::Result<Simulator> {
        let address = resolved(&self.address)?;
        let http_address = resolved(&self.http_address)?;
        let (security, http_security) = self.securities([address, http_address])?;
        let env = Environment {
            applications: Arc::default(),
            windows: Arc::default(),
            clock: Clock::new(self.time),
            receive_window: match self.delays {
                Some(delays) => delays.receive_window(),
                None => self.receive_window,
            },
            delays: self.delays,
            release: self.release,
            activities: Arc::new(Activities::new(self.activity)),
            history: self.history,
        };
        let random = self.seed.map_or_else(Rng::new, Rng::with_seed);
        let instance = Arc::new(Instance::new(
            self.network,
            self.quirks,
            env,
            random,
            security,
            http_security,
        ));
        let server = instance.server();
        server.add_key(&self.app_id, &self.access_key, Rights::ALL);
        let mut simulator = Simulator {
            app_id: self.app_id,
            access_key: self.access_key,
            address,
            http_address,
            instance,
        };
        (simulator.address, simulator.http_address) =
            simulator.instance.start(address, http_address)?;
        Ok(simulator)
    }

    /// Returns how MQTT and HTTP are secured.
    #[cfg(feature = "tls")]
    fn securities(&self, addresses: [SocketAddr; 2]) -> io::Result<(Security, Security)> {
        if !self.tls && !self.https {
            return Ok((Security::Plain, Security::Plain));
        }
        let listening = addresses.iter().map(SocketAddr::ip);
        let listening = listening.filter(|ip| !ip.is_unspecified());
        let listening = listening.map(|ip| ip.to_string());
        let names = listening.chain(self.certificate_names.iter().cloned());
        let secured = Security::Tls(Arc::new(Authority::new(names)?));
        let security = |on| if on { secured.clone() } else { Security::Plain };
        Ok((security(self.tls), security(self.https)))
    }

    #[cfg(not(feature = "tls"))]
    fn securities(&self, _: [SocketAddr; 2]) -> io::Result<(Security, Security)> {
        Ok((Security::Plain, Security::Plain))
    }
}

/// Returns the first address behind a host and a port.
fn resolved(address: &str) -> io::Result<SocketAddr> {
    let unknown = |error: io::Error| {
        let text = format!("{address:?} is not an address with a port: {error}");
        io::Error::new(error.kind(), text)
    };
    let mut addresses = address.to_socket_addrs().map_err(unknown)?;
    let none = || unknown(io::ErrorKind::AddrNotAvailable.into());
    addresses.next().ok_or_else(none)
}
