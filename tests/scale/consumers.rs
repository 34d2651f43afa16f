//! Consumers: processes that handle uplinks, write a line for each, and are killed.

use std::{
    env,
    fmt::Display,
    fs::{File, OpenOptions},
    io::Write,
    net::SocketAddr,
    ops::Range,
    path::{Path, PathBuf},
    process::{self, Command, Stdio},
    sync::Arc,
    thread,
    time::Duration,
};

use serde_json::{Value, json};
use tempfile::TempDir;
use ttn::{
    Acknowledge, ConnectRetry, Delivery, DeliveryState, Downlink, Event, MqttClient,
    MqttClientBuilder, Schedule, Session, UplinkMessage,
};

use crate::{
    account::{Account, Handled, Records, nanoseconds},
    publisher::{APP_ID, Published},
    support::{
        child::full_name,
        guarded::Guarded,
        resources::{pause, wait_until},
    },
};

/// The variable with the plan of a consumer.
const PLAN: &str = "TTN_TEST_CONSUMER";

/// The ports of uplinks that are answered: while things break, and in the end.
pub const ANSWERED: u8 = 2;
pub const LAST_ANSWERED: u8 = 3;

/// How long a connection attempt may take. A cluster of NATS nodes takes half a second for each filter at QoS 1.
pub const CONNECT: Duration = Duration::from_secs(60);

/// How long it may take to start and to connect.
const START: Duration = Duration::from_secs(90);

/// What comes twice comes this much later at most.
const SOON_AFTER: Duration = Duration::from_secs(1);

/// How many notes explain a failure.
const NOTES: usize = 12;

/// How much of an uplink may wait in a consumer.
const BYTES: usize = 1 << 24;

/// What a consumer does.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Tried in turn.
    pub addresses: Vec<SocketAddr>,
    /// Its session in the broker.
    pub session: String,
    pub group: Option<&'static str>,
    /// How many partitions there are, its own number, and the number of members that share them.
    pub partitions: Option<(u32, u32, u32)>,
    pub acknowledge: Acknowledge,
    pub receive_capacity: usize,
    /// How long it takes to handle an uplink.
    pub work: Duration,
}

impl Plan {
    fn encode(&self, file: &Path) -> String {
        json!({
            "addresses": self.addresses.iter().map(SocketAddr::to_string).collect::<Vec<_>>().join(","),
            "session": self.session,
            "group": self.group,
            "partitions": self.partitions,
            "handled": self.acknowledge == Acknowledge::Handled,
            "receive_capacity": self.receive_capacity,
            "work": self.work.as_micros() as u64,
            "file": file,
        })
        .to_string()
    }
}

/// Consumers with a file each.
#[derive(Debug)]
pub struct Consumers {
    _folder: TempDir,
    plans: Vec<(Plan, PathBuf)>,
    running: Vec<Option<Guarded>>,
    pub records: Records,
}

impl Consumers {
    /// Starts all of them, and waits until they are connected.
    #[track_caller]
    pub fn start(plans: impl IntoIterator<Item = Plan>) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let file = |number: usize| folder.path().join(format!("consumer-{number}"));
        let plans: Vec<_> = plans
            .into_iter()
            .enumerate()
            .map(|(number, plan)| (plan, file(number)))
            .collect();
        let mut consumers = Self {
            records: Records::new(plans.iter().map(|(_, file)| file.clone())),
            running: plans.iter().map(|_| None).collect(),
            plans,
            _folder: folder,
        };
        for number in 0..consumers.plans.len() {
            consumers.start_one(number);
        }
        for number in 0..consumers.plans.len() {
            consumers.wait_for(number, "connected", 1);
        }
        consumers
    }

    /// Kills one (SIGKILL).
    pub fn kill(&mut self, number: usize) {
        self.running[number] = None;
    }

    /// Starts one that was killed, and waits until it is connected.
    #[track_caller]
    pub fn start_again(&mut self, number: usize) {
        self.records.read();
        let before = self.records.notes_of(number, "connected");
        self.start_one(number);
        self.wait_for(number, "connected", before + 1);
    }

    /// Waits until a consumer has written this many notes that begin with this word.
    #[track_caller]
    pub fn wait_for(&mut self, number: usize, word: &str, count: usize) {
        let came = wait_until(START, || {
            self.records.read();
            let running = self.running[number].as_mut();
            assert!(
                running.is_none_or(|process| !process.has_ended()),
                "consumer {number} has ended: {:#?}",
                self.records.notes
            );
            self.records.notes_of(number, word) >= count
        });
        assert!(
            came,
            "consumer {number} does not write {word:?} {count} times: {:#?}",
            self.records.notes
        );
    }

    /// Waits until all these messages are handled, or for this time.
    pub fn wait_until_handled(&mut self, numbers: &Range<u32>, limit: Duration) {
        wait_until(limit, || {
            self.records.read();
            self.records.distinct(numbers) == numbers.len()
        });
    }

    /// Waits until all messages are handled, or until none was handled for a time; then gives an account.
    pub fn account(&mut self, published: &Published, patience: Duration) -> Account {
        let is_complete =
            |records: &Records| records.distinct(&published.numbers) == published.numbers.len();
        loop {
            let before = self.records.handled.len();
            let goes_on = wait_until(patience, || {
                self.records.read();
                is_complete(&self.records) || self.records.handled.len() > before
            });
            if !goes_on || is_complete(&self.records) {
                break;
            }
        }
        pause(SOON_AFTER);
        self.records.read();
        Account::of(published, &self.records)
    }

    /// Returns the last notes of each consumer, and when it last handled a message.
    pub fn last_notes(&self) -> String {
        let of = |consumer| {
            let handled = self.records.handled.iter();
            let last = handled
                .filter(|one| one.consumer == consumer)
                .map(|one| one.time)
                .max();
            let notes = self.records.notes.iter();
            let notes: Vec<_> = notes
                .filter(|(of, _)| *of == consumer)
                .rev()
                .take(NOTES)
                .collect();
            format!(
                "consumer {consumer}, at {} ({last:?}): {notes:#?}\n",
                nanoseconds()
            )
        };
        (0..self.plans.len()).map(of).collect()
    }

    fn start_one(&mut self, number: usize) {
        let (plan, file) = &self.plans[number];
        let mut command = program(module_path!(), "the_consumer");
        command.env(PLAN, plan.encode(file));
        let started = Guarded::start(&mut command, None);
        self.running[number] = Some(started.expect("this program starts"));
    }
}

/// Returns this program, as the one that runs a test of a module.
pub fn program(module: &str, part: &str) -> Command {
    let mut command = Command::new(env::current_exe().expect("a test knows its program"));
    command
        .args(["--exact", &full_name(module, part), "--nocapture"])
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    command
}

/// The file of a consumer: each line is written at once, and is there when the process is killed.
pub struct Notebook(File);

impl Notebook {
    pub fn open(path: &str) -> Self {
        let file = OpenOptions::new().create(true).append(true).open(path);
        Self(file.expect("the folder is there"))
    }

    pub fn write(&self, line: &str) {
        (&self.0)
            .write_all(line.as_bytes())
            .expect("the file is open");
    }

    pub fn note(&self, word: &str, what: impl Display) {
        let what = what.to_string().replace('\n', " ");
        self.write(&format!(
            "{word} {} {} {what}\n",
            nanoseconds(),
            process::id()
        ));
    }
}

#[test]
fn the_consumer() {
    if let Ok(plan) = env::var(PLAN) {
        consume(&serde_json::from_str(&plan).expect("it is JSON"));
    }
}

fn consume(plan: &Value) {
    let text = |name: &str| plan[name].as_str().expect("it is a text");
    let number = |name: &str| plan[name].as_u64().expect("it is a number");
    let notebook = Arc::new(Notebook::open(text("file")));
    let client = options(plan).build().expect("the options are valid");
    let work = Duration::from_micros(number("work"));
    let book = Arc::clone(&notebook);
    client.set_uplink_callback(move |uplink, client| {
        if !work.is_zero() {
            pause(work);
        }
        let handled = handled(uplink);
        book.write(&handled.line());
        if [ANSWERED, LAST_ANSWERED].contains(&uplink.port) {
            answer(&book, client, uplink);
        }
        Ok::<(), ttn::Error>(())
    });
    let events = client.events();
    if let Err(error) = client.connect() {
        notebook.note("failed", error);
    }
    for event in &events {
        match event {
            Event::Connected(connected) => notebook.note("connected", connected.address),
            Event::Disconnected(disconnected) => notebook.note("disconnected", disconnected.error),
            Event::ConnectFailed(failed) => notebook.note("away", failed.error),
            Event::Closed(closed) => notebook.note("closed", format!("{closed:?}")),
            Event::Lagged(lagged) => notebook.note("lagged", format!("{lagged:?}")),
            Event::Malformed(malformed) => notebook.note("malformed", format!("{malformed:?}")),
            _ => {}
        }
    }
}

fn options(plan: &Value) -> MqttClientBuilder {
    let text = |name: &str| plan[name].as_str().expect("it is a text");
    let acknowledge = match plan["handled"].as_bool() {
        Some(true) => Acknowledge::Handled,
        _ => Acknowledge::Received,
    };
    let capacity = plan["receive_capacity"].as_u64().expect("it is a number");
    let mut builder = MqttClient::own_broker(APP_ID)
        .mqtt_address(text("addresses"))
        .session(Session::persistent(text("session")))
        .acknowledge(acknowledge)
        .receive_capacity(capacity as usize, BYTES)
        .connect_timeout(CONNECT)
        .connect_retry(ConnectRetry::Forever)
        .reconnect_delay(Duration::from_millis(100), Duration::from_secs(1));
    if let Some(group) = plan["group"].as_str() {
        builder = builder.shared_group(group);
    }
    if let Some([total, member, members]) = plan["partitions"].as_array().map(Vec::as_slice) {
        let number = |value: &Value| value.as_u64().expect("it is a number") as u32;
        builder = builder
            .partitions(number(total))
            .partitions_of(number(member), number(members));
    }
    builder
}

fn handled(uplink: &UplinkMessage) -> Handled {
    let number = <[u8; 4]>::try_from(&*uplink.payload_raw);
    Handled {
        time: nanoseconds(),
        consumer: 0,
        process: process::id(),
        device: uplink.dev_id.clone(),
        counter: uplink.counter,
        number: u32::from_be_bytes(number.expect("the payload is a number")),
        is_redelivered: uplink.is_redelivered(),
        is_duplicate: uplink.is_duplicate(),
        key: uplink.key().to_string(),
    }
}

/// Sends the device a downlink, and notes what becomes of it.
fn answer(book: &Arc<Notebook>, client: &MqttClient, uplink: &UplinkMessage) {
    let answer = Downlink::bytes([1])
        .confirmed(true)
        .schedule(Schedule::Last);
    let delivery = client.send(&uplink.dev_id, answer);
    let delivery: Delivery = match delivery {
        Ok(delivery) => delivery,
        Err(error) => return book.note("refused", error),
    };
    book.note("sent", format!("{} {}", delivery.key(), uplink.port));
    let book = Arc::clone(book);
    thread::spawn(move || match delivery.wait() {
        DeliveryState::Acknowledged => book.note("acknowledged", delivery.key()),
        state => book.note("unacknowledged", format!("{} {state:?}", delivery.key())),
    });
}
