//! What the client remembers about each device. Reads no clock; the caller passes the time.

#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    fmt,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use serde::Serialize;

use super::{
    absences::Absences,
    device_status::DeviceStatus,
    frame_counters::{Findings, FrameCounters, ticks, ticks_of},
    vigil::Vigil,
    watch::{Arrival, Watch, Watched},
};
use crate::{
    clock::{self, Moment, Timeline},
    message::{CounterReport, DeviceBack, DeviceSilent, UplinkMessage, json},
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
    /// More about each device, if that was asked for.
    watch: Option<Box<Watch>>,
    /// How many devices were forgotten that were expected.
    unexpected: usize,
}

/// The longest device id that networks allow.
const ID_LENGTH: usize = 36;

/// A device id, stored in place up to that length. Allocations for many devices, scattered between
/// those for messages, would slow down the whole heap.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum DeviceId {
    Short { length: u8, bytes: [u8; ID_LENGTH] },
    Long(Box<[u8]>),
}

impl DeviceId {
    pub(super) fn new(dev_id: &str) -> Self {
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

#[derive(Debug)]
struct Device {
    /// `None` before its first uplink, and after a join.
    counters: Option<FrameCounters>,
    used: DeviceUse,
    /// The page to which `used` belongs.
    page: u64,
    /// The number of its last frame.
    frame: u64,
    /// More about it, if that was asked for and it has sent something.
    watched: Option<Box<Watched>>,
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
            watch: None,
            unexpected: 0,
        }
    }

    /// Notes more about each device, and which ones are silent for this multiple of their usual interval, if it
    /// is one.
    pub(crate) fn watching(mut self, silence_after: Option<f32>) -> Self {
        self.watch = Some(Box::new(Watch::new(silence_after)));
        self
    }

    /// Returns whether more is noted about each device.
    pub(crate) fn is_watching(&self) -> bool {
        self.watch.is_some()
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
        self.vigil_at(now, |vigil| vigil.left(now, silence));
    }

    /// Notes that the client attempts to connect.
    pub(crate) fn attempt(&mut self) {
        self.absences.attempt();
    }

    /// Notes that the client is connected again.
    pub(crate) fn returned(&mut self, now: Instant) {
        self.absences.returned(now);
        self.vigil_at(now, |vigil| vigil.returned(now));
    }

    /// Notes that what the client has missed is being fetched, or that it has been.
    pub(crate) fn fills(&mut self, now: Instant, is_running: bool) {
        self.vigil_at(now, |vigil| match is_running {
            true => vigil.fills(now),
            false => vigil.filled(),
        });
    }

    /// Notes that this client dropped messages.
    pub(crate) fn dropped(&mut self) {
        self.absences.dropped();
        let vigil = self.watch.as_mut().and_then(|watch| watch.vigil.as_mut());
        vigil.into_iter().for_each(Vigil::dropped);
    }

    /// Sets the clock of the vigil, if there is one, and changes it.
    fn vigil_at<T>(&mut self, now: Instant, change: impl FnOnce(&mut Vigil) -> T) -> Option<T> {
        let suspended = self.timeline.suspended();
        let vigil = self.watch.as_mut()?.vigil.as_mut()?;
        vigil.advance(now, suspended);
        Some(change(vigil))
    }

    /// Returns how long to wait for the next device that may be silent; `None` for as long as nothing happens.
    pub(crate) fn next_silence(&mut self, now: Instant) -> Option<Duration> {
        self.vigil_at(now, |vigil| vigil.next())?
    }

    /// Returns the next device that is silent from now on.
    pub(crate) fn take_silent(&mut self, now: Instant) -> Option<DeviceSilent> {
        loop {
            let (queued, dev_id) = self.vigil_at(now, Vigil::take_due)??;
            let watch = self.watch.as_mut()?;
            let device = self.shelves[dev_id.shelf()].get_mut(&dev_id);
            let Some(device) = device.and_then(|device| device.watched.as_mut()) else {
                continue;
            };
            if let Some(silent) = watch.look_at(device, queued, dev_id, now) {
                return Some(silent);
            }
        }
    }

    /// Returns that a device is back, if the last uplink has shown that.
    pub(crate) fn take_back(&mut self) -> Option<DeviceBack> {
        self.watch.as_mut()?.back.take()
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
            if let Some(watched) = &mut device.watched {
                watched.starts_over();
            }
        }
    }

    /// Notes that a device was deleted: nothing more is expected of it.
    pub(crate) fn deleted(&mut self, dev_id: &str) {
        self.starts_over(dev_id);
        let dev_id = DeviceId::new(dev_id);
        let device = self.shelves[dev_id.shelf()].get_mut(&dev_id);
        let watched = device.and_then(|device| device.watched.take());
        self.unexpected += usize::from(watched.is_some_and(|watched| watched.is_expected()));
        self.forget_expected();
    }

    fn forget_expected(&mut self) {
        let forgotten = std::mem::take(&mut self.unexpected);
        if let Some(vigil) = self.watch.as_mut().and_then(|watch| watch.vigil.as_mut()) {
            vigil.forget(forgotten);
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
        self.count(
            uplink,
            time,
            true,
            |watch, suspended| watch.live(uplink, now, suspended, time),
            || heard,
            |counters| counters.observe(heard),
        )
    }

    /// Counts a downlink that was sent to a device.
    pub(crate) fn downlink(&mut self, dev_id: &str, now: SystemTime) {
        self.frame(dev_id, now, |device| device.used.downlinks += 1);
        self.forget_expected();
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
        let earlier = |at| absences.earlier(marks, at);
        self.count(
            uplink,
            time,
            is_of_today,
            |watch, suspended| watch.fetched(uplink, now, suspended, time),
            || {
                let age = sent(uplink).and_then(|sent| time.duration_since(sent).ok());
                let at = marks.at.wrapping_sub(ticks(age.unwrap_or_default()));
                heard.sent_earlier(earlier(at))
            },
            |counters| counters.fill(heard, earlier),
        )
    }

    /// Counts an uplink: its airtime if it `is_of_today`, its `arrival` if devices are watched, and its frame counter,
    /// which is the `first` one of the session or continues it. Returns what that shows.
    fn count(
        &mut self,
        uplink: &UplinkMessage,
        time: SystemTime,
        is_of_today: bool,
        arrival: impl FnOnce(&mut Watch, Duration) -> Arrival,
        first: impl FnOnce() -> FrameCounters,
        observe: impl FnOnce(&mut FrameCounters) -> Findings,
    ) -> [Option<CounterReport>; 2] {
        let airtime = uplink.metadata.airtime.unwrap_or_default();
        let suspended = self.timeline.suspended();
        let mut watch = self.watch.take();
        let arrival = watch.as_mut().map(|watch| arrival(watch, suspended));
        let (previous, findings) = self.frame(&uplink.dev_id, time, |device| {
            if is_of_today {
                device.used.uplinks += 1;
                device.used.airtime = device.used.airtime.saturating_add(airtime);
            }
            let (previous, findings, ahead) = match &mut device.counters {
                Some(counters) => {
                    let (previous, span) = (counters.highest(), counters.span());
                    let findings = observe(counters);
                    (previous, findings, counters.span().checked_sub(span))
                }
                counters => {
                    *counters = Some(first());
                    (0, [None, None], None)
                }
            };
            if let Some((watch, arrival)) = watch.as_mut().zip(arrival) {
                watch.note(&mut device.watched, uplink, arrival, &findings, ahead);
            }
            (previous, findings)
        });
        self.watch = watch;
        self.forget_expected();
        reports(uplink, previous, findings)
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

    /// Counts a frame from or to a device; `add` adds it to what is known of the device.
    fn frame<T>(&mut self, dev_id: &str, now: SystemTime, add: impl FnOnce(&mut Device) -> T) -> T {
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
            return add(device);
        }
        let mut device = Device {
            counters: None,
            used: DeviceUse::default(),
            page: self.page,
            frame: self.frames,
            watched: None,
        };
        if self.capacity == 0 {
            let added = add(&mut device);
            self.others.add(device.used);
            return added;
        }
        self.make_room();
        let added = add(&mut device);
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
        let unexpected = &mut self.unexpected;
        for shelf in &mut self.shelves {
            shelf.retain(|_, device| {
                let is_kept = device.frame > *last_forgotten;
                if !is_kept {
                    others.add(device.used_on(page));
                    let watched = device.watched.as_ref();
                    *unexpected += usize::from(watched.is_some_and(|it| it.is_expected()));
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

    /// Adds what is known of the devices of one shelf that were heard to `list`. Returns whether there is such a
    /// shelf.
    pub(super) fn copy_devices(
        &mut self,
        shelf: usize,
        now: Instant,
        list: &mut Vec<DeviceStatus>,
    ) -> bool {
        let page = self.page;
        let now = self
            .watch
            .as_mut()
            .map_or(0, |watch| watch.milliseconds(now));
        let Some(devices) = self.shelves.get(shelf) else {
            return false;
        };
        list.extend(devices.iter().filter_map(|(dev_id, device)| {
            let watched = device.watched.as_ref()?;
            Some(watched.status(dev_id, device.used_on(page), now))
        }));
        true
    }

    /// Returns what forgotten devices have used today.
    pub(crate) fn used_by_others(&self) -> DeviceUse {
        self.others
    }
}

/// Returns when an uplink was sent, by the network's clock.
pub(super) fn sent(uplink: &UplinkMessage) -> Option<SystemTime> {
    uplink.metadata.time.or(uplink.received_at)
}

fn reports(
    uplink: &UplinkMessage,
    previous: u32,
    findings: Findings,
) -> [Option<CounterReport>; 2] {
    let report = |finding| CounterReport {
        app_id: uplink.app_id.clone(),
        dev_id: uplink.dev_id.clone(),
        counter: uplink.counter,
        previous,
        finding,
    };
    findings.map(|finding| finding.map(report))
}

#[cfg(test)]
impl Devices {
    pub(super) fn vigil(&self) -> Option<&Vigil> {
        self.watch.as_ref()?.vigil.as_ref()
    }
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
