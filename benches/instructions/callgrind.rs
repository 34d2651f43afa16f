//! Counts the instructions of another process of this program.
#![allow(unreachable_pub, reason = "programs export nothing anyway")]

use std::{
    env, fs,
    path::PathBuf,
    process::{Command, Stdio},
};

use tempfile::TempDir;

/// Valgrind's tool.
pub struct Callgrind {
    program: PathBuf,
    folder: TempDir,
}

impl Callgrind {
    /// Finds callgrind; returns `None` if it is not installed or does not work on this machine.
    pub fn find() -> Option<Self> {
        let nothing = Command::new("valgrind")
            .args(["--quiet", "--tool=none", "true"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        nothing.ok().filter(|status| status.success())?;
        Some(Self {
            program: env::current_exe().expect("a program knows its file"),
            folder: tempfile::tempdir().expect("a temporary folder can be made"),
        })
    }

    /// Returns a command that runs this program again, with an argument.
    pub fn command(&self, argument: &str) -> Command {
        let mut command = Command::new("valgrind");
        command
            .args(["--quiet", "--tool=callgrind"])
            // Callgrind runs one thread at a time; with this option they take turns.
            .arg("--fair-sched=yes")
            .args(["--compress-strings=no", "--compress-pos=no"])
            .arg(format!("--callgrind-out-file={}", self.file().display()))
            .arg(&self.program)
            .arg(argument);
        command
    }

    /// Returns the instructions of the command that ended last.
    pub fn count(&self) -> Instructions {
        let file = fs::read_to_string(self.file()).expect("callgrind has written its file");
        let program = self.program.to_str().expect("the path is text");
        let instructions = Instructions::read(&file, program);
        let total = file.lines().find_map(|line| line.strip_prefix("totals: "));
        let total = total.and_then(|total| total.parse().ok());
        assert_eq!(Some(instructions.all()), total, "all have been counted");
        instructions
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("callgrind.out")
    }
}

/// Instructions, grouped by the code they belong to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Instructions {
    /// This crate, its dependencies, and Rust's library.
    pub rust: f64,
    /// C code in the same program: Paho.
    pub paho: f64,
    /// Mostly the C library: heap and memory copies.
    pub others: f64,
}

impl Instructions {
    /// Reads a file of callgrind: lines that name the object and the function, then lines with a
    /// position and a number. The line after `calls=` is about the function that was called.
    fn read(file: &str, program: &str) -> Self {
        let mut sum = Self::default();
        let mut is_program = false;
        let mut is_rust = false;
        let mut lines = file.lines();
        while let Some(line) = lines.next() {
            if let Some(object) = line.strip_prefix("ob=") {
                is_program = object == program;
            } else if let Some(function) = line.strip_prefix("fn=") {
                is_rust = is_rust_name(function);
            } else if line.starts_with("calls=") {
                lines.next();
            } else if line.starts_with(|first: char| first.is_ascii_digit()) {
                let count = line.split(' ').nth(1).and_then(|count| count.parse().ok());
                let count: f64 = count.expect("a position and a number");
                *match (is_program, is_rust) {
                    (true, true) => &mut sum.rust,
                    (true, false) => &mut sum.paho,
                    (false, _) => &mut sum.others,
                } += count;
            }
        }
        sum
    }

    pub fn all(&self) -> f64 {
        self.rust + self.paho + self.others
    }

    /// Returns the cost of each of `further` uplinks that this run has more than `before`.
    pub fn per_further(&self, before: &Self, further: f64) -> Self {
        Self {
            rust: (self.rust - before.rust) / further,
            paho: (self.paho - before.paho) / further,
            others: (self.others - before.others) / further,
        }
    }
}

/// Returns whether a name is from Rust: C names have neither paths nor brackets.
fn is_rust_name(function: &str) -> bool {
    function.contains("::") || function.starts_with('<') || function.starts_with("_R")
}
