//! How an event looks as a line, for people.

use std::{
    borrow::Cow,
    fmt::Display,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use console::Style;
use ttn::{
    CounterFinding, CounterReport, DeviceChange, DeviceEvent, Disconnected, DownlinkEvent,
    DownlinkStep, Event, FrameLoss, Gap, Gateway, Location, UplinkMessage,
    serde_json::{self, Map, Value},
};

use crate::{escape::escaped, options};

/// The last moment that has a text: the end of the year 9999.
const LAST: u64 = 253_402_300_799;

/// Writes events as lines, with or without colours.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lines {
    has_colours: bool,
}

impl Lines {
    pub(crate) fn new(has_colours: bool) -> Self {
        Self { has_colours }
    }

    /// Returns the line of an event, without a line break or anything else that a terminal obeys besides colours.
    /// An event that does not say when it happened gets this time.
    pub(crate) fn line(self, event: &Event, now: SystemTime) -> String {
        let mut parts = vec![self.style(Style::new().dim(), time(at(event).unwrap_or(now)))];
        if let Some(device) = device(event) {
            let device = format!("{:<16}", escaped(device));
            parts.push(self.style(Style::new().cyan(), device));
        }
        match event {
            Event::Uplink(uplink) => parts.extend(self.uplink(uplink)),
            other => parts.push(self.style(manner(other), escaped(&text(other)))),
        }
        if event.is_retained() {
            parts.push("retained".to_owned());
        }
        parts.join("  ")
    }

    fn uplink(self, uplink: &UplinkMessage) -> Vec<String> {
        let payload = match uplink.payload_raw.is_empty() {
            true => "no payload".to_owned(),
            false => uplink.payload_hex(),
        };
        let mut parts = vec![
            format!("{:<7}", format!("#{}", uplink.counter)),
            format!("{:<9}", format!("FPort {}", uplink.port)),
            self.style(Style::new().bold(), payload),
        ];
        if !uplink.payload_fields.is_null() {
            parts.push(escaped(&fields(&uplink.payload_fields)).into_owned());
        }
        if let Some(gateway) = uplink.best_gateway() {
            let text = best(gateway, uplink.metadata.gateways.len());
            parts.push(self.style(Style::new().dim(), escaped(&text)));
        }
        if !uplink.metadata.data_rate.is_empty() {
            let rate = escaped(&uplink.metadata.data_rate);
            parts.push(self.style(Style::new().dim(), rate));
        }
        let marks = [
            (uplink.confirmed, "confirmed"),
            (uplink.is_retry, "repeated by the device"),
            (uplink.is_redelivered(), "delivered again"),
            (uplink.is_backfilled(), "fetched"),
            (uplink.is_simulated(), "simulated"),
        ];
        parts.extend(
            marks
                .iter()
                .filter(|(is, _)| *is)
                .map(|(_, mark)| (*mark).to_owned()),
        );
        parts
    }

    fn style(self, style: Style, text: impl Display) -> String {
        match self.has_colours {
            true => style.force_styling(true).apply_to(text).to_string(),
            false => text.to_string(),
        }
    }
}

/// Returns the device that an event is about.
pub(crate) fn device(event: &Event) -> Option<&str> {
    Some(match event {
        Event::Uplink(it) | Event::UplinkNormalized(it) => &it.dev_id,
        Event::UplinkField(it) => &it.dev_id,
        Event::UplinkFailed(it) => &it.dev_id,
        Event::Activation(it) => &it.dev_id,
        Event::ActivationFailed(it) => &it.activation.dev_id,
        Event::Device(it) => &it.dev_id,
        Event::Downlink(it) => &it.dev_id,
        Event::QueueInvalidated(it) => &it.dev_id,
        Event::LocationSolved(it) => &it.dev_id,
        Event::ServiceData(it) => &it.dev_id,
        Event::Counter(it) => &it.dev_id,
        Event::DeviceSilent(it) => &it.dev_id,
        Event::DeviceBack(it) => &it.dev_id,
        _ => return None,
    })
}

/// Returns a time in UTC to the second, as RFC 3339.
pub(crate) fn time(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let shown = UNIX_EPOCH + Duration::from_secs(since.as_secs().min(LAST));
    humantime::format_rfc3339_seconds(shown).to_string()
}

/// Returns when an event happened, if it says so.
fn at(event: &Event) -> Option<SystemTime> {
    match event {
        Event::Uplink(it) | Event::UplinkNormalized(it) => it.metadata.time.or(it.received_at),
        Event::Activation(it) => it.metadata.time.or(it.received_at),
        Event::ActivationFailed(it) => it.activation.metadata.time.or(it.activation.received_at),
        Event::Device(it) => it.updated_at,
        Event::Downlink(it) => it.received_at,
        Event::QueueInvalidated(it) => it.received_at,
        Event::LocationSolved(it) => it.received_at,
        Event::ServiceData(it) => it.received_at,
        _ => None,
    }
}

/// Returns what to notice about an event.
fn manner(event: &Event) -> Style {
    let is_failure = match event {
        Event::ConnectFailed(_)
        | Event::Disconnected(_)
        | Event::UplinkFailed(_)
        | Event::ActivationFailed(_)
        | Event::Malformed(_)
        | Event::PublishFailed(_)
        | Event::CallbackFailed(_)
        | Event::Lagged(_) => true,
        Event::Closed(it) => it.error.is_some(),
        Event::Downlink(it) => matches!(
            it.step,
            DownlinkStep::Failed | DownlinkStep::NotAcknowledged | DownlinkStep::Invalidated
        ),
        _ => false,
    };
    if is_failure {
        return Style::new().red();
    }
    match event {
        Event::Counter(_)
        | Event::DeviceSilent(_)
        | Event::KeyWarning(_)
        | Event::QueueInvalidated(_) => Style::new().yellow(),
        _ => Style::new(),
    }
}

/// Returns what happened, without the device.
pub(crate) fn text(event: &Event) -> String {
    match event {
        Event::Connected(it) => match &it.gap {
            Some(gap) => format!("connected again to {}: {}", it.address, away(gap)),
            None => format!("connected to {}", it.address),
        },
        Event::ConnectFailed(it) => format!(
            "not connected: {}{}",
            options::named(&it.error.to_string()),
            next(it.retry_in)
        ),
        Event::Disconnected(it) => disconnected(it),
        Event::Closed(it) => match &it.error {
            Some(error) => format!("closed: {}", options::named(&error.to_string())),
            None => "closed".to_owned(),
        },
        Event::Uplink(it) => Lines::new(false).uplink(it).join("  "),
        Event::UplinkNormalized(it) => {
            let measured: Vec<_> = it.normalized_payload.iter().map(fields).collect();
            format!("#{}  normalized  {}", it.counter, measured.join("  "))
        }
        Event::UplinkField(it) => format!("field  {}={}", it.field, it.value),
        Event::UplinkFailed(it) => format!("the network could not process an uplink: {}", it.error),
        Event::Activation(it) => format!("joined  DevAddr {}", or_none(&it.dev_addr)),
        Event::ActivationFailed(it) => format!("the network refused a join: {}", it.error),
        Event::Device(it) => changed(it),
        Event::Downlink(it) => downlink(it),
        Event::QueueInvalidated(it) => format!(
            "the network discarded the queue, with {}",
            counted(it.downlinks.len() as u64, "downlink")
        ),
        Event::LocationSolved(it) => {
            let place = it.location.as_ref().map_or("none".to_owned(), location);
            format!("location {place} by {}", or_none(&it.service))
        }
        Event::ServiceData(it) => format!("data of {}  {}", or_none(&it.service), fields(&it.data)),
        // They may contain keys.
        Event::Other(it) => format!("{}  {} bytes", it.topic(), it.payload().len()),
        Event::Malformed(it) => format!(
            "{} on {} ({} bytes)",
            it.error,
            it.raw.topic(),
            it.raw.payload().len()
        ),
        Event::Published(id) => format!("downlink {id} is written"),
        Event::PublishFailed(it) => {
            format!("downlink {} is not written: {}", it.message_id, it.error)
        }
        Event::Counter(it) => counter(it),
        Event::DeviceSilent(it) => format!(
            "silent for {}; it usually sends every {}",
            seconds(it.silent_for),
            seconds(it.usual_interval)
        ),
        Event::DeviceBack(it) => match it.missing {
            Some(missing) => format!(
                "back after {}, with {} missing",
                seconds(it.silent_for),
                counted(u64::from(missing), "frame")
            ),
            None => format!("back after {}", seconds(it.silent_for)),
        },
        Event::Backfilled(it) => options::named(&it.to_string()).replace('\n', "; "),
        Event::KeyWarning(it) => it.to_string(),
        Event::Lagged(events) => format!(
            "{} lost: this program did not keep up",
            counted(*events, "event")
        ),
        Event::CallbackFailed(it) => format!("the {} callback failed: {}", it.callback, it.message),
        // A later kind.
        other => match serde_json::to_string(other) {
            Ok(json) => json,
            Err(error) => format!("an event that cannot be written: {error}"),
        },
    }
}

fn away(gap: &Gap) -> String {
    format!(
        "it was away for {} ({})",
        seconds(gap.length.max(gap.silence)),
        gap.cause
    )
}

fn disconnected(lost: &Disconnected) -> String {
    format!(
        "disconnected: {} ({}){}",
        lost.error,
        lost.cause,
        next(lost.retry_in)
    )
}

fn next(retry_in: Option<Duration>) -> String {
    retry_in.map_or_else(String::new, |delay| {
        format!("; the next attempt is in {}", seconds(delay))
    })
}

/// Returns a duration as people say it: to a tenth of a second below 10 s, then to the second.
pub(crate) fn seconds(duration: Duration) -> String {
    if duration < Duration::from_secs(10) {
        return format!("{:.1} s", duration.as_secs_f64());
    }
    humantime::format_duration(Duration::from_secs(duration.as_secs())).to_string()
}

fn changed(device: &DeviceEvent) -> String {
    let change = match device.change {
        DeviceChange::Created => "created",
        DeviceChange::Updated => "updated",
        DeviceChange::Deleted => "deleted",
        _ => "changed",
    };
    match &device.location {
        Some(place) => format!("{change}  location {}", location(place)),
        None => change.to_owned(),
    }
}

fn location(place: &Location) -> String {
    format!("{}, {}", place.latitude, place.longitude)
}

fn downlink(report: &DownlinkEvent) -> String {
    let step = match report.step {
        DownlinkStep::Queued => "queued",
        DownlinkStep::Sent => "sent",
        DownlinkStep::Acknowledged => "acknowledged",
        DownlinkStep::NotAcknowledged => "not acknowledged",
        DownlinkStep::Failed => "failed",
        DownlinkStep::Invalidated => "invalidated",
        _ => "reported",
    };
    let mut parts = vec![format!("downlink {step}")];
    if let Some(counter) = report.counter {
        parts.push(format!("#{counter}"));
    }
    if report.port > 0 {
        parts.push(format!("FPort {}", report.port));
    }
    if !report.payload_raw.is_empty() {
        parts.push(
            report
                .payload_raw
                .iter()
                .map(|byte| format!("{byte:02X}"))
                .collect(),
        );
    }
    if !report.payload_fields.is_null() {
        parts.push(fields(&report.payload_fields));
    }
    if let Some(sent) = &report.transmission {
        parts.extend(
            [&sent.gateway_id, &sent.data_rate]
                .into_iter()
                .filter(|text| !text.is_empty())
                .cloned(),
        );
    }
    let text = parts.join("  ");
    match report.error.is_empty() {
        true => text,
        false => format!("{text}: {}", report.error),
    }
}

fn counter(report: &CounterReport) -> String {
    let (counter, previous) = (report.counter, report.previous);
    match report.finding {
        CounterFinding::Missing { frames, loss } => {
            let where_lost = match loss {
                FrameLoss::Away => "while this program was away",
                FrameLoss::DroppedHere => "dropped by this program",
                FrameLoss::Upstream => "lost before they came here",
                _ => "lost",
            };
            format!(
                "{} missing between #{previous} and #{counter}: {where_lost}",
                counted(u64::from(frames), "frame")
            )
        }
        CounterFinding::Late => format!("#{counter} was missing and has come late"),
        CounterFinding::Filled { .. } => format!("#{counter} was missing and is fetched"),
        CounterFinding::Repeated => format!("#{counter} came before"),
        CounterFinding::Reset => {
            format!("the counter starts again with #{counter} after #{previous}")
        }
        _ => format!("counter #{counter} after #{previous}"),
    }
}

/// Returns decoded fields in one line: `temperature=21.5 door={"open":true}`.
pub(crate) fn fields(value: &Value) -> String {
    let pairs = |members: &Map<String, Value>| -> Vec<String> {
        let pair = |(name, value): (&String, &Value)| format!("{name}={value}");
        members.iter().map(pair).collect()
    };
    match value {
        Value::Object(members) if !members.is_empty() => pairs(members).join(" "),
        other => other.to_string(),
    }
}

/// Returns the gateway that received an uplink best, among a number of gateways.
fn best(gateway: &Gateway, of: usize) -> String {
    let mut text = name(gateway).into_owned();
    if let Some(rssi) = gateway.rssi {
        text += &format!(" {rssi} dBm");
    }
    if let Some(snr) = gateway.snr {
        text += &format!(" {snr} dB");
    }
    if of > 1 {
        text += &format!(" (best of {of})");
    }
    text
}

/// Returns what to call a gateway.
pub(crate) fn name(gateway: &Gateway) -> Cow<'_, str> {
    match (gateway.gtw_id.as_str(), gateway.eui.as_str()) {
        ("", "") => Cow::Borrowed("a gateway without a name"),
        ("", eui) => Cow::Borrowed(eui),
        (id, _) => Cow::Borrowed(id),
    }
}

fn or_none(text: &str) -> &str {
    if text.is_empty() { "none" } else { text }
}

/// Returns a number of things: `no uplinks`, `1 uplink`, `2 uplinks`.
pub(crate) fn counted(number: u64, what: &str) -> String {
    match number {
        0 => format!("no {what}s"),
        1 => format!("1 {what}"),
        _ => format!("{number} {what}s"),
    }
}

#[cfg(test)]
mod tests {
    use ttn::Network;

    use super::*;

    const NOW: Duration = Duration::from_secs(1_795_960_800);

    fn decoded(network: Network, topic: &str, body: &str) -> Event {
        let topic = match network {
            Network::V3 => format!("v3/greenhouse@ttn/devices/{topic}"),
            _ => format!("greenhouse/devices/{topic}"),
        };
        Event::decode(network, &topic, body).expect("it can be read")
    }

    fn line(event: &Event) -> String {
        Lines::new(false).line(event, UNIX_EPOCH + NOW)
    }

    fn v3(topic: &str, body: &str) -> String {
        line(&decoded(Network::V3, topic, body))
    }

    const UPLINK: &str = r#"{"received_at":"2026-11-29T15:22:55.9Z","uplink_message":{"f_port":2,"f_cnt":42,
        "frm_payload":"AWc=","decoded_payload":{"temperature":21.5,"door":{"open":true}},
        "rx_metadata":[{"gateway_ids":{"gateway_id":"roof-west"},"rssi":-110,"snr":-3},
        {"gateway_ids":{"gateway_id":"roof-east"},"rssi":-87,"snr":9.5}],
        "settings":{"data_rate":{"lora":{"bandwidth":125000,"spreading_factor":7}}}}}"#;

    #[test]
    fn an_uplink_is_one_line_with_what_people_look_for() {
        assert_eq!(
            v3("bed-07/up", UPLINK),
            r#"2026-11-29T15:22:55Z  bed-07            #42      FPort 2    0167  door={"open":true} temperature=21.5  roof-east -87 dBm 9.5 dB (best of 2)  SF7BW125"#
        );
    }

    #[test]
    fn an_uplink_with_almost_nothing_gets_the_time_of_its_arrival() {
        let bare =
            r#"{"uplink_message":{"frm_payload":"","session_key_id":"AA=="},"simulated":true}"#;
        let text = v3("bed-07/up", bare);
        assert_eq!(
            text,
            "2026-11-29T14:00:00Z  bed-07            #0       FPort 0    no payload  simulated"
        );
        let retry = decoded(
            Network::V2,
            "bed-07/up",
            r#"{"port":1,"counter":7,"confirmed":true,"is_retry":true,"payload_raw":"AQ==","metadata":{"gateways":[{"gtw_id":"","rssi":-80}]}}"#,
        );
        let text = line(&retry);
        assert!(
            text.ends_with("#7       FPort 1    01  a gateway without a name -80 dBm  confirmed  repeated by the device"),
            "{text}"
        );
    }

    #[test]
    fn every_message_of_a_network_has_a_line() {
        let id = r#""end_device_ids":{"device_id":"bed-07","application_ids":{"application_id":"greenhouse"}}"#;
        let at = r#""received_at":"2026-11-29T15:22:55Z""#;
        for (topic, content, expected) in [
            ("bed-07/join", r#""join_accept":{}"#, "joined  DevAddr none"),
            (
                "bed-07/down/queued",
                r#""downlink_queued":{"f_port":15,"frm_payload":"vu8="}"#,
                "downlink queued  FPort 15  BEEF",
            ),
            (
                "bed-07/down/sent",
                r#""downlink_sent":{"f_port":15,"f_cnt":3,"frm_payload":"vu8="}"#,
                "downlink sent  #3  FPort 15  BEEF",
            ),
            (
                "bed-07/down/failed",
                r#""downlink_failed":{"downlink":{"f_port":15},"error":{"message_format":"queue is full"}}"#,
                "downlink failed  FPort 15: queue is full",
            ),
            (
                "bed-07/down/invalidated",
                r#""downlink_queue_invalidated":{"downlinks":[{"f_port":1}]}"#,
                "the network discarded the queue, with 1 downlink",
            ),
            (
                "bed-07/location/solved",
                r#""location_solved":{"service":"gls","location":{"latitude":51.5,"longitude":4.25}}"#,
                "location 51.5, 4.25 by gls",
            ),
            (
                "bed-07/service/data",
                r#""service_data":{"service":"mine","data":{"a":1}}"#,
                "data of mine  a=1",
            ),
        ] {
            let body = format!("{{{id},{at},{content}}}");
            let expected = format!("2026-11-29T15:22:55Z  bed-07            {expected}");
            assert_eq!(v3(topic, &body), expected);
        }
        for (topic, body, expected) in [
            ("bed-07/up/temperature", "21.5", "field  temperature=21.5"),
            (
                "bed-07/events/up/errors",
                r#"{"error":"no decoder"}"#,
                "the network could not process an uplink: no decoder",
            ),
            (
                "bed-07/events/activations/errors",
                r#"{"error":"wrong MIC"}"#,
                "the network refused a join: wrong MIC",
            ),
            ("bed-07/events/create", "{}", "created"),
            ("bed-07/events/delete", "{}", "deleted"),
        ] {
            let text = line(&decoded(Network::V2, topic, body));
            let expected = format!("2026-11-29T14:00:00Z  bed-07            {expected}");
            assert_eq!(text, expected);
        }
        let other = line(&decoded(
            Network::V2,
            "bed-07/events/new",
            r#"{"appSKey":"00"}"#,
        ));
        assert_eq!(
            other,
            "2026-11-29T14:00:00Z  greenhouse/devices/bed-07/events/new  16 bytes"
        );
    }

    #[test]
    fn events_that_only_a_running_client_has_are_lines_too() {
        assert_eq!(
            text(&Event::Lagged(1)),
            "1 event lost: this program did not keep up"
        );
        assert_eq!(seconds(Duration::from_millis(2_540)), "2.5 s");
        assert_eq!(seconds(Duration::from_millis(72_540)), "1m 12s");
        assert_eq!(counted(0, "uplink"), "no uplinks");
        assert_eq!(
            time(UNIX_EPOCH + Duration::from_secs(LAST + 1)),
            "9999-12-31T23:59:59Z"
        );
    }

    #[test]
    fn colours_are_there_only_if_wanted() {
        let event = decoded(Network::V3, "bed-07/up", UPLINK);
        let coloured = Lines::new(true).line(&event, UNIX_EPOCH);
        assert!(coloured.contains("\u{1b}["), "{coloured}");
        assert_eq!(console::strip_ansi_codes(&coloured), line(&event));
        assert!(!line(&event).contains('\u{1b}'));
    }

    #[test]
    fn nothing_from_outside_reaches_the_terminal_as_a_control_character() {
        let nasty = "\\u001b]0;owned\\u0007\\u009b2J\\r\\n\\u202e";
        let ids = format!(r#""end_device_ids":{{"device_id":"bed-07","dev_addr":"{nasty}"}}"#);
        let uplink = format!(
            r#"{{{ids},"uplink_message":{{"f_port":1,"frm_payload":"","decoded_payload":{{"{nasty}":"{nasty}"}},
            "rx_metadata":[{{"gateway_ids":{{"gateway_id":"{nasty}"}},"rssi":-1}}],
            "settings":{{"data_rate":{{"fsk":{{}}}},"coding_rate":"{nasty}"}}}}}}"#
        );
        let failed = format!(
            r#"{{{ids},"downlink_failed":{{"downlink":{{}},"error":{{"message_format":"{nasty}"}}}}}}"#
        );
        let data =
            format!(r#"{{{ids},"service_data":{{"service":"{nasty}","data":{{"a":"{nasty}"}}}}}}"#);
        for (topic, body) in [
            ("bed-07/up", &uplink),
            ("bed-07/down/failed", &failed),
            ("bed-07/service/data", &data),
        ] {
            let text = v3(topic, body);
            assert!(
                text.contains(r"\u{9b}") && text.contains(r"\u{202e}"),
                "{text}"
            );
            assert_eq!(escaped(&text), text);
        }
        let topic = "bed-\u{1b}[2J/up/\u{9b}field";
        let field = line(&decoded(Network::V2, topic, r#""\u009b""#));
        assert_eq!(escaped(&field), field);
    }
}
