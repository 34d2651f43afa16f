//! Whether and when to retry. Reads no clock; the caller passes the time.

use std::time::{Duration, Instant};

use super::backoff::Backoff;
use crate::{
    config::{ConnectRetry, ReconnectDelay, RefusedRetry},
    error::{Error, ErrorKind},
};

/// Why the client is connecting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mandate {
    /// `connect` was called: one attempt.
    Once,
    /// `connect` was called, and retries until this time; `None` if there is no limit.
    Until(Option<Instant>),
    /// A connection was lost: retries without a limit.
    Reconnect,
}

impl Mandate {
    /// Returns the mandate of a call of `connect`.
    pub(crate) fn of(retry: ConnectRetry, now: Instant) -> Self {
        match retry {
            ConnectRetry::Never => Self::Once,
            ConnectRetry::For(time) => Self::Until(now.checked_add(time)),
            ConnectRetry::Forever => Self::Until(None),
        }
    }

    /// Returns whether there is time for an attempt after this delay.
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
    refused: RefusedRetry,
}

impl Plan {
    pub(crate) fn new(
        ReconnectDelay { shortest, longest }: ReconnectDelay,
        refused: RefusedRetry,
    ) -> Self {
        Self {
            backoff: Backoff::new(shortest, longest, fastrand::Rng::new()),
            shortest,
            refused,
        }
    }

    /// Starts again with short delays.
    pub(crate) fn reset(&mut self) {
        self.backoff.reset();
    }

    /// Returns the delay before the next attempt after this error; `None` to give up.
    pub(crate) fn delay(
        &mut self,
        error: &Error,
        mandate: Mandate,
        now: Instant,
    ) -> Option<Duration> {
        match (mandate, error.kind()) {
            (Mandate::Once, _) => None,
            (Mandate::Reconnect, kind) if is_refusal(kind) => self.refused.after,
            (Mandate::Reconnect, _) => Some(self.backoff.next_delay()),
            // Retrying does not fix a wrong option.
            (Mandate::Until(_), ErrorKind::Config) => None,
            (Mandate::Until(until), kind) => {
                let (delay, least) = if is_refusal(kind) {
                    (self.refused.before?, self.refused.before?)
                } else {
                    (self.backoff.next_delay(), self.shortest)
                };
                let Some(until) = until else {
                    return Some(delay);
                };
                // Leaves time for an attempt after the delay.
                let left = until.saturating_duration_since(now);
                (left > least).then(|| delay.min(left / 2).max(least))
            }
        }
    }
}

/// Returns whether the server refuses the client's identity, or does not do what its options need.
fn is_refusal(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::NotAuthorized | ErrorKind::SubscriptionRefused | ErrorKind::SharedSubscription
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
            refused: RefusedRetry {
                before: None,
                after: Some(60 * SECOND),
            },
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
            assert_eq!(
                plan.delay(refused, Mandate::Reconnect, now),
                Some(60 * SECOND)
            );
        }
        plan.refused = RefusedRetry {
            before: Some(5 * SECOND),
            after: None,
        };
        assert_eq!(
            plan.delay(&refused, Mandate::Until(None), now),
            Some(5 * SECOND)
        );
        assert_eq!(plan.delay(&refused, Mandate::Reconnect, now), None);
    }

    #[test]
    fn wrong_options_are_not_tried_again() {
        let config = failed(ErrorKind::Config);
        let now = Instant::now();
        assert_eq!(plan().delay(&config, Mandate::Until(None), now), None);
        assert!(plan().delay(&config, Mandate::Reconnect, now).is_some());
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
