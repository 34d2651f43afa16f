//! An address that was read prints as text that reads back as the same address.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ttn::{Error, ErrorKind, Network, fuzzing};

fuzz_target!(|text: &str| {
    match fuzzing::mqtt_address(text) {
        Ok(printed) => {
            check_printed(&printed, &["mqtt://", "mqtts://"]);
            assert_eq!(fuzzing::mqtt_address(&printed).unwrap(), printed);
            let secure = printed.starts_with("mqtts://");
            match text.split_once("://") {
                Some((scheme, _)) => assert_eq!(secure, scheme == "mqtts"),
                None => assert_eq!(secure, printed.ends_with(":8883")),
            }
        }
        Err(error) => check_error(&error, text),
    }
    for network in [Network::V2, Network::V3] {
        match fuzzing::discovery_address(network, text) {
            Ok((printed, host)) => {
                check_printed(&printed, &["http://", "https://"]);
                assert!(
                    !host.is_empty() && printed.contains(&host),
                    "{host:?} of {printed:?}"
                );
                // It could be that of an MQTT server.
                let in_brackets = match host.contains(':') {
                    true => format!("[{host}]"),
                    false => host.clone(),
                };
                let mqtt = fuzzing::mqtt_address(&format!("mqtt://{in_brackets}"));
                assert_eq!(mqtt.unwrap(), format!("mqtt://{in_brackets}:1883"));
                let again = fuzzing::discovery_address(network, &printed).unwrap();
                assert_eq!(again, (printed, host));
            }
            Err(error) => check_error(&error, text),
        }
    }
});

fn check_printed(printed: &str, schemes: &[&str]) {
    assert!(
        schemes.iter().any(|scheme| printed.starts_with(scheme)),
        "{printed:?}"
    );
    let bad = |c: char| c.is_whitespace() || c.is_control() || "@?#\\".contains(c);
    assert!(!printed.contains(bad), "{printed:?}");
}

/// Checks that the error quotes the input, unless it may contain a key.
fn check_error(error: &Error, text: &str) {
    assert_eq!(error.kind(), ErrorKind::Config);
    let sentence = error.to_string();
    assert!(!sentence.contains(char::is_control), "{sentence:?}");
    assert!(!sentence.contains('@'), "{sentence}");
    assert!(
        text.contains('@') || sentence.contains(&format!("{text:?}")),
        "{sentence}"
    );
}
