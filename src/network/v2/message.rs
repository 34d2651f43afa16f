//! Reading what V2 networks publish: topics, and the short messages.

use std::{sync::Arc, time::SystemTime};

use serde::{de, de::MapAccess};
use serde_json::{Map, Value};

use super::{
    super::{
        Decoded,
        json::{Left, Member, Members, Odd, document, read_nullable, read_object},
        place::Place,
        split_topic,
    },
    V2,
    downlink::DownlinkEventBody,
    parts::{location, read_place},
    uplink::MetadataMembers,
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
    let (UplinkBody { uplink, .. }, _) =
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
/// `topic` is the one that the network has given the message.
pub(in crate::network) fn decode(topic: &str, raw: &RawMessage) -> Decoded {
    let Some((app_id, dev_id, kind)) = split_topic(topic) else {
        return Event::Other(raw.clone()).into();
    };
    let origin = Origin {
        app_id,
        dev_id,
        raw,
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
            _ => return Event::Other(raw.clone()).into(),
        },
    };
    event.unwrap_or_else(|cause| {
        let malformed = Malformed {
            error: unreadable(what, raw, cause),
            is_uplink: kind == "up",
            raw: raw.clone(),
        };
        Event::Malformed(Arc::new(malformed)).into()
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
) -> Result<(UplinkBody, Odd), serde_json::Error> {
    let mut body = UplinkBody {
        uplink: UplinkMessage::new(app_id, dev_id, raw.clone()),
        is_uplink: false,
    };
    let odd = read_object(raw.payload(), &mut body)?;
    let metadata = &body.uplink.metadata;
    let is_odd = |name: &&str| metadata.extra.contains_key(*name);
    body.uplink.simulated = metadata.gateways.is_empty()
        && metadata.modulation.is_empty()
        && metadata.frequency.is_none()
        && !["gateways", "modulation", "frequency"].iter().any(is_odd)
        && !body.uplink.extra.contains_key("metadata");
    Ok((body, odd))
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
    fn member<A: MapAccess<'de>>(&mut self, member: &mut Member<'_, A>) -> Result<bool, A::Error> {
        self.is_uplink |= MARKS.contains(&member.name());
        Members::<V2>::member(&mut self.uplink, member)
    }

    fn extra(&mut self, name: &str) -> Option<&mut Map<String, Value>> {
        Members::<V2>::extra(&mut self.uplink, name)
    }
}

/// What the topic of a message says about its origin.
struct Origin<'a> {
    app_id: &'a str,
    dev_id: &'a str,
    raw: &'a RawMessage,
}

impl Origin<'_> {
    fn uplink(&self) -> Result<Decoded, serde_json::Error> {
        let (body, odd) = read_uplink(self.raw, self.app_id, self.dev_id)?;
        if !body.is_uplink {
            return Err(de::Error::custom(
                "metadata is missing; it is probably a field without a name, which comes on the same topic",
            ));
        }
        let event = Event::Uplink(Arc::new(body.uplink));
        Ok(Decoded { event, odd })
    }

    fn field(&self, field: &str) -> Result<Decoded, serde_json::Error> {
        let field = UplinkField {
            app_id: self.app_id.to_owned(),
            dev_id: self.dev_id.to_owned(),
            field: field.to_owned(),
            value: serde_json::from_str(document(self.raw.payload())?)?,
            raw: self.raw.clone(),
        };
        Ok(Event::UplinkField(Arc::new(field)).into())
    }

    fn uplink_failed(&self) -> Result<Decoded, serde_json::Error> {
        let (body, odd) = read_nullable::<V2, ErrorBody>(self.raw.payload())?;
        let failed = UplinkFailed {
            app_id: self.app_id.to_owned(),
            dev_id: self.dev_id.to_owned(),
            error: body.error,
            extra: body.extra,
            raw: self.raw.clone(),
        };
        let event = Event::UplinkFailed(Arc::new(failed));
        Ok(Decoded { event, odd })
    }

    fn activation(&self) -> Result<Decoded, serde_json::Error> {
        let (activation, _, odd) = self.read_activation()?;
        let event = Event::Activation(Arc::new(activation));
        Ok(Decoded { event, odd })
    }

    fn activation_failed(&self) -> Result<Decoded, serde_json::Error> {
        let (activation, error, odd) = self.read_activation()?;
        let event = Event::ActivationFailed(Arc::new(ActivationFailed { error, activation }));
        Ok(Decoded { event, odd })
    }

    fn read_activation(&self) -> Result<(Activation, String, Odd), serde_json::Error> {
        let (body, odd) = read_nullable::<V2, ActivationBody>(self.raw.payload())?;
        let activation = Activation {
            app_eui: body.app_eui,
            dev_eui: body.dev_eui,
            dev_addr: body.dev_addr,
            metadata: body.metadata,
            extra: body.extra,
            ..Activation::new(self.app_id, self.dev_id, self.raw.clone())
        };
        Ok((activation, body.error, odd))
    }

    fn device(&self, change: DeviceChange) -> Result<Decoded, serde_json::Error> {
        let (body, odd) = read_nullable::<V2, DeviceBody<'_>>(self.raw.payload())?;
        let device = DeviceEvent {
            app_id: self.app_id.to_owned(),
            dev_id: self.dev_id.to_owned(),
            change,
            location: body.location,
            updated_at: body.updated_at,
            extra: body.extra,
            raw: self.raw.clone(),
        };
        let event = Event::Device(Arc::new(device));
        Ok(Decoded { event, odd })
    }

    fn downlink(&self, step: DownlinkStep) -> Result<Decoded, serde_json::Error> {
        let (mut body, odd) = read_nullable::<V2, DownlinkEventBody>(self.raw.payload())?;
        body.extra.append(&mut body.message.extra);
        let transmission = (step == DownlinkStep::Sent).then_some(Transmission {
            gateway_id: body.gateway_id,
            frame: body.frame,
            ..body.config
        });
        let report = DownlinkEvent {
            port: body.message.port,
            confirmed: body.message.confirmed,
            payload_raw: body.message.payload_raw,
            payload_fields: body.message.payload_fields,
            error: body.error,
            transmission,
            extra: body.extra,
            ..DownlinkEvent::new(self.app_id, self.dev_id, step, self.raw.clone())
        };
        let event = Event::Downlink(Arc::new(report));
        Ok(Decoded { event, odd })
    }
}

/// The body of errors that have no other content.
#[derive(Default)]
struct ErrorBody {
    error: String,
    extra: Map<String, Value>,
}

impl<'de> Members<'de, V2> for ErrorBody {
    fn member<A: MapAccess<'de>>(&mut self, member: &mut Member<'_, A>) -> Result<bool, A::Error> {
        match member.name() {
            "error" => self.error = member.text()?,
            // The topic has them too.
            "app_id" | "dev_id" => member.ignore()?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn extra(&mut self, _name: &str) -> Option<&mut Map<String, Value>> {
        Some(&mut self.extra)
    }
}

/// The body of activations, also of those that were refused.
#[derive(Default)]
struct ActivationBody {
    error: String,
    app_eui: String,
    dev_eui: String,
    dev_addr: String,
    metadata: Metadata,
    extra: Map<String, Value>,
}

impl<'de> Members<'de, V2> for ActivationBody {
    fn member<A: MapAccess<'de>>(&mut self, member: &mut Member<'_, A>) -> Result<bool, A::Error> {
        match member.name() {
            "error" => self.error = member.text()?,
            "app_eui" => self.app_eui = member.hex::<16>()?,
            "dev_eui" => self.dev_eui = member.hex::<16>()?,
            "dev_addr" => self.dev_addr = member.hex::<8>()?,
            "metadata" => self.metadata = member.object::<V2, MetadataMembers<'de>>()?.metadata,
            // The topic has them too.
            "app_id" | "dev_id" => member.ignore()?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn extra(&mut self, _name: &str) -> Option<&mut Map<String, Value>> {
        Some(&mut self.extra)
    }
}

#[derive(Default)]
struct DeviceBody<'de> {
    place: Place<'de>,
    location: Option<Location>,
    updated_at: Option<SystemTime>,
    extra: Map<String, Value>,
}

impl<'de> Members<'de, V2> for DeviceBody<'de> {
    fn member<A: MapAccess<'de>>(&mut self, member: &mut Member<'_, A>) -> Result<bool, A::Error> {
        match member.name() {
            "update_at" => self.updated_at = member.time()?,
            "app_id" | "dev_id" => member.ignore()?,
            _ => return read_place(&mut self.place, member),
        }
        Ok(true)
    }

    fn end(&mut self, left: &mut Left) {
        self.location = location(&mut self.place, left);
    }

    fn extra(&mut self, _name: &str) -> Option<&mut Map<String, Value>> {
        Some(&mut self.extra)
    }
}
