//! Where a connection goes, through which proxy, and which authorities to trust there.

use std::{net::SocketAddr, time::Instant};

use super::{lookup, tls::Trust};
use crate::{
    config::{Certificates, Proxy, WayOut},
    error::Result,
};

#[derive(Clone, Debug)]
pub(crate) struct Destination {
    /// The name in errors, such as `mqtts://host:8883`.
    pub(crate) server: String,
    /// A name or an IP address; IPv6 without brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
    /// The addresses of the host or of the proxy.
    pub(super) addresses: Vec<SocketAddr>,
    pub(super) proxy: Option<Proxy>,
    /// `Some` for TLS.
    pub(super) trust: Option<Trust>,
}

impl Destination {
    /// Reads the certificates if there is TLS, and looks up the name of the host or of the proxy before
    /// `deadline`. Without a deadline it may take long and cannot be cancelled.
    pub(crate) fn find(
        server: String,
        host: &str,
        port: u16,
        certificates: Option<&Certificates>,
        way_out: &WayOut,
        deadline: Option<Instant>,
    ) -> Result<Self> {
        let trust = certificates.map(Trust::read).transpose()?;
        let proxy = way_out.proxy_for(trust.is_some(), host, port)?;
        let (dialled, at) = match &proxy {
            Some(proxy) => (proxy.host(), proxy.port()),
            None => (host, port),
        };
        let addresses = match deadline {
            Some(deadline) => lookup::look_up_until(dialled, at, deadline)?,
            None => lookup::look_up(dialled, at)?,
        };
        Ok(Self {
            server,
            host: host.to_owned(),
            port,
            addresses,
            proxy,
            trust,
        })
    }

    /// Returns what is dialled, for errors.
    pub(super) fn dialled(&self) -> String {
        match &self.proxy {
            Some(proxy) => format!("the proxy {proxy}"),
            None => self.server.clone(),
        }
    }
}
