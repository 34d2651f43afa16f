//! What The Things Stack knows about a device.

use std::collections::VecDeque;

use fastrand::Rng;

use super::messages::{self, Downlink, Ids};
use crate::simulator::lorawan::{self, DeviceId, EndDevice, Location, ReceiveWindow};

/// The longest payload at any data rate.
pub(super) const MAX_LENGTH: usize = 242;

pub(super) struct Device {
    dev_eui: u64,
    pub(super) location: Option<Location>,
    /// The last position in its payloads.
    pub(super) position: Option<Location>,
    /// The battery level as messages print it.
    pub(super) battery: Option<String>,
    pub(super) session: Option<Session>,
    /// A session that begins with the next uplink.
    pub(super) pending: Option<Session>,
    pub(super) queue: VecDeque<Downlink>,
    /// A confirmed downlink that was sent; the next uplink settles it.
    pub(super) unanswered: Option<Downlink>,
    pub(super) window: ReceiveWindow<Window>,
    pub(super) class_c: bool,
    pub(super) end_device: EndDevice,
}

pub(super) struct Session {
    pub(super) key_id: [u8; 16],
    dev_addr: u32,
    pub(super) up_counter: Option<u32>,
    pub(super) down_counter: u32,
}

/// How a downlink can be sent.
pub(super) struct Window {
    /// The correlation id of the uplink that opened it.
    pub(super) correlation_id: Option<String>,
    pub(super) reachable: bool,
    pub(super) max_length: usize,
}

impl Device {
    pub(super) fn new(id: DeviceId<'_>, location: Option<Location>, random: &mut Rng) -> Self {
        Self {
            dev_eui: id.eui(),
            location,
            position: None,
            battery: None,
            session: Some(Session::new(None, random)),
            pending: None,
            queue: VecDeque::new(),
            unanswered: None,
            window: ReceiveWindow::closed(),
            class_c: false,
            end_device: EndDevice::new(),
        }
    }

    /// Returns the DevAddr of the newest session.
    pub(super) fn address(&self) -> Option<u32> {
        let session = self.pending.as_ref().or(self.session.as_ref());
        session.map(|session| session.dev_addr)
    }

    pub(super) fn ids<'a>(&self, id: DeviceId<'a>) -> Ids<'a> {
        let address = self.address();
        Ids {
            uid: id.app_id,
            dev_id: id.dev_id,
            dev_eui: format!("{:016X}", self.dev_eui),
            dev_addr: address.map_or_else(String::new, |address| format!("{address:08X}")),
        }
    }
}

impl Session {
    /// Creates a session with a DevAddr other than that of the last one.
    pub(super) fn new(last: Option<u32>, random: &mut Rng) -> Self {
        Self {
            key_id: messages::random_bytes(random),
            dev_addr: lorawan::new_address_other_than(last, random),
            up_counter: None,
            down_counter: 0,
        }
    }
}

impl Window {
    /// The window of a device that always listens.
    pub(super) const ALWAYS: Self = Self {
        correlation_id: None,
        reachable: true,
        max_length: MAX_LENGTH,
    };
}
