//! A network that a simulator and its devices share.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
    thread::JoinHandle,
};

use fastrand::Rng;

use crate::{
    Network,
    process::{Home, start_thread},
    simulator::{
        http::Server,
        listening::join,
        lorawan::{Applications, Environment, NetworkServer, Windows},
        mqtt::{Broker, Policy},
        quirks::Quirks,
        security::Security,
        sync::lock,
        v2::V2,
        v3::V3,
    },
};

pub(super) struct Instance {
    /// Where its threads are.
    home: Home,
    pub(super) network: Network,
    pub(super) broker: Arc<Broker>,
    pub(super) applications: Arc<Applications>,
    windows: Arc<Windows>,
    policy: Arc<dyn Policy>,
    server: Arc<dyn NetworkServer>,
    /// The same server if it is v3, for what only v3 can do.
    v3: Option<Arc<V3>>,
    /// Of v3.
    pub(super) http: Option<Arc<Server>>,
    clock: Mutex<Option<JoinHandle<()>>>,
}

impl Instance {
    pub(super) fn new(
        network: Network,
        quirks: Quirks,
        env: Environment,
        random: Rng,
        security: Security,
        http_security: Security,
    ) -> Self {
        let (activities, history) = (Arc::clone(&env.activities), env.history);
        let told = Arc::clone(&activities);
        let broker = Arc::new(Broker::new(quirks, security, told, history));
        let applications = Arc::clone(&env.applications);
        let windows = Arc::clone(&env.windows);
        let served = Arc::clone(&broker);
        let (policy, server, v3): (Arc<dyn Policy>, Arc<dyn NetworkServer>, _) = match network {
            Network::V2 => {
                let v2 = Arc::new(V2::new(served, env, random));
                (Arc::clone(&v2) as _, v2, None)
            }
            Network::V3 => {
                let v3 = Arc::new(V3::new(served, env, random));
                (Arc::clone(&v3) as _, Arc::clone(&v3) as _, Some(v3))
            }
        };
        let server_of = || Arc::new(Server::new(http_security, activities, history));
        let http = v3.is_some().then(server_of);
        Self {
            home: Home::here(),
            network,
            broker,
            applications,
            windows,
            policy,
            server,
            v3,
            http,
            clock: Mutex::default(),
        }
    }

    /// Starts to listen and returns the addresses for MQTT and HTTP with their actual ports.
    pub(super) fn start(
        self: &Arc<Self>,
        mqtt: SocketAddr,
        http: SocketAddr,
    ) -> io::Result<(SocketAddr, SocketAddr)> {
        let started = self.open(mqtt, http);
        if started.is_err() {
            self.stop();
        }
        started
    }

    fn open(
        self: &Arc<Self>,
        mqtt: SocketAddr,
        http: SocketAddr,
    ) -> io::Result<(SocketAddr, SocketAddr)> {
        let mqtt = self.broker.start(mqtt, Arc::clone(&self.policy))?;
        let http = match (&self.http, &self.v3) {
            (Some(server), Some(v3)) => server.start(http, Arc::clone(v3) as _)?,
            _ => http,
        };
        let instance = Arc::clone(self);
        let clock = start_thread("ttn-sim-clock", move || {
            instance.windows.run(
                |id, key| instance.server.close_window(id, key),
                || instance.act(|server| server.settle()),
            );
        })?;
        *lock(&self.clock) = Some(clock);
        Ok((mqtt, http))
    }

    /// Closes the port and all connections, and joins all threads.
    pub(super) fn stop(&self) {
        if !self.home.is_here() {
            // In a fork, there is nothing to join, and the port belongs to the parent.
            return;
        }
        if let Some(http) = &self.http {
            http.stop();
        }
        self.broker.stop();
        let clock = lock(&self.clock).take();
        if let Some(clock) = clock {
            self.windows.halt();
            join(clock);
        }
    }

    /// Returns the server, to ask for something that posts no messages.
    pub(super) fn server(&self) -> &dyn NetworkServer {
        self.server.as_ref()
    }

    /// Lets the server do something, and delivers the resulting messages.
    pub(super) fn act<T>(&self, action: impl FnOnce(&dyn NetworkServer) -> T) -> T {
        let result = action(self.server.as_ref());
        self.broker.flush();
        result
    }

    /// Lets the server do something that only v3 can do, and delivers the resulting messages.
    ///
    /// # Panics
    ///
    /// On V2.
    #[track_caller]
    pub(super) fn act_on_v3(&self, method: &str, action: impl FnOnce(&V3)) {
        self.require(Network::V3, method);
        if let Some(v3) = &self.v3 {
            action(v3);
            self.broker.flush();
        }
    }

    /// Returns the HTTP server.
    ///
    /// # Panics
    ///
    /// On V2.
    #[track_caller]
    pub(super) fn http(&self, method: &str) -> &Server {
        self.require(Network::V3, method);
        match &self.http {
            Some(server) => server,
            None => unreachable!("v3 has an HTTP server"),
        }
    }

    /// Rejects a method that the network has no equivalent of.
    ///
    /// # Panics
    ///
    /// If it is for another network.
    #[track_caller]
    pub(super) fn require(&self, network: Network, method: &str) {
        let name = |network| match network {
            Network::V2 => "V2",
            Network::V3 => "v3",
        };
        assert!(
            self.network == network,
            "{method} is for {} only, and this network is {}",
            name(network),
            name(self.network)
        );
    }
}
