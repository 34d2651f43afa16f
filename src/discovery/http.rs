//! Asking a server over HTTP. The only file that names `ureq`.

use std::{io, time::Duration};

use ureq::{
    BodyReader,
    http::{HeaderValue, Uri, header},
    tls::{Certificate, PemItem, RootCerts, TlsConfig, TlsProvider},
};

use super::DiscoveryAddress;
use crate::{
    error::{Error, ErrorKind, Result},
    network::Network,
    options::AccessKey,
    probe,
};

/// The part of its time that a search leaves unused: whoever waits for it waits no longer than that
/// time.
const SPARE: u32 = 8;

const MAX_REDIRECTS: u32 = 10;

/// What a server says to a question.
pub(super) struct Answer {
    pub(super) status: u16,
    /// Where a redirect that was not followed leads.
    pub(super) location: Option<String>,
    pub(super) body: BodyReader<'static>,
}

pub(super) fn is_url(text: &str) -> bool {
    text.parse::<Uri>().is_ok()
}

impl DiscoveryAddress {
    /// Redirects are followed only without a key: a key is for the server that was named.
    pub(super) fn get(
        &self,
        url: &str,
        key: Option<&AccessKey>,
        ca: Option<&[u8]>,
        timeout: Duration,
    ) -> Result<Answer> {
        let agent = ureq::Agent::config_builder()
            .timeout_global(Some(timeout - timeout / SPARE))
            .http_status_as_error(false)
            .max_redirects(key.map_or(MAX_REDIRECTS, |_| 0))
            .tls_config(self.trust(ca)?)
            .build()
            .new_agent();
        let mut request = agent.get(url).header(header::ACCEPT, "application/json");
        if let Some(key) = key {
            request = request.header(header::AUTHORIZATION, bearer(key)?);
        }
        let response = request.call().map_err(|cause| self.failed(cause))?;
        let location = response.headers().get(header::LOCATION);
        Ok(Answer {
            status: response.status().as_u16(),
            location: location.map(|place| String::from_utf8_lossy(place.as_bytes()).into_owned()),
            body: response.into_body().into_reader(),
        })
    }

    fn trust(&self, ca: Option<&[u8]>) -> Result<TlsConfig> {
        let roots = match ca {
            None => RootCerts::PlatformVerifier,
            Some(pem) => {
                let certificates: Vec<_> = ureq::tls::parse_pem(pem)
                    .filter_map(|item| match item {
                        Ok(PemItem::Certificate(certificate)) => Some(certificate),
                        _ => None,
                    })
                    .collect::<Vec<Certificate<'static>>>();
                if certificates.is_empty() {
                    return Err(Error::config(format!(
                        "the CA certificates for {self} hold no certificate"
                    )));
                }
                RootCerts::from(certificates)
            }
        };
        Ok(TlsConfig::builder()
            .provider(TlsProvider::NativeTls)
            .root_certs(roots)
            .build())
    }

    /// Why there is no answer, or only the beginning of one.
    pub(super) fn failed(&self, cause: impl Into<ureq::Error>) -> Error {
        let cause = cause.into();
        let kind = match &cause {
            ureq::Error::HostNotFound => ErrorKind::UnknownHost,
            ureq::Error::Timeout(_) => ErrorKind::TimedOut,
            ureq::Error::ConnectionFailed => ErrorKind::Unreachable,
            ureq::Error::Io(cause) if cause.kind() == io::ErrorKind::InvalidData => {
                ErrorKind::DiscoveryAnswer
            }
            ureq::Error::Io(cause) => ErrorKind::of_io(cause).unwrap_or_else(|| of_lookup(cause)),
            ureq::Error::NativeTls(_) | ureq::Error::Tls(_) => ErrorKind::Tls,
            _ => ErrorKind::DiscoveryAnswer,
        };
        let advice = match (self.closed(), kind) {
            (Some(closed), _) => closed,
            (None, ErrorKind::ResourcesExhausted) => probe::EXHAUSTED,
            (None, ErrorKind::UnknownHost) => "the host name cannot be found",
            (None, ErrorKind::TimedOut) if self.network == Network::V3 && !self.is_plain() => {
                "no answer in time; if it speaks no TLS, it has to be given with http://"
            }
            (None, ErrorKind::TimedOut) => "no answer in time",
            (None, ErrorKind::ConnectionRefused) => {
                "nothing listens there; is the server up and the port right?"
            }
            (None, ErrorKind::Tls) if self.network == Network::V3 => {
                "its TLS certificate is not accepted, or it speaks no TLS and has to be given with http://"
            }
            (None, ErrorKind::Tls) => "its TLS certificate is not accepted, or it speaks no TLS",
            (None, ErrorKind::ConnectionLost) => "it closed the connection",
            _ => "check the address and the network",
        };
        let context = format!("cannot ask the discovery server {self}: {advice} ({cause})");
        Error::with_source(kind, context, cause)
    }
}

/// Marked as sensitive, so that it prints as nothing.
fn bearer(key: &AccessKey) -> Result<HeaderValue> {
    let value = HeaderValue::try_from(format!("Bearer {}", key.reveal()));
    let mut value = value
        .map_err(|_| Error::config("the access key holds a character that no HTTP header may"))?;
    value.set_sensitive(true);
    Ok(value)
}

/// The kind of an I/O error that is none of a socket. A failed lookup has no number, only the words
/// of the standard library.
fn of_lookup(cause: &io::Error) -> ErrorKind {
    if !cause.to_string().contains("lookup") {
        return ErrorKind::Unreachable;
    }
    match probe::want_of_descriptors() {
        Some(_) => ErrorKind::ResourcesExhausted,
        None => ErrorKind::UnknownHost,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn not_found(network: Network, server: &str) -> String {
        let server = DiscoveryAddress::parse(network, server).unwrap();
        server.failed(ureq::Error::HostNotFound).to_string()
    }

    #[test]
    fn the_closed_server_is_named_however_it_fails() {
        for server in [
            "http://discovery.thethingsnetwork.org",
            "https://discovery.thethings.network/base",
            "Discovery.TheThingsNetwork.org:8080",
        ] {
            for (network, instead) in [
                (Network::V2, "mqtt_address"),
                (Network::V3, "cluster(\"eu1\")"),
            ] {
                let text = not_found(network, server);
                assert!(text.contains("closed in December 2021"), "{text}");
                assert!(text.contains(instead), "{text}");
            }
        }
        for server in [
            "http://discovery.example/discovery.thethingsnetwork.org",
            "http://discovery.thethingsnetwork.org.example",
        ] {
            let text = not_found(Network::V2, server);
            assert!(!text.contains("2021"), "{text}");
        }
    }

    #[test]
    fn a_key_in_a_header_prints_as_nothing() {
        let key = AccessKey::new("NNSXS.ID.SECRET".to_owned());
        assert_eq!(format!("{:?}", bearer(&key).unwrap()), "Sensitive");
    }
}
