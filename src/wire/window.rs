//! Which messages of a broker may be acknowledged, and how many may be unhandled. Pure state.
//!
//! Every message that is to be acknowledged has a place: its number in the order of arrival, over all connections
//! of a client. Acknowledged is what is at the front of that order.

use std::collections::VecDeque;

use crate::config::Acknowledge;

/// The limits for messages that are not handled.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) messages: usize,
    pub(crate) bytes: usize,
    /// How many messages may be passed on while an answer is waited for that may come behind them: as many as find a
    /// place.
    pub(crate) most_messages: usize,
}

#[derive(Debug)]
pub(super) struct Window {
    acknowledge: Acknowledge,
    limits: Limits,
    /// The place of the first entry.
    oldest: u64,
    /// The messages of the connection in use that are not acknowledged.
    entries: VecDeque<Entry>,
    /// The messages that the client has not seen yet: their places, and whether they are redelivered.
    unseen: VecDeque<(u64, bool)>,
    /// The messages that are not handled, of all connections.
    unhandled: usize,
    /// How many were, and are not any more.
    ended: u64,
    /// Those of them that may be acknowledged already: nobody delivers them again.
    at_risk: usize,
    /// The bytes of the entries that are not handled.
    bytes: usize,
    /// Whether a message of the connection in use must come again.
    has_failed: bool,
}

#[derive(Debug)]
struct Entry {
    packet_id: u16,
    bytes: usize,
    is_queued: bool,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Unhandled,
    Handled,
    /// Nobody gets it, so it must not be acknowledged.
    Discarded,
}

impl Window {
    pub(super) fn new(acknowledge: Acknowledge, limits: Limits) -> Self {
        Self {
            acknowledge,
            limits,
            oldest: 0,
            entries: VecDeque::new(),
            unseen: VecDeque::new(),
            unhandled: 0,
            ended: 0,
            at_risk: 0,
            bytes: 0,
            has_failed: false,
        }
    }

    /// Starts a connection: what an earlier one has not acknowledged comes again.
    pub(super) fn begin(&mut self) {
        self.oldest += self.entries.len() as u64;
        self.entries.clear();
        self.unseen.clear();
        self.bytes = 0;
        self.at_risk = self.unhandled;
        self.has_failed = false;
    }

    /// Returns whether no further message may be passed on.
    pub(super) fn is_full(&self) -> bool {
        self.unhandled >= self.limits.messages || self.bytes >= self.limits.bytes
    }

    /// Returns how many messages nobody works on any more, and how many must be handled.
    pub(super) fn progress(&self) -> (u64, usize) {
        (self.ended, self.unhandled)
    }

    /// Returns the same while an answer is waited for.
    pub(super) fn is_crowded(&self) -> bool {
        self.unhandled >= self.limits.most_messages
    }

    /// Notes a message with this packet id. Returns its place.
    pub(super) fn arrived(&mut self, packet_id: u16, bytes: usize) -> u64 {
        let place = self.oldest + self.entries.len() as u64;
        self.entries.push_back(Entry {
            packet_id,
            bytes,
            is_queued: false,
            state: State::Unhandled,
        });
        self.unhandled += 1;
        self.bytes += bytes;
        place
    }

    /// Notes that a message is passed on to the client.
    pub(super) fn passed(&mut self, place: u64, is_redelivered: bool) {
        self.unseen.push_back((place, is_redelivered));
    }

    /// Returns the message that the client sees next: its place, and whether it is redelivered.
    pub(super) fn see(&mut self) -> Option<(u64, bool)> {
        self.unseen.pop_front()
    }

    fn entry(&mut self, place: u64) -> Option<&mut Entry> {
        let index = place.checked_sub(self.oldest)?;
        self.entries.get_mut(usize::try_from(index).ok()?)
    }

    /// Notes that a message is in the queues of the subscribers.
    pub(super) fn queued(&mut self, place: u64) {
        if let Some(entry) = self.entry(place) {
            entry.is_queued = true;
        }
    }

    /// Notes that nobody works on a message any more.
    pub(super) fn ended(&mut self, place: u64, is_handled: bool) {
        self.unhandled -= 1;
        self.ended += 1;
        let Some(entry) = self.entry(place) else {
            self.at_risk -= 1;
            return;
        };
        entry.state = match is_handled {
            true => State::Handled,
            false => State::Discarded,
        };
        let bytes = entry.bytes;
        self.bytes -= bytes;
    }

    /// Notes that a message must come again. Returns whether the connection in use has to end for that.
    pub(super) fn failed(&mut self, place: u64) -> bool {
        let is_current = self.entry(place).is_some();
        self.has_failed |= is_current;
        is_current
    }

    pub(super) fn has_failed(&self) -> bool {
        self.has_failed
    }

    /// Returns whether there is something to acknowledge.
    pub(super) fn is_due(&self) -> bool {
        self.entries.front().is_some_and(|entry| match entry.state {
            State::Handled => true,
            State::Discarded => false,
            State::Unhandled => {
                self.acknowledge == Acknowledge::Received
                    && entry.is_queued
                    && self.at_risk < self.limits.messages
            }
        })
    }

    /// Returns the packet id of the next message to acknowledge.
    pub(super) fn acknowledge(&mut self) -> Option<u16> {
        if !self.is_due() {
            return None;
        }
        let entry = self.entries.pop_front()?;
        self.oldest += 1;
        if entry.state == State::Unhandled {
            self.at_risk += 1;
            self.bytes -= entry.bytes;
        }
        Some(entry.packet_id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seeds::for_seeds;

    fn window(acknowledge: Acknowledge, messages: usize) -> Window {
        Window::new(
            acknowledge,
            Limits {
                messages,
                bytes: 1_000,
                most_messages: 2 * messages,
            },
        )
    }

    fn acknowledged(window: &mut Window) -> Vec<u16> {
        std::iter::from_fn(|| window.acknowledge()).collect()
    }

    /// Lets messages with these packet ids arrive, of one byte each. Returns their places.
    fn arrive(window: &mut Window, packet_ids: std::ops::Range<u16>) -> Vec<u64> {
        packet_ids.map(|id| window.arrived(id, 1)).collect()
    }

    #[test]
    fn handled_in_any_order_is_acknowledged_in_the_order_of_arrival() {
        let mut window = window(Acknowledge::Handled, 10);
        let places = arrive(&mut window, 11..15);
        window.ended(places[2], true);
        window.ended(places[1], true);
        assert!(acknowledged(&mut window).is_empty());
        window.ended(places[0], true);
        assert_eq!(acknowledged(&mut window), [11, 12, 13]);
        window.queued(places[3]);
        assert!(acknowledged(&mut window).is_empty());
        window.ended(places[3], true);
        assert_eq!(acknowledged(&mut window), [14]);
    }

    #[test]
    fn received_is_acknowledged_when_it_is_queued_and_no_more_than_the_limit_is_at_risk() {
        let mut window = window(Acknowledge::Received, 2);
        // A server that has not answered the subscription yet may send more than the limit.
        let places = arrive(&mut window, 1..5);
        assert!(window.is_full());
        assert!(acknowledged(&mut window).is_empty());
        for place in &places {
            window.queued(*place);
        }
        assert_eq!(acknowledged(&mut window), [1, 2]);
        window.ended(places[1], true);
        assert_eq!(acknowledged(&mut window), [3]);
        window.ended(places[3], true);
        window.ended(places[0], true);
        assert_eq!(acknowledged(&mut window), [4]);
        assert!(!window.is_full());
    }

    #[test]
    fn the_limits_are_for_what_is_not_handled() {
        for acknowledge in [Acknowledge::Received, Acknowledge::Handled] {
            let mut window = window(acknowledge, 3);
            let places = arrive(&mut window, 1..4);
            for place in &places {
                window.queued(*place);
            }
            acknowledged(&mut window);
            assert!(window.is_full(), "{acknowledge:?}");
            window.ended(places[1], true);
            assert!(!window.is_full(), "{acknowledge:?}");
        }
        let mut window = window(Acknowledge::Handled, 100);
        window.arrived(1, 600);
        assert!(!window.is_full());
        let place = window.arrived(2, 600);
        assert!(window.is_full());
        window.ended(place, true);
        assert!(!window.is_full());
    }

    #[test]
    fn what_an_earlier_connection_has_delivered_counts_until_it_is_handled_and_is_not_acknowledged()
    {
        for acknowledge in [Acknowledge::Received, Acknowledge::Handled] {
            let mut window = window(acknowledge, 4);
            let old = arrive(&mut window, 1..4);
            window.passed(old[0], false);
            window.queued(old[0]);
            acknowledged(&mut window);
            window.begin();
            assert_eq!(window.see(), None);
            let new = arrive(&mut window, 7..8);
            assert!(window.is_full());
            for place in &old {
                window.queued(*place);
                window.ended(*place, true);
            }
            assert!(acknowledged(&mut window).is_empty());
            assert!(!window.is_full());
            window.ended(new[0], true);
            assert_eq!(acknowledged(&mut window), [7]);
            assert_eq!((window.unhandled, window.at_risk, window.bytes), (0, 0, 0));
        }
    }

    #[test]
    fn what_nobody_gets_holds_up_what_came_after_it() {
        let mut window = window(Acknowledge::Handled, 10);
        let places = arrive(&mut window, 1..4);
        window.ended(places[1], false);
        window.ended(places[0], true);
        window.ended(places[2], true);
        assert_eq!(acknowledged(&mut window), [1]);
    }

    #[test]
    fn only_a_failure_of_the_connection_in_use_ends_it() {
        let mut window = window(Acknowledge::Handled, 10);
        let old = arrive(&mut window, 1..2);
        window.begin();
        assert!(!window.failed(old[0]));
        assert!(!window.has_failed());
        let new = arrive(&mut window, 1..2);
        assert!(window.failed(new[0]));
        assert!(window.has_failed());
        window.begin();
        assert!(!window.has_failed());
    }

    #[test]
    fn every_message_is_acknowledged_once_and_in_order_whatever_happens() {
        for_seeds(2_000, |random| {
            let acknowledge = match random.bool() {
                true => Acknowledge::Received,
                false => Acknowledge::Handled,
            };
            let limit = random.usize(1..8);
            let mut window = window(acknowledge, limit);
            let (mut next, mut expected) = (0, 0);
            let mut open: Vec<(u64, u16)> = Vec::new();
            let mut handled = Vec::new();
            for _ in 0..200 {
                match random.u8(..4) {
                    0 | 1 if !window.is_full() => {
                        let place = window.arrived(next, 1);
                        window.passed(place, false);
                        assert_eq!(window.see(), Some((place, false)));
                        open.push((place, next));
                        next += 1;
                    }
                    2 if !open.is_empty() => {
                        let (place, packet) = open.swap_remove(random.usize(..open.len()));
                        window.ended(place, true);
                        handled.push(packet);
                    }
                    _ => open.iter().for_each(|(place, _)| window.queued(*place)),
                }
                for packet in acknowledged(&mut window) {
                    assert_eq!(packet, expected);
                    expected += 1;
                    assert!(acknowledge == Acknowledge::Received || handled.contains(&packet));
                }
                assert!(window.unhandled <= limit && window.at_risk <= limit);
                assert_eq!(window.unhandled, open.len());
            }
            for (place, _) in open {
                window.ended(place, true);
            }
            let rest = acknowledged(&mut window);
            assert_eq!(rest, (expected..next).collect::<Vec<_>>());
        });
    }
}
