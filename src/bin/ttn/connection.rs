//! The options that say which application on which network.

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, ValueEnum};
use ttn::{MqttClient, MqttClientBuilder, Network};

use crate::key::KeyArguments;

#[derive(Args, Debug)]
#[command(next_help_heading = "Connection")]
pub(crate) struct Connection {
    /// The application, such as my-app@ttn
    #[arg(
        short,
        long,
        value_name = "ID",
        env = "TTN_APP_ID",
        hide_env_values = true
    )]
    app: String,

    /// The cluster of a hosted network, such as eu1
    #[arg(
        short,
        long,
        value_name = "NAME",
        env = "TTN_CLUSTER",
        hide_env_values = true
    )]
    cluster: Option<String>,

    /// The MQTT server, if there is no cluster
    #[arg(
        long,
        value_name = "ADDRESS",
        env = "TTN_MQTT_ADDRESS",
        hide_env_values = true
    )]
    address: Option<String>,

    /// The stack's HTTP address, if there is no cluster
    #[arg(
        long,
        value_name = "ADDRESS",
        env = "TTN_HTTP_ADDRESS",
        hide_env_values = true
    )]
    http_address: Option<String>,

    /// The network; by default, the id and the key show it
    #[arg(long, value_enum)]
    network: Option<NetworkName>,

    /// Certificate authorities in PEM, instead of the system's
    #[arg(long, value_name = "FILE", env = "TTN_CA_FILE", hide_env_values = true)]
    ca_file: Option<PathBuf>,

    /// An HTTP or SOCKS5 proxy
    #[arg(long, value_name = "ADDRESS")]
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
    pub(crate) fn builder(&self) -> Result<MqttClientBuilder> {
        let mut builder = MqttClient::builder(&self.app, self.key.key()?);
        if let Some(cluster) = &self.cluster {
            builder = builder.cluster(cluster);
        }
        if let Some(address) = &self.address {
            builder = builder.mqtt_address(address);
        }
        if let Some(address) = &self.http_address {
            builder = builder.http_address(address);
        }
        if let Some(network) = self.network {
            builder = builder.network(network.into());
        }
        if let Some(file) = &self.ca_file {
            builder = builder.ca_file(file);
        }
        if let Some(proxy) = &self.proxy {
            builder = builder.proxy(proxy);
        }
        Ok(builder)
    }
}
