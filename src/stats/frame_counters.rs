//! The frame counter of one device, and what it shows about uplinks that did not arrive. Reads no
//! clock.

mod filling;
mod outstanding;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use outstanding::Outstanding;

use crate::message::{CounterFinding, FrameLoss, UplinkMessage};

/// How many counters below the highest are remembered.
const WINDOW: u32 = u64::BITS;

/// How many of the last counters are remembered with the content and the time of their frames.
const FRAMES: usize = 7;

/// The number of ticks in a second. Times are in ticks and wrap after eight years, so that no device is
/// silent for that long.
const SECOND: u32 = 16;

/// The longest time in which a frame is the same one as an earlier one with its counter and content, or
/// has been overtaken by a later one, if the network does not say when it received the two. Devices
/// repeat a frame after seconds, or, where they may transmit for 1 % of the time, after 100 times its
/// airtime: at SF12, the longest frame of 64 bytes takes 2.8 s, which makes 4.7 minutes. Networks hold an
/// uplink back for seconds at most.
const REPEAT: u32 = 5 * 60 * SECOND;

/// A frame that the network received this much later than another was sent later. Its servers' clocks
/// may differ slightly.
const LATER: u32 = 2 * SECOND;

/// A frame is not older than this: the network's clock was set back instead.
const OLD: u32 = 24 * 60 * 60 * SECOND;

/// The greatest distance of counters that have wrapped. A restart at this distance looks like a wrap. If
/// restarts are spread evenly over 16 bits, that is one in 256.
const WRAP: u32 = 256;

/// How much longer than the client was away the network may lose messages for it: a second. The last
/// packet that arrived can have overtaken messages that the server was still processing. This also makes
/// up for devices that do not send at exactly equal intervals.
const EDGE: u32 = SECOND;

/// Returns a time in ticks.
pub(crate) fn ticks(time: Duration) -> u32 {
    (time.as_millis() * u128::from(SECOND) / 1_000) as u32
}

/// Compared with earlier marks, these show where missing uplinks may have gone. Times are in
/// [ticks]; every device has marks, so they are small.
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
    pub(crate) attempts: u16,
    /// How often this client has dropped messages so far.
    pub(crate) drops: u16,
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
        let away = u128::from(away + u64::from(EDGE) * u64::from(outages));
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

/// What is known about the frame counter of a device. There is one for each device, so it is small.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FrameCounters {
    /// The latest counter, which is the highest one unless counters have wrapped since the others.
    highest: u32,
    /// Distinguishes the sessions of the device; 0 when the network does not identify them.
    session: u32,
    /// Distinguishes the addresses of the device, which change with its sessions: storage does not keep what
    /// identifies a session, except for the address. Equal to `session` if the network sends nothing else; 0
    /// without an address.
    address: u32,
    /// By how much the counter has advanced since the watch began; `u32::MAX` stands for more.
    span: u32,
    /// When the application server got the first uplink of the watch; 0 if the network did not say.
    began: u32,
    /// Bit n stands for `highest - n`; it is set if that frame has arrived or precedes the first known
    /// uplink.
    seen: u64,
    /// The frames `highest - n`.
    frames: [Frame; FRAMES],
    /// How far behind the last uplink was, if it was a repetition: the frames of a restarted device look
    /// like one if their content is the same.
    repeated: Option<u8>,
    /// Whether the frame `highest` was fetched.
    is_filled: bool,
    /// The frames that were reported missing and have not arrived.
    outstanding: Outstanding,
    /// When the last uplink arrived, whatever its counter.
    heard: u32,
    /// When the network received the latest uplink, or its repetition by the device; 0 if it did not say.
    received: u32,
    /// Made when the frame `highest` arrived first.
    marks: Marks,
}

/// A frame that has arrived, or the default for one that has not.
#[derive(Clone, Copy, Debug, Default)]
struct Frame {
    /// Differs for most frames of other content; 0 if the frame has not arrived.
    digest: u8,
    /// When it arrived last, in units of 16 s: the time of [`Marks::at`] without its lowest bits.
    at: u8,
}

impl Frame {
    const UNIT: u32 = 8;

    fn new(uplink: &UplinkMessage, at: u32) -> Self {
        let start = u64::from(uplink.confirmed) << 8 | u64::from(uplink.port);
        Self {
            digest: ((hash(start, &uplink.payload_raw) >> 56) as u8).max(1),
            at: (at >> Self::UNIT) as u8,
        }
    }

    fn has_arrived(self) -> bool {
        self.digest != 0
    }

    /// Returns whether this can be the frame `now` at an earlier time. The units of time start over after
    /// 68 minutes, so an older frame can look younger.
    fn can_be(self, now: Self) -> bool {
        let age = u32::from(now.at.wrapping_sub(self.at).saturating_sub(1));
        self.digest == now.digest && age << Self::UNIT <= REPEAT
    }
}

/// Where a counter is, seen from the latest one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Ahead(u32),
    Behind(u32),
}

impl Place {
    /// Compares counters that wrap after 16 bits, or after 32 if one of the two is higher.
    fn new(counter: u32, highest: u32) -> Self {
        let mask = counter_mask(counter, highest);
        let ahead = counter.wrapping_sub(highest) & mask;
        let behind = highest.wrapping_sub(counter) & mask;
        let is_ahead = if counter < highest {
            ahead <= WRAP
        } else {
            // Networks accept gaps of at most 16,384, so it is no gap of almost the whole range.
            behind >= WINDOW
        };
        if is_ahead {
            Self::Ahead(ahead)
        } else {
            Self::Behind(behind)
        }
    }
}

/// Returns the highest counter before the wrap: after 16 bits, or after 32 if one of the two is higher.
fn counter_mask(counter: u32, other: u32) -> u32 {
    if counter.max(other) > u32::from(u16::MAX) {
        u32::MAX
    } else {
        u16::MAX.into()
    }
}

/// When the network received a frame, compared with the latest one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Age {
    Older,
    /// At the same moment: it is the same one if it looks alike.
    Same,
    /// So much later, in ticks.
    Newer(u32),
    /// The network does not say, or its clock may be off by as much.
    Unknown,
}

impl FrameCounters {
    /// Starts with the first uplink of a device.
    pub(crate) fn new(uplink: &UplinkMessage, marks: Marks) -> Self {
        let mut frames = [Frame::default(); FRAMES];
        frames[0] = Frame::new(uplink, marks.at);
        let address = identity(uplink.dev_addr.as_bytes());
        Self {
            highest: uplink.counter,
            session: match &*uplink.session_key_id {
                [] => address,
                id => identity(id),
            },
            address,
            span: 0,
            began: taken_in(uplink),
            seen: u64::MAX,
            frames,
            repeated: None,
            is_filled: false,
            outstanding: Outstanding::default(),
            heard: marks.at,
            received: received(uplink),
            marks,
        }
    }

    /// Returns the latest counter.
    pub(crate) fn highest(&self) -> u32 {
        self.highest
    }

    /// Returns by how much the counter has advanced since the watch began.
    pub(crate) fn span(&self) -> u32 {
        self.span
    }

    /// Takes the next uplink, given as the state that it would start. Returns what its counter shows.
    pub(crate) fn observe(&mut self, now: Self) -> Findings {
        let age = self.age_of(&now);
        if self.is_of_another_session(&now) {
            // An older one belongs to a session that is over.
            if age != Age::Older {
                *self = now;
            }
            return [None; 2];
        }
        match Place::new(now.highest, self.highest) {
            // It was sent before the device started over. The next counter is the next frame, even if the
            // network's clock was set back.
            Place::Ahead(2..) if age == Age::Older => [Some(CounterFinding::Repeated), None],
            Place::Ahead(ahead) => self.go_ahead(ahead, now),
            Place::Behind(behind) => [Some(self.look_back(behind, age, now)), None],
        }
    }

    fn is_of_another_session(&self, now: &Self) -> bool {
        if self.session == now.session || self.session == 0 || now.session == 0 {
            return false;
        }
        let has_ids = self.has_session_id() && now.has_session_id();
        has_ids || self.address != now.address || self.address == 0
    }

    fn has_session_id(&self) -> bool {
        self.session != self.address
    }

    fn age_of(&self, now: &Self) -> Age {
        if self.received == 0 || now.received == 0 {
            return Age::Unknown;
        }
        let later = now.received.wrapping_sub(self.received);
        match later {
            0 => Age::Same,
            1..=LATER => Age::Unknown,
            _ if later.wrapping_neg() <= OLD => Age::Older,
            _ => Age::Newer(later),
        }
    }

    /// Takes an uplink whose counter is this much later than the latest one.
    fn go_ahead(&mut self, ahead: u32, now: Self) -> Findings {
        let missing = ahead - 1;
        let away = now.marks.missed_while_away(&self.marks, missing);
        let elsewhere = if self.marks.drops == now.marks.drops {
            FrameLoss::Upstream
        } else {
            FrameLoss::DroppedHere
        };
        self.advance(ahead, now);
        [(away, FrameLoss::Away), (missing - away, elsewhere)]
            .map(|(frames, loss)| self.outstanding.miss(frames, loss))
    }

    /// Makes an uplink whose counter is this much later the latest one.
    fn advance(&mut self, ahead: u32, now: Self) {
        let mut frames = now.frames;
        if let Some(before) = frames.get_mut(ahead as usize..) {
            before.copy_from_slice(&self.frames[..before.len()]);
        }
        let keeps_session = now.session == 0 || self.has_session_id() && !now.has_session_id();
        *self = Self {
            seen: self.seen.checked_shl(ahead).unwrap_or(0) | 1,
            frames,
            session: if keeps_session {
                self.session
            } else {
                now.session
            },
            address: if now.address == 0 {
                self.address
            } else {
                now.address
            },
            span: self.span.saturating_add(ahead),
            began: self.began,
            outstanding: self.outstanding,
            ..now
        };
    }

    /// Takes an uplink whose counter is this much earlier than the latest one, or the same.
    fn look_back(&mut self, behind: u32, age: Age, now: Self) -> CounterFinding {
        let repeated = self.repeated.take();
        let finding = match age {
            Age::Older => self.what_is_older(behind),
            Age::Newer(later) => self.what_is_newer(behind, later, &now),
            Age::Same if behind == 0 && self.frames[0].digest == now.frames[0].digest => {
                CounterFinding::Repeated
            }
            Age::Same | Age::Unknown => self.what_is_behind(behind, repeated, &now),
        };
        if finding == CounterFinding::Reset {
            let before = self.frames.get(behind as usize + 1).copied();
            *self = now;
            // The one before it looked like a repetition, and was the first after the restart.
            if let Some(before) = before.filter(|_| follows(repeated, behind)) {
                self.frames[1] = before;
            }
            return finding;
        }
        self.heard = now.heard;
        if finding == CounterFinding::Late {
            self.outstanding.arrive_late();
        }
        if behind >= WINDOW {
            return finding;
        }
        self.seen |= 1 << behind;
        if let Some(frame) = self.frames.get_mut(behind as usize) {
            *frame = now.frames[0];
        }
        if matches!(age, Age::Newer(_)) {
            self.received = now.received;
        }
        let is_guess = finding == CounterFinding::Repeated && age != Age::Older;
        self.repeated = is_guess.then_some(behind as u8);
        finding
    }

    /// Judges an uplink that the network received before the latest one.
    fn what_is_older(&self, behind: u32) -> CounterFinding {
        if behind < WINDOW && self.seen & (1 << behind) == 0 {
            CounterFinding::Late
        } else {
            CounterFinding::Repeated
        }
    }

    /// Judges an uplink that the network received after the latest one. Only V2, which does not identify
    /// sessions, publishes repetitions by devices, and they repeat their latest frame only.
    fn what_is_newer(&self, behind: u32, later: u32, now: &Self) -> CounterFinding {
        let is_alike = behind == 0 && self.frames[0].digest == now.frames[0].digest;
        if is_alike && now.session == 0 && later <= REPEAT {
            CounterFinding::Repeated
        } else {
            CounterFinding::Reset
        }
    }

    /// Judges an uplink by its content and by when it arrived.
    fn what_is_behind(&self, behind: u32, repeated: Option<u8>, now: &Self) -> CounterFinding {
        if behind >= WINDOW {
            return CounterFinding::Reset;
        }
        let is_within = |time: u32| now.heard.wrapping_sub(time) <= REPEAT;
        if self.seen & (1 << behind) == 0 {
            return if is_within(self.marks.at) {
                CounterFinding::Late
            } else {
                CounterFinding::Reset
            };
        }
        let frame = self.frames.get(behind as usize);
        let known = frame.filter(|frame| frame.has_arrived());
        let can_be = known.is_none_or(|frame| frame.can_be(now.frames[0]));
        let continues = behind > 0 && follows(repeated, behind);
        if is_within(self.heard) && can_be && !continues {
            CounterFinding::Repeated
        } else {
            CounterFinding::Reset
        }
    }
}

/// Returns whether an uplink that is this much behind is the successor of the repetition before it.
fn follows(repeated: Option<u8>, behind: u32) -> bool {
    repeated.is_some_and(|repeated| u32::from(repeated) == behind + 1)
}

fn received(uplink: &UplinkMessage) -> u32 {
    uplink.metadata.time.map_or(0, ticks_of)
}

fn taken_in(uplink: &UplinkMessage) -> u32 {
    let time = uplink.received_at.or(uplink.metadata.time);
    time.map_or(0, ticks_of)
}

/// Returns a time of the network in ticks, 0 before 1970.
pub(super) fn ticks_of(time: SystemTime) -> u32 {
    time.duration_since(UNIX_EPOCH).map_or(0, ticks)
}

/// Returns what distinguishes ids; 0 without one.
fn identity(id: &[u8]) -> u32 {
    if id.is_empty() {
        return 0;
    }
    ((hash(0, id) >> 32) as u32).max(1)
}

/// Returns a hash whose upper bits depend on all bytes and on `start`.
fn hash(start: u64, bytes: &[u8]) -> u64 {
    const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
    let mix = |hash: u64, word: u64| {
        let product = (hash ^ word).wrapping_mul(SPREAD);
        product ^ product >> 32
    };
    let start = mix(start, bytes.len() as u64);
    let words = bytes.chunks_exact(8);
    let rest = words.remainder().iter();
    let rest = rest.fold(0, |rest, byte| rest << 8 | u64::from(*byte));
    let word = |bytes: &[u8]| bytes.try_into().map_or(0, u64::from_le_bytes);
    mix(words.map(word).fold(start, mix), rest)
}

#[cfg(test)]
mod tests;
