//! Servers that the client accepts.

use rcgen::KeyPair;

use super::peer::{
    Authority, Server, connects, fixture, fixture_chain, fixture_key, trust, trust_fixture,
};
use crate::{
    config::{Certificates, Pem},
    wire::tls::Trust,
};

#[test]
fn names_and_addresses_in_the_certificate_are_accepted() {
    let authority = Authority::new("Authority");
    let server = authority.sign(&[
        "localhost",
        "a_b.example",
        "*.wild.example",
        "127.0.0.1",
        "::1",
    ]);
    for host in [
        "localhost",
        "LocalHost",
        "localhost.",
        "a_b.example",
        "x.wild.example",
        "127.0.0.1",
        "::1",
        "::1%lo",
    ] {
        connects(&authority.trust(), host, &server);
    }
}

#[test]
fn all_common_kinds_of_keys_are_accepted() {
    let authority = Authority::new("Authority");
    let generate = |kind| KeyPair::generate_for(kind).unwrap();
    for key in [
        fixture_key("server-rsa-2048.key"),
        fixture_key("server-rsa-3072.key"),
        fixture_key("server-rsa-4096.key"),
        generate(&rcgen::PKCS_ECDSA_P256_SHA256),
        generate(&rcgen::PKCS_ECDSA_P384_SHA384),
        generate(&rcgen::PKCS_ED25519),
    ] {
        let server = authority.sign_with(&["localhost"], key, |_| {});
        connects(&authority.trust(), "localhost", &server);
    }
}

#[test]
fn a_self_signed_certificate_that_was_given_is_accepted() {
    let server = Server::of_fixtures("server-self-signed.pem", "server-self-signed.key");
    for host in ["localhost", "127.0.0.1"] {
        connects(&trust_fixture("server-self-signed.pem"), host, &server);
    }
    // Not marked as an authority.
    let key = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let server = Server {
        chain: vec![key.cert.der().clone()],
        key: key.signing_key.serialize_der(),
        ..server
    };
    connects(&trust(&[key.cert.pem()]), "localhost", &server);
}

#[test]
fn a_chain_may_lack_its_root_or_hold_it() {
    let root = Authority::new("Root");
    let intermediate = root.below("Intermediate", |_| {});
    let mut server = intermediate.sign(&["localhost"]);
    server.chain.push(intermediate.der());
    connects(&root.trust(), "localhost", &server);
    server.chain.push(root.der());
    connects(&root.trust(), "localhost", &server);
    server.chain.push(Authority::new("Superfluous").der());
    connects(&root.trust(), "localhost", &server);
}

#[test]
fn one_of_several_authorities_is_enough_and_an_expired_one_does_no_harm() {
    let authority = Authority::new("Authority");
    // The same name, as if it had been renewed.
    let expired = Authority::with("Authority", |parameters| {
        parameters.not_after = rcgen::date_time_ymd(2020, 1, 1);
    });
    let foreign = Authority::new("Foreign");
    let pems = [&foreign, &expired, &authority].map(|authority| authority.certificate.pem());
    let server = authority.sign(&["localhost"]);
    connects(&trust(&pems), "localhost", &server);
}

#[test]
fn text_around_certificates_does_no_harm() {
    let authority = Authority::new("Authority");
    let pem = format!("# Authority\r\n{}\n\nend", authority.certificate.pem());
    let server = authority.sign(&["localhost"]);
    connects(&trust(&[pem]), "localhost", &server);
}

#[test]
fn a_certificate_file_is_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("authority.pem");
    let certificates = Certificates::new(Some(Pem::File(file.clone())), None, None);
    for name in ["First", "Second"] {
        let authority = Authority::new(name);
        std::fs::write(&file, authority.certificate.pem()).unwrap();
        let trust = Trust::read(&certificates).unwrap();
        connects(&trust, "localhost", &authority.sign(&["localhost"]));
    }
}

#[test]
fn the_system_s_authorities_are_shared() {
    let trusts = [(); 2].map(|()| Trust::read(&Certificates::default()).unwrap());
    let text = format!("{:?}", trusts[0]);
    assert!(text.starts_with("Trust { authorities: "), "{text}");
    assert!(trusts[0].shares_authorities_with(&trusts[1]));
}

#[test]
fn the_fixtures_are_there() {
    assert_eq!(fixture_chain("authority.pem").len(), 1);
    assert!(fixture("README.md").is_file());
}
