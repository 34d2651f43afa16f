//! Builds a program of ten lines with this crate, and the same program by hand, and compares the size
//! of the programs and the time to build them.

mod common;

use std::{
    env, fs,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use common::{
    figures::{Reach, left_out, note},
    report::{Row, print},
};

/// Where the rows stand in the table on top of the results.
const ORDER: u32 = 0;

const ROUNDS: usize = 3;

const BY_HAND: Package = Package {
    name: "by-hand",
    folder: "benches/ten_lines/by_hand",
    row: "by hand: `paho-mqtt` with TLS, `serde_json`, `base64`",
};
const OURS: Package = Package {
    name: "ours",
    folder: "benches/ten_lines/ours",
    row: "`ttn`",
};

const TIME: &str = "release build from clean of a program of ten lines";
const SIZE: &str = "size of that program, stripped";
const TIME_REACH: Reach = Reach::AtMost(1.6);

fn main() {
    let _watchdog = common::watchdog(Duration::from_secs(3_600));
    println!("## ten lines: a program that prints the payload of each uplink\n");
    if let Err(why) = measure() {
        println!("Left out: {why}\n");
        left_out(ORDER, TIME, BY_HAND.row, TIME_REACH, &why);
        left_out(ORDER, SIZE, BY_HAND.row, Reach::Stated, &why);
    }
}

fn measure() -> Result<(), String> {
    let sides = [BY_HAND, OURS];
    for side in &sides {
        side.fetch()?;
    }
    let rows = || sides.each_ref().map(|side| Row::new(side.row));
    let [mut times, mut sizes] = [rows(), rows()];
    for round in 0..ROUNDS {
        let mut order = [0, 1];
        if round % 2 == 1 {
            order.reverse();
        }
        for side in order {
            let [seconds, megabytes] = sides[side].build()?;
            times[side].figures.push(seconds);
            sizes[side].figures.push(megabytes);
        }
    }
    println!(
        "Each build starts in an empty folder, with everything downloaded before. The program by hand also needs OpenSSL's\n\
         libraries where it runs, which are not counted. The floor: `rustls` with `ring`, Paho and `serde_json` without\n\
         this crate took 42 % of our time.\n"
    );
    print("`cargo build --release` from clean", "s", &times);
    print("Size, stripped", "MB", &sizes);
    let [by_hand, ours] = &times;
    note(ORDER, TIME, BY_HAND.row, TIME_REACH, &ours.ratios(by_hand));
    let [by_hand, ours] = &sizes;
    note(
        ORDER,
        SIZE,
        BY_HAND.row,
        Reach::Stated,
        &ours.ratios(by_hand),
    );
    Ok(())
}

struct Package {
    name: &'static str,
    folder: &'static str,
    row: &'static str,
}

impl Package {
    /// Downloads what the package needs, and renews its lock file if this crate needs something else.
    fn fetch(&self) -> Result<(), String> {
        self.cargo(&["fetch", "--quiet"], None)
    }

    /// Returns the seconds that the build takes, and the megabytes of the program.
    fn build(&self) -> Result<[f64; 2], String> {
        let target = tempfile::tempdir().map_err(|error| error.to_string())?;
        let start = Instant::now();
        let arguments = ["build", "--quiet", "--release", "--offline", "--locked"];
        self.cargo(&arguments, Some(target.path()))?;
        let seconds = start.elapsed().as_secs_f64();
        let program = target.path().join("release").join(self.name);
        let size = fs::metadata(program).map_err(|error| error.to_string())?;
        Ok([seconds, size.len() as f64 / 1e6])
    }

    fn cargo(&self, arguments: &[&str], target: Option<&Path>) -> Result<(), String> {
        let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join(self.folder)
            .join("Cargo.toml");
        let mut command = Command::new(cargo);
        command.args(arguments).arg("--manifest-path").arg(manifest);
        if let Some(target) = target {
            command.arg("--target-dir").arg(target);
        }
        let output = command
            .output()
            .map_err(|error| format!("cargo: {error}"))?;
        if output.status.success() {
            return Ok(());
        }
        eprintln!("{}", String::from_utf8_lossy(&output.stderr));
        Err(format!(
            "{} cannot be built here; by hand it needs OpenSSL's headers",
            self.folder
        ))
    }
}
