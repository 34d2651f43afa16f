//! Every kind of certificate and key that a server or a client may have: which are accepted, and
//! how the error explains the others.

#![cfg(all(unix, feature = "tls"))]

use std::{fs, net::Ipv6Addr, time::Duration};

use crate::support::{
    attempts::{self, SLACK},
    certificates::{Authority, Certificates, Identity, KeyKind},
    mosquitto::TlsVersion,
    old_tls::OldTls,
    tls_server::{Server, Setup, TIMEOUT, builder},
    watchdog::watchdog,
};
use ttn::{Error, ErrorKind, MqttClientBuilder};

const LIMIT: Duration = Duration::from_secs(60);

const VERSIONS: [TlsVersion; 2] = [TlsVersion::V12, TlsVersion::V13];

/// Part of the error text that names every possible cause at once.
const GUESS: &str = "is this a TLS port";

/// Returns a client of `localhost` that trusts this authority.
fn trusting(server: &Server, authority: &Authority) -> MqttClientBuilder {
    builder("localhost", server.port()).ca_file(authority.certificate_file())
}

/// Returns a client of `localhost` that trusts this certificate.
fn trusting_itself(server: &Server, identity: &Identity) -> MqttClientBuilder {
    builder("localhost", server.port()).ca_pem(identity.certificate_pem())
}

fn showing(builder: MqttClientBuilder, client: &Identity) -> MqttClientBuilder {
    builder.client_certificate_files(client.certificate_file(), client.key_file())
}

#[track_caller]
fn connects(builder: MqttClientBuilder) {
    attempts::connects(&builder.build().expect("the options are valid"));
}

#[track_caller]
fn failure(builder: MqttClientBuilder) -> Error {
    // Some certificates can be rejected before anything is sent.
    let client = match builder.build() {
        Ok(client) => client,
        Err(error) => return error,
    };
    attempts::failure(&client, TIMEOUT + SLACK)
}

/// Asserts that connecting fails with this kind and these words.
#[track_caller]
fn fails(builder: MqttClientBuilder, kind: ErrorKind, words: &[&str]) -> Error {
    let error = failure(builder);
    attempts::says(&error, kind, words);
    error
}

/// Asserts the same, as a permanent error, and before the server has seen the access key.
#[track_caller]
fn refuses(server: &Server, builder: MqttClientBuilder, kind: ErrorKind, words: &[&str]) {
    let error = fails(builder, kind, words);
    assert!(!error.is_transient(), "{error}");
    assert!(!server.saw_a_key());
}

/// Asserts that the TLS handshake fails for a known reason.
#[track_caller]
fn fails_in_tls(builder: MqttClientBuilder, words: &[&str]) {
    let text = fails(builder, ErrorKind::Tls, words).to_string();
    assert!(!text.contains(GUESS), "{text}");
}

#[test]
fn a_self_signed_certificate_is_accepted_as_its_own_authority() {
    let _guard = watchdog(LIMIT);
    let certificates = Certificates::new();
    for ca in [true, false] {
        let server = certificates.self_signed("self-signed", ca);
        Setup::new(&server).each(|running| {
            for host in ["localhost", "127.0.0.1"] {
                let builder = || builder(host, running.port());
                connects(builder().ca_file(server.certificate_file()));
                let mut others = certificates.authority.certificate_pem();
                others.extend(server.certificate_pem());
                connects(builder().ca_pem(others));
            }
        });
    }
}

#[test]
fn a_self_signed_certificate_that_was_not_given_is_of_an_unknown_authority() {
    let _guard = watchdog(LIMIT);
    let certificates = Certificates::new();
    for ca in [true, false] {
        let server = certificates.self_signed("self-signed", ca);
        // Recreated with the same name, as if a certificate were renewed on one side only.
        let other = certificates.self_signed("other-self-signed", ca);
        Setup::new(&server).each(|running| {
            for given in [Some(&other), None] {
                let client = match given {
                    Some(given) => trusting_itself(running, given),
                    None => trusting(running, &certificates.authority),
                };
                let kind = ErrorKind::CertificateAuthority;
                refuses(running, client, kind, &["localhost", "self-signed"]);
            }
        });
    }
}

#[test]
fn the_name_and_the_dates_of_a_self_signed_certificate_count() {
    let _guard = watchdog(LIMIT);
    let certificates = Certificates::new();
    for ca in [true, false] {
        let server = certificates.self_signed_named("other-host", ca, "other.example");
        Setup::new(&server).each(|running| {
            let kind = ErrorKind::CertificateHostName;
            let client = trusting_itself(running, &server);
            refuses(running, client, kind, &["localhost", "other.example"]);
        });
        let server = certificates.expired_self_signed("expired-self-signed", ca);
        Setup::new(&server).each(|running| {
            let kind = ErrorKind::CertificateExpired;
            let client = trusting_itself(running, &server);
            refuses(running, client, kind, &["expired", &server.last_day()]);
        });
    }
}

#[test]
fn a_chain_may_hold_the_root_and_may_not_lack_the_intermediate() {
    let _guard = watchdog(LIMIT);
    let certificates = Certificates::new();
    let (root, folder) = (&certificates.authority, certificates.folder());
    let intermediate = root.intermediate(folder, "the-intermediate");
    let lacking = intermediate.server(folder, "lacking");
    let complete = lacking.followed_by(folder, "complete", &[&intermediate]);
    let superfluous = lacking.followed_by(folder, "superfluous", &[&intermediate, root]);
    for chain in [&complete, &superfluous] {
        Setup::new(chain).each(|running| {
            let client = trusting(running, &certificates.foreign_authority);
            let words = ["localhost", "not signed by"];
            refuses(running, client, ErrorKind::CertificateAuthority, &words);
            connects(trusting(running, root));
        });
    }
    Setup::new(&lacking).each(|running| {
        let (client, kind) = (trusting(running, root), ErrorKind::CertificateAuthority);
        refuses(running, client, kind, &["localhost", "the-intermediate"]);
        let mut both = root.certificate_pem();
        both.extend(intermediate.certificate_pem());
        connects(builder("localhost", running.port()).ca_pem(both));
    });
}

#[test]
fn an_address_counts_as_an_alternative_name() {
    let _guard = watchdog(LIMIT);
    let certificates = Certificates::new();
    let authority = &certificates.authority;
    let server = authority.server_for(certificates.folder(), "addresses", &["127.0.0.1", "::1"]);
    Setup::new(&server).each(|running| {
        let kind = ErrorKind::CertificateHostName;
        let words = ["localhost", "127.0.0.1, ::1"];
        refuses(running, trusting(running, authority), kind, &words);
        connects(builder("127.0.0.1", running.port()).ca_pem(authority.certificate_pem()));
    });
    Setup::new(&server).at(Ipv6Addr::LOCALHOST).each(|running| {
        connects(builder("[::1]", running.port()).ca_pem(authority.certificate_pem()));
    });
    Setup::new(&certificates.server)
        .at(Ipv6Addr::LOCALHOST)
        .each(|running| {
            let client = builder("[::1]", running.port()).ca_pem(authority.certificate_pem());
            let words = ["not for ::1", "localhost", "127.0.0.1"];
            refuses(running, client, ErrorKind::CertificateHostName, &words);
        });
}

#[test]
fn another_name_s_error_lists_the_names_of_the_certificate() {
    let _guard = watchdog(LIMIT);
    let certificates = Certificates::new();
    let authority = &certificates.authority;
    let names = ["one.example", "*.two.example", "192.0.2.7"];
    let server = authority.server_for(certificates.folder(), "several", &names);
    Setup::new(&server).each(|running| {
        for host in ["localhost", "127.0.0.1"] {
            let client = builder(host, running.port()).ca_pem(authority.certificate_pem());
            let words = [&[host][..], &names[..]].concat();
            refuses(running, client, ErrorKind::CertificateHostName, &words);
        }
    });
}

#[test]
fn a_name_in_the_common_name_only_is_not_a_name() {
    let _guard = watchdog(LIMIT);
    let certificates = Certificates::new();
    let authority = &certificates.authority;
    let server = authority.server_for(certificates.folder(), "nameless", &[]);
    Setup::new(&server).each(|running| {
        let kind = ErrorKind::CertificateHostName;
        let words = ["localhost", "alternative name"];
        refuses(running, trusting(running, authority), kind, &words);
    });
}

#[test]
fn a_certificate_of_version_1_is_refused_with_the_reason() {
    let _guard = watchdog(LIMIT);
    let authority = Authority::fixture("authority");
    let server = Identity::fixture("server-version-1", "server-version-1");
    Setup::new(&server).each(|running| {
        let kind = ErrorKind::CertificateHostName;
        let words = ["localhost", "version 1", "alternative name"];
        refuses(running, trusting(running, &authority), kind, &words);
    });
}

#[test]
fn a_root_of_version_1_is_accepted() {
    let _guard = watchdog(LIMIT);
    let authority = Authority::fixture("authority-version-1");
    let server = Identity::fixture("server-of-version-1", "server-of-version-1");
    Setup::new(&server).each(|running| {
        let kind = ErrorKind::CertificateAuthority;
        let other = Authority::fixture("authority");
        let words = ["Old authority of the tests"];
        refuses(running, trusting(running, &other), kind, &words);
        connects(trusting(running, &authority));
    });
}

#[test]
fn an_expired_certificate_s_error_says_when_it_expired() {
    let _guard = watchdog(LIMIT);
    let certificates = Certificates::new();
    let server = &certificates.expired;
    Setup::new(server).each(|running| {
        let client = trusting(running, &certificates.authority);
        let words = ["localhost", "expired", &server.last_day()];
        refuses(running, client, ErrorKind::CertificateExpired, &words);
    });
}

#[test]
fn a_certificate_that_is_not_valid_yet_may_be_this_machine_s_clock() {
    let _guard = watchdog(LIMIT);
    let certificates = Certificates::new();
    let authority = &certificates.authority;
    let server = authority.future_server(certificates.folder(), "future");
    Setup::new(&server).each(|running| {
        let words = ["localhost", "not valid yet", &server.first_day(), "clock"];
        let client = trusting(running, authority);
        let error = fails(client, ErrorKind::CertificateExpired, &words);
        assert!(error.is_transient(), "{error}");
        assert!(!running.saw_a_key());
    });
}

#[test]
fn an_expired_root_is_refused_although_it_was_given() {
    let _guard = watchdog(LIMIT);
    let certificates = Certificates::new();
    let folder = certificates.folder();
    let root = Authority::expired(folder, "expired-root");
    let server = root.server(folder, "of-an-expired-root");
    let superfluous = server.followed_by(folder, "with-its-root", &[&root]);
    for server in [&server, &superfluous] {
        Setup::new(server).each(|running| {
            let kind = ErrorKind::CertificateExpired;
            let words = ["expired-root", "expired", &root.last_day()];
            refuses(running, trusting(running, &root), kind, &words);
        });
    }
    // Next to a valid certificate it does no harm.
    let mut both = root.certificate_pem();
    both.extend(certificates.authority.certificate_pem());
    Setup::new(&certificates.server).each(|running| {
        connects(builder("localhost", running.port()).ca_pem(both.clone()));
    });
}

#[test]
fn an_unknown_authority_is_named() {
    let _guard = watchdog(LIMIT);
    let certificates = Certificates::new();
    Setup::new(&certificates.foreign).each(|running| {
        let kind = ErrorKind::CertificateAuthority;
        let words = ["localhost", "foreign-authority"];
        refuses(
            running,
            trusting(running, &certificates.authority),
            kind,
            &words,
        );
        refuses(running, builder("localhost", running.port()), kind, &words);
    });
}

#[test]
fn an_authority_made_anew_under_the_same_name_is_another_authority() {
    let _guard = watchdog(LIMIT);
    let certificates = Certificates::new();
    let old = Authority::new(certificates.folder(), "renewed-root");
    let server = old.server(certificates.folder(), "of-the-old-root");
    let folder = certificates.folder().join("anew");
    fs::create_dir(&folder).expect("the folder is writable");
    let anew = Authority::new(&folder, "renewed-root");
    Setup::new(&server).each(|running| {
        let kind = ErrorKind::CertificateAuthority;
        let words = ["localhost", "renewed-root", "not signed by"];
        refuses(running, trusting(running, &anew), kind, &words);
        let mut both = anew.certificate_pem();
        both.extend(old.certificate_pem());
        connects(builder("localhost", running.port()).ca_pem(both));
    });
}

#[test]
fn a_client_s_certificate_does_not_do_for_a_server() {
    let _guard = watchdog(LIMIT);
    let certificates = Certificates::new();
    Setup::new(&certificates.client).each(|running| {
        let client = trusting(running, &certificates.authority);
        refuses(running, client, ErrorKind::Tls, &["localhost", "purpose"]);
    });
}

#[test]
fn every_usual_kind_of_key_is_accepted_from_a_server_in_both_versions_of_tls() {
    let _guard = watchdog(LIMIT);
    let certificates = Certificates::new();
    let (authority, folder) = (&certificates.authority, certificates.folder());
    for version in VERSIONS {
        for kind in [KeyKind::Ed25519, KeyKind::P256, KeyKind::P384] {
            let server = authority.server_with(folder, "kind", kind);
            Setup::new(&server)
                .only(version)
                .each(|running| connects(trusting(running, authority)));
        }
        for bits in ["2048", "3072", "4096"] {
            let name = format!("server-rsa-{bits}");
            Setup::new(&Identity::fixture(&name, &name))
                .only(version)
                .each(|running| connects(trusting(running, &Authority::fixture("authority"))));
        }
    }
}

#[test]
fn a_p_521_key_of_a_server_is_a_tls_failure_that_names_it() {
    let _guard = watchdog(LIMIT);
    let server = Identity::fixture("server-p521", "server-p521");
    for version in VERSIONS {
        // The front cannot serve it either.
        let setup = Setup::new(&server).only(version);
        if let Some(running) = setup.mosquitto() {
            let client = trusting(&running, &Authority::fixture("authority"));
            fails_in_tls(client, &["localhost", "P-521"]);
            assert!(!running.saw_a_key());
        }
    }
}

#[test]
fn a_plain_server_is_not_a_tls_server() {
    let _guard = watchdog(LIMIT);
    let certificates = Certificates::new();
    Setup::new(&certificates.server).each(|running| {
        let client = builder("localhost", running.plain_port())
            .ca_file(certificates.authority.certificate_file());
        refuses(running, client, ErrorKind::Tls, &["localhost", GUESS]);
    });
}

#[test]
fn a_server_that_speaks_old_versions_of_tls_only_is_told_from_others() {
    let _guard = watchdog(LIMIT);
    let certificates = Certificates::new();
    for version in ["-tls1", "-tls1_1"] {
        let Some(server) = OldTls::start(&certificates.server, version) else {
            return;
        };
        let client =
            builder("localhost", server.port()).ca_file(certificates.authority.certificate_file());
        fails_in_tls(client, &["localhost", "TLS 1.2"]);
    }
}

#[test]
fn a_server_that_wants_a_client_certificate_says_so_in_both_versions_of_tls() {
    let _guard = watchdog(LIMIT);
    let certificates = Certificates::new();
    let authority = &certificates.authority;
    for version in VERSIONS {
        let setup = Setup::new(&certificates.server).known_clients(authority);
        setup.only(version).each(|running| {
            // Names of the options that solve the problem.
            let words = ["localhost", "client certificate", "client_certificate_"];
            fails_in_tls(trusting(running, authority), &words);
            assert!(!running.saw_a_key());
            connects(showing(trusting(running, authority), &certificates.client));
        });
    }
}

#[test]
fn a_client_certificate_that_the_server_refuses_is_named_with_the_reason() {
    let _guard = watchdog(LIMIT);
    let certificates = Certificates::new();
    let (authority, folder) = (&certificates.authority, certificates.folder());
    let stranger = certificates.foreign_authority.client(folder, "stranger");
    let expired = authority.expired_client(folder, "expired-client");
    for version in VERSIONS {
        let setup = Setup::new(&certificates.server).known_clients(authority);
        setup.only(version).each(|running| {
            for (client, reason) in [
                (&stranger, "authority"),
                (&expired, "expired"),
                // This certificate is for servers.
                (&certificates.server, "refused"),
            ] {
                let client = showing(trusting(running, authority), client);
                let words = ["localhost", "client certificate", reason];
                fails_in_tls(client, &words);
                assert!(!running.saw_a_key());
            }
        });
    }
}

#[test]
fn a_client_may_have_any_usual_kind_of_key_in_any_form() {
    let _guard = watchdog(LIMIT);
    let certificates = Certificates::new();
    let (authority, folder) = (&certificates.authority, certificates.folder());
    for version in VERSIONS {
        let setup = Setup::new(&certificates.server).known_clients(authority);
        setup.only(version).each(|running| {
            for kind in [KeyKind::Ed25519, KeyKind::P256, KeyKind::P384] {
                let client = authority.client_with(folder, "kind-of-client", kind);
                connects(showing(trusting(running, authority), &client));
            }
        });
        let kept = Authority::fixture("authority");
        let setup = Setup::new(&certificates.server).known_clients(&kept);
        setup.only(version).each(|running| {
            for (certificate, key) in [
                ("client-rsa", "client-rsa"),
                ("client-rsa", "client-rsa-pkcs1"),
                ("client-p256", "client-p256"),
                ("client-p256", "client-p256-sec1"),
                ("client-p256", "client-p256-parameters"),
            ] {
                let client = Identity::fixture(certificate, key);
                connects(showing(trusting(running, authority), &client));
                connects(
                    trusting(running, authority)
                        .client_certificate_pem(client.certificate_pem(), client.key_pem()),
                );
            }
        });
    }
}

#[test]
fn a_p_521_key_of_a_client_is_a_wrong_option() {
    let _guard = watchdog(LIMIT);
    let certificates = Certificates::new();
    let kept = Authority::fixture("authority");
    let client = Identity::fixture("client-p521", "client-p521");
    let setup = Setup::new(&certificates.server).known_clients(&kept);
    setup.each(|running| {
        let client = showing(trusting(running, &certificates.authority), &client);
        let words = ["client key", "client-p521.key", "P-521"];
        refuses(running, client, ErrorKind::Config, &words);
    });
}

#[test]
fn a_key_that_needs_a_pass_phrase_is_an_error_with_the_way_out() {
    let _guard = watchdog(LIMIT);
    let certificates = Certificates::new();
    let kept = Authority::fixture("authority");
    let setup = Setup::new(&certificates.server).known_clients(&kept);
    setup.each(|running| {
        for form in ["aes", "scrypt", "triple-des", "pkcs12", "proc-type"] {
            let client = Identity::fixture("client-rsa", &format!("client-rsa-{form}"));
            let builder = || trusting(running, &certificates.authority);
            let words = ["client key", "passphrase", "openssl pkcs8"];
            let kind = ErrorKind::Config;
            refuses(running, showing(builder(), &client), kind, &words);
            let bytes =
                builder().client_certificate_pem(client.certificate_pem(), client.key_pem());
            refuses(running, bytes, kind, &words);
        }
    });
}

#[cfg(feature = "encrypted-keys")]
#[test]
fn a_pass_phrase_opens_a_key() {
    let _guard = watchdog(LIMIT);
    let certificates = Certificates::new();
    let kept = Authority::fixture("authority");
    let setup = Setup::new(&certificates.server).known_clients(&kept);
    setup.each(|running| {
        let builder = || trusting(running, &certificates.authority);
        // Before any client is accepted, after which the server has seen a key.
        for (form, phrase, reason) in [
            ("aes", "wrong phrase", "cannot be decrypted"),
            ("scrypt", "", "cannot be decrypted"),
            ("triple-des", "right phrase ", "cannot be decrypted"),
            ("pkcs12", "right phrase", "openssl pkcs8"),
            ("proc-type", "right phrase", "openssl pkcs8"),
        ] {
            let name = format!("client-rsa-{form}");
            let client = Identity::fixture("client-rsa", &name);
            let client = showing(builder(), &client).client_key_passphrase(phrase);
            refuses(
                running,
                client,
                ErrorKind::Config,
                &["client key", &name, reason],
            );
        }
        for form in ["aes", "scrypt", "triple-des"] {
            let client = Identity::fixture("client-rsa", &format!("client-rsa-{form}"));
            connects(showing(builder(), &client).client_key_passphrase("right phrase"));
            let (certificate, key) = (client.certificate_pem(), client.key_pem());
            let bytes = builder().client_certificate_pem(certificate, key);
            connects(bytes.client_key_passphrase("right phrase"));
        }
        // An unencrypted key needs no passphrase.
        let client = Identity::fixture("client-rsa", "client-rsa");
        connects(showing(builder(), &client).client_key_passphrase("right phrase"));
    });
}

#[test]
fn a_chain_of_a_client_is_sent_whole() {
    let _guard = watchdog(LIMIT);
    let certificates = Certificates::new();
    let (root, folder) = (&certificates.authority, certificates.folder());
    let intermediate = root.intermediate(folder, "clients");
    let lacking = intermediate.client(folder, "lacking-client");
    let complete = lacking.followed_by(folder, "complete-client", &[&intermediate]);
    for version in VERSIONS {
        let setup = Setup::new(&certificates.server).known_clients(root);
        setup.only(version).each(|running| {
            connects(showing(trusting(running, root), &complete));
            let client = showing(trusting(running, root), &lacking);
            fails_in_tls(client, &["client certificate", "authority"]);
        });
    }
}
