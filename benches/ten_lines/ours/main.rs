//! Prints the payload of each uplink.

fn main() -> ttn::Result<()> {
    let client = ttn::MqttClient::builder("my-app@ttn", "NNSXS.ID.SECRET")
        .cluster("eu1")
        .build()?;
    client.set_uplink_callback(|uplink, _| {
        println!("{} sent {:02x?}", uplink.dev_id, uplink.payload_raw);
    });
    client.connect()?;
    client.wait();
    Ok(())
}
