//! Downlinks that have been checked and encoded, to be handed to the session together.

use std::{
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use super::{
    book::{Content, Followed},
    delivery::{Delivery, Progress},
    key,
    outbox::{Batch, Message, Room},
};
use crate::{
    error::Result,
    message::{Downlink, MessageId, MessageIds},
    network::{Network, Request},
};

/// Creates the correlation ids, which distinguish the downlinks of this client from all others.
pub(crate) struct Correlation {
    prefix: u64,
    next: AtomicU64,
}

impl Correlation {
    pub(crate) fn new() -> Self {
        Self {
            prefix: fastrand::u64(..),
            next: AtomicU64::new(1),
        }
    }

    /// Returns whether this is an id of a downlink of this client.
    pub(crate) fn is_own(&self, id: &str) -> bool {
        id.starts_with(&key::start_of_ids(self.prefix))
    }

    fn take(&self, downlinks: &[Downlink]) -> Vec<String> {
        let ids = downlinks.len() as u64;
        let first = self.next.fetch_add(ids, Ordering::Relaxed);
        (first..)
            .zip(downlinks)
            .map(|(number, downlink)| key::correlation_id(self.prefix, number, downlink.confirmed))
            .collect()
    }
}

/// Messages and the downlinks that they carry.
#[derive(Default)]
pub(crate) struct Draft {
    /// The ranges of their requests cover `followed`.
    parts: Vec<Part>,
    followed: Vec<Followed>,
}

struct Part {
    request: Request,
    dev_id: Arc<str>,
    /// The first of the downlinks that are sent together.
    batch: usize,
}

impl Draft {
    /// Adds downlinks to one device.
    ///
    /// # Errors
    ///
    /// When the network would refuse one of them; nothing is added then.
    pub(crate) fn add(
        &mut self,
        network: Network,
        app_id: &str,
        correlation: &Correlation,
        dev_id: &str,
        downlinks: &[Downlink],
    ) -> Result<()> {
        let correlates = network.correlates();
        let correlation_ids = correlation.take(if correlates { downlinks } else { &[] });
        let requests = network.encode_downlinks(app_id, dev_id, downlinks, &correlation_ids)?;
        let dev_id: Arc<str> = dev_id.into();
        let batch = self.followed.len();
        self.parts.extend(requests.into_iter().map(|request| {
            let Range { start, end } = request.downlinks;
            Part {
                request: Request {
                    downlinks: batch + start..batch + end,
                    ..request
                },
                dev_id: Arc::clone(&dev_id),
                batch,
            }
        }));
        let mut correlation_ids = correlation_ids.into_iter();
        self.followed
            .extend(downlinks.iter().map(|downlink| Followed {
                dev_id: Arc::clone(&dev_id),
                correlation_id: correlation_ids.next().map(Arc::from),
                content: (!correlates).then(|| Arc::new(Content::of(downlink))),
                has_fields: downlink.payload.is_fields(),
                progress: Progress::new(downlink.confirmed),
            }));
        Ok(())
    }

    /// Creates a draft of a request to empty the queue of a device.
    ///
    /// # Errors
    ///
    /// When the network has no such request, or for a device id that is not valid.
    pub(crate) fn of_clear(network: Network, app_id: &str, dev_id: &str) -> Result<Self> {
        Ok(Self {
            parts: vec![Part {
                request: network.encode_clear(app_id, dev_id)?,
                dev_id: dev_id.into(),
                batch: 0,
            }],
            followed: Vec::new(),
        })
    }

    /// Creates a draft of a request that is encoded already, and whose downlinks are not followed. It counts as one
    /// downlink.
    pub(crate) fn of_request(request: Request, dev_id: &str) -> Self {
        Self {
            parts: vec![Part {
                request: Request {
                    downlinks: 0..1,
                    ..request
                },
                dev_id: dev_id.into(),
                batch: 0,
            }],
            followed: Vec::new(),
        }
    }

    /// Moves each request to the topic on which the client publishes it.
    pub(crate) fn place(&mut self, place: impl Fn(&mut Request) -> Result<()>) -> Result<()> {
        let mut requests = self.parts.iter_mut().map(|part| &mut part.request);
        requests.try_for_each(place)
    }

    /// Returns the number of downlinks; a request to empty a queue counts as one.
    pub(crate) fn len(&self) -> usize {
        let downlinks = |part: &Part| part.request.downlinks.len();
        self.parts.iter().map(downlinks).sum()
    }

    /// Returns the handles to follow the downlinks, which are numbered from `first`.
    pub(crate) fn deliveries(&self, first: u64) -> Vec<Delivery> {
        (first..)
            .zip(&self.followed)
            .map(|(id, followed)| Delivery::new(MessageId(id), followed))
            .collect()
    }

    /// Returns the messages to write; their downlinks are numbered from `first`.
    pub(crate) fn into_batch(self, first: u64, mut room: Room) -> Batch {
        let mut followed: Vec<_> = self.followed.into_iter().map(Some).collect();
        let mut parts = self.parts.into_iter().peekable();
        let mut batch = Batch::new();
        while let Some(part) = parts.next() {
            let Range { start, end } = part.request.downlinks;
            let downlinks = end - start;
            let own = followed.iter_mut().skip(start).take(downlinks);
            let own: Vec<_> = own.filter_map(Option::take).collect();
            batch.push(Message {
                ids: MessageIds::new(first + start as u64, downlinks as u64),
                topic: part.request.topic,
                payload: part.request.payload,
                dev_id: part.dev_id,
                batch: first + part.batch as u64,
                has_next: parts.peek().is_some_and(|next| next.batch == part.batch),
                effect: part.request.effect,
                correlation_id: own.last().and_then(|last| last.correlation_id.clone()),
                followed: own,
                _room: room.split(downlinks),
            });
        }
        batch
    }
}
