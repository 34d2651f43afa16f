//! The device's own side of the radio.

use crossbeam_channel::{Receiver, Sender};

use super::Received;

/// What a device heard, and whether it acknowledges it.
pub(crate) struct EndDevice {
    received: (Sender<Received>, Receiver<Received>),
    /// Whether it heard a confirmed downlink since its last uplink.
    owes_ack: bool,
    /// Whether it heard MAC commands since its last uplink.
    owes_answers: bool,
    pub(crate) acknowledges: bool,
    /// The counter of its last frame, heard or not, in a v3 session.
    pub(crate) counter: Option<u32>,
}

impl EndDevice {
    pub(crate) fn new() -> Self {
        Self {
            received: crossbeam_channel::unbounded(),
            owes_ack: false,
            owes_answers: false,
            acknowledges: true,
            counter: None,
        }
    }

    /// Hears a downlink, and forgets the oldest ones that nobody has taken, beyond this number.
    pub(crate) fn hear(&mut self, downlink: Received, history: usize) {
        self.owes_ack |= downlink.confirmed;
        let (sender, receiver) = &self.received;
        let _ = sender.send(downlink);
        while receiver.len() > history && receiver.try_recv().is_ok() {}
    }

    pub(crate) fn received(&self) -> Receiver<Received> {
        self.received.1.clone()
    }

    /// Returns whether its next uplink carries an acknowledgement.
    pub(crate) fn take_ack(&mut self) -> bool {
        std::mem::take(&mut self.owes_ack) && self.acknowledges
    }

    pub(crate) fn hear_commands(&mut self) {
        self.owes_answers = true;
    }

    /// Returns whether its next uplink answers MAC commands.
    pub(crate) fn take_answers(&mut self) -> bool {
        std::mem::take(&mut self.owes_answers)
    }

    /// Forgets what it heard, as a device does when it joins.
    pub(crate) fn restart(&mut self) {
        self.owes_ack = false;
        self.counter = None;
        self.owes_answers = false;
    }
}
