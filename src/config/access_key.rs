//! The access key of an application.

use std::fmt;

use crate::{
    error::{Error, Result},
    network::Network,
};

/// The access key. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct AccessKey(String);

impl AccessKey {
    pub(crate) fn new(key: String) -> Self {
        Self(key)
    }

    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }

    /// Checks that this can be a key of the application.
    pub(crate) fn check(&self, network: Network, app_id: &str) -> Result<()> {
        if self.0.is_empty() {
            return Err(Error::config(format!(
                "the access key of the application {app_id:?} is empty"
            )));
        }
        if self.0.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err(Error::config(format!(
                "the access key of the application {app_id:?} contains a space, a line end or another character that no key has"
            )));
        }
        network.check_access_key(&self.0)
    }
}

impl fmt::Debug for AccessKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AccessKey(…)")
    }
}
