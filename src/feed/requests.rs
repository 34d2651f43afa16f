//! The downlink requests that came from the broker and are not written to the network yet. Pure state.

use std::{
    collections::{BTreeMap, HashMap},
    time::{Duration, Instant},
};

/// How many requests may wait for their outcome. The broker keeps the others.
const IN_FLIGHT: usize = 100;

/// How long to wait after the network's connection has refused a request.
const PAUSE: Duration = Duration::from_millis(200);

/// Requests in the order in which they came. A request that is dropped is acknowledged to the broker.
#[derive(Debug)]
pub(super) struct Requests<R> {
    /// By the order in which they came.
    waiting: BTreeMap<u64, R>,
    /// By the number under which the outcome is told.
    in_flight: HashMap<u64, (u64, R)>,
    last: u64,
    /// The broker delivers again what came up to this one.
    comes_again: u64,
    /// How many may wait.
    capacity: usize,
    /// Whether the network is connected.
    is_up: bool,
    paused_until: Option<Instant>,
}

impl<R> Requests<R> {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            waiting: BTreeMap::new(),
            in_flight: HashMap::new(),
            last: 0,
            comes_again: 0,
            capacity,
            is_up: false,
            paused_until: None,
        }
    }

    /// Returns how many are not written.
    pub(super) fn len(&self) -> usize {
        self.waiting.len() + self.in_flight.len()
    }

    /// Adds a request.
    ///
    /// # Errors
    ///
    /// If there is no room for it. Of those that it wants to have acknowledged, the broker never delivers that many.
    pub(super) fn add(&mut self, request: R) -> Result<(), R> {
        if self.len() >= self.capacity {
            return Err(request);
        }
        self.last += 1;
        self.waiting.insert(self.last, request);
        Ok(())
    }

    /// Notes whether the network is connected.
    pub(super) fn network(&mut self, is_up: bool) {
        self.is_up = is_up;
        self.paused_until = None;
    }

    /// Notes that there is no network client any more: nothing is known about what it had.
    pub(super) fn let_go(&mut self) {
        self.network(false);
        let open = std::mem::take(&mut self.in_flight).into_values();
        let first = self.comes_again + 1;
        self.waiting
            .extend(open.filter(|(place, _)| *place >= first));
    }

    /// Takes everything that is not known to be written.
    pub(super) fn take(&mut self) -> Vec<R> {
        self.let_go();
        std::mem::take(&mut self.waiting).into_values().collect()
    }

    /// Notes that the broker delivers again what is not acknowledged: what is not known to be written is not tried again
    /// from here.
    pub(super) fn come_again(&mut self) {
        self.waiting.clear();
        self.comes_again = self.last;
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.paused_until
    }

    /// Returns the next request to write, with its place, if it is time for one.
    pub(super) fn next(&mut self, now: Instant) -> Option<(u64, R)> {
        self.paused_until = self.paused_until.filter(|until| *until > now);
        let may_write = self.is_up && self.paused_until.is_none();
        if !may_write || self.in_flight.len() >= IN_FLIGHT {
            return None;
        }
        self.waiting.pop_first()
    }

    /// Notes that a request was handed to the network's connection, which tells the outcome with this number.
    pub(super) fn handed_over(&mut self, place: u64, request: R, number: u64) {
        self.in_flight.insert(number, (place, request));
    }

    /// Notes that the network's connection takes no request now.
    pub(super) fn put_back(&mut self, place: u64, request: R, now: Instant) {
        self.waiting.insert(place, request);
        self.paused_until = now.checked_add(PAUSE);
    }

    /// Notes the outcome of a request: it was written, or no try will help. Returns it.
    pub(super) fn settled(&mut self, number: u64) -> Option<R> {
        Some(self.in_flight.remove(&number)?.1)
    }

    /// Notes that a request was not written, and is to be tried again.
    pub(super) fn failed(&mut self, number: u64, now: Instant) {
        if let Some((place, request)) = self.in_flight.remove(&number) {
            if place > self.comes_again {
                self.put_back(place, request, now);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(requests: &mut Requests<char>, now: Instant) -> Vec<(u64, char)> {
        std::iter::from_fn(|| requests.next(now)).collect()
    }

    fn add(requests: &mut Requests<char>, names: &str) {
        names.chars().for_each(|name| requests.add(name).unwrap());
    }

    #[test]
    fn requests_wait_for_the_network_and_keep_their_order() {
        let now = Instant::now();
        let mut requests = Requests::new(1_000);
        add(&mut requests, "abc");
        assert_eq!(next(&mut requests, now), []);
        requests.network(true);
        let handed = next(&mut requests, now);
        assert_eq!(handed, [(1, 'a'), (2, 'b'), (3, 'c')]);
        for (place, name) in handed {
            requests.handed_over(place, name, 10 + place);
        }
        assert_eq!(requests.settled(12), Some('b'));
        assert_eq!(requests.settled(12), None);
        requests.failed(13, now);
        requests.failed(11, now);
        add(&mut requests, "d");
        assert_eq!(next(&mut requests, now), [], "not in the same moment");
        let later = requests.next_deadline().unwrap();
        assert_eq!(next(&mut requests, later), [(1, 'a'), (3, 'c'), (4, 'd')]);
    }

    #[test]
    fn what_a_network_client_had_when_it_was_let_go_is_written_again() {
        let now = Instant::now();
        let mut requests = Requests::new(1_000);
        requests.network(true);
        add(&mut requests, "ab");
        for (place, name) in next(&mut requests, now) {
            requests.handed_over(place, name, place);
        }
        requests.let_go();
        assert_eq!(requests.len(), 2);
        assert_eq!(next(&mut requests, now), []);
        requests.network(true);
        assert_eq!(next(&mut requests, now), [(1, 'a'), (2, 'b')]);
    }

    #[test]
    fn everything_that_is_not_written_is_taken_at_the_end() {
        let now = Instant::now();
        let mut requests = Requests::new(1_000);
        requests.network(true);
        add(&mut requests, "abc");
        for _ in 0..2 {
            let (place, name) = requests.next(now).unwrap();
            requests.handed_over(place, name, place);
        }
        requests.settled(1);
        assert_eq!(requests.take(), ['b', 'c']);
        assert_eq!(requests.len(), 0);
    }

    #[test]
    fn the_number_of_open_outcomes_has_a_limit() {
        let now = Instant::now();
        let mut requests = Requests::new(1_000);
        requests.network(true);
        (0..2 * IN_FLIGHT).for_each(|_| requests.add('x').unwrap());
        let mut handed = 0;
        while let Some((place, name)) = requests.next(now) {
            requests.handed_over(place, name, place);
            handed += 1;
        }
        assert_eq!(handed, IN_FLIGHT);
        requests.settled(1);
        assert!(requests.next(now).is_some());
    }

    #[test]
    fn what_the_broker_delivers_again_is_not_tried_again_from_here() {
        let now = Instant::now();
        let mut requests = Requests::new(1_000);
        requests.network(true);
        add(&mut requests, "ab");
        for (place, name) in next(&mut requests, now) {
            requests.handed_over(place, name, place);
        }
        add(&mut requests, "c");
        requests.come_again();
        add(&mut requests, "abc");
        requests.failed(1, now);
        assert_eq!(requests.settled(1), None);
        requests.let_go();
        requests.network(true);
        let places: Vec<_> = next(&mut requests, now);
        assert_eq!(places, [(4, 'a'), (5, 'b'), (6, 'c')]);
    }

    #[test]
    fn the_number_of_requests_has_a_limit() {
        let mut requests = Requests::new(2);
        add(&mut requests, "ab");
        assert_eq!(requests.add('c'), Err('c'));
        assert_eq!(requests.take(), ['a', 'b']);
        assert_eq!(requests.add('c'), Ok(()));
    }
}
