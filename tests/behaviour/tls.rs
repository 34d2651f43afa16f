//! TLS verifies the chain and the host name, and reports which of them is wrong.

#![cfg(all(unix, feature = "tls"))]

use std::{
    env, fs,
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    time::Duration,
};

use crate::support::{
    attempts::{self, SLACK},
    certificates::{Authority, Certificates},
    child::run_alone,
    harness::SOON,
    resources::wait_until,
    tls_front::TlsFront,
    tls_server::{APP, KEY, Server, TIMEOUT, builder, network},
    watchdog::watchdog,
};
use ttn::{Error, ErrorKind, Event, MqttClient, MqttClientBuilder, Network, simulator::Simulator};

const LIMIT: Duration = Duration::from_secs(60);

#[track_caller]
fn connects(builder: MqttClientBuilder) {
    attempts::connects(&builder.build().expect("the options are valid"));
}

#[track_caller]
fn failure(client: &MqttClient) -> Error {
    attempts::failure(client, TIMEOUT + SLACK)
}

/// Asserts that connecting fails with this kind and these words.
#[track_caller]
fn fails(builder: MqttClientBuilder, kind: ErrorKind, words: &[&str]) {
    let client = builder.build().expect("the options are valid");
    let error = failure(&client);
    says(&error, kind, words);
}

#[track_caller]
fn says(error: &Error, kind: ErrorKind, words: &[&str]) {
    attempts::says(error, kind, words);
    let transient = kind == ErrorKind::Protocol || kind == ErrorKind::TimedOut;
    assert_eq!(error.is_transient(), transient);
}

/// The variable that replaces the system's authorities.
const SYSTEM: &str = "SSL_CERT_FILE";
const PORT: &str = "TTN_TEST_PORT";
const AUTHORITY: &str = "TTN_TEST_AUTHORITY";
const FOLDER: &str = "TTN_TEST_CERTIFICATES";

fn port() -> Option<u16> {
    env::var(PORT).ok()?.parse().ok()
}

#[test]
fn an_own_authority_is_trusted_as_a_file_and_as_bytes() {
    let _guard = watchdog(LIMIT);
    let certificates = Certificates::new();
    let authority = &certificates.authority;
    Server::each(&certificates.server, None, |server| {
        for host in ["localhost", "127.0.0.1"] {
            let builder = || builder(host, server.port());
            connects(builder().ca_file(authority.certificate_file()));
            connects(builder().ca_pem(authority.certificate_pem()));
        }
    });
}

#[test]
fn one_of_several_authorities_is_enough() {
    let _guard = watchdog(LIMIT);
    let certificates = Certificates::new();
    let mut pem = certificates.foreign_authority.certificate_pem();
    pem.extend(certificates.authority.certificate_pem());
    Server::each(&certificates.server, None, |server| {
        connects(builder("localhost", server.port()).ca_pem(pem.clone()));
    });
}

#[test]
fn uplinks_and_downlinks_pass_over_tls() {
    let _guard = watchdog(LIMIT);
    let certificates = Certificates::new();
    for network in [Network::V2, Network::V3] {
        let network = Simulator::start(network).expect("the simulated network starts");
        let front = TlsFront::start(&certificates.server, network.address()).expect("a free port");
        let client = MqttClient::builder(network.app_id(), network.access_key())
            .mqtt_address(format!("mqtts://localhost:{}", front.port()))
            .ca_file(certificates.authority.certificate_file())
            .build()
            .expect("the options are valid");
        let events = client.events();
        client.connect().expect("the certificate is in order");
        let Ok(Event::Connected(connected)) = events.recv_timeout(SOON) else {
            panic!("the client is connected");
        };
        assert_eq!(
            connected.address,
            format!("mqtts://localhost:{}", front.port())
        );

        let device = network.device("pump-1");
        device.uplink(7, [1, 2]);
        let Ok(Event::Uplink(uplink)) = events.recv_timeout(SOON) else {
            panic!("the uplink comes");
        };
        assert_eq!((uplink.port, &*uplink.payload_raw), (7, &[1, 2][..]));

        let large = vec![0xa5; 200];
        let _delivery = client
            .send("pump-1", large.clone())
            .expect("a valid downlink");
        assert!(network.wait_for_published(1, SOON));
        device.uplink(7, [3]);
        let received = device.next_downlink(SOON).expect("the device hears it");
        assert_eq!(received.payload, large);
    }
}

#[test]
fn a_certificate_of_an_unknown_authority_is_refused() {
    let _guard = watchdog(LIMIT);
    let certificates = Certificates::new();
    Server::each(&certificates.foreign, None, |server| {
        for host in ["localhost", "127.0.0.1"] {
            fails(
                builder(host, server.port()).ca_file(certificates.authority.certificate_file()),
                ErrorKind::CertificateAuthority,
                &[host, "not signed by the CA certificates that were set"],
            );
        }
        assert!(!server.saw_a_key());
        let client = builder("localhost", server.port())
            .ca_file(certificates.foreign_authority.certificate_file())
            .build()
            .expect("the options are valid");
        client.connect().expect("the authority is trusted");
        assert!(wait_until(SOON, || server.saw_a_key()));
    });
}

#[test]
fn a_certificate_for_another_host_name_is_refused() {
    let _guard = watchdog(LIMIT);
    let certificates = Certificates::new();
    Server::each(&certificates.wrong_host, None, |server| {
        for host in ["localhost", "127.0.0.1"] {
            fails(
                builder(host, server.port()).ca_file(certificates.authority.certificate_file()),
                ErrorKind::CertificateHostName,
                &[host, "another host name"],
            );
        }
        assert!(!server.saw_a_key());
    });
}

#[test]
fn an_expired_certificate_is_refused() {
    let _guard = watchdog(LIMIT);
    let certificates = Certificates::new();
    Server::each(&certificates.expired, None, |server| {
        fails(
            builder("localhost", server.port()).ca_file(certificates.authority.certificate_file()),
            ErrorKind::CertificateExpired,
            &["localhost", "expired", "clock"],
        );
        assert!(!server.saw_a_key());
    });
}

#[test]
fn an_own_authority_is_not_trusted_unless_it_is_given() {
    let _guard = watchdog(LIMIT);
    let certificates = Certificates::new();
    Server::each(&certificates.server, None, |server| {
        fails(
            builder("localhost", server.port()),
            ErrorKind::CertificateAuthority,
            &["localhost", "ca_file", "ca_pem"],
        );
        assert!(!server.saw_a_key());
    });
}

#[test]
fn the_system_s_authorities_are_trusted_when_none_are_given() {
    let _guard = watchdog(LIMIT);
    if let Some(port) = port() {
        return connects(builder("localhost", port));
    }
    let certificates = Certificates::new();
    Server::each(&certificates.server, None, |server| {
        run_alone(
            module_path!(),
            "the_system_s_authorities_are_trusted_when_none_are_given",
            &[
                (PORT, server.port().to_string().as_ref()),
                (SYSTEM, certificates.authority.certificate_file().as_ref()),
            ],
        );
    });
}

#[test]
fn authorities_that_are_given_replace_the_system_s() {
    let _guard = watchdog(LIMIT);
    if let (Some(port), Some(authority)) = (port(), env::var_os(AUTHORITY)) {
        return fails(
            builder("localhost", port).ca_file(authority),
            ErrorKind::CertificateAuthority,
            &["not signed by the CA certificates that were set"],
        );
    }
    let certificates = Certificates::new();
    let file = |authority: &Authority| authority.certificate_file().as_os_str().to_owned();
    Server::each(&certificates.server, None, |server| {
        run_alone(
            module_path!(),
            "authorities_that_are_given_replace_the_system_s",
            &[
                (PORT, server.port().to_string().as_ref()),
                (SYSTEM, &file(&certificates.authority)),
                (AUTHORITY, &file(&certificates.foreign_authority)),
            ],
        );
    });
}

#[test]
fn a_plain_server_on_a_tls_port_is_a_tls_failure() {
    let _guard = watchdog(LIMIT);
    let certificates = Certificates::new();
    Server::each(&certificates.server, None, |server| {
        let address = format!("mqtts://localhost:{}", server.plain_port());
        fails(
            builder("localhost", server.plain_port())
                .ca_file(certificates.authority.certificate_file()),
            ErrorKind::Tls,
            &[&address, "is this a TLS port"],
        );
    });
}

#[test]
fn a_tls_server_on_a_plain_port_is_a_protocol_failure() {
    let _guard = watchdog(LIMIT);
    let certificates = Certificates::new();
    Server::each(&certificates.server, None, |server| {
        let address = format!("mqtt://localhost:{}", server.port());
        let client = MqttClient::builder(APP, KEY)
            .mqtt_address(&address)
            .connect_timeout(TIMEOUT)
            .build()
            .expect("the options are valid");
        let words = [&address, "MQTT without TLS"];
        says(&failure(&client), ErrorKind::Protocol, &words);
    });
}

#[test]
fn a_server_that_never_shakes_hands_times_out() {
    let _guard = watchdog(LIMIT);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let address = listener.local_addr().expect("bound");
    let client = builder("localhost", address.port())
        .build()
        .expect("the options are valid");
    says(&failure(&client), ErrorKind::TimedOut, &["TLS handshake"]);
}

#[test]
fn a_missing_client_certificate_is_a_tls_failure() {
    let _guard = watchdog(LIMIT);
    let certificates = Certificates::new();
    let authority = &certificates.authority;
    Server::each(&certificates.server, Some(authority), |server| {
        fails(
            builder("localhost", server.port()).ca_file(authority.certificate_file()),
            ErrorKind::Tls,
            &["localhost", "client certificate"],
        );
        assert!(!server.saw_a_key());
    });
}

#[test]
fn a_client_certificate_of_an_unknown_authority_is_a_tls_failure() {
    let _guard = watchdog(LIMIT);
    let certificates = Certificates::new();
    let authority = &certificates.authority;
    let stranger = certificates
        .foreign_authority
        .client(certificates.folder(), "stranger");
    Server::each(&certificates.server, Some(authority), |server| {
        fails(
            builder("localhost", server.port())
                .ca_file(authority.certificate_file())
                .client_certificate_files(stranger.certificate_file(), stranger.key_file()),
            ErrorKind::Tls,
            &["localhost", "client certificate"],
        );
        assert!(!server.saw_a_key());
    });
}

#[test]
fn a_client_certificate_lets_in_as_files_and_as_bytes() {
    let _guard = watchdog(LIMIT);
    let certificates = Certificates::new();
    let (authority, identity) = (&certificates.authority, &certificates.client);
    Server::each(&certificates.server, Some(authority), |server| {
        let builder = || builder("localhost", server.port()).ca_file(authority.certificate_file());
        connects(
            builder().client_certificate_files(identity.certificate_file(), identity.key_file()),
        );
        connects(builder().client_certificate_pem(identity.certificate_pem(), identity.key_pem()));
    });
}

#[test]
fn certificates_that_cannot_be_used_are_named() {
    let _guard = watchdog(LIMIT);
    let certificates = Certificates::new();
    let folder = certificates.folder();
    let network = network();
    let front = TlsFront::start(&certificates.server, network.address()).expect("a free port");
    let builder = || builder("localhost", front.port());
    let missing = folder.join("missing.pem");
    let path = |path: &Path| path.display().to_string();
    let write = |name: &str, text: &str| {
        let file = folder.join(name);
        fs::write(&file, text).expect("the folder is writable");
        file
    };
    let no_pem = write("no-pem", "hello");
    let rubbish = "-----BEGIN CERTIFICATE-----\nhello\n-----END CERTIFICATE-----\n";
    let rubbish_file = write("rubbish.pem", rubbish);
    let Identities {
        certificate,
        key,
        other_key,
    } = Identities::of(&certificates);

    let config = |builder, words: &[&str]| fails(builder, ErrorKind::Config, words);
    config(
        builder().ca_file(&missing),
        &[&path(&missing), "CA certificates"],
    );
    config(
        builder().ca_file(folder),
        &[&path(folder), "CA certificates"],
    );
    config(builder().ca_file(&no_pem), &[&path(&no_pem), "PEM"]);
    config(builder().ca_pem("hello"), &["CA certificates", "PEM"]);
    config(
        builder().ca_file(&rubbish_file),
        &["certificates", "cannot be used"],
    );
    config(
        builder().ca_pem(rubbish),
        &["certificates", "cannot be used"],
    );
    // A key is PEM too.
    config(builder().ca_file(&key), &["certificates", "cannot be used"]);

    let trusting = || builder().ca_file(certificates.authority.certificate_file());
    config(
        trusting().client_certificate_files(&missing, &key),
        &[&path(&missing), "client certificate"],
    );
    config(
        trusting().client_certificate_files(&certificate, &missing),
        &[&path(&missing), "client key"],
    );
    config(
        trusting().client_certificate_pem("hello", "hello"),
        &["client certificate", "PEM"],
    );
    config(
        trusting().client_certificate_files(&certificate, &other_key),
        &["certificates", "cannot be used"],
    );
    config(
        trusting().client_certificate_files(&certificate, &certificate),
        &["certificates", "cannot be used"],
    );
}

struct Identities {
    certificate: PathBuf,
    key: PathBuf,
    other_key: PathBuf,
}

impl Identities {
    fn of(certificates: &Certificates) -> Self {
        Self {
            certificate: certificates.client.certificate_file().to_owned(),
            key: certificates.client.key_file().to_owned(),
            other_key: certificates.server.key_file().to_owned(),
        }
    }
}

#[test]
fn a_certificate_file_is_read_at_each_connecting() {
    let _guard = watchdog(LIMIT);
    let certificates = Certificates::new();
    let file = certificates.folder().join("later.pem");
    Server::each(&certificates.server, None, |server| {
        let _ = fs::remove_file(&file);
        let client = builder("localhost", server.port())
            .ca_file(&file)
            .build()
            .expect("the options are valid");
        says(&failure(&client), ErrorKind::Config, &["later.pem"]);
        let write = |authority: &Authority| fs::write(&file, authority.certificate_pem());
        write(&certificates.foreign_authority).expect("the folder is writable");
        says(&failure(&client), ErrorKind::CertificateAuthority, &["CA"]);
        write(&certificates.authority).expect("the folder is writable");
        client.connect().expect("the authority is trusted now");
    });
}

#[test]
fn certificates_from_memory_are_not_written_to_files() {
    let _guard = watchdog(LIMIT);
    if let (Some(port), Some(folder)) = (port(), env::var_os(FOLDER)) {
        return connects_without_files(port, Path::new(&folder));
    }
    let certificates = Certificates::new();
    let temporary = tempfile::tempdir().expect("a temporary folder can be made");
    Server::each(
        &certificates.server,
        Some(&certificates.authority),
        |server| {
            run_alone(
                module_path!(),
                "certificates_from_memory_are_not_written_to_files",
                &[
                    (PORT, server.port().to_string().as_ref()),
                    (FOLDER, certificates.folder().as_ref()),
                    ("TMPDIR", temporary.path().as_ref()),
                ],
            );
        },
    );
}

/// Connects successfully, and unsuccessfully, with the certificates in `folder`.
fn connects_without_files(port: u16, folder: &Path) {
    let read = |name: &str| fs::read(folder.join(name)).expect("the file is there");
    let temporary = env::temp_dir();
    // A file that was created and deleted leaves a new modification time.
    let state = || {
        let files = fs::read_dir(&temporary).expect("the folder is there");
        let changed = fs::metadata(&temporary).and_then(|folder| folder.modified());
        (files.count(), changed.expect("it has a time"))
    };
    let before = state();
    assert_eq!(before.0, 0, "{} is not empty", temporary.display());
    let client = |authority| {
        builder("localhost", port)
            .ca_pem(read(authority))
            .client_certificate_pem(read("client.pem"), read("client.key"))
            .build()
            .expect("the options are valid")
    };
    let good = client("authority.pem");
    good.connect().expect("the certificates are in order");
    assert_eq!(state(), before);
    let refusing = client("foreign-authority.pem");
    says(&failure(&refusing), ErrorKind::CertificateAuthority, &[]);
    assert_eq!(state(), before);
    drop((good, refusing));
    assert_eq!(state(), before);
    // Shows that a file would have been noticed.
    let file = tempfile::NamedTempFile::new().expect("the folder is writable");
    assert_eq!(file.path().parent(), Some(&*temporary));
    drop(file);
    assert_ne!(state(), before);
}

#[test]
fn an_address_without_scheme_and_port_means_tls() {
    let _guard = watchdog(LIMIT);
    for address in ["127.0.0.1", "127.0.0.1:8883"] {
        let client = MqttClient::builder(APP, KEY)
            .mqtt_address(address)
            .connect_timeout(TIMEOUT)
            .build()
            .expect("the options are valid");
        let text = failure(&client).to_string();
        assert!(text.contains("mqtts://127.0.0.1:8883"), "{text}");
    }
}
