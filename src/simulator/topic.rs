//! Topic names and topic filters as the networks' broker understands them.

/// May be published to: not empty, no wildcard, no NUL.
pub(super) fn is_name(topic: &str) -> bool {
    !topic.is_empty() && !topic.contains(['+', '#', '\0'])
}

/// May be subscribed to: wildcards fill a whole level, `#` the last one.
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

/// Whether the filter covers the topic.
///
/// Unlike in the MQTT standard `x/#` does not cover `x`: the networks' broker wants at least one
/// level in its place.
pub(super) fn matches(filter: &str, topic: &str) -> bool {
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
