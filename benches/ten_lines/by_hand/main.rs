//! Prints the payload of each uplink.

use base64::prelude::{BASE64_STANDARD, Engine as _};
use paho_mqtt::{
    AsyncClient, ConnectOptionsBuilder, CreateOptionsBuilder, QOS_0, SslOptionsBuilder,
};
use serde_json::Value;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let server = "mqtts://eu1.cloud.thethings.network:8883";
    let options = CreateOptionsBuilder::new().server_uri(server).finalize();
    let client = AsyncClient::new(options)?;
    let messages = client.start_consuming();
    let ssl = SslOptionsBuilder::new().verify(true).finalize();
    let options = ConnectOptionsBuilder::new()
        .user_name("my-app@ttn")
        .password("NNSXS.ID.SECRET")
        .ssl_options(ssl)
        .finalize();
    client.connect(options).wait()?;
    client
        .subscribe("v3/my-app@ttn/devices/+/up", QOS_0)
        .wait()?;
    for message in messages.iter().flatten() {
        let uplink: Value = serde_json::from_slice(message.payload())?;
        let dev_id = uplink["end_device_ids"]["device_id"].as_str();
        let payload = uplink["uplink_message"]["frm_payload"].as_str();
        let payload = BASE64_STANDARD.decode(payload.unwrap_or_default())?;
        println!("{} sent {payload:02x?}", dev_id.unwrap_or_default());
    }
    Ok(())
}
