//! Tests of a whole process: its threads, descriptors, memory, children and end, and floods that
//! keep it busy. A test that counts the resources of its process runs alone in one.

#[path = "../support/mod.rs"]
mod support;

mod archive;
mod children;
mod exit;
mod forks;
mod idle;
mod killed;
mod many_clients;
mod overflow;
mod recorder;
mod resources;
mod signals;
mod simulator_threads;
mod standstill;
mod threads;
