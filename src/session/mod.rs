//! The thread that owns a client's connection. It waits for commands, signals from the connection,
//! results of blocking work and deadlines, feeds them to the [lifecycle], and performs the actions
//! that come out. The lifecycle makes all decisions.

mod asking;
mod closing;
mod connections;
mod courier;
mod device_inquiry;
mod dialing;
mod duplicates;
mod ending;
mod filling;
mod forgetting;
mod key;
mod lifecycle;
mod link;
mod messages;
mod publishing;
mod reasons;
mod receiving;
mod sending;
mod sharing;
mod stalling;
mod status;
mod subscribing;
mod waiters;

use std::{
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, Sender, at, bounded, never, select, unbounded};

use crate::{
    backfill::Parcel,
    clock::Moment,
    config::{AccessKey, Address, Options, ReceiveCapacity},
    downlink::{Batch, Correlation, WaitingRoom},
    error::Result,
    events::{self, Subscribers},
    message::{CallbackFailed, ConnectFailed, Connected, Disconnected, Event, Gap},
    mqtt::{self, Attempt, Operation, Outcome, Signal, Tagged},
    process,
    recovery::{Retry, RetryCallback},
    server::Route,
    topics::Layout,
    wire::{Acknowledgement, End, Limits},
};
use asking::{Asking, Findings, Inquiry};
use closing::LeftBehind;
use connections::{Connection, Connections, Stage};
use courier::Told;
use duplicates::Duplicates;
pub(crate) use filling::FillRequest;
use filling::Filling;
pub(crate) use forgetting::{forget_session, keeper};
use key::KeyWatch;
use lifecycle::{Action, Input, Lifecycle, Outgoing, Question};
pub(crate) use link::{Command, Farewell, SessionLink};
use publishing::Publishing;
pub(crate) use publishing::{Publication, Published};
pub(crate) use reasons::not_connected;
use receiving::Receiving;
use sending::Sending;
use sharing::Sharing;
use stalling::Stall;
pub(crate) use status::{Awaited, Status};
use subscribing::last_filters;
use waiters::Waiters;

/// How soon a lagging subscriber is told about its drops if nothing else happens.
const NEWS_OF_LOSS: Duration = Duration::from_millis(250);

/// After how many messages and other signals the session looks at its other channels. Selecting over all of
/// them takes longer than reading one signal.
const BURST: usize = 64;

/// Everything that the session's thread owns.
pub(crate) struct Session {
    options: Arc<Options>,
    status: Arc<Status>,
    commands: Receiver<Command>,
    lifecycle: Lifecycle,
    connections: Connections,
    receiving: Receiving,
    sending: Sending,
    publishing: Publishing,
    asking: Asking,
    filling: Filling,
    key: KeyWatch,
    correlation: Arc<Correlation>,
    jobs: Receiver<Job>,
    job_done: Sender<Job>,
    retry_callback: Option<RetryCallback>,
    /// The key of the options, until the retry callback supplies another.
    access_key: AccessKey,
    filters: Vec<String>,
    /// The filters to unsubscribe at the end, for the sake of the answer.
    last_filters: Vec<String>,
    sharing: Option<Sharing>,
    stall: Stall,
    topics: Arc<Layout>,
    /// The route that an attempt found.
    route: Option<(Attempt, Route)>,
    /// The server of the last working connection.
    known: Option<Address>,
    waiters: Waiters,
    /// What the `close` in progress leaves behind.
    left_behind: Option<LeftBehind>,
}

/// The result of blocking work.
enum Job {
    LookedUp(Attempt, Result<Route>),
    Answered(Question, Result<Retry, CallbackFailed>),
    Found(Findings),
    Told(Told),
}

/// Why the thread stops waiting.
enum Wakeup {
    Command(Command),
    Signal(Tagged),
    Job(Job),
    Fetched(Parcel),
    Accepted(Batch),
    Time,
}

impl Session {
    /// Starts the thread.
    pub(crate) fn start(
        options: Arc<Options>,
        correlation: Arc<Correlation>,
        topics: Arc<Layout>,
    ) -> io::Result<SessionLink> {
        // Unbounded: commands are few, and `close` must not wait for room. Downlinks have their own
        // channel, bounded by its waiting room.
        let (command_sender, commands) = unbounded();

        let (interrupt, interrupted) = bounded(1);
        let (spent, returned) = events::spent();
        let (job_done, jobs) = unbounded();
        let ReceiveCapacity { messages, bytes } = options.receive_capacity;
        let (inlet, outlet) = mqtt::inlet(messages, bytes);
        let status = Arc::new(Status::new(&options));
        let (sending, outbox) = Sending::new(&options, status.counts_open(), job_done.clone());
        let link = SessionLink {
            commands: command_sender,
            outbox,
            room: WaitingRoom::default(),
            interrupt,
            spent,
            status: Arc::clone(&status),
        };
        let acknowledgement = options.broker.as_ref().map(|broker| {
            Acknowledgement::new(
                broker.acknowledge,
                broker.redelivers_failed,
                // Other events need room in the queues of the subscribers too.
                Limits {
                    messages: messages.min(options.event_capacity / 2).max(1),
                    bytes,
                    most_messages: (options.event_capacity / 4 * 3).max(1),
                },
            )
        });
        let filters = topics.filters();
        let session = Self {
            lifecycle: Lifecycle::new(&options),
            connections: Connections::new(inlet, acknowledgement),
            receiving: Receiving::new(
                Arc::clone(&topics),
                outlet,
                Arc::clone(&status),
                (Subscribers::new(interrupted), returned),
                Duplicates::new(options.duplicate_window),
                options.broker.is_some(),
            )
            .telling_silence(options.silence_after.is_some()),
            sending,
            publishing: Publishing::default(),
            asking: Asking::new(&options, job_done.clone()),
            filling: Filling::new(&options),
            key: KeyWatch::default(),
            correlation,
            retry_callback: None,
            access_key: options.access_key.clone(),
            last_filters: last_filters(&options, &filters),
            filters,
            sharing: Sharing::new(&options),
            stall: Stall::default(),
            topics,
            options,
            status,
            commands,
            jobs,
            job_done,
            route: None,
            known: None,
            waiters: Waiters::default(),
            left_behind: None,
        };
        process::start_thread("ttn-session", move || session.run())?;
        Ok(link)
    }

    fn run(mut self) {
        while !(self.lifecycle.is_ended() && self.connections.is_empty()) {
            match self.wait() {
                Wakeup::Command(command) => self.on_command(command),
                Wakeup::Signal(signal) => self.on_burst(signal),
                Wakeup::Job(job) => self.on_job(job),
                Wakeup::Fetched(fetched) => self.on_fetched(fetched),
                Wakeup::Accepted(batch) => self.on_accepted(batch),
                Wakeup::Time => self.on_time(),
            }
        }
        let now = Instant::now();
        self.sending.discard(&reasons::closed_before_written(), now);
        self.report_sending();
    }

    fn wait(&mut self) -> Wakeup {
        self.receiving.rest();
        let none = never();
        let accepted = if self.takes_accepted() {
            self.sending.accepted()
        } else {
            &none
        };
        let nothing = never();
        let fetched = self.filling.fetched().unwrap_or(&nothing);
        let timer = self.next_deadline().map_or_else(never, at);
        select! {
            recv(self.commands) -> command => Wakeup::Command(command.unwrap_or(Command::Shutdown)),
            recv(self.receiving.signals()) -> signal => signal.map_or(Wakeup::Time, Wakeup::Signal),
            recv(self.jobs) -> job => job.map_or(Wakeup::Time, Wakeup::Job),
            recv(fetched) -> fetched => fetched.map_or(Wakeup::Time, Wakeup::Fetched),
            recv(accepted) -> batch => batch.map_or(Wakeup::Time, Wakeup::Accepted),
            recv(timer) -> _ => Wakeup::Time,
        }
    }

    /// Returns whether to read accepted downlinks now. While the connection is busy, they stay in
    /// their channel.
    fn takes_accepted(&mut self) -> bool {
        match self.lifecycle.outgoing() {
            Outgoing::Written(attempt) if self.lifecycle.draining().is_none() => self
                .connections
                .transport(attempt)
                .is_none_or(|transport| self.sending.has_room(transport)),
            Outgoing::Held => false,
            _ => true,
        }
    }

    fn next_deadline(&self) -> Option<Instant> {
        let news = self
            .receiving
            .any_untold()
            .then(|| Instant::now() + NEWS_OF_LOSS);
        [
            self.lifecycle.next_deadline(),
            self.connections.next_deadline(),
            self.sending.next_deadline(),
            self.key.next_deadline(),
            self.filling.next_deadline(Instant::now()),
            self.stall.next_deadline(),
            self.receiving.next_silence(),
            news,
        ]
        .into_iter()
        .flatten()
        .min()
    }

    fn on_command(&mut self, command: Command) {
        match command {
            Command::Connect(reply) => {
                let waiter = self.waiters.add_connect(reply);
                self.feed(Input::Connect(waiter));
            }
            Command::Close(reply) => {
                let waiter = self.waiters.add_close(reply);
                self.stop_filling();
                self.left_behind.get_or_insert_default();
                self.feed(Input::Close(waiter));
            }
            Command::Subscribe(subscriber) => self.receiving.subscribe(subscriber),
            Command::SubscribeWorkers(workers) => {
                for (worker, subscriber) in workers {
                    let reader = subscriber.reader();
                    self.status.worker_starts(worker, || reader.is_gone());
                    self.receiving.subscribe_worker(subscriber);
                }
            }
            Command::SetRetryCallback(callback) => self.retry_callback = Some(callback),
            Command::Follow(number, followed) => {
                self.sending.resume(number, followed, Instant::now());
            }
            Command::Fill(request) => self.fill(request),
            Command::Publish(publication) => self.publish(publication),
            Command::Report(event) => self.receiving.report(event),
            Command::Shutdown => self.feed(Input::Shutdown),
        }
    }

    fn on_burst(&mut self, first: Tagged) {
        let mut handled = self.on_tagged(first);
        while handled < BURST {
            let Ok(signal) = self.receiving.signals().try_recv() else {
                return;
            };
            handled += self.on_tagged(signal);
        }
    }

    /// Returns how many messages it has handled, or 1 for another signal.
    fn on_tagged(&mut self, (attempt, signal): Tagged) -> usize {
        self.read_commands();
        match signal {
            Signal::Messages(messages) => return self.on_messages(attempt, messages),
            Signal::Message(raw) => self.on_message(attempt, raw, None),
            Signal::Unreadable(raw, receipt) => self.receiving.unreadable(attempt, raw, receipt),
            Signal::Dropping(run) => {
                if self.receiving.dropped_in(run) {
                    self.filling.dropped();
                }
            }
            Signal::Dropped(messages) => {
                self.receiving.dropped(messages);
                self.filling.dropped();
            }
            Signal::Ready(doorway) => {
                self.connections.accepted(attempt, doorway);
                self.feed(Input::Accepted(attempt));
            }
            Signal::Processed(messages) => {
                let news = self.connections.processed(attempt, messages);
                self.sending.processed(&news, Instant::now());
                self.execute();
            }
            Signal::Ended(end) => self.on_ended(attempt, end),
            Signal::Lost => {
                self.connections.noticed(attempt);
                self.feed_if_over(attempt);
            }
            Signal::Done(operation) => self.on_done(attempt, operation),
        }
        1
    }

    /// Handles the commands that are waiting, so that subscribers get what happens after they were
    /// added.
    fn read_commands(&mut self) {
        while let Ok(command) = self.commands.try_recv() {
            self.on_command(command);
        }
    }

    fn on_ended(&mut self, attempt: Attempt, end: End) {
        if !self.connections.ended(attempt, end.clone()) {
            return;
        }
        let Some(Connection { address, stage, .. }) = self.connections.current(attempt) else {
            return;
        };
        if let Stage::Entered(_) = stage {
            self.feed(Input::Ended(attempt, end));
            self.feed_if_over(attempt);
        } else {
            let address = address.clone();
            let input = self.not_accepted(attempt, &address, end);
            self.feed(input);
        }
    }

    fn on_done(&mut self, attempt: Attempt, operation: Operation) {
        match self.connections.advance(attempt, operation) {
            Some(Outcome::Connected) => {
                self.feed(Input::Entered(attempt));
                self.feed_if_over(attempt);
            }
            Some(Outcome::ConnectFailed(detail)) => {
                if let Some(server) = self.server_of(attempt) {
                    let end = self.connections.transport(attempt).and_then(|it| it.end());
                    let error = reasons::not_entered(&server, end, &detail);
                    self.feed(Input::Failed(attempt, error));
                }
            }
            Some(Outcome::Subscribed) => self.feed(Input::Granted(attempt)),
            Some(Outcome::SubscribeRefused(numbers)) => {
                if let Some(input) = self.subscription_refused(attempt, &numbers) {
                    self.feed(input);
                }
            }
            // The end of the connection follows.
            Some(Outcome::SubscribeUnanswered) => {}
            Some(Outcome::Acknowledged(number, result)) => {
                self.publishing.answer(number, result);
                // Everything may be acknowledged that a close waits for.
                self.execute();
            }
            Some(outcome) => {
                let now = Instant::now();
                if let Outcome::Published(_) = outcome {
                    self.lifecycle.written(now);
                }
                self.sending.observe_outcome(outcome, now);
                self.report_sending();
                self.execute();
            }
            None => {}
        }
    }

    fn server_of(&mut self, attempt: Attempt) -> Option<String> {
        let connection = self.connections.current(attempt)?;
        Some(connection.address.to_string())
    }

    fn on_job(&mut self, job: Job) {
        self.read_commands();
        match job {
            Job::LookedUp(attempt, found) => {
                let server = self.keep_route(attempt, found);
                self.feed(Input::LookedUp(attempt, server));
            }
            Job::Answered(question, answer) => {
                let answer = answer.map(|retry| {
                    // A key is used even if it arrives late.
                    if let Some(key) = retry.access_key {
                        self.access_key = key;
                        self.key_changed();
                    }
                    retry.delay
                });
                self.feed(Input::Answered(question, answer));
            }
            Job::Told(told) => {
                let outgoing = self.lifecycle.outgoing();
                self.sending.told(told, outgoing, Instant::now());
                self.report_sending();
                self.execute();
            }
            Job::Found(findings) => self.on_found(findings),
        }
    }

    fn on_accepted(&mut self, batch: Batch) {
        let outgoing = self.lifecycle.outgoing();
        self.sending.accept(batch, outgoing, Instant::now());
        self.report_sending();
        self.execute();
    }

    fn on_time(&mut self) {
        // A result counts if it arrived before a slow subscriber let this thread notice the deadline.
        while let Ok(job) = self.jobs.try_recv() {
            self.on_job(job);
        }
        self.receiving.tell_drops();
        self.receiving.tell_silence();
        if self
            .key
            .next_deadline()
            .is_some_and(|at| at <= Instant::now())
        {
            self.warn_of_key();
        }
        self.fill_on_time();
        self.look_for_stall(Instant::now());
        self.sending.handle_deadline(Instant::now());
        while let Some(lookup) = self.sending.next_lookup(Instant::now()) {
            self.asking.ask(Inquiry::Device(lookup));
        }
        self.connections.handle_deadline(Instant::now());
        self.report_sending();
        self.lifecycle.handle_deadline(Moment::now());
        self.execute();
    }

    fn feed(&mut self, input: Input) {
        self.lifecycle.handle(input, Moment::now());
        self.execute();
    }

    /// Tells the lifecycle if both the wire and the MQTT client have reported the end of a
    /// connection.
    fn feed_if_over(&mut self, attempt: Attempt) {
        if self.connections.is_over(attempt) {
            self.feed(Input::Over(attempt));
        }
    }

    /// Performs all actions of the lifecycle, then writes what can be written.
    fn execute(&mut self) {
        loop {
            while let Some(action) = self.lifecycle.poll() {
                if let Some(input) = self.perform(action) {
                    self.lifecycle.handle(input, Moment::now());
                }
            }
            self.write();
            let Some(input) = self.drained() else { return };
            self.lifecycle.handle(input, Moment::now());
        }
    }

    /// Performs one action. Returns an input that the lifecycle must handle immediately.
    fn perform(&mut self, action: Action) -> Option<Input> {
        match action {
            Action::Begin => {
                self.receiving.attempt();
                self.status.open();
            }
            Action::LookUp(attempt) => return self.look_up(attempt),
            Action::Dial { attempt, deadline } => return self.dial(attempt, deadline),
            Action::Enter(attempt) => return self.enter(attempt),
            Action::Inquire { attempt, deadline } => return self.inquire(attempt, deadline),
            Action::Subscribe(attempt) => return self.subscribe(attempt),
            Action::Prove(attempt) => return self.prove(attempt),
            Action::GiveUpProof => self.give_up_proof(),
            Action::ReportConnected(attempt, gap) => self.report_connected(attempt, gap),
            Action::Interrupt {
                attempt,
                rate_limited,
                silence,
            } => self.interrupt(attempt, rate_limited, silence),
            Action::Drain(attempt) => return Some(self.drain(attempt)),
            Action::Flush(attempt) => self.connections.unsubscribe(attempt, &self.last_filters),
            Action::Finish(attempt) => self.connections.finish(attempt),
            Action::Abandon(attempt) => {
                self.settle_in_flight(attempt, false);
                self.connections.abandon(attempt);
            }
            Action::Release(attempt) => {
                self.leave(attempt, true);
                self.connections.release(attempt);
            }
            Action::Linger(attempt) => {
                self.leave(attempt, false);
                let now = Instant::now();
                self.connections.linger(attempt, &self.last_filters, now);
            }
            Action::Ask {
                question,
                error,
                attempts,
                delay,
            } => {
                let retry = Retry::new(Arc::clone(&self.options), error, attempts, delay);
                return Some(self.ask(question, retry));
            }
            Action::RestorePace => self.sending.restore_pace(),
            Action::ReportFailed {
                error,
                attempts,
                retry_in,
                outage,
            } => self.receiving.report(Event::ConnectFailed(ConnectFailed {
                error,
                attempt: attempts,
                retry_in,
                outage,
            })),
            Action::ReportLost {
                error,
                cause,
                connected_for,
                retry_in,
            } => self.receiving.report(Event::Disconnected(Disconnected {
                error,
                cause,
                connected_for,
                retry_in,
            })),
            Action::ReportCallback(failed) => {
                self.receiving.report(Event::CallbackFailed(failed));
            }
            Action::Discard(error) => self.discard(&error),
            Action::ReportClosed { error, last } => self.report_closed(error, last),
            Action::ReportIdle => self.status.not_opened(),
            Action::AnswerConnect(waiter, answer) => self.waiters.answer_connect(waiter, answer),
            Action::AnswerClose { waiters, within } => self.answer_closes(waiters, within),
        }
        None
    }

    fn report_connected(&mut self, attempt: Attempt, gap: Option<Gap>) {
        let Some(connection) = self.connections.current(attempt) else {
            return;
        };
        let address = connection.address.clone();
        let session_present = match &connection.stage {
            Stage::Entered(transport) => transport.session_present(),
            _ => false,
        };
        log::debug!("connected to {address}");
        self.status.set_connected(true);
        let connected = Connected {
            address: address.to_string(),
            session_present,
            gap,
        };
        self.known = Some(address);
        self.receiving.report(Event::Connected(connected));
        self.fill_gap();
        self.ask_rights();
        self.sending.connected(Instant::now());
        self.report_sending();
    }

    /// Notes that a connection was lost; what is in flight has failed.
    fn interrupt(&mut self, attempt: Attempt, rate_limited: bool, silence: Duration) {
        self.status.set_connected(false);
        self.filling.disconnected();
        self.show_rights();
        self.status.tally().disconnected(silence);
        self.settle_in_flight(attempt, false);
        let unfinished = self.take_unfinished(attempt);
        let now = Instant::now();
        let uncertain = self.sending.disconnected(&unfinished, rate_limited, now);
        self.status.tally().uncertain(uncertain);
        self.report_sending();
    }

    /// Asks the retry callback, unless there is none or it is busy.
    fn ask(&self, question: Question, retry: Retry) -> Input {
        let Some(callback) = &self.retry_callback else {
            return Input::NotAsked(question);
        };
        let done = self.job_done.clone();
        let is_asked = callback.ask(retry, move |answered| {
            // The session may have ended.
            let _ = done.send(Job::Answered(question, answered));
        });
        match is_asked {
            true => Input::Asked(question),
            false => Input::NotAsked(question),
        }
    }

    /// Writes waiting downlinks if there is a connection.
    fn write(&mut self) {
        let transport = match self.lifecycle.outgoing() {
            Outgoing::Written(attempt) => self.connections.transport(attempt),
            _ => None,
        };
        self.sending.write(transport, Instant::now());
    }

    fn report_sending(&mut self) {
        for event in self.sending.take_reports() {
            self.receiving.report(event);
        }
    }
}
