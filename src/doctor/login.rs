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
    config::{ConnectRetry, HttpApi, Options, Server},
    error::{Error, ErrorKind},
    inquiry::Verdict,
};

/// For an attempt to connect.
pub(super) const CONNECT: Duration = Duration::from_secs(7);

const CLOSE: Duration = Duration::from_millis(500);

/// Makes the options of a client that connects once, asks nothing over HTTP, and cannot be taken for
/// another: the end of its id is random.
pub(super) fn once(options: Options, server: Server) -> Options {
    Options {
        server,
        connect_timeout: options.connect_timeout.min(CONNECT),
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

/// Connects and subscribes, and says how long that took.
pub(super) fn log_in(options: Options) -> Result<Duration, Error> {
    let start = Instant::now();
    let client = MqttClient::start(Arc::new(options))?;
    client.connect()?;
    let took = start.elapsed();
    // Nothing was sent that could be left behind.
    let _ = client.close();
    Ok(took)
}

/// Explains an attempt to connect.
pub(super) fn explain(
    attempt: &Result<Duration, Error>,
    server: &Server,
    app_id: &str,
    verdict: Option<&Verdict>,
    asking: Option<&mut Asking>,
) -> Step {
    let error = match attempt {
        Ok(took) => {
            return Step::ok("MQTT").seen(format!(
                "connected and subscribed in {} ms",
                took.as_millis()
            ));
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
