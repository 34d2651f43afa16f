//! A network with a key, asked over HTTP.

use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use ttn::Network;
use ttn::simulator::{Device, Gateway, Location, Simulator, Uplink};

use crate::http_client::{Reply, connect, request, send};

pub const ID: &str = "EXAMPLEKEYIDEXAMPLEKEYIDEXAMPLEKEYIDABC";
const READ: &str = "RIGHT_APPLICATION_TRAFFIC_READ";

/// A network, and the key with which it is asked.
pub struct Site {
    pub network: Simulator,
    pub uid: &'static str,
    pub authorization: Option<String>,
}

impl Site {
    /// Starts a network with that application.
    pub fn of(uid: &'static str) -> Self {
        Self::with_rights(uid, &[READ])
    }

    pub fn with_rights(uid: &'static str, rights: &[&str]) -> Self {
        let key = format!("NNSXS.{ID}.SECRET");
        let network = Simulator::builder(Network::V3)
            .application(uid, "NNSXS.OTHER.KEY")
            .receive_window(Duration::ZERO)
            .start()
            .unwrap();
        network.set_rights(uid, &key, rights);
        Self {
            network,
            uid,
            authorization: Some(format!("Bearer {key}")),
        }
    }

    pub fn showing(mut self, authorization: Option<&str>) -> Self {
        self.authorization = authorization.map(str::to_owned);
        self
    }

    /// Returns a request, with these headers too.
    fn request(&self, method: &str, path: &str, body: &str, headers: &str) -> String {
        let authorization = self.authorization.as_deref();
        let request = request(method, path, authorization, body);
        request.replacen("Host:", &format!("{headers}Host:"), 1)
    }

    pub fn get(&self, path: &str) -> Reply {
        self.get_with(path, "")
    }

    pub fn get_with(&self, path: &str, headers: &str) -> Reply {
        let request = self.request("GET", path, "", headers);
        send(&self.network.http_address(), &request)
    }

    /// Asks for the stored uplinks of the application, with that query.
    pub fn stored(&self, query: &str) -> Reply {
        self.get(&format!("{}{query}", storage("")))
    }

    /// Asks for events and returns the head of the answer and the rest of the connection.
    pub fn events(&self, body: &Value) -> (Reply, TcpStream) {
        self.events_with(body, "")
    }

    pub fn events_with(&self, body: &Value, headers: &str) -> (Reply, TcpStream) {
        let mut stream = self.open("POST", "/events", &body.to_string(), headers);
        let head = Reply::read_head(&mut stream);
        (head, stream)
    }

    /// Asks for events that are refused.
    pub fn refused_events(&self, body: &str) -> Reply {
        let request = self.request("POST", "/events", body, "");
        send(&self.network.http_address(), &request)
    }

    /// Sends a request.
    pub fn open(&self, method: &str, path: &str, body: &str, headers: &str) -> TcpStream {
        let mut stream = connect(&self.network.http_address());
        let request = self.request(method, path, body, headers);
        stream.write_all(request.as_bytes()).unwrap();
        stream
    }

    /// Returns a device of the application.
    pub fn device(&self, dev_id: &str) -> Device {
        self.network.device_of(self.uid, dev_id)
    }
}

/// Returns the path of the stored uplinks, below that of the application.
pub fn storage(below: &str) -> String {
    format!("/as/applications/greenhouse{below}/packages/storage/uplink_message")
}

/// Returns a time, that many milliseconds after one in the morning of an invented day.
pub fn at(millis: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_759_200) + Duration::from_millis(millis)
}

/// Returns an uplink that the Application Server receives then. It is told of what the Network Server
/// received 205 ms before.
pub fn received_at(time: SystemTime) -> Uplink {
    Uplink::new(2, [0x0b]).time(time - Duration::from_millis(205))
}

/// Returns an uplink that looks like the recorded ones: decoded, and heard by gateways that are on the map.
pub fn like_recorded(gateways: &[&str]) -> Uplink {
    let uplink =
        Uplink::new(2, [0x0b, 0x46]).fields(json!({"temperature": 28.86, "humidity": 45.6}));
    let place = Location {
        latitude: 52.3731,
        longitude: 4.8922,
        altitude: 14,
    };
    gateways.iter().fold(uplink, |uplink, gateway| {
        uplink.heard_by(Gateway::new(*gateway).location(place).channel(3))
    })
}

/// Reduces a value to the names of its members and the kinds of their values; a list of texts keeps one.
pub fn shape(value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            let members = members.iter();
            let member = |(name, value): (&String, &Value)| (name.clone(), shape(value));
            Value::Object(members.map(member).collect())
        }
        Value::Array(items) => {
            let mut shapes: Vec<Value> = items.iter().map(shape).collect();
            shapes.dedup_by(|one, other| one.is_string() && one == other);
            Value::Array(shapes)
        }
        Value::String(_) => json!("a text"),
        Value::Number(_) => json!("a number"),
        _ => value.clone(),
    }
}
