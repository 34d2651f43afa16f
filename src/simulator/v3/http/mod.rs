//! The HTTP API of The Things Stack, as far as applications use it.
//!
//! A request is checked in this order: the route, whether query and body can be read, ids and values,
//! the rate, the key, its rights, and at last the thing that it is about.

mod application_server;
mod ask;
mod credentials;
mod error;
mod events;
mod head;
mod identity_server;
mod mask;
mod pattern;
mod query;
mod rate;
mod registration;
mod route;
mod storage;
mod stream;

use std::{sync::Mutex, time::Duration};

use self::{
    ask::Ask,
    credentials::Credentials,
    error::Refused,
    rate::{Limiter, Rate},
    route::{Registry, Route},
    stream::Delimiter,
};
use super::{V3, identity::Key, messages};
use crate::simulator::{
    http::{Answer, Request, Service},
    sync::lock,
};

/// What the server keeps for HTTP alone.
#[derive(Default)]
pub(super) struct Http {
    limiter: Mutex<Option<Limiter>>,
}

impl Service for V3 {
    fn answer(&self, request: &Request) -> Answer {
        let (path, query) = request.split();
        if let Some(clean) = head::cleaned(path) {
            return self.dated(Answer::redirect(301, head::joined(&clean, query)));
        }
        if path == "/" {
            return self.dated(Answer::redirect(302, "/oauth/"));
        }
        let Some(below) = path.strip_prefix("/api/") else {
            let text = "404 page not found\n";
            return self.dated(Answer::new(404, "text/plain; charset=utf-8", text));
        };
        let answer = match below.strip_prefix("v3/") {
            Some(below) => self.serve_api(request, below, query),
            None => self.no_such_page(path),
        };
        self.finished(request, answer)
    }

    fn answered(&self) {
        self.broker.flush();
    }

    fn failed(&self, request: &Request, status: u16) -> Answer {
        let text = format!("simulated failure with status {status}");
        let body = error::bare(error::code(status), &text);
        // What is not served is no stream either.
        let is_stream = !matches!(status, 404 | 501)
            && route_of(request).is_some_and(|route| route.is_stream());
        let answer = match is_stream {
            true => Delimiter::of(request).error(status, &body),
            false => error::json(status, body),
        };
        self.finished(request, answer)
    }

    fn limited(&self, request: &Request) -> Answer {
        let route = route_of(request);
        let resource = match &route {
            Some(route) => self.resource(route, Credentials::of(request)),
            None => format!("http:{}", request.split().0),
        };
        let rate = Rate {
            limit: 10,
            available: 0,
            reset: Duration::from_secs(58),
            retry: Some(Duration::from_secs(4)),
        };
        let refused = error::rate_exceeded(rate.limit, &resource).into();
        let answer = match route {
            Some(route) => self.refuse_at(&route, request, &refused),
            None => self.refuse(&refused),
        };
        self.finished(request, with_rate(answer, &rate))
    }
}

impl V3 {
    /// Limits each method, entity and key to that many requests at once and per minute.
    pub(in crate::simulator) fn set_http_rate_limit(&self, burst: u32, per_minute: u32) {
        *lock(&self.http.limiter) = Some(Limiter::new(burst, per_minute));
    }

    fn serve_api(&self, request: &Request, path: &str, query: &str) -> Answer {
        let is_away = {
            let identities = lock(&self.identities);
            identities.is_down || identities.is_elsewhere
        };
        let is_served = |route: &Route| !(is_away && route.is_of_identity_server());
        let has_storage = self.stored.access().is_some();
        let is_served = |route: &Route| {
            is_served(route) && (has_storage || !matches!(route, Route::Storage(_)))
        };
        let Some(route) = Route::of(path).filter(is_served) else {
            return self.refuse(&Refused::no_route());
        };
        if request.method != route.method() {
            return self.refuse(&Refused::other_method());
        }
        let credentials = Credentials::of(request);
        let ask = match self.ask(&route, query, &request.body) {
            Ok(ask) => ask,
            // What cannot be read never gets as far as the stream.
            Err(refused @ Refused::Bare(..)) => return self.refuse(&refused),
            Err(refused) => return self.refuse_at(&route, request, &refused),
        };
        let rate = {
            let resource = self.resource(&route, credentials);
            let mut limiter = lock(&self.http.limiter);
            let take = |limiter: &mut Limiter| limiter.take(&resource, self.env.clock.instant());
            limiter.as_mut().map(take).map(|rate| (rate, resource))
        };
        let answer = match &rate {
            Some((rate, resource)) if rate.retry.is_some() => {
                Err(error::rate_exceeded(rate.limit, resource).into())
            }
            _ => self.carry_out(&route, ask, request),
        };
        let answer = answer.unwrap_or_else(|refused| self.refuse_at(&route, request, &refused));
        match rate {
            Some((rate, _)) => with_rate(answer, &rate),
            None => answer,
        }
    }

    fn carry_out(&self, route: &Route, ask: Ask, request: &Request) -> Result<Answer, Refused> {
        let credentials = Credentials::of(request);
        let delimiter = Delimiter::of(request);
        match (route, ask) {
            (Route::AuthInfo, _) => self.auth_info(credentials),
            (Route::Application(app), Ask::Mask(mask)) => self.application(app, &mask, credentials),
            (Route::Rights(app), _) => self.rights(app, credentials),
            (Route::Devices(app), Ask::List(list)) => self.devices(app, &list, credentials),
            (Route::Device(Registry::Identity, app, dev), Ask::Mask(mask)) => {
                self.registered_device(app, dev, &mask, credentials)
            }
            (Route::Device(registry, app, dev), Ask::Mask(mask)) => {
                self.served_device(*registry, app, dev, &mask, credentials)
            }
            (Route::ConnectionInfo(app), _) => self.connection_info(app, credentials),
            (Route::Configuration, _) => Ok(application_server::configuration()),
            (Route::FrequencyPlans, _) => Ok(application_server::frequency_plans()),
            (Route::Queue(app, dev), _) => self.queue(app, dev, credentials),
            (Route::Push(app, dev), Ask::Downlinks(downlinks)) => {
                self.add_downlinks(app, dev, downlinks, false, credentials)
            }
            (Route::Replace(app, dev), Ask::Downlinks(downlinks)) => {
                self.add_downlinks(app, dev, downlinks, true, credentials)
            }
            (Route::Simulate(app, dev), Ask::Message(message)) => {
                self.simulate_over_http(app, dev, *message, credentials)
            }
            (Route::Storage(stored), Ask::Search(search)) => {
                let of = (stored.app.as_str(), stored.dev.as_deref());
                match stored.is_count {
                    true => self.count_stored(of, &search, credentials),
                    false => self.stored_uplinks(of, &search, delimiter, credentials),
                }
            }
            (Route::Events, Ask::Subscription(subscription)) => {
                self.follow_events(&subscription, delimiter, credentials)
            }
            _ => Err(Refused::no_route()),
        }
    }

    /// Returns what is counted together: the method, the entity and the key; of a stream, the method and
    /// the key.
    fn resource(&self, route: &Route, credentials: Credentials<'_>) -> String {
        let id = credentials.key().and_then(|key| key.split('.').nth(1));
        let token = id.map_or_else(String::new, |id| format!(":token:{id}"));
        if route.is_stream() {
            let call = route.call();
            return format!("grpc:stream:accept:/ttn.lorawan.v3.{call}{token}");
        }
        let entity = match route.ids() {
            (Some(app), Some(dev)) => {
                let uid = self.uid(app, credentials);
                format!(":end device:{}", device_uid(&uid, dev))
            }
            (Some(app), None) => format!(":application:{}", self.uid(app, credentials)),
            _ => String::new(),
        };
        format!(
            "grpc:method:/ttn.lorawan.v3.{}{entity}{token}",
            route.call()
        )
    }

    /// Returns the id of an application including the tenant.
    fn uid(&self, app_id: &str, credentials: Credentials<'_>) -> String {
        lock(&self.identities).uid(app_id, credentials.key())
    }

    /// Returns the key of a caller, `None` if there is none.
    fn identify(
        &self,
        credentials: Credentials<'_>,
        uid: Option<&str>,
    ) -> Result<Option<Key>, Refused> {
        let text = match credentials {
            Credentials::None => return Ok(None),
            Credentials::Unsupported => return Err(error::UNSUPPORTED.into()),
            Credentials::NoKey => return Err(error::NOT_A_KEY.into()),
            Credentials::Broken => {
                return Err(Refused::Bare(13, String::from("Internal Server Error")));
            }
            Credentials::Key(text) => text,
        };
        let now = self.env.clock.now();
        let key = lock(&self.identities).identify(text, uid, now).cloned();
        key.map(Some).map_err(|cause| {
            let id = text.split('.').nth(1).unwrap_or_default();
            let random = &mut lock(&self.state).random;
            error::bad_key(&cause, id, random).into()
        })
    }

    /// Checks that the caller has rights on an application, as all servers but the Identity Server's
    /// registry of applications do, and returns its id including the tenant.
    fn require(
        &self,
        app_id: &str,
        credentials: Credentials<'_>,
        needed: &[&'static str],
    ) -> Result<String, Refused> {
        if lock(&self.identities).is_down {
            return Err(error::NO_IDENTITY_SERVER.into());
        }
        let uid = self.uid(app_id, credentials);
        let Some(key) = self.identify(credentials, Some(&uid))? else {
            return Err(error::no_rights(&uid).into());
        };
        let rights = lock(&self.identities).rights_on(&key, &uid);
        if rights.is_empty() {
            return Err(error::no_rights(&uid).into());
        }
        let missing = needed.iter().filter(|right| !rights.contains(right));
        let missing: Vec<&str> = missing.copied().collect();
        match missing.is_empty() {
            true => Ok(uid),
            false => Err(error::insufficient_rights(&uid, &missing).into()),
        }
    }

    fn refuse(&self, refused: &Refused) -> Answer {
        refused.answer(&mut lock(&self.state).random)
    }

    /// Refuses a request as answers of that route look.
    fn refuse_at(&self, route: &Route, request: &Request, refused: &Refused) -> Answer {
        match route.is_stream() {
            true => Delimiter::of(request).refusal(refused, &mut lock(&self.state).random),
            false => self.refuse(refused),
        }
    }
}

/// Returns the route of a request if there is one.
fn route_of(request: &Request) -> Option<Route> {
    let (path, _) = request.split();
    path.strip_prefix("/api/v3/").and_then(Route::of)
}

impl<'a> Credentials<'a> {
    fn of(request: &'a Request) -> Self {
        Self::read(request.header("authorization"))
    }
}

/// Adds the headers of the rate limit: whole seconds, cut off.
fn with_rate(answer: Answer, rate: &Rate) -> Answer {
    let retry = rate.retry.unwrap_or_default();
    answer
        .with("X-Rate-Limit-Available", rate.available.to_string())
        .with("X-Rate-Limit-Limit", rate.limit.to_string())
        .with("X-Rate-Limit-Reset", rate.reset.as_secs().to_string())
        .with("X-Rate-Limit-Retry", retry.as_secs().to_string())
}

/// Returns the unique id of a device.
fn device_uid(uid: &str, dev_id: &str) -> String {
    match messages::split(uid) {
        (app_id, Some(tenant)) => format!("{app_id}.{dev_id}@{tenant}"),
        (app_id, None) => format!("{app_id}.{dev_id}"),
    }
}
