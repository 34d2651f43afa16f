//! What devices use of the network in a day, where a policy of fair use asks for moderation. Numbers;
//! the clock is read by others.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

const DAY: Duration = Duration::from_secs(86_400);

/// What each device has used of the network today, as far as the client has heard of it; by
/// [`stats`](crate::MqttClient::stats). Unlike the other numbers there it is no copy: it tells what
/// is so when it is asked, and outlives the client.
///
/// The Things Network, which is free for everyone, asks for at most 30 s of uplink airtime and 10
/// downlinks per device and day. The client counts and never stops anything.
///
/// It counts the uplinks that arrive with their airtime as the network gives it (v3:
/// `consumed_airtime`), and the downlinks of which the network says that they were sent, whoever asked
/// for them: on V2 with those that only acknowledge an uplink, of which v3 does not speak. The numbers
/// of a device are those of one day in UTC, and begin anew with it.
///
/// ```
/// # use std::time::Duration;
/// # use ttn::{Event, FairUse, MqttClient, Network, simulator::Simulator};
/// # let network = Simulator::start(Network::V3)?;
/// # let client = MqttClient::builder(network.app_id(), network.access_key())
/// #     .mqtt_address(network.mqtt_address())
/// #     .build()?;
/// # let events = client.events();
/// # client.connect()?;
/// # network.device("soil-probe-07").uplink(1, [0; 20]);
/// # while !matches!(events.recv()?, Event::Uplink(_)) {}
/// let fair_use = client.stats().fair_use;
/// for (dev_id, used) in fair_use.devices() {
///     if used.airtime > FairUse::AIRTIME || used.downlinks > FairUse::DOWNLINKS {
///         eprintln!("{dev_id}: {} downlinks, {:?} in the air", used.downlinks, used.airtime);
///     }
/// }
/// assert_eq!(fair_use.device("soil-probe-07").uplinks, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct FairUse {
    ledger: Arc<Mutex<Ledger>>,
}

impl FairUse {
    pub(crate) fn new(devices: usize) -> Self {
        Self {
            ledger: Arc::new(Mutex::new(Ledger::new(devices))),
        }
    }

    /// The ledger, at the page of today.
    fn today(&self) -> MutexGuard<'_, Ledger> {
        let mut ledger = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        ledger.turn_page(SystemTime::now());
        ledger
    }

    /// A device has sent an uplink.
    pub(crate) fn uplink(&self, dev_id: &str, airtime: Duration) {
        self.today().uplink(dev_id, airtime);
    }

    /// A downlink was sent to a device.
    pub(crate) fn downlink(&self, dev_id: &str) {
        self.today().downlink(dev_id);
    }

    /// The airtime of uplinks that the policy of The Things Network allows a device in a day.
    ///
    /// ```
    /// assert_eq!(ttn::FairUse::AIRTIME.as_secs(), 30);
    /// ```
    pub const AIRTIME: Duration = Duration::from_secs(30);

    /// How many downlinks the policy of The Things Network allows a device in a day.
    ///
    /// ```
    /// assert_eq!(ttn::FairUse::DOWNLINKS, 10);
    /// ```
    pub const DOWNLINKS: u64 = 10;

    /// When the day began: midnight, UTC.
    ///
    /// ```
    /// let client = ttn::MqttClient::new("my-app@ttn", "NNSXS.ID.SECRET")?;
    /// assert!(client.stats().fair_use.day().elapsed().unwrap().as_secs() < 86_400);
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn day(&self) -> SystemTime {
        self.today().day
    }

    /// What a device has used; nothing if it was not heard of today.
    ///
    /// ```
    /// let client = ttn::MqttClient::new("my-app@ttn", "NNSXS.ID.SECRET")?;
    /// assert_eq!(client.stats().fair_use.device("pump-1").downlinks, 0);
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn device(&self, dev_id: &str) -> DeviceUse {
        self.today()
            .devices
            .get(dev_id)
            .copied()
            .unwrap_or_default()
    }

    /// What each device has used, in no order: a copy.
    ///
    /// ```
    /// let client = ttn::MqttClient::new("my-app@ttn", "NNSXS.ID.SECRET")?;
    /// let total: u64 = client.stats().fair_use.devices().iter().map(|(_, used)| used.downlinks).sum();
    /// # let _ = total;
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn devices(&self) -> Vec<(String, DeviceUse)> {
        let today = self.today();
        let devices = today.devices.iter();
        devices
            .map(|(dev_id, used)| (dev_id.to_string(), *used))
            .collect()
    }

    /// What those devices have used together that came when there were as many as
    /// [`counter_watch`](crate::MqttClientBuilder::counter_watch) allows.
    ///
    /// ```
    /// let client = ttn::MqttClient::new("my-app@ttn", "NNSXS.ID.SECRET")?;
    /// assert_eq!(client.stats().fair_use.others().uplinks, 0);
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn others(&self) -> DeviceUse {
        self.today().others
    }
}

impl fmt::Debug for FairUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let today = self.today();
        f.debug_struct("FairUse")
            .field("day", &today.day)
            .field("devices", &today.devices.len())
            .field("others", &today.others)
            .finish()
    }
}

/// What a device has used of the network in a day.
///
/// ```
/// let client = ttn::MqttClient::new("my-app@ttn", "NNSXS.ID.SECRET")?;
/// let used = client.stats().fair_use.device("pump-1");
/// println!("{} uplinks, {:?} in the air, {} downlinks", used.uplinks, used.airtime, used.downlinks);
/// # Ok::<(), ttn::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeviceUse {
    /// Uplinks that arrived.
    pub uplinks: u64,
    /// Their airtime.
    pub airtime: Duration,
    /// Downlinks that were sent.
    pub downlinks: u64,
}

/// The numbers of one day.
struct Ledger {
    capacity: usize,
    day: SystemTime,
    devices: HashMap<Box<str>, DeviceUse>,
    others: DeviceUse,
}

impl Ledger {
    fn new(capacity: usize) -> Self {
        Self {
            capacity,
            day: SystemTime::UNIX_EPOCH,
            devices: HashMap::new(),
            others: DeviceUse::default(),
        }
    }

    fn uplink(&mut self, dev_id: &str, airtime: Duration) {
        self.add(dev_id, |used| {
            used.uplinks += 1;
            used.airtime = used.airtime.saturating_add(airtime);
        });
    }

    fn downlink(&mut self, dev_id: &str) {
        self.add(dev_id, |used| used.downlinks += 1);
    }

    fn add(&mut self, dev_id: &str, more: impl FnOnce(&mut DeviceUse)) {
        if let Some(used) = self.devices.get_mut(dev_id) {
            more(used);
        } else if self.devices.len() < self.capacity {
            more(self.devices.entry(dev_id.into()).or_default());
        } else {
            more(&mut self.others);
        }
    }

    /// Begins a new page if it is another day.
    fn turn_page(&mut self, now: SystemTime) {
        let since = now.duration_since(self.day).unwrap_or_default();
        if since >= DAY {
            let days = since.as_secs() / DAY.as_secs();
            self.day += Duration::from_secs(days * DAY.as_secs());
            self.devices.clear();
            self.others = DeviceUse::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// A moment of a day.
    fn on(day: u32, second: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + day * DAY + Duration::from_secs(second)
    }

    #[test]
    fn each_day_begins_with_nothing() {
        let mut ledger = Ledger::new(10);
        ledger.turn_page(on(20_000, 5));
        ledger.uplink("pump-1", SECOND);
        ledger.turn_page(on(20_000, 86_399));
        ledger.uplink("pump-1", 2 * SECOND);
        ledger.downlink("pump-1");
        ledger.downlink("pump-2");
        assert_eq!(ledger.day, on(20_000, 0));
        let used = DeviceUse {
            uplinks: 2,
            airtime: 3 * SECOND,
            downlinks: 1,
        };
        assert_eq!(ledger.devices["pump-1"], used);
        assert_eq!(ledger.devices.len(), 2);
        ledger.turn_page(on(20_001, 0));
        assert_eq!(ledger.day, on(20_001, 0));
        assert!(ledger.devices.is_empty());
    }

    #[test]
    fn a_clock_that_is_set_back_takes_nothing_away() {
        let mut ledger = Ledger::new(10);
        ledger.turn_page(on(20_000, 5));
        ledger.downlink("pump-1");
        ledger.turn_page(on(19_999, 5));
        ledger.downlink("pump-1");
        assert_eq!(ledger.devices["pump-1"].downlinks, 2);
    }

    #[test]
    fn devices_for_which_there_is_no_room_are_counted_together() {
        let mut ledger = Ledger::new(2);
        for dev_id in ["pump-1", "pump-2", "pump-3", "pump-4", "pump-1"] {
            ledger.uplink(dev_id, SECOND);
        }
        assert_eq!(ledger.devices.len(), 2);
        assert_eq!(ledger.devices["pump-1"].uplinks, 2);
        assert_eq!(ledger.others.airtime, 2 * SECOND);
        let mut none = Ledger::new(0);
        none.downlink("pump-1");
        assert_eq!(none.others.downlinks, 1);
    }
}
