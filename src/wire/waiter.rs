//! Waits for sockets, a deadline, and requests from other threads.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::Instant,
};

use mio::{Events, Interest, Poll, Token, Waker, event::Source};

/// The token of a [`Handle`]'s word.
const WORD: Token = Token(usize::MAX);

/// A request from another thread to the waiting thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Word {
    GoOn,
    /// Pass on what is in transit, then end.
    Finish,
    /// End now.
    Cancel,
}

/// The waiting side.
#[derive(Debug)]
pub(super) struct Waiter {
    poll: Poll,
    events: Events,
    handle: Handle,
}

/// The side that other threads hold.
#[derive(Clone, Debug)]
pub(super) struct Handle {
    word: Arc<AtomicU8>,
    waker: Arc<Waker>,
}

impl Waiter {
    pub(super) fn new() -> io::Result<Self> {
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), WORD)?);
        Ok(Self {
            poll,
            events: Events::with_capacity(16),
            handle: Handle {
                word: Arc::new(AtomicU8::new(Word::GoOn as u8)),
                waker,
            },
        })
    }

    pub(super) fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Watches `source` for becoming readable or writable; each change is reported once.
    pub(super) fn watch(&self, source: &mut impl Source, token: usize) -> io::Result<()> {
        let both = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(source, Token(token), both)
    }

    /// Watches `source` for becoming readable.
    pub(super) fn watch_reading(&self, source: &mut impl Source, token: usize) -> io::Result<()> {
        let registry = self.poll.registry();
        registry.register(source, Token(token), Interest::READABLE)
    }

    /// Changes the token of `source`.
    pub(super) fn rename(&self, source: &mut impl Source, token: usize) -> io::Result<()> {
        let both = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().reregister(source, Token(token), both)
    }

    /// Waits until something happens, at most until `until`. Returns the tokens of the
    /// sources that are ready.
    pub(super) fn wait(
        &mut self,
        until: Option<Instant>,
    ) -> io::Result<impl Iterator<Item = usize> + '_> {
        // The system rounds up to a millisecond, so the deadline has passed when this returns.
        let timeout = until.map(|until| until.saturating_duration_since(Instant::now()));
        match self.poll.poll(&mut self.events, timeout) {
            Err(cause) if cause.kind() == io::ErrorKind::Interrupted => self.events.clear(),
            result => result?,
        }
        let tokens = self.events.iter().map(|event| event.token());
        Ok(tokens.filter(|token| *token != WORD).map(|token| token.0))
    }

    /// Returns the latest word.
    pub(super) fn word(&self) -> Word {
        match self.handle.word.load(Ordering::Acquire) {
            0 => Word::GoOn,
            1 => Word::Finish,
            _ => Word::Cancel,
        }
    }
}

impl Handle {
    /// Wakes the waiting thread with a word. A stronger word from earlier stays.
    pub(super) fn say(&self, word: Word) {
        self.word.fetch_max(word as u8, Ordering::AcqRel);
        self.wake();
    }

    pub(super) fn wake(&self) {
        // Fails only if the poll is gone.
        let _ = self.waker.wake();
    }
}

/// Returns the earlier of two deadlines.
pub(super) fn earlier(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    [one, other].into_iter().flatten().min()
}
