//! Settings of a network before it starts.

use std::io;
use std::net::ToSocketAddrs;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use fastrand::Rng;

use super::broker::{Broker, Policy};
use super::clock::Clock;
use super::device::{Handler, Rights};
use super::quirks::Quirks;
use super::v2::V2;
use super::v3::V3;
use super::{Network, Simulator};

/// Settings of a network before it starts; made by [`Simulator::builder`].
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
#[must_use = "nothing runs before start"]
pub struct SimulatorBuilder {
    network: Network,
    address: String,
    app_id: String,
    access_key: String,
    receive_window: Duration,
    seed: Option<u64>,
    time: Option<SystemTime>,
    quirks: Quirks,
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
            app_id: String::from(app_id),
            access_key: String::from(access_key),
            receive_window: Duration::from_millis(100),
            seed: None,
            time: None,
            quirks: Quirks::default(),
        }
    }

    /// Host and port to listen on, port 0 for a free one. Default `127.0.0.1:0`.
    ///
    /// ```
    /// # use ttn::{Network, simulator::Simulator};
    /// let builder = Simulator::builder(Network::V3).address("127.0.0.1:1883");
    /// ```
    pub fn address(mut self, address: impl Into<String>) -> Self {
        self.address = address.into();
        self
    }

    /// Id and access key of the first application. Default: those of [`Simulator::start`]; what
    /// they have to look like is said at [`Simulator::add_application`].
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

    /// How long the network waits after an uplink before it picks the downlink. Default 100 ms.
    /// With zero the downlink is sent before the uplink call returns.
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

    /// Seed of everything random: device addresses, signal strengths, made-up bytes. Default:
    /// another one in each run.
    ///
    /// ```
    /// # use ttn::{Network, simulator::Simulator};
    /// let builder = Simulator::builder(Network::V3).seed(7);
    /// ```
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Makes the network's clock stand still at that time, so that with a [`seed`](Self::seed) runs
    /// print the same messages. Timeouts and receive windows are not affected; a downlink for a later
    /// time is never sent. Default: the time of day.
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

    /// Changes how the network behaves from the start.
    ///
    /// ```
    /// # use ttn::{Network, simulator::Simulator};
    /// let builder = Simulator::builder(Network::V3).quirks(|quirks| quirks.connection_limit = Some(2));
    /// ```
    pub fn quirks(mut self, change: impl FnOnce(&mut Quirks)) -> Self {
        change(&mut self.quirks);
        self
    }

    /// Starts the network.
    ///
    /// # Errors
    ///
    /// When the address cannot be resolved or opened, or a thread cannot be started.
    ///
    /// ```
    /// # use ttn::{Network, simulator::Simulator};
    /// let network = Simulator::builder(Network::V3).start()?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn start(self) -> io::Result<Simulator> {
        let address = self
            .address
            .to_socket_addrs()?
            .next()
            .ok_or_else(|| io::Error::from(io::ErrorKind::AddrNotAvailable))?;
        let broker = Arc::new(Broker::new(self.quirks));
        let random = self.seed.map_or_else(Rng::new, Rng::with_seed);
        let (clock, window) = (Clock::new(self.time), self.receive_window);
        let served = Arc::clone(&broker);
        let (policy, handler): (Arc<dyn Policy>, Arc<dyn Handler>) = match self.network {
            Network::V2 => {
                let v2 = Arc::new(V2::new(served, clock, window, random));
                (Arc::clone(&v2) as _, v2)
            }
            Network::V3 => {
                let v3 = Arc::new(V3::new(served, clock, window, random));
                (Arc::clone(&v3) as _, v3)
            }
        };
        handler.add_key(&self.app_id, &self.access_key, Rights::ALL);
        let mut simulator = Simulator {
            network: self.network,
            app_id: self.app_id,
            access_key: self.access_key,
            address,
            broker,
            policy,
            handler,
            clock: Mutex::default(),
        };
        simulator.address = simulator.open()?;
        Ok(simulator)
    }
}
