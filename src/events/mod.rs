//! The stream of events: one source, any number of subscribers, each with a bounded queue of its
//! own.

mod losses;

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use crossbeam_channel::{
    Receiver, RecvError, RecvTimeoutError, SendTimeoutError, Sender, TryRecvError, TrySendError,
    bounded, unbounded,
};

use crate::{config::Overflow, message::Event};
pub(crate) use losses::Losses;

/// News about the client itself still finds room in a queue that is full of messages.
const RESERVE: usize = 16;

/// How often a wait for room looks whether it should go on.
const PATIENCE: Duration = Duration::from_millis(20);

/// A subscription to a client's events. Dropping it unsubscribes.
///
/// Independent of the callbacks and of other subscriptions: each gets every event. The stream ends
/// when the last handle of the client is gone; it goes on over `close` and `connect`.
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
    losses: Arc<Losses>,
}

impl Events {
    /// Waits for the next event.
    ///
    /// # Errors
    ///
    /// When the last handle of the client is gone and all events are read.
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
        self.receiver.recv()
    }

    /// Waits for the next event, at most so long.
    ///
    /// # Errors
    ///
    /// When the time is over, or the stream has ended.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let client = ttn::MqttClient::new("my-app@ttn", "NNSXS.ID.SECRET")?;
    /// assert!(client.events().recv_timeout(Duration::from_millis(1)).is_err());
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn recv_timeout(&self, timeout: Duration) -> Result<Event, RecvTimeoutError> {
        self.receiver.recv_timeout(timeout)
    }

    /// The next event if there is one.
    ///
    /// # Errors
    ///
    /// When there is none now, or the stream has ended.
    ///
    /// ```
    /// let client = ttn::MqttClient::new("my-app@ttn", "NNSXS.ID.SECRET")?;
    /// assert!(client.events().try_recv().is_err());
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn try_recv(&self) -> Result<Event, TryRecvError> {
        self.receiver.try_recv()
    }

    /// All events, waiting for each.
    ///
    /// ```no_run
    /// # let client = ttn::MqttClient::new("my-app@ttn", "NNSXS.ID.SECRET")?;
    /// let events = client.events();
    /// for event in events.iter().take(10) {
    ///     println!("{event:?}");
    /// }
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn iter(&self) -> crossbeam_channel::Iter<'_, Event> {
        self.receiver.iter()
    }

    /// The channel itself, for `select!`. It is fed as long as this subscription lives.
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
        &self.receiver
    }

    /// How many events this subscription has lost because it did not keep up, with those for whose
    /// report there was no room before the stream ended. Those that nobody got,
    /// [`Stats::dropped`](crate::Stats::dropped), are not among them.
    ///
    /// ```
    /// let client = ttn::MqttClient::new("my-app@ttn", "NNSXS.ID.SECRET")?;
    /// assert_eq!(client.events().dropped(), 0);
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn dropped(&self) -> u64 {
        self.losses.get()
    }
}

impl<'a> IntoIterator for &'a Events {
    type Item = Event;
    type IntoIter = crossbeam_channel::Iter<'a, Event>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// Tells which events a subscriber is for.
type Wants = Box<dyn Fn(&Event) -> bool + Send>;

/// The sending end of one subscription.
pub(crate) struct Subscriber {
    wants: Option<Wants>,
    sender: Sender<Event>,
    /// The other end of the same queue, to take out what gives way.
    queue: Receiver<Event>,
    /// Lives as long as the other end.
    losses: Weak<Losses>,
    capacity: usize,
    /// How many events there may be with news about the client.
    limit: usize,
    overflow: Overflow,
    /// Lost and not reported yet.
    missed: u64,
    /// Events since the last report of losses.
    unreported: usize,
}

/// A subscription for so many events; a capacity of 0 counts as 1.
pub(crate) fn subscription(capacity: usize, overflow: Overflow) -> (Subscriber, Events) {
    let capacity = capacity.max(1);
    // A bounded channel takes all its memory at once; only to wait for room needs one. The other is
    // bounded by `Subscriber::deliver`, the only one who sends.
    let (limit, (sender, receiver)) = match overflow {
        Overflow::Block => (capacity, bounded(capacity)),
        Overflow::DropOldest | Overflow::DropNewest => {
            (capacity.saturating_add(RESERVE), unbounded())
        }
    };
    let losses = Arc::new(Losses::default());
    let subscriber = Subscriber {
        wants: None,
        sender,
        queue: receiver.clone(),
        losses: Arc::downgrade(&losses),
        capacity,
        limit,
        overflow,
        missed: 0,
        unreported: 0,
    };
    let events = Events { receiver, losses };
    (subscriber, events)
}

impl Subscriber {
    /// Leaves out what is not wanted.
    pub(crate) fn only(mut self, wants: impl Fn(&Event) -> bool + Send + 'static) -> Self {
        self.wants = Some(Box::new(wants));
        self
    }

    fn deliver(&mut self, event: Event, interrupt: &Interrupt) {
        if event.is_lifecycle() {
            self.report_missed();
            return self.force(event);
        }
        if self.wants.as_ref().is_some_and(|wants| !wants(&event)) {
            return;
        }
        let full = self.sender.len() >= self.capacity;
        match self.overflow {
            Overflow::Block => self.wait_and_send(event, interrupt),
            Overflow::DropNewest if full => self.count(&event),
            Overflow::DropOldest if full && matches!(event, Event::Lagged(_)) => self.count(&event),
            Overflow::DropOldest if full => {
                while self.sender.len() >= self.capacity && self.evict(false) {}
                if self.is_full() {
                    // There is nothing but news about the client.
                    return self.count(&event);
                }
                self.unreported += 1;
                // Once for each length of the queue, so that reports do not fill it.
                if self.unreported >= self.capacity {
                    self.report_missed();
                }
                self.force(event);
            }
            Overflow::DropOldest | Overflow::DropNewest => {
                self.report_missed();
                self.force(event);
            }
        }
    }

    fn wait_and_send(&mut self, event: Event, interrupt: &Interrupt) {
        if self.missed > 0 {
            let missed = std::mem::take(&mut self.missed);
            self.wait_and_send(Event::Lagged(missed), interrupt);
        }
        let mut event = match self.sender.try_send(event) {
            Ok(()) | Err(TrySendError::Disconnected(_)) => return,
            Err(TrySendError::Full(event)) => event,
        };
        while self.is_alive() {
            let Some(signal) = interrupt.signal() else {
                return self.count(&event);
            };
            if signal.try_recv().is_ok() {
                interrupt.raise();
                return self.count(&event);
            }
            // The subscriber may go away without making room.
            match self.sender.send_timeout(event, PATIENCE) {
                Ok(()) | Err(SendTimeoutError::Disconnected(_)) => return,
                Err(SendTimeoutError::Timeout(back)) => event = back,
            }
        }
    }

    /// Puts an event in, whatever has to give way for it.
    fn force(&mut self, event: Event) {
        while self.is_full() {
            self.evict(true);
        }
        // There is room: nobody else sends.
        let _ = self.sender.try_send(event);
    }

    fn is_full(&self) -> bool {
        self.sender.len() >= self.limit
    }

    /// Makes room: the oldest message gives way. News about the client keeps its place; when it is
    /// in front, a part of the messages behind it goes at once, since the whole queue has to be
    /// moved for that. When there is nothing else, the oldest `news` gives way if that is allowed.
    /// Whether something has.
    fn evict(&mut self, news: bool) -> bool {
        let Ok(oldest) = self.queue.try_recv() else {
            return false;
        };
        if !oldest.is_lifecycle() {
            self.count(&oldest);
            return true;
        }
        let most = (self.capacity / 16).max(1);
        let mut surplus = most;
        let mut kept = vec![oldest];
        while let Ok(event) = self.queue.try_recv() {
            if surplus > 0 && !event.is_lifecycle() {
                surplus -= 1;
                self.count(&event);
            } else {
                kept.push(event);
            }
        }
        let mut gave_way = surplus < most;
        if news && kept.len() == self.limit {
            let oldest_news = kept.remove(0);
            self.count(&oldest_news);
            gave_way = true;
        }
        for event in kept {
            // There was room for all of them before.
            let _ = self.sender.try_send(event);
        }
        gave_way
    }

    fn count(&mut self, lost: &Event) {
        match lost {
            Event::Lagged(missed) => self.missed += missed,
            _ => {
                self.missed += 1;
                if let Some(losses) = self.losses.upgrade() {
                    losses.add(1);
                }
            }
        }
    }

    /// Tells the subscriber what it lost, if there is anything to tell.
    fn report_missed(&mut self) {
        if self.missed > 0 {
            let missed = std::mem::take(&mut self.missed);
            self.unreported = 0;
            self.force(Event::Lagged(missed));
        }
    }

    fn has_news_of_loss(&self) -> bool {
        self.missed > 0 && self.sender.len() < self.capacity
    }

    fn is_alive(&self) -> bool {
        self.losses.strong_count() > 0
    }

    /// What this subscriber has lost, for as long as it is there.
    pub(crate) fn losses(&self) -> Weak<Losses> {
        Weak::clone(&self.losses)
    }
}

impl Drop for Subscriber {
    /// The last word of a stream is what was lost before its end. A message gives way for it where
    /// it has to; news about the client does not.
    fn drop(&mut self) {
        while self.missed > 0 {
            let last = self.sender.try_send(Event::Lagged(self.missed));
            if !matches!(last, Err(TrySendError::Full(_))) || !self.evict(false) {
                return;
            }
        }
    }
}

/// All subscribers of a client.
pub(crate) struct Subscribers {
    list: Vec<Subscriber>,
    interrupt: Interrupt,
}

impl Subscribers {
    /// A message on `interrupt` ends a wait for a subscriber's queue.
    pub(crate) fn new(interrupt: Receiver<()>) -> Self {
        Self {
            list: Vec::new(),
            interrupt: Interrupt {
                signal: interrupt,
                raised: std::cell::Cell::new(false),
            },
        }
    }

    pub(crate) fn add(&mut self, subscriber: Subscriber) {
        self.list.retain(Subscriber::is_alive);
        self.list.push(subscriber);
    }

    /// Hands an event to every subscriber. Waits only for one whose overflow is
    /// [`Overflow::Block`].
    pub(crate) fn publish(&mut self, event: Event) {
        self.list.retain(Subscriber::is_alive);
        let Some((last, others)) = self.list.split_last_mut() else {
            return;
        };
        for subscriber in others {
            subscriber.deliver(event.clone(), &self.interrupt);
        }
        last.deliver(event, &self.interrupt);
    }

    /// Whether someone has lost events and was not told yet.
    pub(crate) fn any_missed(&self) -> bool {
        self.list.iter().any(|subscriber| subscriber.missed > 0)
    }

    /// Tells those who have room again what they lost.
    pub(crate) fn report_missed(&mut self) {
        for subscriber in &mut self.list {
            if subscriber.has_news_of_loss() {
                subscriber.report_missed();
            }
        }
    }

    /// Waits for slow subscribers again, after an interruption.
    pub(crate) fn resume(&mut self) {
        while self.interrupt.signal.try_recv().is_ok() {}
        self.interrupt.raised.set(false);
    }
}

/// Ends the wait for slow subscribers, from the signal until it is lowered.
struct Interrupt {
    signal: Receiver<()>,
    raised: std::cell::Cell<bool>,
}

impl Interrupt {
    /// The signal to listen to; `None` once it was given.
    fn signal(&self) -> Option<&Receiver<()>> {
        (!self.raised.get()).then_some(&self.signal)
    }

    fn raise(&self) {
        self.raised.set(true);
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::message::{Closed, RawMessage};

    fn message(number: usize) -> Event {
        Event::Other(RawMessage::new(&number.to_string(), &[]))
    }

    fn closed() -> Event {
        Event::Closed(Closed {
            error: None,
            number: 1,
        })
    }

    fn subscribers() -> (Subscribers, Sender<()>) {
        let (interrupt, signal) = bounded(1);
        (Subscribers::new(signal), interrupt)
    }

    /// What a subscriber reads: message topics as they are, losses as `-n`, the end as `closed`.
    fn read(events: &Events) -> Vec<String> {
        events
            .receiver()
            .try_iter()
            .map(|event| match event {
                Event::Other(raw) => raw.topic().to_owned(),
                Event::Lagged(missed) => format!("-{missed}"),
                Event::Closed(_) => "closed".to_owned(),
                event => panic!("{event:?}"),
            })
            .collect()
    }

    #[test]
    fn every_subscriber_gets_every_event() {
        let (mut subscribers, _interrupt) = subscribers();
        let both: Vec<_> = (0..2)
            .map(|_| {
                let (subscriber, events) = subscription(10, Overflow::default());
                subscribers.add(subscriber);
                events
            })
            .collect();
        (1..=3).for_each(|number| subscribers.publish(message(number)));
        for events in &both {
            assert_eq!(read(events), ["1", "2", "3"]);
        }
    }

    #[test]
    fn what_is_not_wanted_is_left_out_and_news_about_the_client_never() {
        let (mut subscribers, _interrupt) = subscribers();
        let (subscriber, events) = subscription(10, Overflow::default());
        let is_wanted = |event: &Event| matches!(event, Event::Other(raw) if raw.topic() == "2");
        subscribers.add(subscriber.only(is_wanted));
        (1..=3).for_each(|number| subscribers.publish(message(number)));
        subscribers.publish(closed());
        assert_eq!(read(&events), ["2", "closed"]);
        assert_eq!(events.dropped(), 0);
    }

    #[test]
    fn drop_newest_reports_the_loss_where_it_happened() {
        let (mut subscribers, _interrupt) = subscribers();
        let (subscriber, events) = subscription(2, Overflow::DropNewest);
        subscribers.add(subscriber);
        (1..=5).for_each(|number| subscribers.publish(message(number)));
        assert_eq!(read(&events), ["1", "2"]);
        subscribers.publish(message(6));
        assert_eq!(read(&events), ["-3", "6"]);
    }

    #[test]
    fn drop_oldest_keeps_the_newest_and_counts_the_rest() {
        let (mut subscribers, _interrupt) = subscribers();
        let (subscriber, events) = subscription(2, Overflow::DropOldest);
        subscribers.add(subscriber);
        (1..=3).for_each(|number| subscribers.publish(message(number)));
        assert!(subscribers.any_missed());
        assert_eq!(read(&events), ["2", "3"]);
        subscribers.report_missed();
        assert_eq!(read(&events), ["-1"]);
        assert!(!subscribers.any_missed());
    }

    #[test]
    fn a_stream_ends_with_what_was_lost_and_not_reported_yet() {
        for (overflow, expected) in [
            (Overflow::DropOldest, ["4", "5", "-3"].as_slice()),
            (Overflow::DropNewest, &["1", "2", "-3"]),
            (Overflow::Block, &["2", "-4"]),
        ] {
            let (mut subscribers, interrupt) = subscribers();
            let (subscriber, events) = subscription(2, overflow);
            subscribers.add(subscriber);
            interrupt.send(()).unwrap();
            (1..=5).for_each(|number| subscribers.publish(message(number)));
            drop(subscribers);
            assert_eq!(read(&events), expected, "{overflow:?}");
            assert!(events.recv().is_err());
        }
    }

    #[test]
    fn a_stream_that_is_full_of_news_about_the_client_ends_with_it() {
        let (mut subscribers, interrupt) = subscribers();
        let (subscriber, events) = subscription(2, Overflow::Block);
        subscribers.add(subscriber);
        (0..2).for_each(|_| subscribers.publish(closed()));
        interrupt.send(()).unwrap();
        subscribers.publish(message(1));
        drop(subscribers);
        assert_eq!(read(&events), ["closed", "closed"]);
        assert_eq!(events.dropped(), 1);
    }

    #[test]
    fn received_and_lost_add_up_under_any_load() {
        for overflow in [Overflow::DropOldest, Overflow::DropNewest] {
            let (mut subscribers, _interrupt) = subscribers();
            let (subscriber, events) = subscription(7, overflow);
            subscribers.add(subscriber);
            let mut random = fastrand::Rng::with_seed(11);
            let (mut sent, mut received, mut lost) = (0, 0, 0);
            let mut take = |event| match event {
                Event::Lagged(missed) => lost += missed,
                _ => received += 1,
            };
            for _ in 0..20_000 {
                if random.bool() {
                    sent += 1;
                    subscribers.publish(message(sent));
                } else if random.u8(..) < 100 {
                    events.try_recv().into_iter().for_each(&mut take);
                }
            }
            subscribers.publish(closed());
            events.receiver().try_iter().for_each(&mut take);
            assert_eq!(received - 1 + lost, sent as u64, "{overflow:?}");
            assert!(lost > 0);
        }
    }

    #[test]
    fn news_about_the_client_finds_room_in_a_full_queue() {
        for overflow in [Overflow::DropOldest, Overflow::DropNewest, Overflow::Block] {
            let (mut subscribers, interrupt) = subscribers();
            let (subscriber, events) = subscription(2, overflow);
            subscribers.add(subscriber);
            (1..=2).for_each(|number| subscribers.publish(message(number)));
            interrupt.send(()).unwrap();
            (0..100).for_each(|_| subscribers.publish(closed()));
            assert_eq!(
                read(&events).last().map(String::as_str),
                Some("closed"),
                "{overflow:?}"
            );
        }
    }

    #[test]
    fn news_about_the_client_keeps_its_place_when_messages_give_way() {
        let (mut subscribers, _interrupt) = subscribers();
        let (subscriber, events) = subscription(3, Overflow::DropOldest);
        subscribers.add(subscriber);
        subscribers.publish(message(1));
        subscribers.publish(closed());
        (2..=100).for_each(|number| subscribers.publish(message(number)));
        subscribers.publish(closed());
        let seen = read(&events);
        let kept: Vec<_> = seen
            .iter()
            .filter(|entry| !entry.starts_with('-'))
            .collect();
        assert_eq!(kept, ["closed", "99", "100", "closed"]);
        let lost: i64 = seen
            .iter()
            .filter_map(|entry| entry.parse::<i64>().ok())
            .filter(|n| *n < 0)
            .sum();
        assert_eq!(lost, -98);
    }

    #[test]
    fn a_queue_full_of_news_about_the_client_loses_messages_and_not_the_news() {
        let (mut subscribers, _interrupt) = subscribers();
        let (subscriber, events) = subscription(1, Overflow::DropOldest);
        subscribers.add(subscriber);
        for number in 0..=RESERVE {
            subscribers.publish(closed());
            subscribers.publish(message(number));
        }
        (0..100).for_each(|number| subscribers.publish(message(number)));
        let news = read(&events)
            .iter()
            .filter(|entry| *entry == "closed")
            .count();
        assert_eq!(
            (news, events.dropped()),
            (RESERVE + 1, RESERVE as u64 + 101)
        );
    }

    #[test]
    fn a_report_of_losses_takes_no_place_from_messages() {
        let (mut subscribers, _interrupt) = subscribers();
        let (subscriber, events) = subscription(10, Overflow::DropOldest);
        subscribers.add(subscriber);
        for number in 0..100 {
            subscribers.publish(message(number));
            subscribers.publish(Event::Lagged(3));
        }
        subscribers.publish(closed());
        let seen = read(&events);
        let messages = seen
            .iter()
            .filter(|entry| entry.parse::<u32>().is_ok())
            .count();
        assert!(messages >= 9, "{seen:?}");
        let lost: i64 = seen
            .iter()
            .filter_map(|entry| entry.parse::<i64>().ok())
            .filter(|n| *n < 0)
            .sum();
        assert_eq!(messages as i64 - lost, 100 + 300);
    }

    #[test]
    fn block_waits_for_the_reader_and_loses_nothing() {
        let (mut subscribers, _interrupt) = subscribers();
        let (subscriber, events) = subscription(1, Overflow::Block);
        subscribers.add(subscriber);
        let reader = thread::spawn(move || events.iter().take(1000).count());
        (0..1000).for_each(|number| subscribers.publish(message(number)));
        assert_eq!(reader.join().unwrap(), 1000);
        assert!(!subscribers.any_missed());
    }

    #[test]
    fn an_interrupt_ends_the_wait_and_the_loss_is_counted() {
        let (mut subscribers, interrupt) = subscribers();
        let (subscriber, events) = subscription(1, Overflow::Block);
        subscribers.add(subscriber);
        subscribers.publish(message(1));
        interrupt.send(()).unwrap();
        subscribers.publish(message(2));
        subscribers.publish(message(3));
        assert_eq!(read(&events), ["1"]);
        subscribers.resume();
        let reader = thread::spawn(move || [events.recv(), events.recv()].map(Result::unwrap));
        subscribers.publish(message(4));
        let [Event::Lagged(2), Event::Other(_)] = reader.join().unwrap() else {
            panic!("the loss was not reported before the next message");
        };
    }

    #[test]
    fn a_dropped_subscription_does_not_hold_up_the_others() {
        let (mut subscribers, _interrupt) = subscribers();
        let (gone, events) = subscription(1, Overflow::Block);
        subscribers.add(gone);
        subscribers.publish(message(1));
        drop(events);
        subscribers.publish(message(2));
        assert!(subscribers.list.is_empty());
    }
}
