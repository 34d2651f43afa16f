//! For each line of JSON that it reads, prints the microseconds in which `serde_json::Value` is
//! created from it and dropped, without `float_roundtrip`.

#![forbid(unsafe_code)]

#[allow(dead_code, reason = "the benchmarks that share it use more of it")]
#[allow(unreachable_pub, reason = "programs export nothing anyway")]
#[path = "../common/report.rs"]
mod report;

use std::{hint::black_box, io};

use serde_json::Value;

fn main() {
    for line in io::stdin().lines() {
        let line = line.expect("the standard input is a pipe");
        let payload = line.as_bytes();
        let value = || serde_json::from_slice::<Value>(black_box(payload)).expect("it is JSON");
        println!("{}", report::repeated(value));
    }
}
