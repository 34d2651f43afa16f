//! Whether and when to try to connect again: the plan, and what the user's hook makes of it.

use std::{
    fmt, io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use crossbeam_channel::{Sender, bounded};

use super::backoff::Backoff;
use crate::{
    closure::{CallbackResult, call_safely, result_of},
    config::{AccessKey, ConnectRetry, Options},
    error::{Error, ErrorKind, Result},
    message::CallbackFailed,
};

/// A failed attempt or a lost connection, and what the client is about to do. With
/// [`set_retry_callback`](crate::MqttClient::set_retry_callback).
///
/// ```
/// use std::time::Duration;
/// use ttn::{ErrorKind, MqttClient};
///
/// let client = MqttClient::new("my-app@ttn", "NNSXS.ID.SECRET")?;
/// client.set_retry_callback(|retry| {
///     match retry.error().kind() {
///         // The key was rotated: the new one lies where the old one was.
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

    /// Why the attempt failed, or how the connection ended.
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

    /// How many attempts have failed since the client set out to connect or was connected last; 0
    /// when a connection was lost.
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

    /// After which delay the client tries again; `None` when it gives up.
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

    /// Has the client try again after this, also when it was about to give up. No longer than a
    /// year; a `connect` whose [time](ConnectRetry::For) would be over by then fails at once.
    ///
    /// ```
    /// # use ttn::Retry;
    /// fn every_ten_seconds(retry: &mut Retry) {
    ///     retry.set_delay(std::time::Duration::from_secs(10));
    /// }
    /// ```
    pub fn set_delay(&mut self, delay: Duration) {
        self.delay = Some(delay.min(Duration::from_secs(365 * 86_400)));
    }

    /// Has the client give up, with this error as the reason: `connect` returns it, and a client that
    /// was connected before closes.
    ///
    /// ```
    /// # use ttn::{ErrorKind, Retry};
    /// fn only_while_it_may_help(retry: &mut Retry) {
    ///     if !retry.error().is_transient() {
    ///         retry.give_up();
    ///     }
    /// }
    /// ```
    pub fn give_up(&mut self) {
        self.delay = None;
    }

    /// The access key to use from now on.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] when it cannot be a key of the network; the old one stays.
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

/// The user's closure, on a thread of its own, since it may take long. The thread ends when this is
/// dropped.
pub(crate) struct Hook {
    questions: Sender<Question>,
    busy: Arc<AtomicBool>,
}

struct Question {
    retry: Retry,
    answer: Answer,
}

type Answer = Box<dyn FnOnce(Result<Retry, CallbackFailed>) + Send>;

impl Hook {
    pub(crate) fn start<F, R>(mut callback: F) -> io::Result<Self>
    where
        F: FnMut(&mut Retry) -> R + Send + 'static,
        R: CallbackResult,
    {
        let (sender, questions) = bounded::<Question>(1);
        let busy = Arc::new(AtomicBool::new(false));
        let hook = Self {
            questions: sender,
            busy: Arc::clone(&busy),
        };
        thread::Builder::new()
            .name("ttn-retry".to_owned())
            .spawn(move || {
                for Question { mut retry, answer } in questions {
                    let called = call_safely("retry", || result_of(callback(&mut retry)));
                    busy.store(false, Ordering::Release);
                    answer(called.map(|()| retry));
                }
            })?;
        Ok(hook)
    }

    /// Asks what to make of it, or hears how the closure failed; then the plan stands. Whether it
    /// is asked: while it is busy with an earlier question it is not.
    pub(crate) fn ask(
        &self,
        retry: Retry,
        answer: impl FnOnce(Result<Retry, CallbackFailed>) + Send + 'static,
    ) -> bool {
        let question = Question {
            retry,
            answer: Box::new(answer),
        };
        !self.busy.swap(true, Ordering::AcqRel) && self.questions.send(question).is_ok()
    }
}

/// Why the client is connecting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mandate {
    /// `connect` was called: one attempt.
    Once,
    /// `connect` was called, and goes on trying until then.
    Until(Option<Instant>),
    /// A connection has worked: always.
    Kept,
}

impl Mandate {
    pub(crate) fn of(retry: ConnectRetry, now: Instant) -> Self {
        match retry {
            ConnectRetry::Never => Self::Once,
            ConnectRetry::For(time) => Self::Until(now.checked_add(time)),
            ConnectRetry::Forever => Self::Until(None),
        }
    }

    /// Whether there is time for an attempt after this delay.
    pub(crate) fn allows(self, delay: Duration, now: Instant) -> bool {
        match self {
            Self::Until(Some(until)) => now + delay < until,
            _ => true,
        }
    }
}

/// The delays between attempts.
#[derive(Debug)]
pub(crate) struct Plan {
    backoff: Backoff,
    shortest: Duration,
    refused_first: Option<Duration>,
    refused_later: Option<Duration>,
}

impl Plan {
    pub(crate) fn new(options: &Options) -> Self {
        let (shortest, longest) = options.reconnect_delay;
        let (refused_first, refused_later) = options.refused_retry;
        Self {
            backoff: Backoff::new(shortest, longest, fastrand::Rng::new()),
            shortest,
            refused_first,
            refused_later,
        }
    }

    /// What went wrong before is history.
    pub(crate) fn reset(&mut self) {
        self.backoff.reset();
    }

    /// When to try again after this error; `None` for never.
    pub(crate) fn delay(
        &mut self,
        error: &Error,
        mandate: Mandate,
        now: Instant,
    ) -> Option<Duration> {
        match (mandate, error.kind()) {
            (Mandate::Once, _) => None,
            (Mandate::Kept, kind) if is_refusal(kind) => self.refused_later,
            (Mandate::Kept, _) => Some(self.backoff.next_delay()),
            // What is wrong with the options stays so.
            (Mandate::Until(_), ErrorKind::Config) => None,
            (Mandate::Until(until), kind) => {
                let (delay, least) = if is_refusal(kind) {
                    (self.refused_first?, self.refused_first?)
                } else {
                    (self.backoff.next_delay(), self.shortest)
                };
                let Some(until) = until else {
                    return Some(delay);
                };
                // There has to be time for an attempt after it.
                let left = until.saturating_duration_since(now);
                (left > least).then(|| delay.min(left / 2).max(least))
            }
        }
    }
}

/// Whether the server refuses what the client is.
fn is_refusal(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::NotAuthorized | ErrorKind::SubscriptionRefused
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn plan() -> Plan {
        Plan {
            backoff: Backoff::new(SECOND, 60 * SECOND, fastrand::Rng::with_seed(7)),
            shortest: SECOND,
            refused_first: None,
            refused_later: Some(60 * SECOND),
        }
    }

    fn failed(kind: ErrorKind) -> Error {
        Error::new(kind, "no")
    }

    #[test]
    fn one_attempt_is_one_attempt() {
        let now = Instant::now();
        let lost = failed(ErrorKind::TimedOut);
        assert_eq!(plan().delay(&lost, Mandate::Once, now), None);
    }

    #[test]
    fn refused_keys_stop_the_first_connecting_and_slow_down_later_ones() {
        let now = Instant::now();
        let refused = failed(ErrorKind::NotAuthorized);
        let mut plan = plan();
        for refused in [&refused, &failed(ErrorKind::SubscriptionRefused)] {
            assert_eq!(plan.delay(refused, Mandate::Until(None), now), None);
            assert_eq!(plan.delay(refused, Mandate::Kept, now), Some(60 * SECOND));
        }
        (plan.refused_first, plan.refused_later) = (Some(5 * SECOND), None);
        assert_eq!(
            plan.delay(&refused, Mandate::Until(None), now),
            Some(5 * SECOND)
        );
        assert_eq!(plan.delay(&refused, Mandate::Kept, now), None);
    }

    #[test]
    fn wrong_options_are_not_tried_again() {
        let config = failed(ErrorKind::Config);
        let now = Instant::now();
        assert_eq!(plan().delay(&config, Mandate::Until(None), now), None);
        assert!(plan().delay(&config, Mandate::Kept, now).is_some());
    }

    #[test]
    fn the_last_attempts_come_before_the_deadline() {
        let start = Instant::now();
        let until = Some(start + 30 * SECOND);
        let lost = failed(ErrorKind::ConnectionRefused);
        let mut plan = plan();
        let mut now = start;
        let mut attempts = 0;
        while let Some(delay) = plan.delay(&lost, Mandate::Until(until), now) {
            assert!(delay >= SECOND);
            now += delay;
            attempts += 1;
        }
        assert!(now < start + 31 * SECOND, "{:?}", now - start);
        assert!(now > start + 28 * SECOND, "{:?}", now - start);
        assert!(attempts < 12, "{attempts}");
    }
}
