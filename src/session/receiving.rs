//! The receiving side: decodes messages, counts them, and hands them to every subscriber.

use std::{
    sync::{Arc, MutexGuard},
    time::Instant,
};

use crossbeam_channel::Receiver;

use super::{duplicates::Duplicates, filling::Filling, status::Status};
use crate::{
    clock::Moment,
    events::{Returned, Subscriber, Subscribers},
    message::{
        CounterReport, DeviceBack, DeviceChange, DeviceSilent, Event, Malformed, RawMessage,
        Receipt, Spare, UplinkMessage,
    },
    mqtt::{Attempt, Outlet, Run, Tagged},
    network::Decoded,
    stats::Devices,
    topics::Layout,
};

pub(super) struct Receiving {
    topics: Arc<Layout>,
    outlet: Outlet,
    status: Arc<Status>,
    subscribers: Subscribers,
    returned: Returned,
    duplicates: Duplicates,
    /// The first attempt since the client was closed. Messages of earlier ones are discarded.
    first_open: Attempt,
    /// Whether a retained message has come.
    has_retained: bool,
    /// Whether messages are to be acknowledged.
    acknowledges: bool,
    /// Whether one has come that is not.
    has_unacknowledged: bool,
    /// Whether a message has come from a partition where it should not be.
    has_misplaced: bool,
    /// Whether to report devices that are silent.
    tells_silence: bool,
}

impl Receiving {
    pub(super) fn new(
        topics: Arc<Layout>,
        outlet: Outlet,
        status: Arc<Status>,
        (subscribers, returned): (Subscribers, Returned),
        duplicates: Duplicates,
        acknowledges: bool,
    ) -> Self {
        Self {
            topics,
            outlet,
            status,
            subscribers,
            returned,
            duplicates,
            first_open: Attempt(0),
            has_retained: false,
            acknowledges,
            has_unacknowledged: false,
            has_misplaced: false,
            tells_silence: false,
        }
    }

    /// Also reports devices that are silent.
    pub(super) fn telling_silence(self, tells_silence: bool) -> Self {
        Self {
            tells_silence,
            ..self
        }
    }

    /// Returns the channel of all signals from connections.
    pub(super) fn signals(&self) -> &Receiver<Tagged> {
        &self.outlet.receiver
    }

    /// Decodes a message, unless it came before the client was closed. Reports what its frame counter
    /// shows before the caller reports the event.
    pub(super) fn decode(
        &mut self,
        attempt: Attempt,
        raw: RawMessage,
        receipt: Option<&Receipt>,
        now: Moment,
        filling: &mut Filling,
    ) -> Option<Event> {
        if !self.takes(attempt, &raw, receipt) {
            return None;
        }
        self.note_retained(&raw);
        self.note_misplaced(&raw);
        let spare = self.returned.spare(&raw);
        let mut event = self.read(&raw, spare)?;
        match receipt {
            Some(receipt) if self.topics.is_feed() => event.hold_request(receipt),
            Some(receipt) => event.hold(receipt),
            None if self.acknowledges => self.note_unacknowledged(&raw),
            None => {}
        }
        if !filling.is_news(&mut event, now) {
            self.status.tally().count(&event);
            return None;
        }
        if let Event::Uplink(uplink) = &mut event {
            self.duplicates.mark(uplink);
        }
        match &event {
            event if event.is_retained() => {}
            // It was counted the first time.
            Event::Uplink(uplink) if uplink.is_duplicate() => {}
            Event::Uplink(uplink) => {
                let (reports, back) = self.count_frame(uplink, now);
                let reports = reports.into_iter().flatten().map(Event::Counter);
                for event in reports.chain(back.map(Event::DeviceBack)) {
                    self.report(event);
                }
            }
            Event::Activation(join) if !join.is_simulated() => {
                self.devices().starts_over(&join.dev_id)
            }
            Event::Device(device) if device.change == DeviceChange::Deleted => {
                self.devices().deleted(&device.dev_id);
            }
            Event::Device(device) if device.change != DeviceChange::Updated => {
                self.devices().starts_over(&device.dev_id);
            }
            _ => {}
        }
        Some(event)
    }

    /// Tells the user once that a message can be old.
    fn note_retained(&mut self, raw: &RawMessage) {
        if raw.is_retained() && !self.has_retained {
            self.has_retained = true;
            log::warn!(
                "the server retains messages, for example on {:?}: they can be old and come again with every \
                 connection; check Event::is_retained, or let the publisher clear MQTT's retain flag",
                raw.topic()
            );
        }
    }

    /// Tells the user once that the partitions do not fit.
    fn note_misplaced(&mut self, raw: &RawMessage) {
        if self.has_misplaced {
            return;
        }
        if let Some(why) = self.topics.misplaced(raw.topic()) {
            self.has_misplaced = true;
            log::warn!("a message came on {:?}: {why}", raw.topic());
        }
    }

    fn count_frame(
        &self,
        uplink: &UplinkMessage,
        now: Moment,
    ) -> ([Option<CounterReport>; 2], Option<DeviceBack>) {
        let mut devices = self.devices();
        let at = devices.at(now);
        let reports = devices.uplink(uplink, at, now.time);
        (reports, devices.take_back())
    }

    /// Returns when the next device may be silent.
    pub(super) fn next_silence(&self) -> Option<Instant> {
        if !self.tells_silence {
            return None;
        }
        let now = Moment::now();
        let mut devices = self.devices();
        let at = devices.at(now);
        now.instant.checked_add(devices.next_silence(at)?)
    }

    /// Reports the devices that are silent from now on.
    pub(super) fn tell_silence(&mut self) {
        if !self.tells_silence {
            return;
        }
        while let Some(silent) = self.take_silent() {
            self.report(Event::DeviceSilent(silent));
        }
    }

    fn take_silent(&self) -> Option<DeviceSilent> {
        let mut devices = self.devices();
        let at = devices.at(Moment::now());
        devices.take_silent(at)
    }

    /// Notes whether what was missed is being fetched.
    pub(super) fn fills_gap(&self, is_running: bool) {
        if self.tells_silence {
            let mut devices = self.devices();
            let at = devices.at(Moment::now());
            devices.fills(at, is_running);
        }
    }

    /// Decodes a message that came after the client was closed, for the downlinks that it may be about.
    /// It counts as dropped.
    pub(super) fn decode_late(&self, raw: RawMessage) -> Option<Event> {
        self.outlet.make_room(&raw);
        self.status.tally().dropped(1);
        Some(self.topics.decode(&raw, Spare::default())?.event)
    }

    /// Frees memory that is kept for the next uplinks, unless some wait.
    pub(super) fn rest(&mut self) {
        if self.signals().is_empty() {
            self.returned.free();
        }
    }

    /// Makes room for a message that is not for the user.
    pub(super) fn leave_out(&self, raw: &RawMessage) {
        self.outlet.make_room(raw);
    }

    /// Decodes a message, and counts its members that could not be read. Returns `None` for one of another
    /// application.
    fn read(&self, raw: &RawMessage, spare: Spare) -> Option<Event> {
        let Decoded { event, odd } = self.topics.decode(raw, spare)?;
        if odd.members > 0 {
            self.status.tally().odd_members(odd.members);
            // The names of attributes and locations are as long as a user makes them.
            const SHOWN: usize = 200;
            log::debug!(
                "cannot read {} of the members of the message on {}; they are in its extra, the first is {}",
                odd.members,
                raw.topic().escape_debug(),
                odd.first
                    .chars()
                    .take(SHOWN)
                    .collect::<String>()
                    .escape_debug()
            );
        }
        Some(event)
    }

    /// Reports a message whose topic is not text.
    pub(super) fn unreadable(
        &mut self,
        attempt: Attempt,
        raw: RawMessage,
        receipt: Option<Receipt>,
    ) {
        if self.takes(attempt, &raw, receipt.as_ref()) {
            self.note_retained(&raw);
            self.report(Event::Malformed(Arc::new(Malformed::of_topic(raw))));
        }
    }

    fn takes(&self, attempt: Attempt, raw: &RawMessage, receipt: Option<&Receipt>) -> bool {
        self.outlet.make_room(raw);
        let is_open = attempt >= self.first_open;
        if !is_open {
            self.status.tally().dropped(1);
            if let Some(receipt) = receipt {
                receipt.discard();
            }
        }
        is_open
    }

    /// Counts a message that a broker of one's own does not deliver at QoS 1, and tells the user once.
    fn note_unacknowledged(&mut self, raw: &RawMessage) {
        self.status.tally().unacknowledged();
        if !self.has_unacknowledged {
            self.has_unacknowledged = true;
            log::warn!(
                "messages do not arrive at QoS 1, for example on {:?}, although the client subscribes with it, so that none \
                 comes again: their publisher uses QoS 0, and must use QoS 1; or the broker grants no more than QoS 0; or \
                 it keeps a subscription of another program at QoS 2 for this client id, which forget_session ends",
                raw.topic()
            );
        }
    }

    /// Counts messages that were dropped on their way here, and tells subscribers.
    pub(super) fn dropped(&mut self, messages: u64) {
        self.status.tally().dropped(messages);
        self.devices().dropped();
        self.report(Event::Lagged(messages));
    }

    /// Does the same for a run of drops that was not followed by an accepted message. Returns whether there
    /// are any.
    pub(super) fn dropped_in(&mut self, run: Run) -> bool {
        let messages = self.outlet.end_run(run);
        if messages > 0 {
            self.dropped(messages);
        }
        messages > 0
    }

    /// Notes that an attempt to connect begins: uplinks from now on may come over its connection.
    pub(super) fn attempt(&self) {
        self.devices().attempt();
    }

    /// Discards the unread messages of this attempt and earlier ones: they came before the client was
    /// closed.
    pub(super) fn closed(&mut self, last: Attempt) {
        self.first_open = Attempt(last.0 + 1);
    }

    pub(super) fn subscribe(&mut self, subscriber: Subscriber) {
        self.status.tally().add_subscriber(subscriber.reader());
        self.subscribers.add(subscriber);
    }

    /// Does the same for a worker, which counts what it has lost.
    pub(super) fn subscribe_worker(&mut self, subscriber: Subscriber) {
        self.subscribers.add(subscriber);
    }

    /// Keeps uplinks until [`release`](Self::release).
    pub(super) fn hold(&mut self) {
        self.subscribers.hold();
    }

    pub(super) fn release(&mut self) {
        self.subscribers.release();
    }

    /// Waits for slow subscribers again.
    pub(super) fn resume(&mut self) {
        self.subscribers.resume();
    }

    /// Returns whether a subscriber has drops that it has not been told about.
    pub(super) fn any_untold(&self) -> bool {
        self.subscribers.any_untold()
    }

    /// Tells subscribers that have room again about their drops.
    pub(super) fn tell_drops(&mut self) {
        self.subscribers.tell_drops();
    }

    /// Returns for whom events wait, and how many.
    pub(super) fn queued(&self) -> Vec<(String, usize)> {
        self.subscribers.queued()
    }

    /// Returns whether every subscriber has room for an event that can wait.
    pub(super) fn have_room(&mut self, now: Instant) -> bool {
        self.subscribers.have_room(now)
    }

    /// Notes an uplink that an earlier run of the program has handled, so that it is not missing. What its
    /// frame counter shows was for that run to report.
    pub(super) fn note_handled(&self, uplink: &UplinkMessage, now: Moment) {
        let mut devices = self.devices();
        let at = devices.at(now);
        devices.fill(uplink, at, now.time);
        // A report about it was for that run too.
        devices.take_back();
    }

    /// Reports an uplink that was fetched, and what its frame counter shows before that.
    pub(super) fn fill(&mut self, uplink: Arc<UplinkMessage>, now: Moment) {
        let (reports, back) = {
            let mut devices = self.devices();
            let at = devices.at(now);
            let reports = devices.fill(&uplink, at, now.time);
            (reports, devices.take_back())
        };
        let [first, second] = reports.map(|report| report.map(Event::Counter));
        let back = back.map(Event::DeviceBack);
        let events = [first, second, back, Some(Event::Uplink(uplink))];
        for event in events.iter().flatten() {
            self.status.tally().count(event);
        }
        self.subscribers.report_together(&events);
    }

    /// Counts an event and hands it to every subscriber.
    pub(super) fn report(&mut self, event: Event) {
        self.status.tally().count(&event);
        self.subscribers.report(event);
    }

    fn devices(&self) -> MutexGuard<'_, Devices> {
        self.status.tally().devices()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use crossbeam_channel::never;

    use super::*;
    use crate::{MqttClient, config::Options, events, message::Acknowledger, mqtt, wire};

    /// The places of the messages that are given back.
    #[derive(Debug, Default)]
    struct Returned(AtomicU64);

    impl Acknowledger for Returned {
        fn queued(&self, _: u64) {}

        fn ended(&self, place: u64, is_handled: bool) {
            if !is_handled {
                self.0.fetch_or(1 << place, Ordering::Relaxed);
            }
        }

        fn failed(&self, _: u64) -> bool {
            false
        }
    }

    fn options() -> Options {
        MqttClient::own_broker("barn@ttn")
            .mqtt_address("localhost:1883")
            .check()
            .unwrap()
    }

    fn receiving(
        options: &Options,
        outlet: Outlet,
        status: Arc<Status>,
        returned: events::Returned,
    ) -> Receiving {
        Receiving::new(
            Arc::new(Layout::new(options)),
            outlet,
            status,
            (Subscribers::new(never()), returned),
            Duplicates::new(1),
            true,
        )
    }

    #[test]
    fn handled_uplinks_are_freed_as_soon_as_no_message_waits() {
        let options = options();
        let (inlet, outlet) = mqtt::inlet(10, 1_000);
        let status = Arc::new(Status::new(&options));
        let (spent, returned) = events::spent();
        let mut receiving = receiving(&options, outlet, status, returned);
        let raw = RawMessage::new("v3/barn@ttn/devices/bed-07/up", b"{}");
        let uplinks: Vec<_> = (0..50)
            .map(|_| Arc::new(UplinkMessage::new("barn@ttn", "bed-07", raw.clone())))
            .collect();
        uplinks.iter().for_each(|it| spent.give(Arc::clone(it)));
        let kept = || {
            uplinks
                .iter()
                .filter(|it| Arc::strong_count(it) > 1)
                .count()
        };
        let mut filling = Filling::new(&options);
        let event = receiving.decode(Attempt(1), raw, None, Moment::now(), &mut filling);
        assert_eq!((event.is_some(), kept()), (true, 49));
        inlet.forward(Attempt(1), wire::Report::Processed(1));
        receiving.rest();
        assert_eq!(kept(), 49, "a message may be next");
        receiving.signals().recv().unwrap();
        receiving.rest();
        assert_eq!(kept(), 0);
    }

    #[test]
    fn what_is_read_after_the_client_was_closed_is_not_acknowledged_and_counts_as_dropped() {
        let options = options();
        let (_inlet, outlet) = mqtt::inlet(10, 1_000);
        let status = Arc::new(Status::new(&options));
        let mut receiving = receiving(&options, outlet, Arc::clone(&status), events::spent().1);
        let mut filling = Filling::new(&options);
        let returned = Arc::new(Returned::default());
        let mut receive = |attempt, place| {
            let raw = RawMessage::new("v3/barn@ttn/devices/bed-07/up", b"{}");
            let receipt = || Receipt::new(Arc::clone(&returned) as _, place, false);
            let now = Moment::now();
            let event = receiving.decode(
                Attempt(attempt),
                raw.clone(),
                Some(&receipt()),
                now,
                &mut filling,
            );
            receiving.unreadable(Attempt(attempt), raw, Some(receipt()));
            if place == 1 {
                receiving.closed(Attempt(2));
            }
            event.is_some()
        };
        assert!(receive(2, 1));
        assert!(!receive(1, 2));
        assert!(!receive(2, 3));
        assert!(receive(3, 4));
        assert_eq!(returned.0.load(Ordering::Relaxed), 0b1100);
        assert_eq!(status.stats(0, Vec::new()).dropped, 4);
    }
}
