//! A server that answers with recorded bytes, and keeps all that it receives.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::proxy::lock;

const LONG: Duration = Duration::from_secs(10);

/// Serves one connection after the other on a free port of the loopback: reads a head, writes the
/// answer, closes.
#[derive(Debug)]
pub struct Recorded {
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    answer: Vec<u8>,
    stopping: AtomicBool,
    received: Mutex<Vec<String>>,
}

impl Recorded {
    pub fn start(answer: impl Into<Vec<u8>>) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            answer: answer.into(),
            stopping: AtomicBool::new(false),
            received: Mutex::default(),
        });
        let serving = Arc::clone(&shared);
        let thread = thread::Builder::new()
            .name("recorded".to_owned())
            .spawn(move || serving.run(&listener))?;
        Ok(Self {
            address,
            shared,
            thread: Some(thread),
        })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Returns what each connection has sent, oldest first.
    pub fn received(&self) -> Vec<String> {
        lock(&self.shared.received).clone()
    }
}

impl Drop for Recorded {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        // Unblocks the thread in `accept`.
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn run(&self, listener: &TcpListener) {
        for stream in listener.incoming() {
            if self.stopping.load(Ordering::SeqCst) {
                return;
            }
            // A client may be gone before it is answered.
            let _ = stream.and_then(|stream| self.serve(stream));
        }
    }

    fn serve(&self, mut stream: TcpStream) -> io::Result<()> {
        stream.set_read_timeout(Some(LONG))?;
        let mut head = Vec::new();
        let mut part = [0; 4096];
        while !head.windows(4).any(|end| end == b"\r\n\r\n") {
            match stream.read(&mut part) {
                Ok(0) | Err(_) => break,
                Ok(length) => head.extend_from_slice(&part[..length]),
            }
        }
        lock(&self.received).push(String::from_utf8_lossy(&head).into_owned());
        stream.write_all(&self.answer)
    }
}
