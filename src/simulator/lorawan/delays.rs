//! How long the real network takes.

use std::time::Duration;

use fastrand::Rng;

/// How long the real network of The Things Stack takes, times a factor.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Delays {
    pub(crate) factor: f64,
}

impl Delays {
    fn millis(self, millis: f64) -> Duration {
        let seconds = millis / 1_000.0 * self.factor;
        Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
    }

    fn between(self, shortest: f64, longest: f64, random: &mut Rng) -> Duration {
        self.millis(shortest + (longest - shortest) * random.f64())
    }

    /// Returns how long the network waits for copies of an uplink.
    pub(crate) fn deduplication(self) -> Duration {
        self.millis(200.0)
    }

    /// Returns how long a join takes.
    pub(crate) fn join(self) -> Duration {
        self.millis(3_800.0)
    }

    /// Returns how long the network waits before it answers an uplink that it published.
    pub(crate) fn receive_window(self) -> Duration {
        self.millis(200.0)
    }

    /// Returns how long the first downlink waits for a class C device.
    pub(crate) fn first_pause(self, random: &mut Rng) -> Duration {
        self.between(200.0, 2_300.0, random)
    }

    /// Returns how long the next downlink to a class C device waits.
    pub(crate) fn next_pause(self, random: &mut Rng) -> Duration {
        self.between(1_500.0, 2_500.0, random)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_scale_and_pauses_vary() {
        let delays = Delays { factor: 0.1 };
        assert_eq!(delays.deduplication(), Duration::from_millis(20));
        assert_eq!(delays.join(), Duration::from_millis(380));
        let mut random = Rng::with_seed(1);
        let pauses: Vec<_> = (0..100).map(|_| delays.next_pause(&mut random)).collect();
        let range = Duration::from_millis(150)..=Duration::from_millis(250);
        assert!(pauses.iter().all(|pause| range.contains(pause)));
        assert!(pauses.iter().any(|pause| *pause != pauses[0]));
        assert_eq!(Delays { factor: f64::MAX }.join(), Duration::MAX);
    }
}
