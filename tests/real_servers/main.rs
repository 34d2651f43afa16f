//! What a real server of The Things Stack sent, played again on the simulated network and compared.
//!
//! The recordings are in `tests/fixtures/v3-real`. A test has one line for each of them; what a recording
//! does not say (a gateway without location, a payload formatter) stands beside that line.

#![allow(unreachable_pub, reason = "this target exports nothing anyway")]

#[path = "../support/mod.rs"]
mod support;

mod class_a;
mod class_c;
mod difference;
mod formatters;
mod json;
mod normal;
mod own_keys;
mod recording;
mod requests;
mod sessions;
mod stage;
mod uplinks;
