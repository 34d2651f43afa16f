//! Certificates and keys as files or bytes, not parsed.

use std::{fmt, fs, path::PathBuf};

use crate::error::{Error, ErrorKind, Result};

/// Where PEM text is.
#[derive(Clone)]
pub(crate) enum Pem {
    File(PathBuf),
    Bytes(Vec<u8>),
}

impl fmt::Debug for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.fmt(f),
            Self::Bytes(bytes) => write!(f, "{} bytes", bytes.len()),
        }
    }
}

/// Writes where the text is, as part of a sentence after its kind.
impl fmt::Display for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Bytes(bytes) => write!(f, "from memory ({} bytes)", bytes.len()),
        }
    }
}

/// The passphrase that a client key is encrypted with. Never printed.
#[derive(Clone)]
pub(crate) struct Passphrase(#[cfg(feature = "encrypted-keys")] String);

#[cfg(feature = "encrypted-keys")]
impl Passphrase {
    pub(crate) fn new(passphrase: String) -> Self {
        Self(passphrase)
    }

    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passphrase(…)")
    }
}

impl Pem {
    /// Reads the bytes and checks that they look like PEM.
    #[cfg_attr(
        not(feature = "tls"),
        expect(dead_code, reason = "nothing reads certificates")
    )]
    pub(crate) fn read(&self, what: &str) -> Result<Vec<u8>> {
        let bytes = match self {
            Self::Bytes(bytes) => bytes.clone(),
            Self::File(path) => fs::read(path).map_err(|cause| {
                let kind = match ErrorKind::of_io(&cause) {
                    Some(ErrorKind::ResourcesExhausted) => ErrorKind::ResourcesExhausted,
                    _ => ErrorKind::Config,
                };
                let context = format!("cannot read the {what} {self}: {cause}");
                Error::with_source(kind, context, cause)
            })?,
        };
        if !bytes.windows(11).any(|text| text == b"-----BEGIN ") {
            return Err(Error::config(format!(
                "the {what} {self}: it is not PEM text"
            )));
        }
        Ok(bytes)
    }
}

/// The certificate that a client presents to the server, with its chain, and its private key.
#[derive(Clone, Debug)]
#[cfg_attr(
    not(feature = "tls"),
    expect(dead_code, reason = "nothing reads certificates")
)]
pub(crate) struct ClientCertificate {
    pub(crate) chain: Pem,
    pub(crate) key: Pem,
}

/// The authorities that the client trusts, and the certificate that identifies it.
#[derive(Debug, Default)]
#[cfg_attr(
    not(feature = "tls"),
    expect(dead_code, reason = "nothing reads certificates")
)]
pub(crate) struct Certificates {
    /// The authorities to trust instead of the system's.
    pub(crate) ca: Option<Pem>,
    pub(crate) client_certificate: Option<ClientCertificate>,
    /// The passphrase of the client's key.
    pub(crate) passphrase: Option<Passphrase>,
}

impl Certificates {
    pub(crate) fn new(
        ca: Option<Pem>,
        client_certificate: Option<ClientCertificate>,
        passphrase: Option<Passphrase>,
    ) -> Self {
        Self {
            ca,
            client_certificate,
            passphrase,
        }
    }
}
