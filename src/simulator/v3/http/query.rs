//! The parameters behind a path.

use std::time::{Duration, SystemTime};

use super::{error::Refused, route::decoded};

/// The parameters of a request. Unknown names are passed over.
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    pub(super) fn read(text: &str) -> Result<Self, Refused> {
        let parameters = text.split('&').filter(|parameter| !parameter.is_empty());
        let read = |parameter: &str| {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            let plain = |text: &str| decoded(&text.replace('+', " "));
            Some((plain(name)?, plain(value)?))
        };
        let parameters: Option<Vec<_>> = parameters.map(read).collect();
        let invalid = || Refused::unreadable(format!("invalid URL escape in {text:?}"));
        parameters.map(Self).ok_or_else(invalid)
    }

    /// Returns the value of a parameter that can be given once.
    pub(super) fn text(&self, name: &'static str) -> Result<Option<&str>, Refused> {
        let values: Vec<&str> = self.all(name).collect();
        match values[..] {
            [] => Ok(None),
            [value] => Ok(Some(value)),
            _ => {
                let values = values.join(", ");
                let text = format!("too many values for field {name:?}: {values}");
                Err(Refused::unreadable(text))
            }
        }
    }

    pub(super) fn number(&self, name: &'static str) -> Result<Option<u32>, Refused> {
        let Some(text) = self.text(name)? else {
            return Ok(None);
        };
        let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let cause = match text.parse() {
            Ok(number) if is_number => return Ok(Some(number)),
            _ if is_number => "value out of range",
            _ => "invalid syntax",
        };
        let text = format!("parsing field {name:?}: strconv.ParseUint: parsing {text:?}: {cause}");
        Err(Refused::unreadable(text))
    }

    pub(super) fn time(&self, name: &'static str) -> Result<Option<SystemTime>, Refused> {
        self.parsed(name, "parsing time", time_of)
    }

    pub(super) fn duration(&self, name: &'static str) -> Result<Option<Duration>, Refused> {
        self.parsed(name, "time: invalid duration", duration_of)
    }

    fn parsed<T>(
        &self,
        name: &'static str,
        cause: &str,
        read: impl Fn(&str) -> Option<T>,
    ) -> Result<Option<T>, Refused> {
        let Some(text) = self.text(name)? else {
            return Ok(None);
        };
        let refused = || Refused::unreadable(format!("parsing field {name:?}: {cause} {text:?}"));
        read(text).map(Some).ok_or_else(refused)
    }

    /// Returns the paths of the field mask.
    pub(super) fn mask(&self) -> Result<Vec<String>, Refused> {
        let mut paths: Vec<String> = match self.text("field_mask")? {
            Some("") | None => Vec::new(),
            Some(list) => list.split(',').map(str::to_owned).collect(),
        };
        paths.extend(self.all("field_mask.paths").map(str::to_owned));
        Ok(paths)
    }

    fn all(&self, name: &'static str) -> impl Iterator<Item = &str> {
        let camel = match name.split_once('_') {
            Some((first, rest)) if !rest.is_empty() => {
                format!("{first}{}{}", rest[..1].to_ascii_uppercase(), &rest[1..])
            }
            _ => name.to_owned(),
        };
        let found = self.0.iter();
        let found = found.filter(move |(known, _)| known == name || *known == camel);
        found.map(|(_, value)| value.as_str())
    }
}

/// Returns a time in RFC 3339, in any zone.
pub(super) fn time_of(text: &str) -> Option<SystemTime> {
    if !text.is_ascii() || text.as_bytes().get(10) != Some(&b'T') {
        return None;
    }
    let digits_of = |text: &str| text.parse().ok().filter(|number: &u64| *number < 60);
    let split = text.len().checked_sub(6)?;
    let offset = match text.split_at(split) {
        (_, zone) if zone.ends_with('Z') => None,
        (time, zone) => {
            let is_behind = zone.starts_with('-');
            let zone = zone.strip_prefix(['+', '-'])?;
            let (hours, minutes) = zone.split_once(':')?;
            let seconds = digits_of(hours)? * 3600 + digits_of(minutes)? * 60;
            Some((time, is_behind, Duration::from_secs(seconds)))
        }
    };
    match offset {
        None => humantime::parse_rfc3339(text).ok(),
        Some((time, is_behind, offset)) => {
            let time = humantime::parse_rfc3339(&format!("{time}Z")).ok()?;
            match is_behind {
                true => time.checked_add(offset),
                false => time.checked_sub(offset),
            }
        }
    }
}

/// Returns a duration of numbers with units, such as `1h30m` or `120.5s`.
fn duration_of(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total = Duration::ZERO;
    loop {
        let end = rest.find(|character: char| !character.is_ascii_digit() && character != '.')?;
        let (number, tail) = rest.split_at(end);
        let end = tail.find(|character: char| character.is_ascii_digit());
        let (unit, tail) = tail.split_at(end.unwrap_or(tail.len()));
        let seconds = match unit {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        let number: f64 = number.parse().ok()?;
        total = total.checked_add(Duration::try_from_secs_f64(number * seconds).ok()?)?;
        if tail.is_empty() {
            return Some(total);
        }
        rest = tail;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_a_zone_and_up_to_nanoseconds() {
        let at = |seconds, nanos| Some(SystemTime::UNIX_EPOCH + Duration::new(seconds, nanos));
        for (text, time) in [
            ("2026-11-27T06:00:00Z", at(1_795_759_200, 0)),
            (
                "2026-11-27T06:00:00.123456789Z",
                at(1_795_759_200, 123_456_789),
            ),
            (
                "2026-11-27T07:30:00.5+01:30",
                at(1_795_759_200, 500_000_000),
            ),
            ("2026-11-27T05:00:00-01:00", at(1_795_759_200, 0)),
            ("2026-11-27T06:00:00 01:00", None),
            ("2026-11-27T06:00:00", None),
            ("2026-11-27", None),
            ("1795759200", None),
            ("", None),
        ] {
            assert_eq!(time_of(text), time, "{text}");
        }
    }

    #[test]
    fn durations_have_units() {
        for (text, seconds) in [
            ("10m", Some(600.0)),
            ("1h30m", Some(5400.0)),
            ("120.5s", Some(120.5)),
            ("250ms", Some(0.25)),
            ("1d", None),
            ("120", None),
            ("s", None),
            ("", None),
        ] {
            let expected = seconds.map(Duration::from_secs_f64);
            assert_eq!(duration_of(text), expected, "{text}");
        }
    }
}
