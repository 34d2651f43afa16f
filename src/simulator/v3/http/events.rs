//! The event stream.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use crossbeam_channel::{Receiver, RecvTimeoutError};
use serde_json::Value;

use super::{
    credentials::Credentials,
    error::{self, Refused},
    pattern::Pattern,
    query,
    stream::Delimiter,
};
use crate::simulator::{
    http::{Answer, Frame, Frames},
    json::{self, Object},
    sync::lock,
    v3::{
        V3,
        event::{self, Event},
        events::{Entity, Interest, Stream},
        identity::TRAFFIC_READ,
        messages,
    },
};

const NOT_ENABLED: &str = "Events storage is not enabled";

/// What a request asks to be told.
pub(super) struct Subscription {
    /// Application and device ids.
    pub(super) ids: Vec<(String, Option<String>)>,
    names: Vec<String>,
    tail: u32,
    after: Option<SystemTime>,
}

impl Subscription {
    /// Reads the body of a request; an error is what the server says about one that it cannot read.
    pub(super) fn read(body: &[u8]) -> Result<Self, String> {
        let body: Value = match body.trim_ascii() {
            b"" => Value::Null,
            body => {
                serde_json::from_slice(body).map_err(|cause| format!("unmarshal error: {cause}"))?
            }
        };
        let wrong = |path: &str| format!("unmarshal error at path \"{path}\": invalid value");
        if !body.is_object() && !body.is_null() {
            return Err(wrong(""));
        }
        let list = |name: &str| match &body[name] {
            Value::Null => Ok(&[][..]),
            Value::Array(items) => Ok(items.as_slice()),
            _ => Err(wrong(name)),
        };
        let names = list("names")?.iter().map(Value::as_str);
        let names: Option<Vec<&str>> = names.collect();
        let names = names.ok_or_else(|| wrong("names"))?;
        let tail = match &body["tail"] {
            Value::Null => Some(0),
            Value::String(text) => text.parse().ok(),
            tail => tail.as_u64(),
        };
        let tail = tail.and_then(|tail| u32::try_from(tail).ok());
        let after = match &body["after"] {
            Value::Null => None,
            after => {
                let time = after.as_str().and_then(query::time_of);
                Some(time.ok_or_else(|| wrong("after"))?)
            }
        };
        Ok(Self {
            ids: list("identifiers")?.iter().filter_map(ids).collect(),
            names: names.into_iter().map(str::to_owned).collect(),
            tail: tail.ok_or_else(|| wrong("tail"))?,
            after,
        })
    }

    /// Returns the names that are meant, each once and in order.
    fn names(&self) -> Result<BTreeSet<&'static str>, Refused> {
        let mut names = BTreeSet::new();
        for name in &self.names {
            let pattern = name
                .strip_prefix('/')
                .and_then(|name| name.strip_suffix('/'));
            let Some(text) = pattern else {
                let known = event::NAMES.iter().find(|known| *known == name);
                names.insert(*known.ok_or_else(|| error::unknown_event_name(name))?);
                continue;
            };
            let Some(pattern) = Pattern::read(text) else {
                return Err(error::INVALID_REGEXP.into());
            };
            let fitting = event::NAMES.iter().filter(|name| pattern.fits(name));
            let fitting: Vec<&str> = fitting.copied().collect();
            if fitting.is_empty() {
                return Err(error::no_matching_events(text).into());
            }
            names.extend(fitting);
        }
        Ok(names)
    }
}

/// Returns the ids of an application or a device; others are passed over.
fn ids(given: &Value) -> Option<(String, Option<String>)> {
    let of_application = |ids: &Value| ids["application_id"].as_str().map(str::to_owned);
    if let Some(app_id) = of_application(&given["application_ids"]) {
        return Some((app_id, None));
    }
    let device = &given["device_ids"];
    let app_id = of_application(&device["application_ids"])?;
    let dev_id = device["device_id"].as_str()?;
    Some((app_id, Some(dev_id.to_owned())))
}

impl V3 {
    /// Answers with events, as long as the client listens.
    pub(super) fn follow_events(
        &self,
        subscription: &Subscription,
        delimiter: Delimiter,
        credentials: Credentials<'_>,
    ) -> Result<Answer, Refused> {
        if subscription.ids.is_empty() {
            return Err(error::NO_IDENTIFIERS.into());
        }
        let names = subscription.names()?;
        let (mut entities, mut readable) = (Vec::new(), Vec::new());
        for (app_id, dev_id) in &subscription.ids {
            let uid = self.require(app_id, credentials, &[])?;
            if self.require(app_id, credentials, &[TRAFFIC_READ]).is_ok() {
                readable.push(uid.clone());
            }
            let dev_id = dev_id.clone();
            entities.push(Entity { uid, dev_id });
        }
        let now = self.env.clock.now();
        let start = self.start_frame(subscription, &names, now);
        let interest = Interest {
            entities,
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            readable,
            tail: subscription.tail,
            after: subscription.after,
        };
        let opened = self.events.open(interest, now);
        let mut past = VecDeque::from([delimiter.frame(&start)]);
        past.extend(opened.past.iter().map(|event| delimiter.frame(event)));
        let following = Following {
            past,
            live: opened.live,
            delimiter,
            _stream: opened.stream,
        };
        let answer = Answer::stream(200, following);
        let answer = answer.with("Content-Type", delimiter.content_type());
        Ok(match opened.lacks_store {
            true => answer.with("X-Warning", NOT_ENABLED),
            false => answer,
        })
    }

    fn start_frame(
        &self,
        subscription: &Subscription,
        names: &BTreeSet<&str>,
        now: SystemTime,
    ) -> String {
        let entities = subscription.ids.iter();
        let entities = entities.map(|(app_id, dev_id)| event::entity(app_id, dev_id.as_deref()));
        let names = names.iter().map(|name| json::string(name));
        let names = json::array(names);
        let data = Object::new()
            .string("@type", "type.googleapis.com/google.protobuf.Value")
            .member("value", &names);
        let random = &mut lock(&self.state).random;
        let call = messages::ulid(now, random);
        let call = json::string(&format!("rpc:/ttn.lorawan.v3.Events/Stream:{call}"));
        Object::new()
            .string("name", "events.stream.start")
            .member("time", messages::time(now))
            .list("identifiers", entities)
            .option("data", (names != "[]").then(|| data.finish()))
            .list("correlation_ids", [call])
            .string("origin", event::ORIGIN)
            .string("unique_id", &messages::ulid(now, random))
            .finish()
    }
}

/// The frames of a stream: those of the past, and then what happens.
struct Following {
    past: VecDeque<Vec<u8>>,
    live: Receiver<Arc<Event>>,
    delimiter: Delimiter,
    _stream: Arc<Stream>,
}

impl Frames for Following {
    fn next(&mut self, wait: Duration) -> Frame {
        if let Some(frame) = self.past.pop_front() {
            return Frame::Ready(frame);
        }
        match self.live.recv_deadline(Instant::now() + wait) {
            Ok(event) => Frame::Ready(self.delimiter.frame(&event.text(true))),
            Err(RecvTimeoutError::Timeout) => Frame::Waiting,
            Err(RecvTimeoutError::Disconnected) => Frame::End,
        }
    }
}
