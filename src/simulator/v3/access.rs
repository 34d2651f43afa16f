//! Access control of The Things Stack.

use super::{V3, messages, request::is_id};
use crate::simulator::{
    mqtt::{Account, Policy},
    quirks::Quirks,
};

const READABLE: [&str; 1] = ["#"];
const WRITABLE: [&str; 2] = ["devices/+/down/push", "devices/+/down/replace"];

impl Policy for V3 {
    fn authenticate(&self, username: &str, password: &[u8]) -> Option<Account> {
        let key = std::str::from_utf8(password).ok()?;
        let (app_id, tenant) = messages::split(username);
        if !is_id(app_id) || !tenant.is_none_or(is_id) {
            return None;
        }
        let rights = self.env.applications.rights(username, key)?;
        let (read, write) = rights.select(&READABLE, &WRITABLE);
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
