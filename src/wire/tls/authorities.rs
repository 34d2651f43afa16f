//! The authorities that are trusted.

use std::{
    env,
    ffi::OsString,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};
use rustls_native_certs::CertificateResult;

use super::certificate::{Certificate, Clock, Name, date};
use crate::{
    config::Pem,
    error::{Error, ErrorKind, Result},
    sync,
};

/// How long the system's authorities are cached. Reading them takes milliseconds, many on a small
/// machine, and clients often connect all at once.
const FRESH: Duration = Duration::from_secs(10);

const FILE: &str = "SSL_CERT_FILE";
const FOLDER: &str = "SSL_CERT_DIR";

/// The system's authorities, shared by all connections of the process because they are larger than a
/// connection.
static SYSTEM: Mutex<Option<System>> = Mutex::new(None);

struct System {
    read: Instant,
    variables: [Option<OsString>; 2],
    roots: Arc<RootCertStore>,
}

pub(super) struct Authorities {
    pub(super) roots: Arc<RootCertStore>,
    /// The authorities of `ca_file` or `ca_pem`, including expired ones; `None` to trust the system's.
    pub(super) given: Option<Given>,
}

pub(super) struct Given {
    certificates: Vec<CertificateDer<'static>>,
}

impl Given {
    /// Returns whether exactly this certificate is set.
    pub(super) fn contains(&self, certificate: &CertificateDer<'_>) -> bool {
        self.certificates.contains(certificate)
    }

    /// Returns when the authority of this name expired, if one is set and has expired.
    pub(super) fn expiry(&self, name: Name<'_>, clock: Clock) -> Option<u64> {
        self.certificates
            .iter()
            .filter_map(|certificate| Certificate::parse(certificate))
            .filter(|certificate| {
                certificate.subject == name && clock.is_past(certificate.not_after)
            })
            .map(|certificate| certificate.not_after)
            .max()
    }
}

impl Authorities {
    /// Returns whether an authority of this name is trusted.
    pub(super) fn know(&self, name: Name<'_>) -> bool {
        let mut roots = self.roots.roots.iter();
        roots.any(|root| *root.subject == *name.0)
    }

    pub(super) fn read(ca: Option<&Pem>) -> Result<Self> {
        match ca {
            Some(ca) => Self::of_pem(ca),
            None => Ok(Self {
                roots: system()?,
                given: None,
            }),
        }
    }

    fn of_pem(ca: &Pem) -> Result<Self> {
        let pem = ca.read("CA certificates")?;
        let unusable = |why: String| {
            Error::config(format!(
                "the certificates cannot be used: the CA certificates {ca} {why}"
            ))
        };
        let certificates = CertificateDer::pem_slice_iter(&pem)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|cause| unusable(format!("are damaged ({cause})")))?;
        if certificates.is_empty() {
            return Err(unusable("contain no certificate".to_owned()));
        }
        let mut roots = RootCertStore::empty();
        let clock = Clock::read();
        for certificate in &certificates {
            if expiry_of(certificate, clock).is_some() {
                continue;
            }
            roots
                .add(certificate.clone())
                .map_err(|cause| unusable(format!("contain a damaged certificate ({cause})")))?;
        }
        Ok(Self {
            roots: Arc::new(roots),
            given: Some(Given { certificates }),
        })
    }
}

/// Returns when a root expired, if it has. The verifier does not check the dates of roots.
fn expiry_of(root: &CertificateDer<'_>, clock: Clock) -> Option<u64> {
    let not_after = Certificate::parse(root)?.not_after;
    clock.is_past(not_after).then_some(not_after)
}

/// What to trust on a system.
#[derive(Debug)]
struct Found {
    roots: RootCertStore,
    /// Why these are the built-in ones, if they are.
    built_in: Option<String>,
}

fn system() -> Result<Arc<RootCertStore>> {
    let variables = [FILE, FOLDER].map(env::var_os);
    // Holds the lock while reading: other threads would only read the same.
    let mut system = sync::lock(&SYSTEM);
    if let Some(system) = &*system {
        if system.variables == variables && system.read.elapsed() < FRESH {
            return Ok(Arc::clone(&system.roots));
        }
    }
    let found = rustls_native_certs::load_native_certs();
    let Found { roots, built_in } = choose(found, &variables, Clock::read())?;
    let mut roots = Arc::new(roots);
    if let Some(system) = &*system {
        if system.roots.roots == roots.roots {
            roots = Arc::clone(&system.roots);
        }
    }
    *system = Some(System {
        read: Instant::now(),
        variables,
        roots: Arc::clone(&roots),
    });
    // The program's logger must not run under the lock.
    drop(system);
    if let Some(why) = built_in {
        warn_once(&why);
    }
    Ok(roots)
}

fn warn_once(why: &str) {
    static SAID: AtomicBool = AtomicBool::new(false);
    if !SAID.swap(true, Ordering::Relaxed) {
        log::warn!(
            "this system has no CA certificates that can be used ({why}); servers are checked against the list that is built into ttn, which is as old as this program"
        );
    }
}

/// Returns what was found, or the built-in list if the system has nothing.
fn choose(
    found: CertificateResult,
    variables: &[Option<OsString>; 2],
    clock: Clock,
) -> Result<Found> {
    let mut roots = RootCertStore::empty();
    let (mut expired, mut last) = (0, 0);
    let usable = found.certs.into_iter().filter(|root| {
        let expiry = expiry_of(root, clock);
        expired += usize::from(expiry.is_some());
        last = last.max(expiry.unwrap_or_default());
        expiry.is_none()
    });
    roots.add_parsable_certificates(usable);
    if !roots.is_empty() {
        return Ok(Found {
            roots,
            built_in: None,
        });
    }
    let (kind, why) = match found.errors.first() {
        // A clock that is far ahead ends them all.
        _ if expired > 0 => (
            ErrorKind::CertificateExpired,
            format!(
                "all {expired} have expired, the last on {}, and {}",
                date(last),
                clock.advice()
            ),
        ),
        Some(error) => (ErrorKind::Config, error.to_string()),
        None => (ErrorKind::Config, "there is none".to_owned()),
    };
    let set: Vec<String> = [FILE, FOLDER]
        .iter()
        .zip(variables)
        .filter_map(|(name, value)| {
            let value = value.as_ref().filter(|value| !value.is_empty())?;
            Some(format!("{name}={}", value.to_string_lossy()))
        })
        .collect();
    if !set.is_empty() {
        // A user who set them wants no other authorities.
        return Err(Error::new(
            kind,
            format!(
                "the certificates cannot be used: no CA certificate can be used from the environment variable {}: {why}",
                set.join(" ")
            ),
        ));
    }
    Ok(Found {
        roots: RootCertStore {
            roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
        },
        built_in: Some(why),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_system_without_authorities_has_the_built_in_ones() {
        let Found { roots, built_in } =
            choose(CertificateResult::default(), &[None, None], Clock::read()).unwrap();
        assert!(roots.len() > 50, "{}", roots.len());
        assert!(built_in.is_some());
    }

    #[test]
    fn a_variable_that_leads_to_no_authority_is_an_error() {
        for (variables, words) in [
            ([Some("/no/such".into()), None], "SSL_CERT_FILE=/no/such"),
            ([None, Some("/no/such".into())], "SSL_CERT_DIR=/no/such"),
        ] {
            let error = choose(CertificateResult::default(), &variables, Clock::read());
            let error = error.unwrap_err();
            assert!(error.to_string().contains(words), "{error}");
            assert_eq!(error.kind(), ErrorKind::Config);
        }
    }

    #[test]
    fn a_clock_that_is_far_ahead_is_named_when_it_ends_every_authority() {
        // 2106-02-07, the last moment of an unsigned clock of 32 bits.
        let clock = Clock {
            now: u64::from(u32::MAX),
        };
        let mut parameters = rcgen::CertificateParams::new([]).unwrap();
        parameters.not_after = rcgen::date_time_ymd(2040, 5, 6);
        let key = rcgen::KeyPair::generate().unwrap();
        let root = parameters.self_signed(&key).unwrap().der().clone();
        let found = || {
            let mut found = CertificateResult::default();
            found.certs = vec![root.clone(); 2];
            found
        };
        let words = "all 2 have expired, the last on 2040-05-06T00:00:00Z, and this machine's clock says 2106-02-07";
        let Found { built_in, .. } = choose(found(), &[None, None], clock).unwrap();
        assert!(built_in.unwrap().contains(words));
        let set = [Some("/roots.pem".into()), None];
        let error = choose(found(), &set, clock).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::CertificateExpired);
        assert!(error.to_string().contains(words), "{error}");
        assert!(choose(found(), &set, Clock { now: 0 }).is_ok());
    }

    #[test]
    fn what_the_system_has_replaces_the_built_in_list() {
        let key = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let mut found = CertificateResult::default();
        found.certs.push(key.cert.der().clone());
        found.certs.push(CertificateDer::from_slice(b"rubbish"));
        let Found { roots, built_in } = choose(found, &[None, None], Clock::read()).unwrap();
        assert_eq!((roots.len(), built_in), (1, None));
    }
}
