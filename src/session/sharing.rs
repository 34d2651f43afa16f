//! The markers that prove that a broker delivers what is shared. Pure state.
//!
//! One is subscribed to by a group of its own, the other one plainly. Both have topics that only this client uses.

use crate::{
    config::Options,
    message::RawMessage,
    topics::{self, Layout},
};

#[derive(Debug)]
pub(super) struct Sharing {
    /// What tells the client's topics from those of others; `None` for a random text with each connection.
    ///
    /// A session that the broker keeps would keep the subscriptions of every connection, if they differed.
    fixed: Option<String>,
    /// Whether the proof is due with the next connection.
    is_due: bool,
    markers: Option<Markers>,
}

/// The markers of one connection.
#[derive(Debug)]
struct Markers {
    group: String,
    shared: String,
    plain: String,
    /// Distinguishes them from those of earlier connections.
    payload: String,
    is_refused: bool,
}

impl Sharing {
    /// Returns `None` if there is nothing to prove.
    pub(super) fn new(options: &Options) -> Option<Self> {
        let broker = options.broker.as_ref()?;
        broker.must_prove_sharing().then(|| Self {
            fixed: broker.session.client_id().map(fingerprint),
            is_due: true,
            markers: None,
        })
    }

    /// Begins a proof. Returns the filters of the markers, to be granted with all others.
    pub(super) fn begin(&mut self, topics: &Layout) -> Vec<String> {
        self.markers = None;
        if !self.is_due {
            return Vec::new();
        }
        let random = || format!("{:016x}", fastrand::u64(..));
        let name = self.fixed.clone().unwrap_or_else(random);
        let markers = Markers {
            shared: topics.own(&format!("{name}/shared")),
            plain: topics.own(&format!("{name}/plain")),
            group: format!("ttn-check-{name}"),
            payload: random(),
            is_refused: false,
        };
        let filters = vec![
            topics::shared(&markers.group, &markers.shared),
            markers.plain.clone(),
        ];
        self.markers = Some(markers);
        filters
    }

    /// Notes that the broker has refused the filter of a marker.
    pub(super) fn refused(&mut self) {
        if let Some(markers) = &mut self.markers {
            markers.is_refused = true;
        }
    }

    /// Returns the markers to publish; `None` if there is no proof.
    pub(super) fn markers(&self) -> Option<[RawMessage; 2]> {
        let markers = self
            .markers
            .as_ref()
            .filter(|markers| !markers.is_refused)?;
        let payload = markers.payload.as_bytes();
        Some([&markers.plain, &markers.shared].map(|topic| RawMessage::new(topic, payload)))
    }

    /// Returns whether a message is a marker, and if so, whether it is the one of the group.
    pub(super) fn is_shared(&self, raw: &RawMessage) -> Option<bool> {
        let markers = self.markers.as_ref()?;
        let is_shared = raw.topic() == markers.shared;
        let is_marker = (is_shared || raw.topic() == markers.plain)
            && raw.payload() == markers.payload.as_bytes();
        is_marker.then_some(is_shared)
    }

    /// Notes that no marker came back: later connections need not wait for them.
    pub(super) fn give_up(&mut self) {
        self.is_due = false;
    }
}

/// Returns text that stands for a client id and can be a level of a topic.
fn fingerprint(client_id: &str) -> String {
    let hash = client_id
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
    format!("{hash:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{MqttClient, MqttClientBuilder, Topics, config::Session};

    fn builder() -> MqttClientBuilder {
        MqttClient::own_broker("barn@ttn")
            .mqtt_address("localhost:1883")
            .topics(Topics::with_prefix("ttn/"))
    }

    fn sharing(builder: MqttClientBuilder) -> Option<(Sharing, Layout)> {
        let options = builder.check().unwrap();
        Some((Sharing::new(&options)?, Layout::new(&options)))
    }

    #[test]
    fn only_a_group_has_something_to_prove() {
        assert!(sharing(builder()).is_none());
        assert!(sharing(builder().shared_group("g").prove_shared_group(false)).is_none());
        assert!(sharing(builder().shared_group("g")).is_some());
    }

    #[test]
    fn only_the_markers_of_this_connection_count() {
        let (mut sharing, topics) = sharing(builder().shared_group("g")).unwrap();
        let filters = sharing.begin(&topics);
        let [plain, shared] = sharing.markers().unwrap();
        assert!(filters[0].starts_with("$share/ttn-check-"), "{filters:?}");
        assert!(filters[0].ends_with(shared.topic()), "{filters:?}");
        assert_eq!(filters[1], plain.topic());
        assert!(plain.topic().starts_with("ttn/ttn-check/"), "{plain:?}");
        assert_eq!(sharing.is_shared(&plain), Some(false));
        assert_eq!(sharing.is_shared(&shared), Some(true));
        let other = RawMessage::new(shared.topic(), b"other");
        assert_eq!(sharing.is_shared(&other), None);
        assert_eq!(sharing.is_shared(&RawMessage::new("v3/up", b"{}")), None);

        assert_ne!(sharing.begin(&topics), filters);
        assert_eq!(sharing.is_shared(&shared), None);
    }

    #[test]
    fn a_persistent_session_has_the_same_filters_each_time() {
        let session = |id: &str| builder().shared_group("g").session(Session::persistent(id));
        let (mut sharing, topics) = sharing(session("worker-1")).unwrap();
        let filters = sharing.begin(&topics);
        assert_eq!(sharing.begin(&topics), filters);
        let (mut other, topics) = self::sharing(session("worker/+/2")).unwrap();
        assert_ne!(other.begin(&topics), filters);
    }

    #[test]
    fn after_a_refused_marker_or_none_at_all_nothing_is_published() {
        let (mut sharing, topics) = sharing(builder().shared_group("g")).unwrap();
        sharing.begin(&topics);
        sharing.refused();
        assert!(sharing.markers().is_none());
        assert!(!sharing.begin(&topics).is_empty());
        assert!(sharing.markers().is_some());
        sharing.give_up();
        assert!(sharing.begin(&topics).is_empty());
        assert!(sharing.markers().is_none());
    }
}
