//! How fast a recording is replayed.

use std::{fmt, str::FromStr, time::Duration};

use crate::error::{Error, Result};

/// How fast a recording is replayed. Reads from text such as `10`, `0.5` or `max`.
///
/// ```
/// use ttn::Speed;
///
/// assert_eq!("10".parse::<Speed>()?, Speed::times(10.0)?);
/// assert_eq!("max".parse::<Speed>()?, Speed::MAX);
/// assert!("-1".parse::<Speed>().is_err());
/// # Ok::<(), ttn::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Speed(
    /// How often faster than it was; infinite for no waiting.
    f64,
);

impl Speed {
    /// As it was recorded.
    ///
    /// ```
    /// assert_eq!("1".parse::<ttn::Speed>()?, ttn::Speed::ORIGINAL);
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub const ORIGINAL: Self = Self(1.0);

    /// Without waiting.
    ///
    /// ```
    /// assert_eq!(ttn::Speed::MAX.to_string(), "max");
    /// ```
    pub const MAX: Self = Self(f64::INFINITY);

    /// Returns the speed that is this many times the original.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`](crate::ErrorKind::Config) if the factor is not a number greater than 0.
    ///
    /// ```
    /// assert_eq!(ttn::Speed::times(10.0)?.to_string(), "10");
    /// assert!(ttn::Speed::times(0.0).is_err());
    /// # Ok::<(), ttn::Error>(())
    /// ```
    pub fn times(factor: f64) -> Result<Self> {
        if factor.is_nan() || factor <= 0.0 {
            return Err(Error::config(format!(
                "the speed {factor} is not possible: use a number greater than 0, or max"
            )));
        }
        Ok(Self(factor))
    }

    /// Returns how long a time of the recording takes.
    pub(super) fn shorten(self, time: Duration) -> Duration {
        Duration::try_from_secs_f64(time.as_secs_f64() / self.0).unwrap_or(Duration::MAX)
    }
}

/// [`ORIGINAL`](Self::ORIGINAL).
impl Default for Speed {
    fn default() -> Self {
        Self::ORIGINAL
    }
}

impl FromStr for Speed {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if text == "max" {
            return Ok(Self::MAX);
        }
        let factor = text.parse().map_err(|_| {
            Error::config(format!(
                "the speed {text:?} is not a number; use a number greater than 0, such as 10, or max"
            ))
        })?;
        Self::times(factor)
    }
}

impl fmt::Display for Speed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::MAX {
            f.write_str("max")
        } else {
            self.0.fmt(f)
        }
    }
}
