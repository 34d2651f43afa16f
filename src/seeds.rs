//! Random numbers for tests, the same ones each time.

use std::{ops::Range, thread};

use fastrand::Rng;

/// Runs a check with the random numbers of each seed. A failure prints the seed.
pub(crate) fn for_seeds(count: u64, mut check: impl FnMut(&mut Rng)) {
    for seed in 0..count {
        let _named = Named(seed);
        check(&mut Rng::with_seed(seed));
    }
}

/// Returns some of the parts as one text; `count` is the range of their number.
#[allow(
    dead_code,
    reason = "tests/decoding includes this file and has no use for it"
)]
pub(crate) fn text_of(random: &mut Rng, parts: &[&str], count: Range<usize>) -> String {
    let count = random.usize(count);
    (0..count)
        .map(|_| parts[random.usize(..parts.len())])
        .collect()
}

struct Named(u64);

impl Drop for Named {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("it failed with seed {}", self.0);
        }
    }
}
