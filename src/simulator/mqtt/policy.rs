//! What a network decides about the clients of its broker.

use super::Account;
use crate::simulator::quirks::Quirks;

/// Access control of a network, and what it does with messages.
pub(crate) trait Policy: Send + Sync {
    /// Returns the client's account, or `None` to refuse the connection with code 5.
    fn authenticate(&self, username: &str, password: &[u8]) -> Option<Account>;

    /// Returns the filter that replaces the requested one, or `None` to refuse the subscription.
    fn rewrite(&self, account: &Account, filter: &str) -> Option<String>;

    /// Returns whether the will of a lost client is published.
    fn carries_out_wills(&self) -> bool;

    /// Returns how many packets per second it reads from a client, `None` for any number.
    fn reading_rate(&self, quirks: &Quirks) -> Option<u32>;

    /// Returns whether the network works on messages with this topic for a while, one after another.
    fn takes_time(&self, _topic: &str) -> bool {
        false
    }

    /// Handles a message on a topic that the client may write to. Posts the resulting messages but
    /// does not flush them.
    fn message(&self, topic: &str, payload: &[u8]);
}
