//! Name lookups that fail or stall on command: a library of our own is loaded before the system's.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::io::{self, Write};
use std::net::IpAddr;
use std::path::PathBuf;

use super::child::{run_alone, run_in_network, want_of_network};
use super::preload;

/// A test controls lookups of names with this ending, in a process of [`run_with_names`].
pub const NAME: &str = "server.fault.test";

const FILE: &str = "TTN_TEST_NAMES";

/// The result of lookups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lookup<'a> {
    /// They return 127.0.0.1.
    Found,
    /// They return these addresses, in this order.
    At(&'a [IpAddr]),
    /// They fail: the name does not exist.
    Unknown,
    /// They fail: no name server answers.
    Again,
    /// They wait until the setting changes, and fail after 30 s.
    Stall,
}

/// Runs one test of this program in a process of its own whose lookups it controls. Without a C
/// compiler, prints to standard error that the test is skipped.
pub fn run_with_names(module: &str, test: &str) {
    run_with(test, |variables| run_alone(module, test, variables));
}

/// Does the same in a separate network that these shell commands set up. If the user may not create
/// one, the test is skipped as well.
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
    let Some(library) = preload::build("names.c", folder.path(), test) else {
        return;
    };
    let file = folder.path().join("names");
    fs::write(&file, "found").expect("the folder is writable");
    let variables = [
        ("LD_PRELOAD", library.as_os_str()),
        (FILE, file.as_os_str()),
    ];
    run(&variables);
}

/// The lookups of this process, if [`run_with_names`] started it.
#[derive(Debug)]
pub struct Names {
    file: PathBuf,
}

impl Names {
    pub fn of_this_process() -> Option<Self> {
        let file = env::var_os(FILE)?.into();
        Some(Self { file })
    }

    /// Sets the result of lookups, including those in progress.
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
        // In one step, so that no lookup reads a partial setting.
        let draft = self.file.with_extension("draft");
        fs::write(&draft, word)
            .and_then(|()| fs::rename(&draft, &self.file))
            .expect("the folder is writable");
    }
}
