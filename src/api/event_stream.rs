//! The event stream, on servers that keep events for a while.

use super::{Api, Failure, Frames};

impl Api {
    /// Asks for the last events of the application, the oldest first, and then for those that happen. Any
    /// right opens the stream; uplinks come only with `RIGHT_APPLICATION_TRAFFIC_READ`. A warning says that
    /// the server keeps no events.
    pub(crate) fn events(&self, tail: u32) -> Result<Frames, Failure> {
        // Without `names`: what is left out counts as one of the last events, and would hide how far back
        // they reach. Without `after`, which loses events.
        let body = serde_json::json!({
            "identifiers": [{"application_ids": {"application_id": self.application}}],
            "tail": tail,
        });
        self.stream("/api/v3/events", Some(body.to_string().as_bytes()))
    }
}
