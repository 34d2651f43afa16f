//! What a failed request means for a backfill. Pure.

use crate::{
    api::{Failure, Meaning},
    error::{Error, ErrorKind},
    message::{BackfillSource, UncoveredReason},
};

/// What to do after a failed request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The network does not have this source.
    Absent,
    /// Too many requests.
    Wait,
    /// It may work later.
    Again,
    /// The key lacks a right. Large installations remember for two minutes what a key may do.
    NoRight,
    /// The server accepts no such limit, or token.
    Ask,
    /// It will fail again.
    Refused,
}

pub(super) fn verdict(failure: &Failure) -> Verdict {
    let refusal = match failure {
        // A key that no header can carry.
        Failure::Unanswered(failure) if failure.kind == Some(ErrorKind::Config) => {
            return Verdict::Refused;
        }
        Failure::Unanswered(_) | Failure::Unreadable { .. } => return Verdict::Again,
        Failure::Refused(refusal) => refusal,
    };
    match refusal.status {
        400 => match refusal.meaning() {
            Meaning::NotAllowed { field, .. }
                if matches!(field.as_str(), "limit" | "continuation_token") =>
            {
                Verdict::Ask
            }
            _ => Verdict::Refused,
        },
        403 => Verdict::NoRight,
        // Some hosted servers say so where storage is not enabled.
        404 | 501 => Verdict::Absent,
        429 => Verdict::Wait,
        // Something in between, such as the login page of a hotel, or a server that is overloaded.
        300..=399 | 408 | 499 | 500.. => Verdict::Again,
        _ => Verdict::Refused,
    }
}

/// Returns why a time stays uncovered after the last attempt has failed, and whether that is final.
pub(super) fn reason(verdict: Verdict) -> (UncoveredReason, bool) {
    match verdict {
        Verdict::Absent => (UncoveredReason::NotEnabled, true),
        Verdict::Wait => (UncoveredReason::RateLimited, false),
        Verdict::Again => (UncoveredReason::CutOff, false),
        // Another key, or another right, may be there next time.
        Verdict::NoRight | Verdict::Ask | Verdict::Refused => (UncoveredReason::Refused, false),
    }
}

/// Makes the error of a backfill.
pub(super) fn error(source: BackfillSource, server: &str, failure: &Failure) -> Error {
    let what = match source {
        BackfillSource::Storage => "the Storage Integration",
        BackfillSource::Events => "the event stream",
    };
    let context = format!("cannot fetch missed uplinks from {what} of {server}: {failure}");
    Error::new(failure.kind(), context)
}
