//! The routes that are served.

/// What a request is for; ids as they are in the path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Route {
    AuthInfo,
    Application(String),
    Rights(String),
    Devices(String),
    Device(Registry, String, String),
    ConnectionInfo(String),
    Configuration,
    FrequencyPlans,
    Queue(String, String),
    Push(String, String),
    Replace(String, String),
    Simulate(String, String),
}

/// The server that is asked about a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Registry {
    Identity,
    Application,
    Network,
}

impl Route {
    /// Returns the route of a path below `/api/v3/`. As in the open source edition, there is no storage;
    /// its routes would be the ones of `packages/storage`, next to `events`.
    pub(super) fn of(path: &str) -> Option<Self> {
        let levels: Vec<String> = path.split('/').map(decoded).collect::<Option<_>>()?;
        let levels: Vec<&str> = levels.iter().map(String::as_str).collect();
        let device =
            |registry, app: &str, dev: &str| Self::Device(registry, app.to_owned(), dev.to_owned());
        Some(match levels[..] {
            ["auth_info"] => Self::AuthInfo,
            ["applications", app] => Self::Application(app.to_owned()),
            ["applications", app, "rights"] => Self::Rights(app.to_owned()),
            ["applications", app, "devices"] => Self::Devices(app.to_owned()),
            ["applications", app, "devices", dev] => device(Registry::Identity, app, dev),
            ["configuration", "frequency-plans"] => Self::FrequencyPlans,
            ["as", "configuration"] => Self::Configuration,
            ["as", "applications", app, "mqtt-connection-info"] => {
                Self::ConnectionInfo(app.to_owned())
            }
            ["as", "applications", app, "devices", dev] => device(Registry::Application, app, dev),
            ["ns", "applications", app, "devices", dev] => device(Registry::Network, app, dev),
            ["as", "applications", app, "devices", dev, group, operation] => {
                let (app, dev) = (app.to_owned(), dev.to_owned());
                match (group, operation) {
                    ("up", "simulate") => Self::Simulate(app, dev),
                    ("down", "push") => Self::Push(app, dev),
                    ("down", "replace") => Self::Replace(app, dev),
                    _ => return None,
                }
            }
            ["as", "applications", app, "devices", dev, "down"] => {
                Self::Queue(app.to_owned(), dev.to_owned())
            }
            _ => return None,
        })
    }

    pub(super) fn method(&self) -> &'static str {
        match self {
            Self::Push(..) | Self::Replace(..) | Self::Simulate(..) => "POST",
            _ => "GET",
        }
    }

    /// Returns whether the Identity Server serves it.
    pub(super) fn is_of_identity_server(&self) -> bool {
        matches!(
            self,
            Self::AuthInfo
                | Self::Application(_)
                | Self::Rights(_)
                | Self::Devices(_)
                | Self::Device(Registry::Identity, ..)
        )
    }

    /// Returns the ids of the application and the device in the path.
    pub(super) fn ids(&self) -> (Option<&str>, Option<&str>) {
        match self {
            Self::AuthInfo | Self::Configuration | Self::FrequencyPlans => (None, None),
            Self::Application(app)
            | Self::Rights(app)
            | Self::Devices(app)
            | Self::ConnectionInfo(app) => (Some(app), None),
            Self::Device(_, app, dev)
            | Self::Queue(app, dev)
            | Self::Push(app, dev)
            | Self::Replace(app, dev)
            | Self::Simulate(app, dev) => (Some(app), Some(dev)),
        }
    }

    /// Returns service and method of gRPC.
    pub(super) fn call(&self) -> &'static str {
        match self {
            Self::AuthInfo => "EntityAccess/AuthInfo",
            Self::Application(_) => "ApplicationRegistry/Get",
            Self::Rights(_) => "ApplicationAccess/ListRights",
            Self::Devices(_) => "EndDeviceRegistry/List",
            Self::Device(Registry::Identity, ..) => "EndDeviceRegistry/Get",
            Self::Device(Registry::Application, ..) => "AsEndDeviceRegistry/Get",
            Self::Device(Registry::Network, ..) => "NsEndDeviceRegistry/Get",
            Self::ConnectionInfo(_) => "AppAs/GetMQTTConnectionInfo",
            Self::Configuration => "As/GetConfiguration",
            Self::FrequencyPlans => "Configuration/ListFrequencyPlans",
            Self::Queue(..) => "AppAs/DownlinkQueueList",
            Self::Push(..) => "AppAs/DownlinkQueuePush",
            Self::Replace(..) => "AppAs/DownlinkQueueReplace",
            Self::Simulate(..) => "AppAs/SimulateUplink",
        }
    }

    /// Returns the name of the message of gRPC that the parameters fill.
    pub(super) fn message(&self) -> &'static str {
        match self {
            Self::Application(_) => "GetApplicationRequest",
            Self::Devices(_) => "ListEndDevicesRequest",
            Self::Device(..) => "GetEndDeviceRequest",
            _ => "",
        }
    }
}

/// Returns text without escapes; `None` if they are not UTF-8 or no escapes.
pub(super) fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || char::from(rest.next()?).to_digit(16);
        bytes.push((digit()? * 16 + digit()?) as u8);
    }
    String::from_utf8(bytes).ok()
}
