//! Which devices to show.

use std::{convert::Infallible, str::FromStr};

/// A device id, in which `*` stands for any characters and `?` for one.
#[derive(Clone, Debug)]
pub(super) struct Pattern(Vec<char>);

impl FromStr for Pattern {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(text.chars().collect()))
    }
}

impl Pattern {
    pub(super) fn fits(&self, dev_id: &str) -> bool {
        let name: Vec<_> = dev_id.chars().collect();
        let (mut at, mut next) = (0, 0);
        // Where to try again: behind the last `*`, with one more character for it.
        let mut again = None;
        while next < name.len() {
            match self.0.get(at) {
                Some('*') => {
                    again = Some((at + 1, next));
                    at += 1;
                }
                Some(character) if *character == '?' || *character == name[next] => {
                    at += 1;
                    next += 1;
                }
                _ => {
                    let Some((behind, taken)) = &mut again else {
                        return false;
                    };
                    *taken += 1;
                    (at, next) = (*behind, *taken);
                }
            }
        }
        self.0[at..].iter().all(|character| *character == '*')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_characters_and_a_question_mark_for_one() {
        for (pattern, fitting, other) in [
            ("bed-07", &["bed-07"][..], &["bed-070", "abed-07", ""][..]),
            ("bed-*", &["bed-", "bed-07"], &["bed", "a-bed-7"]),
            ("*-7", &["bed-7", "a-7-7", "-7"], &["bed-77", "7"]),
            ("b*d*7", &["bed-07", "bd7", "bddd77"], &["bed-08", "b7"]),
            ("bed-?7", &["bed-07", "bed-é7"], &["bed-7", "bed-007"]),
            ("*", &["", "anything"], &[]),
            ("", &[""], &["a"]),
        ] {
            let Ok(read) = pattern.parse::<Pattern>();
            for name in fitting {
                assert!(read.fits(name), "{pattern:?} {name:?}");
            }
            for name in other {
                assert!(!read.fits(name), "{pattern:?} {name:?}");
            }
        }
    }

    #[test]
    fn many_stars_take_no_long_time() {
        let Ok(pattern) = "*a".repeat(30).parse::<Pattern>();
        assert!(!pattern.fits(&format!("{}b", "a".repeat(5_000))));
    }
}
