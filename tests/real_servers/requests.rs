//! Requests that are silently dropped or read in a surprising way.

use super::stage::Scene;

#[test]
fn some_requests_leave_no_trace() {
    Scene::new("down-silent").plays();
}

#[test]
fn an_unknown_device_is_not_answered() {
    Scene::new("down-unknown")
        .first(|stage| assert!(stage.network.delete_device("down-unknown")))
        .plays();
}
