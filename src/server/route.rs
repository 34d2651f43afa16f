//! The way to a server: its address, from a discovery server if necessary, the network addresses of
//! its host, and whom to trust there. Blocking; called on threads that may wait.

use std::net::IpAddr;

use super::discovery;
use crate::{
    config::{AccessKey, Address, Options, Server},
    error::{Error, Result},
    wire::Destination,
};

#[derive(Debug)]
pub(crate) struct Route {
    pub(crate) address: Address,
    pub(crate) destination: Destination,
}

impl Route {
    /// Returns whether `find` reads no file, asks no server and looks up no name.
    /// `chosen` is the one among a broker's servers.
    pub(crate) fn is_instant(options: &Options, chosen: Option<&Address>) -> bool {
        let is_instant = |address: &Address| {
            !address.tls()
                && address.host().parse::<IpAddr>().is_ok()
                && options.way_out.is_direct()
        };
        match &options.server {
            _ if chosen.is_some() => chosen.is_some_and(is_instant),
            Server::At(address) => is_instant(address),
            Server::AskedOf(_) => false,
            Server::Unknown => true,
        }
    }

    /// Asks the discovery server, reads certificates, and looks up the name. If the discovery server is
    /// down, uses `known`, an address that has worked before. `chosen` is the one among a broker's servers.
    pub(crate) fn find(
        options: &Options,
        access_key: &AccessKey,
        known: Option<Address>,
        chosen: Option<Address>,
    ) -> Result<Self> {
        let address = match &options.server {
            Server::At(address) => chosen.unwrap_or_else(|| address.clone()),
            Server::AskedOf(server) => {
                let mut time = options.connect_timeout;
                if known.is_some() {
                    time /= 2;
                }
                let found = discovery::find(server, options, access_key, time);
                match (found, known) {
                    (Err(error), Some(known)) if error.is_transient() => known,
                    (found, _) => found?,
                }
            }
            Server::Unknown => {
                return Err(Error::config(format!(
                    "no server is known for the application {:?}: {}",
                    options.app_id,
                    options.network.address_advice()
                )));
            }
        };
        let destination = Destination::find(
            address.to_string(),
            address.host(),
            address.port(),
            address.tls().then_some(&options.certificates),
            &options.way_out,
            None,
        )?;
        Ok(Self {
            address,
            destination,
        })
    }
}
