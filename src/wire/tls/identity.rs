//! How a client proves its identity.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use rustls::{
    SignatureScheme,
    client::ResolvesClientCert,
    crypto::CryptoProvider,
    pki_types::{CertificateDer, pem::PemObject},
    sign::CertifiedKey,
};

use super::{certificate::Certificate, client_key};
use crate::{
    config::{Certificates, ClientCertificate, Pem},
    error::{Error, Result},
};

/// The client's certificate with its key.
pub(super) struct Identity {
    key: Arc<CertifiedKey>,
    /// When it expires, in seconds since 1970.
    pub(super) not_after: u64,
}

impl Identity {
    pub(super) fn read(
        certificates: &Certificates,
        provider: &CryptoProvider,
    ) -> Result<Option<Self>> {
        let Some(ClientCertificate {
            chain: certificate,
            key,
        }) = &certificates.client_certificate
        else {
            return Ok(None);
        };
        let chain = read_chain(certificate)?;
        let damaged = || unusable(certificate, "is damaged");
        let own = Certificate::parse(chain.first().ok_or_else(damaged)?).ok_or_else(damaged)?;
        let passphrase = certificates.passphrase.as_ref();
        let signing_key = client_key::read(key, passphrase, provider)?;
        // Not with rustls, which rejects version 1 certificates that servers accept.
        let fits = signing_key
            .public_key()
            .is_none_or(|public_key| *public_key == *own.public_key);
        if !fits {
            return Err(Error::config(format!(
                "the certificates cannot be used: the client key {key} does not belong to the client certificate {certificate}"
            )));
        }
        let not_after = own.not_after;
        Ok(Some(Self {
            key: Arc::new(CertifiedKey::new(chain, signing_key)),
            not_after,
        }))
    }
}

fn read_chain(pem: &Pem) -> Result<Vec<CertificateDer<'static>>> {
    let bytes = pem.read("client certificate")?;
    let chain = CertificateDer::pem_slice_iter(&bytes)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|cause| unusable(pem, &format!("is damaged ({cause})")))?;
    if chain.is_empty() {
        return Err(unusable(pem, "contains no certificate"));
    }
    Ok(chain)
}

fn unusable(pem: &Pem, why: &str) -> Error {
    Error::config(format!(
        "the certificates cannot be used: the client certificate {pem} {why}"
    ))
}

/// Presents the identity to one server, and notes whether the server asked for it.
pub(super) struct Presenter {
    key: Option<Arc<CertifiedKey>>,
    asked: AtomicBool,
}

impl Presenter {
    pub(super) fn new(identity: Option<&Identity>) -> Self {
        Self {
            key: identity.map(|identity| Arc::clone(&identity.key)),
            asked: AtomicBool::new(false),
        }
    }

    pub(super) fn was_asked(&self) -> bool {
        self.asked.load(Ordering::Relaxed)
    }
}

impl fmt::Debug for Presenter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Presenter").finish_non_exhaustive()
    }
}

impl ResolvesClientCert for Presenter {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.asked.store(true, Ordering::Relaxed);
        self.key.clone()
    }

    fn has_certs(&self) -> bool {
        self.key.is_some()
    }
}
