//! Transmissions: which downlink of a queue is sent when, and what is reported about it.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use fastrand::Rng;

use super::{
    FAILED, Gateways, INVALIDATED, SENT, State, V3,
    device::{Device, MAX_LENGTH, Unanswered},
    messages::{self, Cause, Correlation, Downlink, Failure, FixedGateway, Ids, joined},
};
use crate::simulator::{
    lorawan::{self, DeviceId, Received, WindowKey},
    sync::{deadline, lock},
};

/// How long before its time a downlink is passed to the gateway.
const EARLY: Duration = Duration::from_secs(5);
/// How long before its time a downlink must be passed to the gateway.
const TOO_LATE: Duration = Duration::from_secs(2);

/// How long after its time the next downlink leaves.
const AFTER_TIME: Duration = Duration::from_millis(1_100);

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
enum Turn {
    Now,
    Later(Instant),
    /// Not in this window.
    Wait,
    Never(Failure),
}

impl V3 {
    /// Closes the device's receive window, if it is still open, and sends what is due.
    pub(super) fn close_and_serve(&self, id: DeviceId<'_>, key: Option<WindowKey>) {
        let mut state = lock(&self.state);
        let device = state.devices.get(id);
        let window = device.and_then(|device| device.window.close(&self.env.windows, key));
        if let Some(window) = window {
            self.serve(&mut state, id, window);
        }
    }

    /// Sends a device that always listens what is due, unless the window of an uplink is open.
    pub(super) fn serve_listening(&self, state: &mut State, id: DeviceId<'_>) {
        let Some(device) = state.devices.get(id) else {
            return;
        };
        let window = device.window.get();
        if device.class_c && window.is_none_or(|window| window.cause.is_none()) {
            self.serve(state, id, Window::ALWAYS);
        }
    }

    /// Sends the device the first downlink of its queue that can be sent, or otherwise a frame of the
    /// network itself. A class C device gets the others one after the other.
    pub(super) fn serve(&self, state: &mut State, id: DeviceId<'_>, mut window: Window) {
        let Some((device, gateways, random)) = state.parts(id) else {
            return;
        };
        while self.serve_once(id, device, gateways, &window, random) {
            window = Window::ALWAYS;
        }
    }

    /// Returns whether more can be sent at once.
    fn serve_once(
        &self,
        id: DeviceId<'_>,
        device: &mut Device,
        gateways: &Gateways,
        window: &Window,
        random: &mut Rng,
    ) -> bool {
        let session = device.session.as_ref();
        let is_heard = session.is_some_and(|session| session.up_counter.is_some());
        let listens = device.class_c || window.cause.is_some();
        let is_reachable = device.path.exists && !gateways.down;
        if !is_heard || device.pending.is_some() || !listens || !is_reachable {
            return false;
        }
        let ids = device.ids(id);
        let mut failed = Vec::new();
        let mut is_sent = false;
        while let Some(next) = device.queue.front() {
            let failure = match self.turn(device, gateways, next, window) {
                Turn::Wait => break,
                Turn::Later(at) => {
                    let windows = &self.env.windows;
                    device.window.open(windows, at, id, Window::ALWAYS);
                    break;
                }
                Turn::Never(failure) => Some(failure),
                Turn::Now => None,
            };
            let (Some(mut downlink), Some(session)) =
                (device.queue.pop_front(), device.session.as_mut())
            else {
                break;
            };
            downlink.session_key_id = session.key_id.clone();
            if let Some(failure) = failure {
                failed.push((downlink, failure));
                continue;
            }
            self.transmit(&ids, device, downlink, window, gateways, random);
            is_sent = true;
            break;
        }
        if !is_sent {
            self.answer(&ids, device, window, gateways, random);
        }
        let now = self.env.clock.now();
        for (downlink, failure) in failed {
            let cause = window.cause.as_ref().filter(|_| !failure.is_of_path());
            let passed_on = Correlation::new(now, random).passed_on(cause);
            let correlation_ids = joined(&downlink.correlation_ids, &passed_on);
            let correlation_id = failure.correlation_id_when_sending(random);
            let event = failure.event(&downlink.message(), &correlation_id);
            self.post(now, &ids, FAILED, &correlation_ids, &event);
        }
        is_sent && device.class_c
    }

    /// Returns what can be done with the first downlink of a queue.
    fn turn(&self, device: &Device, gateways: &Gateways, next: &Downlink, window: &Window) -> Turn {
        let (now, clock) = (Instant::now(), self.env.clock.now());
        if !device.class_c {
            let time = next.class_b_c.as_ref().map(|class| class.absolute_time);
            let is_expired = time.flatten().is_some_and(|time| time <= clock);
            return match (time, &device.unanswered) {
                (None, Some(_)) if next.confirmed => Turn::Wait,
                (None, _) => fitting(next, window),
                (Some(_), _) if is_expired && device.queue.len() > 1 => {
                    Turn::Never(Failure::EXPIRED)
                }
                (Some(_), _) => Turn::Wait,
            };
        }
        let pause = device.paused_until.filter(|_| window.cause.is_none());
        if let Some(until) = pause
            .max(device.reserved_until)
            .filter(|until| *until > now)
        {
            return Turn::Later(until);
        }
        if let Some(unanswered) = device.unanswered.as_ref().filter(|_| next.confirmed) {
            match unanswered.sent_at.checked_add(device.class_c_timeout) {
                Some(given_up) if given_up <= now => {}
                Some(given_up) => return Turn::Later(given_up),
                None => return Turn::Wait,
            }
        }
        let Some(class_b_c) = &next.class_b_c else {
            return fitting(next, window);
        };
        let is_known = |gateway: &FixedGateway| {
            let id = &gateway.gateway_id;
            lorawan::is_gateway(id) || gateways.known.contains(id)
        };
        let fixed = &class_b_c.gateways;
        if !fixed.is_empty() && !fixed.iter().any(is_known) {
            return Turn::Never(Failure::FIXED_PATHS);
        }
        match class_b_c
            .absolute_time
            .map(|time| time.duration_since(clock))
        {
            None => fitting(next, window),
            Some(Err(_)) => Turn::Never(Failure::EXPIRED),
            Some(Ok(_)) if !device.path.has_time => Turn::Never(Failure::ABSOLUTE_TIME),
            Some(Ok(left)) if left < TOO_LATE => Turn::Never(Failure::ABSOLUTE_TIME),
            Some(Ok(left)) if left > EARLY => Turn::Later(deadline(left - EARLY)),
            Some(Ok(_)) => fitting(next, window),
        }
    }

    fn transmit(
        &self,
        ids: &Ids<'_>,
        device: &mut Device,
        downlink: Downlink,
        window: &Window,
        gateways: &Gateways,
        random: &mut Rng,
    ) {
        let now = self.env.clock.now();
        let carries_commands = device.session.as_mut().is_some_and(|session| {
            session.take_sent(downlink.f_cnt);
            let carries = session.commands > 0;
            session.commands = session.commands.saturating_sub(1);
            carries
        });
        let mut correlation = Correlation::new(now, random);
        let cause = cause(&downlink, window);
        let (correlation_ids, inner) = correlation.transmitted(&downlink.correlation_ids, cause);
        let sent = downlink.sent(&inner, carries_commands);
        if gateways.deaf || device.path.deaf {
            log::debug!("{}: the gateway takes no downlinks", ids.dev_id);
        } else if let Some(result) = &gateways.failure {
            let failure = Failure::transmission(result);
            let event = failure.event(&sent, &Failure::correlation_id(random));
            self.post(now, ids, FAILED, &correlation_ids, &event);
        } else {
            if !gateways.silent {
                self.post(now, ids, SENT, &correlation_ids, &sent);
            }
            if carries_commands {
                device.end_device.hear_commands();
            }
            device.end_device.hear(Received {
                port: downlink.f_port,
                payload: downlink.payload.clone().unwrap_or_default(),
                confirmed: downlink.confirmed,
                counter: downlink.f_cnt,
            });
        }
        let time = downlink
            .class_b_c
            .as_ref()
            .and_then(|class| class.absolute_time);
        let left = time.and_then(|time| time.duration_since(now).ok());
        device.reserved_until = left.map(|left| deadline(left.saturating_add(AFTER_TIME)));
        let pause = self.env.receive_window;
        device.paused_until = (!pause.is_zero()).then(|| deadline(pause));
        if downlink.confirmed {
            device.unanswered = Some(Unanswered {
                downlink,
                sent_at: Instant::now(),
            });
        }
    }

    /// Sends a frame of the network itself if the uplink needs an answer. It takes a counter of the
    /// application.
    fn answer(
        &self,
        ids: &Ids<'_>,
        device: &mut Device,
        window: &Window,
        gateways: &Gateways,
        random: &mut Rng,
    ) {
        let (Some(cause), Some(session)) = (&window.cause, device.session.as_mut()) else {
            return;
        };
        if session.commands == 0 && !window.acknowledges {
            return;
        }
        if session.commands > 0 {
            session.commands -= 1;
            if !device.path.deaf && !gateways.deaf && gateways.failure.is_none() {
                device.end_device.hear_commands();
            }
        }
        let counter = session.take_network_frame();
        let is_too_low = |downlink: &Downlink| downlink.f_cnt <= counter;
        if device.own_keys.is_none() {
            if device.queue.iter().any(is_too_low) {
                session.renumber(&mut device.queue);
            }
            return;
        }
        let queue = std::mem::take(&mut device.queue);
        let (invalid, rest): (VecDeque<_>, VecDeque<_>) = queue.into_iter().partition(is_too_low);
        device.queue = rest;
        let body = messages::invalidated(invalid.iter(), counter, &session.key_id);
        let now = self.env.clock.now();
        let correlation_ids = Correlation::new(now, random).passed_on(Some(cause));
        self.post(now, ids, INVALIDATED, &correlation_ids, &body);
    }
}

/// Returns the uplink that a downlink answers. One for fixed gateways or a fixed time answers none.
fn cause<'a>(downlink: &Downlink, window: &'a Window) -> Option<&'a Cause> {
    let cause = window.cause.as_ref();
    cause.filter(|_| downlink.class_b_c.is_none())
}

fn fitting(downlink: &Downlink, window: &Window) -> Turn {
    if downlink.length() > window.max_length {
        return Turn::Never(Failure::too_long(downlink.length(), window.max_length));
    }
    Turn::Now
}
