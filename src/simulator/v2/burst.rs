//! Requests behind a plain broker, where the handler takes up each at once and finishes them in any
//! order.

use std::{collections::VecDeque, time::Duration};

use fastrand::Rng;

use super::{V2, request};
use crate::simulator::sync::{deadline, lock};

/// How long a request can take.
const DURATION: Duration = Duration::from_millis(5);
/// How many requests are under way together.
const TOGETHER: usize = 4;
/// How often, of ten times, the oldest of them is finished first.
const IN_TURN: u8 = 7;

/// The requests that are under way, as topic and payload.
pub(super) type Burst = VecDeque<(String, Vec<u8>)>;

impl V2 {
    /// Takes up a request that is finished in a moment.
    pub(super) fn burst(&self, topic: &str, payload: &[u8]) {
        lock(&self.burst).push_back((topic.to_owned(), payload.to_vec()));
        self.env.windows.deliver_at(deadline(DURATION));
    }

    /// Finishes the requests that are under way. Later ones wait until all of them are finished.
    pub(super) fn finish_burst(&self) {
        let mut burst = lock(&self.burst);
        while !burst.is_empty() {
            let next = next(&burst, &mut lock(&self.state).random);
            if let Some((topic, payload)) = burst.remove(next) {
                self.request(&topic, &payload);
            }
        }
    }
}

/// Returns which of the requests is finished next. One that replaces the queue overtakes none and is
/// not overtaken: what the application sends behind it is never lost to it.
fn next(burst: &Burst, random: &mut Rng) -> usize {
    let replaces = |(_, payload): &(String, Vec<u8>)| {
        let request = request::read(payload);
        request.is_some_and(|request| matches!(request.schedule.as_str(), "" | "replace"))
    };
    let together = burst.iter().take(TOGETHER);
    let choices = together.take_while(|request| !replaces(request)).count();
    match choices {
        0 | 1 => 0,
        _ if random.u8(..10) < IN_TURN => 0,
        _ => random.usize(1..choices),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns how many of that many batches keep their order: one request that replaces the queue, and
    /// the others to its end.
    fn batches_in_order(batches: usize, size: usize) -> usize {
        let mut random = Rng::with_seed(3);
        let request = |index: usize| {
            let schedule = if index == 0 { "replace" } else { "last" };
            let request = format!(r#"{{"schedule":"{schedule}"}}"#);
            (index.to_string(), request.into_bytes())
        };
        let is_in_order = |_: &usize| {
            let mut burst: Burst = (0..size).map(request).collect();
            (0..size).all(|index| {
                let next = next(&burst, &mut random);
                burst
                    .remove(next)
                    .is_some_and(|(topic, _)| topic == index.to_string())
            })
        };
        (0..batches).filter(is_in_order).count()
    }

    #[test]
    fn a_third_of_the_batches_of_five_and_hardly_one_of_twenty_keep_their_order() {
        let of_five = batches_in_order(1_000, 5);
        assert!((280..420).contains(&of_five), "{of_five}");
        let of_twenty = batches_in_order(1_000, 20);
        assert!(of_twenty < 10, "{of_twenty}");
    }

    #[test]
    fn requests_overtake_each_other_but_never_one_that_replaces() {
        let mut random = Rng::with_seed(1);
        let schedules = ["last", "last", "replace", "last", "last", "first"];
        let mut overtaken = 0;
        for _ in 0..50 {
            let requests = schedules.iter().enumerate();
            let mut burst: Burst = requests
                .map(|(index, schedule)| {
                    let request = format!(r#"{{"port":{index},"schedule":"{schedule}"}}"#);
                    (index.to_string(), request.into_bytes())
                })
                .collect();
            let mut order = Vec::new();
            while !burst.is_empty() {
                let next = next(&burst, &mut random);
                order.extend(burst.remove(next).map(|request| request.0));
            }
            assert_eq!(order[2], "2", "{order:?}");
            overtaken += usize::from(!order.is_sorted());
            order.sort();
            assert_eq!(order, ["0", "1", "2", "3", "4", "5"]);
        }
        assert!((10..50).contains(&overtaken), "{overtaken}");
    }
}
