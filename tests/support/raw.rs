//! An MQTT client that reads and writes bytes.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::Value;
use ttn::simulator::Simulator;

pub const LONG: Duration = Duration::from_secs(10);
pub const SHORT: Duration = Duration::from_millis(150);

pub fn string(text: &str) -> Vec<u8> {
    let mut bytes = (text.len() as u16).to_be_bytes().to_vec();
    bytes.extend_from_slice(text.as_bytes());
    bytes
}

pub fn frame(first: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    let mut length = body.len();
    while length > 127 {
        bytes.push((length % 128) as u8 | 128);
        length /= 128;
    }
    bytes.push(length as u8);
    bytes.extend_from_slice(body);
    bytes
}

/// Reads a packet whose length has at most two bytes. Returns its first byte and its body.
pub fn read_packet(stream: &mut TcpStream) -> (u8, Vec<u8>) {
    let mut header = [0; 2];
    stream.read_exact(&mut header).unwrap();
    let mut length = usize::from(header[1] & 0x7f);
    if header[1] > 0x7f {
        let mut more = [0];
        stream.read_exact(&mut more).unwrap();
        length |= usize::from(more[0]) << 7;
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).unwrap();
    (header[0], body)
}

/// The CONNECT of an ordinary client.
#[derive(Debug)]
pub struct Hello<'a> {
    pub name: &'a str,
    pub level: u8,
    pub client_id: &'a str,
    pub keep_alive: u16,
    pub username: Option<&'a str>,
    pub password: Option<&'a str>,
    pub will: Option<(&'a str, &'a str)>,
}

impl<'a> Hello<'a> {
    /// Returns a CONNECT with the credentials of the network's first application.
    pub fn of(network: &'a Simulator) -> Self {
        Self {
            name: "MQTT",
            level: 4,
            client_id: "raw",
            keep_alive: 60,
            username: Some(network.app_id()),
            password: Some(network.access_key()),
            will: None,
        }
    }

    pub fn bytes(&self) -> Vec<u8> {
        let flags = 2
            | u8::from(self.username.is_some()) << 7
            | u8::from(self.password.is_some()) << 6
            | u8::from(self.will.is_some()) << 2;
        let mut body = string(self.name);
        body.extend([self.level, flags]);
        body.extend(self.keep_alive.to_be_bytes());
        let (topic, payload) = self.will.unzip();
        let parts = [
            Some(self.client_id),
            topic,
            payload,
            self.username,
            self.password,
        ];
        body.extend(parts.into_iter().flatten().flat_map(string));
        frame(0x10, &body)
    }
}

/// A client that reads and writes bytes.
pub struct Raw {
    pub stream: TcpStream,
    inbox: Vec<u8>,
}

impl Raw {
    pub fn open(network: &Simulator) -> Self {
        let stream = TcpStream::connect(network.address()).unwrap();
        stream.set_nodelay(true).unwrap();
        let inbox = Vec::new();
        Self { stream, inbox }
    }

    pub fn hello(network: &Simulator, hello: &Hello<'_>) -> Self {
        let mut raw = Self::open(network);
        raw.write(&hello.bytes());
        raw
    }

    /// Connects with a CONNECT that is accepted.
    #[track_caller]
    pub fn accepted(network: &Simulator, hello: &Hello<'_>) -> Self {
        let mut raw = Self::hello(network, hello);
        assert_eq!(raw.packet(), [0x20, 2, 0, 0], "{hello:?}");
        raw
    }

    /// Sends a CONNECT that is refused with this code.
    #[track_caller]
    pub fn refused(network: &Simulator, hello: &Hello<'_>, code: u8) {
        let mut raw = Self::hello(network, hello);
        assert_eq!(raw.packet(), [0x20, 2, 0, code], "{hello:?}");
        raw.assert_closed();
    }

    #[track_caller]
    pub fn connect(network: &Simulator) -> Self {
        Self::accepted(network, &Hello::of(network))
    }

    pub fn subscribed(network: &Simulator, filters: &[&str]) -> Self {
        let mut raw = Self::connect(network);
        for filter in filters {
            assert_eq!(raw.subscribe(filter, 0), [0], "{filter}");
        }
        raw
    }

    pub fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// Returns the next packet; `Err(true)` if the connection is closed, `Err(false)` after the
    /// timeout.
    pub fn try_packet(&mut self, timeout: Duration) -> Result<Vec<u8>, bool> {
        let deadline = Instant::now() + timeout;
        loop {
            if let Some(end) = self.complete() {
                return Ok(self.inbox.drain(..end).collect());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(false);
            }
            self.stream.set_read_timeout(Some(left)).unwrap();
            let mut chunk = [0; 4096];
            match self.stream.read(&mut chunk) {
                Ok(0) => return Err(true),
                Ok(length) => self.inbox.extend_from_slice(&chunk[..length]),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Err(false),
                Err(_) => return Err(true),
            }
        }
    }

    fn complete(&self) -> Option<usize> {
        let mut length = 0;
        for index in 0.. {
            let byte = usize::from(*self.inbox.get(1 + index)?);
            length |= (byte & 127) << (7 * index);
            if byte < 128 {
                let end = 2 + index + length;
                return (self.inbox.len() >= end).then_some(end);
            }
        }
        None
    }

    pub fn packet(&mut self) -> Vec<u8> {
        self.try_packet(LONG).expect("a packet")
    }

    pub fn assert_closed(&mut self) {
        assert_eq!(self.try_packet(LONG), Err(true));
    }

    pub fn assert_silent(&mut self) {
        assert_eq!(self.try_packet(SHORT), Err(false));
    }

    pub fn subscribe(&mut self, filter: &str, qos: u8) -> Vec<u8> {
        let body = [vec![0, 9], string(filter), vec![qos]].concat();
        self.write(&frame(0x82, &body));
        let suback = self.packet();
        assert_eq!(suback[..4], [0x90, 3, 0, 9]);
        suback[4..].to_vec()
    }

    pub fn publish(&mut self, topic: &str, payload: &[u8]) {
        self.write(&frame(0x30, &[&string(topic), payload].concat()));
    }

    /// Publishes at QoS 1, waits for the acknowledgement, and returns the messages that arrived
    /// before it.
    pub fn publish_1(&mut self, topic: &str, payload: &str) -> Vec<(String, Value)> {
        let body = [&string(topic), &[0, 7][..], payload.as_bytes()].concat();
        self.write(&frame(0x32, &body));
        let mut messages = Vec::new();
        loop {
            let packet = self.packet();
            if packet == [0x40, 2, 0, 7] {
                return messages;
            }
            messages.push(parsed(&packet));
        }
    }

    pub fn ping(&mut self) {
        self.write(&[0xc0, 0]);
    }

    pub fn message(&mut self) -> (String, Value) {
        parsed(&self.packet())
    }

    /// Returns the next message on a topic with this ending; skips others.
    pub fn message_on(&mut self, end: &str) -> Value {
        loop {
            let (topic, payload) = self.message();
            if topic.ends_with(end) {
                return payload;
            }
        }
    }

    pub fn text(&mut self) -> (String, String) {
        split(&self.packet())
    }
}

pub fn split(packet: &[u8]) -> (String, String) {
    assert_eq!(packet[0], 0x30, "QoS 0, not retained, no duplicate");
    let start = 1 + packet[1..].iter().position(|byte| *byte < 128).unwrap() + 1;
    let length = usize::from(u16::from_be_bytes([packet[start], packet[start + 1]]));
    let (topic, payload) = packet[start + 2..].split_at(length);
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (text(topic), text(payload))
}

pub fn parsed(packet: &[u8]) -> (String, Value) {
    let (topic, payload) = split(packet);
    (topic, serde_json::from_str(&payload).unwrap())
}
