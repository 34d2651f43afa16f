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

/// Reads a time that has passed.
pub(crate) fn past(text: &str) -> Result<SystemTime, String> {
    let time = time(text)?;
    match time <= SystemTime::now() {
        true => Ok(time),
        false => Err("it is in the future".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    #[test]
    fn durations_are_numbers_with_units() {
        assert_eq!(duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("1d 12h"), Ok(Duration::from_secs(36 * 3_600)));
        for text in ["", "2", "soon", "-2h"] {
            let error = duration(text).unwrap_err();
            assert!(error.contains("write it as 90s"), "{error}");
        }
    }

    #[test]
    fn times_are_moments_or_how_long_ago_they_were() {
        let seconds = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        assert_eq!(time("2026-11-29T14:00:00Z"), Ok(seconds(1_795_960_800)));
        assert_eq!(time("2026-11-29 14:00:00"), Ok(seconds(1_795_960_800)));
        let ago = time("2h").unwrap().elapsed().unwrap();
        assert!(ago >= Duration::from_secs(7_200) && ago < Duration::from_secs(7_260));
        for text in ["yesterday", "14:00", "2026-13-01T00:00:00Z"] {
            let error = time(text).unwrap_err();
            assert!(error.contains("such as 2h"), "{error}");
        }
        assert_eq!(past("2026-01-01T00:00:00Z"), Ok(seconds(1_767_225_600)));
        assert_eq!(
            past("9000-01-01T00:00:00Z"),
            Err("it is in the future".to_owned())
        );
    }
}
