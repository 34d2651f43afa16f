//! A session of a device.

use std::{collections::VecDeque, time::SystemTime};

use fastrand::Rng;

use super::messages::{self, Downlink};
use crate::simulator::lorawan;

/// Keys, address and frame counters of a device.
pub(super) struct Session {
    /// Empty if the device never joined.
    pub(super) key_id: Vec<u8>,
    /// The key of the application, wrapped.
    pub(super) app_key: [u8; 24],
    pub(super) dev_addr: u32,
    pub(super) started_at: SystemTime,
    pub(super) up_counter: Option<u32>,
    /// The counter of the last downlink frame.
    pub(super) sent: Option<u32>,
    /// The last counter that a downlink of the application was given.
    pub(super) given: u32,
    /// How many of the next answers carry MAC commands.
    pub(super) commands: u32,
}

impl Session {
    /// Creates the session of a device that never joins.
    pub(super) fn fixed(now: SystemTime, random: &mut Rng) -> Self {
        Self {
            key_id: Vec::new(),
            commands: 0,
            ..Self::new(None, now, random)
        }
    }

    /// Creates a session with a DevAddr other than that of the last one. The network sends MAC commands
    /// with the first answer.
    pub(super) fn new(last: Option<u32>, now: SystemTime, random: &mut Rng) -> Self {
        Self {
            key_id: messages::random_bytes::<16>(random).to_vec(),
            app_key: messages::random_bytes(random),
            dev_addr: lorawan::new_address_other_than(last, random),
            started_at: now,
            up_counter: None,
            sent: None,
            given: 0,
            commands: 1,
        }
    }

    /// Returns the counter of the next downlink that is queued. Downlinks of the application begin
    /// with 1.
    pub(super) fn next(&mut self) -> u32 {
        self.given = self
            .given
            .max(self.sent.unwrap_or_default())
            .wrapping_add(1);
        self.given
    }

    /// Returns the lowest counter that is left behind these downlinks.
    pub(super) fn lowest(&self, queue: &VecDeque<Downlink>) -> u32 {
        let queued = queue.iter().map(|downlink| downlink.f_cnt).max();
        self.sent.max(queued).unwrap_or_default().saturating_add(1)
    }

    /// Takes note of a downlink of the application that was sent.
    pub(super) fn take_sent(&mut self, counter: u32) {
        self.sent = Some(counter);
    }

    /// Returns whether the next answer carries MAC commands.
    pub(super) fn take_commands(&mut self) -> bool {
        let carries = self.commands > 0;
        self.commands = self.commands.saturating_sub(1);
        carries
    }

    /// Returns the counter of a frame of the network itself, which begin with 0 and share the counters
    /// of the application.
    pub(super) fn take_network_frame(&mut self) -> u32 {
        let counter = self.sent.map_or(0, |sent| sent.wrapping_add(1));
        self.sent = Some(counter);
        counter
    }

    /// Numbers the downlinks anew.
    pub(super) fn renumber(&mut self, queue: &mut VecDeque<Downlink>) {
        self.given = self.sent.unwrap_or_default();
        for downlink in queue {
            downlink.f_cnt = self.next();
        }
    }
}
