//! More than a feed can pass on at once: every uplink arrives, or is counted and told.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use super::{Farm, connected, until};
use crate::support::relay::{Fault, Way};
use ttn::{Event, Events, Feed, FeedEvent, MqttClient};

/// How many come at once.
const FLOOD: u32 = 5_000;

/// How long the whole flood may take.
const PATIENCE: Duration = Duration::from_secs(60);

#[track_caller]
fn reader(farm: &Farm) -> (MqttClient, Events) {
    connected(farm.consumer().event_capacity(3 * FLOOD as usize))
}

fn flood(farm: &Farm) {
    let devices = ["bed-01", "bed-02", "bed-03"].map(|name| farm.network.device(name));
    for number in 0..FLOOD {
        devices[number as usize % devices.len()].uplink(1, number.to_be_bytes());
    }
}

/// Returns the numbers of the uplinks until there are so many different ones.
#[track_caller]
fn different(events: &Events, count: usize) -> BTreeSet<u32> {
    let deadline = Instant::now() + PATIENCE;
    let mut seen = BTreeSet::new();
    while seen.len() < count {
        let left = deadline.saturating_duration_since(Instant::now());
        match events.recv_timeout(left) {
            Ok(Event::Uplink(uplink)) => {
                let number = uplink.payload_raw[..].try_into().unwrap();
                seen.insert(u32::from_be_bytes(number));
            }
            Ok(_) => {}
            Err(_) => panic!("{} of {count}", seen.len()),
        }
    }
    seen
}

/// Closes a feed and checks that it has told of each message that it dropped.
#[track_caller]
fn all_drops_were_told(feed: &Feed) {
    let events = feed.events();
    feed.close().unwrap();
    let told = events.iter().map(|event| match event {
        FeedEvent::Dropped(messages) => messages,
        _ => 0,
    });
    assert_eq!(told.sum::<u64>(), feed.stats().dropped);
}

#[test]
fn a_flood_for_which_nothing_has_room_arrives_whole_if_the_network_keeps_it() {
    let Some(farm) = Farm::new() else { return };
    let network = farm
        .network()
        .event_capacity(100)
        .receive_capacity(100, 1 << 20);
    let feed = Feed::builder(network, farm.broker())
        .capacity(500)
        .in_flight(5)
        .start()
        .unwrap();
    let (_reader, events) = reader(&farm);
    farm.broker_link.stall();
    flood(&farm);
    assert!(until(&feed, |stats| stats.dropped > 0));
    farm.broker_link.set(
        Way::ToServer,
        Fault::Slow {
            chunk: 4_096,
            pause: Duration::from_millis(1),
        },
    );
    farm.broker_link.set(Way::ToClients, Fault::Pass);
    different(&events, FLOOD as usize);
    all_drops_were_told(&feed);
}

#[test]
fn what_a_flood_loses_that_nobody_keeps_is_counted_and_told() {
    let Some(farm) = Farm::new() else { return };
    farm.network.storage(None);
    let network = farm
        .network_without_http()
        .event_capacity(100)
        .receive_capacity(100, 1 << 20);
    let feed = Feed::builder(network, farm.broker())
        .capacity(50)
        .start()
        .unwrap();
    let (_reader, events) = reader(&farm);
    farm.broker_link.stall();
    flood(&farm);
    let lost_before = farm.network.dropped();
    let sent = u64::from(FLOOD) - lost_before;
    // What has room: the list and the queue.
    assert!(until(&feed, |stats| stats.dropped >= sent - 150));
    farm.broker_link.pass();
    assert!(until(&feed, |stats| stats.acknowledged + stats.dropped == sent));
    let stats = feed.stats();
    assert_eq!((stats.acknowledged, stats.waiting), (150, 0), "{stats:?}");
    different(&events, 150);
    all_drops_were_told(&feed);
    assert_eq!(feed.stats().dropped, stats.dropped);
}

#[test]
fn a_flood_that_the_queues_have_room_for_arrives_whole_although_nobody_keeps_it() {
    let Some(farm) = Farm::new() else { return };
    farm.network.storage(None);
    let network = farm.network_without_http();
    let feed = Feed::builder(network, farm.broker())
        .capacity(1)
        .start()
        .unwrap();
    let (_reader, events) = reader(&farm);
    farm.broker_link.stall();
    flood(&farm);
    farm.broker_link.pass();
    different(&events, FLOOD as usize);
    assert_eq!((feed.stats().dropped, farm.network.dropped()), (0, 0));
    feed.close().unwrap();
}
