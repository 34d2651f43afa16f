//! A build without the feature `tls`: `cargo test --no-default-features --features simulator`.
#![cfg(all(unix, not(feature = "tls")))]

use std::{net::TcpListener, time::Duration};

use crate::support::{
    tls_server::{APP, KEY, network},
    watchdog::watchdog,
};
use ttn::{ErrorKind, MqttClient};

const LIMIT: Duration = Duration::from_secs(30);

#[test]
fn an_address_with_tls_is_an_error_that_names_the_feature() {
    let _guard = watchdog(LIMIT);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    listener.set_nonblocking(true).expect("a socket");
    // This port without a scheme means TLS.
    for address in [format!("mqtts://{address}"), "127.0.0.1:8883".to_owned()] {
        let client = MqttClient::builder(APP, KEY).mqtt_address(address).build();
        let error = client.and_then(|client| client.connect()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config, "{error}");
        assert!(!error.is_transient());
        let text = error.to_string();
        for words in ["feature `tls`", "mqtt://"] {
            assert!(text.contains(words), "{words:?} is missing in: {text}");
        }
        assert!(listener.accept().is_err(), "it has connected");
    }
}

#[test]
fn an_address_without_tls_works() {
    let _guard = watchdog(LIMIT);
    let network = network();
    let client = MqttClient::builder(APP, KEY)
        .mqtt_address(format!("mqtt://{}", network.address()))
        .build()
        .expect("the options are valid");
    client.connect().expect("the network is there");
    client.close().expect("no callback runs");
}
