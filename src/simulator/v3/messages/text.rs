//! Texts in messages: times, numbers, ids.

use std::time::{Duration, SystemTime};

use fastrand::Rng;
use serde_json::Value;

use crate::simulator::json;

/// Returns a unique text that sorts by time: 48 bits of milliseconds and 80 random bits.
pub(crate) fn ulid(at: SystemTime, random: &mut Rng) -> String {
    let since = at.duration_since(SystemTime::UNIX_EPOCH);
    let number = since.unwrap_or_default().as_millis() << 80 | random.u128(..1 << 80);
    let digit = |index: u32| {
        let digits = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
        char::from(digits[(number >> (5 * index)) as usize % 32])
    };
    (0..26).rev().map(digit).collect()
}

pub(crate) fn random_bytes<const N: usize>(random: &mut Rng) -> [u8; N] {
    let mut bytes = [0; N];
    random.fill(&mut bytes);
    bytes
}

/// Returns an object of the user as JSON text, with numbers as doubles.
pub(super) fn free(value: &Value) -> String {
    fn doubles(value: &Value) -> Value {
        match value {
            Value::Number(number) => number.as_f64().map_or(Value::Null, double),
            Value::Array(items) => items.iter().map(doubles).collect(),
            Value::Object(members) => {
                let members = members.iter();
                let member = |(key, member): (&String, &Value)| (key.clone(), doubles(member));
                Value::Object(members.map(member).collect())
            }
            _ => value.clone(),
        }
    }
    json::value(&doubles(value))
}

/// Returns a number, as an integer if possible.
pub(crate) fn double(number: f64) -> Value {
    let is_negative_zero = number == 0.0 && number.is_sign_negative();
    if number.fract() == 0.0 && number.abs() < 9e15 && !is_negative_zero {
        return (number as i64).into();
    }
    number.into()
}

pub(super) fn strings(texts: &[String]) -> impl Iterator<Item = String> {
    texts.iter().map(|text| json::string(text))
}

/// Returns a time by RFC 3339 in UTC with a fraction of 0, 3, 6 or 9 digits, in quotes, limited to the
/// years 1970 to 9999.
pub(crate) fn time(time: SystemTime) -> String {
    let longest = Duration::new(253_402_300_799, 999_999_999);
    let since = time
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
        .min(longest);
    let whole = SystemTime::UNIX_EPOCH + Duration::from_secs(since.as_secs());
    let whole = humantime::format_rfc3339_seconds(whole).to_string();
    let seconds = whole.trim_end_matches('Z');
    json::string(&format!("{seconds}{}Z", fraction(since)))
}

/// Returns seconds with a fraction of 0, 3, 6 or 9 digits.
pub(super) fn duration(duration: Duration) -> String {
    format!("{}{}s", duration.as_secs(), fraction(duration))
}

fn fraction(duration: Duration) -> String {
    let nanos = format!(".{:09}", duration.subsec_nanos());
    let shortened = nanos.trim_end_matches("000");
    shortened.trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fractions_have_0_3_6_or_9_digits() {
        let at = |seconds, nanos| time(SystemTime::UNIX_EPOCH + Duration::new(seconds, nanos));
        for (nanos, text) in [
            (0, "2025-05-14T08:21:37Z"),
            (500_000_000, "2025-05-14T08:21:37.500Z"),
            (1_500_000, "2025-05-14T08:21:37.001500Z"),
            (281_664_050, "2025-05-14T08:21:37.281664050Z"),
        ] {
            assert_eq!(at(1_747_210_897, nanos), format!("\"{text}\""));
        }
        assert_eq!(at(u64::MAX >> 2, 0), "\"9999-12-31T23:59:59.999999999Z\"");
        let before = SystemTime::UNIX_EPOCH - Duration::from_secs(1);
        assert_eq!(time(before), "\"1970-01-01T00:00:00Z\"");
        assert_eq!(duration(Duration::from_micros(51_400)), "0.051400s");
        assert_eq!(duration(Duration::from_secs(2)), "2s");
    }

    #[test]
    fn ulids_sort_by_time() {
        let mut random = Rng::with_seed(1);
        let at = |millis| SystemTime::UNIX_EPOCH + Duration::from_millis(millis);
        let early = ulid(at(1_747_210_897_000), &mut random);
        assert_eq!(&early[..10], "01JV6Y51K8");
        assert!(early < ulid(at(1_747_210_897_001), &mut random));
    }
}
