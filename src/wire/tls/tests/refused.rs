//! Servers that the client refuses.

use std::{io, sync::Arc, time::Duration};

use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, KeyPair, SanType, date_time_ymd};
use rustls::{
    client::danger::ServerCertVerifier,
    crypto::ring,
    pki_types::{ServerName, UnixTime},
};

use super::peer::{
    Authority, SERVER, Server, VERSIONS, certificates, connect_to, connects, fails, fixture,
    fixture_chain, says, trust, trust_fixture,
};
use crate::{
    Error, ErrorKind,
    config::{Certificates, Pem},
    wire::tls::{
        Trust, authorities::Authorities, certificate::Clock, failure::Failure, verifier::Verifier,
    },
};

fn key() -> KeyPair {
    KeyPair::generate().unwrap()
}

#[test]
fn an_expired_certificate_is_named_with_its_date() {
    let authority = Authority::new("Authority");
    let server = authority.sign_with(&["localhost"], key(), |parameters| {
        parameters.not_after = date_time_ymd(2021, 5, 6);
    });
    let words = [SERVER, "it expired on 2021-05-06T00:00:00Z", "clock"];
    let kind = ErrorKind::CertificateExpired;
    let error = fails(&authority.trust(), "localhost", &server, kind, &words);
    assert!(!error.is_transient());
}

#[test]
fn an_expired_intermediate_certificate_is_not_blamed_on_the_server_s_own() {
    let root = Authority::new("Root");
    let intermediate = root.below("Intermediate", |parameters| {
        parameters.not_after = date_time_ymd(2021, 5, 6);
    });
    let mut server = intermediate.sign(&["localhost"]);
    server.chain.push(intermediate.der());
    let words = ["CN=Intermediate in its chain expired on 2021-05-06"];
    fails(
        &root.trust(),
        "localhost",
        &server,
        ErrorKind::CertificateExpired,
        &words,
    );
}

#[test]
fn a_certificate_that_is_not_valid_yet_may_be_the_clock_s_fault() {
    let authority = Authority::new("Authority");
    let server = authority.sign_with(&["localhost"], key(), |parameters| {
        parameters.not_before = date_time_ymd(2199, 1, 1);
    });
    let words = ["it is not valid yet (not before 2199-01-01", "clock says 2"];
    let kind = ErrorKind::CertificateExpired;
    let error = fails(&authority.trust(), "localhost", &server, kind, &words);
    assert!(error.is_transient());
    assert!(!error.kind().is_transient());
}

#[test]
fn a_certificate_for_another_name_is_told_with_its_names() {
    let authority = Authority::new("Authority");
    let trust = authority.trust();
    let kind = ErrorKind::CertificateHostName;
    let server = authority.sign(&["other.example", "192.0.2.1", "2001:db8::1"]);
    let words = [
        "another host name: it is valid for other.example, 192.0.2.1, 2001:db8::1, not",
        "subjectAltName=DNS:localhost",
    ];
    fails(&trust, "localhost", &server, kind, &words);
    fails(
        &trust,
        "127.0.0.1",
        &server,
        kind,
        &["subjectAltName=IP:127.0.0.1"],
    );
}

#[test]
fn a_certificate_without_alternative_names_is_told_what_it_needs() {
    let authority = Authority::new("Authority");
    let server = authority.sign_with(&[], key(), |parameters| {
        parameters.distinguished_name = rcgen::DistinguishedName::new();
        let name = &mut parameters.distinguished_name;
        name.push(rcgen::DnType::CommonName, "localhost");
    });
    let words = [
        "no alternative names",
        "(CN=localhost) does not count",
        "subjectAltName=DNS:localhost",
    ];
    fails(
        &authority.trust(),
        "localhost",
        &server,
        ErrorKind::CertificateHostName,
        &words,
    );
}

#[test]
fn a_version_1_certificate_is_told_what_it_needs() {
    let server = Server::of_fixtures("server-version-1.pem", "server-version-1.key");
    for ca in ["authority.pem", "server-version-1.pem"] {
        let words = [
            "version 1",
            "alternative name",
            "subjectAltName=DNS:localhost",
            "openssl",
        ];
        fails(
            &trust_fixture(ca),
            "localhost",
            &server,
            ErrorKind::CertificateHostName,
            &words,
        );
    }
}

#[test]
fn a_root_of_version_1_that_was_not_given_is_an_unknown_authority() {
    let name = "server-of-version-1";
    let mut server = Server::of_fixtures(&format!("{name}.pem"), &format!("{name}.key"));
    let root = fixture_chain("authority-version-1.pem");
    for chain in [&[][..], &root] {
        server.chain.extend_from_slice(chain);
        connects(
            &trust_fixture("authority-version-1.pem"),
            "localhost",
            &server,
        );
        fails(
            &trust_fixture("authority.pem"),
            "localhost",
            &server,
            ErrorKind::CertificateAuthority,
            &["not signed by", "Old authority of the tests"],
        );
    }
}

#[test]
fn an_unknown_authority_is_named() {
    let authority = Authority::new("Authority");
    let server = Authority::new("Stranger").sign(&["localhost"]);
    let kind = ErrorKind::CertificateAuthority;
    let words = [
        "not signed by the CA certificates that were set",
        "by CN=Stranger",
        "ca_file",
    ];
    fails(&authority.trust(), "localhost", &server, kind, &words);
    let system = Trust::read(&Certificates::default()).unwrap();
    let words = [
        "this system trusts",
        "by CN=Stranger",
        "ca_file",
        "ca_pem",
        "whole chain",
    ];
    fails(&system, "localhost", &server, kind, &words);
}

#[test]
fn a_self_signed_certificate_that_was_not_given_is_unknown() {
    let authority = Authority::new("Authority");
    let server = Server::of_fixtures("server-self-signed.pem", "server-self-signed.key");
    let words = ["self-signed, CN=localhost, O=Example"];
    let kind = ErrorKind::CertificateAuthority;
    fails(&authority.trust(), "localhost", &server, kind, &words);
}

#[test]
fn a_self_signed_certificate_that_was_given_is_checked_all_the_same() {
    let given = trust_fixture("server-self-signed.pem");
    let server = Server::of_fixtures("server-self-signed.pem", "server-self-signed.key");
    let words = ["valid for localhost, 127.0.0.1, not for other.example"];
    fails(
        &given,
        "other.example",
        &server,
        ErrorKind::CertificateHostName,
        &words,
    );

    for (change, words) in [
        ((2019, 2020), "expired on 2020"),
        ((2199, 2200), "not before 2199"),
    ] {
        let authority = Authority::with("localhost", |parameters| {
            parameters.not_before = date_time_ymd(change.0, 1, 1);
            parameters.not_after = date_time_ymd(change.1, 1, 1);
        });
        let server = authority.as_server();
        fails(
            &authority.trust(),
            "localhost",
            &server,
            ErrorKind::CertificateExpired,
            &[words],
        );
    }
}

#[test]
fn a_self_signed_certificate_with_a_key_of_its_own_is_another_one() {
    // The name of the authority that is set, but not its key.
    let (given, other) = (Authority::new("localhost"), Authority::new("localhost"));
    let server = other.as_server();
    fails(
        &given.trust(),
        "localhost",
        &server,
        ErrorKind::CertificateAuthority,
        &["self-signed", "CN=localhost", "not signed by"],
    );
    // The same without CA:TRUE.
    let made = || rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (given, other) = (made(), made());
    let server = Server {
        chain: vec![other.cert.der().clone()],
        key: other.signing_key.serialize_der(),
        ..server
    };
    fails(
        &trust(&[given.cert.pem()]),
        "localhost",
        &server,
        ErrorKind::CertificateAuthority,
        &["self-signed", "recreated", "not signed by"],
    );
}

#[test]
fn an_expired_authority_that_was_given_is_told_with_its_date() {
    let expired = Authority::with("Old CA", |parameters| {
        parameters.not_after = date_time_ymd(2021, 5, 6);
    });
    let server = expired.sign(&["localhost"]);
    let words = ["CN=Old CA", "expired on 2021-05-06", "ca_file"];
    let kind = ErrorKind::CertificateExpired;
    fails(&expired.trust(), "localhost", &server, kind, &words);
    let mut with_its_root = server.clone();
    with_its_root.chain.push(expired.der());
    let trusting = expired.trust();
    fails(&trusting, "localhost", &with_its_root, kind, &words);
    let pems = [&expired, &Authority::new("Other")].map(|authority| authority.certificate.pem());
    fails(&trust(&pems), "localhost", &server, kind, &words);
}

#[test]
fn an_authority_of_the_same_name_with_another_key_is_told() {
    let [given, other] = [(); 2].map(|()| Authority::new("Authority"));
    let words = [
        "not signed by the CA certificates that were set",
        "CN=Authority",
        "another key",
    ];
    let server = other.sign(&["localhost"]);
    fails(
        &given.trust(),
        "localhost",
        &server,
        ErrorKind::CertificateAuthority,
        &words,
    );
}

#[test]
fn a_certificate_for_another_purpose_is_told() {
    let authority = Authority::new("Authority");
    let server = authority.sign_with(&["localhost"], key(), |parameters| {
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    });
    fails(
        &authority.trust(),
        "localhost",
        &server,
        ErrorKind::Tls,
        &["serverAuth"],
    );
}

#[test]
fn an_authority_s_certificate_as_the_server_s_is_told() {
    let root = Authority::new("Root");
    let server = root.below("localhost", |_| {}).as_server();
    fails(
        &root.trust(),
        "localhost",
        &server,
        ErrorKind::Tls,
        &["CA:TRUE", "CA:FALSE"],
    );
}

#[test]
fn a_signature_with_sha_1_is_told() {
    let server = Server::of_fixtures("server-sha1.pem", "server-sha1.key");
    fails(
        &trust_fixture("authority.pem"),
        "localhost",
        &server,
        ErrorKind::Tls,
        &["SHA-1"],
    );
}

#[test]
fn authorities_that_cannot_be_used_are_named() {
    let read = |ca| Trust::read(&Certificates::new(Some(ca), None, None)).unwrap_err();
    let rubbish = "-----BEGIN CERTIFICATE-----\nhello\n-----END CERTIFICATE-----\n";
    let no_certificate = "-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n";
    for pem in [rubbish, no_certificate] {
        let error = read(Pem::Bytes(pem.into()));
        says(
            &error,
            ErrorKind::Config,
            &["certificates cannot be used", "damaged"],
        );
    }
    let error = read(Pem::File(fixture("client-ed25519.key")));
    says(
        &error,
        ErrorKind::Config,
        &["certificates cannot be used", "client-ed25519.key"],
    );
    let error = read(Pem::File(fixture("README.md")));
    says(&error, ErrorKind::Config, &["README.md", "PEM"]);
    let error = read(Pem::File(fixture("missing.pem")));
    says(
        &error,
        ErrorKind::Config,
        &["CA certificates", "missing.pem"],
    );
}

#[test]
fn a_host_that_no_certificate_can_name_is_an_error() {
    let error = Authority::new("Authority")
        .trust()
        .start("local host")
        .unwrap_err();
    says(&error, ErrorKind::Config, &["local host"]);
}

#[test]
fn an_error_names_the_server_it_was_given() {
    let authority = Authority::new("Authority");
    let server = Authority::new("Stranger").sign(&["localhost"]);
    for version in VERSIONS {
        let server = server.clone().version(version);
        let error = connect_to(&authority.trust(), "localhost", &server).unwrap_err();
        assert!(error.to_string().contains(SERVER), "{error}");
        assert!(std::error::Error::source(&error).is_some());
    }
}

/// Returns why a client whose clock says this refuses the server.
fn refusal_at(clock: Clock, authorities: &[&Authority], server: &Server) -> Error {
    let pems: Vec<String> = authorities
        .iter()
        .map(|authority| authority.certificate.pem())
        .collect();
    let authorities = Arc::new(Authorities::read(certificates(&pems).ca.as_ref()).unwrap());
    let algorithms = ring::default_provider().signature_verification_algorithms;
    let verifier = Verifier::new(Arc::clone(&authorities), algorithms);
    let name = ServerName::try_from("localhost").unwrap();
    let time = UnixTime::since_unix_epoch(Duration::from_secs(clock.now));
    let (own, intermediates) = server.chain.split_first().unwrap();
    let cause = verifier
        .verify_server_cert(own, intermediates, &name, &[], time)
        .unwrap_err();
    Failure {
        server: &SERVER,
        host: "localhost",
        authorities: &authorities,
        identity: None,
        asked: false,
        up: false,
        chain: &verifier.refused(),
        clock,
    }
    .explain(&io::Error::new(io::ErrorKind::InvalidData, cause))
}

/// A machine without a clock, twelve minutes after it was switched on.
const WITHOUT_CLOCK: Clock = Clock { now: 720 };

#[test]
fn a_machine_without_a_clock_is_told_its_own_time_whatever_part_of_the_chain_it_is_about() {
    let always = |parameters: &mut CertificateParams| {
        parameters.not_before = date_time_ymd(1970, 1, 1);
    };
    let today = |parameters: &mut CertificateParams| {
        parameters.not_before = date_time_ymd(2026, 5, 6);
    };
    let root = Authority::with("Root", today);
    let its_own = |authority: &Authority| authority.sign_with(&["localhost"], key(), today);
    let mut whole = Vec::new();
    for (intermediate, signed) in [
        (root.below("Intermediate", always), "own"),
        (root.below("Intermediate", today), "intermediate"),
    ] {
        let mut server = match signed {
            "own" => its_own(&intermediate),
            _ => intermediate.sign_with(&["localhost"], key(), always),
        };
        server.chain.push(intermediate.der());
        whole.push((server, signed));
    }
    whole.push((its_own(&root), "own"));
    let names = |parameters: &mut CertificateParams| {
        today(parameters);
        let name = "localhost".try_into().unwrap();
        parameters.subject_alt_names.push(SanType::DnsName(name));
    };
    let self_signed = Authority::with("localhost", names);
    whole.push((self_signed.as_server(), "own"));
    for (server, signed) in &whole {
        let error = refusal_at(WITHOUT_CLOCK, &[&root, &self_signed], server);
        let which = match *signed {
            "own" => "was refused: it",
            _ => "the certificate CN=Intermediate in its chain",
        };
        let why = format!("{which} is not valid yet (not before 2026-05-06T00:00:00Z)");
        let clock = "this machine's clock says 1970-01-01T00:12:00Z, which is wrong; set it";
        says(&error, ErrorKind::CertificateExpired, &[&why, clock]);
        assert!(error.is_transient());
    }
}

#[test]
fn an_expired_certificate_is_transient_only_while_the_clock_is_certainly_wrong() {
    let last_century = |parameters: &mut CertificateParams| {
        parameters.not_after = date_time_ymd(1999, 5, 6);
    };
    let root = Authority::new("Root");
    let expired_root = Authority::with("Old Root", last_century);
    let own = root.sign_with(&["localhost"], key(), last_century);
    let given = expired_root.sign(&["localhost"]);
    let (wrong, plausible) = (Clock { now: 946_684_800 }, Clock { now: 1_800_000_000 });
    for server in [own, given] {
        let error = refusal_at(wrong, &[&root, &expired_root], &server);
        let words = [
            "expired on 1999-05-06",
            "clock says 2000-01-01T00:00:00Z, which is wrong",
        ];
        says(&error, ErrorKind::CertificateExpired, &words);
        assert!(error.is_transient(), "{error}");
        let error = refusal_at(plausible, &[&root, &expired_root], &server);
        let words = ["expired on 1999-05-06", "new one", "clock says 2027-01-15"];
        says(&error, ErrorKind::CertificateExpired, &words);
        assert!(!error.is_transient(), "{error}");
    }
}
