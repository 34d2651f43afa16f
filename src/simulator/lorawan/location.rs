//! A place.

/// A place on Earth, as the networks print it.
///
/// Messages omit a coordinate of exactly 0.
///
/// ```
/// use ttn::simulator::Location;
///
/// let rotterdam = Location { latitude: 51.92442, longitude: 4.477733, altitude: 14 };
/// assert!(rotterdam.latitude > 51.0);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Location {
    /// Degrees, positive to the north.
    pub latitude: f32,
    /// Degrees, positive to the east.
    pub longitude: f32,
    /// Metres above sea level; may be negative.
    pub altitude: i32,
}
