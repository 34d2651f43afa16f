//! Checks every option of a builder, by groups. The first mistake found is the error.

use std::{fmt, ops::RangeInclusive, sync::Arc, time::Duration};

use super::{
    AccessKey, Backfill, Broker, Certificates, ClientCertificate, ConnectRetry, FollowDownlinks,
    HttpAddress, HttpApi, MqttClientBuilder, OfflineQueue, Options, Pace, Passphrase, Pem,
    ReceiveCapacity, ReconnectDelay, RefusedRetry, Server, WayOut,
    broker::{self, OfTheNetwork},
};
use crate::{
    error::{Error, Result},
    message::Watermark,
    network::Network,
};

pub(super) const MILLISECOND: Duration = Duration::from_millis(1);
pub(super) const DAY: Duration = Duration::from_secs(86_400);
pub(super) const YEAR: Duration = Duration::from_secs(365 * 86_400);

/// Shorter keys may be part of a name by chance.
const MIN_KEY: usize = 16;

const MAX_CLIENT_ID_PREFIX: usize = 200;

/// How many devices have their frame counters watched by default.
const COUNTER_WATCH: usize = 100_000;

/// How many uplinks of a broker of one's own are remembered by default.
const DUPLICATE_WINDOW: usize = 10_000;

const MAX_DUPLICATE_WINDOW: usize = 10_000_000;

impl MqttClientBuilder {
    pub(crate) fn check(self) -> Result<Options> {
        let Self {
            app_id,
            access_key,
            has_own_broker,
            broker,
            network,
            cluster,
            mqtt_address,
            discovery_address,
            http_address,
            identity_server_address,
            asks_over_http,
            backfill,
            resume_from,
            downlinks,
            ca,
            client_certificate,
            passphrase,
            proxy,
            proxy_from_environment,
            client_id_prefix,
            field_topics,
            keep_alive,
            connect_timeout,
            close_timeout,
            connect_retry,
            reconnect,
            reconnect_delay,
            refused_retry,
            offline_queue,
            pace,
            counter_watch,
            device_watch,
            silence_after,
            duplicate_window,
            follow_downlinks,
            unconfirmed_after,
            event_capacity,
            overflow,
            receive_capacity,
            max_packet_size,
            send_capacity,
        } = self;

        let certificates = certificates(ca, client_certificate, passphrase)?;
        let broker = own_broker(has_own_broker, broker)?;
        check_for_misplaced_key(
            &app_id,
            match broker
                .as_ref()
                .and_then(|broker| broker.credentials.as_ref())
            {
                Some((_, password)) => password,
                None => &access_key,
            },
            [
                (
                    "shared_group",
                    broker
                        .as_ref()
                        .and_then(|broker| broker.shared_group.as_deref()),
                ),
                (
                    "prefix or base topic of the topics",
                    broker.as_ref().map(|broker| broker.topics.root()),
                ),
                (
                    "client id of the session",
                    broker
                        .as_ref()
                        .and_then(|broker| broker.session.client_id()),
                ),
                ("cluster", cluster.as_deref()),
                ("mqtt_address", mqtt_address.as_deref()),
                ("discovery_address", discovery_address.as_deref()),
                ("http_address", http_address.as_deref()),
                (
                    "identity_server_address",
                    identity_server_address.as_deref(),
                ),
                ("proxy", proxy.as_deref()),
                ("client_id_prefix", Some(&client_id_prefix)),
            ],
        )?;
        let network = network.unwrap_or_else(|| match &broker {
            Some(_) => Network::V3,
            None => Network::detect(&app_id, access_key.reveal()),
        });
        network.check_app_id(&app_id)?;
        check_field_topics(field_topics, network)?;
        let (broker, server) = match broker {
            Some(broker) => {
                OfTheNetwork {
                    cluster: cluster.is_some(),
                    discovery_address: discovery_address.is_some(),
                    http_address: http_address.is_some(),
                    identity_server_address: identity_server_address.is_some(),
                    backfill: backfill.is_some(),
                    resume_from: resume_from.is_some(),
                    downlinks,
                }
                .check()?;
                let mut broker = broker.check(network)?;
                broker.addresses = broker::addresses(mqtt_address.as_deref())?;
                let server = Server::At(broker.addresses[0].clone());
                (Some(broker), server)
            }
            None => {
                access_key.check(network, &app_id)?;
                let address = choose_address(network, &app_id, cluster, mqtt_address)?;
                (None, server(network, address, discovery_address)?)
            }
        };
        let http = http_api(
            network,
            &server,
            http_address,
            identity_server_address,
            asks_over_http && broker.is_none(),
        )?;
        check_backfill(backfill.as_ref(), resume_from.as_ref(), network)?;
        let way_out = way_out(proxy, proxy_from_environment)?;
        check_client_id_prefix(&client_id_prefix)?;

        check_times(keep_alive, connect_timeout, close_timeout)?;
        let refused_retry = refused_retry.unwrap_or(RefusedRetry {
            before: None,
            after: Some(reconnect_delay.longest),
        });
        check_retries(reconnect_delay, refused_retry, connect_retry)?;
        check_followed(follow_downlinks, unconfirmed_after)?;
        check_offline_queue(offline_queue)?;
        check_pace(pace)?;
        check_capacities(event_capacity, receive_capacity, send_capacity)?;
        check_range("max_packet_size", max_packet_size, 1 << 10..=256 << 20)?;
        let counter_watch = counter_watch.unwrap_or(match &broker {
            Some(broker) if broker.splits_devices() => 0,
            _ => COUNTER_WATCH,
        });
        let device_watch = device_watch || silence_after.is_some();
        check_device_watch(device_watch, silence_after, counter_watch)?;
        let duplicate_window = duplicate_window.unwrap_or(match &broker {
            Some(_) => DUPLICATE_WINDOW,
            None => 0,
        });
        check_range(
            "duplicate_window",
            duplicate_window,
            0..=MAX_DUPLICATE_WINDOW,
        )?;

        Ok(Options {
            network,
            app_id,
            access_key,
            broker,
            server,
            http,
            downlinks,
            backfill,
            resume_from,
            certificates: Arc::new(certificates),
            way_out,
            client_id_prefix,
            field_topics,
            keep_alive: Duration::from_secs(keep_alive.as_secs()),
            connect_timeout,
            close_timeout,
            connect_retry,
            reconnect,
            reconnect_delay,
            refused_retry,
            offline_queue,
            pace,
            counter_watch,
            device_watch,
            silence_after,
            duplicate_window,
            follow_downlinks,
            unconfirmed_after,
            event_capacity,
            overflow,
            receive_capacity,
            max_packet_size,
            send_capacity,
        })
    }
}

fn own_broker(is_own: bool, broker: Option<Broker>) -> Result<Option<Broker>> {
    match (is_own, broker) {
        (true, broker) => Ok(Some(broker.unwrap_or_default())),
        (false, None) => Ok(None),
        (false, Some(_)) => Err(Error::config(
            "credentials, topics, session, acknowledge, shared_group, partitions and the like are for a broker of your own; \
             begin with MqttClient::own_broker",
        )),
    }
}

fn check_backfill(
    backfill: Option<&Backfill>,
    resume_from: Option<&Watermark>,
    network: Network,
) -> Result<()> {
    match backfill {
        Some(_) if network == Network::V2 => Err(Error::config(
            "backfill is for v3 networks; a V2 network has no HTTP API from which this client could fetch uplinks",
        )),
        Some(backfill) => backfill.check(),
        None if resume_from.is_some() => Err(Error::config(
            "resume_from needs backfill, which fetches what was missed; set backfill(Backfill::new()) too",
        )),
        None => Ok(()),
    }
}

fn certificates(
    ca: Option<Pem>,
    client_certificate: Option<ClientCertificate>,
    passphrase: Option<Passphrase>,
) -> Result<Certificates> {
    if passphrase.is_some() && client_certificate.is_none() {
        return Err(Error::config(
            "client_key_passphrase is set, but there is no client certificate; set one with client_certificate_files or client_certificate_pem",
        ));
    }
    Ok(Certificates::new(ca, client_certificate, passphrase))
}

/// Looks for the key in options that errors and logs print.
fn check_for_misplaced_key<const N: usize>(
    app_id: &str,
    access_key: &AccessKey,
    options: [(&str, Option<&str>); N],
) -> Result<()> {
    if Network::is_key(app_id) {
        return Err(Error::config(
            "the application id looks like an access key; the id comes first, then the key",
        ));
    }
    let key = access_key.reveal();
    if key.len() < MIN_KEY {
        return Ok(());
    }
    for (name, value) in options {
        if value.is_some_and(|value| value.contains(key)) {
            return Err(Error::config(format!(
                "the {name} contains the access key or password, which would be printed with it; leave it out"
            )));
        }
    }
    Ok(())
}

fn check_field_topics(field_topics: bool, network: Network) -> Result<()> {
    if field_topics && !network.has_field_topics() {
        return Err(Error::config(
            "field_topics is for V2 networks; v3 has no topics for single fields, all of them are in payload_fields",
        ));
    }
    Ok(())
}

fn choose_address(
    network: Network,
    app_id: &str,
    cluster: Option<String>,
    mqtt_address: Option<String>,
) -> Result<Option<String>> {
    match (cluster, mqtt_address) {
        (Some(_), Some(_)) => Err(Error::config(
            "both cluster and mqtt_address are set; set only one of them",
        )),
        (Some(cluster), None) => network.cluster_host(app_id, &cluster).map(Some),
        (None, address) => Ok(address),
    }
}

fn server(
    network: Network,
    mqtt_address: Option<String>,
    discovery_address: Option<String>,
) -> Result<Server> {
    let discovery = discovery_address
        .map(|address| HttpAddress::parse(network, "discovery address", &address))
        .transpose()?;
    match (mqtt_address, discovery) {
        (Some(address), _) => Ok(Server::At(address.parse()?)),
        (None, Some(discovery)) => Ok(Server::AskedOf(discovery)),
        (None, None) => Ok(Server::Unknown),
    }
}

fn http_api(
    network: Network,
    server: &Server,
    address: Option<String>,
    identity_server: Option<String>,
    asks: bool,
) -> Result<HttpApi> {
    let protected_by = match server {
        Server::At(address) if address.tls() => Some("MQTT"),
        Server::AskedOf(address) if !address.is_plain() => Some("discovery"),
        _ => None,
    };
    let read = |option: &str, address: Option<String>| {
        let Some(address) = address else {
            return Ok(None);
        };
        if network != Network::V3 {
            return Err(Error::config(format!(
                "{option} is for v3 networks; a V2 network has no such API"
            )));
        }
        let address = HttpAddress::parse(network, option, &address)?;
        match protected_by {
            Some(other) if address.is_plain() => Err(Error::config(format!(
                "the {option} {address} would expose the access key, which the {other} address protects by TLS; use https://"
            ))),
            _ => Ok(Some(address)),
        }
    };
    Ok(HttpApi {
        asks,
        address: read("http_address", address)?,
        identity_server: read("identity_server_address", identity_server)?,
    })
}

fn way_out(proxy: Option<String>, from_environment: bool) -> Result<WayOut> {
    match (proxy, from_environment) {
        (Some(_), true) => Err(Error::config(
            "both proxy and proxy_from_environment are set; set only one of them",
        )),
        (Some(proxy), false) => Ok(WayOut::Through(proxy.parse()?)),
        (None, true) => Ok(WayOut::Environment),
        (None, false) => Ok(WayOut::Direct),
    }
}

fn check_client_id_prefix(prefix: &str) -> Result<()> {
    if prefix.contains('\0') || prefix.len() > MAX_CLIENT_ID_PREFIX {
        return Err(Error::config(format!(
            "the client_id_prefix {prefix:?} is longer than {MAX_CLIENT_ID_PREFIX} bytes or contains NUL"
        )));
    }
    Ok(())
}

fn check_times(
    keep_alive: Duration,
    connect_timeout: Duration,
    close_timeout: Option<Duration>,
) -> Result<()> {
    let seconds = Duration::from_secs(1)..=Duration::from_secs(65_535);
    check_range("keep_alive", keep_alive, seconds)?;
    check_range("connect_timeout", connect_timeout, MILLISECOND..=DAY)?;
    match close_timeout {
        Some(timeout) => check_range("close_timeout", timeout, MILLISECOND..=DAY),
        None => Ok(()),
    }
}

fn check_retries(
    ReconnectDelay { shortest, longest }: ReconnectDelay,
    RefusedRetry { before, after }: RefusedRetry,
    connect_retry: ConnectRetry,
) -> Result<()> {
    check_range("the shortest reconnect_delay", shortest, MILLISECOND..=DAY)?;
    check_range("the longest reconnect_delay", longest, shortest..=DAY)?;
    for delay in [before, after].into_iter().flatten() {
        check_range("refused_retry", delay, MILLISECOND..=DAY)?;
    }
    if let ConnectRetry::For(time) = connect_retry {
        check_range("connect_retry", time, Duration::ZERO..=YEAR)?;
    }
    Ok(())
}

fn check_followed(followed: FollowDownlinks, unconfirmed_after: Duration) -> Result<()> {
    let FollowDownlinks { downlinks, time } = followed;
    check_not_zero("the number of follow_downlinks", downlinks)?;
    check_range("the time of follow_downlinks", time, MILLISECOND..=YEAR)?;
    check_range("unconfirmed_after", unconfirmed_after, MILLISECOND..=YEAR)
}

fn check_offline_queue(queue: Option<OfflineQueue>) -> Result<()> {
    let Some(OfflineQueue {
        capacity,
        expire_after,
    }) = queue
    else {
        return Ok(());
    };
    check_range("the capacity of offline_queue", capacity, 1..=1_000_000)?;
    check_range(
        "the expire_after of offline_queue",
        expire_after,
        MILLISECOND..=YEAR,
    )
}

fn check_device_watch(
    device_watch: bool,
    silence_after: Option<f32>,
    counter_watch: usize,
) -> Result<()> {
    if device_watch && counter_watch == 0 {
        return Err(Error::config(
            "device_watch and silence_after need the table of devices, and counter_watch is 0, which it also is by \
             default in a shared group; set counter_watch to the number of devices",
        ));
    }
    match silence_after {
        Some(factor) if !(1.5..=1000.0).contains(&factor) => Err(Error::config(format!(
            "silence_after({factor}) is not a multiple of the usual interval from 1.5 to 1000; use 3"
        ))),
        _ => Ok(()),
    }
}

fn check_pace(pace: Option<Pace>) -> Result<()> {
    let Some(Pace { per_minute, burst }) = pace else {
        return Ok(());
    };
    check_range("the per_minute of pace", per_minute, 1..=30_000)?;
    check_range("the burst of pace", burst, 1..=30_000)
}

fn check_capacities(
    event_capacity: usize,
    ReceiveCapacity { messages, bytes }: ReceiveCapacity,
    send_capacity: usize,
) -> Result<()> {
    check_not_zero("event_capacity", event_capacity)?;
    check_not_zero("the messages of receive_capacity", messages)?;
    check_not_zero("the bytes of receive_capacity", bytes)?;
    // A larger number would fill one of Paho's own buffers first.
    check_range("send_capacity", send_capacity, 1..=30_000)
}

fn check_not_zero(name: &str, value: usize) -> Result<()> {
    check_range(name, value, 1..=usize::MAX)
}

pub(super) fn check_range<T>(name: &str, value: T, range: RangeInclusive<T>) -> Result<()>
where
    T: PartialOrd + fmt::Debug,
{
    let (least, most) = range.into_inner();
    let (bound, limit) = if value < least {
        ("at least", least)
    } else if value > most {
        ("at most", most)
    } else {
        return Ok(());
    };
    Err(Error::config(format!(
        "{name} is {value:?}, it must be {bound} {limit:?}"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn builder() -> MqttClientBuilder {
        MqttClientBuilder::new("greenhouse@ttn".to_owned(), "NNSXS.ID.SECRET".to_owned())
    }

    #[test]
    fn a_hosted_cluster_is_reached_by_tls_at_its_usual_port() {
        let options = builder().cluster("eu1").check().unwrap();
        assert_eq!(options.network, Network::V3);
        let Server::At(address) = options.server else {
            panic!("{:?}", options.server);
        };
        assert_eq!(
            address.to_string(),
            "mqtts://eu1.cloud.thethings.network:8883"
        );
    }

    #[test]
    fn the_way_out_is_the_one_that_was_set() {
        let way_out = |builder: MqttClientBuilder| builder.check().unwrap().way_out;
        assert!(matches!(way_out(builder()), WayOut::Direct));
        let through = way_out(builder().proxy("http://user:secret@proxy:3128"));
        assert_eq!(format!("{through:?}"), "Through(Proxy(http://proxy:3128))");
        let environment = way_out(builder().proxy_from_environment(true));
        assert!(matches!(environment, WayOut::Environment));
        let again = way_out(
            builder()
                .proxy_from_environment(true)
                .proxy_from_environment(false),
        );
        assert!(matches!(again, WayOut::Direct));
    }

    #[test]
    fn two_ways_out_are_refused() {
        let both = builder().proxy("http://proxy").proxy_from_environment(true);
        let error = both.check().unwrap_err();
        assert_eq!(error.kind(), crate::ErrorKind::Config);
        assert!(error.to_string().contains("set only one"), "{error}");
    }

    #[test]
    fn what_belongs_to_another_network_is_refused() {
        let v2 =
            || MqttClientBuilder::new("greenhouse".to_owned(), "ttn-account-v2.secret".to_owned());
        for (builder, words) in [
            (
                builder().cluster("eu1").mqtt_address("localhost"),
                "set only one of them",
            ),
            (builder().field_topics(true), "payload_fields"),
            (builder().network(Network::V2), "@"),
            (v2().cluster("eu1"), "V2"),
            (
                v2().backfill(Backfill::new()),
                "backfill is for v3 networks",
            ),
            (
                v2().backfill(Backfill::on_request()),
                "backfill is for v3 networks",
            ),
            (v2().network(Network::V3), "API key"),
            (
                MqttClientBuilder::new(
                    "greenhouse@ttn".to_owned(),
                    "ttn-account-v2.secret".to_owned(),
                ),
                "make an API key",
            ),
            (
                MqttClientBuilder::new("greenhouse".to_owned(), "NNSXS.ID.SECRET".to_owned())
                    .network(Network::V2),
                "The Things Stack v3",
            ),
        ] {
            let error = builder.check().unwrap_err();
            assert!(error.to_string().contains(words), "{words}: {error}");
            assert_eq!(error.kind(), crate::ErrorKind::Config);
        }
    }

    #[test]
    fn a_watermark_to_resume_from_needs_a_backfill() {
        let resumed = || builder().resume_from(std::time::SystemTime::UNIX_EPOCH);
        let error = resumed().check().unwrap_err();
        assert!(
            error.to_string().contains("resume_from needs backfill"),
            "{error}"
        );
        assert_eq!(error.kind(), crate::ErrorKind::Config);
        for backfill in [Backfill::new(), Backfill::on_request()] {
            let options = resumed().backfill(backfill.clone()).check().unwrap();
            assert_eq!(options.backfill, Some(backfill));
            assert!(options.resume_from.is_some());
        }
    }

    #[test]
    fn the_options_of_a_backfill_are_checked_with_the_others() {
        let error = builder()
            .backfill(Backfill::new().page_size(0))
            .check()
            .unwrap_err();
        assert!(
            error.to_string().contains("page_size of backfill is 0"),
            "{error}"
        );
    }

    #[test]
    fn a_range_includes_its_ends() {
        for (value, words) in [
            (1, Some("it is 1, it must be at least 2")),
            (2, None),
            (4, None),
            (5, Some("it is 5, it must be at most 4")),
        ] {
            let error = check_range("it", value, 2..=4).err();
            assert_eq!(error.map(|error| error.to_string()).as_deref(), words);
        }
    }
}
