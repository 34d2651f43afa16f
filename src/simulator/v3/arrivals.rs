//! What devices send, until it arrives.

use super::{State, V3, device::Device, frame::Frame};
use crate::simulator::{
    lorawan::{DeviceId, WindowKey},
    sync::{deadline, lock},
};

/// What a device sent.
pub(super) enum Arrival {
    Join,
    Uplink(Box<Frame>),
}

impl V3 {
    /// Lets something arrive at once, or when the real network would have it.
    pub(super) fn send(&self, state: &mut State, id: DeviceId<'_>, arrival: Arrival) {
        let Some(delays) = self.env.delays else {
            return self.arrive(state, id, arrival);
        };
        let delay = match arrival {
            Arrival::Join => delays.join(),
            Arrival::Uplink(_) => delays.deduplication(),
        };
        if let Some(device) = state.devices.get(id) {
            let due = deadline(delay);
            // A device that joins sends nothing before it has.
            let last = device.arrivals.back();
            let due = last.map_or(due, |((last, _), _)| due.max(*last));
            let key = self.env.windows.open(due, id);
            device.arrivals.push_back((key, arrival));
        }
    }

    /// Handles what arrives then, and returns whether anything does.
    pub(super) fn arrive_at(&self, id: DeviceId<'_>, key: WindowKey) -> bool {
        let mut state = lock(&self.state);
        let device = state.devices.get(id);
        let Some(arrival) = device.and_then(|device| device.take_arrival(key)) else {
            return false;
        };
        self.close_and_serve(&mut state, id, None);
        self.arrive(&mut state, id, arrival);
        true
    }

    fn arrive(&self, state: &mut State, id: DeviceId<'_>, arrival: Arrival) {
        match arrival {
            Arrival::Join => self.accept_join(state, id),
            Arrival::Uplink(frame) => self.receive(state, id, &frame),
        }
    }
}

impl Device {
    fn take_arrival(&mut self, key: WindowKey) -> Option<Arrival> {
        let (due, _) = self.arrivals.front()?;
        if *due != key {
            return None;
        }
        self.arrivals.pop_front().map(|(_, arrival)| arrival)
    }

    pub(super) fn is_joining(&self) -> bool {
        let is_join = |(_, arrival): &(WindowKey, Arrival)| matches!(arrival, Arrival::Join);
        self.arrivals.iter().any(is_join)
    }
}
