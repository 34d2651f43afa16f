//! The rate limit: a burst, and then one request after the other, evenly.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

/// The limit of each method, entity and key.
pub(super) struct Limiter {
    burst: u32,
    /// The time between two requests.
    interval: Duration,
    /// When all requests of a resource are back.
    full_at: HashMap<String, Instant>,
}

/// What the limit says about a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rate {
    pub(super) limit: u32,
    pub(super) available: u32,
    pub(super) reset: Duration,
    /// How long to wait; `None` if it is not refused.
    pub(super) retry: Option<Duration>,
}

impl Limiter {
    /// Creates a limit of at least one request and one per minute.
    pub(super) fn new(burst: u32, per_minute: u32) -> Self {
        Self {
            burst: burst.max(1),
            interval: Duration::from_secs(60) / per_minute.max(1),
            full_at: HashMap::new(),
        }
    }

    /// Counts a request unless it is refused.
    pub(super) fn take(&mut self, resource: &str, now: Instant) -> Rate {
        let known = self.full_at.get(resource).copied().unwrap_or(now);
        let before = known.saturating_duration_since(now);
        let whole = self.interval * self.burst;
        let after = before + self.interval;
        if after > whole {
            return Rate {
                limit: self.burst,
                available: 0,
                reset: before,
                retry: Some(after - whole),
            };
        }
        self.full_at.insert(resource.to_owned(), now + after);
        let left = (whole - after).as_nanos() / self.interval.as_nanos().max(1);
        Rate {
            limit: self.burst,
            available: left as u32,
            reset: after,
            retry: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_then_one_request_after_the_other() {
        let mut limiter = Limiter::new(5, 30);
        let start = Instant::now();
        for left in (0..5).rev() {
            let rate = limiter.take("a", start);
            assert_eq!((rate.limit, rate.available, rate.retry), (5, left, None));
        }
        let refused = limiter.take("a", start);
        assert_eq!(refused.retry, Some(Duration::from_secs(2)));
        assert_eq!(refused.reset, Duration::from_secs(10));
        // Refused requests cost nothing.
        let almost = start + Duration::from_millis(1999);
        assert!(limiter.take("a", almost).retry.is_some());
        let later = start + Duration::from_secs(2);
        assert_eq!(limiter.take("a", later).retry, None);
        assert!(limiter.take("a", later).retry.is_some());
        assert_eq!(limiter.take("b", later).retry, None);
    }
}
