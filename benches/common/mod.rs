//! What the benchmarks share: a source of uplinks, Paho as one uses it by hand, tables.
#![allow(dead_code, reason = "each program uses a part of it")]
#![allow(unreachable_pub, reason = "programs export nothing anyway")]

#[path = "../../tests/support/mod.rs"]
mod support;

pub mod bare;
pub mod figures;
pub mod messages;
pub mod report;
pub mod source;

use std::time::Duration;

use ttn::{MqttClient, MqttClientBuilder};

pub use support::watchdog::watchdog;

pub const APP: &str = "bench-app";

/// How long anything may take that should happen soon.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The client under test, with default options but for the address; it gives up instead of
/// connecting again.
pub fn client(source: &source::Source) -> MqttClientBuilder {
    MqttClient::builder(APP, "ttn-account-v2.bench")
        .mqtt_address(format!("mqtt://{}", source.address()))
        .reconnect(false)
}

/// What this process uses.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    pub threads: usize,
    pub descriptors: usize,
    pub resident_kib: usize,
}

impl Usage {
    /// Nothing on a system that does not tell.
    pub fn now() -> Option<Self> {
        #[cfg(target_os = "linux")]
        return Some(Self {
            threads: support::resources::threads(),
            descriptors: support::resources::descriptors(),
            resident_kib: support::resources::resident_kib(),
        });
        #[cfg(not(target_os = "linux"))]
        None
    }

    /// What is used once threads that are about to end have ended.
    pub fn settled() -> Option<Self> {
        let mut last = Self::now()?;
        for _ in 0..50 {
            support::resources::pause(Duration::from_millis(20));
            let now = Self::now()?;
            if (now.threads, now.descriptors) == (last.threads, last.descriptors) {
                return Some(now);
            }
            last = now;
        }
        Some(last)
    }
}

/// Seconds for which processors have worked for this process; nothing on a system that does not
/// tell.
pub fn processor_seconds() -> Option<f64> {
    // Linux counts in hundredths of a second.
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let (_, after_name) = stat.rsplit_once(')')?;
    let user_and_system = after_name.split_whitespace().skip(11).take(2);
    let ticks = user_and_system.map(|ticks| ticks.parse::<f64>().ok());
    Some(ticks.sum::<Option<f64>>()? / 100.0)
}
