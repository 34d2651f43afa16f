//! A client of its own that connects and subscribes.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    report::{Step, and},
    survey::Asking,
};
use crate::{
    api::Api,
    client::MqttClient,
    config::{Broker, ConnectRetry, HttpApi, Options, Server, Session},
    error::{Error, ErrorKind},
    inquiry::Verdict,
};

/// For an attempt to connect.
pub(super) const CONNECT: Duration = Duration::from_secs(7);

/// For an attempt to connect to a broker of one's own. Some take seconds to subscribe, and the proof that one shares
/// comes after that. The network's API, which is asked meanwhile, is left out.
const CONNECT_TO_BROKER: Duration = Duration::from_secs(12);

const CLOSE: Duration = Duration::from_millis(500);

/// Makes the options of a client that connects once, asks nothing over HTTP, and cannot be taken for
/// another: the end of its id is random. On a broker of one's own it takes nothing away from other clients: it has no
/// session of theirs, and a group of its own.
pub(super) fn once(options: Options, server: Server) -> Options {
    let broker = options.broker.map(|broker| Broker {
        session: Session::clean(),
        shared_group: broker
            .shared_group
            .map(|_| format!("ttn-doctor-{:016x}", fastrand::u64(..))),
        addresses: broker.addresses.into_iter().take(1).collect(),
        ..broker
    });
    let longest = match broker {
        Some(_) => CONNECT_TO_BROKER,
        None => CONNECT,
    };
    Options {
        broker,
        server,
        connect_timeout: options.connect_timeout.min(longest),
        close_timeout: Some(CLOSE),
        connect_retry: ConnectRetry::Never,
        reconnect: false,
        client_id_prefix: "ttn-doctor-".to_owned(),
        http: HttpApi {
            asks: false,
            ..options.http
        },
        ..options
    }
}

/// The outcome of an attempt to connect.
#[derive(Debug)]
pub(super) struct LoggedIn {
    took: Duration,
    /// Whether no marker came back that could prove that the broker shares.
    is_unproved: bool,
}

/// Connects and subscribes, and says how long that took.
pub(super) fn log_in(options: Options) -> Result<LoggedIn, Error> {
    let start = Instant::now();
    let client = MqttClient::start(Arc::new(options))?;
    client.connect()?;
    let took = start.elapsed();
    let is_unproved = client.is_sharing_unproved();
    // Nothing was sent that could be left behind.
    let _ = client.close();
    Ok(LoggedIn { took, is_unproved })
}

/// Says whether the broker delivers what a group shares.
pub(super) fn shared_group(options: &Options, attempt: Option<&Result<LoggedIn, Error>>) -> Step {
    const NAME: &str = "shared group";
    let Some(broker) = &options.broker else {
        return Step::skipped(NAME, "the network itself has no shared groups");
    };
    if broker.shared_group.is_none() {
        return Step::skipped(NAME, "none is set");
    }
    match attempt {
        Some(Ok(_)) if !broker.proves_sharing => Step::skipped(
            NAME,
            "the broker grants it; whether it delivers what is shared was not tried, because prove_shared_group is off",
        ),
        Some(Ok(LoggedIn { is_unproved, .. })) if *is_unproved => Step::warning(
            NAME,
            "the broker grants it, but does not deliver what this client publishes below ttn-check/, so it is not known whether \
             it delivers what is shared (NATS, RabbitMQ and aedes do not); allow the user to publish there",
        ),
        Some(Ok(_)) => Step::ok(NAME).seen("a shared message came back"),
        Some(Err(error)) if is_about_sharing(error) => Step::failed(NAME, error.to_string()),
        Some(Err(_)) | None => Step::skipped(NAME, "there is no connection"),
    }
}

fn is_about_sharing(error: &Error) -> bool {
    error.kind() == ErrorKind::SharedSubscription
}

/// Explains an attempt to connect.
pub(super) fn explain(
    attempt: &Result<LoggedIn, Error>,
    server: &Server,
    app_id: &str,
    verdict: Option<&Verdict>,
    asking: Option<&mut Asking>,
) -> Step {
    let error = match attempt {
        Ok(LoggedIn { took, .. }) => {
            return Step::ok("MQTT").seen(format!(
                "connected and subscribed in {} ms",
                took.as_millis()
            ));
        }
        Err(error) if is_about_sharing(error) => {
            return Step::ok("MQTT").seen("connected and subscribed");
        }
        Err(error) => error,
    };
    let is_plain = matches!(server, Server::At(address) if !address.tls());
    let refused = |verdict: &Verdict| {
        let why = verdict.explain(app_id);
        match server {
            Server::At(address) => format!("{address} refused the login: {why}"),
            _ => why,
        }
    };
    let why = match (error.kind(), verdict) {
        (ErrorKind::NotAuthorized, Some(good @ (Verdict::Good(_) | Verdict::Accepted))) => {
            match asking.and_then(|asking| asking.ask(Api::connection_info)) {
                Some(told) => refused(&good.clone().with_connection_info(&told, app_id)),
                None => error.to_string(),
            }
        }
        (ErrorKind::NotAuthorized, Some(other)) if other.is_known() => match server {
            Server::At(address) => format!("{address} refused the login: see the step \"key\""),
            _ => "the server refused the login: see the step \"key\"".to_owned(),
        },
        (ErrorKind::TimedOut, _) => and(
            &error.to_string(),
            "a port for HTTP (1885, 8885) is silent like this, too; MQTT usually has 1883, and 8883 with TLS",
        ),
        (ErrorKind::Protocol | ErrorKind::ConnectionLost, _) if is_plain => and(
            &error.to_string(),
            "if it is one for MQTT with TLS, write mqtts://",
        ),
        _ => error.to_string(),
    };
    Step::failed("MQTT", why)
}
