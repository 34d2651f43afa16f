//! A TCP relay that can disturb the connections through it.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use super::proxy::{Connection, Proxy, lock};
use super::resources::loopback;

/// The direction that a [`Fault`] applies to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From clients to the server.
    ToServer,
    /// From the server to clients.
    ToClients,
}

/// What happens to the bytes of one direction.
///
/// Faults that count bytes do so for each connection, from its start or from the time when the
/// fault was set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fault {
    /// Bytes pass at once.
    #[default]
    Pass,
    /// Bytes are held back while the connection stays open; they pass when the fault is removed.
    Stall,
    /// This many bytes pass; after that it is a [`Stall`](Self::Stall).
    StallAfter(usize),
    /// This many bytes pass, then the connection is cut.
    CutAfter(usize),
    /// This many bytes pass; when more arrive, the connection is reset (RST) and those are not
    /// read. Only for the direction to the server.
    ResetAfter(usize),
    /// `chunk` bytes at a time, with a pause after each.
    Slow { chunk: usize, pause: Duration },
}

/// A TCP relay in front of a server, with faults that can be changed at any time. Dropping it ends
/// every connection.
#[derive(Debug)]
pub struct Relay {
    proxy: Proxy,
    faults: Arc<Faults>,
}

impl Relay {
    /// Listens on its own address and port and passes everything on to `server`.
    pub fn start(server: SocketAddr) -> io::Result<Self> {
        Self::start_at(loopback(), server)
    }

    /// Does the same as [`start`](Self::start), on a free port of this address.
    pub fn start_at(host: Ipv4Addr, server: SocketAddr) -> io::Result<Self> {
        let faults = Arc::new(Faults::default());
        let serving = Arc::clone(&faults);
        let proxy = Proxy::start("relay", host, server, move |connection| {
            thread::scope(|scope| {
                scope.spawn(|| serving.pump(Way::ToServer, connection));
                serving.pump(Way::ToClients, connection);
            });
        })?;
        Ok(Self { proxy, faults })
    }

    /// Returns the address for clients.
    pub fn address(&self) -> SocketAddr {
        self.proxy.address()
    }

    /// Returns the port of [`address`](Self::address).
    pub fn port(&self) -> u16 {
        self.address().port()
    }

    /// Sets what happens to the bytes of one direction, on open and on later connections.
    pub fn set(&self, way: Way, fault: Fault) {
        self.faults.set(way, fault);
    }

    /// Holds back everything in both directions: a half-open connection.
    pub fn stall(&self) {
        self.set(Way::ToServer, Fault::Stall);
        self.set(Way::ToClients, Fault::Stall);
    }

    /// Lets everything pass again, beginning with what was held back.
    pub fn pass(&self) {
        self.set(Way::ToServer, Fault::Pass);
        self.set(Way::ToClients, Fault::Pass);
    }

    /// Cuts the connections that are open now.
    pub fn cut(&self) {
        self.proxy.cut();
        self.faults.wake();
    }

    /// Closes the port, so that new connections are refused; open ones stay.
    pub fn refuse(&self) {
        self.proxy.refuse();
    }

    /// Opens the same port again after [`refuse`](Self::refuse).
    pub fn listen(&self) -> io::Result<()> {
        self.proxy.listen()
    }

    /// Sets whether new connections are accepted and closed at once.
    pub fn reject(&self, rejecting: bool) {
        self.proxy.reject(rejecting);
    }

    /// Sends every client bytes that the server never sent; returns the number of clients.
    pub fn inject(&self, bytes: &[u8]) -> usize {
        self.proxy
            .connections()
            .iter()
            .filter(|connection| (&connection.client).write_all(bytes).is_ok())
            .count()
    }

    /// Returns the number of open connections.
    pub fn connections(&self) -> usize {
        self.proxy.connections().len()
    }

    /// Returns the number of connections accepted so far, including rejected ones.
    pub fn accepted(&self) -> usize {
        self.proxy.accepted()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.proxy.close();
        self.faults.wake();
    }
}

#[derive(Debug, Default)]
struct Faults {
    settings: Mutex<[Setting; 2]>,
    changed: Condvar,
}

#[derive(Clone, Copy, Debug, Default)]
struct Setting {
    fault: Fault,
    version: u64,
}

/// The bytes that one direction of a connection has passed since its setting changed.
#[derive(Default)]
struct Progress {
    version: u64,
    passed: usize,
}

impl Progress {
    /// Restarts the count if the setting has changed.
    fn follow(&mut self, version: u64) {
        if self.version != version {
            *self = Self { version, passed: 0 };
        }
    }
}

impl Faults {
    fn set(&self, way: Way, fault: Fault) {
        let setting = &mut lock(&self.settings)[way as usize];
        setting.fault = fault;
        setting.version += 1;
        self.changed.notify_all();
    }

    /// Makes every waiting pump check whether its connection was cut.
    fn wake(&self) {
        let _settings = lock(&self.settings);
        self.changed.notify_all();
    }

    fn pump(&self, way: Way, connection: &Connection) {
        let (mut from, to) = match way {
            Way::ToServer => (&connection.client, &connection.server),
            Way::ToClients => (&connection.server, &connection.client),
        };
        let mut buffer = [0; 16 * 1024];
        let mut progress = Progress::default();
        loop {
            // Waits without consuming anything.
            let end = !matches!(from.peek(&mut buffer[..1]), Ok(1));
            let limit = match self.fault(way, &mut progress) {
                Fault::ResetAfter(limit) if !end && limit <= progress.passed => {
                    connection.reset();
                    break;
                }
                Fault::ResetAfter(limit) => buffer.len().min(limit.saturating_sub(progress.passed)),
                _ => buffer.len(),
            };
            let length = from.read(&mut buffer[..limit]).unwrap_or(0);
            let passed = self.forward(way, connection, to, &buffer[..length], &mut progress);
            if length == 0 || !passed {
                break;
            }
        }
        connection.cut();
        self.wake();
    }

    /// Forwards bytes; no bytes stand for the end of the stream, which a stall also holds back.
    fn forward(
        &self,
        way: Way,
        connection: &Connection,
        mut to: &TcpStream,
        mut bytes: &[u8],
        progress: &mut Progress,
    ) -> bool {
        loop {
            let Some(fault) = self.await_leave(way, connection, progress) else {
                return false;
            };
            let allowed = match fault {
                Fault::StallAfter(limit) | Fault::CutAfter(limit) => limit - progress.passed,
                Fault::Slow { chunk, .. } => chunk.max(1),
                Fault::Pass | Fault::Stall | Fault::ResetAfter(_) => usize::MAX,
            };
            let (now, later) = bytes.split_at(allowed.min(bytes.len()));
            if to.write_all(now).is_err() {
                return false;
            }
            progress.passed += now.len();
            if fault == Fault::CutAfter(progress.passed) {
                return false;
            }
            if let Fault::Slow { pause, .. } = fault {
                self.linger(way, connection, progress.version, pause);
            }
            bytes = later;
            if bytes.is_empty() {
                return true;
            }
        }
    }

    fn fault(&self, way: Way, progress: &mut Progress) -> Fault {
        let Setting { fault, version } = lock(&self.settings)[way as usize];
        progress.follow(version);
        fault
    }

    /// Waits while the direction is stalled; returns the fault that says how much may pass now, or
    /// `None` if nothing may pass any longer.
    fn await_leave(
        &self,
        way: Way,
        connection: &Connection,
        progress: &mut Progress,
    ) -> Option<Fault> {
        let mut settings = lock(&self.settings);
        while !connection.is_cut() {
            let Setting { fault, version } = settings[way as usize];
            progress.follow(version);
            match fault {
                Fault::CutAfter(limit) if limit <= progress.passed => return None,
                Fault::StallAfter(limit) if limit <= progress.passed => {}
                Fault::Stall => {}
                _ => return Some(fault),
            }
            settings = self
                .changed
                .wait(settings)
                .unwrap_or_else(PoisonError::into_inner);
        }
        None
    }

    fn linger(&self, way: Way, connection: &Connection, version: u64, pause: Duration) {
        let unchanged = |settings: &mut [Setting; 2]| {
            !connection.is_cut() && settings[way as usize].version == version
        };
        let _ = self
            .changed
            .wait_timeout_while(lock(&self.settings), pause, unchanged);
    }
}
