//! The options that say which application on which network.

use std::ffi::OsString;

use anyhow::Result;
use clap::{Args, ValueEnum};
use ttn::{Backfill, ErrorKind, MqttClient, MqttClientBuilder, Network};

use crate::{key::KeyArguments, status::usage};

#[derive(Args, Debug)]
pub(crate) struct Connection {
    // The variables stand in the texts: clap would give each a line of its own.
    /// The application, such as my-app@ttn [TTN_APP_ID]
    #[arg(
        short,
        long,
        value_name = "ID",
        env = "TTN_APP_ID",
        hide_env = true,
        help_heading = "Connection"
    )]
    app: Option<String>,

    /// The cluster, such as eu1 [TTN_CLUSTER]
    #[arg(
        short,
        long,
        value_name = "NAME",
        env = "TTN_CLUSTER",
        hide_env = true,
        help_heading = "Connection"
    )]
    cluster: Option<String>,

    /// The MQTT server, without cluster [TTN_MQTT_ADDRESS]
    #[arg(
        long,
        value_name = "HOST",
        env = "TTN_MQTT_ADDRESS",
        hide_env = true,
        help_heading = "Connection"
    )]
    address: Option<String>,

    /// The HTTP address of the stack [TTN_HTTP_ADDRESS]
    #[arg(
        long,
        value_name = "URL",
        env = "TTN_HTTP_ADDRESS",
        hide_env = true,
        help_heading = "Connection"
    )]
    http_address: Option<String>,

    /// v3 or v2; by default, what id and key look like
    #[arg(
        long,
        value_enum,
        value_name = "NAME",
        hide_possible_values = true,
        help_heading = "Connection"
    )]
    network: Option<NetworkName>,

    /// Trusted authorities, in PEM [TTN_CA_FILE]
    #[arg(
        long,
        value_name = "FILE",
        env = "TTN_CA_FILE",
        hide_env = true,
        help_heading = "Connection"
    )]
    ca_file: Option<OsString>,

    /// An HTTP or SOCKS5 proxy
    #[arg(long, value_name = "URL", help_heading = "Connection")]
    proxy: Option<String>,

    #[command(flatten)]
    key: KeyArguments,
}

/// A network, as users write it.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum NetworkName {
    V3,
    V2,
}

impl From<NetworkName> for Network {
    fn from(name: NetworkName) -> Self {
        match name {
            NetworkName::V3 => Self::V3,
            NetworkName::V2 => Self::V2,
        }
    }
}

impl Connection {
    /// Returns the application id.
    ///
    /// # Errors
    ///
    /// If it is not set.
    pub(crate) fn app(&self) -> Result<&str> {
        given(&self.app).ok_or_else(|| {
            usage("no application; set TTN_APP_ID, or use --app, such as --app my-app@ttn")
        })
    }

    /// Returns the network, if the user has named it.
    pub(crate) fn network(&self) -> Option<Network> {
        self.network.map(Network::from)
    }

    pub(crate) fn builder(&self) -> Result<MqttClientBuilder> {
        let app = self.app()?;
        let (cluster, address) = (given(&self.cluster), given(&self.address));
        if cluster.is_some() && address.is_some() {
            return Err(usage(
                "both a cluster and an MQTT address; use only one of --cluster (TTN_CLUSTER) and --address (TTN_MQTT_ADDRESS)",
            ));
        }
        let mut builder = MqttClient::builder(app, self.key.key()?);
        if let Some(cluster) = cluster {
            builder = builder.cluster(cluster);
        }
        if let Some(address) = address {
            builder = builder.mqtt_address(address);
        }
        if let Some(address) = given(&self.http_address) {
            builder = builder.http_address(address);
        }
        if let Some(network) = self.network() {
            builder = builder.network(network);
        }
        if let Some(file) = self.ca_file.as_ref().filter(|file| !file.is_empty()) {
            builder = builder.ca_file(file);
        }
        if let Some(proxy) = &self.proxy {
            builder = builder.proxy(proxy);
        }
        Ok(builder)
    }
}

/// Builds a client that fetches what it has missed after an outage, where that is possible, which V2 is not.
pub(crate) fn patient(builder: MqttClientBuilder) -> ttn::Result<MqttClient> {
    match builder.clone().backfill(Backfill::new()).build() {
        Err(error) if error.kind() == ErrorKind::Config => builder.build(),
        client => client,
    }
}

/// Returns what is set; a variable that is set to nothing is not.
fn given(value: &Option<String>) -> Option<&str> {
    value.as_deref().filter(|value| !value.is_empty())
}
