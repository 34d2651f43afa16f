//! Why downlinks cannot be queued.

use std::{
    collections::VecDeque,
    time::{Duration, SystemTime},
};

use fastrand::Rng;

use super::{
    device::{Device, MAX_LENGTH},
    messages::{Downlink, Failure},
    session::Session,
};

/// How many bytes an encoder may make.
const LONGEST_ENCODED: usize = 255;
/// How long before its time a downlink must be queued.
const SHORTEST_NOTICE: Duration = Duration::from_millis(2_500);

impl Device {
    /// Returns why a request at that time cannot be queued, if so; a queue holds as many downlinks as
    /// the limit says. The Application Server looks for ports and a session first, then the Network
    /// Server at one downlink after the other.
    pub(super) fn refusal(
        &self,
        downlinks: &[Downlink],
        replace: bool,
        limit: usize,
        now: SystemTime,
        random: &mut Rng,
    ) -> Option<Failure> {
        if downlinks.iter().any(|downlink| downlink.f_port == 0) {
            return Some(Failure::NO_PORT);
        }
        let Some(session) = self.newest_session() else {
            return Some(Failure::NO_SESSION);
        };
        let is_invalid = |downlink: &Downlink| downlink.length() > LONGEST_ENCODED;
        if let Some(index) = downlinks.iter().position(is_invalid) {
            let reason = "value length must be at most 255 bytes";
            return Some(Failure::invalid(index, "frm_payload", reason, random));
        }
        let empty = VecDeque::new();
        let kept = if replace { &empty } else { &self.queue };
        let earliest = now + SHORTEST_NOTICE;
        let mut lowest = session.lowest(kept);
        for downlink in downlinks {
            let failure = unfit(downlink, self.is_group, earliest);
            let of_own_keys = || match self.own_keys {
                Some(_) => misfit(downlink, session, lowest),
                None => None,
            };
            if let Some(failure) = failure.or_else(of_own_keys) {
                return Some(failure);
            }
            lowest = downlink.f_cnt.saturating_add(1);
        }
        (kept.len() + downlinks.len() > limit).then_some(Failure::QUEUE_FULL)
    }
}

/// Returns why no device could be sent the downlink, if so.
fn unfit(downlink: &Downlink, to_group: bool, earliest: SystemTime) -> Option<Failure> {
    let class_b_c = downlink.class_b_c.as_ref();
    let has_gateways = class_b_c.is_some_and(|class_b_c| !class_b_c.gateways.is_empty());
    let is_expired = downlink.absolute_time().is_some_and(|time| time < earliest);
    if downlink.length() > MAX_LENGTH {
        Some(Failure::too_long(downlink.length(), MAX_LENGTH))
    } else if to_group && downlink.confirmed {
        Some(Failure::CONFIRMED_TO_GROUP)
    } else if to_group && !has_gateways {
        Some(Failure::NO_PATH)
    } else {
        is_expired.then_some(Failure::EXPIRED)
    }
}

/// Returns why the downlink of an application with its own keys does not fit into the session, if so.
fn misfit(downlink: &Downlink, session: &Session, lowest: u32) -> Option<Failure> {
    let given = &downlink.session_key_id;
    if !given.is_empty() && *given != session.key_id {
        Some(Failure::UNKNOWN_SESSION.of_session(session.dev_addr, &session.key_id, lowest))
    } else if downlink.f_cnt < lowest {
        let failure = Failure::counter_too_low(downlink.f_cnt, lowest);
        Some(failure.of_session(session.dev_addr, &session.key_id, lowest))
    } else {
        None
    }
}
