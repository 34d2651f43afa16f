//! Signals and closed pipes: how a program ends, and what the network sees of it.

#![cfg(target_os = "linux")]

use std::{
    env,
    ffi::OsStr,
    fs,
    io::{self, BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    os::unix::process::ExitStatusExt,
    process::{self, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::support::{
    certificates::Certificates,
    child::{Running, full_name, run_alone},
    harness::{Harness, NOWHERE, SOON, Server},
    preload,
    resources::wait_until,
    tls_front::TlsFront,
    tls_server::{APP, KEY},
    watchdog::watchdog,
};
use serde_json::{Value, json};
use ttn::{ConnectRetry, Downlink, Event, MqttClient, Network, crossbeam_channel::Receiver};

#[allow(dead_code, reason = "its `main` is not called")]
#[path = "../../examples/service.rs"]
mod service;

const LIMIT: Duration = Duration::from_secs(120);

/// The variable that tells a test that it is the program under test.
const PART: &str = "TTN_TEST_PART";

const DEVICE: &str = "greenhouse-door";

/// A test that runs as a program of its own, with its output.
struct Program {
    running: Running,
    errors: Receiver<String>,
}

impl Program {
    /// Starts the test `part` with the variables of a service.
    fn start(part: &str, app_id: &str, access_key: &str, address: &str) -> Self {
        let mut child = Command::new(env::current_exe().expect("a test knows its program"))
            .args(["--exact", &full_name(module_path!(), part), "--nocapture"])
            .env(PART, part)
            .env("TTN_APP_ID", app_id)
            .env("TTN_ACCESS_KEY", access_key)
            .env("TTN_MQTT_ADDRESS", format!("mqtt://{address}"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let errors = Running::lines(child.stderr.take().expect("piped"));
        Self {
            running: Running(child),
            errors,
        }
    }

    fn at(part: &str, harness: &Harness) -> Self {
        let address = harness.address().to_string();
        Self::start(part, harness.app_id(), harness.access_key(), &address)
    }

    /// Waits until it logs this.
    #[track_caller]
    fn says(&self, words: &str) {
        let mut seen = Vec::new();
        while let Ok(line) = self.errors.recv_timeout(SOON) {
            if line.contains(words) {
                return;
            }
            seen.push(line);
        }
        panic!("{words:?} is missing in {seen:#?}");
    }

    /// Waits until it has ended. Returns how, and what it logged in the meantime.
    #[track_caller]
    fn end(mut self) -> (ExitStatus, Vec<String>) {
        let Some(status) = self.running.end(SOON) else {
            panic!(
                "it still runs; {:#?}",
                self.errors.try_iter().collect::<Vec<_>>()
            );
        };
        (status, self.errors.iter().collect())
    }
}

/// Returns whether this process is to be the program of this test.
fn is_program(part: &str) -> bool {
    env::var_os(PART).is_some_and(|set| set == part)
}

fn alarm(harness: &mut Harness) {
    let mut body: Value =
        serde_json::from_str(&harness.uplink_body(DEVICE, 1)).expect("it is JSON");
    let fields = json!({"alarm": true});
    match harness.network {
        Network::V3 => body["uplink_message"]["decoded_payload"] = fields,
        _ => body["payload_fields"] = fields,
    }
    harness.publish(&harness.topic(DEVICE, "up"), &body.to_string());
}

/// Waits until Mosquitto has logged how its client left; `None` for the simulated network.
fn farewell(harness: &Harness) -> Option<bool> {
    let Server::Mosquitto { broker, .. } = &harness.server else {
        return None;
    };
    let user = format!("u'{}'", harness.app_id());
    let log = broker.log();
    let line = log.lines().rfind(|line| line.contains(&user));
    // `New client connected from 127.0.0.1:1 as ID (p2, c1, k30, u'USER').`
    let id = line?.split(" as ").nth(1)?.split(' ').next()?.to_owned();
    let log = || broker.log();
    let words = [
        format!("Received DISCONNECT from {id}"),
        format!("Client {id} closed its connection"),
    ];
    assert!(
        wait_until(SOON, || words.iter().any(|words| log().contains(words))),
        "{id}: {}",
        log()
    );
    Some(log().contains(&words[0]))
}

#[test]
fn the_service_of_the_examples() {
    if is_program("the_service_of_the_examples") {
        process::exit(service::run().into());
    }
}

#[test]
fn a_service_ends_cleanly_with_sigterm_and_ctrl_c() {
    let _watchdog = watchdog(LIMIT);
    for signal in ["TERM", "INT"] {
        Harness::each(|harness| {
            let program = Program::at("the_service_of_the_examples", harness);
            program.says("connected to");
            alarm(harness);
            program.says("is answered");
            program.running.signal(signal);
            let (status, lines) = program.end();
            assert_eq!(status.code(), Some(0), "{lines:#?}");
            let last = lines.last().expect("it logs its end");
            assert!(last.starts_with("closed; "), "{lines:#?}");
            harness.downlinks(1);
            assert_ne!(farewell(harness), Some(false));
        });
    }
}

#[test]
fn a_signal_ends_a_service_that_waits_for_its_network() {
    let _watchdog = watchdog(LIMIT);
    let program = Program::start("the_service_of_the_examples", APP, KEY, NOWHERE);
    program.says("nothing listens there");
    program.running.signal("TERM");
    let (status, lines) = program.end();
    assert_eq!(status.code(), Some(0), "{lines:#?}");
}

#[test]
fn a_second_signal_ends_a_service_that_cannot_close() {
    let _watchdog = watchdog(LIMIT);
    let Some(mut harness) = Harness::mosquitto(Network::V3) else {
        return;
    };
    let program = Program::at("the_service_of_the_examples", &harness);
    program.says("connected to");
    let Server::Mosquitto { broker, peer } = &mut harness.server else {
        unreachable!("it was started above")
    };
    peer.flush().expect("the broker answers");
    broker.stop();
    program.running.signal("TERM");
    program.says("closing");
    program.running.signal("TERM");
    let (status, lines) = program.end();
    assert_eq!(status.signal(), Some(15), "{lines:#?}");
    broker.resume();
}

#[test]
fn a_service_with_a_wrong_setting_says_that_starting_again_does_not_help() {
    let _watchdog = watchdog(LIMIT);
    let program = Program::start("the_service_of_the_examples", "My App", KEY, NOWHERE);
    program.says("My App");
    assert_eq!(program.end().0.code(), Some(78));
}

/// Connects as the service does.
fn client() -> MqttClient {
    let variable = |name| env::var(name).expect("it is set");
    MqttClient::builder(variable("TTN_APP_ID"), variable("TTN_ACCESS_KEY"))
        .mqtt_address(variable("TTN_MQTT_ADDRESS"))
        .build()
        .expect("the options are valid")
}

#[test]
fn a_program_without_a_signal_handler() {
    if is_program("a_program_without_a_signal_handler") {
        let client = client();
        client.connect().expect("the network is up");
        let _ = writeln!(io::stderr(), "ready");
        client.wait();
    }
}

#[test]
fn sigterm_ends_a_program_without_a_handler_and_without_a_farewell() {
    let _watchdog = watchdog(LIMIT);
    let Some(harness) = Harness::mosquitto(Network::V3) else {
        return;
    };
    let program = Program::at("a_program_without_a_signal_handler", &harness);
    program.says("ready");
    program.running.signal("TERM");
    assert_eq!(program.end().0.signal(), Some(15));
    assert_eq!(farewell(&harness), Some(false));
}

#[test]
fn a_program_that_prints_uplinks_until_nobody_reads_them() {
    if is_program("a_program_that_prints_uplinks_until_nobody_reads_them") {
        let client = client();
        client.set_uplink_callback(|uplink, client| {
            match writeln!(io::stdout(), "{}", uplink.dev_id) {
                Ok(()) => Ok(()),
                Err(_) => client.close(),
            }
        });
        client.connect().expect("the network is up");
        let _ = writeln!(io::stderr(), "ready");
        client.wait();
        process::exit(0);
    }
}

#[test]
fn a_program_whose_output_nobody_reads_ends_if_it_closes_its_client() {
    let _watchdog = watchdog(LIMIT);
    Harness::each(|harness| {
        let part = "a_program_that_prints_uplinks_until_nobody_reads_them";
        let mut program = Program::at(part, harness);
        program.says("ready");
        // `head -1`: reads until the first uplink, and leaves.
        harness.uplink(DEVICE, 1);
        let mut output = BufReader::new(program.running.0.stdout.take().expect("piped"));
        let mut line = String::new();
        while !line.contains(DEVICE) {
            line.clear();
            assert_ne!(output.read_line(&mut line).expect("a pipe"), 0);
        }
        drop(output);
        // A process that another test is just starting may hold the pipe for a moment.
        let mut counter = 1;
        wait_until(SOON, || {
            counter += 1;
            harness.uplink(DEVICE, counter);
            let status = program.running.0.try_wait();
            status.expect("it is our child").is_some()
        });
        let (status, lines) = program.end();
        assert_eq!(status.code(), Some(0), "{lines:#?}");
        assert!(lines.is_empty(), "{lines:#?}");
        assert_ne!(farewell(harness), Some(false));
    });
}

/// How many connections die while a program writes to them.
const DEATHS: usize = 60;

/// Grants a client its subscription, reads what it sends a few times, and drops it.
fn serve_briefly(mut stream: TcpStream, reads: usize) -> io::Result<()> {
    let mut chunk = [0; 4096];
    // CONNECT and SUBSCRIBE, whose packet id follows the fixed header.
    let _ = stream.read(&mut chunk)?;
    stream.write_all(&[0x20, 2, 0, 0])?;
    let _ = stream.read(&mut chunk)?;
    stream.write_all(&[0x90, 3, chunk[2], chunk[3], 0])?;
    for _ in 0..reads {
        let _ = stream.read(&mut chunk)?;
    }
    Ok(())
}

/// Starts a server whose connections die soon.
fn murderous_server() -> io::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    thread::spawn(move || {
        for (round, stream) in listener.incoming().enumerate() {
            // A client that leaves first is none of its concern.
            thread::spawn(move || stream.and_then(|stream| serve_briefly(stream, round % 7)));
        }
    });
    Ok(address)
}

fn is_sigpipe_ignored() -> bool {
    let status = fs::read_to_string("/proc/self/status").expect("/proc is mounted");
    let mask = status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .expect("Linux has it");
    let mask = u64::from_str_radix(mask.trim(), 16).expect("a mask in hex");
    mask & 1 << (13 - 1) != 0
}

#[test]
fn connections_that_die_where_sigpipe_is_deadly() {
    if !is_program("connections_that_die_where_sigpipe_is_deadly") {
        return;
    }
    let _watchdog = watchdog(LIMIT);
    let certificates = Certificates::new();
    let address = murderous_server().expect("a free port");
    let front = TlsFront::start(&certificates.server, address).expect("a free port");
    for address in [
        format!("mqtt://{address}"),
        format!("mqtts://localhost:{}", front.port()),
    ] {
        let client = MqttClient::builder(APP, KEY)
            .mqtt_address(address)
            .ca_file(certificates.authority.certificate_file())
            .reconnect_delay(Duration::from_millis(1), Duration::from_millis(2))
            .connect_retry(ConnectRetry::Forever)
            .build()
            .expect("the options are valid");
        let events = client.events();
        client.connect().expect("the server accepts it");
        assert!(!is_sigpipe_ignored(), "this test would prove nothing");
        let until = Instant::now() + LIMIT / 4;
        let mut deaths = 0;
        while deaths < DEATHS {
            assert!(Instant::now() < until, "{deaths} connections died");
            // Fails between two connections. Without a pause, so that some die during a write.
            let _ = client.send(DEVICE, Downlink::bytes([1; 200]));
            deaths += events
                .receiver()
                .try_iter()
                .filter(|event| matches!(event, Event::Disconnected(_)))
                .count();
        }
    }
}

#[test]
fn a_dying_connection_is_reported_even_where_sigpipe_ends_the_process() {
    let _watchdog = watchdog(LIMIT);
    let test = "a_dying_connection_is_reported_even_where_sigpipe_ends_the_process";
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let Some(library) = preload::build("sigpipe.c", folder.path(), test) else {
        return;
    };
    let part = "connections_that_die_where_sigpipe_is_deadly";
    let variables: [(&str, &OsStr); 2] =
        [("LD_PRELOAD", library.as_os_str()), (PART, part.as_ref())];
    run_alone(module_path!(), part, &variables);
}
