//! What a real server of The Things Stack sent, played again on the simulated network and compared.
//!
//! Recorded answers over HTTP are in `tests/fixtures/v3-http`.
//!
//! The recordings are in `tests/fixtures/v3-real`, one for each test. A test sets up what its recording
//! does not contain, such as a payload formatter or a gateway without a clock.

#![allow(unreachable_pub, reason = "this target exports nothing anyway")]

#[path = "../support/mod.rs"]
mod support;

mod class_a;
mod class_c;
mod difference;
mod formatters;
mod http;
mod http_client;
mod http_events;
mod http_faults;
mod http_storage;
mod http_streams;
mod json;
mod normal;
mod own_keys;
mod recording;
mod requests;
mod sessions;
mod site;
mod stage;
mod uplinks;

#[test]
fn every_recording_is_played() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let files = |folder: &str| {
        let entries = std::fs::read_dir(root.join(folder)).unwrap();
        entries.map(|entry| entry.unwrap().path())
    };
    let sources: String = files("tests/real_servers")
        .map(|file| std::fs::read_to_string(file).unwrap())
        .collect();
    if support::fixtures::of_checkout("v3-real").is_none() {
        return;
    }
    let scenarios = files("tests/fixtures/v3-real")
        .filter(|file| file.extension().is_some_and(|end| end == "ndjson"))
        .map(|file| file.file_stem().unwrap().to_str().unwrap().to_owned());
    let is_played = |scenario: &String| sources.contains(&format!("Scene::new(\"{scenario}\")"));
    let forgotten: Vec<String> = scenarios.filter(|scenario| !is_played(scenario)).collect();
    assert!(forgotten.is_empty(), "{forgotten:?}");
}
