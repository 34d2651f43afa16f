//! What a client has delivered lately: so that nothing is delivered twice, and so that a program can tell its
//! next run where to go on.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{Arc, Mutex, Weak},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use super::window::OVERLAP;
use crate::{
    message::{Identity, Marks, ShortKey, StableHash, UplinkMessage, Watermark, short},
    process::Home,
    sync,
};

/// The most uplinks that a watermark names.
const MAX_NAMED: usize = 1_024;

/// How far the time of a trace may be from that of its uplink.
const NEAR: Duration = Duration::from_millis(500);

/// The uplinks that were delivered lately.
#[derive(Debug)]
pub(crate) struct Seam {
    /// Where the session is that delivers.
    home: Home,
    log: Mutex<Log>,
}

#[derive(Debug)]
struct Log {
    entries: VecDeque<Entry>,
    /// The numbers of entries, by their keys.
    known: HashMap<u64, u64>,
    next: u64,
    capacity: usize,
    /// How long before a watermark uplinks may come out of order.
    overlap: Duration,
    /// The uplinks after its watermark that an earlier run of the program has handled.
    resumed: HashSet<ShortKey>,
    /// The times before which everything was delivered, of the uplinks that exist, in order.
    lows: VecDeque<Weak<SystemTime>>,
    /// The latest of them.
    low: Arc<SystemTime>,
}

#[derive(Debug)]
struct Entry {
    key: u64,
    device: u64,
    at: SystemTime,
    is_backfilled: bool,
    /// Whether an earlier run of the program has handled it, so that every watermark names it.
    was_handled: bool,
}

/// Whether an uplink was delivered before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    /// It was not, and has this number now.
    New(u64),
    /// It came over MQTT. The latest uplink has this number.
    Live(u64),
    /// It was fetched.
    Before,
    /// An earlier run of the program has handled it. The next time, it counts as fetched.
    Handled,
}

/// Returns the hash of what identifies an uplink: over MQTT, in storage and in the event stream, and in every
/// process.
pub(crate) fn key(uplink: &UplinkMessage) -> u64 {
    Identity::of(uplink).hash()
}

fn device(dev_id: &str) -> u64 {
    let mut hash = StableHash::new();
    hash.add(dev_id.as_bytes());
    hash.finish()
}

impl Seam {
    pub(crate) fn new(capacity: usize, overlap: Duration, resumed: Option<Watermark>) -> Self {
        let log = Log {
            entries: VecDeque::new(),
            known: HashMap::new(),
            next: 1,
            capacity: capacity.max(1),
            overlap: overlap.max(OVERLAP),
            lows: VecDeque::new(),
            low: Arc::new(UNIX_EPOCH),
            resumed: resumed.map(Watermark::into_known).unwrap_or_default(),
        };
        Self {
            home: Home::here(),
            log: Mutex::new(log),
        }
    }

    /// Notes that an uplink is about to be delivered, unless it was before.
    pub(crate) fn deliver(
        &self,
        uplink: &UplinkMessage,
        at: SystemTime,
        is_backfilled: bool,
    ) -> Known {
        let key = key(uplink);
        let mut log = sync::lock(&self.log);
        if let Some(known) = log.known(key) {
            return known;
        }
        // The next watermarks name it again.
        let was_handled = log.resumed.remove(&short(key));
        let number = log.add(Entry {
            key,
            device: device(&uplink.dev_id),
            at,
            is_backfilled: is_backfilled || was_handled,
            was_handled,
        });
        match was_handled {
            true => Known::Handled,
            false => Known::New(number),
        }
    }

    /// Notes that there is another uplink, before which everything was delivered up to that time.
    pub(crate) fn hold(&self, low: SystemTime) -> Arc<SystemTime> {
        let mut log = sync::lock(&self.log);
        if *log.low != low {
            log.low = Arc::new(low);
            while log.lows.back().is_some_and(is_gone) {
                log.lows.pop_back();
            }
            let held = Arc::downgrade(&log.low);
            log.lows.push_back(held);
            if log.lows.len() > log.capacity {
                log.lows.pop_front();
            }
        }
        Arc::clone(&log.low)
    }

    /// Returns the earliest time that the watermark of an uplink can have that exists.
    pub(crate) fn oldest_low(&self) -> SystemTime {
        let mut log = sync::lock(&self.log);
        while log.lows.front().is_some_and(is_gone) {
            log.lows.pop_front();
        }
        let oldest = log.lows.front().and_then(Weak::upgrade);
        oldest.map_or(*log.low, |oldest| *oldest)
    }

    /// Forgets the uplinks before that time, as far as none that is to be remembered was delivered before
    /// them.
    pub(crate) fn forget_before(&self, time: SystemTime) {
        let mut log = sync::lock(&self.log);
        while log.entries.front().is_some_and(|entry| entry.at < time) {
            log.forget_first();
        }
    }

    /// Notes that nothing comes any more that an earlier run has handled.
    pub(crate) fn is_caught_up(&self) {
        sync::lock(&self.log).resumed.clear();
    }

    /// Returns whether an uplink of the device was delivered that may have left this trace.
    pub(crate) fn has_near(&self, dev_id: &str, at: SystemTime) -> bool {
        let device = device(dev_id);
        let is_near = |entry: &Entry| {
            let distance = at
                .duration_since(entry.at)
                .or_else(|_| entry.at.duration_since(at));
            entry.device == device && distance.is_ok_and(|distance| distance <= NEAR)
        };
        sync::lock(&self.log).entries.iter().any(is_near)
    }
}

fn is_gone(low: &Weak<SystemTime>) -> bool {
    low.strong_count() == 0
}

impl Log {
    fn add(&mut self, entry: Entry) -> u64 {
        let number = self.next;
        self.next += 1;
        self.known.insert(entry.key, number);
        self.entries.push_back(entry);
        if self.entries.len() > self.capacity {
            self.forget_first();
        }
        number
    }

    fn known(&self, key: u64) -> Option<Known> {
        let number = self.known.get(&key)?;
        let first = self.next - self.entries.len() as u64;
        let entry = self.entries.get((number - first) as usize)?;
        Some(match entry.is_backfilled {
            true => Known::Before,
            false => Known::Live(self.next - 1),
        })
    }

    fn forget_first(&mut self) {
        if let Some(entry) = self.entries.pop_front() {
            self.known.remove(&entry.key);
        }
    }
}

impl Marks for Seam {
    fn watermark(&self, uplink: u64, low: SystemTime) -> Watermark {
        let log = sync::lock(&self.log);
        let from = low.checked_sub(log.overlap).unwrap_or(UNIX_EPOCH);
        let first = log.next - log.entries.len() as u64;
        let before = (uplink + 1).saturating_sub(first) as usize;
        let handled = log.entries.iter().enumerate().rev();
        let handled = handled.filter(|(index, entry)| *index < before || entry.was_handled);
        let named = handled.filter(|(_, entry)| entry.at > from);
        let named = named.map(|(_, entry)| short(entry.key));
        let named = named.chain(log.resumed.iter().copied());
        Watermark::new(low, named.take(MAX_NAMED))
    }

    fn are_here(&self) -> bool {
        self.home.is_here()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        message::{Losses, Place},
        network::Network,
        process,
        seeds::for_seeds,
    };

    const SECOND: Duration = Duration::from_secs(1);

    /// The moments of the day in the messages below, in seconds.
    fn at(second: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_795_759_200 + second)
    }

    fn read(json: &str) -> UplinkMessage {
        UplinkMessage::from_json(Network::V3, json).unwrap()
    }

    /// Returns an uplink that the network server got at a time, and the application server a moment later.
    fn uplink(dev_id: &str, counter: u32, time: SystemTime) -> UplinkMessage {
        let json = format!(
            r#"{{"end_device_ids":{{"device_id":"{dev_id}","application_ids":{{"application_id":"greenhouse"}}}},
            "uplink_message":{{"f_port":1,"f_cnt":{counter},"frm_payload":"AQ=="}}}}"#
        );
        let mut uplink = read(&json);
        uplink.metadata.time = Some(time);
        uplink.received_at = Some(time + Duration::from_millis(205));
        uplink
    }

    fn seam(capacity: usize) -> Seam {
        Seam::new(capacity, 60 * SECOND, None)
    }

    fn live(seam: &Seam, uplink: &UplinkMessage) -> Known {
        seam.deliver(uplink, uplink.received_at.unwrap(), false)
    }

    fn fetched(seam: &Seam, uplink: &UplinkMessage) -> Known {
        seam.deliver(uplink, uplink.received_at.unwrap(), true)
    }

    /// The same uplink over MQTT, from storage and from an event stream.
    const LIVE: &str = r#"{"end_device_ids":{"device_id":"pump-2","application_ids":{"application_id":"greenhouse"},
        "dev_eui":"70B3D57ED0061C3D","join_eui":"A840410000000202","dev_addr":"260B9A41"},
        "correlation_ids":["gs:uplink:01KB2R7Q4M"],"received_at":"2026-11-27T07:30:00.511902337Z",
        "uplink_message":{"session_key_id":"AZrF3HtwRn7dU3q0WZeYiR==","f_port":3,"f_cnt":77,"frm_payload":"AgMF",
        "rx_metadata":[{"gateway_ids":{"gateway_id":"silo"},"rssi":-88,"uplink_token":"gS4V"}],
        "received_at":"2026-11-27T07:30:00.306118054Z","consumed_airtime":"0.061696s"}}"#;
    const STORED: &str = r#"{"end_device_ids":{"device_id":"pump-2","application_ids":{"application_id":"greenhouse"},
        "dev_eui":"70B3D57ED0061C3D","dev_addr":"260B9A41"},"received_at":"2026-11-27T07:30:00.511902337Z",
        "uplink_message":{"f_port":3,"f_cnt":77,"frm_payload":"AgMF","rx_metadata":[{"gateway_ids":
        {"gateway_id":"silo"},"rssi":-88}],"received_at":"2026-11-27T07:30:00.306118054Z",
        "consumed_airtime":"0.061696s"}}"#;

    #[test]
    fn an_uplink_has_one_key_over_mqtt_and_in_storage() {
        assert_eq!(key(&read(LIVE)), key(&read(STORED)));
        // A server that hands a batch over again publishes its frames again, at another time.
        let again = STORED.replace("07:30:00.511902337", "07:31:02.004511200");
        assert_eq!(key(&read(LIVE)), key(&read(&again)));
        let known = seam(10);
        assert_eq!(live(&known, &read(LIVE)), Known::New(1));
        assert_eq!(fetched(&known, &read(STORED)), Known::Live(1));
        assert_eq!(fetched(&known, &read(&again)), Known::Live(1));
    }

    #[test]
    fn uplinks_that_differ_in_device_counter_or_the_networks_time_have_other_keys() {
        let others = [
            STORED.replace("pump-2", "pump-3"),
            STORED.replace(r#""f_cnt":77"#, r#""f_cnt":78"#),
            // The session before, or the device has started over.
            STORED.replace(".306118054", ".306118055"),
            STORED.replace("07:30:00.306", "06:30:00.306"),
        ];
        let keys: std::collections::BTreeSet<_> = others
            .iter()
            .map(|json| key(&read(json)))
            .chain([key(&read(LIVE))])
            .collect();
        assert_eq!(keys.len(), others.len() + 1);
    }

    #[test]
    fn a_simulated_uplink_has_no_time_of_the_network_server_and_a_key_all_the_same() {
        let simulated = r#"{"end_device_ids":{"device_id":"pump-2","application_ids":{"application_id":"greenhouse"}},
            "received_at":"2026-11-27T07:30:00.511902337Z","uplink_message":{"f_port":3,"frm_payload":"AgMF"},
            "simulated":true}"#;
        let stored = simulated.replace(
            r#""uplink_message""#,
            r#""correlation_ids":["as:up:1"],"uplink_message""#,
        );
        assert_eq!(key(&read(simulated)), key(&read(&stored)));
        for other in [
            simulated.replace("AgMF", "AgMG"),
            simulated.replace("337Z", "338Z"),
        ] {
            assert_ne!(key(&read(simulated)), key(&read(&other)));
        }
    }

    #[test]
    fn the_key_of_an_uplink_never_changes_because_watermarks_contain_it() {
        assert_eq!(key(&read(LIVE)), KEY_OF_LIVE);
    }

    const KEY_OF_LIVE: u64 = 2_884_795_753_541_634_817;

    #[test]
    fn keys_of_a_busy_application_differ_also_in_the_part_that_watermarks_have() {
        let mut keys = std::collections::HashSet::new();
        let mut uplink = uplink("bed", 0, at(0));
        for number in 0..100_000 {
            uplink.dev_id = format!("bed-{}", number % 200);
            uplink.counter = (number / 200) as u32;
            uplink.metadata.time = Some(at(0) + Duration::from_millis(number * 10));
            assert!(keys.insert(short(key(&uplink))), "{number}");
        }
    }

    #[test]
    fn nothing_is_delivered_twice_whichever_way_it_came_first() {
        let seam = seam(10);
        let [one, two, three] =
            [1, 2, 3].map(|counter| uplink("bed-07", counter, at(counter.into())));
        assert_eq!(live(&seam, &one), Known::New(1));
        assert_eq!(fetched(&seam, &two), Known::New(2));
        assert_eq!(live(&seam, &two), Known::Before);
        assert_eq!(fetched(&seam, &two), Known::Before);
        assert!(matches!(live(&seam, &one), Known::Live(_)));
        assert_eq!(live(&seam, &three), Known::New(3));
    }

    #[test]
    fn a_watermark_names_what_was_delivered_up_to_its_uplink_in_the_overlap_and_after_it() {
        let seam = seam(10);
        let uplinks =
            [0, 50, 100, 130, 90].map(|second| uplink("bed-07", second as u32, at(second)));
        for uplink in &uplinks {
            live(&seam, uplink);
        }
        let known = |number, low| seam.watermark(number, low).into_known();
        let keys = |indexes: &[usize]| {
            indexes
                .iter()
                .map(|index| short(key(&uplinks[*index])))
                .collect()
        };
        assert_eq!(known(1, at(0)), keys(&[0]));
        assert_eq!(known(2, at(50)), keys(&[0, 1]));
        // Less than a minute before it, and not what came later.
        assert_eq!(known(3, at(100)), keys(&[1, 2]));
        assert_eq!(known(5, at(130)), keys(&[2, 3, 4]));
        // The low mark stays behind while a gap is open.
        assert_eq!(known(5, at(0)), keys(&[0, 1, 2, 3, 4]));
        assert_eq!(seam.watermark(5, at(130)).time(), at(130));
        assert_eq!(known(0, at(130)), keys(&[]));
        assert_eq!(known(99, at(130)), keys(&[2, 3, 4]));
    }

    #[test]
    fn a_lost_uplink_holds_the_watermark_back_before_it() {
        let seam = Arc::new(seam(10));
        let lost = Arc::new(Losses::default());
        let uplinks = [0, 10, 20].map(|second| uplink("bed-07", second as u32, at(second)));
        let mut places = Vec::new();
        for uplink in &uplinks {
            let Known::New(number) = live(&seam, uplink) else {
                panic!("it is new");
            };
            let time = uplink.metadata.time.unwrap();
            let mut place =
                Place::new(number, seam.hold(time), Arc::clone(&seam) as Arc<dyn Marks>);
            place.goes_to(&lost);
            places.push(place);
        }
        places[1].is_lost(&mut sync::lock(&lost.0));
        let watermark = |index: usize| {
            let mut uplink = uplinks[index].clone();
            uplink.place = places[index].clone();
            uplink.watermark().unwrap()
        };
        assert_eq!(watermark(0).time(), at(0));
        assert_eq!(watermark(2).time(), at(10));
        // A program that goes on there gets the lost one, and the last one again.
        let known = watermark(2).into_known();
        assert_eq!(known, [short(key(&uplinks[0]))].into());
    }

    #[test]
    fn a_fork_has_no_watermarks_because_a_lock_may_never_be_released() {
        let seam = Arc::new(Seam {
            home: process::tests::home_of_parent(),
            ..seam(10)
        });
        let mut uplink = uplink("bed-07", 0, at(0));
        let number = match live(&seam, &uplink) {
            Known::New(number) => number,
            known => panic!("{known:?}"),
        };
        uplink.place = Place::new(
            number,
            seam.hold(at(0)),
            Arc::clone(&seam) as Arc<dyn Marks>,
        );
        let _held = sync::lock(&seam.log);
        assert!(uplink.watermark().is_none());
    }

    #[test]
    fn what_an_earlier_run_has_handled_does_not_come_again_and_is_named_again() {
        let before = seam(10);
        let uplinks = [0, 10, 20].map(|second| uplink("bed-07", second as u32, at(second)));
        for uplink in &uplinks[..2] {
            live(&before, uplink);
        }
        let stored = before.watermark(2, at(10)).to_string();
        let seam = Seam::new(10, 60 * SECOND, Some(stored.parse().unwrap()));
        // Also if nothing has come of it yet.
        let named = |seam: &Seam| seam.watermark(99, at(10)).into_known();
        assert_eq!(named(&seam), named(&before));
        assert_eq!(fetched(&seam, &uplinks[0]), Known::Handled);
        assert_eq!(fetched(&seam, &uplinks[0]), Known::Before);
        assert_eq!(live(&seam, &uplinks[1]), Known::Handled);
        assert!(matches!(fetched(&seam, &uplinks[2]), Known::New(_)));
        assert_eq!(named(&seam).len(), 3);
        seam.is_caught_up();
        assert_eq!(named(&seam).len(), 3);
    }

    #[test]
    fn what_an_earlier_run_has_handled_is_named_also_if_it_comes_after_an_uplink() {
        let before = seam(10);
        let handled = uplink("bed-07", 9, at(90));
        live(&before, &handled);
        let seam = Seam::new(10, 60 * SECOND, Some(before.watermark(1, at(0))));
        let Known::New(number) = fetched(&seam, &uplink("bed-07", 1, at(10))) else {
            panic!("it is new");
        };
        assert_eq!(fetched(&seam, &handled), Known::Handled);
        fetched(&seam, &uplink("bed-07", 10, at(100)));
        seam.is_caught_up();
        let known = seam.watermark(number, at(0)).into_known();
        assert!(known.contains(&short(key(&handled))));
        assert_eq!(known.len(), 2);
    }

    #[test]
    fn what_the_watermark_of_an_uplink_names_is_remembered_as_long_as_the_uplink_exists() {
        let seam = seam(3);
        assert_eq!(seam.oldest_low(), UNIX_EPOCH);
        let first = seam.hold(at(10));
        let again = seam.hold(at(10));
        let [second, third] = [20, 30].map(|second| seam.hold(at(second)));
        assert_eq!(seam.oldest_low(), at(10));
        drop(first);
        assert_eq!(seam.oldest_low(), at(10));
        drop((again, third));
        assert_eq!(seam.oldest_low(), at(20));
        drop(second);
        // The next uplinks follow the latest.
        assert_eq!(seam.oldest_low(), at(30));
        let held: Vec<_> = (40..50).map(|second| seam.hold(at(second))).collect();
        // There are no more than uplinks that are remembered.
        assert_eq!(seam.oldest_low(), at(47));
        drop(held);
        let _last = seam.hold(at(60));
        assert_eq!(sync::lock(&seam.log).lows.len(), 1);
    }

    #[test]
    fn without_overlap_a_watermark_names_what_has_exactly_its_time() {
        let seam = Seam::new(10, Duration::ZERO, None);
        let one = uplink("bed-07", 1, at(10));
        live(&seam, &one);
        let low = one.received_at.unwrap();
        assert_eq!(seam.watermark(1, low).into_known().len(), 1);
    }

    #[test]
    fn once_a_run_has_caught_up_it_forgets_what_the_earlier_one_has_handled() {
        let before = seam(10);
        let old = uplink("bed-07", 0, at(0));
        live(&before, &old);
        let seam = Seam::new(10, 60 * SECOND, Some(before.watermark(1, at(0))));
        seam.is_caught_up();
        assert_eq!(seam.watermark(9, at(0)).into_known().len(), 0);
        assert_eq!(live(&seam, &old), Known::New(1));
    }

    #[test]
    fn a_watermark_names_the_latest_1024_uplinks_at_most() {
        let seam = seam(5_000);
        let uplinks: Vec<_> = (0..2_000)
            .map(|number| {
                uplink(
                    "bed-07",
                    number,
                    at(0) + Duration::from_millis(number.into()),
                )
            })
            .collect();
        for uplink in &uplinks {
            live(&seam, uplink);
        }
        let watermark = seam.watermark(2_000, at(2));
        assert!(watermark.to_string().len() < 9_000);
        let known = watermark.into_known();
        let expected = uplinks[2_000 - MAX_NAMED..]
            .iter()
            .map(|uplink| short(key(uplink)));
        assert_eq!(known, expected.collect());
    }

    #[test]
    fn the_oldest_ones_are_forgotten_when_there_are_too_many_or_they_are_too_old() {
        let seam = seam(3);
        let uplinks = [0, 10, 20, 30, 40].map(|second| uplink("bed-07", second as u32, at(second)));
        for uplink in &uplinks[..4] {
            live(&seam, uplink);
        }
        assert!(matches!(live(&seam, &uplinks[1]), Known::Live(_)));
        assert_eq!(live(&seam, &uplinks[0]), Known::New(5));
        assert_eq!(live(&seam, &uplinks[1]), Known::New(6));
        // They came in the order 30, 0, 10: the first is to be remembered, and keeps the others.
        seam.forget_before(at(20));
        assert!(matches!(live(&seam, &uplinks[0]), Known::Live(_)));
        seam.forget_before(at(31));
        assert_eq!(live(&seam, &uplinks[3]), Known::New(7));
        assert_eq!(live(&seam, &uplinks[0]), Known::New(8));
        seam.forget_before(at(1_000));
        assert_eq!(seam.watermark(99, at(40)).into_known().len(), 0);
        assert_eq!(live(&seam, &uplinks[4]), Known::New(9));
        assert_eq!(seam.watermark(9, at(40)).into_known().len(), 1);
    }

    #[test]
    fn a_trace_is_of_an_uplink_of_its_device_half_a_second_before_or_after_it() {
        let seam = seam(10);
        let uplink = uplink("bed-07", 1, at(100));
        live(&seam, &uplink);
        let received = uplink.received_at.unwrap();
        for time in [received, received - NEAR, received + NEAR] {
            assert!(seam.has_near("bed-07", time));
            assert!(!seam.has_near("bed-08", time));
        }
        let moment = Duration::from_nanos(100);
        for time in [received - NEAR - moment, received + NEAR + moment] {
            assert!(!seam.has_near("bed-07", time));
        }
    }

    #[test]
    fn random_deliveries_are_told_apart_like_in_a_list() {
        for_seeds(200, |random| {
            let capacity = random.usize(1..30);
            let seam = seam(capacity);
            // What is remembered: the number of the uplink, and whether it was fetched.
            let mut list: VecDeque<(u32, bool)> = VecDeque::new();
            let mut number = 0;
            for _ in 0..500 {
                let counter = random.u32(..40);
                let uplink = uplink("bed-07", counter, at(counter.into()));
                let is_fetched = random.bool();
                let known = if is_fetched {
                    fetched(&seam, &uplink)
                } else {
                    live(&seam, &uplink)
                };
                match list.iter().find(|(other, _)| *other == counter) {
                    Some((_, true)) => assert_eq!(known, Known::Before),
                    Some((_, false)) => assert_eq!(known, Known::Live(number)),
                    None => {
                        number += 1;
                        assert_eq!(known, Known::New(number));
                        list.push_back((counter, is_fetched));
                        if list.len() > capacity {
                            list.pop_front();
                        }
                    }
                }
                if random.u8(..20) == 0 {
                    let second = random.u64(..40);
                    seam.forget_before(at(second));
                    // The application server has it a moment later.
                    while list
                        .front()
                        .is_some_and(|(counter, _)| u64::from(*counter) < second)
                    {
                        list.pop_front();
                    }
                }
                let known = seam.watermark(number, at(0)).into_known();
                assert_eq!(known.len(), list.len());
            }
        });
    }

    #[test]
    fn two_uplinks_with_one_key_do_no_harm() {
        let seam = seam(3);
        {
            let mut log = sync::lock(&seam.log);
            for second in 0..3 {
                log.add(Entry {
                    key: 7,
                    device: 1,
                    at: at(second),
                    is_backfilled: false,
                    was_handled: false,
                });
            }
        }
        for counter in 0..5 {
            live(&seam, &uplink("bed-07", counter, at(counter.into())));
            seam.watermark(counter.into(), at(0));
        }
        seam.forget_before(at(1_000));
        assert_eq!(seam.watermark(99, at(0)).into_known().len(), 0);
    }
}
