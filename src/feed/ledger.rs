//! What was taken from the network and is not acknowledged by the broker. Pure state: inputs and the time in,
//! actions out.

mod doubt;

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use crate::message::RawMessage;
use doubt::{Doubt, Verdict};

/// How long to wait after a failure to publish. The end of the connection is told on another channel, and
/// possibly later.
const PAUSE: Duration = Duration::from_millis(100);

/// The limits of a [`Ledger`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// How many messages it keeps.
    pub(super) messages: usize,
    /// How many bytes, of topics and payloads, it keeps. A single message may be larger.
    pub(super) bytes: usize,
    /// How many messages may wait for their PUBACK.
    pub(super) in_flight: usize,
    /// Whether uplinks that were not taken can be fetched later.
    pub(super) fetches: bool,
}

/// A message to publish.
#[derive(Debug)]
pub(super) struct Taken<M> {
    /// On the broker's topic.
    pub(super) message: RawMessage,
    /// From where to go on once this message and all before it are acknowledged; `None` if that is not known.
    pub(super) mark: Option<M>,
    /// Whether it is a report on a downlink.
    pub(super) is_report: bool,
}

/// The messages of a feed, in the order in which they came.
#[derive(Debug)]
pub(super) struct Ledger<M> {
    limits: Limits,
    entries: VecDeque<Entry<M>>,
    /// The number of the first entry.
    first: u64,
    /// The number of the first entry that may be waiting.
    next: u64,
    in_flight: usize,
    bytes: usize,
    /// Whether the broker is connected.
    is_up: bool,
    paused_until: Option<Instant>,
    /// Whether the first message ends the connections.
    doubt: Doubt,
    /// What to tell of a message that does.
    accused: Option<(RawMessage, bool)>,
    intake: Intake,
    /// From where to go on: everything before it is acknowledged.
    mark: Option<M>,
    counts: Counts,
}

#[derive(Debug)]
struct Entry<M> {
    message: RawMessage,
    mark: Option<M>,
    is_report: bool,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Waiting,
    InFlight,
    /// Acknowledged, or given up.
    Settled,
}

/// What comes from the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Intake {
    Open,
    /// The list was full: the network client must go.
    Overflowing,
    /// The network client has gone; a new one takes over when the list is empty.
    LetGo,
    /// The feed is closing.
    Ended,
}

/// What a [`Ledger`] has counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// Messages that were handed to the broker's connection; one that is published again counts again.
    pub(super) published: u64,
    pub(super) acknowledged: u64,
    /// Those of them that are reports on downlinks.
    pub(super) reports: u64,
    pub(super) dropped: u64,
    /// How often the network client was let go.
    pub(super) overflows: u64,
}

/// What to do.
#[derive(Debug)]
pub(super) enum Action {
    /// Publish this message, and tell the outcome with this number.
    Publish(u64, RawMessage),
    /// Tell that connections end before anything is acknowledged, perhaps because of this message. It is published again.
    Suspect(RawMessage),
    /// Tell that this message is given up, because it ends the connections.
    GiveUp(RawMessage),
    /// Let the network client go.
    LetGo,
    /// Start a new one from [`Ledger::mark`].
    Resume,
}

impl<M> Ledger<M> {
    /// Creates an empty list, for what comes after a mark.
    pub(super) fn new(limits: Limits, mark: Option<M>) -> Self {
        Self {
            limits,
            entries: VecDeque::new(),
            first: 0,
            next: 0,
            in_flight: 0,
            bytes: 0,
            is_up: false,
            paused_until: None,
            doubt: Doubt::default(),
            accused: None,
            intake: Intake::Open,
            mark,
            counts: Counts::default(),
        }
    }

    pub(super) fn counts(&self) -> Counts {
        self.counts
    }

    /// Returns from where to go on. Everything that came before it is acknowledged.
    pub(super) fn mark(&self) -> Option<&M> {
        self.mark.as_ref()
    }

    /// Returns how many messages are not acknowledged, or wait for an earlier one that is not.
    pub(super) fn waiting(&self) -> usize {
        self.entries.len()
    }

    /// Returns whether to read another message of the network. A list that is full lets messages wait in the
    /// network client, unless the broker is away.
    pub(super) fn wants_messages(&self) -> bool {
        match self.intake {
            Intake::Open => !self.is_full() || (self.limits.fetches && !self.is_up),
            Intake::Overflowing | Intake::LetGo | Intake::Ended => false,
        }
    }

    fn is_full(&self) -> bool {
        self.entries.len() >= self.limits.messages || self.bytes >= self.limits.bytes
    }

    /// Takes a message of the network.
    pub(super) fn take(&mut self, taken: Taken<M>) {
        if self.intake != Intake::Open || self.is_full() {
            return self.missed(1);
        }
        self.bytes += taken.message.size();
        self.entries.push_back(Entry {
            message: taken.message,
            mark: taken.mark,
            is_report: taken.is_report,
            state: State::Waiting,
        });
    }

    /// Notes that messages of the network were dropped, here or before.
    pub(super) fn missed(&mut self, messages: u64) {
        self.counts.dropped += messages;
        if self.limits.fetches && self.intake == Intake::Open {
            self.intake = Intake::Overflowing;
            self.counts.overflows += 1;
        }
    }

    /// Notes that messages were dropped that the network client fetches itself, or nobody.
    pub(super) fn dropped(&mut self, messages: u64) {
        self.counts.dropped += messages;
    }

    /// Notes whether the broker is connected.
    pub(super) fn broker(&mut self, is_up: bool) {
        if self.is_up && !is_up {
            self.disconnected();
        }
        if is_up {
            self.doubt.connected();
        }
        self.is_up = is_up;
        self.paused_until = None;
    }

    fn disconnected(&mut self) {
        let verdict = self.doubt.ended();
        let Some(first) = self.entries.front_mut() else {
            return;
        };
        match verdict {
            Verdict::Nothing => {}
            Verdict::Suspected => self.accused = Some((first.message.clone(), false)),
            Verdict::Guilty => {
                self.accused = Some((first.message.clone(), true));
                self.counts.dropped += 1;
                self.in_flight -= usize::from(first.state == State::InFlight);
                first.state = State::Settled;
                self.advance();
            }
        }
    }

    /// Notes the outcome of a message. One that is not known to be there is published again.
    pub(super) fn answered(&mut self, number: u64, is_acknowledged: bool, now: Instant) {
        let index = number.checked_sub(self.first);
        let index = index.and_then(|index| usize::try_from(index).ok());
        let entry = index.and_then(|index| self.entries.get_mut(index));
        let Some(entry) = entry.filter(|entry| entry.state == State::InFlight) else {
            return;
        };
        self.in_flight -= 1;
        if !is_acknowledged {
            entry.state = State::Waiting;
            self.next = self.next.min(number);
            self.paused_until = now.checked_add(PAUSE);
            return;
        }
        entry.state = State::Settled;
        self.counts.acknowledged += 1;
        self.counts.reports += u64::from(entry.is_report);
        self.doubt.acknowledged(number == self.first);
        self.advance();
    }

    /// Moves the mark over what is settled.
    fn advance(&mut self) {
        while let Some(first) = self.take_settled() {
            self.first += 1;
            self.bytes -= first.message.size();
            if first.mark.is_some() {
                self.mark = first.mark;
            }
        }
        self.next = self.next.max(self.first);
    }

    /// Takes the first message if it is settled.
    fn take_settled(&mut self) -> Option<Entry<M>> {
        match self.entries.front()?.state {
            State::Settled => self.entries.pop_front(),
            State::Waiting | State::InFlight => None,
        }
    }

    /// Notes that nothing more comes from the network, and that no new network client is to be started.
    pub(super) fn end(&mut self) {
        self.intake = Intake::Ended;
    }

    /// Returns when to call [`poll`](Self::poll) again if nothing else happens.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.paused_until
    }

    /// Returns what to do next. Call it after every input until it returns `None`.
    pub(super) fn poll(&mut self, now: Instant) -> Option<Action> {
        if self.intake == Intake::Overflowing {
            self.intake = Intake::LetGo;
            return Some(Action::LetGo);
        }
        if let Some((message, is_given_up)) = self.accused.take() {
            return Some(match is_given_up {
                true => Action::GiveUp(message),
                false => Action::Suspect(message),
            });
        }
        self.paused_until = self.paused_until.filter(|until| *until > now);
        if !self.is_up || self.paused_until.is_some() {
            return None;
        }
        if self.intake == Intake::LetGo && self.entries.is_empty() {
            self.intake = Intake::Open;
            return Some(Action::Resume);
        }
        let index = match self.doubt.is_alone() {
            true => self.next_alone()?,
            false => self.next_in_turn()?,
        };
        let entry = self.entries.get_mut(index)?;
        entry.state = State::InFlight;
        self.in_flight += 1;
        self.counts.published += 1;
        self.doubt.published(index == 0);
        let number = self.first + index as u64;
        Some(Action::Publish(number, entry.message.clone()))
    }

    fn next_in_turn(&mut self) -> Option<usize> {
        if self.in_flight >= self.limits.in_flight {
            return None;
        }
        loop {
            let index = usize::try_from(self.next - self.first).ok()?;
            let state = self.entries.get(index)?.state;
            self.next += 1;
            if state == State::Waiting {
                return Some(index);
            }
        }
    }

    /// Returns the first message, or another one that is to be acknowledged before it.
    fn next_alone(&self) -> Option<usize> {
        if self.in_flight > 0 || self.entries.is_empty() {
            return None;
        }
        let Some(skip) = self.doubt.other() else {
            return Some(0);
        };
        let waiting =
            |(index, entry): (usize, &Entry<M>)| (entry.state == State::Waiting).then_some(index);
        let others: Vec<usize> = self
            .entries
            .iter()
            .enumerate()
            .skip(1)
            .filter_map(waiting)
            .collect();
        let number = skip.checked_rem(others.len());
        Some(number.map_or(0, |number| others[number]))
    }
}

#[cfg(test)]
mod tests;
