//! From a host name to a connection that carries MQTT: dials, passes a proxy, starts TLS, logs in, and
//! then relays packets between the server and an MQTT client on a loopback port.
//!
//! Each connection has one thread, which waits only for its sockets, always with a deadline, and can be
//! cancelled at any time. It knows neither the MQTT client nor the dialect of a network.

mod acknowledgement;
mod admission;
mod destination;
mod dial;
mod gate;
mod line;
mod login;
mod lookup;
mod opening;
mod probe;
mod proxy;
mod relay;
mod report;
mod shortage;
#[cfg(all(test, feature = "tls"))]
mod tests;
mod tls;
mod visit;
mod waiter;
mod window;

use std::{sync::Arc, time::Instant};

pub(crate) use acknowledgement::{Acknowledgement, Acknowledging};
use admission::Admission;
pub(crate) use destination::Destination;
pub(crate) use gate::Permit;
use line::Line;
pub(crate) use line::Traffic;
pub(crate) use opening::Blocking;
use opening::open;
pub(crate) use probe::{Security, Tried};
use relay::{Cause, Relay};
pub(crate) use relay::{Login, Unreadable, first_of};
pub(crate) use report::{Doorway, End, Loss, Report};
use shortage::out_of;
pub(crate) use shortage::{EXHAUSTED, want_of_descriptors};
use waiter::{Handle, Waiter, Word};
pub(crate) use window::Limits;

use crate::{
    error::{Error, Result},
    process,
};

/// Several times what TLS needs in a debug build.
const STACK: usize = 512 << 10;

/// What is needed to open a connection.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) destination: Destination,
    pub(crate) login: Login,
    /// When the server must have accepted the client.
    pub(crate) deadline: Instant,
    /// A larger packet from the server ends the connection, before memory is spent on it.
    pub(crate) max_packet: usize,
    pub(crate) traffic: Arc<Traffic>,
    /// Who acknowledges the messages of the server, in place of the client; `None` if nothing is to be acknowledged.
    pub(crate) acknowledging: Option<Acknowledging>,
}

/// A connection, from the first attempt to open it. Dropping it cancels it.
#[derive(Debug)]
pub(crate) struct Wire {
    handle: Handle,
}

impl Wire {
    /// Starts an attempt. `report` runs on the connection's thread and must not wait.
    ///
    /// # Errors
    ///
    /// If the process is out of descriptors or threads; nothing is reported in that case.
    pub(crate) fn start(plan: Plan, report: impl Fn(Report) + Send + 'static) -> Result<Self> {
        let server = plan.destination.server.clone();
        let mut waiter = Waiter::new().map_err(|cause| out_of(&server, cause))?;
        let handle = waiter.handle().clone();
        if let Some(acknowledging) = &plan.acknowledging {
            acknowledging.begin(handle.clone());
        }
        process::start_thread_with_stack("ttn-wire", STACK, move || {
            run(&mut waiter, &plan, &report)
        })
        .map_err(Error::no_thread)?;
        Ok(Self { handle })
    }

    /// Sends everything that the client has written so far, then ends the connection so that the server
    /// can process it.
    pub(crate) fn finish(&self) {
        self.handle.say(Word::Finish);
    }

    /// Ends the connection now.
    pub(crate) fn cancel(&self) {
        self.handle.say(Word::Cancel);
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.cancel();
    }
}

fn run(waiter: &mut Waiter, plan: &Plan, report: &dyn Fn(Report)) {
    let server = &plan.destination.server;
    let (mut line, connack) = match enter(waiter, plan) {
        Ok(entered) => entered,
        Err(end) => return report(Report::Ended(end)),
    };
    // Stays open until the end is reported: the client must not notice it earlier.
    let mut door = None;
    let keep_alive = plan.login.keep_alive;
    let admission = Admission::new(waiter, &mut line, server, keep_alive);
    let session_present = login::session_present(connack);
    let client = match admission.admit(report, session_present, &mut door) {
        Ok(client) => client,
        Err(failure) => return report(Report::Ended(failure.into())),
    };
    let relay = Relay::new(
        waiter,
        report,
        line,
        client,
        keep_alive,
        plan.max_packet,
        plan.acknowledging.clone(),
    );
    let mut relay = match relay {
        Ok(relay) => relay,
        Err(cause) => return report(Report::Ended(End::Failed(out_of(server, cause)))),
    };
    drop(door);
    let cause = relay.run();
    if let Cause::Word(Word::Finish) = cause {
        relay.finish();
        return report(Report::Ended(End::Closed));
    }
    // Reported before the client notices, so that the reason is known by then.
    let end = End::of_relay(server, relay.line(), relay.heard(), cause);
    report(Report::Ended(end));
    relay.close_line_at_once();
    relay.close_client();
}

/// Opens a connection and logs in.
fn enter(waiter: &mut Waiter, plan: &Plan) -> Result<(Line, login::Connack), End> {
    let destination = &plan.destination;
    let mut line = open(
        waiter,
        destination,
        Arc::clone(&plan.traffic),
        plan.deadline,
    )?;
    let connack = login::log_in(
        waiter,
        &mut line,
        &plan.login,
        &destination.server,
        destination.trust.is_some(),
        plan.deadline,
    )?;
    Ok((line, connack))
}
