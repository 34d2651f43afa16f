//! Whether a port speaks TLS.

#[cfg(feature = "tls")]
use std::sync::Arc;

#[cfg(feature = "tls")]
use super::tls::Authority;

/// How clients talk to a port.
#[derive(Clone)]
pub(crate) enum Security {
    Plain,
    #[cfg(feature = "tls")]
    Tls(Arc<Authority>),
}
