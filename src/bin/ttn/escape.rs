//! Text from outside, without what a terminal would obey.

use std::{borrow::Cow, fmt::Write};

/// Writes characters that a terminal obeys as escapes: `\u{1b}` for ESC. A device id, a decoded field or an error
/// of a server can contain them.
pub(crate) fn escaped(text: &str) -> Cow<'_, str> {
    replaced(text, |out, character| {
        let _ = write!(out, "{}", character.escape_unicode());
    })
}

/// Does the same with a JSON text, which keeps its meaning: JSON escapes most of them already, but not DEL, the
/// control characters from U+0080 on, and those that turn the direction of writing.
pub(crate) fn escaped_json(text: &str) -> Cow<'_, str> {
    replaced(text, |out, character| {
        // All of them have at most 16 bits, and are part of a string.
        let _ = write!(out, "\\u{:04x}", u32::from(character));
    })
}

/// Does the same with a text of several lines.
pub(crate) fn escaped_lines(text: &str) -> String {
    let lines: Vec<_> = text.split('\n').map(escaped).collect();
    lines.join("\n")
}

fn replaced(text: &str, replace: impl Fn(&mut String, char)) -> Cow<'_, str> {
    if !text.contains(is_obeyed) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 8);
    for character in text.chars() {
        if is_obeyed(character) {
            replace(&mut out, character);
        } else {
            out.push(character);
        }
    }
    Cow::Owned(out)
}

/// Returns whether a terminal does something else with it than showing it.
fn is_obeyed(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
        )
}

#[cfg(test)]
mod tests {
    use ttn::serde_json;

    use super::*;

    #[test]
    fn what_a_terminal_obeys_is_escaped_and_nothing_else() {
        assert_eq!(escaped("beet-7 °C ✓ 温度"), "beet-7 °C ✓ 温度");
        assert_eq!(escaped("a\x1b[2Jb\r\n"), r"a\u{1b}[2Jb\u{d}\u{a}");
        assert_eq!(
            escaped("\u{9b}31m\u{7f}\u{202e}"),
            r"\u{9b}31m\u{7f}\u{202e}"
        );
        assert_eq!(escaped_lines("a\nb\x07"), "a\nb\\u{7}");
    }

    #[test]
    fn json_is_escaped_without_another_meaning() {
        let every: String = ('\0'..='\u{2070}').collect();
        let json = serde_json::to_string(&every).expect("a string");
        let safe = escaped_json(&json);
        assert!(!safe.contains(is_obeyed));
        let read: String = serde_json::from_str(&safe).expect("still JSON");
        assert_eq!(read, every);
    }
}
