//! Which devices are silent. The clock that decides it stands still while nothing could be heard: while the
//! client is away, while it fetches what it has missed, while the machine is suspended, and while nothing at
//! all arrives. Reads no clock.

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    time::{Duration, Instant},
};

use super::devices::DeviceId;

/// How long the clock stands still at most for a backfill after a reconnect.
const GRACE: Duration = Duration::from_secs(10 * 60);

/// How long an outage counts at most, and the time before the first connection.
const LONGEST_OUTAGE: i64 = 24 * 60 * 60 * SECOND;

/// A time without any uplink is not unusual if it is shorter.
const LEAST_MUTE: i64 = 3 * SECOND;

const SECOND: i64 = 1_000_000_000;

/// How many of its longest times without any uplink a part of the past includes.
const GAPS_IN_PART: i64 = 16;

/// Times are in nanoseconds on the clock that stands still.
#[derive(Debug)]
pub(super) struct Vigil {
    factor: f32,
    /// When the clock was set last, and how long the machine had been suspended until then.
    at: Option<Instant>,
    suspended: Duration,
    /// What it shows.
    time: i64,
    /// What it would show if it did not stand still while nothing at all arrives.
    open: i64,
    /// When the client lost its connection; `None` while it has one.
    left: Option<Left>,
    /// Until when a backfill makes the clock stand still.
    grace: Option<Instant>,
    /// Whether one is running.
    is_filling: bool,
    /// What both clocks showed at the last uplink of any device.
    heard: Option<(i64, i64)>,
    gaps: Gaps,
    /// When nothing could be heard: a long time, and the shorter ones since then.
    outages: [Outage; 2],
    /// How many devices are expected.
    expected: usize,
    queue: BinaryHeap<Reverse<(i64, DeviceId)>>,
}

/// A time in which nothing could be heard.
#[derive(Clone, Copy, Debug, Default)]
struct Outage {
    until: i64,
    length: i64,
}

impl Outage {
    /// Returns how much less than it lasted has passed since.
    fn rest(self, now: i64) -> i64 {
        (self.length - (now - self.until)).max(0)
    }
}

#[derive(Clone, Copy, Debug)]
enum Left {
    /// It was never connected.
    Never,
    At(Instant),
}

/// What is known of a device.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Expectation {
    /// When it was heard.
    pub(super) heard: Option<i64>,
    /// Its usual interval, and after how much longer it is silent; `None` as long as that is not known.
    usual: Option<(i64, i64)>,
    /// The time at which it is looked at.
    queued: Option<i64>,
    pub(super) is_silent: bool,
}

impl Expectation {
    /// Returns whether it is expected: not silent, with a known interval.
    pub(super) fn is_expected(&self) -> bool {
        self.usual.is_some() && !self.is_silent
    }
}

impl Vigil {
    pub(super) fn new(factor: f32) -> Self {
        Self {
            factor,
            at: None,
            suspended: Duration::ZERO,
            time: 0,
            open: 0,
            left: Some(Left::Never),
            grace: None,
            is_filling: false,
            heard: None,
            gaps: Gaps::default(),
            outages: [Outage::default(); 2],
            expected: 0,
            queue: BinaryHeap::new(),
        }
    }

    pub(super) fn factor(&self) -> f32 {
        self.factor
    }

    /// Sets the clock. `now` includes the time for which the machine was suspended.
    pub(super) fn advance(&mut self, now: Instant, suspended: Duration) {
        let Some(at) = self.at else {
            (self.at, self.suspended) = (Some(now), suspended);
            return;
        };
        let passed = now.saturating_duration_since(at);
        if passed.is_zero() {
            return;
        }
        let asleep = suspended.saturating_sub(self.suspended);
        (self.at, self.suspended) = (Some(now), suspended);
        if self.left.is_some() {
            return;
        }
        let mut awake = passed.saturating_sub(asleep);
        if let Some(end) = self.grace {
            awake = awake.min(now.saturating_duration_since(end));
            if now >= end {
                self.grace = None;
            }
        }
        self.open += nanoseconds(awake);
        let time = self.time + nanoseconds(awake);
        self.time = match self.mute() {
            Some(mute) => time.min(mute.max(self.time)),
            None => time,
        };
        if !asleep.is_zero() {
            self.interrupted(nanoseconds(asleep));
        }
    }

    /// Returns when it is the network that is silent and no device: nothing at all has come for longer than
    /// usual. Of a single device, nobody can tell.
    fn mute(&self) -> Option<i64> {
        let (heard, _) = self.heard?;
        let usual = self.gaps.usual().filter(|_| self.expected > 1)?;
        let longest = usual as f64 * f64::from(self.factor) / 1.5;
        Some(heard + (longest as i64).max(LEAST_MUTE))
    }

    /// Notes that nothing could be heard until now for a time.
    fn interrupted(&mut self, time: i64) {
        let now = self.time;
        let [long, short] = self.outages.map(|outage| outage.rest(now));
        let until_now = |length: i64| Outage {
            until: now,
            length: length.min(LONGEST_OUTAGE),
        };
        let shorter = short.saturating_add(time);
        // Devices that have had their time after the long one get no more for it.
        if shorter < long {
            self.outages[1] = until_now(shorter);
        } else {
            self.outages = [until_now(shorter.saturating_add(long)), Outage::default()];
        }
    }

    /// Notes that the client has no connection any more, which may have been dead for this long.
    pub(super) fn left(&mut self, now: Instant, silence: Duration) {
        if self.left.is_some() {
            return;
        }
        self.filled();
        self.left = Some(Left::At(now.checked_sub(silence).unwrap_or(now)));
        let since = |heard: Option<i64>, time: i64| heard.map_or(0, |heard| time - heard);
        let (heard, heard_open) = self.heard.unzip();
        let silence = nanoseconds(silence);
        self.time -= silence.min(since(heard, self.time)).max(0);
        self.open -= silence.min(since(heard_open, self.open)).max(0);
    }

    /// Notes that the client is connected.
    pub(super) fn returned(&mut self, now: Instant) {
        let away = match self.left.take() {
            None => return,
            Some(Left::Never) => LONGEST_OUTAGE,
            Some(Left::At(left)) => nanoseconds(now.saturating_duration_since(left)),
        };
        self.interrupted(away);
    }

    /// Notes that what was missed is being fetched now.
    pub(super) fn fills(&mut self, now: Instant) {
        if self.left.is_none() && !self.is_filling {
            self.is_filling = true;
            self.grace = Some(now + GRACE);
        }
    }

    /// Notes that it has been fetched.
    pub(super) fn filled(&mut self) {
        self.grace = None;
        self.is_filling = false;
    }

    /// Notes that this client dropped messages.
    pub(super) fn dropped(&mut self) {
        self.interrupted(LONGEST_OUTAGE);
    }

    /// Notes that an uplink of a device has arrived, now. Returns the time of the clock.
    pub(super) fn arrived(&mut self) -> i64 {
        if let Some((heard, heard_open)) = self.heard {
            let gap = self.open - heard_open;
            let mute = gap - (self.time - heard);
            self.gaps.learn(gap);
            if mute > 0 {
                self.interrupted(mute);
            }
        }
        self.heard = Some((self.time, self.open));
        self.time
    }

    /// Returns the time of the clock.
    pub(super) fn time(&self) -> i64 {
        self.time
    }

    /// Expects a device, whose usual interval is known if there is one, and which is silent if it is not heard
    /// for longer than `patience`.
    pub(super) fn expect(
        &mut self,
        device: &mut Expectation,
        heard: i64,
        usual: Option<(Duration, Duration)>,
        dev_id: impl FnOnce() -> DeviceId,
    ) {
        let was_expected = device.is_expected();
        device.heard = Some(heard);
        device.usual = usual.map(|(usual, patience)| (nanoseconds(usual), nanoseconds(patience)));
        device.is_silent = false;
        self.expected -= usize::from(was_expected);
        self.expected += usize::from(device.is_expected());
        let Some(due) = self.due(device) else { return };
        // What is queued earlier is put off when its time has come.
        if device.queued.is_none_or(|queued| due < queued) {
            device.queued = Some(due);
            self.queue.push(Reverse((due, dev_id())));
        }
    }

    /// Forgets this many devices that were expected.
    pub(super) fn forget(&mut self, expected: usize) {
        self.expected -= expected;
    }

    /// Returns when a device is silent. After a time in which nothing could be heard, it has as much time as
    /// that lasted, but no more than one and a half of its usual intervals.
    fn due(&self, device: &Expectation) -> Option<i64> {
        let (usual, patience) = device.usual?;
        let most = usual.saturating_add(usual / 2);
        let after = |outage: Outage| outage.until.saturating_add(outage.length.min(most));
        let due = device.heard?.saturating_add(patience);
        Some(self.outages.into_iter().map(after).fold(due, i64::max))
    }

    /// Returns how long to wait for the next device that may be silent, after the clock was set. `None` for as
    /// long as nothing happens.
    pub(super) fn next(&self) -> Option<Duration> {
        let Reverse((due, _)) = self.queue.peek()?;
        if self.left.is_some() {
            return None;
        }
        let grace = self.grace.zip(self.at);
        let grace = grace.map_or(Duration::ZERO, |(end, at)| {
            end.saturating_duration_since(at)
        });
        if *due > self.time && self.mute().is_some_and(|mute| mute < *due) {
            return None;
        }
        let wait = Duration::from_nanos((due - self.time).max(0).unsigned_abs());
        Some(grace + wait)
    }

    /// Returns the next device to look at, if the clock has come so far.
    pub(super) fn take_due(&mut self) -> Option<(i64, DeviceId)> {
        if self.left.is_some() || self.grace.is_some() {
            return None;
        }
        let Reverse((due, _)) = self.queue.peek()?;
        if *due > self.time {
            return None;
        }
        self.queue.pop().map(|Reverse(due)| due)
    }

    /// Looks at a device that was queued for this time. Returns whether it is silent from now on; if not, it is
    /// looked at again.
    pub(super) fn look_at(
        &mut self,
        device: &mut Expectation,
        queued: i64,
        dev_id: DeviceId,
    ) -> bool {
        if device.queued != Some(queued) {
            return false;
        }
        device.queued = None;
        let Some(due) = self.due(device).filter(|_| !device.is_silent) else {
            return false;
        };
        if due > self.time {
            device.queued = Some(due);
            self.queue.push(Reverse((due, dev_id)));
            return false;
        }
        device.is_silent = true;
        self.expected -= 1;
        true
    }
}

#[cfg(test)]
impl Vigil {
    pub(super) fn queued(&self) -> usize {
        self.queue.len()
    }
}

/// The longest times without any uplink, in two parts of the past.
#[derive(Clone, Copy, Debug, Default)]
struct Gaps {
    parts: [[i64; 2]; 2],
    /// How long the newer part has lasted.
    age: i64,
}

impl Gaps {
    fn learn(&mut self, gap: i64) {
        let newer = &mut self.parts[0];
        if gap > newer[0] {
            *newer = [gap, newer[0]];
        } else if gap > newer[1] {
            newer[1] = gap;
        }
        self.age += gap;
        if newer[1] > 0 && self.age >= GAPS_IN_PART * newer[0] {
            self.parts = [[0; 2], self.parts[0]];
            self.age = 0;
        }
    }

    /// Returns the longest one but one: the longest may be an exception.
    fn usual(&self) -> Option<i64> {
        let [[longest, second], [older, older_second]] = self.parts;
        let usual = longest.min(older).max(second).max(older_second);
        (usual > 0).then_some(usual)
    }
}

fn nanoseconds(time: Duration) -> i64 {
    i64::try_from(time.as_nanos()).unwrap_or(i64::MAX)
}
