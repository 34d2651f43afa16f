//! How often a device sends: its usual interval, and how long to wait until it counts as silent. Reads no
//! clock.

use std::time::{Duration, SystemTime};

/// How many intervals are remembered.
const KEPT: usize = 16;

/// How many intervals must have been seen.
const LEAST: usize = 4;

/// From how many intervals on the longest one is taken for an exception.
const MANY: usize = 8;

/// Networks accept gaps of at most this many frames, so a greater distance is that of two sessions.
const GREATEST_GAP: u32 = 16_384;

/// A time that is earlier by more shows that the network's clock was set back.
const OLD: Duration = Duration::from_secs(24 * 60 * 60);

/// How much a frame that is lost or arrives weighs less with each further one.
const FADING: f32 = 63.0 / 64.0;

/// The most frames in a row that count as lost: more have a cause of their own.
const IN_A_ROW: u32 = 3;

/// How likely frames may be lost by chance when a device counts as silent.
const CHANCE: f32 = 1e-5;

/// The shortest time after which a device counts as silent. Networks hold an uplink back for seconds.
pub(super) const LEAST_PATIENCE: Duration = Duration::from_secs(5);

/// What the frame counter shows about an uplink.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// It is later than the one before, or nothing is known.
    Next,
    /// The device has started over.
    Restart,
    /// It is late or repeated.
    Behind,
}

/// The last intervals of a device, by its frame counter. An interval in which n frames are missing counts
/// as one of n + 1 equal intervals.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Rhythm {
    /// In milliseconds; the oldest one is overwritten.
    intervals: [u32; KEPT],
    known: u8,
    next: u8,
    /// How many frames were lost lately, and of how many.
    lost: f32,
    frames: f32,
    live: Option<Beat>,
    fetched: Option<Beat>,
}

/// An uplink.
#[derive(Clone, Copy, Debug)]
struct Beat {
    counter: u32,
    at: SystemTime,
}

impl Rhythm {
    /// Notes an uplink. `shows_losses` is whether frames before it are missing because they were lost on
    /// the radio or by the network, and not by this client.
    pub(super) fn arrived(
        &mut self,
        counter: u32,
        at: SystemTime,
        order: Order,
        shows_losses: bool,
    ) {
        let before = self.live.or(self.fetched);
        if let Some(after) = self.next_beat(before, Beat { counter, at }, order, shows_losses) {
            self.live = Some(after);
        }
    }

    /// Notes an uplink that was fetched. They come in order, after later ones that came live.
    pub(super) fn fetched(&mut self, counter: u32, at: SystemTime) {
        let beat = Beat { counter, at };
        if let Some(after) = self.next_beat(self.fetched, beat, Order::Next, true) {
            self.fetched = Some(after);
        }
    }

    /// Notes that the counter starts over, without a gap.
    pub(super) fn starts_over(&mut self) {
        (self.live, self.fetched) = (None, None);
    }

    fn next_beat(
        &mut self,
        before: Option<Beat>,
        beat: Beat,
        order: Order,
        shows_losses: bool,
    ) -> Option<Beat> {
        let Some(before) = before else {
            return (order != Order::Behind).then_some(beat);
        };
        let Ok(time) = beat.at.duration_since(before.at) else {
            let is_set_back = before.at.duration_since(beat.at).is_ok_and(|by| by > OLD);
            return is_set_back.then_some(beat);
        };
        let ahead = beat.counter.saturating_sub(before.counter);
        match order {
            Order::Behind => return None,
            Order::Restart => self.learn(time, 1, false),
            Order::Next if (1..=GREATEST_GAP).contains(&ahead) => {
                self.learn(time, ahead, shows_losses);
            }
            Order::Next if beat.counter == before.counter => return None,
            // A session that nobody announced, or a counter that wraps.
            Order::Next => {}
        }
        Some(beat)
    }

    /// Takes a time in which the device has sent this many frames.
    fn learn(&mut self, time: Duration, frames: u32, shows_losses: bool) {
        let interval = time / frames;
        self.intervals[usize::from(self.next)] =
            u32::try_from(interval.as_millis()).unwrap_or(u32::MAX);
        self.next = (self.next + 1) % KEPT as u8;
        self.known = (self.known + 1).min(KEPT as u8);
        if shows_losses {
            let lost = (frames - 1).min(IN_A_ROW);
            self.lost = self.lost * FADING + lost as f32;
            self.frames = self.frames * FADING + (lost + 1) as f32;
        }
    }

    /// Returns the usual interval, once it is known: the one in which a moment most likely falls, so that a
    /// device that sends several frames in a burst has the interval of its bursts. The longest one is left
    /// out as an exception. If the device has sent more rarely lately, that counts.
    pub(super) fn usual(&self) -> Option<Duration> {
        let known = usize::from(self.known);
        if known < LEAST {
            return None;
        }
        let mut sorted = self.intervals;
        let sorted = &mut sorted[..known];
        sorted.sort_unstable();
        let counted = if known >= MANY { known - 1 } else { known };
        let counted = &sorted[..counted];
        let half = counted.iter().copied().map(u64::from).sum::<u64>() / 2;
        let mut time = 0;
        let usual = counted.iter().copied().find(|interval| {
            time += u64::from(*interval);
            time >= half
        })?;
        let mut latest =
            [1, 2, 3].map(|back| self.intervals[(usize::from(self.next) + KEPT - back) % KEPT]);
        latest.sort_unstable();
        let latest = latest[1];
        let is_rarer = u64::from(latest) * 2 > u64::from(usual) * 3;
        let usual = if is_rarer { latest } else { usual };
        Some(Duration::from_millis(u64::from(usual.max(1))))
    }

    /// Returns how long to wait after an uplink until the device counts as silent: this multiple of its
    /// usual interval, but enough intervals that it is not by chance that all of their frames are lost.
    pub(super) fn patience(&self, usual: Duration, factor: f32) -> Duration {
        // As if one of four frames had been lost before, until enough is known.
        let unknown = (1.0 - self.frames * (1.0 - FADING)).max(0.0);
        let share = (self.lost + unknown) / (self.frames + 4.0);
        let share = share.max(f32::MIN_POSITIVE);
        let by_chance = 1.0 + CHANCE.ln() / share.min(0.5).ln();
        usual.mul_f32(factor.max(by_chance)).max(LEAST_PATIENCE)
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn at(minutes: f64) -> SystemTime {
        let week = 10_080.0;
        UNIX_EPOCH + Duration::from_secs(1_800_000_000) + MINUTE.mul_f64(week + minutes)
    }

    /// Returns the usual interval in minutes after uplinks with these counters, at these minutes.
    fn usual(uplinks: &[(u32, f64)]) -> Option<f64> {
        let mut rhythm = Rhythm::default();
        for (counter, minutes) in uplinks {
            rhythm.arrived(*counter, at(*minutes), Order::Next, true);
        }
        let usual = rhythm.usual()?;
        Some(usual.as_secs_f64() / 60.0)
    }

    #[test]
    fn the_usual_interval_is_known_after_five_uplinks() {
        let uplinks = [(7, 0.0), (8, 15.0), (9, 30.0), (10, 45.0), (11, 60.0)];
        assert_eq!(usual(&uplinks[..4]), None);
        assert_eq!(usual(&uplinks), Some(15.0));
    }

    #[test]
    fn frames_that_are_missing_make_no_interval_longer() {
        let uplinks = [
            (7, 0.0),
            (10, 45.0),
            (11, 60.0),
            (99, 1380.0),
            (100, 1395.0),
        ];
        assert_eq!(usual(&uplinks), Some(15.0));
    }

    #[test]
    fn the_interval_of_bursts_is_the_time_between_them() {
        for size in 2..=6_u32 {
            let uplinks: Vec<_> = (0..60)
                .map(|n| (n, f64::from(n / size) * 60.0 + f64::from(n % size) * 0.1))
                .collect();
            let usual = usual(&uplinks).unwrap();
            assert!((59.0..=60.0).contains(&usual), "{size}: {usual}");
        }
    }

    #[test]
    fn one_long_silence_is_an_exception() {
        let mut uplinks: Vec<_> = (0..20).map(|n| (n, f64::from(n) * 15.0)).collect();
        uplinks.push((20, 20.0 * 15.0 + 3000.0));
        assert_eq!(usual(&uplinks), Some(15.0));
    }

    #[test]
    fn a_device_that_sends_more_rarely_is_known_after_two_such_intervals() {
        let mut uplinks: Vec<_> = (0..20).map(|n| (n, f64::from(n) * 15.0)).collect();
        uplinks.push((20, 345.0));
        assert_eq!(usual(&uplinks), Some(15.0));
        uplinks.push((21, 405.0));
        assert_eq!(usual(&uplinks), Some(60.0));
    }

    #[test]
    fn late_and_repeated_uplinks_restarts_and_clocks_make_no_interval() {
        let mut rhythm = Rhythm::default();
        let mut say = |counter, minutes, order| {
            rhythm.arrived(counter, at(minutes), order, true);
            rhythm.usual().map(|usual| usual.as_secs() / 60)
        };
        for n in 0..10 {
            say(n, f64::from(n) * 10.0, Order::Next);
        }
        assert_eq!(say(9, 90.1, Order::Behind), Some(10));
        assert_eq!(say(8, 79.9, Order::Behind), Some(10));
        // A new session that nobody announced, at once.
        assert_eq!(say(0, 90.2, Order::Next), Some(10));
        assert_eq!(say(1, 100.2, Order::Next), Some(10));
        // The network's clock is set back by a week.
        assert_eq!(say(2, -9_000.0, Order::Next), Some(10));
        for n in 3..30 {
            say(n, -9_000.0 + f64::from(n) * 20.0, Order::Next);
        }
        assert_eq!(say(30, -9_000.0 + 600.0, Order::Next), Some(20));
    }

    #[test]
    fn a_device_that_starts_over_each_time_has_an_interval() {
        let mut rhythm = Rhythm::default();
        for n in 0..6 {
            rhythm.arrived(0, at(f64::from(n) * 30.0), Order::Restart, true);
        }
        assert_eq!(rhythm.usual(), Some(30 * MINUTE));
    }

    #[test]
    fn fetched_uplinks_count_although_a_later_one_has_come_before() {
        let mut rhythm = Rhythm::default();
        rhythm.arrived(100, at(1000.0), Order::Next, true);
        for n in 0..10 {
            rhythm.fetched(90 + n, at(900.0 + f64::from(n) * 10.0));
        }
        assert_eq!(rhythm.usual(), Some(10 * MINUTE));
        rhythm.arrived(101, at(1010.0), Order::Next, true);
        assert_eq!(rhythm.usual(), Some(10 * MINUTE));
    }

    #[test]
    fn a_device_that_loses_frames_gets_more_time() {
        let patience = |lost_of_ten: u32| {
            let mut rhythm = Rhythm::default();
            for n in (0..2_000).filter(|n| n * 7 % 10 >= lost_of_ten) {
                rhythm.arrived(n, at(f64::from(n)), Order::Next, true);
            }
            rhythm.patience(MINUTE, 3.0).as_secs_f64() / 60.0
        };
        assert_eq!(patience(0), 3.0);
        assert!((5.0..7.0).contains(&patience(1)), "{}", patience(1));
        assert!((7.0..10.0).contains(&patience(2)), "{}", patience(2));
    }
}
