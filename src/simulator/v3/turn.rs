//! Which downlink of a queue is sent, when and through which gateway.

use std::time::{Duration, Instant, SystemTime};

use super::{
    device::{Device, MAX_LENGTH},
    gateways::{Gateways, Path},
    messages::{Cause, Downlink, Failure},
};
use crate::simulator::sync::deadline;

/// How long before its time a downlink is passed to the gateway.
const EARLY: Duration = Duration::from_secs(5);
/// How long before its time a downlink must be passed to the gateway. Chosen: the real server still
/// sends what is queued 2.5 s before, and no longer what is next 1.6 s before.
const TOO_LATE: Duration = Duration::from_secs(2);

/// How a downlink can be sent.
pub(super) struct Window {
    /// The uplink that opened it.
    pub(super) cause: Option<Cause>,
    pub(super) acknowledges: bool,
    pub(super) max_length: usize,
}

impl Window {
    /// The window of a device that always listens.
    pub(super) const ALWAYS: Self = Self {
        cause: None,
        acknowledges: false,
        max_length: MAX_LENGTH,
    };
}

/// What can be done with the first downlink of a queue.
pub(super) enum Turn {
    Now(Path),
    Later(Instant),
    /// Not in this window.
    Wait,
    Never(Failure),
}

impl Device {
    /// Returns what can be done with the first downlink of the queue; `time` is that of the network's
    /// clock.
    pub(super) fn turn(
        &self,
        next: &Downlink,
        window: &Window,
        gateways: &Gateways,
        time: SystemTime,
    ) -> Turn {
        match self.class_c {
            true => self.turn_of_class_c(next, window, gateways, time),
            false => self.turn_of_class_a(next, window, time),
        }
    }

    fn turn_of_class_a(&self, next: &Downlink, window: &Window, time: SystemTime) -> Turn {
        if next.class_b_c.is_none() {
            return match &self.unanswered {
                Some(_) if next.confirmed => Turn::Wait,
                _ => fitting(next, window, &self.paths),
            };
        }
        let is_expired = next.absolute_time().is_some_and(|until| until <= time);
        match is_expired && self.needs(window) {
            true => Turn::Never(Failure::EXPIRED),
            false => Turn::Wait,
        }
    }

    /// Returns whether there is something to send in a window of class A.
    fn needs(&self, window: &Window) -> bool {
        let commands = self.session.as_ref().map(|session| session.commands);
        let is_for_class_a = |downlink: &Downlink| downlink.class_b_c.is_none();
        window.acknowledges
            || commands.is_some_and(|commands| commands > 0)
            || self.queue.iter().any(is_for_class_a)
    }

    fn turn_of_class_c(
        &self,
        next: &Downlink,
        window: &Window,
        gateways: &Gateways,
        time: SystemTime,
    ) -> Turn {
        // It must not answer an uplink.
        if window.cause.is_some() && next.class_b_c.is_some() {
            return Turn::Wait;
        }
        let now = Instant::now();
        let pause = self.paused_until.filter(|_| window.cause.is_none());
        let until = pause.max(self.reserved_until);
        if let Some(until) = until.filter(|until| *until > now) {
            return Turn::Later(until);
        }
        if let Some(unanswered) = self.unanswered.as_ref().filter(|_| next.confirmed) {
            match unanswered.sent_at.checked_add(self.class_c_timeout) {
                Some(given_up) if given_up <= now => {}
                Some(given_up) => return Turn::Later(given_up),
                None => return Turn::Wait,
            }
        }
        let Some(class_b_c) = &next.class_b_c else {
            return fitting(next, window, &self.paths);
        };
        let paths = match class_b_c.gateways.is_empty() {
            true => self.paths.clone(),
            false => gateways.fixed(&class_b_c.gateways),
        };
        if paths.is_empty() && !class_b_c.gateways.is_empty() {
            return Turn::Never(Failure::FIXED_PATHS);
        }
        let Some(at) = class_b_c.absolute_time else {
            return fitting(next, window, &paths);
        };
        let Ok(left) = at.duration_since(time) else {
            return Turn::Never(Failure::EXPIRED);
        };
        let timed: Vec<Path> = paths.into_iter().filter(|path| path.has_time).collect();
        if timed.is_empty() || left < TOO_LATE {
            Turn::Never(Failure::ABSOLUTE_TIME)
        } else if left > EARLY {
            Turn::Later(deadline(left - EARLY))
        } else {
            fitting(next, window, &timed)
        }
    }
}

/// Returns whether a downlink can be sent through the best of these gateways, or is too long.
fn fitting(downlink: &Downlink, window: &Window, paths: &[Path]) -> Turn {
    match paths.first() {
        None => Turn::Wait,
        Some(_) if downlink.length() > window.max_length => {
            Turn::Never(Failure::too_long(downlink.length(), window.max_length))
        }
        Some(path) => Turn::Now(*path),
    }
}
