//! What is found of devices that restart, repeat, lose and delay frames.

mod device;
mod filling;

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
        self.marks.attempts += u16::from(away > 0);
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
    watch.pass(SECOND, SECOND / 16);
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

const MINUTE: u32 = 60 * SECOND;

fn containing(counter: u32, payload: &[u8]) -> UplinkMessage {
    let mut uplink = uplink(counter);
    uplink.payload_raw = payload.to_vec();
    uplink
}

/// What is found of frames with their contents, and with this time between them.
fn contents(watch: &mut Watch, time: u32, frames: &[(u32, &[u8])]) -> Vec<CounterFinding> {
    let findings = |(counter, payload): &(u32, &[u8])| {
        watch.pass(time, 0);
        watch.observe(&containing(*counter, payload))
    };
    frames.iter().flat_map(findings).flatten().collect()
}

#[test]
fn a_device_that_loses_its_counter_in_deep_sleep_restarts_each_time() {
    let frames: [(u32, &[u8]); 5] = [(1, b"a"), (2, b"b"), (1, b"c"), (2, b"d"), (1, b"e")];
    let found = contents(&mut Watch::default(), SECOND, &frames);
    assert_eq!(found, [CounterFinding::Reset; 2]);
    let same = frames.map(|(counter, _)| (counter, &[1][..]));
    let found = contents(&mut Watch::default(), 10 * MINUTE, &same);
    assert_eq!(found, [CounterFinding::Reset; 2]);
    // A device that sends once and sleeps.
    let once = frames.map(|(_, content)| (1, content));
    let found = contents(&mut Watch::default(), SECOND, &once);
    assert_eq!(found, [CounterFinding::Reset; 4]);
    for time in [6 * MINUTE, 70 * MINUTE, 24 * 60 * MINUTE] {
        let found = contents(&mut Watch::default(), time, &[(1, &[1][..]); 4]);
        assert_eq!(found, [CounterFinding::Reset; 3], "{time}");
    }
    // The first one that this client hears is not the first one after a restart.
    let later: [(u32, &[u8]); 6] = [
        (2, b"a"),
        (1, b"b"),
        (2, b"c"),
        (1, b"d"),
        (2, b"e"),
        (1, b"f"),
    ];
    let found = contents(&mut Watch::default(), SECOND, &later);
    let (repeated, reset) = (CounterFinding::Repeated, CounterFinding::Reset);
    assert_eq!(found, [repeated, reset, reset, reset]);
    // It may also be one frame that is sent again and again.
    let found = contents(&mut Watch::default(), SECOND, &[(1, &[1][..]); 4]);
    assert_eq!(found, [CounterFinding::Repeated; 3]);
}

#[test]
fn a_device_may_repeat_a_frame_as_slowly_as_its_airtime_requires() {
    let mut watch = Watch::default();
    observe(&mut watch, &[7]);
    for _ in 0..14 {
        watch.pass(REPEAT, 0);
        assert_eq!(observe(&mut watch, &[7]), [(7, CounterFinding::Repeated)]);
    }
    watch.pass(REPEAT + 1, 0);
    assert_eq!(
        observe(&mut watch, &[7, 8, 10]),
        [
            (7, CounterFinding::Reset),
            (10, missing(1, FrameLoss::Upstream))
        ]
    );
}

#[test]
fn the_last_frames_are_each_told_from_others_by_content_and_time() {
    for behind in 0..7 {
        let counter = 20 - behind;
        let start = |watch: &mut Watch, time| {
            for counter in 1..=20 {
                watch.pass(time, 0);
                watch.observe(&containing(counter, b"dry"));
            }
        };
        let mut watch = Watch::default();
        start(&mut watch, SECOND);
        let found = contents(&mut watch, 0, &[(counter, b"dry"), (counter, b"wet")]);
        assert_eq!(found, [CounterFinding::Repeated, CounterFinding::Reset]);

        let (mut confirmed, mut other_port) =
            (containing(counter, b"dry"), containing(counter, b"dry"));
        confirmed.confirmed = true;
        other_port.port = 9;
        for other in [confirmed, other_port] {
            let mut watch = Watch::default();
            start(&mut watch, SECOND);
            let found = watch.observe(&other);
            assert_eq!(found, [Some(CounterFinding::Reset), None]);
        }

        // The last frame is new, and this one is not.
        let mut watch = Watch::default();
        start(&mut watch, 6 * MINUTE);
        let found = contents(&mut watch, 0, &[(counter, b"dry")]);
        let expected = match behind {
            0 => CounterFinding::Repeated,
            _ => CounterFinding::Reset,
        };
        assert_eq!(found, [expected], "{behind}");
    }
    // It has arrived again since.
    let frames: [(u32, &[u8]); 5] = [(1, b""), (2, b""), (1, b""), (3, b""), (1, b"")];
    let found = contents(&mut Watch::default(), 2 * MINUTE, &frames);
    assert_eq!(found, [CounterFinding::Repeated; 2]);
}

#[test]
fn a_missing_frame_is_late_for_minutes_and_shows_a_restart_after_that() {
    let mut watch = Watch::default();
    observe(&mut watch, &[1, 2, 6]);
    watch.pass(REPEAT, 0);
    assert_eq!(observe(&mut watch, &[3]), [(3, CounterFinding::Late)]);
    watch.pass(1, 0);
    assert_eq!(
        observe(&mut watch, &[4, 6]),
        [
            (4, CounterFinding::Reset),
            (6, missing(1, FrameLoss::Upstream))
        ]
    );
}

#[test]
fn a_counter_that_wraps_is_no_reset_and_what_was_lost_across_it_is_counted() {
    for top in [u16::MAX.into(), u32::MAX] {
        let lost = |frames| missing(frames, FrameLoss::Upstream);
        let mut watch = Watch::default();
        assert_eq!(observe(&mut watch, &[top - 1, top, 0, 1, 2]), []);
        let mut watch = Watch::default();
        assert_eq!(
            observe(&mut watch, &[top - 5, 3, 4, 6]),
            [(3, lost(8)), (6, lost(1))]
        );
        // Late ones from both sides.
        assert_eq!(
            observe(&mut watch, &[top - 1, 0, 2, 7, top, 0, top - 5]),
            [
                (top - 1, CounterFinding::Late),
                (0, CounterFinding::Late),
                (2, CounterFinding::Late),
                (top, CounterFinding::Late),
                (0, CounterFinding::Repeated),
                (top - 5, CounterFinding::Repeated),
            ]
        );
        // A restart, seldom so near to the end.
        let mut watch = Watch::default();
        assert_eq!(observe(&mut watch, &[top - 100, 155]), [(155, lost(255))]);
        let mut watch = Watch::default();
        assert_eq!(
            observe(&mut watch, &[top - 100, 156, 157, 159]),
            [(156, CounterFinding::Reset), (159, lost(1))]
        );
    }
    // More than 16 bits.
    let mut watch = Watch::default();
    assert_eq!(
        observe(&mut watch, &[65_535, 65_536, 65_540, 3, 5]),
        [
            (65_540, missing(3, FrameLoss::Upstream)),
            (3, CounterFinding::Reset),
            (5, missing(1, FrameLoss::Upstream))
        ]
    );
}

#[test]
#[cfg(target_pointer_width = "64")]
fn what_is_remembered_of_each_device_is_small() {
    assert_eq!(size_of::<Option<FrameCounters>>(), 80);
}

#[test]
fn hardly_any_two_contents_look_alike() {
    let digest = |payload: &[u8]| Frame::new(&containing(1, payload), 0).digest;
    let mut random = fastrand::Rng::with_seed(7);
    for length in [1, 2, 7, 8, 9, 16, 51, 222] {
        let alike = (0..2_000)
            .filter(|_| {
                let payload: Vec<u8> = (0..length).map(|_| random.u8(..)).collect();
                let mut other = payload.clone();
                // A measurement that changes a little, and one that is a byte longer.
                other[random.usize(..length)] ^= 1 << random.u8(..8);
                let longer = [&payload[..], &[0]].concat();
                let digests = [&payload, &other, &longer].map(|payload| digest(payload));
                digests[0] == digests[1] || digests[0] == digests[2]
            })
            .count();
        assert!(alike < 60, "{alike} of 2,000 with {length} bytes");
    }
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

/// When a network received a frame, in seconds.
fn received(mut uplink: UplinkMessage, second: u64) -> UplinkMessage {
    let time = UNIX_EPOCH + Duration::from_secs(1_780_000_000 + second);
    uplink.metadata.time = Some(time);
    uplink
}

/// What is found of frames that arrive at one moment, of their counters, contents and the seconds when
/// their network received them.
fn as_received(v3: bool, frames: &[(u32, &[u8], u64)]) -> Vec<CounterFinding> {
    let mut watch = Watch::default();
    let findings = |(counter, payload, second): &(u32, &[u8], u64)| {
        let mut uplink = received(containing(*counter, payload), *second);
        if v3 {
            uplink.dev_addr = "260B0007".to_owned();
        }
        watch.observe(&uplink)
    };
    frames.iter().flat_map(findings).flatten().collect()
}

const REPEATED: CounterFinding = CounterFinding::Repeated;
const RESET: CounterFinding = CounterFinding::Reset;

#[test]
fn a_frame_that_is_delivered_again_hours_later_is_known_by_the_time_of_its_network() {
    for v3 in [false, true] {
        let mut watch = Watch::default();
        let frame = |counter: u32| {
            let mut uplink = received(uplink(counter), u64::from(counter) * 60);
            if v3 {
                uplink.dev_addr = "260B0007".to_owned();
            }
            uplink
        };
        let mut found = Vec::new();
        for counter in [100, 101, 103, 200, 201] {
            found.extend(watch.observe(&frame(counter)).into_iter().flatten());
        }
        assert_eq!(found.len(), 2);
        watch.pass(3 * 60 * MINUTE, 0);
        for (counter, expected) in [
            (100, Some(REPEATED)),
            (101, Some(REPEATED)),
            (103, Some(REPEATED)),
            (199, Some(CounterFinding::Late)),
            (201, Some(REPEATED)),
            (202, None),
            (202, Some(REPEATED)),
        ] {
            assert_eq!(
                watch.observe(&frame(counter)),
                [expected, None],
                "{counter}"
            );
        }
    }
}

#[test]
fn a_device_that_starts_over_is_known_by_the_time_of_its_network_whatever_it_sends() {
    let same: [(u32, &[u8], u64); 6] = [
        (1, b"dry", 0),
        (2, b"dry", 20),
        (1, b"dry", 40),
        (2, b"dry", 60),
        // Missing so far.
        (5, b"dry", 80),
        (4, b"dry", 100),
    ];
    let lost = missing(2, FrameLoss::Upstream);
    for v3 in [false, true] {
        assert_eq!(as_received(v3, &same), [RESET, lost, RESET]);
    }
    // V2 publishes repetitions by devices, v3 does not.
    let once: [(u32, &[u8], u64); 4] = [
        (1, b"dry", 0),
        (1, b"dry", 20),
        (1, b"dry", 320),
        (1, b"dry", 621),
    ];
    assert_eq!(as_received(true, &once), [RESET; 3]);
    assert_eq!(as_received(false, &once), [REPEATED, REPEATED, RESET]);
}

#[test]
fn what_was_sent_before_a_restart_does_not_count_after_it() {
    let frames: [(u32, &[u8], u64); 7] = [
        (50, b"a", 0),
        (51, b"b", 60),
        (0, b"c", 120),
        (51, b"b", 60),
        (50, b"a", 0),
        (1, b"d", 180),
        (3, b"e", 300),
    ];
    let lost = missing(1, FrameLoss::Upstream);
    for v3 in [false, true] {
        assert_eq!(as_received(v3, &frames), [RESET, REPEATED, REPEATED, lost]);
    }
    let mut watch = Watch::default();
    let in_turn = [
        ("AAAA", 500, 0),
        ("BBBB", 0, 60),
        ("AAAA", 499, 0),
        ("BBBB", 3, 240),
    ];
    let found = in_turn.map(|(session, counter, second)| {
        watch.observe(&received(in_session(session, counter), second))[1]
    });
    let lost = missing(2, FrameLoss::Upstream);
    assert_eq!(found, [None, None, None, Some(lost)]);
}

#[test]
fn a_network_whose_clock_is_set_back_is_followed() {
    let frames: [(u32, &[u8], u64); 6] = [
        (7, b"a", 200_000),
        // By an hour.
        (8, b"b", 196_400),
        (10, b"c", 196_500),
        // By more than a day.
        (12, b"d", 50),
        (3, b"e", 100),
        (4, b"f", 150),
    ];
    let lost = missing(1, FrameLoss::Upstream);
    for v3 in [false, true] {
        assert_eq!(as_received(v3, &frames), [lost, lost, RESET]);
    }
}

#[test]
fn a_device_that_is_silent_for_weeks_is_not_taken_for_one_that_was_just_heard() {
    // 32 bits of milliseconds are 49.7 days.
    for milliseconds in [1 << 32, (1 << 32) + 60_000, 2 << 32] {
        let mut watch = Watch::default();
        observe(&mut watch, &[0, 1, 2, 5]);
        watch.pass(ticks(Duration::from_millis(milliseconds)), 0);
        assert_eq!(observe(&mut watch, &[3, 4]), [(3, RESET)]);
    }
    // Nor was the client away only for a moment.
    let mut watch = Watch::default();
    observe(&mut watch, &[0]);
    let weeks = ticks(Duration::from_millis(1 << 32));
    watch.pass(weeks, weeks);
    assert_eq!(
        observe(&mut watch, &[1_000]),
        [(1_000, missing(999, FrameLoss::Away))]
    );
}
