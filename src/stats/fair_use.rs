//! What devices use of the network in a day, where a policy of fair use asks for moderation.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, SystemTime},
};

use super::devices::{DeviceUse, Devices};
use crate::sync;

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
    devices: Arc<Mutex<Devices>>,
}

impl FairUse {
    pub(crate) fn new(devices: Arc<Mutex<Devices>>) -> Self {
        Self { devices }
    }

    /// All devices, at the page of today.
    fn today(&self) -> MutexGuard<'_, Devices> {
        let mut devices = sync::lock(&self.devices);
        devices.turn_page(SystemTime::now());
        devices
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
        self.today().midnight()
    }

    /// What a device has used; nothing if it was not heard of today.
    ///
    /// ```
    /// let client = ttn::MqttClient::new("my-app@ttn", "NNSXS.ID.SECRET")?;
    /// assert_eq!(client.stats().fair_use.device("pump-1").downlinks, 0);
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn device(&self, dev_id: &str) -> DeviceUse {
        self.today().used_by(dev_id)
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
        let users = today.users();
        users
            .map(|(dev_id, used)| (dev_id.into_owned(), used))
            .collect()
    }

    /// What devices have used together that have no numbers of their own any more: when there are more
    /// than [`counter_watch`](crate::MqttClientBuilder::counter_watch) allows, those that were silent
    /// longest are forgotten, and what they used today counts here.
    ///
    /// ```
    /// let client = ttn::MqttClient::new("my-app@ttn", "NNSXS.ID.SECRET")?;
    /// assert_eq!(client.stats().fair_use.others().uplinks, 0);
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn others(&self) -> DeviceUse {
        self.today().used_by_others()
    }
}

impl fmt::Debug for FairUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let today = self.today();
        f.debug_struct("FairUse")
            .field("day", &today.midnight())
            .field("devices", &today.users().count())
            .field("others", &today.used_by_others())
            .finish()
    }
}
