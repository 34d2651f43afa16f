//! Between the server and the MQTT client behind the loopback: passes packets on, asks the server
//! whether it is there, keeps packets back that would harm the client, and ends both sides in order.

mod admission;
mod buffer;
mod keep_alive;
mod packet;

use std::{
    io::{self, Read, Write},
    net::Shutdown,
    time::{Duration, Instant},
};

use mio::net::TcpStream;

pub(super) use admission::{Door, Look};
use buffer::Buffer;
use keep_alive::{KeepAlive, Pulse};
pub(super) use packet::PING_REQUEST;
pub(crate) use packet::{Fault, Login};
use packet::{Framing, FromClient, FromServer};

use super::{
    gate::{Permit, Ticket},
    line::{Line, uninterrupted},
    opening::LINE,
    waiter::{Waiter, Word, earlier},
};

/// The token of the listener, of those who wait there, and of the client.
pub(super) const DOOR: usize = 1;
pub(super) const CANDIDATE: usize = 2;
const CLIENT: usize = 3;

/// Of packets of our own, in bytes: a server that does not read its answers is not read either.
const MAX_OWN: usize = 4 << 10;

/// So many times one direction goes on before the other has its turn.
const ROUNDS: usize = 16;

/// How long the client may take to read what is left when the server has gone, and to close its side.
const CLIENT_PATIENCE: Duration = Duration::from_secs(2);

/// How long what the client has written may take to leave, and how long the server may then take to
/// close its side: The Things Stack first works off what it has read, some milliseconds for each
/// downlink.
const FAREWELL: Duration = Duration::from_secs(10);

/// Why a connection has ended.
#[derive(Debug)]
pub(super) enum Cause {
    /// The server has closed it.
    EndOfFile,
    /// The socket or TLS failed.
    Failed(io::Error),
    /// Nothing was heard for so long, although it was asked.
    Silent(Duration),
    /// The server sent what cannot be passed on.
    Fault(Fault),
    /// The client has ended it: it did not like what the server sent.
    Client,
    /// As asked.
    Word(Word),
}

/// A PUBLISH that was kept back, since its topic is not text.
#[derive(Debug)]
pub(crate) struct Unreadable {
    pub(crate) topic: Vec<u8>,
    pub(crate) payload: Vec<u8>,
}

pub(super) struct Relay<'a> {
    waiter: &'a mut Waiter,
    unreadable: &'a dyn Fn(Unreadable),
    line: Line,
    client: TcpStream,
    down: Buffer,
    up: Buffer,
    from_server: Framing,
    from_client: Framing,
    /// Packets of our own, for the next boundary.
    to_server: Vec<u8>,
    to_client: Vec<u8>,
    pulse: KeepAlive,
    /// Whether a question is among what goes to the server.
    asking: bool,
    ready: Ready,
    /// The server cannot be written to; it may have said why.
    broken: Option<io::Error>,
    /// What the server sends goes nowhere: the client has gone, or is going.
    discards: bool,
    server_ended: bool,
    /// Why, if it has not just closed the connection.
    reason: Option<Cause>,
    client_ended: bool,
    /// What the client writes was not read for a while.
    client_waited: bool,
}

/// Which sockets may have something to do. Told once for each change, so it has to be remembered.
#[derive(Debug)]
struct Ready {
    line_read: bool,
    line_write: bool,
    client_read: bool,
    client_write: bool,
}

impl<'a> Relay<'a> {
    /// Between a server that has accepted the client and the client, which waits for its CONNACK.
    pub(super) fn new(
        waiter: &'a mut Waiter,
        unreadable: &'a dyn Fn(Unreadable),
        line: Line,
        mut client: TcpStream,
        connack: &[u8],
        keep_alive: Duration,
        max_packet: usize,
    ) -> io::Result<Self> {
        client.set_nodelay(true)?;
        waiter.rename(&mut client, CLIENT)?;
        // Before whatever the server may have sent with it.
        let mut down = Buffer::new();
        down.fill(|room| {
            room[..connack.len()].copy_from_slice(connack);
            Ok(connack.len())
        })?;
        down.pass(connack.len());
        Ok(Self {
            waiter,
            unreadable,
            line,
            client,
            down,
            up: Buffer::new(),
            from_server: Framing::new(max_packet),
            // The client's own packets are bounded where they are made.
            from_client: Framing::new(usize::MAX),
            to_server: Vec::new(),
            to_client: Vec::new(),
            pulse: KeepAlive::new(keep_alive, Instant::now()),
            asking: false,
            ready: Ready {
                line_read: true,
                line_write: true,
                client_read: true,
                client_write: true,
            },
            broken: None,
            discards: false,
            server_ended: false,
            reason: None,
            client_ended: false,
            client_waited: false,
        })
    }

    /// Passes packets on until the connection ends.
    pub(super) fn run(&mut self) -> Cause {
        let mut until = None;
        loop {
            let word = self.waiter.word();
            if word != Word::GoOn {
                return Cause::Word(word);
            }
            let is_busy = self.pump();
            let now = Instant::now();
            if self.server_ended {
                // What came before is for the client.
                let until = *until.get_or_insert(now + CLIENT_PATIENCE);
                if !is_busy && self.down.outgoing().is_empty() || now >= until {
                    return self.reason();
                }
            } else if self.client_ended {
                return Cause::Client;
            }
            let timer = match self.pulse(now) {
                Ok(timer) => timer,
                Err(cause) => return cause,
            };
            // Also when there is more to move: the other direction may be ready now.
            let until = if is_busy {
                Some(now)
            } else {
                earlier(Some(timer), until)
            };
            if let Err(cause) = self.wait(until) {
                return Cause::Failed(cause);
            }
        }
    }

    /// Whether the server is there. Returns when to ask next.
    fn pulse(&mut self, now: Instant) -> Result<Instant, Cause> {
        if self.down.is_full() {
            self.pulse.hold(now);
        }
        match self.pulse.pulse(now) {
            Pulse::Wait(until) => Ok(until),
            Pulse::Dead => Err(Cause::Silent(self.pulse.silence(now))),
            Pulse::Ask => {
                self.down.rest();
                self.up.rest();
                self.pulse.queued(now);
                // An earlier question may still wait for a boundary.
                if !self.asking {
                    self.asking = true;
                    self.to_server.extend(packet::PING_REQUEST);
                }
                self.up();
                Ok(now)
            }
        }
    }

    /// The server is not read any longer. What came before goes on to the client.
    fn stop(&mut self, reason: Cause) {
        self.server_ended = true;
        self.reason.get_or_insert(reason);
    }

    /// Why the server is not read any longer.
    fn reason(&mut self) -> Cause {
        self.reason.take().unwrap_or(Cause::EndOfFile)
    }

    fn wait(&mut self, until: Option<Instant>) -> io::Result<()> {
        for token in self.waiter.wait(until)? {
            // An error is seen by whoever reads or writes next.
            match token {
                LINE => (self.ready.line_read, self.ready.line_write) = (true, true),
                CLIENT => (self.ready.client_read, self.ready.client_write) = (true, true),
                _ => {}
            }
        }
        Ok(())
    }

    /// Moves what can be moved now. Whether there may be more to move.
    fn pump(&mut self) -> bool {
        let down = self.down();
        let up = self.up();
        // What the client has asked is answered now.
        down || up || self.write_client()
    }

    /// From the server to the client.
    fn down(&mut self) -> bool {
        for _ in 0..ROUNDS {
            let mut has_read = false;
            while self.read_server() {
                has_read = true;
                // It never fills up then.
                if self.discards {
                    break;
                }
            }
            self.sort_down();
            let has_written = self.write_client();
            if !has_read && !has_written {
                return false;
            }
        }
        true
    }

    fn read_server(&mut self) -> bool {
        let is_behind = self.to_server.len() > MAX_OWN;
        if !self.ready.line_read || self.server_ended || self.down.is_full() || is_behind {
            return false;
        }
        match self.down.fill(|room| self.line.read(room)) {
            Ok(0) => self.stop(Cause::EndOfFile),
            Ok(_) => {
                self.pulse.heard(Instant::now());
                if self.discards {
                    self.down.clear();
                }
                return true;
            }
            Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => {
                self.ready.line_read = false;
                if let Some(cause) = self.broken.take() {
                    self.stop(Cause::Failed(cause));
                }
            }
            Err(cause) => self.stop(Cause::Failed(cause)),
        }
        false
    }

    /// Decides what of the server's bytes may go on.
    fn sort_down(&mut self) {
        // What follows a fault makes no sense.
        while !matches!(self.reason, Some(Cause::Fault(_))) {
            let unseen = self.down.unseen();
            let is_first = self.down.outgoing().is_empty();
            match self.from_server.next_of_server(unseen) {
                Err(fault) => self.stop(Cause::Fault(fault)),
                Ok(FromServer::Pass(length)) => self.down.pass(length),
                Ok(FromServer::PingAnswer(length)) if is_first => self.down.take_out(length),
                Ok(FromServer::Unreadable(length)) if is_first => match packet::publish(unseen) {
                    Some(publish) => {
                        self.to_server.extend(publish.answer.iter().flatten());
                        (self.unreadable)(Unreadable {
                            topic: publish.topic.to_vec(),
                            payload: publish.payload.to_vec(),
                        });
                        self.down.take_out(length);
                    }
                    None => self.stop(Cause::Fault(Fault::BadLength)),
                },
                // When what stands before it has gone.
                Ok(FromServer::PingAnswer(_) | FromServer::Unreadable(_)) => return,
                Ok(FromServer::More(wanted)) => {
                    // Not while the client does not read: it would grow with each packet that is cut.
                    if is_first {
                        self.down.provide(wanted);
                    }
                    return;
                }
            }
        }
    }

    fn write_client(&mut self) -> bool {
        if !self.ready.client_write || self.discards {
            return false;
        }
        let outgoing = self.down.outgoing();
        let is_own = outgoing.is_empty() && self.from_server.is_between_packets();
        let bytes = if is_own { &*self.to_client } else { outgoing };
        if bytes.is_empty() {
            return false;
        }
        match uninterrupted(|| self.client.write(bytes)) {
            Ok(length) if is_own => drop(self.to_client.drain(..length)),
            Ok(length) => self.down.gone(length),
            Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => {
                self.ready.client_write = false;
                return false;
            }
            Err(_) => {
                // It has closed its side. What it has written before is read all the same.
                self.discards = true;
                self.down.clear();
                return false;
            }
        }
        true
    }

    /// From the client to the server.
    fn up(&mut self) -> bool {
        for _ in 0..ROUNDS {
            let has_read = self.read_client();
            self.sort_up();
            let has_written = self.write_server();
            if !has_read && !has_written {
                return false;
            }
        }
        true
    }

    fn read_client(&mut self) -> bool {
        if !self.ready.client_read || self.client_ended {
            return false;
        }
        if self.up.is_full() {
            self.client_waited = true;
            return false;
        }
        match self
            .up
            .fill(|room| uninterrupted(|| self.client.read(room)))
        {
            Ok(0) => {
                self.client_ended = true;
                false
            }
            Ok(_) => true,
            Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => {
                self.ready.client_read = false;
                self.wake_client();
                false
            }
            Err(_) => {
                self.client_ended = true;
                false
            }
        }
    }

    /// A client that could not write goes on only when something comes in, or after a second.
    fn wake_client(&mut self) {
        if std::mem::take(&mut self.client_waited) && self.to_client.is_empty() {
            self.to_client.extend(packet::PING_ANSWER);
        }
    }

    fn sort_up(&mut self) {
        loop {
            let is_first = self.up.outgoing().is_empty();
            match self.from_client.next_of_client(self.up.unseen()) {
                // The client is ours and sends none.
                Err(_) => {
                    self.client_ended = true;
                    return;
                }
                Ok(FromClient::Pass(length)) => self.up.pass(length),
                Ok(FromClient::PingRequest(length)) if is_first => {
                    self.up.take_out(length);
                    self.to_client.extend(packet::PING_ANSWER);
                }
                // The relay says it itself, at the very end.
                Ok(FromClient::Disconnect(length)) if is_first => self.up.take_out(length),
                Ok(FromClient::PingRequest(_) | FromClient::Disconnect(_)) => return,
                Ok(FromClient::More(wanted)) => {
                    if is_first {
                        self.up.provide(wanted);
                    }
                    return;
                }
            }
        }
    }

    fn write_server(&mut self) -> bool {
        if !self.ready.line_write || self.broken.is_some() || self.server_ended {
            return false;
        }
        let outgoing = self.up.outgoing();
        let is_own = outgoing.is_empty() && self.from_client.is_between_packets();
        let bytes = if is_own { &*self.to_server } else { outgoing };
        let written = if bytes.is_empty() {
            if !self.line.wants_flush() {
                return false;
            }
            self.line.flush().map(|()| 0)
        } else {
            self.line.write(bytes)
        };
        match written {
            Ok(length) => {
                if is_own {
                    self.to_server.drain(..length);
                } else {
                    self.up.gone(length);
                }
            }
            Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => {
                self.ready.line_write = false;
                self.pulse.blocked();
                return false;
            }
            Err(cause) => {
                // What the server said before it closed tells more than that it has closed.
                self.broken = Some(cause);
                self.ready.line_read = true;
                return false;
            }
        }
        let now = Instant::now();
        self.pulse.sent(now);
        if self.asking && self.to_server.is_empty() && !self.line.wants_flush() {
            self.asking = false;
            self.pulse.asked(now);
        }
        true
    }

    /// Ends a connection that the user closes: what the client has written leaves, then the server has
    /// time to work it off.
    pub(super) fn finish(mut self) {
        let end = self.take_leave();
        log::debug!("the connection is closed: {end:?}");
        self.close_client();
        self.line.end();
    }

    /// Returns when the server has closed its side, or why it is not waited for any longer.
    fn take_leave(&mut self) -> Cause {
        let leave = |relay: &mut Self| {
            let until = Instant::now() + FAREWELL;
            let permit = relay.go_on_until(until, Self::permit())?;
            relay.shut_client();
            relay.go_on_until(until, |relay, _| {
                relay.client_ended.then_some(()).ok_or(None)
            })?;
            drop(permit);
            if relay.from_client.is_between_packets() {
                relay.to_server.extend(packet::DISCONNECT);
            }
            relay.go_on_until(until, |relay, _| relay.close_line())?;
            let until = Instant::now() + FAREWELL;
            relay.go_on_until(until, |_, _| Err::<(), _>(None))
        };
        leave(self).err().unwrap_or(Cause::EndOfFile)
    }

    /// Goes on passing packets until `done` says so or the server has gone. The `Err` of `done` is when
    /// to ask it again, unless there is news before.
    fn go_on_until<T>(
        &mut self,
        until: Instant,
        mut done: impl FnMut(&mut Self, Instant) -> Result<T, Option<Instant>>,
    ) -> Result<T, Cause> {
        loop {
            if self.waiter.word() == Word::Cancel {
                return Err(Cause::Word(Word::Cancel));
            }
            let is_busy = self.pump();
            if self.server_ended {
                return Err(self.reason());
            }
            let now = Instant::now();
            let next = match done(self, now) {
                Ok(done) => return Ok(done),
                Err(next) => next,
            };
            if now >= until {
                return Err(Cause::Silent(self.pulse.silence(now)));
            }
            let until = if is_busy {
                Some(now)
            } else {
                earlier(next, Some(until))
            };
            self.wait(until).map_err(Cause::Failed)?;
        }
    }

    /// Waits at the gate.
    fn permit() -> impl FnMut(&mut Self, Instant) -> Result<Permit, Option<Instant>> {
        let mut ticket = None;
        move |relay, now| {
            ticket
                .get_or_insert_with(|| Ticket::take(relay.waiter.handle()))
                .enter(now)
                .map_err(Some)
        }
    }

    /// Says that nothing more will be written to the server. `Err` while something has not left yet.
    fn close_line(&mut self) -> Result<(), Option<Instant>> {
        let has_own = self.from_client.is_between_packets() && !self.to_server.is_empty();
        if has_own || !self.up.outgoing().is_empty() || self.line.wants_flush() {
            return Err(None);
        }
        match self.line.close_writing() {
            Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => {
                self.ready.line_write = true;
                Err(None)
            }
            // A server that has gone is noticed by whoever reads.
            _ => Ok(()),
        }
    }

    /// Says to the client that the server has ended the connection.
    fn shut_client(&mut self) {
        // One that has gone already need not be told.
        let _ = self.client.shutdown(Shutdown::Write);
        self.discards = true;
        self.down.clear();
    }

    /// Closes the client's side in its turn: what it has not read yet it reads, and what it has
    /// written is read to the end, or it would lose what it has not read.
    pub(super) fn close_client(&mut self) {
        if self.client_ended {
            return;
        }
        // However many wait: the gate lets each in, in the end.
        let mut permit = Self::permit();
        let _permit = loop {
            match permit(self, Instant::now()) {
                Ok(permit) => break Some(permit),
                Err(next) => {
                    if self.wait(next).is_err() {
                        break None;
                    }
                }
            }
        };
        self.shut_client();
        let until = Instant::now() + CLIENT_PATIENCE;
        loop {
            self.up.clear();
            while self.read_client() {
                self.up.clear();
            }
            if self.client_ended || Instant::now() >= until || self.wait(Some(until)).is_err() {
                return;
            }
        }
    }

    /// Ends the server's side.
    pub(super) fn close_line_at_once(&mut self) {
        self.line.end();
    }

    pub(super) fn line(&self) -> &Line {
        &self.line
    }
}
