//! What the V2 network knows about a device.

use std::collections::VecDeque;

use fastrand::Rng;

use crate::simulator::lorawan::{
    self, DeviceId, EndDevice, Location, Modulation, QueuedDownlink, ReceiveWindow, Uplink,
};

pub(super) struct Device {
    dev_eui: u64,
    pub(super) dev_addr: u32,
    pub(super) location: Option<Location>,
    up_counter: Option<u32>,
    pub(super) down_counter: u32,
    pub(super) queue: VecDeque<QueuedDownlink>,
    pub(super) in_progress: Option<QueuedDownlink>,
    pub(super) window: ReceiveWindow<Window>,
    pub(super) end_device: EndDevice,
}

/// How the network can answer an uplink.
pub(super) struct Window {
    pub(super) port: u8,
    pub(super) wants_ack: bool,
    /// `None` if no gateway can transmit.
    pub(super) gateway_id: Option<String>,
    pub(super) modulation: Modulation,
    pub(super) frequency: u32,
}

impl Device {
    pub(super) fn new(id: DeviceId<'_>, location: Option<Location>, random: &mut Rng) -> Self {
        Self {
            dev_eui: id.eui(),
            dev_addr: lorawan::new_address(random),
            location,
            up_counter: None,
            down_counter: 0,
            queue: VecDeque::new(),
            in_progress: None,
            window: ReceiveWindow::closed(),
            end_device: EndDevice::new(),
        }
    }

    pub(super) fn eui(&self) -> String {
        format!("{:016X}", self.dev_eui)
    }

    pub(super) fn address(&self) -> String {
        format!("{:08X}", self.dev_addr)
    }

    /// Restarts the frame counters with a new DevAddr.
    pub(super) fn start_session(&mut self, random: &mut Rng) {
        self.dev_addr = lorawan::new_address_other_than(Some(self.dev_addr), random);
        self.up_counter = None;
        self.down_counter = 0;
        self.end_device.restart();
    }

    /// Counts the uplink and settles the downlink in progress; returns the frame counter and the
    /// downlink that the uplink acknowledges.
    pub(super) fn take_uplink(&mut self, uplink: &Uplink) -> (u32, Option<QueuedDownlink>) {
        let counter = uplink.count(&mut self.up_counter);
        if uplink.retry {
            return (counter, None);
        }
        let ack = self.end_device.take_ack();
        let finished = self
            .in_progress
            .take_if(|downlink| !downlink.confirmed || ack);
        (counter, finished.filter(|downlink| downlink.confirmed))
    }
}
