//! Measures what a broker of one's own costs: one consumer that gets uplinks at QoS 1, against Paho used directly,
//! and a feed into the broker, against Mosquitto's own tools.

mod common;

use std::{
    cell::RefCell,
    hint::black_box,
    io::{BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc::{self, Sender},
    },
    thread,
    time::{Duration, Instant},
};

use common::{
    APP_V3, PATIENCE, bare,
    broker::Broker,
    figures::{Reach, left_out, note},
    messages::v3_uplink,
    peer::find,
    report::{Row, Side, interleave, print},
    source::{Source, Uplinks},
};
use ttn::{Acknowledge, Feed, MqttClient, MqttClientBuilder, Session, UplinkMessage};

const ROUNDS: usize = 5;

/// The broker keeps them until the consumer connects.
const KEPT: usize = 20_000;

/// How many go through a feed.
const FED: usize = 20_000;

/// The client id of the consumer.
const CONSUMER: &str = "consumer";

/// What both sides subscribe to.
const FILTER: &str = "v3/bench-app@ttn/devices/+/up";

/// As users run it, with room for everything.
const SETTINGS: &str = "set_tcp_nodelay true\nmax_queued_messages 0\n";

const DEVICES: usize = 100;

fn main() {
    let _watchdog = common::watchdog(Duration::from_secs(600));
    consumers();
    feeds();
}

fn consumers() {
    const BARE: &str = "Paho's callback, doing nothing";
    const WHAT: [(&str, Reach); 3] = [
        (
            "`Acknowledge::Received`, `set_uplink_callback`",
            Reach::Stated,
        ),
        (
            "`Acknowledge::Handled`, `set_uplink_callback`",
            Reach::Stated,
        ),
        ("`Acknowledge::Handled`, 8 workers", Reach::Stated),
    ];
    println!(
        "## own broker: a consumer of {KEPT} uplinks at QoS 1, which Mosquitto has kept for it\n"
    );
    let broker = match Broker::start_with(SETTINGS) {
        Ok(broker) => broker,
        Err(why) => {
            println!("Left out: {why}\n");
            for (what, reach) in WHAT {
                left_out(16, &format!("handled uplinks/s, {what}"), BARE, reach, &why);
            }
            return;
        }
    };
    let stage = Stage {
        address: broker.address(),
        packets: packets(),
    };
    let stage = &stage;
    let callback = |acknowledge| {
        stage.consume(acknowledge, |client, counter| {
            client.set_uplink_callback(move |uplink, _| counter.count(uplink));
        })
    };
    let [speed] = interleave(
        ROUNDS,
        vec![
            Side::new(BARE, || [stage.bare(|payload| _ = black_box(payload))]),
            Side::new("Paho's callback, `serde_json::Value`", || {
                [stage.bare(|payload| {
                    let json: serde_json::Value =
                        serde_json::from_slice(payload).expect("the payload is JSON");
                    black_box(json);
                })]
            }),
            Side::new(WHAT[0].0, || [callback(Acknowledge::Received)]),
            Side::new(WHAT[1].0, || [callback(Acknowledge::Handled)]),
            Side::new(WHAT[2].0, || {
                [stage.consume(Acknowledge::Handled, |client, counter| {
                    let worker = |_| {
                        let counter = counter.clone();
                        move |uplink: &UplinkMessage, _: &MqttClient| counter.count(uplink)
                    };
                    client
                        .set_uplink_workers(8, worker)
                        .expect("the threads start");
                })]
            }),
        ],
    );
    print(
        "From `connect` until the last is handled",
        "uplinks/s",
        &speed,
    );
    let by_hand = &speed[1];
    for (row, (what, reach)) in speed[2..].iter().zip(WHAT) {
        let what = format!("handled uplinks/s at QoS 1, {what}");
        note(16, &what, BARE, reach, &row.ratios(&speed[0]));
        note(16, &what, &by_hand.name, reach, &row.ratios(by_hand));
    }
}

/// Reports when all uplinks have come.
#[derive(Clone)]
struct Counter {
    open: Arc<AtomicUsize>,
    done: Sender<()>,
}

impl Counter {
    fn new(count: usize, done: Sender<()>) -> Self {
        Self {
            open: Arc::new(AtomicUsize::new(count)),
            done,
        }
    }

    fn count<T>(&self, uplink: &T) {
        black_box(uplink);
        if self.open.fetch_sub(1, Ordering::Relaxed) == 1 {
            let _ = self.done.send(());
        }
    }
}

/// A broker, and uplinks to publish there.
struct Stage {
    address: SocketAddr,
    packets: Vec<Vec<u8>>,
}

impl Stage {
    /// Returns how many kept uplinks Paho gets in a second.
    fn bare(&self, handle: impl Fn(&[u8]) + Send + 'static) -> f64 {
        let client = bare::create_as(CONSUMER, self.address);
        assert!(bare::connect_with(&client, false));
        bare::subscribe_at_least_once(&client, FILTER);
        bare::disconnect(&client);
        self.fill();
        let (done, all) = mpsc::channel();
        let counter = Counter::new(KEPT, done);
        client.set_message_callback(move |_, message| {
            if let Some(message) = message {
                handle(message.payload());
                counter.count(&message);
            }
        });
        let start = Instant::now();
        assert!(bare::connect_with(&client, false));
        bare::subscribe_at_least_once(&client, FILTER);
        all.recv_timeout(PATIENCE).expect("every uplink arrives");
        let speed = KEPT as f64 / start.elapsed().as_secs_f64();
        bare::disconnect(&client);
        assert!(bare::connect(&client));
        bare::disconnect(&client);
        speed
    }

    /// Returns how many kept uplinks a client handles in a second.
    fn consume(&self, acknowledge: Acknowledge, set: impl FnOnce(&MqttClient, Counter)) -> f64 {
        let client = self
            .own_broker()
            .session(Session::persistent(CONSUMER))
            .acknowledge(acknowledge)
            .build()
            .expect("the options are valid");
        client.connect().expect("the broker is there");
        client.close().expect("the broker answers");
        self.fill();
        let (done, all) = mpsc::channel();
        set(&client, Counter::new(KEPT, done));
        let start = Instant::now();
        client.connect().expect("the broker is there");
        all.recv_timeout(PATIENCE).expect("every uplink arrives");
        let speed = KEPT as f64 / start.elapsed().as_secs_f64();
        client.forget_session().expect("the broker forgets");
        let stats = client.stats();
        assert_eq!((stats.dropped, stats.dropped_by_callbacks), (0, 0));
        speed
    }

    fn own_broker(&self) -> MqttClientBuilder {
        MqttClient::own_broker(APP_V3)
            .mqtt_address(format!("mqtt://{}", self.address))
            .reconnect(false)
    }

    /// Publishes the uplinks at QoS 1; returns when the broker has acknowledged all.
    fn fill(&self) {
        let mut stream = TcpStream::connect(self.address).expect("the broker is there");
        // MQTT 3.1.1, clean session, no keep-alive, client id "source".
        let connect = b"\x10\x12\0\x04MQTT\x04\x02\0\0\0\x06source";
        stream.write_all(connect).expect("the broker reads");
        let mut answer = [0; 4];
        stream.read_exact(&mut answer).expect("the broker answers");
        assert_eq!(answer, [0x20, 2, 0, 0]);
        let reader = stream.try_clone().expect("a descriptor is free");
        let acknowledgements = thread::spawn(move || {
            let mut reader = BufReader::new(reader);
            let mut acknowledgement = [0; 4];
            for _ in 0..KEPT {
                let read = reader.read_exact(&mut acknowledgement);
                read.expect("the broker acknowledges");
                assert_eq!(acknowledgement[0], 0x40);
            }
        });
        for packet in &self.packets {
            stream.write_all(packet).expect("the broker reads");
        }
        acknowledgements.join().expect("all are acknowledged");
    }
}

/// Returns PUBLISH packets at QoS 1, in batches.
fn packets() -> Vec<Vec<u8>> {
    const BATCH: usize = 64;
    let numbers: Vec<usize> = (0..KEPT).collect();
    let batches = numbers.chunks(BATCH).map(|batch| {
        let mut packets = Vec::new();
        for number in batch {
            let (topic, payload) = v3_uplink(number % DEVICES, 1);
            let counter = number / DEVICES + 1;
            let old = format!("\"f_cnt\":{},", 10_000 + number % DEVICES);
            let payload = payload.replace(&old, &format!("\"f_cnt\":{counter},"));
            let mut length = 4 + topic.len() + payload.len();
            packets.push(0x32);
            while length > 0x7f {
                packets.push((length & 0x7f) as u8 | 0x80);
                length >>= 7;
            }
            packets.push(length as u8);
            packets.extend((topic.len() as u16).to_be_bytes());
            packets.extend(topic.bytes());
            packets.extend((*number as u16 + 1).to_be_bytes());
            packets.extend(payload.bytes());
        }
        packets
    });
    batches.collect()
}

/// A way from a network into a broker.
struct Way<'a> {
    name: &'static str,
    /// What the broker needs for it.
    settings: fn(SocketAddr) -> String,
    /// Starts it; it ends when what is returned is dropped.
    start: fn(SocketAddr, SocketAddr) -> Result<Box<dyn Running>, String>,
    source: &'a Source,
    uplinks: &'a Uplinks,
    failure: RefCell<Option<String>>,
}

/// A way that ends when it is dropped.
trait Running {
    /// Returns what it knows of the uplinks.
    fn state(&self) -> String {
        String::new()
    }
}

impl Running for () {}

fn feeds() {
    println!("## own broker: {FED} uplinks from a network at QoS 0 into Mosquitto at QoS 1\n");
    let source = Source::start(0);
    let uplinks = Uplinks::v3();
    let way = |name, settings, start| Way {
        name,
        settings,
        start,
        source: &source,
        uplinks: &uplinks,
        failure: RefCell::default(),
    };
    let ways = [
        way("`Feed`", |_| String::new(), feed),
        way(
            "`mosquitto_sub` piped into `mosquitto_pub`, all on one topic",
            |_| String::new(),
            pipe,
        ),
        way("Mosquitto's own bridge", bridge, |_, _| Ok(Box::new(()))),
    ];
    let sides = ways.iter().map(|way| Side::new(way.name, || [way.speed()]));
    let [speed] = interleave(ROUNDS, sides.collect());
    let measured: Vec<&Row> = ways
        .iter()
        .zip(&speed)
        .filter(|(way, _)| way.failure.borrow().is_none())
        .map(|(_, row)| row)
        .collect();
    if !measured.is_empty() {
        print(
            "Until the broker has delivered the last",
            "uplinks/s",
            &measured,
        );
    }
    for (way, row) in ways.iter().zip(&speed).skip(1) {
        let failure = ways[0]
            .failure
            .borrow()
            .clone()
            .or(way.failure.borrow().clone());
        let what = "uplinks/s of `Feed`";
        match failure {
            None => note(17, what, way.name, Reach::Stated, &speed[0].ratios(row)),
            Some(why) => {
                println!("{} was left out: {why}\n", way.name);
                left_out(17, what, way.name, Reach::Stated, &why);
            }
        }
    }
}

impl Way<'_> {
    /// Returns uplinks per second. After a failure the way is not tried again.
    fn speed(&self) -> f64 {
        let mut failure = self.failure.borrow_mut();
        if failure.is_some() {
            return f64::NAN;
        }
        self.measure().unwrap_or_else(|why| {
            *failure = Some(why);
            f64::NAN
        })
    }

    fn measure(&self) -> Result<f64, String> {
        self.source.forget_link();
        let settings = (self.settings)(self.source.address());
        let broker = Broker::start_with(&format!("{SETTINGS}{settings}"))?;
        let (done, all) = mpsc::channel();
        let reader = bare::create_as("reader", broker.address());
        let counter = Counter::new(FED, done);
        let open = Arc::clone(&counter.open);
        reader.set_message_callback(move |_, message| {
            if let Some(message) = message {
                counter.count(&message);
            }
        });
        assert!(bare::connect(&reader));
        bare::subscribe_at_least_once(&reader, "v3/#");
        let way = (self.start)(self.source.address(), broker.address())?;
        let link = self.source.wait_for_link(PATIENCE);
        let link = link.ok_or("it does not subscribe")?;
        let start = Instant::now();
        let written = link.try_flood(self.uplinks, FED);
        let has_all = all.recv_timeout(PATIENCE).is_ok();
        let took = start.elapsed().as_secs_f64();
        let state = way.state();
        drop(way);
        bare::disconnect(&reader);
        if written.is_none() || !has_all {
            let lost = open.load(Ordering::Relaxed);
            return Err(format!("{lost} of {FED} have not arrived{state}"));
        }
        Ok(FED as f64 / took)
    }
}

/// Closes the feed at the end.
struct Feeding(Feed);

impl Running for Feeding {
    fn state(&self) -> String {
        let stats = self.0.stats();
        format!(
            ": {} acknowledged, {} waiting, {} dropped",
            stats.acknowledged, stats.waiting, stats.dropped
        )
    }
}

impl Drop for Feeding {
    fn drop(&mut self) {
        self.0.close().expect("the broker answers");
    }
}

fn feed(network: SocketAddr, broker: SocketAddr) -> Result<Box<dyn Running>, String> {
    // The flood is short: all of it has room, and news about it too.
    let network = common::client_v3(network)
        .receive_capacity(2 * FED, 8192 * FED)
        .event_capacity(2 * FED);
    let broker = MqttClient::own_broker(APP_V3)
        .mqtt_address(format!("mqtt://{broker}"))
        .session(Session::persistent("feed"));
    let feed = Feed::builder(network, broker)
        .capacity(2 * FED)
        .max_bytes(8192 * FED)
        .take_downlinks(false)
        .start()
        .map_err(|error| error.to_string())?;
    Ok(Box::new(Feeding(feed)))
}

/// Kills the processes at the end.
struct Pipe([Child; 2]);

impl Running for Pipe {}

impl Drop for Pipe {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn pipe(network: SocketAddr, broker: SocketAddr) -> Result<Box<dyn Running>, String> {
    let tool = |name: &str, port: u16| {
        let program = find(name).ok_or_else(|| format!("{name} is not installed"))?;
        let mut command = Command::new(program);
        command.args([
            "-h",
            "127.0.0.1",
            "-V",
            "mqttv311",
            "-q",
            "1",
            "-p",
            &port.to_string(),
        ]);
        Ok::<_, String>(command)
    };
    let failed = |error: std::io::Error| error.to_string();
    let mut reading = tool("mosquitto_sub", network.port())?
        .args(["-t", FILTER])
        .stdout(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    let output = reading.stdout.take().ok_or("it has no output")?;
    let writing = tool("mosquitto_pub", broker.port())?
        .args(["-l", "-t", "v3/bench-app@ttn/devices/all/up"])
        .stdin(output)
        .spawn();
    match writing {
        Ok(writing) => Ok(Box::new(Pipe([reading, writing]))),
        Err(error) => {
            let _ = reading.kill();
            let _ = reading.wait();
            Err(failed(error))
        }
    }
}

fn bridge(network: SocketAddr) -> String {
    format!(
        "connection bridge\naddress {network}\nbridge_protocol_version mqttv311\ntry_private false\n\
         notifications false\ncleansession true\nrestart_timeout 1\ntopic {FILTER} in 1\n"
    )
}
