//! Times as V2 prints them.

use std::time::{Duration, SystemTime};

/// Returns a time by RFC 3339, that many minutes east of UTC.
pub(super) fn local_time(at: SystemTime, offset: i16) -> String {
    if offset == 0 {
        return time(at);
    }
    let minutes = offset.unsigned_abs();
    let shift = Duration::from_secs(60 * u64::from(minutes));
    let (sign, local) = match offset {
        1.. => ('+', at + shift),
        _ => ('-', at - shift),
    };
    let local = time(local);
    let local = local.trim_end_matches('Z');
    format!("{local}{sign}{:02}:{:02}", minutes / 60, minutes % 60)
}

/// Returns the time to the microsecond, as gateways report it.
pub(super) fn whole_micros(time: SystemTime) -> SystemTime {
    let since = time
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    SystemTime::UNIX_EPOCH + Duration::from_micros(since.as_micros() as u64)
}

/// Returns a time by RFC 3339 in UTC without trailing zeros of the fraction, limited to the years 1970
/// to 9999.
pub(super) fn time(time: SystemTime) -> String {
    let longest = Duration::from_secs(253_402_300_799);
    let since = time
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let time = SystemTime::UNIX_EPOCH + since.min(longest);
    let text = humantime::format_rfc3339_nanos(time).to_string();
    let digits = text
        .trim_end_matches('Z')
        .trim_end_matches('0')
        .trim_end_matches('.');
    format!("{digits}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_lose_trailing_zeros_and_nothing_else() {
        let at = |seconds, nanos| time(SystemTime::UNIX_EPOCH + Duration::new(seconds, nanos));
        assert_eq!(
            at(1_520_581_282, 518_304_771),
            "2018-03-09T07:41:22.518304771Z"
        );
        assert_eq!(at(1_520_581_282, 500_000_000), "2018-03-09T07:41:22.5Z");
        assert_eq!(at(1_520_581_200, 0), "2018-03-09T07:40:00Z");
        assert_eq!(
            time(SystemTime::UNIX_EPOCH - Duration::from_secs(1)),
            "1970-01-01T00:00:00Z"
        );
    }

    #[test]
    fn a_local_time_has_its_distance_to_utc() {
        let at = SystemTime::UNIX_EPOCH + Duration::from_millis(1_520_581_282_500);
        assert_eq!(local_time(at, 0), "2018-03-09T07:41:22.5Z");
        assert_eq!(local_time(at, 330), "2018-03-09T13:11:22.5+05:30");
        assert_eq!(local_time(at, -210), "2018-03-09T04:11:22.5-03:30");
    }
}
