//! Keys, and the Identity Server of a simulator.

use std::time::SystemTime;

use super::Simulator;
use crate::simulator::v3::KeyOf;

impl Simulator {
    /// Adds a key to an application, or changes the rights of one, with rights by their names. Over HTTP,
    /// they count at once, over MQTT for the next connection. `RIGHT_APPLICATION_ALL` and
    /// `RIGHT_APPLICATION_LINK` stand for others too. A key connects to MQTT with any one right, and
    /// receives with `RIGHT_APPLICATION_TRAFFIC_READ` and sends with
    /// `RIGHT_APPLICATION_TRAFFIC_DOWN_WRITE`.
    ///
    /// # Panics
    ///
    /// On V2, where [`add_key`](Self::add_key) sets rights.
    ///
    /// ```
    /// # let network = ttn::simulator::Simulator::start(ttn::Network::V3)?;
    /// network.set_rights(network.app_id(), network.access_key(), &["RIGHT_APPLICATION_INFO"]);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[track_caller]
    pub fn set_rights(&self, app_id: &str, access_key: &str, rights: &[&str]) {
        self.instance.act_on_v3("Simulator::set_rights", |v3| {
            v3.set_rights(app_id, access_key, rights);
        });
    }

    /// Adds a key that is not an application's, or changes its rights. A user or an organization
    /// collaborates in every application of the network: with rights on applications, its key opens MQTT
    /// and answers what it may do with each. Other keys open no application.
    ///
    /// # Panics
    ///
    /// On V2.
    ///
    /// ```
    /// use ttn::simulator::KeyOf;
    /// # let network = ttn::simulator::Simulator::start(ttn::Network::V3)?;
    /// let rights = ["RIGHT_USER_INFO", "RIGHT_APPLICATION_TRAFFIC_READ"];
    /// network.add_other_key("NNSXS.PERSONAL.KEY", KeyOf::User("gardener"), &rights);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[track_caller]
    pub fn add_other_key(&self, access_key: &str, of: KeyOf<'_>, rights: &[&str]) {
        self.instance.act_on_v3("Simulator::add_other_key", |v3| {
            v3.add_other_key(access_key, of, rights);
        });
    }

    /// Sets when a key of an application expires and returns whether the key exists. An expired key is
    /// refused: 401 over HTTP, code 5 at the next CONNECT.
    ///
    /// # Panics
    ///
    /// On V2, where keys do not expire.
    ///
    /// ```
    /// use std::time::SystemTime;
    /// # let network = ttn::simulator::Simulator::start(ttn::Network::V3)?;
    /// assert!(network.expire_key(network.app_id(), network.access_key(), SystemTime::now()));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[track_caller]
    pub fn expire_key(&self, app_id: &str, access_key: &str, at: SystemTime) -> bool {
        let mut exists = false;
        self.instance.act_on_v3("Simulator::expire_key", |v3| {
            exists = v3.expire_key(app_id, access_key, at);
        });
        exists
    }

    /// Deletes an application with its devices and returns whether it existed. Its keys are refused from
    /// then on; over HTTP, the cause is another than for a deleted key. Connected clients stay.
    ///
    /// # Panics
    ///
    /// On V2.
    ///
    /// ```
    /// # let network = ttn::simulator::Simulator::start(ttn::Network::V3)?;
    /// assert!(network.delete_application(network.app_id()));
    /// assert!(!network.delete_application(network.app_id()));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[track_caller]
    pub fn delete_application(&self, app_id: &str) -> bool {
        let mut existed = false;
        self.instance
            .act_on_v3("Simulator::delete_application", |v3| {
                existed = v3.delete_application(app_id);
            });
        existed
    }

    /// Suspends the account of a user, or lets the user in again. The user's keys then open no application.
    /// Over HTTP, the Identity Server says so, with 403 `user_suspended`; it still tells whose key it is,
    /// with one right left and a header `X-Warning`.
    ///
    /// # Panics
    ///
    /// On V2.
    ///
    /// ```
    /// # let network = ttn::simulator::Simulator::start(ttn::Network::V3)?;
    /// network.suspend_user("gardener", true);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[track_caller]
    pub fn suspend_user(&self, user_id: &str, suspended: bool) {
        self.instance.act_on_v3("Simulator::suspend_user", |v3| {
            v3.suspend_user(user_id, suspended);
        });
    }

    /// Takes the Identity Server away, or brings it back. Without it, its routes over HTTP do not exist,
    /// 404; the Application Server cannot check keys, 503 `no_identity_server_conn`; and every CONNECT is
    /// refused with code 5. Connected clients stay.
    ///
    /// # Panics
    ///
    /// On V2.
    ///
    /// ```
    /// # let network = ttn::simulator::Simulator::start(ttn::Network::V3)?;
    /// network.identity_server_down(true);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[track_caller]
    pub fn identity_server_down(&self, down: bool) {
        self.instance
            .act_on_v3("Simulator::identity_server_down", |v3| {
                v3.set_identity_server_down(down);
            });
    }

    /// Sets whether the Identity Server is on another host, as for all clusters but one of a hosted
    /// network: its routes over HTTP do not exist here, 404, and everything else works. Another simulator
    /// with the same applications and keys can stand for that host.
    ///
    /// # Panics
    ///
    /// On V2.
    ///
    /// ```
    /// # let network = ttn::simulator::Simulator::start(ttn::Network::V3)?;
    /// network.identity_server_elsewhere(true);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[track_caller]
    pub fn identity_server_elsewhere(&self, elsewhere: bool) {
        let method = "Simulator::identity_server_elsewhere";
        self.instance.act_on_v3(method, |v3| {
            v3.set_identity_server_elsewhere(elsewhere);
        });
    }
}
