//! Reads uplinks from a quorum queue of RabbitMQ, and acknowledges each when it is handled.
//!
//! The uplinks come into RabbitMQ over its MQTT port, for example from a feed; MQTT's `a/b` is the routing key
//! `a.b` of the exchange `amq.topic`.
//!
//! ```sh
//! cargo run --bin rabbitmq -- amqp://localhost:5672
//! ```

use std::env;

use futures_util::StreamExt;
use lapin::{
    Connection, ConnectionProperties,
    options::{
        BasicAckOptions, BasicConsumeOptions, BasicQosOptions, QueueBindOptions,
        QueueDeclareOptions,
    },
    types::{AMQPValue, FieldTable},
};
use ttn::{Event, Network};

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let server = env::args()
        .nth(1)
        .unwrap_or_else(|| "amqp://localhost:5672".to_owned());
    let connection = Connection::connect(&server, ConnectionProperties::default()).await?;
    let channel = connection.create_channel().await?;
    let mut arguments = FieldTable::default();
    arguments.insert(
        "x-queue-type".into(),
        AMQPValue::LongString("quorum".into()),
    );
    let durable = QueueDeclareOptions {
        durable: true,
        ..Default::default()
    };
    channel
        .queue_declare("uplinks".into(), durable, arguments)
        .await?;
    let nothing = FieldTable::default;
    channel
        .queue_bind(
            "uplinks".into(),
            "amq.topic".into(),
            "v3.*.devices.*.up".into(),
            QueueBindOptions::default(),
            nothing(),
        )
        .await?;
    channel.basic_qos(20, BasicQosOptions::default()).await?;
    // All processes that read this queue share its messages.
    let mut messages = channel
        .basic_consume(
            "uplinks".into(),
            "".into(),
            BasicConsumeOptions::default(),
            nothing(),
        )
        .await?;
    while let Some(message) = messages.next().await {
        let message = message?;
        let topic = message.routing_key.as_str().replace('.', "/");
        match Event::decode(Network::V3, &topic, &message.data[..])? {
            Event::Uplink(uplink) => println!("{}: {}", uplink.dev_id, uplink.payload_hex()),
            Event::Malformed(malformed) => eprintln!("{}", malformed.error),
            _ => {}
        }
        // One that is not acknowledged comes again, to another process too.
        message.ack(BasicAckOptions::default()).await?;
    }
    Ok(())
}
