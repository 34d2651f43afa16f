//! Messages that are simulated over HTTP.

use serde_json::Value;

use super::Device;

impl Device {
    /// Simulates a message as `POST …/devices/{device_id}/up/simulate` does, and returns the HTTP
    /// status.
    ///
    /// The request is an object with the member of one message, such as `uplink_message` with at least
    /// `settings`, and with `received_at` if it is not now; `simulated` is refused, other members are
    /// ignored. The message has `simulated` and only what the request contains, except that an uplink is
    /// decoded and normalized and gets the locations of the device. 400 means that the server refuses the
    /// request. A request about a deleted device has no effect.
    ///
    /// # Panics
    ///
    /// On V2, whose console simulates only [uplinks](crate::simulator::Uplink::simulated).
    ///
    /// ```
    /// use serde_json::json;
    /// # let network = ttn::simulator::Simulator::start(ttn::Network::V3)?;
    /// let status = network.device("pump-1").simulate(&json!({
    ///     "downlink_ack": {"f_port": 1, "f_cnt": 2, "correlation_ids": ["my-id"]},
    /// }));
    /// assert_eq!(status, 200);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[track_caller]
    pub fn simulate(&self, request: &Value) -> u16 {
        let id = self.id();
        let mut status = 0;
        self.instance
            .act_on_v3("Device::simulate", |v3| status = v3.simulate(id, request));
        status
    }
}
