//! An HTTP server that answers as a test tells it to.

use std::fmt;
use std::io::{self, Cursor, Read};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tiny_http::{Header, Request, Response, Server, StatusCode};

use super::proxy::lock;

const ENDING: Duration = Duration::from_secs(5);

/// The answer of a [`DiscoveryServer`] to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// A status and a body of type `application/json`.
    Json(u16, String),
    /// A status and a body of type `text/plain`.
    Text(u16, String),
    /// A status and the address to redirect to.
    Redirect(u16, String),
    /// Nothing; the connection stays open until the server is dropped.
    Hang,
    /// An endless list of announcements, `{"services":[{...},`.
    EndlessList,
}

/// A request that a [`DiscoveryServer`] received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Path and query.
    pub path: String,
    /// The `Authorization` header.
    pub authorization: Option<String>,
}

/// An HTTP server on a free port of the loopback. Dropping it ends the requests in progress.
///
/// `tiny_http` keeps its own idle threads for about five more seconds, and one thread for each
/// connection that a client holds open: next to it, count threads by their names.
#[derive(Debug)]
pub struct DiscoveryServer {
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    ended: Receiver<()>,
}

impl DiscoveryServer {
    /// Starts a server that answers each request with the result of `handler` for its path and
    /// query.
    pub fn start(handler: impl Fn(&str) -> Answer + Send + Sync + 'static) -> io::Result<Self> {
        let server = Server::http((Ipv4Addr::LOCALHOST, 0)).map_err(io::Error::other)?;
        let address = server
            .server_addr()
            .to_ip()
            .ok_or(io::ErrorKind::AddrNotAvailable)?;
        let shared = Arc::new(Shared {
            server,
            stopping: AtomicBool::new(false),
            seen: Mutex::default(),
            held: Mutex::default(),
        });
        let (alive, ended) = mpsc::channel::<()>();
        let serving = Arc::clone(&shared);
        let thread = thread::Builder::new()
            .name("discovery-server".to_owned())
            .spawn(move || {
                let _alive = alive;
                serving.run(&handler);
            })?;
        Ok(Self {
            address,
            shared,
            thread: Some(thread),
            ended,
        })
    }

    /// Returns the address that the server listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Returns the requests so far, oldest first.
    pub fn requests(&self) -> Vec<Seen> {
        lock(&self.shared.seen).clone()
    }

    /// Returns the paths of [`requests`](Self::requests).
    pub fn paths(&self) -> Vec<String> {
        self.requests().into_iter().map(|seen| seen.path).collect()
    }
}

impl Drop for DiscoveryServer {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        self.shared.server.unblock();
        // A client that neither reads an endless list nor closes could hold a thread forever:
        // abandon that thread.
        let ended = self.ended.recv_timeout(ENDING) != Err(RecvTimeoutError::Timeout);
        if let Some(thread) = self.thread.take().filter(|_| ended) {
            let _ = thread.join();
        }
    }
}

struct Shared {
    server: Server,
    stopping: AtomicBool,
    seen: Mutex<Vec<Seen>>,
    held: Mutex<Vec<Request>>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Shared")
            .field("stopping", &self.stopping)
            .field("seen", &self.seen)
            .finish_non_exhaustive()
    }
}

impl Shared {
    fn run(&self, handler: &(impl Fn(&str) -> Answer + Sync)) {
        thread::scope(|scope| {
            while !self.stopping.load(Ordering::SeqCst) {
                let Ok(request) = self.server.recv() else {
                    break;
                };
                let authorization = request
                    .headers()
                    .iter()
                    .find(|header| header.field.equiv("Authorization"))
                    .map(|header| header.value.to_string());
                let path = request.url().to_owned();
                lock(&self.seen).push(Seen {
                    path: path.clone(),
                    authorization,
                });
                scope.spawn(move || self.answer(request, handler(&path)));
            }
            // An abandoned request is answered with 500, which ends the wait of its client.
            lock(&self.held).clear();
        });
    }

    fn answer(&self, request: Request, answer: Answer) {
        // A client may be gone before it is answered.
        let _ = match answer {
            Answer::Json(status, body) => request.respond(
                Response::from_string(body)
                    .with_status_code(status)
                    .with_header(header("Content-Type", "application/json")),
            ),
            Answer::Text(status, body) => {
                request.respond(Response::from_string(body).with_status_code(status))
            }
            Answer::Redirect(status, place) => {
                request.respond(Response::empty(status).with_header(header("Location", &place)))
            }
            Answer::Hang => {
                let mut held = lock(&self.held);
                if !self.stopping.load(Ordering::SeqCst) {
                    held.push(request);
                }
                Ok(())
            }
            Answer::EndlessList => request.respond(Response::new(
                StatusCode(200),
                vec![header("Content-Type", "application/json")],
                EndlessList::new(&self.stopping),
                None,
                None,
            )),
        };
    }
}

fn header(field: &str, value: &str) -> Header {
    Header::from_bytes(field, value).expect("a header of plain ASCII")
}

struct EndlessList<'a> {
    stopping: &'a AtomicBool,
    next: Cursor<String>,
    announced: usize,
}

impl<'a> EndlessList<'a> {
    fn new(stopping: &'a AtomicBool) -> Self {
        Self {
            stopping,
            next: Cursor::new(r#"{"services":["#.to_owned()),
            announced: 0,
        }
    }
}

impl Read for EndlessList<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.stopping.load(Ordering::SeqCst) {
            return Ok(0);
        }
        let length = self.next.read(buffer)?;
        if length > 0 {
            return Ok(length);
        }
        self.announced += 1;
        self.next = Cursor::new(format!(
            r#"{{"service_name":"handler","id":"handler-{}","public":true}},"#,
            self.announced
        ));
        self.next.read(buffer)
    }
}
