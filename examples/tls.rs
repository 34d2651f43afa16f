//! Connects over TLS with your own certificate authority, and shows the error without it.
//!
//! ```text
//! cargo run --example tls
//! ```

use anyhow::Result;
use ttn::{MqttClient, Network, simulator::Simulator};

#[path = "../tests/support/mod.rs"]
mod support;
use support::{certificates::Certificates, tls_front::TlsFront};

fn main() -> Result<()> {
    // A TLS server with freshly made certificates, in front of the simulated network.
    let network = Simulator::start(Network::V3)?;
    let certificates = Certificates::new();
    let server = TlsFront::start(&certificates.server, network.address())?;
    let address = format!("mqtts://localhost:{}", server.port());

    let client = MqttClient::builder(network.app_id(), network.access_key())
        .mqtt_address(&address)
        .ca_pem(certificates.authority.certificate_pem())
        .build()?;
    client.connect()?;
    println!("connected to {address}");
    client.close()?;

    // Without the authority, the client refuses the same server.
    let client = MqttClient::builder(network.app_id(), network.access_key())
        .mqtt_address(&address)
        .build()?;
    if let Err(error) = client.connect() {
        println!("{:?}: {error}", error.kind());
    }
    Ok(())
}
