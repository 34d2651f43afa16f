//! When to try again, and what an outage cost.

mod backoff;
mod outages;
mod retry;

pub(crate) use outages::{Loss, Outages};
pub use retry::Retry;
pub(crate) use retry::{Hook, Mandate, Plan};
