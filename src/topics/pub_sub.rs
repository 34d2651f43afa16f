//! The topics of a Pub/Sub integration.

use crate::config::{Kind, PubSub};

/// Returns the topics that carry reports on downlinks, and perhaps something else, or the ones that carry only
/// what devices send.
pub(super) fn topics(pub_sub: &PubSub, reports: bool) -> Vec<String> {
    let mut topics = Vec::new();
    for kind in Kind::ALL {
        let topic = pub_sub.topic_of(kind);
        let is_on_it = |kind: &Kind| kind.is_report() && pub_sub.topic_of(*kind) == topic;
        let has_reports = Kind::ALL.iter().any(is_on_it);
        if has_reports == reports && !topics.contains(&topic) {
            topics.push(topic);
        }
    }
    topics
}
