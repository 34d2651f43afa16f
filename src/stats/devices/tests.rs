//! What is remembered of devices, and what is forgotten.

use serde_json::json;

use super::*;
use crate::{
    message::{CounterFinding, FrameLoss},
    network::Network,
};

const SECOND: Duration = Duration::from_secs(1);

/// What each device has used, without those that have used nothing today.
fn users(devices: &Devices) -> Vec<(String, DeviceUse)> {
    let mut users = Vec::new();
    let _ = (0..).find(|shelf| !devices.copy_users(*shelf, &mut users));
    let named = |(dev_id, used): (DeviceId, _)| (dev_id.to_string(), used);
    users.into_iter().map(named).collect()
}

/// A moment of a day.
fn on(day: u32, second: u64) -> SystemTime {
    UNIX_EPOCH + day * DAY + Duration::from_secs(second)
}

/// What was last heard of `bed-07`, as long as it was heard on this day.
fn heard(devices: &Devices) -> Option<(u32, u32)> {
    devices.last_heard("bed-07", noon() + 3600 * SECOND)
}

fn noon() -> SystemTime {
    on(20_000, 43_200)
}

/// An uplink with an airtime of one second.
fn uplink(dev_id: &str, counter: u32) -> UplinkMessage {
    let body = json!({
        "app_id": "greenhouse", "dev_id": dev_id, "counter": counter,
        "metadata": {"airtime": 1_000_000_000, "gateways": [{"gtw_id": "roof"}]},
    });
    UplinkMessage::from_json(Network::V2, body.to_string()).unwrap()
}

fn simulated(counter: u32) -> UplinkMessage {
    let body = json!({
        "end_device_ids": {"device_id": "bed-07", "application_ids": {"application_id": "greenhouse"}},
        "uplink_message": {"f_cnt": counter, "f_port": 1, "consumed_airtime": "1s"},
        "simulated": true,
    });
    UplinkMessage::from_json(Network::V3, body.to_string()).unwrap()
}

fn used(uplinks: u64, downlinks: u64) -> DeviceUse {
    DeviceUse {
        uplinks,
        airtime: SECOND * uplinks as u32,
        downlinks,
    }
}

fn missing(frames: u32, loss: FrameLoss) -> CounterFinding {
    CounterFinding::Missing { frames, loss }
}

/// Counts an uplink at a moment that does not matter for what its counter shows.
fn count(devices: &mut Devices, uplink: &UplinkMessage, time: SystemTime) -> Option<CounterReport> {
    let reports = devices.uplink(uplink, Instant::now(), time);
    let mut reports = reports.into_iter().flatten();
    let report = reports.next();
    assert_eq!(reports.next(), None);
    report
}

/// What the counters of `bed-07` say.
fn findings(devices: &mut Devices, counters: &[u32]) -> Vec<CounterFinding> {
    let counters = counters.iter();
    counters
        .filter_map(|counter| count(devices, &uplink("bed-07", *counter), noon()))
        .map(|report| report.finding)
        .collect()
}

#[test]
fn a_report_names_the_device_and_both_counters() {
    let mut devices = Devices::new(10);
    assert_eq!(count(&mut devices, &uplink("bed-07", 7), noon()), None);
    count(&mut devices, &uplink("bed-08", 70), noon());
    let expected = CounterReport {
        app_id: "greenhouse".to_owned(),
        dev_id: "bed-07".to_owned(),
        counter: 9,
        previous: 7,
        finding: missing(1, FrameLoss::Upstream),
    };
    assert_eq!(
        count(&mut devices, &uplink("bed-07", 9), noon()),
        Some(expected)
    );
}

#[test]
fn what_was_lost_here_is_told_from_what_was_lost_elsewhere() {
    let mut devices = Devices::new(10);
    assert_eq!(
        findings(&mut devices, &[1, 3]),
        [missing(1, FrameLoss::Upstream)]
    );
    devices.dropped();
    assert_eq!(
        findings(&mut devices, &[5]),
        [missing(1, FrameLoss::DroppedHere)]
    );
    devices.left(Instant::now(), Duration::ZERO);
    devices.left(Instant::now(), Duration::ZERO);
    devices.returned(Instant::now());
    assert_eq!(
        findings(&mut devices, &[7, 9]),
        [missing(1, FrameLoss::Away), missing(1, FrameLoss::Upstream)]
    );
}

#[test]
fn the_time_away_includes_the_outage_that_lasts_and_the_silence_before_one() {
    let mut devices = Devices::new(10);
    let start = Instant::now();
    let away = |devices: &mut Devices, counter, second| {
        let now = start + second * SECOND;
        let reports = devices.uplink(&uplink("bed-07", counter), now, noon());
        let missing = reports.into_iter().flatten().map(|report| report.finding);
        missing
            .filter_map(|finding| match finding {
                CounterFinding::Missing { frames, loss } => {
                    (loss == FrameLoss::Away).then_some(frames)
                }
                finding => panic!("{finding:?}"),
            })
            .sum::<u32>()
    };
    away(&mut devices, 0, 0);
    devices.left(start + 10 * SECOND, Duration::ZERO);
    // It comes before the subscription is granted.
    assert_eq!(away(&mut devices, 100, 100), 92);
    devices.returned(start + 100 * SECOND);
    assert_eq!(away(&mut devices, 200, 200), 0);
    devices.left(start + 290 * SECOND, 9 * SECOND);
    devices.returned(start + 291 * SECOND);
    assert_eq!(away(&mut devices, 300, 300), 12);
}

#[test]
fn a_join_is_no_gap_and_takes_nothing_of_the_day_away() {
    let mut devices = Devices::new(10);
    assert_eq!(findings(&mut devices, &[500]), []);
    devices.starts_over("bed-07");
    devices.starts_over("bed-08");
    assert_eq!(findings(&mut devices, &[0, 1, 2]), []);
    assert_eq!(devices.used_by("bed-07"), used(4, 0));
    assert_eq!(users(&devices).len(), 1);
}

#[test]
fn a_downlink_before_the_first_uplink_says_nothing_about_counters() {
    let mut devices = Devices::new(10);
    devices.downlink("bed-07", noon());
    assert_eq!(findings(&mut devices, &[500]), []);
    assert_eq!(devices.used_by("bed-07"), used(1, 1));
}

#[test]
fn each_id_is_a_device_of_its_own_however_long_it_is() {
    let mut devices = Devices::new(1_000);
    let longest = "é".repeat(50);
    let ids: Vec<_> = (0..longest.len())
        .filter_map(|length| longest.get(..length))
        .chain(["\0", "\0\0"])
        .collect();
    for (downlinks, dev_id) in (1..).zip(&ids) {
        (0..downlinks).for_each(|_| devices.downlink(dev_id, noon()));
    }
    for (downlinks, dev_id) in (1..).zip(&ids) {
        assert_eq!(devices.used_by(dev_id), used(0, downlinks), "{dev_id}");
    }
    let mut known: Vec<_> = users(&devices)
        .into_iter()
        .map(|(dev_id, _)| dev_id)
        .collect();
    known.sort_unstable();
    let mut expected = ids.clone();
    expected.sort_unstable();
    assert_eq!(known, expected);
}

#[test]
fn the_devices_that_are_heard_are_remembered_and_never_more_than_allowed() {
    let mut devices = Devices::new(100);
    for round in 0..50 {
        for device in 0..20 {
            // Heard every time, among many that are heard once.
            let report = count(
                &mut devices,
                &uplink(&format!("often-{device}"), round),
                noon(),
            );
            assert_eq!(report, None);
            count(
                &mut devices,
                &uplink(&format!("once-{round}-{device}"), 7),
                noon(),
            );
        }
        assert!(devices.known <= 100);
        let on_shelves: usize = devices.shelves.iter().map(HashMap::len).sum();
        assert_eq!(devices.known, on_shelves);
    }
    for device in 0..20 {
        let report = count(
            &mut devices,
            &uplink(&format!("often-{device}"), 60),
            noon(),
        );
        assert_eq!(report.unwrap().finding, missing(10, FrameLoss::Upstream));
    }
    let of_known: u64 = users(&devices).iter().map(|(_, used)| used.uplinks).sum();
    let of_all = devices.used_by_others().uplinks + of_known;
    assert_eq!(of_all, 50 * 20 * 2 + 20);
}

#[test]
fn the_half_that_was_silent_longest_gives_way_and_its_day_is_counted_together() {
    for capacity in 1..=9 {
        let mut devices = Devices::new(capacity);
        let ids: Vec<_> = (0..=capacity)
            .map(|number| format!("bed-{number}"))
            .collect();
        let (next, first) = ids.split_last().unwrap();
        for dev_id in first.iter().rev().chain(first) {
            count(&mut devices, &uplink(dev_id, 7), noon());
        }
        assert_eq!(users(&devices).len(), capacity);
        devices.downlink(next, noon());
        let mut known: Vec<_> = users(&devices)
            .into_iter()
            .map(|(dev_id, _)| dev_id)
            .collect();
        known.sort_unstable();
        let forgotten = capacity.div_ceil(2);
        assert_eq!(known, ids[forgotten..]);
        assert_eq!(devices.used_by_others(), used(2 * forgotten as u64, 0));
        assert_eq!(devices.used_by(next), used(0, 1));
    }
}

#[test]
fn without_room_for_any_device_the_day_is_counted_together_and_nothing_watched() {
    let mut devices = Devices::new(0);
    assert_eq!(findings(&mut devices, &[1, 9]), []);
    devices.downlink("bed-07", noon());
    assert_eq!(devices.used_by_others(), used(2, 1));
    assert_eq!(devices.used_by("bed-07"), used(0, 0));
    assert_eq!(users(&devices).len(), 0);
}

#[test]
fn each_day_begins_with_nothing_used() {
    let mut devices = Devices::new(2);
    for second in [5, 86_399] {
        count(&mut devices, &uplink("bed-07", 7), on(20_000, second));
    }
    devices.downlink("bed-08", on(20_000, 86_399));
    devices.downlink("bed-09", on(20_000, 86_399));
    assert_eq!(devices.midnight(), on(20_000, 0));
    assert_eq!(devices.used_by_others(), used(2, 0));
    assert_eq!(users(&devices).len(), 2);

    devices.turn_page(on(20_001, 0));
    assert_eq!(devices.midnight(), on(20_001, 0));
    assert_eq!(users(&devices).len(), 0);
    assert_eq!(devices.used_by_others(), used(0, 0));
    devices.downlink("bed-08", on(20_001, 1));
    assert_eq!(devices.used_by("bed-08"), used(0, 1));
    // What was used yesterday does not count today.
    devices.downlink("bed-07", on(20_001, 2));
    assert_eq!(devices.used_by_others(), used(0, 0));
}

#[test]
fn counting_goes_on_over_midnight() {
    let mut devices = Devices::new(10);
    count(&mut devices, &uplink("bed-07", 7), on(20_000, 86_399));
    let report = count(&mut devices, &uplink("bed-07", 9), on(20_001, 0));
    assert_eq!(report.unwrap().finding, missing(1, FrameLoss::Upstream));
    assert_eq!(devices.used_by("bed-07"), used(1, 0));
}

#[test]
fn a_clock_that_is_set_back_takes_nothing_away() {
    let mut devices = Devices::new(10);
    devices.downlink("bed-07", on(20_000, 5));
    devices.downlink("bed-07", on(19_999, 86_395));
    assert_eq!(devices.used_by("bed-07"), used(0, 2));
    assert_eq!(devices.midnight(), on(20_000, 0));
    devices.downlink("bed-07", on(20_000, 0));
    assert_eq!(devices.used_by("bed-07"), used(0, 3));
}

#[test]
fn what_was_counted_before_the_clock_was_corrected_counts_for_the_right_day() {
    let today = 20_700;
    let wrong = [
        // Not set yet; set back by a day; ahead by ten years.
        on(0, 40),
        on(today + 1, 5),
        on(today + 3_650, 43_200),
    ];
    for wrong in wrong {
        let mut devices = Devices::new(2);
        for dev_id in ["bed-07", "bed-08", "bed-08", "bed-09"] {
            devices.downlink(dev_id, wrong);
        }
        devices.turn_page(on(today, 5));
        assert_eq!(devices.midnight(), on(today, 0));
        assert_eq!(devices.used_by("bed-09"), used(0, 1));
        assert_eq!(devices.used_by_others().downlinks, 1);
        devices.downlink("bed-09", on(today, 6));
        assert_eq!(devices.used_by("bed-09"), used(0, 2));
        // The day ends as any other.
        devices.downlink("bed-09", on(today + 1, 0));
        assert_eq!(devices.midnight(), on(today + 1, 0));
        assert_eq!(devices.used_by("bed-09"), used(0, 1));
        assert_eq!(devices.used_by_others(), used(0, 0));
    }
}

#[test]
fn a_clock_that_is_never_set_has_days_too() {
    let mut devices = Devices::new(10);
    devices.downlink("bed-07", on(0, 86_399));
    devices.downlink("bed-07", on(1, 0));
    assert_eq!(devices.used_by("bed-07"), used(0, 1));
}

#[test]
fn simulated_uplinks_use_nothing_and_their_counters_mean_nothing() {
    let mut devices = Devices::new(10);
    for counter in [7, 0, 99] {
        assert!(simulated(counter).is_simulated());
        assert_eq!(count(&mut devices, &simulated(counter), noon()), None);
    }
    assert_eq!(users(&devices).len(), 0);
    assert_eq!(findings(&mut devices, &[500]), []);
}

/// An uplink of a day and second with an airtime of one second, as storage has it.
fn stored(dev_id: &str, counter: u32, sent: SystemTime) -> UplinkMessage {
    let mut uplink = uplink(dev_id, counter);
    uplink.metadata.time = Some(sent);
    uplink.dev_addr = "260B0007".to_owned();
    uplink.backfilled = true;
    uplink
}

fn fill(devices: &mut Devices, uplink: &UplinkMessage, now: SystemTime) -> Vec<CounterReport> {
    let reports = devices.fill(uplink, Instant::now(), now);
    reports.into_iter().flatten().collect()
}

#[test]
fn a_fetched_uplink_counts_for_the_day_on_which_it_was_sent_or_not_at_all() {
    let mut devices = Devices::new(10);
    let now = on(20_000, 600);
    for (counter, sent) in [
        (1, on(19_999, 86_399)),
        (2, on(20_000, 0)),
        (3, on(20_000, 599)),
        (4, on(20_001, 0)),
    ] {
        fill(&mut devices, &stored("bed-07", counter, sent), now);
    }
    assert_eq!(devices.used_by("bed-07"), used(2, 0));
    let mut timeless = stored("bed-07", 5, now);
    timeless.metadata.time = None;
    fill(&mut devices, &timeless, now);
    assert_eq!(devices.used_by("bed-07"), used(2, 0));
    timeless.received_at = Some(on(20_000, 500));
    timeless.counter = 6;
    fill(&mut devices, &timeless, now);
    assert_eq!(devices.used_by("bed-07"), used(3, 0));
    // The first of a new day.
    fill(
        &mut devices,
        &stored("bed-07", 7, on(20_000, 700)),
        on(20_001, 5),
    );
    assert_eq!(devices.used_by("bed-07"), used(0, 0));
    assert_eq!(devices.midnight(), on(20_001, 0));
}

#[test]
fn a_report_of_a_fetched_uplink_names_the_device_and_both_counters() {
    let mut devices = Devices::new(10);
    for counter in [7, 9] {
        devices.uplink(
            &stored("bed-07", counter, noon() + counter * SECOND),
            Instant::now(),
            noon(),
        );
    }
    assert_eq!(heard(&devices), Some((9, 1)));
    let expected = CounterReport {
        app_id: "greenhouse".to_owned(),
        dev_id: "bed-07".to_owned(),
        counter: 8,
        previous: 9,
        finding: CounterFinding::Filled {
            loss: FrameLoss::Upstream,
        },
    };
    let uplink = stored("bed-07", 8, noon() + 8 * SECOND);
    assert_eq!(fill(&mut devices, &uplink, noon()), [expected]);
    assert_eq!(heard(&devices), Some((9, 0)));
    assert_eq!(fill(&mut devices, &uplink, noon()), []);
}

#[test]
fn nothing_was_heard_of_a_device_that_is_unknown_or_has_just_joined() {
    let mut devices = Devices::new(10);
    assert_eq!(heard(&devices), None);
    devices.downlink("bed-07", noon());
    assert_eq!(heard(&devices), None);
    fill(&mut devices, &stored("bed-07", 500, noon()), noon());
    assert_eq!(heard(&devices), Some((500, 0)));
    // It may have sent more before that.
    assert_eq!(devices.last_heard("bed-07", noon() - SECOND), None);
    assert_eq!(devices.last_heard("bed-07", noon()), Some((500, 0)));
    devices.starts_over("bed-07");
    assert_eq!(heard(&devices), None);
    let mut none = Devices::new(0);
    assert_eq!(fill(&mut none, &stored("bed-07", 9, noon()), noon()), []);
    assert_eq!(heard(&none), None);
}

#[test]
fn fetched_uplinks_that_were_simulated_use_nothing_and_their_counters_mean_nothing() {
    let mut devices = Devices::new(10);
    for counter in [7, 0, 99] {
        assert_eq!(fill(&mut devices, &simulated(counter), noon()), []);
    }
    assert_eq!(heard(&devices), None);
}

#[test]
fn what_is_missing_before_the_first_connection_was_missed_while_away() {
    let mut devices = Devices::new(10);
    let start = Instant::now();
    let at = |second: u32| (start + second * SECOND, noon() + second * SECOND);
    // The program starts at second 100. A run before it has left at second 0.
    devices.attempt();
    devices.returned(at(100).0);
    let frame = |second: u32| stored("bed-07", second, at(second).1);
    for second in 1..80 {
        let (now, time) = at(101);
        assert_eq!(devices.fill(&frame(second), now, time), [None, None]);
    }
    let (now, time) = at(120);
    let reports = devices.uplink(&frame(120), now, time);
    let missing: Vec<_> = reports
        .into_iter()
        .flatten()
        .map(|report| report.finding)
        .collect();
    let [
        CounterFinding::Missing {
            frames: away,
            loss: FrameLoss::Away,
        },
        CounterFinding::Missing {
            frames: upstream,
            loss: FrameLoss::Upstream,
        },
    ] = missing[..]
    else {
        panic!("{missing:?}");
    };
    assert_eq!(away + upstream, 40);
    // Those of 21 of 41 seconds, with the edge and one more.
    assert!((20..=23).contains(&away), "{away}");
}

#[test]
fn what_was_missed_in_two_outages_is_told_from_what_was_lost_between_them() {
    let mut devices = Devices::new(10);
    let start = Instant::now();
    let at = |second: u32| (start + second * SECOND, noon() + second * SECOND);
    let frame = |second: u32| stored("bed-07", second, at(second).1);
    let (now, time) = at(0);
    devices.uplink(&frame(0), now, time);
    for (left, back) in [(10, 50), (100, 150)] {
        devices.left(at(left).0, Duration::ZERO);
        devices.attempt();
        devices.returned(at(back).0);
    }
    let findings = |devices: &mut Devices, second| {
        let (now, time) = at(160);
        let reports = devices.fill(&frame(second), now, time);
        reports.map(|report| report.map(|report| report.finding))
    };
    for second in 1..60 {
        assert_eq!(findings(&mut devices, second), [None, None]);
    }
    // The first outage is over, the second has not begun.
    let upstream = Some(missing(10, FrameLoss::Upstream));
    assert_eq!(findings(&mut devices, 70), [None, upstream]);
    let [away, upstream] = findings(&mut devices, 120);
    let frames = |finding| match finding {
        Some(CounterFinding::Missing { frames, .. }) => frames,
        _ => 0,
    };
    assert_eq!(frames(away) + frames(upstream), 49);
    assert!((20..=22).contains(&frames(away)), "{away:?}");
}
