//! The simulated networks read any downlink as a client writes it.

use std::time::{Duration, SystemTime};

use base64::{Engine, engine::general_purpose::STANDARD};
use fastrand::Rng;
use serde_json::{Map, Value, json};

use super::{v2, v3};
use crate::{
    network::Request,
    seeds::for_seeds,
    {Antenna, Downlink, Network, Priority, Schedule},
};

/// A downlink, and what a network should read of it.
struct Case {
    downlink: Downlink,
    port: Option<u8>,
    confirmed: bool,
    bytes: Option<Vec<u8>>,
    fields: Option<Map<String, Value>>,
    /// Options for v3 only.
    options: Option<Options>,
}

#[derive(Clone, Default)]
struct Options {
    priority: usize,
    class_b_c: Option<v3::ClassBC>,
    max_attempts: Option<u32>,
    correlation_ids: Vec<String>,
    valid: bool,
}

#[test]
fn v2_reads_what_a_client_writes_and_a_client_writes_what_v2_reads() {
    for_seeds(5_000, |random| {
        let schedule = schedule(random);
        let cases = cases(random, schedule);
        let valid = cases.iter().all(|case| {
            let payload = match (&case.bytes, &case.fields) {
                (Some(bytes), _) => (1..=242).contains(&bytes.len()),
                (_, fields) => fields.as_ref().is_some_and(|fields| !fields.is_empty()),
            };
            payload && port_is_valid(case) && case.options.is_none()
        });
        let Some(mut requests) = encode(Network::V2, &cases, &[], valid) else {
            return;
        };
        assert_eq!(requests.len(), cases.len());
        requests.sort_by_key(|request| request.downlinks.start);
        for (index, (request, case)) in requests.iter().zip(&cases).enumerate() {
            assert_eq!(request.topic, "garden/devices/pump-1/down");
            assert_eq!(request.downlinks, index..index + 1);
            let request = v2::read(&request.payload).unwrap();
            let (read, position) = (request.downlink, request.schedule);
            assert_eq!(read.port, case.port.unwrap_or(1));
            assert_eq!(read.confirmed, case.confirmed);
            assert_eq!(read.payload, case.bytes);
            assert_eq!(read.fields, case.fields.clone().map(Value::Object));
            let expected = match (index, schedule) {
                (0, schedule) | (_, schedule @ Schedule::First) => schedule,
                _ => Schedule::Last,
            };
            assert_eq!(position, expected.to_string());
        }
    });
}

#[test]
fn v3_reads_what_a_client_writes_and_a_client_writes_what_v3_reads() {
    for_seeds(5_000, |random| {
        let schedule = schedule(random);
        let cases = cases(random, schedule);
        let ids: Vec<String> = (0..cases.len()).map(|id| format!("ttn:{id}")).collect();
        let valid = schedule != Schedule::First
            && cases.iter().all(|case| {
                case.bytes
                    .as_ref()
                    .is_none_or(|bytes| (1..=255).contains(&bytes.len()))
                    && port_is_valid(case)
                    && case.options.as_ref().is_none_or(|options| {
                        options.valid && (case.confirmed || options.max_attempts.is_none())
                    })
            });
        let Some(requests) = encode(Network::V3, &cases, &ids, valid) else {
            return;
        };
        let [request] = &requests[..] else {
            panic!("{} requests", requests.len());
        };
        let operation = match schedule {
            Schedule::Replace => "replace",
            _ => "push",
        };
        assert_eq!(
            request.topic,
            format!("v3/garden/devices/pump-1/down/{operation}")
        );
        assert_eq!(request.downlinks, 0..cases.len());
        let read = v3::read(&request.payload).unwrap();
        assert_eq!(read.len(), cases.len());
        for ((read, case), id) in read.iter().zip(&cases).zip(&ids) {
            let options = case.options.clone().unwrap_or_default();
            let mut correlation_ids = options.correlation_ids;
            correlation_ids.push(id.clone());
            let expected = v3::Downlink {
                session_key_id: Vec::new(),
                f_port: case.port.unwrap_or(1),
                f_cnt: 0,
                payload: case.bytes.clone().filter(|bytes| !bytes.is_empty()),
                decoded: case.fields.clone().map(Value::Object),
                warnings: Vec::new(),
                heard: (None, Vec::new()),
                confirmed: case.confirmed,
                class_b_c: options.class_b_c,
                priority: options.priority,
                correlation_ids,
                retry: options.max_attempts.map(|attempts| v3::Retry {
                    attempt: 1,
                    max_attempts: Some(attempts),
                }),
            };
            assert_eq!(*read, expected);
        }
    });
}

/// Returns the requests for valid downlinks, and checks that others are rejected.
fn encode(network: Network, cases: &[Case], ids: &[String], valid: bool) -> Option<Vec<Request>> {
    let downlinks: Vec<Downlink> = cases.iter().map(|case| case.downlink.clone()).collect();
    let requests = network.encode_downlinks("garden", "pump-1", &downlinks, ids);
    match requests {
        Ok(requests) => {
            assert!(valid, "written: {downlinks:?}");
            Some(requests)
        }
        Err(error) => {
            assert!(!valid, "{error}: {downlinks:?}");
            None
        }
    }
}

fn port_is_valid(case: &Case) -> bool {
    case.port.is_none_or(|port| (1..=223).contains(&port))
}

fn schedule(random: &mut Rng) -> Schedule {
    [Schedule::Replace, Schedule::First, Schedule::Last][random.usize(..3)]
}

fn cases(random: &mut Rng, schedule: Schedule) -> Vec<Case> {
    (0..random.usize(1..4))
        .map(|_| case(random, schedule))
        .collect()
}

fn case(random: &mut Rng, schedule: Schedule) -> Case {
    let (downlink, bytes, fields) = payload(random);
    let mut case = Case {
        downlink: downlink.schedule(schedule),
        port: None,
        confirmed: random.bool(),
        bytes,
        fields,
        options: None,
    };
    case.downlink = case.downlink.confirmed(case.confirmed);
    if random.bool() {
        let port = match rarely(random) {
            true => random.u8(..),
            false => random.u8(1..=223),
        };
        case.port = Some(port);
        case.downlink = case.downlink.port(port);
    }
    if random.u8(..4) == 0 {
        let (downlink, options) = options(random, case.downlink);
        case.downlink = downlink;
        case.options = Some(options);
    }
    case
}

type Payload = (Downlink, Option<Vec<u8>>, Option<Map<String, Value>>);

fn payload(random: &mut Rng) -> Payload {
    if random.u8(..3) == 0 {
        let fields = object(random, 3);
        let downlink = match random.bool() {
            true => Downlink::fields(&fields),
            false => Downlink::from(fields.clone()),
        };
        return (downlink, None, Some(fields));
    }
    let length = match rarely(random) {
        true => [0, 242, 243, 255, 256][random.usize(..5)],
        false => random.usize(1..60),
    };
    let bytes: Vec<u8> = (0..length).map(|_| random.u8(..)).collect();
    let downlink = match random.u8(..6) {
        0 => Downlink::hex(hex::encode(&bytes)),
        1 => Downlink::hex(hex::encode_upper(&bytes)),
        2 => Downlink::base64(STANDARD.encode(&bytes)),
        3 => Downlink::base64(STANDARD.encode(&bytes).trim_end_matches('=')),
        4 => Downlink::from(hex::encode(&bytes)),
        _ => Downlink::from(bytes.clone()),
    };
    (downlink, Some(bytes), None)
}

fn options(random: &mut Rng, mut downlink: Downlink) -> (Downlink, Options) {
    let mut options = Options {
        valid: true,
        ..Options::default()
    };
    // V2 must reject the downlink, so it has at least one option.
    downlink = downlink.priority(Priority::default());
    if random.bool() {
        let (index, priority) = random
            .choice(Priority::ALL.into_iter().enumerate())
            .unwrap();
        options.priority = index;
        downlink = downlink.priority(priority);
    }
    if random.bool() {
        let mut class_b_c = v3::ClassBC::default();
        downlink = downlink.class_b_c(true);
        for _ in 0..random.usize(..3) {
            let gateway_id = match rarely(random) {
                true => "Roof",
                false => ["roof-east", "roof-west-2"][random.usize(..2)],
            };
            options.valid &= gateway_id != "Roof";
            let (antenna_index, group_index) = (random.u32(..3), random.u32(..3));
            let antenna = Antenna::new(gateway_id)
                .index(antenna_index)
                .group(group_index);
            downlink = downlink.gateway(antenna);
            class_b_c.gateways.push(v3::FixedGateway {
                gateway_id: gateway_id.to_owned(),
                eui: String::new(),
                antenna_index,
                group_index,
            });
        }
        if random.bool() {
            let ahead = Duration::new(
                3_600 + u64::from(random.u32(..)),
                random.u32(..1_000_000_000),
            );
            let time = match rarely(random) {
                true => SystemTime::now() - ahead,
                false => SystemTime::now() + ahead,
            };
            options.valid &= time > SystemTime::now();
            downlink = downlink.absolute_time(time);
            class_b_c.absolute_time = Some(time);
        }
        options.class_b_c = Some(class_b_c);
    }
    if random.bool() {
        let attempts = match rarely(random) {
            true => [0, 33, u32::MAX][random.usize(..3)],
            false => random.u32(1..=32),
        };
        options.valid &= (1..=32).contains(&attempts);
        options.max_attempts = Some(attempts);
        downlink = downlink.max_attempts(attempts);
    }
    for _ in 0..random.usize(..3) {
        let length = match rarely(random) {
            true => [0, 100, 101][random.usize(..3)],
            false => random.usize(1..20),
        };
        let id = text(random, length);
        options.valid &= (1..=100).contains(&length);
        options.correlation_ids.push(id.clone());
        downlink = downlink.correlation_id(id);
    }
    (downlink, options)
}

fn rarely(random: &mut Rng) -> bool {
    random.u8(..16) == 0
}

/// Returns an object whose numbers are exact as doubles.
fn object(random: &mut Rng, depth: usize) -> Map<String, Value> {
    (0..random.usize(..4))
        .map(|_| {
            let length = random.usize(..6);
            (text(random, length), value(random, depth))
        })
        .collect()
}

fn value(random: &mut Rng, depth: usize) -> Value {
    match random.u8(..8) {
        0 => Value::Null,
        1 => random.bool().into(),
        2 => json!(f64::from(random.i32(..)) + 0.5),
        3 | 4 => random.i32(..).into(),
        5 if depth > 0 => (0..random.usize(..4))
            .map(|_| value(random, depth - 1))
            .collect(),
        6 if depth > 0 => object(random, depth - 1).into(),
        _ => {
            let length = random.usize(..10);
            text(random, length).into()
        }
    }
}

/// Returns a text with all kinds of characters.
fn text(random: &mut Rng, length: usize) -> String {
    let mut character = || match random.u8(..4) {
        0 => random.char(..),
        1 => random
            .choice(['"', '\\', '\n', '\0', '\u{7f}', '<', '\u{2028}', '地'])
            .unwrap(),
        _ => random.alphanumeric(),
    };
    (0..length).map(|_| character()).collect()
}
