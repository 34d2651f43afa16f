//! Transmissions: which downlink of a queue is sent when, and what is reported about it.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use fastrand::Rng;

use super::{
    FAILED, INVALIDATED, SENT, State, V3,
    device::{Device, Unanswered},
    gateways::{Gateways, Outcome},
    messages::{self, Correlation, Downlink, Failure, Ids, joined},
    turn::{Turn, Window},
};
use crate::simulator::{
    lorawan::{DeviceId, Received, WindowKey},
    sync::deadline,
};

/// How long after its time the next downlink leaves. Chosen: as long as the real server was seen to
/// take.
const AFTER_TIME: Duration = Duration::from_millis(1_100);

impl V3 {
    /// Closes the device's receive window, if it is still open, and sends what is due.
    pub(super) fn close_and_serve(
        &self,
        state: &mut State,
        id: DeviceId<'_>,
        key: Option<WindowKey>,
    ) {
        let device = state.devices.get(id);
        let window = device.and_then(|device| device.window.close(&self.env.windows, key));
        if let Some(window) = window {
            self.serve(state, id, window);
        }
    }

    /// Sends a device that always listens what is due, unless the window of an uplink is open.
    pub(super) fn serve_listening(&self, state: &mut State, id: DeviceId<'_>) {
        let Some((device, _, random)) = state.parts(id) else {
            return;
        };
        let window = device.window.get();
        if !device.class_c || window.is_some_and(|window| window.cause.is_some()) {
            return;
        }
        let now = Instant::now();
        let is_idle = device.paused_until.is_none_or(|until| until <= now);
        if let Some(delays) = self.env.delays {
            if is_idle && !device.queue.is_empty() {
                device.paused_until = Some(deadline(delays.first_pause(random)));
            }
        }
        self.serve(state, id, Window::ALWAYS);
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
        if !is_heard || device.pending.is_some() || !listens || gateways.down {
            return false;
        }
        let ids = device.ids(id);
        let mut failed = Vec::new();
        let mut is_sent = false;
        while let Some(next) = device.queue.front() {
            let turn = device.turn(next, window, gateways, self.env.clock.now());
            match turn {
                Turn::Wait => break,
                Turn::Later(at) => {
                    let windows = &self.env.windows;
                    device.window.open(windows, at, id, Window::ALWAYS);
                    break;
                }
                Turn::Never(failure) => failed.extend(device.take_next().zip(Some(failure))),
                Turn::Now(path) => {
                    if let Some(downlink) = device.take_next() {
                        let outcome = gateways.outcome(path);
                        self.transmit(&ids, device, downlink, window, outcome, random);
                        is_sent = true;
                    }
                    break;
                }
            }
        }
        if !is_sent {
            self.answer(&ids, device, window, gateways, random);
        }
        self.fail(&ids, failed, window, random);
        device.class_c && (is_sent || window.cause.is_some())
    }

    /// Reports downlinks that could not be sent.
    fn fail(
        &self,
        ids: &Ids<'_>,
        failed: Vec<(Downlink, Failure)>,
        window: &Window,
        random: &mut Rng,
    ) {
        let now = self.env.clock.now();
        let mut passed_on = Vec::new();
        for (downlink, failure) in failed {
            // What the same uplink causes is passed on together.
            if passed_on.is_empty() || window.cause.is_none() {
                passed_on = Correlation::new(now, random).passed_on(window.cause.as_ref());
            }
            let correlation_ids = joined(&downlink.correlation_ids, &passed_on);
            let correlation_id = failure.correlation_id_when_sending(random);
            let event = failure.event(&downlink.message(), &correlation_id);
            self.post(now, ids, FAILED, &correlation_ids, &event);
        }
    }

    fn transmit(
        &self,
        ids: &Ids<'_>,
        device: &mut Device,
        downlink: Downlink,
        window: &Window,
        outcome: Outcome<'_>,
        random: &mut Rng,
    ) {
        let now = self.env.clock.now();
        let carries_commands = device.session.as_mut().is_some_and(|session| {
            session.take_sent(downlink.f_cnt);
            session.take_commands()
        });
        let mut correlation = Correlation::new(now, random);
        let (correlation_ids, inner) =
            correlation.transmitted(&downlink.correlation_ids, window.cause.as_ref());
        let sent = downlink.sent(&inner, carries_commands);
        match outcome {
            Outcome::Lost => log::debug!("{}: the gateway takes no downlinks", ids.dev_id),
            Outcome::Failed(result) => {
                let failure = Failure::transmission(result);
                let event = failure.event(&sent, &Failure::correlation_id(random));
                self.post(now, ids, FAILED, &correlation_ids, &event);
            }
            Outcome::Done { is_reported } => {
                if is_reported {
                    self.post(now, ids, SENT, &correlation_ids, &sent);
                }
                if carries_commands {
                    device.end_device.hear_commands();
                }
                let received = Received {
                    port: downlink.f_port,
                    payload: downlink.payload.clone().unwrap_or_default(),
                    confirmed: downlink.confirmed,
                    counter: downlink.f_cnt,
                };
                let (app_id, dev_id) = (ids.uid, ids.dev_id);
                let id = DeviceId { app_id, dev_id };
                self.env.activities.received(id, &received);
                device.end_device.hear(received, self.env.history);
            }
        }
        let left = downlink
            .absolute_time()
            .and_then(|time| time.duration_since(now).ok());
        device.reserved_until = left.map(|left| deadline(left.saturating_add(AFTER_TIME)));
        let pause = match self.env.delays {
            Some(delays) => delays.next_pause(random),
            None => self.env.receive_window,
        };
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
        let (Some(cause), Some(path), Some(session)) =
            (&window.cause, device.paths.first(), device.session.as_mut())
        else {
            return;
        };
        let carries_commands = session.take_commands();
        if !carries_commands && !window.acknowledges {
            return;
        }
        if carries_commands && matches!(gateways.outcome(*path), Outcome::Done { .. }) {
            device.end_device.hear_commands();
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
