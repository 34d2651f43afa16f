//! What a connected client may do.

use super::topic;

/// An application, and the topics that its client may use, as filters.
#[derive(Clone, Debug)]
pub(crate) struct Account {
    app_id: String,
    read: Vec<String>,
    write: Vec<String>,
}

impl Account {
    /// Creates an account with these filters, each below the prefix.
    pub(crate) fn new(app_id: &str, prefix: &str, read: &[&str], write: &[&str]) -> Self {
        let below = |filters: &[&str]| {
            let filters = filters.iter().map(|filter| format!("{prefix}/{filter}"));
            filters.collect()
        };
        Self {
            app_id: app_id.to_owned(),
            read: below(read),
            write: below(write),
        }
    }

    pub(crate) fn app_id(&self) -> &str {
        &self.app_id
    }

    pub(super) fn may_read(&self, topic: &str) -> bool {
        topic::any_matches(&self.read, topic)
    }

    pub(super) fn may_write(&self, topic: &str) -> bool {
        topic::any_matches(&self.write, topic)
    }
}
