//! Decoded messages. These tests compute, so they are separate from those that wait.

#[path = "../../src/seeds.rs"]
mod seeds;
#[path = "../support/mod.rs"]
mod support;

mod fields;
mod messages;
mod messages_v3;
mod odd_members;
mod properties;
mod real_v2;
mod records;
mod serialized;
mod several_odd;
