//! What is printed: the addresses, and what clients and devices do.

use std::{
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use ttn::{
    Network,
    serde_json::{Value, json},
    simulator::{Activity, Received, Simulator},
};

use super::printer::{Line, Object};

/// The longest payload that is printed whole for people.
const LONGEST: usize = 500;

/// That the network has started, with what clients need.
pub(super) struct Started<'a> {
    pub(super) network: Network,
    pub(super) simulator: &'a Simulator,
    /// Whether the user has chosen the key, which is not printed then.
    pub(super) is_own_key: bool,
    /// The file with the certificate.
    pub(super) authority: Option<&'a Path>,
    pub(super) devices: &'a [String],
}

impl Started<'_> {
    fn mqtt_address(&self) -> String {
        let address = self.simulator.mqtt_address();
        match address.contains("://") {
            true => address,
            false => format!("mqtt://{address}"),
        }
    }

    fn http_address(&self) -> Option<String> {
        (self.network == Network::V3).then(|| self.simulator.http_address())
    }

    fn key(&self) -> Option<&str> {
        (!self.is_own_key).then(|| self.simulator.access_key())
    }

    fn is_secured(&self) -> bool {
        self.mqtt_address().starts_with("mqtts://")
    }

    /// Returns the file with the certificate, as other programs find it.
    fn authority(&self) -> Option<String> {
        let file = self.authority?;
        let file = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
        Some(file.display().to_string())
    }

    /// Returns the start of a command of Mosquitto.
    fn mosquitto(&self, program: &str) -> String {
        let address = self.mqtt_address();
        let address = address.rsplit("//").next().unwrap_or_default();
        let (host, port) = address.rsplit_once(':').unwrap_or((address, "1883"));
        let host = host.trim_matches(['[', ']']);
        let key = self.key().map_or("\"$TTN_ACCESS_KEY\"", |key| key);
        let app = self.simulator.app_id();
        let secured = match (self.is_secured(), self.authority()) {
            (false, _) => String::new(),
            (true, Some(file)) => format!(" --cafile {}", quoted(&file)),
            (true, None) => String::from(" --cafile FILE"),
        };
        format!("{program} -h {host} -p {port}{secured} -u {app} -P {key}")
    }
}

impl Line for Started<'_> {
    fn text(&self) -> Vec<String> {
        let (mqtt, http) = (self.mqtt_address(), self.http_address());
        let name = network_name(self.network);
        let app = self.simulator.app_id();
        let mut lines = vec![match &http {
            Some(http) => format!("{name} network at {mqtt} and {http}, application {app}"),
            None => format!("{name} network at {mqtt}, application {app}"),
        }];
        let mut export =
            |name: &str, value: &str| lines.push(format!("export {name}={}", quoted(value)));
        export("TTN_APP_ID", app);
        if let Some(key) = self.key() {
            export("TTN_ACCESS_KEY", key);
        }
        export("TTN_MQTT_ADDRESS", &mqtt);
        if let Some(http) = &http {
            export("TTN_HTTP_ADDRESS", http);
        }
        if let Some(file) = self.authority() {
            export("TTN_CA_FILE", &file);
        }
        lines.push(format!("{} -t '#' -v", self.mosquitto("mosquitto_sub")));
        let device = self.devices.first().map_or("pump-1", String::as_str);
        let (topic, message) = match self.network {
            Network::V2 => (
                format!("{app}/devices/{device}/down"),
                r#"{"port":1,"payload_raw":"AQ=="}"#,
            ),
            _ => (
                format!("v3/{app}/devices/{device}/down/push"),
                r#"{"downlinks":[{"f_port":1,"frm_payload":"AQ=="}]}"#,
            ),
        };
        lines.push(format!(
            "{} -t {topic} -m '{message}'",
            self.mosquitto("mosquitto_pub")
        ));
        lines
    }

    fn json(&self) -> Object {
        let members = json!({
            "network": network_name(self.network).to_lowercase(),
            "mqtt_address": self.mqtt_address(),
            "mqtt_port": self.simulator.address().port(),
            "http_address": self.http_address(),
            "tls": self.is_secured(),
            "ca_file": self.authority(),
            "app_id": self.simulator.app_id(),
            "access_key": self.key(),
            "devices": self.devices,
        });
        Object::new("started", None, members)
    }
}

fn network_name(network: Network) -> &'static str {
    match network {
        Network::V2 => "V2",
        _ => "v3",
    }
}

/// Returns a word as a shell reads it.
fn quoted(text: &str) -> String {
    let is_plain =
        |character: char| character.is_ascii_alphanumeric() || "@.:/_-[]".contains(character);
    match text.chars().all(is_plain) {
        true => text.to_owned(),
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}

/// Something that has happened, in both forms.
pub(super) struct Happened {
    /// A word for it, such as `connected`.
    what: &'static str,
    at: SystemTime,
    text: String,
    members: Value,
}

impl Happened {
    pub(super) fn new(what: &'static str, text: impl Into<String>, members: Value) -> Self {
        Self {
            what,
            at: SystemTime::now(),
            text: text.into(),
            members,
        }
    }
}

impl Line for Happened {
    fn text(&self) -> Vec<String> {
        vec![format!(
            "{} {:<12} {}",
            clock(self.at),
            self.what,
            self.text
        )]
    }

    fn json(&self) -> Object {
        Object::new(self.what, Some(self.at), self.members.clone())
    }
}

/// Returns the time of day, in UTC.
fn clock(at: SystemTime) -> String {
    let seconds = at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() % 86_400;
    format!(
        "{:02}:{:02}:{:02}Z",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60
    )
}

impl Line for Activity {
    fn text(&self) -> Vec<String> {
        happened(self).text()
    }

    fn json(&self) -> Object {
        happened(self).json()
    }
}

fn happened(activity: &Activity) -> Happened {
    let client = |connection: &u64, client_id: &str| match client_id {
        "" => format!("#{connection}"),
        client_id => format!("#{connection} {client_id}"),
    };
    match activity {
        Activity::Connected {
            connection,
            client: info,
        } => {
            let keep_alive = info.keep_alive.as_secs();
            Happened::new(
                "connected",
                format!(
                    "{} as {}, keep-alive {keep_alive} s",
                    client(connection, &info.client_id),
                    info.username
                ),
                json!({
                    "connection": connection,
                    "client_id": info.client_id,
                    "username": info.username,
                    "keep_alive": keep_alive,
                    "clean_session": info.clean_session,
                }),
            )
        }
        Activity::Refused {
            connection,
            client_id,
            username,
            code,
        } => {
            let cause = match code {
                1 => "unsupported protocol version",
                3 => "server unavailable",
                4 | 5 => "wrong application id or key",
                _ => "refused",
            };
            Happened::new(
                "refused",
                format!(
                    "{} as {username}: code {code}, {cause}",
                    client(connection, client_id)
                ),
                json!({"connection": connection, "client_id": client_id, "username": username, "code": code}),
            )
        }
        Activity::Failed { connection, cause } => Happened::new(
            "failed",
            format!("#{connection}: {cause}"),
            json!({"connection": connection, "cause": cause.to_string()}),
        ),
        Activity::Subscribed {
            connection,
            client_id,
            granted,
            refused,
        } => {
            let mut text = format!("{}: {}", client(connection, client_id), granted.join(" "));
            if !refused.is_empty() {
                text = format!("{} (refused: {})", text.trim_end(), refused.join(" "));
            }
            Happened::new(
                "subscribed",
                text,
                json!({"connection": connection, "client_id": client_id, "granted": granted, "refused": refused}),
            )
        }
        Activity::Unsubscribed {
            connection,
            client_id,
            filters,
        } => Happened::new(
            "unsubscribed",
            format!("{}: {}", client(connection, client_id), filters.join(" ")),
            json!({"connection": connection, "client_id": client_id, "filters": filters}),
        ),
        Activity::Published {
            connection,
            client_id,
            topic,
            payload,
            qos,
            accepted,
        } => {
            let payload = String::from_utf8_lossy(payload);
            let ignored = if *accepted { "" } else { " (ignored)" };
            Happened::new(
                "published",
                format!(
                    "{}: {topic}{ignored} {}",
                    client(connection, client_id),
                    shortened(&payload)
                ),
                json!({
                    "connection": connection,
                    "client_id": client_id,
                    "topic": topic,
                    "payload": payload,
                    "qos": qos,
                    "accepted": accepted,
                }),
            )
        }
        Activity::Disconnected {
            connection,
            client_id,
            cause,
        } => Happened::new(
            "disconnected",
            format!("{}: {cause}", client(connection, client_id)),
            json!({"connection": connection, "client_id": client_id, "cause": cause.to_string()}),
        ),
        Activity::Requested(request) => Happened::new(
            "requested",
            format!(
                "{} {}{}",
                request.method,
                request.path,
                if request.has_key {
                    ""
                } else {
                    " without a key"
                }
            ),
            json!({"method": request.method, "path": request.path, "has_key": request.has_key, "body": request.body}),
        ),
        Activity::Received {
            dev_id, downlink, ..
        } => Happened::new(
            "received",
            received(dev_id, downlink),
            json!({
                "device": dev_id,
                "port": downlink.port,
                "payload": hex::encode(&downlink.payload),
                "confirmed": downlink.confirmed,
                "counter": downlink.counter,
            }),
        ),
        Activity::Lagged(count) => Happened::new(
            "lagged",
            format!("{count} events are missing here: too many at once"),
            json!({"missing": count}),
        ),
        other => Happened::new("other", format!("{other:?}"), json!({})),
    }
}

/// Says what a device has received.
pub(super) fn received(dev_id: &str, downlink: &Received) -> String {
    let payload = hex::encode(&downlink.payload);
    let confirmed = if downlink.confirmed {
        ", confirmed"
    } else {
        ""
    };
    let (port, counter) = (downlink.port, downlink.counter);
    format!(
        "{dev_id}: {} on FPort {port}, counter {counter}{confirmed}",
        shown(&payload)
    )
}

/// Returns hex digits, or a word for none.
pub(super) fn shown(payload: &str) -> &str {
    if payload.is_empty() {
        "no payload"
    } else {
        payload
    }
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(LONGEST) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}… ({} bytes)", &text[..end], text.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_for_a_shell() {
        assert_eq!(quoted("simulated-app@ttn"), "simulated-app@ttn");
        assert_eq!(quoted("mqtts://[::1]:8883"), "mqtts://[::1]:8883");
        assert_eq!(quoted("it's $HOME"), r"'it'\''s $HOME'");
        assert_eq!(quoted("/tmp/my ca.pem"), "'/tmp/my ca.pem'");
    }

    #[test]
    fn a_long_payload_is_shortened_for_people_only() {
        let payload = "ü".repeat(600);
        let published = Activity::Published {
            connection: 1,
            client_id: String::from("c"),
            topic: String::from("t"),
            payload: payload.clone().into(),
            qos: 0,
            accepted: false,
        };
        assert_eq!(published.json().members["payload"], payload);
        let text = published.text().concat();
        assert!(text.ends_with("… (1200 bytes)"), "{text}");
        assert!(text.contains("#1 c: t (ignored) ü"), "{text}");
    }

    #[test]
    fn the_time_of_day_has_leading_zeros() {
        let at = UNIX_EPOCH + std::time::Duration::from_secs(86_400 + 3600 + 62);
        assert_eq!(clock(at), "01:01:02Z");
    }
}
