//! The connection in use, and earlier ones that have not ended yet.

use std::{sync::Arc, time::Instant};

use super::{ending::Endings, lifecycle::LATE_REPORTS};
use crate::{
    config::Address,
    error::Result,
    message::MessageIds,
    mqtt::{Attempt, Inlet, Operation, Outcome, Transport},
    wire::{Acknowledgement, Acknowledging, Doorway, End, Plan, Wire},
};

/// The handles of a session's connections.
pub(super) struct Connections {
    inlet: Inlet,
    /// What acknowledges messages, with a broker of one's own.
    acknowledgement: Option<Arc<Acknowledgement>>,
    current: Option<Connection>,
    /// Connections that are no longer in use. A handle of the MQTT client must not be dropped before
    /// both sides of its wire have ended.
    endings: Endings<Transport>,
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
    pub(super) fn new(inlet: Inlet, acknowledgement: Option<Arc<Acknowledgement>>) -> Self {
        Self {
            inlet,
            acknowledgement,
            current: None,
            endings: Endings::new(),
        }
    }

    /// Returns whether every connection has ended.
    pub(super) fn is_empty(&self) -> bool {
        self.current.is_none() && self.endings.is_empty()
    }

    /// Returns what acknowledges the messages of a connection, if anything does.
    pub(super) fn acknowledging(&self, attempt: Attempt) -> Option<Acknowledging> {
        let acknowledgement = self.acknowledgement.as_ref()?;
        Some(acknowledgement.connection(attempt.0))
    }

    /// Returns how many messages nobody works on any more, and how many must be handled.
    pub(super) fn progress(&self) -> (u64, usize) {
        let acknowledgement = self.acknowledgement.as_ref();
        acknowledgement.map_or((0, 0), |it| it.progress())
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
        let acknowledging = self.acknowledging(attempt);
        let stage = match stage {
            Stage::Accepted(wire, doorway) => {
                let inlet = self.inlet.clone();
                match Transport::enter(wire, doorway, attempt, inlet, acknowledging) {
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
        if let Some(transport) = self.ending(attempt) {
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
        if let Some(transport) = self.ending(attempt) {
            transport.lost();
            self.drop_ended();
        } else if let Some(transport) = self.transport(attempt) {
            transport.lost();
        }
    }

    /// Returns the outcome of an operation, if it belongs to the connection in use.
    pub(super) fn advance(&mut self, attempt: Attempt, operation: Operation) -> Option<Outcome> {
        if let Some(transport) = self.ending(attempt) {
            if let Some(Outcome::Unsubscribed) = transport.advance(operation) {
                let latest = Instant::now() + LATE_REPORTS;
                self.endings.shorten(is(attempt), latest);
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
    pub(super) fn subscribe(&mut self, attempt: Attempt, filters: &[String], qos: u8) {
        if let Some(transport) = self.transport(attempt) {
            transport.subscribe(filters, qos);
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
            self.endings.release(*transport, Instant::now());
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
            self.endings.linger(*transport, now);
            self.drop_ended();
            self.endings.surplus().for_each(Transport::cancel);
        }
    }

    /// Returns whether this connection has been left and stays open.
    pub(super) fn lingers(&self, attempt: Attempt) -> bool {
        self.endings.lingers(is(attempt))
    }

    /// Returns whether the MQTT client has entered the connection in use, which may get messages.
    pub(super) fn has_entered(&self) -> bool {
        let current = self.current.as_ref();
        current.is_some_and(|connection| matches!(connection.stage, Stage::Entered(_)))
    }

    /// Returns when [`handle_deadline`](Self::handle_deadline) is due.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.endings.next_deadline()
    }

    /// Ends the connections that have lingered long enough, and gives up those that do not end.
    pub(super) fn handle_deadline(&mut self, now: Instant) {
        self.endings.due(now).for_each(Transport::finish);
        for stuck in self.endings.give_up(now) {
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

    fn ending(&mut self, attempt: Attempt) -> Option<&mut Transport> {
        self.endings.find(is(attempt))
    }

    fn drop_ended(&mut self) {
        let ended = self.endings.take_ended(Transport::is_over);
        ended.into_iter().for_each(Transport::drop_handle);
    }
}

/// Returns whether a transport belongs to this attempt.
fn is(attempt: Attempt) -> impl Fn(&Transport) -> bool {
    move |transport| transport.attempt() == attempt
}
