//! Times and durations as users write them.

use std::time::{Duration, SystemTime};

/// Reads a duration such as `90s`, `2h` or `1d 12h`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text)
        .map_err(|error| format!("{error}; write it as 90s, 5m, 2h or 1d"))
}

/// Reads a time: how long ago it was, such as `2h`, or RFC 3339 such as `2026-03-01T12:00:00Z`.
pub(crate) fn time(text: &str) -> Result<SystemTime, String> {
    if let Ok(ago) = humantime::parse_duration(text) {
        return SystemTime::now()
            .checked_sub(ago)
            .ok_or_else(|| format!("{text} ago is before all times"));
    }
    humantime::parse_rfc3339_weak(text).map_err(|error| {
        format!("{error}; write how long ago it was, such as 2h, or 2026-03-01T12:00:00Z")
    })
}
