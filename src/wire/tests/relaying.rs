//! What passes between the server and the client, and what does not.

use std::{
    io::{Read, Write},
    net::TcpStream,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use super::{
    LONG, Setting, at_once,
    peer::{
        CONNACK, Client, PINGREQ, PINGRESP, Peer, Server, number, packet, publish, read_bundle,
        read_message, read_out, read_packet, string,
    },
};
use crate::{
    error::ErrorKind,
    wire::{End, Loss, Report},
};

const BLOCKED: Duration = Duration::from_millis(500);

/// More than all buffers of the system can hold.
const MUCH: usize = 64 << 20;

/// Writes until the other side has stopped reading. Returns how many bytes were accepted.
fn write_until_blocked(stream: &mut impl Write, packet: &[u8]) -> usize {
    let mut written = 0;
    loop {
        match stream.write(&packet[written % packet.len()..]) {
            Ok(length) => written += length,
            Err(_) => return written,
        }
        assert!(written < MUCH, "there is no back pressure");
    }
}

/// Writes the rest of a packet that was written in part, and `more` whole ones.
fn write_on(stream: &mut impl Write, packet: &[u8], written: usize, more: usize) {
    let rest = (packet.len() - written % packet.len()) % packet.len();
    stream.write_all(&packet[packet.len() - rest..]).unwrap();
    for _ in 0..more {
        stream.write_all(packet).unwrap();
    }
}

#[test]
fn a_flood_both_ways_waits_for_readers_who_stand_still_and_then_arrives_whole() {
    const MORE: usize = 1000;
    // The relay cuts packets anywhere; the last ones are cut in their topics.
    for packet in [
        publish(1, 10_000),
        packet(0x30, &string(&[b't'; 500])),
        packet(0x30, &string(&[b't'; 20_000])),
    ] {
        let (_attempt, peer, client) = Setting::default().connect();
        let (mut peer, mut client) = (peer.stream(), &client.0);
        for stream in [peer, client] {
            stream.set_write_timeout(Some(BLOCKED)).unwrap();
        }
        let up = write_until_blocked(&mut client, &packet);
        let down = write_until_blocked(&mut peer, &packet);
        for stream in [peer, client] {
            stream.set_write_timeout(Some(LONG)).unwrap();
        }
        let read = |mut stream: &TcpStream, written: usize| {
            for _ in 0..written.div_ceil(packet.len()) + MORE {
                assert!(read_message(&mut stream) == packet);
            }
        };
        thread::scope(|scope| {
            scope.spawn(|| write_on(&mut { client }, &packet, up, MORE));
            scope.spawn(|| write_on(&mut { peer }, &packet, down, MORE));
            scope.spawn(|| read(client, down));
            read(peer, up);
        });
    }
}

#[test]
fn a_flood_over_tls_waits_for_a_reader_who_stands_still_and_then_arrives_whole() {
    const COUNT: u32 = 3000;
    let (_attempt, mut peer, mut client) = Setting::tls(true).connect();
    client.0.set_write_timeout(Some(BLOCKED)).unwrap();
    let packet = publish(7, 10_000);
    let up = write_until_blocked(&mut client.0, &packet);
    client.0.set_write_timeout(Some(LONG)).unwrap();
    let mut line = client.0.try_clone().unwrap();
    thread::scope(|scope| {
        scope.spawn(|| write_on(&mut line, &packet, up, 0));
        for _ in 0..up.div_ceil(packet.len()) {
            assert_eq!(number(&read_message(&mut peer)), 7);
        }
        let (tell, told) = crossbeam_channel::bounded::<()>(0);
        scope.spawn(move || {
            for index in 0..COUNT {
                peer.write_all(&publish(index, 10_000)).unwrap();
            }
            drop(tell);
            peer
        });
        // The server cannot write all of it.
        assert!(told.recv_timeout(BLOCKED).unwrap_err().is_timeout());
        for index in 0..COUNT {
            assert_eq!(number(&read_message(&mut client.0)), index);
        }
    });
}

/// Asserts that messages from `from` reach `to` at once while `to` floods `from`, which reads
/// everything.
fn passes_beside_a_flood(mut from: &TcpStream, mut to: &TcpStream) {
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let (mut flooding, mut flooded) = (to, from);
        let stop = &stop;
        scope.spawn(move || {
            let packets = publish(1, 1000).repeat(100);
            while !stop.load(Ordering::SeqCst) {
                flooding.write_all(&packets).unwrap();
            }
            flooding.shutdown(std::net::Shutdown::Write).unwrap();
        });
        scope.spawn(move || {
            let mut bytes = vec![0; 256 << 10];
            while flooded.read(&mut bytes).is_ok_and(|length| length > 0) {}
        });
        let passed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for index in 0..200 {
                from.write_all(&publish(index, 4)).unwrap();
                assert_eq!(number(&at_once(|| read_message(&mut to))), index);
            }
        }));
        stop.store(true, Ordering::SeqCst);
        passed.unwrap();
    });
}

#[test]
fn a_flood_of_the_server_does_not_hold_up_what_the_client_writes() {
    let (_attempt, peer, client) = Setting::default().connect();
    passes_beside_a_flood(&client.0, peer.stream());
}

#[test]
fn a_flood_of_the_client_does_not_hold_up_what_the_server_writes() {
    let (_attempt, peer, client) = Setting::default().connect();
    passes_beside_a_flood(peer.stream(), &client.0);
}

#[test]
fn a_message_that_comes_with_the_connack_comes_after_it() {
    let server = Server::start();
    let attempt = Setting::default().start(server.address());
    let mut peer = server.accept(false);
    peer.read_connect();
    peer.write_all(&[&CONNACK[..], &publish(3, 4)].concat())
        .unwrap();
    let mut client = Client::come_in(&attempt.doorway());
    assert_eq!(number(&read_packet(&mut client.0)), 3);
}

#[test]
fn the_client_s_own_question_is_answered_at_once_and_goes_no_further() {
    let (_attempt, mut peer, mut client) = Setting::default().connect();
    for index in 0..3 {
        client.0.write_all(&PINGREQ).unwrap();
        let answer = at_once(|| read_packet(&mut client.0));
        assert_eq!(answer, PINGRESP);
        client.0.write_all(&publish(index, 4)).unwrap();
        assert_eq!(number(&read_packet(&mut peer)), index);
    }
}

#[test]
fn messages_that_come_together_reach_the_client_in_few_packets() {
    const COUNT: u32 = 500;
    let (_attempt, mut peer, mut client) = Setting::default().connect();
    let messages: Vec<u8> = (0..COUNT).flat_map(|number| publish(number, 10)).collect();
    peer.write_all(&messages).unwrap();
    let mut packets = 0;
    let mut next = 0;
    while next < COUNT {
        let bundle = read_bundle(&mut client.0);
        packets += 1;
        let mut rest = &bundle[..];
        while !rest.is_empty() {
            assert_eq!(number(&read_packet(&mut rest)), next);
            next += 1;
        }
    }
    // However the network cuts them.
    assert!(packets <= COUNT / 10, "{packets} packets");
}

#[test]
fn an_answer_to_no_question_is_not_passed_on() {
    let (_attempt, mut peer, mut client) = Setting::default().connect();
    let stream = [
        &PINGRESP[..],
        &publish(1, 4),
        &PINGRESP,
        &PINGRESP,
        &publish(2, 100_000),
        &PINGRESP,
        &publish(3, 4),
    ];
    peer.write_all(&stream.concat()).unwrap();
    for index in 1..=3 {
        assert_eq!(number(&read_packet(&mut client.0)), index);
    }
}

#[test]
fn a_packet_over_the_limit_is_refused_at_its_header() {
    for tls in [false, true] {
        let setting = Setting {
            tls,
            max_packet: 100_000,
            ..Setting::default()
        };
        let (attempt, mut peer, client) = setting.connect();
        // The client gets what came before.
        peer.write_all(&publish(1, 90_000)).unwrap();
        peer.write_all(&[0x30, 0xff, 0xff, 0xff, 0x7f]).unwrap();
        let reading = thread::spawn(move || client.leave());
        let (loss, error) = at_once(|| attempt.loss());
        assert_eq!(loss, Loss::TooLarge(268_435_460));
        assert_eq!(error.kind(), ErrorKind::Protocol);
        let text = error.to_string();
        assert!(
            text.contains("268435460") && text.contains("100000"),
            "{text}"
        );
        assert_eq!(number(&reading.join().unwrap()), 1);
        read_out(peer.stream());
    }
}

#[test]
fn lengths_that_cannot_be_end_the_connection() {
    for rubbish in [
        &[0x30, 0x80, 0x80, 0x80, 0x80, 1][..],
        &[0x30, 0],
        &[0x30, 2, 0, 1],
    ] {
        let (attempt, mut peer, client) = Setting::default().connect();
        peer.write_all(rubbish).unwrap();
        let reading = thread::spawn(move || client.leave());
        let (loss, error) = at_once(|| attempt.loss());
        assert_eq!((loss, error.kind()), (Loss::Protocol, ErrorKind::Protocol));
        assert_eq!(reading.join().unwrap(), b"");
    }
}

#[test]
fn a_client_that_leaves_on_its_own_has_found_the_server_wanting() {
    let (attempt, peer, client) = Setting::default().connect();
    drop(client);
    let (loss, error) = at_once(|| attempt.loss());
    assert_eq!((loss, error.kind()), (Loss::Protocol, ErrorKind::Protocol));
    at_once(|| read_out(peer.stream()));
}

/// A PUBLISH with a packet identifier.
fn unreadable(topic: &[u8], quality: u8, payload: &[u8]) -> Vec<u8> {
    let id: &[u8] = if quality > 0 { &[0x12, 0x34] } else { &[] };
    let body = [&string(topic), id, payload].concat();
    packet(0x30 | quality << 1, &body)
}

#[test]
fn a_topic_that_is_not_text_is_told_and_acknowledged_and_the_connection_goes_on() {
    for tls in [false, true] {
        let (attempt, mut peer, mut client) = Setting::tls(tls).connect();
        for (index, topic) in [&b"a/\xff"[..], b"a\0b", b"\xed\xa0\x80"]
            .into_iter()
            .enumerate()
        {
            for (quality, answer) in [(0, None), (1, Some(0x40)), (2, Some(0x50))] {
                // Larger than the relay's usual buffer.
                let payload = vec![b'!'; [0, 5, 200_000][index]];
                let before = publish(1, 20_000);
                let told = unreadable(topic, quality, &payload);
                let stream = [before, told, publish(2, 4)].concat();
                for part in stream.chunks(stream.len() / 3) {
                    peer.write_all(part).unwrap();
                }
                for due in [1, 2] {
                    assert_eq!(number(&read_packet(&mut client.0)), due);
                }
                let message = attempt.unreadable();
                assert_eq!((message.topic, message.payload), (topic.to_vec(), payload));
                if let Some(kind) = answer {
                    assert_eq!(read_packet(&mut peer), [kind, 2, 0x12, 0x34]);
                }
            }
        }
        client.0.write_all(&publish(9, 4)).unwrap();
        assert_eq!(number(&read_packet(&mut peer)), 9);
    }
}

#[test]
fn an_acknowledgement_waits_for_the_end_of_the_packet_that_the_client_writes() {
    let (attempt, mut peer, mut client) = Setting::default().connect();
    let long = publish(1, 1000);
    client.0.write_all(&long[..500]).unwrap();
    let mut first = [0; 500];
    peer.read_exact(&mut first).unwrap();
    peer.write_all(&unreadable(b"\xff", 1, b"")).unwrap();
    attempt.unreadable();
    super::peer::hears_nothing_for(peer.stream(), BLOCKED);
    client.0.write_all(&long[500..]).unwrap();
    let mut rest = [0; 513];
    peer.read_exact(&mut rest[..long.len() - 500]).unwrap();
    assert_eq!(read_packet(&mut peer), [0x40, 2, 0x12, 0x34]);
}

#[test]
fn bytes_are_counted_as_they_are_on_the_line() {
    for tls in [false, true] {
        for proxy in [None, Some("http://proxy")] {
            let server = Server::start();
            let setting = Setting {
                tls,
                proxy,
                ..Setting::default()
            };
            let attempt = setting.start(server.address());
            let mut stream = server.accept_plain();
            let mut asked = 0;
            let answer = b"HTTP/1.1 200 OK\r\n\r\n";
            if proxy.is_some() {
                asked = stream.read(&mut [0; 512]).unwrap() as u64;
                stream.write_all(answer).unwrap();
            }
            let mut peer = if tls {
                Peer::with_tls(stream, usize::MAX)
            } else {
                Peer::new(stream)
            };
            peer.log_in();
            let mut client = Client::come_in(&attempt.doorway());
            for index in 0..100 {
                client.0.write_all(&publish(index, 3000)).unwrap();
                peer.write_all(&publish(index, 2000)).unwrap();
                read_packet(&mut peer);
                read_packet(&mut client.0);
            }
            attempt.wire.finish();
            drop(client.leave());
            read_out(&mut peer);
            peer.close_writing();
            assert!(matches!(attempt.end(), End::Closed));
            let (read, written) = peer.counts();
            let answered = if proxy.is_some() {
                answer.len() as u64
            } else {
                0
            };
            assert_eq!(attempt.traffic.sent(), read + asked);
            assert_eq!(attempt.traffic.received(), written + answered);
        }
    }
}

#[test]
fn packets_of_all_sizes_pass_however_they_are_cut() {
    let (_attempt, mut peer, mut client) = Setting::default().connect();
    let sizes: Vec<usize> = (0..200).map(|index| index * index * 7 % 70_000).collect();
    let stream: Vec<u8> = (0..200)
        .flat_map(|index| publish(index, sizes[index as usize]))
        .collect();
    crate::seeds::for_seeds(4, |random| {
        let (there, mut cuts) = (stream.clone(), random.clone());
        let mut up = client.0.try_clone().unwrap();
        let mut down = peer.stream().try_clone().unwrap();
        let back = stream.clone();
        thread::scope(|scope| {
            let mut write = move |line: &mut TcpStream, mut bytes: &[u8], most: usize| {
                while !bytes.is_empty() {
                    let length = cuts.usize(1..=most).min(bytes.len());
                    line.write_all(&bytes[..length]).unwrap();
                    bytes = &bytes[length..];
                }
            };
            let mut other = write.clone();
            scope.spawn(move || write(&mut up, &there, 30_000));
            scope.spawn(move || other(&mut down, &back, 5_000));
            scope.spawn(|| {
                for index in 0..200 {
                    assert_eq!(number(&read_message(&mut client.0)), index);
                }
            });
            for index in 0..200 {
                assert_eq!(number(&read_message(&mut peer)), index);
            }
        });
    });
}

const SUBSCRIBE: u8 = 0x82;
const UNSUBSCRIBE: u8 = 0xa2;

#[track_caller]
fn processed(attempt: &super::Attempt) -> u64 {
    match attempt.report() {
        Report::Processed(messages) => messages,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_question_stands_behind_every_forty_messages_and_its_answer_tells_how_many_are_processed() {
    for tls in [false, true] {
        let (attempt, mut peer, mut client) = Setting::tls(tls).connect();
        let many: Vec<u8> = (0..100).flat_map(|index| publish(index, 300)).collect();
        client.0.write_all(&many).unwrap();
        for index in 0..100 {
            assert_eq!(number(&read_packet(&mut peer)), index);
            if [39, 79].contains(&index) {
                assert_eq!(read_packet(&mut peer), PINGREQ);
            }
        }
        peer.write_all(&PINGRESP).unwrap();
        assert_eq!(processed(&attempt), 40);
        // Behind a message of the server, as The Things Stack reports on a downlink first.
        peer.write_all(&[&publish(7, 4)[..], &PINGRESP].concat())
            .unwrap();
        assert_eq!(processed(&attempt), 80);
        assert_eq!(number(&read_packet(&mut client.0)), 7);
    }
}

#[test]
fn the_answer_to_an_unsubscribe_tells_that_everything_before_it_is_processed() {
    let (attempt, mut peer, mut client) = Setting::default().connect();
    let request = packet(UNSUBSCRIBE, &[&[0, 1][..], &string(b"a/#")].concat());
    let messages = [publish(0, 4), publish(1, 4), request.clone(), publish(2, 4)];
    client.0.write_all(&messages.concat()).unwrap();
    for message in messages {
        assert_eq!(read_packet(&mut peer), message);
    }
    let answer = [0xb0, 2, 0, 1];
    for piece in [&answer[..1], &answer[1..]] {
        peer.write_all(piece).unwrap();
    }
    assert_eq!(processed(&attempt), 2);
    assert_eq!(read_packet(&mut client.0), answer);
}

#[test]
fn the_answer_to_a_subscribe_must_have_a_code_for_each_filter() {
    let filter = |name: &[u8]| [&string(name)[..], &[0]].concat();
    let body = [&[0, 1][..], &filter(b"a/#"), &filter(b""), &filter(b"c")].concat();
    let request = packet(SUBSCRIBE, &body);
    for codes in 1..5 {
        let (attempt, mut peer, mut client) = Setting::default().connect();
        client.0.write_all(&request).unwrap();
        assert_eq!(read_packet(&mut peer), request);
        let answer = packet(0x90, &[&[0, 1][..], &vec![0; codes]].concat());
        peer.write_all(&answer).unwrap();
        if codes == 3 {
            assert_eq!(read_packet(&mut client.0), answer);
        } else {
            let reading = thread::spawn(move || client.leave());
            assert_eq!(attempt.loss().0, Loss::Protocol);
            assert_eq!(reading.join().unwrap(), b"");
        }
    }
}
