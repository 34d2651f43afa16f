//! Certificates made on the spot: an authority, servers that are in order and servers that are not.

use std::fs;
use std::path::{Path, PathBuf};

use openssl::asn1::Asn1Time;
use openssl::bn::{BigNum, MsbOption};
use openssl::ec::{EcGroup, EcKey};
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::x509::extension::{
    AuthorityKeyIdentifier, BasicConstraints, ExtendedKeyUsage, KeyUsage, SubjectAlternativeName,
    SubjectKeyIdentifier,
};
use openssl::x509::{X509, X509Builder, X509Name, X509NameRef};
use tempfile::TempDir;

const DAY: i64 = 24 * 60 * 60;

/// A set of certificates, in memory and as PEM files in a folder that goes away with it.
#[derive(Debug)]
pub struct Certificates {
    /// The authority that clients trust.
    pub authority: Authority,
    /// For `localhost` and `127.0.0.1`.
    pub server: Identity,
    /// Like `server`, but it ended yesterday.
    pub expired: Identity,
    /// For `other.example` only.
    pub wrong_host: Identity,
    /// An authority that nobody trusts.
    pub foreign_authority: Authority,
    /// Like `server`, but signed by `foreign_authority`.
    pub foreign: Identity,
    /// A client's.
    pub client: Identity,
    folder: TempDir,
}

impl Certificates {
    /// Makes all of them; takes a few milliseconds.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let path = folder.path();
        let authority = Authority::new(path, "authority");
        let foreign_authority = Authority::new(path, "foreign-authority");
        Self {
            server: authority.server(path, "server"),
            expired: authority.expired_server(path, "expired"),
            wrong_host: authority.server_named(path, "wrong-host", "other.example"),
            foreign: foreign_authority.server(path, "foreign"),
            client: authority.client(path, "client"),
            authority,
            foreign_authority,
            folder,
        }
    }

    /// The folder with the PEM files.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}

/// Signs certificates.
#[derive(Debug)]
pub struct Authority(Identity);

impl Authority {
    /// Makes a root whose files are `NAME.pem` and `NAME.key`.
    pub fn new(folder: &Path, name: &str) -> Self {
        let request = Request {
            common_name: name,
            purpose: Purpose::Authority,
            valid: (-1, 30),
        };
        Self(Identity::new(folder, name, &request, None))
    }

    /// A server's certificate for `localhost` and `127.0.0.1`.
    pub fn server(&self, folder: &Path, name: &str) -> Identity {
        self.server_named(folder, name, "localhost")
    }

    /// A server's certificate for one host name; the address comes with `localhost` only.
    pub fn server_named(&self, folder: &Path, name: &str, host: &str) -> Identity {
        let request = Request {
            common_name: host,
            purpose: Purpose::Server,
            valid: (-1, 30),
        };
        Identity::new(folder, name, &request, Some(&self.0))
    }

    /// Like [`server`](Self::server), but it ended yesterday.
    pub fn expired_server(&self, folder: &Path, name: &str) -> Identity {
        let request = Request {
            common_name: "localhost",
            purpose: Purpose::Server,
            valid: (-30, -1),
        };
        Identity::new(folder, name, &request, Some(&self.0))
    }

    /// A client's certificate.
    pub fn client(&self, folder: &Path, name: &str) -> Identity {
        let request = Request {
            common_name: name,
            purpose: Purpose::Client,
            valid: (-1, 30),
        };
        Identity::new(folder, name, &request, Some(&self.0))
    }

    /// The root certificate.
    pub fn certificate(&self) -> &X509 {
        self.0.certificate()
    }

    /// The root certificate as PEM.
    pub fn certificate_pem(&self) -> Vec<u8> {
        self.0.certificate_pem()
    }

    /// The root certificate as a PEM file.
    pub fn certificate_file(&self) -> &Path {
        self.0.certificate_file()
    }
}

/// A certificate and its key.
#[derive(Debug)]
pub struct Identity {
    certificate: X509,
    key: PKey<Private>,
    certificate_file: PathBuf,
    key_file: PathBuf,
}

impl Identity {
    fn new(folder: &Path, name: &str, request: &Request<'_>, issuer: Option<&Identity>) -> Self {
        let (certificate, key) = request.sign(issuer).expect("OpenSSL makes a certificate");
        let identity = Self {
            certificate_file: folder.join(name).with_extension("pem"),
            key_file: folder.join(name).with_extension("key"),
            certificate,
            key,
        };
        fs::write(identity.certificate_file(), identity.certificate_pem())
            .and_then(|()| fs::write(identity.key_file(), identity.key_pem()))
            .expect("the folder of the certificates is writable");
        identity
    }

    /// The certificate.
    pub fn certificate(&self) -> &X509 {
        &self.certificate
    }

    /// The private key.
    pub fn key(&self) -> &PKey<Private> {
        &self.key
    }

    /// The certificate as PEM.
    pub fn certificate_pem(&self) -> Vec<u8> {
        self.certificate
            .to_pem()
            .expect("a certificate has a PEM form")
    }

    /// The private key as PEM, PKCS #8, with no password.
    pub fn key_pem(&self) -> Vec<u8> {
        self.key
            .private_key_to_pem_pkcs8()
            .expect("a key has a PEM form")
    }

    /// The certificate as a PEM file.
    pub fn certificate_file(&self) -> &Path {
        &self.certificate_file
    }

    /// The private key as a PEM file.
    pub fn key_file(&self) -> &Path {
        &self.key_file
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Authority,
    Server,
    Client,
}

struct Request<'a> {
    common_name: &'a str,
    purpose: Purpose,
    /// First and last day, counted from today.
    valid: (i64, i64),
}

impl Request<'_> {
    /// Signed by `issuer`, by itself without one.
    fn sign(&self, issuer: Option<&Identity>) -> Result<(X509, PKey<Private>), ErrorStack> {
        let curve = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?;
        let key = PKey::from_ec_key(EcKey::generate(&curve)?)?;

        let mut name = X509Name::builder()?;
        name.append_entry_by_text("CN", self.common_name)?;
        let name = name.build();
        let own: &X509NameRef = &name;
        let issuer_name = issuer.map_or(own, |issuer| issuer.certificate.subject_name());

        let mut serial = BigNum::new()?;
        serial.rand(128, MsbOption::MAYBE_ZERO, false)?;

        let mut builder = X509::builder()?;
        builder.set_version(2)?;
        builder.set_serial_number(&*serial.to_asn1_integer()?)?;
        builder.set_subject_name(&name)?;
        builder.set_issuer_name(issuer_name)?;
        builder.set_not_before(&*day(self.valid.0)?)?;
        builder.set_not_after(&*day(self.valid.1)?)?;
        builder.set_pubkey(&key)?;
        self.extend(&mut builder, issuer)?;
        let signer = issuer.map_or(&key, |issuer| &issuer.key);
        builder.sign(signer, MessageDigest::sha256())?;
        Ok((builder.build(), key))
    }

    fn extend(
        &self,
        builder: &mut X509Builder,
        issuer: Option<&Identity>,
    ) -> Result<(), ErrorStack> {
        let issuer = issuer.map(|issuer| &*issuer.certificate);
        let subject_key =
            SubjectKeyIdentifier::new().build(&builder.x509v3_context(issuer, None))?;
        builder.append_extension(subject_key)?;
        if self.purpose == Purpose::Authority {
            builder.append_extension(BasicConstraints::new().critical().ca().build()?)?;
            return builder.append_extension(
                KeyUsage::new()
                    .critical()
                    .key_cert_sign()
                    .crl_sign()
                    .build()?,
            );
        }

        let authority_key = AuthorityKeyIdentifier::new()
            .keyid(true)
            .build(&builder.x509v3_context(issuer, None))?;
        builder.append_extension(authority_key)?;
        builder.append_extension(BasicConstraints::new().critical().build()?)?;
        builder.append_extension(KeyUsage::new().critical().digital_signature().build()?)?;
        let mut usage = ExtendedKeyUsage::new();
        if self.purpose == Purpose::Client {
            return builder.append_extension(usage.client_auth().build()?);
        }
        builder.append_extension(usage.server_auth().build()?)?;
        let mut names = SubjectAlternativeName::new();
        names.dns(self.common_name);
        if self.common_name == "localhost" {
            names.ip("127.0.0.1");
        }
        let names = names.build(&builder.x509v3_context(issuer, None))?;
        builder.append_extension(names)
    }
}

fn day(day: i64) -> Result<Asn1Time, ErrorStack> {
    let now = std::time::UNIX_EPOCH
        .elapsed()
        .expect("the clock is past 1970")
        .as_secs();
    Asn1Time::from_unix(now as i64 + day * DAY)
}
