//! What messages decode to. These tests compute, so they are kept from those that wait.

#[path = "../support/mod.rs"]
mod support;

mod messages;
mod messages_v3;
mod properties;
