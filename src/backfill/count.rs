//! How many uplinks of a time that stays uncovered are missing, as far as devices' counters tell.

use std::time::{Duration, SystemTime};

use super::{
    LastHeard,
    faults::Faults,
    handover::Stopped,
    rate::Rate,
    run::Run,
    verdict::{Verdict, verdict},
    window::minus,
};
use crate::{
    api::{Api, Counted, Failure},
    config::Backfill,
    message::{Uncovered, UncoveredDevice, UncoveredReason},
};

/// The most devices to ask about, one request each.
const MAX_DEVICES: usize = 100;

/// How often to ask again after a fault, or a refusal because of too many requests.
const REPEATS: u32 = 3;

/// The most devices to name.
const MAX_NAMED: usize = 1_000;

/// After which time the network has noted when it has seen its devices.
const LAG: Duration = Duration::from_secs(5);

/// How long an uplink that the Network Server has counted takes to the client.
const IN_FLIGHT: Duration = Duration::from_millis(500);

impl Run<'_> {
    /// Finds out what is missing, if the key may read devices. Without that right, nobody knows.
    pub(super) fn count_uncovered(&mut self) -> Result<(), Stopped> {
        let first = self.outcome.uncovered.iter().map(|time| time.from).min();
        // What the client has heard says nothing about a time in the past.
        if !self.settings().counts_uncovered || self.task.is_on_request {
            return Ok(());
        }
        let Some(from) = first else { return Ok(()) };
        self.wait_for_the_network()?;
        let Some((seen, is_complete)) = self.seen_since(from)? else {
            return Ok(());
        };
        self.handover.wait_until_taken()?;
        let asked = seen.len().min(MAX_DEVICES);
        let mut counted = Vec::new();
        let mut pace = Pace::new(self.settings());
        for dev_id in &seen[..asked] {
            match self.call(&mut pace, |api| api.counted(dev_id))? {
                Ok(count) => counted.push(count),
                // It is registered elsewhere.
                Err(Failure::Refused(refusal)) if refusal.status == 404 => counted.push(None),
                Err(_) => break,
            }
        }
        self.handover
            .wait(IN_FLIGHT.min(self.settings().max_wait))?;
        let mut devices = Vec::new();
        for (index, dev_id) in seen.into_iter().enumerate() {
            let count = counted.get(index).copied().flatten();
            let missed = count.and_then(|count| {
                let heard = (self.task.heard)(&dev_id, from)?;
                missed(count, &heard, from)
            });
            if missed != Some(0) && devices.len() < MAX_NAMED {
                devices.push(UncoveredDevice {
                    dev_id,
                    uplinks: missed,
                });
            }
        }
        self.conclude_count(devices, is_complete);
        Ok(())
    }

    /// Asks, a few times if that may help.
    fn call<T>(
        &mut self,
        pace: &mut Pace,
        request: impl Fn(&Api) -> Result<T, Failure>,
    ) -> Result<Result<T, Failure>, Stopped> {
        let mut repeats = REPEATS;
        loop {
            self.handover.wait(pace.rate.pause())?;
            let answer = request(&self.api);
            self.handover.check()?;
            let is_answer = matches!(answer, Ok(_) | Err(Failure::Refused(_)));
            self.outcome.requests += u32::from(is_answer);
            let limits = self.api.last_limits();
            let Err(failure) = answer else {
                pace.rate.on_answer(limits, true);
                pace.faults.on_progress();
                return Ok(answer);
            };
            let wait = match (verdict(&failure), &failure) {
                (Verdict::Again, _) => pace.faults.on_fault(),
                (Verdict::Wait, Failure::Refused(refusal)) => {
                    pace.rate.on_refusal(limits, refusal.wait)
                }
                _ => None,
            };
            match wait.filter(|_| repeats > 0) {
                Some(wait) => self.handover.wait(wait)?,
                None => return Ok(Err(failure)),
            }
            repeats -= 1;
        }
    }

    fn conclude_count(&mut self, devices: Vec<UncoveredDevice>, is_complete: bool) {
        let sum = devices.iter().map(|device| device.uplinks);
        let sum: Option<u64> = sum.sum();
        let sum = sum.filter(|_| is_complete);
        if sum == Some(0) {
            self.outcome.uncovered.clear();
            return;
        }
        // Counters tell nothing about when.
        if let [time] = &mut self.outcome.uncovered[..] {
            time.uplinks = sum;
            time.devices = devices;
        } else if let Some(time) = self.outcome.uncovered.last_mut() {
            let unknown = devices.into_iter().map(|device| UncoveredDevice {
                uplinks: None,
                ..device
            });
            time.devices = unknown.collect();
        }
    }

    /// Waits until the network has noted what its devices have sent.
    fn wait_for_the_network(&self) -> Result<(), Stopped> {
        let lag = LAG.min(self.settings().max_wait / 12);
        self.handover.wait_until(self.reconnect() + lag)
    }

    /// Returns the devices that were seen since then, those seen last first, and whether these are all.
    fn seen_since(&mut self, from: SystemTime) -> Result<Option<(Vec<String>, bool)>, Stopped> {
        let refused = |time: &Uncovered| time.reason == UncoveredReason::Refused;
        if self.outcome.uncovered.iter().all(refused) {
            return Ok(None);
        }
        let mut pace = Pace::new(self.settings());
        let Ok(devices) = self.call(&mut pace, Api::devices)? else {
            return Ok(None);
        };
        let since = minus(from, self.settings().overlap);
        let is_complete = devices.len() < MAX_NAMED;
        let seen = devices.into_iter();
        let seen = seen.filter(|device| device.last_seen_at.is_some_and(|at| at >= since));
        let seen = seen.map(|device| device.dev_id).collect();
        Ok(Some((seen, is_complete)))
    }
}

/// When to ask, apart from what is fetched.
struct Pace {
    rate: Rate,
    faults: Faults,
}

impl Pace {
    fn new(settings: &Backfill) -> Self {
        Self {
            rate: Rate::new(settings.reserve, settings.max_wait),
            faults: Faults::new(settings.max_wait),
        }
    }
}

/// Returns how many uplinks of a device are missing, or `None` if that cannot be told: if the client does not know
/// the session that the network counts.
fn missed(counted: Counted, heard: &LastHeard, from: SystemTime) -> Option<u64> {
    if counted.started_at.is_some_and(|started| started >= from) {
        return None;
    }
    // One that has come since is ahead.
    let ahead = counted.last.wrapping_sub(heard.counter);
    let ahead = if ahead > u32::MAX / 2 { 0 } else { ahead };
    let missed = u64::from(ahead) + u64::from(heard.missing);
    Some(missed.saturating_sub(heard.uncovered))
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    #[test]
    fn the_counter_of_the_network_tells_what_a_client_has_missed() {
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        let count = |last, started_at, counter, missing| {
            let heard = LastHeard {
                counter,
                missing,
                uncovered: 0,
            };
            missed(Counted { last, started_at }, &heard, at(100))
        };
        assert_eq!(count(30, Some(at(50)), 20, 3), Some(13));
        assert_eq!(count(30, None, 30, 0), Some(0));
        // The client has heard one since, or the counter has begun anew.
        assert_eq!(count(30, None, 31, 2), Some(2));
        assert_eq!(count(4, None, u32::MAX, 0), Some(5));
        // The device has joined in the gap: nobody knows what came before.
        assert_eq!(count(4, Some(at(100)), 2, 0), None);
    }
}
