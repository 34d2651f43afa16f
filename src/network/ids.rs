//! The form of the ids of applications, devices and gateways.

use crate::error::{Error, ErrorKind, Result};

/// The rule that the ids of a network follow: lower-case letters and digits, with single separators
/// between them.
pub(super) struct IdRule {
    /// The characters that may separate letters and digits.
    pub(super) separators: &'static [u8],
    /// The fewest letters and digits.
    pub(super) min_letters: usize,
    /// The most letters and digits.
    pub(super) max_letters: usize,
    /// The most characters, separators included.
    pub(super) max_length: usize,
    /// The rule as a part of errors.
    pub(super) description: &'static str,
}

impl IdRule {
    pub(super) fn allows(&self, text: &str) -> bool {
        let mut letters = 0;
        let mut after_letter = false;
        for byte in text.bytes() {
            match byte {
                b'0'..=b'9' | b'a'..=b'z' => {
                    letters += 1;
                    after_letter = true;
                }
                separator if after_letter && self.separators.contains(&separator) => {
                    after_letter = false;
                }
                _ => return false,
            }
        }
        after_letter
            && (self.min_letters..=self.max_letters).contains(&letters)
            && text.len() <= self.max_length
    }

    pub(super) fn check_device_id(&self, dev_id: &str) -> Result<()> {
        if self.allows(dev_id) {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Downlink,
            format!("{dev_id:?} is not a valid device id: {}", self.description),
        ))
    }
}
