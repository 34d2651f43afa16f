//! Reads uplinks from a topic of Kafka, and commits its place after each.
//!
//! A connector, or a program of your own, writes the MQTT topic of each uplink as the key and its payload as the
//! value. Kafka keeps the order of messages with the same key, and a topic of one device is always the same.
//!
//! ```sh
//! cargo run --bin kafka -- localhost:9092
//! ```

use std::env;

use rdkafka::{
    ClientConfig, Message,
    consumer::{BaseConsumer, CommitMode, Consumer},
};
use ttn::{Event, Network};

fn main() -> anyhow::Result<()> {
    let servers = env::args()
        .nth(1)
        .unwrap_or_else(|| "localhost:9092".to_owned());
    // All processes with this group id share the partitions of the topic.
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", servers)
        .set("group.id", "workers")
        .set("enable.auto.commit", "false")
        .set("auto.offset.reset", "earliest")
        .create()?;
    consumer.subscribe(&["uplinks"])?;
    for message in consumer.iter() {
        let message = message?;
        let topic = message.key_view::<str>().transpose()?.unwrap_or_default();
        match Event::decode(Network::V3, topic, message.payload().unwrap_or_default())? {
            Event::Uplink(uplink) => println!("{}: {}", uplink.dev_id, uplink.payload_hex()),
            Event::Malformed(malformed) => eprintln!("{}", malformed.error),
            _ => {}
        }
        // What was read after the last commit is read again after a crash.
        consumer.commit_message(&message, CommitMode::Sync)?;
    }
    Ok(())
}
