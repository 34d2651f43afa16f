//! What the V2 network knows about a device.

use std::collections::VecDeque;

use fastrand::Rng;

use crate::simulator::lorawan::{
    self, DeviceId, EndDevice, Location, Modulation, QueuedDownlink, ReceiveWindow, Uplink,
};

/// How much a counter may jump.
const LARGEST_GAP: u32 = 16_384;

pub(super) struct Device {
    dev_eui: u64,
    pub(super) dev_addr: u32,
    pub(super) location: Option<Location>,
    /// The last frame counter of the session.
    up_counter: Option<u32>,
    /// The last frame counter that the handler remembers, which neither begins nor ends with a session.
    handled_counter: u32,
    pub(super) down_counter: u32,
    pub(super) queue: VecDeque<QueuedDownlink>,
    pub(super) in_progress: Option<QueuedDownlink>,
    pub(super) window: ReceiveWindow<Window>,
    pub(super) end_device: EndDevice,
    /// How many of the next answers carry MAC commands.
    pub(super) commands: u32,
    /// Whether the network takes a counter that is lower than the last.
    pub(super) resets_counters: bool,
    /// As the application registered it.
    pub(super) description: String,
}

/// An uplink and what the handler makes of it.
#[derive(Default)]
pub(super) struct Taken {
    pub(super) counter: u32,
    /// Whether its frame counter is the one that the handler remembers.
    pub(super) is_retry: bool,
    /// The downlink in progress, if the uplink ends it.
    pub(super) finished: Option<QueuedDownlink>,
}

/// How the network can answer an uplink.
pub(super) struct Window {
    pub(super) port: u8,
    pub(super) wants_ack: bool,
    /// `None` if no gateway can transmit.
    pub(super) gateway_id: Option<String>,
    /// Whether that gateway loses what it should transmit.
    pub(super) is_deaf: bool,
    pub(super) modulation: Modulation,
    pub(super) frequency: u32,
}

impl Window {
    /// Returns whether the router chooses the second window of the device, in which the gateway may be
    /// louder; in EU868, it does so for slow frames and now and then for others.
    pub(super) fn answers_in_the_second(&self, random: &mut Rng) -> bool {
        let is_european = (863_000_000..870_000_000).contains(&self.frequency);
        let spreading = lorawan::lora_parts(self.modulation.data_rate()).map(|parts| parts.0);
        spreading.is_some_and(|factor| is_european && (factor > 9 || random.bool()))
    }
}

impl Device {
    pub(super) fn new(id: DeviceId<'_>, location: Option<Location>, random: &mut Rng) -> Self {
        Self {
            dev_eui: id.eui(),
            dev_addr: lorawan::new_address(random),
            location,
            up_counter: None,
            handled_counter: 0,
            down_counter: 0,
            queue: VecDeque::new(),
            in_progress: None,
            window: ReceiveWindow::closed(),
            end_device: EndDevice::new(),
            commands: 0,
            resets_counters: false,
            description: String::new(),
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
        self.commands = 0;
    }

    /// Counts an uplink and returns its frame counter, an error if the network does not hear it.
    pub(super) fn count(&mut self, uplink: &Uplink) -> Result<u32, u32> {
        let counter = uplink.count(&mut self.end_device.counter);
        let is_heard = self.up_counter.is_none_or(|last| match counter {
            // The broker of the network keeps repetitions of unconfirmed ones to itself.
            _ if counter == last => uplink.confirmed,
            _ => self.resets_counters || (1..=LARGEST_GAP).contains(&counter.wrapping_sub(last)),
        });
        if is_heard {
            self.up_counter = Some(counter);
            return Ok(counter);
        }
        if !uplink.retry {
            // What it acknowledges is lost with it.
            self.end_device.take_ack();
        }
        Err(counter)
    }

    /// Returns what the handler makes of an uplink with that counter; nothing else changes before
    /// [`keep`](Self::keep).
    pub(super) fn take_uplink(&mut self, counter: u32) -> Taken {
        if counter == self.handled_counter {
            return Taken {
                counter,
                is_retry: true,
                finished: None,
            };
        }
        let ack = self.end_device.take_ack();
        let in_progress = self.in_progress.clone();
        Taken {
            counter,
            is_retry: false,
            finished: in_progress.filter(|downlink| !downlink.confirmed || ack),
        }
    }

    /// Remembers an uplink that is published, and forgets the downlink that it finishes.
    pub(super) fn keep(&mut self, taken: &Taken) {
        self.handled_counter = taken.counter;
        if taken.finished.is_some() && self.in_progress == taken.finished {
            self.in_progress = None;
        }
    }
}
