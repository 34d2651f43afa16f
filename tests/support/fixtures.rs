//! The fixtures that the published package leaves out because of their size.

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    thread,
};

/// Returns the path of a folder of `tests/fixtures` that the published package does not have. There it returns `None`,
/// and says that the test is skipped. In a checkout the folder has to exist.
pub fn of_checkout(folder: &str) -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let path = root.join("tests/fixtures").join(folder);
    // Cargo adds this file to a package.
    if path.exists() || !root.join("Cargo.toml.orig").exists() {
        return Some(path);
    }
    let thread = thread::current();
    let test = thread.name().unwrap_or("a test");
    // Not `eprintln!`: the test harness would swallow it.
    let _ = writeln!(
        io::stderr(),
        "SKIPPED {test}: the package does not contain tests/fixtures/{folder}. Run it in a checkout of the sources."
    );
    None
}
