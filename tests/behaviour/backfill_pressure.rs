//! Backfills while much else happens: slow and small subscriptions, floods, several requests, clients that end.

use std::{
    sync::mpsc,
    thread,
    time::{Duration, Instant, SystemTime},
};

use crate::{
    backfill::{
        Place, adds_up, at_once, is_complete, numbers, rest, until_filled, uplink, uplinks,
    },
    support::{
        harness::SOON,
        resources::{pause, wait_until},
    },
};
use ttn::{
    Backfill, BackfillSource, ErrorKind, Event, MqttClient, Overflow,
    simulator::{HttpFault, Storage, Uplink},
};

const HOUR: Duration = Duration::from_secs(3600);

fn stored() -> Place {
    Place::with_storage(Storage::new())
}

fn last_hour() -> std::ops::Range<SystemTime> {
    let now = SystemTime::now();
    now - HOUR..now + HOUR
}

#[test]
fn close_ends_what_was_asked_for_although_there_is_no_connection() {
    let place = stored();
    place.storage_fails(Some(HttpFault::Silent));
    let client = place.builder(Backfill::on_request()).build().unwrap();
    let filling = client.backfill(last_hour()).unwrap();
    let waiting = client.backfill(last_hour()).unwrap();
    place.await_request();
    let begin = Instant::now();
    client.close().unwrap();
    for filling in [filling, waiting] {
        let report = filling.wait().unwrap();
        let error = report.error.as_ref().expect("it has not ended");
        assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
        adds_up(&report);
    }
    assert!(begin.elapsed() < Duration::from_secs(2));
    assert!(client.backfill_progress().is_none());
    // The client can fetch again.
    place.storage_fails(None);
    assert!(
        client
            .backfill(last_hour())
            .unwrap()
            .wait()
            .unwrap()
            .error
            .is_none()
    );
}

#[test]
fn a_client_that_is_dropped_ends_what_was_asked_for() {
    let place = stored();
    place.storage_fails(Some(HttpFault::Silent));
    let client = place.builder(Backfill::on_request()).build().unwrap();
    let filling = client.backfill(last_hour()).unwrap();
    place.await_request();
    drop(client);
    match filling.wait() {
        Ok(report) => panic!("{report:?}"),
        Err(error) => assert_eq!(error.kind(), ErrorKind::Closed, "{error}"),
    }
}

#[test]
fn several_requests_are_filled_one_after_the_other_and_a_gap_in_between() {
    let place = stored();
    let (client, events) = place.connected(place.builder(at_once()));
    place.send_live(&events, [1]);
    place.storage_fails(Some(HttpFault::Slow(Duration::from_millis(400))));
    let first = client.backfill(last_hour()).unwrap();
    place.await_request();
    let second = client.backfill(last_hour()).unwrap();
    place.outage(&client, || place.send(2..=5));
    let first = first.wait().unwrap();
    let second = second.wait().unwrap();
    let mut delivered = Vec::new();
    let mut sum = 0;
    for _ in 0..3 {
        let (filled, report) = until_filled(&events);
        adds_up(&report);
        assert!(report.error.is_none(), "{report:?}");
        delivered.extend(numbers(&uplinks(&filled)));
        sum += report.delivered;
    }
    assert_eq!(delivered, [2, 3, 4, 5]);
    assert_eq!(sum, 4);
    assert_eq!(second.delivered, 0, "{first:?} {second:?}");
    assert_eq!(second.known, 5, "{second:?}");
    assert!(rest(&events).is_empty());
    assert_eq!(client.stats().backfilled, 4);
}

#[test]
fn a_request_during_the_backfill_of_a_gap_waits_for_it() {
    let place = stored();
    let (client, events) = place.connected(place.builder(at_once()));
    place.send_live(&events, [1]);
    place.storage_fails(Some(HttpFault::Slow(Duration::from_millis(300))));
    place.outage(&client, || place.send(2..=3));
    place.await_request();
    let report = client.backfill(last_hour()).unwrap().wait().unwrap();
    assert_eq!((report.delivered, report.known), (0, 3), "{report:?}");
    let (filled, report) = until_filled(&events);
    assert_eq!(numbers(&uplinks(&filled)), [2, 3]);
    is_complete(&report, BackfillSource::Storage, 2);
}

#[test]
fn the_smallest_queue_that_is_read_loses_nothing_of_a_backfill() {
    for overflow in [Overflow::Block, Overflow::DropOldest, Overflow::DropNewest] {
        let place = stored();
        let slow = HttpFault::Slow(Duration::from_millis(300));
        let client = place.builder(at_once()).build().unwrap();
        let narrow = client.events_with(1, overflow);
        let events = client.events();
        let (reads, narrow) = {
            let (reads, all) = mpsc::channel();
            let reader =
                thread::spawn(move || narrow.iter().all(|event| reads.send(event).is_ok()));
            (reader, all)
        };
        client.connect().unwrap();
        // A queue of one has room for the first uplink once this was read.
        let first = narrow.recv_timeout(SOON).unwrap();
        assert!(matches!(first, Event::Connected(_)), "{first:?}");
        let read = |until: u8| {
            let mut all = Vec::new();
            while all.last().is_none_or(|last| *last != until) {
                // What the queue dropped is live: the uplinks that were fetched are counted below.
                if let Event::Uplink(uplink) = narrow.recv_timeout(SOON).unwrap() {
                    all.push(uplink.payload_raw[0]);
                }
            }
            all
        };
        place.send([1]);
        read(1);
        place.storage_fails(Some(slow));
        place.outage(&client, || place.send(2..=30));
        place.await_request();
        // The frame counters show that they are missing, and each that comes is reported.
        place.send([31]);
        assert!(wait_until(SOON, || client.stats().received == 2));
        let came = read(30);
        let filled: Vec<u8> = came.into_iter().filter(|number| *number != 31).collect();
        assert_eq!(filled, (2..=30).collect::<Vec<_>>(), "{overflow:?}");
        let (_, report) = until_filled(&events);
        is_complete(&report, BackfillSource::Storage, 29);
        drop(client);
        assert!(reads.join().unwrap());
    }
}

#[test]
fn a_slow_program_that_crashes_gets_exactly_the_rest_although_the_client_is_far_ahead() {
    let place = stored();
    let moment = Duration::from_millis(50);
    let backfill = at_once().overlap(moment).recheck(moment);
    let (client, events) = place.connected(place.builder(backfill.clone()));
    let ahead = client.events();
    place.send_live(&events, [1]);
    place.outage(&client, || {
        place.send_apart(2..=20);
        // Longer than what the client remembers before it was connected again, and than the network rounds.
        pause(Duration::from_millis(1_500));
    });
    until_filled(&ahead);
    place.send([21]);
    uplink(&ahead);
    let handled: Vec<_> = (2..=9).map(|_| uplink(&events)).collect();
    let watermark = handled.last().and_then(|uplink| uplink.watermark());
    drop((client, events, ahead, handled));
    let builder = place.builder(backfill).resume_from(watermark.unwrap());
    let (_client, events) = place.connected(builder);
    let (filled, report) = until_filled(&events);
    assert_eq!(
        numbers(&uplinks(&filled)),
        (10..=21).collect::<Vec<_>>(),
        "{report:?}"
    );
}

#[test]
fn what_an_earlier_run_has_handled_is_no_missing_frame() {
    let place = stored();
    let (client, events) = place.connected(place.builder(at_once()));
    place.send_live(&events, [1]);
    place.storage_fails(Some(HttpFault::Silent));
    place.outage(&client, || place.send(2..=4));
    place.await_request();
    place.send([5]);
    let watermark = uplink(&events).watermark().expect("it has one");
    drop((client, events));
    place.storage_fails(None);
    let builder = place.builder(at_once()).resume_from(watermark);
    let (client, events) = place.connected(builder);
    let (filled, _) = until_filled(&events);
    assert_eq!(numbers(&uplinks(&filled)), [2, 3, 4]);
    place.send_live(&events, [6]);
    let frames = client.stats().frames;
    let missing = frames.missing_away + frames.missing_upstream + frames.missing_dropped_here;
    assert_eq!(missing, 0, "{frames:?}");
}

#[test]
fn the_account_of_a_gap_that_grows_contains_what_came_before_it_grew() {
    let place = stored();
    let (client, events) = place.connected(place.builder(at_once().page_size(5)));
    place.send_live(&events, [1]);
    place.storage_fails(Some(HttpFault::Slow(Duration::from_millis(300))));
    place.outage(&client, || place.send_apart(2..=30));
    assert_eq!(uplink(&events).payload_raw, [2]);
    place.outage(&client, || place.send([31]));
    let (filled, report) = until_filled(&events);
    assert_eq!(numbers(&uplinks(&filled)), (3..=31).collect::<Vec<_>>());
    is_complete(&report, BackfillSource::Storage, 30);
}

#[test]
fn a_long_backfill_waits_for_a_reader_with_a_short_queue() {
    const SENT: u32 = 1_500;
    let place = stored();
    let client = place.builder(at_once()).build().unwrap();
    let events = client.events_with(40, Overflow::DropOldest);
    client.connect().unwrap();
    place.outage(&client, || {
        let bed = place.network.device("bed-07");
        for number in 0..SENT {
            bed.uplink(1, number.to_be_bytes());
        }
    });
    let (filled, report) = until_filled(&events);
    let came = uplinks(&filled);
    let came = came
        .iter()
        .map(|uplink| u32::from_be_bytes(uplink.payload_raw[..].try_into().unwrap()));
    assert!(came.eq(0..SENT), "{report:?}");
    assert_eq!(events.dropped(), 0);
}

#[test]
fn what_a_flood_has_dropped_is_fetched_soon_after_it() {
    let place = stored();
    let builder = place.builder(at_once()).receive_capacity(5, 1 << 20);
    let client = builder.build().unwrap();
    let events = client.events_with(2, Overflow::Block);
    client.connect().unwrap();
    place.send(1..=60);
    let mut came = Vec::new();
    let mut dropped = 0;
    let report = loop {
        match events.recv_timeout(SOON).expect("a backfill ends") {
            Event::Uplink(uplink) => came.push(uplink.payload_raw[0]),
            Event::Lagged(messages) => dropped += messages,
            Event::Backfilled(report) => break report,
            _ => {}
        }
    };
    assert!(dropped > 0, "{came:?}");
    is_complete(&report, BackfillSource::Storage, dropped);
    came.sort_unstable();
    assert_eq!(came, (1..=60).collect::<Vec<_>>());
    assert_eq!(client.stats().frames.missing_dropped_here, 0);
    // Nothing is left to do.
    let watermark = || {
        place.send([61]);
        uplink(&events).watermark().expect("it has one").to_string()
    };
    assert!(watermark() < watermark());
}

#[test]
fn what_the_network_repeats_during_an_outage_comes_once() {
    let place = stored();
    let (client, events) = place.connected(place.builder(at_once()));
    place.send_live(&events, [1]);
    let bed = place.network.device("bed-07");
    place.outage(&client, || {
        bed.send(Uplink::new(1, [2]).repeated_after(Duration::from_millis(100)));
        bed.send(Uplink::new(1, [3]).repeated_after(Duration::from_millis(1_500)));
        pause(Duration::from_millis(300));
    });
    let (filled, report) = until_filled(&events);
    assert_eq!(numbers(&uplinks(&filled)), [2, 3], "{report:?}");
    assert!(report.uncovered.is_empty(), "{report:?}");
    assert_eq!(rest(&events), [0_u8; 0]);
}

#[test]
fn a_join_during_an_outage_is_no_reason_to_lose_anything() {
    let place = stored();
    let (client, events) = place.connected(place.builder(at_once()));
    place.send_live(&events, 1..=3);
    place.outage(&client, || {
        place.send([4]);
        place.network.device("bed-07").join();
        place.send(5..=6);
    });
    let (filled, report) = until_filled(&events);
    assert_eq!(numbers(&uplinks(&filled)), [4, 5, 6], "{report:?}");
    place.send_live(&events, [7]);
    let frames = client.stats().frames;
    assert_eq!(frames.missing_away, 0, "{frames:?}");
}

#[test]
fn callbacks_may_close_the_client_or_fetch_more_during_a_backfill() {
    let place = stored();
    let client = place.builder(at_once()).build().unwrap();
    let events = client.events();
    let (told, hears) = mpsc::channel();
    client.set_uplink_callback(move |uplink, client: &MqttClient| {
        let report = (uplink.payload_raw == [2])
            .then(|| client.backfill(last_hour()).unwrap().wait().unwrap());
        if uplink.payload_raw == [9] {
            client.close().unwrap();
        }
        told.send((uplink.payload_raw[0], report)).unwrap();
    });
    client.connect().unwrap();
    place.outage(&client, || place.send(1..=9));
    let came: Vec<_> = (1..=9)
        .map(|_| hears.recv_timeout(SOON).expect("it comes"))
        .collect();
    assert!(came.iter().map(|(number, _)| *number).eq(1..=9));
    let report = came[1].1.as_ref().expect("it was asked for");
    assert_eq!(report.known + report.delivered, 9, "{report:?}");
    let is_closed = |event| matches!(event, Ok(Event::Closed(_)));
    assert!(wait_until(SOON, || is_closed(events.try_recv())));
    assert!(events.try_recv().is_err());
}

#[test]
fn a_client_that_is_closed_and_connected_at_any_moment_of_a_backfill_gets_everything_once() {
    let place = stored();
    let (client, events) = place.connected(place.builder(at_once().page_size(9)));
    place.send_live(&events, [1]);
    place.storage_fails(Some(HttpFault::Slow(Duration::from_millis(30))));
    let mut sent: u8 = 1;
    let mut came = vec![1];
    let take = |event: Event, came: &mut Vec<u8>| match event {
        Event::Uplink(uplink) => came.push(uplink.payload_raw[0]),
        Event::Backfilled(report) => {
            adds_up(&report);
            let is_closed = report.error.as_ref().map(|error| error.kind());
            assert!(
                is_closed.is_none_or(|kind| kind == ErrorKind::Closed),
                "{report:?}"
            );
        }
        _ => {}
    };
    let mut random = fastrand::Rng::with_seed(7);
    for _ in 0..25 {
        client.close().unwrap();
        let more = random.u8(1..6);
        place.send(sent + 1..=sent + more);
        sent += more;
        client.connect().unwrap();
        let patience = Duration::from_millis(random.u64(..150));
        while let Ok(event) = events.recv_timeout(patience) {
            take(event, &mut came);
        }
    }
    while came.len() < usize::from(sent) {
        take(events.recv_timeout(SOON).expect("all come"), &mut came);
    }
    assert!(rest(&events).is_empty());
    came.sort_unstable();
    assert_eq!(came, (1..=sent).collect::<Vec<_>>());
}
