//! The end of a subscription that a program reads, and the function that creates both ends.

use std::{
    sync::{
        Arc,
        atomic::{Ordering, fence},
    },
    time::Duration,
};

use crossbeam_channel::{Receiver, RecvError, RecvTimeoutError, TryRecvError, bounded, unbounded};

use super::{RESERVE, reader::Reader, subscriber::Subscriber};
use crate::{
    config::Overflow,
    message::{Event, Losses},
    process::Home,
};

/// A subscription to a client's events. Dropping it unsubscribes.
///
/// It is independent of the callbacks and of other subscriptions: each receives every event. The
/// stream continues over `close` and `connect` and ends when the last handle of the client is dropped.
/// In a process that was forked after the client was created, it has [ended](crate#forks-threads-suspended-machines).
///
/// ```no_run
/// use ttn::{Event, MqttClient};
///
/// let client = MqttClient::new("my-app@ttn", "NNSXS.ID.SECRET")?;
/// let events = client.events();
/// client.connect()?;
/// for event in &events {
///     match event {
///         Event::Uplink(uplink) => println!("{}: {}", uplink.dev_id, uplink.payload_hex()),
///         Event::Closed(_) => break,
///         _ => {}
///     }
/// }
/// # Ok::<(), ttn::Error>(())
/// ```
#[derive(Debug)]
pub struct Events {
    receiver: Receiver<Event>,
    reader: Arc<Reader>,
    /// Where its senders are.
    home: Home,
    /// The stream in a fork of that process.
    ended: Receiver<Event>,
}

impl Events {
    /// Returns the state of this end.
    pub(crate) fn reader(&self) -> &Arc<Reader> {
        &self.reader
    }

    /// Waits for the next event.
    ///
    /// # Errors
    ///
    /// When the last handle of the client has been dropped and all events have been read.
    ///
    /// ```no_run
    /// # let client = ttn::MqttClient::new("my-app@ttn", "NNSXS.ID.SECRET")?;
    /// let events = client.events();
    /// while let Ok(event) = events.recv() {
    ///     println!("{event:?}");
    /// }
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn recv(&self) -> Result<Event, RecvError> {
        self.receiver().recv()
    }

    /// Waits for the next event, at most for `timeout`.
    ///
    /// # Errors
    ///
    /// When the timeout expires, or the stream has ended.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let client = ttn::MqttClient::new("my-app@ttn", "NNSXS.ID.SECRET")?;
    /// assert!(client.events().recv_timeout(Duration::from_millis(1)).is_err());
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn recv_timeout(&self, timeout: Duration) -> Result<Event, RecvTimeoutError> {
        self.receiver().recv_timeout(timeout)
    }

    /// Returns the next event, without waiting.
    ///
    /// # Errors
    ///
    /// When no event is waiting, or the stream has ended.
    ///
    /// ```
    /// let client = ttn::MqttClient::new("my-app@ttn", "NNSXS.ID.SECRET")?;
    /// assert!(client.events().try_recv().is_err());
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn try_recv(&self) -> Result<Event, TryRecvError> {
        self.receiver().try_recv()
    }

    /// Iterates over all events, waiting for each.
    ///
    /// ```no_run
    /// # let client = ttn::MqttClient::new("my-app@ttn", "NNSXS.ID.SECRET")?;
    /// let events = client.events();
    /// for event in events.iter().take(10) {
    ///     println!("{event:?}");
    /// }
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn iter(&self) -> EventsIter<'_> {
        EventsIter(self)
    }

    /// Returns the channel itself, for `select!`. It receives events as long as this subscription exists.
    ///
    /// After a fork, call this again: the reference that was returned before it would wait for ever in
    /// the child.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ttn::crossbeam_channel::{select, tick};
    ///
    /// let client = ttn::MqttClient::new("my-app@ttn", "NNSXS.ID.SECRET")?;
    /// let events = client.events();
    /// let ticker = tick(Duration::from_millis(5));
    /// select! {
    ///     recv(events.receiver()) -> event => println!("{event:?}"),
    ///     recv(ticker) -> _ => println!("tick"),
    /// }
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn receiver(&self) -> &Receiver<Event> {
        match self.home.is_here() {
            true => &self.receiver,
            false => &self.ended,
        }
    }

    /// Returns the channel, for a thread of the client's own: it is in no fork, so there is no need to ask the system.
    pub(crate) fn queue(&self) -> &Receiver<Event> {
        &self.receiver
    }

    /// Returns how many events were dropped because this subscription did not keep up, including
    /// those that no [`Lagged`](Event::Lagged) could report before the stream ended. Messages that
    /// were dropped before they became an event are counted in
    /// [`Stats::dropped`](crate::Stats::dropped) instead.
    ///
    /// ```
    /// let client = ttn::MqttClient::new("my-app@ttn", "NNSXS.ID.SECRET")?;
    /// assert_eq!(client.events().dropped(), 0);
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn dropped(&self) -> u64 {
        self.reader.dropped()
    }
}

impl<'a> IntoIterator for &'a Events {
    type Item = Event;
    type IntoIter = EventsIter<'a>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// An iterator over the events of a subscription, returned by [`Events::iter`]. It waits for each event,
/// and ends with the stream.
///
/// ```
/// let client = ttn::MqttClient::new("my-app@ttn", "NNSXS.ID.SECRET")?;
/// let events = client.events();
/// drop(client);
/// assert!(events.iter().next().is_none());
/// # Ok::<(), ttn::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct EventsIter<'a>(&'a Events);

impl Iterator for EventsIter<'_> {
    type Item = Event;

    fn next(&mut self) -> Option<Event> {
        self.0.recv().ok()
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.reader.leave();
        // What is to be acknowledged must not wait in a queue that nobody reads. The session does the same if it queues
        // an event at this moment.
        if self.home.is_here() {
            fence(Ordering::SeqCst);
            self.receiver.try_iter().for_each(drop);
        }
    }
}

/// Creates a subscription whose queue holds `capacity` events; 0 counts as 1.
pub(crate) fn subscription(capacity: usize, overflow: Overflow) -> (Subscriber, Events) {
    read_by(Reader::default(), capacity, overflow)
}

/// Creates subscriptions that share the uplinks: each uplink goes to one of them.
pub(crate) fn shared_subscriptions(
    number: usize,
    capacity: usize,
    overflow: Overflow,
) -> Vec<(Subscriber, Events)> {
    let losses = Arc::new(Losses::shared());
    let one = |_| read_by(Reader::sharing(&losses), capacity, overflow);
    (0..number).map(one).collect()
}

fn read_by(reader: Reader, capacity: usize, overflow: Overflow) -> (Subscriber, Events) {
    let capacity = capacity.max(1);
    // A bounded channel allocates all its memory up front, and is needed only for waiting. The
    // unbounded one is limited by `Subscriber`, its only sender.
    let (limit, (sender, receiver)) = match overflow {
        Overflow::Block => (capacity, bounded(capacity)),
        Overflow::DropOldest | Overflow::DropNewest => {
            (capacity.saturating_add(RESERVE), unbounded())
        }
    };
    let reader = Arc::new(reader);
    let subscriber = Subscriber {
        name: "a subscription to events".into(),
        wants: None,
        sender,
        queue: receiver.clone(),
        reader: Arc::clone(&reader),
        capacity,
        limit,
        overflow,
        untold: 0,
        full: None,
        since_told: 0,
    };
    let events = Events {
        receiver,
        reader,
        home: Home::here(),
        ended: bounded(0).1,
    };
    (subscriber, events)
}
