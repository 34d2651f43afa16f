//! What all answers have, and paths outside the API.

use std::time::SystemTime;

use serde::Serialize;
use serde_json::{Value, ser::PrettyFormatter};

use super::{V3, error};
use crate::simulator::{
    http::{Answer, Request},
    sync::lock,
    v3::messages,
};

const HEADERS: [(&str, &str); 7] = [
    ("Cache-Control", "no-store"),
    ("Pragma", "no-cache"),
    ("Referrer-Policy", "strict-origin-when-cross-origin"),
    ("Vary", "Accept-Encoding"),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "SAMEORIGIN"),
    ("X-Xss-Protection", "1; mode=block"),
];

impl V3 {
    /// Adds the headers of the API.
    pub(super) fn finished(&self, request: &Request, answer: Answer) -> Answer {
        let now = self.env.clock.now();
        let id = match request.header("x-request-id") {
            Some(id) => id.to_owned(),
            None => messages::ulid(now, &mut lock(&self.state).random),
        };
        let answer = HEADERS
            .into_iter()
            .fold(answer, |answer, (name, value)| answer.with(name, value))
            .with("X-Request-Id", id);
        let answer = match request.header("origin") {
            Some(_) => answer.with("Access-Control-Allow-Origin", "*"),
            None => answer,
        };
        self.dated(answer)
    }

    pub(super) fn dated(&self, answer: Answer) -> Answer {
        answer.with("Date", date(self.env.clock.now()))
    }

    /// Returns the answer to a path below `/api/` that is not of this API.
    pub(super) fn no_such_page(&self, path: &str) -> Answer {
        let random = &mut lock(&self.state).random;
        let (_, _, body) = error::no_such_page(path).answer(random);
        let value: Value = serde_json::from_str(&body).unwrap_or_default();
        let mut indented = Vec::new();
        let formatter = PrettyFormatter::with_indent(b"\t");
        let mut serializer = serde_json::Serializer::with_formatter(&mut indented, formatter);
        // A value can be written to memory.
        let _ = value.serialize(&mut serializer);
        indented.push(b'\n');
        Answer::new(404, "application/json", indented)
    }
}

/// Returns the path without `//` and `..` if it has one of them.
pub(super) fn cleaned(path: &str) -> Option<String> {
    let is_odd = |level: &str| matches!(level, "" | "." | "..");
    let levels = path.strip_prefix('/')?;
    let inner = levels.strip_suffix('/').unwrap_or(levels);
    if inner.is_empty() || !inner.split('/').any(is_odd) {
        return None;
    }
    let mut clean: Vec<&str> = Vec::new();
    for level in inner.split('/') {
        match level {
            ".." => _ = clean.pop(),
            level if is_odd(level) => {}
            level => clean.push(level),
        }
    }
    let end = if levels.ends_with('/') { "/" } else { "" };
    Some(format!("/{}{end}", clean.join("/")))
}

/// Returns a path with a query.
pub(super) fn joined(path: &str, query: &str) -> String {
    match query {
        "" => path.to_owned(),
        query => format!("{path}?{query}"),
    }
}

/// Returns a time as headers print it.
fn date(time: SystemTime) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    let days = since.unwrap_or_default().as_secs() / (24 * 3600);
    let text = messages::time(time);
    let part = |range| text.get(range).unwrap_or_default();
    let month: usize = part(6..8).parse().unwrap_or(1);
    format!(
        "{}, {} {} {} {} GMT",
        DAYS[(days % 7) as usize],
        part(9..11),
        MONTHS[(month + 11) % 12],
        part(1..5),
        part(12..20)
    )
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn dates_look_as_headers_print_them() {
        let at = SystemTime::UNIX_EPOCH + Duration::from_millis(1_795_874_791_900);
        assert_eq!(date(at), "Sat, 28 Nov 2026 14:06:31 GMT");
    }

    #[test]
    fn only_odd_paths_are_cleaned() {
        for (path, clean) in [
            ("/", None),
            ("/api/v3/auth_info", None),
            ("/api/v3/auth_info/", None),
            ("/api/v3//auth_info", Some("/api/v3/auth_info")),
            ("//", None),
            ("/api/v3/x/../auth_info", Some("/api/v3/auth_info")),
        ] {
            assert_eq!(cleaned(path).as_deref(), clean, "{path}");
        }
    }
}
