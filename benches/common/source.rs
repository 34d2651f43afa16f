//! The other end of the connection: just enough MQTT 3.1.1 to accept a client, flood it, and read
//! what it sends.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use rustls::ServerConfig;

use super::{PATIENCE, messages, tls::TlsStream};

const CONNECT: u8 = 0x10;
const PUBLISH: u8 = 0x30;
const SUBSCRIBE: u8 = 0x82;
const UNSUBSCRIBE: u8 = 0xa2;
const PINGREQ: u8 = 0xc0;
const DISCONNECT: u8 = 0xe0;

/// Packets in one write.
const BATCH: usize = 64;

/// The return code for a refused access key.
pub const NOT_AUTHORIZED: u8 = 5;

/// A server on this machine. It ends with the process.
pub struct Source {
    address: SocketAddr,
    server: Arc<Server>,
}

struct Server {
    return_code: u8,
    tls: Option<Arc<ServerConfig>>,
    subscriber: Mutex<Option<Link>>,
    subscribed: Condvar,
    published: AtomicU64,
    published_bytes: AtomicU64,
    first_published: OnceLock<Message>,
}

/// What a client has sent.
#[derive(Clone, Debug)]
pub struct Message {
    pub topic: String,
    pub payload: String,
}

impl Source {
    /// Starts a server that accepts every client, or refuses every client with a nonzero return code.
    pub fn start(return_code: u8) -> Self {
        Self::start_with(return_code, None)
    }

    /// Starts a server that accepts every client, with TLS.
    pub fn start_tls(config: Arc<ServerConfig>) -> Self {
        Self::start_with(0, Some(config))
    }

    fn start_with(return_code: u8, tls: Option<Arc<ServerConfig>>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
        let address = listener.local_addr().expect("the listener has an address");
        let server = Arc::new(Server {
            return_code,
            tls,
            subscriber: Mutex::new(None),
            subscribed: Condvar::new(),
            published: AtomicU64::new(0),
            published_bytes: AtomicU64::new(0),
            first_published: OnceLock::new(),
        });
        let accepting = Arc::clone(&server);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let serving = Arc::clone(&accepting);
                thread::spawn(move || {
                    let stream = stream.expect("a connection comes in");
                    serving.serve(&stream);
                    let _ = stream.shutdown(Shutdown::Both);
                });
            }
        });
        Self { address, server }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the connection that subscribed last.
    pub fn link(&self) -> Link {
        let link = self.server.subscriber().clone();
        link.expect("a client has subscribed")
    }

    /// Forgets who has subscribed so far.
    pub fn forget_link(&self) {
        *self.server.subscriber() = None;
    }

    /// Returns the connection that subscribed last, or the next one if it arrives in time.
    pub fn wait_for_link(&self, limit: Duration) -> Option<Link> {
        let none = |subscriber: &mut Option<Link>| subscriber.is_none();
        let waiting =
            (self.server.subscribed).wait_timeout_while(self.server.subscriber(), limit, none);
        let (subscriber, _) = waiting.unwrap_or_else(PoisonError::into_inner);
        subscriber.clone()
    }

    /// Returns how many messages clients have sent.
    pub fn published(&self) -> u64 {
        self.server.published.load(Ordering::Acquire)
    }

    /// Returns the first message that a client has sent.
    pub fn first_published(&self) -> Option<Message> {
        self.server.first_published.get().cloned()
    }

    /// Returns how many bytes these messages have, including their topics.
    pub fn published_bytes(&self) -> u64 {
        self.server.published_bytes.load(Ordering::Acquire)
    }
}

impl Server {
    fn subscriber(&self) -> MutexGuard<'_, Option<Link>> {
        self.subscriber
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self, stream: &TcpStream) -> Option<()> {
        stream.set_nodelay(true).ok()?;
        stream.set_write_timeout(Some(PATIENCE)).ok()?;
        let socket = stream.try_clone().ok()?;
        match &self.tls {
            None => self.answer(stream, &Link::new(socket)),
            Some(config) => {
                let stream = TlsStream::accept(config, socket).ok()?;
                self.answer(stream.clone(), &Link::new(stream))
            }
        }
    }

    /// Answers until the client disconnects.
    fn answer(&self, stream: impl Read, link: &Link) -> Option<()> {
        let mut reader = BufReader::with_capacity(1 << 16, stream);
        let mut body = Vec::new();
        loop {
            match read_packet(&mut reader, &mut body)? {
                CONNECT => {
                    link.try_write(&[0x20, 2, 0, self.return_code])?;
                    if self.return_code != 0 {
                        return None;
                    }
                }
                SUBSCRIBE => {
                    let answer = suback(&body)?;
                    // Nobody may write to the new subscriber before it has its answer.
                    let mut stream = link.lock();
                    *self.subscriber() = Some(link.clone());
                    self.subscribed.notify_all();
                    stream.write_all(&answer).ok()?;
                }
                UNSUBSCRIBE => link.try_write(&[0xb0, 2, *body.first()?, *body.get(1)?])?,
                PINGREQ => link.try_write(&[0xd0, 0])?,
                PUBLISH => {
                    if self.first_published.get().is_none() {
                        let _ = self.first_published.set(message(&body)?);
                    }
                    let bytes = body.len() as u64;
                    self.published_bytes.fetch_add(bytes, Ordering::Release);
                    self.published.fetch_add(1, Ordering::Release);
                }
                DISCONNECT => return None,
                packet => panic!("a client sent a packet of type {packet:#x}"),
            }
        }
    }
}

fn read_packet(reader: &mut impl BufRead, body: &mut Vec<u8>) -> Option<u8> {
    let mut byte = [0];
    reader.read_exact(&mut byte).ok()?;
    let packet = byte[0];
    let mut length = 0;
    for shift in [0, 7, 14, 21] {
        reader.read_exact(&mut byte).ok()?;
        length |= usize::from(byte[0] & 0x7f) << shift;
        if byte[0] & 0x80 == 0 {
            break;
        }
    }
    body.resize(length, 0);
    reader.read_exact(body).ok()?;
    Some(packet)
}

/// Returns the message of a PUBLISH at QoS 0.
fn message(publish: &[u8]) -> Option<Message> {
    let (length, rest) = publish.split_first_chunk::<2>()?;
    let (topic, payload) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Some(Message {
        topic: text(topic),
        payload: text(payload),
    })
}

/// Grants each filter of a SUBSCRIBE, at QoS 0.
fn suback(subscribe: &[u8]) -> Option<Vec<u8>> {
    let (id, mut filters) = subscribe.split_at_checked(2)?;
    let mut answer = vec![0x90, 2, id[0], id[1]];
    while let Some((length, rest)) = filters.split_first_chunk::<2>() {
        filters = rest.get(usize::from(u16::from_be_bytes(*length)) + 1..)?;
        answer.push(0);
        answer[1] += 1;
    }
    Some(answer)
}

/// The writing end of a connection: the server's, or that of a client that publishes.
#[derive(Clone)]
pub struct Link {
    stream: Arc<Mutex<Box<dyn Write + Send>>>,
}

impl Link {
    fn new(stream: impl Write + Send + 'static) -> Self {
        Self {
            stream: Arc::new(Mutex::new(Box::new(stream))),
        }
    }

    /// Connects to a server to publish there. Returns `None` if it refuses.
    pub fn to_server(address: SocketAddr) -> Option<Self> {
        let mut stream = TcpStream::connect(address).ok()?;
        stream.set_nodelay(true).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        stream.set_write_timeout(Some(PATIENCE)).ok()?;
        // MQTT 3.1.1, clean session, no keep-alive, client id "source".
        let connect = b"\x10\x12\0\x04MQTT\x04\x02\0\0\0\x06source";
        stream.write_all(connect).ok()?;
        let mut answer = [0; 4];
        stream.read_exact(&mut answer).ok()?;
        (answer == [0x20, 2, 0, 0]).then(|| Self::new(stream))
    }

    /// Writes `count` uplinks, cycling through them, as fast as the socket takes them.
    pub fn flood(&self, uplinks: &Uplinks, count: usize) {
        self.try_flood(uplinks, count).expect("the client reads");
    }

    /// Does the same, but returns `None` if the client does not read.
    pub fn try_flood(&self, uplinks: &Uplinks, count: usize) -> Option<()> {
        let mut packets = uplinks.packets.clone();
        let mut batches = std::iter::repeat_n(BATCH, count / BATCH).chain([count % BATCH]);
        batches.try_for_each(|batch| {
            if batch == 0 {
                return Some(());
            }
            uplinks.count(&mut packets, batch);
            self.try_write(&packets[..uplinks.ends[batch]])
        })
    }

    /// Writes the first of the uplinks, prepared by [`Uplinks::one`].
    pub fn write_one(&self, uplink: &[u8]) {
        self.try_write(uplink).expect("the client reads");
    }

    fn try_write(&self, packets: &[u8]) -> Option<()> {
        self.lock().write_all(packets).ok()
    }

    fn lock(&self) -> MutexGuard<'_, Box<dyn Write + Send>> {
        self.stream.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Uplinks, encoded as PUBLISH packets. Frame counters rise by one each time, as those of devices
/// do; the client under test would report any other sequence.
pub struct Uplinks {
    packets: Vec<u8>,
    /// Where in `packets` the first 0, 1, 2, … packets end.
    ends: Vec<usize>,
    /// Where in `packets` the digits of the frame counters are.
    counters: Vec<usize>,
    next: AtomicU64,
}

/// It has as many digits as the counters after it.
const FIRST_COUNTER: u64 = 1_000_000;

impl Uplinks {
    /// Returns uplinks of a V2 network, from as many devices as there are packets in one write.
    pub fn new() -> Self {
        Self::of(messages::uplink)
    }

    /// Returns the same for a v3 network, each received by one gateway.
    pub fn v3() -> Self {
        Self::of(|number| messages::v3_uplink(number, 1))
    }

    /// Encodes uplinks with the given topics and payloads.
    pub fn of(uplink: impl Fn(usize) -> (String, String)) -> Self {
        let mut packets = Vec::new();
        let mut ends = vec![0];
        let mut counters = Vec::new();
        for number in 0..BATCH {
            let (topic, payload) = uplink(number);
            let first = format!("\":{FIRST_COUNTER},");
            let payload = payload.replace(&format!("\":{},", 10_000 + number), &first);
            // An EUI may have the same digits.
            let place = payload.find(&first).expect("an uplink has a counter") + "\":".len();
            let mut length = 2 + topic.len() + payload.len();
            packets.push(PUBLISH);
            while length > 0x7f {
                packets.push((length & 0x7f) as u8 | 0x80);
                length >>= 7;
            }
            packets.push(length as u8);
            packets.extend((topic.len() as u16).to_be_bytes());
            packets.extend(topic.bytes());
            counters.push(packets.len() + place);
            packets.extend(payload.bytes());
            ends.push(packets.len());
        }
        Self {
            packets,
            ends,
            counters,
            next: AtomicU64::new(FIRST_COUNTER),
        }
    }

    /// Returns the first of them, with its next counter.
    pub fn one(&self) -> Vec<u8> {
        let mut packet = self.packets[..self.ends[1]].to_vec();
        self.count(&mut packet, 1);
        packet
    }

    /// Writes the next counter into `count` packets.
    fn count(&self, packets: &mut [u8], count: usize) {
        let counter = self.next.fetch_add(1, Ordering::Relaxed).to_string();
        for place in &self.counters[..count] {
            packets[*place..][..counter.len()].copy_from_slice(counter.as_bytes());
        }
    }

    /// Returns the size of one packet in bytes.
    pub fn size(&self) -> usize {
        self.packets.len() / (self.ends.len() - 1)
    }
}
