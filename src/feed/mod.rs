//! The feed.
mod ledger;
