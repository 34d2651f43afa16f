//! Opens a connection: dials, passes a proxy, performs the TLS handshake.

use std::{fmt, io, net::SocketAddr, sync::Arc, time::Instant};

use mio::net::TcpStream;

use super::{
    destination::Destination,
    dial::{Next, Race},
    line::{Line, Traffic, uninterrupted},
    proxy::{Step, Talk},
    shortage::out_of,
    waiter::{Waiter, Word, earlier},
};
use crate::{
    config::Proxy,
    error::{Error, ErrorKind, Result},
};

/// Why there is no connection.
#[derive(Debug)]
pub(super) enum Failure {
    Cancelled,
    Failed(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// The token with which a waiter watches the line to the server.
pub(super) const LINE: usize = 0;

/// Opens a connection before `deadline`.
pub(super) fn open(
    waiter: &mut Waiter,
    destination: &Destination,
    traffic: Arc<Traffic>,
    deadline: Instant,
) -> Result<Line, Failure> {
    let stream = dial(waiter, destination, deadline)?;
    let mut line = Line::new(stream, traffic);
    line.rename(waiter, LINE)
        .map_err(|cause| out_of(&destination.server, cause))?;
    if let Some(proxy) = &destination.proxy {
        let (talk, first) = Talk::start(proxy, &destination.host, destination.port)?;
        talk_to(waiter, &mut line, proxy, talk, first, deadline)?;
    }
    if let Some(trust) = &destination.trust {
        line.put_on(trust.start(&destination.host)?);
        shake_hands(waiter, &mut line, &destination.server, deadline)?;
    }
    Ok(line)
}

/// Waits for socket events. Returns `false` after the deadline.
pub(super) fn wait(
    waiter: &mut Waiter,
    server: &dyn fmt::Display,
    until: Option<Instant>,
    deadline: Instant,
) -> Result<bool, Failure> {
    if Instant::now() >= deadline {
        return Ok(false);
    }
    waiter
        .wait(earlier(until, Some(deadline)))
        .map_err(|cause| out_of(server, cause))?
        .for_each(drop);
    if waiter.word() == Word::GoOn {
        Ok(true)
    } else {
        Err(Failure::Cancelled)
    }
}

fn dial(
    waiter: &mut Waiter,
    destination: &Destination,
    deadline: Instant,
) -> Result<TcpStream, Failure> {
    let mut race = Race::new(destination.addresses.clone(), Instant::now());
    let mut running: Vec<(SocketAddr, TcpStream)> = Vec::new();
    loop {
        let now = Instant::now();
        let until = match race.next(now) {
            Next::Start(address) => {
                match connect(waiter, address, running.len()) {
                    Ok(stream) => running.push((address, stream)),
                    Err(cause) => race.failed(address, cause, now),
                }
                continue;
            }
            Next::Wait(until) => until,
            Next::Failed => return Err(race.error(&destination.dialled()).into()),
        };
        if !wait(waiter, &destination.server, until, deadline)? {
            race.time_out(now);
            return Err(race.error(&destination.dialled()).into());
        }
        let mut undecided = Vec::with_capacity(running.len());
        for (address, stream) in running {
            match is_connected(&stream) {
                Ok(true) => return Ok(stream),
                Ok(false) => undecided.push((address, stream)),
                Err(cause) => race.failed(address, cause, Instant::now()),
            }
        }
        running = undecided;
    }
}

fn connect(waiter: &Waiter, address: SocketAddr, token: usize) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect(address)?;
    waiter.watch(&mut stream, token)?;
    Ok(stream)
}

/// Returns whether the stream is connected.
fn is_connected(stream: &TcpStream) -> io::Result<bool> {
    if let Some(cause) = stream.take_error()? {
        return Err(cause);
    }
    match stream.peer_addr() {
        Ok(_) => Ok(true),
        Err(cause) if cause.kind() == io::ErrorKind::NotConnected => Ok(false),
        Err(cause) => Err(cause),
    }
}

fn talk_to(
    waiter: &mut Waiter,
    line: &mut Line,
    proxy: &Proxy,
    mut talk: Talk,
    first: Vec<u8>,
    deadline: Instant,
) -> Result<(), Failure> {
    let name = format!("the proxy {proxy}");
    let mut answer = [0; 512];
    let mut unsent = first;
    loop {
        while !unsent.is_empty() {
            match line.write(&unsent) {
                Ok(length) => drop(unsent.drain(..length)),
                Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => {
                    if !wait(waiter, &name, None, deadline)? {
                        return Err(talk.on_silence().into());
                    }
                }
                Err(cause) => return Err(line.explain(&name, cause).into()),
            }
        }
        let wanted = talk.wants().min(answer.len());
        match line.read(&mut answer[..wanted]) {
            Ok(0) => return Err(talk.on_end().into()),
            Ok(length) => match talk.on_bytes(&answer[..length])? {
                Step::Read => {}
                Step::Send(bytes) => unsent = bytes,
                Step::Open => return Ok(()),
            },
            Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => {
                if !wait(waiter, &name, None, deadline)? {
                    return Err(talk.on_silence().into());
                }
            }
            Err(cause) => return Err(line.explain(&name, cause).into()),
        }
    }
}

fn shake_hands(
    waiter: &mut Waiter,
    line: &mut Line,
    server: &str,
    deadline: Instant,
) -> Result<(), Failure> {
    loop {
        match line.handshake() {
            Ok(true) => return Ok(()),
            Ok(false) => {}
            Err(cause) => return Err(line.explain(&server, cause).into()),
        }
        line.acknowledge_at_once();
        if !wait(waiter, &server, None, deadline)? {
            let context = format!(
                "{server} accepted the connection and then did not answer the TLS handshake"
            );
            return Err(Error::new(ErrorKind::TimedOut, context).into());
        }
    }
}

/// A connection for a thread that may block, with deadlines.
pub(crate) struct Blocking {
    server: String,
    waiter: Waiter,
    line: Line,
}

impl Blocking {
    /// Opens a connection before `deadline`.
    pub(crate) fn open(destination: &Destination, deadline: Instant) -> Result<Self> {
        let mut waiter = Waiter::new().map_err(|cause| out_of(&destination.server, cause))?;
        match open(&mut waiter, destination, Arc::default(), deadline) {
            Ok(line) => Ok(Self {
                server: destination.server.clone(),
                waiter,
                line,
            }),
            Err(Failure::Failed(error)) => Err(error),
            Err(Failure::Cancelled) => Err(Error::new(ErrorKind::Closed, "cancelled")),
        }
    }

    pub(super) fn line(&self) -> &Line {
        &self.line
    }

    /// Reads some bytes: none at the end of the stream, `TimedOut` if nothing arrives in time.
    pub(crate) fn read(&mut self, buffer: &mut [u8], deadline: Instant) -> io::Result<usize> {
        self.block(deadline, |line| line.read(buffer))
    }

    /// Writes all bytes; `TimedOut` if that takes longer.
    pub(crate) fn write_all(&mut self, mut bytes: &[u8], deadline: Instant) -> io::Result<()> {
        while !bytes.is_empty() {
            let length = self.block(deadline, |line| line.write(bytes))?;
            bytes = &bytes[length..];
        }
        self.block(deadline, Line::flush)
    }

    fn block<T>(
        &mut self,
        deadline: Instant,
        mut operation: impl FnMut(&mut Line) -> io::Result<T>,
    ) -> io::Result<T> {
        loop {
            match uninterrupted(|| operation(&mut self.line)) {
                Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => {}
                result => return result,
            }
            if Instant::now() >= deadline {
                return Err(io::ErrorKind::TimedOut.into());
            }
            self.waiter.wait(Some(deadline))?.for_each(drop);
        }
    }

    pub(crate) fn is_tls(&self) -> bool {
        self.line.is_tls()
    }

    /// Turns the cause of a failure into an error that names the server.
    pub(crate) fn explain(&self, cause: io::Error) -> Error {
        self.line.explain(&self.server, cause)
    }
}

impl fmt::Debug for Blocking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Blocking").finish_non_exhaustive()
    }
}
