//! The connection in use, and earlier ones that have not ended yet.

use std::time::{Duration, Instant};

use super::lifecycle::LATE_REPORTS;
use crate::{
    config::Address,
    error::Result,
    message::MessageIds,
    mqtt::{Attempt, Inlet, Operation, Outcome, Transport},
    wire::{Doorway, End, Plan, Wire},
};

/// How long a connection that the client has closed stays open for a server that is busy with its
/// downlinks.
const LINGER: Duration = Duration::from_secs(30);

/// How long a connection may take to end, once it is no longer in use. It takes at most half a minute
/// after it has lingered, unless the threads of the MQTT client do not run.
const MAX_ENDING_TIME: Duration = Duration::from_secs(120);

/// The most connections that may be ending. A client that connects and closes again and again, while its
/// server processes nothing, cuts the oldest.
const MAX_ENDING: usize = 16;

/// The handles of a session's connections.
pub(super) struct Connections {
    inlet: Inlet,
    current: Option<Connection>,
    /// Connections that are no longer in use. A handle of the MQTT client must not be dropped before
    /// both sides of its wire have ended.
    ending: Vec<Ending>,
}

/// A connection that is no longer in use.
struct Ending {
    transport: Transport,
    /// It stays open until then, so that the server processes what was published; `None` if it is
    /// ending.
    lingers_until: Option<Instant>,
    /// The client no longer waits for its end then.
    give_up: Instant,
}

/// A connection to a server.
pub(super) struct Connection {
    attempt: Attempt,
    pub(super) address: Address,
    pub(super) stage: Stage,
}

/// How far a connection has come.
pub(super) enum Stage {
    /// The wire connects and logs in.
    Dialing(Wire),
    /// The server has accepted the login; the MQTT client may enter.
    Accepted(Wire, Doorway),
    /// The MQTT client has entered, or is about to.
    Entered(Box<Transport>),
}

impl Connections {
    pub(super) fn new(inlet: Inlet) -> Self {
        Self {
            inlet,
            current: None,
            ending: Vec::new(),
        }
    }

    /// Returns whether every connection has ended.
    pub(super) fn is_empty(&self) -> bool {
        self.current.is_none() && self.ending.is_empty()
    }

    /// Connects to a server and logs in.
    ///
    /// # Errors
    ///
    /// When the process is out of descriptors or threads.
    pub(super) fn dial(&mut self, attempt: Attempt, address: Address, plan: Plan) -> Result<()> {
        let inlet = self.inlet.clone();
        let wire = Wire::start(plan, move |report| inlet.forward(attempt, report))?;
        self.current = Some(Connection {
            attempt,
            address,
            stage: Stage::Dialing(wire),
        });
        Ok(())
    }

    /// Notes that the server has accepted the login.
    pub(super) fn accepted(&mut self, attempt: Attempt, doorway: Doorway) {
        let Some(Connection { address, stage, .. }) = self.take(attempt) else {
            return;
        };
        let stage = match stage {
            Stage::Dialing(wire) => Stage::Accepted(wire, doorway),
            other => other,
        };
        self.current = Some(Connection {
            attempt,
            address,
            stage,
        });
    }

    /// Connects the MQTT client to the wire.
    ///
    /// # Errors
    ///
    /// The address of the server, and why no MQTT client could be created.
    pub(super) fn enter(&mut self, attempt: Attempt) -> Result<(), (Address, String)> {
        let Some(Connection { address, stage, .. }) = self.take(attempt) else {
            return Ok(());
        };
        let stage = match stage {
            Stage::Accepted(wire, doorway) => {
                match Transport::enter(wire, doorway, attempt, self.inlet.clone()) {
                    Ok(transport) => Stage::Entered(Box::new(transport)),
                    Err(detail) => return Err((address, detail)),
                }
            }
            other => other,
        };
        self.current = Some(Connection {
            attempt,
            address,
            stage,
        });
        Ok(())
    }

    /// Returns the connection of this attempt if it is in use.
    pub(super) fn current(&mut self, attempt: Attempt) -> Option<&mut Connection> {
        self.current
            .as_mut()
            .filter(|connection| connection.attempt == attempt)
    }

    /// Returns the transport of this attempt if its connection is in use and the MQTT client has
    /// entered.
    pub(super) fn transport(&mut self, attempt: Attempt) -> Option<&mut Transport> {
        match &mut self.current(attempt)?.stage {
            Stage::Entered(transport) => Some(transport),
            _ => None,
        }
    }

    /// Notes how a connection has ended. Returns whether it is the one in use.
    pub(super) fn ended(&mut self, attempt: Attempt, end: End) -> bool {
        if let Some(Ending { transport, .. }) = self.ending(attempt) {
            transport.ended(end);
            self.drop_ended();
            return false;
        }
        if let Some(transport) = self.transport(attempt) {
            transport.ended(end);
        }
        self.current(attempt).is_some()
    }

    /// Notes that the MQTT client has noticed the end of its connection.
    pub(super) fn noticed(&mut self, attempt: Attempt) {
        if let Some(Ending { transport, .. }) = self.ending(attempt) {
            transport.lost();
            self.drop_ended();
        } else if let Some(transport) = self.transport(attempt) {
            transport.lost();
        }
    }

    /// Returns the outcome of an operation, if it belongs to the connection in use.
    pub(super) fn advance(&mut self, attempt: Attempt, operation: Operation) -> Option<Outcome> {
        if let Some(ending) = self.ending(attempt) {
            if let Some(Outcome::Unsubscribed) = ending.transport.advance(operation) {
                if let Some(until) = &mut ending.lingers_until {
                    *until = (*until).min(Instant::now() + LATE_REPORTS);
                }
            }
            self.drop_ended();
            return None;
        }
        self.transport(attempt)?.advance(operation)
    }

    /// Returns whether both sides of the connection in use have ended.
    pub(super) fn is_over(&mut self, attempt: Attempt) -> bool {
        self.transport(attempt)
            .is_some_and(|transport| transport.is_over())
    }

    /// Notes how many of the messages published on a connection the server has processed.
    pub(super) fn processed(&mut self, attempt: Attempt, messages: u64) -> Vec<MessageIds> {
        let transport = self.transport(attempt);
        transport.map_or_else(Vec::new, |transport| transport.processed(messages))
    }

    /// Subscribes the connection in use to these filters.
    pub(super) fn subscribe(&mut self, attempt: Attempt, filters: &[String]) {
        if let Some(transport) = self.transport(attempt) {
            transport.subscribe(filters);
        }
    }

    /// Ends the subscription of the connection in use; the answer shows what is processed.
    pub(super) fn unsubscribe(&mut self, attempt: Attempt, filters: &[String]) {
        if let Some(transport) = self.transport(attempt) {
            transport.unsubscribe(filters);
        }
    }

    /// Ends the connection in use in a way that lets the server process everything.
    pub(super) fn finish(&mut self, attempt: Attempt) {
        if let Some(transport) = self.transport(attempt) {
            transport.finish();
        }
    }

    /// Cuts a connection and stops using it.
    pub(super) fn abandon(&mut self, attempt: Attempt) {
        if let Some(transport) = self.transport(attempt) {
            transport.cancel();
        }
        self.release(attempt);
    }

    /// Stops using a connection, which then ends on its own.
    pub(super) fn release(&mut self, attempt: Attempt) {
        if let Some(Connection {
            stage: Stage::Entered(transport),
            ..
        }) = self.take(attempt)
        {
            self.ending.push(Ending {
                transport: *transport,
                lingers_until: None,
                give_up: Instant::now() + MAX_ENDING_TIME,
            });
            self.drop_ended();
        }
    }

    /// Stops using a connection, which stays open until the server has processed what was published,
    /// and then ends on its own.
    pub(super) fn linger(&mut self, attempt: Attempt, filters: &[String], now: Instant) {
        if let Some(Connection {
            stage: Stage::Entered(mut transport),
            ..
        }) = self.take(attempt)
        {
            transport.unsubscribe(filters);
            self.ending.push(Ending {
                transport: *transport,
                lingers_until: Some(now + LINGER),
                give_up: now + LINGER + MAX_ENDING_TIME,
            });
            self.drop_ended();
            let surplus = self.ending.len().saturating_sub(MAX_ENDING);
            for oldest in &mut self.ending[..surplus] {
                oldest.lingers_until = None;
                oldest.transport.cancel();
            }
        }
    }

    /// Returns whether this connection has been left and stays open.
    pub(super) fn lingers(&self, attempt: Attempt) -> bool {
        self.ending
            .iter()
            .any(|ending| ending.transport.attempt() == attempt && ending.lingers_until.is_some())
    }

    /// Returns whether the MQTT client has entered the connection in use, which may get messages.
    pub(super) fn has_entered(&self) -> bool {
        let current = self.current.as_ref();
        current.is_some_and(|connection| matches!(connection.stage, Stage::Entered(_)))
    }

    /// Returns when [`handle_deadline`](Self::handle_deadline) is due.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.ending
            .iter()
            .map(|ending| ending.lingers_until.unwrap_or(ending.give_up))
            .min()
    }

    /// Ends the connections that have lingered long enough, and gives up those that do not end.
    pub(super) fn handle_deadline(&mut self, now: Instant) {
        for Ending {
            transport,
            lingers_until,
            ..
        } in &mut self.ending
        {
            if lingers_until.take_if(|until| *until <= now).is_some() {
                transport.finish();
            }
        }
        let is_stuck = |ending: &Ending| ending.give_up <= now;
        while let Some(index) = self.ending.iter().position(is_stuck) {
            let stuck = self.ending.swap_remove(index).transport;
            stuck.cancel();
            log::warn!(
                "the MQTT client does not notice the end of a connection; continuing without it"
            );
            // Dropping it now could block every client of the process.
            std::mem::forget(stuck);
        }
    }

    fn take(&mut self, attempt: Attempt) -> Option<Connection> {
        self.current
            .take_if(|connection| connection.attempt == attempt)
    }

    fn ending(&mut self, attempt: Attempt) -> Option<&mut Ending> {
        self.ending
            .iter_mut()
            .find(|ending| ending.transport.attempt() == attempt)
    }

    fn drop_ended(&mut self) {
        let is_over = |ending: &Ending| ending.transport.is_over();
        while let Some(index) = self.ending.iter().position(is_over) {
            self.ending.swap_remove(index).transport.drop_handle();
        }
    }
}
