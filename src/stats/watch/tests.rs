//! Which devices are reported as silent, in simulated time.

use std::time::UNIX_EPOCH;

use fastrand::Rng;

use super::*;
use crate::{clock::Moment, network::Network, seeds::for_seeds, stats::Devices};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const FACTOR: f32 = 3.0;

/// A client, what it has reported so far, and the time.
struct Client {
    devices: Devices,
    start: Moment,
    now: Moment,
    template: UplinkMessage,
    silent: Vec<(Duration, DeviceSilent)>,
    back: Vec<DeviceBack>,
}

impl Client {
    fn new() -> Self {
        let start = Moment {
            time: UNIX_EPOCH + Duration::from_secs(1_800_000_000),
            ..Moment::now()
        };
        let body = r#"{"app_id":"barn","dev_id":"bed-07","port":1,"payload_raw":"AQ=="}"#;
        let mut template = UplinkMessage::from_json(Network::V2, body).unwrap();
        template.simulated = false;
        let mut client = Self {
            devices: Devices::new(1_000).watching(Some(FACTOR)),
            start,
            now: start,
            template,
            silent: Vec::new(),
            back: Vec::new(),
        };
        client.returns();
        client
    }

    fn passed(&self) -> Duration {
        self.now.instant - self.start.instant
    }

    /// Lets time pass as the session does: it wakes up when a device may be silent.
    fn until(&mut self, time: Duration) {
        loop {
            let at = self.devices.at(self.now);
            while let Some(silent) = self.devices.take_silent(at) {
                self.silent.push((self.passed(), silent));
            }
            let Some(rest) = time.checked_sub(self.passed()) else {
                return;
            };
            if rest.is_zero() {
                return;
            }
            let wait = self.devices.next_silence(at).unwrap_or(rest).min(rest);
            self.now = self.now.after(wait);
        }
    }

    fn wait(&mut self, time: Duration) {
        self.until(self.passed() + time);
    }

    fn message(&self, dev_id: &str, counter: u32, age: Duration) -> UplinkMessage {
        let mut uplink = self.template.clone();
        dev_id.clone_into(&mut uplink.dev_id);
        uplink.counter = counter;
        uplink.payload_raw = counter.to_le_bytes().to_vec();
        uplink.metadata.time = Some(self.now.time - age);
        uplink
    }

    fn uplink(&mut self, dev_id: &str, counter: u32) {
        let uplink = self.message(dev_id, counter, Duration::ZERO);
        let at = self.devices.at(self.now);
        self.devices.uplink(&uplink, at, self.now.time);
        self.back.extend(self.devices.take_back());
    }

    fn fetched(&mut self, dev_id: &str, counter: u32, age: Duration) {
        let uplink = self.message(dev_id, counter, age);
        let at = self.devices.at(self.now);
        self.devices.fill(&uplink, at, self.now.time);
        self.back.extend(self.devices.take_back());
    }

    fn leaves(&mut self) {
        let at = self.devices.at(self.now);
        self.devices.left(at, Duration::ZERO);
    }

    fn returns(&mut self) {
        let at = self.devices.at(self.now);
        self.devices.attempt();
        self.devices.returned(at);
    }

    /// Devices send in turn, each once in every interval; returns the next counter.
    fn rounds(&mut self, dev_ids: &[&str], interval: Duration, counters: std::ops::Range<u32>) {
        for counter in counters {
            for dev_id in dev_ids {
                self.uplink(dev_id, counter);
                self.wait(interval / dev_ids.len() as u32);
            }
        }
    }

    #[track_caller]
    fn nobody_is_silent(&self) {
        assert!(self.silent.is_empty(), "{:#?}", self.silent);
    }

    fn told(&self) -> Vec<&str> {
        self.silent
            .iter()
            .map(|(_, silent)| silent.dev_id.as_str())
            .collect()
    }
}

/// A device that sends about regularly.
struct Regular {
    dev_id: String,
    interval: Duration,
    next: Duration,
    counter: u32,
    lost_in_a_row: u32,
    stops: Option<Duration>,
    last: Duration,
}

fn fleet(random: &mut Rng) -> Vec<Regular> {
    let size = random.usize(2..25);
    let device = |number| {
        // From a minute to 40 minutes, evenly over the orders of magnitude.
        let interval = SECOND.mul_f64(60.0 * 40_f64.powf(random.f64()));
        Regular {
            dev_id: format!("bed-{number:02}"),
            interval,
            next: interval.mul_f64(random.f64()),
            counter: random.u32(..60_000),
            lost_in_a_row: 0,
            stops: None,
            last: Duration::ZERO,
        }
    };
    (0..size).map(device).collect()
}

/// Lets the fleet send until the device with the longest interval has sent 30 frames.
fn play(client: &mut Client, fleet: &mut [Regular], random: &mut Rng, loss: f64, end: Duration) {
    loop {
        let next = fleet.iter_mut().min_by_key(|device| device.next).unwrap();
        if next.next > end {
            break;
        }
        client.until(next.next);
        let is_lost = random.f64() < loss && next.lost_in_a_row < 3;
        next.lost_in_a_row = if is_lost { next.lost_in_a_row + 1 } else { 0 };
        if next.stops.is_some_and(|stop| next.next >= stop) {
            next.next = Duration::MAX;
            continue;
        }
        if !is_lost {
            client.uplink(&next.dev_id, next.counter & 0xffff);
            next.last = client.passed();
        }
        next.counter += 1;
        next.next += next.interval.mul_f64(0.9 + 0.2 * random.f64());
    }
    client.until(end);
}

fn longest(fleet: &[Regular]) -> Duration {
    fleet.iter().map(|device| device.interval).max().unwrap()
}

#[test]
fn no_regular_device_is_silent_although_a_fifth_of_its_frames_is_lost() {
    for_seeds(20, |random| {
        let mut client = Client::new();
        let mut fleet = fleet(random);
        let end = 30 * longest(&fleet);
        play(&mut client, &mut fleet, random, 0.2, end);
        client.nobody_is_silent();
        assert!(client.back.is_empty());
    });
}

#[test]
fn every_device_that_stops_is_reported_once_and_in_time() {
    for_seeds(20, |random| {
        let mut client = Client::new();
        let mut fleet = fleet(random);
        let longest = longest(&fleet);
        let stop = 20 * longest;
        let stopping = random.usize(1..fleet.len());
        for device in &mut fleet[..stopping] {
            device.stops = Some(stop + longest.mul_f64(random.f64()));
        }
        play(&mut client, &mut fleet, random, 0.0, 60 * longest);
        let mut told = client.told();
        told.sort_unstable();
        let expected: Vec<_> = fleet[..stopping].iter().map(|it| &it.dev_id).collect();
        assert_eq!(told, expected);
        // Of the others, at least one sends once in this time.
        let others = fleet[stopping..]
            .iter()
            .map(|it| it.interval)
            .min()
            .unwrap();
        for (at, silent) in &client.silent {
            let device = fleet.iter().find(|it| it.dev_id == silent.dev_id).unwrap();
            let after = *at - device.last;
            let least = device.interval.mul_f64(2.6);
            let most = device.interval.mul_f64(5.0) + 4 * others + SECOND * 10;
            assert!(
                (least..most).contains(&after),
                "{after:?} {:?} {silent:?}",
                device.interval
            );
            assert!(silent.silent_for + SECOND > after && silent.silent_for < after + SECOND);
        }
    });
}

#[test]
fn a_device_that_was_silent_is_back_with_its_next_uplink() {
    let mut client = Client::new();
    client.rounds(&["bed-07", "bed-08"], MINUTE, 0..20);
    let last = client.message("", 0, MINUTE).metadata.time;
    for counter in 20..30 {
        client.uplink("bed-08", counter);
        client.wait(MINUTE);
    }
    assert_eq!(client.told(), ["bed-07"]);
    let (_, silent) = &client.silent[0];
    assert_eq!(
        (silent.usual_interval, Some(silent.last_uplink)),
        (MINUTE, last)
    );
    assert_eq!(silent.app_id, "barn");
    client.uplink("bed-07", 25);
    let [back] = &client.back[..] else {
        panic!("{:?}", client.back)
    };
    assert_eq!((back.dev_id.as_str(), back.missing), ("bed-07", Some(5)));
    assert_eq!(
        (back.silent_for, Some(back.last_uplink)),
        (11 * MINUTE, last)
    );
    client.rounds(&["bed-07", "bed-08"], MINUTE, 30..40);
    assert_eq!((client.silent.len(), client.back.len()), (1, 1));
}

#[test]
fn what_is_missing_is_not_known_of_a_device_that_starts_over() {
    let mut client = Client::new();
    client.rounds(&["bed-07"], MINUTE, 0..20);
    client.wait(HOUR);
    client.uplink("bed-07", 0);
    assert_eq!(client.told(), ["bed-07"]);
    assert_eq!(client.back[0].missing, None);
}

#[test]
fn a_device_that_is_alone_is_reported_although_it_may_be_the_network() {
    let mut client = Client::new();
    client.rounds(&["bed-07"], MINUTE, 0..20);
    client.wait(HOUR);
    assert_eq!(client.told(), ["bed-07"]);
    assert!(client.silent[0].1.silent_for < 5 * MINUTE);
}

#[test]
fn nobody_is_silent_while_the_client_is_away() {
    for filling in [false, true] {
        let mut client = Client::new();
        let all = ["bed-07", "bed-08", "bed-09"];
        client.rounds(&all, MINUTE, 0..20);
        client.leaves();
        client.wait(10 * HOUR);
        client.returns();
        if filling {
            let at = client.devices.at(client.now);
            client.devices.fills(at, true);
            client.wait(5 * MINUTE);
            let at = client.devices.at(client.now);
            client.devices.fills(at, false);
        }
        client.wait(MINUTE);
        client.rounds(&all, MINUTE, 621..640);
        client.nobody_is_silent();
        client.leaves();
        client.wait(10 * HOUR);
        client.returns();
        client.rounds(&all[1..], MINUTE, 1300..1310);
        assert_eq!(client.told(), ["bed-07"]);
    }
}

#[test]
fn nobody_is_silent_while_nothing_at_all_arrives() {
    for size in [2, 3, 10] {
        let names: Vec<_> = (0..size).map(|number| format!("bed-{number:02}")).collect();
        let all: Vec<_> = names.iter().map(String::as_str).collect();
        let mut client = Client::new();
        client.rounds(&all, MINUTE, 0..30);
        client.wait(12 * HOUR);
        client.nobody_is_silent();
        client.rounds(&all, MINUTE, 750..760);
        client.nobody_is_silent();
        client.wait(HOUR);
        client.rounds(&all[1..], MINUTE, 850..860);
        let told = client.told();
        assert_eq!(told, ["bed-00"], "{size}");
    }
}

#[test]
fn devices_that_all_send_at_the_same_minute_are_told_apart() {
    let names: Vec<_> = (0..50).map(|number| format!("bed-{number:02}")).collect();
    let mut client = Client::new();
    let round = |client: &mut Client, names: &[String], counter| {
        for name in names {
            client.uplink(name, counter);
            client.wait(SECOND);
        }
        client.until(HOUR * (counter + 1));
    };
    for counter in 0..12 {
        round(&mut client, &names, counter);
    }
    client.nobody_is_silent();
    for counter in 12..20 {
        round(&mut client, &names[1..], counter);
    }
    assert_eq!(client.told(), ["bed-00"]);
}

#[test]
fn a_suspended_machine_and_a_clock_that_is_set_make_nobody_silent() {
    let mut client = Client::new();
    let all = ["bed-07", "bed-08"];
    client.rounds(&all, MINUTE, 0..20);
    client.now = client.now.after_suspension(8 * HOUR);
    client.wait(50 * SECOND);
    client.rounds(&all, MINUTE, 501..520);
    client.nobody_is_silent();
    for set in [HOUR, 30 * HOUR] {
        client.now.time -= set;
        client.rounds(&all, MINUTE, 520..530);
        client.now.time += set;
        client.rounds(&all, MINUTE, 530..540);
    }
    client.nobody_is_silent();
}

#[test]
fn a_device_that_sends_more_rarely_is_reported_at_most_twice() {
    let mut client = Client::new();
    let mut counter = 0;
    let mut send = |client: &mut Client, interval: Duration, uplinks: u32| {
        for _ in 0..uplinks {
            client.uplink("bed-07", counter);
            counter += 1;
            for other in 0..10 {
                client.uplink("bed-08", 10 * counter + other);
                client.wait(interval / 10);
            }
        }
    };
    send(&mut client, 10 * MINUTE, 30);
    send(&mut client, HOUR, 30);
    assert!(client.told().len() <= 2, "{:?}", client.told());
    let before = client.silent.len();
    send(&mut client, MINUTE, 100);
    send(&mut client, MINUTE, 100);
    assert_eq!(client.silent.len(), before);
}

#[test]
fn a_device_that_sends_bursts_is_not_silent_between_them() {
    let mut client = Client::new();
    for burst in 0..30 {
        for frame in 0..4 {
            client.uplink("bed-07", burst * 4 + frame);
            client.wait(5 * SECOND);
        }
        for other in 0..6 {
            client.uplink("bed-08", burst * 6 + other);
            client.wait(10 * MINUTE);
        }
    }
    client.nobody_is_silent();
}

#[test]
fn what_is_deleted_or_forgotten_is_not_reported() {
    let mut client = Client::new();
    client.rounds(&["bed-07", "bed-08", "bed-09"], MINUTE, 0..20);
    client.devices.deleted("bed-07");
    client.rounds(&["bed-08", "bed-09"], MINUTE, 20..40);
    client.nobody_is_silent();
    let mut client = Client {
        devices: Devices::new(10).watching(Some(FACTOR)),
        ..client
    };
    client.returns();
    for round in 0..20 {
        for number in 0..6 {
            client.uplink(&format!("old-{number}"), round);
            client.wait(10 * SECOND);
        }
    }
    // Everything that is older is forgotten.
    for round in 0..30 {
        for number in 0..10 {
            client.uplink(&format!("new-{}", number + round / 10 * 10), round);
            client.wait(SECOND);
        }
    }
    assert!(
        client.told().iter().all(|name| !name.starts_with("old")),
        "{:?}",
        client.told()
    );
}

#[test]
fn a_device_that_joins_again_is_not_silent() {
    let mut client = Client::new();
    for round in 0..10 {
        client.rounds(&["bed-07", "bed-08"], MINUTE, 0..10 + round);
        client.devices.starts_over("bed-07");
    }
    client.nobody_is_silent();
}

#[test]
fn fetched_uplinks_teach_the_interval_and_who_is_silent() {
    let mut client = Client::new();
    client.wait(SECOND);
    // Live first.
    client.uplink("bed-08", 96);
    for counter in 0..96 {
        let age = (96 - counter) * 15 * MINUTE;
        if counter < 50 {
            client.fetched("bed-07", counter, age);
        }
        client.fetched("bed-08", counter, age);
    }
    client.nobody_is_silent();
    client.rounds(&["bed-08"], 15 * MINUTE, 97..104);
    assert_eq!(client.told(), ["bed-07"]);
    let (at, silent) = &client.silent[0];
    assert!(*at < HOUR, "{at:?}");
    assert_eq!(silent.usual_interval, 15 * MINUTE);
    assert!(silent.silent_for > 46 * 15 * MINUTE);
    client.fetched("bed-07", 60, MINUTE);
    assert_eq!(client.back[0].missing, Some(10));
}

#[test]
fn many_uplinks_queue_a_device_once() {
    let mut client = Client::new();
    let names: Vec<_> = (0..100).map(|number| format!("bed-{number}")).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    client.rounds(&names, MINUTE, 0..100);
    let vigil = client.devices.vigil().unwrap();
    assert!(vigil.queued() <= 200, "{}", vigil.queued());
}

#[test]
fn a_list_has_the_latest_uplink_of_each_device_and_what_its_counter_shows() {
    let mut client = Client::new();
    client.rounds(&["bed-07"], MINUTE, 0..10);
    client.uplink("bed-07", 14);
    client.fetched("bed-07", 11, 3 * MINUTE);
    client.wait(30 * SECOND);
    let mut list = Vec::new();
    let at = client.devices.at(client.now);
    for shelf in 0.. {
        if !client.devices.copy_devices(shelf, at, &mut list) {
            break;
        }
    }
    let [device] = &list[..] else {
        panic!("{list:?}")
    };
    assert_eq!((device.dev_id.as_str(), device.counter), ("bed-07", 14));
    assert_eq!(device.heard_ago, 30 * SECOND);
    assert_eq!(device.last_uplink, client.now.time - 30 * SECOND);
    assert_eq!(device.usual_interval, Some(MINUTE));
    assert_eq!((device.frames.missing(), device.today.uplinks), (3, 12));
    assert!(!device.is_silent);
}

/// How devices send that the others do not.
#[derive(Clone, Copy, Debug)]
enum Manner {
    /// On events only.
    Events,
    /// Regularly, but not at night.
    ByDay,
    /// With two intervals in turn.
    InTurn,
    /// By a clock that is off by half.
    Unsteady,
}

impl Manner {
    fn wait(self, random: &mut Rng, at: Duration, counter: u32) -> Duration {
        let mean = 20 * MINUTE;
        match self {
            Self::Events => mean.mul_f64(-random.f64().max(1e-9).ln()),
            Self::ByDay if (at + mean).as_secs() / 3600 % 24 >= 12 => 12 * HOUR,
            Self::ByDay => mean,
            Self::InTurn if counter % 2 == 0 => MINUTE,
            Self::InTurn => HOUR,
            Self::Unsteady => mean.mul_f64(0.5 + random.f64()),
        }
    }
}

/// Lets 20 devices send in this manner for this many days, beside two regular ones. Returns how many reports there are,
/// for how many uplinks of the 20.
fn reports(manner: Manner, factor: f32, days: u32) -> (usize, u32) {
    let mut client = Client::new();
    client.devices = Devices::new(1_000).watching(Some(factor));
    client.returns();
    let mut random = Rng::with_seed(23);
    let mut next: Vec<(Duration, u32)> = (0..22).map(|number| (MINUTE * number, 0)).collect();
    let mut uplinks = 0;
    loop {
        let first = next.iter().enumerate().min_by_key(|(_, (at, _))| *at);
        let (number, (at, counter)) = first.map(|(number, next)| (number, *next)).unwrap();
        if at > days * 24 * HOUR {
            break;
        }
        client.until(at);
        client.uplink(&format!("bed-{number:02}"), counter);
        let wait = match number {
            0 | 1 => 10 * MINUTE,
            _ => manner.wait(&mut random, at, counter),
        };
        uplinks += u32::from(number > 1);
        next[number] = (at + wait, counter + 1);
    }
    assert!(client.told().iter().all(|name| *name > "bed-01"));
    (client.silent.len(), uplinks)
}

#[test]
fn an_unsteady_clock_and_two_intervals_in_turn_make_nobody_silent() {
    for manner in [Manner::InTurn, Manner::Unsteady] {
        let (reports, _) = reports(manner, FACTOR, 5);
        assert_eq!(reports, 0, "{manner:?}");
    }
}

#[test]
fn devices_that_send_on_events_only_need_a_greater_multiple() {
    // One report for this many uplinks, at least and at most.
    for (factor, least, most) in [(3.0, 25, 60), (5.0, 100, 400), (10.0, 2_000, u32::MAX)] {
        let (reports, uplinks) = reports(Manner::Events, factor, 5);
        let each = uplinks / (reports as u32).max(1);
        assert!((least..most).contains(&each), "{factor}: {each}");
    }
}

#[test]
fn devices_that_sleep_at_night_are_reported_once_a_night() {
    let (reports, _) = reports(Manner::ByDay, FACTOR, 5);
    assert!((4 * 20..=5 * 20).contains(&reports), "{reports}");
}

#[test]
fn the_devices_of_a_gateway_that_fails_are_each_reported_once() {
    let mut client = Client::new();
    let names: Vec<_> = (0..40).map(|number| format!("bed-{number:02}")).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    client.rounds(&names, 10 * MINUTE, 0..120);
    client.rounds(&names[..20], 10 * MINUTE, 120..140);
    assert_eq!(client.told(), names[20..]);
    for (_, silent) in &client.silent {
        assert!(
            (29 * MINUTE..35 * MINUTE).contains(&silent.silent_for),
            "{silent:?}"
        );
    }
    client.rounds(&names, 10 * MINUTE, 140..160);
    assert_eq!((client.told().len(), client.back.len()), (20, 20));
}

#[test]
fn a_device_that_stops_is_reported_although_the_client_reconnects_all_the_time() {
    let mut client = Client::new();
    let names: Vec<_> = (0..20).map(|number| format!("bed-{number:02}")).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    client.rounds(&names, 10 * MINUTE, 0..20);
    let round = |client: &mut Client, names: &[&str], counter| {
        for name in names {
            client.uplink(name, counter);
            client.wait(10 * SECOND);
            client.leaves();
            client.wait(10 * SECOND);
            client.returns();
            client.wait(10 * SECOND);
        }
    };
    (20..40).for_each(|counter| round(&mut client, &names, counter));
    client.nobody_is_silent();
    (40..60).for_each(|counter| round(&mut client, &names[1..], counter));
    assert_eq!(client.told(), ["bed-00"]);
}
