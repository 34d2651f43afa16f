//! Name lookups that fail or stall when a test says so: a library of our own is loaded before the
//! system's.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::io::{self, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::child::{run_alone, run_in_network, want_of_network};

/// Names with this end are looked up as a test says, in a process of [`run_with_names`].
pub const NAME: &str = "server.fault.test";

const FILE: &str = "TTN_TEST_NAMES";

/// What becomes of lookups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lookup<'a> {
    /// They give 127.0.0.1.
    Found,
    /// They give these addresses, in this order.
    At(&'a [IpAddr]),
    /// They fail: there is no such name.
    Unknown,
    /// They fail: no name server answers.
    Again,
    /// They wait for something else to be said, and fail after 30 s.
    Stall,
}

/// Runs one test of this program in a process of its own, whose lookups can be told what to do.
/// Without a C compiler it says on standard error that the test is skipped.
pub fn run_with_names(module: &str, test: &str) {
    run_with(test, |variables| run_alone(module, test, variables));
}

/// The same in a network of its own, which the kernel keeps apart from that of the machine: these
/// commands of the shell set it up. Where a user may not have one, the test is skipped as well.
pub fn run_with_names_and_network(setup: &str, module: &str, test: &str) {
    if let Some(reason) = want_of_network(setup) {
        let _ = writeln!(io::stderr(), "SKIPPED {test}: {reason}");
        return;
    }
    run_with(test, |variables| {
        run_in_network(setup, module, test, variables);
    });
}

fn run_with(test: &str, run: impl FnOnce(&[(&str, &OsStr)])) {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let library = folder.path().join("libnames.so");
    let Some(built) = build(&library) else {
        let _ = writeln!(
            io::stderr(),
            "SKIPPED {test}: no C compiler (cc) was found."
        );
        return;
    };
    assert!(built, "cc does not build the library");
    let file = folder.path().join("names");
    fs::write(&file, "found").expect("the folder is writable");
    let variables = [
        ("LD_PRELOAD", library.as_os_str()),
        (FILE, file.as_os_str()),
    ];
    run(&variables);
}

/// `None` when there is no compiler.
fn build(library: &Path) -> Option<bool> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/names.c");
    let arguments: [&OsStr; 5] = [
        "-shared".as_ref(),
        "-fPIC".as_ref(),
        "-o".as_ref(),
        library.as_ref(),
        source.as_ref(),
    ];
    let mut command = Command::new(env::var_os("CC").unwrap_or_else(|| "cc".into()));
    // Older C libraries have it in a library of its own.
    let status = command.args(arguments).arg("-ldl").status();
    status.ok().map(|status| status.success())
}

/// The lookups of this process, if it is one of [`run_with_names`].
#[derive(Debug)]
pub struct Names {
    file: PathBuf,
}

impl Names {
    pub fn of_this_process() -> Option<Self> {
        let file = env::var_os(FILE)?.into();
        Some(Self { file })
    }

    /// Sets what becomes of lookups, of those under way as well.
    pub fn set(&self, lookup: Lookup<'_>) {
        let word = match lookup {
            Lookup::Found => "found".to_owned(),
            Lookup::At(addresses) => {
                let addresses = addresses.iter().map(|address| format!(" {address}"));
                format!("at{}", addresses.collect::<String>())
            }
            Lookup::Unknown => "unknown".to_owned(),
            Lookup::Again => "again".to_owned(),
            Lookup::Stall => "stall".to_owned(),
        };
        // In one step, so that no lookup reads half a word.
        let draft = self.file.with_extension("draft");
        fs::write(&draft, word)
            .and_then(|()| fs::rename(&draft, &self.file))
            .expect("the folder is writable");
    }
}
