//! What The Things Stack knows about a device.

use std::{
    collections::VecDeque,
    time::{Duration, Instant, SystemTime},
};

use fastrand::Rng;

use super::{
    arrivals::Arrival,
    gateways::Path,
    messages::{self, Downlink, Ids},
    position::Position,
    session::Session,
    turn::Window,
};
use crate::simulator::lorawan::{DeviceId, EndDevice, Location, ReceiveWindow, WindowKey};

/// The longest payload at any data rate.
pub(super) const MAX_LENGTH: usize = 242;
/// How long an unanswered confirmed downlink holds up others of a class C device by default.
const CLASS_C_TIMEOUT: Duration = Duration::from_secs(300);

pub(super) struct Device {
    pub(super) created_at: SystemTime,
    /// When its registration was changed last.
    pub(super) updated_at: SystemTime,
    /// Empty if it has none.
    pub(super) name: String,
    /// The address of its Application and Network Server, if they are on another cluster.
    pub(super) elsewhere: Option<String>,
    pub(super) last_seen_at: Option<SystemTime>,
    pub(super) activated_at: Option<SystemTime>,
    /// `None` if it was registered without EUIs.
    pub(super) dev_eui: Option<u64>,
    pub(super) location: Option<Location>,
    /// The last position in its payloads.
    pub(super) position: Option<Position>,
    /// The battery level as messages print it.
    pub(super) battery: Option<String>,
    pub(super) session: Option<Session>,
    /// A session that begins with the next uplink.
    pub(super) pending: Option<Session>,
    pub(super) queue: VecDeque<Downlink>,
    pub(super) unanswered: Option<Unanswered>,
    pub(super) window: ReceiveWindow<Window>,
    /// What it sent and the network has not received, and when it does.
    pub(super) arrivals: VecDeque<(WindowKey, Arrival)>,
    /// How the gateways that heard its last uplink reach it, the best one first.
    pub(super) paths: Vec<Path>,
    pub(super) class_c: bool,
    pub(super) class_c_timeout: Duration,
    /// When a class C device can be sent the next downlink that answers no uplink.
    pub(super) paused_until: Option<Instant>,
    /// The time of a downlink that a gateway took; nothing else is sent before it.
    pub(super) reserved_until: Option<Instant>,
    /// Whether it stands for a group of devices.
    pub(super) is_group: bool,
    /// Whether the server answers its requests for the time.
    pub(super) synchronizes_clock: bool,
    pub(super) resets_counters: bool,
    /// The label of the application's own key, if the application keeps the session keys.
    pub(super) own_keys: Option<String>,
    pub(super) end_device: EndDevice,
}

/// A confirmed downlink that was sent; the next uplink settles it.
pub(super) struct Unanswered {
    pub(super) downlink: Downlink,
    pub(super) sent_at: Instant,
}

impl Device {
    pub(super) fn new(
        id: DeviceId<'_>,
        location: Option<Location>,
        now: SystemTime,
        random: &mut Rng,
    ) -> Self {
        Self {
            created_at: now,
            updated_at: now,
            name: String::new(),
            elsewhere: None,
            last_seen_at: None,
            activated_at: None,
            dev_eui: Some(id.eui()),
            location,
            position: None,
            battery: None,
            session: Some(Session::fixed(now, random)),
            pending: None,
            queue: VecDeque::new(),
            unanswered: None,
            window: ReceiveWindow::closed(),
            arrivals: VecDeque::new(),
            paths: Vec::new(),
            class_c: false,
            class_c_timeout: CLASS_C_TIMEOUT,
            paused_until: None,
            reserved_until: None,
            is_group: false,
            synchronizes_clock: false,
            resets_counters: false,
            own_keys: None,
            end_device: EndDevice::new(),
        }
    }

    /// Returns the newest session.
    pub(super) fn newest_session(&self) -> Option<&Session> {
        self.pending.as_ref().or(self.session.as_ref())
    }

    pub(super) fn ids<'a>(&self, id: DeviceId<'a>) -> Ids<'a> {
        let address = self.newest_session().map(|session| session.dev_addr);
        Ids {
            uid: id.app_id,
            dev_id: id.dev_id,
            dev_eui: self
                .dev_eui
                .map_or_else(String::new, |eui| format!("{eui:016X}")),
            dev_addr: address.map_or_else(String::new, |address| format!("{address:08X}")),
        }
    }

    /// Returns the key of the application in that session if the application keeps the keys.
    pub(super) fn own_key(&self, session: &Session) -> Option<String> {
        let label = self.own_keys.as_ref()?;
        Some(messages::wrapped_key(label, &session.app_key))
    }

    /// Begins the session that the device joined, if there is one; the queue goes over to it.
    pub(super) fn begin_session(&mut self) {
        let Some(pending) = self.pending.take() else {
            return;
        };
        let session = self.session.insert(pending);
        if self.own_keys.is_none() {
            session.renumber(&mut self.queue);
        }
    }

    /// Takes the first downlink from the queue to send it in the current session.
    pub(super) fn take_next(&mut self) -> Option<Downlink> {
        let mut downlink = self.queue.pop_front()?;
        if let Some(session) = &self.session {
            downlink.session_key_id = session.key_id.clone();
        }
        Some(downlink)
    }

    /// Puts a downlink into the queue and gives it a counter.
    pub(super) fn enqueue(&mut self, mut downlink: Downlink) {
        let own_keys = self.own_keys.is_some();
        if let Some(session) = self.pending.as_mut().or(self.session.as_mut()) {
            if own_keys {
                session.given = downlink.f_cnt;
            } else {
                downlink.f_cnt = session.next();
            }
        }
        self.queue.push_back(downlink);
    }
}
