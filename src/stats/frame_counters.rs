//! The frame counter of one device, and what it shows about uplinks that did not arrive. Reads no
//! clock.

use std::hash::{DefaultHasher, Hash, Hasher};

use crate::message::{CounterFinding, FrameLoss, UplinkMessage};

/// How many counters below the highest are remembered.
const WINDOW: u32 = u64::BITS;

/// Compared with earlier marks, these show where missing uplinks may have gone.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Marks {
    /// The number of outages so far.
    pub(crate) outages: u32,
    /// How often this client has dropped messages so far.
    pub(crate) drops: u32,
}

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
    pub(crate) fn observe(&mut self, now: Self) -> Option<CounterFinding> {
        if self.session != now.session && self.session != 0 && now.session != 0 {
            *self = now;
            return None;
        }
        let counter = now.highest;
        let Some(ahead) = counter.checked_sub(self.highest) else {
            return Some(self.look_back(now));
        };
        if ahead == 0 {
            return Some(CounterFinding::Repeated);
        }
        let loss = if self.marks.outages != now.marks.outages {
            FrameLoss::Away
        } else if self.marks.drops != now.marks.drops {
            FrameLoss::DroppedHere
        } else {
            FrameLoss::Upstream
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
        let frames = ahead - 1;
        (frames > 0).then_some(CounterFinding::Missing { frames, loss })
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

    /// What a client remembers of one device.
    #[derive(Default)]
    struct Watch {
        counters: Option<FrameCounters>,
        marks: Marks,
    }

    impl Watch {
        fn observe(&mut self, uplink: &UplinkMessage) -> Option<CounterFinding> {
            let now = FrameCounters::new(uplink, self.marks);
            match &mut self.counters {
                Some(counters) => counters.observe(now),
                None => {
                    self.counters = Some(now);
                    None
                }
            }
        }
    }

    fn observe(watch: &mut Watch, counters: &[u32]) -> Vec<(u32, CounterFinding)> {
        let finding = |counter: &u32| {
            let finding = watch.observe(&uplink(*counter))?;
            Some((*counter, finding))
        };
        counters.iter().filter_map(finding).collect()
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
        watch.marks.outages += 1;
        assert_eq!(
            observe(&mut watch, &[116, 118]),
            [
                (116, missing(99, FrameLoss::Away)),
                (118, missing(1, FrameLoss::Upstream))
            ]
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
                None,
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
