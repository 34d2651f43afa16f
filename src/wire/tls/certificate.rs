//! What the verifier does not tell about a certificate: its names, dates and version.

use std::{
    fmt,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use crate::clock;

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const OBJECT_ID: u8 = 0x06;
const BMP_STRING: u8 = 0x1e;
const UTC_TIME: u8 = 0x17;
/// The version field of a certificate, which is optional.
const VERSION: u8 = 0xa0;

/// The end of the year 9999, the last moment that a certificate can name.
const LAST: u64 = 253_402_300_799;

/// The longest name in an error, in characters.
const MAX_NAME: usize = 200;

/// Parts of a DER certificate, not verified.
#[derive(Debug)]
pub(super) struct Certificate<'a> {
    pub(super) issuer: Name<'a>,
    pub(super) subject: Name<'a>,
    /// In seconds since 1970.
    pub(super) not_before: u64,
    /// In seconds since 1970.
    pub(super) not_after: u64,
    /// Version 1 has no extensions, and so no alternative names.
    pub(super) is_version_1: bool,
    /// The SubjectPublicKeyInfo with its tag.
    pub(super) public_key: &'a [u8],
}

impl<'a> Certificate<'a> {
    /// Parses a certificate; `None` if it is not one.
    pub(super) fn parse(der: &'a [u8]) -> Option<Self> {
        let certificate = Der(der).expect(SEQUENCE)?;
        let mut fields = Der(Der(certificate).expect(SEQUENCE)?);
        let is_version_1 = fields.0.first() != Some(&VERSION);
        if !is_version_1 {
            fields.next()?;
        }
        let _serial_number = fields.next()?;
        let _signature_algorithm = fields.next()?;
        let issuer = Name(fields.expect(SEQUENCE)?);
        let mut validity = Der(fields.expect(SEQUENCE)?);
        let (tag, time) = validity.next()?;
        let not_before = seconds(tag, time)?;
        let (tag, time) = validity.next()?;
        let not_after = seconds(tag, time)?;
        let subject = Name(fields.expect(SEQUENCE)?);
        let rest = fields.0;
        fields.expect(SEQUENCE)?;
        let public_key = &rest[..rest.len() - fields.0.len()];
        Some(Self {
            issuer,
            subject,
            not_before,
            not_after,
            is_version_1,
            public_key,
        })
    }

    pub(super) fn is_self_issued(&self) -> bool {
        self.issuer == self.subject
    }
}

/// A distinguished name, e.g. `O=Example, CN=Example CA`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Name<'a>(pub(super) &'a [u8]);

impl fmt::Debug for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        let mut sets = Der(self.0);
        while let Some(set) = sets.expect(SET) {
            let mut attributes = Der(set);
            while let Some(attribute) = attributes.expect(SEQUENCE) {
                let Some((key, value)) = attribute_of(attribute) else {
                    continue;
                };
                if !text.is_empty() {
                    text.push_str(", ");
                }
                text.push_str(key);
                text.push('=');
                // The peer chose the name: no line ends or control characters.
                text.extend(value.chars().filter(|c| !c.is_control()));
            }
        }
        match text.char_indices().nth(MAX_NAME) {
            _ if text.is_empty() => f.write_str("a name that cannot be printed"),
            Some((end, _)) => write!(f, "{}…", &text[..end]),
            None => f.write_str(&text),
        }
    }
}

fn attribute_of(attribute: &[u8]) -> Option<(&'static str, String)> {
    let mut fields = Der(attribute);
    let key = match fields.expect(OBJECT_ID)? {
        [0x55, 4, 3] => "CN",
        [0x55, 4, 6] => "C",
        [0x55, 4, 7] => "L",
        [0x55, 4, 8] => "ST",
        [0x55, 4, 10] => "O",
        [0x55, 4, 11] => "OU",
        _ => return None,
    };
    let (tag, value) = fields.next()?;
    let value = if tag == BMP_STRING {
        let units: Vec<u16> = value
            .chunks_exact(2)
            .map(|unit| u16::from_be_bytes([unit[0], unit[1]]))
            .collect();
        String::from_utf16_lossy(&units)
    } else {
        String::from_utf8_lossy(value).into_owned()
    };
    Some((key, value))
}

/// The rest of a sequence of DER values.
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (&tag, rest) = self.0.split_first()?;
        let (&first, mut rest) = rest.split_first()?;
        let mut length = usize::from(first);
        if first >= 0x80 {
            let count = usize::from(first & 0x7f);
            // No length in a certificate needs more than 3 bytes.
            let (bytes, after) = rest.split_at_checked(count).filter(|_| count <= 3)?;
            length = bytes
                .iter()
                .fold(0, |sum, byte| sum << 8 | usize::from(*byte));
            rest = after;
        }
        let (value, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((tag, value))
    }

    fn expect(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.next()
            .filter(|(found, _)| *found == tag)
            .map(|(_, value)| value)
    }
}

/// Converts `YYMMDDhhmmssZ` or `YYYYMMDDhhmmssZ` to seconds since 1970; earlier times are 0.
fn seconds(tag: u8, text: &[u8]) -> Option<u64> {
    let digits = text.strip_suffix(b"Z")?;
    let number = |from: usize, to: usize| -> Option<i64> {
        let digits = digits.get(from..to)?;
        digits.iter().all(u8::is_ascii_digit).then_some(())?;
        std::str::from_utf8(digits).ok()?.parse().ok()
    };
    let (year, rest) = match (tag, digits.len()) {
        (UTC_TIME, 12) => match number(0, 2)? {
            year @ 0..50 => (2000 + year, 2),
            year => (1900 + year, 2),
        },
        (_, 14) => (number(0, 4)?, 4),
        _ => return None,
    };
    let field = |index: usize| number(rest + 2 * index, rest + 2 * index + 2);
    let (month, day) = (field(0)?, field(1)?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    // Counts days in years that start in March, so that the leap day is the last.
    let year = if month > 2 { year } else { year - 1 };
    let days_of_months = (153 * ((month + 9) % 12) + 2) / 5;
    let days = 365 * year + year / 4 - year / 100 + year / 400 + days_of_months + day - 1 - 719_468;
    let seconds = ((days * 24 + field(2)?) * 60 + field(3)?) * 60 + field(4)?;
    Some(u64::try_from(seconds).unwrap_or(0))
}

/// Formats seconds since 1970 for people.
pub(super) fn date(seconds: u64) -> String {
    let time = UNIX_EPOCH + Duration::from_secs(seconds.min(LAST));
    humantime::format_rfc3339_seconds(time).to_string()
}

/// What this machine takes for the present.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Clock {
    /// In seconds since 1970.
    pub(super) now: u64,
}

impl Clock {
    pub(super) fn read() -> Self {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH);
        Self {
            now: since_1970.map_or(0, |time| time.as_secs()),
        }
    }

    pub(super) fn is_past(self, not_after: u64) -> bool {
        not_after < self.now
    }

    /// Returns whether the clock is certainly wrong, as on a machine that has none and has not asked for
    /// the time yet.
    pub(super) fn is_wrong(self) -> bool {
        !clock::is_set(UNIX_EPOCH + Duration::from_secs(self.now))
    }

    /// Says what to do about dates that do not fit this clock.
    pub(super) fn advice(self) -> String {
        let says = format!("this machine's clock says {}", date(self.now));
        if self.is_wrong() {
            format!("{says}, which is wrong; set it, for example with NTP")
        } else {
            format!("{says}; is that right?")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_times_of_certificates_are_read() {
        let cases: [(u8, &[u8], &str); 6] = [
            (UTC_TIME, b"700101000000Z", "1970-01-01T00:00:00Z"),
            (UTC_TIME, b"240229235959Z", "2024-02-29T23:59:59Z"),
            (UTC_TIME, b"491231235959Z", "2049-12-31T23:59:59Z"),
            (UTC_TIME, b"500101000000Z", "1970-01-01T00:00:00Z"),
            (0x18, b"21000301000000Z", "2100-03-01T00:00:00Z"),
            (0x18, b"99991231235959Z", "9999-12-31T23:59:59Z"),
        ];
        for (tag, text, expected) in cases {
            assert_eq!(date(seconds(tag, text).unwrap()), expected);
        }
        for text in ["", "Z", "2402292359Z", "24-229235959Z", "241329235959Z"] {
            assert_eq!(seconds(UTC_TIME, text.as_bytes()), None, "{text}");
        }
        assert_eq!(date(u64::MAX), "9999-12-31T23:59:59Z");
    }

    #[test]
    fn a_clock_from_before_2026_is_wrong() {
        for (time, is_wrong) in [
            ("1970-01-01T00:00:00Z", true),
            ("2000-01-01T00:00:00Z", true),
            ("2025-12-31T23:59:59Z", true),
            ("2026-01-01T00:00:00Z", false),
            ("2106-02-07T06:28:15Z", false),
        ] {
            let since_1970 = humantime::parse_rfc3339(time).unwrap();
            let now = since_1970.duration_since(UNIX_EPOCH).unwrap().as_secs();
            let clock = Clock { now };
            assert_eq!(clock.is_wrong(), is_wrong, "{time}");
            let advice = clock.advice();
            assert!(advice.contains(time), "{advice}");
            assert_eq!(advice.contains("NTP"), is_wrong, "{advice}");
        }
    }

    #[test]
    fn rubbish_and_parts_of_a_certificate_are_none() {
        let key = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let der = key.cert.der();
        assert!(Certificate::parse(der).is_some());
        for length in 0..der.len() {
            assert!(Certificate::parse(&der[..length]).is_none());
        }
        for position in 0..der.len() {
            let mut changed = der.to_vec();
            changed[position] ^= 0xff;
            if let Some(certificate) = Certificate::parse(&changed) {
                let _ = certificate.subject.to_string();
            }
        }
        assert!(Certificate::parse(&[0x30, 0x84, 0xff, 0xff, 0xff, 0xff]).is_none());
    }

    #[test]
    fn a_name_prints_its_known_attributes_on_one_line() {
        let mut parameters = rcgen::CertificateParams::new([]).unwrap();
        let name = &mut parameters.distinguished_name;
        *name = rcgen::DistinguishedName::new();
        name.push(rcgen::DnType::OrganizationName, "Gärtnerei\nMüller");
        name.push(rcgen::DnType::CommonName, "x".repeat(300));
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = parameters.self_signed(&key).unwrap();
        let certificate = Certificate::parse(certificate.der()).unwrap();
        let text = certificate.subject.to_string();
        assert!(text.starts_with("O=GärtnereiMüller, CN=xxx"), "{text}");
        assert!(text.ends_with("x…"), "{text}");
        assert!(certificate.is_self_issued());
        assert_eq!(Name(&[]).to_string(), "a name that cannot be printed");
    }
}
