//! TLS over a non-blocking socket. The only folder that names `rustls`.
//!
//! [`Trust`] holds what all connections need; [`Tls`] is one connection.

#[cfg(not(feature = "tls"))]
mod absent;
#[cfg(feature = "tls")]
mod authorities;
#[cfg(feature = "tls")]
mod certificate;
#[cfg(feature = "tls")]
mod client_key;
#[cfg(feature = "tls")]
mod connection;
#[cfg(feature = "tls")]
mod failure;
#[cfg(feature = "tls")]
mod identity;
#[cfg(all(test, feature = "tls"))]
mod tests;
#[cfg(feature = "tls")]
mod trust;
#[cfg(feature = "tls")]
mod verifier;

#[cfg(not(feature = "tls"))]
pub(crate) use absent::{Tls, Trust};
#[cfg(feature = "tls")]
pub(crate) use {connection::Tls, trust::Trust};
