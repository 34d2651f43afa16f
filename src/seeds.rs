//! Random numbers for tests, the same ones each time.

use std::thread;

use fastrand::Rng;

/// Runs a check with the random numbers of each seed. A failure prints the seed.
pub(crate) fn for_seeds(count: u64, mut check: impl FnMut(&mut Rng)) {
    for seed in 0..count {
        let _named = Named(seed);
        check(&mut Rng::with_seed(seed));
    }
}

struct Named(u64);

impl Drop for Named {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("it failed with seed {}", self.0);
        }
    }
}
