//! The two ends of a wire.

use std::{
    io::{self, Read, Write},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, bounded, unbounded};
use rustls::{ServerConfig, ServerConnection, StreamOwned, crypto::ring, pki_types::PrivateKeyDer};
use socket2::{Domain, SockRef, Socket, Type};

use super::{KEY, LONG, Way};
use crate::{
    config::{Certificates, Pem},
    wire::tls::Trust,
};

/// The socket buffer of an end that does not read; the system's default is tens of megabytes.
const WINDOW: usize = 128 << 10;

pub(super) const CONNACK: [u8; 4] = [0x20, 2, 0, 0];
pub(super) const PINGREQ: [u8; 2] = [0xc0, 0];
pub(super) const PINGRESP: [u8; 2] = [0xd0, 0];
pub(super) const DISCONNECT: [u8; 2] = [0xe0, 0];

struct Certificate {
    pem: String,
    config: Arc<ServerConfig>,
}

fn certificate() -> &'static Certificate {
    static CERTIFICATE: OnceLock<Certificate> = OnceLock::new();
    CERTIFICATE.get_or_init(|| {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        Certificate {
            pem: made.cert.pem(),
            config: Arc::new(config),
        }
    })
}

/// Returns a trust in every [`Server`].
pub(super) fn trust() -> Trust {
    let ca = Pem::Bytes(certificate().pem.clone().into_bytes());
    Trust::read(&Certificates::new(Some(ca), None, None)).unwrap()
}

/// A listener that accepts connections within a time limit.
pub(super) struct Server {
    address: SocketAddr,
    accepted: Receiver<TcpStream>,
}

impl Server {
    pub(super) fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        // Accepted sockets inherit it.
        SockRef::from(&listener)
            .set_recv_buffer_size(WINDOW)
            .unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, accepted) = bounded(0);
        thread::spawn(move || {
            // Ends when nobody accepts connections any longer.
            while let Ok((stream, _)) = listener.accept() {
                if sender.send(stream).is_err() {
                    return;
                }
            }
        });
        Self { address, accepted }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    #[track_caller]
    pub(super) fn accept_plain(&self) -> TcpStream {
        let stream = self.accepted.recv_timeout(LONG).expect("a connection");
        prepare(stream)
    }

    #[track_caller]
    pub(super) fn accept(&self, tls: bool) -> Peer {
        let stream = self.accept_plain();
        if tls {
            Peer::with_tls(stream, usize::MAX)
        } else {
            Peer::new(stream)
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let (_, nobody) = unbounded();
        self.accepted = nobody;
        let _ = TcpStream::connect(self.address);
    }
}

fn prepare(stream: TcpStream) -> TcpStream {
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    stream.set_write_timeout(Some(LONG)).unwrap();
    stream
}

/// Makes the next close send a reset.
pub(super) fn reset(stream: &TcpStream) {
    SockRef::from(stream)
        .set_linger(Some(Duration::ZERO))
        .unwrap();
}

/// Reads everything up to the end or to an error.
pub(super) fn read_out(mut stream: impl Read) -> Vec<u8> {
    let mut bytes = Vec::new();
    match stream.read_to_end(&mut bytes) {
        Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => panic!("it was not closed"),
        _ => bytes,
    }
}

/// A socket that counts its bytes, and writes a limited number at a time.
pub(super) struct Counted {
    pub(super) stream: TcpStream,
    step: usize,
    read: Arc<AtomicU64>,
    written: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.stream.read(buffer)?;
        self.read.fetch_add(length as u64, Ordering::SeqCst);
        Ok(length)
    }
}

impl Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = self.stream.write(&bytes[..bytes.len().min(self.step)])?;
        self.written.fetch_add(length as u64, Ordering::SeqCst);
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

enum Line {
    Plain(Counted),
    Tls(Box<StreamOwned<ServerConnection, Counted>>),
}

/// The server's end of a connection.
pub(super) struct Peer {
    socket: Line,
}

impl Peer {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self::of(Line::Plain(Self::counted(stream, usize::MAX)))
    }

    /// Starts TLS, writing `step` bytes at a time.
    pub(super) fn with_tls(stream: TcpStream, step: usize) -> Self {
        let connection = ServerConnection::new(Arc::clone(&certificate().config)).unwrap();
        let socket = Self::counted(stream, step);
        Self::of(Line::Tls(Box::new(StreamOwned::new(connection, socket))))
    }

    fn of(socket: Line) -> Self {
        Self { socket }
    }

    fn counted(stream: TcpStream, step: usize) -> Counted {
        Counted {
            stream: prepare(stream),
            step,
            read: Arc::default(),
            written: Arc::default(),
        }
    }

    fn line(&self) -> &Counted {
        match &self.socket {
            Line::Plain(line) => line,
            Line::Tls(tls) => &tls.sock,
        }
    }

    pub(super) fn stream(&self) -> &TcpStream {
        &self.line().stream
    }

    /// Returns the bytes read and written on the line.
    pub(super) fn counts(&self) -> (u64, u64) {
        let count = |count: &AtomicU64| count.load(Ordering::SeqCst);
        (count(&self.line().read), count(&self.line().written))
    }

    /// Reads CONNECT and checks it.
    #[track_caller]
    pub(super) fn read_connect(&mut self) {
        let connect = read_packet(self);
        assert_eq!(connect[0], 0x10);
        let text = String::from_utf8_lossy(&connect).into_owned();
        for word in ["MQTT", "the-client", "app", KEY] {
            assert!(text.contains(word), "{text:?}");
        }
    }

    /// Reads CONNECT and accepts the client.
    #[track_caller]
    pub(super) fn log_in(&mut self) {
        self.read_connect();
        self.write_all(&CONNACK).unwrap();
    }

    /// Announces that this end writes nothing more.
    pub(super) fn close_writing(&mut self) {
        if let Line::Tls(tls) = &mut self.socket {
            tls.conn.send_close_notify();
            tls.flush().unwrap();
        }
        self.stream().shutdown(Shutdown::Write).unwrap();
    }
}

impl Read for Peer {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.socket {
            Line::Plain(socket) => socket.read(buffer),
            Line::Tls(tls) => tls.read(buffer),
        }
    }
}

impl Write for Peer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.socket {
            Line::Plain(socket) => socket.write(bytes),
            Line::Tls(tls) => tls.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.socket {
            Line::Plain(_) => Ok(()),
            Line::Tls(tls) => tls.flush(),
        }
    }
}

/// The MQTT client behind the relay.
pub(super) struct Client(pub(super) TcpStream);

impl Client {
    /// Connects through the doorway and reads CONNACK.
    #[track_caller]
    pub(super) fn come_in(doorway: &Way) -> Self {
        let mut client = Self::knock(doorway.port);
        client.0.write_all(&password(&doorway.token)).unwrap();
        let mut answer = [0; 4];
        client.0.read_exact(&mut answer).expect("a CONNACK");
        assert_eq!(answer, CONNACK);
        client
    }

    /// Connects and sends nothing yet.
    #[track_caller]
    pub(super) fn knock(port: u16) -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.set_recv_buffer_size(WINDOW).unwrap();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        socket.connect(&address.into()).unwrap();
        Self(prepare(socket.into()))
    }

    /// Reads to the end, then closes. Returns what it read.
    #[track_caller]
    pub(super) fn leave(self) -> Vec<u8> {
        read_out(&self.0)
    }

    /// Asserts that nothing arrives for a while.
    #[track_caller]
    pub(super) fn hears_nothing_for(&self, time: Duration) {
        hears_nothing_for(&self.0, time);
    }
}

#[track_caller]
pub(super) fn hears_nothing_for(mut stream: &TcpStream, time: Duration) {
    stream.set_read_timeout(Some(time)).unwrap();
    let mut byte = [0];
    match stream.read(&mut byte) {
        Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => {}
        other => panic!("{other:?} {byte:?}"),
    }
    stream.set_read_timeout(Some(LONG)).unwrap();
}

/// Returns the CONNECT that admits a client.
pub(super) fn password(token: &str) -> Vec<u8> {
    let body = [
        b"\0\x04MQTT\x04\x02\xff\xff".to_vec(),
        string(token.as_bytes()),
    ]
    .concat();
    packet(0x10, &body)
}

pub(super) fn string(text: &[u8]) -> Vec<u8> {
    [&(text.len() as u16).to_be_bytes(), text].concat()
}

pub(super) fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![first];
    let mut length = body.len();
    while length > 127 {
        packet.push((length % 128) as u8 | 128);
        length /= 128;
    }
    packet.push(length as u8);
    packet.extend(body);
    packet
}

/// Returns a PUBLISH with QoS 0 that contains a number.
pub(super) fn publish(number: u32, length: usize) -> Vec<u8> {
    let mut payload = vec![b'.'; length.max(4)];
    payload[..4].copy_from_slice(&number.to_be_bytes());
    packet(0x30, &[string(b"a/topic"), payload].concat())
}

/// Returns the number in a [`publish`].
#[track_caller]
pub(super) fn number(packet: &[u8]) -> u32 {
    assert_eq!(packet[0], 0x30, "{:?}", &packet[..packet.len().min(20)]);
    let start = packet
        .windows(7)
        .position(|part| part == b"a/topic")
        .unwrap()
        + 7;
    u32::from_be_bytes(packet[start..start + 4].try_into().unwrap())
}

/// The topic of a bundle.
const BUNDLE: &[u8] = b"\0\x06bundle";

/// Reads the next packet, also if it is in a bundle: those of a bundle follow its header as they are.
pub(super) fn try_packet(stream: &mut impl Read) -> io::Result<Vec<u8>> {
    let (mut packet, length) = fixed_header(stream)?;
    let start = packet.len();
    if packet[0] == 0x30 && length > BUNDLE.len() {
        packet.resize(start + BUNDLE.len(), 0);
        stream.read_exact(&mut packet[start..])?;
        if &packet[start..] == BUNDLE {
            return try_packet(stream);
        }
    }
    let there = packet.len();
    packet.resize(start + length, 0);
    stream.read_exact(&mut packet[there..])?;
    Ok(packet)
}

/// Reads a bundle. Returns its packets as they are.
#[track_caller]
pub(super) fn read_bundle(stream: &mut impl Read) -> Vec<u8> {
    let (_, length) = fixed_header(stream).expect("a packet");
    let mut rest = vec![0; length];
    stream.read_exact(&mut rest).expect("a whole packet");
    let packets = rest.strip_prefix(BUNDLE).expect("a bundle");
    packets.to_vec()
}

/// Reads a fixed header. Returns it, and how many bytes follow it.
fn fixed_header(stream: &mut impl Read) -> io::Result<(Vec<u8>, usize)> {
    let mut packet = vec![0; 2];
    stream.read_exact(&mut packet)?;
    let mut length = usize::from(packet[1] & 127);
    let mut shift = 7;
    while packet.last().is_some_and(|byte| byte & 128 != 0) {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        packet.push(byte[0]);
        length |= usize::from(byte[0] & 127) << shift;
        shift += 7;
    }
    Ok((packet, length))
}

#[track_caller]
pub(super) fn read_packet(stream: &mut impl Read) -> Vec<u8> {
    try_packet(stream).expect("a packet")
}

/// Reads the next packet that is not a ping of the relay, which asks the server how far it has come,
/// nor an answer to one, with which it wakes a client that had to wait.
#[track_caller]
pub(super) fn read_message(stream: &mut impl Read) -> Vec<u8> {
    loop {
        let packet = read_packet(stream);
        if packet != PINGRESP && packet != PINGREQ {
            return packet;
        }
    }
}

/// A port that neither accepts nor refuses connections.
pub(super) struct FullBacklog {
    listener: socket2::Socket,
    _waiting: Vec<socket2::Socket>,
}

impl FullBacklog {
    pub(super) fn new() -> Self {
        let socket = || Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        let listener = socket();
        listener
            .bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())
            .unwrap();
        listener.listen(0).unwrap();
        let address = listener.local_addr().unwrap();
        let mut waiting = Vec::new();
        let deadline = Instant::now() + LONG;
        loop {
            let next = socket();
            // The loopback is much faster when there is room.
            let full = next
                .connect_timeout(&address, Duration::from_millis(200))
                .is_err();
            waiting.push(next);
            if full {
                break;
            }
            assert!(Instant::now() < deadline, "the backlog has no end");
        }
        Self {
            listener,
            _waiting: waiting,
        }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.listener.local_addr().unwrap().as_socket().unwrap()
    }
}
