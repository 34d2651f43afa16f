//! Proxies between a private network and the world: HTTP with CONNECT, and SOCKS 5.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine as _};

use super::proxy::lock;

const LONG: Duration = Duration::from_secs(10);

/// The protocol of a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speech {
    Http,
    Socks5,
}

/// How a proxy treats its clients.
#[derive(Clone, Debug)]
enum Manner {
    Opens,
    /// Answers the first bytes with this, whatever they are.
    Answers(Vec<u8>),
    /// Answers the request for a connection with this; for SOCKS, after the method was negotiated.
    Denies(Vec<u8>),
    Closes,
    Resets,
    Silent,
}

/// A request to a proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// `host:port` as it was sent: a name is not resolved.
    pub target: String,
    /// The user and the secret that were sent with it.
    pub credentials: Option<(String, String)>,
}

/// A proxy on a free port of the loopback. Dropping it ends every connection.
#[derive(Debug)]
pub struct WayOut {
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// The settings of a [`WayOut`] before it starts.
#[derive(Clone, Debug)]
pub struct WayOutBuilder {
    speech: Speech,
    manner: Manner,
    credentials: Option<(String, String)>,
    names: HashMap<String, IpAddr>,
}

#[derive(Debug)]
struct Shared {
    builder: WayOutBuilder,
    stopping: AtomicBool,
    asked: Mutex<Vec<Asked>>,
    passed: Mutex<Vec<u8>>,
    open: Mutex<Vec<TcpStream>>,
}

impl WayOutBuilder {
    /// Accepts only clients with this user and secret.
    pub fn wants(mut self, user: &str, secret: &str) -> Self {
        self.credentials = Some((user.to_owned(), secret.to_owned()));
        self
    }

    /// Resolves this name to 127.0.0.1; nobody else can resolve it.
    pub fn knows(mut self, name: &str) -> Self {
        self.names
            .insert(name.to_owned(), Ipv4Addr::LOCALHOST.into());
        self
    }

    /// Answers the first bytes of every client with this, and keeps the connection.
    pub fn answers(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.manner = Manner::Answers(bytes.into());
        self
    }

    /// Answers each request for a connection with this, and keeps the connection.
    pub fn denies(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.manner = Manner::Denies(bytes.into());
        self
    }

    /// Closes the connection on the first bytes.
    pub fn closes(mut self) -> Self {
        self.manner = Manner::Closes;
        self
    }

    /// Resets the connection on the first bytes.
    pub fn resets(mut self) -> Self {
        self.manner = Manner::Resets;
        self
    }

    /// Never answers.
    pub fn keeps_silent(mut self) -> Self {
        self.manner = Manner::Silent;
        self
    }

    pub fn start(self) -> io::Result<WayOut> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            builder: self,
            stopping: AtomicBool::new(false),
            asked: Mutex::default(),
            passed: Mutex::default(),
            open: Mutex::default(),
        });
        let serving = Arc::clone(&shared);
        let thread = thread::Builder::new()
            .name("way-out".to_owned())
            .spawn(move || serving.run(&listener))?;
        Ok(WayOut {
            address,
            shared,
            thread: Some(thread),
        })
    }
}

impl WayOut {
    pub fn builder(speech: Speech) -> WayOutBuilder {
        WayOutBuilder {
            speech,
            manner: Manner::Opens,
            credentials: None,
            names: HashMap::new(),
        }
    }

    /// Returns `http://127.0.0.1:PORT` or `socks5://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        self.url_with("")
    }

    /// Returns the same URL with something before the host, such as `user:secret@`.
    pub fn url_with(&self, credentials: &str) -> String {
        let scheme = match self.shared.builder.speech {
            Speech::Http => "http",
            Speech::Socks5 => "socks5",
        };
        format!("{scheme}://{credentials}{}", self.address)
    }

    /// Returns the requests so far, oldest first.
    pub fn asked(&self) -> Vec<Asked> {
        lock(&self.shared.asked).clone()
    }

    /// Returns the targets of [`asked`](Self::asked).
    pub fn targets(&self) -> Vec<String> {
        self.asked().into_iter().map(|asked| asked.target).collect()
    }

    /// Returns what clients have sent through the proxy.
    pub fn passed(&self) -> String {
        String::from_utf8_lossy(&lock(&self.shared.passed)).into_owned()
    }
}

impl Drop for WayOut {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        for stream in lock(&self.shared.open).iter() {
            let _ = stream.shutdown(Shutdown::Both);
        }
        // Unblocks the thread in `accept`.
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn run(&self, listener: &TcpListener) {
        thread::scope(|scope| {
            for client in listener.incoming() {
                if self.stopping.load(Ordering::SeqCst) {
                    return;
                }
                if let Ok(client) = client {
                    // A client may go at any time.
                    scope.spawn(move || self.serve(client));
                }
            }
        });
    }

    /// Keeps the connection, at most until the fixture ends.
    fn keep(&self, stream: &TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        lock(&self.open).push(stream.try_clone()?);
        if self.stopping.load(Ordering::SeqCst) {
            stream.shutdown(Shutdown::Both)?;
        }
        Ok(())
    }

    fn serve(&self, mut client: TcpStream) -> io::Result<()> {
        self.keep(&client)?;
        match &self.builder.manner {
            Manner::Opens | Manner::Denies(_) => {}
            Manner::Answers(bytes) => {
                hear(&mut client)?;
                client.write_all(bytes)?;
                return read_out(client);
            }
            Manner::Closes => {
                hear(&mut client)?;
                return client.shutdown(Shutdown::Both);
            }
            Manner::Resets => {
                read::<1>(&mut client)?;
                // Unread bytes make it a reset.
                lock(&self.open).clear();
                return Ok(());
            }
            Manner::Silent => return read_out(client),
        }
        client.set_read_timeout(Some(LONG))?;
        let way = match self.builder.speech {
            Speech::Http => self.http(&mut client)?,
            Speech::Socks5 => self.socks(&mut client)?,
        };
        client.set_read_timeout(None)?;
        match way {
            Some(server) => self.pass(&client, &server),
            None => read_out(client),
        }
    }

    fn asked(&self, host: &str, port: u16, credentials: Option<(String, String)>) {
        let target = match host.contains(':') {
            true => format!("[{host}]:{port}"),
            false => format!("{host}:{port}"),
        };
        lock(&self.asked).push(Asked {
            target,
            credentials,
        });
    }

    /// Returns `None` for an unknown name.
    fn address(&self, host: &str) -> Option<IpAddr> {
        let known = self.builder.names.get(host).copied();
        known.or_else(|| host.parse().ok())
    }

    fn http(&self, client: &mut TcpStream) -> io::Result<Option<TcpStream>> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.extend(read::<1>(client)?);
        }
        let head = String::from_utf8(head).map_err(io::Error::other)?;
        let mut lines = head.lines();
        let target = lines
            .next()
            .and_then(|line| line.strip_prefix("CONNECT ")?.strip_suffix(" HTTP/1.1"))
            .ok_or_else(|| io::Error::other("not a CONNECT"))?;
        let (host, port) = target.rsplit_once(':').ok_or(io::ErrorKind::InvalidData)?;
        let host = host.trim_matches(['[', ']']);
        let port = port.parse().map_err(io::Error::other)?;
        let credentials = lines.find_map(|line| {
            let encoded = line.strip_prefix("Proxy-Authorization: Basic ")?;
            let plain = String::from_utf8(BASE64_STANDARD.decode(encoded).ok()?).ok()?;
            let (user, secret) = plain.split_once(':')?;
            Some((user.to_owned(), secret.to_owned()))
        });
        self.asked(host, port, credentials.clone());
        let refusal = if let Manner::Denies(bytes) = &self.builder.manner {
            bytes.clone()
        } else if self.builder.credentials.is_some() && self.builder.credentials != credentials {
            b"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=\"way out\"\r\nContent-Length: 0\r\n\r\n".to_vec()
        } else if let Some(address) = self.address(host) {
            match TcpStream::connect((address, port)) {
                Ok(server) => {
                    client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")?;
                    return Ok(Some(server));
                }
                Err(_) => b"HTTP/1.1 503 Service Unavailable\r\nX-Squid-Error: ERR_CONNECT_FAIL 111\r\nContent-Length: 0\r\n\r\n".to_vec(),
            }
        } else {
            b"HTTP/1.1 503 Service Unavailable\r\nX-Squid-Error: ERR_DNS_FAIL 0\r\nContent-Length: 0\r\n\r\n".to_vec()
        };
        client.write_all(&refusal)?;
        Ok(None)
    }

    fn socks(&self, client: &mut TcpStream) -> io::Result<Option<TcpStream>> {
        let [_, count] = read::<2>(client)?;
        let mut methods = vec![0; count.into()];
        client.read_exact(&mut methods)?;
        let mut credentials = None;
        if let Some(wanted) = &self.builder.credentials {
            if !methods.contains(&2) {
                client.write_all(&[5, 0xff])?;
                return Ok(None);
            }
            client.write_all(&[5, 2])?;
            let [_version] = read::<1>(client)?;
            let (user, secret) = (counted(client)?, counted(client)?);
            credentials = Some((user, secret));
            let is_right = credentials.as_ref() == Some(wanted);
            client.write_all(&[1, u8::from(!is_right)])?;
            if !is_right {
                return Ok(None);
            }
        } else {
            client.write_all(&[5, 0])?;
        }
        let [_, _, _, kind] = read::<4>(client)?;
        let host = match kind {
            1 => Ipv4Addr::from(read::<4>(client)?).to_string(),
            4 => Ipv6Addr::from(read::<16>(client)?).to_string(),
            _ => counted(client)?,
        };
        let port = u16::from_be_bytes(read::<2>(client)?);
        self.asked(&host, port, credentials);
        let refusal = if let Manner::Denies(bytes) = &self.builder.manner {
            bytes.clone()
        } else if let Some(address) = self.address(&host) {
            match TcpStream::connect((address, port)) {
                Ok(server) => {
                    client.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0])?;
                    return Ok(Some(server));
                }
                Err(_) => vec![5, 5, 0, 1, 0, 0, 0, 0, 0, 0],
            }
        } else {
            vec![5, 4, 0, 1, 0, 0, 0, 0, 0, 0]
        };
        client.write_all(&refusal)?;
        Ok(None)
    }

    /// Passes bytes on until both sides have sent all.
    fn pass(&self, client: &TcpStream, server: &TcpStream) -> io::Result<()> {
        self.keep(server)?;
        thread::scope(|scope| {
            scope.spawn(|| {
                let noting = Noting(client, &self.passed);
                copy(noting, server);
            });
            copy(server, client);
        });
        Ok(())
    }
}

/// Notes what is read.
struct Noting<'a>(&'a TcpStream, &'a Mutex<Vec<u8>>);

impl Read for Noting<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.0.read(buffer)?;
        lock(self.1).extend_from_slice(&buffer[..length]);
        Ok(length)
    }
}

fn copy(mut from: impl Read, mut to: &TcpStream) {
    let end = match io::copy(&mut from, &mut to) {
        Ok(_) => Shutdown::Write,
        Err(_) => Shutdown::Both,
    };
    let _ = to.shutdown(end);
}

fn read<const LENGTH: usize>(stream: &mut TcpStream) -> io::Result<[u8; LENGTH]> {
    let mut bytes = [0; LENGTH];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// Waits for the first bytes.
fn hear(stream: &mut TcpStream) -> io::Result<()> {
    match stream.read(&mut [0; 1024])? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(()),
    }
}

/// Reads text after its length.
fn counted(stream: &mut TcpStream) -> io::Result<String> {
    let [length] = read::<1>(stream)?;
    let mut bytes = vec![0; length.into()];
    stream.read_exact(&mut bytes)?;
    String::from_utf8(bytes).map_err(io::Error::other)
}

/// Waits until the other side ends.
fn read_out(mut stream: TcpStream) -> io::Result<()> {
    while stream.read(&mut [0; 1024])? > 0 {}
    Ok(())
}
