//! A recording of a run reproduces the run.

mod anonymized;
