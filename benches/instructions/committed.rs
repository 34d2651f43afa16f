//! The figures that a change must not exceed by much.
#![allow(unreachable_pub, reason = "programs export nothing anyway")]

use std::{
    fs,
    process::{Command, ExitCode},
};

use super::callgrind::Instructions;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/instructions.toml");

const RENEW: &str = "cargo bench --all-features --bench instructions -- --renew";

/// How far the count may exceed the file, in percent.
const TOLERANCE: f64 = 5.0;

/// The tolerance with another compiler or C library, which also changes the count.
const TOLERANCE_ELSEWHERE: f64 = 15.0;

/// Instructions for one uplink, and where they were counted.
pub struct Figures {
    rustc: String,
    libc: String,
    counts: [(&'static str, f64); 4],
}

impl Figures {
    pub fn new(delivered: Instructions, decoded: Instructions) -> Self {
        Self {
            rustc: words_of("rustc", "--version"),
            libc: words_of("getconf", "GNU_LIBC_VERSION"),
            counts: [
                ("delivered", delivered.all()),
                ("delivered_rust", delivered.rust),
                ("decoded", decoded.all()),
                ("decoded_rust", decoded.rust),
            ],
        }
    }

    pub fn renew(&self) -> ExitCode {
        let counts = self
            .counts
            .map(|(name, count)| format!("{name} = {count:.0}\n"));
        let text = format!(
            "# Instructions for one v3 uplink of 1.4 KiB. Written by\n# {RENEW}\nrustc = \"{}\"\nlibc = \"{}\"\n{}",
            self.rustc,
            self.libc,
            counts.concat()
        );
        fs::write(FILE, &text).expect("the file can be written");
        println!("{text}");
        ExitCode::SUCCESS
    }

    /// Prints how the figures compare with those in the file; fails if one exceeds it by too much.
    pub fn check(&self) -> ExitCode {
        let file = fs::read_to_string(FILE).expect("the file can be read");
        let committed = |name: &str| {
            let mut pairs = file.lines().filter_map(|line| line.split_once(" = "));
            let value = pairs.find_map(|(key, value)| (key == name).then_some(value));
            let value = value.unwrap_or_else(|| panic!("{FILE} lacks {name}"));
            value.trim_matches('"').to_owned()
        };
        let places = [("rustc", &self.rustc), ("libc", &self.libc)];
        let others: Vec<_> = places
            .into_iter()
            .filter(|(name, here)| committed(name) != **here)
            .map(|(name, here)| format!("{here}, not {}", committed(name)))
            .collect();
        let tolerance = if others.is_empty() {
            TOLERANCE
        } else {
            println!(
                "{tolerance} % are allowed: this is {}",
                others.join("; "),
                tolerance = TOLERANCE_ELSEWHERE
            );
            TOLERANCE_ELSEWHERE
        };
        let mut is_too_much = false;
        for (name, count) in self.counts {
            let before: f64 = committed(name).parse().expect("it is a number");
            let more = (count / before - 1.0) * 100.0;
            println!(
                "{name}: {count:.0} instructions for one uplink, {before:.0} before, {more:+.1} %"
            );
            is_too_much |= more > tolerance;
        }
        if is_too_much {
            println!(
                "More than {tolerance} % more. If the change is worth it, renew the figures: {RENEW}"
            );
        }
        ExitCode::from(u8::from(is_too_much))
    }
}

/// Returns what a program prints about itself.
fn words_of(program: &str, argument: &str) -> String {
    let output = Command::new(program).arg(argument).output();
    let words = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    words.unwrap_or_else(|_| "unknown".to_owned())
}
