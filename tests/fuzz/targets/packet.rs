//! The simulator reads the same packets from bytes however they are split, uses memory in
//! proportion to the bytes, and reads what it writes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use packet::{Packet, Packets};

// Not part of the crate's API, and independent of the rest of the crate.
#[allow(dead_code, unused_imports)]
#[path = "../../../src/simulator/mqtt/packet/mod.rs"]
mod packet;

fuzz_target!(|data: &[u8]| {
    let Some((&size, stream)) = data.split_first() else {
        return;
    };
    let memory = allocation_counter::measure(|| {
        let mut packets = Packets::default();
        packets.push(stream);
        while let Ok(Some(_)) = packets.next() {}
    });
    // A filter of two bytes becomes a string, in a list that grows by doubling.
    let most = 1_024 + 64 * stream.len() as u64;
    assert!(
        memory.bytes_max <= most,
        "{} bytes of {}",
        memory.bytes_max,
        stream.len()
    );
    let (packets, end) = read([stream]);
    let in_parts = read(stream.chunks(usize::from(size).max(1)));
    assert_eq!(in_parts, (packets.clone(), end));
    assert_eq!(read(stream.chunks(1)), in_parts);

    for packet in packets {
        // An unsupported CONNECT is not kept completely.
        if !matches!(&packet, Packet::Connect(connect) if !connect.supported) {
            assert_eq!(read([&packet.written()[..]]), (vec![packet], Ok(())));
        }
    }
    let topic = String::from_utf8_lossy(stream);
    let publish = packet::publish(&topic, stream);
    let (packets, end) = read([&publish[..]]);
    let [Packet::Publish(publish)] = &packets[..] else {
        panic!("{packets:?} {end:?}");
    };
    assert!(topic.starts_with(&publish.topic));
    assert!(publish.topic == topic || publish.topic.len() > usize::from(u16::MAX) - 4);
    assert_eq!(
        (&publish.payload[..], publish.qos, publish.id),
        (stream, 0, 0)
    );
});

/// Returns the packets of a stream that arrives in these parts, and how it ends.
fn read<'a>(
    parts: impl IntoIterator<Item = &'a [u8]>,
) -> (Vec<Packet>, Result<(), packet::Malformed>) {
    let mut packets = Packets::default();
    let mut found = Vec::new();
    for part in parts {
        packets.push(part);
        loop {
            match packets.next() {
                Ok(Some(packet)) => found.push(packet),
                Ok(None) => break,
                Err(malformed) => return (found, Err(malformed)),
            }
        }
    }
    (found, Ok(()))
}
