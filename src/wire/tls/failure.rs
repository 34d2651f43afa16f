//! Explains why TLS failed.

use std::{fmt, io, net::IpAddr};

use rustls::{
    AlertDescription, CertificateError, Error as TlsError, PeerIncompatible,
    pki_types::CertificateDer,
};

use super::{
    authorities::Authorities,
    certificate::{Certificate, Clock, Name, date},
    identity::Identity,
    verifier,
};
use crate::error::{Error, ErrorKind};

/// What is known about a connection that failed.
pub(super) struct Failure<'a> {
    pub(super) server: &'a dyn fmt::Display,
    pub(super) host: &'a str,
    pub(super) authorities: &'a Authorities,
    pub(super) identity: Option<&'a Identity>,
    /// Whether the server asked for a client certificate.
    pub(super) asked: bool,
    /// Whether the handshake was completed.
    pub(super) up: bool,
    /// The certificate chain that was refused.
    pub(super) chain: &'a [CertificateDer<'static>],
    pub(super) clock: Clock,
}

impl Failure<'_> {
    pub(super) fn explain(&self, cause: &io::Error) -> Error {
        let inner = cause.get_ref().and_then(|cause| cause.downcast_ref());
        match inner {
            Some(TlsError::InvalidCertificate(refusal)) => self.refused(refusal),
            Some(TlsError::AlertReceived(alert)) => self.alert(*alert),
            Some(cause) => self.failed(cause),
            None => self.broken(cause),
        }
    }

    /// Explains why this client refused the server's certificate.
    fn refused(&self, refusal: &CertificateError) -> Error {
        let source = TlsError::InvalidCertificate(refusal.clone());
        let (kind, why) = match refusal {
            CertificateError::NotValidYetContext { not_before, .. } => (
                ErrorKind::CertificateExpired,
                self.not_valid_yet(Some(not_before.as_secs())),
            ),
            CertificateError::NotValidYet => {
                (ErrorKind::CertificateExpired, self.not_valid_yet(None))
            }
            CertificateError::ExpiredContext { not_after, .. } => (
                ErrorKind::CertificateExpired,
                self.expired(Some(not_after.as_secs())),
            ),
            CertificateError::Expired => (ErrorKind::CertificateExpired, self.expired(None)),
            CertificateError::NotValidForNameContext { presented, .. } => {
                (ErrorKind::CertificateHostName, self.other_name(presented))
            }
            CertificateError::NotValidForName => {
                (ErrorKind::CertificateHostName, self.other_name(&[]))
            }
            CertificateError::UnknownIssuer => self.unknown_authority(),
            CertificateError::BadSignature => {
                (ErrorKind::CertificateAuthority, self.wrong_signature())
            }
            #[allow(deprecated, reason = "rustls may still return it")]
            CertificateError::UnsupportedSignatureAlgorithm
            | CertificateError::UnsupportedSignatureAlgorithmContext { .. }
            | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => (
                ErrorKind::Tls,
                "it, or one in its chain, has a signature that ttn does not accept, for example with SHA-1 or a P-521 key; sign it again with SHA-256 and an RSA, P-256, P-384 or Ed25519 key"
                    .to_owned(),
            ),
            CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => (
                ErrorKind::Tls,
                "it, or one in its chain, is for another purpose; its extended key usage must include serverAuth"
                    .to_owned(),
            ),
            CertificateError::Revoked => (ErrorKind::Tls, "it has been revoked; the server needs a new one".to_owned()),
            refusal => match verifier::cause(&source) {
                Some(webpki::Error::CaUsedAsEndEntity) => self.authority_as_server(),
                Some(webpki::Error::UnsupportedCertVersion) => self.version_1(),
                Some(cause) => (ErrorKind::Tls, format!("it is not accepted ({cause:?})")),
                None => (ErrorKind::Tls, format!("it is not accepted ({refusal})")),
            },
        };
        let is_early = matches!(
            refusal,
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. }
        );
        let context = self.refusal(&why);
        // A clock that is wrong after booting is usually corrected soon.
        if kind == ErrorKind::CertificateExpired && (is_early || self.clock.is_wrong()) {
            return Error::transient(kind, context, source);
        }
        Error::with_source(kind, context, source)
    }

    fn refusal(&self, why: &str) -> String {
        format!("the certificate of {} was refused: {why}", self.server)
    }

    fn own(&self) -> Option<Certificate<'_>> {
        Certificate::parse(self.chain.first()?)
    }

    fn certificates(&self) -> impl Iterator<Item = Certificate<'_>> {
        self.chain.iter().filter_map(|der| Certificate::parse(der))
    }

    /// Names the first certificate in the chain for which `is_it` returns `true`.
    fn which(&self, is_it: impl Fn(&Certificate<'_>) -> bool) -> String {
        match self
            .certificates()
            .position(|certificate| is_it(&certificate))
        {
            None | Some(0) => "it".to_owned(),
            Some(index) => {
                let name = self
                    .certificates()
                    .nth(index)
                    .map(|found| found.subject.to_string());
                format!("the certificate {} in its chain", name.unwrap_or_default())
            }
        }
    }

    fn not_valid_yet(&self, not_before: Option<u64>) -> String {
        let what = match not_before {
            Some(begin) => format!(
                "{} is not valid yet (not before {})",
                self.which(|certificate| certificate.not_before == begin),
                date(begin),
            ),
            None => "it is not valid yet".to_owned(),
        };
        format!("{what}, and {}", self.clock.advice())
    }

    fn expired(&self, not_after: Option<u64>) -> String {
        let own = self.own();
        let is_own = own
            .zip(not_after)
            .is_none_or(|(own, end)| own.not_after == end);
        if let Some(why) = self.given_expired().filter(|_| !is_own) {
            return why;
        }
        let what = match not_after {
            Some(end) => format!(
                "{} expired on {}",
                self.which(|certificate| certificate.not_after == end),
                date(end),
            ),
            None => "it has expired".to_owned(),
        };
        self.needs(&what, "the server needs a new one")
    }

    /// Says what to do about something that has expired, unless the clock alone is to blame.
    fn needs(&self, expired: &str, new: &str) -> String {
        let advice = self.clock.advice();
        if self.clock.is_wrong() {
            format!("{expired}, and {advice}")
        } else {
            format!("{expired}; {new} ({advice})")
        }
    }

    /// Says what to do if the CA certificate that was set for this chain has expired.
    fn given_expired(&self) -> Option<String> {
        let given = self.authorities.given.as_ref()?;
        let (name, not_after) = self.certificates().find_map(|certificate| {
            Some((
                certificate.issuer,
                given.expiry(certificate.issuer, self.clock)?,
            ))
        })?;
        let what = format!(
            "the CA certificate that was set for its authority ({name}) expired on {}",
            date(not_after)
        );
        Some(self.needs(&what, "set a new one with ca_file or ca_pem"))
    }

    fn version_1(&self) -> (ErrorKind, String) {
        if self.own().is_some_and(|own| !own.is_version_1) {
            let mut old = self.certificates().filter(|found| found.is_version_1);
            if old.all(|root| root.is_self_issued()) {
                return self.unknown_authority();
            }
            let which = self.which(|certificate| certificate.is_version_1);
            let why = format!(
                "{which} is of version 1, which ttn accepts only for roots; create a new one with the extension basicConstraints=CA:TRUE"
            );
            return (ErrorKind::Tls, why);
        }
        let why = format!(
            "it is a version 1 certificate, which has no alternative names and so names no host; {}",
            self.new_certificate()
        );
        // The same mistake as a host name only in the common name.
        (ErrorKind::CertificateHostName, why)
    }

    fn other_name(&self, presented: &[String]) -> String {
        let names: Vec<String> = presented
            .iter()
            .filter_map(|name| plain_name(name))
            .collect();
        if names.is_empty() {
            let subject = self.own().map_or_else(String::new, |certificate| {
                format!(" ({})", certificate.subject)
            });
            return format!(
                "it names no host: it has no alternative names, and the common name{subject} does not count; {}",
                self.new_certificate()
            );
        }
        format!(
            "it is for another host name: it is valid for {}, not for {}; connect by the name in the certificate, or {}",
            names.join(", "),
            self.host,
            self.new_certificate()
        )
    }

    /// Says how to create a certificate with the right alternative name.
    fn new_certificate(&self) -> String {
        let kind = match self.host.parse::<IpAddr>() {
            Ok(_) => "IP",
            Err(_) => "DNS",
        };
        format!(
            "create a new one with the extension subjectAltName={kind}:{} (in a file for `openssl x509 -req -extfile`, or with `openssl req -x509 -addext`)",
            self.host
        )
    }

    fn unknown_authority(&self) -> (ErrorKind, String) {
        if let Some(why) = self.given_expired() {
            return (ErrorKind::CertificateExpired, why);
        }
        let (by, missing) = match self.own() {
            Some(own) if own.is_self_issued() => (
                format!("by its own key (it is self-signed, {})", own.subject),
                "this certificate",
            ),
            // The last certificate of the chain names the authority that is missing here.
            Some(own) => {
                let issuer = self.certificates().last().unwrap_or(own).issuer;
                (format!("by {issuer}"), "its CA")
            }
            None => ("by another one".to_owned(), "its CA"),
        };
        let hint = match self.own() {
            Some(own)
                if self.authorities.given.is_none()
                    && !own.is_self_issued()
                    && self.chain.len() == 1 =>
            {
                ", or configure the server to send its whole chain"
            }
            _ => "",
        };
        let why = format!(
            "{}, but {by}; {}{hint}",
            self.not_signed(),
            self.set(missing)
        );
        (ErrorKind::CertificateAuthority, why)
    }

    fn not_signed(&self) -> &'static str {
        if self.authorities.given.is_some() {
            "it is not signed by the CA certificates that were set"
        } else {
            "it is not signed by an authority that this system trusts"
        }
    }

    fn set(&self, missing: &str) -> String {
        let whose = match self.authorities.given {
            Some(_) => "",
            None => "for your own server, ",
        };
        format!("{whose}set {missing} with ca_file or ca_pem")
    }

    /// Explains a wrong signature: nearly always, one side has a certificate that was recreated under the
    /// same name.
    fn wrong_signature(&self) -> String {
        let is_known = |name: Name<'_>| self.authorities.know(name);
        let own = self.own();
        if let Some(own) = own.filter(|own| own.is_self_issued() && is_known(own.subject)) {
            return format!(
                "{}, but by its own key (it is self-signed, {}); the trusted certificate of that name has another key, so it was probably recreated; {}",
                self.not_signed(),
                own.subject,
                self.set("the server's current one"),
            );
        }
        let issuers = self.certificates().map(|certificate| certificate.issuer);
        match issuers.into_iter().find(|issuer| is_known(*issuer)) {
            Some(name) => format!(
                "{}, but by another CA of the same name ({name}) with another key; was that CA recreated? {}",
                self.not_signed(),
                self.set("the certificate of the CA that signed it"),
            ),
            None => "its signature, or one in its chain, is wrong; is the certificate damaged?"
                .to_owned(),
        }
    }

    fn authority_as_server(&self) -> (ErrorKind, String) {
        if self.own().is_none_or(|own| own.is_self_issued()) {
            return self.unknown_authority();
        }
        (
            ErrorKind::Tls,
            "it is marked as the certificate of an authority (basicConstraints CA:TRUE); create a new one with CA:FALSE, or set exactly this certificate with ca_file or ca_pem"
                .to_owned(),
        )
    }

    fn alert(&self, alert: AlertDescription) -> Error {
        use AlertDescription as Alert;
        let source = TlsError::AlertReceived(alert);
        let about_certificates = matches!(
            alert,
            Alert::NoCertificate
                | Alert::BadCertificate
                | Alert::UnsupportedCertificate
                | Alert::CertificateRevoked
                | Alert::CertificateExpired
                | Alert::CertificateUnknown
                | Alert::UnknownCA
                | Alert::AccessDenied
                | Alert::DecryptError
                | Alert::CertificateRequired
        );
        // TLS 1.2 has no specific alert for a missing certificate.
        let about_certificates =
            about_certificates || self.asked && alert == Alert::HandshakeFailure;
        let why = match alert {
            _ if about_certificates && (self.asked || alert == Alert::CertificateRequired) => {
                self.client_certificate_refused(alert)
            }
            Alert::ProtocolVersion => OLD_VERSION.to_owned(),
            Alert::HandshakeFailure | Alert::InsufficientSecurity if !self.up => {
                NOTHING_IN_COMMON.to_owned()
            }
            Alert::UnrecognisedName => {
                format!("the server does not know the host name {}", self.host)
            }
            _ if about_certificates => {
                "the server refused the certificates of this handshake".to_owned()
            }
            _ if !self.up => {
                "the server aborted the handshake; is this a TLS port, and does the server ask for a client certificate?".to_owned()
            }
            _ => return self.lost(&format!("the server reported the TLS alert {alert:?}"), source),
        };
        self.tls(&format!("{why} (TLS alert {alert:?})"), source)
    }

    fn client_certificate_refused(&self, alert: AlertDescription) -> String {
        let Some(identity) = self.identity else {
            return format!("the server wants a client certificate; {SET_CLIENT_CERTIFICATE}");
        };
        if self.clock.is_past(identity.not_after) {
            return format!(
                "the server refused the client certificate, which expired on {}; {}",
                date(identity.not_after),
                self.clock.advice()
            );
        }
        let why = match alert {
            AlertDescription::UnknownCA => {
                ": it does not trust the authority that signed it, or the file lacks an intermediate certificate"
            }
            AlertDescription::CertificateExpired => ": it says that the certificate has expired",
            AlertDescription::CertificateRevoked => ": the certificate has been revoked",
            AlertDescription::UnsupportedCertificate => {
                ": it does not accept this kind of certificate; the extended key usage may have to include clientAuth"
            }
            AlertDescription::CertificateRequired => {
                ", or its key is of a kind that the server does not accept"
            }
            _ => "; is it signed by the CA that the server expects?",
        };
        format!("the server refused the client certificate{why}")
    }

    /// Explains an error of TLS itself.
    fn failed(&self, cause: &TlsError) -> Error {
        let why = match cause {
            TlsError::PeerIncompatible(
                PeerIncompatible::ServerDoesNotSupportTls12Or13
                | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig,
            ) => OLD_VERSION.to_owned(),
            TlsError::PeerIncompatible(_) => NOTHING_IN_COMMON.to_owned(),
            _ if self.up => {
                return self.lost(
                    &format!("the server violated the TLS protocol: {cause}"),
                    cause.clone(),
                );
            }
            TlsError::InvalidMessage(_) => {
                format!("the server sent something that is not TLS; is this a TLS port? ({cause})")
            }
            TlsError::NoCertificatesPresented => "the server sent no certificate".to_owned(),
            _ => format!("{cause}; is this a TLS port?"),
        };
        self.tls(&why, cause.clone())
    }

    /// Explains a failure of the connection under TLS.
    fn broken(&self, cause: &io::Error) -> Error {
        let kind = ErrorKind::of_io(cause);
        let server = self.server;
        let (kind, context) = match kind {
            Some(ErrorKind::TimedOut) if !self.up => (
                ErrorKind::TimedOut,
                format!(
                    "{server} accepted the connection and then did not answer the TLS handshake"
                ),
            ),
            Some(ErrorKind::ConnectionLost) if !self.up && self.asked => (
                ErrorKind::Tls,
                format!(
                    "TLS with {server} failed: the server closed the connection after it had asked for a client certificate; {}",
                    match self.identity {
                        None => SET_CLIENT_CERTIFICATE,
                        Some(_) => "does it trust the CA that signed the certificate that was set?",
                    }
                ),
            ),
            Some(ErrorKind::ConnectionLost) if !self.up => (
                ErrorKind::Tls,
                format!(
                    "TLS with {server} failed: the server closed the connection during the handshake; is this a TLS port, and does the server ask for a client certificate?"
                ),
            ),
            None if !self.up => (
                ErrorKind::Tls,
                format!("TLS with {server} failed: {cause}; is this a TLS port?"),
            ),
            kind => (
                kind.unwrap_or(ErrorKind::ConnectionLost),
                format!("the connection to {server} was lost ({cause})"),
            ),
        };
        let source = match cause.raw_os_error() {
            Some(code) => io::Error::from_raw_os_error(code),
            None => io::Error::new(cause.kind(), cause.to_string()),
        };
        Error::with_source(kind, context, source)
    }

    fn tls(&self, why: &str, source: TlsError) -> Error {
        let context = format!("TLS with {} failed: {why}", self.server);
        Error::with_source(ErrorKind::Tls, context, source)
    }

    fn lost(&self, why: &str, source: TlsError) -> Error {
        let context = format!("the connection to {} was lost: {why}", self.server);
        Error::with_source(ErrorKind::ConnectionLost, context, source)
    }
}

const SET_CLIENT_CERTIFICATE: &str =
    "set one with client_certificate_files or client_certificate_pem";

const OLD_VERSION: &str = "the server supports only TLS 1.0 or 1.1, which are no longer secure; it must allow TLS 1.2 or 1.3";

const NOTHING_IN_COMMON: &str = "the server and ttn have no cipher or kind of key in common; the server needs an RSA, P-256, P-384 or Ed25519 key (not P-521) \
     and a cipher with ECDHE and AES-GCM or ChaCha20";

/// Extracts the name from rustls's form of an alternative name, such as `DnsName("example.org")`.
fn plain_name(presented: &str) -> Option<String> {
    let name = presented
        .strip_prefix("DnsName(")
        .or_else(|| presented.strip_prefix("IpAddress("))?;
    let name = name.strip_suffix(')')?.trim_matches('"');
    // rustls writes `0::1`.
    Some(match name.parse::<IpAddr>() {
        Ok(address) => address.to_string(),
        Err(_) => name.to_owned(),
    })
}
