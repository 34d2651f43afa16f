//! What a client needs for TLS: whom it trusts, and how it proves its identity.

use std::{
    fmt,
    sync::{Arc, LazyLock},
};

use rustls::{
    ClientConfig, ClientConnection,
    client::Resumption,
    crypto::{CryptoProvider, ring},
    pki_types::ServerName,
};

use super::{
    authorities::Authorities,
    connection::Tls,
    identity::{Identity, Presenter},
    verifier::Verifier,
};
use crate::{
    config::Certificates,
    error::{Error, ErrorKind, Result},
};

/// How many unsent bytes rustls may buffer; its default is four times as much.
const BUFFER: usize = 16 << 10;

static PROVIDER: LazyLock<Arc<CryptoProvider>> =
    LazyLock::new(|| Arc::new(ring::default_provider()));

/// Read again for each connection, so that renewed files take effect.
#[derive(Clone)]
pub(crate) struct Trust(Arc<Inner>);

pub(super) struct Inner {
    pub(super) authorities: Arc<Authorities>,
    pub(super) identity: Option<Identity>,
}

impl Trust {
    /// Reads the files and the system's authorities.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] names what cannot be read or used, and how to fix it.
    pub(crate) fn read(certificates: &Certificates) -> Result<Self> {
        Ok(Self(Arc::new(Inner {
            authorities: Arc::new(Authorities::read(certificates.ca.as_ref())?),
            identity: Identity::read(certificates, &PROVIDER)?,
        })))
    }

    /// Starts TLS with `host`, the name or IP address for which the certificate must be valid.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] if no certificate can name this host.
    pub(crate) fn start(&self, host: &str) -> Result<Tls> {
        // The zone of a link-local address matters only to this machine.
        let (name, _zone) = host.split_once('%').unwrap_or((host, ""));
        let name = ServerName::try_from(name.to_owned()).map_err(|cause| {
            Error::with_source(
                ErrorKind::Config,
                format!("no certificate can be valid for the host {host:?}, which is neither a DNS name nor an IP address"),
                cause,
            )
        })?;
        let failed = |cause: rustls::Error| {
            let context = format!("cannot start TLS: {cause}");
            Error::with_source(ErrorKind::Tls, context, cause)
        };
        let algorithms = PROVIDER.signature_verification_algorithms;
        let verifier = Arc::new(Verifier::new(Arc::clone(&self.0.authorities), algorithms));
        let presenter = Arc::new(Presenter::new(self.0.identity.as_ref()));
        let mut config = ClientConfig::builder_with_provider(Arc::clone(&PROVIDER))
            .with_safe_default_protocol_versions()
            .map_err(failed)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::clone(&verifier) as _)
            .with_client_cert_resolver(Arc::clone(&presenter) as _);
        // Each connection has its own configuration, so there is no session to resume.
        config.resumption = Resumption::disabled();
        let mut connection = ClientConnection::new(Arc::new(config), name).map_err(failed)?;
        connection.set_buffer_limit(Some(BUFFER));
        Ok(Tls::new(
            connection,
            host.to_owned(),
            Arc::clone(&self.0),
            verifier,
            presenter,
        ))
    }

    #[cfg(test)]
    pub(super) fn shares_authorities_with(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0.authorities.roots, &other.0.authorities.roots)
    }
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trust")
            .field("authorities", &self.0.authorities.roots.len())
            .field("client_certificate", &self.0.identity.is_some())
            .finish()
    }
}
