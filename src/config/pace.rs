//! How fast downlinks may be written.

/// So many messages a minute, and so many of them at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pace {
    pub(crate) per_minute: u32,
    pub(crate) burst: u32,
}
