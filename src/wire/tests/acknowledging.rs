//! Acknowledgements that wait until their messages are handled.

use std::{
    io::{Read, Write},
    sync::Arc,
    time::Duration,
};

use super::{
    Setting,
    peer::{Client, PINGREQ, PINGRESP, hears_nothing_for, packet, read_packet, string},
};
use crate::{
    config::Acknowledge,
    message::{Hold, Receipt},
    wire::{Acknowledgement, Acknowledging, End, Limits, Loss, Report},
};

const A_WHILE: Duration = Duration::from_millis(200);

const SUBSCRIBE: [u8; 8] = [0x82, 6, 0, 1, 0, 1, b'#', 1];
const SUBACK: [u8; 5] = [0x90, 3, 0, 1, 1];

/// A message at QoS 1 with this packet id.
fn message(id: u8, is_redelivered: bool, length: usize) -> Vec<u8> {
    let first = if is_redelivered { 0x3a } else { 0x32 };
    let mut body = string(b"topic");
    body.extend([0, id]);
    body.resize(body.len() + length, b'm');
    packet(first, &body)
}

fn puback(id: u8) -> [u8; 4] {
    [0x40, 2, 0, id]
}

fn limits(messages: usize) -> Limits {
    Limits {
        messages,
        bytes: 1 << 20,
        most_messages: 3 * messages + 1,
    }
}

/// A client with this window, which gets messages and acknowledges each at once, as Paho does.
struct Session {
    acknowledging: Acknowledging,
    setting: Setting,
}

impl Session {
    fn new(acknowledge: Acknowledge, messages: usize) -> Self {
        let all = Acknowledgement::new(acknowledge, true, limits(messages));
        Self::with(&all, 1)
    }

    fn with(all: &Arc<Acknowledgement>, connection: u64) -> Self {
        let acknowledging = all.connection(connection);
        let setting = Setting {
            acknowledging: Some(acknowledging.clone()),
            ..Setting::default()
        };
        Self {
            acknowledging,
            setting,
        }
    }
}

/// Gets the next message.
#[track_caller]
fn get(client: &mut Client, acknowledging: &Acknowledging, expected: &[u8]) -> Receipt {
    assert_eq!(read_packet(&mut client.0), expected);
    acknowledging.see().expect("a receipt")
}

/// Reads the next packet that is no ping, and answers those.
#[track_caller]
fn read_answer(peer: &mut (impl Read + Write)) -> Vec<u8> {
    loop {
        let packet = read_packet(peer);
        if packet != PINGREQ {
            return packet;
        }
        peer.write_all(&PINGRESP).unwrap();
    }
}

#[test]
fn what_is_handled_in_any_order_is_acknowledged_in_the_order_of_arrival() {
    let Session {
        acknowledging,
        setting,
    } = Session::new(Acknowledge::Handled, 10);
    let (_attempt, mut peer, mut client) = setting.connect();
    let mut receipts = Vec::new();
    for id in 1..=4 {
        let message = message(id, id == 2, 10);
        peer.write_all(&message).unwrap();
        let receipt = get(&mut client, &acknowledging, &message);
        assert_eq!(receipt.is_redelivered(), id == 2);
        receipt.queued();
        receipts.push(receipt);
    }
    drop(receipts.remove(2));
    drop(receipts.remove(1));
    hears_nothing_for(peer.stream(), A_WHILE);
    drop(receipts.remove(0));
    for id in 1..=3 {
        assert_eq!(read_answer(&mut peer), puback(id));
    }
    drop(receipts);
    assert_eq!(read_answer(&mut peer), puback(4));
}

#[test]
fn what_is_received_is_acknowledged_when_it_is_queued() {
    let Session {
        acknowledging,
        setting,
    } = Session::new(Acknowledge::Received, 10);
    let (_attempt, mut peer, mut client) = setting.connect();
    peer.write_all(&message(1, false, 10)).unwrap();
    let receipt = get(&mut client, &acknowledging, &message(1, false, 10));
    hears_nothing_for(peer.stream(), A_WHILE);
    receipt.queued();
    assert_eq!(read_answer(&mut peer), puback(1));
}

#[test]
fn a_full_window_stops_messages_and_neither_pings_nor_the_answer_to_a_subscription() {
    for acknowledge in [Acknowledge::Received, Acknowledge::Handled] {
        let Session {
            acknowledging,
            mut setting,
        } = Session::new(acknowledge, 2);
        setting.keep_alive = Duration::from_secs(1);
        let (_attempt, mut peer, mut client) = setting.connect();
        // More than the buffers of the wire hold.
        let long = |id| message(id, false, 50_000);
        let mut stream = peer.stream().try_clone().unwrap();
        let writer = std::thread::spawn(move || {
            for id in 1..=6 {
                stream.write_all(&long(id)).unwrap();
            }
        });
        let mut receipts: Vec<_> = (1..=2)
            .map(|id| get(&mut client, &acknowledging, &long(id)))
            .collect();
        client.hears_nothing_for(A_WHILE);
        // The server would take silence for the end of the client.
        for _ in 0..3 {
            assert_eq!(read_packet(&mut peer), PINGREQ);
        }
        // A question lets its answer pass, which comes behind the messages.
        client.0.write_all(&SUBSCRIBE).unwrap();
        let asked = loop {
            match read_packet(&mut peer) {
                ping if ping == PINGREQ => {}
                other => break other,
            }
        };
        assert_eq!(asked, SUBSCRIBE);
        for id in 3..=6 {
            receipts.push(get(&mut client, &acknowledging, &long(id)));
        }
        writer.join().unwrap();
        peer.write_all(&SUBACK).unwrap();
        assert_eq!(read_packet(&mut client.0), SUBACK);
        // Now the limit holds again.
        peer.write_all(&message(7, false, 1)).unwrap();
        client.hears_nothing_for(A_WHILE);
        receipts.drain(..5).for_each(drop);
        for id in 1..=5 {
            assert_eq!(read_answer(&mut peer), puback(id));
        }
        get(&mut client, &acknowledging, &message(7, false, 1));
    }
}

#[test]
fn even_before_the_answer_to_a_subscription_no_more_pass_than_find_a_place() {
    let Session {
        acknowledging,
        setting,
    } = Session::new(Acknowledge::Handled, 1);
    let (_attempt, mut peer, mut client) = setting.connect();
    client.0.write_all(&SUBSCRIBE).unwrap();
    assert_eq!(read_answer(&mut peer), SUBSCRIBE);
    for id in 1..=6 {
        peer.write_all(&message(id, false, 1)).unwrap();
    }
    peer.write_all(&SUBACK).unwrap();
    let mut receipts = Vec::new();
    for id in 1..=4 {
        receipts.push(get(&mut client, &acknowledging, &message(id, false, 1)));
    }
    client.hears_nothing_for(A_WHILE);
    // One is handled out of its turn, so that there is nothing to acknowledge.
    drop(receipts.remove(1));
    receipts.push(get(&mut client, &acknowledging, &message(5, false, 1)));
    client.hears_nothing_for(A_WHILE);
    drop(receipts);
    drop(get(&mut client, &acknowledging, &message(6, false, 1)));
    assert_eq!(read_packet(&mut client.0), SUBACK);
    for id in 1..=6 {
        assert_eq!(read_answer(&mut peer), puback(id));
    }
}

#[test]
fn a_topic_that_is_not_text_is_acknowledged_in_its_turn() {
    let Session {
        acknowledging,
        setting,
    } = Session::new(Acknowledge::Handled, 10);
    let (attempt, mut peer, mut client) = setting.connect();
    peer.write_all(&message(1, false, 1)).unwrap();
    let first = get(&mut client, &acknowledging, &message(1, false, 1));
    let mut body = string(b"\xff");
    body.extend([0, 2]);
    peer.write_all(&packet(0x32, &body)).unwrap();
    let unreadable = attempt.unreadable();
    assert!(unreadable.receipt.is_some());
    drop(unreadable);
    peer.write_all(&message(3, false, 1)).unwrap();
    drop(get(&mut client, &acknowledging, &message(3, false, 1)));
    hears_nothing_for(peer.stream(), A_WHILE);
    drop(first);
    for id in 1..=3 {
        assert_eq!(read_answer(&mut peer), puback(id));
    }
}

#[test]
fn a_client_that_leaves_acknowledges_what_is_handled_and_nothing_else() {
    let Session {
        acknowledging,
        setting,
    } = Session::new(Acknowledge::Handled, 10);
    let (attempt, mut peer, mut client) = setting.connect();
    let mut receipts = Vec::new();
    for id in 1..=3 {
        peer.write_all(&message(id, false, 1)).unwrap();
        receipts.push(get(&mut client, &acknowledging, &message(id, false, 1)));
    }
    receipts[0].discard();
    let kept = receipts.split_off(1);
    let last = Hold::new(kept[1].clone());
    drop(kept);
    // What nobody gets is delivered again, with everything behind it.
    drop(receipts);
    attempt.wire.finish();
    drop(client);
    assert_eq!(read_answer(&mut peer), [0xe0, 0]);
    last.end();
    peer.close_writing();
    assert!(matches!(attempt.report(), Report::Ended(End::Closed)));

    let Session {
        acknowledging,
        setting,
    } = Session::new(Acknowledge::Handled, 10);
    let (attempt, mut peer, mut client) = setting.connect();
    let mut receipts = Vec::new();
    for id in 1..=2 {
        peer.write_all(&message(id, false, 1)).unwrap();
        receipts.push(get(&mut client, &acknowledging, &message(id, false, 1)));
    }
    receipts.remove(0);
    attempt.wire.finish();
    drop(client);
    assert_eq!(read_answer(&mut peer), puback(1));
    assert_eq!(read_answer(&mut peer), [0xe0, 0]);
    peer.close_writing();
    assert!(matches!(attempt.report(), Report::Ended(End::Closed)));
}

#[test]
fn a_failed_handler_ends_the_connection_and_its_message_is_not_acknowledged() {
    let Session {
        acknowledging,
        setting,
    } = Session::new(Acknowledge::Handled, 10);
    let (attempt, mut peer, mut client) = setting.connect();
    for id in 1..=2 {
        peer.write_all(&message(id, false, 1)).unwrap();
    }
    let good = get(&mut client, &acknowledging, &message(1, false, 1));
    let bad = get(&mut client, &acknowledging, &message(2, false, 1));
    drop(good);
    assert_eq!(read_answer(&mut peer), puback(1));
    Hold::new(bad).fail();
    assert_eq!(attempt.loss().0, Loss::HandlerFailed);
    drop(client);
    let mut rest = Vec::new();
    peer.read_to_end(&mut rest).unwrap();
    assert!(rest.chunks(2).all(|packet| packet == PINGREQ), "{rest:?}");
}

#[test]
fn the_receipts_of_an_earlier_connection_acknowledge_nothing_on_the_next_one() {
    let all = Acknowledgement::new(Acknowledge::Handled, false, limits(2));
    let first = Session::with(&all, 1);
    let (old, mut peer, mut client) = first.setting.connect();
    peer.write_all(&message(1, false, 1)).unwrap();
    let stale = get(&mut client, &first.acknowledging, &message(1, false, 1));
    let second = Session::with(&all, 2);
    let (_attempt, mut next_peer, mut next_client) = second.setting.connect();
    // It is still at work on the first message, which counts.
    let again = message(1, true, 1);
    next_peer.write_all(&again).unwrap();
    let receipt = get(&mut next_client, &second.acknowledging, &again);
    next_peer.write_all(&message(2, false, 1)).unwrap();
    next_client.hears_nothing_for(A_WHILE);
    drop(stale);
    let next = get(
        &mut next_client,
        &second.acknowledging,
        &message(2, false, 1),
    );
    drop(next);
    hears_nothing_for(next_peer.stream(), A_WHILE);
    drop(receipt);
    for id in 1..=2 {
        assert_eq!(read_answer(&mut next_peer), puback(id));
    }
    drop((old, peer, client));
}
