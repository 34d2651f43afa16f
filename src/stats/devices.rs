//! What the client remembers about each device. Reads no clock; the caller passes the time.

use std::{
    collections::HashMap,
    fmt,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use serde::Serialize;

use super::{
    absences::Absences,
    frame_counters::{Findings, FrameCounters, ticks, ticks_of},
};
use crate::{
    clock::{self, Moment, Timeline},
    message::{CounterReport, UplinkMessage, json},
};

const DAY: Duration = Duration::from_secs(86_400);

/// A clock that is set back by less, just after midnight, stays on the new day until it gets there again.
const SLIGHTLY: Duration = Duration::from_secs(3600);

/// The list of devices is copied one shelf at a time, so that the session never waits for the whole
/// table.
/// With 100,000 devices, a shelf has about 400.
const SHELVES: usize = 256;

/// How much a device has used the network in a day.
///
/// ```
/// let client = ttn::MqttClient::new("my-app@ttn", "NNSXS.ID.SECRET")?;
/// let used = client.stats().fair_use.device("pump-1");
/// println!("{} uplinks, {:?} in the air, {} downlinks", used.uplinks, used.airtime, used.downlinks);
/// # Ok::<(), ttn::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct DeviceUse {
    /// Uplinks that arrived, and those of the day that were fetched.
    pub uplinks: u64,
    /// The airtime of these uplinks.
    #[serde(serialize_with = "json::seconds")]
    pub airtime: Duration,
    /// Downlinks that were sent.
    pub downlinks: u64,
}

impl DeviceUse {
    pub(crate) fn add(&mut self, more: Self) {
        self.uplinks += more.uplinks;
        self.airtime = self.airtime.saturating_add(more.airtime);
        self.downlinks += more.downlinks;
    }
}

/// The devices with the most recent frames.
#[derive(Debug)]
pub(crate) struct Devices {
    /// The shelves. The id of a device selects its shelf.
    shelves: Vec<HashMap<DeviceId, Device>>,
    /// The number of devices on all shelves.
    known: usize,
    capacity: usize,
    /// The number of frames so far; a frame with a lower number is older.
    frames: u64,
    absences: Absences,
    /// On which suspensions of the machine are time too.
    timeline: Timeline,
    /// Days since 1970, according to the wall clock.
    day: u64,
    /// The number of days so far. A clock that is corrected changes the date of a day only.
    page: u64,
    /// What forgotten devices have used today.
    others: DeviceUse,
}

/// The longest device id that networks allow.
const ID_LENGTH: usize = 36;

/// A device id, stored in place up to that length. Allocations for many devices, scattered between
/// those for messages, would slow down the whole heap.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum DeviceId {
    Short { length: u8, bytes: [u8; ID_LENGTH] },
    Long(Box<[u8]>),
}

impl DeviceId {
    fn new(dev_id: &str) -> Self {
        let mut bytes = [0; ID_LENGTH];
        match bytes.get_mut(..dev_id.len()) {
            Some(start) => {
                start.copy_from_slice(dev_id.as_bytes());
                Self::Short {
                    length: dev_id.len() as u8,
                    bytes,
                }
            }
            None => Self::Long(dev_id.as_bytes().into()),
        }
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Self::Short { length, bytes } => &bytes[..usize::from(*length)],
            Self::Long(bytes) => bytes,
        }
    }

    /// Selects a shelf, by FNV-1a and a multiplication that spreads the last bytes to the top bits.
    fn shelf(&self) -> usize {
        let hash = self
            .bytes()
            .iter()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
                (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
            });
        let spread = hash.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (spread >> 32) as usize % SHELVES
    }
}

impl fmt::Display for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(self.bytes()))
    }
}

#[derive(Clone, Copy, Debug)]
struct Device {
    /// `None` before its first uplink, and after a join.
    counters: Option<FrameCounters>,
    used: DeviceUse,
    /// The page to which `used` belongs.
    page: u64,
    /// The number of its last frame.
    frame: u64,
}

impl Devices {
    /// Creates a table of at most `capacity` devices.
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            shelves: (0..SHELVES).map(|_| HashMap::new()).collect(),
            known: 0,
            capacity,
            frames: 0,
            absences: Absences::default(),
            timeline: Timeline::default(),
            day: 0,
            page: 0,
            others: DeviceUse::default(),
        }
    }

    /// Returns the time for the methods that take an instant: it does not stand still while the machine is
    /// suspended.
    pub(crate) fn at(&mut self, now: Moment) -> Instant {
        self.timeline.at(now)
    }

    /// Notes that the client has no connection any more. The connection may have been dead for as long as
    /// the server had sent nothing at all.
    pub(crate) fn left(&mut self, now: Instant, silence: Duration) {
        self.absences.left(now, silence);
    }

    /// Notes that the client attempts to connect.
    pub(crate) fn attempt(&mut self) {
        self.absences.attempt();
    }

    /// Notes that the client is connected again.
    pub(crate) fn returned(&mut self, now: Instant) {
        self.absences.returned(now);
    }

    /// Notes that this client dropped messages.
    pub(crate) fn dropped(&mut self) {
        self.absences.dropped();
    }

    fn find(&self, dev_id: &DeviceId) -> Option<&Device> {
        self.shelves[dev_id.shelf()].get(dev_id)
    }

    /// Notes that a device has joined, or was registered or deleted: its counter starts over, without a
    /// gap.
    pub(crate) fn starts_over(&mut self, dev_id: &str) {
        let dev_id = DeviceId::new(dev_id);
        if let Some(device) = self.shelves[dev_id.shelf()].get_mut(&dev_id) {
            device.counters = None;
        }
    }

    /// Counts an uplink. Returns what its frame counter shows.
    pub(crate) fn uplink(
        &mut self,
        uplink: &UplinkMessage,
        now: Instant,
        time: SystemTime,
    ) -> [Option<CounterReport>; 2] {
        if uplink.is_simulated() {
            return [None, None];
        }
        let heard = FrameCounters::new(uplink, self.absences.marks(now));
        let airtime = uplink.metadata.airtime.unwrap_or_default();
        self.frame(&uplink.dev_id, time, |used, counters| {
            used.uplinks += 1;
            used.airtime = used.airtime.saturating_add(airtime);
            let Some(counters) = counters else {
                *counters = Some(heard);
                return [None, None];
            };
            let previous = counters.highest();
            reports(uplink, previous, counters.observe(heard))
        })
    }

    /// Counts a downlink that was sent to a device.
    pub(crate) fn downlink(&mut self, dev_id: &str, now: SystemTime) {
        self.frame(dev_id, now, |used, _| used.downlinks += 1);
    }

    /// Counts an uplink that the client had missed and fetched; the caller has checked that it was not
    /// delivered before. Returns what its frame counter shows: above all that it is not missing any more.
    ///
    /// Its airtime counts if it was sent today, and not at all otherwise: what devices used yesterday is not kept.
    pub(crate) fn fill(
        &mut self,
        uplink: &UplinkMessage,
        now: Instant,
        time: SystemTime,
    ) -> [Option<CounterReport>; 2] {
        if uplink.is_simulated() {
            return [None, None];
        }
        self.turn_page(time);
        let is_of_today = sent(uplink).is_some_and(|sent| {
            sent.duration_since(self.midnight())
                .is_ok_and(|into_day| into_day < DAY)
        });
        let marks = self.absences.marks(now);
        let (absences, heard) = (self.absences, FrameCounters::new(uplink, marks));
        let airtime = uplink.metadata.airtime.unwrap_or_default();
        self.frame(&uplink.dev_id, time, |used, counters| {
            if is_of_today {
                used.uplinks += 1;
                used.airtime = used.airtime.saturating_add(airtime);
            }
            let earlier = |at| absences.earlier(marks, at);
            let Some(counters) = counters else {
                let age = sent(uplink).and_then(|sent| time.duration_since(sent).ok());
                let at = marks.at.wrapping_sub(ticks(age.unwrap_or_default()));
                *counters = Some(heard.sent_earlier(earlier(at)));
                return [None, None];
            };
            let previous = counters.highest();
            reports(uplink, previous, counters.fill(heard, earlier))
        })
    }

    /// Returns the latest counter that was heard of a device in its session, and how many frames of the session
    /// were reported missing and have not arrived; `None` if nothing of the session was heard that the application
    /// server got by that time: what was sent between the two is then not among the missing.
    pub(crate) fn last_heard(&self, dev_id: &str, by: SystemTime) -> Option<(u32, u32)> {
        let device = self.find(&DeviceId::new(dev_id))?;
        let counters = device.counters.as_ref()?;
        let known = counters.had_begun(ticks_of(by));
        known.then(|| (counters.highest(), counters.still_missing()))
    }

    /// Counts a frame from or to a device; `add` adds it to what the device has used today.
    fn frame<T>(
        &mut self,
        dev_id: &str,
        now: SystemTime,
        add: impl FnOnce(&mut DeviceUse, &mut Option<FrameCounters>) -> T,
    ) -> T {
        self.turn_page(now);
        self.frames += 1;
        let dev_id = DeviceId::new(dev_id);
        let shelf = dev_id.shelf();
        if let Some(device) = self.shelves[shelf].get_mut(&dev_id) {
            device.frame = self.frames;
            if device.page != self.page {
                device.used = DeviceUse::default();
                device.page = self.page;
            }
            return add(&mut device.used, &mut device.counters);
        }
        if self.capacity == 0 {
            return add(&mut self.others, &mut None);
        }
        self.make_room();
        let mut device = Device {
            counters: None,
            used: DeviceUse::default(),
            page: self.page,
            frame: self.frames,
        };
        let added = add(&mut device.used, &mut device.counters);
        self.shelves[shelf].insert(dev_id, device);
        self.known += 1;
        added
    }

    /// Forgets the half of the devices that has been silent longest, if the table is full. Half of them
    /// at once, because finding them takes long.
    fn make_room(&mut self) {
        if self.known < self.capacity {
            return;
        }
        let devices = self.shelves.iter().flat_map(HashMap::values);
        let mut frames: Vec<_> = devices.map(|device| device.frame).collect();
        let middle = (frames.len() - 1) / 2;
        let (_, last_forgotten, _) = frames.select_nth_unstable(middle);
        let (page, others) = (self.page, &mut self.others);
        for shelf in &mut self.shelves {
            shelf.retain(|_, device| {
                let is_kept = device.frame > *last_forgotten;
                if !is_kept {
                    others.add(device.used_on(page));
                }
                is_kept
            });
        }
        self.known = self.shelves.iter().map(HashMap::len).sum();
    }

    /// Begins a new day if `now` is on a later day. A clock that is corrected does not begin one: what was
    /// counted until then counts for the day that it now shows. It is corrected if it is set for the first
    /// time, or set back to another day.
    pub(crate) fn turn_page(&mut self, now: SystemTime) {
        let since_1970 = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let day = since_1970.as_secs() / DAY.as_secs();
        let midnight = self.midnight();
        let is_set = clock::is_set(now) && !clock::is_set(midnight);
        let is_set_back = midnight.duration_since(now).is_ok_and(|by| by >= SLIGHTLY);
        if is_set || is_set_back {
            self.day = day;
        } else if day > self.day {
            self.day = day;
            self.page += 1;
            self.others = DeviceUse::default();
        }
    }

    /// Returns when the day began.
    pub(crate) fn midnight(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(self.day * DAY.as_secs())
    }

    /// Returns what a device has used today.
    pub(crate) fn used_by(&self, dev_id: &str) -> DeviceUse {
        let device = self.find(&DeviceId::new(dev_id));
        device.map_or_else(DeviceUse::default, |device| device.used_on(self.page))
    }

    /// Adds the devices of one shelf that have used something today to `users`. Returns whether there
    /// is such a shelf.
    pub(super) fn copy_users(&self, shelf: usize, users: &mut Vec<(DeviceId, DeviceUse)>) -> bool {
        let Some(devices) = self.shelves.get(shelf) else {
            return false;
        };
        users.extend(devices.iter().filter_map(|(dev_id, device)| {
            let used = device.used_on(self.page);
            (used != DeviceUse::default()).then(|| (dev_id.clone(), used))
        }));
        true
    }

    /// Returns what forgotten devices have used today.
    pub(crate) fn used_by_others(&self) -> DeviceUse {
        self.others
    }
}

/// Returns when an uplink was sent, by the network's clock.
fn sent(uplink: &UplinkMessage) -> Option<SystemTime> {
    uplink.metadata.time.or(uplink.received_at)
}

fn reports(
    uplink: &UplinkMessage,
    previous: u32,
    findings: Findings,
) -> [Option<CounterReport>; 2] {
    findings.map(|finding| {
        Some(CounterReport {
            app_id: uplink.app_id.clone(),
            dev_id: uplink.dev_id.clone(),
            counter: uplink.counter,
            previous,
            finding: finding?,
        })
    })
}

impl Device {
    fn used_on(&self, page: u64) -> DeviceUse {
        if self.page == page {
            self.used
        } else {
            DeviceUse::default()
        }
    }
}

#[cfg(test)]
mod tests {
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
    fn count(
        devices: &mut Devices,
        uplink: &UplinkMessage,
        time: SystemTime,
    ) -> Option<CounterReport> {
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
}
