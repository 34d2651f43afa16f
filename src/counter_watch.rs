//! Watches the frame counters of devices: numbers, no clock.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
};

use crate::message::{CounterFinding, CounterReport, FrameLoss, UplinkMessage};

/// Remembers so many counters below the highest.
const WINDOW: u32 = u64::BITS;

/// The counters of the devices that were heard last.
#[derive(Debug)]
pub(crate) struct CounterWatch {
    devices: HashMap<Box<str>, Counters>,
    capacity: usize,
    /// Counts uplinks, which tells what is longer ago.
    uplinks: u64,
    /// Counts outages.
    outages: u32,
    /// Counts the moments in which messages were dropped here.
    drops: u32,
}

#[derive(Clone, Copy, Debug)]
struct Counters {
    highest: u32,
    /// Bit n stands for `highest - n`; set if it has arrived, or was before the watch began.
    seen: u64,
    /// The last one, if it was a repetition; a device that was restarted looks like one at first.
    repeated: Option<u32>,
    /// Tells one session of the device from another; 0 when the network does not say.
    session: u64,
    /// Which uplink was the last of the device.
    heard: u64,
    outages: u32,
    drops: u32,
}

impl CounterWatch {
    /// Watches so many devices at most; none with 0.
    pub(crate) fn new(devices: usize) -> Self {
        Self {
            devices: HashMap::new(),
            capacity: devices,
            uplinks: 0,
            outages: 0,
            drops: 0,
        }
    }

    /// What arrives from now on comes after an outage.
    pub(crate) fn was_away(&mut self) {
        self.outages = self.outages.wrapping_add(1);
    }

    /// Messages were dropped here.
    pub(crate) fn dropped(&mut self) {
        self.drops = self.drops.wrapping_add(1);
    }

    /// A device has joined: it counts anew, which is no gap.
    pub(crate) fn joined(&mut self, dev_id: &str) {
        self.devices.remove(dev_id);
    }

    /// What the counter of an uplink says.
    pub(crate) fn observe(&mut self, uplink: &UplinkMessage) -> Option<CounterReport> {
        if self.capacity == 0 || uplink.is_simulated() {
            return None;
        }
        self.uplinks += 1;
        let counter = uplink.counter;
        let now = Counters {
            highest: counter,
            seen: u64::MAX,
            repeated: None,
            session: session(uplink),
            heard: self.uplinks,
            outages: self.outages,
            drops: self.drops,
        };
        let Some(known) = self.devices.get_mut(uplink.dev_id.as_str()) else {
            self.make_room();
            self.devices.insert(uplink.dev_id.as_str().into(), now);
            return None;
        };
        known.heard = now.heard;
        if known.session != now.session && known.session != 0 && now.session != 0 {
            *known = now;
            return None;
        }
        let previous = known.highest;
        let finding = known.advance(now)?;
        Some(CounterReport {
            app_id: uplink.app_id.clone(),
            dev_id: uplink.dev_id.clone(),
            counter,
            previous,
            finding,
        })
    }

    /// Forgets, when there are as many as allowed, the half that was silent longest: so many at once
    /// that looking for them is seldom.
    fn make_room(&mut self) {
        if self.devices.len() < self.capacity {
            return;
        }
        let mut heard: Vec<_> = self.devices.values().map(|known| known.heard).collect();
        let middle = (heard.len() - 1) / 2;
        let (_, last_forgotten, _) = heard.select_nth_unstable(middle);
        self.devices
            .retain(|_, known| known.heard > *last_forgotten);
    }
}

impl Counters {
    fn advance(&mut self, now: Self) -> Option<CounterFinding> {
        let counter = now.highest;
        let Some(ahead) = counter.checked_sub(self.highest) else {
            return Some(self.look_back(now));
        };
        if ahead == 0 {
            return Some(CounterFinding::Repeated);
        }
        let loss = if self.outages != now.outages {
            FrameLoss::Away
        } else if self.drops != now.drops {
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

    /// The counter is lower than another one before.
    fn look_back(&mut self, now: Self) -> CounterFinding {
        let counter = now.highest;
        let behind = self.highest - counter;
        let goes_on = self.repeated.take().and_then(|last| last.checked_add(1)) == Some(counter);
        if behind >= WINDOW || goes_on {
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

    fn uplink(dev_id: &str, counter: u32) -> UplinkMessage {
        let gateways = json!([{"gtw_id": "roof"}]);
        let body = json!({
            "app_id": "greenhouse", "dev_id": dev_id, "counter": counter, "metadata": {"gateways": gateways},
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

    fn observe(watch: &mut CounterWatch, counters: &[u32]) -> Vec<(u32, CounterFinding)> {
        let report = |counter: &u32| watch.observe(&uplink("bed-07", *counter));
        counters
            .iter()
            .filter_map(report)
            .map(|report| (report.counter, report.finding))
            .collect()
    }

    fn missing(frames: u32, loss: FrameLoss) -> CounterFinding {
        CounterFinding::Missing { frames, loss }
    }

    #[test]
    fn counters_without_a_hole_say_nothing() {
        let mut watch = CounterWatch::new(10);
        assert_eq!(observe(&mut watch, &[7, 8, 9, 10]), []);
    }

    #[test]
    fn what_is_missing_is_counted_and_told_apart() {
        let mut watch = CounterWatch::new(10);
        assert_eq!(
            observe(&mut watch, &[7, 8, 12]),
            [(12, missing(3, FrameLoss::Upstream))]
        );
        watch.dropped();
        assert_eq!(
            observe(&mut watch, &[14, 16]),
            [
                (14, missing(1, FrameLoss::DroppedHere)),
                (16, missing(1, FrameLoss::Upstream))
            ]
        );
        watch.dropped();
        watch.was_away();
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
        let mut watch = CounterWatch::new(10);
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
        let mut watch = CounterWatch::new(10);
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
        // Within reach of the memory it takes two.
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
        let mut watch = CounterWatch::new(10);
        assert_eq!(
            observe(&mut watch, &[10, 11, 10, 12, 11, 13, 13, 14]),
            [10, 11, 13].map(|counter| (counter, CounterFinding::Repeated))
        );
    }

    #[test]
    fn a_join_is_no_gap() {
        let mut watch = CounterWatch::new(10);
        observe(&mut watch, &[500]);
        watch.joined("bed-07");
        assert_eq!(observe(&mut watch, &[0, 1, 2]), []);
    }

    #[test]
    fn a_new_session_is_no_gap_even_when_its_join_was_not_seen() {
        let mut watch = CounterWatch::new(10);
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
            let mut watch = CounterWatch::new(10);
            let mut counters: Vec<u32> = (1..2_000).filter(|_| random.u8(..) > 20).collect();
            // Up to some places from where it belongs, as a server's workers bring it about.
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

    #[test]
    fn the_devices_that_are_heard_are_remembered_and_never_more_than_allowed() {
        let mut watch = CounterWatch::new(100);
        for round in 0..50 {
            for device in 0..20 {
                // Heard every time, among many that are heard once.
                let report = watch.observe(&uplink(&format!("often-{device}"), round));
                assert_eq!(report, None);
                watch.observe(&uplink(&format!("once-{round}-{device}"), 7));
            }
            assert!(watch.devices.len() <= 100);
        }
        for device in 0..20 {
            let report = watch
                .observe(&uplink(&format!("often-{device}"), 60))
                .unwrap();
            assert_eq!(report.finding, missing(10, FrameLoss::Upstream));
        }
    }

    #[test]
    fn half_of_the_devices_are_forgotten_when_there_is_no_room_those_that_were_silent_longest() {
        for capacity in 1..=9 {
            let mut watch = CounterWatch::new(capacity);
            let ids: Vec<_> = (0..=capacity)
                .map(|number| format!("bed-{number}"))
                .collect();
            let (next, first) = ids.split_last().unwrap();
            for dev_id in first.iter().rev().chain(first) {
                watch.observe(&uplink(dev_id, 7));
            }
            assert_eq!(watch.devices.len(), capacity);
            watch.observe(&uplink(next, 7));
            let mut known: Vec<_> = watch.devices.keys().map(|dev_id| &**dev_id).collect();
            known.sort_unstable();
            assert_eq!(known, ids[capacity.div_ceil(2)..]);
        }
    }

    #[test]
    fn the_counters_of_simulated_uplinks_mean_nothing() {
        let mut watch = CounterWatch::new(10);
        let body = |counter: u32| {
            json!({
                "end_device_ids": {"device_id": "bed-07", "application_ids": {"application_id": "greenhouse"}},
                "uplink_message": {"f_cnt": counter, "f_port": 1},
                "simulated": true,
            })
        };
        for counter in [7, 0, 99] {
            let uplink = UplinkMessage::from_json(Network::V3, body(counter).to_string()).unwrap();
            assert!(uplink.is_simulated());
            assert_eq!(watch.observe(&uplink), None);
        }
    }
}
