//! How much a server lets a client ask.

use std::time::Duration;

use crate::http::Answer;

/// The state of the rate limit, as an answer tells it. A server without limits tells nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Limits {
    /// How many requests may come at once.
    pub(crate) limit: Option<u32>,
    /// How many of these are left.
    pub(crate) available: Option<u32>,
    /// When all of them are back.
    pub(crate) reset: Option<Duration>,
    /// When a refused request is accepted.
    retry: Option<Duration>,
}

/// The server cuts off the parts of a second.
const CUT_OFF: u64 = 1;

impl Limits {
    pub(super) fn of(answer: &Answer) -> Self {
        Self::read(|name| answer.header(name))
    }

    /// Reads the headers, which have two spellings.
    pub(super) fn read(header: impl Fn(&str) -> Option<String>) -> Self {
        let number = |name: &str| {
            let text = header(&format!("x-rate-limit-{name}"))
                .or_else(|| header(&format!("x-ratelimit-{name}")));
            text?.trim().parse::<u32>().ok()
        };
        let seconds = |name: &str| {
            let number = number(name)?;
            Some(Duration::from_secs(u64::from(number) + CUT_OFF))
        };
        Self {
            limit: number("limit"),
            available: number("available"),
            reset: seconds("reset"),
            retry: seconds("retry"),
        }
    }

    /// Returns how long to wait before a request that was refused.
    pub(super) fn wait_after_refusal(&self) -> Option<Duration> {
        self.retry
    }

    /// Returns how long to wait before the next request so that it is not refused: nothing while requests
    /// are left, and then the time in which one of them comes back.
    pub(crate) fn pause(&self) -> Duration {
        match (self.available, self.reset, self.limit) {
            (Some(0), Some(reset), limit) => reset / limit.unwrap_or(1).max(1),
            _ => Duration::ZERO,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(headers: &[(&str, &str)]) -> Limits {
        Limits::read(|name| {
            let header = headers.iter().find(|(other, _)| *other == name);
            header.map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn the_limits_are_read_in_both_spellings_and_a_cut_second_is_added() {
        for prefix in ["x-rate-limit-", "x-ratelimit-"] {
            let name = |end: &str| format!("{prefix}{end}");
            let limits = limits(&[
                (&name("limit"), "10"),
                (&name("available"), "0"),
                (&name("reset"), "59"),
                (&name("retry"), "5"),
            ]);
            assert_eq!((limits.limit, limits.available), (Some(10), Some(0)));
            assert_eq!(limits.reset, Some(Duration::from_secs(60)));
            assert_eq!(limits.wait_after_refusal(), Some(Duration::from_secs(6)));
            assert_eq!(limits.pause(), Duration::from_secs(6));
        }
    }

    #[test]
    fn a_wait_of_0_is_still_a_second() {
        let limits = limits(&[("x-rate-limit-retry", "0")]);
        assert_eq!(limits.wait_after_refusal(), Some(Duration::from_secs(1)));
    }

    #[test]
    fn there_is_no_pause_without_limits_or_while_requests_are_left() {
        let left = [("x-rate-limit-available", "1"), ("x-rate-limit-reset", "9")];
        for headers in [&[][..], &left, &[("x-rate-limit-available", "0")]] {
            assert_eq!(limits(headers).pause(), Duration::ZERO);
        }
    }

    #[test]
    fn a_number_that_cannot_be_read_is_none() {
        for odd in ["", "-1", "1.5", "99999999999999999999", "soon"] {
            let limits = limits(&[("x-rate-limit-retry", odd), ("x-rate-limit-limit", odd)]);
            assert_eq!(limits, Limits::default(), "{odd}");
        }
        let most = limits(&[("x-rate-limit-retry", "4294967295")]);
        assert!(most.wait_after_refusal().is_some());
    }
}
