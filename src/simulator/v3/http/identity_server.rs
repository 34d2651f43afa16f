//! What the Identity Server answers.

use super::{
    ask::List,
    credentials::Credentials,
    error::{self, Refused, json},
    registration::{self, micros},
};
use crate::simulator::{
    http::Answer,
    json::{self, Object},
    lorawan::DeviceId,
    sync::lock,
    v3::{
        V3,
        device::Device,
        identity::{DEVICES_READ, INFO, Key, Owner},
        messages,
    },
};

/// What a suspended user may still do.
const LEFT: &str = "RIGHT_USER_INFO";
const SUSPENDED: &str =
    "Restricted rights after account suspension: please contact the operator of the network";

impl V3 {
    /// Answers whose key it is.
    pub(super) fn auth_info(&self, credentials: Credentials<'_>) -> Result<Answer, Refused> {
        let Some(key) = self.identify(credentials, None)? else {
            return Ok(json(200, String::from("{}")));
        };
        let is_suspended = lock(&self.identities).is_suspended(&key);
        let rights = match is_suspended {
            true => vec![LEFT],
            false => key.rights(),
        };
        let rights = self.in_any_order(rights);
        let expires_at = key.expires_at.map(micros).map(messages::time);
        let described = Object::new()
            .string("id", key.id())
            .string("name", "simulated key")
            .list("rights", rights)
            .member("created_at", messages::time(micros(key.created_at)))
            .member("updated_at", messages::time(micros(key.updated_at)))
            .option("expires_at", expires_at);
        let key = Object::new()
            .member("api_key", described.finish())
            .member("entity_ids", entity(&key.owner));
        let body = Object::new().member("api_key", key.finish());
        let answer = json(200, body.finish());
        Ok(match is_suspended {
            true => answer.with("X-Warning", SUSPENDED),
            false => answer,
        })
    }

    /// Answers whether an application exists, and what it is to those who may know.
    pub(super) fn application(
        &self,
        app_id: &str,
        mask: &[String],
        credentials: Credentials<'_>,
    ) -> Result<Answer, Refused> {
        let uid = self.uid(app_id, credentials);
        let Some(key) = self.identify(credentials, Some(&uid))? else {
            return Err(error::UNAUTHENTICATED.into());
        };
        if lock(&self.identities).is_suspended(&key) {
            return Err(error::USER_SUSPENDED.into());
        }
        if mask.iter().any(|path| registration::is_private(path)) {
            self.require(app_id, credentials, &[INFO])?;
        }
        let Some(application) = lock(&self.identities).application(&uid) else {
            return Err(error::application_not_found(app_id).into());
        };
        let created_at = messages::time(micros(application.created_at));
        let ids = Object::new().string("application_id", app_id);
        let body = Object::new()
            .member("ids", ids.finish())
            .member("created_at", &created_at)
            .member("updated_at", &created_at);
        Ok(json(200, body.finish()))
    }

    /// Answers what the caller may do with an application.
    pub(super) fn rights(
        &self,
        app_id: &str,
        credentials: Credentials<'_>,
    ) -> Result<Answer, Refused> {
        let uid = self.uid(app_id, credentials);
        let key = self.identify(credentials, Some(&uid))?;
        let of = |key: &Key| {
            let rights = lock(&self.identities).rights_on(key, &uid);
            self.in_any_order(rights)
        };
        let rights = key.as_ref().map(of).unwrap_or_default();
        Ok(json(200, Object::new().list("rights", rights).finish()))
    }

    /// Answers a page of the devices of an application.
    pub(super) fn devices(
        &self,
        app_id: &str,
        list: &List,
        credentials: Credentials<'_>,
    ) -> Result<Answer, Refused> {
        let uid = self.require(app_id, credentials, &[DEVICES_READ])?;
        let state = lock(&self.state);
        let mut devices: Vec<(&str, &Device)> = state.devices.of(&uid).collect();
        let (by, is_falling) = &list.order;
        match by.as_str() {
            "dev_eui" => devices.sort_by_key(|(_, device)| device.dev_eui),
            "name" => devices.sort_by_key(|(_, device)| &device.name),
            "created_at" => devices.sort_by_key(|(_, device)| device.created_at),
            "last_seen_at" => devices.sort_by_key(|(_, device)| device.last_seen_at),
            _ => {}
        }
        if *is_falling {
            devices.reverse();
        }
        let total = devices.len();
        let page = devices.into_iter().skip(list.skipped).take(list.limit);
        let page = page.map(|(dev_id, device)| {
            let app_id = &uid;
            registration::registered(DeviceId { app_id, dev_id }, device, &list.mask)
        });
        let body = Object::new().list("end_devices", page).finish();
        Ok(json(200, body).with("X-Total-Count", total.to_string()))
    }

    /// Answers how a device is registered.
    pub(super) fn registered_device(
        &self,
        app_id: &str,
        dev_id: &str,
        mask: &[String],
        credentials: Credentials<'_>,
    ) -> Result<Answer, Refused> {
        let uid = self.require(app_id, credentials, &[DEVICES_READ])?;
        let id = DeviceId {
            app_id: &uid,
            dev_id,
        };
        let mut state = lock(&self.state);
        match state.devices.get(id) {
            Some(device) => Ok(json(200, registration::registered(id, device, mask))),
            None => Err(error::registered_device_not_found(app_id, dev_id).into()),
        }
    }

    /// Returns rights as JSON text, in another order each time.
    fn in_any_order(&self, rights: Vec<&str>) -> Vec<String> {
        let mut rights: Vec<String> = rights.into_iter().map(json::string).collect();
        lock(&self.state).random.shuffle(&mut rights);
        rights
    }
}

/// Returns the ids of whose a key is.
fn entity(owner: &Owner) -> String {
    let (kind, id) = match owner {
        Owner::Application(uid) => ("application", messages::split(uid).0),
        Owner::User(id) => ("user", id.as_str()),
        Owner::Organization(id) => ("organization", id.as_str()),
        Owner::Gateway(id) => ("gateway", id.as_str()),
        Owner::Client(id) => ("client", id.as_str()),
    };
    let ids = Object::new().string(&format!("{kind}_id"), id);
    let ids = Object::new().member(&format!("{kind}_ids"), ids.finish());
    ids.finish()
}
