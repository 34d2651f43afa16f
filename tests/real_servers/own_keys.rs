//! Applications that keep the session keys of their devices.

use super::stage::Scene;

#[test]
fn an_application_that_keeps_its_keys_counts_its_downlinks_itself() {
    Scene::new("own-crypto")
        .first(|stage| {
            stage.device.keeps_own_keys("mine");
            stage.device.forget_session();
        })
        .plays();
}
