//! Requests over HTTP, byte by byte, and their answers.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};

/// An answer as it came.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub head: String,
    pub body: String,
    /// The body as it came, if it came in chunks.
    pub chunks: Vec<String>,
}

impl Reply {
    pub fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().skip(1);
        let mut headers = lines.filter_map(|line| line.split_once(": "));
        headers
            .find(|(known, _)| *known == name)
            .map(|(_, value)| value)
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    /// Returns the name of the error.
    pub fn name(&self) -> String {
        let body = self.json();
        let details = &body["details"][0];
        format!(
            "{}:{}",
            details["namespace"].as_str().unwrap_or_default(),
            details["name"].as_str().unwrap_or_default()
        )
    }

    /// Returns the objects in the lines of the body.
    pub fn lines(&self) -> Vec<Value> {
        let lines = self.body.lines().filter(|line| !line.is_empty());
        lines
            .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}")))
            .collect()
    }

    /// Returns what the lines of the body hold.
    pub fn results(&self) -> Vec<Value> {
        let result = |mut line: Value| line["result"].take();
        self.lines().into_iter().map(result).collect()
    }

    /// Reads status and headers of an answer.
    pub fn read_head(stream: &mut impl Read) -> Self {
        let head = read_until(stream, "\r\n\r\n");
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Self {
            status,
            head,
            body: String::new(),
            chunks: Vec::new(),
        }
    }

    /// Reads one answer.
    pub fn read(stream: &mut impl Read) -> Self {
        let mut reply = Self::read_head(stream);
        if reply.is_chunked() {
            while let Some(chunk) = read_chunk(stream) {
                reply.body.push_str(&chunk);
                reply.chunks.push(chunk);
            }
        } else {
            reply.body = String::from_utf8(reply.read_whole(stream)).unwrap();
        }
        reply
    }

    /// Reads one answer whose body is not text. Returns the head and the body.
    pub fn read_bytes(stream: &mut impl Read) -> (Self, Vec<u8>) {
        let head = Self::read_head(stream);
        let body = if head.is_chunked() {
            std::iter::from_fn(|| chunk(stream)).flatten().collect()
        } else {
            head.read_whole(stream)
        };
        (head, body)
    }

    fn is_chunked(&self) -> bool {
        self.header("Transfer-Encoding") == Some("chunked")
    }

    fn read_whole(&self, stream: &mut impl Read) -> Vec<u8> {
        let length = self.header("Content-Length").unwrap_or("0");
        let mut body = vec![0; length.parse().unwrap()];
        stream.read_exact(&mut body).unwrap();
        body
    }
}

fn read_until(stream: &mut impl Read, end: &str) -> String {
    let mut bytes = Vec::new();
    while !bytes.ends_with(end.as_bytes()) {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        bytes.push(byte[0]);
    }
    String::from_utf8(bytes).unwrap()
}

/// Reads a chunk of a body; `None` for the last one.
pub fn read_chunk(stream: &mut impl Read) -> Option<String> {
    chunk(stream).map(|chunk| String::from_utf8(chunk).unwrap())
}

fn chunk(stream: &mut impl Read) -> Option<Vec<u8>> {
    let length = read_until(stream, "\r\n");
    let length = usize::from_str_radix(length.trim(), 16).unwrap();
    let mut chunk = vec![0; length + 2];
    stream.read_exact(&mut chunk).unwrap();
    assert!(chunk.ends_with(b"\r\n"), "{chunk:?}");
    chunk.truncate(length);
    (length > 0).then_some(chunk)
}

/// Connects to a server.
pub fn connect(address: &str) -> TcpStream {
    let host = address.split_once("://").unwrap().1;
    let stream = TcpStream::connect(host).unwrap();
    let limit = Some(Duration::from_secs(10));
    stream.set_read_timeout(limit).unwrap();
    stream
}

/// Returns a request for a path below `/api/v3`.
pub fn request(method: &str, path: &str, authorization: Option<&str>, body: &str) -> String {
    let authorization =
        authorization.map_or_else(String::new, |value| format!("Authorization: {value}\r\n"));
    format!(
        "{method} /api/v3{path} HTTP/1.1\r\nHost: simulated\r\n{authorization}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// Sends a request and returns the answer.
pub fn send(address: &str, request: &str) -> Reply {
    let mut stream = connect(address);
    stream.write_all(request.as_bytes()).unwrap();
    Reply::read(&mut stream)
}

/// Returns a recorded file.
pub fn recorded(name: &str) -> String {
    let root = env!("CARGO_MANIFEST_DIR");
    let path = format!("{root}/tests/fixtures/v3-http/{name}");
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Returns a body of which ids, times and addresses are left as forms, and the order of rights is the
/// same.
pub fn normal(value: &Value) -> Value {
    normal_at("", value)
}

fn normal_at(key: &str, value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            let members = members.iter();
            let member = |(key, value): (&String, &Value)| (key.clone(), normal_at(key, value));
            Value::Object(members.map(member).collect())
        }
        Value::Array(items) if key == "rights" => {
            let mut rights: Vec<String> = items.iter().map(Value::to_string).collect();
            rights.sort();
            json!(rights)
        }
        Value::Array(items) => items.iter().map(|item| normal_at(key, item)).collect(),
        Value::Number(_) if key.contains("f_cnt") => json!("a counter"),
        Value::String(text) => normal_text(key, text).into(),
        _ => value.clone(),
    }
}

fn normal_text(key: &str, text: &str) -> String {
    let is_hex =
        |length: usize| text.len() == length && text.bytes().all(|b| b.is_ascii_hexdigit());
    if key.ends_with("_at") {
        let digits = text.trim_end_matches('Z').split_once('.');
        return match digits.map_or(0, |(_, digits)| digits.len()) {
            0..=6 => String::from("a time with microseconds"),
            _ => String::from("a time with nanoseconds"),
        };
    }
    match key {
        "correlation_id" if is_hex(32) => String::from("32 digits"),
        "dev_eui" | "join_eui" if is_hex(16) => String::from("16 digits"),
        "dev_addr" if is_hex(8) => String::from("8 digits"),
        "network_server_address" | "application_server_address" if !text.contains("example") => {
            String::from("an address of this cluster")
        }
        "correlation_ids" => match text.rsplit_once(':') {
            Some((kind, id)) if id.len() == 26 => format!("{kind}:an id"),
            _ => text.to_owned(),
        },
        _ => text.to_owned(),
    }
}
