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
        }
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
            port: None,
            warnings: Vec::new(),
        }
    }

    /// Sets the FPort, whatever the request says; v3 takes it modulo 256, and V2 ignores it. Default:
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
