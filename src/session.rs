//! The thread that owns a client's connection: connecting, up, backing off, closing. One loop,
//! which waits for commands, signals of the connection, results of blocking work, and deadlines,
//! and for nothing else.

use std::{
    io,
    sync::{Arc, MutexGuard},
    thread,
    time::{Duration, Instant, SystemTime},
};

use crossbeam_channel::{Receiver, Sender, at, bounded, never, select, unbounded};

use crate::{
    address::Address,
    book::Book,
    delivery::MessageIds,
    devices::Devices,
    error::{Error, ErrorKind, Result},
    events::{Subscriber, Subscribers},
    message::{
        CallbackFailed, Closed, ConnectFailed, Connected, DisconnectCause, Disconnected, Event,
        Malformed, PublishFailed, RawMessage,
    },
    mqtt::{self, Inlet, Operation, Outcome, Outlet, Signal, Tagged, Transport},
    options::{AccessKey, Options},
    outages::{Loss, Outages},
    outbox::{Batch, Outbox, Publish, WaitingRoom},
    pacer::Pacer,
    retry::{Hook, Mandate, Plan, Retry},
    route::Route,
    status::Status,
    wire::{self, Doorway, End, Login, Wire},
};

/// How long a subscriber that lost events may have to wait for the news when nothing else happens.
const NEWS_OF_LOSS: Duration = Duration::from_millis(250);

/// How many signals are read before the session looks for anything else: a look at everything takes
/// longer than to read one.
const BURST: usize = 64;

/// What a thread may be late by.
const SPARE: Duration = Duration::from_secs(2);

/// The part of the close timeout after which the server is not waited for any longer; the rest is for
/// the callbacks.
const CLOSE_SHARE: f64 = 0.9;

/// Name lookups that were given up and cannot be cancelled.
const MAX_LOOKUPS: usize = 4;

/// What other threads ask of the session.
pub(crate) enum Command {
    /// Connect, and answer when connected or with the reason.
    Connect(Sender<Result<()>>),
    /// Close, and answer with the number of the end that the close callbacks will hear of.
    Close(Sender<u64>),
    Subscribe(Subscriber),
    /// Ask there before trying again.
    SetHook(Hook),
    /// Tell the subscribers.
    Report(Event),
    /// Close, and end the thread.
    Shutdown,
}

/// The ends by which a client reaches its session.
pub(crate) struct Session {
    options: Arc<Options>,
    status: Arc<Status>,
    commands: Receiver<Command>,
    outbox: Outbox,
    pacer: Pacer,
    /// When what is kept may go on being written.
    turn: Option<Instant>,
    book: Book,
    inlet: Inlet,
    outlet: Outlet,
    job_done: Sender<(u64, Job)>,
    jobs: Receiver<(u64, Job)>,
    lookups: usize,
    subscribers: Subscribers,
    /// Events that the callbacks have heard of.
    spent: Receiver<Vec<Event>>,
    outages: Outages,
    plan: Plan,
    hook: Option<Hook>,
    /// The one of the options, until the hook gave another one.
    access_key: AccessKey,
    /// Counts attempts; tells the signals of one connection from those of another.
    generation: u64,
    /// Messages of earlier connections than this came before the client was closed.
    first_open: u64,
    state: State,
    /// The server of the last connection that worked.
    known: Option<Address>,
    /// When the attempt under way has to be over.
    deadline: Instant,
    /// When the client that is closing has to be closed.
    close_by: Instant,
    mandate: Mandate,
    connecting: Vec<Sender<Result<()>>>,
    closing: Vec<Sender<u64>>,
    /// Connections that were given up and have not ended yet.
    leaving: Vec<Transport>,
    shutdown: bool,
}

/// The sending ends of a session's channels.
pub(crate) struct SessionLink {
    pub(crate) commands: Sender<Command>,
    pub(crate) publishes: Sender<Batch>,
    pub(crate) room: WaitingRoom,
    /// Ends a wait for a slow subscriber.
    pub(crate) interrupt: Sender<()>,
    pub(crate) status: Arc<Status>,
    /// Takes events back, to free them.
    pub(crate) spent: Sender<Vec<Event>>,
}

enum State {
    Idle,
    /// Waiting for an earlier lookup to end.
    WaitingToLookUp,
    /// Finding the server, on a thread of its own.
    LookingUp,
    /// Connecting to the server, and saying who the client is.
    Dialing(Wire, Address),
    /// Connecting the MQTT client to the wire.
    Connecting(Transport, Address),
    /// Connected, and so many subscriptions are not answered yet.
    Subscribing(Transport, Address, usize),
    Up(Transport, Address),
    /// Waiting for what the hook says of the plan, until then at the latest.
    Asking(Setback, Option<Duration>, Instant),
    BackingOff(Instant),
    /// Writing what was accepted, and waiting for the server to read it, until then at the latest.
    Closing(Transport, Instant),
    /// Taking leave of the server, until then at the latest.
    Leaving(Transport, Instant),
}

/// Why there is no connection.
enum Setback {
    Failed(Error),
    Lost(Error, Loss),
}

/// The result of blocking work.
pub(crate) enum Job {
    Found(Result<Route>),
    Answered(Result<Retry, CallbackFailed>),
}

enum Input {
    Command(Command),
    Signal(Tagged),
    Job(u64, Job),
    Publish(Batch),
    Time,
}

impl Session {
    /// Starts the thread.
    pub(crate) fn start(options: Arc<Options>) -> io::Result<SessionLink> {
        // Unbounded: few, and a client must not wait to close. Downlinks, of which there may be
        // many, have a channel of their own, bounded by its waiting room.
        let (command_sender, commands) = unbounded();
        let (outbox, publishes) = Outbox::new();
        let (interrupt, interrupted) = bounded(1);
        let (job_done, jobs) = unbounded();
        let (max_messages, max_bytes) = options.receive_capacity;
        let (inlet, outlet) = mqtt::inlet(max_messages, max_bytes);
        let status = Arc::new(Status::new(&options));
        // What finds no room is freed by the other thread.
        let (spent_sender, spent) = bounded(2);
        let link = SessionLink {
            spent: spent_sender,
            commands: command_sender,
            publishes,
            room: WaitingRoom::default(),
            interrupt,
            status: Arc::clone(&status),
        };
        let session = Self {
            pacer: Pacer::new(options.pace),
            spent,
            turn: None,
            book: Book::new(&options),
            outages: Outages::new(options.keep_alive),
            plan: Plan::new(&options),
            hook: None,
            access_key: options.access_key.clone(),
            options,
            status,
            commands,
            outbox,
            inlet,
            outlet,
            job_done,
            jobs,
            lookups: 0,
            subscribers: Subscribers::new(interrupted),
            generation: 0,
            first_open: 0,
            state: State::Idle,
            known: None,
            deadline: Instant::now(),
            close_by: Instant::now(),
            mandate: Mandate::Once,
            connecting: Vec::new(),
            closing: Vec::new(),
            leaving: Vec::new(),
            shutdown: false,
        };
        thread::Builder::new()
            .name("ttn-session".to_owned())
            .spawn(move || session.run())?;
        Ok(link)
    }

    fn run(mut self) {
        while !(self.shutdown && matches!(self.state, State::Idle) && self.leaving.is_empty()) {
            match self.next_input() {
                Input::Command(command) => self.on_command(command),
                Input::Signal(signal) => self.on_burst(signal),
                Input::Job(generation, job) => self.on_job(generation, job),
                Input::Publish(batch) => self.on_publish(batch),
                Input::Time => self.on_time(),
            }
        }
        self.fail_waiting(&closed_before_written());
    }

    fn on_burst(&mut self, first: Tagged) {
        // Freed here, where their memory comes from.
        while self.spent.try_recv().is_ok() {}
        self.on_tagged(first);
        for _ in 1..BURST {
            let Ok(signal) = self.outlet.receiver.try_recv() else {
                return;
            };
            self.on_tagged(signal);
        }
    }

    fn on_tagged(&mut self, (generation, signal): Tagged) {
        // Whoever subscribed before this signal was caused gets it.
        while let Ok(command) = self.commands.try_recv() {
            self.on_command(command);
        }
        self.on_signal(generation, signal);
    }

    fn next_input(&mut self) -> Input {
        if self.outlet.receiver.is_empty() {
            let missed = self.outlet.take_missed();
            if missed > 0 {
                self.missed(missed);
            }
        }
        let none = never();
        let publishes = match &self.state {
            State::Up(transport, _)
                if self.outbox.keeps_any()
                    || transport.open_publishes() >= self.options.send_capacity
                    || transport.end().is_some() =>
            {
                &none
            }
            _ => &self.outbox.new,
        };
        let timer = self.next_deadline().map_or_else(never, at);
        select! {
            recv(self.commands) -> command => Input::Command(command.unwrap_or(Command::Shutdown)),
            recv(self.outlet.receiver) -> signal => signal.map_or(Input::Time, Input::Signal),
            recv(self.jobs) -> job => job.map_or(Input::Time, |(generation, job)| Input::Job(generation, job)),
            recv(publishes) -> publish => publish.map_or(Input::Time, Input::Publish),
            recv(timer) -> _ => Input::Time,
        }
    }

    fn next_deadline(&self) -> Option<Instant> {
        let news = self
            .subscribers
            .any_missed()
            .then(|| Instant::now() + NEWS_OF_LOSS);
        [
            self.state_deadline(),
            self.outbox.next_expiry(),
            self.turn,
            self.book.next_deadline(),
            news,
        ]
        .into_iter()
        .flatten()
        .min()
    }

    fn state_deadline(&self) -> Option<Instant> {
        match &self.state {
            State::Idle => None,
            State::Up(transport, _) => transport.notice_due(),
            State::WaitingToLookUp | State::LookingUp | State::Subscribing(..) => {
                Some(self.deadline)
            }
            // The wire keeps to the deadline, and knows what it has waited for.
            State::Dialing(..) | State::Connecting(..) => Some(self.deadline + SPARE),
            State::Asking(.., until)
            | State::BackingOff(until)
            | State::Closing(_, until)
            | State::Leaving(_, until) => Some(*until),
        }
    }

    fn on_command(&mut self, command: Command) {
        match command {
            Command::Connect(reply) => match &self.state {
                State::Up(transport, _) if transport.end().is_none() => answer(&reply, Ok(())),
                State::Idle => {
                    self.connecting.push(reply);
                    self.set_out();
                }
                State::BackingOff(_) => {
                    self.connecting.push(reply);
                    self.attempt();
                }
                _ => self.connecting.push(reply),
            },
            Command::Close(reply) => {
                self.closing.push(reply);
                self.close();
            }
            Command::Subscribe(subscriber) => {
                self.status.tally().add_subscriber(subscriber.losses());
                self.subscribers.add(subscriber);
            }
            Command::SetHook(hook) => self.hook = Some(hook),
            Command::Report(event) => self.publish(event),
            Command::Shutdown => {
                self.shutdown = true;
                self.close();
            }
        }
    }

    fn close(&mut self) {
        let closed = Error::new(
            ErrorKind::Closed,
            "the client was closed while it was connecting",
        );
        for reply in self.connecting.drain(..) {
            answer(&reply, Err(closed.clone()));
        }
        match self.take_state() {
            State::Idle => {
                self.fail_waiting(&closed_before_written());
                self.answer_closing();
            }
            State::Asking(setback, ..) => {
                self.report(setback, None);
                self.closed(None);
            }
            State::Connecting(transport, _) | State::Subscribing(transport, ..) => {
                self.leave(transport);
                self.closed(None);
            }
            State::WaitingToLookUp
            | State::LookingUp
            | State::Dialing(..)
            | State::BackingOff(_) => self.closed(None),
            State::Up(transport, _) => {
                self.status.set_connected(false);
                let now = Instant::now();
                self.close_by = now + self.options.close_timeout.mul_f64(CLOSE_SHARE);
                let until = now + self.options.close_timeout / 2;
                self.state = State::Closing(transport, until);
                for mut publish in self.outbox.take_all() {
                    self.follow(&mut publish);
                    self.outbox.keep(publish, None);
                }
                self.write_kept();
                self.end_closing_when_written();
            }
            closing @ (State::Closing(..) | State::Leaving(..)) => self.state = closing,
        }
    }

    /// Ends the connection when the server has read what was accepted, or when it is time.
    fn end_closing_when_written(&mut self) {
        if let State::Closing(transport, until) = &mut self.state {
            if Instant::now() >= *until {
                self.end_closing();
            } else if transport.open_publishes() == 0 && !self.outbox.keeps_any() {
                if transport.is_unread() {
                    transport.unsubscribe(&filters(&self.options));
                } else {
                    self.end_closing();
                }
            }
        }
    }

    fn end_closing(&mut self) {
        if let State::Closing(transport, _) = self.take_state() {
            transport.finish();
            self.state = State::Leaving(transport, self.close_by);
            self.end_leaving();
        }
    }

    /// Ends when the server has closed its side too, or when it is time.
    fn end_leaving(&mut self) {
        match self.take_state() {
            State::Leaving(mut transport, until)
                if transport.is_over() || Instant::now() >= until =>
            {
                self.report_publishes(&mut transport);
                self.leaving.push(transport);
                self.give_up_leaving();
                self.closed(None);
            }
            state => self.state = state,
        }
    }

    /// The end of all connecting, until somebody asks for it again.
    fn closed(&mut self, error: Option<Error>) {
        self.state = State::Idle;
        self.generation += 1;
        self.first_open = self.generation;
        self.give_up_connecting(&error.clone().unwrap_or_else(closed_before_written));
        self.subscribers.resume();
        let number = self.status.next_end();
        self.publish(Event::Closed(Closed { error, number }));
        self.status.ended(number);
        self.answer_closing();
        if !self.connecting.is_empty() {
            self.set_out();
        }
    }

    fn give_up_connecting(&mut self, reason: &Error) {
        self.mandate = Mandate::Once;
        self.plan.reset();
        self.outages.closed();
        self.status.tally().disconnected();
        self.fail_waiting(reason);
    }

    fn answer_closing(&mut self) {
        self.subscribers.resume();
        let end = self.status.last_end();
        for reply in self.closing.drain(..) {
            answer(&reply, end);
        }
    }

    /// Begins to connect.
    fn set_out(&mut self) {
        self.mandate = Mandate::of(self.options.connect_retry, Instant::now());
        self.attempt();
    }

    /// Starts an attempt to connect.
    fn attempt(&mut self) {
        self.outages.attempt();
        // Here, since a server may send uplinks before it has granted every subscription.
        self.devices().was_away();
        self.generation += 1;
        self.deadline = Instant::now() + self.options.connect_timeout;
        self.status.open();
        self.look_up();
    }

    fn look_up(&mut self) {
        if self.lookups >= MAX_LOOKUPS {
            self.state = State::WaitingToLookUp;
            return;
        }
        self.state = State::LookingUp;
        self.lookups += 1;
        if Route::is_instant(&self.options) {
            let found = Route::find(&self.options, &self.access_key, None);
            return self.on_job(self.generation, Job::Found(found));
        }
        let options = Arc::clone(&self.options);
        let access_key = self.access_key.clone();
        let known = self.known.clone();
        let find = move || Job::Found(Route::find(&options, &access_key, known));
        if let Err(error) = self.spawn("ttn-prepare", find) {
            self.lookups -= 1;
            self.failed(error);
        }
    }

    fn spawn(&self, name: &str, job: impl FnOnce() -> Job + Send + 'static) -> Result<()> {
        let generation = self.generation;
        let done = self.job_done.clone();
        thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                // A session that has ended needs no result.
                let _ = done.send((generation, job()));
            })
            .map(|_| ())
            .map_err(|cause| {
                Error::with_source(
                    ErrorKind::ResourcesExhausted,
                    format!("cannot start a thread: {cause}"),
                    cause,
                )
            })
    }

    fn on_job(&mut self, generation: u64, job: Job) {
        if let Job::Answered(Ok(Retry {
            access_key: Some(key),
            ..
        })) = &job
        {
            self.access_key = key.clone();
        }
        if matches!(job, Job::Found(_)) {
            self.lookups -= 1;
            if matches!(self.state, State::WaitingToLookUp) {
                return self.look_up();
            }
        }
        if generation != self.generation {
            return;
        }
        match (self.take_state(), job) {
            (State::LookingUp, Job::Found(Ok(route))) => self.connect(route),
            (State::LookingUp, Job::Found(Err(error))) => self.failed(error),
            (State::Asking(setback, planned, _), Job::Answered(answer)) => {
                let delay = match answer {
                    Ok(retry) => retry.delay.filter(|delay| self.mandate.allows(*delay)),
                    Err(failed) => {
                        self.publish(Event::CallbackFailed(failed));
                        planned
                    }
                };
                self.go_on(setback, delay);
            }
            (state, _) => self.state = state,
        }
    }

    fn connect(&mut self, route: Route) {
        let options = &self.options;
        let Route {
            address,
            destination,
        } = route;
        let plan = wire::Plan {
            destination,
            login: Login {
                // Another for each attempt: the server may not have noticed the end of the last one,
                // and most brokers would throw its successor out.
                client_id: format!("{}{:016x}", options.client_id_prefix, fastrand::u64(..)),
                user_name: options.app_id.clone(),
                password: self.access_key.reveal().as_bytes().to_vec(),
                keep_alive: options.keep_alive,
            },
            deadline: self.deadline,
            max_packet: options.max_packet_size,
            traffic: self.status.tally().traffic(),
        };
        let (inlet, generation) = (self.inlet.clone(), self.generation);
        match Wire::start(plan, move |report| inlet.report(generation, report)) {
            Ok(wire) => self.state = State::Dialing(wire, address),
            Err(error) => self.failed(error),
        }
    }

    /// The server has accepted the client.
    fn come_in(&mut self, doorway: Doorway) {
        match self.take_state() {
            State::Dialing(wire, address) => {
                match Transport::open(wire, doorway, self.generation, self.inlet.clone()) {
                    Ok(transport) => self.state = State::Connecting(transport, address),
                    Err(words) => self.failed(Error::new(
                        ErrorKind::ResourcesExhausted,
                        format!("no MQTT client can be made for {address}: {words}"),
                    )),
                }
            }
            state => self.state = state,
        }
    }

    /// A connection has ended, or there is none.
    fn on_ended(&mut self, generation: u64, end: End) {
        if let Some(transport) = self.leaving(generation) {
            transport.ended(end);
            return self.give_up_leaving();
        }
        if generation != self.generation {
            return;
        }
        match &mut self.state {
            State::Dialing(_, address) => {
                let error = failure(&address.clone(), &self.options, end);
                self.failed(error);
            }
            State::Connecting(transport, _)
            | State::Subscribing(transport, ..)
            | State::Up(transport, _)
            | State::Closing(transport, _)
            | State::Leaving(transport, _) => {
                transport.ended(end);
                self.on_over();
            }
            _ => {}
        }
    }

    fn on_signal(&mut self, generation: u64, signal: Signal) {
        match signal {
            Signal::Message(raw) => {
                self.outlet.make_room(&raw);
                if generation >= self.first_open {
                    self.deliver(raw);
                } else {
                    self.status.tally().dropped(1);
                }
            }
            Signal::Unreadable(raw) => {
                self.outlet.make_room(&raw);
                if generation >= self.first_open {
                    self.publish(Event::Malformed(Arc::new(Malformed::of_topic(raw))));
                } else {
                    self.status.tally().dropped(1);
                }
            }
            Signal::Missed(missed) => self.missed(missed),
            // There may be more; they are counted when all that came before is read.
            Signal::Full => {}
            Signal::Ready(doorway) => {
                if generation == self.generation {
                    self.come_in(doorway);
                }
            }
            Signal::Ended(end) => self.on_ended(generation, end),
            Signal::Lost => self.on_lost(generation),
            Signal::Done(operation) => self.on_done(generation, operation),
        }
    }

    fn on_done(&mut self, generation: u64, operation: Operation) {
        if let Some(transport) = self.leaving(generation) {
            transport.advance(operation);
            return self.give_up_leaving();
        }
        let transport = match &mut self.state {
            State::Connecting(transport, ..)
            | State::Subscribing(transport, ..)
            | State::Up(transport, ..)
            | State::Closing(transport, _)
            | State::Leaving(transport, _) => transport,
            _ => return,
        };
        if transport.generation() != generation {
            return;
        }
        match transport.advance(operation) {
            Some(Outcome::Connected) => {
                self.subscribe();
                self.on_over();
            }
            Some(Outcome::ConnectFailed(words)) => {
                if let State::Connecting(transport, address) = self.take_state() {
                    let error = closed_at_once(&address, &transport, &words);
                    self.leave(transport);
                    self.failed(error);
                }
            }
            Some(Outcome::Subscribed) => self.subscribed(),
            Some(Outcome::SubscribeRefused(number)) => self.subscribe_refused(number),
            // The news of the end is on its way.
            Some(Outcome::SubscribeUnanswered) => {}
            Some(outcome) => {
                self.report_publish(outcome);
                self.write_kept();
                self.end_closing_when_written();
            }
            None => {}
        }
    }

    fn subscribe(&mut self) {
        let filters = filters(&self.options);
        if let State::Connecting(mut transport, address) = self.take_state() {
            for (number, filter) in filters.iter().enumerate() {
                transport.subscribe(number, filter);
            }
            self.state = State::Subscribing(transport, address, filters.len());
        }
    }

    fn subscribed(&mut self) {
        match self.take_state() {
            State::Subscribing(transport, address, 1) => {
                log::debug!("connected to {address}");
                let connected = Connected {
                    address: address.to_string(),
                    gap: self.outages.connected(Instant::now()),
                };
                self.known = Some(address.clone());
                self.state = State::Up(transport, address);
                self.mandate = if self.options.reconnect {
                    Mandate::Kept
                } else {
                    Mandate::Once
                };
                self.status.set_connected(true);
                self.publish(Event::Connected(connected));
                self.expire();
                self.outbox.keep_until(None);
                for reply in self.connecting.drain(..) {
                    answer(&reply, Ok(()));
                }
                self.write_kept();
            }
            State::Subscribing(transport, address, open) => {
                self.state = State::Subscribing(transport, address, open - 1);
            }
            state => self.state = state,
        }
    }

    fn subscribe_refused(&mut self, number: usize) {
        let filter = filters(&self.options).swap_remove(number);
        if let State::Subscribing(transport, address, open) = self.take_state() {
            // Paho says the same of a subscription that it could not write. The wire has told before
            // whether that is so.
            if transport.end().is_some() {
                self.state = State::Subscribing(transport, address, open);
                return;
            }
            self.leave(transport);
            self.failed(Error::new(
                ErrorKind::SubscriptionRefused,
                format!(
                    "{address} refused the subscription to {filter}: {}",
                    self.options.network.subscription_to_check()
                ),
            ));
        }
    }

    fn on_lost(&mut self, generation: u64) {
        if let Some(transport) = self.leaving(generation) {
            transport.lost();
            return self.give_up_leaving();
        }
        let transport = match &mut self.state {
            State::Connecting(transport, _)
            | State::Subscribing(transport, ..)
            | State::Up(transport, ..)
            | State::Closing(transport, _)
            | State::Leaving(transport, _) => transport,
            _ => return,
        };
        if transport.generation() != generation {
            return;
        }
        transport.lost();
        self.on_over();
    }

    /// Goes on when both the wire and the MQTT client have said that the connection has ended.
    fn on_over(&mut self) {
        match self.take_state() {
            State::Subscribing(transport, address, _) if transport.is_over() => {
                let error = closed_at_once(&address, &transport, "");
                transport.give_up();
                self.failed(error);
            }
            State::Up(transport, address) if transport.is_over() => {
                self.lost(transport, &address);
            }
            closing @ State::Closing(..) => {
                self.state = closing;
                self.end_closing();
            }
            state => {
                self.state = state;
                self.end_leaving();
            }
        }
    }

    fn lost(&mut self, mut transport: Transport, address: &Address) {
        self.status.set_connected(false);
        self.status.tally().disconnected();
        let limits = self.options.network.limits_by_closing();
        let mut loss = self.outages.lost(Instant::now(), SystemTime::now(), limits);
        if let Some(cause) = transport.end().and_then(seen_cause) {
            loss.cause = cause;
        }
        let mut words = format!(
            "the connection to {address} ended unexpectedly after {:.1} s",
            loss.connected_for.as_secs_f64()
        );
        if let Some(End::Lost(_, error)) = transport.end() {
            words = format!("{words}: {error}");
        }
        if loss.cause != DisconnectCause::Unknown {
            words = format!("{words}; {}", loss.cause);
        }
        let error = Error::new(ErrorKind::ConnectionLost, words);
        log::debug!("{error}");
        self.report_publishes(&mut transport);
        self.leave(transport);
        self.book.disconnected(Instant::now());
        if loss.cause == DisconnectCause::RateLimit {
            self.pacer.limited(Instant::now());
        }
        self.keep_all();
        if loss.was_stable {
            self.plan.reset();
        }
        self.set_back(Setback::Lost(error, loss));
    }

    /// An attempt has failed; its connection, if there was one, is given up already.
    fn failed(&mut self, error: Error) {
        log::debug!("attempt {} failed: {error}", self.outages.attempts());
        self.generation += 1;
        self.set_back(Setback::Failed(error));
    }

    /// Makes a plan, and asks the hook about it.
    fn set_back(&mut self, setback: Setback) {
        let (error, attempts) = match &setback {
            Setback::Failed(error) => (error, self.outages.attempts()),
            Setback::Lost(error, _) => (error, 0),
        };
        let delay = self.plan.delay(error, self.mandate, Instant::now());
        if let (Setback::Failed(_), Mandate::Kept) = (&setback, self.mandate) {
            // Whoever called `connect` meanwhile asked for one attempt.
            let error = error.clone();
            self.answer_connecting(&error);
        }
        if let (Some(hook), true) = (&self.hook, self.mandate != Mandate::Once) {
            let retry = Retry::new(Arc::clone(&self.options), error.clone(), attempts, delay);
            let generation = self.generation;
            let done = self.job_done.clone();
            let is_asked = hook.ask(retry, move |answered| {
                // A session that has ended needs no answer.
                let _ = done.send((generation, Job::Answered(answered)));
            });
            if is_asked {
                let until = Instant::now() + self.options.connect_timeout;
                self.state = State::Asking(setback, delay, until);
                return;
            }
        }
        self.go_on(setback, delay);
    }

    /// Tries again after `delay`, or gives up.
    fn go_on(&mut self, setback: Setback, delay: Option<Duration>) {
        let is_lost = matches!(setback, Setback::Lost(..));
        let error = self.report(setback, delay);
        match delay {
            Some(delay) => {
                // Whoever called `connect` meanwhile has it done at once.
                if is_lost && !self.connecting.is_empty() {
                    return self.attempt();
                }
                self.state = State::BackingOff(Instant::now() + delay);
            }
            None => {
                if is_lost || self.mandate == Mandate::Kept {
                    self.answer_connecting(&error);
                    return self.closed(Some(error));
                }
                self.state = State::Idle;
                self.give_up_connecting(&error);
                self.status.not_opened();
                self.answer_connecting(&error);
            }
        }
    }

    /// Tells what happened, and what comes next.
    fn report(&mut self, setback: Setback, retry_in: Option<Duration>) -> Error {
        let (event, error) = match setback {
            Setback::Failed(error) => {
                let failed = ConnectFailed {
                    error: error.clone(),
                    attempt: self.outages.attempts(),
                    retry_in,
                };
                (Event::ConnectFailed(failed), error)
            }
            Setback::Lost(error, loss) => {
                let lost = Disconnected {
                    error: error.clone(),
                    cause: loss.cause,
                    connected_for: loss.connected_for,
                    retry_in,
                };
                (Event::Disconnected(lost), error)
            }
        };
        self.publish(event);
        error
    }

    fn answer_connecting(&mut self, error: &Error) {
        for reply in self.connecting.drain(..) {
            answer(&reply, Err(error.clone()));
        }
    }

    fn on_time(&mut self) {
        self.subscribers.report_missed();
        self.expire();
        self.book.on_time(Instant::now());
        self.write_kept();
        if self
            .state_deadline()
            .is_none_or(|deadline| Instant::now() < deadline)
        {
            return;
        }
        let timeout = self.options.connect_timeout;
        match self.take_state() {
            State::WaitingToLookUp | State::LookingUp => self.failed(Error::new(
                ErrorKind::TimedOut,
                format!("looking up the server took longer than {timeout:?}; is the name server or discovery server reachable?"),
            )),
            State::Dialing(_, address) => self.failed(Error::new(
                ErrorKind::TimedOut,
                format!("there is no connection to {address} within {timeout:?}"),
            )),
            State::Connecting(transport, address) => {
                self.leave(transport);
                self.failed(Error::new(
                    ErrorKind::TimedOut,
                    format!("the MQTT client did not take over the connection to {address} in time"),
                ));
            }
            State::Subscribing(transport, address, _) => {
                self.leave(transport);
                self.failed(Error::new(
                    ErrorKind::TimedOut,
                    format!("{address} did not answer the subscription within {timeout:?}"),
                ));
            }
            State::Asking(setback, planned, _) => {
                log::warn!("the retry callback took longer than {timeout:?}; it is not waited for");
                self.go_on(setback, planned);
            }
            State::BackingOff(_) => self.attempt(),
            closing @ State::Closing(..) => {
                self.state = closing;
                self.end_closing();
            }
            leaving @ State::Leaving(..) => {
                self.state = leaving;
                self.end_leaving();
            }
            // The MQTT client has not noticed the end; there is no use in waiting for that.
            State::Up(transport, address) => self.lost(transport, &address),
            State::Idle => self.state = State::Idle,
        }
    }

    fn on_publish(&mut self, batch: Batch) {
        for mut publish in batch {
            self.follow(&mut publish);
            match self.state {
                State::Up(..) | State::Closing(..) => self.outbox.keep(publish, None),
                State::Idle => self.publish_failed(publish.ids, &not_connected()),
                _ => self.keep(publish),
            }
        }
        self.write_kept();
    }

    /// Enters the downlinks of a message into the book.
    fn follow(&mut self, publish: &mut Publish) {
        let followed = std::mem::take(&mut publish.followed);
        self.book.open(publish.ids, followed, Instant::now());
    }

    /// Keeps a downlink for the next connection, if that is asked for.
    fn keep(&mut self, publish: Publish) {
        match self.options.offline_queue {
            Some((_, expire_after)) => {
                let until = Instant::now().checked_add(expire_after);
                self.outbox.keep(publish, until);
            }
            None => self.publish_failed(publish.ids, &not_connected()),
        }
    }

    /// What waited for its turn waits for the next connection, if that is asked for.
    fn keep_all(&mut self) {
        match self.options.offline_queue {
            Some((_, expire_after)) => {
                let until = Instant::now().checked_add(expire_after);
                self.outbox.keep_until(until);
            }
            None => {
                while let Some(publish) = self.outbox.take_kept() {
                    self.publish_failed(publish.ids, &not_written());
                }
            }
        }
    }

    /// Writes what is kept, as far as there is room and the pace allows.
    fn write_kept(&mut self) {
        self.turn = None;
        while let State::Up(transport, _) | State::Closing(transport, _) = &mut self.state {
            let is_full = transport.open_publishes() >= self.options.send_capacity;
            // The client behind the wire takes them as long as it has not noticed the end.
            let has_ended = transport.end().is_some();
            if has_ended || is_full || !self.outbox.keeps_any() {
                return;
            }
            let now = Instant::now();
            let delay = self.pacer.delay(now);
            if !delay.is_zero() {
                self.turn = Some(now + delay);
                return;
            }
            let Some(publish) = self.outbox.take_kept() else {
                return;
            };
            match transport.publish(publish) {
                Ok(()) => self.pacer.written(now),
                // The connection has just ended; the news is on its way.
                Err(failed) => return self.outbox.put_back(failed.0, None),
            }
        }
    }

    /// Gives up what waited too long for a connection.
    fn expire(&mut self) {
        while let Some(publish) = self.outbox.take_expired(Instant::now()) {
            self.publish_failed(publish.ids, &expired());
        }
    }

    /// Reports what was accepted and will not be written. When the last handle is gone, nobody else
    /// would.
    fn fail_waiting(&mut self, error: &Error) {
        for mut publish in self.outbox.take_all() {
            self.follow(&mut publish);
            self.publish_failed(publish.ids, error);
        }
    }

    /// Decodes a message and hands it out.
    fn deliver(&mut self, raw: RawMessage) {
        self.outages.heard(Instant::now());
        let event = self.options.network.decode(raw);
        match &event {
            Event::Uplink(uplink) => {
                let report = self.devices().uplink(uplink, SystemTime::now());
                if let Some(report) = report {
                    self.publish(Event::Counter(report));
                }
            }
            Event::Activation(activation) => self.devices().joined(&activation.dev_id),
            Event::Downlink(report) => self.book.observe(report),
            Event::QueueInvalidated(invalidated) => {
                invalidated
                    .downlinks
                    .iter()
                    .for_each(|report| self.book.observe(report));
            }
            _ => {}
        }
        self.publish(event);
    }

    fn devices(&self) -> MutexGuard<'_, Devices> {
        self.status.tally().devices()
    }

    /// So many messages were dropped before they came here.
    fn missed(&mut self, messages: u64) {
        self.status.tally().dropped(messages);
        self.devices().dropped();
        self.publish(Event::Lagged(messages));
    }

    fn publish(&mut self, event: Event) {
        self.status.tally().count(&event);
        self.subscribers.publish(event);
    }

    fn publish_failed(&mut self, ids: MessageIds, error: &Error) {
        self.book.not_written(ids, error);
        for message_id in ids.iter() {
            self.publish(Event::PublishFailed(PublishFailed {
                message_id,
                error: error.clone(),
            }));
        }
    }

    fn report_publish(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Published(ids) => {
                self.outages.written(Instant::now());
                self.book.written(ids, Instant::now());
                for id in ids.iter() {
                    self.publish(Event::Published(id));
                }
            }
            Outcome::PublishFailed(ids, error) => self.publish_failed(ids, &error),
            _ => {}
        }
    }

    fn take_state(&mut self) -> State {
        std::mem::replace(&mut self.state, State::Idle)
    }

    /// Reports what became of the downlinks that were on their way out.
    fn report_publishes(&mut self, transport: &mut Transport) {
        for outcome in transport.take_publishes() {
            self.report_publish(outcome);
        }
    }

    /// Ends a connection; it is given up when its end is known.
    fn leave(&mut self, transport: Transport) {
        transport.cancel();
        self.leaving.push(transport);
        self.give_up_leaving();
    }

    /// The connection that was given up under this number, if it has not ended yet.
    fn leaving(&mut self, generation: u64) -> Option<&mut Transport> {
        self.leaving
            .iter_mut()
            .find(|transport| transport.generation() == generation)
    }

    fn give_up_leaving(&mut self) {
        while let Some(index) = self.leaving.iter().position(Transport::is_over) {
            self.leaving.swap_remove(index).give_up();
        }
    }
}

fn filters(options: &Options) -> Vec<String> {
    options
        .network
        .subscriptions(&options.app_id, options.field_topics)
}

pub(crate) fn not_connected() -> Error {
    Error::new(
        ErrorKind::NotConnected,
        "the client is not connected; call connect() first, or wait for the connection to come back",
    )
}

fn not_written() -> Error {
    Error::new(
        ErrorKind::ConnectionLost,
        "the downlink was not written, the connection ended",
    )
}

fn closed_before_written() -> Error {
    Error::new(
        ErrorKind::Closed,
        "the client was closed before the downlink was written",
    )
}

fn expired() -> Error {
    Error::new(
        ErrorKind::Expired,
        "the downlink waited longer for a connection than offline_queue allows",
    )
}

/// Why a connection ended before it was of use. `words` is what the MQTT client says.
fn closed_at_once(address: &Address, transport: &Transport, words: &str) -> Error {
    match transport.end() {
        Some(End::Lost(wire::Loss::Closed, error)) => Error::with_source(
            ErrorKind::ConnectionLost,
            format!(
                "{address} accepted the connection and closed it again at once ({error}); it may be restarting, \
                 or limit the connections of this application"
            ),
            error.clone(),
        ),
        Some(End::Lost(_, error) | End::Failed(error)) => error.clone(),
        _ => match wire::want_of_descriptors() {
            Some(cause) => Error::with_source(
                ErrorKind::ResourcesExhausted,
                format!("cannot connect to {address}: {} ({cause})", wire::EXHAUSTED),
                cause,
            ),
            None => Error::new(
                ErrorKind::ConnectionLost,
                format!("the MQTT client did not take over the connection to {address}: {words}"),
            ),
        },
    }
}

/// The cause of an end, if it was not the server that closed the connection.
fn seen_cause(end: &End) -> Option<DisconnectCause> {
    match end {
        End::Lost(wire::Loss::Silent, _) => Some(DisconnectCause::Silent),
        End::Lost(wire::Loss::TooLarge(bytes), _) => {
            Some(DisconnectCause::PacketTooLarge { bytes: *bytes })
        }
        End::Lost(wire::Loss::Protocol, _) => Some(DisconnectCause::Protocol),
        _ => None,
    }
}

/// Why there is no connection.
fn failure(address: &Address, options: &Options, end: End) -> Error {
    match end {
        End::Failed(error) | End::Lost(_, error) => error,
        End::Refused(code) => refused(address, options, code),
        End::Closed => Error::new(ErrorKind::Closed, "the attempt to connect was cancelled"),
    }
}

/// What a refusing CONNACK means.
fn refused(address: &Address, options: &Options, code: u8) -> Error {
    let Options {
        network, app_id, ..
    } = options;
    let (kind, why) = match code {
        4 | 5 => (
            ErrorKind::NotAuthorized,
            format!(
                "the application id {app_id:?} or its access key is not accepted; {}",
                network.credentials_to_check(app_id)
            ),
        ),
        3 => (
            ErrorKind::ServerUnavailable,
            format!("{}, or try again later", network.unavailable()),
        ),
        2 => (
            ErrorKind::Protocol,
            "the client id is not accepted; choose another client_id_prefix".to_owned(),
        ),
        _ => (
            ErrorKind::Protocol,
            "the server does not accept MQTT 3.1.1".to_owned(),
        ),
    };
    Error::new(
        kind,
        format!("{address} refused the connection (CONNACK {code}): {why}"),
    )
}

fn answer<T>(reply: &Sender<T>, value: T) {
    // Whoever asked may have stopped waiting.
    let _ = reply.send(value);
}
