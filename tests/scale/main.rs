//! Several processes behind a broker or a cluster: consumers, brokers and nodes are killed, and every message is
//! accounted for. Apart because these tests need the whole machine; they take turns.
#![cfg(target_os = "linux")]
#![allow(unreachable_pub, reason = "this program exports nothing anyway")]

#[path = "../support/mod.rs"]
mod support;

mod account;
mod cluster;
mod consumers;
mod ends;
mod feed;
mod group;
mod publisher;

use std::{
    env,
    ffi::OsStr,
    fmt::Display,
    io::{self, Write},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use support::watchdog::{Watchdog, watchdog};

/// The time limit for a test.
const LIMIT: Duration = Duration::from_secs(300);

/// Held by the running test.
static TURN: Mutex<()> = Mutex::new(());

/// Waits until no other test runs; the time limit begins then.
#[track_caller]
fn turn() -> (MutexGuard<'static, ()>, Watchdog) {
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    (turn, watchdog(LIMIT))
}

/// Whether the tests run in full length, which takes ten minutes.
fn is_long() -> bool {
    env::var_os("TTN_TEST_LONG").as_deref() == Some(OsStr::new("1"))
}

/// How many messages are published.
fn messages() -> u32 {
    if is_long() { 20_000 } else { 5_000 }
}

/// Prints what was measured. Not `println!`: the test harness would swallow it.
fn print(title: &str, account: &dyn Display) {
    let _ = writeln!(io::stderr(), "{title}: {account}");
}
