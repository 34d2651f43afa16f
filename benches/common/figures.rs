//! The main figures of all programs, collected in one file for the table and the plot at the top of
//! the results. Each line has fields separated by tabs.

use std::{env, fmt, fs::OpenOptions, io::Write};

use super::report::quantile;

/// The variable that names the file; without it, nothing is noted.
const FILE: &str = "TTN_BENCH_FIGURES";

/// The mark that a ratio, or a difference, must reach.
#[derive(Clone, Copy, Debug)]
pub enum Reach {
    AtMost(f64),
    AtLeast(f64),
    AtMostKibMore(f64),
    /// No mark.
    Stated,
}

impl fmt::Display for Reach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtMost(ratio) => write!(f, "≤ {ratio} ×"),
            Self::AtLeast(ratio) => write!(f, "≥ {ratio} ×"),
            Self::AtMostKibMore(kib) => write!(f, "≤ {kib} KiB more"),
            Self::Stated => f.write_str("–"),
        }
    }
}

/// Notes the ratios, or differences, of all rounds as a row of the table, which is sorted by `order`.
pub fn note(order: u32, what: &str, against: &str, reach: Reach, ratios: &[f64]) {
    append(&format!(
        "{order}\t{what}\t{against}\t{reach}\t{}",
        spread(ratios)
    ));
}

/// Notes why a row of the table has no ratios.
pub fn left_out(order: u32, what: &str, against: &str, reach: Reach, why: &str) {
    append(&format!("{order}\t{what}\t{against}\t{reach}\t{why}"));
}

/// Notes the figures of all rounds as a bar in a panel of the plot.
pub fn plot(panel: &str, name: &str, figures: &[f64]) {
    append(&format!("plot\t{panel}\t{name}\t{}", spread(figures)));
}

fn spread(figures: &[f64]) -> String {
    let parts = [0.5, 0.0, 1.0].map(|part| format!("{:.6}", quantile(figures, part)));
    parts.join("\t")
}

fn append(line: &str) {
    let Some(file) = env::var_os(FILE) else {
        return;
    };
    let file = OpenOptions::new().create(true).append(true).open(file);
    let written = file.and_then(|mut file| file.write_all(format!("{line}\n").as_bytes()));
    written.expect("the file of figures can be written");
}
