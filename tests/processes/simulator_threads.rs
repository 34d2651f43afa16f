//! Runs alone in its process, so that threads and descriptors can be counted.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

use std::io::Write;
use std::net::TcpStream;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::support::{child::alone, resources::loopback};
use ttn::Network;
use ttn::simulator::{HttpFault, Simulator};

const LONG: Duration = Duration::from_secs(10);

/// Returns the number of threads and open descriptors of this process.
fn resources() -> (usize, usize) {
    let count = |folder| std::fs::read_dir(folder).unwrap().count();
    (count("/proc/self/task"), count("/proc/self/fd"))
}

/// Waits for these numbers: the kernel forgets a joined thread a moment later.
fn assert_settles_at(expected: (usize, usize)) {
    let (_never, pause) = mpsc::channel::<()>();
    let deadline = Instant::now() + LONG;
    while resources() != expected && Instant::now() < deadline {
        let _ = pause.recv_timeout(Duration::from_millis(5));
    }
    assert_eq!(resources(), expected);
}

fn connect(network: &Simulator) -> TcpStream {
    let mut stream = TcpStream::connect(network.address()).unwrap();
    let mut body = b"\0\x04MQTT\x04\xc2\0\x3c\0\0\0\x0dsimulated-app\0\x1c".to_vec();
    body.extend_from_slice(b"ttn-account-v2.simulated-key");
    stream.write_all(&[0x10, body.len() as u8]).unwrap();
    stream.write_all(&body).unwrap();
    stream
}

#[test]
fn stopping_leaves_no_thread_behind() {
    if !alone(module_path!(), "stopping_leaves_no_thread_behind") {
        return;
    }
    let before = resources();
    for _ in 0..20 {
        let network = Simulator::builder(Network::V2)
            .address(format!("{}:0", loopback()))
            .start()
            .unwrap();
        let clients: Vec<TcpStream> = (0..5).map(|_| connect(&network)).collect();
        let undecided = TcpStream::connect(network.address()).unwrap();
        assert!(network.wait_for_clients(5, LONG));
        network.device("pump-1").uplink(1, [1]);
        assert!(resources().0 > before.0);
        network.stop();
        drop((clients, undecided));
        assert_settles_at(before);
        network.restart().unwrap();
        let again = connect(&network);
        drop(network);
        drop(again);
        assert_settles_at(before);
    }
    let network = Simulator::start(Network::V2).unwrap();
    let running = resources();
    for _ in 0..50 {
        drop(connect(&network));
    }
    assert_settles_at(running);
}

#[test]
fn stopping_leaves_no_thread_of_http_behind() {
    if !alone(module_path!(), "stopping_leaves_no_thread_of_http_behind") {
        return;
    }
    let before = resources();
    for _ in 0..20 {
        let network = Simulator::start(Network::V3).unwrap();
        let address = network.http_address();
        let host = address.trim_start_matches("http://");
        let mut streams: Vec<TcpStream> =
            (0..5).map(|_| TcpStream::connect(host).unwrap()).collect();
        let request = b"GET /api/v3/auth_info HTTP/1.1\r\nHost: x\r\n\r\n";
        streams[0].write_all(request).unwrap();
        network.http_fault(Some(HttpFault::Silent));
        streams[1].write_all(request).unwrap();
        assert!(network.wait_for_http_requests(2, LONG));
        network.stop();
        drop(streams);
        assert_settles_at(before);
        network.restart().unwrap();
        let again = TcpStream::connect(host).unwrap();
        drop(network);
        drop(again);
        assert_settles_at(before);
    }
}
