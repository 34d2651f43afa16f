//! What a feed does when a side of it, its disk or its program misbehaves.

use std::{fs, time::Duration};

use super::{BED, Farm, numbers, until};
use crate::support::{harness::SOON, mosquitto::Mosquitto, peer::MqttPeer, resources::wait_until};
use serde_json::json;
use ttn::{
    Downlink, ErrorKind, Event, Feed, FeedEvent, Schedule, Session, crossbeam_channel::Receiver,
    simulator::Rights,
};

/// Returns the text of the next failure that has these words.
#[track_caller]
fn failure(events: &Receiver<FeedEvent>, words: &str) -> String {
    loop {
        let event = events.recv_timeout(3 * SOON);
        if let FeedEvent::Failed(error) = event.expect(words) {
            let text = error.to_string();
            if text.contains(words) {
                return text;
            }
        }
    }
}

#[test]
fn a_message_for_which_the_broker_ends_the_connection_is_given_up_and_all_others_arrive() {
    let Some(farm) = Farm::with(Mosquitto::builder().packet_limit(5_000)) else {
        return;
    };
    let feed = farm.feed().start().unwrap();
    let told = feed.events();
    let (_reader, events) = farm.reader();
    farm.send(0..3);
    let bed = farm.network.device(BED);
    bed.service_data("large", &json!("x".repeat(10_000)));
    farm.send(3..40);
    numbers(&events, 0..40);
    let text = failure(&told, "is lost");
    assert!(text.contains("/service/data"), "{text}");
    assert!(until(&feed, |stats| stats.waiting == 0));
    let stats = feed.stats();
    assert_eq!((stats.acknowledged, stats.dropped), (40, 1), "{stats:?}");
    feed.close().unwrap();
}

#[test]
fn a_watermark_file_that_cannot_be_written_is_told_and_the_feed_goes_on() {
    let Some(farm) = Farm::new() else { return };
    let folder = tempfile::tempdir().unwrap();
    let disk = folder.path().join("disk");
    fs::create_dir(&disk).unwrap();
    let file = disk.join("watermark");
    let feed = farm.feed().watermark_file(&file).start().unwrap();
    let told = feed.events();
    let (_reader, events) = farm.reader();
    fs::remove_dir_all(&disk).unwrap();
    farm.send([1]);
    numbers(&events, [1]);
    failure(&told, "cannot write the watermark file");
    farm.send([2]);
    numbers(&events, [2]);
    fs::create_dir(&disk).unwrap();
    assert!(wait_until(SOON, || file.exists()));
    fs::remove_dir_all(&disk).unwrap();
    farm.send([3]);
    numbers(&events, [3]);
    let error = feed.close().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config, "{error}");
}

#[test]
fn the_second_of_two_feeds_with_one_watermark_file_says_so() {
    let Some(farm) = Farm::new() else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("watermark");
    let start = || farm.feed().watermark_file(&file).start().unwrap();
    let feeds = [start(), start()];
    let (_reader, events) = farm.reader();
    let told = feeds.each_ref().map(Feed::events);
    let says_so = || {
        told.iter()
            .flat_map(Receiver::try_iter)
            .any(|event| match event {
                FeedEvent::Failed(error) => error.to_string().contains("a file of its own"),
                _ => false,
            })
    };
    let mut number = 0;
    assert!(wait_until(3 * SOON, || {
        farm.send([number]);
        numbers(&events, [number]);
        number = number.wrapping_add(1);
        says_so()
    }));
    for feed in feeds {
        // One of them cannot write its watermark.
        let _ = feed.close();
    }
}

#[test]
fn a_key_that_is_refused_and_works_again_later_costs_nothing() {
    let Some(farm) = Farm::new() else { return };
    let (app_id, key) = (farm.network.app_id(), farm.network.access_key());
    let feed = farm.feed().start().unwrap();
    let told = feed.events();
    let (_reader, events) = farm.reader();
    farm.send([1]);
    numbers(&events, [1]);
    assert!(farm.network.remove_key(app_id, key));
    farm.network.disconnect_clients();
    while !matches!(
        told.recv_timeout(SOON).unwrap(),
        FeedEvent::Network(Event::ConnectFailed(_))
    ) {}
    farm.send([2]);
    farm.network.add_key(app_id, key, Rights::ALL);
    numbers(&events, [2]);
    farm.send([3]);
    numbers(&events, [3]);
    feed.close().unwrap();
}

#[test]
fn two_feeds_with_one_client_id_are_told_of_each_other_and_lose_nothing() {
    let Some(farm) = Farm::new() else { return };
    let feed = || {
        let broker = farm
            .broker()
            .reconnect_delay(Duration::from_millis(200), Duration::from_millis(500))
            .session(Session::persistent("feed-1"));
        Feed::builder(farm.network(), broker).start().unwrap()
    };
    let (_reader, events) = farm.reader();
    let feeds = [feed(), feed()];
    let told = feeds[0].events();
    for number in 0..20 {
        farm.send([number]);
        numbers(&events, [number]);
    }
    while !matches!(
        told.recv_timeout(SOON).unwrap(),
        FeedEvent::Broker(Event::Disconnected(_))
    ) {}
    feeds[1].close().unwrap();
    assert!(until(&feeds[0], |stats| stats.is_broker_connected
        && stats.waiting == 0));
    feeds[0].close().unwrap();
}

#[test]
fn a_feed_that_has_let_the_network_go_closes_in_time_and_says_what_waits() {
    let Some(farm) = Farm::new() else { return };
    let feed = farm
        .feed()
        .capacity(5)
        .close_timeout(Duration::from_millis(300))
        .start()
        .unwrap();
    farm.broker_away(&feed);
    farm.send(0..20);
    assert!(until(&feed, |stats| stats.overflows == 1));
    let error = feed.close().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unconfirmed);
    assert!(error.to_string().contains("5 messages"), "{error}");
    assert!(feed.stats().dropped > 0);
}

#[test]
fn requests_at_qos_0_for_which_there_is_no_room_are_counted_and_told() {
    const SENT: usize = 1_100;
    let Some(farm) = Farm::new() else { return };
    let broker = farm.broker().receive_capacity(5, 1 << 20);
    let feed = Feed::builder(farm.network(), broker)
        .share_downlinks(false)
        .start()
        .unwrap();
    let told = feed.events();
    farm.network_away(&feed);
    let topic = format!("v3/{}/devices/{BED}/down/push", farm.network.app_id());
    let mut peer = MqttPeer::connect(farm.broker.address(), "peer", "").unwrap();
    for _ in 0..SENT {
        peer.publish(
            &topic,
            r#"{"downlinks":[{"f_port":1,"frm_payload":"AQ=="}]}"#,
        )
        .unwrap();
    }
    peer.flush().unwrap();
    let all =
        |stats: ttn::FeedStats| stats.requests_waiting + stats.requests_refused as usize == SENT;
    assert!(until(&feed, all), "{:?}", feed.stats());
    assert!(feed.stats().requests_refused >= 95);
    failure(&told, "QoS 0");
    feed.close().unwrap();
}

#[test]
fn a_request_that_the_broker_delivers_again_is_written_once() {
    let Some(farm) = Farm::new() else { return };
    farm.network.device(BED).join();
    let broker = farm.broker().session(Session::persistent("feed-1"));
    let feed = Feed::builder(farm.network(), broker).start().unwrap();
    let (reader, _events) = farm.reader();
    farm.network_away(&feed);
    for number in [1, 2, 3] {
        let downlink = Downlink::bytes([number]).schedule(Schedule::Last);
        reader.send(BED, downlink).unwrap();
    }
    assert!(until(&feed, |stats| stats.requests_waiting == 3));
    farm.broker_away(&feed);
    assert!(until(&feed, |stats| stats.requests_waiting == 0));
    farm.broker_back(&feed);
    assert!(until(&feed, |stats| stats.requests_waiting == 3));
    farm.network_back(&feed);
    assert!(until(&feed, |stats| stats.requests >= 3
        && stats.requests_waiting == 0));
    feed.close().unwrap();
    assert_eq!(feed.stats().requests, 3);
    assert_eq!(farm.downlinks(), ["AQ==", "Ag==", "Aw=="]);
}
