//! What turns payloads into fields and back on V2.

/// What turns payloads into fields and back:
/// [`Simulator::set_payload_format`](crate::simulator::Simulator::set_payload_format). V2 only.
///
/// ```
/// use ttn::simulator::PayloadFormat;
///
/// assert_eq!(PayloadFormat::default(), PayloadFormat::Custom);
/// ```
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum PayloadFormat {
    /// Nothing: uplinks have neither fields nor attributes, and fields in a downlink are dropped without
    /// a word.
    None,
    /// The functions of the application.
    #[default]
    Custom,
    /// CayenneLPP: channels of 12 types in uplinks, and numbers called `value_1` in downlinks. Objects
    /// in the fields are published on one topic as a whole.
    CayenneLpp,
}
