//! What the benchmarks share: a source of uplinks, Paho used directly, tables.
#![allow(dead_code, unused_imports, reason = "each program uses a part of it")]
#![allow(unreachable_pub, reason = "programs export nothing anyway")]

#[path = "../../tests/support/mod.rs"]
mod support;

pub mod bare;
pub mod broker;
pub mod figures;
pub mod messages;
pub mod peer;
pub mod report;
pub mod source;
pub mod tls;

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use ttn::{MqttClient, MqttClientBuilder};

pub use support::{certificates::Certificates, watchdog::watchdog};

pub const APP: &str = "bench-app";

/// The application on v3, with its tenant.
pub const APP_V3: &str = "bench-app@ttn";

const KEY: &str = "ttn-account-v2.bench";
const KEY_V3: &str = "NNSXS.BENCH.SECRET";

/// Matches everything that a v3 network publishes about an application's devices.
pub const FILTER_V3: &str = "v3/bench-app@ttn/devices/+/#";

/// The time limit for anything that should happen soon.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Returns the client under test on a V2 network, with default options except for the address. It
/// gives up instead of reconnecting.
pub fn client(source: &source::Source) -> MqttClientBuilder {
    client_at(source.address(), APP, KEY)
}

/// Returns the same client on v3, at any server.
pub fn client_v3(address: SocketAddr) -> MqttClientBuilder {
    client_at(address, APP_V3, KEY_V3)
}

fn client_at(address: SocketAddr, app_id: &str, key: &str) -> MqttClientBuilder {
    MqttClient::builder(app_id, key)
        .mqtt_address(format!("mqtt://{address}"))
        .reconnect(false)
}

/// The resources that this process uses.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    pub threads: usize,
    pub descriptors: usize,
    pub resident_kib: usize,
}

impl Usage {
    /// Returns the current usage, or `None` on a system that does not report it.
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

    /// Returns the usage once threads that are about to end have ended.
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

/// Returns the CPU time of this process in seconds, or `None` on a system that does not report it.
pub fn processor_seconds() -> Option<f64> {
    // Linux counts in hundredths of a second.
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let (_, after_name) = stat.rsplit_once(')')?;
    let user_and_system = after_name.split_whitespace().skip(11).take(2);
    let ticks = user_and_system.map(|ticks| ticks.parse::<f64>().ok());
    Some(ticks.sum::<Option<f64>>()? / 100.0)
}

/// Samples the resident memory repeatedly.
pub struct Peak {
    end: Arc<AtomicBool>,
    thread: JoinHandle<usize>,
}

impl Peak {
    /// Starts with the memory of now.
    pub fn watch() -> Self {
        let end = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&end);
        let thread = thread::spawn(move || {
            let mut peak = 0;
            while !ended.load(Ordering::Relaxed) {
                peak = peak.max(Usage::now().map_or(0, |usage| usage.resident_kib));
                thread::sleep(Duration::from_millis(5));
            }
            peak
        });
        Self { end, thread }
    }

    /// Returns the most, in KiB.
    pub fn end(self) -> usize {
        self.end.store(true, Ordering::Relaxed);
        self.thread.join().expect("the thread ends well")
    }
}
