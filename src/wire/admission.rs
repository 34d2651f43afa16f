//! Admits the client on the loopback when its turn comes, and meanwhile keeps the connection to the
//! server alive.

use std::{
    io,
    time::{Duration, Instant},
};

use mio::net::TcpStream;

use super::{
    gate::Ticket,
    line::Line,
    opening::{Failure, wait},
    relay::{CANDIDATE, DOOR, Door, Look, PING_REQUEST},
    report::{Doorway, Report},
    shortage::out_of,
    waiter::{Waiter, earlier},
};
use crate::error::{Error, ErrorKind};

/// How long the client may take to connect, including the time that it waits at the gate.
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) struct Admission<'a> {
    waiter: &'a mut Waiter,
    line: &'a mut Line,
    server: &'a str,
    keep_alive: Duration,
    next_ping: Instant,
    deadline: Instant,
}

impl<'a> Admission<'a> {
    pub(super) fn new(
        waiter: &'a mut Waiter,
        line: &'a mut Line,
        server: &'a str,
        keep_alive: Duration,
    ) -> Self {
        let now = Instant::now();
        Self {
            waiter,
            line,
            server,
            keep_alive,
            next_ping: now + keep_alive,
            deadline: now + PATIENCE,
        }
    }

    /// Opens a port, reports it, and waits for the client.
    pub(super) fn admit(
        mut self,
        report: &dyn Fn(Report),
        session_present: bool,
        door: &mut Option<Door>,
    ) -> Result<TcpStream, Failure> {
        let server = self.server;
        let local = |cause: io::Error| Failure::Failed(out_of(&server, cause));
        let ticket = Ticket::take(self.waiter.handle());
        let permit = loop {
            match ticket.enter(Instant::now()) {
                Ok(permit) => break permit,
                Err(next) => self.wait(Some(next))?,
            }
        };
        let door = door.insert(Door::open(self.waiter, DOOR).map_err(local)?);
        report(Report::Ready(Doorway {
            port: door.port().map_err(local)?,
            token: door.token().to_owned(),
            permit,
            session_present,
        }));
        loop {
            match door.look(self.waiter, CANDIDATE).map_err(local)? {
                Look::Client(client) => return Ok(client),
                Look::Nobody(again) => self.wait(again)?,
            }
        }
    }

    fn wait(&mut self, until: Option<Instant>) -> Result<(), Failure> {
        let now = Instant::now();
        if now >= self.next_ping {
            self.next_ping = now + self.keep_alive;
            self.ping()?;
        }
        let until = earlier(until, Some(self.next_ping));
        if wait(self.waiter, &self.server, until, self.deadline)? {
            return Ok(());
        }
        Err(Failure::Failed(Error::new(
            ErrorKind::TimedOut,
            format!(
                "the MQTT client did not take over the connection to {} in time",
                self.server
            ),
        )))
    }

    /// Sends a ping. The relay reads the answer, like everything else that the server sends.
    fn ping(&mut self) -> Result<(), Failure> {
        let written = self.line.write(&PING_REQUEST).and_then(|length| {
            if length < PING_REQUEST.len() {
                return Err(io::ErrorKind::WriteZero.into());
            }
            self.line.flush()
        });
        match written {
            Err(cause) if cause.kind() != io::ErrorKind::WouldBlock => {
                Err(self.line.explain(&self.server, cause).into())
            }
            _ => Ok(()),
        }
    }
}
