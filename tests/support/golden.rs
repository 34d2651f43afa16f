//! The JSON of events, held by files in `tests/fixtures/serialized/`.

use std::{collections::BTreeSet, env, fs, path::PathBuf};

use serde::Serialize;
use serde_json::Value;

/// Writes the files anew instead of comparing with them.
const RENEW: &str = "TTN_TEST_RENEW_SERIALIZED";

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/serialized")
}

/// Compares the JSON of an event, member by member in its order, with the file of that name. A name is
/// the kind of the event, and after a `-` what is special.
pub fn compare(name: &str, event: &impl Serialize) {
    let found = serde_json::to_string_pretty(event).unwrap() + "\n";
    let file = folder().join(format!("{name}.json"));
    if env::var_os(RENEW).is_some() {
        fs::create_dir_all(folder()).unwrap();
        fs::write(&file, &found).unwrap();
    }
    let expected = fs::read_to_string(&file).unwrap_or_default();
    let expected: Vec<&str> = expected.lines().collect();
    for (index, line) in found.lines().enumerate() {
        assert_eq!(
            Some(&line),
            expected.get(index),
            "{name}.json, line {}: the JSON of an event has changed. Members may be added; none may be \
             removed, renamed or given another form. If it is right, run the test with {RENEW}=1 and \
             look at the difference",
            index + 1
        );
    }
    assert_eq!(found.lines().count(), expected.len(), "{name}.json");
}

/// Returns the kinds of the events that have a file.
pub fn kinds() -> BTreeSet<String> {
    let mut kinds = BTreeSet::new();
    for entry in fs::read_dir(folder()).unwrap() {
        let file = entry.unwrap().path();
        let event: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
        let kind = event["event"].as_str().unwrap().to_owned();
        let name = file.file_stem().unwrap().to_str().unwrap();
        assert_eq!(name.split('-').next(), Some(kind.as_str()), "{name}.json");
        kinds.insert(kind);
    }
    kinds
}
