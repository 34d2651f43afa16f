//! The connection in use, and those that were given up and have not ended yet.

use crate::{
    config::Address,
    error::Result,
    mqtt::{Attempt, Inlet, Operation, Outcome, Transport},
    wire::{Doorway, End, Plan, Wire},
};

/// The handles of a session's connections.
pub(super) struct Connections {
    inlet: Inlet,
    current: Option<Connection>,
    /// A handle of the MQTT client must not be dropped before both sides of its wire have ended.
    leaving: Vec<Transport>,
}

/// A connection to a server.
pub(super) struct Connection {
    attempt: Attempt,
    pub(super) address: Address,
    pub(super) stage: Stage,
}

pub(super) enum Stage {
    /// The wire connects and logs in.
    Dialing(Wire),
    /// The MQTT client may enter.
    Accepted(Wire, Doorway),
    Open(Box<Transport>),
}

impl Connections {
    pub(super) fn new(inlet: Inlet) -> Self {
        Self {
            inlet,
            current: None,
            leaving: Vec::new(),
        }
    }

    /// Whether every connection has ended.
    pub(super) fn is_empty(&self) -> bool {
        self.current.is_none() && self.leaving.is_empty()
    }

    /// Connects to a server and logs in.
    ///
    /// # Errors
    ///
    /// The process is out of descriptors or threads.
    pub(super) fn dial(&mut self, attempt: Attempt, address: Address, plan: Plan) -> Result<()> {
        let inlet = self.inlet.clone();
        let wire = Wire::start(plan, move |report| inlet.report(attempt, report))?;
        self.current = Some(Connection {
            attempt,
            address,
            stage: Stage::Dialing(wire),
        });
        Ok(())
    }

    /// The server has accepted the login.
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
    /// The address of the server, and why there is no MQTT client.
    pub(super) fn enter(&mut self, attempt: Attempt) -> Result<(), (Address, String)> {
        let Some(Connection { address, stage, .. }) = self.take(attempt) else {
            return Ok(());
        };
        let stage = match stage {
            Stage::Accepted(wire, doorway) => {
                match Transport::open(wire, doorway, attempt, self.inlet.clone()) {
                    Ok(transport) => Stage::Open(Box::new(transport)),
                    Err(said) => return Err((address, said)),
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

    /// The connection of this attempt, if it is the one in use.
    pub(super) fn current(&mut self, attempt: Attempt) -> Option<&mut Connection> {
        self.current
            .as_mut()
            .filter(|connection| connection.attempt == attempt)
    }

    /// The open connection of this attempt, if it is the one in use.
    pub(super) fn transport(&mut self, attempt: Attempt) -> Option<&mut Transport> {
        match &mut self.current(attempt)?.stage {
            Stage::Open(transport) => Some(transport),
            _ => None,
        }
    }

    /// How a connection has ended. Whether it is the one in use.
    pub(super) fn ended(&mut self, attempt: Attempt, end: End) -> bool {
        if let Some(transport) = self.leaving(attempt) {
            transport.ended(end);
            self.drop_ended();
            return false;
        }
        if let Some(transport) = self.transport(attempt) {
            transport.ended(end);
        }
        self.current(attempt).is_some()
    }

    /// The MQTT client has noticed the end of its connection.
    pub(super) fn noticed(&mut self, attempt: Attempt) {
        if let Some(transport) = self.leaving(attempt) {
            transport.lost();
            self.drop_ended();
        } else if let Some(transport) = self.transport(attempt) {
            transport.lost();
        }
    }

    /// The outcome of an operation of the connection in use.
    pub(super) fn advance(&mut self, attempt: Attempt, operation: Operation) -> Option<Outcome> {
        if let Some(transport) = self.leaving(attempt) {
            transport.advance(operation);
            self.drop_ended();
            return None;
        }
        self.transport(attempt)?.advance(operation)
    }

    /// Whether both sides of the connection in use have ended.
    pub(super) fn is_over(&mut self, attempt: Attempt) -> bool {
        self.transport(attempt)
            .is_some_and(|transport| transport.is_over())
    }

    /// Cuts a connection.
    pub(super) fn abandon(&mut self, attempt: Attempt) {
        if let Some(transport) = self.transport(attempt) {
            transport.cancel();
        }
        self.release(attempt);
    }

    /// Leaves a connection to its end.
    pub(super) fn release(&mut self, attempt: Attempt) {
        if let Some(Connection {
            stage: Stage::Open(transport),
            ..
        }) = self.take(attempt)
        {
            self.leaving.push(*transport);
            self.drop_ended();
        }
    }

    fn take(&mut self, attempt: Attempt) -> Option<Connection> {
        self.current
            .take_if(|connection| connection.attempt == attempt)
    }

    fn leaving(&mut self, attempt: Attempt) -> Option<&mut Transport> {
        self.leaving
            .iter_mut()
            .find(|transport| transport.attempt() == attempt)
    }

    fn drop_ended(&mut self) {
        while let Some(index) = self.leaving.iter().position(Transport::is_over) {
            self.leaving.swap_remove(index).release();
        }
    }
}
