//! Metrics for Prometheus: everything in [`Stats`] over HTTP, in the text format 0.0.4.
//!
//! Without an account it runs on a simulated network:
//!
//! ```text
//! cargo run --example metrics
//! curl http://127.0.0.1:9464/metrics
//! ```
//!
//! | variable | is |
//! |---|---|
//! | `TTN_APP_ID`, `TTN_ACCESS_KEY` | the application and its key; without them, the network is simulated |
//! | `TTN_CLUSTER`, or `TTN_MQTT_ADDRESS` and `TTN_HTTP_ADDRESS` | where the network is |
//! | `METRICS_ADDRESS` | where to listen; by default `127.0.0.1:9464` |
//! | `METRICS_DEVICES` | of how many devices to show the airtime of the day, those with most of it; by default 0. Each device is three time series |
//!
//! The module `running_for_a_year` of the crate's documentation says which of them to watch. To have them in a program of
//! your own, copy this file: it needs nothing but the crate. Ctrl-C ends it.

use std::{
    cmp::Reverse,
    env,
    fmt::Display,
    io::{self, Read, Write},
    net::{TcpListener, TcpStream},
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result};
use ttn::{
    ConnectRetry, DeviceUse, MqttClient, MqttClientBuilder, Network, Stats, WorkerStats,
    crossbeam_channel::{RecvTimeoutError, Sender, bounded},
    simulator::Simulator,
};

/// The longest head of a request.
const HEAD: usize = 8 * 1024;

/// How long one scrape may take. Connections are served in turn, so a slow one delays the next.
const SCRAPE: Duration = Duration::from_secs(2);

fn main() -> Result<()> {
    let address = env::var("METRICS_ADDRESS").unwrap_or_else(|_| "127.0.0.1:9464".to_owned());
    let devices = match env::var("METRICS_DEVICES") {
        Ok(number) => number.parse().context("METRICS_DEVICES is not a number")?,
        Err(_) => 0,
    };
    let (builder, _simulation) = match env::var_os("TTN_APP_ID") {
        Some(_) => (builder_of_environment()?, None),
        None => {
            let simulation = Simulation::start()?;
            (simulation.builder(), Some(simulation))
        }
    };
    let client = builder.connect_retry(ConnectRetry::Forever).build()?;
    client.set_uplink_callback(|uplink, _| println!("{} sent an uplink", uplink.dev_id));

    let listener =
        TcpListener::bind(&address).with_context(|| format!("cannot listen on {address}"))?;
    println!("http://{}/metrics", listener.local_addr()?);
    let scraped = client.clone();
    thread::Builder::new()
        .name("metrics".to_owned())
        .spawn(move || serve(&listener, || page(&scraped, devices)))?;

    client.connect()?;
    client.wait();
    Ok(())
}

/// A page of metrics in the text format 0.0.4.
#[derive(Default)]
pub(crate) struct Page(String);

impl Page {
    pub(crate) fn into_text(self) -> String {
        self.0
    }

    /// Begins a metric. Its samples follow.
    fn begin(&mut self, kind: &str, name: &str, help: &str) {
        // Only a backslash and a line break would have to be escaped in a help text.
        self.0 += &format!("# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &dyn Display)], value: impl Display) {
        let labels: Vec<_> = labels
            .iter()
            .map(|(label, value)| format!("{label}=\"{}\"", escaped(&value.to_string())))
            .collect();
        let labels = match labels.is_empty() {
            true => String::new(),
            false => format!("{{{}}}", labels.join(",")),
        };
        self.0 += &format!("{name}{labels} {value}\n");
    }

    /// Adds a metric of one sample that never decreases while the client exists.
    fn counter(&mut self, name: &str, value: u64, help: &str) {
        self.begin("counter", name, help);
        self.sample(name, &[], value);
    }

    /// Adds a metric of one sample.
    fn gauge(&mut self, name: &str, value: impl Display, help: &str) {
        self.begin("gauge", name, help);
        self.sample(name, &[], value);
    }

    /// Adds a metric with a sample for each worker. A client has several sets of workers if several were set.
    fn workers<T: Display>(
        &mut self,
        kind: &str,
        name: &str,
        workers: &[WorkerStats],
        value: fn(&WorkerStats) -> T,
        help: &str,
    ) {
        self.begin(kind, name, help);
        let mut set = 0;
        for (position, worker) in workers.iter().enumerate() {
            if worker.worker == 0 && position > 0 {
                set += 1;
            }
            let labels: [(&str, &dyn Display); 2] = [("set", &set), ("worker", &worker.worker)];
            self.sample(name, &labels, value(worker));
        }
    }
}

/// Returns the value of a label as the format wants it.
pub(crate) fn escaped(value: &str) -> String {
    let value = value.replace('\\', r"\\").replace('"', "\\\"");
    value.replace('\n', r"\n")
}

fn seconds(time: SystemTime) -> f64 {
    let since = time.duration_since(UNIX_EPOCH);
    since.map_or(0.0, |since| since.as_secs_f64())
}

/// Returns the page: the counters of a client, when its key expires, and what those devices used today that used
/// most.
pub(crate) fn page(client: &MqttClient, devices: usize) -> String {
    let stats = client.stats();
    let mut page = of_stats(&stats);
    if let Some(expires) = client.rights().and_then(|rights| rights.expires_at) {
        page.gauge(
            "ttn_key_expires_timestamp_seconds",
            seconds(expires),
            "When the access key expires.",
        );
    }
    if devices > 0 {
        page.add_devices(&stats, devices);
    }
    page.into_text()
}

/// Every field of [`Stats`] but the fair use, whose time series are as many as there are devices.
pub(crate) fn of_stats(stats: &Stats) -> Page {
    let mut page = Page::default();
    for (name, value, help) in [
        (
            "ttn_messages_received_total",
            stats.received,
            "Messages that arrived.",
        ),
        (
            "ttn_messages_decoded_total",
            stats.decoded,
            "Messages that became an event.",
        ),
        (
            "ttn_messages_malformed_total",
            stats.malformed,
            "Messages that could not be read.",
        ),
        (
            "ttn_messages_dropped_total",
            stats.dropped,
            "Messages that did not fit into the queue.",
        ),
        (
            "ttn_messages_unacknowledged_total",
            stats.unacknowledged,
            "Messages at another QoS than 1.",
        ),
        (
            "ttn_uplinks_backfilled_total",
            stats.backfilled,
            "Missed uplinks that were fetched.",
        ),
        (
            "ttn_odd_members_total",
            stats.odd_members,
            "Members of messages that could not be read.",
        ),
        (
            "ttn_callback_events_dropped_total",
            stats.dropped_by_callbacks,
            "Events that the callbacks were too slow for.",
        ),
        (
            "ttn_downlinks_sent_total",
            stats.sent,
            "Downlinks that have left this machine.",
        ),
        (
            "ttn_downlinks_not_sent_total",
            stats.not_sent,
            "Downlinks that could not be sent.",
        ),
        (
            "ttn_downlinks_uncertain_total",
            stats.uncertain,
            "Downlinks that were sent and may be lost.",
        ),
        (
            "ttn_downlinks_acknowledged_total",
            stats.confirmed,
            "Acknowledgements by devices.",
        ),
        (
            "ttn_received_bytes_total",
            stats.bytes_received,
            "Bytes received, HTTP apart.",
        ),
        (
            "ttn_sent_bytes_total",
            stats.bytes_sent,
            "Bytes sent, HTTP apart.",
        ),
        (
            "ttn_disconnects_total",
            stats.disconnects,
            "Connections that were lost.",
        ),
        (
            "ttn_reconnects_total",
            stats.reconnects,
            "Connections that were made again.",
        ),
        (
            "ttn_frames_late_total",
            stats.frames.late,
            "Missing frames that arrived later.",
        ),
        (
            "ttn_frames_repeated_total",
            stats.frames.repeated,
            "Frames that arrived more than once.",
        ),
        (
            "ttn_frame_counter_resets_total",
            stats.frames.resets,
            "Frame counters that started over.",
        ),
    ] {
        page.counter(name, value, help);
    }
    page.gauge(
        "ttn_downlinks_waiting",
        stats.waiting,
        "Downlinks that wait to be sent.",
    );
    let since = stats.connected_since.map_or(0.0, seconds);
    page.gauge(
        "ttn_connected_since_timestamp_seconds",
        since,
        "When the connection was made; 0 without one.",
    );

    // They decrease when such a frame is fetched.
    let name = "ttn_frames_missing";
    page.begin(
        "gauge",
        name,
        "Uplinks that are missing according to the frame counters.",
    );
    for (cause, frames) in [
        ("away", stats.frames.missing_away),
        ("dropped_here", stats.frames.missing_dropped_here),
        ("upstream", stats.frames.missing_upstream),
    ] {
        page.sample(name, &[("cause", &cause)], frames);
    }

    // The text of the error belongs in the log: each text would be another time series.
    let name = "ttn_last_error";
    page.begin("gauge", name, "The kind of the last error of a connection.");
    if let Some(error) = &stats.last_error {
        page.sample(name, &[("kind", &format!("{:?}", error.kind()))], 1);
    }

    // Number 0 is the oldest subscription; when it ends, the others move up.
    let name = "ttn_subscription_events_dropped";
    page.begin(
        "gauge",
        name,
        "Events that a subscription was too slow for.",
    );
    for (subscription, dropped) in stats.dropped_by_subscribers.iter().enumerate() {
        page.sample(name, &[("subscription", &subscription)], dropped);
    }

    // When a set of workers is replaced, the new ones start at 0, as after a restart.
    let workers = &stats.workers;
    page.workers(
        "counter",
        "ttn_worker_uplinks_handled_total",
        workers,
        |worker| worker.handled,
        "Uplinks that a worker handled.",
    );
    page.workers(
        "counter",
        "ttn_worker_uplinks_failed_total",
        workers,
        |worker| worker.failed,
        "Uplinks that a worker failed at.",
    );
    page.workers(
        "counter",
        "ttn_worker_events_dropped_total",
        workers,
        |worker| worker.dropped,
        "Events that a worker was too slow for.",
    );
    page.workers(
        "gauge",
        "ttn_worker_events_waiting",
        workers,
        |worker| worker.waiting as u64,
        "Events in the queue of a worker.",
    );
    page
}

impl Page {
    /// Adds the use of today of those devices that were in the air for longest, and of all others together.
    fn add_devices(&mut self, stats: &Stats, most: usize) {
        let mut devices = stats.fair_use.devices();
        devices.sort_unstable_by_key(|(_, used)| Reverse(used.airtime));
        let rest = devices.split_off(most.min(devices.len()));
        let mut others = stats.fair_use.others();
        for (_, used) in rest {
            others.uplinks += used.uplinks;
            others.airtime += used.airtime;
            others.downlinks += used.downlinks;
        }
        // No device has an empty id.
        devices.push((String::new(), others));
        type Value = fn(&DeviceUse) -> f64;
        let metrics: [(&str, Value, &str); 3] = [
            (
                "ttn_device_uplinks_today",
                |used| used.uplinks as f64,
                "Uplinks of a device since midnight UTC.",
            ),
            (
                "ttn_device_airtime_today_seconds",
                |used| used.airtime.as_secs_f64(),
                "Airtime of these uplinks.",
            ),
            (
                "ttn_device_downlinks_today",
                |used| used.downlinks as f64,
                "Downlinks to a device since midnight UTC.",
            ),
        ];
        for (name, value, help) in metrics {
            self.begin("gauge", name, help);
            for (device, used) in &devices {
                self.sample(name, &[("device", device)], value(used));
            }
        }
    }
}

/// Serves the page at `/metrics`, one connection after the other, for as long as the program runs.
pub(crate) fn serve(listener: &TcpListener, page: impl Fn() -> String) {
    for stream in listener.incoming() {
        // A client that goes away or takes too long misses its page, and nothing else.
        let _ = stream.and_then(|stream| answer(stream, &page));
    }
}

fn answer(mut stream: TcpStream, page: impl Fn() -> String) -> io::Result<()> {
    let deadline = Instant::now() + SCRAPE;
    stream.set_write_timeout(Some(SCRAPE))?;
    let mut head = Vec::new();
    let mut part = [0; 1024];
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() || head.len() > HEAD {
            return Ok(());
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut part)? {
            0 => return Ok(()),
            read => head.extend_from_slice(&part[..read]),
        }
    }
    let head = String::from_utf8_lossy(&head);
    let mut words = head.split_whitespace();
    let (method, target) = (words.next(), words.next().unwrap_or_default());
    let path = target.split('?').next();
    let (status, body) = match (method, path) {
        (Some("GET" | "HEAD"), Some("/metrics")) => ("200 OK", page()),
        (Some("GET" | "HEAD"), _) => ("404 Not Found", "see /metrics\n".to_owned()),
        _ => ("405 Method Not Allowed\r\nAllow: GET, HEAD", String::new()),
    };
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    )?;
    if method == Some("GET") {
        stream.write_all(body.as_bytes())?;
    }
    Ok(())
}

fn builder_of_environment() -> Result<MqttClientBuilder> {
    let variable = |name| env::var(name).with_context(|| format!("{name} cannot be read"));
    let mut builder = MqttClient::builder(variable("TTN_APP_ID")?, variable("TTN_ACCESS_KEY")?);
    if let Ok(cluster) = env::var("TTN_CLUSTER") {
        builder = builder.cluster(cluster);
    }
    if let Ok(address) = env::var("TTN_MQTT_ADDRESS") {
        builder = builder.mqtt_address(address);
    }
    if let Ok(address) = env::var("TTN_HTTP_ADDRESS") {
        builder = builder.http_address(address);
    }
    Ok(builder)
}

/// A simulated network with three devices, which send an uplink each second until this is dropped.
struct Simulation {
    app_id: String,
    access_key: String,
    addresses: [String; 2],
    _stop: Sender<()>,
}

impl Simulation {
    fn start() -> Result<Self> {
        let network = Simulator::start(Network::V3)?;
        let (stop, stopped) = bounded::<()>(0);
        let simulation = Self {
            app_id: network.app_id().to_owned(),
            access_key: network.access_key().to_owned(),
            addresses: [network.mqtt_address(), network.http_address()],
            _stop: stop,
        };
        thread::spawn(move || {
            let devices = ["door", "roof", "well"].map(|dev_id| network.device(dev_id));
            while stopped.recv_timeout(Duration::from_secs(1)) == Err(RecvTimeoutError::Timeout) {
                for device in &devices {
                    device.uplink(1, [0]);
                }
            }
        });
        Ok(simulation)
    }

    fn builder(&self) -> MqttClientBuilder {
        let [mqtt, http] = &self.addresses;
        MqttClient::builder(&*self.app_id, &*self.access_key)
            .mqtt_address(&**mqtt)
            .http_address(&**http)
    }
}
