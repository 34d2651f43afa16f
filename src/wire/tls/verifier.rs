//! Checks the certificate of a server.

use std::{
    fmt,
    sync::{Arc, Mutex},
};

use rustls::{
    CertificateError, DigitallySignedStruct, Error, SignatureScheme,
    client::{
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_cert_signed_by_trust_anchor, verify_server_name,
    },
    crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::ParsedCertificate,
};

use super::authorities::Authorities;
use crate::sync;

/// Checks as rustls does, but accepts a self-signed certificate that is set as its own authority.
pub(super) struct Verifier {
    authorities: Arc<Authorities>,
    algorithms: WebPkiSupportedAlgorithms,
    /// The certificate chain, if it was refused.
    refused: Mutex<Vec<CertificateDer<'static>>>,
}

impl Verifier {
    pub(super) fn new(
        authorities: Arc<Authorities>,
        algorithms: WebPkiSupportedAlgorithms,
    ) -> Self {
        Self {
            authorities,
            algorithms,
            refused: Mutex::default(),
        }
    }

    /// Returns the chain that was refused, the server's own certificate first.
    pub(super) fn refused(&self) -> Vec<CertificateDer<'static>> {
        sync::lock(&self.refused).clone()
    }

    fn verify(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<(), Error> {
        let parsed = ParsedCertificate::try_from(certificate)?;
        let given = &self.authorities.given;
        match verify_server_cert_signed_by_trust_anchor(
            &parsed,
            &self.authorities.roots,
            intermediates,
            now,
            self.algorithms.all,
        ) {
            // The dates have been checked before this error.
            Err(error)
                if is_ca(&error)
                    && given
                        .as_ref()
                        .is_some_and(|given| given.contains(certificate)) => {}
            result => result?,
        }
        verify_server_name(&parsed, name)
    }
}

/// Returns whether a certificate was refused because it belongs to an authority.
pub(super) fn is_ca(error: &Error) -> bool {
    cause(error) == Some(&webpki::Error::CaUsedAsEndEntity)
}

/// Returns the verifier's error, where rustls has none of its own for it.
pub(super) fn cause(error: &Error) -> Option<&webpki::Error> {
    match error {
        Error::InvalidCertificate(CertificateError::Other(other)) => other.0.downcast_ref(),
        _ => None,
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier").finish_non_exhaustive()
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match self.verify(certificate, intermediates, name, now) {
            Ok(()) => Ok(ServerCertVerified::assertion()),
            Err(error) => {
                let chain = [certificate].into_iter().chain(intermediates);
                let chain = chain.map(|certificate| certificate.clone().into_owned());
                *sync::lock(&self.refused) = chain.collect();
                Err(error)
            }
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
