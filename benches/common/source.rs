//! The other end of the line: just enough MQTT 3.1.1 to accept a client, flood it, and read what it
//! sends.

use std::{
    io::{BufRead, BufReader, Write},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use super::{PATIENCE, messages::uplink};

const CONNECT: u8 = 0x10;
const PUBLISH: u8 = 0x30;
const SUBSCRIBE: u8 = 0x82;
const PINGREQ: u8 = 0xc0;
const DISCONNECT: u8 = 0xe0;

/// Packets in one write.
const BATCH: usize = 64;

/// The return code by which an access key is refused.
pub const NOT_AUTHORIZED: u8 = 5;

/// A server on this machine. It ends with the process.
pub struct Source {
    address: SocketAddr,
    server: Arc<Server>,
}

struct Server {
    return_code: u8,
    subscriber: Mutex<Option<Link>>,
    published: AtomicU64,
}

impl Source {
    /// One that accepts every client, or refuses every client with a return code other than 0.
    pub fn start(return_code: u8) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
        let address = listener.local_addr().expect("the listener has an address");
        let server = Arc::new(Server {
            return_code,
            subscriber: Mutex::new(None),
            published: AtomicU64::new(0),
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

    /// The connection that subscribed last.
    pub fn link(&self) -> Link {
        let link = self.server.subscriber().take();
        link.expect("a client has subscribed")
    }

    /// How many messages clients have sent.
    pub fn published(&self) -> u64 {
        self.server.published.load(Ordering::Acquire)
    }
}

impl Server {
    fn subscriber(&self) -> MutexGuard<'_, Option<Link>> {
        self.subscriber
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers until the client goes away.
    fn serve(&self, stream: &TcpStream) -> Option<()> {
        stream.set_nodelay(true).ok()?;
        stream.set_write_timeout(Some(PATIENCE)).ok()?;
        let link = Link {
            stream: Arc::new(Mutex::new(stream.try_clone().ok()?)),
        };
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
                    link.try_write(&suback(&body)?)?;
                    *self.subscriber() = Some(link.clone());
                }
                PINGREQ => link.try_write(&[0xd0, 0])?,
                PUBLISH => {
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

/// Says yes, at QoS 0, to each filter of a SUBSCRIBE.
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

/// The server's end of a connection.
#[derive(Clone)]
pub struct Link {
    stream: Arc<Mutex<TcpStream>>,
}

impl Link {
    /// Writes so many of the uplinks, over and over, as fast as the socket takes them.
    pub fn flood(&self, uplinks: &Uplinks, count: usize) {
        let batches = std::iter::repeat_n(BATCH, count / BATCH).chain([count % BATCH]);
        for batch in batches {
            self.write(&uplinks.packets[..uplinks.ends[batch]]);
        }
    }

    /// Writes the first of the uplinks.
    pub fn write_one(&self, uplinks: &Uplinks) {
        self.write(&uplinks.packets[..uplinks.ends[1]]);
    }

    fn write(&self, packets: &[u8]) {
        self.try_write(packets).expect("the client reads");
    }

    fn try_write(&self, packets: &[u8]) -> Option<()> {
        let stream = self.stream.lock().unwrap_or_else(PoisonError::into_inner);
        (&*stream).write_all(packets).ok()
    }
}

/// Uplinks, encoded as PUBLISH packets.
pub struct Uplinks {
    packets: Vec<u8>,
    /// Where in `packets` the first 0, 1, 2, … packets end.
    ends: Vec<usize>,
}

impl Uplinks {
    /// From as many devices as there are packets in one write.
    pub fn new() -> Self {
        let mut packets = Vec::new();
        let mut ends = vec![0];
        for number in 0..BATCH {
            let (topic, payload) = uplink(number);
            let mut length = 2 + topic.len() + payload.len();
            packets.push(PUBLISH);
            while length > 0x7f {
                packets.push((length & 0x7f) as u8 | 0x80);
                length >>= 7;
            }
            packets.push(length as u8);
            packets.extend((topic.len() as u16).to_be_bytes());
            packets.extend(topic.bytes());
            packets.extend(payload.bytes());
            ends.push(packets.len());
        }
        Self { packets, ends }
    }
}
