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
    Storage(Stored),
    Events,
}

/// What is asked of the storage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stored {
    pub(super) app: String,
    pub(super) dev: Option<String>,
    /// Of the messages; empty for all.
    pub(super) kind: String,
    /// Whether only their number is asked for.
    pub(super) is_count: bool,
}

/// The server that is asked about a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Registry {
    Identity,
    Application,
    Network,
}

impl Route {
    /// Returns the route of a path below `/api/v3/`.
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
            ["events"] => Self::Events,
            [
                "as",
                "applications",
                app,
                "packages",
                "storage",
                ref rest @ ..,
            ] => Self::storage(app, None, rest)?,
            [
                "as",
                "applications",
                app,
                "devices",
                dev,
                "packages",
                "storage",
                ref rest @ ..,
            ] => Self::storage(app, Some(dev), rest)?,
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

    fn storage(app: &str, dev: Option<&str>, rest: &[&str]) -> Option<Self> {
        let (kind, is_count) = match rest {
            [kind] => (*kind, false),
            [kind, "count"] => (*kind, true),
            _ => return None,
        };
        Some(Self::Storage(Stored {
            app: app.to_owned(),
            dev: dev.map(str::to_owned),
            kind: kind.to_owned(),
            is_count,
        }))
    }

    /// Returns whether the answer comes frame by frame.
    pub(super) fn is_stream(&self) -> bool {
        match self {
            Self::Storage(stored) => !stored.is_count,
            Self::Events => true,
            _ => false,
        }
    }

    pub(super) fn method(&self) -> &'static str {
        match self {
            Self::Push(..) | Self::Replace(..) | Self::Simulate(..) | Self::Events => "POST",
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
            Self::AuthInfo | Self::Configuration | Self::FrequencyPlans | Self::Events => {
                (None, None)
            }
            Self::Storage(stored) => (Some(&stored.app), stored.dev.as_deref()),
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
            Self::Storage(stored) if stored.is_count => {
                "ApplicationUpStorage/GetStoredApplicationUpCount"
            }
            Self::Storage(_) => "ApplicationUpStorage/GetStoredApplicationUp",
            Self::Events => "Events/Stream",
        }
    }

    /// Returns the name of the message of gRPC that the parameters fill.
    pub(super) fn message(&self) -> &'static str {
        match self {
            Self::Application(_) => "GetApplicationRequest",
            Self::Devices(_) => "ListEndDevicesRequest",
            Self::Device(..) => "GetEndDeviceRequest",
            Self::Storage(stored) if stored.is_count => "GetStoredApplicationUpCountRequest",
            Self::Storage(_) => "GetStoredApplicationUpRequest",
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
