//! What a v3 server says over HTTP: whether it is The Things Stack, and then, whose key this is.

use std::time::{Duration, Instant, SystemTime};

use super::report::{Step, Verdict as Found, and};
use crate::{
    api::{Api, Contact, Failure, Hosts, Owner, Refusal},
    config::{Options, Server},
    error::ErrorKind,
    inquiry::Verdict,
    message::Rights,
    network::Network,
};

/// The most requests of a diagnosis.
const MAX_REQUESTS: u8 = 5;

/// For one request.
const REQUEST: Duration = Duration::from_secs(4);

const READ: &str = "RIGHT_APPLICATION_TRAFFIC_READ";
const SEND: &str = "RIGHT_APPLICATION_TRAFFIC_DOWN_WRITE";

/// A key that expires sooner is a warning.
const EXPIRES_SOON: Duration = Duration::from_secs(14 * 86_400);

/// Why the network is not asked.
pub(super) const NOT_THE_NETWORK: &str =
    "the client reads from a broker of its own, and has no key for the network behind it";

/// A device of this id exists nowhere.
const NOBODY: &str = "no-such-device-of-a-diagnosis";

/// The requests that are left, and the time for them.
#[derive(Debug)]
pub(super) struct Asking {
    api: Api,
    left: u8,
    deadline: Instant,
}

/// What was found over HTTP.
#[derive(Debug)]
pub(super) struct Survey {
    pub(super) http: Step,
    pub(super) key: Step,
    /// The clock of the server.
    pub(super) date: Option<SystemTime>,
    pub(super) verdict: Option<Verdict>,
    /// `None` if the key must not be shown.
    pub(super) asking: Option<Asking>,
}

impl Asking {
    fn of(options: &Options, deadline: Instant) -> Option<Self> {
        let hosts = Hosts::of(options)?;
        Some(Self {
            api: Api::new(hosts, options, options.access_key.clone(), REQUEST),
            left: MAX_REQUESTS,
            deadline,
        })
    }

    /// Goes on until another deadline.
    pub(super) fn until(self, deadline: Instant) -> Self {
        Self { deadline, ..self }
    }

    /// Leaves a request to somebody else; returns whether there was one.
    pub(super) fn spend(&mut self) -> bool {
        let is_left = self.left > 0;
        self.left = self.left.saturating_sub(1);
        is_left
    }

    /// Makes one request; `None` if none is left, or no time.
    pub(super) fn ask<T>(&mut self, question: impl FnOnce(&Api) -> T) -> Option<T> {
        let time = self.deadline.saturating_duration_since(Instant::now());
        if time.is_zero() || !self.spend() {
            return None;
        }
        Some(question(&self.api.within(time.min(REQUEST))))
    }
}

impl Survey {
    pub(super) fn skipped(why: &str) -> Self {
        Self {
            http: Step::skipped("HTTP API", why),
            key: Step::skipped("key", why),
            date: None,
            verdict: None,
            asking: None,
        }
    }

    pub(super) fn make(options: &Options, deadline: Instant) -> Self {
        if options.broker.is_some() {
            return Self::skipped(NOT_THE_NETWORK);
        }
        if options.network == Network::V2 {
            return Self::skipped("a V2 network has no such API");
        }
        let Some(mut asking) = Asking::of(options, deadline) else {
            let why = "the HTTP side of this MQTT address is not known";
            return Self {
                http: Step::warning(
                    "HTTP API",
                    format!(
                        "{why}, so what the key may do is not known, either; name it with http_address, such as https://host"
                    ),
                ),
                ..Self::skipped(why)
            };
        };
        // Whoever does not need it may work without it.
        let judge = match options.server {
            Server::AskedOf(_) => Step::failed,
            _ => Step::warning,
        };
        let mut seen = Vec::new();
        let mut date = None;
        let mut refused = None;
        let servers = if asking.api.has_one_host() { 1 } else { 2 };
        let questions = [Api::first_contact, Api::contact_identity_server];
        for question in questions.into_iter().take(servers) {
            let Some(contact) = asking.ask(question) else {
                refused = Some("there was no time to ask".to_owned());
                break;
            };
            date = date.or(contact.date);
            if let Some(why) = stranger(&contact) {
                refused = Some(why);
                break;
            }
            seen.push(format!("{} is The Things Stack", contact.server));
        }
        if let Some(why) = refused {
            let why = format!("{why}; the access key was not shown to it");
            return Self {
                http: judge("HTTP API", why).all_seen(seen),
                date,
                ..Self::skipped("the HTTP API could not be asked")
            };
        }
        let app_id = &options.app_id;
        let (key, verdict) = asking.judge_key(app_id);
        Self {
            http: Step::ok("HTTP API").all_seen(seen),
            key,
            date,
            verdict: Some(verdict),
            asking: Some(asking),
        }
    }
}

/// Says why a server may not be shown the key; `None` if it may.
fn stranger(contact: &Contact) -> Option<String> {
    let server = &contact.server;
    let is_plain = server.starts_with("http://");
    let no_stack =
        format!("{server} is not The Things Stack, or not its HTTP API; check the address");
    let why = match &contact.answer {
        Ok(true) => return None,
        Ok(false) | Err(Failure::Unreadable { .. }) => no_stack,
        Err(Failure::Unanswered(failure)) => {
            let advice = match failure.kind {
                Some(ErrorKind::Tls) if !is_plain => "if it has no TLS, write http://",
                Some(ErrorKind::ConnectionLost) | None if is_plain => {
                    "if it has TLS, write https://"
                }
                _ => "",
            };
            let seen = match failure.has_advice {
                true => failure.seen.clone(),
                false => format!("cannot ask {server}: {}", failure.seen),
            };
            and(&seen, advice)
        }
        Err(Failure::Refused(refusal)) => refused(server, refusal, is_plain, no_stack),
    };
    Some(why)
}

fn refused(server: &str, refusal: &Refusal, is_plain: bool, no_stack: String) -> String {
    let status = refusal.status;
    match status {
        300..=399 => format!(
            "{server} redirects to {}; if that is the right one, set it instead",
            refusal.location.as_deref().unwrap_or("another place")
        ),
        400 if is_plain && refusal.code.is_none() => format!(
            "{server} answers with HTTP 400, probably because it requires TLS; write https://"
        ),
        404 if refusal.is("pkg/webhandlers", "route_not_found") => format!(
            "{server} is The Things Stack, but not its HTTP API: the address has another port, or a path too much"
        ),
        429 | 500.. => format!("{server} cannot answer now (HTTP {status}); try again later"),
        _ => format!("{no_stack} (HTTP {status})"),
    }
}

impl Asking {
    /// Asks whose key it is and what it allows.
    fn judge_key(&mut self, app_id: &str) -> (Step, Verdict) {
        let late = || Verdict::NotKnown("there was no time to ask".to_owned());
        let application = self.api.application().to_owned();
        let caller = self.ask(Api::caller);
        let mut verdict = match &caller {
            Some(caller) => Verdict::of(caller, &application),
            None => late(),
        };
        if matches!(verdict, Verdict::Personal(_)) {
            verdict = match self.ask(Api::rights) {
                Some(rights) => verdict.with_rights(&rights),
                None => late(),
            };
        }
        if let Verdict::Foreign {
            owner: Owner::Application(_) | Owner::User(_) | Owner::Organization(_),
            ..
        } = &verdict
        {
            if let Some(found) = self.ask(Api::find_application) {
                verdict = verdict.with_application(&found);
            }
        }
        if let (Verdict::NotKnown(_), Some(Err(Failure::Refused(refusal)))) = (&verdict, &caller) {
            if refusal.is_unserved() {
                return self.judge_by_application_server(app_id, verdict);
            }
        }
        (key_step(app_id, &verdict), verdict)
    }

    /// Asks the Application Server for what needs the rights to read and to send, for a device that does
    /// not exist.
    fn judge_by_application_server(&mut self, app_id: &str, verdict: Verdict) -> (Step, Verdict) {
        let read = self.ask(|api| api.queue(NOBODY).map(drop));
        let (may_read, verdict) = match judge_right(read, &verdict) {
            Ok(may) => (may, verdict),
            Err(verdict) => return (key_step(app_id, &verdict), verdict),
        };
        let send = self.ask(|api| api.push(NOBODY, br#"{"downlinks":[]}"#));
        let may_send = judge_right(send, &verdict).unwrap_or(true);
        let known = [(may_read, READ), (may_send, SEND)];
        let known = known.iter().filter(|(may, _)| *may);
        let step = rights_step(app_id, may_read, may_send)
            .seen("there is no Identity Server at this address; the Application Server was asked")
            .all_seen(known.map(|(_, right)| format!("the key has {right}")));
        (step, Verdict::Accepted)
    }
}

/// Reads whether the answer of an Application Server shows a right, or what else it says about the key.
fn judge_right(answer: Option<Result<(), Failure>>, unknown: &Verdict) -> Result<bool, Verdict> {
    match answer {
        Some(Ok(())) => Ok(true),
        Some(Err(Failure::Refused(refusal)))
            if refusal.is("pkg/redis", "not_found")
                || refusal.is("pkg/applicationserver", "device_not_found") =>
        {
            Ok(true)
        }
        Some(Err(Failure::Refused(refusal)))
            if refusal.is("pkg/auth/rights", "insufficient_application_rights") =>
        {
            Ok(false)
        }
        Some(Err(Failure::Refused(refusal))) if refusal.is_unserved() => Err(unknown.clone()),
        Some(Err(failure)) => Err(Verdict::of_application_server(&Err(failure))),
        None => Err(unknown.clone()),
    }
}

fn key_step(app_id: &str, verdict: &Verdict) -> Step {
    match verdict {
        Verdict::Good(rights) => {
            let step = rights_step(app_id, rights.may_read(), rights.may_send());
            with_expiry(step, rights).all_seen(about(rights))
        }
        Verdict::NotKnown(why) => {
            Step::warning("key", format!("the server cannot judge it: {why}"))
        }
        Verdict::Unseen => Step::warning("key", verdict.explain(app_id)),
        other => Step::failed("key", other.explain(app_id)),
    }
}

/// Judges a key again that MQTT accepts although HTTP says that it is of no use.
pub(super) fn accepted_key_step(app_id: &str, verdict: &Verdict) -> Option<Step> {
    let advice = match verdict {
        Verdict::Good(_) | Verdict::Accepted | Verdict::NotKnown(_) | Verdict::Unseen => {
            return None;
        }
        Verdict::CannotCheck | Verdict::Restricted(_) => "",
        Verdict::Expired(_) | Verdict::ApplicationDeleted => {
            ". Servers keep what they know of a key for some minutes, and then refuse it"
        }
        _ => {
            ". If the key was not changed just now, the HTTP API is probably that of another network: check http_address"
        }
    };
    let why = verdict.explain(app_id);
    Some(Step::warning(
        "key",
        format!("over MQTT the server accepts the key, but over HTTP: {why}{advice}"),
    ))
}

fn with_expiry(step: Step, rights: &Rights) -> Step {
    let Some(time) = rights.expires_at else {
        return step;
    };
    let is_soon = match time.duration_since(SystemTime::now()) {
        Ok(left) => left < EXPIRES_SOON,
        Err(_) => false,
    };
    if !is_soon {
        return step;
    }
    let says = format!(
        "the API key expires at {}; create another one before",
        humantime::format_rfc3339_seconds(time)
    );
    match &step.verdict {
        Found::Ok => Step::warning("key", says),
        Found::Warning(why) => Step::warning("key", format!("{why}; and {says}")),
        _ => step,
    }
}

fn rights_step(app_id: &str, may_read: bool, may_send: bool) -> Step {
    let instead = "give it the right in the Console, or create another key, and connect again";
    match (may_read, may_send) {
        (true, true) => Step::ok("key"),
        (true, false) => Step::warning(
            "key",
            format!(
                "the API key may not send downlinks for {app_id:?} (it lacks {SEND}), and over MQTT the network drops them without a word; if the program sends, {instead}"
            ),
        ),
        (false, _) => Step::failed(
            "key",
            format!(
                "the API key may not read the traffic of {app_id:?} (it lacks {READ}): the client connects, and nothing ever arrives; {instead}"
            ),
        ),
    }
}

fn about(rights: &Rights) -> Vec<String> {
    let named = match rights.key_name.as_str() {
        "" => String::new(),
        name => format!(" and is named {name:?}"),
    };
    let until = match rights.expires_at {
        Some(time) => format!("expires at {}", humantime::format_rfc3339_seconds(time)),
        None => "does not expire".to_owned(),
    };
    let list: Vec<&str> = rights
        .rights
        .iter()
        .map(|right| right.strip_prefix("RIGHT_").unwrap_or(right))
        .collect();
    vec![
        format!("the key belongs to {}{named}; it {until}", rights.owner),
        format!("its rights: {}", list.join(", ")),
    ]
}
