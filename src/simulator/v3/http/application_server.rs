//! What the Application Server and the Network Server answer.

use super::{
    credentials::Credentials,
    device_uid,
    error::{self, Refused, json},
    registration,
    route::Registry,
};
use crate::simulator::{
    http::Answer,
    json::Object,
    listening::reachable,
    lorawan::DeviceId,
    security::Security,
    sync::lock,
    v3::{
        V3,
        device::Device,
        downlinks::Refusal,
        identity::{DEVICES_READ, DEVICES_READ_KEYS, DOWN_WRITE, INFO, TRAFFIC_READ, UP_WRITE},
        messages::Downlink,
        simulated::Simulation,
    },
};

impl V3 {
    /// Answers where the MQTT server is. There is none with TLS.
    pub(super) fn connection_info(
        &self,
        app_id: &str,
        credentials: Credentials<'_>,
    ) -> Result<Answer, Refused> {
        let uid = self.require(app_id, credentials, &[INFO])?;
        let address = self.broker.address().map(reachable);
        let address = address.map_or_else(String::new, |address| address.to_string());
        let member = match self.broker.security() {
            Security::Plain => "public_address",
            #[cfg(feature = "tls")]
            Security::Tls(_) => "public_tls_address",
        };
        let body = Object::new()
            .string(member, &address)
            .string("username", &uid);
        Ok(json(200, body.finish()))
    }

    /// Answers what the server knows about a device.
    pub(super) fn served_device(
        &self,
        registry: Registry,
        app_id: &str,
        dev_id: &str,
        mask: &[String],
        credentials: Credentials<'_>,
    ) -> Result<Answer, Refused> {
        let needed: &[&str] = match mask.iter().any(|path| path == "session") {
            true => &[DEVICES_READ, DEVICES_READ_KEYS],
            false => &[DEVICES_READ],
        };
        let uid = self.require(app_id, credentials, needed)?;
        self.look_at(&uid, dev_id, |id, device| {
            registration::served(registry, id, device, mask)
        })
    }

    /// Answers the queue of a device.
    pub(super) fn queue(
        &self,
        app_id: &str,
        dev_id: &str,
        credentials: Credentials<'_>,
    ) -> Result<Answer, Refused> {
        let uid = self.require(app_id, credentials, &[TRAFFIC_READ])?;
        self.look_at(&uid, dev_id, |_, device| {
            let key_id = device.newest_session().map(|session| &session.key_id);
            let queued = device.queue.iter().map(|downlink| {
                let mut downlink = downlink.clone();
                downlink.session_key_id = key_id.cloned().unwrap_or_default();
                downlink.message()
            });
            Object::new().list("downlinks", queued).finish()
        })
    }

    /// Returns an answer about a device of this cluster.
    fn look_at(
        &self,
        uid: &str,
        dev_id: &str,
        body: impl FnOnce(DeviceId<'_>, &Device) -> String,
    ) -> Result<Answer, Refused> {
        let id = DeviceId {
            app_id: uid,
            dev_id,
        };
        let mut state = lock(&self.state);
        let device = state.devices.get(id);
        match device.filter(|device| device.elsewhere.is_none()) {
            Some(device) => Ok(json(200, body(id, device))),
            None => Err(error::NOT_FOUND.into()),
        }
    }

    /// Adds downlinks to the queue of a device, or replaces it.
    pub(super) fn add_downlinks(
        &self,
        app_id: &str,
        dev_id: &str,
        downlinks: Vec<Downlink>,
        replace: bool,
        credentials: Credentials<'_>,
    ) -> Result<Answer, Refused> {
        let uid = self.require(app_id, credentials, &[DOWN_WRITE])?;
        let id = DeviceId {
            app_id: &uid,
            dev_id,
        };
        match self.handle(id, downlinks, replace, true) {
            Ok(()) => Ok(json(200, String::from("{}"))),
            Err(refusal) => Err(match refusal {
                Refusal::UnknownDevice => error::device_not_found(&device_uid(&uid, dev_id)),
                Refusal::NoPayload => error::NO_PAYLOAD,
                Refusal::Encoder(text) => error::encoder_failed(&text),
                Refusal::Failed(failure) => *failure,
            }
            .into()),
        }
    }

    /// Publishes a message that was made up.
    pub(super) fn simulate_over_http(
        &self,
        app_id: &str,
        dev_id: &str,
        simulation: Simulation,
        credentials: Credentials<'_>,
    ) -> Result<Answer, Refused> {
        let uid = self.require(app_id, credentials, &[UP_WRITE])?;
        if simulation.is_marked {
            return Err(error::SIMULATED.into());
        }
        let id = DeviceId {
            app_id: &uid,
            dev_id,
        };
        self.publish_simulation(id, simulation);
        Ok(json(200, String::from("{}")))
    }
}

/// Answers what the Application Server is set up with, to anybody.
pub(super) fn configuration() -> Answer {
    let body = r#"{"configuration":{"pubsub":{"providers":{}},"webhooks":{"unhealthy_retry_interval":"0s"}}}"#;
    json(200, body.to_owned())
}

/// Answers the frequency plans, to anybody.
pub(super) fn frequency_plans() -> Answer {
    let plan = Object::new()
        .string("id", "EU_863_870")
        .string("name", "Europe 863-870 MHz")
        .integer("base_frequency", 868);
    let body = Object::new().list("frequency_plans", [plan.finish()]);
    json(200, body.finish())
}
