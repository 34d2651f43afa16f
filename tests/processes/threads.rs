//! A process that may not start as many threads as it wants. Runs as another user, because the system
//! does not limit root.

#![cfg(target_os = "linux")]

use std::{
    net::{Ipv4Addr, TcpListener},
    sync::mpsc::{self, Receiver, Sender},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use ttn::{ErrorKind, MqttClient, crossbeam_channel::RecvTimeoutError};

use crate::{
    children::serve,
    support::{
        child::{full_name, limited},
        harness::SOON,
        resources::{client_threads, descriptors, threads, wait_until},
        tls_server::{APP, KEY},
        watchdog::watchdog,
    },
};

const LIMIT: Duration = Duration::from_secs(100);

/// The limit of the process. The kernel counts the threads of a user, so this user has no others.
const THREADS: usize = 40;

/// A thread that does nothing but exist.
struct Idler {
    leash: Sender<()>,
    thread: JoinHandle<()>,
}

impl Idler {
    fn start() -> std::io::Result<Self> {
        let (leash, held): (Sender<()>, Receiver<()>) = mpsc::channel();
        let thread = thread::Builder::new().stack_size(64 << 10).spawn(move || {
            let _ = held.recv();
        })?;
        Ok(Self { leash, thread })
    }

    fn end(self) {
        let before = threads();
        drop(self.leash);
        self.thread.join().expect("it does nothing");
        // The kernel counts a thread for a moment after it was joined.
        assert!(wait_until(SOON, || threads() < before));
    }
}

/// Starts threads until this process can start no more.
fn hoard() -> Vec<Idler> {
    let mut hoard = Vec::new();
    while let Ok(idler) = Idler::start() {
        hoard.push(idler);
        assert!(
            hoard.len() < THREADS,
            "this process has no limit for threads"
        );
    }
    hoard
}

#[test]
fn a_process_at_its_limit_of_threads_gets_an_error_and_keeps_nothing() {
    let _watchdog = watchdog(LIMIT);
    let name = full_name(
        module_path!(),
        "a_process_at_its_limit_of_threads_gets_an_error_and_keeps_nothing",
    );
    if !limited(THREADS, &name) {
        return;
    }
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let address = listener.local_addr().expect("bound");
    let server = thread::spawn(move || {
        for stream in listener.incoming() {
            // One client after the other.
            let _ = serve(&mut stream.expect("a client"));
        }
    });
    let attempt = || {
        let client = MqttClient::builder(APP, KEY)
            .mqtt_address(format!("mqtt://localhost:{}", address.port()))
            .reconnect(false)
            .build()?;
        let events = client.events();
        let connected = client.connect();
        assert_eq!(client.is_connected(), connected.is_ok());
        client.close().expect("no callback runs");
        drop(client);
        // The session has ended, and so has the stream.
        let deadline = Instant::now() + SOON;
        let end = loop {
            match events.receiver().recv_deadline(deadline) {
                Ok(_) => {}
                Err(end) => break end,
            }
        };
        assert_eq!(end, RecvTimeoutError::Disconnected);
        connected
    };
    // The session, callbacks, lookup and connection of the client, and Paho's two threads.
    let mut refused = 0;
    for allowed in 0.. {
        let mut hoard = hoard();
        for _ in 0..allowed {
            hoard.pop().expect("more than a client needs").end();
        }
        let before = descriptors();
        let result = attempt();
        // Paho keeps two sockets once it has started.
        let kept = if result.is_ok() { before + 2 } else { before };
        let settled = || client_threads().is_empty() && descriptors() <= kept;
        assert!(wait_until(SOON, settled), "{:?}", client_threads());
        hoard.into_iter().for_each(Idler::end);
        match result {
            Ok(()) => break,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::ResourcesExhausted, "{error}");
                assert!(error.to_string().contains("thread"), "{error}");
                refused += 1;
            }
        }
    }
    assert!(refused >= 4, "{refused}");
    // And again, with room.
    attempt().expect("there is room for threads");
    assert!(!server.is_finished());
}
