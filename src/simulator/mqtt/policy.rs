//! What a network decides about the clients of its broker.

use super::Account;

/// Access control of a network, and what it does with messages.
pub(crate) trait Policy: Send + Sync {
    /// Returns the client's account, or `None` to refuse the connection with code 5.
    fn authenticate(&self, username: &str, password: &[u8]) -> Option<Account>;

    /// Returns the filter that replaces the requested one, or `None` to refuse the subscription.
    fn rewrite(&self, account: &Account, filter: &str) -> Option<String>;

    /// Handles a message on a topic that the client may write to. Posts the resulting messages but
    /// does not flush them.
    fn message(&self, topic: &str, payload: &[u8]);
}
