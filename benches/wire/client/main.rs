//! `wire-client ADDRESS AUTHORITY CLIENTS STEP`: connects CLIENTS clients in turn, and writes lines
//! of numbers, all in nanoseconds. The first line contains how long each client took to connect. A
//! further line follows each time a client's callback was called STEP times, with the ages of the
//! uplinks that carry the time of writing. For each line that it reads, it writes its CPU time. It
//! ends when its standard input ends.

#![forbid(unsafe_code)]

use std::{
    env,
    io::{self, Write},
    mem, process,
    time::{Duration, Instant, SystemTime},
};

use cpu_time::ProcessTime;
use ttn::{MqttClient, UplinkMessage};

fn main() {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let [address, authority, clients, step] = &arguments[..] else {
        panic!("usage: wire-client ADDRESS AUTHORITY CLIENTS STEP");
    };
    let clients: usize = clients.parse().expect("the third argument is a number");
    let step = step.parse().expect("the fourth argument is a number");
    let connect = |client: &MqttClient| {
        let start = Instant::now();
        client.connect().expect("the server accepts");
        start.elapsed()
    };
    let clients: Vec<_> = (0..clients)
        .map(|_| client(address, authority, step))
        .collect();
    tell(clients.iter().map(connect));
    for line in io::stdin().lines() {
        line.expect("the standard input is a pipe");
        tell([ProcessTime::now().as_duration()]);
    }
    // Dropping the clients would disconnect from a server that is gone.
    process::exit(0);
}

/// Returns a client with default options, which reads the authority's file if the address uses TLS.
fn client(address: &str, authority: &str, step: usize) -> MqttClient {
    let client = MqttClient::builder("bench-app@ttn", "NNSXS.BENCH.SECRET")
        .mqtt_address(address)
        .reconnect(false);
    let client = match authority {
        "" => client,
        file => client.ca_file(file),
    };
    let client = client.build().expect("the options are valid");
    let mut called = 0;
    let mut ages = Vec::new();
    client.set_uplink_callback(move |uplink, _| {
        ages.extend(age(uplink));
        called += 1;
        if called == step {
            called = 0;
            tell(mem::take(&mut ages));
        }
    });
    client
}

/// Returns the age of an uplink; `None` if it does not carry the time of writing.
fn age(uplink: &UplinkMessage) -> Option<Duration> {
    let written = uplink.payload_fields.get("written_ns")?.as_u64()?;
    let written = SystemTime::UNIX_EPOCH + Duration::from_nanos(written);
    // Also `None` if the clock was set back in between.
    written.elapsed().ok()
}

fn tell(times: impl IntoIterator<Item = Duration>) {
    let words = times.into_iter().map(|time| time.as_nanos().to_string());
    let line = words.collect::<Vec<_>>().join(" ");
    let mut stdout = io::stdout().lock();
    let told = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
    told.expect("the measuring process listens");
}
