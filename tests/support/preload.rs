//! Libraries of our own that a test loads before the system's, with `LD_PRELOAD`.

use std::env;
use std::ffi::OsStr;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Builds a library from a C file of `tests/support/`. Without a C compiler, prints to standard error
/// that the test is skipped, and returns `None`.
#[track_caller]
pub fn build(source: &str, folder: &Path, test: &str) -> Option<PathBuf> {
    let library = folder.join(source).with_extension("so");
    let source = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/support")
        .join(source);
    let arguments: [&OsStr; 5] = [
        "-shared".as_ref(),
        "-fPIC".as_ref(),
        "-o".as_ref(),
        library.as_ref(),
        source.as_ref(),
    ];
    let mut command = Command::new(env::var_os("CC").unwrap_or_else(|| "cc".into()));
    // Older C libraries have it in a separate library.
    let Ok(status) = command.args(arguments).arg("-ldl").status() else {
        let _ = writeln!(
            io::stderr(),
            "SKIPPED {test}: no C compiler (cc) was found."
        );
        return None;
    };
    assert!(status.success(), "cc does not build the library");
    Some(library)
}
