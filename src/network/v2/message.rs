//! Reading what V2 networks publish: topics, and the short messages.

use std::{sync::Arc, time::SystemTime};

use serde::{de, de::MapAccess};
use serde_json::Map;

use super::{
    super::{
        json::{Members, Text, ignore, object, read_nullable, read_object, text},
        split_topic,
    },
    V2,
    downlink::DownlinkEventBody,
    parts::place,
};
use crate::{
    error::{Error, ErrorKind, Result},
    message::{
        Activation, ActivationFailed, DeviceChange, DeviceEvent, DownlinkEvent, DownlinkStep,
        Event, Location, Malformed, Metadata, RawMessage, Transmission, UplinkFailed, UplinkField,
        UplinkMessage,
    },
};

/// Reads an uplink, the only kind of message that V2 networks also send outside MQTT.
pub(in crate::network) fn event_from_json(raw: RawMessage) -> Result<Event> {
    let UplinkBody { uplink, .. } =
        read_uplink(&raw, "", "").map_err(|cause| unreadable("an uplink", &raw, cause))?;
    for (member, id) in [("app_id", &uplink.app_id), ("dev_id", &uplink.dev_id)] {
        if id.is_empty() {
            return Err(Error::new(
                ErrorKind::Decode,
                format!("cannot read an uplink: {member} is missing"),
            ));
        }
    }
    Ok(Event::Uplink(Arc::new(uplink)))
}

/// Reads a message by its topic. One that cannot be read becomes [`Event::Malformed`].
pub(in crate::network) fn decode(raw: RawMessage) -> Event {
    let Some((app_id, dev_id, kind)) = split_topic(raw.topic()) else {
        return Event::Other(raw);
    };
    let origin = Origin {
        app_id,
        dev_id,
        raw: &raw,
    };
    let (what, event) = match kind {
        "up" => ("an uplink", origin.uplink()),
        "events/up/errors" => ("an uplink error", origin.uplink_failed()),
        "events/activations" => ("an activation", origin.activation()),
        "events/activations/errors" => ("an activation error", origin.activation_failed()),
        "events/create" => ("a device event", origin.device(DeviceChange::Created)),
        "events/update" => ("a device event", origin.device(DeviceChange::Updated)),
        "events/delete" => ("a device event", origin.device(DeviceChange::Deleted)),
        "events/down/scheduled" => ("a downlink event", origin.downlink(DownlinkStep::Queued)),
        "events/down/sent" => ("a downlink event", origin.downlink(DownlinkStep::Sent)),
        "events/down/acks" => (
            "a downlink event",
            origin.downlink(DownlinkStep::Acknowledged),
        ),
        "events/down/errors" => ("a downlink event", origin.downlink(DownlinkStep::Failed)),
        _ => match kind.strip_prefix("up/") {
            Some(field) if !field.is_empty() => ("a field", origin.field(field)),
            _ => return Event::Other(raw),
        },
    };
    event.unwrap_or_else(|cause| {
        Event::Malformed(Arc::new(Malformed {
            error: unreadable(what, &raw, cause),
            is_uplink: kind == "up",
            raw: raw.clone(),
        }))
    })
}

fn unreadable(what: &str, raw: &RawMessage, cause: serde_json::Error) -> Error {
    let place = match raw.topic() {
        "" => String::new(),
        topic => format!(" on {}", topic.escape_debug()),
    };
    Error::with_source(
        ErrorKind::Decode,
        format!("cannot read {what}{place}: {cause}"),
        cause,
    )
}

fn read_uplink(
    raw: &RawMessage,
    app_id: &str,
    dev_id: &str,
) -> Result<UplinkBody, serde_json::Error> {
    let mut body = UplinkBody {
        uplink: UplinkMessage::new(app_id, dev_id, raw.clone()),
        is_uplink: false,
    };
    read_object(raw.payload(), &mut body)?;
    let metadata = &body.uplink.metadata;
    body.uplink.simulated = metadata.gateways.is_empty()
        && metadata.modulation.is_empty()
        && metadata.frequency.is_none();
    Ok(body)
}

/// Members that tell an uplink from a field without a name, which servers publish on the same topic.
/// Every uplink of a server has the first two; programs that imitate a server leave out some.
const MARKS: [&str; 4] = ["metadata", "payload_raw", "payload_fields", "dev_id"];

/// What the topic of uplinks carries.
struct UplinkBody {
    uplink: UplinkMessage,
    is_uplink: bool,
}

impl<'de> Members<'de, V2> for UplinkBody {
    fn member<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        self.is_uplink |= MARKS.contains(&name);
        Members::<V2>::member(&mut self.uplink, name, map)
    }
}

/// What the topic of a message says about its origin.
struct Origin<'a> {
    app_id: &'a str,
    dev_id: &'a str,
    raw: &'a RawMessage,
}

impl Origin<'_> {
    fn uplink(&self) -> Result<Event, serde_json::Error> {
        let body = read_uplink(self.raw, self.app_id, self.dev_id)?;
        if !body.is_uplink {
            return Err(de::Error::custom(
                "metadata is missing; it is probably a field without a name, which comes on the same topic",
            ));
        }
        Ok(Event::Uplink(Arc::new(body.uplink)))
    }

    fn field(&self, field: &str) -> Result<Event, serde_json::Error> {
        Ok(Event::UplinkField(Arc::new(UplinkField {
            app_id: self.app_id.to_owned(),
            dev_id: self.dev_id.to_owned(),
            field: field.to_owned(),
            value: serde_json::from_slice(self.raw.payload())?,
            raw: self.raw.clone(),
        })))
    }

    fn uplink_failed(&self) -> Result<Event, serde_json::Error> {
        let body: ActivationBody = read_nullable(self.raw.payload())?;
        Ok(Event::UplinkFailed(Arc::new(UplinkFailed {
            app_id: self.app_id.to_owned(),
            dev_id: self.dev_id.to_owned(),
            error: body.error,
            raw: self.raw.clone(),
        })))
    }

    fn activation(&self) -> Result<Event, serde_json::Error> {
        let (activation, _) = self.read_activation()?;
        Ok(Event::Activation(Arc::new(activation)))
    }

    fn activation_failed(&self) -> Result<Event, serde_json::Error> {
        let (activation, error) = self.read_activation()?;
        Ok(Event::ActivationFailed(Arc::new(ActivationFailed {
            error,
            activation,
        })))
    }

    fn read_activation(&self) -> Result<(Activation, String), serde_json::Error> {
        let body: ActivationBody = read_nullable(self.raw.payload())?;
        let activation = Activation {
            app_eui: body.app_eui,
            dev_eui: body.dev_eui,
            dev_addr: body.dev_addr,
            metadata: body.metadata,
            ..Activation::new(self.app_id, self.dev_id, self.raw.clone())
        };
        Ok((activation, body.error))
    }

    fn device(&self, change: DeviceChange) -> Result<Event, serde_json::Error> {
        let body: DeviceBody = read_nullable(self.raw.payload())?;
        Ok(Event::Device(Arc::new(DeviceEvent {
            app_id: self.app_id.to_owned(),
            dev_id: self.dev_id.to_owned(),
            change,
            location: body.location,
            updated_at: body.updated_at,
            raw: self.raw.clone(),
        })))
    }

    fn downlink(&self, step: DownlinkStep) -> Result<Event, serde_json::Error> {
        let mut body: DownlinkEventBody = read_nullable(self.raw.payload())?;
        body.extra.append(&mut body.message.extra);
        let transmission = (step == DownlinkStep::Sent).then_some(Transmission {
            gateway_id: body.gateway_id,
            frame: body.frame,
            ..body.config
        });
        Ok(Event::Downlink(Arc::new(DownlinkEvent {
            port: body.message.port,
            confirmed: body.message.confirmed,
            payload_raw: body.message.payload_raw,
            payload_fields: body.message.payload_fields,
            error: body.error,
            transmission,
            extra: body.extra,
            ..DownlinkEvent::new(self.app_id, self.dev_id, step, self.raw.clone())
        })))
    }
}

/// The body of activations and of errors that have no other content.
#[derive(Default)]
struct ActivationBody {
    error: String,
    app_eui: String,
    dev_eui: String,
    dev_addr: String,
    metadata: Metadata,
}

impl<'de> Members<'de, V2> for ActivationBody {
    fn member<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        match name {
            "error" => self.error = text(map)?,
            "app_eui" => self.app_eui = text(map)?,
            "dev_eui" => self.dev_eui = text(map)?,
            "dev_addr" => self.dev_addr = text(map)?,
            "metadata" => self.metadata = object(map)?,
            _ => ignore(map)?,
        }
        Ok(())
    }
}

#[derive(Default)]
struct DeviceBody {
    location: Option<Location>,
    updated_at: Option<SystemTime>,
}

impl<'de> Members<'de, V2> for DeviceBody {
    fn member<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        match name {
            "update_at" => {
                self.updated_at = map.next_value::<Text<'_>>()?.time().unwrap_or_default()
            }
            _ => place(&mut self.location, &mut Map::new(), name, map)?,
        }
        Ok(())
    }
}
