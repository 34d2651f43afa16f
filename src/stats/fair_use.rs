//! How much devices use the network in a day, for networks with a fair use policy.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, SystemTime},
};

use super::devices::{DeviceId, DeviceUse, Devices};
use crate::process::Home;

/// How much each device has used the network today, as far as the client knows; returned by
/// [`stats`](crate::MqttClient::stats). Unlike the other counters it is not a copy: it reports current
/// values when queried, and outlives the client.
///
/// The Things Network, which is free for everyone, asks for at most 30 s of uplink airtime and 10
/// downlinks per device and day. The client counts and never stops anything.
///
/// It counts the uplinks that arrive, with the airtime that the network reports (v3:
/// `consumed_airtime`), those that the client [fetches](crate::MqttClientBuilder::backfill) if they were sent on the
/// same day, and the downlinks that the network reports as sent, regardless of who requested them. On
/// V2 these include downlinks that only acknowledge an uplink, which v3 does not report. The numbers
/// of a device cover one day in UTC and start over with the next. If the clock of the machine is set for
/// the first time, or set back to another day, what was counted until then counts for that day.
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
    home: Home,
    devices: Arc<Mutex<Devices>>,
}

impl FairUse {
    pub(crate) fn new(home: Home, devices: Arc<Mutex<Devices>>) -> Self {
        Self { home, devices }
    }

    /// Locks the devices and moves them to the day of `now`. Returns `None` in a fork in which nobody can
    /// read them.
    fn on_day_of(&self, now: SystemTime) -> Option<MutexGuard<'_, Devices>> {
        let mut devices = self.home.lock(&self.devices)?;
        devices.turn_page(now);
        Some(devices)
    }

    fn today(&self) -> Option<MutexGuard<'_, Devices>> {
        self.on_day_of(SystemTime::now())
    }

    /// Lists what each device has used on the day of `clock`, each device at most once. The session
    /// needs the lock for each uplink, so this locks each shelf separately and only copies under the
    /// lock. Starts over if the day ends in the meantime.
    fn list<T>(
        &self,
        mut clock: impl FnMut() -> SystemTime,
        entry: impl Fn(DeviceId, DeviceUse) -> T,
    ) -> Vec<T> {
        let mut entries = Vec::new();
        // Reused, so that after the first shelves nothing is allocated under the lock.
        let mut users = Vec::new();
        let mut day = None;
        let mut shelf = 0;
        loop {
            let now = clock();
            let Some(devices) = self.on_day_of(now) else {
                return entries;
            };
            let today = devices.midnight();
            if day.is_some_and(|day| day != today) {
                entries.clear();
                shelf = 0;
            }
            day = Some(today);
            let is_shelf = devices.copy_users(shelf, &mut users);
            drop(devices);
            if !is_shelf {
                return entries;
            }
            entries.extend(users.drain(..).map(|(dev_id, used)| entry(dev_id, used)));
            shelf += 1;
        }
    }

    /// The airtime of uplinks that the policy of The Things Network allows a device in a day.
    ///
    /// ```
    /// assert_eq!(ttn::FairUse::AIRTIME.as_secs(), 30);
    /// ```
    pub const AIRTIME: Duration = Duration::from_secs(30);

    /// The number of downlinks that the policy of The Things Network allows a device in a day.
    ///
    /// ```
    /// assert_eq!(ttn::FairUse::DOWNLINKS, 10);
    /// ```
    pub const DOWNLINKS: u64 = 10;

    /// Returns when the day began: midnight, UTC.
    ///
    /// ```
    /// let client = ttn::MqttClient::new("my-app@ttn", "NNSXS.ID.SECRET")?;
    /// assert!(client.stats().fair_use.day().elapsed().unwrap().as_secs() < 86_400);
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn day(&self) -> SystemTime {
        let devices = self.today();
        devices.map_or_else(SystemTime::now, |devices| devices.midnight())
    }

    /// Returns what a device has used today; zeros if the client has not heard of it today.
    ///
    /// ```
    /// let client = ttn::MqttClient::new("my-app@ttn", "NNSXS.ID.SECRET")?;
    /// assert_eq!(client.stats().fair_use.device("pump-1").downlinks, 0);
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn device(&self, dev_id: &str) -> DeviceUse {
        let devices = self.today();
        devices.map_or_else(DeviceUse::default, |devices| devices.used_by(dev_id))
    }

    /// Returns a copy of what each device has used today, in no particular order; each device occurs at
    /// most once. The client keeps decoding while the copy is made, so uplinks that arrive in the
    /// meantime may be missing from it.
    ///
    /// ```
    /// let client = ttn::MqttClient::new("my-app@ttn", "NNSXS.ID.SECRET")?;
    /// let total: u64 = client.stats().fair_use.devices().iter().map(|(_, used)| used.downlinks).sum();
    /// # let _ = total;
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn devices(&self) -> Vec<(String, DeviceUse)> {
        self.list(SystemTime::now, |dev_id, used| (dev_id.to_string(), used))
    }

    /// Returns what forgotten devices have used today in total. When there are more devices than
    /// [`counter_watch`](crate::MqttClientBuilder::counter_watch) allows, the client forgets those
    /// that have been silent longest.
    ///
    /// ```
    /// let client = ttn::MqttClient::new("my-app@ttn", "NNSXS.ID.SECRET")?;
    /// assert_eq!(client.stats().fair_use.others().uplinks, 0);
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn others(&self) -> DeviceUse {
        let devices = self.today();
        devices.map_or_else(DeviceUse::default, |devices| devices.used_by_others())
    }
}

impl fmt::Debug for FairUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FairUse")
            .field("day", &self.day())
            .field("devices", &self.list(SystemTime::now, |_, _| ()).len())
            .field("others", &self.others())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::HashMap, sync::TryLockError, time::UNIX_EPOCH};

    use super::*;

    fn on(day: u32) -> SystemTime {
        UNIX_EPOCH + day * Duration::from_secs(86_400)
    }

    fn fair_use(capacity: usize) -> FairUse {
        FairUse::new(Home::here(), Arc::new(Mutex::new(Devices::new(capacity))))
    }

    /// Downlinks to `bed-0`, `bed-1` and so on.
    fn downlinks(fair_use: &FairUse, numbers: std::ops::Range<u32>, now: SystemTime) {
        let mut devices = fair_use.devices.lock().unwrap();
        for number in numbers {
            devices.downlink(&format!("bed-{number}"), now);
        }
    }

    /// What each device has used; panics for a device that is listed twice.
    fn list(fair_use: &FairUse, clock: impl FnMut() -> SystemTime) -> HashMap<String, DeviceUse> {
        let listed = fair_use.list(clock, |dev_id, used| (dev_id.to_string(), used));
        let count = listed.len();
        let devices: HashMap<_, _> = listed.into_iter().collect();
        assert_eq!(devices.len(), count, "a device is listed twice");
        devices
    }

    #[test]
    fn listing_100_000_devices_holds_the_lock_for_few_at_a_time() {
        // The first day on which a clock can be right.
        let fair_use = fair_use(100_000);
        downlinks(&fair_use, 0..100_000, on(20_454));
        let mut locks = 0;
        let listed = list(&fair_use, || {
            locks += 1;
            let locked = fair_use.devices.try_lock();
            assert!(!matches!(locked, Err(TryLockError::WouldBlock)));
            on(20_454)
        });
        assert_eq!(listed.len(), 100_000);
        let devices = fair_use.devices.lock().unwrap();
        let slices: Vec<_> = (0..)
            .map_while(|shelf| {
                let mut users = Vec::new();
                let is_shelf = devices.copy_users(shelf, &mut users);
                is_shelf.then_some(users.len())
            })
            .collect();
        assert_eq!(locks, slices.len() + 1);
        assert!(slices.iter().all(|entries| *entries < 600), "{slices:?}");
        drop(devices);
        assert_eq!(fair_use.devices().len(), 0, "that day is over");
    }

    #[test]
    fn each_device_is_listed_at_most_once_whatever_happens_meanwhile() {
        let fair_use = fair_use(1_000);
        downlinks(&fair_use, 0..500, on(20_000));
        let mut heard = 500;
        let listed = list(&fair_use, || {
            // Often enough to forget half of them again and again.
            downlinks(&fair_use, heard % 3_000..heard % 3_000 + 20, on(20_000));
            heard += 20;
            on(20_000)
        });
        assert!(listed.len() > 100, "{}", listed.len());
    }

    #[test]
    fn what_nothing_happens_to_is_listed_while_others_come() {
        let fair_use = fair_use(10_000);
        downlinks(&fair_use, 0..500, on(20_000));
        let mut heard = 500;
        let listed = list(&fair_use, || {
            downlinks(&fair_use, heard..heard + 10, on(20_000));
            heard += 10;
            on(20_000)
        });
        for number in 0..500 {
            assert_eq!(listed[&format!("bed-{number}")].downlinks, 1);
        }
    }

    #[test]
    fn a_list_is_of_one_day_even_if_the_day_ends_meanwhile() {
        let fair_use = fair_use(1_000);
        downlinks(&fair_use, 0..500, on(20_000));
        let mut slices = 0;
        let listed = list(&fair_use, || {
            slices += 1;
            if slices < 100 {
                return on(20_000);
            }
            if slices == 100 {
                downlinks(&fair_use, 490..510, on(20_001));
            }
            on(20_001)
        });
        assert_eq!(listed.len(), 20);
        assert!(listed.values().all(|used| used.downlinks == 1));
        assert!(list(&fair_use, || on(20_002)).is_empty());
    }
}
