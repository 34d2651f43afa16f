//! Which hosts serve the HTTP API of a network.

use crate::{
    config::{Address, HttpAddress, Options, Server},
    network::Network,
};

/// The URLs of a network's servers, without a slash at their ends. The key goes to these hosts only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hosts {
    /// Downlinks, queues, connection information.
    pub(super) application_server: String,
    /// Keys, rights, applications, the list of devices.
    pub(super) identity_server: String,
}

/// A server by its task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Task {
    Application,
    Identity,
}

impl Hosts {
    /// Returns one server that does everything.
    pub(crate) fn single(server: &HttpAddress) -> Self {
        Self::with_identity_server(server.to_string(), None)
    }

    /// Returns the hosts for a client; `None` if they are not known, the network has no such API, or the client
    /// reads from a broker of its own and has no key for the network.
    pub(crate) fn of(options: &Options) -> Option<Self> {
        if options.network != Network::V3 || options.broker.is_some() {
            return None;
        }
        let application_server = match (&options.http.address, &options.server) {
            (Some(address), _) | (None, Server::AskedOf(address)) => address.to_string(),
            (None, Server::At(address)) => hosted(address)?,
            (None, Server::Unknown) => return None,
        };
        Some(Self::with_identity_server(
            application_server,
            options.http.identity_server.as_ref(),
        ))
    }

    fn with_identity_server(application_server: String, named: Option<&HttpAddress>) -> Self {
        let identity_server = match named {
            Some(address) => address.to_string(),
            None => identity_server_of(&application_server),
        };
        Self {
            application_server,
            identity_server,
        }
    }

    /// Returns whether an address, with or without a port, has the host of the Application Server.
    pub(super) fn is_application_server(&self, address: &str) -> bool {
        let own = self.application_server.split_once("://");
        let own = own.map_or(self.application_server.as_str(), |(_, rest)| rest);
        host_of(own).eq_ignore_ascii_case(host_of(address))
    }

    pub(super) fn of_task(&self, task: Task) -> &str {
        match task {
            Task::Application => &self.application_server,
            Task::Identity => &self.identity_server,
        }
    }
}

/// Returns an address without its port.
fn host_of(address: &str) -> &str {
    match address.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => address,
    }
}

/// The domains of hosted networks, with the number of labels before the cluster.
const HOSTED: [(&str, usize); 2] = [
    (".cloud.thethings.network", 0),
    (".cloud.thethings.industries", 1),
];

/// The cluster with the Identity Server of every hosted network.
const IDENTITY_CLUSTER: &str = "eu1";

/// Returns the URL of the server of a hosted network that is behind an MQTT address.
fn hosted(address: &Address) -> Option<String> {
    let host = address.host().to_ascii_lowercase();
    identity_host_of(&host)?;
    Some(format!("https://{host}"))
}

/// Returns the URL of the Identity Server that belongs to a server: on a hosted network another host,
/// with the same port and path.
fn identity_server_of(server: &str) -> String {
    let Some((scheme, rest)) = server.split_once("://") else {
        return server.to_owned();
    };
    let (host, place) = rest.split_at(rest.find([':', '/']).unwrap_or(rest.len()));
    match identity_host_of(&host.to_ascii_lowercase()) {
        Some(host) => format!("{scheme}://{host}{place}"),
        None => server.to_owned(),
    }
}

/// Returns the host of the Identity Server for a host of a hosted network.
fn identity_host_of(host: &str) -> Option<String> {
    // A name with a dot at its end is the same name.
    let host = host.strip_suffix('.').unwrap_or(host);
    HOSTED.iter().find_map(|(domain, before)| {
        let labels: Vec<&str> = host.strip_suffix(domain)?.split('.').collect();
        let (_cluster, tenant) = labels.split_last()?;
        let is_hosted = tenant.len() == *before && labels.iter().all(|label| !label.is_empty());
        let tenant = tenant
            .iter()
            .map(|label| format!("{label}."))
            .collect::<String>();
        is_hosted.then(|| format!("{tenant}{IDENTITY_CLUSTER}{domain}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_of_a_registration_is_compared_by_its_host() {
        let hosts = Hosts::with_identity_server("https://eu1.tts.example:8443".to_owned(), None);
        for (address, is_own) in [
            ("eu1.tts.example", true),
            ("EU1.tts.example:8884", true),
            ("nam1.tts.example", false),
        ] {
            assert_eq!(hosts.is_application_server(address), is_own, "{address}");
        }
    }

    #[test]
    fn the_identity_server_of_a_hosted_network_is_in_its_first_cluster() {
        for (host, identity) in [
            (
                "au1.cloud.thethings.network",
                Some("eu1.cloud.thethings.network"),
            ),
            (
                "eu1.cloud.thethings.network",
                Some("eu1.cloud.thethings.network"),
            ),
            (
                "acme.nam1.cloud.thethings.industries",
                Some("acme.eu1.cloud.thethings.industries"),
            ),
            ("nam1.cloud.thethings.industries", None),
            ("a.b.cloud.thethings.network", None),
            (
                "au1.cloud.thethings.network.",
                Some("eu1.cloud.thethings.network"),
            ),
            (".cloud.thethings.network", None),
            (".eu1.cloud.thethings.industries", None),
            ("cloud.thethings.network", None),
            ("eu1.cloud.thethings.network.example", None),
            ("tts.example", None),
        ] {
            assert_eq!(identity_host_of(host).as_deref(), identity, "{host}");
        }
    }

    #[test]
    fn the_identity_server_has_the_port_and_the_path_of_the_server() {
        for (server, identity) in [
            (
                "https://AU1.cloud.thethings.network:443",
                "https://eu1.cloud.thethings.network:443",
            ),
            (
                "https://acme.nam1.cloud.thethings.industries./stack",
                "https://acme.eu1.cloud.thethings.industries/stack",
            ),
            ("http://[::1]:1885/base", "http://[::1]:1885/base"),
            ("https://tts.example:8885", "https://tts.example:8885"),
        ] {
            assert_eq!(identity_server_of(server), identity);
        }
    }
}
