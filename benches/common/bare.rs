//! Paho used directly, without this crate.

use std::{net::SocketAddr, sync::OnceLock};

use paho_mqtt::{
    AsyncClient, ConnectOptionsBuilder, CreateOptionsBuilder, MQTT_VERSION_3_1_1, PersistenceType,
    QOS_0, QOS_1,
};

use super::{APP_V3, FILTER_V3, KEY_V3, PATIENCE, source::Source};

/// Keeps one client alive: without it, dropping the last client takes up to a second.
static KEEPER: OnceLock<AsyncClient> = OnceLock::new();

pub fn create(source: &Source) -> AsyncClient {
    create_at(source.address())
}

pub fn create_at(address: SocketAddr) -> AsyncClient {
    create_as("bare", address)
}

/// Creates one with this client id.
pub fn create_as(id: &str, address: SocketAddr) -> AsyncClient {
    let create = |uri: String| {
        CreateOptionsBuilder::new()
            .server_uri(uri)
            .client_id(id)
            .persistence(PersistenceType::None)
            .max_buffered_messages(65_536)
            .create_client()
            .expect("the options are valid")
    };
    KEEPER.get_or_init(|| create("tcp://localhost:1".to_owned()));
    create(format!("tcp://{address}"))
}

/// Returns whether the server accepts the client.
pub fn connect(client: &AsyncClient) -> bool {
    connect_with(client, true)
}

/// Returns whether the server accepts the client, with a session that begins or goes on.
pub fn connect_with(client: &AsyncClient, clean_session: bool) -> bool {
    let options = ConnectOptionsBuilder::with_mqtt_version(MQTT_VERSION_3_1_1)
        .clean_session(clean_session)
        .user_name(APP_V3)
        .password(KEY_V3)
        .finalize();
    let connected = client.connect(options).wait_for(PATIENCE).is_ok();
    // The handle must not be dropped before Paho has released the token; this call waits for that.
    client.is_connected();
    connected
}

/// Subscribes to the filters of the client under test.
pub fn subscribe(client: &AsyncClient) {
    let token = client.subscribe(FILTER_V3, QOS_0);
    token.wait_for(PATIENCE).expect("the server grants it");
}

/// Subscribes to these at QoS 1.
pub fn subscribe_at_least_once(client: &AsyncClient, filter: &str) {
    let token = client.subscribe(filter, QOS_1);
    token.wait_for(PATIENCE).expect("the server grants it");
}

pub fn disconnect(client: &AsyncClient) {
    client
        .disconnect(None)
        .wait_for(PATIENCE)
        .expect("the server reads");
    client.is_connected();
}
