//! From a route to the server to a connection that MQTT has entered.

use std::{sync::Arc, time::Instant};

use super::{Job, Session, lifecycle::Input, reasons};
use crate::{
    config::{AccessKey, Options},
    error::{Error, Result},
    mqtt::Attempt,
    process,
    server::Route,
    wire::{self, Login},
};

impl Session {
    pub(super) fn look_up(&mut self, attempt: Attempt) -> Option<Input> {
        let chosen = self.options.broker.as_ref().map(|broker| {
            let number = self.lifecycle.server();
            broker.addresses[number % broker.addresses.len()].clone()
        });
        if Route::is_instant(&self.options, chosen.as_ref()) {
            let found = Route::find(&self.options, &self.access_key, None, chosen);
            return Some(Input::LookedUp(attempt, self.keep_route(attempt, found)));
        }
        let options = Arc::clone(&self.options);
        let access_key = self.access_key.clone();
        let known = self.known.clone();
        let done = self.job_done.clone();
        let started = process::start_thread("ttn-prepare", move || {
            let found = Route::find(&options, &access_key, known, chosen);
            // The session may have ended.
            let _ = done.send(Job::LookedUp(attempt, found));
        });
        let cause = started.err()?;
        Some(Input::LookedUp(attempt, Err(Error::no_thread(cause))))
    }

    pub(super) fn keep_route(
        &mut self,
        attempt: Attempt,
        found: Result<Route>,
    ) -> Result<Arc<str>> {
        let route = found?;
        let server = route.address.to_string().into();
        self.route = Some((attempt, route));
        Ok(server)
    }

    pub(super) fn dial(&mut self, attempt: Attempt, deadline: Instant) -> Option<Input> {
        let (_, route) = self.route.take_if(|(found, _)| *found == attempt)?;
        let options = &self.options;
        let Route {
            address,
            destination,
        } = route;
        let plan = wire::Plan {
            destination,
            login: login(options, &self.access_key),
            deadline,
            max_packet: options.max_packet_size,
            traffic: self.status.traffic(),
            acknowledging: self.connections.acknowledging(attempt),
        };
        let error = self.connections.dial(attempt, address, plan).err()?;
        Some(Input::Failed(attempt, error))
    }

    pub(super) fn enter(&mut self, attempt: Attempt) -> Option<Input> {
        let (address, detail) = self.connections.enter(attempt).err()?;
        let error = reasons::no_mqtt_client(&address.to_string(), &detail);
        Some(Input::Failed(attempt, error))
    }
}

/// Returns how a client identifies itself to its server.
pub(crate) fn login(options: &Options, access_key: &AccessKey) -> Login {
    let broker = options.broker.as_ref();
    let kept = broker.and_then(|broker| broker.session.client_id());
    // A new one for each attempt: if the server has not noticed the end of the last connection, most brokers would
    // disconnect its successor.
    let new = || format!("{}{:016x}", options.client_id_prefix, fastrand::u64(..));
    let credentials = match broker {
        Some(broker) => broker.credentials.clone(),
        None => Some((options.app_id.clone(), access_key.clone())),
    };
    let (user_name, password) = credentials.unzip();
    Login {
        client_id: kept.map_or_else(new, str::to_owned),
        user_name,
        password: password.map(|password| password.reveal().as_bytes().to_vec()),
        keep_alive: options.keep_alive,
        is_clean: kept.is_none(),
    }
}
