//! How both sides of a relay end.

use std::{
    io,
    net::Shutdown,
    time::{Duration, Instant},
};

use super::{CLIENT_PATIENCE, Cause, Relay, packet};
use crate::wire::{
    gate::{Permit, Ticket},
    waiter::{Word, earlier},
};

/// The time limit for sending what the client has written, and again for the server to close its
/// side: The Things Stack first processes what it has read, some milliseconds per downlink.
const FAREWELL: Duration = Duration::from_secs(10);

impl Relay<'_> {
    /// Ends a connection that the user closes: sends what the client has written, then gives the server
    /// time to process it.
    pub(in crate::wire) fn finish(mut self) {
        let end = self.take_leave();
        log::debug!("the connection is closed: {end:?}");
        self.close_client();
        self.line.end();
    }

    /// Waits until the server has closed its side. Returns why the wait ended.
    fn take_leave(&mut self) -> Cause {
        let leave = |relay: &mut Self| {
            let until = Instant::now() + FAREWELL;
            let permit = relay.go_on_until(until, Self::permit())?;
            relay.shut_client();
            relay.go_on_until(until, |relay, _| {
                let is_all = relay.client_ended && !relay.up_waits;
                is_all.then_some(()).ok_or(None)
            })?;
            drop(permit);
            // The last that are acknowledged.
            relay.acknowledge();
            relay.acknowledging = None;
            if relay.from_client.is_between_packets() {
                relay.to_server.extend(packet::DISCONNECT);
            }
            relay.go_on_until(until, |relay, _| relay.close_line())?;
            let until = Instant::now() + FAREWELL;
            relay.go_on_until(until, |_, _| Err::<(), _>(None))
        };
        leave(self).err().unwrap_or(Cause::EndOfFile)
    }

    /// Relays packets until `done` returns a value or the server has gone. The `Err` of `done` is when
    /// to call it again, unless a socket is ready earlier.
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

    /// Returns a function that waits at the gate.
    fn permit() -> impl FnMut(&mut Self, Instant) -> Result<Permit, Option<Instant>> {
        let mut ticket = None;
        move |relay, now| {
            ticket
                .get_or_insert_with(|| Ticket::take(relay.waiter.handle()))
                .enter(now)
                .map_err(Some)
        }
    }

    /// Announces that nothing more will be written to the server; `Err` while something is unsent.
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
            // Reading notices a server that has gone.
            _ => Ok(()),
        }
    }

    /// Announces to the client that the connection has ended.
    fn shut_client(&mut self) {
        // Fails only if the client has already gone.
        let _ = self.client.shutdown(Shutdown::Write);
        self.discards = true;
        self.clear_down();
    }

    /// Closes the client's side when the gate allows it. Reads everything that the client writes until
    /// it closes; otherwise the system would discard what the client has not read yet.
    pub(in crate::wire) fn close_client(&mut self) {
        if self.client_ended {
            return;
        }
        // Without a deadline: the gate admits everyone in the end.
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
    pub(in crate::wire) fn close_line_at_once(&mut self) {
        self.line.end();
    }
}
