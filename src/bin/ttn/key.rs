//! Where the access key comes from, and how it stays secret.

use std::{
    env,
    ffi::OsString,
    fmt,
    fs::{File, Metadata},
    io::{self, Read},
    path::{Path, PathBuf},
};

use anyhow::Result;
use clap::Args;

use crate::{output, status::usage};

const VARIABLE: &str = "TTN_ACCESS_KEY";

/// Where systemd puts the credentials of a service.
const CREDENTIALS: &str = "CREDENTIALS_DIRECTORY";

/// The name of the credential.
const CREDENTIAL: &str = "ttn-access-key";

/// No key is this long; the file is another one.
const MAX_BYTES: u64 = 16 * 1024;

/// What some editors put at the beginning of a file.
const BYTE_ORDER_MARK: char = '\u{feff}';

/// How the keys of the networks begin.
const PREFIXES: [&str; 3] = ["NNSXS.", "MFRWG.", "ttn-account-v2."];

#[derive(Args, Debug)]
pub(crate) struct KeyArguments {
    /// A file with the access key
    #[arg(long, value_name = "FILE", help_heading = "Connection")]
    key_file: Option<PathBuf>,

    /// The access key; other users see it [TTN_ACCESS_KEY]
    #[arg(
        long,
        value_name = "KEY",
        help_heading = "Connection",
        conflicts_with = "key_file"
    )]
    key: Option<Key>,
}

/// A key of the command line, which `Debug` does not show.
#[derive(Clone)]
struct Key(String);

impl From<String> for Key {
    fn from(key: String) -> Self {
        Self(key)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(…)")
    }
}

impl KeyArguments {
    /// Returns the key of the command line, the environment or systemd, in this order.
    pub(crate) fn key(&self) -> Result<String> {
        if let Some(file) = &self.key_file {
            return read(file);
        }
        if let Some(Key(key)) = &self.key {
            output::note(format_args!(
                "warning: other users can see the key in the process list; set {VARIABLE} or use --key-file instead"
            ));
            return trimmed(key, "--key");
        }
        match env::var(VARIABLE) {
            Ok(key) => trimmed(&key, VARIABLE),
            Err(env::VarError::NotUnicode(_)) => {
                Err(usage(format!("the key in {VARIABLE} is not valid text")))
            }
            Err(env::VarError::NotPresent) => match credential(env::var_os(CREDENTIALS)) {
                Some(file) => read(&file),
                None => Err(usage(format!(
                    "no access key; set {VARIABLE}, or use --key-file"
                ))),
            },
        }
    }
}

/// Returns the file with the credential that systemd has passed to this service, if there is one.
fn credential(folder: Option<OsString>) -> Option<PathBuf> {
    let file = Path::new(&folder?).join(CREDENTIAL);
    file.exists().then_some(file)
}

fn read(path: &Path) -> Result<String> {
    let name = format!("the key file {}", path.display());
    let unreadable = |error: io::Error| usage(format!("cannot read {name}: {error}"));
    let file = File::open(path).map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    if is_readable_by_all(&metadata) {
        output::note(format_args!(
            "warning: other users can read {name}; allow only its owner to read it (chmod 600)"
        ));
    }
    let mut key = String::new();
    file.take(MAX_BYTES + 1)
        .read_to_string(&mut key)
        .map_err(unreadable)?;
    if key.len() as u64 > MAX_BYTES {
        return Err(usage(format!("{name} is too large for a key")));
    }
    trimmed(&key, &name)
}

#[cfg(unix)]
fn is_readable_by_all(metadata: &Metadata) -> bool {
    use std::os::unix::fs::PermissionsExt;

    metadata.is_file() && metadata.permissions().mode() & 0o004 != 0
}

#[cfg(not(unix))]
fn is_readable_by_all(_: &Metadata) -> bool {
    false
}

fn trimmed(key: &str, origin: &str) -> Result<String> {
    match key.trim_start_matches(BYTE_ORDER_MARK).trim() {
        "" => Err(usage(format!(
            "{origin} is empty; it must hold the access key"
        ))),
        key if key.contains(char::is_whitespace) => Err(usage(format!(
            "{origin} holds more than one word; it must hold the access key and nothing else"
        ))),
        key => Ok(key.to_owned()),
    }
}

/// Returns the text without the secrets in it: what looks like a key, and what was passed as one.
pub(crate) fn conceal(text: &str) -> String {
    let mut arguments = env::args_os().map(|argument| argument.to_string_lossy().into_owned());
    let mut secrets = vec![env::var(VARIABLE).unwrap_or_default()];
    while let Some(argument) = arguments.next() {
        match argument.strip_prefix("--key") {
            Some("") => secrets.extend(arguments.next()),
            Some(rest) => secrets.extend(rest.strip_prefix('=').map(str::to_owned)),
            None => {}
        }
    }
    conceal_these(text, &secrets)
}

fn conceal_these(text: &str, secrets: &[String]) -> String {
    let mut text = text.to_owned();
    for secret in secrets.iter().map(|secret| secret.trim()) {
        // A shorter one is not a key, but may be part of any word.
        if secret.len() >= 8 {
            text = text.replace(secret, "…");
        }
    }
    for prefix in PREFIXES {
        let mut done = 0;
        while let Some(found) = text[done..].find(prefix) {
            let start = done + found + prefix.len();
            let is_of_key = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
            let rest = &text[start..];
            let length = rest.find(|c| !is_of_key(c)).unwrap_or(rest.len());
            // The text may also be about the form of keys.
            if rest[..length].contains(|c: char| c.is_ascii_alphanumeric()) {
                text.replace_range(start..start + length, "…");
            }
            done = start;
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_like_a_key_is_concealed_wherever_it_stands() {
        let told = conceal_these(
            "\"NNSXS.ABC.DEF-1_x\" is not a device, nor is ttn-account-v2.Sec-ret.",
            &[],
        );
        assert_eq!(told, "\"NNSXS.…\" is not a device, nor is ttn-account-v2.…");
    }

    #[test]
    fn what_was_passed_as_a_key_is_concealed() {
        let secrets = [" of-own-form\n".to_owned(), String::new(), "ab".to_owned()];
        assert_eq!(conceal_these("about of-own-form", &secrets), "about …");
    }

    #[test]
    fn a_key_is_one_word() {
        for written in [" NNSXS.A.B\n", "NNSXS.A.B\r\n", "\u{feff}NNSXS.A.B\r\n"] {
            assert_eq!(trimmed(written, "x").unwrap(), "NNSXS.A.B");
        }
        for bad in ["", " \n", "two words"] {
            let error = trimmed(bad, "the key file k").unwrap_err().to_string();
            assert!(error.starts_with("the key file k "), "{error}");
        }
    }

    #[test]
    fn a_key_of_the_command_line_is_not_in_the_debug_text() {
        let arguments = KeyArguments {
            key_file: None,
            key: Some(Key("SECRET".to_owned())),
        };
        assert!(!format!("{arguments:?}").contains("SECRET"));
    }

    #[test]
    fn a_folder_without_the_credential_offers_no_key() {
        assert_eq!(credential(None), None);
        assert_eq!(credential(Some("/nonexistent".into())), None);
    }
}
