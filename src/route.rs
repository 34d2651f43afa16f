//! The way to a server: its address, asked for if need be, and the network addresses behind its
//! name. Blocking; called on threads that may wait.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use crate::{
    address::Address,
    discovery,
    error::{Error, ErrorKind, Result},
    options::{AccessKey, Options, Server},
    probe::{self, Symptom},
    transport::{TlsFiles, Uri},
};

/// Attempts that ended by mistake are repeated so many times.
const MAX_REPEATED: u32 = 8;

pub(crate) struct Route {
    address: Address,
    /// Not tried yet, in order.
    servers: std::vec::IntoIter<SocketAddr>,
    /// The one being tried.
    server: SocketAddr,
    files: TlsFiles,
    /// How often an attempt ended by mistake.
    repeated: u32,
}

impl Route {
    /// Whether it can be found without anything to read, to ask or to look up.
    pub(crate) fn is_instant(options: &Options) -> bool {
        match &options.server {
            Server::At(address) => !address.tls() && address.host().parse::<IpAddr>().is_ok(),
            Server::AskedOf(_) => false,
            Server::Unknown => true,
        }
    }

    /// Asks the discovery server, reads certificates, looks the name up. When the discovery server is
    /// out of order, an address that has worked before, `known`, will do.
    pub(crate) fn find(
        options: &Options,
        access_key: &AccessKey,
        known: Option<Address>,
    ) -> Result<Self> {
        let address = match &options.server {
            Server::At(address) => address.clone(),
            Server::AskedOf(discovery) => {
                let mut time = options.connect_timeout;
                if known.is_some() {
                    time /= 2;
                }
                let found = discovery.find(options, access_key, time);
                match (found, known) {
                    (Err(error), Some(known)) if error.is_transient() => known,
                    (found, _) => found?,
                }
            }
            Server::Unknown => {
                return Err(Error::config(format!(
                    "no server is known for the application {:?}: {}",
                    options.app_id,
                    discovery::advice(options.network)
                )));
            }
        };
        let files = if address.tls() {
            options.certificates.files()?
        } else {
            TlsFiles::default()
        };
        let mut servers = probe::resolve(&address)?.into_iter();
        let Some(server) = servers.next() else {
            return Err(Error::new(
                ErrorKind::UnknownHost,
                format!("{address} has no address"),
            ));
        };
        Ok(Self {
            address,
            servers,
            server,
            files,
            repeated: 0,
        })
    }

    /// Whether an attempt that ended by mistake is worth another.
    pub(crate) fn may_repeat(&mut self) -> bool {
        self.repeated += 1;
        self.repeated <= MAX_REPEATED
    }

    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    pub(crate) fn uri(&self) -> Uri {
        if self.address.tls() {
            Uri::Tls {
                host: self.address.host().to_owned(),
                port: self.address.port(),
                files: self.files.clone(),
            }
        } else {
            Uri::Plain(self.server)
        }
    }

    /// How many addresses there are still to try. With TLS it is Paho that chooses one.
    pub(crate) fn others(&self) -> usize {
        if self.address.tls() {
            0
        } else {
            self.servers.len()
        }
    }

    /// Turns to the next address; `false` when there is none.
    pub(crate) fn turn(&mut self) -> bool {
        if self.address.tls() {
            return false;
        }
        let next = self.servers.next();
        self.server = next.unwrap_or(self.server);
        next.is_some()
    }

    /// Why a connection by this way failed, within `budget`.
    pub(crate) fn diagnose(&self, symptom: Symptom, budget: Duration) -> Error {
        probe::diagnose(&self.address, self.server, &self.files, symptom, budget)
    }
}
