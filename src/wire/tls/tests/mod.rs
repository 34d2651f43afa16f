//! TLS against a server in memory.

mod accepted;
mod client_certificates;
mod line;
mod peer;
mod refused;
