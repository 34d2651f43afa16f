//! What payload functions return.

use serde_json::Value;

/// What a decoder returns: [`Simulator::set_decoder`](crate::simulator::Simulator::set_decoder) and
/// [`Simulator::set_downlink_decoder`](crate::simulator::Simulator::set_downlink_decoder).
///
/// A decoder without warnings can return a [`Value`] or an `Option<Value>` instead.
///
/// ```
/// use serde_json::json;
/// use ttn::Network;
/// use ttn::simulator::{Decoded, Simulator};
///
/// let network = Simulator::start(Network::V3)?;
/// network.set_decoder(|_port, bytes| {
///     let decoded = Decoded::new(json!({"level": bytes[0]}));
///     Ok(if bytes[0] > 100 { decoded.warning("level above 100") } else { decoded })
/// });
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Decoded {
    pub(crate) fields: Option<Value>,
    pub(crate) warnings: Vec<String>,
    pub(crate) crashes: bool,
    pub(crate) failure: Option<Failure>,
}

/// What a JavaScript function does that a closure cannot.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Failure {
    /// It returns a number that JSON lacks.
    Number(f64),
    Endless,
}

impl Decoded {
    /// Creates a result with these fields: an object. v3 publishes `null` as `{}` and an array as an
    /// object with the keys `"0"`, `"1"` and so on; any other value is an error.
    ///
    /// ```
    /// use serde_json::json;
    /// use ttn::simulator::Decoded;
    ///
    /// let decoded = Decoded::new(json!({"level": 7}));
    /// ```
    pub fn new(fields: Value) -> Self {
        Some(fields).into()
    }

    /// Adds a warning, which v3 publishes as `decoded_payload_warnings`. V2 ignores it. Default: none.
    ///
    /// ```
    /// use serde_json::json;
    /// use ttn::simulator::Decoded;
    ///
    /// let decoded = Decoded::new(json!({"level": 101})).warning("level above 100");
    /// ```
    #[must_use]
    pub fn warning(mut self, warning: impl Into<String>) -> Self {
        self.warnings.push(warning.into());
        self
    }

    /// Creates a result that makes the v3 Application Server fail, as a JavaScript `Date` anywhere in
    /// the fields does: the uplink is never published, though its acknowledgement of a downlink is. On
    /// V2, and for a downlink, it stands for no fields.
    ///
    /// ```
    /// use ttn::simulator::Decoded;
    ///
    /// let decoded = Decoded::crash();
    /// ```
    pub fn crash() -> Self {
        Self {
            crashes: true,
            ..None.into()
        }
    }

    /// Creates a result with this number, NaN or an infinity, somewhere in the fields: JSON lacks it, so
    /// the uplink is published without fields. V2 also publishes `up/errors`.
    ///
    /// ```
    /// use ttn::simulator::Decoded;
    ///
    /// let decoded = Decoded::number(f64::NAN);
    /// ```
    pub fn number(number: f64) -> Self {
        Self {
            failure: Some(Failure::Number(number)),
            ..None.into()
        }
    }

    /// Creates the result of a function that does not end: the network cuts it off after 100 ms, and
    /// publishes the uplink without fields. V2 also publishes `up/errors`. The simulator does not wait.
    ///
    /// ```
    /// use ttn::simulator::Decoded;
    ///
    /// let decoded = Decoded::endless();
    /// ```
    pub fn endless() -> Self {
        Self {
            failure: Some(Failure::Endless),
            ..None.into()
        }
    }
}

impl From<Value> for Decoded {
    fn from(fields: Value) -> Self {
        Self::new(fields)
    }
}

/// `None` stands for no fields.
impl From<Option<Value>> for Decoded {
    fn from(fields: Option<Value>) -> Self {
        Self {
            fields,
            warnings: Vec::new(),
            crashes: false,
            failure: None,
        }
    }
}

/// What a validator returns:
/// [`Simulator::set_validator`](crate::simulator::Simulator::set_validator).
///
/// A validator can return a `bool` instead, or a `Result` with a [`Value`] that should be one.
///
/// ```
/// use serde_json::{Value, json};
/// use ttn::simulator::Validated;
///
/// let accepted = Validated::from(true);
/// let thrown = Validated::from(Err::<Value, _>("TypeError: no level".to_owned()));
/// let not_a_boolean = Validated::from(Ok(json!("yes")));
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Validated(pub(crate) Result<Value, String>);

impl From<bool> for Validated {
    fn from(accepted: bool) -> Self {
        Self(Ok(accepted.into()))
    }
}

impl From<Result<Value, String>> for Validated {
    fn from(result: Result<Value, String>) -> Self {
        Self(result)
    }
}

/// What an encoder returns: [`Simulator::set_encoder`](crate::simulator::Simulator::set_encoder).
///
/// An encoder that chooses no FPort and has no warnings can return a `Vec<u8>` instead.
///
/// ```
/// use ttn::Network;
/// use ttn::simulator::{Encoded, Simulator};
///
/// let network = Simulator::start(Network::V3)?;
/// network.set_encoder(|_port, fields| {
///     let led = fields["led"].as_bool().ok_or("led is not a boolean")?;
///     Ok(Encoded::new([u8::from(led)]).port(12).warning("led is deprecated"))
/// });
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    pub(crate) bytes: Vec<u8>,
    /// What it returned if that is no array of bytes.
    pub(crate) value: Option<Value>,
    pub(crate) port: Option<u32>,
    pub(crate) warnings: Vec<String>,
}

impl Encoded {
    /// Creates a result with these bytes.
    ///
    /// ```
    /// use ttn::simulator::Encoded;
    ///
    /// let encoded = Encoded::new([1, 0]);
    /// ```
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self {
            bytes: bytes.into(),
            value: None,
            port: None,
            warnings: Vec::new(),
        }
    }

    /// Creates a result with what a JavaScript encoder returned. It should be an array of whole numbers
    /// from 0 to 255; anything else is an error.
    ///
    /// ```
    /// use serde_json::json;
    /// use ttn::simulator::Encoded;
    ///
    /// let encoded = Encoded::value(json!([1, 2.5]));
    /// ```
    pub fn value(value: Value) -> Self {
        let bytes: Option<Vec<u8>> = value.as_array().and_then(|numbers| {
            let bytes = numbers.iter().map(|number| byte(number.as_f64()?));
            bytes.collect()
        });
        let is_wrong = bytes.is_none();
        Self {
            value: is_wrong.then_some(value),
            ..Self::new(bytes.unwrap_or_default())
        }
    }

    /// Sets the FPort, in place of that of the request; v3 takes it modulo 256, and V2 ignores it. Default:
    /// that of the request, or 1.
    ///
    /// An encoder that returns the FPort it was given, as CayenneLPP and encoders in the style of V2 do
    /// on v3, returns 0 for a request without one: that downlink fails with `no_f_port`.
    ///
    /// ```
    /// use ttn::Network;
    /// use ttn::simulator::{Encoded, Simulator};
    ///
    /// let network = Simulator::start(Network::V3)?;
    /// network.set_encoder(|port, _fields| Ok(Encoded::new([1]).port(port.into())));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[must_use]
    pub fn port(mut self, port: u32) -> Self {
        self.port = Some(port);
        self
    }

    /// Adds a warning, which v3 publishes with the downlink in `down/queued`. V2 ignores it. Default:
    /// none.
    ///
    /// ```
    /// use ttn::simulator::Encoded;
    ///
    /// let encoded = Encoded::new([1]).warning("led is deprecated");
    /// ```
    #[must_use]
    pub fn warning(mut self, warning: impl Into<String>) -> Self {
        self.warnings.push(warning.into());
        self
    }
}

/// Returns the number as a byte if it is one.
fn byte(number: f64) -> Option<u8> {
    let is_byte = number.fract() == 0.0 && (0.0..=255.0).contains(&number);
    is_byte.then_some(number as u8)
}

impl From<Vec<u8>> for Encoded {
    fn from(bytes: Vec<u8>) -> Self {
        Self::new(bytes)
    }
}

/// What a normalizer returns:
/// [`Simulator::set_normalizer`](crate::simulator::Simulator::set_normalizer).
///
/// A normalizer without warnings can return a [`Value`] for one measurement or a `Vec<Value>` for
/// several instead.
///
/// ```
/// use serde_json::json;
/// use ttn::Network;
/// use ttn::simulator::{Normalized, Simulator};
///
/// let network = Simulator::start(Network::V3)?;
/// network.set_normalizer(|fields| {
///     let air = json!({"air": {"temperature": fields["t"]}});
///     Ok(Normalized::new([air]).warning("not calibrated"))
/// });
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Normalized {
    pub(crate) measurements: Vec<Value>,
    pub(crate) warnings: Vec<String>,
    pub(crate) crashes: bool,
}

impl Normalized {
    /// Creates a result with these measurements. Without any, nothing is normalized, as if a JavaScript
    /// function returned `errors`.
    ///
    /// ```
    /// use serde_json::json;
    /// use ttn::simulator::Normalized;
    ///
    /// let normalized = Normalized::new([json!({"air": {"temperature": 21.5}})]);
    /// ```
    pub fn new(measurements: impl IntoIterator<Item = Value>) -> Self {
        Self {
            measurements: measurements.into_iter().collect(),
            ..Self::default()
        }
    }

    /// Adds a warning. Default: none.
    ///
    /// ```
    /// use serde_json::json;
    /// use ttn::simulator::Normalized;
    ///
    /// let normalized = Normalized::new([json!({"wind": {"speed": 3}})]).warning("gusts left out");
    /// ```
    #[must_use]
    pub fn warning(mut self, warning: impl Into<String>) -> Self {
        self.warnings.push(warning.into());
        self
    }

    /// Creates a result that makes the Application Server fail; see [`Decoded::crash`].
    ///
    /// ```
    /// use ttn::simulator::Normalized;
    ///
    /// let normalized = Normalized::crash();
    /// ```
    pub fn crash() -> Self {
        Self {
            crashes: true,
            ..Self::default()
        }
    }
}

impl From<Value> for Normalized {
    fn from(measurement: Value) -> Self {
        Self::new([measurement])
    }
}

impl From<Vec<Value>> for Normalized {
    fn from(measurements: Vec<Value>) -> Self {
        Self::new(measurements)
    }
}
