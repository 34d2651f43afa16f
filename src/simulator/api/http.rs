//! The HTTP server of a simulator.

use std::time::Duration;

use super::{Device, Simulator};
use crate::simulator::{
    http::{HttpFault, HttpRequest},
    listening::reachable,
    security::Security,
};

impl Simulator {
    /// Returns the address of the HTTP server, such as `http://127.0.0.1:40123`; `https://` if it speaks
    /// [TLS](super::SimulatorBuilder::https). The API is below `/api/v3`. A [`restart`](Self::restart)
    /// keeps the port.
    ///
    /// # Panics
    ///
    /// On V2, which has no HTTP server.
    ///
    /// ```
    /// use std::io::{Read, Write};
    /// # let network = ttn::simulator::Simulator::start(ttn::Network::V3)?;
    /// let address = network.http_address();
    /// let mut stream = std::net::TcpStream::connect(address.trim_start_matches("http://"))?;
    /// stream.write_all(b"GET /api/v3/as/configuration HTTP/1.0\r\n\r\n")?;
    /// let mut answer = String::new();
    /// stream.read_to_string(&mut answer)?;
    /// assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[track_caller]
    pub fn http_address(&self) -> String {
        let scheme = match self.instance.http("Simulator::http_address").security {
            Security::Plain => "http",
            #[cfg(feature = "tls")]
            Security::Tls(_) => "https",
        };
        format!("{scheme}://{}", reachable(self.http_address))
    }

    /// Returns the certificate, in PEM, of the authority behind [MQTT](super::SimulatorBuilder::tls) or
    /// [HTTP](super::SimulatorBuilder::https) over TLS. Each network has its own.
    ///
    /// # Panics
    ///
    /// Without TLS.
    ///
    /// ```
    /// # use ttn::{Network, simulator::Simulator};
    /// let network = Simulator::builder(Network::V3).https(true).start()?;
    /// assert!(network.authority().starts_with("-----BEGIN CERTIFICATE-----"));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[cfg(feature = "tls")]
    #[track_caller]
    pub fn authority(&self) -> String {
        let http = self.instance.http.as_ref().map(|http| &http.security);
        let securities = [Some(self.instance.broker.security()), http];
        for security in securities.into_iter().flatten() {
            if let Security::Tls(authority) = security {
                return authority.pem().to_owned();
            }
        }
        panic!(
            "this network has no authority, because it does not speak TLS; start it with SimulatorBuilder::tls(true), or with https(true) on v3"
        )
    }

    /// Returns every request that the HTTP server has read since the start, in order, also those that
    /// meet a [fault](Self::http_fault).
    ///
    /// # Panics
    ///
    /// On V2, which has no HTTP server.
    ///
    /// ```
    /// # let network = ttn::simulator::Simulator::start(ttn::Network::V3)?;
    /// assert!(network.http_requests().is_empty());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[track_caller]
    pub fn http_requests(&self) -> Vec<HttpRequest> {
        self.instance.http("Simulator::http_requests").requests()
    }

    /// Waits until the HTTP server has read at least that many requests. Returns false after the
    /// timeout.
    ///
    /// # Panics
    ///
    /// On V2, which has no HTTP server.
    ///
    /// ```
    /// use std::time::Duration;
    /// # let network = ttn::simulator::Simulator::start(ttn::Network::V3)?;
    /// assert!(!network.wait_for_http_requests(1, Duration::from_millis(1)));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[track_caller]
    pub fn wait_for_http_requests(&self, count: usize, timeout: Duration) -> bool {
        let server = self.instance.http("Simulator::wait_for_http_requests");
        server.wait_for_requests(count, timeout)
    }

    /// Lets all following HTTP requests meet a fault, or none again.
    ///
    /// # Panics
    ///
    /// On V2, which has no HTTP server.
    ///
    /// ```
    /// use ttn::simulator::HttpFault;
    /// # let network = ttn::simulator::Simulator::start(ttn::Network::V3)?;
    /// network.http_fault(Some(HttpFault::Status(502)));
    /// network.http_fault(None);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[track_caller]
    pub fn http_fault(&self, fault: Option<HttpFault>) {
        self.instance.http("Simulator::http_fault").set_fault(fault);
    }

    /// Lets the following HTTP requests whose path or query contains that text meet a fault, or no other
    /// than [all others](Self::http_fault) again. If several texts fit, the one set last counts.
    ///
    /// # Panics
    ///
    /// On V2, which has no HTTP server.
    ///
    /// ```
    /// use ttn::simulator::HttpFault;
    /// # let network = ttn::simulator::Simulator::start(ttn::Network::V3)?;
    /// network.http_fault_on("/down/push", Some(HttpFault::CutOff));
    /// network.http_fault_on("/down/push", None);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[track_caller]
    pub fn http_fault_on(&self, path_contains: &str, fault: Option<HttpFault>) {
        let server = self.instance.http("Simulator::http_fault_on");
        server.set_fault_on(path_contains, fault);
    }

    /// Lets the next HTTP requests whose path or query contains that text meet these faults, one each and
    /// in this order; those that follow meet what they would meet otherwise. Replaces what is left of
    /// earlier ones for the same text.
    ///
    /// # Panics
    ///
    /// On V2, which has no HTTP server.
    ///
    /// ```
    /// use ttn::simulator::HttpFault;
    /// # let network = ttn::simulator::Simulator::start(ttn::Network::V3)?;
    /// network.http_faults_next("/storage/", [HttpFault::CutAfter(3), HttpFault::RateLimited]);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[track_caller]
    pub fn http_faults_next(
        &self,
        path_contains: &str,
        faults: impl IntoIterator<Item = HttpFault>,
    ) {
        let server = self.instance.http("Simulator::http_faults_next");
        server.set_next_faults(path_contains, faults);
    }

    /// Limits HTTP requests: for each method, application or device, and key, that many are answered at
    /// once, and then one after the other, evenly, that many per minute. Stored uplinks
    /// and event streams have a limit for each key, whatever the application. The next ones get 429. Answers
    /// have the headers `X-Rate-Limit-Limit`, the burst, and `-Available`, `-Reset` and `-Retry`. Default:
    /// no limit, and no such headers.
    ///
    /// # Panics
    ///
    /// On V2, which has no HTTP server.
    ///
    /// ```
    /// # let network = ttn::simulator::Simulator::start(ttn::Network::V3)?;
    /// network.http_rate_limit(10, 60);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[track_caller]
    pub fn http_rate_limit(&self, burst: u32, per_minute: u32) {
        self.instance.act_on_v3("Simulator::http_rate_limit", |v3| {
            v3.set_http_rate_limit(burst, per_minute);
        });
    }
}

impl Device {
    /// Registers the device with the servers of another cluster, at that address: the Identity Server
    /// still lists it, and the servers of this network do not know it. It is not heard here, and
    /// downlinks for it leave no trace on MQTT.
    ///
    /// # Panics
    ///
    /// On V2.
    ///
    /// ```
    /// # let network = ttn::simulator::Simulator::start(ttn::Network::V3)?;
    /// network.device("roof-3").on_other_cluster("nam1.example.org");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[track_caller]
    pub fn on_other_cluster(&self, address: &str) {
        self.instance.act_on_v3("Device::on_other_cluster", |v3| {
            v3.move_elsewhere(self.id(), address);
        });
    }

    /// Sets the name that the device is registered with; empty for none, the default. No message contains
    /// it.
    ///
    /// # Panics
    ///
    /// On V2.
    ///
    /// ```
    /// # let network = ttn::simulator::Simulator::start(ttn::Network::V3)?;
    /// network.device("roof-3").rename("behind the chimney");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[track_caller]
    pub fn rename(&self, name: &str) {
        self.instance
            .act_on_v3("Device::rename", |v3| v3.rename(self.id(), name));
    }
}
