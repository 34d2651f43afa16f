//! How fast downlinks may be written.

/// How many messages a minute, and how many at once after a pause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pace {
    pub(crate) per_minute: u32,
    pub(crate) burst: u32,
}
