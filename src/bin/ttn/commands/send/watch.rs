//! Hands downlinks to the client, and shows their states until each has reached the one that is waited for.

use std::{
    io,
    time::{Duration, Instant},
};

use anyhow::Result;
use serde::Serialize;
use ttn::{
    Delivery, DeliveryState, MqttClient,
    crossbeam_channel::{Receiver, Select, TryRecvError},
};

use super::{
    order::{Order, groups},
    outcome::{Outcome, Wait, together},
};
use crate::{
    escape::escaped,
    output::{Background, note},
    reader,
    status::{Status, is_closed_pipe},
};

/// How many downlinks may lack a report before further ones are handed over: a network that is slower than the pace
/// is not outrun.
const UNREPORTED: usize = 300;

/// What to wait for, and how to show it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Manner {
    pub(super) wait: Wait,
    /// How long to wait from the time when a downlink is written.
    pub(super) timeout: Duration,
    /// How many downlinks may wait to be written before further ones are handed over.
    pub(super) unwritten: usize,
    pub(super) is_json: bool,
}

/// A downlink on its way.
struct Open {
    line: Option<usize>,
    dev_id: String,
    delivery: Delivery,
    states: Receiver<DeliveryState>,
    outcome: Outcome,
    deadline: Option<Instant>,
}

/// A state as a line of JSON.
#[derive(Serialize)]
struct Line<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<usize>,
    dev_id: &'a str,
    key: String,
    #[serde(flatten)]
    state: &'a DeliveryState,
}

impl Open {
    fn new(line: Option<usize>, dev_id: String, delivery: Delivery, wait: Wait) -> Self {
        Self {
            line,
            dev_id,
            states: delivery.states(),
            delivery,
            outcome: Outcome::new(wait),
            deadline: None,
        }
    }

    fn name(&self) -> String {
        match self.line {
            Some(line) => format!("line {line}: {}", self.dev_id),
            None => self.dev_id.clone(),
        }
    }

    /// Takes the states that have come, and prints them. Returns how the downlink has ended, if it has. Once printing
    /// has failed, it is only taken what has come: what is told of the downlink in the end is exact.
    fn show(
        &mut self,
        printed: &mut Result<()>,
        out: &mut Background,
        is_json: bool,
    ) -> Option<Status> {
        loop {
            let state = match self.states.try_recv() {
                // It comes only if nothing has happened before the first look.
                Ok(DeliveryState::Accepted) => continue,
                Ok(state) => state,
                Err(TryRecvError::Empty) => return None,
                Err(TryRecvError::Disconnected) => return Some(self.outcome.end_without_more()),
            };
            if printed.is_ok() {
                *printed = self.print(&state, out, is_json);
            }
            self.outcome.advance(state);
            let end = self.outcome.end();
            if end.is_some() {
                return end;
            }
        }
    }

    fn print(&self, state: &DeliveryState, out: &mut Background, is_json: bool) -> Result<()> {
        if !is_json {
            return out.line(escaped(&format!("{}: {state}", self.name())));
        }
        out.json(&Line {
            line: self.line,
            dev_id: &self.dev_id,
            key: self.delivery.key(),
            state,
        })
    }

    /// Returns the command with which another process can follow it.
    fn how_to_follow(&self, wait: Wait) -> String {
        let key = self.delivery.key();
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.:".contains(c);
        let key = match key.chars().all(is_plain) {
            true => key,
            false => format!("'{}'", key.replace('\'', r"'\''")),
        };
        format!(
            "ttn send {} --wait {} --follow {key}",
            self.dev_id,
            wait.name()
        )
    }
}

/// All downlinks of a run.
pub(super) struct Watch<'a> {
    client: &'a MqttClient,
    out: Background,
    manner: Manner,
    orders: Vec<Order>,
    /// How many of them the client has.
    handed_over: usize,
    open: Vec<Open>,
    status: Status,
    /// How many have reached the state.
    done: usize,
}

/// Why the watch has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// Each downlink has reached its end, or its time is over.
    Complete,
    Signal,
}

impl<'a> Watch<'a> {
    pub(super) fn new(client: &'a MqttClient, manner: Manner, orders: Vec<Order>) -> Result<Self> {
        Ok(Self {
            client,
            out: Background::start()?,
            manner,
            open: Vec::new(),
            status: Status::Done,
            done: 0,
            orders,
            handed_over: 0,
        })
    }

    /// Adds a downlink that was sent before.
    pub(super) fn add(&mut self, dev_id: String, delivery: Delivery) {
        let open = Open::new(None, dev_id, delivery, self.manner.wait);
        self.open.push(open);
    }

    /// Runs until every downlink has ended, or a signal comes.
    ///
    /// # Errors
    ///
    /// If a state cannot be printed, nobody reads them any more, or the client does not take a downlink.
    pub(super) fn run(&mut self, signals: &Receiver<()>) -> Result<Ending> {
        let reader_gone = reader::watch();
        loop {
            if signals.try_recv().is_ok() {
                return Ok(Ending::Signal);
            }
            self.hand_over()?;
            self.show()?;
            if reader_gone.try_recv().is_ok() {
                return Err(io::Error::from(io::ErrorKind::BrokenPipe).into());
            }
            self.end_overdue(Instant::now());
            let has_more = self.handed_over < self.orders.len();
            if has_more && self.has_room() {
                continue;
            }
            if self.open.is_empty() {
                return Ok(Ending::Complete);
            }
            self.wait([signals, &reader_gone]);
        }
    }

    fn has_room(&self) -> bool {
        let count = |is: fn(&Outcome) -> bool| {
            let open = self.open.iter().filter(|open| is(&open.outcome));
            open.count()
        };
        count(Outcome::is_unwritten) < self.manner.unwritten
            && count(Outcome::is_unreported) < UNREPORTED
    }

    /// Hands over what has room; what goes together, at once.
    fn hand_over(&mut self) -> Result<()> {
        while self.has_room() {
            let orders = &self.orders[self.handed_over..];
            let Some(count) = groups(orders).next() else {
                return Ok(());
            };
            let orders = &orders[..count];
            let downlinks = orders.iter().map(|order| order.downlink.clone());
            let deliveries = self.client.send_batch(&orders[0].dev_id, downlinks)?;
            self.handed_over += count;
            let open = |(order, delivery): (&Order, Delivery)| {
                Open::new(order.line, order.dev_id.clone(), delivery, self.manner.wait)
            };
            self.open.extend(orders.iter().zip(deliveries).map(open));
        }
        Ok(())
    }

    /// Prints the states that have come, and removes what has ended.
    fn show(&mut self) -> Result<()> {
        let now = Instant::now();
        let Manner {
            is_json, timeout, ..
        } = self.manner;
        let mut printed = Ok(());
        let mut index = 0;
        while let Some(open) = self.open.get_mut(index) {
            match open.show(&mut printed, &mut self.out, is_json) {
                Some(status) => {
                    self.status = together(self.status, status);
                    self.done += usize::from(status == Status::Done);
                    self.open.remove(index);
                }
                None => {
                    if open.deadline.is_none() && !open.outcome.is_unwritten() {
                        open.deadline = now.checked_add(timeout);
                    }
                    index += 1;
                }
            }
        }
        printed
    }

    fn end_overdue(&mut self, now: Instant) {
        let Manner { wait, timeout, .. } = self.manner;
        let status = &mut self.status;
        self.open.retain(|open| {
            let is_overdue = open.deadline.is_some_and(|deadline| deadline <= now);
            if is_overdue {
                *status = together(*status, open.outcome.end_in_time());
                note(format_args!(
                    "{}: not {} within {}: it is {}; to follow it further: {}",
                    open.name(),
                    wait.name(),
                    humantime::format_duration(timeout),
                    open.outcome.last(),
                    open.how_to_follow(wait)
                ));
            }
            !is_overdue
        });
    }

    /// Waits until something happens.
    fn wait(&self, others: [&Receiver<()>; 2]) {
        let mut select = Select::new();
        for other in others {
            select.recv(other);
        }
        for open in &self.open {
            select.recv(&open.states);
        }
        let deadline = self.open.iter().filter_map(|open| open.deadline).min();
        match deadline {
            Some(deadline) => drop(select.ready_deadline(deadline)),
            None => drop(select.ready()),
        }
    }

    /// Shows what became of the downlinks until the client was closed, and tells what is known of those without an end,
    /// and which were not sent. Returns the status of all.
    ///
    /// # Errors
    ///
    /// The one that ended the watch; or if a state cannot be printed.
    pub(super) fn finish(mut self, ended: Result<Ending>) -> Result<Status> {
        let shown = self.show();
        for open in &self.open {
            self.status = together(self.status, open.outcome.end_in_time());
            note(format_args!(
                "{}: it is {}, and it is not known yet whether it will be {}; to follow it: {}",
                open.name(),
                open.outcome.last(),
                self.manner.wait.name(),
                open.how_to_follow(self.manner.wait)
            ));
        }
        let all = self.orders.len();
        match self.orders.get(self.handed_over).map(|next| next.line) {
            Some(Some(line)) => note(format_args!(
                "{} of {all} downlinks were not sent: all from line {line} on",
                all - self.handed_over
            )),
            Some(None) => note("nothing was sent"),
            None => {}
        }
        if self.orders.iter().any(|order| order.line.is_some()) {
            let (done, wait) = (self.done, self.manner.wait.name());
            note(format_args!("{done} of {all} downlinks were {wait}"));
        }
        match ended {
            Ok(Ending::Complete) => {}
            Ok(Ending::Signal) => self.status = together(self.status, Status::of_signal(true)),
            // Nobody reads the states any more; a batch that stopped in the middle is not done.
            Err(error) if is_closed_pipe(&error) && self.handed_over < all => {
                return Ok(together(self.status, Status::TimedOut));
            }
            Err(error) => return Err(error),
        }
        shown?;
        Ok(self.status)
    }
}
