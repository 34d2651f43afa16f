//! The server: its port, its connections, and what it was asked.

use std::{
    collections::BTreeMap,
    io,
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Condvar, Mutex},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use super::{HttpFault, HttpRequest, Service, connection, fault::Faults};
use crate::{
    process::start_thread,
    simulator::{
        activity::{Activities, Activity},
        history::History,
        listening::{Listening, join},
        security::Security,
        sync::{deadline, lock, wait_until},
    },
};

/// Accepts connections and answers requests.
pub(crate) struct Server {
    pub(crate) security: Security,
    activities: Arc<Activities>,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    listener: Option<Listening>,
    stopping: bool,
    next_connection: u64,
    connections: BTreeMap<u64, Arc<TcpStream>>,
    threads: Vec<JoinHandle<()>>,
    requests: History<HttpRequest>,
    faults: Faults,
}

impl Server {
    /// Creates a server that keeps this number of requests.
    pub(crate) fn new(security: Security, activities: Arc<Activities>, history: usize) -> Self {
        Self {
            security,
            activities,
            state: Mutex::new(State {
                listener: None,
                stopping: false,
                next_connection: 0,
                connections: BTreeMap::new(),
                threads: Vec::new(),
                requests: History::new(history),
                faults: Faults::default(),
            }),
            changed: Condvar::new(),
        }
    }

    /// Starts to listen and returns the address with the actual port.
    pub(crate) fn start(
        self: &Arc<Self>,
        address: SocketAddr,
        service: Arc<dyn Service>,
    ) -> io::Result<SocketAddr> {
        lock(&self.state).stopping = false;
        let server = Arc::clone(self);
        let listener = Listening::start("ttn-sim-http", address, move |listener| {
            server.accept(listener, &service);
        })?;
        let address = listener.address;
        lock(&self.state).listener = Some(listener);
        Ok(address)
    }

    /// Closes the port and all connections, and joins all threads.
    pub(crate) fn stop(&self) {
        let listener = {
            let mut state = lock(&self.state);
            state.stopping = true;
            state.listener.take()
        };
        self.changed.notify_all();
        if let Some(listener) = listener {
            listener.stop();
        }
        let threads = {
            let mut state = lock(&self.state);
            for stream in state.connections.values() {
                let _ = stream.shutdown(Shutdown::Both);
            }
            std::mem::take(&mut state.threads)
        };
        threads.into_iter().for_each(join);
    }

    fn accept(self: &Arc<Self>, listener: &TcpListener, service: &Arc<dyn Service>) {
        loop {
            let accepted = listener.accept();
            let state = lock(&self.state);
            if state.stopping {
                return;
            }
            match accepted {
                Ok((stream, _)) => {
                    drop(state);
                    self.admit(stream, Arc::clone(service));
                }
                Err(error) => {
                    log::warn!("cannot accept an HTTP connection: {error}");
                    let pause = Instant::now() + Duration::from_millis(50);
                    drop(wait_until(&self.changed, state, pause));
                }
            }
        }
    }

    fn admit(self: &Arc<Self>, stream: TcpStream, service: Arc<dyn Service>) {
        let stream = Arc::new(stream);
        let mut state = lock(&self.state);
        let id = state.next_connection;
        state.next_connection += 1;
        let server = Arc::clone(self);
        let served = Arc::clone(&stream);
        let started = start_thread("ttn-sim-request", move || {
            connection::serve(&server, Arc::clone(&served), service.as_ref());
            let _ = served.shutdown(Shutdown::Both);
            lock(&server.state).connections.remove(&id);
        });
        match started {
            Ok(thread) => {
                state.threads.retain(|thread| !thread.is_finished());
                state.threads.push(thread);
                state.connections.insert(id, stream);
            }
            Err(error) => log::warn!("cannot serve an HTTP connection: {error}"),
        }
    }

    /// Takes note of a request and returns the fault that it meets.
    pub(super) fn take_note(&self, request: HttpRequest) -> Option<HttpFault> {
        self.activities
            .tell(|| Activity::Requested(request.clone()));
        let mut state = lock(&self.state);
        let fault = state.faults.of(&request.path);
        state.requests.push(request);
        self.changed.notify_all();
        fault
    }

    /// Waits that long, or until the server stops; returns whether it goes on.
    pub(super) fn pause(&self, pause: Duration) -> bool {
        let until = deadline(pause);
        let mut state = lock(&self.state);
        while !state.stopping && Instant::now() < until {
            state = wait_until(&self.changed, state, until);
        }
        !state.stopping
    }

    pub(crate) fn requests(&self) -> Vec<HttpRequest> {
        lock(&self.state).requests.kept()
    }

    pub(crate) fn wait_for_requests(&self, count: usize, timeout: Duration) -> bool {
        let until = deadline(timeout);
        let mut state = lock(&self.state);
        while state.requests.count() < count {
            if Instant::now() >= until {
                return false;
            }
            state = wait_until(&self.changed, state, until);
        }
        true
    }

    pub(crate) fn set_fault(&self, fault: Option<HttpFault>) {
        lock(&self.state).faults.set(fault);
    }

    pub(crate) fn set_next_faults(&self, path: &str, faults: impl IntoIterator<Item = HttpFault>) {
        lock(&self.state).faults.set_next(path, faults);
    }

    pub(crate) fn set_fault_on(&self, path: &str, fault: Option<HttpFault>) {
        lock(&self.state).faults.set_on(path, fault);
    }
}
