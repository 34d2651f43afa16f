//! How far the server has come: which of the PUBLISH packets it has processed. Pure state.
//!
//! A server handles the packets of a connection in order, so an answer proves that everything written
//! before the question has been processed. The relay asks behind every [`EVERY`] PUBLISH packets.

use std::collections::VecDeque;

/// The number of PUBLISH packets between two marks. A broker that reads ten packets per second spends
/// 2.5 % of them on marks, and answers one within the time that the shortest keep-alive allows.
const EVERY: u64 = 40;

/// The most pings that may wait for an answer before a further mark, for servers that answer none.
const MAX_WAITING: usize = 1_000;

#[derive(Debug, Default)]
pub(super) struct Marks {
    /// The number of PUBLISH packets that have passed to the server.
    published: u64,
    /// The value of `published` at the last mark.
    marked: u64,
    /// The pings that are not answered yet.
    pings: VecDeque<Pings>,
    /// The value of `published` at each UNSUBSCRIBE that is not answered yet.
    unsubscribes: VecDeque<u64>,
    processed: u64,
}

/// Pings that prove the same.
#[derive(Debug)]
struct Pings {
    /// The value of `published` at the first of them.
    published: u64,
    count: u64,
}

impl Marks {
    /// Notes that a PUBLISH passes to the server.
    pub(super) fn published(&mut self) {
        self.published += 1;
    }

    /// Returns whether a ping should stand here.
    pub(super) fn is_due(&self) -> bool {
        self.published - self.marked >= EVERY && self.pings.len() < MAX_WAITING
    }

    /// Notes that a ping stands behind everything published so far, or further behind.
    pub(super) fn pinged(&mut self) {
        self.marked = self.published;
        let is_full = self.pings.len() >= MAX_WAITING;
        match self.pings.back_mut() {
            Some(last) if is_full || last.published == self.published => last.count += 1,
            _ => self.pings.push_back(Pings {
                published: self.published,
                count: 1,
            }),
        }
    }

    /// Notes that an UNSUBSCRIBE stands behind everything published so far.
    pub(super) fn unsubscribed(&mut self) {
        self.unsubscribes.push_back(self.published);
    }

    /// Returns whether an UNSUBSCRIBE is not answered yet.
    pub(super) fn awaits_unsubscribe(&self) -> bool {
        !self.unsubscribes.is_empty()
    }

    /// Notes the answer to the oldest ping. Returns how many PUBLISH packets are processed, if that is
    /// news.
    pub(super) fn ping_answered(&mut self) -> Option<u64> {
        let first = self.pings.front_mut()?;
        let mark = first.published;
        first.count -= 1;
        if first.count == 0 {
            self.pings.pop_front();
        }
        self.advance(mark)
    }

    /// Does the same for the oldest UNSUBSCRIBE.
    pub(super) fn unsubscribe_answered(&mut self) -> Option<u64> {
        let mark = self.unsubscribes.pop_front()?;
        self.advance(mark)
    }

    fn advance(&mut self, mark: u64) -> Option<u64> {
        if mark <= self.processed {
            return None;
        }
        self.processed = mark;
        Some(mark)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn publish(marks: &mut Marks, packets: u64) {
        (0..packets).for_each(|_| marks.published());
    }

    #[test]
    fn a_mark_is_due_behind_every_forty_packets() {
        let mut marks = Marks::default();
        publish(&mut marks, EVERY - 1);
        assert!(!marks.is_due());
        publish(&mut marks, 1);
        assert!(marks.is_due());
        marks.pinged();
        assert!(!marks.is_due());
    }

    #[test]
    fn a_server_that_answers_no_ping_gets_no_mark_any_more() {
        let mut marks = Marks::default();
        let mut pings = 0;
        for _ in 0..2 * MAX_WAITING {
            publish(&mut marks, EVERY);
            if marks.is_due() {
                marks.pinged();
                pings += 1;
            }
        }
        assert_eq!(pings, MAX_WAITING);
        assert_eq!(marks.ping_answered(), Some(EVERY));
        assert!(marks.is_due());
    }

    #[test]
    fn pings_that_nobody_answers_do_not_fill_the_memory() {
        let mut marks = Marks::default();
        for _ in 0..3 * MAX_WAITING {
            publish(&mut marks, 1);
            marks.pinged();
            marks.pinged();
        }
        assert_eq!(marks.pings.len(), MAX_WAITING);
        // However late the answers are, they prove no more than their own pings do.
        let last = MAX_WAITING as u64;
        for ping in 1..=6 * last {
            marks.ping_answered();
            assert_eq!(marks.processed, ping.div_ceil(2).min(last));
        }
        assert_eq!(marks.ping_answered(), None);
    }

    #[test]
    fn an_answer_proves_what_stood_before_its_own_ping() {
        let mut marks = Marks::default();
        publish(&mut marks, 3);
        marks.pinged();
        publish(&mut marks, 4);
        marks.pinged();
        publish(&mut marks, 5);
        assert_eq!(marks.ping_answered(), Some(3));
        assert_eq!(marks.ping_answered(), Some(7));
        assert_eq!(marks.ping_answered(), None, "nobody asked");
    }

    #[test]
    fn a_ping_without_a_packet_before_it_is_no_news() {
        let mut marks = Marks::default();
        marks.pinged();
        assert_eq!(marks.ping_answered(), None);
        publish(&mut marks, 2);
        marks.pinged();
        marks.pinged();
        assert_eq!(marks.ping_answered(), Some(2));
        assert_eq!(marks.ping_answered(), None);
    }

    #[test]
    fn the_answer_to_an_unsubscribe_counts_as_well_and_is_never_taken_back() {
        let mut marks = Marks::default();
        publish(&mut marks, 2);
        marks.pinged();
        publish(&mut marks, 7);
        marks.unsubscribed();
        assert_eq!(marks.unsubscribe_answered(), Some(9));
        assert_eq!(marks.ping_answered(), None);
    }
}
