//! Which keys open the simulated v3 network over MQTT.

use std::time::{Duration, SystemTime};

use ttn::simulator::{KeyOf, Simulator};

use super::{ALL, APP, KEY, PUSH, start};
use crate::support::raw::{Hello, Raw};

const READ: &str = "RIGHT_APPLICATION_TRAFFIC_READ";
const WRITE: &str = "RIGHT_APPLICATION_TRAFFIC_DOWN_WRITE";
const INFO: &str = "RIGHT_APPLICATION_INFO";
const REQUEST: &str = r#"{"downlinks":[{"f_port":1,"frm_payload":"AQ=="}]}"#;

fn hello<'a>(network: &'a Simulator, key: &'a str) -> Hello<'a> {
    Hello {
        password: Some(key),
        ..Hello::of(network)
    }
}

fn is_refused(network: &Simulator, key: &str) {
    Raw::refused(network, &hello(network, key), 5);
}

fn is_accepted(network: &Simulator, key: &str) -> Raw {
    Raw::accepted(network, &hello(network, key))
}

#[test]
fn any_one_right_opens_mqtt_and_traffic_rights_decide_what_passes() {
    let network = start();
    let device = network.device("pump-1");
    is_refused(&network, "NNSXS.NEW.KEY");
    network.set_rights(APP, "NNSXS.NEW.KEY", &[]);
    is_refused(&network, "NNSXS.NEW.KEY");
    for (rights, reads, writes) in [
        (&[INFO][..], false, false),
        (&[READ], true, false),
        (&[WRITE], false, true),
        (&["RIGHT_APPLICATION_LINK"], true, true),
        (&["RIGHT_APPLICATION_ALL"], true, true),
    ] {
        network.set_rights(APP, "NNSXS.NEW.KEY", rights);
        device.replace_over_http(&serde_json::json!({"downlinks": []}));
        let mut client = is_accepted(&network, "NNSXS.NEW.KEY");
        client.subscribe(ALL, 0);
        client.publish_1(PUSH, REQUEST);
        assert_eq!(device.queue().len(), usize::from(writes), "{rights:?}");
        device.uplink(1, [1]);
        let heard = client.publish_1("v3/nowhere", "");
        assert_eq!(!heard.is_empty(), reads, "{rights:?}");
    }
}

#[test]
fn a_key_that_expired_or_whose_application_was_deleted_is_answered_with_5() {
    let network = start();
    let now = SystemTime::now();
    assert!(network.expire_key(APP, KEY, now + Duration::from_secs(3600)));
    is_accepted(&network, KEY);
    assert!(network.expire_key(APP, KEY, now - Duration::from_secs(1)));
    is_refused(&network, KEY);
    assert!(!network.expire_key(APP, "NNSXS.UNKNOWN.KEY", now));

    network.add_application("orchard@ttn", "NNSXS.ORCHARD.KEY");
    let hello = Hello {
        username: Some("orchard@ttn"),
        password: Some("NNSXS.ORCHARD.KEY"),
        ..Hello::of(&network)
    };
    Raw::accepted(&network, &hello);
    assert!(network.delete_application("orchard@ttn"));
    Raw::refused(&network, &hello, 5);
    network.add_application("orchard@ttn", "NNSXS.ORCHARD.NEW");
    Raw::refused(&network, &hello, 5);
}

#[test]
fn keys_of_users_and_organizations_open_applications_and_those_of_gateways_do_not() {
    let network = start();
    let key = "NNSXS.PERSONAL.KEY";
    for (of, rights, opens) in [
        (KeyOf::User("gardener"), &[READ][..], true),
        (KeyOf::User("other"), &["RIGHT_USER_INFO"], false),
        (KeyOf::Organization("growers"), &[READ], true),
        (KeyOf::Gateway("roof-east"), &[READ], false),
        (KeyOf::Client("dashboard"), &[READ], false),
    ] {
        let network = start();
        network.add_other_key(key, of, rights);
        match opens {
            true => drop(is_accepted(&network, key)),
            false => is_refused(&network, key),
        }
    }
    network.add_other_key(key, KeyOf::User("gardener"), &[READ]);
    network.suspend_user("gardener", true);
    is_refused(&network, key);
    is_accepted(&network, KEY);
    network.suspend_user("gardener", false);
    is_accepted(&network, key);
}

#[test]
fn without_an_identity_server_every_key_is_answered_with_5() {
    let network = start();
    network.identity_server_elsewhere(true);
    is_accepted(&network, KEY);
    network.identity_server_down(true);
    is_refused(&network, KEY);
    network.identity_server_down(false);
    is_accepted(&network, KEY);
}

#[test]
fn a_device_of_another_cluster_is_not_heard_and_takes_no_downlinks() {
    let network = start();
    let device = network.device("pump-1");
    device.on_other_cluster("nam1.example.org");
    let mut client = Raw::subscribed(&network, &[ALL]);
    device.join();
    assert_eq!(device.uplink(1, [1]), 0);
    assert!(client.publish_1(PUSH, REQUEST).is_empty());
    assert!(device.queue().is_empty());
}
