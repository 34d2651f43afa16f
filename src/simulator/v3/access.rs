//! Access control of The Things Stack over MQTT, and how a test changes it.

use std::time::SystemTime;

use super::{
    V3,
    identity::{self, DOWN_WRITE, KeyOf, TRAFFIC_READ},
    messages,
    request::is_id,
};
use crate::simulator::{
    lorawan::Rights,
    mqtt::{Account, Policy},
    quirks::Quirks,
    sync::lock,
};

const READABLE: [&str; 1] = ["#"];
const WRITABLE: [&str; 2] = ["devices/+/down/push", "devices/+/down/replace"];

impl Policy for V3 {
    fn authenticate(&self, username: &str, password: &[u8]) -> Option<Account> {
        let text = std::str::from_utf8(password).ok()?;
        let (app_id, tenant) = messages::split(username);
        if !is_id(app_id) || !tenant.is_none_or(is_id) {
            return None;
        }
        let identities = lock(&self.identities);
        if identities.is_down {
            return None;
        }
        let key = identities.identify(text, Some(username), self.env.clock.now());
        let rights = identities.rights_on(key.ok()?, username);
        if rights.is_empty() {
            return None;
        }
        let traffic = Rights {
            read: rights.contains(&TRAFFIC_READ),
            write: rights.contains(&DOWN_WRITE),
        };
        let (read, write) = traffic.select(&READABLE, &WRITABLE);
        let prefix = format!("v3/{username}");
        Some(Account::new(username, &prefix, read, write))
    }

    fn rewrite(&self, account: &Account, filter: &str) -> Option<String> {
        let uid = account.app_id();
        if matches!(filter, "#" | "v3/#") {
            return Some(format!("v3/{uid}/#"));
        }
        let rest = filter.strip_prefix("v3/")?;
        let end = rest.strip_prefix('+').or(rest.strip_prefix(uid))?;
        (end.is_empty() || end.starts_with('/')).then(|| format!("v3/{uid}{end}"))
    }

    /// The real server tries, but in a context that has ended with the connection.
    fn carries_out_wills(&self) -> bool {
        false
    }

    fn reading_rate(&self, quirks: &Quirks) -> Option<u32> {
        quirks.rate_limit
    }

    fn takes_time(&self, topic: &str) -> bool {
        topic.ends_with("/down/push") || topic.ends_with("/down/replace")
    }

    fn message(&self, topic: &str, payload: &[u8]) {
        self.request(topic, payload);
    }
}

impl V3 {
    /// Adds a key of an application with rights by name, or changes those of a key.
    pub(in crate::simulator) fn set_rights(&self, app_id: &str, text: &str, rights: &[&str]) {
        let rights = rights.iter().map(|right| (*right).to_owned()).collect();
        lock(&self.identities).add_key(app_id, text, rights, self.env.clock.now());
    }

    pub(super) fn add_application_key(&self, app_id: &str, text: &str, rights: Rights) {
        let rights = identity::names(rights);
        lock(&self.identities).add_key(app_id, text, rights, self.env.clock.now());
    }

    /// Adds a key that is not an application's.
    pub(in crate::simulator) fn add_other_key(&self, text: &str, of: KeyOf<'_>, rights: &[&str]) {
        let rights = rights.iter().map(|right| (*right).to_owned()).collect();
        lock(&self.identities).add(text, of.into(), rights, self.env.clock.now());
    }

    /// Sets when a key ends and returns whether it exists.
    pub(in crate::simulator) fn expire_key(
        &self,
        app_id: &str,
        text: &str,
        at: SystemTime,
    ) -> bool {
        lock(&self.identities).expire_key(app_id, text, at)
    }

    /// Deletes an application with its devices and returns whether it existed.
    pub(in crate::simulator) fn delete_application(&self, app_id: &str) -> bool {
        if !lock(&self.identities).delete_application(app_id) {
            return false;
        }
        self.delete_devices_of(app_id);
        true
    }

    /// Suspends a user, or lets the user in again.
    pub(in crate::simulator) fn suspend_user(&self, user_id: &str, on: bool) {
        lock(&self.identities).suspend(user_id, on);
    }

    /// Sets whether no server can ask the Identity Server.
    pub(in crate::simulator) fn set_identity_server_down(&self, down: bool) {
        lock(&self.identities).is_down = down;
    }

    /// Sets whether the Identity Server is on another host.
    pub(in crate::simulator) fn set_identity_server_elsewhere(&self, elsewhere: bool) {
        lock(&self.identities).is_elsewhere = elsewhere;
    }
}
