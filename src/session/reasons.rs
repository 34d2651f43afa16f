//! The errors of a session: why it has no connection, a downlink was not written, or `close` left
//! something behind.

use std::time::Duration;

use super::closing::{Leaving, LeftBehind};
use crate::{
    api::Hosts,
    config::{Address, Options},
    error::{Error, ErrorKind},
    inquiry::Verdict,
    message::{DisconnectCause, Rights},
    network::Network,
    recovery::Loss,
    topics,
    wire::{self, End},
};

/// How many filters an error names.
const MAX_NAMED: usize = 16;

pub(crate) fn not_connected() -> Error {
    Error::new(
        ErrorKind::NotConnected,
        "the client is not connected; call connect() first, or wait for the connection to come back",
    )
}

pub(super) fn closed_before_written() -> Error {
    Error::new(
        ErrorKind::Closed,
        "the client was closed before the downlink was written",
    )
}

pub(super) fn closed_while_connecting() -> Error {
    Error::new(
        ErrorKind::Closed,
        "the client was closed while it was connecting",
    )
}

pub(super) fn lookup_timed_out(timeout: Duration) -> Error {
    timed_out(format!(
        "looking up the server took longer than {timeout:?}; is the name server or discovery server reachable?"
    ))
}

pub(super) fn dial_timed_out(server: &str, timeout: Duration) -> Error {
    timed_out(format!("could not connect to {server} within {timeout:?}"))
}

pub(super) fn enter_timed_out(server: &str) -> Error {
    timed_out(format!(
        "the MQTT client did not take over the connection to {server} in time"
    ))
}

pub(super) fn subscribe_timed_out(server: &str, timeout: Duration) -> Error {
    timed_out(format!(
        "{server} did not answer the subscription within {timeout:?}"
    ))
}

fn timed_out(message: String) -> Error {
    Error::new(ErrorKind::TimedOut, message)
}

/// Explains how a working connection was lost. `client_id` is that of a persistent session.
pub(super) fn lost(server: &str, end: Option<&End>, loss: &Loss, client_id: Option<&str>) -> Error {
    let ended = match loss.cause {
        DisconnectCause::Silent | DisconnectCause::HandlerFailed => "was ended by this client",
        _ => "ended unexpectedly",
    };
    let mut sentence = format!(
        "the connection to {server} {ended} after {:.1} s",
        loss.connected_for.as_secs_f64()
    );
    if let Some(End::Lost { error, .. }) = end {
        sentence = format!("{sentence}: {error}");
    }
    if !matches!(
        loss.cause,
        DisconnectCause::Unknown | DisconnectCause::Silent | DisconnectCause::HandlerFailed
    ) {
        sentence = format!("{sentence}; {}", loss.cause);
    }
    if let (Some(id), DisconnectCause::ClosedAtOnce { .. } | DisconnectCause::Contested { .. }) =
        (client_id, loss.cause)
    {
        sentence = format!("{sentence}; {}", shares_its_client_id(id));
    }
    Error::new(ErrorKind::ConnectionLost, sentence)
}

/// Returns the cause that the wire has seen; `None` if the server just closed the connection.
pub(super) fn seen_cause(end: &End) -> Option<DisconnectCause> {
    let End::Lost { loss, .. } = end else {
        return None;
    };
    match *loss {
        wire::Loss::Closed => None,
        wire::Loss::Silent => Some(DisconnectCause::Silent),
        wire::Loss::TooLarge(bytes) => Some(DisconnectCause::PacketTooLarge { bytes }),
        wire::Loss::Protocol => Some(DisconnectCause::Protocol),
        wire::Loss::HandlerFailed => Some(DisconnectCause::HandlerFailed),
    }
}

/// Explains why a connection ended before it was up, if the wire has seen its end. `more` is what else
/// the server may mean by it.
fn closed_early(server: &str, end: Option<&End>, more: &str) -> Error {
    match end {
        Some(End::Lost {
            loss: wire::Loss::Closed,
            error,
            ..
        }) => Error::with_source(
            ErrorKind::ConnectionLost,
            format!(
                "{server} accepted the connection and closed it again immediately ({error}); it may be restarting, \
                 or limit the connections of this application{more}"
            ),
            error.clone(),
        ),
        Some(End::Lost { error, .. } | End::Failed(error)) => error.clone(),
        _ => not_taken_over(server, ""),
    }
}

/// Explains why a connection ended before the server answered the subscription.
/// `client_id` is that of a persistent session.
pub(super) fn unsubscribed(server: &str, end: Option<&End>, client_id: Option<&str>) -> Error {
    let more = match client_id {
        Some(id) => {
            format!(", or refuse its subscription; {}", shares_its_client_id(id))
        }
        None => ", or refuse its subscription".to_owned(),
    };
    closed_early(server, end, &more)
}

fn shares_its_client_id(id: &str) -> String {
    format!(
        "if another client uses the client id {id:?} of this session, each disconnects the other: give every client an \
         id of its own"
    )
}

/// Explains why a broker is of no use for a shared group.
pub(super) fn does_not_share(server: &str) -> Error {
    Error::new(
        ErrorKind::SharedSubscription,
        format!(
            "{server} grants shared subscriptions, but does not deliver what is shared: of two markers that this client \
             has published, only the one outside the group came back within 2 s. NATS, RabbitMQ and aedes are known for it; \
             leave out shared_group and use partitions with such a broker. If this one is only slow, turn off the proof \
             with prove_shared_group(false)"
        ),
    )
}

pub(super) fn proof_timed_out(server: &str, timeout: Duration) -> Error {
    timed_out(format!(
        "{server} had not proved within {timeout:?} that it delivers what a shared group shares; raise connect_timeout, or \
         turn off the proof with prove_shared_group(false)"
    ))
}

/// Explains why a connection ended before the broker had proved that it shares.
pub(super) fn unproved(server: &str, end: Option<&End>) -> Error {
    closed_early(
        server,
        end,
        ", or not let this client publish the marker that proves shared_group; the client connects again without it",
    )
}

/// Explains why the MQTT client is not connected to the wire. `detail` is its own message.
pub(super) fn not_entered(server: &str, end: Option<&End>, detail: &str) -> Error {
    match (end, wire::want_of_descriptors()) {
        (Some(End::Lost { .. } | End::Failed(_)), _) => closed_early(server, end, ""),
        (_, Some(cause)) => Error::with_source(
            ErrorKind::ResourcesExhausted,
            format!("cannot connect to {server}: {} ({cause})", wire::EXHAUSTED),
            cause,
        ),
        (_, None) => not_taken_over(server, detail),
    }
}

fn not_taken_over(server: &str, detail: &str) -> Error {
    Error::new(
        ErrorKind::ConnectionLost,
        format!("the MQTT client did not take over the connection to {server}: {detail}"),
    )
}

pub(super) fn no_mqtt_client(server: &str, detail: &str) -> Error {
    Error::new(
        ErrorKind::ResourcesExhausted,
        format!("cannot create an MQTT client for {server}: {detail}"),
    )
}

/// Explains why the wire has no connection.
pub(super) fn not_accepted(server: &Address, options: &Options, end: End) -> Error {
    match end {
        End::Failed(error) | End::Lost { error, .. } => error,
        End::Refused(code) => refused(server, options, code),
        End::Closed => Error::new(ErrorKind::Closed, "the attempt to connect was cancelled"),
    }
}

/// Explains a CONNACK that refuses the connection.
fn refused(server: &Address, options: &Options, code: u8) -> Error {
    let Options {
        network, app_id, ..
    } = options;
    let (kind, why) = match code {
        4 | 5 if options.broker.is_some() => (
            ErrorKind::NotAuthorized,
            match options.broker.as_ref().and_then(|broker| broker.credentials.as_ref()) {
                Some((user, _)) => format!(
                    "the user name {user:?} or its password is not accepted; check both, and that the broker's access \
                     control lets this user connect"
                ),
                None => "the broker wants a user name and a password, or a client certificate; set them with credentials or \
                         client_certificate_files"
                    .to_owned(),
            },
        ),
        3 if options.broker.is_some() => (
            ErrorKind::ServerUnavailable,
            "the broker is temporarily unavailable; wait, or try another of its servers".to_owned(),
        ),
        2 if options.broker.as_ref().is_some_and(|broker| broker.session.client_id().is_some()) => (
            ErrorKind::Protocol,
            "the client id is not accepted; choose another one for Session::persistent".to_owned(),
        ),
        4 | 5 => (
            ErrorKind::NotAuthorized,
            match network.foreign_port(server.port()) {
                Some(advice) => advice.to_owned(),
                None => format!(
                    "the application id {app_id:?} or its access key is not accepted; {}{}",
                    network.credentials_to_check(app_id),
                    how_to_learn_more(options)
                ),
            },
        ),
        3 => (
            ErrorKind::ServerUnavailable,
            format!("{}, or try again later", network.unavailable()),
        ),
        2 => (
            ErrorKind::Protocol,
            "the client id is not accepted; choose another client_id_prefix".to_owned(),
        ),
        _ => (
            ErrorKind::Protocol,
            "the server does not accept MQTT 3.1.1".to_owned(),
        ),
    };
    Error::new(
        kind,
        format!("{server} refused the connection (CONNACK {code}): {why}"),
    )
}

/// Says how the client can learn which of several causes it is, if it cannot.
fn how_to_learn_more(options: &Options) -> &'static str {
    match options.network == Network::V3 && Hosts::of(options).is_none() {
        true => "; set http_address, and the client asks the server which of these it is",
        false => "",
    }
}

/// Explains a CONNACK that refuses the connection with what the network says about the key.
pub(super) fn refused_because(
    server: &Address,
    options: &Options,
    code: u8,
    verdict: &Verdict,
) -> Error {
    let why = verdict.explain(&options.app_id);
    if !verdict.is_known() {
        let plain = refused(server, options, code);
        return Error::new(plain.kind(), format!("{plain}; {why}"));
    }
    Error::new(
        verdict.kind(),
        format!("{server} refused the connection (CONNACK {code}): {why}"),
    )
}

/// Explains why `send` refuses a downlink that the network would drop.
pub(super) fn may_not_send(rights: &Rights, app_id: &str) -> Error {
    Error::new(
        ErrorKind::NotAuthorized,
        format!(
            "{} may not send downlinks to the application {app_id:?}, and the network would drop the downlink silently; give \
             it the right to write downlink application traffic (RIGHT_APPLICATION_TRAFFIC_DOWN_WRITE) and connect again: \
             changed rights take effect with the next connection",
            rights.key()
        ),
    )
}

pub(super) fn subscription_refused(server: &str, options: &Options, filters: &[&str]) -> Error {
    let why = match &options.broker {
        Some(_) if filters.iter().all(|filter| topics::is_shared(filter)) => {
            "the broker refuses shared subscriptions, or its access control does not let this client subscribe to them; leave \
             out shared_group, and share the work by partitions, or use another broker"
        }
        Some(broker) if broker.partitions.is_some() && filters.len() < filters_of(options) => {
            "the access control of the broker does not let this client subscribe there, or the broker limits the \
             subscriptions of a client, as NATS does to 65535 divided by its max_ack_pending, 63 by default; read fewer \
             partitions, or raise the limit"
        }
        Some(_) => "the access control of the broker does not let this client subscribe there",
        None => options.network.subscription_to_check(),
    };
    let (named, others) = filters.split_at(filters.len().min(MAX_NAMED));
    let mut named = named.join(", ");
    if !others.is_empty() {
        named = format!("{named} and {} others", others.len());
    }
    Error::new(
        ErrorKind::SubscriptionRefused,
        format!("{server} refused the subscription to {named}: {why}"),
    )
}

fn filters_of(options: &Options) -> usize {
    topics::Layout::new(options).filters().len()
}

/// Explains why a downlink is uncertain after `close`.
pub(super) fn written_before_closing(ended: bool) -> Error {
    let why = if ended {
        "the connection ended before the server had processed it"
    } else {
        "close() gave up before the server had processed it"
    };
    Error::new(
        ErrorKind::Unconfirmed,
        format!(
            "the downlink was written just before the client closed, and {why}; it may be lost"
        ),
    )
}

/// Explains what `close` leaves behind.
pub(super) fn left_behind(left: LeftBehind, within: Duration) -> Error {
    let LeftBehind {
        uncertain,
        unsent,
        leaving,
    } = left;
    let what = [
        (unsent, "not written"),
        (
            uncertain,
            "uncertain: written, but not known to be processed by the server",
        ),
    ]
    .into_iter()
    .filter(|(downlinks, _)| *downlinks > 0)
    .map(|(downlinks, how)| match downlinks {
        1 => format!("1 downlink is {how}"),
        _ => format!("{downlinks} downlinks are {how}"),
    });
    let what = what.collect::<Vec<_>>().join(", and ");
    let why = match leaving {
        None => "the client was not connected when it was closed".to_owned(),
        Some(Leaving::Ended) => "the connection ended while the client was closing".to_owned(),
        Some(Leaving::TimeUp) => format!("closing was not complete within {within:?}"),
    };
    let advice = match leaving {
        Some(Leaving::TimeUp) => {
            "set a longer close_timeout, or wait for the deliveries before you call close()"
        }
        _ => "wait for the deliveries before you call close()",
    };
    let kind = match (uncertain, leaving) {
        (0, None) => ErrorKind::NotConnected,
        (0, Some(Leaving::Ended)) => ErrorKind::ConnectionLost,
        (0, Some(Leaving::TimeUp)) => ErrorKind::TimedOut,
        _ => ErrorKind::Unconfirmed,
    };
    Error::new(kind, format!("{why}: {what}; {advice}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::MqttClientBuilder;

    #[test]
    fn a_client_that_cannot_ask_why_it_is_refused_says_how_it_could() {
        for (key, http, is_told) in [
            ("NNSXS.ID.SECRET", None, true),
            ("NNSXS.ID.SECRET", Some("http://ttn.example:1885"), false),
            ("ttn-account-v2.SECRET", None, false),
        ] {
            let mut builder = MqttClientBuilder::new("barn".to_owned(), key.to_owned());
            builder = builder.mqtt_address("mqtt://ttn.example:1883");
            if let Some(address) = http {
                builder = builder.http_address(address);
            }
            let options = builder.check().unwrap();
            let server = "mqtt://ttn.example:1883".parse().unwrap();
            let text = not_accepted(&server, &options, End::Refused(5)).to_string();
            assert_eq!(text.contains("set http_address"), is_told, "{text}");
        }
    }

    #[test]
    fn a_port_for_gateways_is_named_and_nothing_else_is_blamed() {
        for (address, is_foreign) in [
            ("mqtt://ttn.example:1882", true),
            ("mqtts://ttn.example:8882", true),
            ("mqtt://ttn.example:1883", false),
            ("mqtts://ttn.example", false),
        ] {
            let builder = MqttClientBuilder::new("barn".to_owned(), "NNSXS.ID.SECRET".to_owned());
            let options = builder.mqtt_address(address).check().unwrap();
            let server = address.parse().unwrap();
            let error = not_accepted(&server, &options, End::Refused(5));
            assert_eq!(error.kind(), ErrorKind::NotAuthorized);
            let text = error.to_string();
            assert_eq!(
                text.contains("this port is for gateways"),
                is_foreign,
                "{text}"
            );
            assert_eq!(text.contains("API key"), !is_foreign, "{text}");
        }
    }

    #[test]
    fn a_broker_of_ones_own_is_not_explained_by_keys_and_rights_of_the_network() {
        let builder = || crate::MqttClient::own_broker("barn@ttn").mqtt_address("mqtt://b:1882");
        let server = "mqtt://b:1882".parse().unwrap();
        let options = builder()
            .credentials("worker", "a-long-secret-of-mine")
            .check()
            .unwrap();
        let plain = builder().check().unwrap();
        let kept = builder()
            .session(crate::Session::persistent("w/1"))
            .check()
            .unwrap();
        for (options, code, kind, words) in [
            (
                &options,
                5,
                ErrorKind::NotAuthorized,
                "user name \"worker\"",
            ),
            (
                &plain,
                4,
                ErrorKind::NotAuthorized,
                "set them with credentials",
            ),
            (
                &plain,
                3,
                ErrorKind::ServerUnavailable,
                "temporarily unavailable",
            ),
            (&kept, 2, ErrorKind::Protocol, "Session::persistent"),
        ] {
            let error = not_accepted(&server, options, End::Refused(code));
            assert_eq!(error.kind(), kind);
            let text = error.to_string();
            assert!(text.contains(words), "{text}");
            for foreign in ["API key", "gateways", "tenant", "secret-of-mine"] {
                assert!(!text.contains(foreign), "{text}");
            }
        }
        let group = subscription_refused("b", &plain, &["$share/g/v3/a", "$share/g/v3/b"]);
        let text = group.to_string();
        assert!(text.contains("refuses shared subscriptions"), "{text}");
        let mixed = subscription_refused("b", &plain, &["$share/g/v3/a", "v3/b"]);
        let text = mixed.to_string();
        assert!(text.contains("access control of the broker"), "{text}");
        assert!(!text.contains("tenant"), "{text}");
        assert!(!text.contains("max_ack_pending"), "{text}");
    }

    #[test]
    fn a_broker_that_refuses_the_filters_of_some_partitions_may_have_a_limit() {
        let builder = crate::MqttClient::own_broker("barn@ttn").mqtt_address("mqtt://b:1882");
        let options = builder.partitions(200).partitions_of(0, 2).check().unwrap();
        let all = topics::Layout::new(&options).filters();
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        let text = subscription_refused("b", &options, &all[63..]).to_string();
        assert!(text.contains("max_ack_pending"), "{text}");
        assert!(
            text.contains(&format!("{} others", all.len() - 63 - MAX_NAMED)),
            "{text}"
        );
        let text = subscription_refused("b", &options, &all).to_string();
        assert!(!text.contains("max_ack_pending"), "{text}");
    }
}
