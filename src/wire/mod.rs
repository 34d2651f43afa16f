//! From a host name to a connection that carries MQTT: dials, goes through a proxy, speaks TLS, logs
//! in, and then passes packets between the server and an MQTT client behind a port of the loopback.
//!
//! One thread for each connection waits for its sockets and for nothing else, always with a deadline,
//! and can be cancelled at any moment. It knows neither the MQTT client nor a network's dialect.

mod admission;
mod destination;
mod dial;
mod gate;
mod line;
mod login;
mod lookup;
mod opening;
mod proxy;
mod relay;
#[cfg(all(test, feature = "tls"))]
mod tests;
mod tls;
mod waiter;

use std::{sync::Arc, thread, time::Instant};

use admission::Admission;
pub(crate) use destination::Destination;
pub(crate) use gate::Permit;
use line::Line;
pub(crate) use line::Traffic;
pub(crate) use lookup::want_of_descriptors;
pub(crate) use opening::Blocking;
use opening::{open, out_of};
use relay::{Cause, Relay};
pub(crate) use relay::{Fault, Login, Unreadable};
use waiter::{Handle, Waiter, Word};

use crate::error::{Error, ErrorKind, Result};

/// Part of errors.
pub(crate) const EXHAUSTED: &str = "this process has too many files and sockets open";

/// Enough for TLS in a debug build, several times.
const STACK: usize = 512 << 10;

/// What a connection tells the thread that has asked for it.
#[derive(Debug)]
pub(crate) enum Report {
    /// The server has accepted the client, which may come in now.
    Ready(Doorway),
    /// A message was kept from the client, which cannot read its topic.
    Unreadable(Unreadable),
    /// There is no connection, or no longer. The loopback is closed after this was said, and nothing
    /// follows.
    Ended(End),
}

/// Where the client comes in.
#[derive(Debug)]
pub(crate) struct Doorway {
    /// On the loopback, by IPv4.
    pub(crate) port: u16,
    /// The client id that is let in.
    pub(crate) token: String,
    /// To be kept until the client has connected.
    pub(crate) permit: Permit,
}

/// How a connection ended.
#[derive(Clone, Debug)]
pub(crate) enum End {
    /// There was none.
    Failed(Error),
    /// The server's answer to the login, other than 0.
    Refused(u8),
    /// As it was asked to.
    Closed,
    /// By itself, after it had worked.
    Lost(Loss, Error),
}

/// What ended a connection that worked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loss {
    /// The server closed it, or it broke.
    Closed,
    /// Nothing was heard of the server, although it was asked.
    Silent,
    /// A packet was larger than the limit, in bytes.
    TooLarge(usize),
    /// The server sent what is not MQTT.
    Protocol,
}

/// What a connection is made by.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) destination: Destination,
    pub(crate) login: Login,
    /// When the server has to have accepted the client.
    pub(crate) deadline: Instant,
    /// Larger packets of the server end the connection, before memory is spent on them.
    pub(crate) max_packet: usize,
    pub(crate) traffic: Arc<Traffic>,
}

/// A connection, from the attempt on. Dropping it cancels it.
#[derive(Debug)]
pub(crate) struct Wire {
    handle: Handle,
}

impl Wire {
    /// Starts an attempt. `report` runs on the connection's thread and must not wait.
    ///
    /// # Errors
    ///
    /// The process is out of descriptors or threads; then nothing is reported.
    pub(crate) fn start(plan: Plan, report: impl Fn(Report) + Send + 'static) -> Result<Self> {
        let server = plan.destination.server.clone();
        let mut waiter = Waiter::new().map_err(|cause| out_of(&server, cause))?;
        let handle = waiter.handle().clone();
        thread::Builder::new()
            .name("ttn-wire".to_owned())
            .stack_size(STACK)
            .spawn(move || run(&mut waiter, &plan, &report))
            .map_err(Error::no_thread)?;
        Ok(Self { handle })
    }

    /// Has everything that the client has written so far leave, then ends the connection so that the
    /// server can work it off.
    pub(crate) fn finish(&self) {
        self.handle.say(Word::Finish);
    }

    /// Ends it now.
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
    // It stays open until the end was reported: the client must not notice it before.
    let mut door = None;
    let keep_alive = plan.login.keep_alive;
    let admission = Admission::new(waiter, &mut line, server, keep_alive);
    let client = match admission.admit(report, &mut door) {
        Ok(client) => client,
        Err(failure) => return report(Report::Ended(failure.into())),
    };
    let unreadable = |message| report(Report::Unreadable(message));
    let relay = Relay::new(
        waiter,
        &unreadable,
        line,
        client,
        &connack,
        keep_alive,
        plan.max_packet,
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
    // Before the client notices, so that whoever hears of both knows why.
    report(Report::Ended(ended(server, relay.line(), cause)));
    relay.close_line_at_once();
    relay.close_client();
}

/// Up to the point at which the server has accepted the client.
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

/// Why a connection that worked has ended.
fn ended(server: &str, line: &Line, cause: Cause) -> End {
    let lost = |kind, words: String| Error::new(kind, words);
    let (loss, error) = match cause {
        Cause::Word(_) => return End::Closed,
        Cause::EndOfFile => (
            Loss::Closed,
            lost(ErrorKind::ConnectionLost, format!("{server} closed it")),
        ),
        Cause::Failed(cause) => (Loss::Closed, line.explain(&server, cause)),
        Cause::Silent(silence) => (
            Loss::Silent,
            lost(
                ErrorKind::ConnectionLost,
                format!(
                    "nothing was heard of {server} for {:.1} s, although it was asked",
                    silence.as_secs_f64()
                ),
            ),
        ),
        Cause::Fault(Fault::TooLarge { bytes, limit }) => (
            Loss::TooLarge(bytes),
            lost(
                ErrorKind::Protocol,
                format!("{server} sent a packet of {bytes} bytes, and max_packet_size is {limit}"),
            ),
        ),
        Cause::Fault(Fault::BadLength) => (
            Loss::Protocol,
            lost(
                ErrorKind::Protocol,
                format!("{server} sent a packet whose lengths cannot be"),
            ),
        ),
        Cause::Fault(Fault::BadType(kind)) => (
            Loss::Protocol,
            lost(
                ErrorKind::Protocol,
                format!("{server} sent a packet of type {kind}, which no server sends then"),
            ),
        ),
        Cause::Client => (
            Loss::Protocol,
            lost(
                ErrorKind::Protocol,
                format!("{server} sent a packet that breaks the rules of MQTT"),
            ),
        ),
    };
    End::Lost(loss, error)
}
