//! Many messages in one text.

use std::{
    error::Error as _,
    io::{self, BufReader, Read},
    time::{Duration, UNIX_EPOCH},
};

use fastrand::Rng;
use ttn::{Error, ErrorDetails, ErrorKind, Event, Network, UplinkMessage};

use crate::seeds::for_seeds;

macro_rules! recorded {
    ($name:literal) => {
        include_str!(concat!("../fixtures/", $name))
    };
}

const UP: &str = r#"{"end_device_ids":{"device_id":"bed-07","application_ids":{"application_id":"greenhouse"}},"received_at":"2026-11-27T06:00:00Z","uplink_message":{"f_port":2,"f_cnt":7,"frm_payload":"AQI="}}"#;

fn read(text: &str) -> Vec<Result<Event, Error>> {
    Event::read_all(Network::V3, text.as_bytes()).collect()
}

/// Returns the only message of a text.
fn only(text: &str) -> Event {
    let mut all = read(text);
    assert_eq!(all.len(), 1, "{all:?}");
    all.remove(0).unwrap_or_else(|error| panic!("{error}"))
}

fn uplink(event: Event) -> UplinkMessage {
    match event {
        Event::Uplink(uplink) => (*uplink).clone(),
        other => panic!("{other:?}"),
    }
}

/// Returns the only error of a text.
fn error(text: &str) -> Error {
    let mut all = read(text);
    assert_eq!(all.len(), 1, "{all:?}");
    all.remove(0).unwrap_err()
}

/// Returns the devices and frame counters of the uplinks, or what else there is.
fn counters(records: impl Iterator<Item = Result<Event, Error>>) -> Vec<(String, u32)> {
    let uplinks = records.map(|event| uplink(event.unwrap()));
    uplinks
        .map(|uplink| (uplink.dev_id.clone(), uplink.counter))
        .collect()
}

#[test]
fn every_kind_of_line_with_a_message_is_that_message() {
    let event = format!(
        r#"{{"name":"as.up.data.forward","time":"2026-11-27T06:00:00.1Z","identifiers":[{{"device_ids":{{"device_id":"bed-07"}}}}],"data":{{"@type":"type.googleapis.com/ttn.lorawan.v3.ApplicationUp",{},"unique_id":"01"}}"#,
        &UP[1..]
    );
    for line in [
        UP.to_owned(),
        format!(r#"{{"result":{UP}}}"#),
        event.clone(),
        format!(r#"{{"result":{event}}}"#),
        format!("[{UP}]"),
        format!("[\n  {event}\n]\n"),
        format!("data: {{\"result\":{UP}}}\n\n"),
        format!("\u{feff}{UP}\r\n\r\n"),
    ] {
        let read = uplink(only(&line));
        let expected = uplink(Event::from_json(Network::V3, UP).unwrap());
        assert_eq!(format!("{read:?}"), format!("{expected:?}"), "{line}");
        assert_eq!(read.raw().payload(), UP.as_bytes());
        assert_eq!(read.raw().topic(), "");
        assert!(!read.is_backfilled());
        assert!(read.watermark().is_none());
        let records = Event::read_all(Network::V3, line.as_bytes()).app_id("greenhouse@ttn");
        let read: Vec<_> = records.map(Result::unwrap).collect();
        let topic = "v3/greenhouse@ttn/devices/bed-07/up";
        let expected = Event::decode(Network::V3, topic, UP).unwrap();
        assert_eq!(read.len(), 1);
        let over_mqtt = uplink(expected);
        let read = uplink(read[0].clone());
        assert_eq!(read.raw().topic(), topic);
        assert_eq!(read.raw().payload(), over_mqtt.raw().payload());
        assert_eq!(read.received_at, over_mqtt.received_at);
    }
}

#[test]
fn what_storage_answers_is_read() {
    assert!(read(recorded!("v3-http/storage-empty.ndjson")).is_empty());
    let two = [("bed-07".to_owned(), 118), ("bed-07".to_owned(), 119)];
    for text in [
        recorded!("v3-http/storage-two-lines.ndjson"),
        recorded!("v3-http/storage-event-stream.txt"),
    ] {
        assert_eq!(counters(read(text).into_iter()), two);
    }
    let first = uplink(
        read(recorded!("v3-http/storage-two-lines.ndjson"))
            .remove(0)
            .unwrap(),
    );
    let received_at = UNIX_EPOCH + Duration::new(1_795_759_200, 325_718_204);
    assert_eq!(first.received_at, Some(received_at));
    assert_eq!(first.app_id, "greenhouse");
    assert_eq!(first.metadata.gateways.len(), 1);
    assert!(first.correlation_ids.is_empty() && first.session_key_id.is_empty());
    assert_eq!(read(recorded!("records/storage-mixture.ndjson")).len(), 10);
    assert_eq!(read(recorded!("records/storage-answer.txt")).len(), 2);
    uplink(only(recorded!("records/storage-sse-prefix.json")));
    uplink(only(recorded!("v3-http/storage-full-fields.ndjson")));
    assert_eq!(
        uplink(only(recorded!("records/storage-unknown-fields.ndjson"))).counter,
        118
    );
    let kinds: Vec<_> = read(recorded!("records/storage-all-types.ndjson"));
    assert!(
        matches!(
            &kinds[..],
            [
                Ok(Event::Activation(_)),
                Ok(Event::Uplink(_)),
                Ok(Event::Downlink(_))
            ]
        ),
        "{kinds:?}"
    );
}

#[test]
fn a_record_of_a_field_mask_takes_the_application_id_that_was_set() {
    for text in [
        recorded!("v3-http/storage-masked.ndjson"),
        recorded!("records/storage-masked-no-time.ndjson"),
        recorded!("records/storage-field-mask.json"),
    ] {
        for event in read(text) {
            let error = event.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Decode);
            let text = error.to_string();
            assert!(text.starts_with("line "), "{text}");
            assert!(text.contains("application_id is missing"), "{text}");
            assert!(text.contains("read_all takes it with app_id"), "{text}");
        }
        for (app_id, topic) in [
            ("greenhouse", "v3/greenhouse/devices/bed-07/up"),
            ("greenhouse@ttn", "v3/greenhouse@ttn/devices/bed-07/up"),
        ] {
            for event in Event::read_all(Network::V3, text.as_bytes()).app_id(app_id) {
                let uplink = uplink(event.unwrap());
                assert_eq!(uplink.app_id, "greenhouse");
                assert_eq!(uplink.raw().topic(), topic);
                // 0 may be the mask, not the device.
                assert_eq!(uplink.packet_error_rate, None);
            }
        }
    }
}

#[test]
fn the_application_id_of_a_message_counts_more_than_the_one_that_was_set() {
    let records = Event::read_all(Network::V3, UP.as_bytes()).app_id("orchard@ttn");
    let read: Vec<_> = records.collect();
    let uplink = uplink(read[0].clone().unwrap());
    assert_eq!(uplink.app_id, "greenhouse");
    assert_eq!(uplink.raw().topic(), "");
}

#[test]
fn a_time_in_the_year_1_is_no_time() {
    let text = recorded!("records/storage-masked-no-time.ndjson");
    let mut records = Event::read_all(Network::V3, text.as_bytes()).app_id("greenhouse");
    let uplink = uplink(records.next().unwrap().unwrap());
    assert_eq!(uplink.received_at, None);
    assert!(uplink.extra.is_empty(), "{:?}", uplink.extra);
}

#[test]
fn each_kind_of_message_has_the_topic_that_it_has_over_mqtt() {
    for (member, end) in [
        ("uplink_message", "up"),
        ("uplink_normalized", "up/normalized"),
        ("join_accept", "join"),
        ("downlink_ack", "down/ack"),
        ("downlink_failed", "down/failed"),
        ("downlink_queue_invalidated", "down/invalidated"),
        ("location_solved", "location/solved"),
        ("service_data", "service/data"),
    ] {
        let line = format!(
            r#"{{"result":{{"end_device_ids":{{"device_id":"bed-07"}},"{member}":{{"downlinks":[{{}}]}}}}}}"#
        );
        let mut records = Event::read_all(Network::V3, line.as_bytes()).app_id("greenhouse@ttn");
        let event = records.next().unwrap().unwrap();
        let topic = match &event {
            Event::Uplink(up) | Event::UplinkNormalized(up) => up.raw().topic(),
            Event::Activation(join) => join.raw().topic(),
            Event::Downlink(report) => report.raw().topic(),
            Event::QueueInvalidated(invalidated) => {
                assert_eq!(
                    invalidated.downlinks[0].raw().topic(),
                    invalidated.raw().topic()
                );
                invalidated.raw().topic()
            }
            Event::LocationSolved(solved) => solved.raw().topic(),
            Event::ServiceData(data) => data.raw().topic(),
            other => panic!("{other:?}"),
        };
        assert_eq!(topic, format!("v3/greenhouse@ttn/devices/bed-07/{end}"));
    }
}

#[test]
fn an_event_stream_gives_its_messages_and_says_which_are_no_longer_kept() {
    let live = uplink(only(recorded!("v3-http/events-tail.ndjson")));
    assert_eq!((live.dev_id.as_str(), live.counter), ("tank-1", 2));
    assert!(live.extra.is_empty(), "{:?}", live.extra);
    assert!(live.raw().payload().starts_with(b"{\"end_device_ids\":"));
    let device = read(recorded!("v3-http/events-device.ndjson"));
    assert!(
        matches!(
            &device[..],
            [Ok(Event::UplinkNormalized(_)), Ok(Event::Uplink(_))]
        ),
        "{device:?}"
    );
    uplink(only(recorded!("records/console-event.json")));

    let gone = error(recorded!("v3-http/events-tail-old.ndjson"));
    assert_eq!(gone.kind(), ErrorKind::Decode);
    for words in ["line 2", "\"tank-1\"", "2026-11-28T14:06:41.531912957Z"] {
        assert!(gone.to_string().contains(words), "{gone}");
    }
}

#[test]
fn an_error_of_the_server_is_an_error_and_reading_goes_on() {
    let text = format!(
        "{}{UP}\n",
        recorded!("v3-http/storage-error-midstream.ndjson")
    );
    let all = read(&text);
    assert!(matches!(&all[..], [Ok(_), Err(_), Ok(_)]), "{all:?}");
    let error = all[1].as_ref().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ServerUnavailable);
    assert!(error.is_transient());
    let says = "it says \"error:pkg/applicationserver/io/packages/storage:query (query failed)\"";
    assert!(error.to_string().contains(says), "{error}");
    assert!(error.to_string().starts_with("line 2: "), "{error}");
    let details = error.source().unwrap().downcast_ref::<ErrorDetails>();
    assert_eq!(
        details.unwrap().id(),
        "pkg/applicationserver/io/packages/storage:query"
    );
    let old = self::error(recorded!("records/storage-error-line.json"));
    let details = old.source().unwrap().downcast_ref::<ErrorDetails>();
    assert_eq!(details.unwrap().id(), "pkg/errors/grpc:validation");
}

#[test]
fn what_is_no_message_is_an_error_and_reading_goes_on() {
    for (line, words) in [
        (
            "<!DOCTYPE html>\n<p>\nBad gateway\n</p>",
            "it is HTML, not JSON",
        ),
        ("garbage", "expected value"),
        ("\"garbage\"", "not a JSON object"),
        ("{}", "device_id is missing"),
        (
            r#"{"result":{"end_device_ids":{"device_id":"bed-07"}"#,
            "in one line",
        ),
        (
            &UP.replace(":2,", ":300,"),
            "uplink_message: f_port: expected a whole number",
        ),
    ] {
        let all = read(&format!("{UP}\n{line}\n{UP}"));
        assert!(matches!(&all[..], [Ok(_), Err(_), Ok(_)]), "{all:?}");
        let error = all[1].as_ref().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Decode);
        assert!(error.to_string().starts_with("line 2: "), "{error}");
        assert!(error.to_string().contains(words), "{error}");
    }
    let cut = read(recorded!("records/storage-cut.ndjson"));
    assert!(matches!(&cut[..], [Ok(_), Err(_)]), "{cut:?}");
    let cut = cut[1].as_ref().unwrap_err().to_string();
    assert!(cut.contains("the text ends in the middle of it"), "{cut}");
}

#[test]
fn a_line_that_is_too_long_is_an_error_and_reading_goes_on() {
    let long = io::repeat(b'7').take(40 << 20);
    let reader = BufReader::new(long.chain(format!("\n{UP}").leak().as_bytes()));
    let all: Vec<_> = Event::read_all(Network::V3, reader).collect();
    assert!(matches!(&all[..], [Err(_), Ok(_)]), "{all:?}");
    let error = all[0].as_ref().unwrap_err();
    assert!(error.to_string().contains("more than 4 MiB"), "{error}");
}

#[test]
fn the_lines_of_v2_are_uplinks() {
    let up = r#"{"app_id":"garden","dev_id":"pump-1","port":1,"counter":7,"payload_raw":"AQI=","metadata":{}}"#;
    let text = format!("{up}\n\n{{\"name\":\"x\"}}\r\n[{up}]\n{{\"result\":{up}}}\n{up}");
    let records = Event::read_all(Network::V2, text.as_bytes()).app_id("orchard");
    let all: Vec<_> = records.collect();
    assert_eq!(all.len(), 5, "{all:?}");
    for index in [0, 2, 4] {
        let uplink = uplink(all[index].clone().unwrap());
        assert_eq!((uplink.app_id.as_str(), uplink.counter), ("garden", 7));
        assert_eq!(uplink.raw().payload(), up.as_bytes());
    }
    for (index, line) in [(1, "line 3: "), (3, "line 5: ")] {
        let error = all[index].as_ref().unwrap_err();
        assert!(error.to_string().starts_with(line), "{error}");
        assert!(error.to_string().contains("app_id is missing"), "{error}");
    }
}

#[test]
fn from_json_says_who_reads_a_whole_stream() {
    for line in [
        recorded!("records/storage-sse-prefix.json"),
        recorded!("records/console-event.json"),
        recorded!("records/storage-field-mask.json"),
    ] {
        let error = Event::from_json(Network::V3, line).unwrap_err();
        assert!(error.to_string().contains("Event::read_all"), "{error}");
    }
}

/// A reader that hands over a few bytes at a time.
struct Dripping<'a>(&'a [u8], Rng);

impl Read for Dripping<'_> {
    fn read(&mut self, target: &mut [u8]) -> io::Result<usize> {
        let most = self.1.usize(1..40).min(target.len());
        self.0.read(&mut target[..most])
    }
}

#[test]
fn however_a_text_arrives_and_wherever_it_is_cut_its_messages_are_the_same() {
    let text = [
        recorded!("records/storage-mixture.ndjson"),
        recorded!("v3-http/events-device.ndjson"),
        "<html>\n</html>\n",
        recorded!("v3-http/storage-event-stream.txt"),
        recorded!("records/console-event.json"),
    ]
    .concat();
    let payloads = |bytes: &[u8], random: Rng| -> Vec<Vec<u8>> {
        let reader = BufReader::with_capacity(64, Dripping(bytes, random));
        Event::read_all(Network::V3, reader)
            .filter_map(Result::ok)
            .map(|event| match event {
                Event::Uplink(uplink) | Event::UplinkNormalized(uplink) => {
                    uplink.raw().payload().to_vec()
                }
                other => panic!("{other:?}"),
            })
            .collect()
    };
    let whole = payloads(text.as_bytes(), Rng::with_seed(0));
    assert_eq!(whole.len(), 15);
    for_seeds(300, |random| {
        let end = random.usize(..=text.len());
        let cut = payloads(&text.as_bytes()[..end], random.fork());
        assert!(whole.starts_with(&cut), "cut at {end}");
        let behind = payloads(&text.as_bytes()[end..], random.fork());
        assert!(
            whole.ends_with(&behind[behind.len().min(1)..]),
            "from {end}"
        );
        assert!(cut.len() + behind.len() + 1 >= whole.len(), "cut at {end}");
    });
}
