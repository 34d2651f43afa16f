//! What the client and the simulated network promise, with one module for each promise. Nearly all
//! of these tests wait, so many of them run at once.

#[path = "../support/mod.rs"]
mod support;

mod acknowledge;
mod addresses;
mod backfill;
mod backfill_pressure;
mod backfill_servers;
mod broker;
mod callbacks;
mod closing;
mod connection;
mod counters;
mod deliveries;
mod devices;
mod discovery;
mod discovery_v3;
mod doctor;
mod downlinks;
mod downlinks_over_http;
mod downlinks_v3;
mod errors;
mod events;
mod fair_use;
mod faults;
mod feed;
mod following;
#[cfg(unix)]
mod hostile_brokers;
mod http_refusals;
mod like_the_real_v2;
mod metrics;
mod mosquitto;
mod names;
mod offline;
mod outcomes;
#[cfg(unix)]
mod own_broker;
#[cfg(unix)]
mod own_broker_groups;
mod pacing;
mod proxy;
mod reconnect;
mod recordings;
mod refused_keys;
mod resuming;
mod rights;
mod simulator;
mod simulator_v3;
mod support_works;
mod tls;
mod tls_kinds;
mod unconfirmed_v3;
mod without_tls;
mod workers;
