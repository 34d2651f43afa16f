//! Opens a valve and says plainly whether it opened: sends a confirmed downlink, and waits for the
//! device's acknowledgement with a deadline.
//!
//! Without an account it runs on a simulated network. There the valve opens, or with an argument
//! never acknowledges (`deaf`), has no session (`reset`), or is unknown to the application
//! (`stranger`); or the program ends after it has sent the order, and its next run goes on (`restart`):
//!
//! ```text
//! cargo run --example valve
//! cargo run --example valve -- deaf
//! ```
//!
//! With an account it sends `01` to FPort 20 of your device, and waits up to an hour. The key of the order
//! is in a file until its end is known. If the program is stopped before, its next run does not send the
//! order again, but goes on with it:
//!
//! ```text
//! TTN_APP_ID=my-app@ttn TTN_ACCESS_KEY=NNSXS.… TTN_CLUSTER=eu1 TTN_DEV_ID=my-valve \
//!     cargo run --example valve
//! ```

use std::{
    env, fs,
    path::PathBuf,
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use ttn::{
    Delivery, DeliveryState, Downlink, MqttClient, Network,
    crossbeam_channel::{Receiver, bounded},
    simulator::{Device, Simulator},
};

fn main() -> Result<ExitCode> {
    let is_open = match env::var("TTN_APP_ID") {
        Ok(app_id) => open_a_real_valve(app_id)?,
        Err(_) => open_a_simulated_valve(env::args().nth(1).as_deref())?,
    };
    Ok(match is_open {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

/// Returns whether the valve has acknowledged.
fn open_valve(client: &MqttClient, dev_id: &str, limit: Duration) -> Result<bool> {
    let file = key_file(dev_id);
    let mut seen = Seen::default();
    let delivery = match fs::read_to_string(&file) {
        Ok(key) => {
            println!("Going on with the order to {dev_id} from before.");
            seen.is_from_before = true;
            client.follow(&key, dev_id)?
        }
        Err(_) => order(client, dev_id)?,
    };
    let last = follow(&delivery, &mut seen, Instant::now().checked_add(limit));
    println!("{}", conclusion(dev_id, &last, &seen, limit));
    if delivery.is_final() {
        fs::remove_file(&file)?;
    }
    Ok(matches!(last, DeliveryState::Acknowledged))
}

/// Sends the order, and stores its key for the next run.
fn order(client: &MqttClient, dev_id: &str) -> Result<Delivery> {
    let open = Downlink::bytes([0x01])
        .port(20)
        .confirmed(true)
        .max_attempts(3);
    let delivery = client.send(dev_id, open)?;
    fs::write(key_file(dev_id), delivery.key())?;
    println!("Asking {dev_id} to open.");
    Ok(delivery)
}

fn key_file(dev_id: &str) -> PathBuf {
    env::temp_dir().join(format!("ttn-{dev_id}.key"))
}

/// What happened to the order on its way.
#[derive(Default)]
struct Seen {
    /// An earlier run has sent it.
    is_from_before: bool,
    was_queued: bool,
    was_sent: bool,
}

/// Prints each state of the downlink, until the final one or the deadline. Returns the last state, and
/// notes what happened before.
fn follow(delivery: &Delivery, seen: &mut Seen, deadline: Option<Instant>) -> DeliveryState {
    let states = delivery.states();
    loop {
        let state = match deadline {
            Some(deadline) => states.recv_deadline(deadline).ok(),
            None => states.recv().ok(),
        };
        match state {
            Some(DeliveryState::Queued) => {
                println!("  The network keeps it until the device listens.");
                seen.was_queued = true;
            }
            Some(DeliveryState::Sent) => {
                println!("  A gateway has sent it.");
                seen.was_sent = true;
            }
            Some(DeliveryState::NotSent(_)) => {
                println!("  No gateway could send it; the network will try again.");
            }
            Some(DeliveryState::NotAcknowledged { attempt }) => {
                let attempt = attempt.map_or("another".to_owned(), |number| number.to_string());
                println!("  The device has not acknowledged it; attempt {attempt} follows.");
            }
            Some(DeliveryState::GivenUp) => {
                println!("  The network no longer waits for the acknowledgement.");
            }
            Some(_) => {}
            // The state is final, or the deadline has passed.
            None => return delivery.state(),
        }
    }
}

/// Returns what the person at the valve needs to know.
fn conclusion(dev_id: &str, state: &DeliveryState, seen: &Seen, limit: Duration) -> String {
    match state {
        DeliveryState::Acknowledged => format!("Yes: {dev_id} has acknowledged the order."),
        DeliveryState::Queued | DeliveryState::NotSent(_) if !seen.was_sent => format!(
            "Not yet: {dev_id} was not heard from within {limit:?}. The order is still queued, so the valve may yet open."
        ),
        DeliveryState::Failed(error) if seen.was_sent => {
            format!("Unknown: the order was sent, so the valve may be open; {error}.")
        }
        DeliveryState::Failed(error) => format!("No: {error}."),
        DeliveryState::Unconfirmed(error)
            if seen.is_from_before || seen.was_queued || seen.was_sent =>
        {
            format!("Unknown: the valve may be open; {error}.")
        }
        DeliveryState::Unconfirmed(error) => format!("Probably not: {error}."),
        state => format!(
            "Unknown: after {limit:?} the order is {state}. The valve may be open, or may yet open."
        ),
    }
}

fn open_a_real_valve(app_id: String) -> Result<bool> {
    let set = |name: &str| env::var(name).with_context(|| format!("{name} is not set"));
    let mut builder = MqttClient::builder(app_id, set("TTN_ACCESS_KEY")?);
    if let Ok(cluster) = env::var("TTN_CLUSTER") {
        builder = builder.cluster(cluster);
    }
    if let Ok(address) = env::var("TTN_MQTT_ADDRESS") {
        builder = builder.mqtt_address(address);
    }
    let client = builder.build()?;
    client.connect()?;
    let is_open = open_valve(&client, &set("TTN_DEV_ID")?, Duration::from_secs(3600))?;
    client.close()?;
    Ok(is_open)
}

fn open_a_simulated_valve(trouble: Option<&str>) -> Result<bool> {
    let network = Simulator::start(Network::V3)?;
    let valve = network.device("valve-3");
    valve.join();
    let dev_id = match trouble {
        None | Some("restart") => "valve-3",
        Some("deaf") => {
            valve.stops_acknowledging(true);
            "valve-3"
        }
        Some("reset") => {
            valve.forget_session();
            "valve-3"
        }
        Some("stranger") => "valve-4",
        Some(other) => {
            anyhow::bail!("unknown argument {other:?}: use deaf, reset, stranger or restart")
        }
    };
    // What an earlier simulation has left is not about this network.
    let _ = fs::remove_file(key_file(dev_id));
    let connect = || -> Result<MqttClient> {
        let client = MqttClient::builder(network.app_id(), network.access_key())
            .mqtt_address(network.mqtt_address())
            .http_address(network.http_address())
            .unconfirmed_after(Duration::from_secs(2))
            .build()?;
        client.connect()?;
        Ok(client)
    };
    if trouble == Some("restart") {
        let client = connect()?;
        order(&client, dev_id)?;
        client.close()?;
    }
    let client = connect()?;
    let (stop, stopped) = bounded(0);
    let life = thread::spawn(move || live(&valve, &stopped));
    let is_open = open_valve(&client, dev_id, Duration::from_secs(10))?;
    drop(stop);
    ensure!(life.join().is_ok(), "the thread of the valve panicked");
    client.close()?;
    Ok(is_open)
}

/// Sends the valve's position twice a second, and listens after each uplink.
fn live(valve: &Device, stopped: &Receiver<()>) {
    let mut position = 0;
    while stopped
        .recv_timeout(Duration::from_millis(500))
        .is_err_and(|error| error.is_timeout())
    {
        valve.uplink(20, [position]);
        if let Some(order) = valve.next_downlink(Duration::ZERO) {
            position = order.payload.first().copied().unwrap_or(position);
        }
    }
}
