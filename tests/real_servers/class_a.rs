//! Downlinks to class A devices.

use super::stage::Scene;

#[test]
fn a_device_gets_one_downlink_with_each_uplink() {
    Scene::new("down-basic").plays();
}
