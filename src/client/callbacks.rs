//! The thread that owns the user's closures and reads the event stream for them.
//!
//! Closures are sent here and run only here. They need no lock and may call any method of the client.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use crossbeam_channel::{Receiver, Sender, select};

use crate::{
    closure::{Closure, call_safely},
    events::Events,
    message::{Event, MessageId, RawMessage, UplinkMessage},
    network::Network,
    session::{Command, Status},
};

/// How many events the thread reads before it checks for setters.
const BURST: usize = 64;

/// Identifies a callback, to [remove](crate::MqttClient::remove_callback) it.
///
/// ```
/// let client = ttn::MqttClient::new("my-app@ttn", "NNSXS.ID.SECRET")?;
/// let id = client.set_uplink_callback(|_, _| {});
/// client.remove_callback(id);
/// # Ok::<(), ttn::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CallbackId(pub(crate) u64);

/// A user's closure, by the event that it handles.
pub(crate) enum Callback<C> {
    Connect(Closure<bool, C>),
    Close(Closure<bool, C>),
    Uplink(Closure<UplinkMessage, C>),
    UplinkRaw(Closure<RawMessage, C>),
    Downlink(Closure<MessageId, C>),
}

/// Whether any callback is set. Without one, messages do not wake the thread. Any kind counts: a
/// connect callback may set an uplink callback for the uplinks that follow.
#[derive(Default)]
pub(crate) struct Interest(AtomicBool);

impl Interest {
    /// Must be called before a callback is set, so that the callback misses nothing.
    pub(crate) fn raise(&self) {
        self.0.store(true, Ordering::Release);
    }

    pub(crate) fn is_raised(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    pub(crate) fn includes(&self, event: &Event) -> bool {
        match event {
            Event::Uplink(_) | Event::Malformed(_) | Event::Other(_) | Event::Published(_) => {
                self.is_raised()
            }
            event => event.is_lifecycle() || matches!(event, Event::Lagged(_)),
        }
    }
}

/// What the setters ask the callbacks' thread to do.
pub(crate) enum Setter<C> {
    Add(CallbackId, Callback<C>),
    Remove(CallbackId),
}

/// The callbacks of one client. `C` is the client type that they get.
pub(crate) struct Callbacks<C> {
    pub(crate) network: Network,
    pub(crate) setters: Receiver<Setter<C>>,
    pub(crate) events: Events,
    pub(crate) commands: Sender<Command>,
    pub(crate) status: Arc<Status>,
    /// Returns events to the session, which allocated them: freeing the memory of another thread is
    /// slower, and delays that thread.
    pub(crate) spent: Sender<Vec<Event>>,
    pub(crate) client: Box<dyn Fn() -> C + Send>,
    pub(crate) list: Vec<(CallbackId, Callback<C>)>,
    /// Events were dropped, perhaps including the end of a connection.
    pub(crate) has_lagged: bool,
}

impl<C> Callbacks<C> {
    /// Runs until the event stream ends.
    pub(crate) fn run(mut self) {
        loop {
            if self.has_lagged {
                // An earlier end cannot be in the queue any more.
                let end = self.status.last_end();
                if self.events.receiver().is_empty() {
                    self.status.told(end);
                    self.has_lagged = false;
                }
            }
            select! {
                recv(self.setters) -> setter => setter.into_iter().for_each(|setter| self.set(setter)),
                recv(self.events.receiver()) -> event => {
                    let Ok(event) = event else { return };
                    self.on_burst(event);
                }
            }
        }
    }

    fn on_burst(&mut self, first: Event) {
        self.on_event(&first);
        let mut spent = vec![first];
        while spent.len() < BURST {
            let Some(event) = self.next_soon() else { break };
            self.on_event(&event);
            spent.push(event);
        }
        if spent.len() > 1 {
            // If the session has no room for them, they are freed here.
            let _ = self.spent.try_send(spent);
        }
    }

    /// The next event, if there is one or the session is about to send it.
    fn next_soon(&self) -> Option<Event> {
        self.events.try_recv().ok().or_else(|| {
            // Falling asleep and waking up takes longer than handling an event.
            thread::yield_now();
            self.events.try_recv().ok()
        })
    }

    fn on_event(&mut self, event: &Event) {
        // Callbacks that were set before the event happened hear of it.
        while let Ok(setter) = self.setters.try_recv() {
            self.set(setter);
        }
        self.dispatch(event);
    }

    fn set(&mut self, setter: Setter<C>) {
        match setter {
            Setter::Add(id, callback) => self.list.push((id, callback)),
            Setter::Remove(id) => {
                let (removed, kept): (Vec<_>, Vec<_>) = std::mem::take(&mut self.list)
                    .into_iter()
                    .partition(|(known, _)| *known == id);
                self.list = kept;
                // Dropping what the closure captured runs user code as well.
                let _ = catch_unwind(AssertUnwindSafe(|| drop(removed)));
            }
        }
    }

    fn dispatch(&mut self, event: &Event) {
        match event {
            Event::Connected(_) => self.connect(true),
            Event::ConnectFailed(_) => self.connect(false),
            Event::Disconnected(_) => self.close(false),
            Event::Closed(closed) => {
                if closed.error.is_none() {
                    self.close(true);
                }
                self.status.told(closed.number);
            }
            Event::Uplink(uplink) => {
                self.call("uplink", &**uplink, |callback| match callback {
                    Callback::Uplink(closure) => Some(closure),
                    _ => None,
                });
                self.uplink_raw(&uplink.raw);
            }
            Event::Malformed(malformed) if malformed.is_uplink => self.uplink_raw(&malformed.raw),
            // An unknown message in the place of an uplink.
            Event::Other(raw) if self.network.is_uplink_topic(raw.topic()) => self.uplink_raw(raw),
            Event::Published(id) => self.call("downlink", id, |callback| match callback {
                Callback::Downlink(closure) => Some(closure),
                _ => None,
            }),
            Event::Lagged(dropped) => {
                self.has_lagged = true;
                log::warn!("{dropped} events were dropped because the callbacks do not keep up");
            }
            _ => {}
        }
    }

    fn connect(&mut self, connected: bool) {
        self.call("connect", &connected, |callback| match callback {
            Callback::Connect(closure) => Some(closure),
            _ => None,
        });
    }

    fn close(&mut self, asked_for: bool) {
        self.call("close", &asked_for, |callback| match callback {
            Callback::Close(closure) => Some(closure),
            _ => None,
        });
    }

    fn uplink_raw(&mut self, raw: &RawMessage) {
        self.call("raw uplink", raw, |callback| match callback {
            Callback::UplinkRaw(closure) => Some(closure),
            _ => None,
        });
    }

    /// Runs the callbacks that `choose` selects, in the order in which they were set.
    fn call<A>(
        &mut self,
        name: &'static str,
        argument: &A,
        choose: impl Fn(&mut Callback<C>) -> Option<&mut Closure<A, C>>,
    ) {
        let mut client = None;
        for closure in self
            .list
            .iter_mut()
            .filter_map(|(_, callback)| choose(callback))
        {
            let client = client.get_or_insert_with(|| (self.client)());
            let Err(failed) = call_safely(name, || closure(argument, client)) else {
                continue;
            };
            // If the session has ended, nobody is left to tell.
            let _ = self
                .commands
                .send(Command::Report(Event::CallbackFailed(failed)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Closed;

    #[test]
    fn messages_are_of_interest_when_there_is_a_callback_and_news_about_the_client_always() {
        let message = Event::Other(RawMessage::new("topic", &[]));
        let news = Event::Closed(Closed {
            error: None,
            number: 1,
        });
        let interest = Interest::default();
        assert!(!interest.includes(&message));
        assert!(interest.includes(&news));
        interest.raise();
        assert!(interest.includes(&message));
        assert!(interest.includes(&news));
    }
}
