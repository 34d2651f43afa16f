//! Paho used directly, with its own sockets and OpenSSL.

use std::{sync::OnceLock, time::Duration};

use paho_mqtt::{
    AsyncClient, ConnectOptionsBuilder, CreateOptionsBuilder, MQTT_VERSION_3_1_1, PersistenceType,
    QOS_0, SslOptionsBuilder,
};

use crate::program::{APP, KEY, Server};

/// Matches everything that a v3 network publishes about an application's devices.
const FILTER: &str = "v3/bench-app@ttn/devices/+/#";

const PATIENCE: Duration = Duration::from_secs(30);

/// Keeps one client alive: without it, dropping the last client takes up to a second.
static KEEPER: OnceLock<AsyncClient> = OnceLock::new();

pub(crate) fn create(address: &str, number: usize) -> AsyncClient {
    CreateOptionsBuilder::new()
        .server_uri(address)
        .client_id(format!("by-hand-{number}"))
        .persistence(PersistenceType::None)
        .create_client()
        .expect("the options are valid")
}

/// Connects and subscribes.
pub(crate) fn connect(client: &AsyncClient, server: &Server) {
    let mut options = ConnectOptionsBuilder::with_mqtt_version(MQTT_VERSION_3_1_1);
    options.clean_session(true).user_name(APP).password(KEY);
    if let Some(authority) = &server.authority {
        let mut ssl = SslOptionsBuilder::new();
        // Without `verify` Paho checks the chain but not the host name.
        ssl.enable_server_cert_auth(true).verify(true);
        ssl.trust_store(authority).expect("the file has a path");
        options.ssl_options(ssl.finalize());
    }
    let connected = client.connect(options.finalize()).wait_for(PATIENCE);
    connected.expect("the server accepts");
    let subscribed = client.subscribe(FILTER, QOS_0).wait_for(PATIENCE);
    subscribed.expect("the server grants it");
}

/// Disconnects and drops the client.
pub(crate) fn close(client: AsyncClient) {
    KEEPER.get_or_init(|| create("tcp://localhost:1", 0));
    let disconnected = client.disconnect(None).wait_for(PATIENCE);
    disconnected.expect("the server reads");
    // The handle must not be dropped before Paho has released the token; this call waits for that.
    client.is_connected();
}
