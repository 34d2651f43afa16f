//! The thread that owns the user's closures and calls them with the events of the client.
//!
//! Closures run only here, so they need no lock and may call any method of the client.

use std::{
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use crossbeam_channel::{Receiver, select};

use super::{Core, Handle, MqttClient};
use crate::{
    closure::{self, call_safely},
    events::Events,
    message::{Event, MessageId, RawMessage, UplinkMessage},
    session::Command,
};

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

type Closure<A> = closure::Closure<A, MqttClient>;

/// A user's closure, by the event that it handles.
pub(super) enum Callback {
    Connect(Closure<bool>),
    Close(Closure<bool>),
    Uplink(Closure<UplinkMessage>),
    UplinkRaw(Closure<RawMessage>),
    Downlink(Closure<MessageId>),
}

/// Whether any callback was ever set. Until then, messages do not wake the thread. Any kind counts: a
/// connect callback may set an uplink callback for the uplinks that follow.
#[derive(Default)]
pub(super) struct Interest(AtomicBool);

impl Interest {
    /// Notes that a callback is about to be set. Call it before, so that the callback misses nothing.
    pub(super) fn raise(&self) {
        self.0.store(true, Ordering::Release);
    }

    pub(super) fn is_raised(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    /// Returns whether the callbacks' thread needs an event.
    pub(super) fn includes(&self, event: &Event) -> bool {
        match event {
            Event::Uplink(_) | Event::Malformed(_) | Event::Other(_) | Event::Published(_) => {
                self.is_raised()
            }
            event => event.is_lifecycle() || matches!(event, Event::Lagged(_)),
        }
    }
}

/// A change to the list of callbacks.
pub(super) enum Setter {
    Add(CallbackId, Callback),
    Remove(CallbackId),
}

/// The callbacks of one client.
pub(super) struct Callbacks {
    core: Arc<Core>,
    handle: Weak<Handle>,
    setters: Receiver<Setter>,
    events: Events,
    list: Vec<(CallbackId, Callback)>,
    /// Whether events were dropped, perhaps including the end of a connection.
    has_lagged: bool,
    /// Whether a closure has forked, and this is the child: what follows is for the parent to do.
    is_in_fork: bool,
}

impl Callbacks {
    pub(super) fn new(client: &MqttClient, setters: Receiver<Setter>, events: Events) -> Self {
        Self {
            core: Arc::clone(&client.handle.core),
            // Not a handle of its own, which would keep the client alive.
            handle: Arc::downgrade(&client.handle),
            setters,
            events,
            list: Vec::new(),
            has_lagged: false,
            is_in_fork: false,
        }
    }

    /// Runs callbacks until the event stream ends.
    pub(super) fn run(mut self) {
        self.core.enter();
        while !self.is_in_fork {
            if self.has_lagged {
                // An earlier end cannot be in the queue any more.
                let end = self.core.link.status.last_end();
                if self.events.queue().is_empty() {
                    self.core.link.status.told(end);
                    self.has_lagged = false;
                }
            }
            if let Some(event) = self.next_soon() {
                self.on_event(event);
                continue;
            }
            select! {
                recv(self.setters) -> setter => setter.into_iter().for_each(|setter| self.set(setter)),
                recv(self.events.queue()) -> event => {
                    let Ok(event) = event else { return };
                    self.on_event(event);
                }
            }
        }
        // Another thread may have held a lock of the channel at the fork, which dropping it takes.
        mem::forget(self.setters);
    }

    /// Returns the next event, if there is one or the session is about to send it.
    fn next_soon(&self) -> Option<Event> {
        let queue = self.events.queue();
        queue.try_recv().ok().or_else(|| {
            // Sleeping and waking takes longer than handling an event: in a flood, this saves 95 % of
            // the context switches and 8 % of the CPU time.
            thread::yield_now();
            queue.try_recv().ok()
        })
    }

    fn on_event(&mut self, event: Event) {
        // Callbacks that were set before the event happened get it.
        while let Ok(setter) = self.setters.try_recv() {
            self.set(setter);
        }
        self.dispatch(&event);
        if let Event::Uplink(uplink) = event {
            if !self.is_in_fork {
                self.core.link.spent.give(uplink);
            }
        }
    }

    fn set(&mut self, setter: Setter) {
        match setter {
            Setter::Add(id, callback) => self.list.push((id, callback)),
            Setter::Remove(id) => {
                let (removed, kept): (Vec<_>, Vec<_>) = std::mem::take(&mut self.list)
                    .into_iter()
                    .partition(|(known, _)| *known == id);
                self.list = kept;
                // Dropping what the closure captured runs user code too.
                let _ = catch_unwind(AssertUnwindSafe(|| drop(removed)));
                self.is_in_fork = !self.core.is_here();
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
                if !self.is_in_fork {
                    self.core.link.status.told(closed.number);
                }
            }
            Event::Uplink(uplink) => {
                let read = self.call("uplink", &**uplink, |callback| match callback {
                    Callback::Uplink(closure) => Some(closure),
                    _ => None,
                });
                let raw = self.uplink_raw(&uplink.raw);
                // Whatever the closures have cloned.
                match read && raw {
                    true => uplink.hold.end(),
                    false => uplink.hold.fail(),
                }
            }
            Event::Malformed(malformed) if malformed.is_uplink => {
                self.uplink_raw(&malformed.raw);
            }
            // A message on an uplink's topic that is not an uplink.
            Event::Other(raw) if self.core.options.network.is_uplink_topic(raw.topic()) => {
                self.uplink_raw(raw);
            }
            Event::Published(id) => {
                self.call("downlink", id, |callback| match callback {
                    Callback::Downlink(closure) => Some(closure),
                    _ => None,
                });
            }
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

    fn uplink_raw(&mut self, raw: &RawMessage) -> bool {
        self.call("raw uplink", raw, |callback| match callback {
            Callback::UplinkRaw(closure) => Some(closure),
            _ => None,
        })
    }

    /// Runs the callbacks that `choose` selects, in the order in which they were set. Returns whether none has
    /// failed.
    fn call<A>(
        &mut self,
        name: &'static str,
        argument: &A,
        choose: impl Fn(&mut Callback) -> Option<&mut Closure<A>>,
    ) -> bool {
        let handle = &self.handle;
        let core = &self.core;
        let mut client = None;
        let mut all_well = true;
        for closure in self
            .list
            .iter_mut()
            .filter_map(|(_, callback)| choose(callback))
        {
            if self.is_in_fork {
                break;
            }
            let client = client.get_or_insert_with(|| client_of(handle, core));
            let called = call_safely(name, None, || closure(argument, client));
            self.is_in_fork = !core.is_here();
            let Err(failed) = called else { continue };
            if self.is_in_fork {
                break;
            }
            all_well = false;
            // If the session has ended, no subscriber is left.
            let report = Command::Report(Event::CallbackFailed(failed));
            let _ = core.link.commands.send(report);
        }
        all_well
    }
}

/// Returns the client for a callback: a new handle if the last one was dropped, since the close
/// callbacks run after that.
pub(super) fn client_of(handle: &Weak<Handle>, core: &Arc<Core>) -> MqttClient {
    let new = || {
        Arc::new(Handle {
            core: Arc::clone(core),
        })
    };
    MqttClient {
        handle: handle.upgrade().unwrap_or_else(new),
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
