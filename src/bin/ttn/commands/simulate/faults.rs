//! What can be wrong with the network, by name.

use std::{fmt, str::FromStr};

use ttn::{
    Network,
    simulator::{HttpFault, PublishRate, Quirks, Simulator, SimulatorBuilder, WhenFull},
};

use crate::times;

const SWITCH: &str = "on|off";
const NUMBER: &str = "NUMBER";
const LIMIT: &str = "NUMBER|off";
const DURATION: &str = "DURATION";
const RATE: &str = "PER_MINUTE:BURST|off";
const HTTP: &str = "FAULT[@PATH]|off[@PATH]";

/// A fault with its value.
pub(super) struct Fault(Setting);

impl fmt::Debug for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Fault").finish_non_exhaustive()
    }
}

/// What a fault changes.
enum Setting {
    Quirk(Box<dyn Fn(&mut Quirks)>),
    Network(Box<dyn Fn(&Simulator)>),
}

/// A fault that can be named.
struct Kind {
    name: &'static str,
    /// The form of its value.
    value: &'static str,
    what: &'static str,
    /// The only network that has it.
    only: Option<Network>,
    read: fn(&str, Network) -> Result<Setting, String>,
}

/// A kind of a field of `Quirks`, which every network starts with some value of.
macro_rules! quirk {
    ($name:literal, $field:ident, $value:expr, $read:expr, $only:expr, $what:literal) => {
        Kind {
            name: $name,
            value: $value,
            what: $what,
            only: $only,
            read: |text, network| {
                let value = match text {
                    "default" => Quirks::of(network).$field,
                    text => $read(text)?,
                };
                Ok(Setting::Quirk(Box::new(move |quirks| {
                    quirks.$field = value
                })))
            },
        }
    };
}

macro_rules! network {
    ($name:literal, $value:expr, $read:expr, $only:expr, $what:literal, $change:expr) => {
        Kind {
            name: $name,
            value: $value,
            what: $what,
            only: $only,
            read: |text, _| {
                let value = $read(text)?;
                Ok(Setting::Network(Box::new(move |network| {
                    $change(network, value.clone())
                })))
            },
        }
    };
}

const V2: Option<Network> = Some(Network::V2);
const V3: Option<Network> = Some(Network::V3);

const KINDS: [Kind; 36] = [
    quirk!(
        "connack",
        connack,
        LIMIT,
        limit,
        None,
        "refuse every CONNECT with this code"
    ),
    quirk!(
        "ignore-connect",
        ignore_connect,
        SWITCH,
        switch,
        None,
        "never answer CONNECT"
    ),
    quirk!(
        "close-on-connect",
        close_on_connect,
        SWITCH,
        switch,
        None,
        "close on CONNECT"
    ),
    quirk!(
        "close-on-accept",
        close_on_accept,
        SWITCH,
        switch,
        None,
        "close each new connection"
    ),
    quirk!(
        "connect-timeout",
        connect_timeout,
        DURATION,
        times::duration,
        None,
        "close without CONNECT after"
    ),
    quirk!(
        "longest-silence",
        longest_silence,
        DURATION,
        times::duration,
        None,
        "close without keep-alive after"
    ),
    quirk!(
        "refuse-subscriptions",
        refuse_subscriptions,
        SWITCH,
        switch,
        None,
        "answer SUBSCRIBE with 0x80"
    ),
    quirk!(
        "ignore-subscriptions",
        ignore_subscriptions,
        SWITCH,
        switch,
        None,
        "never answer SUBSCRIBE"
    ),
    quirk!(
        "publish-before-suback",
        publish_before_suback,
        SWITCH,
        switch,
        None,
        "send SUBACK after a message"
    ),
    quirk!(
        "suback-delay",
        suback_delay,
        DURATION,
        times::duration,
        None,
        "send SUBACK so late"
    ),
    quirk!(
        "ignore-pings",
        ignore_pings,
        SWITCH,
        switch,
        None,
        "never answer PINGREQ"
    ),
    quirk!(
        "ignore-publishes",
        ignore_publishes,
        SWITCH,
        switch,
        None,
        "ignore what clients publish"
    ),
    quirk!(
        "duplicate-uplinks",
        duplicate_uplinks,
        SWITCH,
        switch,
        None,
        "publish every uplink twice"
    ),
    quirk!(
        "rate-limit",
        rate_limit,
        LIMIT,
        limit,
        None,
        "read this many packets per second"
    ),
    quirk!(
        "push-time",
        push_time,
        DURATION,
        times::duration,
        V3,
        "work so long on each PUBLISH"
    ),
    quirk!(
        "publish-limit",
        publish_limit,
        LIMIT,
        limit,
        None,
        "end a connection after this many PUBLISH"
    ),
    quirk!(
        "publish-rate",
        publish_rate,
        RATE,
        rate,
        None,
        "end connections above this rate"
    ),
    quirk!(
        "connection-limit",
        connection_limit,
        LIMIT,
        limit,
        None,
        "refuse further clients with code 3"
    ),
    quirk!(
        "downlink-queue",
        downlink_queue,
        NUMBER,
        number,
        V3,
        "hold this many downlinks for a device"
    ),
    quirk!(
        "event-delay",
        event_delay,
        DURATION,
        times::duration,
        None,
        "publish downlink events so late"
    ),
    quirk!(
        "shuffle-events",
        shuffle_events,
        SWITCH,
        switch,
        None,
        "swap downlink events in pairs"
    ),
    quirk!(
        "lose-events",
        lose_events,
        SWITCH,
        switch,
        None,
        "lose all downlink events"
    ),
    quirk!(
        "session-buffer",
        session_buffer,
        NUMBER,
        number,
        None,
        "buffer this many messages for a client"
    ),
    quirk!(
        "when-full",
        when_full,
        "wait|drop",
        when_full,
        None,
        "what to do then; here it drops"
    ),
    quirk!(
        "field-topics",
        field_topics,
        SWITCH,
        switch,
        V2,
        "publish each field on its topic"
    ),
    quirk!(
        "plain-broker",
        plain_broker,
        SWITCH,
        switch,
        V2,
        "act as behind Mosquitto"
    ),
    quirk!(
        "shutdown-warning",
        shutdown_warning,
        SWITCH,
        switch,
        V2,
        "warn in every uplink"
    ),
    quirk!(
        "utc-offset",
        utc_offset,
        NUMBER,
        number,
        V2,
        "time zone of the server, in minutes"
    ),
    network!(
        "gateways-down",
        SWITCH,
        switch,
        None,
        "gateways do not transmit",
        Simulator::gateways_down
    ),
    network!(
        "gateways-silent",
        SWITCH,
        switch,
        V3,
        "gateways do not report",
        Simulator::gateways_silent
    ),
    network!(
        "gateways-deaf",
        SWITCH,
        switch,
        V3,
        "gateways lose all downlinks",
        Simulator::gateways_deaf
    ),
    network!(
        "transmission-fails",
        "RESULT|off",
        result,
        V3,
        "such as TOO_LATE",
        |network: &Simulator, result: Option<String>| {
            network.transmission_fails(result.as_deref());
        }
    ),
    network!(
        "identity-server-down",
        SWITCH,
        switch,
        V3,
        "no key can be checked",
        Simulator::identity_server_down
    ),
    network!(
        "identity-server-elsewhere",
        SWITCH,
        switch,
        V3,
        "it has another address",
        Simulator::identity_server_elsewhere
    ),
    network!(
        "http",
        HTTP,
        http,
        V3,
        "see below",
        |network: &Simulator, fault: HttpSetting| {
            match fault {
                (None, fault) => network.http_fault(fault),
                (Some(path), fault) => network.http_fault_on(&path, fault),
            }
        }
    ),
    network!(
        "http-rate-limit",
        "BURST:PER_MINUTE",
        pair,
        V3,
        "answer 429 above this rate",
        |network: &Simulator, (burst, per_minute)| {
            network.http_rate_limit(burst, per_minute);
        }
    ),
];

/// The faults of HTTP, and how they are written.
const HTTP_FAULTS: &str = "\
http is followed by a status such as 503 or by html:STATUS, slow:DURATION, silent, cut-off, rate-limited,
redirect:URL, not-http, gzip, or, for answers of many lines, by cut-in-frame:N, cut-after:N, error-after:N,
garbage-after:N, html-after:N, silent-after:N, empty-lines, doubled, drip:DURATION; behind @, what the path
of the requests contains. Without a value, on is meant; default is the value at the start.";

/// A path if it is not for all, and the fault.
type HttpSetting = (Option<String>, Option<HttpFault>);

impl Fault {
    /// Reads a name, alone or with `=` and a value.
    pub(super) fn read(network: Network, text: &str) -> Result<Self, String> {
        let (name, value) = text.split_once('=').unwrap_or((text, "on"));
        Self::named(network, name, value)
    }

    /// Reads the value of the fault with that name.
    pub(super) fn named(network: Network, name: &str, value: &str) -> Result<Self, String> {
        let kind = KINDS.iter().find(|kind| kind.name == name);
        let kind = kind.ok_or("there is no such fault; `list` in its place prints all")?;
        if kind.only.is_some_and(|only| only != network) {
            let only = if kind.only == V2 { "V2" } else { "v3" };
            return Err(format!("this fault is for {only} only"));
        }
        let read = (kind.read)(value, network);
        read.map(Self)
            .map_err(|error| format!("{value:?} is not {}{error}", kind.value))
    }

    /// Sets what can be set before the start.
    pub(super) fn set(&self, builder: SimulatorBuilder) -> SimulatorBuilder {
        match &self.0 {
            Setting::Quirk(change) => builder.quirks(change),
            Setting::Network(_) => builder,
        }
    }

    /// Sets it on a running network.
    pub(super) fn apply(&self, network: &Simulator) {
        match &self.0 {
            Setting::Quirk(change) => network.quirks(change),
            Setting::Network(change) => change(network),
        }
    }
}

/// Returns the lines that list the faults of a network.
pub(super) fn list(network: Network) -> Vec<String> {
    let kinds = KINDS
        .iter()
        .filter(|kind| kind.only.is_none_or(|only| only == network));
    let mut lines: Vec<_> = kinds
        .map(|kind| format!("{:<26} {:<24} {}", kind.name, kind.value, kind.what))
        .collect();
    if network == Network::V3 {
        lines.push(String::new());
        lines.extend(HTTP_FAULTS.lines().map(str::to_owned));
    }
    lines
}

// What they return as errors is appended to what the value should be.

fn switch(text: &str) -> Result<bool, String> {
    match text {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err(String::new()),
    }
}

fn number<T: FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| String::new())
}

fn limit<T: FromStr>(text: &str) -> Result<Option<T>, String> {
    match text {
        "off" => Ok(None),
        text => number(text).map(Some),
    }
}

fn pair(text: &str) -> Result<(u32, u32), String> {
    let (first, second) = text.split_once(':').ok_or_else(String::new)?;
    Ok((number(first)?, number(second)?))
}

fn rate(text: &str) -> Result<Option<PublishRate>, String> {
    if text == "off" {
        return Ok(None);
    }
    let (per_minute, burst) = pair(text)?;
    Ok(Some(PublishRate { per_minute, burst }))
}

fn when_full(text: &str) -> Result<WhenFull, String> {
    match text {
        "wait" => Ok(WhenFull::Wait),
        "drop" => Ok(WhenFull::Drop),
        _ => Err(String::new()),
    }
}

fn result(text: &str) -> Result<Option<String>, String> {
    let is_name = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
    match text {
        "off" => Ok(None),
        text if !text.is_empty() && text.bytes().all(is_name) => Ok(Some(text.to_owned())),
        _ => Err(String::from("; a result is in capitals, such as TOO_LATE")),
    }
}

fn http(text: &str) -> Result<HttpSetting, String> {
    let (fault, path) = match text.split_once('@') {
        // The URL of a redirect may have one.
        Some(_) if text.starts_with("redirect:") => (text, None),
        Some((fault, path)) => (fault, Some(path.to_owned())),
        None => (text, None),
    };
    if fault == "off" {
        return Ok((path, None));
    }
    Ok((path, Some(http_fault(fault)?)))
}

fn http_fault(text: &str) -> Result<HttpFault, String> {
    let (name, value) = text.split_once(':').unwrap_or((text, ""));
    let duration = || times::duration(value).map_err(|error| format!("; {error}"));
    let fault = match (name, value) {
        ("silent", "") => HttpFault::Silent,
        ("rate-limited", "") => HttpFault::RateLimited,
        ("cut-off", "") => HttpFault::CutOff,
        ("not-http", "") => HttpFault::NotHttp,
        ("empty-lines", "") => HttpFault::EmptyLines,
        ("doubled", "") => HttpFault::Doubled,
        ("gzip", "") => HttpFault::Gzip,
        ("slow", _) => HttpFault::Slow(duration()?),
        ("drip", _) => HttpFault::Drip(duration()?),
        ("html", status) => HttpFault::Html(number(status)?),
        ("redirect", url) if !url.is_empty() => HttpFault::Redirect(url.to_owned()),
        ("cut-in-frame", count) => HttpFault::CutInFrame(number(count)?),
        ("cut-after", count) => HttpFault::CutAfter(number(count)?),
        ("error-after", count) => HttpFault::ErrorAfter(number(count)?),
        ("garbage-after", count) => HttpFault::GarbageAfter(number(count)?),
        ("html-after", count) => HttpFault::HtmlAfter(number(count)?),
        ("silent-after", count) => HttpFault::SilentAfter(number(count)?),
        (status, "") => match number(status) {
            Ok(status @ 100..=599) => HttpFault::Status(status),
            _ => return Err(String::new()),
        },
        _ => return Err(String::new()),
    };
    Ok(fault)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Returns a value other than the one at the start.
    fn example(kind: &Kind, network: Network) -> &'static str {
        match kind.value {
            SWITCH if kind.name == "field-topics" => "off",
            SWITCH => "on",
            NUMBER => "3",
            LIMIT => "4",
            DURATION => "7s",
            RATE => "10:20",
            "wait|drop" => "drop",
            "RESULT|off" => "TOO_LATE",
            "BURST:PER_MINUTE" => "5:60",
            HTTP => "503@/auth_info",
            other => panic!("{other} of {network:?}"),
        }
    }

    /// Returns the names and values of all fields.
    fn fields(quirks: &Quirks) -> Vec<(String, String)> {
        // Fields of fields are indented further.
        let text = format!("{quirks:#?}");
        let mut fields: Vec<(String, String)> = Vec::new();
        for line in text.lines() {
            match line
                .strip_prefix("    ")
                .filter(|line| !line.starts_with([' ', '}', ')']))
            {
                Some(line) => {
                    let (name, value) = line.split_once(": ").expect("a field");
                    fields.push((name.replace('_', "-"), value.to_owned()));
                }
                None => {
                    if let Some(field) = fields.last_mut() {
                        field.1 += line;
                    }
                }
            }
        }
        fields
    }

    #[test]
    fn every_quirk_can_be_set_by_its_name_and_set_back() {
        let names: Vec<_> = fields(&Quirks::default())
            .into_iter()
            .map(|field| field.0)
            .collect();
        assert!(names.len() > 25, "{names:?}");
        for name in names {
            let kind = KINDS.iter().find(|kind| kind.name == name);
            let kind = kind.unwrap_or_else(|| panic!("{name} cannot be set"));
            let network = kind.only.unwrap_or(Network::V3);
            let mut quirks = Quirks::of(network);
            let set = |value: &str, quirks: &mut Quirks| match Fault::named(network, &name, value) {
                Ok(Fault(Setting::Quirk(change))) => change(quirks),
                _ => panic!("{name}={value} is not read"),
            };
            set(example(kind, network), &mut quirks);
            let before = fields(&Quirks::of(network));
            let changed: Vec<_> = fields(&quirks)
                .into_iter()
                .zip(before)
                .filter(|(now, before)| now != before)
                .map(|(now, _)| now.0)
                .collect();
            assert_eq!(changed, std::slice::from_ref(&name));
            set("default", &mut quirks);
            assert_eq!(quirks, Quirks::of(network), "{name}");
        }
    }

    #[test]
    fn every_fault_of_a_network_can_be_applied_to_it() {
        for network in [Network::V3, Network::V2] {
            let simulator = Simulator::start(network).expect("it starts");
            for kind in &KINDS {
                let fault = Fault::named(network, kind.name, example(kind, network));
                match kind.only.is_none_or(|only| only == network) {
                    true => fault
                        .unwrap_or_else(|error| panic!("{}: {error}", kind.name))
                        .apply(&simulator),
                    false => assert!(
                        fault.is_err_and(|error| error.ends_with("only")),
                        "{}",
                        kind.name
                    ),
                }
            }
        }
    }

    #[test]
    fn a_name_alone_means_on() {
        let Ok(Fault(Setting::Quirk(change))) = Fault::read(Network::V3, "ignore-pings") else {
            panic!("not read");
        };
        let mut quirks = Quirks::default();
        change(&mut quirks);
        assert!(quirks.ignore_pings);
    }

    #[test]
    fn a_wrong_fault_is_explained() {
        let error = |text| Fault::read(Network::V3, text).map(drop).expect_err(text);
        assert_eq!(
            error("ignore-ping"),
            "there is no such fault; `list` in its place prints all"
        );
        assert_eq!(error("ignore-pings=yes"), r#""yes" is not on|off"#);
        assert_eq!(error("connack"), r#""on" is not NUMBER|off"#);
        assert_eq!(error("connack=256"), r#""256" is not NUMBER|off"#);
        assert_eq!(error("utc-offset=60"), "this fault is for V2 only");
        assert_eq!(
            error("transmission-fails=too-late"),
            r#""too-late" is not RESULT|off; a result is in capitals, such as TOO_LATE"#
        );
        assert!(error("suback-delay=soon").starts_with(r#""soon" is not DURATION"#));
        assert!(error("http=slow").contains("FAULT[@PATH]"));
        assert!(error("http=99").contains("FAULT[@PATH]"));
        assert!(error("publish-rate=10").contains("PER_MINUTE:BURST"));
    }

    #[test]
    fn http_faults_are_read() {
        let read = |text| http(text).expect(text);
        for (text, expected) in [
            ("503", HttpFault::Status(503)),
            ("html:502", HttpFault::Html(502)),
            ("slow:2s", HttpFault::Slow(Duration::from_secs(2))),
            ("silent", HttpFault::Silent),
            ("cut-off", HttpFault::CutOff),
            ("rate-limited", HttpFault::RateLimited),
            (
                "redirect:http://user@127.0.0.1/",
                HttpFault::Redirect(String::from("http://user@127.0.0.1/")),
            ),
            ("not-http", HttpFault::NotHttp),
            ("gzip", HttpFault::Gzip),
            ("cut-in-frame:1", HttpFault::CutInFrame(1)),
            ("cut-after:2", HttpFault::CutAfter(2)),
            ("error-after:3", HttpFault::ErrorAfter(3)),
            ("garbage-after:4", HttpFault::GarbageAfter(4)),
            ("html-after:5", HttpFault::HtmlAfter(5)),
            ("silent-after:6", HttpFault::SilentAfter(6)),
            ("empty-lines", HttpFault::EmptyLines),
            ("doubled", HttpFault::Doubled),
            ("drip:50ms", HttpFault::Drip(Duration::from_millis(50))),
        ] {
            assert_eq!(read(text), (None, Some(expected)), "{text}");
        }
        assert_eq!(
            read("503@/down/push"),
            (
                Some(String::from("/down/push")),
                Some(HttpFault::Status(503))
            )
        );
        assert_eq!(
            read("off@/down/push"),
            (Some(String::from("/down/push")), None)
        );
        assert_eq!(read("off"), (None, None));
    }

    #[test]
    fn the_list_fits_a_terminal_and_names_what_the_network_has() {
        for network in [Network::V3, Network::V2] {
            let lines = list(network);
            assert!(
                lines.iter().all(|line| line.chars().count() <= 110),
                "{lines:#?}"
            );
            assert!(lines.iter().any(|line| line.starts_with("connack ")));
            assert_eq!(
                lines.iter().any(|line| line.starts_with("utc-offset ")),
                network == Network::V2
            );
        }
    }
}
