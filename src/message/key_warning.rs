//! A warning about the access key.

use std::{
    fmt,
    time::{Duration, SystemTime},
};

use serde::Serialize;

use super::Rights;

/// How long before its end a key is said to expire.
pub(crate) const NOTICE: Duration = Duration::from_secs(14 * 24 * 60 * 60);

const DAY: u64 = 24 * 60 * 60;

/// The content of [`Event::KeyWarning`](crate::Event::KeyWarning). [`Display`](fmt::Display) writes the
/// message.
///
/// ```
/// fn report(warning: &ttn::KeyWarning) -> String {
///     match warning.concern {
///         ttn::KeyConcern::MayNotRead => "nothing will arrive".to_owned(),
///         _ => warning.to_string(),
///     }
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct KeyWarning {
    /// What the warning is about.
    pub concern: KeyConcern,
    /// The key, and what it allows.
    pub rights: Rights,
    /// What is wrong, and what to do.
    pub message: String,
}

/// What a [`KeyWarning`] is about.
///
/// Later versions may add kinds; match with a `_` arm.
///
/// ```
/// assert_ne!(ttn::KeyConcern::MayNotRead, ttn::KeyConcern::ExpiresSoon);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum KeyConcern {
    /// The key may not read traffic: the client is connected, and no message will arrive.
    MayNotRead,
    /// The key expires within 14 days.
    ExpiresSoon,
}

impl KeyWarning {
    pub(crate) fn may_not_read(rights: &Rights, app_id: &str) -> Self {
        Self {
            concern: KeyConcern::MayNotRead,
            message: format!(
                "{} may not read the traffic of the application {app_id:?}, so no message will arrive; give it the right \
                 to read application traffic (RIGHT_APPLICATION_TRAFFIC_READ) and connect again: changed rights take \
                 effect with the next connection",
                rights.key()
            ),
            rights: rights.clone(),
        }
    }

    /// Makes the warning about a key that expires soon; `None` if there is more time.
    pub(crate) fn expires_soon(rights: &Rights, now: SystemTime) -> Option<Self> {
        let end = rights.expires_at?;
        let left = end.duration_since(now).unwrap_or_default();
        if left > NOTICE {
            return None;
        }
        let left = match left.as_secs() / DAY {
            0 => "less than a day".to_owned(),
            1 => "a day".to_owned(),
            days => format!("{days} days"),
        };
        Some(Self {
            concern: KeyConcern::ExpiresSoon,
            message: format!(
                "{} expires at {}, in {left}; after that, the network refuses it when the client connects: create \
                 another key in time",
                rights.key(),
                humantime::format_rfc3339_seconds(end)
            ),
            rights: rights.clone(),
        })
    }
}

impl fmt::Display for KeyWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_said_to_expire_from_two_weeks_before_its_end() {
        let end = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000 * DAY);
        let mut rights = Rights::new(vec![]);
        rights.key_name = "field laptop".to_owned();
        assert_eq!(KeyWarning::expires_soon(&rights, end), None);
        rights.expires_at = Some(end);
        let second = Duration::from_secs(1);
        for (before, words) in [
            (NOTICE, Some("in 14 days;")),
            (Duration::from_secs(DAY), Some("in a day;")),
            (second, Some("in less than a day;")),
            (NOTICE + second, None),
        ] {
            let warning = KeyWarning::expires_soon(&rights, end - before);
            assert_eq!(warning.is_some(), words.is_some(), "{before:?}");
            let Some(text) = warning.map(|warning| warning.to_string()) else {
                continue;
            };
            assert!(text.contains(words.unwrap()), "{text}");
            assert!(
                text.starts_with("the API key \"field laptop\" expires at 1972-09-27T00:00:00Z"),
                "{text}"
            );
        }
        assert!(KeyWarning::expires_soon(&rights, end + second).is_some());
    }
}
