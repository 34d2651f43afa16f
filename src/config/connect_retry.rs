//! How long to retry the first connection.

use std::time::Duration;

/// How long `connect` retries the first connection.
///
/// ```
/// use std::time::Duration;
/// use ttn::{ConnectRetry, MqttClient};
///
/// let client = MqttClient::builder("my-app@ttn", "NNSXS.ID.SECRET")
///     .cluster("eu1")
///     .connect_retry(ConnectRetry::For(Duration::from_secs(120)))
///     .build()?;
/// # Ok::<(), ttn::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ConnectRetry {
    /// Makes one attempt, whose error `connect` returns. The default.
    #[default]
    Never,
    /// Retries for this time; then `connect` returns the error of the last attempt.
    For(Duration),
    /// Retries until an attempt succeeds or the client is closed.
    Forever,
}
