//! A client in its own process, which this process feeds with uplinks, so that the figures are
//! those of the client alone.
#![allow(dead_code, reason = "each program uses a part of it")]
#![allow(unreachable_pub, reason = "programs export nothing anyway")]

mod packets;
pub mod process;

use std::{
    hint::black_box,
    io::{self, BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use ttn::MqttClient;

pub use packets::TENANT_APP;
use packets::{BATCH, Packets};

const CONNECT: u8 = 0x10;
const PUBLISH: u8 = 0x30;
const SUBSCRIBE: u8 = 0x82;
const UNSUBSCRIBE: u8 = 0xa2;
const PINGREQ: u8 = 0xc0;

/// How uplinks are fed.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// The client's process reports each time this many have reached the callback.
    pub step: u64,
    /// The most uplinks in flight, so that no queue overflows.
    pub window: u64,
}

/// A client in its own process, and its network.
pub struct Feed {
    child: Child,
    stdin: Option<ChildStdin>,
    reports: BufReader<ChildStdout>,
    line: Line,
    packets: Packets,
    pace: Pace,
    written: u64,
    called: u64,
}

impl Feed {
    /// Starts the client with a command that ends in [`run_client`], and adds the two arguments that it
    /// needs. Its uplinks come from `devices` devices.
    pub fn start(mut command: Command, devices: u32, pace: Pace) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
        let address = listener.local_addr().expect("the listener has an address");
        let mut child = command
            .arg(address.to_string())
            .arg(pace.step.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the client's process starts");
        let (stream, _) = listener.accept().expect("the client connects");
        let line = Line::new(stream);
        let serving = line.clone();
        thread::spawn(move || serving.serve());
        let stdout = child.stdout.take().expect("it is a pipe");
        let mut feed = Self {
            stdin: child.stdin.take(),
            reports: BufReader::new(stdout),
            child,
            line,
            packets: Packets::new(devices),
            pace,
            written: 0,
            called: 0,
        };
        assert_eq!(feed.report(), 0, "the client reports that it is connected");
        feed
    }

    /// Returns the id of the client's process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Feeds `uplinks` uplinks, a multiple of the step, and returns once the callback was called for
    /// the last.
    pub fn feed(&mut self, uplinks: u64) {
        assert_eq!(uplinks % self.pace.step, 0, "the last must be reported");
        let goal = self.written + uplinks;
        while self.called < goal {
            while self.written < goal && self.written < self.called + self.pace.window {
                let room = self.called + self.pace.window - self.written;
                let batch = BATCH.min(room).min(goal - self.written);
                self.line
                    .write(self.packets.batch(self.written, batch))
                    .expect("the client reads");
                self.written += batch;
            }
            self.called = self.report();
        }
    }

    fn report(&mut self) -> u64 {
        let mut line = String::new();
        let _ = self.reports.read_line(&mut line);
        let count = line.trim_end().parse();
        count.unwrap_or_else(|_| panic!("the client's process ended: {:?}", self.child.wait()))
    }

    /// Closes the client. Panics if it lost an uplink or received a wrong one.
    pub fn end(mut self) {
        drop(self.stdin.take());
        let _ = self.reports.read_to_end(&mut Vec::new());
        let status = self.child.wait().expect("the client's process ends");
        assert!(status.success(), "the client's process failed: {status}");
    }
}

/// Runs a client with default options and a callback that counts, until the standard input ends.
pub fn run_client(arguments: impl Iterator<Item = String>) {
    run_client_beside(arguments, |_| ());
}

/// Runs the same client, and calls `beside` once it is connected.
pub fn run_client_beside(
    mut arguments: impl Iterator<Item = String>,
    start_other: impl FnOnce(&MqttClient),
) {
    let mut next = || arguments.next().expect("Feed::start adds two arguments");
    let address = next();
    let step: u64 = next().parse().expect("the step is a number");

    let client = client(&address);
    let mut called = 0_u64;
    client.set_uplink_callback(move |uplink, _| {
        black_box(uplink);
        called += 1;
        if called % step == 0 {
            tell(called);
        }
    });
    client.connect().expect("the server accepts");
    start_other(&client);
    tell(0);
    io::copy(&mut io::stdin(), &mut io::sink()).expect("the standard input is a pipe");

    let stats = client.stats();
    let lost = stats.dropped + stats.dropped_by_callbacks;
    assert_eq!((lost, stats.malformed), (0, 0), "every uplink is read");
    let frames = stats.frames;
    let missing = frames.missing_away + frames.missing_dropped_here + frames.missing_upstream;
    let strange = missing + frames.late + frames.repeated + frames.resets;
    assert_eq!(strange, 0, "every uplink is the next of its device");
    client.close().expect("the callback returns");
}

/// Returns a client of the application that the uplinks belong to, with default options.
pub fn client(address: &str) -> MqttClient {
    MqttClient::builder(TENANT_APP, "NNSXS.BENCH.SECRET")
        .mqtt_address(format!("mqtt://{address}"))
        .reconnect(false)
        .build()
        .expect("the options are valid")
}

/// Reports to the feeding process.
fn tell(called: u64) {
    let mut stdout = io::stdout().lock();
    let told = writeln!(stdout, "{called}").and_then(|()| stdout.flush());
    told.expect("the feeding process listens");
}

/// The server's end of the connection: just enough MQTT 3.1.1.
#[derive(Clone)]
struct Line {
    stream: Arc<TcpStream>,
    /// Keeps packets whole.
    writing: Arc<Mutex<()>>,
}

impl Line {
    fn new(stream: TcpStream) -> Self {
        stream.set_nodelay(true).expect("it is a TCP connection");
        Self {
            stream: Arc::new(stream),
            writing: Arc::default(),
        }
    }

    fn write(&self, packets: &[u8]) -> io::Result<()> {
        let _one = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        (&*self.stream).write_all(packets)
    }

    /// Answers until the client disconnects.
    fn serve(&self) -> io::Result<()> {
        let mut reader = BufReader::new(&*self.stream);
        loop {
            let (packet, body) = read_packet(&mut reader)?;
            match (packet, body.as_slice()) {
                (CONNECT, _) => self.write(&[0x20, 2, 0, 0])?,
                (SUBSCRIBE, [high, low, filters @ ..]) => {
                    let count = count_filters(filters);
                    let mut answer = vec![0x90, 2 + count, *high, *low];
                    answer.resize(4 + usize::from(count), 0);
                    self.write(&answer)?;
                }
                (UNSUBSCRIBE, [high, low, ..]) => self.write(&[0xb0, 2, *high, *low])?,
                (PINGREQ, _) => self.write(&[0xd0, 0])?,
                _ => return Ok(()),
            }
        }
    }
}

fn read_packet(reader: &mut impl Read) -> io::Result<(u8, Vec<u8>)> {
    let mut byte = [0];
    reader.read_exact(&mut byte)?;
    let packet = byte[0];
    let mut length = 0;
    for shift in [0, 7, 14, 21] {
        reader.read_exact(&mut byte)?;
        length |= usize::from(byte[0] & 0x7f) << shift;
        if byte[0] & 0x80 == 0 {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok((packet, body))
}

/// Counts the filters in the rest of a SUBSCRIBE: each follows its length and precedes its QoS.
fn count_filters(mut filters: &[u8]) -> u8 {
    let mut count = 0;
    while let Some((length, rest)) = filters.split_first_chunk::<2>() {
        let length = usize::from(u16::from_be_bytes(*length));
        filters = rest.get(length + 1..).unwrap_or_default();
        count += 1;
    }
    count
}
