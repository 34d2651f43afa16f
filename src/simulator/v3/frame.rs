//! Frames that devices send.

use super::{device::Device, formatters::Formatted};
use crate::simulator::lorawan::Uplink;

/// The length of the answer to a MAC command that asks for the status of the device.
const DEVICE_STATUS: usize = 3;

/// An uplink as the device sends it.
pub(super) struct Frame {
    pub(super) uplink: Uplink,
    pub(super) counter: u32,
    /// Whether it acknowledges a downlink.
    pub(super) acknowledges: bool,
    /// The length of the MAC commands in it.
    pub(super) options: usize,
    /// What the formatters make of it, `None` if the Application Server fails over it.
    pub(super) formatted: Option<Formatted>,
}

impl Device {
    /// Returns the frame that the device sends, `None` without a session.
    pub(super) fn frame(&mut self, uplink: Uplink, formatted: Option<Formatted>) -> Option<Frame> {
        if self.newest_session().is_none() && !self.is_joining() {
            return None;
        }
        let device = &mut self.end_device;
        let last = device.counter;
        let counter = uplink.count(&mut device.counter);
        let is_new = last != Some(counter);
        let answers = match is_new && device.take_answers() {
            true => DEVICE_STATUS,
            false => 0,
        };
        Some(Frame {
            acknowledges: is_new && device.take_ack(),
            options: uplink.options.unwrap_or(answers),
            uplink,
            counter,
            formatted,
        })
    }
}
