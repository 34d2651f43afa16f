//! The other end of the connection: a small MQTT 3.1.1 client that shares no code with the client
//! under test.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

const ANSWER: Duration = Duration::from_secs(5);

const CONNACK: u8 = 0x20;
const PUBLISH: u8 = 0x30;
const PUBACK: u8 = 0x40;
const SUBACK: u8 = 0x90;
const PINGRESP: u8 = 0xd0;

/// Plays the network server on a broker: publishes uplinks, reads downlinks. Everything is QoS 0 unless said
/// otherwise.
#[derive(Debug)]
pub struct MqttPeer {
    stream: TcpStream,
    received: Vec<u8>,
    messages: VecDeque<(String, Vec<u8>)>,
}

impl MqttPeer {
    /// Connects with a clean session and no keep-alive; a CONNACK other than 0 becomes
    /// `PermissionDenied`.
    pub fn connect(server: SocketAddr, username: &str, password: &str) -> io::Result<Self> {
        // An empty client id asks the broker to assign one.
        Self::connect_as("", server, username, password)
    }

    /// Does the same with this client id.
    pub fn connect_as(
        client_id: &str,
        server: SocketAddr,
        username: &str,
        password: &str,
    ) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&server, ANSWER)?;
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(ANSWER))?;
        let mut peer = Self {
            stream,
            received: Vec::new(),
            messages: VecDeque::new(),
        };

        let mut body = text("MQTT");
        body.extend([4, 0b1100_0010, 0, 0]);
        body.extend(text(client_id));
        body.extend(text(username));
        body.extend(text(password));
        peer.write(0x10, &body)?;
        match peer.answer(CONNACK)?.as_slice() {
            [_, 0] => Ok(peer),
            answer => Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                format!("CONNACK {answer:?}"),
            )),
        }
    }

    /// Subscribes; returns once the broker has granted the subscription.
    pub fn subscribe(&mut self, filter: &str) -> io::Result<()> {
        let mut body = vec![0, 1];
        body.extend(text(filter));
        body.push(0);
        self.write(0x82, &body)?;
        match self.answer(SUBACK)?.as_slice() {
            [0, 1, 0] => Ok(()),
            answer => Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                format!("SUBACK {answer:?} for {filter}"),
            )),
        }
    }

    /// Publishes without waiting; see [`flush`](Self::flush).
    pub fn publish(&mut self, topic: &str, payload: impl AsRef<[u8]>) -> io::Result<()> {
        let mut body = text(topic);
        body.extend(payload.as_ref());
        self.write(PUBLISH, &body)
    }

    /// Does the same with the retain flag.
    pub fn publish_retained(&mut self, topic: &str, payload: impl AsRef<[u8]>) -> io::Result<()> {
        let mut body = text(topic);
        body.extend(payload.as_ref());
        self.write(PUBLISH | 1, &body)
    }

    /// Publishes with QoS 1; returns once the broker has acknowledged it.
    pub fn publish_at_least_once(
        &mut self,
        topic: &str,
        payload: impl AsRef<[u8]>,
    ) -> io::Result<()> {
        let mut body = text(topic);
        body.extend([0, 1]);
        body.extend(payload.as_ref());
        self.write(PUBLISH | 2, &body)?;
        self.answer(PUBACK).map(drop)
    }

    /// Returns once the broker has read everything sent so far.
    pub fn flush(&mut self) -> io::Result<()> {
        self.write(0xc0, &[])?;
        self.answer(PINGRESP).map(drop)
    }

    /// Returns topic and payload of the next message; `None` if none arrives in time or the
    /// connection is gone.
    pub fn next(&mut self, timeout: Duration) -> Option<(String, Vec<u8>)> {
        let deadline = Instant::now() + timeout;
        while self.messages.is_empty() {
            self.read(deadline).ok()?;
        }
        self.messages.pop_front()
    }

    fn write(&mut self, header: u8, body: &[u8]) -> io::Result<()> {
        let mut packet = vec![header];
        let mut length = body.len();
        loop {
            let more = if length > 0x7f { 0x80 } else { 0 };
            packet.push((length & 0x7f) as u8 | more);
            length >>= 7;
            if more == 0 {
                break;
            }
        }
        packet.extend(body);
        self.stream.write_all(&packet)
    }

    fn answer(&mut self, wanted: u8) -> io::Result<Vec<u8>> {
        let deadline = Instant::now() + ANSWER;
        loop {
            match self.read(deadline)? {
                Some((header, body)) if header == wanted => return Ok(body),
                _ => {}
            }
        }
    }

    /// Reads one packet; keeps a PUBLISH for later, and returns anything else.
    fn read(&mut self, deadline: Instant) -> io::Result<Option<(u8, Vec<u8>)>> {
        let (header, body) = loop {
            if let Some(packet) = self.take_packet() {
                break packet;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            self.stream.set_read_timeout(Some(left))?;
            let mut buffer = [0; 16 * 1024];
            match self.stream.read(&mut buffer) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(length) => self.received.extend(&buffer[..length]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        };
        if header & 0xf0 != PUBLISH {
            return Ok(Some((header, body)));
        }
        let message = match body.split_first_chunk() {
            Some((length, rest)) => rest.split_at_checked(u16::from_be_bytes(*length).into()),
            None => None,
        };
        let (topic, payload) = message.ok_or(io::ErrorKind::InvalidData)?;
        let topic = String::from_utf8(topic.to_vec()).map_err(io::Error::other)?;
        self.messages.push_back((topic, payload.to_vec()));
        Ok(None)
    }

    fn take_packet(&mut self) -> Option<(u8, Vec<u8>)> {
        let mut length = 0;
        for (index, byte) in self.received.iter().skip(1).enumerate() {
            length |= usize::from(byte & 0x7f) << (7 * index);
            if byte & 0x80 == 0 {
                let start = index + 2;
                let body = self.received.get(start..start + length)?.to_vec();
                let header = self.received[0];
                self.received.drain(..start + length);
                return Some((header, body));
            }
        }
        None
    }
}

impl Drop for MqttPeer {
    fn drop(&mut self) {
        let _ = self.write(0xe0, &[]);
    }
}

fn text(text: &str) -> Vec<u8> {
    let length = u16::try_from(text.len()).expect("MQTT texts are shorter than 64 KiB");
    [&length.to_be_bytes(), text.as_bytes()].concat()
}
