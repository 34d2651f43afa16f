//! Text is hex if it can be, otherwise base64; no other text yields bytes, and no two texts yield
//! the same bytes.
#![no_main]

use base64::{Engine, engine::general_purpose::STANDARD};
use libfuzzer_sys::fuzz_target;
use ttn::fuzzing;

fuzz_target!(|data: &[u8]| {
    for text in [hex::encode(data), hex::encode_upper(data)] {
        assert_eq!(fuzzing::payload_text(&text).as_deref(), Ok(data));
    }
    let text = STANDARD.encode(data);
    if !is_hex(&text) && !is_hex_with_prefix(&text) {
        assert_eq!(fuzzing::payload_text(&text).as_deref(), Ok(data));
    }
    if let Ok(text) = str::from_utf8(data) {
        check(text);
    }
});

fn check(text: &str) {
    match fuzzing::payload_text(text) {
        Ok(bytes) if is_hex(text) => assert!(hex::encode(bytes).eq_ignore_ascii_case(text)),
        Ok(bytes) => {
            assert!(!is_hex_with_prefix(text));
            assert_eq!(STANDARD.encode(bytes), text);
        }
        Err(why) => {
            assert!(!is_hex(text));
            assert!(why.contains(&format!("{text:?}")), "{why}");
            assert!(!why.contains(char::is_control), "{why:?}");
        }
    }
}

/// Returns whether text is hex with a prefix. It is rejected, because it may be meant as either.
fn is_hex_with_prefix(text: &str) -> bool {
    let digits = text.strip_prefix("0x");
    digits.is_some_and(|digits| digits.chars().all(|digit| digit.is_ascii_hexdigit()))
}

fn is_hex(text: &str) -> bool {
    text.len().is_multiple_of(2) && text.chars().all(|digit| digit.is_ascii_hexdigit())
}
