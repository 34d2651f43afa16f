//! Reads uplinks from a stream of NATS JetStream, and acknowledges each when it is handled.
//!
//! The uplinks come into NATS over its MQTT port, for example from a feed; MQTT's `a/b` is the subject `a.b`.
//!
//! ```sh
//! cargo run --bin jetstream -- nats://localhost:4222
//! ```

use std::env;

use async_nats::jetstream::{self, AckKind, consumer::pull, stream};
use futures_util::StreamExt;
use ttn::{Event, Network};

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let server = env::args()
        .nth(1)
        .unwrap_or_else(|| "nats://localhost:4222".to_owned());
    let jetstream = jetstream::new(async_nats::connect(server).await?);
    let stream = jetstream
        .get_or_create_stream(stream::Config {
            name: "UPLINKS".to_owned(),
            subjects: vec!["v3.*.devices.*.up".to_owned()],
            ..Default::default()
        })
        .await?;
    // All processes that name this consumer share its messages.
    let consumer = stream
        .get_or_create_consumer(
            "workers",
            pull::Config {
                durable_name: Some("workers".to_owned()),
                ..Default::default()
            },
        )
        .await?;
    let mut messages = consumer.messages().await?;
    while let Some(message) = messages.next().await {
        let message = message?;
        let topic = message.subject.replace('.', "/");
        match Event::decode(Network::V3, &topic, &message.payload[..])? {
            Event::Uplink(uplink) => println!("{}: {}", uplink.dev_id, uplink.payload_hex()),
            Event::Malformed(malformed) => eprintln!("{}", malformed.error),
            _ => {}
        }
        // One that is not acknowledged comes again, to another process too.
        message
            .ack_with(AckKind::Ack)
            .await
            .map_err(anyhow::Error::from_boxed)?;
    }
    Ok(())
}
