//! The command-line tool, as a process: arguments, pipes, signals, exit statuses and what it prints.

mod program;

#[path = "../support/mod.rs"]
mod support;

mod backfill;
mod clear;
mod devices;
mod doctor;
mod exits;
mod feed;
mod foreign_clients;
mod help;
mod keys;
#[cfg(target_os = "linux")]
mod killed_feed;
mod listen;
mod queue;
mod record;
mod replay;
mod send;
mod simulate;
