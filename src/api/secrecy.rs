//! The key in the words of a server.

use crate::config::AccessKey;

/// A part of the secret of this length is not there by chance.
const PART: usize = 12;

/// Returns whether text contains the key, its secret, or a part of the secret, in any case.
pub(super) fn reveals(text: &str, key: &AccessKey) -> bool {
    contains(text, key, PART)
}

/// Returns whether a name contains the secret or a part of it. A short secret may be part of it by chance.
pub(super) fn reveals_in_name(text: &str, key: &AccessKey) -> bool {
    secret(key).len() >= PART && contains(text, key, PART)
}

fn contains(text: &str, key: &AccessKey, part: usize) -> bool {
    let text = text.to_ascii_lowercase().into_bytes();
    let secret = secret(key).to_ascii_lowercase().into_bytes();
    let part = part.min(secret.len());
    if part == 0 {
        return false;
    }
    let mut parts: Vec<&[u8]> = secret.windows(part).collect();
    parts.sort_unstable();
    text.windows(part)
        .any(|window| parts.binary_search(&window).is_ok())
}

/// Returns the part of the key that is secret, which is all of it if it has only one.
fn secret(key: &AccessKey) -> &str {
    key.reveal().rsplit('.').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_part_of_the_secret_is_repeated_and_the_id_of_the_key_may_be() {
        let key = AccessKey::new("NNSXS.THE-ID-OF-THE-KEY.A-LONG-ENOUGH-SECRET".to_owned());
        for text in [
            "NNSXS.THE-ID-OF-THE-KEY.A-LONG-ENOUGH-SECRET",
            "wrong: A-LONG-ENOUGH-SECRET",
            "a-long-enough-secret is wrong",
            "…LONG-ENOUGH-…",
        ] {
            assert!(reveals(text, &key), "{text}");
        }
        for text in [
            "",
            "THE-ID-OF-THE-KEY",
            "ENOUGH",
            "a secret that is long enough",
        ] {
            assert!(!reveals(text, &key), "{text}");
        }
    }

    #[test]
    fn a_short_secret_may_be_part_of_a_name_and_is_not_quoted() {
        let key = AccessKey::new("NNSXS.ID.barn".to_owned());
        assert!(!reveals_in_name("barn.example", &key));
        assert!(reveals("barn is wrong", &key));
    }

    #[test]
    fn an_empty_secret_is_in_no_text() {
        for key in ["", "NNSXS.ID."] {
            let key = AccessKey::new(key.to_owned());
            assert!(!reveals("text", &key));
            assert!(!reveals_in_name("text", &key));
        }
    }
}
