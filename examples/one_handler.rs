//! One handler for all messages of a v3 network, however they arrive: by MQTT, in the body of a
//! webhook, or many in one text, such as an answer of the Storage Integration or an export of the
//! Console.
//!
//! ```text
//! cargo run --example one_handler
//! ```

use std::{
    io::{Read, Write},
    net::TcpStream,
    thread,
    time::Duration,
};

use anyhow::{Result, anyhow};
use ttn::{Event, MqttClient, Network, simulator::Simulator};

/// Handles an event, whichever way it arrived.
fn handle(way: &str, event: &Event) {
    match event {
        Event::Uplink(uplink) => println!(
            "{way:<8} {} sent {} on FPort {}",
            uplink.dev_id,
            uplink.payload_hex(),
            uplink.port
        ),
        Event::Activation(join) => println!("{way:<8} {} joined", join.dev_id),
        Event::Malformed(malformed) => println!("{way:<8} {}", malformed.error),
        _ => {}
    }
}

fn main() -> Result<()> {
    let network = Simulator::start(Network::V3)?;

    // MQTT: the client decodes the messages.
    let client = MqttClient::builder(network.app_id(), network.access_key())
        .mqtt_address(network.mqtt_address())
        .build()?;
    let events = client.events();
    client.connect()?;
    let device = network.device("bed-07");
    device.join();
    device.uplink(2, [0x01, 0x02]);
    let mut bodies = Vec::new();
    while bodies.len() < 2 {
        let event = events.recv_timeout(Duration::from_secs(5))?;
        handle("MQTT", &event);
        match event {
            Event::Activation(join) => bodies.push(join.raw().payload().to_vec()),
            Event::Uplink(uplink) => bodies.push(uplink.raw().payload().to_vec()),
            _ => {}
        }
    }
    client.close()?;

    // A webhook: the program runs an HTTP server, and The Things Stack sends it a POST for each
    // message.
    let server = tiny_http::Server::http("127.0.0.1:0").map_err(|error| anyhow!(error))?;
    let address = server
        .server_addr()
        .to_ip()
        .ok_or_else(|| anyhow!("the server has no address"))?;
    let stack = {
        let bodies = bodies.clone();
        thread::spawn(move || bodies.iter().try_for_each(|body| post(address, body)))
    };
    for _ in &bodies {
        let mut request = server.recv()?;
        let mut body = Vec::new();
        request.as_reader().read_to_end(&mut body)?;
        match Event::from_json(Network::V3, body) {
            Ok(event) => handle("webhook", &event),
            Err(error) => println!("webhook  {error}"),
        }
        request.respond(tiny_http::Response::empty(200))?;
    }
    stack
        .join()
        .map_err(|_| anyhow!("the thread of the stack panicked"))??;

    // The Storage Integration: what devices sent while the program was away, one message per line.
    let answer: String = bodies
        .iter()
        .map(|body| format!("{{\"result\":{}}}\n", String::from_utf8_lossy(body)))
        .collect();
    for event in Event::read_all(Network::V3, answer.as_bytes()) {
        match event {
            Ok(event) => handle("storage", &event),
            Err(error) => println!("storage  {error}"),
        }
    }
    Ok(())
}

fn post(address: std::net::SocketAddr, body: &[u8]) -> Result<()> {
    let mut stream = TcpStream::connect(address)?;
    let length = body.len();
    write!(
        stream,
        "POST /uplinks HTTP/1.1\r\nhost: {address}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n"
    )?;
    stream.write_all(body)?;
    stream.read_to_end(&mut Vec::new())?;
    Ok(())
}
