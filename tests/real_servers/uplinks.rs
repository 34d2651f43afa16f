//! Uplinks and joins.

use super::stage::Scene;

#[test]
fn each_copy_of_a_frame_counts_once() {
    Scene::new("up-retrans").plays();
}
