//! The kinds of events, as users name them.

use clap::ValueEnum;
use ttn::Event;

/// A kind of event, with its name in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub(crate) enum Kind {
    Uplink,
    UplinkNormalized,
    UplinkField,
    UplinkFailed,
    Activation,
    ActivationFailed,
    Device,
    Downlink,
    QueueInvalidated,
    LocationSolved,
    ServiceData,
    Counter,
    DeviceSilent,
    DeviceBack,
    Other,
    Malformed,
    Connected,
    ConnectFailed,
    Disconnected,
    Closed,
    Backfilled,
    KeyWarning,
    Lagged,
    All,
}

impl Kind {
    pub(crate) fn includes(self, event: &Event) -> bool {
        self == Self::All || Self::of(event) == Some(self)
    }

    fn of(event: &Event) -> Option<Self> {
        Some(match event {
            Event::Uplink(_) => Self::Uplink,
            Event::UplinkNormalized(_) => Self::UplinkNormalized,
            Event::UplinkField(_) => Self::UplinkField,
            Event::UplinkFailed(_) => Self::UplinkFailed,
            Event::Activation(_) => Self::Activation,
            Event::ActivationFailed(_) => Self::ActivationFailed,
            Event::Device(_) => Self::Device,
            Event::Downlink(_) => Self::Downlink,
            Event::QueueInvalidated(_) => Self::QueueInvalidated,
            Event::LocationSolved(_) => Self::LocationSolved,
            Event::ServiceData(_) => Self::ServiceData,
            Event::Counter(_) => Self::Counter,
            Event::DeviceSilent(_) => Self::DeviceSilent,
            Event::DeviceBack(_) => Self::DeviceBack,
            Event::Other(_) => Self::Other,
            Event::Malformed(_) => Self::Malformed,
            Event::Connected(_) => Self::Connected,
            Event::ConnectFailed(_) => Self::ConnectFailed,
            Event::Disconnected(_) => Self::Disconnected,
            Event::Closed(_) => Self::Closed,
            Event::Backfilled(_) => Self::Backfilled,
            Event::KeyWarning(_) => Self::KeyWarning,
            Event::Lagged(_) => Self::Lagged,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use ttn::{Network, serde_json};

    use super::*;

    #[test]
    fn a_kind_has_the_name_that_its_events_have_in_json() {
        let messages = [
            ("bed-07/up", r#"{"port":1,"payload_raw":""}"#),
            ("bed-07/up/light", "7"),
            ("bed-07/events/up/errors", r#"{"error":"no"}"#),
            ("bed-07/events/activations", "{}"),
            ("bed-07/events/activations/errors", r#"{"error":"no"}"#),
            ("bed-07/events/create", "{}"),
            ("bed-07/events/down/sent", "{}"),
            ("bed-07/events/else", "{}"),
        ];
        let mut events = vec![Event::Lagged(1)];
        events.extend(messages.map(|(topic, body)| {
            let topic = format!("greenhouse/devices/{topic}");
            Event::decode(Network::V2, &topic, body).expect("it can be read")
        }));
        for event in events {
            let json = serde_json::to_value(&event).expect("events are JSON");
            let kind = Kind::of(&event).expect("it has a kind");
            let name = kind.to_possible_value().expect("none is hidden");
            assert_eq!(json["event"], name.get_name());
            assert!(Kind::All.includes(&event) && kind.includes(&event));
            assert!(!Kind::Closed.includes(&event));
        }
    }
}
