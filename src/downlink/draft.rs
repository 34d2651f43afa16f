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
    outbox::{Batch, Message, Room},
};
use crate::{
    error::Result,
    message::{Downlink, MessageId, MessageIds, Schedule},
    network::{Network, Request},
};

/// Creates the correlation ids, which distinguish the downlinks of this client from all others.
pub(crate) struct Correlation {
    prefix: String,
    next: AtomicU64,
}

impl Correlation {
    pub(crate) fn new() -> Self {
        Self {
            prefix: format!("ttn:{:016x}:", fastrand::u64(..)),
            next: AtomicU64::new(1),
        }
    }

    fn take(&self, ids: usize) -> Vec<String> {
        let first = self.next.fetch_add(ids as u64, Ordering::Relaxed);
        (first..)
            .take(ids)
            .map(|number| format!("{}{number}", self.prefix))
            .collect()
    }
}

/// Messages and the downlinks that they carry.
#[derive(Default)]
pub(crate) struct Draft {
    /// Their ranges cover `followed` in order.
    requests: Vec<Request>,
    followed: Vec<Followed>,
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
        let correlation_ids = correlation.take(if correlates { downlinks.len() } else { 0 });
        let requests = network.encode_downlinks(app_id, dev_id, downlinks, &correlation_ids)?;
        let before = self.followed.len();
        self.requests.extend(requests.into_iter().map(|request| {
            let Range { start, end } = request.downlinks;
            Request {
                downlinks: before + start..before + end,
                ..request
            }
        }));
        let dev_id: Arc<str> = dev_id.into();
        let mut correlation_ids = correlation_ids.into_iter();
        self.followed
            .extend(downlinks.iter().map(|downlink| Followed {
                dev_id: Arc::clone(&dev_id),
                correlation_id: correlation_ids.next().map(Arc::from),
                content: (!correlates).then(|| Content::of(downlink)),
                has_fields: downlink.payload.is_fields(),
                replaces: downlink.schedule == Schedule::Replace,
                progress: Progress::new(downlink.confirmed),
            }));
        Ok(())
    }

    /// Creates a draft of a request that carries no downlinks.
    pub(crate) fn of_request(request: Request) -> Self {
        Self {
            requests: vec![request],
            followed: Vec::new(),
        }
    }

    /// Returns the number of downlinks; a request to empty a queue counts as one.
    pub(crate) fn len(&self) -> usize {
        self.requests
            .iter()
            .map(|request| request.downlinks.len())
            .sum()
    }

    /// Returns the handles to follow the downlinks, which are numbered from `first`.
    pub(crate) fn deliveries(&self, first: u64) -> Vec<Delivery> {
        (first..)
            .zip(&self.followed)
            .map(|(id, followed)| {
                let progress = Arc::clone(&followed.progress);
                Delivery::new(MessageId(id), followed.correlation_id.clone(), progress)
            })
            .collect()
    }

    /// Returns the messages to write; their downlinks are numbered from `first`.
    pub(crate) fn into_batch(self, first: u64, mut room: Room) -> Batch {
        let mut followed = self.followed.into_iter();
        let message = |request: Request| {
            let Range { start, end } = request.downlinks;
            let downlinks = end - start;
            Message {
                ids: MessageIds::new(first + start as u64, downlinks as u64),
                topic: request.topic,
                payload: request.payload,
                followed: followed.by_ref().take(downlinks).collect(),
                _room: room.split(downlinks),
            }
        };
        self.requests.into_iter().map(message).collect()
    }
}
