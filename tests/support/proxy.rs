//! The common part of [`Relay`](super::relay::Relay) and [`TlsFront`](super::tls_front::TlsFront).

use std::fmt;
use std::io;
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::resources::{pause, wait_until, wait_until_refused};

const RETRY: Duration = Duration::from_millis(10);
const UPSTREAM: Duration = Duration::from_secs(5);
const REOPENING: Duration = Duration::from_secs(10);

/// A client's connection, and the connection to the server that was opened for it.
#[derive(Debug)]
pub struct Connection {
    pub client: TcpStream,
    pub server: TcpStream,
    cut: AtomicBool,
    resetting: AtomicBool,
}

impl Connection {
    /// Ends both halves, so that threads that read or write them return.
    pub fn cut(&self) {
        self.cut.store(true, Ordering::SeqCst);
        if !self.resetting.load(Ordering::SeqCst) {
            let _ = self.client.shutdown(Shutdown::Both);
        }
        let _ = self.server.shutdown(Shutdown::Both);
    }

    /// Does the same, but leaves the client's half for the last owner to close. If it contains
    /// unread bytes, that sends a reset instead of an orderly end.
    pub fn reset(&self) {
        self.resetting.store(true, Ordering::SeqCst);
        self.cut();
    }

    pub fn is_cut(&self) -> bool {
        self.cut.load(Ordering::SeqCst)
    }
}

/// Accepts on its own port and serves each connection on its own thread; joins them all on drop.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    listener: Mutex<Option<Listener>>,
    shared: Arc<Shared>,
}

struct Shared {
    name: &'static str,
    upstream: SocketAddr,
    serve: Box<dyn Fn(&Connection) + Send + Sync>,
    accepted: AtomicUsize,
    rejecting: AtomicBool,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    connections: Vec<Arc<Connection>>,
    threads: Vec<JoinHandle<()>>,
    closed: bool,
}

impl fmt::Debug for Shared {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct(self.name)
            .field("upstream", &self.upstream)
            .field("accepted", &self.accepted)
            .finish_non_exhaustive()
    }
}

impl Proxy {
    pub fn start(
        name: &'static str,
        host: impl Into<IpAddr>,
        upstream: SocketAddr,
        serve: impl Fn(&Connection) + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind((host.into(), 0))?;
        let shared = Arc::new(Shared {
            name,
            upstream,
            serve: Box::new(serve),
            accepted: AtomicUsize::new(0),
            rejecting: AtomicBool::new(false),
            open: Mutex::default(),
        });
        Ok(Self {
            address: listener.local_addr()?,
            listener: Mutex::new(Some(Listener::start(listener, &shared)?)),
            shared,
        })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn accepted(&self) -> usize {
        self.shared.accepted.load(Ordering::SeqCst)
    }

    pub fn connections(&self) -> Vec<Arc<Connection>> {
        lock(&self.shared.open).connections.clone()
    }

    pub fn reject(&self, rejecting: bool) {
        self.shared.rejecting.store(rejecting, Ordering::SeqCst);
    }

    /// Closes the listening socket; open connections stay. Returns once new ones are refused.
    pub fn refuse(&self) {
        lock(&self.listener).take();
        wait_until_refused(self.address);
    }

    /// Listens on the same port again.
    pub fn listen(&self) -> io::Result<()> {
        let mut listener = lock(&self.listener);
        if listener.is_none() {
            let mut socket = TcpListener::bind(self.address);
            // A child process that another test starts holds the closed socket until it executes
            // its own program.
            wait_until(REOPENING, || {
                let is_held = |error: &io::Error| error.kind() == io::ErrorKind::AddrInUse;
                if socket.as_ref().is_err_and(is_held) {
                    socket = TcpListener::bind(self.address);
                }
                !socket.as_ref().is_err_and(is_held)
            });
            *listener = Some(Listener::start(socket?, &self.shared)?);
        }
        Ok(())
    }

    pub fn cut(&self) {
        for connection in self.connections() {
            connection.cut();
        }
    }

    /// Ends everything permanently without waiting.
    pub fn close(&self) {
        self.refuse();
        lock(&self.shared.open).closed = true;
        self.cut();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.close();
        let threads = std::mem::take(&mut lock(&self.shared.open).threads);
        for thread in threads {
            let _ = thread.join();
        }
    }
}

#[derive(Debug)]
struct Listener {
    address: SocketAddr,
    stopping: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Listener {
    fn start(socket: TcpListener, shared: &Arc<Shared>) -> io::Result<Self> {
        let address = socket.local_addr()?;
        let stopping = Arc::new(AtomicBool::new(false));
        let (shared, stop) = (Arc::clone(shared), Arc::clone(&stopping));
        let thread = thread::Builder::new()
            .name(shared.name.to_owned())
            .spawn(move || {
                for client in socket.incoming() {
                    if stop.load(Ordering::SeqCst) {
                        break;
                    }
                    let Ok(client) = client else {
                        // Probably too many open files; that passes.
                        pause(RETRY);
                        continue;
                    };
                    shared.accepted.fetch_add(1, Ordering::SeqCst);
                    if !shared.rejecting.load(Ordering::SeqCst) {
                        serve(&shared, client);
                    }
                }
            })?;
        Ok(Self {
            address,
            stopping,
            thread: Some(thread),
        })
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::SeqCst);
        // Unblocks the thread in `accept`.
        let _ = TcpStream::connect_timeout(&self.address, UPSTREAM);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn serve(shared: &Arc<Shared>, client: TcpStream) {
    let serving = Arc::clone(shared);
    let thread = thread::Builder::new()
        .name(shared.name.to_owned())
        .spawn(move || {
            let Ok(connection) = open(&serving, client) else {
                return;
            };
            (serving.serve)(&connection);
            connection.cut();
            lock(&serving.open)
                .connections
                .retain(|other| !Arc::ptr_eq(other, &connection));
        });
    let mut open = lock(&shared.open);
    open.threads.retain(|thread| !thread.is_finished());
    open.threads.extend(thread);
}

fn open(shared: &Shared, client: TcpStream) -> io::Result<Arc<Connection>> {
    let server = TcpStream::connect_timeout(&shared.upstream, UPSTREAM)?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let connection = Arc::new(Connection {
        client,
        server,
        cut: AtomicBool::new(false),
        resetting: AtomicBool::new(false),
    });
    let mut open = lock(&shared.open);
    if open.closed {
        connection.cut();
    }
    open.connections.push(Arc::clone(&connection));
    Ok(connection)
}

pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
