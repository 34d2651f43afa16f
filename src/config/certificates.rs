//! Certificates as they are given: files or bytes.

use std::{fmt, fs, path::PathBuf};

use crate::error::{Error, ErrorKind, Result};

/// PEM text, somewhere.
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

/// As part of a sentence, after what it is.
impl fmt::Display for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Bytes(bytes) => write!(f, "from memory ({} bytes)", bytes.len()),
        }
    }
}

/// What a client key is encrypted with. It prints as nothing.
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
    /// The bytes, if they look like PEM.
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
                "the {what} {self}: this is not PEM text"
            )));
        }
        Ok(bytes)
    }
}

/// Whom the client trusts and how it shows who it is.
#[derive(Debug, Default)]
#[cfg_attr(
    not(feature = "tls"),
    expect(dead_code, reason = "nothing reads certificates")
)]
pub(crate) struct Certificates {
    /// Instead of the system's authorities.
    pub(crate) ca: Option<Pem>,
    pub(crate) certificate_and_key: Option<(Pem, Pem)>,
    /// Of the key.
    pub(crate) passphrase: Option<Passphrase>,
}

impl Certificates {
    pub(crate) fn new(
        ca: Option<Pem>,
        certificate_and_key: Option<(Pem, Pem)>,
        passphrase: Option<Passphrase>,
    ) -> Self {
        Self {
            ca,
            certificate_and_key,
            passphrase,
        }
    }
}
