//! Measures the memory of clients that are connected, subscribed and idle: ours and bare Paho's, in
//! separate processes.
#![allow(unreachable_pub, reason = "programs export nothing anyway")]

use std::{
    env,
    io::{self, BufRead, BufReader, Write},
    process::{Child, Command, Stdio},
};

use paho_mqtt::{
    AsyncClient, ConnectOptionsBuilder, CreateOptionsBuilder, MQTT_VERSION_3_1_1, PersistenceType,
    QOS_0,
};

use crate::{
    common::{
        PATIENCE,
        figures::{Reach, note},
        report::{Row, quantile},
        source::Source,
    },
    feed::{self, TENANT_APP, process::Memory},
};

/// The argument that makes this program run clients; the side, their number and the server's address
/// follow.
pub const CLIENTS: &str = "clients";

const OURS: &str = "ours";
const BARE: &str = "bare";

const ROUNDS: usize = 5;

/// The number of clients after the first.
const FURTHER: usize = 20;

const FIRST_KIB: f64 = 1024.0;
const FURTHER_KIB: f64 = 200.0;

pub fn measure() {
    println!("### Idle clients, connected and subscribed\n");
    let source = Source::start(0);
    if Processes::start(&source, BARE, 1).memory().is_none() {
        println!("This system does not report memory use.\n");
        return;
    }
    let mut table = Table::new();
    for _ in 0..ROUNDS {
        table.round(&source);
    }
    table.print();
}

/// Rows of KiB: bare Paho's first client, ours, bare Paho's further ones, ours.
struct Table {
    resident: [Row; 4],
    private: [Row; 4],
}

impl Table {
    fn new() -> Self {
        let rows = || {
            [
                "a process with one bare Paho client",
                "a process with one client",
                "each further bare Paho client",
                "each further client",
            ]
            .map(Row::new)
        };
        Self {
            resident: rows(),
            private: rows(),
        }
    }

    fn round(&mut self, source: &Source) {
        let memory = |side, clients| {
            let memory = Processes::start(source, side, clients).memory();
            memory.expect("the system reports memory use")
        };
        let [bare, ours] = [BARE, OURS].map(|side| [1, 1 + FURTHER].map(|n| memory(side, n)));
        type Kind = fn(&Memory) -> f64;
        let kinds: [(&mut [Row; 4], Kind); 2] = [
            (&mut self.resident, |memory| memory.resident),
            (&mut self.private, |memory| memory.private),
        ];
        for (rows, kib) in kinds {
            let further = |[one, all]: &[Memory; 2]| (kib(all) - kib(one)) / FURTHER as f64;
            let figures = [kib(&bare[0]), kib(&ours[0]), further(&bare), further(&ours)];
            for (row, figure) in rows.iter_mut().zip(figures) {
                row.figures.push(figure);
            }
        }
    }

    fn print(&self) {
        println!("| | resident KiB | min – max | private KiB | min – max |");
        println!("| --- | ---: | ---: | ---: | ---: |");
        for (resident, private) in self.resident.iter().zip(&self.private) {
            let cells = [resident, private].map(|row| spread(&row.figures));
            println!("| {} | {} |", resident.name, cells.join(" | "));
        }
        let [first, further] = [0, 2].map(|bare| {
            let [resident, private] =
                [&self.resident, &self.private].map(|rows| rows[bare + 1].differences(&rows[bare]));
            let cells = [&resident, &private].map(|figures| spread(figures));
            let name = ["the first, more than bare", "each further, more than bare"][bare / 2];
            println!("| {name} | {} |", cells.join(" | "));
            resident
        });
        println!();
        note(
            9,
            "resident memory of one idle client",
            "a bare Paho client",
            Reach::AtMostKibMore(FIRST_KIB),
            &first,
        );
        note(
            10,
            "resident memory of each further idle client",
            "a further bare Paho client",
            Reach::AtMostKibMore(FURTHER_KIB),
            &further,
        );
    }
}

fn spread(figures: &[f64]) -> String {
    let [median, min, max] = [0.5, 0.0, 1.0].map(|part| quantile(figures, part));
    format!("{median:.0} | {min:.0} – {max:.0}")
}

/// Another process with clients, which end with the process.
struct Processes {
    child: Child,
}

impl Processes {
    /// Returns when all clients are connected and subscribed.
    fn start(source: &Source, side: &str, clients: usize) -> Self {
        let mut child = Command::new(env::current_exe().expect("a program knows its file"))
            .args([CLIENTS, side, &clients.to_string()])
            .arg(source.address().to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("this program starts again");
        let stdout = child.stdout.take().expect("it is a pipe");
        let mut line = String::new();
        let _ = BufReader::new(stdout).read_line(&mut line);
        assert_eq!(line, "ready\n", "the clients connect");
        Self { child }
    }

    fn memory(&self) -> Option<Memory> {
        Memory::settled(self.child.id())
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs the other process: clients, until the standard input ends.
pub fn run_clients(mut arguments: impl Iterator<Item = String>) {
    let mut next = || arguments.next().expect("side, number and address follow");
    let (side, count, address) = (next(), next(), next());
    let count = 0..count.parse().expect("the number is one");
    match side.as_str() {
        OURS => rest(count.map(|_| ours(&address)).collect::<Vec<_>>()),
        BARE => rest(
            count
                .map(|number| bare(number, &address))
                .collect::<Vec<_>>(),
        ),
        side => panic!("no side is called {side}"),
    }
}

fn ours(address: &str) -> ttn::MqttClient {
    let client = feed::client(address);
    client.set_uplink_callback(|_, _| {});
    client.connect().expect("the server accepts");
    client
}

fn bare(number: usize, address: &str) -> AsyncClient {
    let client = CreateOptionsBuilder::new()
        .server_uri(format!("tcp://{address}"))
        .client_id(format!("bare-{number}"))
        .persistence(PersistenceType::None)
        .max_buffered_messages(65_536)
        .create_client()
        .expect("the options are valid");
    client.set_message_callback(|_, _| {});
    let options = ConnectOptionsBuilder::with_mqtt_version(MQTT_VERSION_3_1_1)
        .clean_session(true)
        .user_name(TENANT_APP)
        .password("NNSXS.BENCH.SECRET")
        .finalize();
    let connected = client.connect(options).wait_for(PATIENCE);
    connected.expect("the server accepts");
    let filter = format!("v3/{TENANT_APP}/devices/+/#");
    let subscribed = client.subscribe(filter, QOS_0).wait_for(PATIENCE);
    subscribed.expect("the server grants it");
    client
}

fn rest<T>(clients: Vec<T>) {
    let mut stdout = io::stdout();
    let told = writeln!(stdout, "ready").and_then(|()| stdout.flush());
    told.expect("the other process listens");
    io::copy(&mut io::stdin(), &mut io::sink()).expect("the standard input is a pipe");
    // Dropping them would disconnect from a server that is gone.
    std::mem::forget(clients);
}
