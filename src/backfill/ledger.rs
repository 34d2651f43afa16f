//! Which time to fill. Pure state.

use std::time::{Duration, Instant, SystemTime};

use super::{Bound, window::minus};
use crate::clock::Moment;

/// How long after the last message that this client dropped the time of the drops is filled.
const AFTER_DROPS: Duration = Duration::from_secs(5);

/// Up to where everything was delivered, and what is to be filled.
#[derive(Debug)]
pub(crate) struct Ledger {
    is_automatic: bool,
    /// Everything before that time was delivered; `None` before the first connection.
    low: Option<Bound>,
    /// The latest uplink that came over MQTT, since the first connection.
    high: Option<SystemTime>,
    /// Whether uplinks after `low` may be missing.
    has_gap: bool,
    /// When to fill what this client has dropped.
    due: Option<Instant>,
    is_connected: bool,
    /// Whether the gap is being filled.
    is_filling: bool,
    /// Whether messages were dropped since that began.
    has_new_drops: bool,
}

impl Ledger {
    /// Starts before the first connection. Everything before `resume_from` was delivered.
    pub(crate) fn new(is_automatic: bool, resume_from: Option<SystemTime>) -> Self {
        Self {
            is_automatic,
            low: resume_from.map(Bound::Network),
            high: None,
            has_gap: resume_from.is_some(),
            due: None,
            is_connected: false,
            is_filling: false,
            has_new_drops: false,
        }
    }

    /// Notes that uplinks arrive from now on. Returns the start of what is to be filled, if anything.
    pub(crate) fn connected(&mut self, now: Moment) -> Option<Bound> {
        self.is_connected = true;
        let Some(low) = self.low else {
            self.low = Some(Bound::Here(now));
            // Messages can overtake the answer to the subscription, and be dropped.
            if self.has_gap {
                self.dropped(now.instant);
            }
            return None;
        };
        self.has_gap = true;
        self.begin(low)
    }

    /// Notes that no uplinks arrive.
    pub(crate) fn disconnected(&mut self) {
        self.is_connected = false;
        self.due = None;
    }

    /// Notes that this client has dropped messages, perhaps uplinks.
    pub(crate) fn dropped(&mut self, now: Instant) {
        self.has_gap = true;
        self.has_new_drops = true;
        if self.is_automatic && self.is_connected {
            self.due = now.checked_add(AFTER_DROPS);
        }
    }

    /// Notes that an uplink has come over MQTT. Returns the time before which everything was delivered.
    pub(crate) fn live(&mut self, received_at: SystemTime, now: Moment) -> SystemTime {
        // One may overtake the answer to the subscription, before the gap is known.
        if self.is_connected {
            self.high = self.high.max(Some(received_at));
            if !self.has_gap {
                self.raise(received_at);
            }
        }
        self.low_at(received_at, now)
    }

    /// Returns the time before which everything was delivered, when there is an uplink that the network received
    /// at this time. Only that tells the network's time, which the clock of this machine may not show.
    pub(crate) fn low_at(&self, received_at: SystemTime, now: Moment) -> SystemTime {
        match self.low {
            Some(Bound::Network(low)) => low,
            Some(Bound::Here(since)) => minus(received_at, now.since(since)),
            None => received_at,
        }
    }

    /// Notes that the gap is filled up to that time.
    pub(crate) fn reached(&mut self, time: SystemTime) {
        self.raise(time);
    }

    /// Notes that an attempt to fill the gap has ended. If another one would bring nothing more, the gap is over,
    /// and filled up to `reached` as far as that is possible.
    pub(crate) fn ended(&mut self, is_settled: bool, reached: Option<SystemTime>) {
        self.is_filling = false;
        if !is_settled {
            return;
        }
        reached.into_iter().for_each(|time| self.raise(time));
        if !self.has_new_drops {
            self.has_gap = false;
            self.high.into_iter().for_each(|high| self.raise(high));
        }
    }

    /// Notes that the attempt was given up.
    pub(crate) fn stopped(&mut self) {
        self.is_filling = false;
    }

    /// Returns when [`on_time`](Self::on_time) is due.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.due.filter(|_| !self.is_filling)
    }

    /// Returns the start of what is to be filled, if it is time.
    pub(crate) fn on_time(&mut self, now: Instant) -> Option<Bound> {
        self.next_deadline().filter(|due| *due <= now)?;
        self.due = None;
        self.begin(self.low?)
    }

    fn begin(&mut self, low: Bound) -> Option<Bound> {
        if !self.is_automatic {
            return None;
        }
        self.is_filling = true;
        self.has_new_drops = false;
        self.due = None;
        Some(low)
    }

    fn raise(&mut self, time: SystemTime) {
        let is_higher = match self.low {
            Some(Bound::Network(low)) => low < time,
            Some(Bound::Here(_)) | None => true,
        };
        if is_higher {
            self.low = Some(Bound::Network(time));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_800_000_000 + seconds)
    }

    fn starts_at(bound: Option<Bound>) -> Option<SystemTime> {
        match bound? {
            Bound::Network(time) => Some(time),
            Bound::Here(moment) => panic!("{moment:?}"),
        }
    }

    #[test]
    fn the_first_connection_fills_nothing_and_a_later_one_what_follows_the_last_uplink() {
        let mut ledger = Ledger::new(true, None);
        assert!(ledger.connected(Moment::now()).is_none());
        assert_eq!(ledger.live(at(10), Moment::now()), at(10));
        assert_eq!(ledger.live(at(9), Moment::now()), at(10));
        ledger.disconnected();
        assert_eq!(starts_at(ledger.connected(Moment::now())), Some(at(10)));
    }

    #[test]
    fn an_uplink_that_overtakes_the_connection_does_not_shorten_its_gap() {
        let mut ledger = Ledger::new(true, None);
        ledger.live(at(9), Moment::now());
        assert!(ledger.connected(Moment::now()).is_none());
        ledger.live(at(10), Moment::now());
        ledger.disconnected();
        assert_eq!(ledger.live(at(50), Moment::now()), at(10));
        assert_eq!(starts_at(ledger.connected(Moment::now())), Some(at(10)));
    }

    #[test]
    fn without_an_uplink_a_gap_starts_at_the_connection_before_it() {
        let mut ledger = Ledger::new(true, None);
        let start = Moment::now();
        ledger.connected(start);
        ledger.disconnected();
        match ledger.connected(start.after(9 * SECOND)) {
            Some(Bound::Here(moment)) => assert_eq!(moment.instant, start.instant),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn live_uplinks_raise_nothing_until_the_gap_is_filled() {
        let mut ledger = Ledger::new(true, Some(at(5)));
        assert_eq!(starts_at(ledger.connected(Moment::now())), Some(at(5)));
        assert_eq!(ledger.live(at(100), Moment::now()), at(5));
        ledger.reached(at(50));
        assert_eq!(ledger.live(at(101), Moment::now()), at(50));
        ledger.ended(true, Some(at(90)));
        assert_eq!(ledger.low_at(at(0), Moment::now()), at(101));
        assert_eq!(ledger.live(at(102), Moment::now()), at(102));
    }

    #[test]
    fn a_gap_that_could_not_be_filled_belongs_to_the_next_one() {
        let mut ledger = Ledger::new(true, Some(at(5)));
        ledger.connected(Moment::now());
        ledger.reached(at(20));
        ledger.ended(false, None);
        assert_eq!(ledger.live(at(100), Moment::now()), at(20));
        ledger.disconnected();
        assert_eq!(starts_at(ledger.connected(Moment::now())), Some(at(20)));
    }

    #[test]
    fn what_is_dropped_here_is_filled_a_little_later() {
        let mut ledger = Ledger::new(true, None);
        let start = Moment::now();
        ledger.connected(start);
        ledger.live(at(10), Moment::now());
        ledger.dropped(start.instant);
        assert_eq!(ledger.live(at(12), Moment::now()), at(10));
        let due = start.instant + AFTER_DROPS;
        assert_eq!(ledger.next_deadline(), Some(due));
        assert!(ledger.on_time(due - SECOND).is_none());
        assert_eq!(starts_at(ledger.on_time(due)), Some(at(10)));
        assert_eq!(ledger.next_deadline(), None);
        // More is dropped in the meantime.
        ledger.dropped(due);
        assert_eq!(ledger.next_deadline(), None);
        ledger.ended(true, Some(at(11)));
        assert_eq!(ledger.live(at(13), Moment::now()), at(11));
        assert_eq!(starts_at(ledger.on_time(due + AFTER_DROPS)), Some(at(11)));
        ledger.ended(true, Some(at(14)));
        assert_eq!(ledger.live(at(15), Moment::now()), at(15));
    }

    #[test]
    fn what_is_dropped_after_a_backfill_was_given_up_is_filled() {
        let mut ledger = Ledger::new(true, Some(at(5)));
        let start = Moment::now();
        ledger.connected(start);
        ledger.dropped(start.instant);
        assert_eq!(ledger.next_deadline(), None);
        ledger.stopped();
        assert_eq!(ledger.next_deadline(), Some(start.instant + AFTER_DROPS));
    }

    #[test]
    fn without_a_connection_dropped_messages_wait_for_the_next_one() {
        let mut ledger = Ledger::new(true, None);
        ledger.connected(Moment::now());
        ledger.live(at(10), Moment::now());
        ledger.disconnected();
        ledger.dropped(Instant::now());
        assert_eq!(ledger.next_deadline(), None);
        assert_eq!(starts_at(ledger.connected(Moment::now())), Some(at(10)));
    }

    #[test]
    fn on_request_nothing_is_filled_and_a_gap_holds_the_watermark_back() {
        let mut ledger = Ledger::new(false, None);
        ledger.connected(Moment::now());
        ledger.live(at(10), Moment::now());
        ledger.disconnected();
        assert!(ledger.connected(Moment::now()).is_none());
        assert_eq!(ledger.live(at(20), Moment::now()), at(10));
    }

    #[test]
    fn the_clock_of_this_machine_moves_no_watermark_past_a_gap() {
        let year = 365 * 24 * 3600 * SECOND;
        for time in [UNIX_EPOCH, at(0) - year, at(0) + year] {
            let mut ledger = Ledger::new(true, None);
            let start = Moment {
                time,
                ..Moment::now()
            };
            ledger.connected(start);
            ledger.disconnected();
            let later = start.after(100 * SECOND);
            assert!(ledger.connected(later).is_some());
            // The client was connected 110 s before it.
            let now = later.after(10 * SECOND);
            assert_eq!(ledger.live(at(110), now), at(0));
            assert_eq!(ledger.low_at(at(50), now), at(0) - 60 * SECOND);
        }
    }

    #[test]
    fn what_is_dropped_before_the_first_connection_is_filled_a_little_later() {
        let mut ledger = Ledger::new(true, None);
        let start = Moment::now();
        ledger.dropped(start.instant);
        assert_eq!(ledger.next_deadline(), None);
        assert!(ledger.connected(start).is_none());
        let due = start.instant + AFTER_DROPS;
        assert_eq!(ledger.next_deadline(), Some(due));
        assert!(matches!(ledger.on_time(due), Some(Bound::Here(_))));
        ledger.ended(true, Some(at(5)));
        assert_eq!(ledger.live(at(9), start), at(9));
    }
}
