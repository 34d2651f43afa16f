//! The frame counter of one device, and what it shows about uplinks that did not arrive. Reads no
//! clock.

use std::hash::{DefaultHasher, Hash, Hasher};

use crate::message::{CounterFinding, FrameLoss, UplinkMessage};

/// How many counters below the highest are remembered.
const WINDOW: u32 = u64::BITS;

/// How many milliseconds longer than the client was away the network may lose messages for it. The last
/// packet that arrived can have overtaken messages that the server was still processing. This also makes
/// up for devices that do not send at exactly equal intervals.
const EDGE: u64 = 1_000;

/// Compared with earlier marks, these show where missing uplinks may have gone. Times are milliseconds and
/// wrap after 49 days; every device has marks, so they are small.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Marks {
    /// When they were made.
    pub(crate) at: u32,
    /// How long this client has been away so far.
    pub(crate) away: u32,
    /// The number of outages so far.
    pub(crate) outages: u32,
    /// The number of attempts to connect so far. A server may send uplinks before it has granted every
    /// subscription, so there can be several attempts in an outage with uplinks between them.
    pub(crate) attempts: u32,
    /// How often this client has dropped messages so far.
    pub(crate) drops: u32,
}

impl Marks {
    /// Returns how many of the frames that are missing since the marks `earlier` this client can have
    /// missed while it was away, if the device sent its frames at equal intervals: those that fit into
    /// the time away with the [edge](EDGE) of each outage, and one more for each outage.
    fn missed_while_away(&self, earlier: &Self, frames: u32) -> u32 {
        if (self.outages, self.attempts) == (earlier.outages, earlier.attempts) {
            return 0;
        }
        let outages = self.outages.wrapping_sub(earlier.outages).max(1);
        let away = u64::from(self.away.wrapping_sub(earlier.away));
        let away = u128::from(away + EDGE * u64::from(outages));
        let time = self.at.wrapping_sub(earlier.at).max(1);
        let intervals = u128::from(frames) + 1;
        u32::try_from(away * intervals / u128::from(time))
            .unwrap_or(u32::MAX)
            .saturating_add(outages)
            .min(frames)
    }
}

/// What a counter shows: nothing, one thing, or that missing frames were lost in two places.
pub(crate) type Findings = [Option<CounterFinding>; 2];

/// What is known about the frame counter of a device.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FrameCounters {
    highest: u32,
    /// Bit n stands for `highest - n`; it is set if that frame has arrived or precedes the first known
    /// uplink.
    seen: u64,
    /// The last counter, if it was a repetition: the frames of a restarted device look like one at first.
    repeated: Option<u32>,
    /// Distinguishes the sessions of the device; 0 when the network does not identify them.
    session: u64,
    marks: Marks,
}

impl FrameCounters {
    /// Starts with the first uplink of a device.
    pub(crate) fn new(uplink: &UplinkMessage, marks: Marks) -> Self {
        Self {
            highest: uplink.counter,
            seen: u64::MAX,
            repeated: None,
            session: session(uplink),
            marks,
        }
    }

    /// Returns the highest counter that has arrived.
    pub(crate) fn highest(&self) -> u32 {
        self.highest
    }

    /// Takes the next uplink, given as the state that it would start. Returns what its counter shows.
    pub(crate) fn observe(&mut self, now: Self) -> Findings {
        if self.session != now.session && self.session != 0 && now.session != 0 {
            *self = now;
            return [None; 2];
        }
        let counter = now.highest;
        let Some(ahead) = counter.checked_sub(self.highest) else {
            return [Some(self.look_back(now)), None];
        };
        if ahead == 0 {
            return [Some(CounterFinding::Repeated), None];
        }
        let frames = ahead - 1;
        let away = now.marks.missed_while_away(&self.marks, frames);
        let elsewhere = if self.marks.drops == now.marks.drops {
            FrameLoss::Upstream
        } else {
            FrameLoss::DroppedHere
        };
        *self = Self {
            seen: self.seen.checked_shl(ahead).unwrap_or(0) | 1,
            session: if now.session == 0 {
                self.session
            } else {
                now.session
            },
            ..now
        };
        [(away, FrameLoss::Away), (frames - away, elsewhere)]
            .map(|(frames, loss)| (frames > 0).then_some(CounterFinding::Missing { frames, loss }))
    }

    /// Takes an uplink whose counter is lower than the highest.
    fn look_back(&mut self, now: Self) -> CounterFinding {
        let counter = now.highest;
        let behind = self.highest - counter;
        let continues = self.repeated.take().and_then(|last| last.checked_add(1)) == Some(counter);
        if behind >= WINDOW || continues {
            *self = now;
            return CounterFinding::Reset;
        }
        let bit = 1 << behind;
        if self.seen & bit == 0 {
            self.seen |= bit;
            return CounterFinding::Late;
        }
        self.repeated = Some(counter);
        CounterFinding::Repeated
    }
}

fn session(uplink: &UplinkMessage) -> u64 {
    let id = match &*uplink.session_key_id {
        [] => uplink.dev_addr.as_bytes(),
        id => id,
    };
    if id.is_empty() {
        return 0;
    }
    let mut hasher = DefaultHasher::new();
    id.hash(&mut hasher);
    hasher.finish().max(1)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::network::Network;

    fn uplink(counter: u32) -> UplinkMessage {
        let gateways = json!([{"gtw_id": "roof"}]);
        let body = json!({
            "app_id": "greenhouse", "dev_id": "bed-07", "counter": counter, "metadata": {"gateways": gateways},
        });
        UplinkMessage::from_json(Network::V2, body.to_string()).unwrap()
    }

    fn in_session(session_key_id: &str, counter: u32) -> UplinkMessage {
        let body = json!({
            "end_device_ids": {"device_id": "bed-07", "application_ids": {"application_id": "greenhouse"}},
            "uplink_message": {"session_key_id": session_key_id, "f_cnt": counter, "f_port": 1},
        });
        UplinkMessage::from_json(Network::V3, body.to_string()).unwrap()
    }

    const SECOND: u32 = 1_000;

    /// What a client remembers of one device.
    struct Watch {
        counters: Option<FrameCounters>,
        marks: Marks,
    }

    impl Default for Watch {
        fn default() -> Self {
            Self {
                counters: None,
                marks: Marks {
                    // About to wrap.
                    at: u32::MAX - SECOND,
                    away: u32::MAX,
                    outages: 0,
                    attempts: 0,
                    drops: 0,
                },
            }
        }
    }

    impl Watch {
        fn observe(&mut self, uplink: &UplinkMessage) -> Findings {
            let now = FrameCounters::new(uplink, self.marks);
            match &mut self.counters {
                Some(counters) => counters.observe(now),
                None => {
                    self.counters = Some(now);
                    [None; 2]
                }
            }
        }

        /// Lets time pass, `away` of it in one outage.
        fn pass(&mut self, time: u32, away: u32) {
            self.marks.at = self.marks.at.wrapping_add(time);
            self.marks.away = self.marks.away.wrapping_add(away);
            self.marks.outages += u32::from(away > 0);
            self.marks.attempts += u32::from(away > 0);
        }
    }

    fn observe(watch: &mut Watch, counters: &[u32]) -> Vec<(u32, CounterFinding)> {
        let findings = |counter: &u32| {
            let findings = watch.observe(&uplink(*counter));
            findings.map(|finding| Some((*counter, finding?)))
        };
        counters.iter().flat_map(findings).flatten().collect()
    }

    fn missing(frames: u32, loss: FrameLoss) -> CounterFinding {
        CounterFinding::Missing { frames, loss }
    }

    #[test]
    fn counters_without_a_hole_say_nothing() {
        let mut watch = Watch::default();
        assert_eq!(observe(&mut watch, &[7, 8, 9, 10]), []);
    }

    #[test]
    fn what_is_missing_is_counted_and_told_apart() {
        let mut watch = Watch::default();
        assert_eq!(
            observe(&mut watch, &[7, 8, 12]),
            [(12, missing(3, FrameLoss::Upstream))]
        );
        watch.marks.drops += 1;
        assert_eq!(
            observe(&mut watch, &[14, 16]),
            [
                (14, missing(1, FrameLoss::DroppedHere)),
                (16, missing(1, FrameLoss::Upstream))
            ]
        );
        watch.marks.drops += 1;
        watch.pass(100 * SECOND, 100 * SECOND);
        assert_eq!(
            observe(&mut watch, &[116, 118]),
            [
                (116, missing(99, FrameLoss::Away)),
                (118, missing(1, FrameLoss::Upstream))
            ]
        );
    }

    #[test]
    fn no_more_were_missed_while_away_than_fit_into_that_time() {
        let mut watch = Watch::default();
        observe(&mut watch, &[0]);
        // One every second; away twice for 1.6 s, while the server loses what comes in 27 s.
        watch.pass(10 * SECOND, SECOND * 8 / 5);
        watch.pass(18 * SECOND, SECOND * 8 / 5);
        assert_eq!(
            observe(&mut watch, &[28]),
            [
                (28, missing(7, FrameLoss::Away)),
                (28, missing(20, FrameLoss::Upstream))
            ]
        );
        // One that was lost may have been lost in the shortest outage.
        watch.pass(600 * SECOND, SECOND / 10);
        assert_eq!(
            observe(&mut watch, &[30]),
            [(30, missing(1, FrameLoss::Away))]
        );
        // All of a night.
        watch.pass(SECOND, 0);
        watch.pass(36_000 * SECOND, 36_000 * SECOND);
        watch.marks.drops += 1;
        assert_eq!(
            observe(&mut watch, &[4_000]),
            [(4_000, missing(3_969, FrameLoss::Away))]
        );
        // Dropped here, and away for a moment.
        watch.pass(100 * SECOND, SECOND / 10);
        watch.marks.drops += 1;
        assert_eq!(
            observe(&mut watch, &[4_005]),
            [
                (4_005, missing(1, FrameLoss::Away)),
                (4_005, missing(3, FrameLoss::DroppedHere))
            ]
        );
    }

    #[test]
    fn the_end_of_an_outage_that_an_uplink_fell_into_takes_nothing_else_with_it() {
        let mut watch = Watch::default();
        observe(&mut watch, &[0]);
        watch.pass(2 * SECOND, SECOND);
        assert_eq!(
            observe(&mut watch, &[2]),
            [(2, missing(1, FrameLoss::Away))]
        );
        // The same outage goes on for a moment.
        watch.pass(SECOND, SECOND / 100);
        watch.marks.outages -= 1;
        watch.marks.attempts -= 1;
        assert_eq!(
            observe(&mut watch, &[4]),
            [(4, missing(1, FrameLoss::Upstream))]
        );
        // It goes on after an attempt that failed when an uplink had come.
        watch.pass(SECOND, SECOND);
        watch.marks.outages -= 1;
        assert_eq!(
            observe(&mut watch, &[6]),
            [(6, missing(1, FrameLoss::Away))]
        );
    }

    #[test]
    fn one_that_comes_after_its_successors_is_late_once() {
        let mut watch = Watch::default();
        assert_eq!(
            observe(&mut watch, &[7, 9, 8, 10]),
            [
                (9, missing(1, FrameLoss::Upstream)),
                (8, CounterFinding::Late)
            ]
        );
        assert_eq!(observe(&mut watch, &[10]), [(10, CounterFinding::Repeated)]);
    }

    #[test]
    fn a_counter_that_goes_back_is_a_reset_and_counting_goes_on_from_there() {
        let mut watch = Watch::default();
        for start in [0, 1, 40] {
            assert_eq!(
                observe(&mut watch, &[1000, 1001]).len(),
                usize::from(start > 0)
            );
            assert_eq!(
                observe(&mut watch, &[start, start + 1, start + 3]),
                [
                    (start, CounterFinding::Reset),
                    (start + 3, missing(1, FrameLoss::Upstream))
                ]
            );
        }
        // Within the window, it takes two.
        assert_eq!(
            observe(&mut watch, &[20, 21, 22, 24]),
            [
                (20, CounterFinding::Repeated),
                (21, CounterFinding::Reset),
                (24, missing(1, FrameLoss::Upstream))
            ]
        );
    }

    #[test]
    fn an_old_uplink_that_is_delivered_again_is_no_reset() {
        let mut watch = Watch::default();
        assert_eq!(
            observe(&mut watch, &[10, 11, 10, 12, 11, 13, 13, 14]),
            [10, 11, 13].map(|counter| (counter, CounterFinding::Repeated))
        );
    }

    #[test]
    fn a_new_session_is_no_gap_even_when_its_join_was_not_seen() {
        let mut watch = Watch::default();
        for (session, counter) in [
            ("AAAA", 500),
            ("AAAA", 501),
            ("BBBB", 0),
            ("BBBB", 1),
            ("CCCC", 900),
        ] {
            assert_eq!(
                watch.observe(&in_session(session, counter)),
                [None; 2],
                "{session} {counter}"
            );
        }
    }

    #[test]
    fn all_uplinks_are_either_here_or_missing_whatever_their_order() {
        let mut random = fastrand::Rng::with_seed(4);
        for _ in 0..200 {
            let mut watch = Watch::default();
            let mut counters: Vec<u32> = (1..2_000).filter(|_| random.u8(..) > 20).collect();
            // A few places from where it belongs, as with a server that has several workers.
            for _ in 0..300 {
                let at = random.usize(..counters.len() - 3);
                counters.swap(at, at + random.usize(1..3));
            }
            counters.insert(0, 0);
            counters.push(2_000);
            let (mut lost, mut late) = (0, 0);
            for (_, finding) in observe(&mut watch, &counters) {
                match finding {
                    CounterFinding::Missing { frames, .. } => lost += frames as usize,
                    CounterFinding::Late => late += 1,
                    finding => panic!("{finding:?}"),
                }
            }
            assert_eq!(counters.len() + lost - late, 2_001);
        }
    }
}
