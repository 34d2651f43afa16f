use fastrand::Rng;

use super::{write::framed, *};
use crate::seeds::for_seeds;

fn text(random: &mut Rng) -> String {
    (0..random.usize(..20)).map(|_| random.char(..)).collect()
}

fn bytes(random: &mut Rng) -> Vec<u8> {
    let length = match random.u8(..8) {
        0 => random.usize(..20_000),
        _ => random.usize(..200),
    };
    (0..length).map(|_| random.u8(..)).collect()
}

fn packet(random: &mut Rng) -> Packet {
    let id = random.u16(1..);
    match random.u8(..11) {
        0 => Packet::Connect(connect(random)),
        1 | 2 => {
            let qos = random.u8(..3);
            Packet::Publish(Publish {
                topic: text(random),
                payload: bytes(random),
                qos,
                dup: qos > 0 && random.bool(),
                id: if qos > 0 { id } else { 0 },
            })
        }
        3 => Packet::PubAck(id),
        4 => Packet::PubRec(id),
        5 => Packet::PubRel(id),
        6 => Packet::PubComp(id),
        7 => {
            let filters = (0..random.usize(1..9)).map(|_| (text(random), random.u8(..3)));
            let filters = filters.collect();
            Packet::Subscribe { id, filters }
        }
        8 => {
            let filters = (0..random.usize(1..9)).map(|_| text(random)).collect();
            Packet::Unsubscribe { id, filters }
        }
        9 => Packet::PingReq,
        _ => Packet::Disconnect,
    }
}

fn connect(random: &mut Rng) -> Connect {
    let username = random.bool().then(|| text(random));
    Connect {
        supported: true,
        level: random.u8(3..=4),
        client_id: text(random),
        clean_session: random.bool(),
        keep_alive: random.u16(..),
        will: random.bool().then(|| Will {
            topic: text(random),
            payload: bytes(random),
        }),
        password: random.bool().then(|| bytes(random)),
        username,
    }
}

/// Returns the packets of a stream that arrives in these parts, and how it ends.
fn all<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Packet>, Result<(), Malformed>) {
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

#[test]
fn any_packets_are_read_as_they_were_written_however_they_arrive() {
    for_seeds(2_000, |random| {
        let packets: Vec<Packet> = (0..random.usize(..6)).map(|_| packet(random)).collect();
        let stream = packets.iter().flat_map(Packet::written).collect::<Vec<_>>();
        let size = random.usize(1..40);
        assert_eq!(all(stream.chunks(size)), (packets, Ok(())));
    });
}

#[test]
fn damaged_packets_are_read_alike_however_they_arrive() {
    for_seeds(4_000, |random| {
        let mut stream = Vec::new();
        for _ in 0..random.usize(1..4) {
            stream.extend(packet(random).written());
        }
        for _ in 0..random.usize(1..4) {
            let place = random.usize(..stream.len().min(60));
            stream[place] = random.u8(..);
        }
        let size = random.usize(1..40);
        assert_eq!(all(stream.chunks(size)), all([&stream[..]]));
    });
}

fn read(bytes: &[u8]) -> Result<Option<Packet>, Malformed> {
    let mut packets = Packets::default();
    packets.push(bytes);
    packets.next()
}

fn string(text: &str) -> Vec<u8> {
    let mut bytes = u16::try_from(text.len()).unwrap().to_be_bytes().to_vec();
    bytes.extend_from_slice(text.as_bytes());
    bytes
}

fn full_connect() -> Vec<u8> {
    let parts = [
        string("MQTT"),
        vec![4, 0xc6, 0, 60],
        string("probe"),
        string("garden/devices/pump-1/down"),
        string("bye"),
        string("garden"),
        string("ttn-account-v2.key"),
    ];
    framed(0x10, &[&parts.concat()])
}

#[test]
fn a_full_connect_is_read() {
    let Ok(Some(Packet::Connect(connect))) = read(&full_connect()) else {
        panic!("not read");
    };
    assert!(connect.supported && connect.clean_session);
    assert_eq!(connect.level, 4);
    assert_eq!(connect.client_id, "probe");
    assert_eq!(connect.keep_alive, 60);
    assert_eq!(connect.username.as_deref(), Some("garden"));
    assert_eq!(
        connect.password.as_deref(),
        Some(&b"ttn-account-v2.key"[..])
    );
    let will = connect.will.unwrap();
    assert_eq!(will.topic, "garden/devices/pump-1/down");
    assert_eq!(will.payload, b"bye");
}

#[test]
fn a_publish_of_every_length_class_comes_back_as_it_went() {
    for size in [0, 1, 100, 127, 128, 16_383, 16_384, 2_097_152] {
        let payload = vec![7; size];
        let bytes = publish("a/b", &payload);
        let expected = Publish {
            topic: "a/b".into(),
            payload,
            qos: 0,
            dup: false,
            id: 0,
        };
        assert_eq!(read(&bytes), Ok(Some(Packet::Publish(expected))));
    }
}

fn samples() -> Vec<Vec<u8>> {
    let subscribe = [vec![0, 7], string("a/+"), vec![1]].concat();
    let unsubscribe = [vec![0, 8], string("a/+")].concat();
    vec![
        full_connect(),
        publish("a/b", b"payload"),
        framed(0x3a, &[&string("a/b"), &[0, 9], b"x"]),
        puback(3),
        pubrec(3),
        vec![0x62, 2, 0, 3],
        pubcomp(3),
        framed(0x82, &[&subscribe]),
        framed(0xa2, &[&unsubscribe]),
        vec![0xc0, 0],
        vec![0xe0, 0],
    ]
}

#[test]
fn every_truncation_needs_more_bytes() {
    for sample in samples() {
        for length in 0..sample.len() {
            assert_eq!(read(&sample[..length]), Ok(None), "{sample:?} at {length}");
        }
        assert!(matches!(read(&sample), Ok(Some(_))), "{sample:?}");
    }
}

#[test]
fn a_body_cut_short_is_malformed_and_never_a_panic() {
    for sample in samples() {
        for length in 2..sample.len() {
            let mut cut = sample[..length].to_vec();
            cut[1] = u8::try_from(length - 2).unwrap();
            let _ = read(&cut);
        }
    }
    assert!(read(&[0x10, 3, 0, 4, b'M']).is_err());
    assert!(read(&[0x30, 2, 0, 9]).is_err());
}

#[test]
fn bytes_one_by_one_make_the_same_packets() {
    let mut packets = Packets::default();
    let mut found = Vec::new();
    for byte in samples().concat() {
        packets.push(&[byte]);
        found.extend(packets.next().unwrap());
    }
    let whole: Vec<Packet> = samples()
        .iter()
        .map(|sample| read(sample).unwrap().unwrap())
        .collect();
    assert_eq!(found, whole);
}

#[test]
fn several_packets_in_one_read_are_all_found() {
    let mut packets = Packets::default();
    packets.push(&samples().concat());
    for sample in samples() {
        assert_eq!(packets.next().unwrap(), read(&sample).unwrap());
    }
    assert_eq!(packets.next(), Ok(None));
}

#[test]
fn malformed_packets_are_refused() {
    let malformed: [&[u8]; 10] = [
        &[0x30, 0xff, 0xff, 0xff, 0xff],
        &[0x38, 3, 0, 1, b'a'],
        &[0x40, 2, 0, 0],
        &[0x40, 1, 1],
        &[0x82, 6, 0, 0, 0, 1, b'a', 0],
        &[0x82, 6, 0, 1, 0, 1, b'a', 3],
        &[0xa2, 2, 0, 0],
        &[0x20, 2, 0, 0],
        &[0x00, 0],
        &[0xf0, 0],
    ];
    for bytes in malformed {
        assert!(read(bytes).is_err(), "{bytes:?}");
    }
}

#[test]
fn what_the_real_broker_tolerates_is_read() {
    let publish = |topic: &str, qos: u8, id: u16| {
        Packet::Publish(Publish {
            topic: topic.into(),
            payload: Vec::new(),
            qos,
            dup: false,
            id,
        })
    };
    let subscribe = |filters: &[(&str, u8)]| Packet::Subscribe {
        id: 1,
        filters: filters
            .iter()
            .map(|(filter, qos)| (String::from(*filter), *qos))
            .collect(),
    };
    let filters = Vec::new();
    let tolerated: [(&[u8], Packet); 10] = [
        (&[0x36, 5, 0, 1, b'a', 0, 1], publish("a", 3, 1)),
        (&[0x32, 5, 0, 1, b'a', 0, 0], publish("a", 1, 0)),
        (&[0x30, 3, 0, 1, 0xff], publish("\u{fffd}", 0, 0)),
        (&[0x40, 3, 0, 1, 0], Packet::PubAck(1)),
        (&[0x60, 2, 0, 1], Packet::PubRel(1)),
        (&[0x82, 2, 0, 1], subscribe(&[])),
        (&[0x80, 6, 0, 1, 0, 1, b'a', 0], subscribe(&[("a", 0)])),
        (&[0xa2, 2, 0, 1], Packet::Unsubscribe { id: 1, filters }),
        (&[0xc0, 1, 0], Packet::PingReq),
        (&[0xc3, 0], Packet::PingReq),
    ];
    for (bytes, packet) in tolerated {
        assert_eq!(read(bytes), Ok(Some(packet)), "{bytes:?}");
    }
}

#[test]
fn an_announced_length_allocates_nothing() {
    let mut packets = Packets::default();
    packets.push(&[0x30, 0xff, 0xff, 0xff, 0x7f, 0, 1, b'a']);
    assert_eq!(packets.next(), Ok(None));
    assert!(packets.buffer.capacity() < 1024);
}
