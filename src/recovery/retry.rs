//! The question to the user's retry callback, and what it may change.

use std::{fmt, sync::Arc, time::Duration};

use crate::{
    config::{AccessKey, Options},
    error::{Error, Result},
};

/// The longest delay that a callback can set.
const MAX_DELAY: Duration = Duration::from_secs(365 * 86_400);

/// A failed attempt or a lost connection, and what the client is about to do. Passed to the closure
/// of [`set_retry_callback`](crate::MqttClient::set_retry_callback).
///
/// ```
/// use std::time::Duration;
/// use ttn::{ErrorKind, MqttClient};
///
/// let client = MqttClient::new("my-app@ttn", "NNSXS.ID.SECRET")?;
/// client.set_retry_callback(|retry| {
///     match retry.error().kind() {
///         // The key was rotated: the new one replaces the old one in its file.
///         ErrorKind::NotAuthorized => {
///             retry.set_access_key(std::fs::read_to_string("/etc/greenhouse/ttn.key")?.trim())?;
///             retry.set_delay(Duration::from_secs(1));
///         }
///         ErrorKind::CertificateHostName => retry.give_up(),
///         _ => {}
///     }
///     ttn::anyhow::Ok(())
/// });
/// # Ok::<(), ttn::Error>(())
/// ```
pub struct Retry {
    options: Arc<Options>,
    error: Error,
    attempt: u32,
    pub(crate) delay: Option<Duration>,
    pub(crate) access_key: Option<AccessKey>,
}

impl Retry {
    pub(crate) fn new(
        options: Arc<Options>,
        error: Error,
        attempt: u32,
        delay: Option<Duration>,
    ) -> Self {
        Self {
            options,
            error,
            attempt,
            delay,
            access_key: None,
        }
    }

    /// Returns why the attempt failed or how the connection ended.
    ///
    /// ```
    /// # use ttn::Retry;
    /// fn log(retry: &mut Retry) {
    ///     eprintln!("{}", retry.error());
    /// }
    /// ```
    pub fn error(&self) -> &Error {
        &self.error
    }

    /// Returns how many attempts have failed since `connect` was called or the client was last
    /// connected; 0 when a connection was lost.
    ///
    /// ```
    /// # use ttn::Retry;
    /// fn three_times(retry: &mut Retry) {
    ///     if retry.attempt() == 3 {
    ///         retry.give_up();
    ///     }
    /// }
    /// ```
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// Returns the delay before the next attempt, or `None` if the client gives up.
    ///
    /// ```
    /// # use ttn::Retry;
    /// fn twice_as_patient(retry: &mut Retry) {
    ///     if let Some(delay) = retry.delay() {
    ///         retry.set_delay(2 * delay);
    ///     }
    /// }
    /// ```
    pub fn delay(&self) -> Option<Duration> {
        self.delay
    }

    /// Retries after this delay, even if the client was about to give up. The delay is at most a year.
    /// If the [time](crate::ConnectRetry::For) of `connect` would be over by then, `connect` fails
    /// immediately.
    ///
    /// ```
    /// # use ttn::Retry;
    /// fn every_ten_seconds(retry: &mut Retry) {
    ///     retry.set_delay(std::time::Duration::from_secs(10));
    /// }
    /// ```
    pub fn set_delay(&mut self, delay: Duration) {
        self.delay = Some(delay.min(MAX_DELAY));
    }

    /// Gives up, with this error as the reason: `connect` returns it, and a client that was connected
    /// closes.
    ///
    /// ```
    /// # use ttn::{ErrorKind, Retry};
    /// fn only_while_it_may_help(retry: &mut Retry) {
    ///     // Includes certificates that are not valid yet because this machine has no clock.
    ///     if !retry.error().is_transient() {
    ///         retry.give_up();
    ///     }
    /// }
    /// ```
    pub fn give_up(&mut self) {
        self.delay = None;
    }

    /// Replaces the access key for this and all later attempts.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`](crate::ErrorKind::Config) if it cannot be a key of the network; the client
    /// then keeps the old one.
    ///
    /// ```
    /// # use ttn::Retry;
    /// fn rotated(retry: &mut Retry) -> ttn::Result<()> {
    ///     retry.set_access_key("NNSXS.NEXT.SECRET")
    /// }
    /// ```
    pub fn set_access_key(&mut self, access_key: impl Into<String>) -> Result<()> {
        let key = AccessKey::new(access_key.into());
        key.check(self.options.network, &self.options.app_id)?;
        self.access_key = Some(key);
        Ok(())
    }
}

impl fmt::Debug for Retry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Retry")
            .field("error", &self.error)
            .field("attempt", &self.attempt)
            .field("delay", &self.delay)
            .finish_non_exhaustive()
    }
}
