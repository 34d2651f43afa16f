//! Access control of the V2 network.

use super::V2;
use crate::simulator::{
    lorawan::{self, Rights},
    mqtt::{Account, Policy},
    quirks::Quirks,
};

const READABLE: [&str; 6] = [
    "devices/+/up",
    "devices/+/up/#",
    "devices/+/events",
    "devices/+/events/#",
    "events",
    "events/#",
];
const WRITABLE: [&str; 1] = ["devices/+/down"];
/// The rights of a key that cannot connect.
const NONE: Rights = Rights {
    read: false,
    write: false,
};

impl Policy for V2 {
    fn authenticate(&self, username: &str, password: &[u8]) -> Option<Account> {
        let key = std::str::from_utf8(password).ok()?;
        if !is_id(username) || !key.contains('.') {
            return None;
        }
        let rights = self.env.applications.rights(username, key)?;
        if rights == NONE {
            return None;
        }
        let (read, write) = rights.select(&READABLE, &WRITABLE);
        Some(Account::new(username, username, read, write))
    }

    fn rewrite(&self, account: &Account, filter: &str) -> Option<String> {
        let app_id = account.app_id();
        match filter.split_once('/') {
            None if filter == "#" => Some(format!("{app_id}/#")),
            None if filter == "+" || filter == app_id => Some(app_id.to_owned()),
            Some((first, rest)) if first == "+" || first == app_id => {
                Some(format!("{app_id}/{rest}"))
            }
            _ => None,
        }
    }

    fn carries_out_wills(&self) -> bool {
        true
    }

    fn reading_rate(&self, quirks: &Quirks) -> Option<u32> {
        quirks.rate_limit.filter(|_| !quirks.plain_broker)
    }

    fn message(&self, topic: &str, payload: &[u8]) {
        if self.broker.quirks().plain_broker {
            self.burst(topic, payload);
        } else {
            self.request(topic, payload);
        }
    }
}

/// Returns whether it is a valid id: 2 to 36 lower-case letters and digits, with single `-` or `_`
/// between them.
pub(in crate::simulator) fn is_id(id: &str) -> bool {
    let length = id.bytes().filter(u8::is_ascii_alphanumeric).count();
    (2..=36).contains(&length) && lorawan::is_well_formed(id, &['-', '_'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_follow_the_networks_rules() {
        for id in [
            "ab",
            "soil-probe-07",
            "buoy_3",
            "0a",
            &"a".repeat(36),
            "a-b",
        ] {
            assert!(is_id(id), "{id}");
        }
        for id in [
            "",
            "a",
            "Pump",
            "-ab",
            "ab-",
            "a--b",
            "a-_b",
            "a.b",
            "é-ab",
            "a b",
            &"a".repeat(37),
        ] {
            assert!(!is_id(id), "{id}");
        }
    }
}
