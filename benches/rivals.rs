//! Measures the client against its rivals, each in a process of its own, over TLS and without, all
//! fed by the same server in one run. Arguments choose parts: `flood`, `pace`, `cycles`, `memory`.

mod clients;
mod common;

use std::{env, time::Duration};

use clients::{Clients, Figure, Program, Rival, Stage};
use common::{
    Certificates,
    figures::{Reach, left_out, plot},
    report::{Row, Side, interleave, quantile},
};

/// Where the rows stand in the table on top of the results.
const ORDER: u32 = 0;

const OURS: &str = "`set_uplink_callback`";
const BARE: &str = "Paho's callback, doing nothing";
const BY_HAND: &str = "by hand: `start_consuming`, `serde_json::Value`";
const RUMQTTC: &str = "`rumqttc`, sync, `serde_json::Value`";

/// Why what needs OpenSSL's headers is not built.
const NO_BY_HAND: &str = "TTN_BENCH_NO_BY_HAND";

// The marks are those against bare Paho, a program by hand, and `rumqttc`.
const FLOOD_WORK: Figure = Figure {
    what: "CPU time of the client's process for one uplink of a flood",
    unit: "µs",
    compare: Row::ratios,
    tls: &[Reach::Stated, Reach::AtMost(0.8), Reach::AtMost(1.0)],
    plain: &[Reach::Stated, Reach::AtMost(0.8), Reach::AtMost(1.0)],
};
const FLOOD_SPEED: Figure = Figure {
    what: "uplinks/s of a flood",
    unit: "1000/s",
    compare: Row::ratios,
    tls: &[Reach::Stated, Reach::AtLeast(1.2), Reach::AtLeast(1.0)],
    plain: &[Reach::Stated, Reach::AtLeast(1.2), Reach::AtLeast(1.0)],
};
const PACE_WORK: Figure = Figure {
    what: "CPU time of the client's process for one uplink, 100 a second",
    unit: "µs",
    compare: Row::ratios,
    tls: &[Reach::Stated, Reach::AtMost(1.2), Reach::Stated],
    plain: &[Reach::Stated; 3],
};

const CYCLE: Figure = Figure {
    what: "a new client: create, connect, close, drop",
    unit: "µs",
    compare: Row::ratios,
    tls: &[Reach::AtMost(1.2), Reach::Stated, Reach::Stated],
    plain: &[Reach::Stated; 3],
};
const FIRST: Figure = Figure {
    what: "resident memory of a process with one idle client",
    unit: "KiB",
    compare: Row::differences,
    tls: &[Reach::AtMostKibMore(1024.0)],
    plain: &[],
};
const EACH_FURTHER: Figure = Figure {
    what: "resident memory of each further idle client",
    unit: "KiB",
    compare: Row::differences,
    tls: &[Reach::AtMostKibMore(150.0)],
    plain: &[],
};

const CYCLE_ROUNDS: usize = 9;
const CYCLES: usize = 50;

const ONE: usize = 1;

const SPEED_PLOT: &str = "uplinks/s of a flood over TLS, 1000/s";
const WORK_PLOT: &str = "CPU time for one uplink of a flood over TLS (less is better), µs";

fn main() {
    let _watchdog = common::watchdog(Duration::from_secs(900));
    println!("## rivals: our client, against others\n");
    let ours = match Program::find(OURS, "TTN_BENCH_OURS") {
        Ok(ours) => ours,
        Err(why) => {
            println!("Left out: {why}\n");
            return left_out(ORDER, "our client", "its rivals", Reach::Stated, &why);
        }
    };
    println!(
        "Each client runs in its own process. Paho's sockets use OpenSSL, `rumqttc` uses `rustls`. The server runs in the\n\
         benchmark's process, with `rustls` for TLS.\n"
    );
    let rivals = [
        Rival::find(BARE, "TTN_BENCH_BARE").or_why(NO_BY_HAND),
        Rival::find(BY_HAND, "TTN_BENCH_BY_HAND").or_why(NO_BY_HAND),
        Rival::find(RUMQTTC, "TTN_BENCH_RUMQTTC_CLIENTS"),
    ];
    let certificates = Certificates::new();
    let stage = Stage::start(ORDER, rivals, ours, &certificates);
    stage.print_lacking();
    // Cargo adds an option.
    let chosen: Vec<_> = (env::args().skip(1))
        .filter(|argument| !argument.starts_with("--"))
        .collect();
    let wanted = |part: &str| chosen.is_empty() || chosen.iter().any(|name| name == part);
    if wanted("flood") {
        flood(&stage);
    }
    if wanted("pace") {
        pace(&stage);
    }
    if wanted("cycles") {
        cycles(&stage);
    }
    if wanted("memory") {
        memory(&stage);
    }
}

fn flood(stage: &Stage) {
    let [work, speed] = stage.flood();
    println!(
        "The floor: the session's thread does two thirds of our work, and decoding is three quarters of that; `decode` compares\n\
         it with `Value`. The rest is the way through four threads. Over TLS, `rustls` copies each record once more than OpenSSL,\n\
         0.8 of our 20 µs on an AMD EPYC with glibc 2.36; its interface without buffers makes the same copy.\n"
    );
    stage.print(&FLOOD_WORK, &stage.ways, &work);
    stage.print(&FLOOD_SPEED, &stage.ways, &speed);
    for (panel, rows) in [(SPEED_PLOT, speed), (WORK_PLOT, work)] {
        // Those over TLS are the first.
        for row in rows.iter().take(stage.programs().count()) {
            plot(panel, &row.name, &row.figures);
        }
    }
}

fn pace(stage: &Stage) {
    let [work, ..] = stage.pace();
    println!(
        "The floor: for one uplink, two threads wake by hand and four of ours. On an AMD EPYC, over TLS, they took 180 + 90 µs\n\
         by hand, and 130 (wire) + 100 (Paho) + 165 (session) + 32 µs (callbacks).\n"
    );
    stage.print(&PACE_WORK, &stage.ways, &work);
}

fn cycles(stage: &Stage) {
    println!(
        "New clients: {CYCLES} one after another, in a process that has no other; the figure is the median.\n"
    );
    let sides = stage.sides().map(|(program, way, _)| {
        Side::new(program.name, move || {
            let mut clients = Clients::start(program, way, 0, ONE);
            [quantile(&clients.cycles(CYCLES), 0.5)]
        })
    });
    let [rows] = interleave(CYCLE_ROUNDS, sides.collect());
    stage.print(&CYCLE, &stage.ways, &rows);
}

fn memory(stage: &Stage) {
    if let Some([first, further]) = stage.memory() {
        stage.print(&FIRST, &stage.ways, &first);
        stage.print(&EACH_FURTHER, &stage.ways, &further);
    }
}
