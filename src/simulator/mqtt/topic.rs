//! Topic names and filters, by the rules of the real broker.

/// Returns whether it is a valid topic to publish to: not empty, no wildcard, no NUL.
pub(super) fn is_name(topic: &str) -> bool {
    !topic.is_empty() && !topic.contains(['+', '#', '\0'])
}

/// Returns whether it is a valid filter: a wildcard fills a whole level, and `#` only the last one.
pub(super) fn is_filter(filter: &str) -> bool {
    if filter.is_empty() || filter.contains('\0') {
        return false;
    }
    let mut levels = filter.split('/').peekable();
    while let Some(level) = levels.next() {
        let last = levels.peek().is_none();
        match level {
            "+" => {}
            "#" if last => {}
            _ if level.contains(['+', '#']) => return false,
            _ => {}
        }
    }
    true
}

/// Returns whether any of the filters matches the topic.
pub(super) fn any_matches(filters: &[String], topic: &str) -> bool {
    filters.iter().any(|filter| matches(filter, topic))
}

/// Returns whether the filter matches the topic.
///
/// Unlike in the MQTT standard, `x/#` does not match `x`: the real broker requires at least one level
/// in place of the `#`.
fn matches(filter: &str, topic: &str) -> bool {
    let mut levels = topic.split('/');
    for wanted in filter.split('/') {
        let Some(level) = levels.next() else {
            return false;
        };
        match wanted {
            "#" => return true,
            "+" => {}
            _ if wanted == level => {}
            _ => return false,
        }
    }
    levels.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_cover_the_topics_they_should() {
        for (filter, topic, expected) in [
            ("a/b", "a/b", true),
            ("a/b", "a/c", false),
            ("a/b", "a/b/c", false),
            ("a/b/c", "a/b", false),
            ("a/+/c", "a/b/c", true),
            ("a/+", "a/b/c", false),
            ("a/+", "a/", true),
            ("a/#", "a/b/c", true),
            ("a/#", "a/", true),
            ("a/#", "a", false),
            ("#", "a", true),
            ("#", "a/b", true),
            ("+", "a", true),
            ("+", "a/b", false),
        ] {
            assert_eq!(matches(filter, topic), expected, "{filter} {topic}");
        }
    }

    #[test]
    fn bad_filters_and_names_are_known() {
        for filter in ["", "a#", "#/a", "a/#/b", "a+", "a/+b/c", "a\0"] {
            assert!(!is_filter(filter), "{filter:?}");
        }
        for filter in ["#", "+", "a", "a/+/#", "/", "+/+"] {
            assert!(is_filter(filter), "{filter:?}");
        }
        for name in ["", "a/+", "#", "a\0"] {
            assert!(!is_name(name), "{name:?}");
        }
        assert!(is_name("a//b"));
    }
}
