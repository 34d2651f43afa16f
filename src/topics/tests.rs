use super::*;
use crate::{
    MqttClientBuilder, Topics,
    message::{Downlink, Event, Schedule, Spare},
    seeds::for_seeds,
};

fn layout(app_id: &str, change: impl FnOnce(MqttClientBuilder) -> MqttClientBuilder) -> Layout {
    let builder = crate::MqttClient::own_broker(app_id).mqtt_address("mqtt://localhost");
    Layout::new(&change(builder).check().unwrap())
}

fn feed(change: impl FnOnce(MqttClientBuilder) -> MqttClientBuilder) -> Layout {
    let builder = crate::MqttClient::own_broker("barn@ttn").mqtt_address("mqtt://localhost");
    let mut options = change(builder).check().unwrap();
    if let Some(broker) = &mut options.broker {
        broker.is_feed = true;
    }
    Layout::new(&options)
}

fn raw(topic: &str, payload: &str) -> RawMessage {
    RawMessage::new(topic, payload.as_bytes())
}

fn event(layout: &Layout, topic: &str, payload: &str) -> Option<Event> {
    let decoded = layout.decode(&raw(topic, payload), Spare::default())?;
    Some(decoded.event)
}

fn uplink_of(app_id: &str, dev_id: &str) -> String {
    format!(
        r#"{{"end_device_ids":{{"device_id":"{dev_id}","application_ids":{{"application_id":"{app_id}"}}}},
        "uplink_message":{{"f_port":1,"f_cnt":7,"frm_payload":"AQ=="}}}}"#
    )
}

/// Whether an MQTT server counts a topic among those of a filter.
fn matches(filter: &str, topic: &str) -> bool {
    let filter = match filter.strip_prefix("$share/") {
        Some(rest) => rest.split_once('/').unwrap().1,
        None => filter,
    };
    let (mut filter, mut topic) = (filter.split('/'), topic.split('/'));
    loop {
        match (filter.next(), topic.next()) {
            (Some("#"), _) => return true,
            (Some("+"), Some(_)) => {}
            (Some(own), Some(other)) if own == other => {}
            (None, None) => return true,
            _ => return false,
        }
    }
}

fn how_many(filters: &[String], topic: &str) -> usize {
    filters
        .iter()
        .filter(|filter| matches(filter, topic))
        .count()
}

const FROM_DEVICES: [&str; 5] = [
    "up",
    "up/normalized",
    "join",
    "location/solved",
    "service/data",
];

const REPORTS: [&str; 6] = [
    "down/queued",
    "down/sent",
    "down/ack",
    "down/nack",
    "down/failed",
    "down/invalidated",
];

#[test]
fn the_network_itself_has_the_filters_and_the_quality_of_service_that_it_always_had() {
    let options = crate::MqttClient::builder("barn@ttn", "NNSXS.ID.SECRET")
        .check()
        .unwrap();
    let layout = Layout::new(&options);
    assert_eq!(layout.filters(), ["v3/barn@ttn/devices/+/#"]);
    assert_eq!(layout.qos(), 0);
    let options = crate::MqttClient::builder("barn", "ttn-account-v2.secret")
        .field_topics(true)
        .check()
        .unwrap();
    let filters = Layout::new(&options).filters();
    assert_eq!(filters, Network::V2.subscriptions("barn", true));
}

#[test]
fn everything_that_a_network_publishes_matches_exactly_one_filter_and_no_request_does() {
    for prefix in ["", "ttn/"] {
        for group in [None, Some("workers")] {
            let layout = layout("barn@ttn", |builder| {
                let builder = builder.topics(Topics::with_prefix(prefix));
                match group {
                    Some(group) => builder.shared_group(group),
                    None => builder,
                }
            });
            assert_eq!(layout.qos(), 1);
            let filters = layout.filters();
            for (end, is_from_device) in FROM_DEVICES
                .map(|end| (end, true))
                .into_iter()
                .chain(REPORTS.map(|end| (end, false)))
            {
                let topic = format!("{prefix}v3/barn@ttn/devices/bed-07/{end}");
                assert_eq!(how_many(&filters, &topic), 1, "{topic}");
                let filter = filters.iter().find(|filter| matches(filter, &topic));
                let is_in_group = is_shared(filter.unwrap());
                assert_eq!(is_in_group, is_from_device && group.is_some(), "{topic}");
                let published = layout.publication(&format!("v3/barn@ttn/devices/bed-07/{end}"));
                assert_eq!(published, topic);
            }
            for end in ["down/push", "down/replace"] {
                let topic = format!("{prefix}v3/barn@ttn/devices/bed-07/{end}");
                assert_eq!(how_many(&filters, &topic), 0, "{topic}");
            }
        }
    }
}

#[test]
fn everything_that_a_v2_network_publishes_matches_exactly_one_filter() {
    let layout = layout("barn", |builder| {
        builder
            .network(Network::V2)
            .field_topics(true)
            .topics(Topics::with_prefix("ttn/"))
            .shared_group("workers")
    });
    let filters = layout.filters();
    for (end, is_from_device) in [
        ("up", true),
        ("up/led", true),
        ("up/gps/latitude", true),
        ("events/up/errors", true),
        ("events/activations", true),
        ("events/activations/errors", true),
        ("events/down/scheduled", false),
        ("events/down/sent", false),
        ("events/down/acks", false),
        ("events/down/errors", false),
        ("events/create", false),
        ("events/update", false),
        ("events/delete", false),
    ] {
        let topic = format!("ttn/barn/devices/bed-07/{end}");
        assert_eq!(how_many(&filters, &topic), 1, "{topic}");
        let filter = filters.iter().find(|filter| matches(filter, &topic));
        assert_eq!(is_shared(filter.unwrap()), is_from_device, "{topic}");
    }
    assert_eq!(how_many(&filters, "ttn/barn/devices/bed-07/down"), 0);
}

#[test]
fn a_message_behind_a_prefix_and_in_a_partition_is_read_and_keeps_its_topic() {
    let layout = layout("barn@ttn", |builder| {
        builder.topics(Topics::with_prefix("a/b/")).partitions(16)
    });
    let number = partition_of("bed-07", 16);
    let topic = format!("a/b/p/{number}/v3/barn@ttn/devices/bed-07/up");
    assert_eq!(layout.publication("v3/barn@ttn/devices/bed-07/up"), topic);
    assert_eq!(how_many(&layout.filters(), &topic), 1);
    let Some(Event::Uplink(uplink)) = event(&layout, &topic, &uplink_of("barn", "bed-07")) else {
        panic!("not an uplink");
    };
    assert_eq!((uplink.dev_id.as_str(), uplink.counter), ("bed-07", 7));
    assert_eq!(uplink.raw().topic(), topic);

    let report = "v3/barn@ttn/devices/bed-07/down/sent";
    let published = layout.publication(report);
    assert_eq!(published, format!("a/b/{report}"));
    assert_eq!(how_many(&layout.filters(), &published), 1);
    let body = r#"{"end_device_ids":{"device_id":"bed-07"},"downlink_sent":{"f_port":1}}"#;
    assert!(matches!(
        event(&layout, &published, body),
        Some(Event::Downlink(_))
    ));
}

#[test]
fn only_a_number_is_a_partition_and_only_where_there_are_partitions() {
    let with = layout("barn@ttn", |builder| builder.partitions(4));
    let without = layout("barn@ttn", |builder| builder);
    for (layout, level, is_uplink) in [
        (&with, "p/3/", true),
        (&with, "", true),
        (&with, "p/x3/", false),
        (&with, "p//", false),
        (&with, "p/-1/", false),
        (&without, "", true),
        (&without, "p/3/", false),
    ] {
        let topic = format!("{level}v3/barn@ttn/devices/bed-07/up");
        let event = event(layout, &topic, &uplink_of("barn", "bed-07"));
        assert_eq!(
            matches!(event, Some(Event::Uplink(_))),
            is_uplink,
            "{topic}"
        );
    }
}

#[test]
fn the_partitions_of_all_members_together_are_read_once_and_reports_by_everyone() {
    for_seeds(200, |random| {
        let total = random.u32(1..20);
        let members = random.u32(1..=total);
        let filters: Vec<Vec<String>> = (0..members)
            .map(|member| {
                layout("barn@ttn", |builder| {
                    builder.partitions(total).partitions_of(member, members)
                })
                .filters()
            })
            .collect();
        let feed = feed(|builder| builder.partitions(total));
        let dev_id = format!("dev-{}", random.u32(..));
        let topic = feed.publication(&format!("v3/barn@ttn/devices/{dev_id}/up"));
        let of_up: Vec<usize> = filters.iter().map(|own| how_many(own, &topic)).collect();
        assert_eq!(of_up.iter().sum::<usize>(), 1, "{topic} {of_up:?}");
        let topic = feed.publication(&format!("v3/barn@ttn/devices/{dev_id}/down/ack"));
        for own in &filters {
            assert_eq!(how_many(own, &topic), 1, "{topic}");
        }
    });
}

#[test]
fn a_feed_reads_the_requests_that_a_client_writes_and_nothing_else() {
    let client = layout("barn@ttn", |builder| {
        builder.topics(Topics::with_prefix("ttn/")).partitions(4)
    });
    let feed = feed(|builder| builder.topics(Topics::with_prefix("ttn/")).partitions(4));
    for schedule in [Schedule::Last, Schedule::Replace] {
        let downlinks = [Downlink::bytes([1]).schedule(schedule)];
        let ids = ["id".to_owned()];
        let requests = Network::V3
            .encode_downlinks("barn@ttn", "bed-07", &downlinks, &ids)
            .unwrap();
        for mut request in requests {
            let of_network = request.topic.clone();
            client.place(&mut request).unwrap();
            assert_eq!(request.topic, format!("ttn/{of_network}"));
            assert_eq!(how_many(&feed.filters(), &request.topic), 1);
            let back = feed.request("barn@ttn", &request.topic);
            assert_eq!(back.as_deref(), Some(of_network.as_str()));
        }
    }
    assert_eq!(feed.filters().len(), 2);
    for topic in [
        "v3/barn@ttn/devices/bed-07/down/push",
        "ttn/v3/barn@ttn/devices/bed-07/down/queued",
        "ttn/v3/barn@ttn/devices/bed-07/up",
        "ttn/v3/other@ttn/devices/bed-07/down/push",
        "ttn/v3/barn/devices/bed-07/down/push",
    ] {
        assert_eq!(feed.request("barn@ttn", topic), None, "{topic}");
    }
}

#[test]
fn a_feed_may_leave_out_the_tenant_on_the_broker_and_adds_it_to_requests() {
    for partitions in [None, Some(4)] {
        let of = |app_id: &str| {
            layout(app_id, |builder| match partitions {
                Some(partitions) => builder.partitions(partitions),
                None => builder,
            })
        };
        let (with, without) = (of("barn@ttn"), of("barn"));
        for end in FROM_DEVICES.iter().chain(&REPORTS) {
            let topic = format!("v3/barn@ttn/devices/bed-07/{end}");
            let published = without.publication(&topic);
            assert_eq!(published, with.publication(&topic).replace("@ttn", ""));
            assert_eq!(how_many(&without.filters(), &published), 1, "{published}");
        }
        assert_eq!(
            without
                .request("barn@ttn", "v3/barn/devices/bed-07/down/push")
                .as_deref(),
            Some("v3/barn@ttn/devices/bed-07/down/push")
        );
        let with_tenant = "v3/barn@ttn/devices/bed-07/down/push";
        assert_eq!(without.request("barn@ttn", with_tenant), None);
    }
}

#[test]
fn a_partition_is_one_filter_because_some_brokers_take_half_a_second_for_each() {
    let read = |builder: MqttClientBuilder| builder.partitions(16).partitions_of(0, 3);
    let filters = layout("barn@ttn", read).filters();
    let of_partitions = filters
        .iter()
        .filter(|filter| filter.starts_with("p/"))
        .count();
    assert_eq!(of_partitions, 6);
    assert_eq!(filters.len(), of_partitions + REPORTS.len());
    for end in ["down/push", "down/replace"] {
        let request = format!("v3/barn@ttn/devices/bed-07/{end}");
        assert_eq!(how_many(&filters, &request), 0);
    }
}

#[test]
fn the_topics_of_an_integration_are_subscribed_once_each() {
    let of = |topics: Topics| layout("barn", |builder| builder.topics(topics)).filters();
    assert_eq!(of(Topics::pub_sub("base")), ["base"]);
    let topics = Topics::pub_sub("base")
        .uplink("up")
        .join("up")
        .downlink_ack("down/ack")
        .downlink_push("down/push");
    // Kinds without a topic of their own are on the base topic.
    assert_eq!(of(topics), ["base/up", "base", "base/down/ack"]);
}

#[test]
fn a_group_shares_the_uplinks_of_an_integration_and_not_its_reports() {
    let topics = Topics::pub_sub("base").uplink("up").join("join");
    let filters = layout("barn", |builder| builder.topics(topics).shared_group("g")).filters();
    assert_eq!(filters, ["$share/g/base/up", "$share/g/base/join", "base"]);
}

#[test]
fn a_message_of_an_integration_is_told_by_its_content() {
    let layout = layout("barn@ttn", |builder| {
        builder.topics(Topics::pub_sub("base"))
    });
    let uplink = event(&layout, "base", &uplink_of("barn", "bed-07"));
    let Some(Event::Uplink(uplink)) = uplink else {
        panic!("{uplink:?}");
    };
    assert_eq!(uplink.raw().topic(), "base");
    let join = r#"{"end_device_ids":{"device_id":"d1","application_ids":{"application_id":"barn"}},
        "join_accept":{"session_key_id":"AQI="}}"#;
    assert!(matches!(
        event(&layout, "base", join),
        Some(Event::Activation(_))
    ));
    // Another application, whatever the tenant of this one is.
    assert!(event(&layout, "base", &uplink_of("byre", "bed-07")).is_none());
    for other in [
        "",
        "hello",
        "21.5",
        "{}",
        "[1]",
        r#"{"a":1}"#,
        "null",
        "\u{0}",
    ] {
        let event = event(&layout, "base", other);
        assert!(matches!(event, Some(Event::Other(_))), "{other}: {event:?}");
    }
    for malformed in [
        r#"{"end_device_ids":{"device_id":"d1","application_ids":{"application_id":"barn"}},"uplink_message":{"f_port":"#,
        r#"{"end_device_ids":{"device_id":"d1","application_ids":{"application_id":"barn"}},"uplink_message":7}"#,
        r#"{"end_device_ids":{"application_ids":{"application_id":"barn"}},"uplink_message":{"f_port":1}}"#,
        r#"{"end_device_ids":{"device_id":"d1"},"uplink_message":{"f_port":1}}"#,
    ] {
        match event(&layout, "base", malformed) {
            Some(Event::Malformed(it)) => assert!(it.is_uplink, "{malformed}"),
            event => panic!("{malformed}: {event:?}"),
        }
    }
}

#[test]
fn a_downlink_that_the_integration_takes_nowhere_is_an_error_that_says_what_to_set() {
    let place = |topics: Topics, schedule| {
        let downlinks = [Downlink::bytes([1]).schedule(schedule)];
        let ids = ["id".to_owned()];
        let requests = Network::V3.encode_downlinks("barn", "bed-07", &downlinks, &ids);
        let mut request = requests.unwrap().remove(0);
        layout("barn", |builder| builder.topics(topics))
            .place(&mut request)
            .map(|()| request.topic)
    };
    let topics = Topics::pub_sub("base").downlink_push("down/push");
    assert_eq!(
        place(topics.clone(), Schedule::Last).unwrap(),
        "base/down/push"
    );
    let error = place(topics.clone(), Schedule::Replace).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Downlink);
    assert!(
        error.to_string().contains(".downlink_replace(..)"),
        "{error}"
    );
    let topics = topics.downlink_replace("down/replace");
    assert_eq!(
        place(topics, Schedule::Replace).unwrap(),
        "base/down/replace"
    );
    let mut clear = Network::V3.encode_clear("barn", "bed-07").unwrap();
    let none = layout("barn", |builder| builder.topics(Topics::pub_sub("base")));
    let error = none.place(&mut clear).unwrap_err();
    assert!(error.to_string().contains("empties the queue"), "{error}");
}

#[test]
fn a_message_of_a_partition_that_does_not_fit_is_found() {
    let of = |total, member, members| {
        layout("barn@ttn", |builder| {
            let builder = builder.topics(Topics::with_prefix("ttn/"));
            builder.partitions(total).partitions_of(member, members)
        })
    };
    let feed = feed(|builder| {
        let builder = builder.topics(Topics::with_prefix("ttn/"));
        builder.partitions(16)
    });
    let members = [of(16, 0, 2), of(16, 1, 2)];
    let of_another_number = of(8, 0, 1);
    for device in (0..100).map(|number| format!("bed-{number:02}")) {
        let topic = feed.publication(&format!("v3/barn@ttn/devices/{device}/up"));
        let [even, odd] = members.each_ref().map(|layout| layout.misplaced(&topic));
        let is_even = partition_of(&device, 16) % 2 == 0;
        let (fits, other) = if is_even { (even, odd) } else { (odd, even) };
        assert_eq!(fits, None, "{topic}");
        assert!(other.unwrap().contains("forget_session"), "{topic}");
        let why = of_another_number.misplaced(&topic);
        let is_the_same = partition_of(&device, 16) < 8;
        assert_eq!(why.is_none(), is_the_same, "{topic}");
        assert!(why.is_none_or(|why| why.contains("number of partitions")));
        let report = feed.publication(&format!("v3/barn@ttn/devices/{device}/down/sent"));
        assert_eq!(members[0].misplaced(&report), None, "{report}");
    }
}
