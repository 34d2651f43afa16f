//! The thread of a feed: around the ledger and the requests, between two clients.

mod closing;
mod downlinks;
mod source;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, Sender, at, never, select, unbounded};

use super::{
    Control, FeedEvent, FeedStats,
    event::Shared,
    file::WatermarkFile,
    ledger::{Action, Ledger, Limits, Taken},
    requests::Requests,
};
use crate::{
    client::MqttClient,
    config::{ConnectRetry, MqttClientBuilder, Options, Overflow},
    error::{Error, ErrorKind, Result},
    events::Events,
    message::{Event, Place, RawMessage, Watermark},
    session::{Publication, Published},
    topics::Layout,
};
use closing::Closing;
use downlinks::{Asked, is_passing};
use source::Source;

/// How often the thread looks after what no channel tells.
const TICK: Duration = Duration::from_secs(1);

/// The same while the list is full and messages wait in the network client.
const SHORT_TICK: Duration = Duration::from_millis(100);

/// How often the watermark is written at most.
const WRITE_EVERY: Duration = Duration::from_secs(1);

/// How often drops are told at most.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// How long to wait before a client that has given up connects again.
const CONNECT_AGAIN: Duration = Duration::from_secs(10);

/// How many messages are read before the thread looks at its other channels.
const BURST: usize = 256;

/// The capacity of queues with news of a client: more than there are downlink requests in flight.
const NEWS: usize = 1_000;

/// The room that a packet needs besides topic and payload.
const PACKET: usize = 64;

/// From where to go on.
#[derive(Debug)]
pub(super) enum Mark {
    /// As a watermark.
    At(Watermark),
    /// After an uplink.
    After(Place),
}

impl Mark {
    pub(super) fn watermark(&self) -> Option<Watermark> {
        match self {
            Self::At(watermark) => Some(watermark.clone()),
            Self::After(place) => place.watermark(),
        }
    }
}

/// What a feed starts with.
pub(super) struct Plan {
    /// Of each network client, without where it goes on.
    pub(super) network: MqttClientBuilder,
    /// How many of its messages wait to be read.
    pub(super) queue: usize,
    /// The id of the application there; the broker's topics may have it without the tenant.
    pub(super) network_app_id: String,
    pub(super) broker: Arc<Options>,
    pub(super) limits: Limits,
    /// Where an earlier run ended, if that is known.
    pub(super) resume_from: Option<Watermark>,
    /// Where to go on if the network must be let go before the broker has acknowledged anything.
    pub(super) mark: Watermark,
    pub(super) file: Option<WatermarkFile>,
}

/// Everything that the thread owns.
pub(super) struct Runner {
    network: MqttClientBuilder,
    queue: usize,
    network_app_id: String,
    fetches: bool,
    layout: Layout,
    broker: MqttClient,
    from_broker: Events,
    /// Whether the broker delivers again what was not acknowledged.
    redelivers: bool,
    max_message: usize,
    /// `None` while the network is let go.
    source: Option<Source>,
    ledger: Ledger<Mark>,
    requests: Requests<Asked>,
    file: Option<WatermarkFile>,
    written: Written,
    told: Told,
    done: Sender<Published>,
    answers: Receiver<Published>,
    control: Receiver<Control>,
    shared: Arc<Shared>,
    stats: FeedStats,
    /// When to connect a client again that has given up; `None` as long as the caller connects.
    connect_at: Option<Instant>,
    /// When to try again to start a network client.
    resume_at: Option<Instant>,
    closing: Option<Closing>,
}

/// When the watermark was last written, and how many messages were acknowledged then.
struct Written {
    at: Option<Instant>,
    acknowledged: u64,
    /// Why that has failed.
    failure: Option<String>,
}

/// How many drops the program was told of, and when.
struct Told {
    at: Option<Instant>,
    dropped: u64,
}

/// Why the thread stops waiting.
enum Wakeup {
    Control(Option<Control>),
    Message(Event),
    News(Event),
    Broker(Event),
    Answer(Published),
    NetworkClosed,
    Time,
}

impl Runner {
    /// Creates both clients, and connects none.
    pub(super) fn new(plan: Plan, control: Receiver<Control>, shared: Arc<Shared>) -> Result<Self> {
        let Plan {
            network,
            queue,
            network_app_id,
            broker: options,
            limits,
            resume_from,
            mark,
            file,
        } = plan;
        let layout = Layout::new(&options);
        let broker = options.broker.as_ref();
        let redelivers = broker.is_some_and(|broker| broker.session.client_id().is_some());
        let max_message = options.max_packet_size.saturating_sub(PACKET);
        // What the broker waits to have acknowledged has room.
        let unhandled = options.receive_capacity.messages;
        let broker = MqttClient::start(options)?;
        let from_broker = broker.events_only(
            unhandled.saturating_add(NEWS),
            Overflow::DropNewest,
            |event| event.raw().is_some() || matches!(event, Event::Lagged(_)),
        );
        let first = match resume_from {
            Some(watermark) if limits.fetches => network.clone().resume_from(watermark),
            _ => network.clone(),
        };
        let source = Source::new(first.build()?, queue);
        let (done, answers) = unbounded();
        Ok(Self {
            network: network.connect_retry(ConnectRetry::Forever),
            queue,
            network_app_id,
            fetches: limits.fetches,
            layout,
            broker,
            from_broker,
            redelivers,
            max_message,
            source: Some(source),
            ledger: Ledger::new(limits, Some(Mark::At(mark))),
            requests: Requests::new(unhandled.saturating_add(NEWS)),
            file,
            written: Written {
                at: None,
                acknowledged: 0,
                failure: None,
            },
            told: Told {
                at: None,
                dropped: 0,
            },
            done,
            answers,
            control,
            shared,
            stats: FeedStats::default(),
            connect_at: None,
            resume_at: None,
            closing: None,
        })
    }

    /// Returns the clients, to be connected: the broker's and the network's.
    pub(super) fn clients(&self) -> (MqttClient, Option<MqttClient>) {
        let network = self.source.as_ref().map(|source| source.client.clone());
        (self.broker.clone(), network)
    }

    pub(super) fn run(mut self) {
        loop {
            match self.wait() {
                Wakeup::Control(control) => self.on_control(control),
                Wakeup::Message(first) => self.on_messages(first),
                Wakeup::News(event) => self.on_news(event),
                Wakeup::Broker(event) => self.on_broker(event),
                Wakeup::Answer(first) => self.on_answers(first),
                Wakeup::NetworkClosed => self.network_closed(),
                Wakeup::Time => {}
            }
            self.act(Instant::now());
            if self.is_done() {
                return self.finish();
            }
        }
    }

    fn wait(&self) -> Wakeup {
        let none = never();
        let (mut messages, mut news) = (&none, &none);
        if let Some(source) = &self.source {
            news = source.news.receiver();
            if self.ledger.wants_messages() {
                messages = source.messages.receiver();
            }
        }
        let nothing = never();
        let network_closed = self.closing.as_ref().map_or(&nothing, Closing::network);
        let timer = at(self.next_deadline());
        select! {
            recv(self.control) -> control => Wakeup::Control(control.ok()),
            recv(messages) -> event => event.map_or(Wakeup::Time, Wakeup::Message),
            recv(news) -> event => event.map_or(Wakeup::Time, Wakeup::News),
            recv(self.from_broker.receiver()) -> event => event.map_or(Wakeup::Time, Wakeup::Broker),
            recv(self.answers) -> answer => answer.map_or(Wakeup::Time, Wakeup::Answer),
            recv(network_closed) -> _ => Wakeup::NetworkClosed,
            recv(timer) -> _ => Wakeup::Time,
        }
    }

    fn next_deadline(&self) -> Instant {
        let tick = match self.source.is_some() && !self.ledger.wants_messages() {
            true => SHORT_TICK,
            false => TICK,
        };
        [
            self.ledger.next_deadline(),
            self.requests.next_deadline(),
            self.closing.as_ref().map(Closing::deadline),
        ]
        .into_iter()
        .flatten()
        .fold(Instant::now() + tick, Instant::min)
    }

    fn on_control(&mut self, control: Option<Control>) {
        let reply = match control {
            Some(Control::KeepOpen) => {
                self.connect_at = Some(Instant::now());
                return;
            }
            Some(Control::Close(reply)) => Some(reply),
            // The handle was dropped.
            None => {
                self.control = never();
                None
            }
        };
        self.begin_to_close(reply);
    }

    fn on_messages(&mut self, first: Event) {
        self.take(first);
        for _ in 1..BURST {
            if !self.ledger.wants_messages() {
                return;
            }
            let source = self.source.as_ref();
            let Some(Ok(event)) = source.map(|source| source.messages.try_recv()) else {
                return;
            };
            self.take(event);
        }
    }

    /// Takes what the network has sent.
    fn take(&mut self, event: Event) {
        let Some(raw) = event.raw() else {
            // News of the connection have a queue of their own.
            return;
        };
        let topic = self.layout.publication(raw.topic());
        if let Err(cause) = self.check(&topic, raw.payload()) {
            self.ledger.dropped(1);
            let topic = raw.topic().escape_debug();
            return self.fail(Error::new(
                ErrorKind::Decode,
                format!("cannot pass on a message of the network on {topic}: {cause}"),
            ));
        }
        let mark = match &event {
            Event::Uplink(uplink) => {
                self.stats.fetched += u64::from(uplink.is_backfilled());
                let place = &uplink.place;
                place.is_known().then(|| Mark::After(place.clone()))
            }
            _ => None,
        };
        self.ledger.take(Taken {
            message: raw.on_topic(&topic),
            mark,
            is_report: matches!(event, Event::Downlink(_) | Event::QueueInvalidated(_)),
        });
    }

    fn check(&self, topic: &str, payload: &[u8]) -> Result<(), String> {
        if topic.is_empty() || topic.contains(['\0', '+', '#']) {
            return Err("MQTT does not allow publishing to this topic".to_owned());
        }
        let size = topic.len() + payload.len();
        if size > self.max_message {
            return Err(format!(
                "its {size} bytes are more than the max_packet_size of the broker's client allows"
            ));
        }
        Ok(())
    }

    /// Passes on news of the network's connection, and notes what became of requests.
    fn on_news(&mut self, event: Event) {
        let now = Instant::now();
        match &event {
            Event::Published(id) => {
                let is_ours = self.requests.settled(id.get()).is_some();
                self.stats.requests += u64::from(is_ours);
            }
            Event::PublishFailed(failed) if is_passing(&failed.error) => {
                self.requests.failed(failed.message_id.get(), now);
            }
            Event::PublishFailed(failed) => {
                if let Some(asked) = self.requests.settled(failed.message_id.get()) {
                    self.refused(&asked, &failed.error);
                }
            }
            _ => {}
        }
        match &event {
            Event::Connected(_) => self.requests.network(true),
            Event::Disconnected(_) | Event::Closed(_) => self.requests.network(false),
            _ => {}
        }
        if event.is_lifecycle() {
            self.shared.tell(FeedEvent::Network(event));
        }
    }

    fn on_broker(&mut self, event: Event) {
        match &event {
            Event::Connected(_) => self.ledger.broker(true),
            Event::Disconnected(_) | Event::Closed(_) => {
                self.ledger.broker(false);
                if self.redelivers {
                    self.requests.come_again();
                }
            }
            _ => {}
        }
        if event.is_lifecycle() {
            return self.shared.tell(FeedEvent::Broker(event));
        }
        self.on_request(event);
    }

    fn on_answers(&mut self, first: Published) {
        let now = Instant::now();
        let mut next = Some(first);
        while let Some(Published { number, result }) = next {
            self.ledger.answered(number, result.is_ok(), now);
            next = self.answers.try_recv().ok();
        }
    }

    /// Does what is to be done.
    fn act(&mut self, now: Instant) {
        if let Some(source) = &mut self.source {
            source.account(&mut self.ledger);
        }
        while let Some(action) = self.ledger.poll(now) {
            match action {
                Action::Publish(number, message) => {
                    let done = self.done.clone();
                    let _ = self.broker.publish(Publication {
                        number,
                        message,
                        done,
                    });
                }
                Action::Suspect(message) => self.fail(suspected(&message)),
                Action::GiveUp(message) => self.fail(given_up(&message)),
                Action::LetGo => self.let_go(),
                Action::Resume => self.resume_at = Some(now),
            }
        }
        if self.resume_at.is_some_and(|at| at <= now) {
            self.resume(now);
        }
        self.forward(now);
        if self.connect_at.is_some_and(|at| at <= now) && self.closing.is_none() {
            self.keep_open(now);
        }
        self.end_intake();
        let is_due = |at, every| now.saturating_duration_since(at) >= every;
        if self.written.at.is_none_or(|at| is_due(at, WRITE_EVERY)) {
            let _ = self.write_watermark(now);
        }
        if self.told.at.is_none_or(|at| is_due(at, TELL_EVERY)) {
            self.tell_drops(now);
        }
        self.show();
    }

    fn let_go(&mut self) {
        let Some(source) = self.source.take() else {
            return;
        };
        log::warn!(
            "{} messages wait for the broker and there is no room for more: the connection to the network is closed until the \
             broker has acknowledged them",
            self.ledger.waiting()
        );
        self.requests.let_go();
        source.leave(&mut self.ledger);
        self.network_closed();
        self.shared.tell(FeedEvent::Overflowed);
    }

    /// Starts a new network client where the list has ended.
    fn resume(&mut self, now: Instant) {
        self.resume_at = None;
        if self.closing.is_some() {
            return;
        }
        let watermark = self.ledger.mark().and_then(Mark::watermark);
        let watermark = watermark.filter(|_| self.fetches);
        let builder = match &watermark {
            Some(watermark) => self.network.clone().resume_from(watermark.clone()),
            None => self.network.clone(),
        };
        match builder.build() {
            Ok(client) => {
                let source = Source::new(client, self.queue);
                source.client.begin_to_connect();
                self.source = Some(source);
                log::debug!("the feed connects to the network again");
                self.shared.tell(FeedEvent::Resumed(watermark));
            }
            Err(error) => {
                self.resume_at = Some(now + CONNECT_AGAIN);
                self.fail(error);
            }
        }
    }

    /// Connects a client again that has given up, for example because its key was refused.
    fn keep_open(&mut self, now: Instant) {
        self.connect_at = Some(now + TICK);
        let source = self.source.as_ref().map(|source| &source.client);
        for client in source.into_iter().chain([&self.broker]) {
            if !client.is_open() {
                client.begin_to_connect();
                self.connect_at = Some(now + CONNECT_AGAIN);
            }
        }
    }

    fn write_watermark(&mut self, now: Instant) -> Result<()> {
        let acknowledged = self.ledger.counts().acknowledged;
        let is_news = acknowledged != self.written.acknowledged || self.written.failure.is_some();
        let Some(file) = self.file.as_mut().filter(|_| is_news) else {
            return Ok(());
        };
        let Some(watermark) = self.ledger.mark().and_then(Mark::watermark) else {
            return Ok(());
        };
        self.written.at = Some(now);
        let result = file.write(&watermark);
        self.written.acknowledged = acknowledged;
        let failure = result.as_ref().err().map(ToString::to_string);
        let is_told = failure == self.written.failure;
        self.written.failure = failure;
        if let Some(error) = result.as_ref().err().filter(|_| !is_told) {
            self.fail(error.clone());
        }
        result
    }

    /// Tells the program how many messages were dropped since the last time.
    fn tell_drops(&mut self, now: Instant) {
        let dropped = self.ledger.counts().dropped;
        let news = dropped - self.told.dropped;
        if news > 0 {
            log::warn!("{news} messages of the network were dropped");
            self.told = Told {
                at: Some(now),
                dropped,
            };
            self.shared.tell(FeedEvent::Dropped(news));
        }
    }

    fn fail(&self, error: Error) {
        log::warn!("{error}");
        self.shared.tell(FeedEvent::Failed(error));
    }

    fn show(&mut self) {
        let counts = self.ledger.counts();
        let source = self.source.as_ref().map(|source| &source.client);
        self.shared.set_stats(FeedStats {
            published: counts.published,
            acknowledged: counts.acknowledged,
            reports: counts.reports,
            waiting: self.ledger.waiting(),
            dropped: counts.dropped,
            overflows: counts.overflows,
            requests_waiting: self.requests.len(),
            is_network_connected: source.is_some_and(MqttClient::is_connected),
            is_broker_connected: self.broker.is_connected(),
            ..self.stats
        });
    }
}

fn suspected(message: &RawMessage) -> Error {
    Error::new(
        ErrorKind::ConnectionLost,
        format!(
            "connections to the broker end before it acknowledges anything; the first message that waits has {} bytes and \
             goes to {}: check that the user may publish there, and the size of messages that the broker takes",
            message.payload().len(),
            message.topic().escape_debug()
        ),
    )
}

fn given_up(message: &RawMessage) -> Error {
    Error::new(
        ErrorKind::ConnectionLost,
        format!(
            "a message is lost, because the broker has acknowledged others and ended each connection with this one: it has \
             {} bytes and goes to {}; check that the user may publish there, and the size of messages that the broker takes",
            message.payload().len(),
            message.topic().escape_debug()
        ),
    )
}
