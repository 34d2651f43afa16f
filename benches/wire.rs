//! Measures what our own sockets and TLS cost, compared with Paho's sockets and OpenSSL: the same
//! clients, built with this checkout and with the commit before that change, take turns in one run.

mod clients;
mod common;

use std::time::Duration;

use clients::{Clients, Figure, Program, Rival, Stage, Way};
use common::{
    Certificates,
    broker::Broker,
    figures::{Reach, left_out},
    report::{Row, Side, interleave, quantile},
};

/// Where the rows stand in the table on top of the results.
const ORDER: u32 = 14;

const BEFORE: &str = "before: Paho's sockets, OpenSSL";
const AFTER: &str = "after: our own sockets, rustls";

const CONNECT_ROUNDS: usize = 9;
const CONNECT_CLIENTS: usize = 50;

const ONE: usize = 1;

const MOSQUITTO: &str = "over TLS, Mosquitto with its defaults";

const FLOOD_WORK: Figure = Figure {
    what: "CPU time of the client's process for one uplink of a flood",
    unit: "µs",
    compare: Row::ratios,
    tls: &[Reach::AtMost(1.05)],
    plain: &[Reach::Stated],
};
const FLOOD_SPEED: Figure = Figure {
    what: "uplinks/s of a flood",
    unit: "1000/s",
    compare: Row::ratios,
    tls: &[Reach::AtLeast(0.95)],
    plain: &[Reach::Stated],
};
const PACE_WORK: Figure = Figure {
    what: "CPU time of the client's process for one uplink, 100 a second",
    unit: "µs",
    compare: Row::ratios,
    tls: &[Reach::AtMost(1.05)],
    plain: &[Reach::Stated],
};
const PACE_HALF: Figure = Figure {
    what: "latency p50, 100 a second",
    unit: "µs",
    compare: Row::ratios,
    tls: &[Reach::AtMost(1.05)],
    plain: &[Reach::Stated],
};
const PACE_WORST: Figure = Figure {
    what: "latency p99, 100 a second",
    unit: "µs",
    compare: Row::ratios,
    tls: &[Reach::AtMost(1.3)],
    plain: &[Reach::Stated],
};
const CONNECT_HALF: Figure = Figure {
    what: "`connect`, median of 50 clients in turn",
    unit: "µs",
    compare: Row::ratios,
    tls: &[Reach::AtMost(1.05)],
    plain: &[Reach::Stated],
};
const CONNECT_WORST: Figure = Figure {
    what: "`connect`, slowest of 50 clients in turn",
    unit: "µs",
    compare: Row::ratios,
    tls: &[Reach::AtMost(1.05)],
    plain: &[Reach::Stated],
};
const FIRST: Figure = Figure {
    what: "resident memory of a process with one idle client",
    unit: "KiB",
    compare: Row::ratios,
    tls: &[Reach::AtMost(1.05)],
    plain: &[Reach::Stated],
};
const EACH_FURTHER: Figure = Figure {
    what: "resident memory of each further idle client",
    unit: "KiB",
    compare: Row::ratios,
    tls: &[Reach::AtMost(1.3)],
    plain: &[Reach::Stated],
};

fn main() {
    let _watchdog = common::watchdog(Duration::from_secs(400));
    println!("## wire: our own sockets and TLS, against Paho's sockets and OpenSSL\n");
    let after = match Program::find(AFTER, "TTN_BENCH_OURS") {
        Ok(after) => after,
        Err(why) => {
            println!("Left out: {why}\n");
            let what = "our own sockets and TLS";
            return left_out(ORDER, what, BEFORE, Reach::Stated, &why);
        }
    };
    println!(
        "Each client runs in its own process. The same program is built with this checkout and with the last commit before the\n\
         change. The server runs in the benchmark's process, with `rustls` for TLS.\n"
    );
    let before = Rival::find(BEFORE, "TTN_BENCH_WIRE_BEFORE").or_why("TTN_BENCH_NO_WIRE_BEFORE");
    let certificates = Certificates::new();
    let stage = Stage::start(ORDER, [before], after, &certificates);
    stage.print_lacking();

    let [work, speed] = stage.flood();
    stage.print(&FLOOD_WORK, &stage.ways, &work);
    stage.print(&FLOOD_SPEED, &stage.ways, &speed);

    let [work, halves, worst] = stage.pace();
    println!("Latency is measured from just before the server's write to the callback.\n");
    stage.print(&PACE_WORK, &stage.ways, &work);
    stage.print(&PACE_HALF, &stage.ways, &halves);
    stage.print(&PACE_WORST, &stage.ways, &worst);

    connect(&stage, &certificates);

    if let Some([first, further]) = stage.memory() {
        stage.print(&FIRST, &stage.ways, &first);
        stage.print(&EACH_FURTHER, &stage.ways, &further);
    }
}

fn connect(stage: &Stage, certificates: &Certificates) {
    println!("`connect`: {CONNECT_CLIENTS} clients one after another, which stay connected.\n");
    let mut ways: Vec<_> = stage.ways.iter().collect();
    let broker = Broker::start_tls(&certificates.server);
    let authority = certificates.authority.certificate_file();
    let with_broker = broker
        .as_ref()
        .map(|broker| Way::tls(MOSQUITTO, broker.address().port(), authority));
    match &with_broker {
        Ok(way) => ways.insert(0, way),
        Err(why) => {
            println!("{MOSQUITTO}: left out: {why}\n");
            for figure in [CONNECT_HALF, CONNECT_WORST] {
                stage.leave_out(&figure, MOSQUITTO, why);
            }
        }
    }
    let sides = ways.iter().flat_map(|way| {
        stage.programs().map(move |program| {
            Side::new(program.name, move || {
                let clients = Clients::start(program, way, CONNECT_CLIENTS, ONE);
                [0.5, 1.0].map(|part| quantile(&clients.connecting, part))
            })
        })
    });
    let [halves, slowest] = interleave(CONNECT_ROUNDS, sides.collect());
    stage.print(&CONNECT_HALF, ways.iter().copied(), &halves);
    stage.print(&CONNECT_WORST, ways, &slowest);
}
