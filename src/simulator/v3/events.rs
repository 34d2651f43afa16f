//! The events of the servers: who listens to them, and which ones are kept.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, Weak},
    time::{Duration, SystemTime},
};

use crossbeam_channel::{Receiver, Sender, unbounded};
use fastrand::Rng;

use super::{
    event::{Event, News},
    event_store::EventStore,
    messages,
};
use crate::simulator::sync::lock;

/// How long a list of events is kept after its last one.
const LIST_TTL: Duration = Duration::from_secs(24 * 3600);
/// How many events of the past a stream takes at once.
const LONGEST_TAIL: usize = 1024;
/// What is left of them if no number of them is asked for: the first ones, and about one in three.
const BUFFER: usize = 8;
const LEFT: u32 = 3;

/// All events.
pub(super) struct Events(Mutex<State>);

struct State {
    /// `None` if none are kept.
    store: Option<EventStore>,
    next: u64,
    kept: HashMap<Entity, VecDeque<Arc<Event>>>,
    listeners: Vec<Listener>,
    random: Rng,
}

/// An application, by its id with the tenant, or a device.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Entity {
    pub(super) uid: String,
    pub(super) dev_id: Option<String>,
}

/// Which events of the present and the past are asked for.
pub(super) struct Interest {
    pub(super) entities: Vec<Entity>,
    /// Empty for all.
    pub(super) names: Vec<String>,
    /// The applications whose events the caller may see.
    pub(super) readable: Vec<String>,
    pub(super) tail: u32,
    pub(super) after: Option<SystemTime>,
}

struct Listener {
    interest: Interest,
    out: Sender<Arc<Event>>,
    stream: Weak<Stream>,
}

/// What a stream holds as long as somebody reads it.
pub(super) struct Stream;

/// What a stream begins with, and where the rest comes from.
pub(super) struct Opened {
    /// As JSON text.
    pub(super) past: Vec<String>,
    pub(super) live: Receiver<Arc<Event>>,
    pub(super) stream: Arc<Stream>,
    /// Whether the past was asked for and is not kept.
    pub(super) lacks_store: bool,
}

impl Interest {
    fn wants(&self, event: &Event) -> bool {
        let names = &self.names;
        self.entities.iter().any(|entity| entity.has(event))
            && (names.is_empty() || names.iter().any(|name| name == event.name))
            && self.readable.contains(&event.uid)
    }

    fn asks_for_the_past(&self) -> bool {
        self.tail > 0 || self.after.is_some()
    }
}

impl Entity {
    fn has(&self, event: &Event) -> bool {
        self.uid == event.uid
            && match &self.dev_id {
                Some(dev_id) => *dev_id == event.dev_id,
                None => !event.is_of_device,
            }
    }
}

impl Events {
    pub(super) fn new(random: Rng) -> Self {
        Self(Mutex::new(State {
            store: None,
            next: 0,
            kept: HashMap::new(),
            listeners: Vec::new(),
            random,
        }))
    }

    /// Changes what is kept. Without a store, what was kept is gone.
    pub(super) fn set_store(&self, store: Option<EventStore>) {
        let mut state = lock(&self.0);
        if store.is_none() {
            state.kept.clear();
        }
        state.store = store;
    }

    /// Shows an event to those who listen, and keeps it.
    pub(super) fn add(&self, news: &News<'_>) {
        let mut state = lock(&self.0);
        let State {
            store,
            next,
            kept,
            listeners,
            random,
        } = &mut *state;
        listeners.retain(|listener| listener.stream.strong_count() > 0);
        if store.is_none() && listeners.is_empty() {
            return;
        }
        let id = messages::ulid(news.time, random);
        let event = Arc::new(Event::new(*next, news, id));
        *next += 1;
        for listener in listeners.iter() {
            if listener.interest.wants(&event) {
                // A stream that has just ended reads no more.
                let _ = listener.out.send(Arc::clone(&event));
            }
        }
        let Some(store) = store else {
            return;
        };
        let device = Entity {
            uid: event.uid.clone(),
            dev_id: Some(event.dev_id.clone()),
        };
        let application = Entity {
            dev_id: None,
            ..device.clone()
        };
        for entity in [application, device] {
            if entity.has(&event) {
                let list = kept.entry(entity).or_default();
                list.push_back(Arc::clone(&event));
                let surplus = list.len().saturating_sub(store.events);
                list.drain(..surplus);
            }
        }
    }

    /// Begins a stream.
    pub(super) fn open(&self, interest: Interest, now: SystemTime) -> Opened {
        let mut state = lock(&self.0);
        let (out, live) = unbounded();
        let stream = Arc::new(Stream);
        let listener = Arc::downgrade(&stream);
        let opened = Opened {
            past: state.past(&interest, now),
            live,
            stream,
            lacks_store: state.store.is_none() && interest.asks_for_the_past(),
        };
        state.listeners.push(Listener {
            interest,
            out,
            stream: listener,
        });
        opened
    }
}

impl State {
    fn past(&mut self, interest: &Interest, now: SystemTime) -> Vec<String> {
        let Some(store) = self.store.as_ref().filter(|_| interest.asks_for_the_past()) else {
            return Vec::new();
        };
        let age = |event: &Event| now.duration_since(event.time).unwrap_or_default();
        let lists = interest.entities.iter();
        let lists = lists.filter_map(|entity| self.kept.get(entity));
        let lists = lists.filter(|list| list.back().is_some_and(|last| age(last) < LIST_TTL));
        let mut found: Vec<&Arc<Event>> = lists.flatten().collect();
        found.sort_by_key(|event| event.number);
        found.dedup_by_key(|event| event.number);
        if let Some(after) = interest.after {
            found.retain(|event| millis(event.time) > millis(after));
        }
        if interest.tail > 0 {
            let tail = LONGEST_TAIL.min(interest.tail as usize);
            found.drain(..found.len().saturating_sub(tail));
        }
        found.retain(|event| interest.wants(event));
        if interest.tail == 0 && found.len() > BUFFER {
            let mut rest = found.split_off(BUFFER);
            // At least one is lost.
            rest.remove(self.random.usize(..rest.len()));
            rest.retain(|_| self.random.u32(..LEFT) == 0);
            found.append(&mut rest);
        }
        let texts = found.iter();
        texts
            .map(|event| event.text(age(event) < store.message_ttl))
            .collect()
    }
}

fn millis(time: SystemTime) -> u128 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    since.unwrap_or_default().as_millis()
}
