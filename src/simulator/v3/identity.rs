//! The Identity Server: applications, keys and their rights.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::SystemTime,
};

use super::messages;
use crate::simulator::lorawan::Rights;

/// What a right is for when it stands for others.
const SPELT_OUT: [(&str, &[&str]); 3] = [
    ("RIGHT_ALL", &["RIGHT_APPLICATION_ALL"]),
    (
        "RIGHT_APPLICATION_ALL",
        &[
            "RIGHT_APPLICATION_INFO",
            "RIGHT_APPLICATION_SETTINGS_BASIC",
            "RIGHT_APPLICATION_SETTINGS_API_KEYS",
            "RIGHT_APPLICATION_SETTINGS_COLLABORATORS",
            "RIGHT_APPLICATION_SETTINGS_PACKAGES",
            "RIGHT_APPLICATION_DELETE",
            "RIGHT_APPLICATION_DEVICES_READ",
            "RIGHT_APPLICATION_DEVICES_WRITE",
            "RIGHT_APPLICATION_DEVICES_READ_KEYS",
            "RIGHT_APPLICATION_DEVICES_WRITE_KEYS",
            "RIGHT_APPLICATION_TRAFFIC_READ",
            "RIGHT_APPLICATION_TRAFFIC_UP_WRITE",
            "RIGHT_APPLICATION_TRAFFIC_DOWN_WRITE",
            "RIGHT_APPLICATION_LINK",
        ],
    ),
    (
        "RIGHT_APPLICATION_LINK",
        &["RIGHT_APPLICATION_INFO", TRAFFIC_READ, DOWN_WRITE],
    ),
];

pub(super) const INFO: &str = "RIGHT_APPLICATION_INFO";
pub(super) const TRAFFIC_READ: &str = "RIGHT_APPLICATION_TRAFFIC_READ";
pub(super) const DOWN_WRITE: &str = "RIGHT_APPLICATION_TRAFFIC_DOWN_WRITE";
pub(super) const UP_WRITE: &str = "RIGHT_APPLICATION_TRAFFIC_UP_WRITE";
pub(super) const DEVICES_READ: &str = "RIGHT_APPLICATION_DEVICES_READ";
pub(super) const DEVICES_READ_KEYS: &str = "RIGHT_APPLICATION_DEVICES_READ_KEYS";

/// Whose an API key is that is not an application's, with the id;
/// [`Simulator::add_other_key`](super::super::Simulator::add_other_key) adds one.
///
/// ```
/// use ttn::Network;
/// use ttn::simulator::{KeyOf, Simulator};
///
/// let network = Simulator::start(Network::V3)?;
/// network.add_other_key("NNSXS.ROOF.KEY", KeyOf::Gateway("roof-east"), &["RIGHT_GATEWAY_INFO"]);
/// # Ok::<(), std::io::Error>(())
/// ```
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyOf<'a> {
    /// A user, who collaborates in every application of the network.
    User(&'a str),
    /// An organization, which collaborates in every application of the network.
    Organization(&'a str),
    /// A gateway.
    Gateway(&'a str),
    /// An OAuth client.
    Client(&'a str),
}

/// Whose a key is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// An application, by its id including the tenant.
    Application(String),
    User(String),
    Organization(String),
    Gateway(String),
    Client(String),
}

impl From<KeyOf<'_>> for Owner {
    fn from(of: KeyOf<'_>) -> Self {
        match of {
            KeyOf::User(id) => Self::User(id.to_owned()),
            KeyOf::Organization(id) => Self::Organization(id.to_owned()),
            KeyOf::Gateway(id) => Self::Gateway(id.to_owned()),
            KeyOf::Client(id) => Self::Client(id.to_owned()),
        }
    }
}

/// An API key.
#[derive(Clone)]
pub(super) struct Key {
    text: String,
    pub(super) owner: Owner,
    /// As they were given.
    rights: Vec<String>,
    pub(super) created_at: SystemTime,
    pub(super) updated_at: SystemTime,
    pub(super) expires_at: Option<SystemTime>,
}

impl Key {
    pub(super) fn id(&self) -> &str {
        id_of(&self.text)
    }

    /// Returns the rights, each once, with those that others stand for.
    pub(super) fn rights(&self) -> Vec<&str> {
        let mut rights: Vec<&str> = Vec::new();
        let mut left: Vec<&str> = self.rights.iter().rev().map(String::as_str).collect();
        while let Some(right) = left.pop() {
            if rights.contains(&right) {
                continue;
            }
            rights.push(right);
            let found = SPELT_OUT.iter().find(|(name, _)| *name == right);
            left.extend(found.iter().flat_map(|(_, others)| others.iter()));
        }
        rights
    }

    fn opens(&self, uid: &str) -> bool {
        match &self.owner {
            Owner::Application(own) => own == uid,
            Owner::User(_) | Owner::Organization(_) => true,
            Owner::Gateway(_) | Owner::Client(_) => false,
        }
    }
}

/// Why a key is refused.
pub(super) enum BadKey {
    /// There is none with that id.
    Unknown,
    OfDeletedApplication,
    WrongSecret,
    Expired,
}

/// An application as it is registered.
#[derive(Clone, Copy)]
pub(super) struct Application {
    pub(super) created_at: SystemTime,
    is_deleted: bool,
}

/// What is registered, and whether it can be asked.
#[derive(Default)]
pub(super) struct IdentityServer {
    applications: BTreeMap<String, Application>,
    keys: Vec<Key>,
    suspended: BTreeSet<String>,
    /// The tenant of the network: that of its first application.
    tenant: Option<Option<String>>,
    /// Whether no server can ask it.
    pub(super) is_down: bool,
    /// Whether it is on another host.
    pub(super) is_elsewhere: bool,
}

impl IdentityServer {
    /// Adds a key of an application, which is new if its id is unknown, or changes the rights of the
    /// key.
    pub(super) fn add_key(&mut self, uid: &str, text: &str, rights: Vec<String>, now: SystemTime) {
        let (_, tenant) = messages::split(uid);
        self.tenant.get_or_insert_with(|| tenant.map(str::to_owned));
        let owner = Owner::Application(uid.to_owned());
        if self.is_deleted(uid) {
            self.keys.retain(|key| key.owner != owner);
            self.applications.remove(uid);
        }
        self.applications
            .entry(uid.to_owned())
            .or_insert(Application {
                created_at: now,
                is_deleted: false,
            });
        self.add(text, owner, rights, now);
    }

    /// Adds a key of something else, or changes its rights.
    pub(super) fn add(&mut self, text: &str, owner: Owner, rights: Vec<String>, now: SystemTime) {
        let mut keys = self.keys.iter_mut();
        let known = keys.find(|key| key.text == text && key.owner == owner);
        if let Some(key) = known {
            key.rights = rights;
            key.updated_at = now;
            return;
        }
        self.keys.push(Key {
            text: text.to_owned(),
            owner,
            rights,
            created_at: now,
            updated_at: now,
            expires_at: None,
        });
    }

    pub(super) fn remove_key(&mut self, uid: &str, text: &str) -> bool {
        let before = self.keys.len();
        self.keys.retain(|key| !key.is(uid, text));
        self.keys.len() < before
    }

    /// Sets when a key ends and returns whether it exists.
    pub(super) fn expire_key(&mut self, uid: &str, text: &str, at: SystemTime) -> bool {
        let key = self.keys.iter_mut().find(|key| key.is(uid, text));
        key.map(|key| key.expires_at = Some(at)).is_some()
    }

    /// Deletes an application and returns whether it existed. Its keys stay behind.
    pub(super) fn delete_application(&mut self, uid: &str) -> bool {
        let application = self.applications.get_mut(uid);
        application.is_some_and(|application| !std::mem::replace(&mut application.is_deleted, true))
    }

    /// Suspends a user, or lets the user in again.
    pub(super) fn suspend(&mut self, user_id: &str, on: bool) {
        match on {
            true => self.suspended.insert(user_id.to_owned()),
            false => self.suspended.remove(user_id),
        };
    }

    /// Returns whether the key is that of a suspended user.
    pub(super) fn is_suspended(&self, key: &Key) -> bool {
        matches!(&key.owner, Owner::User(id) if self.suspended.contains(id))
    }

    fn is_deleted(&self, uid: &str) -> bool {
        let application = self.applications.get(uid);
        application.is_some_and(|application| application.is_deleted)
    }

    pub(super) fn application(&self, uid: &str) -> Option<Application> {
        let application = self.applications.get(uid).copied();
        application.filter(|application| !application.is_deleted)
    }

    /// Returns the id including the tenant of the application that a caller with that key means by an
    /// id without.
    pub(super) fn uid(&self, app_id: &str, key: Option<&str>) -> String {
        let mut uids = self.keys.iter().filter_map(|known| match &known.owner {
            Owner::Application(uid) if key == Some(&known.text) => Some(uid),
            _ => None,
        });
        let own = uids.clone().find(|uid| messages::split(uid).0 == app_id);
        if let Some(uid) = own {
            return uid.clone();
        }
        let tenant = match uids.next() {
            Some(uid) => messages::split(uid).1,
            None => self.tenant.as_ref().and_then(Option::as_deref),
        };
        match tenant {
            Some(tenant) => format!("{app_id}@{tenant}"),
            None => app_id.to_owned(),
        }
    }

    /// Returns the key with that text, preferably one that opens the application.
    pub(super) fn identify(
        &self,
        text: &str,
        uid: Option<&str>,
        now: SystemTime,
    ) -> Result<&Key, BadKey> {
        let same = || self.keys.iter().filter(|key| key.text == text);
        let mut opening = same().filter(|key| uid.is_some_and(|uid| key.opens(uid)));
        let Some(key) = opening.next().or_else(|| same().next()) else {
            let is_known = self.keys.iter().any(|key| key.id() == id_of(text));
            return Err(match is_known {
                true => BadKey::WrongSecret,
                false => BadKey::Unknown,
            });
        };
        match &key.owner {
            Owner::Application(uid) if self.is_deleted(uid) => Err(BadKey::OfDeletedApplication),
            _ if key.expires_at.is_some_and(|end| end <= now) => Err(BadKey::Expired),
            _ => Ok(key),
        }
    }

    /// Returns what the key may do with an application.
    pub(super) fn rights_on<'a>(&self, key: &'a Key, uid: &str) -> Vec<&'a str> {
        if self.application(uid).is_none() || !key.opens(uid) || self.is_suspended(key) {
            return Vec::new();
        }
        let mut rights = key.rights();
        rights.retain(|right| right.starts_with("RIGHT_APPLICATION_"));
        rights
    }
}

impl Key {
    fn is(&self, uid: &str, text: &str) -> bool {
        let is_of = matches!(&self.owner, Owner::Application(own) if own == uid);
        is_of && self.text == text
    }
}

/// Returns the id in the middle of a key.
fn id_of(text: &str) -> &str {
    text.split('.').nth(1).unwrap_or(text)
}

/// Returns the names of the rights of an application's key.
pub(super) fn names(rights: Rights) -> Vec<String> {
    let names: &[&str] = match (rights.read, rights.write) {
        (true, true) => &[TRAFFIC_READ, DOWN_WRITE, INFO],
        (true, false) => &[TRAFFIC_READ],
        (false, true) => &[DOWN_WRITE],
        (false, false) => &["RIGHT_APPLICATION_SETTINGS_BASIC"],
    };
    names.iter().map(|name| (*name).to_owned()).collect()
}
