//! Certificates as they are given: files or bytes.

use std::{
    env, fmt, fs, io,
    io::Write,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use tempfile::NamedTempFile;

use crate::{
    error::{Error, ErrorKind, Result},
    transport::TlsFiles,
};

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

impl Pem {
    /// The bytes, if they look like PEM.
    fn read(&self, what: &str) -> Result<Vec<u8>> {
        let bytes = match self {
            Self::Bytes(bytes) => bytes.clone(),
            Self::File(path) => fs::read(path).map_err(|cause| {
                let kind = match ErrorKind::of_io(&cause) {
                    Some(ErrorKind::ResourcesExhausted) => ErrorKind::ResourcesExhausted,
                    _ => ErrorKind::Config,
                };
                let context = format!("cannot read the {what} {}: {cause}", path.display());
                Error::with_source(kind, context, cause)
            })?,
        };
        if !bytes.windows(11).any(|text| text == b"-----BEGIN ") {
            return Err(Error::config(format!(
                "the {what} ({self:?}) are not PEM text"
            )));
        }
        Ok(bytes)
    }
}

/// Whom the client trusts and how it shows who it is.
#[derive(Debug, Default)]
pub(crate) struct Certificates {
    /// Instead of the system's authorities.
    pub(crate) ca: Option<Pem>,
    pub(crate) certificate_and_key: Option<(Pem, Pem)>,
    /// Bytes written down for Paho; private to this user, removed with this value.
    written: Mutex<Vec<(Vec<u8>, NamedTempFile)>>,
}

impl Certificates {
    pub(crate) fn new(ca: Option<Pem>, certificate_and_key: Option<(Pem, Pem)>) -> Self {
        Self {
            ca,
            certificate_and_key,
            written: Mutex::default(),
        }
    }

    /// The bytes of the authorities to trust instead of the system's.
    pub(crate) fn ca_bytes(&self) -> Result<Option<Vec<u8>>> {
        self.ca
            .as_ref()
            .map(|ca| ca.read("CA certificates"))
            .transpose()
    }

    /// The certificates as files, which exist as long as this value. Checks that all of them can be
    /// read.
    pub(crate) fn files(&self) -> Result<TlsFiles> {
        let ca = match &self.ca {
            Some(ca) => Some(self.file(ca, "CA certificates")?),
            None => None,
        };
        let certificate_and_key = match &self.certificate_and_key {
            Some((certificate, key)) => Some((
                self.file(certificate, "client certificate")?,
                self.file(key, "client key")?,
            )),
            None => None,
        };
        Ok(TlsFiles {
            ca,
            certificate_and_key,
        })
    }

    /// Removes what was written down; it is written again when it is needed again. A thread that
    /// still holds this value may end with the process, and then drops nothing.
    pub(crate) fn remove_files(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(Vec<u8>, NamedTempFile)>> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn file(&self, pem: &Pem, what: &str) -> Result<PathBuf> {
        let bytes = pem.read(what)?;
        if let Pem::File(path) = pem {
            return Ok(path.clone());
        }
        let mut written = self.lock();
        if let Some((_, file)) = written.iter().find(|(known, _)| *known == bytes) {
            return Ok(file.path().to_owned());
        }
        let file = write_down(&bytes).map_err(|cause| {
            // The number of the error is lost in it, but not in that of another try.
            let folder = fs::read_dir(env::temp_dir()).err();
            let kind = ErrorKind::of_io(&cause)
                .or_else(|| ErrorKind::of_io(folder.as_ref()?))
                .unwrap_or(ErrorKind::Config);
            Error::with_source(
                kind,
                format!("cannot write the {what} to a temporary file: {cause}"),
                cause,
            )
        })?;
        let path = Path::to_owned(file.path());
        written.push((bytes, file));
        Ok(path)
    }
}

fn write_down(bytes: &[u8]) -> io::Result<NamedTempFile> {
    let mut file = NamedTempFile::with_prefix("ttn-")?;
    file.write_all(bytes)?;
    file.flush()?;
    Ok(file)
}
