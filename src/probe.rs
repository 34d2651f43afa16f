//! Names the reason of a failed connection: Paho says only that it failed, so the probe walks the
//! same way step by step.
//!
//! Blocking, each step with a time limit; called on threads that may wait.

use std::{
    fmt, io,
    net::{Ipv4Addr, SocketAddr, TcpStream, ToSocketAddrs, UdpSocket},
    time::{Duration, Instant},
};

use openssl::{
    ssl::{HandshakeError, SslConnector, SslFiletype, SslMethod, SslStream},
    x509::X509VerifyResult,
};

use crate::{
    address::Address,
    error::{Error, ErrorKind, Result},
    transport::TlsFiles,
};

/// The least time for a step; shorter ones would only tell of a busy machine.
const LEAST: Duration = Duration::from_millis(100);

/// The part of its time that the probe leaves unused: whoever waits for it waits no longer than
/// that time.
const SPARE: u32 = 3;

/// Part of errors.
pub(crate) const EXHAUSTED: &str = "this process has too many files and sockets open";

/// The addresses of a server, IPv4 before IPv6, which is the order that Paho takes.
pub(crate) fn resolve(address: &Address) -> Result<Vec<SocketAddr>> {
    let host = address.host();
    let unknown = |why: String, cause: Option<io::Error>| {
        let kind = cause
            .as_ref()
            .and_then(ErrorKind::of_io)
            .filter(|kind| *kind == ErrorKind::ResourcesExhausted)
            .unwrap_or(ErrorKind::UnknownHost);
        let advice = match kind {
            ErrorKind::ResourcesExhausted => EXHAUSTED,
            _ => "check the address and the network",
        };
        let context = format!("cannot find the host {host:?}: {why}; {advice}");
        match cause {
            Some(cause) => Error::with_source(kind, context, cause),
            None => Error::new(kind, context),
        }
    };
    let mut found: Vec<SocketAddr> = (host, address.port())
        .to_socket_addrs()
        .map_err(|cause| {
            let cause = want_of_descriptors().unwrap_or(cause);
            unknown(cause.to_string(), Some(cause))
        })?
        .collect();
    if found.is_empty() {
        return Err(unknown("the name has no address".to_owned(), None));
    }
    found.sort_by_key(SocketAddr::is_ipv6);
    found.dedup();
    Ok(found)
}

/// Whether a few more descriptors cannot be had. The resolver and OpenSSL need some, and when they
/// cannot have them they blame the host or the files.
pub(crate) fn want_of_descriptors() -> Option<io::Error> {
    let sockets = [(); 4].map(|()| UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)));
    sockets
        .into_iter()
        .filter_map(io::Result::err)
        .find(|cause| ErrorKind::of_io(cause) == Some(ErrorKind::ResourcesExhausted))
}

/// What was seen of a failed connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Symptom {
    /// It ended.
    Failed,
    /// There was no answer in time.
    Silent,
}

/// Why a connection to `address` failed, within `budget`.
pub(crate) fn diagnose(
    address: &Address,
    server: SocketAddr,
    files: &TlsFiles,
    symptom: Symptom,
    budget: Duration,
) -> Error {
    let error = walk(address, server, files, symptom, budget);
    match error.kind() {
        ErrorKind::Config | ErrorKind::Protocol | ErrorKind::Tls => match want_of_descriptors() {
            Some(cause) => unreachable(address, server, cause),
            None => error,
        },
        _ => error,
    }
}

fn walk(
    address: &Address,
    server: SocketAddr,
    files: &TlsFiles,
    symptom: Symptom,
    budget: Duration,
) -> Error {
    let deadline = Instant::now() + budget - budget / SPARE;
    let left = || {
        deadline
            .saturating_duration_since(Instant::now())
            .max(LEAST)
    };
    let stream = match TcpStream::connect_timeout(&server, left()) {
        Ok(stream) => stream,
        Err(cause) => return unreachable(address, server, cause),
    };
    let no_mqtt = || match symptom {
        Symptom::Silent => Error::new(
            ErrorKind::TimedOut,
            format!(
                "{address} accepted the connection and then did not answer; is it an MQTT server, and is it overloaded?"
            ),
        ),
        Symptom::Failed => Error::new(
            ErrorKind::Protocol,
            format!(
                "{address} did not answer as an MQTT server does, it closed the connection or sent something else; \
                 check that the port is the one for {}, and whether the server limits connections",
                if address.tls() {
                    "MQTT with TLS"
                } else {
                    "MQTT without TLS"
                }
            ),
        ),
    };
    if !address.tls() {
        return no_mqtt();
    }
    let limits = stream
        .set_read_timeout(Some(left()))
        .and_then(|()| stream.set_write_timeout(Some(left())));
    if let Err(cause) = limits {
        return unreachable(address, server, cause);
    }
    let judged = shake_hands(address, stream, files).and_then(|tls| match symptom {
        Symptom::Failed => await_verdict(address, tls, left()),
        Symptom::Silent => Ok(()),
    });
    judged.err().unwrap_or_else(no_mqtt)
}

fn unreachable(address: &Address, server: SocketAddr, cause: io::Error) -> Error {
    let kind = ErrorKind::of_io(&cause).unwrap_or(ErrorKind::Unreachable);
    let advice = match kind {
        ErrorKind::ConnectionRefused => {
            "nothing listens there; is the server up and the port right?"
        }
        ErrorKind::TimedOut => "no answer; is a firewall in between?",
        ErrorKind::PermissionDenied => "this process is not allowed to open the connection",
        ErrorKind::ResourcesExhausted => EXHAUSTED,
        ErrorKind::ConnectionLost => "the connection was reset",
        _ => "there is no way to the server; is the network up?",
    };
    Error::with_source(
        kind,
        format!("cannot reach {address} ({server}): {advice} ({cause})"),
        cause,
    )
}

fn shake_hands(
    address: &Address,
    stream: TcpStream,
    files: &TlsFiles,
) -> Result<SslStream<TcpStream>> {
    let connector = || {
        let mut builder = SslConnector::builder(SslMethod::tls_client())?;
        if let Some(ca) = &files.ca {
            // Paho trusts these instead of the system's.
            builder.set_cert_store(openssl::x509::store::X509StoreBuilder::new()?.build());
            builder.set_ca_file(ca)?;
        }
        if let Some((certificate, key)) = &files.certificate_and_key {
            builder.set_certificate_chain_file(certificate)?;
            builder.set_private_key_file(key, SslFiletype::PEM)?;
        }
        builder.build().configure()
    };
    let handshake = connector().map_err(|cause| {
        Error::with_source(
            ErrorKind::Config,
            format!("the certificates for {address} cannot be used: {cause}"),
            cause,
        )
    })?;
    let result = handshake.connect(address.host(), stream);
    let mid = match result {
        Ok(tls) => return Ok(tls),
        Err(HandshakeError::SetupFailure(cause)) => return Err(tls_failed(address, &cause)),
        Err(HandshakeError::WouldBlock(_)) => {
            return Err(Error::new(
                ErrorKind::TimedOut,
                format!(
                    "{address} accepted the connection and then did not answer the TLS handshake"
                ),
            ));
        }
        Err(HandshakeError::Failure(mid)) => mid,
    };
    let verdict = mid.ssl().verify_result();
    if verdict == X509VerifyResult::OK {
        return Err(tls_failed(address, mid.error()));
    }
    Err(refused_certificate(address, verdict, files.ca.is_some()))
}

/// With TLS 1.3 the handshake is over before the server has judged the client's certificate, and it
/// says so only when it does not like it.
fn await_verdict(
    address: &Address,
    mut tls: SslStream<TcpStream>,
    patience: Duration,
) -> Result<()> {
    if tls.get_ref().set_read_timeout(Some(patience)).is_err() {
        return Ok(());
    }
    match tls.ssl_read(&mut [0]) {
        Err(cause) if cause.ssl_error().is_some() => Err(tls_failed(address, &cause)),
        _ => Ok(()),
    }
}

fn tls_failed(address: &Address, why: &dyn fmt::Display) -> Error {
    Error::new(
        ErrorKind::Tls,
        format!(
            "TLS with {address} failed: {why}; is this a TLS port, and does the server ask for a client certificate?"
        ),
    )
}

fn refused_certificate(address: &Address, verdict: X509VerifyResult, own_ca: bool) -> Error {
    // The numbers are OpenSSL's X509_V_ERR_…
    let (kind, advice) = match verdict.as_raw() {
        9 | 10 => (
            ErrorKind::CertificateExpired,
            "it has expired or is not valid yet; is this machine's clock right?",
        ),
        62 | 64 => (
            ErrorKind::CertificateHostName,
            "it is for another host name; connect by the name in the certificate",
        ),
        2 | 18..=21 | 24 | 27 if own_ca => (
            ErrorKind::CertificateAuthority,
            "it is not signed by the CA certificates that were given",
        ),
        2 | 18..=21 | 24 | 27 => (
            ErrorKind::CertificateAuthority,
            "it is not signed by an authority that this system trusts; for a server of your own give its CA with ca_file or ca_pem",
        ),
        _ => (ErrorKind::Tls, "it is not accepted"),
    };
    Error::new(
        kind,
        format!(
            "the certificate of {address} was refused: {advice} ({})",
            verdict.error_string()
        ),
    )
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    const BUDGET: Duration = Duration::from_secs(2);

    fn diagnose_at(scheme: &str, server: SocketAddr) -> Error {
        let address: Address = format!("{scheme}://{server}").parse().unwrap();
        diagnose(
            &address,
            server,
            &TlsFiles::default(),
            Symptom::Failed,
            BUDGET,
        )
    }

    #[test]
    fn a_port_where_nothing_listens_is_refused() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = listener.local_addr().unwrap();
        drop(listener);
        let error = diagnose_at("mqtt", server);
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        assert!(error.to_string().contains(&server.to_string()), "{error}");
    }

    #[test]
    fn a_server_that_accepts_is_not_to_blame_the_network_for() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let error = diagnose_at("mqtt", listener.local_addr().unwrap());
        assert_eq!(error.kind(), ErrorKind::Protocol);
    }

    #[test]
    fn a_server_that_never_shakes_hands_times_out() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let start = Instant::now();
        let error = diagnose_at("mqtts", listener.local_addr().unwrap());
        assert_eq!(error.kind(), ErrorKind::TimedOut, "{error}");
        assert!(start.elapsed() < 3 * BUDGET);
    }

    #[test]
    fn a_name_that_does_not_exist_is_an_unknown_host() {
        let error = resolve(&"no-such-host.invalid".parse().unwrap()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::UnknownHost);
        assert!(error.to_string().contains("no-such-host.invalid"));
    }

    #[test]
    fn ipv4_comes_before_ipv6() {
        let found = resolve(&"localhost:1883".parse().unwrap()).unwrap();
        assert!(found.is_sorted_by_key(SocketAddr::is_ipv6), "{found:?}");
    }
}
