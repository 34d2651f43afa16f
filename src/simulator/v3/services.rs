//! Messages that services post about a device, whenever a test asks for them.

use serde_json::Value;

use super::{
    Kind, LOCATION, SERVICE, V3,
    messages::{self, Correlation},
};
use crate::simulator::{
    lorawan::{DeviceId, Location},
    sync::lock,
};

impl V3 {
    /// Posts a message of a service about the device.
    fn post_service(&self, id: DeviceId<'_>, kind: Kind, body: &str) {
        let mut state = lock(&self.state);
        if let Some((device, _, random)) = state.parts(id) {
            let now = self.env.clock.now();
            let correlation_ids = Correlation::new(now, random).of_service();
            self.post(now, &device.ids(id), kind, &correlation_ids, body);
        }
    }

    /// Posts an object of an application package.
    pub(in crate::simulator) fn post_service_data(
        &self,
        id: DeviceId<'_>,
        service: &str,
        data: &Value,
    ) {
        self.post_service(id, SERVICE, &messages::service_data(service, data));
    }

    /// Posts a location that a service found.
    pub(in crate::simulator) fn post_location(
        &self,
        id: DeviceId<'_>,
        service: &str,
        location: Location,
    ) {
        self.post_service(id, LOCATION, &messages::location_solved(service, location));
    }
}
