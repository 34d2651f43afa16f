//! The JSON of the events that only a client makes. `tests/decoding/serialized.rs` has the messages.

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, SystemTime},
};

use serde_json::json;

use super::*;
use crate::error::{Error, ErrorKind};

#[path = "../../tests/support/golden.rs"]
#[allow(unreachable_pub, reason = "other targets include the file too")]
mod golden;

macro_rules! kinds {
    ($($variant:ident: $kind:literal)*) => {
        const KINDS: &[&str] = &[$($kind),*];

        fn kind(event: &Event) -> &'static str {
            match event {
                $(Event::$variant(_) => $kind,)*
            }
        }
    };
}

// An event that is missing here does not compile.
kinds! {
    Connected: "connected"
    ConnectFailed: "connect_failed"
    Disconnected: "disconnected"
    Closed: "closed"
    Uplink: "uplink"
    UplinkNormalized: "uplink_normalized"
    UplinkField: "uplink_field"
    UplinkFailed: "uplink_failed"
    Activation: "activation"
    ActivationFailed: "activation_failed"
    Device: "device"
    Downlink: "downlink"
    QueueInvalidated: "queue_invalidated"
    LocationSolved: "location_solved"
    ServiceData: "service_data"
    Other: "other"
    Malformed: "malformed"
    Published: "published"
    PublishFailed: "publish_failed"
    Counter: "counter"
    DeviceSilent: "device_silent"
    DeviceBack: "device_back"
    Backfilled: "backfilled"
    KeyWarning: "key_warning"
    Lagged: "lagged"
    CallbackFailed: "callback_failed"
}

fn error() -> Error {
    Error::new(
        ErrorKind::ConnectionLost,
        "the connection to mqtt://localhost:1883 was lost",
    )
}

fn time() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::new(1_520_581_282, 518_304_771)
}

fn rights(names: &[&str]) -> Rights {
    Rights {
        key_id: "EXAMPLEKEYID".to_owned(),
        key_name: "field laptop".to_owned(),
        owner: "the application \"greenhouse\"".to_owned(),
        ..Rights::new(names.iter().map(ToString::to_string).collect())
    }
}

fn deaf() -> KeyWarning {
    KeyWarning::may_not_read(&rights(&["RIGHT_APPLICATION_INFO"]), "greenhouse@ttn")
}

fn expiring() -> KeyWarning {
    let rights = Rights {
        expires_at: Some(time()),
        ..rights(&["RIGHT_APPLICATION_TRAFFIC_READ"])
    };
    KeyWarning::expires_soon(&rights, time() - 3 * NOTICE / 14).unwrap()
}

/// A backfill from the backlog of an event stream, which did not hold all.
fn backfilled() -> Backfilled {
    let device = |dev_id: &str, uplinks| UncoveredDevice {
        dev_id: dev_id.to_owned(),
        uplinks,
    };
    Backfilled {
        from: time() - Duration::from_secs(960),
        until: time(),
        source: Some(BackfillSource::Events),
        fetched: 128,
        delivered: 120,
        known: 7,
        unreadable: 1,
        requests: 3,
        uncovered: vec![Uncovered {
            from: time() - Duration::from_secs(960),
            until: time() - Duration::from_secs(600),
            reason: UncoveredReason::OnlyCounted,
            uplinks: Some(41),
            devices: vec![device("bed-07", Some(41)), device("bed-08", None)],
        }],
        error: None,
    }
}

/// A backfill that the network refused.
fn refused() -> Backfilled {
    Backfilled {
        from: time() - Duration::from_secs(60),
        until: time(),
        source: None,
        fetched: 0,
        delivered: 0,
        known: 0,
        unreadable: 0,
        requests: 1,
        uncovered: vec![Uncovered {
            from: time() - Duration::from_secs(60),
            until: time(),
            reason: UncoveredReason::Refused,
            uplinks: None,
            devices: Vec::new(),
        }],
        error: Some(Error::new(
            ErrorKind::NotAuthorized,
            "the key may not read traffic",
        )),
    }
}

/// Returns the events that no message decodes to, each with the name of its file.
fn events() -> Vec<(&'static str, Event)> {
    let address = "mqtt://localhost:1883".to_owned();
    let gap = Gap {
        since: time(),
        length: Duration::from_millis(7_250),
        silence: Duration::from_micros(31_000_125),
        attempts: 3,
        cause: DisconnectCause::Silent,
    };
    let counter = |finding| CounterReport {
        app_id: "greenhouse".to_owned(),
        dev_id: "bed-07".to_owned(),
        counter: 1184,
        previous: 1180,
        finding,
    };
    let malformed = |payload: &[u8]| {
        Event::Malformed(Arc::new(Malformed {
            raw: RawMessage::new("greenhouse/devices/bed-07/up", payload),
            error: Error::new(ErrorKind::Decode, "cannot read the uplink"),
            is_uplink: true,
        }))
    };
    let connected = |gap| {
        let address = address.clone();
        Event::Connected(Connected {
            address,
            session_present: false,
            gap,
        })
    };
    let closed = |error| Event::Closed(Closed { error, number: 1 });
    vec![
        ("key_warning", Event::KeyWarning(deaf())),
        ("key_warning-expiry", Event::KeyWarning(expiring())),
        ("connected", connected(None)),
        ("connected-again", connected(Some(gap))),
        (
            "connect_failed",
            Event::ConnectFailed(ConnectFailed {
                error: error(),
                attempt: 2,
                retry_in: Some(Duration::from_millis(1_500)),
                outage: Some(DisconnectCause::Stopped),
            }),
        ),
        (
            "disconnected",
            Event::Disconnected(Disconnected {
                error: error(),
                cause: DisconnectCause::ClosedAtOnce { in_a_row: 2 },
                connected_for: Duration::from_secs(3_600),
                retry_in: None,
            }),
        ),
        ("closed", closed(None)),
        ("closed-gave-up", closed(Some(error()))),
        ("malformed", malformed(b"no JSON")),
        ("malformed-binary", malformed(&[0, 0xff])),
        ("published", Event::Published(MessageId(7))),
        (
            "publish_failed",
            Event::PublishFailed(PublishFailed {
                message_id: MessageId(7),
                error: error(),
            }),
        ),
        (
            "counter",
            Event::Counter(counter(CounterFinding::Missing {
                frames: 3,
                loss: FrameLoss::DroppedHere,
            })),
        ),
        (
            "counter-reset",
            Event::Counter(counter(CounterFinding::Reset)),
        ),
        (
            "counter-filled",
            Event::Counter(counter(CounterFinding::Filled {
                loss: FrameLoss::Away,
            })),
        ),
        (
            "device_silent",
            Event::DeviceSilent(DeviceSilent {
                app_id: "greenhouse".to_owned(),
                dev_id: "bed-07".to_owned(),
                last_uplink: time(),
                usual_interval: Duration::from_secs(900),
                silent_for: Duration::from_millis(2_700_500),
            }),
        ),
        (
            "device_back",
            Event::DeviceBack(DeviceBack {
                app_id: "greenhouse".to_owned(),
                dev_id: "bed-07".to_owned(),
                last_uplink: time(),
                silent_for: Duration::from_secs(4_500),
                missing: Some(4),
            }),
        ),
        ("backfilled", Event::Backfilled(Arc::new(backfilled()))),
        ("backfilled-none", Event::Backfilled(Arc::new(refused()))),
        ("lagged", Event::Lagged(12)),
        (
            "callback_failed",
            Event::CallbackFailed(CallbackFailed {
                callback: "uplink",
                message: "the disk is full".to_owned(),
                panicked: false,
                worker: None,
            }),
        ),
        (
            "callback_failed-worker",
            Event::CallbackFailed(CallbackFailed {
                callback: "worker",
                message: "the disk is full".to_owned(),
                panicked: true,
                worker: Some(3),
            }),
        ),
    ]
}

#[test]
fn the_json_of_the_clients_own_events_stays_as_it_is() {
    for (name, event) in events() {
        assert_eq!(name.split('-').next(), Some(kind(&event)));
        golden::compare(name, &event);
    }
}

#[test]
fn the_json_of_every_kind_of_event_is_held() {
    let kinds = KINDS.iter().map(|kind| (*kind).to_owned());
    assert_eq!(golden::kinds(), kinds.collect::<BTreeSet<_>>());
}

#[test]
fn a_cause_is_an_object_with_a_kind() {
    for (cause, expected) in [
        (DisconnectCause::Unknown, json!({"kind": "unknown"})),
        (DisconnectCause::RateLimit, json!({"kind": "rate_limit"})),
        (
            DisconnectCause::Unstable { in_a_row: 3 },
            json!({"kind": "unstable", "in_a_row": 3}),
        ),
        (
            DisconnectCause::PacketTooLarge { bytes: 9 },
            json!({"kind": "packet_too_large", "bytes": 9}),
        ),
    ] {
        assert_eq!(serde_json::to_value(cause).unwrap(), expected);
    }
}

#[test]
fn any_time_and_any_number_can_be_written() {
    let century = Duration::from_secs(100 * 365 * 86_400);
    let mut uplink = UplinkMessage::new("greenhouse", "bed-07", RawMessage::new("", &[]));
    for time in [
        SystemTime::UNIX_EPOCH.checked_sub(century * 100),
        SystemTime::UNIX_EPOCH.checked_add(century * 100),
    ] {
        uplink.received_at = Some(time.unwrap());
        uplink.metadata.frequency = Some(f64::NAN);
        uplink.metadata.airtime = Some(Duration::MAX);
        let json = serde_json::to_value(&uplink).unwrap();
        assert!(json["received_at"].is_null());
        assert!(json["metadata"]["frequency"].is_null());
        assert!(json["metadata"]["airtime"].is_f64());
    }
}

#[test]
fn whether_a_message_was_retained_is_a_member() {
    for is_retained in [false, true] {
        let raw = RawMessage::new("greenhouse/devices/bed-07/up", &[]).retained(is_retained);
        let uplink = UplinkMessage::new("greenhouse", "bed-07", raw.clone());
        for event in [Event::Uplink(Arc::new(uplink)), Event::Other(raw)] {
            assert_eq!(
                serde_json::to_value(event).unwrap()["is_retained"],
                is_retained
            );
        }
    }
}
