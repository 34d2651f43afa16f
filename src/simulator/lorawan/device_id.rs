//! The ids of a device.

use std::fmt;

/// A device of an application.
#[derive(Clone, Copy)]
pub(crate) struct DeviceId<'a> {
    /// On hosted v3 networks including the tenant.
    pub(crate) app_id: &'a str,
    pub(crate) dev_id: &'a str,
}

impl DeviceId<'_> {
    /// Returns the DevEUI, which is the same in every run.
    pub(crate) fn eui(self) -> u64 {
        let (app_id, dev_id) = (self.app_id.bytes(), self.dev_id.bytes());
        let bytes = app_id.chain([b'/']).chain(dev_id);
        let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        0xa840_4100_0000_0000 | (hash & 0xff_ffff_ffff)
    }
}

impl fmt::Display for DeviceId<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.app_id, self.dev_id)
    }
}

/// Returns whether the id consists of lower-case letters and digits, with single separators between
/// them.
pub(crate) fn is_well_formed(id: &str, separators: &[char]) -> bool {
    let is_word = |word: &str| {
        let is_allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        !word.is_empty() && word.bytes().all(is_allowed)
    };
    id.split(separators).all(is_word)
}
