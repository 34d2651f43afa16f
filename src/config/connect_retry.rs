//! How long the first connection is tried for.

use std::time::Duration;

/// How long `connect` goes on trying to make the first connection.
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
    /// One attempt; its error is the answer. The default.
    #[default]
    Never,
    /// For so long; then the error of the last attempt is the answer.
    For(Duration),
    /// Until it succeeds or the client is closed.
    Forever,
}
