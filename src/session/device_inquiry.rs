//! What the network says over HTTP about the downlinks to a device: what waits in its queue, and if that
//! is not all, why.

use std::{
    cell::Cell,
    collections::HashSet,
    time::{Duration, Instant},
};

use crate::{
    api::{Api, Failure, Meaning, Refusal},
    downlink::{Answer, Cause, Lookup, NotSeen, Sighting},
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
    let queue = inquiry.ask(|api| api.queue(&lookup.dev_id))?;
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

    /// Makes a request, unless the time is up or the network wants no further one now.
    fn ask<T>(
        &self,
        request: impl FnOnce(&Api) -> Result<T, Failure>,
    ) -> Result<Result<T, Failure>, NotSeen> {
        if self.wait.get().is_some() {
            return Err(NotSeen {
                wait: self.wait.get(),
                ..not_seen("the rate limit of the network allows no further question now")
            });
        }
        let api = self.within()?;
        let answer = request(&api);
        let pause = Some(api.last_limits().pause()).filter(|pause| !pause.is_zero());
        let wait = match &answer {
            Err(Failure::Refused(refusal)) => refusal.wait.or(pause),
            _ => pause,
        };
        self.wait.set(wait);
        Ok(answer)
    }

    /// Says why the queue cannot be read.
    fn without_queue(&self, failure: Failure, asks_why: bool) -> Answer {
        let Failure::Refused(refusal) = failure else {
            return Err(unanswered(&failure));
        };
        if is_unknown(&refusal) {
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
        let refusal = match self.ask(|api| api.push(self.dev_id, NOTHING))? {
            Ok(()) => return Ok(None),
            Err(Failure::Refused(refusal)) => refusal,
            Err(failure) => return Err(unanswered(&failure)),
        };
        let dev_id = self.dev_id;
        if is_unknown(&refusal) {
            return Ok(Some(self.unknown_device(&refusal)));
        }
        let text = if refusal.meaning() == Meaning::NoSession {
            format!(
                "the device {dev_id} has no session: it has not joined since it was registered or reset; send the downlink again when it has joined"
            )
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
        let registered = self.ask(|api| api.application_server_of(dev_id)).ok();
        let text = match &registered {
            Some(Ok(address)) if !address.is_empty() && !self.api.is_at(address) => format!(
                "{here} {dev_id:?} in the application {application:?}: the device is registered on the cluster {address}; connect to that one"
            ),
            Some(Ok(_)) => format!(
                "{here} {dev_id:?} in the application {application:?}: the device is registered, but not on the Application Server of this cluster; check its registration in the Console"
            ),
            Some(Err(Failure::Refused(refusal))) if is_unknown(refusal) => {
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

/// Returns whether the server does not know the device, which it may say by the application.
fn is_unknown(refusal: &Refusal) -> bool {
    matches!(
        refusal.meaning(),
        Meaning::NoSuchDevice | Meaning::NoSuchApplication
    )
}

/// Returns the right that a refusal says the key lacks, as part of a sentence.
fn missing_right(refusal: &Refusal) -> Option<String> {
    match refusal.meaning() {
        Meaning::MissingRights(rights) => Some(format!("the right {}", rights.join(", "))),
        Meaning::NoRights => Some("all rights on the application".to_owned()),
        _ => None,
    }
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
        why: failure.to_string(),
        wait: match failure {
            Failure::Refused(refusal) => refusal.wait,
            _ => None,
        },
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{BufRead, BufReader, Write},
        net::{Ipv4Addr, TcpListener},
        thread,
    };

    use super::*;
    use crate::{api::Hosts, config::MqttClientBuilder};

    #[test]
    fn an_answer_that_uses_up_the_rate_limit_asks_for_a_pause() {
        for (available, wait) in [(1, None), (0, Some(Duration::from_secs(2)))] {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            let address = listener.local_addr().unwrap();
            let server = thread::spawn(move || {
                let (mut stream, _) = listener.accept().unwrap();
                let lines = BufReader::new(&stream).lines().map_while(Result::ok);
                assert!(lines.take_while(|line| !line.is_empty()).count() > 0);
                write!(
                    stream,
                    "HTTP/1.1 200 OK\r\nX-Rate-Limit-Limit: 5\r\nX-Rate-Limit-Available: {available}\r\n\
                     X-Rate-Limit-Reset: 9\r\nContent-Length: 2\r\n\r\n{{}}"
                )
                .unwrap();
            });
            let builder =
                MqttClientBuilder::new("greenhouse@ttn".to_owned(), "NNSXS.ID.SECRET".to_owned());
            let options = builder
                .mqtt_address("mqtt://127.0.0.1")
                .http_address(format!("http://{address}"))
                .check()
                .unwrap();
            let key = options.access_key.clone();
            let api = Api::new(Hosts::of(&options).unwrap(), &options, key, LIMIT);
            let lookup = Lookup {
                dev_id: "bed-07".into(),
                overdue: Vec::new(),
            };
            let sighting = ask(&api, &lookup).unwrap();
            assert_eq!(sighting.wait, wait, "{available} left");
            server.join().unwrap();
        }
    }
}
