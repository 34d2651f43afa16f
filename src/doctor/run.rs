//! The order of the steps, and the time for each.

use std::time::{Duration, Instant, SystemTime};

use crossbeam_channel::{Receiver, bounded};

use super::{
    login::{self, LoggedIn},
    report::{Report, Step, Verdict as Found},
    survey::{self, Survey},
    traffic,
    way::Place,
};
use crate::{
    clock,
    config::{AccessKey, MqttClientBuilder, Options, Server},
    error::{Error, Result},
    inquiry::Verdict,
    network::Network,
    process,
    server::Route,
};

/// When each part has ended, from the start.
const LOOKED: Duration = Duration::from_secs(13);
const DISCOVERED: Duration = Duration::from_secs(19);
const LOGGED_IN: Duration = Duration::from_secs(25);
const ALL: Duration = Duration::from_secs(29);

/// A clock that differs by less is right.
const RIGHT: Duration = Duration::from_secs(60);

/// The fewest characters of the key that count as a part of it.
const PART: usize = 8;

const LATE: &str = "it did not end in time";

/// Does something on a thread, which is abandoned if it takes too long.
fn begin<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Receiver<T> {
    let (done, result) = bounded(1);
    // Without a thread there is no result, as if it were late.
    let _ = process::start_thread("ttn-doctor", move || {
        let _ = done.send(work());
    });
    result
}

pub(super) fn diagnose(builder: &MqttClientBuilder) -> Report {
    let start = Instant::now();
    let steps = match checked(builder) {
        Ok((key, options, place)) => {
            let steps = Diagnosis {
                builder,
                start,
                steps: vec![options_step(&options)],
            }
            .run(options, &place);
            without(&key, steps)
        }
        Err(error) => {
            let failed = Step::failed("options", error.to_string());
            let rest = Step::NAMES[1..].iter();
            let rest = rest.map(|name| Step::skipped(name, "the options are wrong"));
            std::iter::once(failed).chain(rest).collect()
        }
    };
    Report {
        steps,
        took: start.elapsed(),
    }
}

fn checked(builder: &MqttClientBuilder) -> Result<(AccessKey, Options, Place)> {
    let options = builder.clone().check()?;
    let key = match &options.broker {
        Some(broker) => {
            let password = broker.password().cloned();
            password.unwrap_or_else(|| AccessKey::new(String::new()))
        }
        None => options.access_key.clone(),
    };
    match Place::of(&options) {
        Some(place) => Ok((key, options, place)),
        None => Err(Route::find(&options, &key, None, None)
            .err()
            .unwrap_or_else(|| Error::config("no server is known for the application"))),
    }
}

struct Diagnosis<'a> {
    builder: &'a MqttClientBuilder,
    start: Instant,
    steps: Vec<Step>,
}

impl Diagnosis<'_> {
    fn until(&self, end: Duration) -> Instant {
        self.start + end
    }

    fn run(mut self, options: Options, place: &Place) -> Vec<Step> {
        let is_v3 = options.network == Network::V3;
        let app_id = options.app_id.clone();
        let has_own_broker = options.broker.is_some();
        let looked_by = self.until(LOOKED);
        let way = {
            let (place, options) = (place.clone(), self.builder.clone());
            begin(move || options.check().map(|options| place.look(&options)))
        };
        let survey = begin(move || Survey::make(&options, looked_by));
        let way = match way.recv_deadline(looked_by) {
            Ok(Ok(way)) => way,
            Ok(Err(_)) | Err(_) => [
                Step::failed("name", LATE),
                Step::skipped("TCP", LATE),
                Step::skipped("TLS", LATE),
            ],
        };
        let broken = way
            .iter()
            .find(|step| step.has_failed())
            .map(|step| step.name);
        let fresh = || self.builder.clone().check();
        let asked_of = fresh().ok().map(|options| options.server);
        let is_asked = matches!(asked_of, Some(Server::AskedOf(_)));
        // The client connects while the HTTP API is asked.
        let attempt = match (broken, is_asked, fresh()) {
            (None, false, Ok(mut options)) => {
                let server = std::mem::replace(&mut options.server, Server::Unknown);
                Some((begin_to_log_in(options, server.clone()), server))
            }
            _ => None,
        };
        let Survey {
            http,
            key,
            date,
            verdict,
            mut asking,
        } = survey
            .recv_deadline(looked_by)
            .unwrap_or_else(|_| Survey::skipped(LATE));
        self.steps.push(clock_step(date, place.is_tls));
        self.steps.extend(way);
        self.steps.extend([http, key]);

        let discovery = match (broken, is_asked) {
            (_, false) => Err(Step::skipped("discovery", "the MQTT address is set")),
            (Some(name), true) => Err(Step::skipped("discovery", format!("{name} has failed"))),
            // Whoever is not The Things Stack is not asked with the key.
            (None, true) if is_v3 && !asking.as_mut().is_some_and(|asking| asking.spend()) => Err(
                Step::skipped("discovery", "the server must not be shown the access key"),
            ),
            (None, true) => Ok(()),
        };
        let (discovery, attempt) = match discovery {
            Err(step) => (step, attempt),
            Ok(()) => self.discover(),
        };
        self.steps.push(discovery);
        let logged_in_by = self.until(LOGGED_IN);
        let end = self.until(ALL);
        asking = asking.map(|asking| asking.until(end));
        let (mqtt, logged_in) = match (attempt, broken) {
            (Some((attempt, server)), _) => {
                let attempt = match attempt.recv_deadline(logged_in_by) {
                    Ok(attempt) => attempt,
                    Err(_) => Err(Error::new(crate::ErrorKind::TimedOut, LATE)),
                };
                let step = login::explain(
                    &attempt,
                    &server,
                    &app_id,
                    verdict.as_ref(),
                    asking.as_mut(),
                );
                (step, Some(attempt))
            }
            (None, Some(name)) => (Step::skipped("MQTT", format!("{name} has failed")), None),
            (None, None) => (Step::skipped("MQTT", "no MQTT address is known"), None),
        };
        if mqtt.verdict == Found::Ok {
            let judged = verdict
                .as_ref()
                .and_then(|verdict| survey::accepted_key_step(&app_id, verdict));
            let key = self.steps.iter_mut().find(|step| step.name == "key");
            if let (Some(key), Some(judged)) = (key, judged) {
                *key = judged;
            }
        }
        self.steps.push(mqtt);
        self.steps
            .extend(fresh().map(|options| login::shared_group(&options, logged_in.as_ref())));

        let rights = verdict.as_ref().and_then(Verdict::rights).cloned();
        let (Some(rights), Some(mut asking)) = (rights, asking) else {
            let why = match has_own_broker {
                true => survey::NOT_THE_NETWORK,
                false => "what the key may do is not known",
            };
            let rest = ["uplinks", "devices", "least rights"];
            self.steps.extend(rest.map(|name| Step::skipped(name, why)));
            return self.steps;
        };
        self.steps.extend(
            [Step::skipped("uplinks", "the API key may not read traffic")]
                .into_iter()
                .filter(|_| !rights.may_read()),
        );
        let host = place.host.clone();
        let rest = begin({
            let rights = rights.clone();
            move || {
                let devices = traffic::devices(&mut asking, &rights, &host);
                let uplinks = rights.may_read().then(|| traffic::uplinks(&mut asking));
                (uplinks, devices)
            }
        });
        match rest.recv_deadline(end) {
            Ok((uplinks, devices)) => {
                self.steps.extend(uplinks);
                self.steps.push(devices);
            }
            Err(_) => {
                let rest = ["uplinks", "devices"].map(|name| Step::skipped(name, LATE));
                self.steps.extend(rest);
            }
        }
        self.steps.push(traffic::least_rights(&rights));
        self.steps
    }

    /// Asks for the MQTT address, and begins to connect to it.
    fn discover(&self) -> (Step, Option<Attempt>) {
        let builder = self.builder.clone();
        let found = begin(move || {
            let mut options = builder.check()?;
            options.connect_timeout = options.connect_timeout.min(DISCOVERED - LOOKED);
            Route::find(&options, &options.access_key, None, None).map(|route| route.address)
        });
        let found = found.recv_deadline(self.until(DISCOVERED));
        let address = match found {
            Ok(Ok(address)) => address,
            Ok(Err(error)) => return (Step::failed("discovery", error.to_string()), None),
            Err(_) => return (Step::failed("discovery", LATE), None),
        };
        let step = Step::ok("discovery").seen(format!("the MQTT address is {address}"));
        match self.builder.clone().check() {
            Ok(options) => {
                let server = Server::At(address);
                let attempt = begin_to_log_in(options, server.clone());
                (step, Some((attempt, server)))
            }
            Err(_) => (step, None),
        }
    }
}

/// An attempt to connect, and where to.
type Attempt = (Receiver<Result<LoggedIn>>, Server);

fn begin_to_log_in(options: Options, server: Server) -> Receiver<Result<LoggedIn>> {
    begin(move || login::log_in(login::once(options, server)))
}

fn options_step(options: &Options) -> Step {
    let server = match &options.server {
        Server::At(address) if options.broker.is_some() => {
            format!("the client reads from a broker of its own, {address}")
        }
        Server::At(address) => format!("the MQTT server is {address}"),
        Server::AskedOf(address) => format!("{address} knows the MQTT server"),
        Server::Unknown => "no server is set".to_owned(),
    };
    let network = match options.network {
        Network::V2 => "V2",
        Network::V3 => "v3",
    };
    let servers = options.broker.as_ref().map_or(1, |it| it.addresses.len());
    let others = (servers > 1).then(|| {
        format!(
            "it is the first of {servers} servers, and the only one that is looked at; to look at another, set it alone"
        )
    });
    Step::ok("options")
        .seen(format!(
            "the application is {:?}, on a network of {network}",
            options.app_id
        ))
        .seen(server)
        .all_seen(others)
}

fn clock_step(server: Option<SystemTime>, is_tls: bool) -> Step {
    let now = SystemTime::now();
    let says = format!(
        "this machine's clock says {}",
        humantime::format_rfc3339_seconds(now)
    );
    let judge = if is_tls { Step::failed } else { Step::warning };
    if !clock::is_set(now) {
        return judge(
            "clock",
            format!("{says}, which is wrong; set it, for example with NTP"),
        );
    }
    let Some(server) = server else {
        return Step::ok("clock").seen(says);
    };
    let off = match now.duration_since(server) {
        Ok(ahead) => ahead,
        Err(behind) => behind.duration(),
    };
    if off <= RIGHT {
        return Step::ok("clock")
            .seen(says)
            .seen("the server's clock says the same");
    }
    Step::warning(
        "clock",
        format!(
            "{says}, and that of the server {}; set the one that is wrong, for example with NTP",
            humantime::format_rfc3339_seconds(server)
        ),
    )
}

/// Removes whatever a server repeats of the key.
fn without(key: &AccessKey, mut steps: Vec<Step>) -> Vec<Step> {
    let secret = key.reveal().rsplit('.').next().unwrap_or_default();
    let parts: Vec<&str> = match secret.len() >= PART && secret.is_ascii() {
        true => (0..=secret.len() - PART)
            .map(|at| &secret[at..at + PART])
            .collect(),
        false => vec![secret],
    };
    let mut clean = |text: &mut String| {
        if !secret.is_empty() {
            *text = text.replace(key.reveal(), "…").replace(secret, "…");
            for part in &parts {
                *text = text.replace(part, "…");
            }
        }
    };
    for step in &mut steps {
        match &mut step.verdict {
            Found::Warning(why) | Found::Failed(why) | Found::Skipped(why) => clean(why),
            Found::Ok => {}
        }
        step.evidence.iter_mut().for_each(&mut clean);
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_part_of_the_key_stays_in_a_report() {
        let key = AccessKey::new("NNSXS.ID.ABCDEFGHIJKLMNOP".to_owned());
        for text in [
            "NNSXS.ID.ABCDEFGHIJKLMNOP",
            "xABCDEFGHIJKLMNOP",
            "CDEFGHIJ",
            "EFGHIJKLMNO!",
        ] {
            let steps = vec![Step::failed("key", text).seen(text)];
            let text = without(&key, steps)[0].to_string();
            assert!(!text.contains("EFGH"), "{text}");
        }
        let steps = without(&key, vec![Step::failed("key", "mistyped")]);
        assert_eq!(steps, [Step::failed("key", "mistyped")]);
    }

    #[test]
    fn a_clock_that_differs_from_the_servers_is_a_warning() {
        let now = SystemTime::now();
        let of = |time| clock_step(time, true).verdict;
        assert_eq!(of(None), Found::Ok);
        assert_eq!(of(Some(now)), Found::Ok);
        for time in [
            now - Duration::from_secs(600),
            now + Duration::from_secs(600),
        ] {
            assert!(matches!(of(Some(time)), Found::Warning(_)));
        }
    }
}
