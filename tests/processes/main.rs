//! What concerns a whole process: its threads, descriptors, memory, children and end, and the floods
//! that keep it busy. A test that counts what its process holds runs alone in one.

#[path = "../support/mod.rs"]
mod support;

mod children;
mod exit;
mod idle;
mod many_clients;
mod overflow;
mod resources;
mod simulator_threads;
