//! A network in front of the broker: numbered uplinks at QoS 1, each published until it is acknowledged.

use std::{
    collections::{BTreeSet, VecDeque},
    io::{self, ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use base64::{Engine, prelude::BASE64_STANDARD};

use crate::{
    account::nanoseconds,
    support::{
        raw::{frame, string},
        resources::{pause, wait_until},
    },
};

/// Without a tenant: NATS 2.9 destroys a topic with an `@` that crosses from one node to another.
pub const APP_ID: &str = "barn";

/// The same on a network with tenants.
pub const APP_ID_WITH_TENANT: &str = "barn@ttn";
pub const DEVICES: usize = 100;

/// How many messages wait for their acknowledgement at a time: fewer than there are devices, so that a device's
/// messages keep their order when they are published again.
const WINDOW: usize = 20;
const ANSWER: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(50);
const TICK: Duration = Duration::from_millis(20);
/// How long a broker may take for all of it.
const PATIENCE: Duration = Duration::from_secs(120);

const CONNACK: u8 = 0x20;
const PUBACK: u8 = 0x40;

/// What is published, and how.
#[derive(Clone, Debug)]
pub struct Load {
    /// Tried in turn.
    pub addresses: Vec<SocketAddr>,
    pub numbers: Range<u32>,
    /// Messages per second, while connected.
    pub rate: u32,
    /// How many partitions there are; without them, the topics are the network's.
    pub partitions: Option<u32>,
}

/// What was published.
#[derive(Debug)]
pub struct Published {
    pub numbers: Range<u32>,
    /// The numbers of those that were published more than once, because no acknowledgement came.
    pub repeated: BTreeSet<u32>,
    pub connections: usize,
    /// When the first one was written and the last one was acknowledged, in nanoseconds since 1970.
    pub begin: u64,
    pub end: u64,
}

/// A thread that publishes.
#[derive(Debug)]
pub struct Publisher {
    acknowledged: Arc<AtomicUsize>,
    thread: JoinHandle<Published>,
}

impl Publisher {
    pub fn start(load: Load) -> Self {
        let acknowledged = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&acknowledged);
        let thread = thread::spawn(move || Line::new(load, counter).publish_all());
        Self {
            acknowledged,
            thread,
        }
    }

    /// Waits until this many messages are acknowledged.
    #[track_caller]
    pub fn wait_for(&self, messages: usize) {
        let reached = wait_until(PATIENCE, || {
            self.acknowledged.load(Ordering::Relaxed) >= messages || self.thread.is_finished()
        });
        assert!(reached, "{self:?} does not reach {messages}");
    }

    /// Waits until all messages are acknowledged.
    pub fn end(self) -> Published {
        self.thread.join().expect("the publisher panicked")
    }
}

struct Line {
    load: Load,
    counter: Arc<AtomicUsize>,
    next: u32,
    waiting: VecDeque<u32>,
    repeated: BTreeSet<u32>,
    connections: usize,
}

impl Line {
    fn new(load: Load, counter: Arc<AtomicUsize>) -> Self {
        Self {
            next: load.numbers.start,
            load,
            counter,
            waiting: VecDeque::new(),
            repeated: BTreeSet::new(),
            connections: 0,
        }
    }

    fn publish_all(mut self) -> Published {
        let begin = nanoseconds();
        let start = Instant::now();
        for address in self.load.addresses.clone().iter().cycle() {
            assert!(start.elapsed() < PATIENCE, "the broker stays away");
            match self.publish_to(*address) {
                Ok(()) => break,
                Err(_) => pause(PAUSE),
            }
        }
        Published {
            numbers: self.load.numbers,
            repeated: self.repeated,
            connections: self.connections,
            begin,
            end: nanoseconds(),
        }
    }

    /// Publishes until everything is acknowledged; an error is a connection that has ended.
    fn publish_to(&mut self, address: SocketAddr) -> io::Result<()> {
        let mut stream = TcpStream::connect_timeout(&address, ANSWER)?;
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(ANSWER))?;
        let mut hello = string("MQTT");
        hello.extend([4, 0b10, 0, 0]);
        hello.extend(string("publisher"));
        stream.write_all(&frame(0x10, &hello))?;
        let mut inbox = Inbox::default();
        let answer = inbox.packet(&mut stream, ANSWER)?;
        if answer.is_none_or(|(kind, body)| kind != CONNACK || body != [0, 0]) {
            return Err(ErrorKind::ConnectionRefused.into());
        }
        self.connections += 1;
        for number in &self.waiting {
            stream.write_all(&self.packet(*number, true))?;
            self.repeated.insert(*number);
        }
        let (start, first) = (Instant::now(), self.next);
        let mut heard = start;
        while self.waiting.len() + self.left() > 0 {
            let due = start.elapsed().as_millis() as u32 * self.load.rate / 1000;
            while self.waiting.len() < WINDOW && self.left() > 0 && self.next - first < due {
                stream.write_all(&self.packet(self.next, false))?;
                self.waiting.push_back(self.next);
                self.next += 1;
            }
            match inbox.packet(&mut stream, TICK)? {
                Some((PUBACK, body)) => {
                    heard = Instant::now();
                    let id = body.try_into().map(u16::from_be_bytes);
                    let id = id.map_err(|_| ErrorKind::InvalidData)?;
                    self.waiting.retain(|number| packet_id(*number) != id);
                    let written = self.next - self.load.numbers.start;
                    let acknowledged = written as usize - self.waiting.len();
                    self.counter.store(acknowledged, Ordering::Relaxed);
                }
                Some(_) => {}
                None if self.waiting.is_empty() => heard = Instant::now(),
                None if heard.elapsed() > ANSWER => return Err(ErrorKind::TimedOut.into()),
                None => {}
            }
        }
        stream.write_all(&[0xe0, 0])
    }

    fn left(&self) -> usize {
        (self.load.numbers.end - self.next) as usize
    }

    fn packet(&self, number: u32, again: bool) -> Vec<u8> {
        let dev_id = dev_id(number as usize % DEVICES);
        let mut topic = format!("v3/{APP_ID}/devices/{dev_id}/up");
        if let Some(total) = self.load.partitions {
            topic = format!("p/{}/{topic}", partition(&dev_id, total));
        }
        let mut body = string(&topic);
        body.extend(packet_id(number).to_be_bytes());
        body.extend(uplink(&dev_id, number).into_bytes());
        frame(0x32 | u8::from(again) << 3, &body)
    }
}

/// What has arrived and was not read yet.
#[derive(Default)]
struct Inbox(Vec<u8>);

impl Inbox {
    /// Returns the first byte and the body of the next packet; `None` if none is complete in time.
    fn packet(
        &mut self,
        stream: &mut TcpStream,
        limit: Duration,
    ) -> io::Result<Option<(u8, Vec<u8>)>> {
        let deadline = Instant::now() + limit;
        loop {
            // The answers to a publisher are shorter than 128 bytes.
            if let [kind, length, rest @ ..] = self.0.as_slice() {
                let length = usize::from(*length);
                if rest.len() >= length {
                    let packet = (*kind, rest[..length].to_vec());
                    self.0.drain(..2 + length);
                    return Ok(Some(packet));
                }
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            stream.set_read_timeout(Some(left))?;
            let mut bytes = [0; 4096];
            match stream.read(&mut bytes) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(length) => self.0.extend(&bytes[..length]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// Packet id 0 does not exist.
fn packet_id(number: u32) -> u16 {
    (number % 65_535 + 1) as u16
}

pub fn dev_id(device: usize) -> String {
    format!("stall-{device:03}")
}

/// Returns the partition of a device: the FNV-1a hash of its id in 32 bits, modulo the number of partitions.
pub fn partition(dev_id: &str, total: u32) -> u32 {
    let mut hash = 2_166_136_261_u32;
    for byte in dev_id.bytes() {
        hash ^= u32::from(byte);
        hash = hash.wrapping_mul(16_777_619);
    }
    hash % total
}

/// Returns the network's message for an uplink: its number is the payload, and its frame counter counts the messages
/// of its device.
fn uplink(dev_id: &str, number: u32) -> String {
    let payload = BASE64_STANDARD.encode(number.to_be_bytes());
    let f_cnt = number as usize / DEVICES + 1;
    format!(
        r#"{{"end_device_ids":{{"device_id":"{dev_id}","application_ids":{{"application_id":"barn"}}}},"received_at":"2026-11-29T12:00:00.000000000Z","uplink_message":{{"session_key_id":"AZPSfVBtHwJgEcAVQyUDmQ==","f_port":1,"f_cnt":{f_cnt},"frm_payload":"{payload}","rx_metadata":[{{"gateway_ids":{{"gateway_id":"roof"}},"rssi":-70,"channel_rssi":-70,"snr":8.5}}],"settings":{{"data_rate":{{"lora":{{"bandwidth":125000,"spreading_factor":7,"coding_rate":"4/5"}}}},"frequency":"868100000"}},"received_at":"2026-11-29T12:00:00.000000000Z"}}}}"#
    )
}
