//! A thread that handles the uplinks of its share of the devices.

use std::{
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering, fence},
    },
};

use crossbeam_channel::{Receiver, select};

use super::{Core, Handle, callbacks::client_of};
use crate::{
    closure::{Closure, call_safely},
    events::{Events, Reader},
    message::{Event, UplinkMessage},
    session::Command,
    stats::WorkerStats,
    sync::{self, Stop},
};

/// What a worker has done, for the statistics.
pub(super) struct Desk {
    worker: usize,
    handled: AtomicU64,
    failed: AtomicU64,
    reader: Arc<Reader>,
    queue: Receiver<Event>,
}

impl Desk {
    pub(super) fn new(worker: usize, events: &Events) -> Self {
        Self {
            worker,
            handled: AtomicU64::default(),
            failed: AtomicU64::default(),
            reader: Arc::clone(events.reader()),
            queue: events.queue().clone(),
        }
    }

    /// Has the session forget the worker, and discards what waits for it.
    pub(super) fn leave(&self) {
        self.reader.leave();
        fence(Ordering::SeqCst);
        self.queue.try_iter().for_each(drop);
    }

    pub(super) fn stats(&self) -> WorkerStats {
        WorkerStats {
            worker: self.worker,
            handled: self.handled.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
            dropped: self.reader.dropped(),
            waiting: self.queue.len(),
        }
    }
}

/// What `close` waits for, as long as it exists.
pub(super) struct Attendance {
    pub(super) core: Arc<Core>,
    pub(super) number: u64,
}

impl Drop for Attendance {
    fn drop(&mut self) {
        // In a fork, another thread may hold the lock for ever.
        if self.core.home.is_here() {
            self.core.link.status.worker_left(self.number);
        }
    }
}

/// One worker, with the closure that it runs.
pub(super) struct Worker {
    pub(super) handle: Weak<Handle>,
    pub(super) closure: Closure<UplinkMessage, super::MqttClient>,
    pub(super) events: Events,
    pub(super) stop: Stop,
    pub(super) desk: Arc<Desk>,
    pub(super) attendance: Attendance,
}

/// Why a worker goes on or does not.
#[derive(PartialEq, Eq)]
enum Next {
    Goes,
    Ends,
}

impl Worker {
    /// Handles uplinks until the event stream ends or the worker is removed.
    pub(super) fn run(mut self) {
        self.core().enter();
        let mut has_lagged = false;
        while !sync::is_stopped(&self.stop) {
            if has_lagged {
                // An earlier end cannot still be in the queue.
                let end = self.core().link.status.last_end();
                if self.events.queue().is_empty() {
                    self.has_reached(end);
                    has_lagged = false;
                }
            }
            let event = select! {
                recv(self.stop) -> _ => break,
                recv(self.events.queue()) -> event => event,
            };
            match event {
                Ok(Event::Uplink(uplink)) => {
                    if self.handle(&uplink) == Next::Ends {
                        // Another thread may have held a lock of the channel at the fork.
                        return mem::forget(self.stop);
                    }
                    self.core().link.spent.give(uplink);
                }
                Ok(Event::Closed(closed)) => self.has_reached(closed.number),
                Ok(Event::Lagged(dropped)) => {
                    has_lagged = true;
                    log::warn!(
                        "{dropped} events were dropped because worker {} does not keep up",
                        self.desk.worker
                    );
                }
                Ok(_) => {}
                Err(_) => break,
            }
        }
        self.end();
    }

    /// Runs the closure. A closure that has forked ends in the child, where the rest is for the parent to do.
    fn handle(&mut self, uplink: &UplinkMessage) -> Next {
        let core = Arc::clone(&self.attendance.core);
        let client = client_of(&self.handle, &core);
        let closure = &mut self.closure;
        let worker = Some(self.desk.worker);
        let called = call_safely("worker", worker, || closure(uplink, &client));
        if !core.is_here() {
            return Next::Ends;
        }
        uplink.place.is_handled();
        // Whatever the closure has cloned.
        match &called {
            Ok(()) => uplink.hold.end(),
            Err(_) => uplink.hold.fail(),
        }
        if let Err(failed) = called {
            self.desk.failed.fetch_add(1, Ordering::Relaxed);
            // If the session has ended, no subscriber is left.
            let report = Command::Report(Event::CallbackFailed(failed));
            let _ = core.link.commands.send(report);
        }
        self.desk.handled.fetch_add(1, Ordering::Relaxed);
        Next::Goes
    }

    fn has_reached(&self, end: u64) {
        let status = &self.core().link.status;
        status.worker_told(self.attendance.number, end);
    }

    /// Drops what is left, before `close` may return.
    fn end(self) {
        let Self {
            closure,
            events,
            attendance,
            ..
        } = self;
        drop(events);
        // Dropping what the closure captured runs user code too.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(closure)));
        drop(attendance);
    }

    fn core(&self) -> &Core {
        &self.attendance.core
    }
}
