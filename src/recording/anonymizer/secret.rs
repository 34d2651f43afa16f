//! Replacements of the same form, which only a secret tells.

use std::fmt;

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

    fn numbers(&self, what: &str, of: &[u8]) -> Numbers {
        let seed = siphash(self.0, &[what.as_bytes(), b" ", of].concat());
        Numbers {
            key: [self.0[0] ^ seed, self.0[1]],
            next: 0,
        }
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
            let mut numbers = self.numbers("word", word.to_ascii_lowercase().as_bytes());
            radixes.iter().map(|radix| numbers.below(*radix)).collect()
        } else {
            self.other(&digits.collect::<Vec<_>>(), &radixes)
        };
        // A word of digits can be an id, which has no upper-case letters on v3.
        let has_upper = word.bytes().any(|it| it.is_ascii_uppercase());
        let has_lower = word.bytes().any(|it| it.is_ascii_lowercase()) || !has_upper;
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

    /// Replaces a DevAddr or an EUI in hex digits, which are in upper case unless they show something else.
    pub(super) fn address(&self, address: &str) -> String {
        let replaced = self.text(address);
        if address.bytes().any(|it| it.is_ascii_lowercase()) {
            replaced
        } else {
            replaced.to_ascii_uppercase()
        }
    }

    /// Returns other bytes, as many.
    pub(super) fn bytes(&self, original: &[u8]) -> Vec<u8> {
        let mut numbers = self.numbers("bytes", original);
        let mut bytes: Vec<u8> = original.iter().map(|_| numbers.below(256) as u8).collect();
        if bytes == original {
            bytes.iter_mut().for_each(|byte| *byte ^= 0x55);
        }
        bytes
    }

    /// Returns text in place of what is not JSON, with as many bytes, and not JSON either.
    pub(super) fn letters(&self, original: &[u8]) -> Vec<u8> {
        let mut numbers = self.numbers("letters", original);
        let letter = |_| b'a' + numbers.below(26) as u8;
        let mut letters: Vec<u8> = original.iter().map(letter).collect();
        if let Some(first) = letters.first_mut() {
            *first = b'x';
        }
        letters
    }

    pub(super) fn flag(&self, name: &str, original: &str) -> bool {
        self.numbers("flag", format!("{name} {original}").as_bytes())
            .below(2)
            == 0
    }

    /// Returns another number with as many digits, as JSON writes it, and without an exponent. Below `limit`, if it has
    /// no more digits than that.
    pub(super) fn number(&self, original: &str, limit: Option<u32>) -> String {
        let mut numbers = self.numbers("number", original.as_bytes());
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
        let mut number = start + numbers.long() % (end - start);
        if number.to_string() == whole && end > start + 1 {
            number = if number + 1 == end { start } else { number + 1 };
        }
        let mut text = format!("{sign}{number}");
        if let Some(fraction) = fraction {
            text.push('.');
            for _ in fraction.bytes() {
                text.push(char::from(b'0' + numbers.below(10) as u8));
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
        let [round, count, part] = [round.into(), self.count, part].map(u128::to_le_bytes);
        let hash = siphash(self.secret.0, &[round, count, part].concat());
        u128::from(hash) & ((1 << half) - 1)
    }
}

/// Random numbers that are the same on every machine.
struct Numbers {
    key: [u64; 2],
    next: u64,
}

impl Numbers {
    fn long(&mut self) -> u64 {
        self.next += 1;
        siphash(self.key, &self.next.to_le_bytes())
    }

    fn below(&mut self, end: u32) -> u32 {
        (self.long() % u64::from(end)) as u32
    }
}

/// SipHash-2-4. The hasher of the standard library may change, and hashes lengths as the machine has them.
fn siphash(key: [u64; 2], bytes: &[u8]) -> u64 {
    let mut state = [
        key[0] ^ 0x736f_6d65_7073_6575,
        key[1] ^ 0x646f_7261_6e64_6f6d,
        key[0] ^ 0x6c79_6765_6e65_7261,
        key[1] ^ 0x7465_6462_7974_6573,
    ];
    let round = |[a, b, c, d]: [u64; 4]| {
        let (a, c) = (a.wrapping_add(b), c.wrapping_add(d));
        let (b, d) = (b.rotate_left(13) ^ a, d.rotate_left(16) ^ c);
        let (a, c) = (a.rotate_left(32).wrapping_add(d), c.wrapping_add(b));
        let (b, d) = (b.rotate_left(17) ^ c, d.rotate_left(21) ^ a);
        [a, b, c.rotate_left(32), d]
    };
    let word = |bytes: &[u8]| {
        let place = |word, (at, byte): (usize, &u8)| word | u64::from(*byte) << (8 * at);
        bytes.iter().enumerate().fold(0, place)
    };
    let (words, rest) = bytes.split_at(bytes.len() / 8 * 8);
    let last = word(rest) | (bytes.len() as u64) << 56;
    for word in words.chunks(8).map(word).chain([last]) {
        state[3] ^= word;
        state = round(round(state));
        state[0] ^= word;
    }
    state[2] ^= 0xff;
    state = round(round(round(round(state))));
    state.into_iter().fold(0, |all, part| all ^ part)
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
    fn the_hash_is_the_one_of_its_authors() {
        let key = [0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908];
        let bytes: Vec<u8> = (0..15).collect();
        assert_eq!(siphash(key, &bytes), 0xa129_ca61_49be_45e5);
        assert_eq!(siphash(key, b""), 0x726f_db47_dd0e_0e31);
        assert_eq!(siphash(key, &bytes[..8]), 0x93f5_f579_9a93_2462);
    }

    #[test]
    fn a_secret_gives_the_same_replacements_on_every_machine() {
        let found = [
            SECRET.text("Greenhouse-07"),
            SECRET.text("NNSXSABCDEFGHIJKLMNOPQRSTUVWXYZ"),
            SECRET.address("70B3D57ED0051A2B"),
            SECRET.number("52.373120", Some(90)),
            hex::encode(SECRET.bytes(b"\x01\x67")),
            SECRET.flag("door", "true").to_string(),
        ];
        let expected = [
            "Xswcokdxtl-96",
            "ELMQBQDQUZKQGGFKDVQOJWSRQVBTVXT",
            "111017A691E5DAA4",
            "53.225758",
            "f3eb",
            "false",
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn an_id_of_digits_gets_one_in_lower_case() {
        for id in ["12345678", "0000000000000001", "eui-0000000000000001"] {
            let other = SECRET.text(id);
            assert_eq!(other, other.to_ascii_lowercase(), "{id}");
        }
        assert!(
            SECRET
                .text("0000000000000001")
                .contains(|c: char| c.is_ascii_lowercase())
        );
    }

    #[test]
    fn hex_digits_stay_hex_digits_in_either_case() {
        for eui in ["70B3D57ED0051A2B", "0000000000000001", "260B5C1E"] {
            let upper = SECRET.address(eui);
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
