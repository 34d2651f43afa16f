//! A port that a thread of its own accepts connections on.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream},
    thread::{self, JoinHandle},
    time::Duration,
};

use crossbeam_channel::{Receiver, RecvTimeoutError};

use crate::process::start_thread;

pub(super) struct Listening {
    pub(super) address: SocketAddr,
    thread: JoinHandle<()>,
    ended: Receiver<()>,
}

impl Listening {
    /// Opens the port and lets a thread accept. The function is called once; it has to return when
    /// the next connection comes after it was told to.
    pub(super) fn start(
        thread: &str,
        address: SocketAddr,
        accept: impl FnOnce(&TcpListener) + Send + 'static,
    ) -> io::Result<Self> {
        let refused = |error: io::Error| {
            io::Error::new(error.kind(), format!("cannot listen on {address}: {error}"))
        };
        let listener = TcpListener::bind(address).map_err(refused)?;
        let address = listener.local_addr()?;
        let (ending, ended) = crossbeam_channel::bounded(0);
        let thread = start_thread(thread, move || {
            accept(&listener);
            drop(listener);
            drop(ending);
        })?;
        Ok(Self {
            address,
            thread,
            ended,
        })
    }

    /// Wakes the thread, which was told to return, and joins it.
    pub(super) fn stop(self) {
        let address = reachable(self.address);
        loop {
            let _ = TcpStream::connect_timeout(&address, Duration::from_millis(100));
            let ended = self.ended.recv_timeout(Duration::from_millis(50));
            if ended == Err(RecvTimeoutError::Disconnected) {
                break;
            }
        }
        join(self.thread);
    }
}

/// Joins a thread unless it is the current one.
pub(super) fn join(thread: JoinHandle<()>) {
    if thread.thread().id() != thread::current().id() {
        let _ = thread.join();
    }
}

/// Returns where to connect to a listener; for one on all interfaces, the loopback address.
pub(super) fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        ip if !ip.is_unspecified() => ip,
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
    };
    SocketAddr::new(ip, address.port())
}
