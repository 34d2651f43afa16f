//! What a simulator keeps for programs that were away.

use std::time::Duration;

use super::Simulator;
use crate::simulator::v3::{EventStore, Storage};

impl Simulator {
    /// Gives the network the Storage Integration, changes how it behaves, or takes it away. Without it, its
    /// routes are a bare 404, as in the open source edition. A change counts for the next request and keeps
    /// what is stored; taking it away deletes that. Default: none.
    ///
    /// # Panics
    ///
    /// On V2, whose Data Storage is not simulated.
    ///
    /// ```
    /// use std::io::{Read, Write};
    /// use ttn::Network;
    /// use ttn::simulator::{Simulator, Storage};
    ///
    /// let network = Simulator::start(Network::V3)?;
    /// network.storage(Some(Storage::new()));
    /// network.device("soil-probe-07").uplink(2, [0x01, 0x67]);
    ///
    /// let path = "/api/v3/as/applications/simulated-app/packages/storage/uplink_message";
    /// let mut stream = std::net::TcpStream::connect(network.http_address().trim_start_matches("http://"))?;
    /// let key = network.access_key();
    /// write!(stream, "GET {path} HTTP/1.0\r\nAuthorization: Bearer {key}\r\n\r\n")?;
    /// let mut answer = String::new();
    /// stream.read_to_string(&mut answer)?;
    /// assert!(answer.contains(r#"{"result":{"end_device_ids":{"device_id":"soil-probe-07","#));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[track_caller]
    pub fn storage(&self, storage: Option<Storage>) {
        self.instance
            .act_on_v3("Simulator::storage", |v3| v3.set_storage(storage));
    }

    /// Lets the network keep events, so that a stream can begin in the past, or keep none: streams are then
    /// live only, and say so with `X-Warning` if they are asked for more. A change counts for the next
    /// stream; without a store, what was kept is gone. Default: none.
    ///
    /// # Panics
    ///
    /// On V2, which has no event stream.
    ///
    /// ```
    /// use std::io::{BufRead, BufReader, Write};
    /// use ttn::Network;
    /// use ttn::simulator::{EventStore, Simulator};
    ///
    /// let network = Simulator::start(Network::V3)?;
    /// network.event_store(Some(EventStore::new()));
    /// network.device("soil-probe-07").uplink(2, [0x01, 0x67]);
    ///
    /// let body = r#"{"identifiers":[{"application_ids":{"application_id":"simulated-app"}}],"tail":10}"#;
    /// let mut stream = std::net::TcpStream::connect(network.http_address().trim_start_matches("http://"))?;
    /// let (key, length) = (network.access_key(), body.len());
    /// let head = format!("Authorization: Bearer {key}\r\nContent-Length: {length}");
    /// write!(stream, "POST /api/v3/events HTTP/1.0\r\n{head}\r\n\r\n{body}")?;
    /// let uplink = BufReader::new(stream).lines().map_while(Result::ok).find(|line| line.contains("as.up.data.forward"));
    /// assert!(uplink.is_some());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[track_caller]
    pub fn event_store(&self, store: Option<EventStore>) {
        self.instance
            .act_on_v3("Simulator::event_store", |v3| v3.set_event_store(store));
    }

    /// Sets the network's clock ahead: messages have later times, keys expire, stored uplinks get old or
    /// become readable, messages in kept events disappear, and requests over HTTP that are limited become
    /// free. Timeouts and receive windows are not affected.
    ///
    /// # Panics
    ///
    /// On V2.
    ///
    /// ```
    /// use std::time::Duration;
    /// # let network = ttn::simulator::Simulator::start(ttn::Network::V3)?;
    /// network.advance_clock(Duration::from_secs(3600));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[track_caller]
    pub fn advance_clock(&self, by: Duration) {
        self.instance
            .act_on_v3("Simulator::advance_clock", |v3| v3.advance_clock(by));
    }
}
