//! Between the server and the MQTT client on the loopback: relays packets, pings the server, withholds
//! packets that would harm the client, and ends both sides in order.

mod buffer;
mod bundle;
mod door;
mod farewell;
mod hearing;
mod keep_alive;
mod marks;
mod packet;

use std::{
    io::{self, Read, Write},
    time::{Duration, Instant},
};

use mio::net::TcpStream;

use buffer::Buffer;
use bundle::Pieces;
pub(crate) use bundle::first_of;
pub(super) use door::{Door, Look};
use hearing::Hearing;
use keep_alive::{KeepAlive, Pulse};
use marks::Marks;
pub(super) use packet::Ordered;
pub(super) use packet::{DISCONNECT, PING_REQUEST};
pub(crate) use packet::{Fault, Login};
use packet::{Framing, FromClient, FromServer};

use super::{
    acknowledgement::Acknowledging,
    line::{Line, uninterrupted},
    login::CLEAN,
    opening::LINE,
    report::Report,
    waiter::{Waiter, Word, earlier},
};
use crate::{clock::Moment, message::Receipt};

/// The tokens of the listener, of those that connect to it, and of the client.
pub(super) const DOOR: usize = 1;
pub(super) const CANDIDATE: usize = 2;
const CLIENT: usize = 3;

/// The limit for unsent packets of our own, in bytes: a server that does not read its answers is not
/// read either.
const MAX_OWN: usize = 4 << 10;

/// How often one direction may continue before the other has its turn.
const ROUNDS: usize = 16;

/// How long the client may take to read what is left after the server has gone, and to close its side.
const CLIENT_PATIENCE: Duration = Duration::from_secs(2);

/// Why a connection has ended.
#[derive(Debug)]
pub(super) enum Cause {
    /// The server closed the connection.
    EndOfFile,
    /// The socket or TLS failed.
    Failed(io::Error),
    /// The server sent nothing for this long and did not answer a ping.
    Silent(Duration),
    /// The server sent something that cannot be passed on.
    Fault(Fault),
    /// The client ended the connection, because of what the server sent.
    Client,
    /// The handler of a message failed, so that the server must deliver it again.
    HandlerFailed,
    /// Another thread requested the end.
    Word(Word),
}

/// A PUBLISH that was not passed on, because its topic is not text.
#[derive(Debug)]
pub(crate) struct Unreadable {
    pub(crate) topic: Vec<u8>,
    pub(crate) payload: Vec<u8>,
    pub(crate) is_retained: bool,
    pub(crate) receipt: Option<Receipt>,
}

pub(super) struct Relay<'a> {
    waiter: &'a mut Waiter,
    report: &'a dyn Fn(Report),
    line: Line,
    client: TcpStream,
    down: Buffer,
    /// What `down` has cleared for sending.
    pieces: Pieces,
    up: Buffer,
    from_server: Framing,
    hearing: Hearing,
    from_client: Framing,
    /// Packets of our own, for the next boundary.
    to_server: Vec<u8>,
    /// A part of our own packets is written: the rest must follow.
    own_begun: bool,
    to_client: Vec<u8>,
    pulse: KeepAlive,
    marks: Marks,
    /// Who acknowledges messages in place of the client; `None` if nobody does, or not any more.
    acknowledging: Option<Acknowledging>,
    /// A mark waits until everything before it has left.
    marking: bool,
    /// Packets of the client wait until something before them has left.
    up_waits: bool,
    /// How many PUBLISH packets of the client the server has not acknowledged yet, although it will.
    unacknowledged: usize,
    /// The number of filters in the SUBSCRIBE that is not answered yet.
    filters: Option<usize>,
    /// Whether a ping is among what goes to the server.
    asking: bool,
    ready: Ready,
    /// Writing to the server failed; what it sent before may say why.
    broken: Option<io::Error>,
    /// What the server sends is discarded: the client has gone, or is going.
    discards: bool,
    server_ended: bool,
    /// Why the server ended, unless it just closed the connection.
    reason: Option<Cause>,
    client_ended: bool,
    /// What the client wrote had to wait.
    client_waited: bool,
}

/// Which sockets may be ready. Each change is reported only once, so it must be remembered.
#[derive(Debug)]
struct Ready {
    line_read: bool,
    line_write: bool,
    client_read: bool,
    client_write: bool,
}

impl<'a> Relay<'a> {
    /// Creates a relay between a server that has accepted the client and the client, which waits for its
    /// CONNACK.
    pub(super) fn new(
        waiter: &'a mut Waiter,
        report: &'a dyn Fn(Report),
        line: Line,
        mut client: TcpStream,
        keep_alive: Duration,
        max_packet: usize,
        acknowledging: Option<Acknowledging>,
    ) -> io::Result<Self> {
        client.set_nodelay(true)?;
        waiter.rename(&mut client, CLIENT)?;
        // Goes before anything that the server may have sent with it.
        let mut down = Buffer::new();
        down.fill(|room| {
            room[..CLEAN.len()].copy_from_slice(&CLEAN);
            Ok(CLEAN.len())
        })?;
        down.pass(CLEAN.len());
        let mut pieces = Pieces::default();
        pieces.pass(CLEAN.len());
        let now = Moment::now();
        Ok(Self {
            waiter,
            report,
            line,
            client,
            down,
            pieces,
            up: Buffer::new(),
            from_server: Framing::new(max_packet.min(bundle::MAX_MESSAGE)),
            hearing: Hearing::new(now),
            // The client's packets are limited where they are made.
            from_client: Framing::new(usize::MAX),
            to_server: Vec::new(),
            own_begun: false,
            to_client: Vec::new(),
            pulse: KeepAlive::new(keep_alive, now.instant),
            marks: Marks::default(),
            acknowledging,
            marking: false,
            up_waits: false,
            unacknowledged: 0,
            filters: None,
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

    /// Relays packets until the connection ends.
    pub(super) fn run(&mut self) -> Cause {
        let mut until = None;
        loop {
            let word = self.waiter.word();
            if word != Word::GoOn {
                return Cause::Word(word);
            }
            let is_busy = self.pump();
            if self.has_failed() {
                return Cause::HandlerFailed;
            }
            let now = Instant::now();
            if self.server_ended {
                // The client still gets what came before.
                let until = *until.get_or_insert(now + CLIENT_PATIENCE);
                if !is_busy && self.down.outgoing().is_empty() || now >= until {
                    return self.reason();
                }
            } else if self.client_ended {
                // Or because of a word that came in between.
                return match self.waiter.word() {
                    Word::GoOn => Cause::Client,
                    word => Cause::Word(word),
                };
            }
            let timer = match self.pulse(now) {
                Ok(timer) => timer,
                Err(cause) => return cause,
            };
            // Even if there is more to move: the other direction may be ready now.
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

    /// Pings the server when that is due. Returns when to check again.
    fn pulse(&mut self, now: Instant) -> Result<Instant, Cause> {
        let mut sign = None;
        if self.down.is_full() {
            self.pulse.hold(now);
            sign = self.show_life(now);
        }
        match self.pulse.pulse(now) {
            Pulse::Wait(until) => Ok(sign.map_or(until, |sign| until.min(sign))),
            Pulse::Dead => Err(Cause::Silent(self.pulse.silence(now))),
            Pulse::Ask => {
                self.down.rest();
                self.up.rest();
                self.pulse.queued(now);
                // An earlier ping may still wait for a packet boundary.
                if !self.asking {
                    self.asking = true;
                    self.ping();
                }
                self.up();
                Ok(now)
            }
        }
    }

    /// Pings a server that is not being read, for as long as that takes: it would take silence for the end of
    /// this side. Returns when to do so again.
    fn show_life(&mut self, now: Instant) -> Option<Instant> {
        if now >= self.pulse.next_sign() && self.to_server.is_empty() {
            self.ping();
            self.up();
        }
        // What is unsent waits for the line.
        self.to_server.is_empty().then(|| self.pulse.next_sign())
    }

    /// Queues a ping.
    fn ping(&mut self) {
        self.to_server.extend(packet::PING_REQUEST);
        self.marks.pinged();
    }

    fn report_processed(&self, packets: Option<u64>) {
        if let Some(packets) = packets {
            (self.report)(Report::Processed(packets));
        }
    }

    /// Stops reading from the server. The client still gets what came before.
    fn stop(&mut self, reason: Cause) {
        self.server_ended = true;
        self.reason.get_or_insert(reason);
    }

    /// Returns why the server is no longer read.
    fn reason(&mut self) -> Cause {
        self.reason.take().unwrap_or(Cause::EndOfFile)
    }

    fn wait(&mut self, until: Option<Instant>) -> io::Result<()> {
        let before = Moment::now();
        let ready = self.waiter.wait(until)?;
        let after = Moment::now();
        for token in ready {
            // The next read or write returns an error.
            match token {
                LINE => (self.ready.line_read, self.ready.line_write) = (true, true),
                CLIENT => (self.ready.client_read, self.ready.client_write) = (true, true),
                _ => {}
            }
        }
        if self.hearing.waited(before, after, until) {
            self.pulse.doubt();
            // The wait may have been interrupted; it then says nothing about the sockets.
            self.ready.line_read = true;
        }
        Ok(())
    }

    /// Moves what can be moved now. Returns whether there may be more to move.
    fn pump(&mut self) -> bool {
        self.acknowledge();
        let down = self.down();
        let up = self.up();
        // Answers the client's pings.
        down || up || self.write_client()
    }

    /// Acknowledges what is handled.
    fn acknowledge(&mut self) {
        if let Some(acknowledging) = &self.acknowledging {
            for packet_id in acknowledging.due() {
                self.to_server.extend(packet::acknowledgement(packet_id));
            }
        }
    }

    fn has_failed(&self) -> bool {
        self.acknowledging
            .as_ref()
            .is_some_and(Acknowledging::has_failed)
    }

    /// Returns whether the next packet of the server has to wait until other messages are handled.
    fn must_wait(&self) -> bool {
        let Some(acknowledging) = &self.acknowledging else {
            return false;
        };
        // An answer may come behind the messages.
        let is_waited_for =
            self.filters.is_some() || self.unacknowledged > 0 || self.marks.awaits_unsubscribe();
        self.from_server.is_between_packets()
            && packet::is_at_least_once(self.down.unseen())
            && match is_waited_for {
                true => acknowledging.is_crowded(),
                false => acknowledging.is_full(),
            }
    }

    /// Moves bytes from the server to the client.
    fn down(&mut self) -> bool {
        for _ in 0..ROUNDS {
            let mut has_read = false;
            while self.read_server() {
                has_read = true;
                // The buffer never fills up then.
                if self.discards {
                    break;
                }
            }
            self.sort_down();
            let mut has_written = false;
            // All of it, so that little is left to move when the buffer is filled again.
            while self.write_client() {
                has_written = true;
            }
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
                self.hearing.read();
                if self.discards {
                    self.clear_down();
                }
                return true;
            }
            Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => {
                self.ready.line_read = false;
                self.hearing.read_all();
                if let Some(cause) = self.broken.take() {
                    self.stop(Cause::Failed(cause));
                }
            }
            Err(cause) => self.stop(Cause::Failed(cause)),
        }
        false
    }

    /// Decides which of the server's bytes are passed on.
    fn sort_down(&mut self) {
        // What follows a fault is meaningless.
        while !matches!(self.reason, Some(Cause::Fault(_))) {
            if self.must_wait() {
                return;
            }
            let unseen = self.down.unseen();
            let is_first = self.down.outgoing().is_empty();
            match self.from_server.next_of_server(unseen) {
                Err(fault) => self.stop(Cause::Fault(fault)),
                Ok(FromServer::Pass(length)) => self.pass_down(length),
                Ok(FromServer::Message { length, packet }) => {
                    self.down.pass(length);
                    self.pieces.message(length, packet);
                }
                Ok(FromServer::Acknowledgement(length)) => {
                    self.pass_down(length);
                    self.unacknowledged = self.unacknowledged.saturating_sub(1);
                }
                Ok(FromServer::Publish { length, publish }) => match &self.acknowledging {
                    Some(acknowledging) => {
                        // Before the client can see it.
                        acknowledging.passed(publish);
                        self.down.pass(length);
                        self.pieces.message(length, publish.bytes);
                    }
                    // The client acknowledges what it has read.
                    None => self.pass_down(length),
                },
                Ok(FromServer::PingAnswer(length)) if is_first => {
                    self.down.take_out(length);
                    let news = self.marks.ping_answered();
                    self.report_processed(news);
                }
                Ok(FromServer::Unsubscribed(length)) => {
                    self.pass_down(length);
                    let news = self.marks.unsubscribe_answered();
                    self.report_processed(news);
                }
                Ok(FromServer::Subscribed { length, codes }) => {
                    // Paho reads as many codes as it has sent filters, wherever the packet ends.
                    if self.filters.take() == Some(codes) {
                        self.pass_down(length);
                    } else {
                        self.stop(Cause::Fault(Fault::BadLength));
                    }
                }
                Ok(FromServer::Unreadable(length)) if is_first => match packet::publish(unseen) {
                    Some(publish) => {
                        let acknowledging = self.acknowledging.as_ref();
                        let receipt = acknowledging
                            .zip(publish.ordered)
                            .and_then(|(acknowledging, ordered)| acknowledging.taken_out(ordered));
                        if receipt.is_none() {
                            self.to_server.extend(publish.answer.iter().flatten());
                        }
                        (self.report)(Report::Unreadable(Unreadable {
                            topic: publish.topic.to_vec(),
                            payload: publish.payload.to_vec(),
                            is_retained: publish.is_retained,
                            receipt,
                        }));
                        self.down.take_out(length);
                    }
                    None => self.stop(Cause::Fault(Fault::BadLength)),
                },
                // Its turn comes when everything before it has gone.
                Ok(FromServer::PingAnswer(_) | FromServer::Unreadable(_)) => return,
                Ok(FromServer::More(wanted)) => {
                    // Not while the client does not read: the buffer would grow with each cut packet.
                    if is_first {
                        self.down.provide(wanted);
                    }
                    return;
                }
            }
            if self.from_server.is_between_packets() {
                self.hearing.completed();
            }
        }
    }

    /// Clears bytes for the client that pass as they are.
    fn pass_down(&mut self, length: usize) {
        self.down.pass(length);
        self.pieces.pass(length);
    }

    /// Discards what is on its way to the client.
    fn clear_down(&mut self) {
        self.down.clear();
        self.pieces.clear();
    }

    fn write_client(&mut self) -> bool {
        if !self.ready.client_write || self.discards {
            return false;
        }
        if let Some(header) = self.pieces.header() {
            self.down.put_before(&header);
        }
        let outgoing = self.down.outgoing();
        let is_own = outgoing.is_empty() && self.from_server.is_between_packets();
        let bytes = match is_own {
            true => &*self.to_client,
            false => &outgoing[..outgoing.len().min(self.pieces.before_next())],
        };
        if bytes.is_empty() {
            return false;
        }
        match uninterrupted(|| self.client.write(bytes)) {
            Ok(length) if is_own => drop(self.to_client.drain(..length)),
            Ok(length) => {
                self.down.gone(length);
                self.pieces.gone(length);
            }
            Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => {
                self.ready.client_write = false;
                return false;
            }
            Err(_) => {
                // The client has closed its side. What it wrote before is still read.
                self.discards = true;
                self.clear_down();
                return false;
            }
        }
        true
    }

    /// Moves bytes from the client to the server.
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

    /// Sends something to a client that could not write: Paho continues only when something arrives, or
    /// after a second.
    fn wake_client(&mut self) {
        if std::mem::take(&mut self.client_waited) && self.to_client.is_empty() {
            self.to_client.extend(packet::PING_ANSWER);
        }
    }

    /// Decides which of the client's bytes are passed on.
    fn sort_up(&mut self) {
        self.up_waits = !self.sort_client();
    }

    /// Returns `false` if complete packets are left, whose turn comes later.
    fn sort_client(&mut self) -> bool {
        loop {
            let is_first = self.up.outgoing().is_empty();
            if self.marks.is_due() && self.from_client.is_between_packets() {
                self.marking = true;
                self.ping();
            }
            if self.marking {
                return false;
            }
            match self.from_client.next_of_client(self.up.unseen()) {
                // Our own client sends no faults.
                Err(_) => {
                    self.client_ended = true;
                    return true;
                }
                Ok(FromClient::Pass(length)) => self.up.pass(length),
                Ok(FromClient::Publish {
                    length,
                    is_acknowledged,
                }) => {
                    self.up.pass(length);
                    self.marks.published();
                    self.unacknowledged += usize::from(is_acknowledged);
                }
                Ok(FromClient::Subscribe { length, filters }) => {
                    self.up.pass(length);
                    self.filters = Some(filters);
                }
                Ok(FromClient::Unsubscribe(length)) => {
                    self.up.pass(length);
                    self.marks.unsubscribed();
                }
                Ok(FromClient::PingRequest(length)) if is_first => {
                    self.up.take_out(length);
                    self.to_client.extend(packet::PING_ANSWER);
                }
                // The relay sends its own, at the very end.
                Ok(FromClient::Disconnect(length)) if is_first => self.up.take_out(length),
                Ok(FromClient::PingRequest(_) | FromClient::Disconnect(_)) => return false,
                Ok(FromClient::More(wanted)) => {
                    if is_first {
                        self.up.provide(wanted);
                    }
                    return true;
                }
            }
        }
    }

    fn write_server(&mut self) -> bool {
        if !self.ready.line_write || self.broken.is_some() || self.server_ended {
            return false;
        }
        let outgoing = self.up.outgoing();
        let is_own = self.own_begun || outgoing.is_empty() && self.from_client.is_between_packets();
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
                    self.own_begun = !self.to_server.is_empty();
                    self.marking &= self.own_begun;
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
                // What the server sent before it closed says more than the failed write.
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

    pub(super) fn line(&self) -> &Line {
        &self.line
    }

    /// Returns when the last whole packet of the server arrived.
    pub(super) fn heard(&self) -> Moment {
        self.hearing.last()
    }
}
