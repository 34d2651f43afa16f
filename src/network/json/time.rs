//! Times in the form of RFC 3339.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The end of the year 9999, in seconds since 1970.
const LATEST: i64 = 253_402_300_799;

/// Reads a time with any offset. Returns `None` for other text, and for a time before 1970 or after 9999, which
/// no text can say.
pub(super) fn parse(text: &str) -> Option<SystemTime> {
    let (date_time, rest) = text.as_bytes().split_first_chunk::<19>()?;
    let local = seconds(date_time)?;
    let (nanoseconds, offset) = match rest {
        [b'.', rest @ ..] => fraction(rest)?,
        _ => (0, rest),
    };
    let seconds = match offset {
        b"Z" => local,
        _ => local - offset_seconds(offset)?,
    };
    if seconds > LATEST {
        return None;
    }
    Some(UNIX_EPOCH + Duration::new(seconds.try_into().ok()?, nanoseconds))
}

/// Reads `2006-01-02T15:04:05`, and returns the seconds since 1970 began at the same place.
fn seconds(text: &[u8; 19]) -> Option<i64> {
    let date = Digits::new(text.first_chunk()?, b"0000-00-");
    let day_and_time = Digits::new(text[8..].first_chunk()?, b"00T00:00");
    let time = Digits::new(text.last_chunk()?, b"00:00:00");
    let (year, month) = (date.pair(0) * 100 + date.pair(2), date.pair(5));
    let day = day_and_time.pair(0);
    let (hour, minute, second) = (time.pair(0), time.pair(3), time.pair(6));
    let is_valid = date.is_valid
        & day_and_time.is_valid
        & time.is_valid
        & (hour < 24)
        & (minute < 60)
        & (second <= 60);
    // No offset leads from an earlier year to 1970.
    if !is_valid || year < 1969 || !(1..=days_in(year, month)).contains(&day) {
        return None;
    }
    // A leap second has the number of the second before it.
    let of_day = (hour * 60 + minute) * 60 + second.min(59);
    Some(days_since_1970(year, month, day) * 86_400 + i64::from(of_day))
}

/// Eight characters: digits, and others at known places. They are read together, which takes a third of
/// the instructions of reading one after the other.
struct Digits {
    is_valid: bool,
    /// In each byte the value of this and the next digit.
    pairs: u64,
}

impl Digits {
    /// `form` has `0` where a digit may be.
    fn new(text: &[u8; 8], form: &[u8; 8]) -> Self {
        const ONES: u64 = 0x0101_0101_0101_0101;
        let digits = form.map(|byte| if byte == b'0' { 0 } else { 0xff });
        let others = u64::from_le_bytes(digits);
        // The value of each digit, and 0 for the others.
        let values = u64::from_le_bytes(*text) ^ u64::from_le_bytes(*form);
        // A value above 9 gets the highest bit.
        let above_9 = (values | values.wrapping_add(ONES * 0x76)) & (ONES * 0x80);
        Self {
            is_valid: above_9 | (values & others) == 0,
            pairs: values.wrapping_mul(10).wrapping_add(values >> 8),
        }
    }

    /// Returns the number at a place.
    fn pair(&self, at: usize) -> u32 {
        (self.pairs >> (8 * at) & 0xff) as u32
    }

    fn number(&self) -> Option<u32> {
        let number = [0, 2, 4, 6].map(|at| self.pair(at));
        let [first, second, third, fourth] = number;
        self.is_valid
            .then_some(((first * 100 + second) * 100 + third) * 100 + fourth)
    }
}

/// Returns 0 for a month that does not exist.
fn days_in(year: u32, month: u32) -> u32 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        1..=12 => 31,
        _ => 0,
    }
}

/// Counts in years that begin in March, so that the leap day is the last one.
fn days_since_1970(year: u32, month: u32, day: u32) -> i64 {
    const DAYS_UNTIL_1970: i64 = 719_468;
    let (year, month) = match month {
        1 | 2 => (year - 1, month + 9),
        _ => (year, month - 3),
    };
    let leap_days = year / 4 - year / 100 + year / 400;
    let days_before_month = (153 * month + 2) / 5;
    i64::from(365 * year + leap_days + days_before_month + day - 1) - DAYS_UNTIL_1970
}

/// Reads digits after the point. Returns nanoseconds, without what is beyond them, and the rest.
pub(in crate::network) fn fraction(text: &[u8]) -> Option<(u32, &[u8])> {
    const UNITS: [u32; 10] = [
        1_000_000_000,
        100_000_000,
        10_000_000,
        1_000_000,
        100_000,
        10_000,
        1_000,
        100,
        10,
        1,
    ];
    let first_eight = text
        .first_chunk()
        .and_then(|first| Digits::new(first, b"00000000").number());
    let others = text.get(8..).unwrap_or_default();
    if let (Some(number), [ninth @ b'0'..=b'9', rest @ ..]) = (first_eight, others) {
        let beyond = rest.iter().take_while(|byte| byte.is_ascii_digit());
        let rest = &rest[beyond.count()..];
        return Some((number * 10 + u32::from(ninth - b'0'), rest));
    }
    let (mut number, mut digits) = (0, 0);
    while digits < 9 && text.get(digits).is_some_and(u8::is_ascii_digit) {
        number = number * 10 + u32::from(text[digits] - b'0');
        digits += 1;
    }
    (digits > 0).then(|| (number * UNITS[digits], &text[digits..]))
}

/// Reads an offset such as `+05:30`.
#[cold]
fn offset_seconds(text: &[u8]) -> Option<i64> {
    let [sign, h, hh, b':', m, mm] = text else {
        return None;
    };
    let (hours, minutes) = (two_digits(*h, *hh)?, two_digits(*m, *mm)?);
    if hours > 23 || minutes > 59 {
        return None;
    }
    let seconds = (hours * 60 + minutes) * 60;
    match sign {
        b'+' => Some(seconds),
        b'-' => Some(-seconds),
        _ => None,
    }
}

fn two_digits(tens: u8, ones: u8) -> Option<i64> {
    let (tens, ones) = (tens.wrapping_sub(b'0'), ones.wrapping_sub(b'0'));
    (tens < 10 && ones < 10).then(|| i64::from(tens * 10 + ones))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seeds::for_seeds;

    fn since_1970(text: &str) -> Option<Duration> {
        parse(text).map(|time| time.duration_since(UNIX_EPOCH).unwrap())
    }

    #[test]
    fn a_time_may_have_an_offset_and_up_to_nine_digits() {
        let second = 1_520_581_282;
        for (text, nanoseconds) in [
            ("2018-03-09T07:41:22.518304771Z", 518_304_771),
            ("2018-03-09T07:41:22Z", 0),
            ("2018-03-09T09:41:22+02:00", 0),
            ("2018-03-09T02:11:22.5-05:30", 500_000_000),
            ("2018-03-10T07:40:22+23:59", 0),
        ] {
            let expected = Some(Duration::new(second, nanoseconds));
            assert_eq!(since_1970(text), expected, "{text}");
        }
    }

    #[test]
    fn any_time_is_read_as_humantime_writes_it() {
        for_seeds(20_000, |random| {
            let seconds = random.u64(..253_402_300_800);
            let time = UNIX_EPOCH + Duration::new(seconds, random.u32(..1_000_000_000));
            let text = humantime::format_rfc3339_nanos(time).to_string();
            assert_eq!(parse(&text), Some(time), "{text}");
        });
    }

    #[test]
    fn other_text_is_not_a_time() {
        for text in [
            "yesterday",
            "2018-13-01T00:00:00Z",
            "2018-00-01T00:00:00Z",
            "2018-02-29T00:00:00Z",
            "2100-02-29T00:00:00Z",
            "2018-03-32T00:00:00Z",
            "2018-03-09T24:00:00Z",
            "2018-03-09T07:60:00Z",
            "2018-03-09T07:41:61Z",
            "2018-03-09 07:41:22Z",
            "2018-03-09T07:41:22",
            "2018-03-09T07:41:22.Z",
            "2018-03-09T07:41:22ZZ",
            "2018-03-09T07:41:22+99:99",
            "2018-03-09T07:41:22+24:00",
            "2018-03-09T07:41:22-01:60",
            "2018-03-09T07:41:22++1:00",
            "2018-03-09T07:41:22+0100",
            "+01:00",
            "é+01:00",
            "ab€cd",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_time_after_the_year_9999_is_not_read() {
        assert!(parse("9999-12-31T23:59:59.9Z").is_some());
        assert!(parse("9999-12-31T23:59:59-00:01").is_none());
        assert!(parse("9999-12-31T12:00:00-23:59").is_none());
    }

    #[test]
    fn a_time_before_1970_is_not_read_in_any_spelling() {
        for text in [
            "1969-12-31T23:30:00Z",
            "1970-01-01T00:30:00+01:00",
            "1969-12-31T22:30:00-01:00",
            "0001-01-01T00:00:00+00:00",
            "0000-01-01T00:00:00Z",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
        let half_past = Some(Duration::from_secs(1_800));
        assert_eq!(since_1970("1970-01-01T00:30:00Z"), half_past);
        assert_eq!(since_1970("1969-12-31T23:30:00-01:00"), half_past);
        assert_eq!(
            since_1970("2000-02-29T00:00:00Z").unwrap().as_secs(),
            951_782_400
        );
    }
}
