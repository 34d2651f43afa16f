//! One connection to a server, with or without TLS. Nothing here blocks.

use std::{
    fmt,
    io::{self, Read, Write},
    net::Shutdown,
    sync::{
        Arc, Mutex, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use mio::net::TcpStream;
use socket2::{SockRef, TcpKeepalive};

use super::{probe::Security, tls::Tls, waiter::Waiter};
use crate::{
    error::{Error, ErrorKind},
    process::Home,
    sync,
};

/// How long a connection may be silent before the system probes the other side.
const TCP_KEEP_ALIVE: Duration = Duration::from_secs(60);

/// Small, because a ping waits behind everything in the kernel's buffer.
const SEND_BUFFER: usize = 128 << 10;

/// What all lines of a client share: the bytes on them, including TLS and the exchange with a proxy, and
/// their sockets.
#[derive(Debug)]
pub(crate) struct Traffic {
    /// Where the threads are that use the lines.
    home: Home,
    received: AtomicU64,
    sent: AtomicU64,
    sockets: Mutex<Vec<Weak<Socket>>>,
}

/// A socket that a fork of the process can close its copy of.
type Socket = Mutex<Option<TcpStream>>;

impl Default for Traffic {
    fn default() -> Self {
        Self {
            home: Home::here(),
            received: AtomicU64::default(),
            sent: AtomicU64::default(),
            sockets: Mutex::default(),
        }
    }
}

impl Traffic {
    /// Closes this process's copies of the sockets, in a fork. The lines of the parent are not affected,
    /// and end with it. A socket that the parent was reading or writing at the moment of the fork stays.
    pub(crate) fn close_copies(&self) {
        if self.home.is_here() {
            return;
        }
        let sockets = self.home.lock(&self.sockets);
        let sockets = sockets.map(|sockets| sockets.iter().filter_map(Weak::upgrade).collect());
        let sockets: Vec<_> = sockets.unwrap_or_default();
        for socket in sockets {
            if let Some(mut socket) = self.home.lock(&socket) {
                drop(socket.take());
            }
        }
    }

    fn add(&self, socket: &Arc<Socket>) {
        let mut sockets = sync::lock(&self.sockets);
        sockets.retain(|socket| socket.strong_count() > 0);
        sockets.push(Arc::downgrade(socket));
    }

    pub(crate) fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    pub(crate) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }
}

/// A socket that counts its bytes.
#[derive(Debug)]
struct Counted {
    socket: Arc<Socket>,
    traffic: Arc<Traffic>,
}

impl Counted {
    /// Does something with the stream, which is there except in a fork.
    fn with<T>(&self, action: impl FnOnce(&mut TcpStream) -> io::Result<T>) -> io::Result<T> {
        match &mut *sync::lock(&self.socket) {
            Some(stream) => action(stream),
            None => Err(io::ErrorKind::NotConnected.into()),
        }
    }
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.with(|stream| uninterrupted(|| stream.read(buffer)))?;
        let received = &self.traffic.received;
        received.fetch_add(length as u64, Ordering::Relaxed);
        Ok(length)
    }
}

impl Write for Counted {
    // Not vectored: on Linux only a plain write keeps SIGPIPE away, which ends the process unless it is
    // ignored.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = self.with(|stream| uninterrupted(|| stream.write(bytes)))?;
        self.traffic
            .sent
            .fetch_add(length as u64, Ordering::Relaxed);
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Repeats an operation for as long as a signal interrupts it.
pub(super) fn uninterrupted<T>(mut operation: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match operation() {
            Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// The connection.
pub(super) struct Line {
    socket: Counted,
    tls: Option<Tls>,
}

impl Line {
    /// Takes over a connected socket.
    pub(super) fn new(stream: TcpStream, traffic: Arc<Traffic>) -> Self {
        let socket = SockRef::from(&stream);
        let keep_alive = TcpKeepalive::new().with_time(TCP_KEEP_ALIVE);
        // All three are improvements; the line works on a system without them.
        let _ = socket.set_tcp_nodelay(true);
        let _ = socket.set_tcp_keepalive(&keep_alive);
        let _ = socket.set_send_buffer_size(SEND_BUFFER);
        let socket = Arc::new(Mutex::new(Some(stream)));
        traffic.add(&socket);
        Self {
            socket: Counted { socket, traffic },
            tls: None,
        }
    }

    /// Changes the token with which a waiter watches the socket.
    pub(super) fn rename(&self, waiter: &Waiter, token: usize) -> io::Result<()> {
        self.socket.with(|stream| waiter.rename(stream, token))
    }

    pub(super) fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// Returns what TLS has agreed on; `None` without TLS.
    pub(super) fn security(&self) -> Option<Security> {
        self.tls.as_ref().map(Tls::security)
    }

    /// Starts to encrypt.
    pub(super) fn put_on(&mut self, tls: Tls) {
        self.tls = Some(tls);
    }

    /// Continues the TLS handshake as far as the socket allows. Returns whether it is complete.
    pub(super) fn handshake(&mut self) -> io::Result<bool> {
        match &mut self.tls {
            Some(tls) => tls.handshake(&mut self.socket),
            None => Ok(true),
        }
    }

    /// Reads some bytes; none at the end of the stream.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.tls {
            Some(tls) => tls.read(&mut self.socket, buffer),
            None => self.socket.read(buffer),
        }
    }

    /// Writes some of the bytes. Returns how many.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.tls {
            Some(tls) => tls.write(&mut self.socket, bytes),
            None => self.socket.write(bytes),
        }
    }

    /// Returns whether bytes that were accepted are still to be sent.
    pub(super) fn wants_flush(&self) -> bool {
        self.tls.as_ref().is_some_and(Tls::wants_write)
    }

    pub(super) fn flush(&mut self) -> io::Result<()> {
        match &mut self.tls {
            Some(tls) => tls.flush(&mut self.socket),
            None => Ok(()),
        }
    }

    /// Announces that nothing more will be written, as far as the socket allows. The other side may
    /// still write.
    pub(super) fn close_writing(&mut self) -> io::Result<()> {
        if let Some(tls) = &mut self.tls {
            tls.close_notify();
            tls.flush(&mut self.socket)?;
        }
        self.socket.with(|stream| stream.shutdown(Shutdown::Write))
    }

    /// Ends the connection, even if others hold a copy of the socket.
    pub(super) fn end(&mut self) {
        // Fails if it has already ended.
        let _ = self.socket.with(|stream| stream.shutdown(Shutdown::Both));
    }

    /// Acknowledges received bytes at once. A server that uses Nagle's algorithm withholds its answer
    /// until then, otherwise for 40 ms. The system forgets this setting after a few packets.
    pub(super) fn acknowledge_at_once(&self) {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        let _ = self
            .socket
            .with(|stream| SockRef::from(&*stream).set_tcp_quickack(true));
    }

    /// Returns whether the server asked for a client certificate and received none.
    pub(super) fn lacks_client_certificate(&self) -> bool {
        self.tls.as_ref().is_some_and(Tls::lacks_client_certificate)
    }

    /// Turns the cause of a failure into an error that names `server`.
    pub(super) fn explain(&self, server: &dyn fmt::Display, cause: io::Error) -> Error {
        match &self.tls {
            Some(tls) => tls.explain(server, &cause),
            None => {
                let kind = ErrorKind::of_io(&cause).unwrap_or(ErrorKind::ConnectionLost);
                let what = match kind {
                    ErrorKind::ConnectionLost => "was reset",
                    _ => "failed",
                };
                let context = format!("the connection to {server} {what} ({cause})");
                Error::with_source(kind, context, cause)
            }
        }
    }
}
