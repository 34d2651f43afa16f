//! When to retry, and what an outage cost.

mod backoff;
mod outages;
mod plan;
mod retry;
mod retry_callback;

pub(crate) use outages::{Customs, Loss, Outages};
pub(crate) use plan::{Mandate, Plan};
pub use retry::Retry;
pub(crate) use retry_callback::RetryCallback;
