//! What a diagnosis asks: whether this is the network at all, what it has stored, and what its devices
//! have done.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::{
    Api, Failure, Refusal,
    answer::{MAX_ANSWER, Object},
    hosts::Task,
};
use crate::http::Answer;

/// The most devices to list.
const MAX_DEVICES: usize = 1000;

/// What a server has answered to a question without a key.
#[derive(Debug)]
pub(crate) struct Contact {
    /// The server, as a URL.
    pub(crate) server: String,
    /// The server's clock, if it tells.
    pub(crate) date: Option<SystemTime>,
    /// Whether it is The Things Stack.
    pub(crate) answer: Result<bool, Failure>,
}

/// A device as the Identity Server lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) dev_id: String,
    pub(crate) last_seen_at: Option<SystemTime>,
    /// Empty if it is not set.
    pub(crate) application_server: String,
}

impl Api {
    /// Asks the Application Server for its configuration, without the key, and follows no redirect: who
    /// answers like The Things Stack may be shown the key.
    pub(crate) fn first_contact(&self) -> Contact {
        self.contact(Task::Application)
    }

    /// Asks the same of the Identity Server.
    pub(crate) fn contact_identity_server(&self) -> Contact {
        self.contact(Task::Identity)
    }

    /// Returns whether one server does everything.
    pub(crate) fn has_one_host(&self) -> bool {
        self.hosts.identity_server == self.hosts.application_server
    }

    fn contact(&self, task: Task) -> Contact {
        let server = self.hosts.of_task(task).to_owned();
        let url = format!("{server}/api/v3/as/configuration");
        let mut date = None;
        let answer = self.send(&url, None, None).and_then(|answer| {
            date = date_of(&answer);
            if answer.status != 200 {
                let refusal = Refusal::read(url, answer, &self.key);
                return match refusal.is_unserved() {
                    true => Ok(true),
                    false => Err(Failure::Refused(Box::new(refusal))),
                };
            }
            let mut object = self.read(answer, MAX_ANSWER)?;
            Ok(object.take_object("configuration")?.is_some())
        });
        Contact {
            server,
            date,
            answer,
        }
    }

    /// Asks how many uplinks of the last hour are stored, by device. Needs
    /// `RIGHT_APPLICATION_TRAFFIC_READ`; a refusal without details means that there is no storage.
    pub(crate) fn stored_uplinks(&self) -> Result<u64, Failure> {
        let hour_ago = SystemTime::now() - Duration::from_secs(3600);
        let path = self.of_application_server(&format!(
            "/packages/storage/uplink_message/count?after={}",
            humantime::format_rfc3339_seconds(hour_ago)
        ));
        let mut answer = self.get(Task::Application, &path)?;
        match answer.take_object("count")? {
            Some(count) => count.sum(),
            None => Ok(0),
        }
    }

    /// Asks whether the server keeps events for a while. Any right opens the stream.
    pub(crate) fn keeps_events(&self) -> Result<bool, Failure> {
        let url = format!("{}/api/v3/events", self.hosts.of_task(Task::Application));
        let body = serde_json::json!({
            "identifiers": [{"application_ids": {"application_id": self.application}}],
            "names": ["as.up.data.forward"],
            "tail": 1,
        });
        let answer = self.send(&url, Some(&self.key), Some(body.to_string().as_bytes()))?;
        match answer.status {
            // The stream goes on; it ends when it is dropped.
            200 => Ok(answer.header("x-warning").is_none()),
            _ => Err(Failure::Refused(Box::new(Refusal::read(
                url, answer, &self.key,
            )))),
        }
    }

    /// Lists devices, those seen last first. Needs `RIGHT_APPLICATION_DEVICES_READ`.
    pub(crate) fn devices(&self) -> Result<Vec<Listed>, Failure> {
        let path = self.of_application(&format!(
            "/devices?field_mask=last_seen_at,application_server_address&limit={MAX_DEVICES}&order=-last_seen_at"
        ));
        let mut answer = self.get_list(Task::Identity, &path)?;
        let devices = answer.take_objects("end_devices")?;
        let mut devices: Vec<Listed> = devices
            .into_iter()
            .map(Listed::take)
            .collect::<Result<_, _>>()?;
        devices.sort_by_key(|device| std::cmp::Reverse(device.last_seen_at));
        Ok(devices)
    }
}

impl Listed {
    fn take(mut device: Object<'_>) -> Result<Self, Failure> {
        let dev_id = match device.take_object("ids")? {
            Some(mut ids) => ids.take_text("device_id")?,
            None => String::new(),
        };
        Ok(Self {
            dev_id,
            last_seen_at: device.take_time("last_seen_at")?,
            application_server: device.take_text("application_server_address")?,
        })
    }
}

/// Returns the server's time when it answered, if it tells.
pub(super) fn date_of(answer: &Answer) -> Option<SystemTime> {
    http_date(&answer.header("date")?)
}

/// Reads the time of an HTTP header, `Sun, 06 Nov 1994 08:49:37 GMT`.
fn http_date(text: &str) -> Option<SystemTime> {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let (_, rest) = text.split_once(", ")?;
    let parts: Vec<&str> = rest.split(' ').collect();
    let [day, month, year, time, "GMT"] = parts[..] else {
        return None;
    };
    let month = MONTHS.iter().position(|name| *name == month)? + 1;
    let time = humantime::parse_rfc3339(&format!("{year}-{month:02}-{day}T{time}Z")).ok()?;
    (time > UNIX_EPOCH).then_some(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_date_of_a_server_is_read() {
        for (text, seconds) in [
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(784_111_777)),
            ("Sun, 29 Nov 2026 06:31:54 GMT", Some(1_795_933_914)),
            ("Sunday, 06-Nov-94 08:49:37 GMT", None),
            ("Sun, 06 Nov 1994 08:49:37 CET", None),
            ("", None),
        ] {
            let time = seconds.map(|seconds| UNIX_EPOCH + Duration::from_secs(seconds));
            assert_eq!(http_date(text), time, "{text}");
        }
    }
}
