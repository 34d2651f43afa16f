//! Cuts the link to a server at random, for a number of minutes or cuts, and accounts for every
//! uplink; then floods the client. If a sum does not match, the program ends with an error, the seed
//! and the events around it.
//!
//! ```text
//! cargo run --release --example soak -- 10000
//! cargo run --release --example soak -- 30m 42 v2 mosquitto
//! cargo run --release --example soak -- 100000d
//! cargo run --release --example soak -- 5000 42 v3 storage
//! ```
//!
//! With a number of downlinks, it sends these at random instead, and compares every delivery with what
//! the device received. With `storage` or `events` as the server, a v3 network that keeps uplinks, the client
//! fetches what it misses, and what is lost has to be what it reports as uncovered.
//!
//! Arguments: the number of cuts, of minutes with an `m`, or of downlinks with a `d`; the seed; the
//! network, `v2` or `v3`; the server, `simulator`, `mosquitto`, or for downlinks `plain`, a simulator of V2
//! with a plain broker, `http`, one of v3 whose HTTP server is fast, slow, silent and failing in turn,
//! `over-http`, the same with downlinks that go over HTTP, `storage` or `events`; the last two with a key that may
//! read only traffic if `traffic` follows.

#[cfg(unix)]
#[path = "../tests/support/mod.rs"]
mod support;

#[cfg(unix)]
fn main() -> anyhow::Result<()> {
    use anyhow::Context;
    use support::{
        deliveries::{self, Plan},
        harness::Harness,
        outages,
        soak::{self, Until},
    };
    use ttn::{BackfillSource, Network, Over};

    let mut arguments = std::env::args().skip(1);
    let length = arguments.next().unwrap_or_else(|| "100".to_owned());
    let seed = match arguments.next() {
        Some(seed) => seed.parse()?,
        None => fastrand::u64(..),
    };
    let network = match arguments.next().as_deref() {
        Some("v2") => Network::V2,
        Some("v3") | None => Network::V3,
        Some(other) => anyhow::bail!("unknown network {other:?}: use v2 or v3"),
    };
    let server = arguments.next();
    let source = match server.as_deref() {
        Some("storage") => Some(BackfillSource::Storage),
        Some("events") => Some(BackfillSource::Events),
        _ => None,
    };
    if let Some(source) = source {
        let account = outages::run(outages::Plan {
            source,
            reads_devices: arguments.next().as_deref() != Some("traffic"),
            cuts: length.parse()?,
            seed,
        });
        println!("{account}");
        account.assert_exact();
        return Ok(());
    }
    let asks_over_http = matches!(server.as_deref(), Some("http" | "over-http"));
    let over = match server.as_deref() {
        Some("over-http") => Over::Http,
        _ => Over::Mqtt,
    };
    let (is_simulated, plain_broker) = match server.as_deref() {
        Some("simulator" | "http" | "over-http") | None => (true, false),
        Some("plain") => (true, true),
        Some("mosquitto") => (false, true),
        Some(other) => {
            anyhow::bail!(
                "unknown server {other:?}: use simulator, http, over-http, plain, mosquitto, storage or events"
            )
        }
    };
    if let Some(downlinks) = length.strip_suffix('d') {
        let account = deliveries::run(Plan {
            network,
            downlinks: downlinks.parse()?,
            outages: true,
            plain_broker,
            asks_over_http,
            over,
            seed,
        });
        println!("{account}");
        account.assert_true();
        return Ok(());
    }
    let until = match length.strip_suffix('m') {
        Some(minutes) => Until::Minutes(minutes.parse()?),
        None => Until::Cuts(length.parse()?),
    };
    let harness = || {
        let harness = if is_simulated {
            Some(Harness::simulator(network))
        } else {
            Harness::mosquitto(network)
        };
        harness.context("Mosquitto is not installed")
    };

    let mut reports = vec![("cuts", soak::cuts(harness()?, until, seed))];
    reports.push(("flood", soak::flood(harness()?, 100_000, seed)));
    if is_simulated {
        let report = soak::server_drops(harness()?, 100_000, seed);
        reports.push(("a server that drops", report));
    }
    for (name, report) in &reports {
        println!("{name}: {report}");
    }
    for (_, report) in reports {
        report.assert_exact();
    }
    Ok(())
}

#[cfg(not(unix))]
fn main() {
    eprintln!("The servers of this example run only on Unix.");
}
