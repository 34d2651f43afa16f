//! What the network says over HTTP about the downlinks to a device: what waits in its queue, and if that
//! is not all, why.

use std::{
    cell::Cell,
    collections::HashSet,
    time::{Duration, Instant},
};

use crate::{
    api::{Api, Failure, Refusal},
    downlink::{Answer, Cause, Lookup, NotSeen, Sighting},
    error::ErrorKind,
    message::QueuedDownlink,
};

/// How long all requests of a question may take.
const LIMIT: Duration = Duration::from_secs(8);

/// Adds nothing to a queue; the network checks device and rights nevertheless.
const NOTHING: &[u8] = br#"{"downlinks":[]}"#;

/// Asks for the queue of a device, and what stands in the way of downlinks that are not in it: one
/// request, two or three if that is open.
pub(super) fn ask(api: &Api, lookup: &Lookup) -> Answer {
    let inquiry = Inquiry {
        api,
        dev_id: &lookup.dev_id,
        deadline: Instant::now() + LIMIT,
        wait: Cell::new(None),
    };
    let queue = inquiry.within()?.queue(&lookup.dev_id);
    let mut sighting = match queue {
        Ok(queue) => Sighting {
            queue: Some(correlation_ids(queue)),
            ..Sighting::default()
        },
        Err(failure) => inquiry.without_queue(failure, !lookup.overdue.is_empty())?,
    };
    let is_explained = sighting.cause.is_some();
    if let (false, Some(queue)) = (is_explained, &sighting.queue) {
        if lookup.overdue.iter().any(|id| !queue.contains(&**id)) {
            match inquiry.try_queue() {
                Ok(cause) => sighting.cause = cause,
                Err(failure) => sighting.unknown = Some(failure.why),
            }
        }
    }
    sighting.wait = inquiry.wait.get();
    Ok(sighting)
}

fn correlation_ids(queue: Vec<QueuedDownlink>) -> HashSet<String> {
    let ids = queue.into_iter().map(|downlink| downlink.correlation_ids);
    ids.flatten().collect()
}

struct Inquiry<'a> {
    api: &'a Api,
    dev_id: &'a str,
    deadline: Instant,
    /// How long the network wants no further question.
    wait: Cell<Option<Duration>>,
}

impl Inquiry<'_> {
    fn within(&self) -> Result<Api, NotSeen> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(not_seen("the answer did not come in time"));
        }
        Ok(self.api.within(left.min(self.api.timeout())))
    }

    fn note(&self, refusal: &Refusal) {
        self.wait.set(self.wait.get().max(refusal.wait));
    }

    /// Says why the queue cannot be read.
    fn without_queue(&self, failure: Failure, asks_why: bool) -> Answer {
        let Failure::Refused(refusal) = failure else {
            return Err(unanswered(&failure));
        };
        if refusal.status == 404 && refusal.details.is_some() {
            return Ok(Sighting {
                queue: Some(HashSet::new()),
                cause: Some(self.unknown_device(&refusal)),
                ..Sighting::default()
            });
        }
        let Some(right) = missing_right(&refusal) else {
            return Err(unanswered(&Failure::Refused(refusal)));
        };
        let cannot_read = Cause {
            text: format!(
                "the API key lacks {right}: this client gets no report about it, and cannot read the queue of the device; the network may have queued it. Use a key with that right"
            ),
            details: refusal.details.clone(),
        };
        let cause = match asks_why {
            true => self.try_queue().unwrap_or(None),
            false => None,
        };
        Ok(Sighting {
            queue: None,
            cause: Some(cause.unwrap_or(cannot_read)),
            ..Sighting::default()
        })
    }

    /// Adds nothing to the queue, and says why the network refuses even that.
    fn try_queue(&self) -> Result<Option<Cause>, NotSeen> {
        let refusal = match self.within()?.push(self.dev_id, NOTHING) {
            Ok(()) => return Ok(None),
            Err(Failure::Refused(refusal)) => {
                self.note(&refusal);
                refusal
            }
            Err(failure) => return Err(unanswered(&failure)),
        };
        let dev_id = self.dev_id;
        let text = if refusal.is("pkg/applicationserver", "no_device_session") {
            format!(
                "the device {dev_id} has no session: it has not joined since it was registered or reset; send the downlink again when it has joined"
            )
        } else if refusal.is("pkg/applicationserver", "device_not_found") {
            return Ok(Some(self.unknown_device(&refusal)));
        } else if let Some(right) = missing_right(&refusal) {
            format!("the API key lacks {right}; use a key with that right")
        } else {
            return Err(unanswered(&Failure::Refused(refusal)));
        };
        Ok(Some(Cause {
            text,
            details: refusal.details,
        }))
    }

    /// Asks the Identity Server about a device that the Application Server does not know.
    fn unknown_device(&self, refusal: &Refusal) -> Cause {
        let (dev_id, application) = (self.dev_id, self.api.application());
        let here = "this server knows no device";
        let registered = self
            .within()
            .ok()
            .map(|api| api.application_server_of(dev_id));
        if let Some(Err(Failure::Refused(refusal))) = &registered {
            self.note(refusal);
        }
        let text = match &registered {
            Some(Ok(address)) if !address.is_empty() && !self.api.is_at(address) => format!(
                "{here} {dev_id:?} in the application {application:?}: the device is registered on the cluster {address}; connect to that one"
            ),
            Some(Ok(_)) => format!(
                "{here} {dev_id:?} in the application {application:?}: the device is registered, but not on the Application Server of this cluster; check its registration in the Console"
            ),
            Some(Err(Failure::Refused(refusal)))
                if refusal.status == 404 && refusal.details.is_some() =>
            {
                format!(
                    "{here} {dev_id:?}: no such device is registered in the application {application:?}; check the device id"
                )
            }
            _ => format!(
                "{here} {dev_id:?} in the application {application:?}: check the device id, and whether the device is registered on another cluster"
            ),
        };
        Cause {
            text,
            details: refusal.details.clone(),
        }
    }
}

/// Returns the right that a refusal says the key lacks, as part of a sentence.
pub(crate) fn missing_right(refusal: &Refusal) -> Option<String> {
    if refusal.is("pkg/auth/rights", "insufficient_application_rights") {
        let details = refusal.details.as_ref()?;
        let missing = details.attributes.get("missing")?.as_array()?;
        let rights: Vec<&str> = missing.iter().filter_map(|right| right.as_str()).collect();
        return Some(format!("the right {}", rights.join(", ")));
    }
    let is_foreign = refusal.is("pkg/auth/rights", "no_application_rights");
    is_foreign.then(|| "all rights on the application".to_owned())
}

fn not_seen(why: impl Into<String>) -> NotSeen {
    NotSeen {
        why: why.into(),
        wait: None,
    }
}

/// Explains an answer from which nothing follows for the device.
fn unanswered(failure: &Failure) -> NotSeen {
    NotSeen {
        why: explain(failure),
        wait: match failure {
            Failure::Refused(refusal) => refusal.wait,
            _ => None,
        },
    }
}

/// Says what went wrong, as part of a sentence.
pub(crate) fn explain(failure: &Failure) -> String {
    match failure {
        Failure::Unanswered(failure) => failure.seen.clone(),
        Failure::Unreadable { why, .. } => format!("the answer cannot be read: {why}"),
        Failure::Refused(refusal) => {
            let Refusal { status, url, .. } = &**refusal;
            match (&refusal.message, refusal.kind()) {
                (_, ErrorKind::ApplicationNotFound) if refusal.details.is_none() => {
                    format!("{url} is not served (HTTP 404): check http_address")
                }
                (Some(message), _) => format!("the network answers HTTP {status}: {message}"),
                (None, _) => format!("the network answers HTTP {status}"),
            }
        }
    }
}
