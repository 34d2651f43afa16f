//! Closing, and what is known about each downlink that was written before.

use std::{
    collections::HashSet,
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use crate::support::{
    harness::{Harness, SOON},
    raw::{Raw, frame, read_packet, string},
    relayed_client::RelayedClient,
    resources::wait_until,
    watchdog::watchdog,
};
use crossbeam_channel::{bounded, unbounded};
use serde_json::{Value, json};
use ttn::{
    Delivery, DeliveryState, Downlink, ErrorKind, Event, MqttClient, Network, Schedule,
    simulator::{Rights, Simulator},
};

const LIMIT: Duration = Duration::from_secs(60);
const DEVICE: &str = "lamp-1";

/// What The Things Stack needs for a push to a device with a long queue.
const PUSH_TIME: Duration = Duration::from_millis(4);

/// A v3 network that works as slowly as the real one, and a device that is joined.
fn slow_v3() -> Harness {
    let harness = Harness::simulator(Network::V3);
    let network = harness.simulated();
    network.quirks(|quirks| quirks.push_time = PUSH_TIME);
    network.device(DEVICE).join();
    harness
}

/// A client of a key that may write and not read: it hears nothing about its downlinks.
fn deaf(harness: &Harness) -> ttn::MqttClientBuilder {
    let network = harness.simulated();
    let rights = Rights {
        read: false,
        write: true,
    };
    network.add_key(harness.app_id(), "NNSXS.WRITE.ONLY", rights);
    MqttClient::builder(harness.app_id(), "NNSXS.WRITE.ONLY").mqtt_address(network.mqtt_address())
}

/// The downlink with this number, which goes to the end of the queue.
fn numbered(number: u16) -> Downlink {
    Downlink::bytes(number.to_be_bytes()).schedule(Schedule::Last)
}

fn send(client: &MqttClient, count: u16) -> Vec<Delivery> {
    let send = |number| client.send(DEVICE, numbered(number)).unwrap();
    (0..count).map(send).collect()
}

fn queued(network: &Simulator) -> usize {
    network.device(DEVICE).queue().len()
}

fn is_queued(delivery: &Delivery) -> bool {
    matches!(delivery.state(), DeliveryState::Queued)
}

#[test]
fn every_downlink_is_queued_when_close_returns_ok_on_v3() {
    let _watchdog = watchdog(LIMIT);
    let harness = slow_v3();
    let client = harness.connected();
    let deliveries = send(&client, 900);
    let start = Instant::now();
    client.close().unwrap();
    assert_eq!(queued(harness.simulated()), 900);
    assert!(start.elapsed() > PUSH_TIME * 800, "it is not slow at all");
    assert!(deliveries.iter().all(is_queued));
    let stats = client.stats();
    assert_eq!((stats.sent, stats.not_sent, stats.uncertain), (900, 0, 0));
}

#[test]
fn every_downlink_is_queued_when_close_returns_ok_on_v2() {
    let _watchdog = watchdog(LIMIT);
    let harness = Harness::simulator(Network::V2);
    let network = harness.simulated();
    network.device(DEVICE).join();
    let client = harness.connected();
    network.quirks(|quirks| quirks.rate_limit = Some(10));
    let deliveries = send(&client, 60);
    let start = Instant::now();
    client.close().unwrap();
    assert_eq!(network.published().len(), 60);
    assert!(start.elapsed() > Duration::from_secs(5));
    let waiting = deliveries.iter().filter(|delivery| !is_queued(delivery));
    let states: Vec<_> = waiting
        .map(|delivery| delivery.state().to_string())
        .collect();
    assert!(states.is_empty(), "{states:?}");
    assert_eq!(client.stats().uncertain, 0);
}

#[test]
fn a_key_that_hears_nothing_closes_with_everything_queued_and_without_a_wait_for_reports() {
    let _watchdog = watchdog(LIMIT);
    let harness = slow_v3();
    let client = deaf(&harness).build().unwrap();
    client.connect().unwrap();
    send(&client, 200);
    client.close().unwrap();
    assert_eq!(queued(harness.simulated()), 200);

    // The machine may be busy, but not each time.
    let fastest = (0..5).map(|_| {
        client.connect().unwrap();
        send(&client, 1);
        let start = Instant::now();
        client.close().unwrap();
        start.elapsed()
    });
    let fastest = fastest.min().unwrap();
    assert!(fastest < Duration::from_millis(150), "{fastest:?}");
    assert_eq!(queued(harness.simulated()), 205);
}

#[test]
fn a_time_that_is_too_short_is_an_error_with_the_exact_number_of_uncertain_downlinks() {
    let _watchdog = watchdog(LIMIT);
    let harness = slow_v3();
    let network = harness.simulated();
    let timeout = Duration::from_secs(1);
    let client = harness.connected_with(|builder| builder.close_timeout(timeout));
    let deliveries = send(&client, 900);
    let histories: Vec<_> = deliveries.iter().map(Delivery::states).collect();
    let start = Instant::now();
    let error = client.close().unwrap_err();
    assert!(start.elapsed() < 2 * timeout, "{:?}", start.elapsed());
    let in_queue = network.device(DEVICE).queue();
    let in_queue: HashSet<Vec<u8>> = in_queue.into_iter().filter_map(|one| one.payload).collect();

    let mut uncertain = 0;
    for (number, history) in (0_u16..).zip(histories) {
        let unconfirmed = history.try_iter().find_map(|state| match state {
            DeliveryState::Unconfirmed(error) => Some(error),
            _ => None,
        });
        if let Some(error) = unconfirmed {
            uncertain += 1;
            let text = error.to_string();
            assert!(text.contains("just before the client closed"), "{text}");
        } else {
            assert!(is_queued(&deliveries[usize::from(number)]));
            assert!(in_queue.contains(&number.to_be_bytes()[..]), "{number}");
        }
    }
    assert!((500..900).contains(&uncertain), "{uncertain}");
    assert_eq!(error.kind(), ErrorKind::Unconfirmed);
    let text = error.to_string();
    let words = format!("{uncertain} downlinks are uncertain");
    assert!(
        text.contains(&words) && text.contains("close_timeout"),
        "{text}"
    );
    assert_eq!(client.stats().uncertain, uncertain);
    assert_eq!((client.stats().sent, client.stats().not_sent), (900, 0));
    client.close().unwrap();

    // The connection stays open in the background, so nothing is lost, and what is heard counts.
    assert!(wait_until(SOON, || queued(network) == 900));
    assert!(wait_until(SOON, || deliveries.iter().all(is_queued)));
    assert!(network.wait_for_clients(0, SOON));
}

#[test]
fn nobody_has_to_follow_a_downlink_for_the_number_to_be_exact() {
    let _watchdog = watchdog(LIMIT);
    let harness = slow_v3();
    let timeout = Duration::from_secs(1);
    let client = harness.connected_with(|builder| builder.close_timeout(timeout));
    drop(send(&client, 900));
    client.close().unwrap_err();
    let in_queue = queued(harness.simulated());
    let known = 900 - client.stats().uncertain as usize;
    // Some may be queued between the two counts.
    assert!(
        (known..known + 25).contains(&in_queue),
        "{known}, {in_queue}"
    );
}

#[test]
fn marks_tell_what_is_processed_to_a_key_that_hears_nothing() {
    let _watchdog = watchdog(LIMIT);
    let harness = slow_v3();
    let network = harness.simulated();
    let client = deaf(&harness)
        .close_timeout(Duration::from_secs(1))
        .build()
        .unwrap();
    client.connect().unwrap();
    send(&client, 900);
    assert!(network.wait_for_published(200, SOON));
    // The server does not come further before the time is up.
    network.quirks(|quirks| quirks.push_time = Duration::from_secs(5));
    client.close().unwrap_err();
    let in_queue = queued(network) as u64;
    let known = 900 - client.stats().uncertain;
    assert!((200..300).contains(&in_queue), "{in_queue}");
    assert_eq!(known, in_queue - in_queue % 40, "{in_queue}");
    network.quirks(|quirks| quirks.push_time = Duration::ZERO);
    assert!(wait_until(SOON, || queued(network) == 900));
}

#[test]
fn what_is_not_processed_when_a_connection_is_lost_is_counted_exactly() {
    let _watchdog = watchdog(LIMIT);
    let harness = slow_v3();
    let network = harness.simulated();
    let RelayedClient {
        relay,
        client,
        events,
    } = RelayedClient::connect(&harness, |builder| builder);
    drop(send(&client, 900));
    assert!(network.wait_for_published(200, SOON));
    relay.refuse();
    relay.cut();
    let is_lost = |event: &Event| matches!(event, Event::Disconnected(_));
    while !is_lost(&events.recv_timeout(SOON).unwrap()) {}
    let known = 900 - client.stats().uncertain;
    assert!(network.wait_for_clients(0, SOON));
    let in_queue = queued(network) as u64;
    assert!(known > 0 && known <= in_queue, "{known}, {in_queue}");
    // Nothing is said twice.
    client.close().unwrap();
    assert_eq!(900 - client.stats().uncertain, known);
}

#[test]
fn a_connection_that_ends_while_the_client_closes_is_an_error_with_the_number() {
    let _watchdog = watchdog(LIMIT);
    let harness = slow_v3();
    let network = harness.simulated();
    let RelayedClient { relay, client, .. } = RelayedClient::connect(&harness, |builder| builder);
    let deliveries = send(&client, 900);
    let closing = client.clone();
    let closing = thread::spawn(move || closing.close().unwrap_err());
    assert!(network.wait_for_published(100, SOON));
    relay.cut();
    let error = closing.join().unwrap();
    assert_eq!(error.kind(), ErrorKind::Unconfirmed);
    let text = error.to_string();
    let uncertain = client.stats().uncertain;
    assert!(
        uncertain > 0 && text.contains(&uncertain.to_string()),
        "{text}"
    );
    assert!(text.contains("the connection ended"), "{text}");
    let is_known = |delivery: &&Delivery| is_queued(delivery);
    let known = deliveries.iter().filter(is_known).count() as u64;
    assert_eq!(known + uncertain, 900);
}

#[test]
fn the_last_handle_waits_for_nobody_and_everything_arrives() {
    let _watchdog = watchdog(LIMIT);
    let harness = slow_v3();
    let network = harness.simulated();
    let client =
        harness.connected_with(|builder| builder.close_timeout(Duration::from_millis(100)));
    send(&client, 300);
    let start = Instant::now();
    drop(client);
    assert!(start.elapsed() < Duration::from_millis(100));
    assert!(wait_until(SOON, || queued(network) == 300));
    assert!(network.wait_for_clients(0, SOON));
}

#[test]
fn a_client_can_connect_again_while_an_earlier_connection_is_still_processed() {
    let _watchdog = watchdog(LIMIT);
    let harness = slow_v3();
    let network = harness.simulated();
    let client =
        harness.connected_with(|builder| builder.close_timeout(Duration::from_millis(500)));
    send(&client, 600);
    assert_eq!(client.close().unwrap_err().kind(), ErrorKind::Unconfirmed);
    client.connect().unwrap();
    let again = client.send(DEVICE, numbered(9_999)).unwrap();
    again.wait_for(DeliveryState::Queued, SOON).unwrap();
    assert!(wait_until(SOON, || queued(network) == 601));
    client.close().unwrap();
    assert!(network.wait_for_clients(0, SOON));
}

#[test]
fn reports_on_an_earlier_connection_count_until_the_next_one_hears_them() {
    let _watchdog = watchdog(LIMIT);
    let harness = slow_v3();
    let network = harness.simulated();
    let client = harness.connected_with(|builder| {
        builder
            .close_timeout(Duration::from_millis(500))
            .connect_timeout(Duration::from_secs(3))
    });
    let deliveries = send(&client, 300);
    assert_eq!(client.close().unwrap_err().kind(), ErrorKind::Unconfirmed);
    // The next connection takes as long as the work of the server.
    network.quirks(|quirks| quirks.ignore_connect = true);
    assert_eq!(client.connect().unwrap_err().kind(), ErrorKind::TimedOut);
    assert_eq!(queued(network), 300);
    assert!(wait_until(SOON, || deliveries.iter().all(is_queued)));
}

/// A server that accepts a client and its subscription, answers nothing else and closes nothing.
/// Returns its address, and the number of clients that have not closed.
fn deaf_server() -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let open = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&open);
    let serve = move |mut stream: TcpStream, counter: &AtomicUsize| {
        read_packet(&mut stream);
        stream.write_all(&[0x20, 2, 0, 0]).unwrap();
        let (_, body) = read_packet(&mut stream);
        let answer = frame(0x90, &[body[0], body[1], 0]);
        stream.write_all(&answer).unwrap();
        while stream.read(&mut [0; 64]).unwrap_or(0) > 0 {}
        counter.fetch_sub(1, Ordering::Relaxed);
    };
    thread::spawn(move || {
        for stream in listener.incoming() {
            counter.fetch_add(1, Ordering::Relaxed);
            let counter = Arc::clone(&counter);
            thread::spawn(move || serve(stream.unwrap(), &counter));
        }
    });
    (address, open)
}

#[test]
fn the_connections_that_wait_for_a_server_that_processes_nothing_are_few() {
    let _watchdog = watchdog(LIMIT);
    let (address, open) = deaf_server();
    let client = MqttClient::builder("greenhouse@ttn", "NNSXS.TEST.KEY")
        .mqtt_address(address)
        .close_timeout(Duration::from_millis(50))
        .build()
        .unwrap();
    for _ in 0..40 {
        client.connect().unwrap();
        send(&client, 1);
        assert_eq!(client.close().unwrap_err().kind(), ErrorKind::Unconfirmed);
    }
    assert_eq!(client.stats().uncertain, 40);
    let few = || open.load(Ordering::Relaxed) == 16;
    assert!(wait_until(SOON, few), "{open:?}");
}

#[test]
fn what_happens_while_the_client_is_closed_is_not_concluded() {
    let _watchdog = watchdog(LIMIT);
    Harness::each_simulator(|harness| {
        let lamp = harness.simulated().device(DEVICE);
        lamp.join();
        let client = harness.connected();
        let sent = client.send(DEVICE, numbered(1)).unwrap();
        sent.wait_for(DeliveryState::Queued, SOON).unwrap();
        client.close().unwrap();
        lamp.uplink(1, [1]);
        assert_eq!(lamp.next_downlink(SOON).unwrap().payload, [0, 1]);
        client.connect().unwrap();
        // It replaces nothing, because the queue is empty.
        let next = client.send(DEVICE, Downlink::bytes([2])).unwrap();
        next.wait_for(DeliveryState::Queued, SOON).unwrap();
        let state = sent.wait().to_string();
        assert!(
            state.contains("while the client was not connected"),
            "{state}"
        );
        client.close().unwrap();
    });
}

#[test]
fn a_silence_after_close_is_explained_by_it() {
    let _watchdog = watchdog(LIMIT);
    let harness = slow_v3();
    harness
        .simulated()
        .quirks(|quirks| quirks.lose_events = true);
    let client =
        harness.connected_with(|builder| builder.unconfirmed_after(Duration::from_millis(500)));
    let delivery = client.send(DEVICE, numbered(1)).unwrap();
    client.close().unwrap();
    let state = delivery.wait().to_string();
    assert!(
        state.contains("first: the client was closed")
            && state.contains("the server had processed it"),
        "{state}"
    );
}

#[test]
fn a_v2_batch_that_is_written_one_by_one_has_the_time_that_it_takes() {
    let _watchdog = watchdog(LIMIT);
    let harness = Harness::simulator(Network::V2);
    let network = harness.simulated();
    network.device(DEVICE).join();
    let client = harness.connected();
    network.quirks(|quirks| quirks.rate_limit = Some(10));
    client.send_batch(DEVICE, (0..60).map(numbered)).unwrap();
    client.close().unwrap();
    assert_eq!(network.published().len(), 60);
}

#[test]
fn a_slow_v2_server_is_not_taken_for_dead_by_a_client_that_hears_nothing_else() {
    let _watchdog = watchdog(LIMIT);
    let harness = Harness::simulator(Network::V2);
    let network = harness.simulated();
    let rights = Rights {
        read: false,
        write: true,
    };
    network.add_key(harness.app_id(), "ttn-account-v2.write-only", rights);
    let client = MqttClient::builder(harness.app_id(), "ttn-account-v2.write-only")
        .mqtt_address(network.mqtt_address())
        .keep_alive(Duration::from_secs(1))
        .build()
        .unwrap();
    client.connect().unwrap();
    network.quirks(|quirks| quirks.rate_limit = Some(10));
    drop(send(&client, 150));
    assert!(network.wait_for_published(150, 3 * SOON));
    let stats = client.stats();
    assert_eq!((stats.reconnects, stats.uncertain), (0, 0));
}

#[test]
fn however_little_time_there_is_the_numbers_are_exact() {
    let _watchdog = watchdog(LIMIT);
    // The number of downlinks, the time for each in µs, and the time to close in ms.
    for (count, push_time, timeout) in [
        (1, 5_000, 50),
        (41, 6_000, 100),
        (385, 4_000, 30),
        (149, 300, 300),
        (260, 1_000, 250),
        (120, 2_000, 200),
    ] {
        let harness = slow_v3();
        let network = harness.simulated();
        network.quirks(|quirks| quirks.push_time = Duration::from_micros(push_time));
        let client =
            harness.connected_with(|builder| builder.close_timeout(Duration::from_millis(timeout)));
        let deliveries = send(&client, count);
        let closed = client.close();
        let (now, stats) = (queued(network) as u64, client.stats());
        let count = u64::from(count);
        assert_eq!(closed.is_ok(), stats.uncertain == 0, "{closed:?}");
        assert_eq!((stats.sent, stats.not_sent), (count, 0));
        // Some may be queued between the two counts.
        assert!(now + stats.uncertain >= count, "{now}, {}", stats.uncertain);
        assert!(network.wait_for_clients(0, SOON));
        assert_eq!(queued(network) as u64, count);
        assert!(deliveries.iter().all(is_queued));
    }
}

#[test]
fn close_in_a_callback_waits_for_the_server_too() {
    let _watchdog = watchdog(LIMIT);
    let harness = slow_v3();
    let client = harness.client();
    let (tell, told) = unbounded();
    client.set_uplink_callback(move |_, client| {
        send(client, 100);
        tell.send(client.close()).unwrap();
    });
    client.connect().unwrap();
    harness.simulated().device(DEVICE).uplink(1, [1]);
    told.recv_timeout(SOON).unwrap().unwrap();
    // One of them answers the uplink.
    assert_eq!(harness.simulated().published().len(), 100);
    client.wait();
}

#[test]
fn the_simulated_network_loses_what_it_has_not_processed_unless_the_client_reads_to_the_end() {
    let _watchdog = watchdog(LIMIT);
    for reads_on in [true, false] {
        let harness = slow_v3();
        let network = harness.simulated();
        let mut raw = Raw::subscribed(network, &["#"]);
        let topic = harness.topic(DEVICE, "down/push");
        for _ in 0..100 {
            raw.publish(
                &topic,
                br#"{"downlinks":[{"f_port":1,"frm_payload":"AQ=="}]}"#,
            );
        }
        if reads_on {
            raw.stream.shutdown(Shutdown::Write).unwrap();
            while raw.try_packet(SOON).is_ok() {}
        } else {
            drop(raw);
        }
        assert!(network.wait_for_clients(0, SOON));
        let in_queue = queued(network);
        assert_eq!(in_queue == 100, reads_on, "{in_queue}");
    }
}

#[test]
fn a_ping_is_answered_behind_the_downlinks_before_it() {
    let _watchdog = watchdog(LIMIT);
    let harness = slow_v3();
    let network = harness.simulated();
    let mut raw = Raw::connect(network);
    let topic = harness.topic(DEVICE, "down/push");
    for _ in 0..50 {
        raw.publish(
            &topic,
            br#"{"downlinks":[{"f_port":1,"frm_payload":"AQ=="}]}"#,
        );
    }
    raw.ping();
    assert_eq!(raw.packet(), [0xd0, 0]);
    assert_eq!(queued(network), 50);
}

/// Returns the filters of a SUBSCRIBE.
fn filters(body: &[u8]) -> Vec<String> {
    let mut rest = &body[2..];
    let mut filters = Vec::new();
    while let [high, low, after @ ..] = rest {
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        filters.push(String::from_utf8(after[..length].to_vec()).unwrap());
        rest = &after[length + 1..];
    }
    filters
}

/// A server that answers the SUBSCRIBE with these codes, and repeats the last one for further filters.
/// Returns its address, where it tells the filters, and its thread.
fn server(
    codes: &'static [u8],
) -> (
    String,
    crossbeam_channel::Receiver<Vec<String>>,
    JoinHandle<()>,
) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (tell, told) = bounded(1);
    let thread = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        assert_eq!(read_packet(&mut stream).0, 0x10);
        stream.write_all(&[0x20, 2, 0, 0]).unwrap();
        let (first, body) = read_packet(&mut stream);
        assert_eq!(first, 0x82);
        let filters = filters(&body);
        let codes = (0..filters.len()).map(|number| codes[number.min(codes.len() - 1)]);
        let answer: Vec<u8> = body[..2].iter().copied().chain(codes).collect();
        tell.send(filters).unwrap();
        stream.write_all(&frame(0x90, &answer)).unwrap();
        // Nothing else comes before the end, unless the client takes its leave.
        let mut last = [0; 2];
        let length = stream.read(&mut last).unwrap_or(0);
        assert!(length == 0 || last == [0xe0, 0], "{last:?}");
    });
    (address, told, thread)
}

/// Returns the report that a downlink is queued.
fn report(push: &[u8]) -> Vec<u8> {
    let length = usize::from(u16::from_be_bytes([push[0], push[1]]));
    let body: Value = serde_json::from_slice(&push[2 + length..]).unwrap();
    let ids = &body["downlinks"][0]["correlation_ids"];
    let report = json!({"downlink_queued": {"f_port": 1, "correlation_ids": ids}});
    let topic = string("v3/greenhouse@ttn/devices/lamp-1/down/queued");
    frame(0x30, &[topic, report.to_string().into_bytes()].concat())
}

#[test]
fn reports_that_come_after_the_last_answer_count() {
    let _watchdog = watchdog(LIMIT);
    // The second report comes late, or never.
    for is_late in [true, false] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            assert_eq!(read_packet(&mut stream).0, 0x10);
            stream.write_all(&[0x20, 2, 0, 0]).unwrap();
            let (_, body) = read_packet(&mut stream);
            stream
                .write_all(&frame(0x90, &[body[0], body[1], 0]))
                .unwrap();
            let (first, push) = read_packet(&mut stream);
            assert_eq!(first, 0x30);
            stream.write_all(&report(&push)).unwrap();
            let (first, push) = read_packet(&mut stream);
            assert_eq!(first, 0x30);
            let (first, body) = read_packet(&mut stream);
            assert_eq!(first, 0xa2);
            stream.write_all(&frame(0xb0, &[body[0], body[1]])).unwrap();
            let pause = Duration::from_millis(100);
            stream.set_read_timeout(Some(pause)).unwrap();
            let early = stream.read(&mut [0; 2]);
            assert!(early.is_err(), "it leaves at once: {early:?}");
            if is_late {
                stream.write_all(&report(&push)).unwrap();
            }
            stream.set_read_timeout(Some(SOON)).unwrap();
            assert_eq!(read_packet(&mut stream), (0xe0, vec![]));
        });
        let client = MqttClient::builder("greenhouse@ttn", "NNSXS.TEST.KEY")
            .mqtt_address(address)
            .build()
            .unwrap();
        client.connect().unwrap();
        let first = client.send(DEVICE, numbered(1)).unwrap();
        first.wait_for(DeliveryState::Queued, SOON).unwrap();
        let second = client.send(DEVICE, numbered(2)).unwrap();
        let start = Instant::now();
        client.close().unwrap();
        assert_eq!(is_queued(&second), is_late);
        assert!(start.elapsed() < Duration::from_secs(1));
        server.join().unwrap();
        assert_eq!(client.stats().uncertain, 0);
    }
}

#[test]
fn one_packet_subscribes_to_all_filters() {
    let _watchdog = watchdog(LIMIT);
    for field_topics in [false, true] {
        let (address, told, server) = server(&[0]);
        let client = MqttClient::builder("greenhouse", "ttn-account-v2.test-key")
            .mqtt_address(address)
            .field_topics(field_topics)
            .build()
            .unwrap();
        client.connect().unwrap();
        let filters = told.recv_timeout(SOON).unwrap();
        assert_eq!(filters[0], "greenhouse/devices/+/up");
        assert_eq!(filters[1], "greenhouse/devices/+/events/#");
        assert_eq!(filters.len() > 2, field_topics, "{filters:?}");
        client.close().unwrap();
        server.join().unwrap();
    }
}

#[test]
fn a_server_that_ends_the_connection_at_the_subscription_may_have_refused_it() {
    let _watchdog = watchdog(LIMIT);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        assert_eq!(read_packet(&mut stream).0, 0x10);
        stream.write_all(&[0x20, 2, 0, 0]).unwrap();
        assert_eq!(read_packet(&mut stream).0, 0x82);
    });
    let client = MqttClient::builder("greenhouse@ttn", "NNSXS.TEST.KEY")
        .mqtt_address(address)
        .build()
        .unwrap();
    let error = client.connect().unwrap_err();
    server.join().unwrap();
    assert_eq!(error.kind(), ErrorKind::ConnectionLost);
    let text = error.to_string();
    assert!(
        text.contains("it may") && text.contains("refuse its subscription"),
        "{text}"
    );
}

#[test]
fn any_code_but_a_granted_quality_refuses_a_single_filter() {
    let _watchdog = watchdog(LIMIT);
    // MQTT 3.1.1 knows 0 to 2 and 0x80; brokers also send codes of MQTT 5, and others.
    for (code, granted) in [
        (&[0x80], false),
        (&[0x87], false),
        (&[0x42], false),
        (&[3], false),
        (&[0xff], false),
        (&[2], true),
    ] {
        let (address, told, server) = server(code);
        let client = MqttClient::builder("greenhouse@ttn", "NNSXS.TEST.KEY")
            .mqtt_address(address)
            .build()
            .unwrap();
        let connected = client.connect();
        let filters = told.recv_timeout(SOON).unwrap();
        assert_eq!(filters.len(), 1);
        if granted {
            connected.unwrap();
            client.close().unwrap();
        } else {
            let error = connected.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::SubscriptionRefused, "{error}");
            let words = format!("refused the subscription to {}:", filters[0]);
            assert!(error.to_string().contains(&words), "{error}");
            assert!(!client.is_connected());
        }
        server.join().unwrap();
    }
}

#[test]
fn each_refused_filter_of_a_packet_is_named() {
    let _watchdog = watchdog(LIMIT);
    // 0x42 is no code of MQTT 3.1.1.
    let codes: [(&'static [u8], &[usize]); 3] = [
        (&[0, 0, 0x80, 0, 0x42, 0], &[2, 4]),
        (&[0x80, 2, 1, 0], &[0]),
        (&[0, 3, 0], &[1]),
    ];
    for (codes, refused) in codes {
        let (address, told, server) = server(codes);
        let client = MqttClient::builder("greenhouse", "ttn-account-v2.test-key")
            .mqtt_address(address)
            .field_topics(true)
            .build()
            .unwrap();
        let error = client.connect().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::SubscriptionRefused, "{error}");
        let filters = told.recv_timeout(SOON).unwrap();
        let names: Vec<_> = refused
            .iter()
            .map(|number| filters[*number].as_str())
            .collect();
        let words = format!("refused the subscription to {}:", names.join(", "));
        assert!(error.to_string().contains(&words), "{error}");
        server.join().unwrap();
    }
}
