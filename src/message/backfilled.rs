//! The account of a backfill.

use std::{
    fmt,
    time::{Duration, SystemTime},
};

use serde::Serialize;

use super::json;
use crate::error::Error;

/// The most devices that a text names.
const NAMED: usize = 5;

/// The content of [`Event::Backfilled`](super::Event::Backfilled): what a backfill has fetched, and what it could
/// not.
///
/// [`Display`](fmt::Display) writes it in one or two lines of text: the numbers with their source, and what stays
/// uncovered and why.
///
/// ```
/// use ttn::Event;
///
/// fn report(event: &Event) {
///     if let Event::Backfilled(backfilled) = event {
///         println!("{backfilled}");
///         if !backfilled.uncovered.is_empty() {
///             eprintln!("the data have gaps");
///         }
///     }
/// }
/// ```
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Backfilled {
    /// The start of the time to fill, by the network's clock.
    #[serde(serialize_with = "json::time")]
    pub from: SystemTime,
    /// The end of it.
    #[serde(serialize_with = "json::time")]
    pub until: SystemTime,
    /// Where the uplinks came from; `None` if no source answered.
    pub source: Option<BackfillSource>,
    /// Uplinks that the network sent: the sum of `delivered`, `known` and `unreadable`. They include those shortly
    /// before and after the time to fill ([`overlap`](crate::Backfill::overlap)), and those that came again with a
    /// later [pass](crate::Backfill::passes).
    pub fetched: u64,
    /// Those that this client did not have: each became an [`Event::Uplink`](super::Event::Uplink).
    pub delivered: u64,
    /// Those that it had delivered before, or that came twice.
    pub known: u64,
    /// Those that could not be read, and lines of answers that are nothing at all. The [log](crate#logging) says why
    /// an uplink could not be read.
    pub unreadable: u64,
    /// Requests that were answered.
    pub requests: u32,
    /// What was not filled, and why, by time. Empty if every uplink of that time that the network keeps was fetched.
    pub uncovered: Vec<Uncovered>,
    /// The last error, if one ended the backfill.
    pub error: Option<Error>,
}

/// How far a backfill has got that runs; returned by
/// [`MqttClient::backfill_progress`](crate::MqttClient::backfill_progress).
///
/// ```
/// fn report(progress: &ttn::BackfillProgress) -> String {
///     format!("{} uplinks in {:?}", progress.delivered, progress.running_for)
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BackfillProgress {
    /// Uplinks that were delivered so far.
    pub delivered: u64,
    /// Uplinks that this client had delivered before.
    pub known: u64,
    /// The time, by the network's clock, up to which everything is fetched; `None` at first. What a later
    /// [pass](crate::Backfill::passes) reads again, by default the last 10 minutes, is beyond it until then.
    pub reached: Option<SystemTime>,
    /// How long it has been running, including its waits between passes.
    pub running_for: Duration,
}

/// Where a backfill gets uplinks from. [Fetching what was missed](crate#fetching-what-was-missed) compares the two.
///
/// Later versions may add sources; match with a `_` arm. [`Display`](fmt::Display) writes its name.
///
/// ```
/// assert_eq!(ttn::BackfillSource::Events.to_string(), "the event stream");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum BackfillSource {
    /// The Storage Integration of a hosted network. Its uplinks lack what storage does not keep: the AppEUI, the
    /// session key id and the correlation ids.
    Storage,
    /// The backlog of the event stream, on a server that keeps events: the whole messages of the last 10 minutes, but
    /// not of more than about the last 100 events of the application.
    Events,
}

/// A time that a backfill did not fill, or not for certain.
///
/// ```
/// fn report(part: &ttn::Uncovered) -> String {
///     match part.uplinks {
///         Some(uplinks) => format!("{uplinks} uplinks are missing: {}", part.reason),
///         None => format!("uplinks may be missing: {}", part.reason),
///     }
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Uncovered {
    /// The start of that time, by the network's clock.
    #[serde(serialize_with = "json::time")]
    pub from: SystemTime,
    /// The end of it.
    #[serde(serialize_with = "json::time")]
    pub until: SystemTime,
    /// Why.
    pub reason: UncoveredReason,
    /// The number of uplinks that are missing; `None` if nobody knows.
    pub uplinks: Option<u64>,
    /// The devices that have sent something then, as far as they are known.
    pub devices: Vec<UncoveredDevice>,
}

/// A device with uplinks that a backfill did not get.
///
/// ```
/// fn report(device: &ttn::UncoveredDevice) -> String {
///     match device.uplinks {
///         Some(uplinks) => format!("{}: {uplinks}", device.dev_id),
///         None => device.dev_id.clone(),
///     }
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct UncoveredDevice {
    /// The device id.
    pub dev_id: String,
    /// The number of its uplinks; `None` if nobody knows.
    pub uplinks: Option<u64>,
}

/// Why a backfill did not fill a time.
///
/// Later versions may add reasons; match with a `_` arm. [`Display`](fmt::Display) writes it as a sentence.
///
/// ```
/// use ttn::UncoveredReason;
///
/// fn is_worth_another_attempt(reason: UncoveredReason) -> bool {
///     matches!(reason, UncoveredReason::RateLimited | UncoveredReason::CutOff)
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum UncoveredReason {
    /// It is further back than [`Backfill::max_age`](crate::Backfill::max_age).
    TooOld,
    /// The network has nothing from that time, because it deletes older uplinks. It looks the same if it began to
    /// keep uplinks later, or if no device has sent anything.
    NotKept,
    /// The network keeps no uplinks of this application: no storage, and no events. Storage that is enabled and has
    /// nothing yet looks the same. [Fetching what was missed](crate#fetching-what-was-missed) says what to enable.
    NotEnabled,
    /// The network only knows that devices have sent something, not what.
    OnlyCounted,
    /// The network limits the rate of requests, and the backfill gave up.
    RateLimited,
    /// The network refused the requests, for example because the key lacks a right.
    Refused,
    /// The answers broke off, or did not come, or the client was closed during the backfill;
    /// [`Backfilled::error`] names the cause, if one ended it.
    CutOff,
}

impl fmt::Display for Backfilled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (from, until) = (Time(self.from), Time(self.until));
        match self.source {
            Some(source) => {
                let delivered = Uplinks(self.delivered);
                write!(
                    f,
                    "filled {from} to {until} from {source}: {delivered} delivered"
                )?;
                let mut others = Vec::new();
                if self.known > 0 {
                    others.push(format!("{} known", self.known));
                }
                if self.unreadable > 0 {
                    others.push(format!("{} unreadable", self.unreadable));
                }
                if !others.is_empty() {
                    write!(f, " ({} of {} fetched)", others.join(" and "), self.fetched)?;
                }
            }
            None => write!(f, "filled nothing of {from} to {until}")?,
        }
        for (index, part) in self.uncovered.iter().enumerate() {
            f.write_str(if index == 0 { "\nnot covered: " } else { "; " })?;
            // Most often it is all of the time.
            if (part.from, part.until) != (self.from, self.until) {
                write!(f, "{} to {}, ", Time(part.from), Time(part.until))?;
            }
            part.write_what(f)?;
        }
        match &self.error {
            Some(error) if self.uncovered.is_empty() => write!(f, "\nit ended early: {error}"),
            Some(error) => write!(f, " ({error})"),
            None => Ok(()),
        }
    }
}

impl Uncovered {
    /// Writes how many uplinks are missing, from which devices, and why.
    fn write_what(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.uplinks {
            Some(uplinks) => write!(f, "{}", Uplinks(uplinks))?,
            None if self.reason == UncoveredReason::NotKept && self.devices.is_empty() => {
                return write!(
                    f,
                    "perhaps nothing: {}, because none were sent or it does not keep them for so long",
                    self.reason
                );
            }
            None => f.write_str("an unknown number of uplinks")?,
        }
        for (index, device) in self.devices.iter().take(NAMED).enumerate() {
            f.write_str(if index == 0 { " of " } else { ", " })?;
            f.write_str(&device.dev_id)?;
            if let Some(uplinks) = device.uplinks.filter(|_| self.devices.len() > 1) {
                write!(f, " ({uplinks})")?;
            }
        }
        if let Some(others @ 1..) = self.devices.len().checked_sub(NAMED) {
            write!(
                f,
                " and {others} other{}",
                if others == 1 { "" } else { "s" }
            )?;
        }
        write!(f, ": {}", self.reason)
    }
}

impl fmt::Display for BackfillSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Storage => "storage",
            Self::Events => "the event stream",
        })
    }
}

impl fmt::Display for UncoveredReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooOld => "it is further back than the max_age of backfill",
            Self::NotKept => "the network has no uplinks from that time",
            Self::NotEnabled => "the network keeps no uplinks of this application; activate its Storage Integration, or have your own server keep events",
            Self::OnlyCounted => "the network does not keep what these devices have sent",
            Self::RateLimited => "the network limits the rate of requests",
            Self::Refused => "the network refused the requests",
            Self::CutOff => "the answers of the network broke off or did not come, or the client was closed",
        })
    }
}

/// A time, to the second.
struct Time(SystemTime);

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match json::rfc3339(self.0) {
            // "2026-11-27T06:00:00.325718204Z"
            Some(text) => write!(f, "{}Z", text.split('.').next().unwrap_or_default()),
            None => f.write_str("an impossible time"),
        }
    }
}

struct Uplinks(u64);

impl fmt::Display for Uplinks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => f.write_str("no uplinks"),
            1 => f.write_str("1 uplink"),
            uplinks => write!(f, "{uplinks} uplinks"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    fn at(second: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_millis(1_795_759_200_325 + 1_000 * second)
    }

    fn backfilled() -> Backfilled {
        Backfilled {
            from: at(0),
            until: at(600),
            source: Some(BackfillSource::Storage),
            fetched: 41,
            delivered: 41,
            known: 0,
            unreadable: 0,
            requests: 2,
            uncovered: Vec::new(),
            error: None,
        }
    }

    fn uncovered(
        reason: UncoveredReason,
        uplinks: Option<u64>,
        dev_ids: &[(&str, u64)],
    ) -> Uncovered {
        let devices = dev_ids.iter().map(|(dev_id, uplinks)| UncoveredDevice {
            dev_id: (*dev_id).to_owned(),
            uplinks: Some(*uplinks).filter(|uplinks| *uplinks > 0),
        });
        Uncovered {
            from: at(0),
            until: at(600),
            reason,
            uplinks,
            devices: devices.collect(),
        }
    }

    #[test]
    fn a_backfill_that_got_everything_is_one_line_of_text() {
        let time = "filled 2026-11-27T06:00:00Z to 2026-11-27T06:10:00Z from";
        let mut report = backfilled();
        assert_eq!(
            report.to_string(),
            format!("{time} storage: 41 uplinks delivered")
        );
        report.source = Some(BackfillSource::Events);
        (report.fetched, report.delivered, report.known) = (8, 1, 7);
        assert_eq!(
            report.to_string(),
            format!("{time} the event stream: 1 uplink delivered (7 known of 8 fetched)")
        );
        (report.fetched, report.delivered, report.unreadable) = (9, 0, 2);
        assert_eq!(
            report.to_string(),
            format!(
                "{time} the event stream: no uplinks delivered (7 known and 2 unreadable of 9 fetched)"
            )
        );
    }

    #[test]
    fn what_is_not_covered_and_why_is_the_second_line() {
        let second_line = |report: &Backfilled| {
            let text = report.to_string();
            let lines: Vec<_> = text.lines().map(str::to_owned).collect();
            assert_eq!(lines.len(), 2, "{text}");
            lines[1].clone()
        };
        let mut report = backfilled();
        report.uncovered = vec![uncovered(
            UncoveredReason::OnlyCounted,
            Some(3),
            &[("bed-07", 3)],
        )];
        assert_eq!(
            second_line(&report),
            "not covered: 3 uplinks of bed-07: the network does not keep what these devices have sent"
        );
        let mut old = uncovered(UncoveredReason::TooOld, None, &[]);
        old.until = at(60);
        report.uncovered.insert(0, old);
        assert_eq!(
            second_line(&report),
            "not covered: 2026-11-27T06:00:00Z to 2026-11-27T06:01:00Z, an unknown number of uplinks: it is further back \
             than the max_age of backfill; 3 uplinks of bed-07: the network does not keep what these devices have sent"
        );
        let many = [
            ("a", 2),
            ("b", 1),
            ("c", 0),
            ("d", 1),
            ("e", 1),
            ("f", 1),
            ("g", 1),
        ];
        report.uncovered = vec![uncovered(UncoveredReason::NotKept, None, &[])];
        assert_eq!(
            second_line(&report),
            "not covered: perhaps nothing: the network has no uplinks from that time, because none were sent or it does \
             not keep them for so long"
        );
        report.uncovered = vec![uncovered(UncoveredReason::NotKept, Some(8), &many)];
        assert!(
            second_line(&report)
                .contains("8 uplinks of a (2), b (1), c, d (1), e (1) and 2 others: the network"),
            "{report}"
        );
        report.uncovered = vec![uncovered(UncoveredReason::NotKept, Some(8), &many[..6])];
        assert!(second_line(&report).contains(" and 1 other:"), "{report}");
        report.uncovered = vec![uncovered(UncoveredReason::NotKept, Some(8), &many[..5])];
        assert!(
            second_line(&report).contains("d (1), e (1): the"),
            "{report}"
        );
    }

    #[test]
    fn a_backfill_that_failed_says_so_with_the_error() {
        let mut report = Backfilled {
            source: None,
            fetched: 0,
            delivered: 0,
            uncovered: vec![uncovered(UncoveredReason::Refused, None, &[])],
            error: Some(Error::new(
                ErrorKind::NotAuthorized,
                "the key may not read traffic",
            )),
            ..backfilled()
        };
        assert_eq!(
            report.to_string(),
            "filled nothing of 2026-11-27T06:00:00Z to 2026-11-27T06:10:00Z\n\
             not covered: an unknown number of uplinks: the network refused the requests (the key may not read traffic)"
        );
        report.uncovered.clear();
        assert!(
            report
                .to_string()
                .ends_with("\nit ended early: the key may not read traffic")
        );
    }

    #[test]
    fn each_reason_is_a_text_of_its_own() {
        let reasons = [
            UncoveredReason::TooOld,
            UncoveredReason::NotKept,
            UncoveredReason::NotEnabled,
            UncoveredReason::OnlyCounted,
            UncoveredReason::RateLimited,
            UncoveredReason::Refused,
            UncoveredReason::CutOff,
        ];
        let texts: std::collections::BTreeSet<_> =
            reasons.iter().map(ToString::to_string).collect();
        assert_eq!(texts.len(), reasons.len());
    }

    #[test]
    fn times_that_no_calendar_has_are_written_too() {
        let mut report = backfilled();
        report.until = at(600) + Duration::from_secs(400_000_000_000);
        assert!(
            report.to_string().contains("an impossible time"),
            "{report}"
        );
    }
}
