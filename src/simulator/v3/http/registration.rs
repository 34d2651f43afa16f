//! What the servers know about a device, and which parts of it can be asked for.

use std::time::{Duration, SystemTime};

use super::route::{Registry, Route};
use crate::simulator::{
    json::{self, Object},
    lorawan::DeviceId,
    v3::{device::Device, messages},
};

/// What a list can be sorted by.
pub(super) const ORDERS: [&str; 7] = [
    "device_id",
    "join_eui",
    "dev_eui",
    "name",
    "description",
    "created_at",
    "last_seen_at",
];

/// The parts that everybody may know.
const ALWAYS: [&str; 3] = ["ids", "created_at", "updated_at"];
/// The parts of applications and devices at the Identity Server.
const REGISTERED: [&str; 6] = [
    "name",
    "description",
    "attributes",
    "network_server_address",
    "application_server_address",
    "join_server_address",
];
/// The parts that only devices have there.
const OF_DEVICES: [&str; 2] = ["last_seen_at", "activated_at"];
const AT_APPLICATION_SERVER: [&str; 3] =
    ["session", "session.dev_addr", "session.last_a_f_cnt_down"];
const AT_NETWORK_SERVER: [&str; 5] = [
    "session",
    "session.dev_addr",
    "session.last_f_cnt_up",
    "session.last_n_f_cnt_down",
    "session.started_at",
];

/// The address of the servers of this cluster.
const HERE: &str = "127.0.0.1";

/// Returns whether that part can be asked for there.
pub(super) fn has(route: &Route, path: &str) -> bool {
    let lists: [&[&str]; 2] = match route {
        Route::Application(_) => [&REGISTERED, &[]],
        Route::Devices(_) | Route::Device(Registry::Identity, ..) => [&REGISTERED, &OF_DEVICES],
        Route::Device(Registry::Application, ..) => [&AT_APPLICATION_SERVER, &[]],
        Route::Device(Registry::Network, ..) => [&AT_NETWORK_SERVER, &[]],
        _ => [&[], &[]],
    };
    ALWAYS.contains(&path) || lists.iter().any(|parts| parts.contains(&path))
}

/// Returns whether that part of an application is for those who may know more than that it exists.
pub(super) fn is_private(path: &str) -> bool {
    !ALWAYS.contains(&path)
}

/// Returns a device as the Identity Server prints it.
pub(super) fn registered(id: DeviceId<'_>, device: &Device, mask: &[String]) -> String {
    let asked = |part: &str| mask.iter().any(|path| path == part);
    let text = |part: &str, text: &str| match asked(part) {
        true => text.to_owned(),
        false => String::new(),
    };
    let time = |part: &str, time: Option<SystemTime>| {
        let time = time.filter(|_| asked(part))?;
        Some(messages::time(micros(time)))
    };
    let address = device.elsewhere.as_deref().unwrap_or(HERE);
    Object::new()
        .member("ids", device.ids(id).of_request().message())
        .member("created_at", messages::time(micros(device.created_at)))
        .member("updated_at", messages::time(micros(device.updated_at)))
        .string("name", &text("name", &device.name))
        .string(
            "network_server_address",
            &text("network_server_address", address),
        )
        .string(
            "application_server_address",
            &text("application_server_address", address),
        )
        .string("join_server_address", &text("join_server_address", address))
        .option("activated_at", time("activated_at", device.activated_at))
        .option("last_seen_at", time("last_seen_at", device.last_seen_at))
        .finish()
}

/// Returns a device as another server prints it.
pub(super) fn served(
    registry: Registry,
    id: DeviceId<'_>,
    device: &Device,
    mask: &[String],
) -> String {
    let mut ids = device.ids(id);
    ids.dev_addr = match (&device.session, registry) {
        (Some(session), Registry::Network) => format!("{:08X}", session.dev_addr),
        _ => String::new(),
    };
    let changed = device.last_seen_at.unwrap_or(device.created_at);
    let asked = |part: &str| {
        let is_whole = |path: &String| path == "session";
        mask.iter()
            .any(|path| is_whole(path) || path.strip_prefix("session.") == Some(part))
    };
    let session = device.session.as_ref().map(|session| {
        let number = |part: &str, number: u32| if asked(part) { number } else { 0 };
        let address = json::string(&format!("{:08X}", session.dev_addr));
        let started = messages::time(session.started_at);
        let object = Object::new().option("dev_addr", asked("dev_addr").then_some(address));
        match registry {
            Registry::Network => object
                .integer(
                    "last_f_cnt_up",
                    number("last_f_cnt_up", session.up_counter.unwrap_or_default()),
                )
                .integer(
                    "last_n_f_cnt_down",
                    number("last_n_f_cnt_down", session.sent.unwrap_or_default()),
                )
                .option("started_at", asked("started_at").then_some(started)),
            _ => object.integer(
                "last_a_f_cnt_down",
                number("last_a_f_cnt_down", session.given),
            ),
        }
        .finish()
    });
    let asks_for_session = mask.iter().any(|path| path.starts_with("session"));
    Object::new()
        .member("ids", ids.message())
        .member("created_at", messages::time(device.created_at))
        .member("updated_at", messages::time(changed))
        .option("session", session.filter(|_| asks_for_session))
        .finish()
}

/// Returns a time as the database of the Identity Server keeps it.
pub(super) fn micros(time: SystemTime) -> SystemTime {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    let micros = since.unwrap_or_default().as_micros();
    SystemTime::UNIX_EPOCH + Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
}
