//! The command-line tool, as a process: arguments, pipes, signals, exit statuses and what it prints.

mod program;

#[path = "../support/mod.rs"]
mod support;

mod exits;
