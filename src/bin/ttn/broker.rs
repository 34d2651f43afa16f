//! The options for a broker of one's own.

use std::{fs, path::PathBuf};

use anyhow::{Context, Result};
use clap::Args;
use ttn::{MqttClient, MqttClientBuilder, Topics};

#[derive(Args, Debug)]
#[command(next_help_heading = "Broker")]
pub(crate) struct BrokerArguments {
    /// The broker's address [TTN_BROKER]
    #[arg(long, value_name = "ADDRESS", env = "TTN_BROKER", hide_env = true)]
    broker: Option<String>,

    /// The user name at the broker
    #[arg(long, value_name = "NAME", requires = "broker_password_file")]
    broker_user: Option<String>,

    /// Read the password for it from this file
    #[arg(long, value_name = "FILE", requires = "broker_user")]
    broker_password_file: Option<PathBuf>,

    /// Its certificate authorities in PEM
    #[arg(long, value_name = "FILE")]
    broker_ca_file: Option<PathBuf>,

    /// What stands before all topics: ttn/
    #[arg(long, value_name = "TEXT")]
    prefix: Option<String>,
}

impl BrokerArguments {
    pub(crate) fn address(&self) -> Option<&str> {
        self.broker.as_deref()
    }

    /// Returns a client of the broker.
    pub(crate) fn builder(&self, app_id: &str, address: &str) -> Result<MqttClientBuilder> {
        let mut builder = MqttClient::own_broker(app_id).mqtt_address(address);
        if let (Some(user), Some(file)) = (&self.broker_user, &self.broker_password_file) {
            let password = fs::read_to_string(file)
                .with_context(|| format!("cannot read {}", file.display()))?;
            builder = builder.credentials(user, password.trim_end_matches(['\r', '\n']));
        }
        if let Some(file) = &self.broker_ca_file {
            builder = builder.ca_file(file);
        }
        if let Some(prefix) = &self.prefix {
            builder = builder.topics(Topics::with_prefix(prefix));
        }
        Ok(builder)
    }
}
