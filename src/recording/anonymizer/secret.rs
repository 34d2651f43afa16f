//! Replacements of the same form, which only a secret tells.

use std::{
    collections::hash_map::DefaultHasher,
    fmt,
    hash::{Hash, Hasher},
};

use fastrand::Rng;

/// What decides each replacement.
#[derive(Clone)]
pub(super) struct Secret([u64; 2]);

/// Does not write it.
impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// The longest word whose replacement no other word has: 26 to this power fits in 96 bits.
const LONGEST: usize = 20;

/// The lengths of hex digits that have a meaning: DevAddrs, EUIs, keys.
const HEX: [usize; 3] = [8, 16, 32];

impl Secret {
    pub(super) fn new(secret: [u64; 2]) -> Self {
        Self(secret)
    }

    pub(super) fn random() -> Self {
        let mut bytes = [0; 16];
        if getrandom::getrandom(&mut bytes).is_err() {
            fastrand::fill(&mut bytes);
        }
        let number = u128::from_ne_bytes(bytes);
        Self([number as u64, (number >> 64) as u64])
    }

    fn hash(&self, of: impl Hash) -> u64 {
        let mut hasher = DefaultHasher::new();
        (self.0, of).hash(&mut hasher);
        hasher.finish()
    }

    fn numbers(&self, of: impl Hash) -> Rng {
        Rng::with_seed(self.hash(of))
    }

    /// Replaces each word of letters and digits. Other characters stay if they are ASCII.
    pub(super) fn text(&self, text: &str) -> String {
        let mut replaced = String::with_capacity(text.len());
        let mut rest = text;
        while !rest.is_empty() {
            let end = rest.find(|c: char| !c.is_ascii_alphanumeric());
            let (word, behind) = rest.split_at(end.unwrap_or(rest.len()));
            if !word.is_empty() {
                self.word(word, &mut replaced);
            }
            let mut characters = behind.chars();
            match characters.next() {
                Some(other) if other.is_ascii() => replaced.push(other),
                Some(_) => replaced.push('x'),
                None => {}
            }
            rest = characters.as_str();
        }
        replaced
    }

    fn word(&self, word: &str, replaced: &mut String) {
        let is_hex = HEX.contains(&word.len()) && word.bytes().all(|it| it.is_ascii_hexdigit());
        let radix = |byte: u8| match byte {
            _ if is_hex => 16,
            b'0'..=b'9' => 10,
            _ => 26,
        };
        let radixes: Vec<u32> = word.bytes().map(radix).collect();
        let digits = word.bytes().zip(&radixes).map(|(byte, radix)| match radix {
            26 => u32::from(byte.to_ascii_lowercase() - b'a'),
            _ => char::from(byte).to_digit(16).unwrap_or_default(),
        });
        let digits = if word.len() > LONGEST {
            let mut numbers = self.numbers(("word", word.to_ascii_lowercase()));
            radixes.iter().map(|radix| numbers.u32(..*radix)).collect()
        } else {
            self.other(&digits.collect::<Vec<_>>(), &radixes)
        };
        let has_lower = word.bytes().any(|it| it.is_ascii_lowercase());
        for ((digit, radix), original) in digits.into_iter().zip(&radixes).zip(word.chars()) {
            let lower = match radix {
                26 => char::from(b'a' + digit as u8),
                _ => char::from_digit(digit, 16).unwrap_or('0'),
            };
            let is_upper = if original.is_ascii_digit() {
                !has_lower
            } else {
                original.is_ascii_uppercase()
            };
            replaced.push(if is_upper {
                lower.to_ascii_uppercase()
            } else {
                lower
            });
        }
    }

    /// Returns the digits of another number in the same places: one to one, and never the same.
    fn other(&self, digits: &[u32], radixes: &[u32]) -> Vec<u32> {
        let both = || digits.iter().zip(radixes);
        let count = radixes.iter().map(|radix| u128::from(*radix)).product();
        let number = both().fold(0, |number, (digit, radix)| {
            number * u128::from(*radix) + u128::from(*digit)
        });
        let shuffle = Shuffle {
            secret: self,
            count,
        };
        let mut other = shuffle.back((shuffle.forth(number) + 1) % count);
        let mut found: Vec<u32> = radixes
            .iter()
            .rev()
            .map(|radix| {
                let digit = (other % u128::from(*radix)) as u32;
                other /= u128::from(*radix);
                digit
            })
            .collect();
        found.reverse();
        found
    }

    /// Returns other bytes, as many.
    pub(super) fn bytes(&self, original: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; original.len()];
        self.numbers(("bytes", original)).fill(&mut bytes);
        if bytes == original {
            bytes.iter_mut().for_each(|byte| *byte ^= 0x55);
        }
        bytes
    }

    /// Returns text in place of what is not JSON, with as many bytes, and not JSON either.
    pub(super) fn letters(&self, original: &[u8]) -> Vec<u8> {
        let mut numbers = self.numbers(("letters", original));
        let mut letters: Vec<u8> = original.iter().map(|_| b'a' + numbers.u8(..26)).collect();
        if let Some(first) = letters.first_mut() {
            *first = b'x';
        }
        letters
    }

    pub(super) fn flag(&self, name: &str, original: &str) -> bool {
        self.hash((name, original)) & 1 == 0
    }

    /// Returns another number with as many digits, as JSON writes it, and without an exponent. Below `limit`, if it has
    /// no more digits than that.
    pub(super) fn number(&self, original: &str, limit: Option<u32>) -> String {
        let mut numbers = self.numbers(("number", original));
        let (sign, digits) = match original.strip_prefix('-') {
            Some(digits) => ("-", digits),
            None => ("", original),
        };
        let digits = digits.split(['e', 'E']).next().unwrap_or_default();
        let (whole, fraction) = match digits.split_once('.') {
            Some((whole, fraction)) => (whole, Some(fraction)),
            None => (digits, None),
        };
        let length = whole.len().clamp(1, 18) as u32;
        let (start, end) = match length {
            1 => (0, 10),
            _ => (10_u64.pow(length - 1), 10_u64.pow(length)),
        };
        let end = match limit {
            Some(limit) => end.min(u64::from(limit)).max(start + 1),
            None => end,
        };
        let mut number = numbers.u64(start..end);
        if number.to_string() == whole && end > start + 1 {
            number = if number + 1 == end { start } else { number + 1 };
        }
        let mut text = format!("{sign}{number}");
        if let Some(fraction) = fraction {
            text.push('.');
            for _ in fraction.bytes() {
                text.push(char::from(b'0' + numbers.u8(..10)));
            }
        }
        text
    }
}

/// A permutation of the numbers below `count`.
struct Shuffle<'a> {
    secret: &'a Secret,
    count: u128,
}

const ROUNDS: u64 = 8;

impl Shuffle<'_> {
    fn forth(&self, number: u128) -> u128 {
        self.walk(number, |half, left, right| {
            (0..ROUNDS).fold((left, right), |(left, right), round| {
                (right, left ^ self.mix(round, right, half))
            })
        })
    }

    fn back(&self, number: u128) -> u128 {
        self.walk(number, |half, left, right| {
            (0..ROUNDS)
                .rev()
                .fold((left, right), |(left, right), round| {
                    (right ^ self.mix(round, left, half), left)
                })
        })
    }

    /// Repeats a permutation of numbers with an even number of bits until it leads below `count`.
    fn walk(&self, mut number: u128, step: impl Fn(u32, u128, u128) -> (u128, u128)) -> u128 {
        let bits = u128::BITS - (self.count - 1).leading_zeros();
        let half = bits.div_ceil(2).max(1);
        let mask = (1 << half) - 1;
        loop {
            let (left, right) = step(half, number >> half, number & mask);
            number = left << half | right;
            if number < self.count {
                return number;
            }
        }
    }

    fn mix(&self, round: u64, part: u128, half: u32) -> u128 {
        u128::from(self.secret.hash((round, self.count, part))) & ((1 << half) - 1)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    const SECRET: Secret = Secret([17, 4]);

    #[test]
    fn no_two_words_of_a_form_get_the_same_replacement_and_none_itself() {
        for (form, count) in [("0", 10), ("00", 100), ("a0", 260), ("0a0", 2_600)] {
            let words: Vec<String> = (0..count)
                .map(|number: usize| {
                    let mut rest = number;
                    let mut digits: Vec<char> = form
                        .bytes()
                        .rev()
                        .map(|place| {
                            let radix = if place == b'0' { 10 } else { 26 };
                            let digit = (rest % radix) as u8;
                            rest /= radix;
                            char::from(place + digit)
                        })
                        .collect();
                    digits.reverse();
                    digits.into_iter().collect()
                })
                .collect();
            let replaced: HashSet<String> = words.iter().map(|word| SECRET.text(word)).collect();
            assert_eq!(replaced, words.iter().cloned().collect(), "{form}");
            assert!(words.iter().all(|word| SECRET.text(word) != *word));
        }
    }

    #[test]
    fn a_replacement_has_the_form_of_its_original() {
        let form = |text: &str| -> String {
            text.chars()
                .map(|c| match c {
                    'a'..='z' => 'a',
                    'A'..='Z' => 'A',
                    '0'..='9' => '0',
                    other => other,
                })
                .collect()
        };
        for text in [
            "soil-probe-07",
            "Greenhouse 3, bed 7",
            "NNSXS.ABCDEFGHIJKLMNOPQRSTUVWXYZ.0123456789abcdefghij",
            "10.20.30.40:1883",
            "x",
            "",
        ] {
            let replaced = SECRET.text(text);
            assert_eq!(form(&replaced), form(text), "{text} -> {replaced}");
            assert!(text.is_empty() || replaced != text);
        }
    }

    #[test]
    fn hex_digits_stay_hex_digits_in_either_case() {
        for eui in ["70B3D57ED0051A2B", "0000000000000001", "260B5C1E"] {
            let upper = SECRET.text(eui);
            assert!(
                upper
                    .bytes()
                    .all(|it| it.is_ascii_hexdigit() && !it.is_ascii_lowercase()),
                "{upper}"
            );
            assert_eq!(upper.len(), eui.len());
            if eui.bytes().any(|it| it.is_ascii_uppercase()) {
                let id = format!("eui-{}", eui.to_lowercase());
                assert!(SECRET.text(&id).ends_with(&upper.to_lowercase()));
            }
        }
    }

    #[test]
    fn a_number_keeps_its_form_and_is_another_one() {
        for (number, limit) in [
            ("0", None),
            ("7", Some(90)),
            ("-7.5", None),
            ("52.373120", Some(90)),
            ("179.999", Some(180)),
            ("-0.127758", Some(180)),
            ("123456789012345678", None),
            ("1e300", None),
            ("5E-324", None),
        ] {
            let other = SECRET.number(number, limit);
            let value: f64 = other.parse().unwrap();
            assert_ne!(value, number.parse::<f64>().unwrap());
            assert!(limit.is_none_or(|limit| value.abs() < f64::from(limit)));
            assert_eq!(other.contains('.'), number.contains('.'));
            assert_eq!(other.starts_with('-'), number.starts_with('-'));
        }
    }

    #[test]
    fn text_in_place_of_what_is_not_json_is_not_json() {
        for original in ["null", "tru", "{", "1.2.3", ""] {
            let letters = SECRET.letters(original.as_bytes());
            assert_eq!(letters.len(), original.len());
            assert!(serde_json::from_slice::<serde_json::Value>(&letters).is_err());
        }
    }

    #[test]
    fn the_secret_is_not_printed() {
        assert_eq!(format!("{SECRET:?}"), "Secret");
    }
}
