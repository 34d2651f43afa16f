//! The downlinks that are followed: which one the network means, and what is to be expected of it.
//! The clock is read by others.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::{Map, Value};

use super::delivery::{DeliveryState, Progress};
use crate::{
    config::Options,
    error::{Error, ErrorKind},
    message::{Downlink, DownlinkEvent, DownlinkStep, MessageIds, ReadPayload},
    network::Network,
};

/// With fewer entries than this nobody looks for those that can go.
const SWEEP: usize = 64;

/// The error of a V2 network that keeps what is queued; it does not name a downlink.
const NO_GATEWAYS: &str = "No gateways available for downlink";

/// The error of a v3 network that sends a confirmed downlink again, as if the device had not
/// answered.
const TRANSMISSION: &str = "pkg/networkserver:transmission";

/// A downlink to follow.
pub(crate) struct Followed {
    pub(crate) dev_id: Arc<str>,
    pub(crate) correlation_id: Option<Arc<str>>,
    /// To know it by where the network gives no id.
    pub(crate) content: Option<Content>,
    /// Whether a payload formatter has to encode it.
    pub(crate) has_fields: bool,
    /// Whether it takes the place of what is queued for the device.
    pub(crate) replaces: bool,
    pub(crate) progress: Arc<Progress>,
}

/// When it is followed no more, for whatever reason, nobody waits for it in vain.
impl Drop for Followed {
    fn drop(&mut self) {
        self.progress.advance(DeliveryState::Forgotten);
    }
}

/// What a network without ids is to repeat of a downlink.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Content {
    pub(crate) port: u8,
    pub(crate) confirmed: bool,
    pub(crate) payload: Data,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Data {
    Bytes(Vec<u8>),
    Fields(Map<String, Value>),
}

struct Entry {
    followed: Followed,
    /// The first of those that were sent together.
    group: u64,
    accepted: Instant,
    /// How long after it was written the connection ended.
    cut_after: Option<Duration>,
}

/// Downlinks that are not final yet, by their number, which is their order.
pub(crate) struct Book {
    network: Network,
    app_id: String,
    capacity: usize,
    max_age: Duration,
    patience: Duration,
    /// How many entries there are when it is next time to look for those that nobody follows.
    sweep_at: usize,
    entries: BTreeMap<u64, Entry>,
    by_correlation: HashMap<Arc<str>, u64>,
    by_device: HashMap<Arc<str>, Vec<u64>>,
    /// When those were written of which the network has said nothing.
    unanswered: BTreeMap<u64, Instant>,
}

impl Book {
    pub(crate) fn new(options: &Options) -> Self {
        Self::with(
            options.network,
            &options.app_id,
            (
                options.follow_downlinks.downlinks,
                options.follow_downlinks.time,
            ),
            options.unconfirmed_after,
        )
    }

    fn with(
        network: Network,
        app_id: &str,
        (capacity, max_age): (usize, Duration),
        patience: Duration,
    ) -> Self {
        Self {
            network,
            app_id: app_id.to_owned(),
            capacity,
            max_age,
            patience,
            sweep_at: SWEEP,
            entries: BTreeMap::new(),
            by_correlation: HashMap::new(),
            by_device: HashMap::new(),
            unanswered: BTreeMap::new(),
        }
    }

    /// Follows the downlinks of one message.
    pub(crate) fn open(&mut self, ids: MessageIds, downlinks: Vec<Followed>, now: Instant) {
        let mut group = None;
        for (id, followed) in ids.iter().zip(downlinks) {
            let id = id.get();
            let group = *group.get_or_insert(id);
            if let Some(correlation_id) = &followed.correlation_id {
                self.by_correlation.insert(Arc::clone(correlation_id), id);
            }
            match self.by_device.get_mut(&followed.dev_id) {
                Some(ids) => ids.push(id),
                None => drop(
                    self.by_device
                        .insert(Arc::clone(&followed.dev_id), vec![id]),
                ),
            }
            let entry = Entry {
                followed,
                group,
                accepted: now,
                cut_after: None,
            };
            self.entries.insert(id, entry);
            if self.entries.len() > self.capacity {
                self.make_room();
            } else if self.entries.len() >= self.sweep_at && self.network.correlates() {
                // Elsewhere they are needed to tell others of the same content from them.
                self.sweep();
                self.sweep_at = (2 * self.entries.len()).max(SWEEP);
            }
        }
    }

    /// Removes those whose deliveries are dropped.
    fn sweep(&mut self) {
        let dropped: Vec<u64> = self
            .entries
            .iter()
            .filter(|(_, entry)| Arc::strong_count(&entry.followed.progress) == 1)
            .map(|(id, _)| *id)
            .collect();
        for id in dropped {
            self.remove(id);
        }
    }

    /// Those whose deliveries are dropped go first, then the oldest.
    fn make_room(&mut self) {
        self.sweep();
        if self.entries.len() <= self.capacity {
            return;
        }
        // Some more than needed, so that not every further one leads here.
        let room = self.capacity - self.capacity / 100;
        while self.entries.len() > room {
            let Some((id, _)) = self.entries.first_key_value() else {
                return;
            };
            let id = *id;
            self.remove(id);
        }
    }

    fn remove(&mut self, id: u64) {
        self.unanswered.remove(&id);
        let Some(Entry { followed, .. }) = self.entries.remove(&id) else {
            return;
        };
        if let Some(correlation_id) = &followed.correlation_id {
            self.by_correlation.remove(correlation_id);
        }
        if let Some(ids) = self.by_device.get_mut(&followed.dev_id) {
            ids.retain(|other| *other != id);
            if ids.is_empty() {
                self.by_device.remove(&followed.dev_id);
            }
        }
    }

    fn advance(&mut self, id: u64, state: DeliveryState) {
        self.unanswered.remove(&id);
        if let Some(entry) = self.entries.get(&id) {
            if entry.followed.progress.advance(state) {
                self.remove(id);
            }
        }
    }

    /// A message has left this machine.
    pub(crate) fn written(&mut self, ids: MessageIds, now: Instant) {
        for id in ids.iter() {
            let id = id.get();
            self.advance(id, DeliveryState::Written);
            // The network may have answered before.
            let is_unanswered =
                |entry: &Entry| matches!(entry.followed.progress.state(), DeliveryState::Written);
            if self.entries.get(&id).is_some_and(is_unanswered) {
                self.unanswered.insert(id, now);
            }
        }
    }

    /// A message was not written.
    pub(crate) fn not_written(&mut self, ids: MessageIds, error: &Error) {
        for id in ids.iter() {
            let state = match error.kind() {
                ErrorKind::Expired => DeliveryState::Expired,
                _ => DeliveryState::Failed(error.clone()),
            };
            self.advance(id.get(), state);
        }
    }

    /// The connection has ended.
    pub(crate) fn disconnected(&mut self, now: Instant) {
        for (id, written) in &self.unanswered {
            if let Some(entry) = self.entries.get_mut(id) {
                let after = now.saturating_duration_since(*written);
                entry.cut_after.get_or_insert(after);
            }
        }
    }

    /// When something is next to be concluded from the time.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let oldest = self.entries.first_key_value();
        let oldest = oldest.and_then(|(_, entry)| entry.accepted.checked_add(self.max_age));
        let unanswered = self.unanswered.first_key_value();
        let unanswered = unanswered.and_then(|(_, written)| written.checked_add(self.patience));
        [oldest, unanswered].into_iter().flatten().min()
    }

    /// Concludes from the time what there is to conclude.
    pub(crate) fn on_time(&mut self, now: Instant) {
        let is_due = |since: Instant, time| now.saturating_duration_since(since) >= time;
        while let Some((id, written)) = self.unanswered.first_key_value() {
            let id = *id;
            if !is_due(*written, self.patience) {
                break;
            }
            self.unanswered.remove(&id);
            if let Some(entry) = self.entries.get(&id) {
                let error = self.unconfirmed(entry);
                self.advance(id, DeliveryState::Unconfirmed(error));
            }
        }
        while let Some((id, entry)) = self.entries.first_key_value() {
            if !is_due(entry.accepted, self.max_age) {
                break;
            }
            let id = *id;
            self.remove(id);
        }
    }

    /// What the network reports.
    pub(crate) fn observe(&mut self, event: &DownlinkEvent) {
        let Some(id) = self.find(event) else {
            return;
        };
        let state = match event.step {
            DownlinkStep::Queued => DeliveryState::Queued,
            DownlinkStep::Sent => DeliveryState::Sent,
            DownlinkStep::Acknowledged => DeliveryState::Acknowledged,
            DownlinkStep::NotAcknowledged => DeliveryState::NotAcknowledged {
                attempt: event.attempt,
            },
            DownlinkStep::Failed if self.is_tried_again(id, event) => {
                DeliveryState::NotSent(failed(event))
            }
            DownlinkStep::Failed | DownlinkStep::Invalidated => {
                DeliveryState::Failed(failed(event))
            }
        };
        let replaced = match (event.step, self.entries.get(&id)) {
            (DownlinkStep::Queued, Some(entry)) if entry.followed.replaces => {
                self.replaced_by(entry)
            }
            _ => Vec::new(),
        };
        for other in replaced {
            self.advance(other, DeliveryState::Replaced);
        }
        self.advance(id, state);
    }

    /// Whether the network keeps a downlink of which it reports a failure, and tries again.
    fn is_tried_again(&self, id: u64, event: &DownlinkEvent) -> bool {
        match self.network {
            Network::V2 => event.error == NO_GATEWAYS,
            Network::V3 => {
                let is_confirmed = |entry: &Entry| entry.followed.progress.is_confirmed();
                let details = event.error_details.as_ref();
                details.is_some_and(|details| details.id() == TRANSMISSION)
                    && self.entries.get(&id).is_some_and(is_confirmed)
            }
        }
    }

    /// The downlinks of the same device that were in its queue before.
    fn replaced_by(&self, entry: &Entry) -> Vec<u64> {
        let is_gone = |id: &&u64| {
            let state = |entry: &Entry| entry.followed.progress.state();
            **id < entry.group
                && match (self.network, self.entries.get(id).map(state)) {
                    (_, Some(DeliveryState::Queued)) => true,
                    // What is to be sent again is in the queue again.
                    (Network::V3, Some(DeliveryState::NotAcknowledged { .. })) => true,
                    // V2 forgets the one that is being repeated, too.
                    (Network::V2, Some(DeliveryState::Sent | DeliveryState::NotSent(_))) => true,
                    _ => false,
                }
        };
        let device = self.by_device.get(&entry.followed.dev_id);
        device
            .into_iter()
            .flatten()
            .filter(is_gone)
            .copied()
            .collect()
    }

    fn find(&self, event: &DownlinkEvent) -> Option<u64> {
        if self.network.correlates() {
            let known = |id: &String| self.by_correlation.get(id.as_str()).copied();
            return event.correlation_ids.iter().find_map(known);
        }
        // What the network made by itself has no content.
        let is_empty =
            event.port == 0 && event.payload_raw.is_empty() && event.payload_fields.is_null();
        if is_empty && event.step == DownlinkStep::Sent {
            return None;
        }
        let ids = self.by_device.get(event.dev_id.as_str())?;
        let fits = |id: &&u64| {
            let Some(Entry { followed, .. }) = self.entries.get(id) else {
                return false;
            };
            let Some(content) = &followed.content else {
                return false;
            };
            let state = followed.progress.state();
            if event.error == NO_GATEWAYS {
                matches!(state, DeliveryState::Queued | DeliveryState::NotSent(_))
            } else if is_empty {
                awaits(&state, content.confirmed, event.step)
            } else {
                content.is_of(event) && can_come_to(&state, content.confirmed, event.step)
            }
        };
        ids.iter().find(fits).copied()
    }

    fn unconfirmed(&self, entry: &Entry) -> Error {
        let Followed {
            dev_id, has_fields, ..
        } = &entry.followed;
        let mut causes = Vec::new();
        if let Some(after) = entry.cut_after {
            let after = after.as_millis();
            causes.push(if self.network.limits_by_closing() {
                format!(
                    "the connection ended {after} ms after it was written, as a server does to which too much was sent; or the news of it fell into that gap"
                )
            } else {
                format!("the connection ended {after} ms after it was written, and the news of it fell into that gap")
            });
        }
        causes.push(self.network.write_right().to_owned());
        causes.push(format!(
            "there is no device {dev_id:?} in the application {:?} on this server{}",
            self.app_id,
            match self.network {
                Network::V2 => "",
                Network::V3 => " (is it the right tenant and cluster?)",
            }
        ));
        if *has_fields {
            causes.push(
                "it was sent as fields, and there is no payload formatter that encodes them"
                    .to_owned(),
            );
        }
        Error::new(
            ErrorKind::Unconfirmed,
            format!(
                "the network said nothing of a downlink for {dev_id} within {:?}; likely causes, the likeliest first: {}",
                self.patience,
                causes.join("; ")
            ),
        )
    }
}

impl Content {
    /// What a V2 network is to repeat of a downlink that can be sent.
    pub(crate) fn of(downlink: &Downlink) -> Self {
        Self {
            port: downlink.port.unwrap_or(1),
            confirmed: downlink.confirmed,
            payload: match downlink.payload.read() {
                Ok(ReadPayload::Fields(fields)) => Data::Fields(fields.clone()),
                Ok(ReadPayload::Bytes(bytes)) => Data::Bytes(bytes),
                Err(_) => Data::Bytes(Vec::new()),
            },
        }
    }

    fn is_of(&self, event: &DownlinkEvent) -> bool {
        self.port == event.port
            && self.confirmed == event.confirmed
            && match &self.payload {
                Data::Bytes(bytes) => *bytes == event.payload_raw,
                Data::Fields(fields) => event.payload_fields.as_object() == Some(fields),
            }
    }
}

/// Whether this is the next step of a downlink in this state, if nothing else is said of it.
fn awaits(state: &DeliveryState, confirmed: bool, step: DownlinkStep) -> bool {
    can_come_to(state, confirmed, step)
        && (step != DownlinkStep::Acknowledged || matches!(state, DeliveryState::Sent))
}

/// Whether a step without an id can be about a downlink in this state. The network does not wait
/// until its words are taken: some are lost.
fn can_come_to(state: &DeliveryState, confirmed: bool, step: DownlinkStep) -> bool {
    use DeliveryState::{Accepted, Unconfirmed, Written};
    match step {
        DownlinkStep::Queued => matches!(state, Accepted | Written | Unconfirmed(_)),
        DownlinkStep::Acknowledged => confirmed && !matches!(state, Accepted),
        _ => true,
    }
}

fn failed(event: &DownlinkEvent) -> Error {
    let words = match (event.step, event.error.as_str()) {
        (DownlinkStep::Invalidated, _) => {
            "it threw away the queue of the device, which has new session keys"
        }
        (_, "") => "it does not say why",
        (_, error) => error,
    };
    let text = format!(
        "the network cannot deliver a downlink for {}: {words}",
        event.dev_id
    );
    match &event.error_details {
        Some(details) => Error::with_source(ErrorKind::DownlinkFailed, text, (**details).clone()),
        None => Error::new(ErrorKind::DownlinkFailed, text),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::message::{Event, Schedule};

    const SECOND: Duration = Duration::from_secs(1);

    /// A book, and what is written in it.
    struct Desk {
        book: Book,
        now: Instant,
        next: u64,
    }

    impl Desk {
        fn new(capacity: usize) -> Self {
            Self::on(Network::V2, capacity)
        }

        fn on(network: Network, capacity: usize) -> Self {
            Self {
                book: Book::with(
                    network,
                    "greenhouse",
                    (capacity, 3600 * SECOND),
                    10 * SECOND,
                ),
                now: Instant::now(),
                next: 1,
            }
        }

        fn send(&mut self, dev_id: &str, downlink: &Downlink) -> Arc<Progress> {
            let ids = MessageIds::new(self.next, 1);
            let progress = self.accept(dev_id, downlink);
            self.book.written(ids, self.now);
            progress
        }

        fn accept(&mut self, dev_id: &str, downlink: &Downlink) -> Arc<Progress> {
            let progress = Progress::new(downlink.confirmed);
            let followed = Followed {
                dev_id: dev_id.into(),
                correlation_id: Some(format!("id-{}", self.next).into()),
                content: Some(Content::of(downlink)),
                has_fields: downlink.payload.is_fields(),
                replaces: downlink.schedule == Schedule::Replace,
                progress: Arc::clone(&progress),
            };
            let ids = MessageIds::new(self.next, 1);
            self.next += 1;
            self.book.open(ids, vec![followed], self.now);
            progress
        }

        fn report(&mut self, kind: &str, message: Value) {
            self.report_body(
                kind,
                &match message {
                    Value::Null => Value::Null,
                    message => json!({ "message": message }),
                },
            );
        }

        fn report_body(&mut self, kind: &str, body: &Value) {
            let topic = format!("greenhouse/devices/valve-3/events/down/{kind}");
            let event = Event::decode(Network::V2, topic, body.to_string()).unwrap();
            let Event::Downlink(report) = event else {
                panic!("{event:?}");
            };
            self.book.observe(&report);
        }

        /// What a v3 network says of the downlink with that number.
        fn report_of(&mut self, number: u64, kind: &str, mut downlink: Value) {
            downlink["correlation_ids"] = json!([format!("id-{number}")]);
            let body = match kind {
                "failed" => {
                    let error = json!({"namespace": "pkg/networkserver", "name": "transmission"});
                    json!({"downlink_failed": {"downlink": downlink, "error": error}})
                }
                kind => json!({ format!("downlink_{kind}"): downlink }),
            };
            let topic = format!("v3/greenhouse@ttn/devices/valve-3/down/{kind}");
            let event = Event::decode(Network::V3, topic, body.to_string()).unwrap();
            let Event::Downlink(report) = event else {
                panic!("{event:?}");
            };
            self.book.observe(&report);
        }

        fn pass(&mut self, time: Duration) {
            self.now += time;
            self.book.on_time(self.now);
        }
    }

    fn is(progress: &Progress, state: &str) -> bool {
        progress.state().to_string() == state
    }

    fn last(bytes: impl Into<Vec<u8>>) -> Downlink {
        Downlink::bytes(bytes).schedule(Schedule::Last)
    }

    fn message(payload_raw: &str, confirmed: bool) -> Value {
        json!({"port": 1, "confirmed": confirmed, "payload_raw": payload_raw})
    }

    fn is_not_sent(progress: &Progress) -> bool {
        matches!(progress.state(), DeliveryState::NotSent(_))
    }

    #[test]
    fn v2_downlinks_are_known_by_device_content_and_order() {
        let mut desk = Desk::new(10);
        let elsewhere = desk.send("valve-4", &last([1]));
        let first = desk.send("valve-3", &last([1]));
        let second = desk.send("valve-3", &last([1]));
        let other = desk.send("valve-3", &last([2]));
        desk.report("scheduled", message("AQ==", false));
        assert!(is(&first, "queued") && is(&second, "written") && is(&other, "written"));
        desk.report("scheduled", message("AQ==", false));
        assert!(is(&second, "queued"));
        desk.report("sent", message("AQ==", false));
        assert!(is(&first, "sent") && is(&second, "queued"));
        desk.report("sent", message("AQ==", false));
        assert!(is(&second, "sent"));
        assert!(is(&other, "written") && is(&elsewhere, "written"));
    }

    #[test]
    fn frames_that_nobody_asked_for_and_other_peoples_downlinks_are_nobodys() {
        let mut desk = Desk::new(10);
        let mine = desk.send("valve-3", &last([1]).confirmed(true));
        desk.report("scheduled", message("AQ==", true));
        desk.report("sent", json!({"port": 0}));
        desk.report("sent", message("Ag==", true));
        desk.report("sent", message("AQ==", false));
        desk.report("acks", message("Ag==", true));
        assert!(is(&mine, "queued"));
    }

    #[test]
    fn repeats_of_a_confirmed_downlink_are_its_own() {
        let mut desk = Desk::new(10);
        let first = desk.send("valve-3", &last([1]).confirmed(true));
        let second = desk.send("valve-3", &last([1]).confirmed(true));
        desk.report("scheduled", message("AQ==", true));
        desk.report("scheduled", message("AQ==", true));
        for _ in 0..3 {
            desk.report("sent", message("AQ==", true));
        }
        assert!(is(&first, "sent") && is(&second, "queued"));
        desk.report("acks", message("AQ==", true));
        assert!(is(&first, "acknowledged") && is(&second, "queued"));
    }

    #[test]
    fn reports_without_content_are_about_the_one_whose_turn_it_is() {
        let mut desk = Desk::new(10);
        let first = desk.send("valve-3", &last([1]).confirmed(true));
        let second = desk.send("valve-3", &last([2]).confirmed(true));
        desk.report("scheduled", Value::Null);
        desk.report("scheduled", Value::Null);
        assert!(is(&first, "queued") && is(&second, "queued"));
        desk.report("sent", message("AQ==", true));
        desk.report("acks", Value::Null);
        assert!(is(&first, "acknowledged") && is(&second, "queued"));
    }

    #[test]
    fn an_acknowledgement_proves_the_steps_of_which_nothing_was_heard() {
        let mut desk = Desk::new(10);
        let first = desk.send("valve-3", &last([1]).confirmed(true));
        let second = desk.send("valve-3", &last([1]).confirmed(true));
        let unconfirmed = desk.send("valve-3", &last([2]));
        desk.report("acks", message("AQ==", true));
        assert!(is(&first, "acknowledged") && is(&second, "written"));
        desk.report("acks", message("Ag==", false));
        // One without content proves nothing about a downlink that was not sent.
        desk.report("acks", Value::Null);
        assert!(is(&second, "written") && is(&unconfirmed, "written"));
    }

    #[test]
    fn without_gateways_a_v2_downlink_stays_where_it_is() {
        let mut desk = Desk::new(10);
        let queued = desk.send("valve-3", &last([1]));
        desk.report("scheduled", message("AQ==", false));
        let written = desk.send("valve-3", &last([2]));
        desk.report_body("errors", &json!({"error": NO_GATEWAYS}));
        assert!(is_not_sent(&queued) && is(&written, "written"));
        desk.report_body(
            "errors",
            &json!({"error": "Encoder not valid", "message": {"port": 1, "payload_raw": "Ag=="}}),
        );
        assert!(is_not_sent(&queued));
        assert!(matches!(written.state(), DeliveryState::Failed(_)));
    }

    #[test]
    fn a_confirmed_downlink_outlives_a_failed_transmission_and_another_does_not() {
        let mut desk = Desk::on(Network::V3, 10);
        let confirmed = desk.send("valve-3", &last([1]).confirmed(true));
        let other = desk.send("valve-3", &last([2]));
        desk.report_of(1, "failed", json!({"confirmed": true}));
        desk.report_of(2, "failed", json!({}));
        // It was taken, even if nothing else says so.
        assert!(is_not_sent(&confirmed));
        assert!(matches!(other.state(), DeliveryState::Failed(_)));
        desk.report_of(1, "sent", json!({"confirmed": true}));
        desk.report_of(1, "failed", json!({"confirmed": true}));
        assert!(is(&confirmed, "sent"));
        desk.report_of(1, "ack", json!({"confirmed": true}));
        assert!(is(&confirmed, "acknowledged"));
    }

    #[test]
    fn what_is_to_be_sent_again_can_be_replaced_and_what_is_on_its_way_cannot() {
        let mut desk = Desk::on(Network::V3, 10);
        let [sent, again, failed] =
            [1, 2, 3].map(|_| desk.send("valve-3", &last([1]).confirmed(true)));
        desk.report_of(1, "sent", json!({}));
        desk.report_of(2, "nack", json!({}));
        desk.report_of(3, "failed", json!({"confirmed": true}));
        let new = desk.send("valve-3", &Downlink::bytes([2]));
        desk.report_of(4, "queued", json!({}));
        assert!(is(&sent, "sent") && is(&again, "replaced") && is(&new, "queued"));
        assert!(is_not_sent(&failed));
    }

    #[test]
    fn what_the_network_says_before_the_write_is_known_stands() {
        let mut desk = Desk::on(Network::V3, 10);
        let ids = MessageIds::new(desk.next, 1);
        let delivery = desk.accept("valve-3", &last([1]).confirmed(true));
        desk.report_of(1, "queued", json!({}));
        desk.book.written(ids, desk.now);
        assert!(is(&delivery, "queued"));
        // It is not taken for silence.
        desk.pass(20 * SECOND);
        assert!(is(&delivery, "queued"));
    }

    #[test]
    fn fields_are_known_by_their_names_and_values() {
        let mut desk = Desk::new(10);
        let fields = json!({"open": true});
        let mine = desk.send("valve-3", &Downlink::fields(&fields));
        desk.report(
            "scheduled",
            json!({"port": 1, "payload_fields": {"open": false}}),
        );
        assert!(is(&mine, "written"));
        desk.report("scheduled", json!({"port": 1, "payload_fields": fields}));
        assert!(is(&mine, "queued"));
        // Now they are encoded.
        let sent = json!({"port": 1, "payload_fields": fields, "payload_raw": "AQ=="});
        desk.report("sent", sent);
        assert!(is(&mine, "sent"));
    }

    #[test]
    fn silence_is_concluded_in_time_and_names_an_end_of_the_connection() {
        let mut desk = Desk::new(10);
        let answered = desk.send("valve-3", &last([1]));
        desk.report("scheduled", message("AQ==", false));
        let silent = desk.send("valve-3", &last([2]));
        assert_eq!(desk.book.next_deadline(), Some(desk.now + 10 * SECOND));
        desk.pass(SECOND / 25);
        desk.book.disconnected(desk.now);
        desk.pass(9 * SECOND);
        assert!(is(&silent, "written"));
        desk.pass(SECOND);
        let words = silent.state().to_string();
        assert!(
            words.starts_with("unconfirmed") && words.contains("40 ms"),
            "{words}"
        );
        assert!(is(&answered, "queued"));
        desk.pass(3600 * SECOND);
        assert!(is(&answered, "not followed any more"));
        assert!(desk.book.entries.is_empty() && desk.book.by_device.is_empty());
        assert_eq!(desk.book.next_deadline(), None);
    }

    #[test]
    fn the_book_is_never_larger_than_allowed() {
        let mut desk = Desk::new(3);
        let kept: Vec<_> = (0..5)
            .map(|number| desk.send("valve-3", &last([number])))
            .collect();
        assert_eq!(desk.book.entries.len(), 3);
        assert!(kept[..2].iter().all(|one| is(one, "not followed any more")));
        assert!(kept[2..].iter().all(|one| is(one, "written")));
        (0..1_000).for_each(|_| drop(desk.send("valve-3", &last([9]))));
        assert!(kept[3..].iter().all(|one| is(one, "written")));
        assert!(desk.book.entries.len() <= 3 && desk.book.unanswered.len() <= 3);
        assert!(desk.book.by_device["valve-3"].len() <= 3);
    }

    #[test]
    fn those_whose_deliveries_are_dropped_leave_the_book() {
        let mut desk = Desk::on(Network::V3, 10_000);
        let mut kept = Vec::new();
        for number in 0..5_000_u32 {
            let delivery = desk.send("valve-3", &last(number.to_be_bytes()));
            if number % 100 == 0 {
                kept.push(delivery);
            }
            assert!(desk.book.entries.len() <= 2 * kept.len().max(SWEEP));
        }
        assert!(kept.iter().all(|one| is(one, "written")));
        assert_eq!(desk.book.entries.len(), desk.book.by_correlation.len());
        assert_eq!(desk.book.entries.len(), desk.book.unanswered.len());
    }

    /// Without ids one is needed to know whose a report is.
    #[test]
    fn a_dropped_delivery_of_the_same_content_takes_what_is_its_own_on_v2() {
        let mut desk = Desk::new(10_000);
        let mut dropped = 0;
        while dropped < 2 * SWEEP {
            drop(desk.send("valve-3", &last([1])));
            dropped += 1;
        }
        let mine = desk.send("valve-3", &last([1]));
        (0..dropped).for_each(|_| desk.report("scheduled", message("AQ==", false)));
        assert!(is(&mine, "written"));
        desk.report("scheduled", message("AQ==", false));
        assert!(is(&mine, "queued"));
    }
}
