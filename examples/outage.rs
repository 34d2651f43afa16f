//! An outage from the program's point of view: what the client reports, what it does automatically,
//! and what it lets the program decide.

use std::{thread, time::Duration};

use ttn::{
    ConnectRetry, CounterFinding, Downlink, ErrorKind, Event, MqttClient, Network,
    simulator::Simulator,
};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let network = Simulator::start(Network::V3)?;
    let bed = network.device("bed-07");
    bed.join();

    let client = MqttClient::builder(network.app_id(), network.access_key())
        .mqtt_address(network.mqtt_address())
        // The program may be started before the network is up.
        .connect_retry(ConnectRetry::For(Duration::from_secs(60)))
        // Keeps this example short; the default spares the server more.
        .reconnect_delay(Duration::from_millis(100), Duration::from_secs(2))
        .offline_queue(100, Duration::from_secs(600))
        .build()?;
    client.set_retry_callback(|retry| {
        // If the key was rotated, set the new one here with `retry.set_access_key(…)`.
        if retry.error().kind() == ErrorKind::NotAuthorized {
            retry.give_up();
        }
    })?;
    let events = client.events();
    client.connect()?;
    bed.uplink(1, [20]);

    let outage = thread::spawn({
        let bed = bed.clone();
        move || {
            network.stop();
            bed.uplink(1, [21]);
            bed.uplink(1, [22]);
            let (_never, silence) = ttn::crossbeam_channel::bounded::<()>(0);
            let _ = silence.recv_timeout(Duration::from_secs(1));
            network.restart().expect("the port is free again");
            network
        }
    });

    let mut water = None;
    for event in events.iter() {
        match event {
            Event::Disconnected(lost) => {
                println!("lost: {} ({})", lost.error, lost.cause);
                println!("next attempt in {:?}", lost.retry_in.unwrap_or_default());
                water = Some(client.send("bed-07", Downlink::bytes([1]))?.message_id());
                println!("a downlink waits for the connection");
            }
            Event::ConnectFailed(failed) => {
                println!("attempt {}: {}", failed.attempt, failed.error);
            }
            Event::Connected(connected) => match connected.gap {
                None => println!("connected to {}", connected.address),
                Some(gap) => println!(
                    "back after {:.1?}, {} attempts: {}",
                    gap.length, gap.attempts, gap.cause
                ),
            },
            Event::Published(id) if Some(id) == water => {
                println!("the downlink is written");
                bed.uplink(1, [23]);
            }
            Event::Counter(report) => {
                if let CounterFinding::Missing { frames, loss } = report.finding {
                    println!(
                        "{} uplinks from {} are missing: {loss:?}",
                        frames, report.dev_id
                    );
                }
            }
            Event::Uplink(uplink) => {
                println!("{}: {:?}", uplink.dev_id, uplink.payload_raw);
                if uplink.payload_raw == [23] {
                    break;
                }
            }
            _ => {}
        }
    }
    let stats = client.stats();
    println!(
        "{} uplinks and reports received, {} outage, {} uplinks missing",
        stats.received, stats.disconnects, stats.frames.missing_away
    );
    client.close()?;
    outage.join().expect("the network is back");
    Ok(())
}
