//! How the client identifies itself.

use rcgen::{ExtendedKeyUsagePurpose, KeyPair, date_time_ymd};

use super::peer::{
    Authority, Server, certificates, connects, fails, fixture, fixture_chain, fixture_key, says,
};
use crate::{
    ErrorKind,
    config::{Certificates, ClientCertificate, Pem},
    error::Result,
    wire::tls::Trust,
};

/// A server that accepts the clients of an authority, which also signs the server's certificate.
struct Setup {
    authority: Authority,
    server: Server,
}

impl Setup {
    fn new() -> Self {
        let authority = Authority::new("Authority");
        let mut server = authority.sign(&["localhost"]);
        server.clients = Some(authority.der());
        Self { authority, server }
    }

    /// Trusts the server and presents this certificate to it.
    fn trust(&self, certificate: Pem, key: Pem) -> Result<Trust> {
        let certificates = certificates(&[self.authority.certificate.pem()]);
        Trust::read(&Certificates::new(
            certificates.ca,
            Some(ClientCertificate {
                chain: certificate,
                key,
            }),
            None,
        ))
    }

    fn trust_with(
        &self,
        authority: &Authority,
        change: impl FnOnce(&mut rcgen::CertificateParams),
    ) -> Trust {
        let key = KeyPair::generate().unwrap();
        let key_pem = key.serialize_pem();
        let client = authority.sign_with(&["client"], key, change);
        self.trust(pem(&client.chain), Pem::Bytes(key_pem.into()))
            .unwrap()
    }
}

fn pem(chain: &[rustls::pki_types::CertificateDer<'_>]) -> Pem {
    use base64::{Engine, engine::general_purpose::STANDARD};
    let pems = chain.iter().map(|der| {
        format!(
            "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n",
            STANDARD.encode(der)
        )
    });
    Pem::Bytes(pems.collect::<String>().into())
}

/// A certificate for the key in a fixture, and the same key in another form.
fn identity(setup: &Setup, plain: &str, given: &str) -> (Pem, Pem) {
    let client = setup
        .authority
        .sign_with(&["client"], fixture_key(plain), |_| {});
    (pem(&client.chain), Pem::File(fixture(given)))
}

#[test]
fn keys_in_all_common_forms_let_in() {
    let setup = Setup::new();
    for (plain, given) in [
        ("client-rsa.key", "client-rsa.key"),
        ("client-rsa.key", "client-rsa-pkcs1.key"),
        ("client-p256.key", "client-p256.key"),
        ("client-p256.key", "client-p256-sec1.key"),
        ("client-p256.key", "client-p256-parameters.key"),
        ("client-ed25519.key", "client-ed25519.key"),
    ] {
        let (certificate, key) = identity(&setup, plain, given);
        let trust = setup.trust(certificate, key).unwrap();
        connects(&trust, "localhost", &setup.server);
    }
}

#[test]
fn a_missing_client_certificate_is_told() {
    let setup = Setup::new();
    let words = ["wants a client certificate", "client_certificate_files"];
    fails(
        &setup.authority.trust(),
        "localhost",
        &setup.server,
        ErrorKind::Tls,
        &words,
    );
}

#[test]
fn a_client_certificate_of_an_unknown_authority_is_told() {
    let setup = Setup::new();
    let trust = setup.trust_with(&Authority::new("Stranger"), |_| {});
    let words = ["refused the client certificate", "UnknownCA"];
    fails(&trust, "localhost", &setup.server, ErrorKind::Tls, &words);
}

#[test]
fn an_expired_client_certificate_is_told_with_its_date() {
    let setup = Setup::new();
    let trust = setup.trust_with(&setup.authority, |parameters| {
        parameters.not_after = date_time_ymd(2021, 5, 6);
    });
    let words = [
        "client certificate, which expired on 2021-05-06",
        "CertificateExpired",
    ];
    fails(&trust, "localhost", &setup.server, ErrorKind::Tls, &words);
}

#[test]
fn a_client_certificate_for_servers_is_told() {
    let setup = Setup::new();
    let trust = setup.trust_with(&setup.authority, |parameters| {
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    });
    let words = ["refused the client certificate", "TLS alert"];
    fails(&trust, "localhost", &setup.server, ErrorKind::Tls, &words);
}

#[test]
fn a_version_1_client_certificate_can_be_shown() {
    // The test server cannot accept one, but others can.
    let certificate = Pem::File(fixture("server-version-1.pem"));
    let key = Pem::File(fixture("server-version-1.key"));
    let trust = Setup::new().trust(certificate, key).unwrap();
    assert!(format!("{trust:?}").contains("client_certificate: true"));
}

#[test]
fn a_certificate_and_a_key_that_do_not_fit_are_named() {
    let setup = Setup::new();
    let file = |name| Pem::File(fixture(name));
    let error = |certificate, key| setup.trust(certificate, key).unwrap_err();
    let cases: [(&str, &str, &[&str]); 5] = [
        (
            "authority.pem",
            "client-rsa.key",
            &["client-rsa.key does not belong to", "authority.pem"],
        ),
        (
            "authority.pem",
            "authority.pem",
            &["client key", "authority.pem contains no private key"],
        ),
        (
            "client-p521.pem",
            "client-p521.key",
            &["client key", "client-p521.key is on the curve P-521"],
        ),
        (
            "client-rsa.key",
            "client-rsa.key",
            &["client certificate", "contains no certificate"],
        ),
        (
            "authority.pem",
            "README.md",
            &["client key", "README.md", "PEM"],
        ),
    ];
    for (certificate, key, words) in cases {
        says(
            &error(file(certificate), file(key)),
            ErrorKind::Config,
            words,
        );
    }
    let damaged = "-----BEGIN PRIVATE KEY-----\naGVsbG8=\n-----END PRIVATE KEY-----\n";
    let error = error(
        pem(&fixture_chain("authority.pem")),
        Pem::Bytes(damaged.into()),
    );
    says(
        &error,
        ErrorKind::Config,
        &["certificates cannot be used", "client key from memory"],
    );
}

#[test]
fn an_encrypted_key_without_a_pass_phrase_is_told_what_to_do() {
    let setup = Setup::new();
    for name in ["client-rsa-aes.key", "client-rsa-proc-type.key"] {
        let (certificate, key) = identity(&setup, "client-rsa.key", name);
        let error = setup.trust(certificate, key).unwrap_err();
        let file = fixture(name).display().to_string();
        says(
            &error,
            ErrorKind::Config,
            &[&file, "passphrase", "openssl pkcs8 -topk8"],
        );
    }
}

#[cfg(feature = "encrypted-keys")]
mod encrypted {
    use super::*;
    use crate::config::Passphrase;

    fn trust(setup: &Setup, name: &str, passphrase: &str) -> Result<Trust> {
        let ca = certificates(&[setup.authority.certificate.pem()]).ca;
        let (chain, key) = identity(setup, "client-rsa.key", name);
        let identity = ClientCertificate { chain, key };
        let passphrase = Passphrase::new(passphrase.to_owned());
        assert_eq!(format!("{passphrase:?}"), "Passphrase(…)");
        Trust::read(&Certificates::new(ca, Some(identity), Some(passphrase)))
    }

    #[test]
    fn a_pass_phrase_opens_a_key() {
        let setup = Setup::new();
        for name in [
            "client-rsa-aes.key",
            "client-rsa-scrypt.key",
            "client-rsa-triple-des.key",
        ] {
            let trust = trust(&setup, name, "right phrase").unwrap();
            connects(&trust, "localhost", &setup.server);
        }
        // An unencrypted key needs no passphrase.
        trust(&setup, "client-rsa-pkcs1.key", "right phrase").unwrap();
    }

    #[test]
    fn a_wrong_pass_phrase_is_told() {
        let setup = Setup::new();
        for name in [
            "client-rsa-aes.key",
            "client-rsa-scrypt.key",
            "client-rsa-triple-des.key",
        ] {
            for passphrase in ["wrong phrase", "", "x"] {
                let error = trust(&setup, name, passphrase).unwrap_err();
                let words = [name, "cannot be decrypted", "client_key_passphrase"];
                says(&error, ErrorKind::Config, &words);
                assert!(!error.to_string().contains("wrong phrase"), "{error}");
            }
        }
    }

    #[test]
    fn a_form_that_cannot_be_decrypted_is_told_with_the_command_that_converts_it() {
        let setup = Setup::new();
        for name in ["client-rsa-pkcs12.key", "client-rsa-proc-type.key"] {
            let error = trust(&setup, name, "right phrase").unwrap_err();
            let words = [
                name,
                "convert it with: openssl pkcs8 -topk8 -v2 aes-256-cbc -in",
            ];
            says(&error, ErrorKind::Config, &words);
        }
    }
}
