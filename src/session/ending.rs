//! Connections that are no longer in use and have not ended yet. Pure state: it decides which are due to
//! finish, to be cut and to be given up.

use std::time::{Duration, Instant};

/// How long a connection that the client has closed stays open for a server that is busy with its
/// downlinks.
const LINGER: Duration = Duration::from_secs(30);

/// How long a connection may take to end, once it is no longer in use. It takes at most half a minute
/// after it has lingered, unless the threads of the MQTT client do not run.
const MAX_ENDING_TIME: Duration = Duration::from_secs(120);

/// The most connections that may be ending. A client that connects and closes again and again, while its
/// server processes nothing, cuts the oldest.
const MAX_ENDING: usize = 16;

/// Connections that are ending, oldest first.
pub(super) struct Endings<T> {
    endings: Vec<Ending<T>>,
}

/// A connection that is no longer in use.
struct Ending<T> {
    connection: T,
    /// It stays open until then, so that the server processes what was published; `None` if it is
    /// ending.
    lingers_until: Option<Instant>,
    /// The client no longer waits for its end then.
    give_up: Instant,
}

impl<T> Endings<T> {
    pub(super) fn new() -> Self {
        Self {
            endings: Vec::new(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.endings.is_empty()
    }

    /// Adds a connection that ends on its own.
    pub(super) fn release(&mut self, connection: T, now: Instant) {
        self.endings.push(Ending {
            connection,
            lingers_until: None,
            give_up: now + MAX_ENDING_TIME,
        });
    }

    /// Adds a connection that stays open for the server.
    pub(super) fn linger(&mut self, connection: T, now: Instant) {
        self.endings.push(Ending {
            connection,
            lingers_until: Some(now + LINGER),
            give_up: now + LINGER + MAX_ENDING_TIME,
        });
    }

    /// Returns the oldest connections, if there are more than may be ending. They no longer linger.
    pub(super) fn surplus(&mut self) -> impl Iterator<Item = &T> {
        let surplus = self.endings.len().saturating_sub(MAX_ENDING);
        self.endings[..surplus].iter_mut().map(|oldest| {
            oldest.lingers_until = None;
            &oldest.connection
        })
    }

    /// Returns the connection that is meant.
    pub(super) fn find(&mut self, is_meant: impl Fn(&T) -> bool) -> Option<&mut T> {
        self.endings
            .iter_mut()
            .map(|ending| &mut ending.connection)
            .find(|connection| is_meant(connection))
    }

    /// Returns whether the connection that is meant stays open for the server.
    pub(super) fn lingers(&self, is_meant: impl Fn(&T) -> bool) -> bool {
        self.endings
            .iter()
            .any(|ending| ending.lingers_until.is_some() && is_meant(&ending.connection))
    }

    /// Notes that the server has processed everything on the connection that is meant: it lingers until
    /// then at the latest.
    pub(super) fn shorten(&mut self, is_meant: impl Fn(&T) -> bool, latest: Instant) {
        for ending in &mut self.endings {
            if is_meant(&ending.connection) {
                ending.lingers_until = ending.lingers_until.map(|until| until.min(latest));
            }
        }
    }

    /// Returns when a connection is due to finish or to be given up.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.endings
            .iter()
            .map(|ending| ending.lingers_until.unwrap_or(ending.give_up))
            .min()
    }

    /// Returns the connections that have lingered long enough. They no longer linger.
    pub(super) fn due(&mut self, now: Instant) -> impl Iterator<Item = &T> {
        self.endings.iter_mut().filter_map(move |ending| {
            let until = &mut ending.lingers_until;
            until.take_if(|until| *until <= now)?;
            Some(&ending.connection)
        })
    }

    /// Removes the connections that do not end.
    pub(super) fn give_up(&mut self, now: Instant) -> Vec<T> {
        self.remove(|ending| ending.give_up <= now)
    }

    /// Removes the connections that have ended.
    pub(super) fn take_ended(&mut self, is_over: impl Fn(&T) -> bool) -> Vec<T> {
        self.remove(|ending| is_over(&ending.connection))
    }

    /// Removes some connections. The others keep their order.
    fn remove(&mut self, is_removed: impl Fn(&Ending<T>) -> bool) -> Vec<T> {
        let endings = std::mem::take(&mut self.endings);
        let (removed, kept) = endings.into_iter().partition(is_removed);
        self.endings = kept;
        let removed: Vec<Ending<T>> = removed;
        removed
            .into_iter()
            .map(|ending| ending.connection)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Returns connections with these numbers. Each lingers one second longer than the one before it.
    fn lingering(connections: std::ops::Range<u32>, start: Instant) -> Endings<u32> {
        let mut endings = Endings::new();
        for number in connections {
            endings.linger(number, start + number * SECOND);
        }
        endings
    }

    #[test]
    fn the_oldest_connections_are_cut_whichever_have_ended_before() {
        let mut endings = lingering(0..20, Instant::now());
        // The order in which ends are noticed is any.
        for ended in [1, 0] {
            assert_eq!(endings.take_ended(|number| *number == ended), [ended]);
        }
        let cut: Vec<u32> = endings.surplus().copied().collect();
        assert_eq!(cut, [2, 3]);
        assert!(!endings.lingers(|number| *number == 3));
        assert!(endings.lingers(|number| *number == 4));
    }

    #[test]
    fn a_connection_lingers_for_half_a_minute_or_until_the_server_has_processed_everything() {
        let start = Instant::now();
        let mut endings = lingering(0..3, start);
        endings.shorten(|number| *number == 1, start + 5 * SECOND);
        endings.shorten(|number| *number == 2, start + 3600 * SECOND);
        let mut due = |seconds| {
            let next = endings.next_deadline().unwrap();
            assert_eq!(next, start + seconds * SECOND);
            let early = endings.due(next - SECOND / 1000).count();
            assert_eq!(early, 0);
            endings.due(next).copied().collect::<Vec<u32>>()
        };
        assert_eq!([due(5), due(30), due(32)], [[1], [0], [2]]);
        assert!(!endings.lingers(|_| true));
    }

    #[test]
    fn a_connection_that_never_ends_is_given_up_after_two_minutes() {
        let start = Instant::now();
        let mut endings = Endings::new();
        endings.linger('a', start);
        endings.release('b', start);
        endings.release('c', start + SECOND);
        let mut ends = Vec::new();
        while let Some(next) = endings.next_deadline() {
            assert!(endings.give_up(next - SECOND / 1000).is_empty());
            endings.due(next).for_each(drop);
            let given_up = endings.give_up(next).into_iter();
            ends.extend(given_up.map(|connection| (connection, (next - start).as_secs())));
        }
        assert_eq!(ends, [('b', 120), ('c', 121), ('a', 150)]);
        assert!(endings.is_empty());
    }
}
