//! What the client knows of each device, and which devices are silent.

use std::time::{Duration, Instant, SystemTime};

use crate::support::{
    harness::{Harness, SOON},
    resources::{pause, wait_until},
    watchdog::watchdog,
};
use ttn::{
    Backfill, DeliveryState, DeviceStatus, Downlink, ErrorKind, Event, Events, MqttClient,
    MqttClientBuilder, Network,
    simulator::{Simulator, Storage, Uplink},
};

const LIMIT: Duration = Duration::from_secs(120);

/// Less than any time after which a device is silent.
const INTERVAL: Duration = Duration::from_millis(100);

/// How long to wait for what a device's interval decides, on a busy machine.
const LATER: Duration = Duration::from_secs(60);

/// A network; the clock of one of v3 stands still, so that devices send as often as a test says.
fn network(version: Network) -> Simulator {
    let builder = Simulator::builder(version);
    match version {
        Network::V3 => builder.fixed_time(SystemTime::now()).start(),
        _ => builder.start(),
    }
    .expect("the simulated network starts")
}

/// Lets an interval pass.
fn interval_passes(network: &Simulator, version: Network) {
    match version {
        Network::V3 => network.advance_clock(INTERVAL),
        _ => pause(INTERVAL),
    }
}

fn builder(network: &Simulator) -> MqttClientBuilder {
    MqttClient::builder(network.app_id(), network.access_key()).mqtt_address(network.mqtt_address())
}

/// Returns a client that reports silent devices, and knows how often two of them send.
fn watching(network: &Simulator, version: Network) -> (MqttClient, Events) {
    let client = builder(network)
        .silence_after(3.0)
        .reconnect_delay(Duration::from_millis(100), Duration::from_millis(500))
        .build()
        .unwrap();
    let events = client.events();
    client.connect().unwrap();
    for _ in 0..6 {
        for dev_id in ["bed-07", "bed-08"] {
            network.device(dev_id).uplink(1, [1]);
        }
        interval_passes(network, version);
    }
    assert!(wait_until(SOON, || {
        let devices = client.devices().unwrap();
        let is_known = |device: &DeviceStatus| device.counter == 5;
        devices.len() == 2 && devices.iter().all(is_known)
    }));
    for device in client.devices().unwrap() {
        let usual = device.usual_interval.unwrap();
        match version {
            Network::V3 => assert_eq!(usual, INTERVAL),
            _ => assert!(usual > INTERVAL / 2, "{usual:?}"),
        }
    }
    (client, events)
}

#[track_caller]
fn status(client: &MqttClient, dev_id: &str) -> DeviceStatus {
    let devices = client.devices().unwrap();
    let device = devices.iter().find(|device| device.dev_id == dev_id);
    device.unwrap_or_else(|| panic!("{devices:#?}")).clone()
}

#[test]
fn a_device_that_is_not_heard_while_another_is_is_silent_once_and_then_back() {
    let _watchdog = watchdog(LIMIT);
    for version in [Network::V3, Network::V2] {
        let network = network(version);
        let (client, events) = watching(&network, version);
        let before = status(&client, "bed-07");
        let (mut silent, mut back) = (Vec::new(), Vec::new());
        let mut take = |event| match event {
            Event::DeviceSilent(it) if it.dev_id == "bed-07" => silent.push(it),
            Event::DeviceBack(it) if it.dev_id == "bed-07" => back.push(it),
            _ => {}
        };
        // For longer than it takes to notice.
        let start = Instant::now();
        while start.elapsed() < LATER && !status(&client, "bed-07").is_silent
            || start.elapsed() < Duration::from_secs(8)
        {
            network.device("bed-08").uplink(1, [1]);
            interval_passes(&network, version);
            pause(INTERVAL);
            events.receiver().try_iter().for_each(&mut take);
        }
        assert!(status(&client, "bed-07").is_silent);
        network
            .device("bed-07")
            .send(Uplink::new(1, [2]).counter(9));
        assert!(wait_until(SOON, || status(&client, "bed-07").counter == 9));
        client.close().unwrap();
        events.receiver().try_iter().for_each(&mut take);
        let [silent] = &silent[..] else {
            panic!("{silent:?}")
        };
        assert_eq!(silent.last_uplink, before.last_uplink);
        assert_eq!(Some(silent.usual_interval), before.usual_interval);
        assert!(silent.silent_for >= Duration::from_secs(5), "{silent:?}");
        assert!(silent.silent_for <= start.elapsed() + SOON, "{silent:?}");
        let [back] = &back[..] else {
            panic!("{back:?}")
        };
        assert_eq!(back.last_uplink, before.last_uplink);
        assert_eq!(back.missing, Some(3));
        assert_eq!(back.app_id, silent.app_id);
        assert!(!status(&client, "bed-07").is_silent);
    }
}

#[test]
fn nobody_is_silent_while_nothing_at_all_arrives() {
    let _watchdog = watchdog(LIMIT);
    let network = network(Network::V3);
    let (client, events) = watching(&network, Network::V3);
    pause(Duration::from_secs(9));
    client.close().unwrap();
    let silent: Vec<_> = events
        .receiver()
        .try_iter()
        .filter(|event| matches!(event, Event::DeviceSilent(_)))
        .collect();
    assert!(silent.is_empty(), "{silent:?}");
}

#[test]
fn nobody_is_silent_while_the_client_is_away() {
    let _watchdog = watchdog(LIMIT);
    let own = crate::support::resources::loopback();
    let network = Simulator::builder(Network::V3)
        .address(format!("{own}:0"))
        .http_address(format!("{own}:0"))
        .fixed_time(SystemTime::now())
        .start()
        .expect("the simulated network starts");
    let (client, events) = watching(&network, Network::V3);
    network.stop();
    pause(Duration::from_secs(8));
    assert!(
        client
            .devices()
            .unwrap()
            .iter()
            .all(|device| !device.is_silent)
    );
    network.restart().unwrap();
    let mut silent = Vec::new();
    loop {
        match events.recv_timeout(LATER).unwrap() {
            Event::Connected(connected) if connected.gap.is_some() => break,
            Event::DeviceSilent(it) => silent.push(it),
            _ => {}
        }
    }
    assert!(silent.is_empty(), "{silent:?}");
    client.close().unwrap();
}

#[test]
fn the_list_has_what_uplinks_and_counters_show() {
    let _watchdog = watchdog(LIMIT);
    for version in [Network::V3, Network::V2] {
        let network = network(version);
        let client = builder(&network).device_watch(true).build().unwrap();
        assert!(client.devices().unwrap().is_empty());
        client.connect().unwrap();
        let device = network.device("bed-07");
        for (counter, rate) in [(0, "SF9BW125"), (1, "SF9BW125"), (5, "SF7BW125")] {
            device.send(Uplink::new(1, [1]).counter(counter).data_rate(rate));
            interval_passes(&network, version);
        }
        network
            .device("bed-08")
            .send(Uplink::new(1, [1]).simulated(true));
        network.device("bed-09").uplink(1, [1]);
        assert!(wait_until(SOON, || client.devices().unwrap().len() == 2));
        let list = client.devices().unwrap();
        let [device, other] = &list[..] else {
            panic!("{list:#?}")
        };
        assert_eq!(
            (device.dev_id.as_str(), other.dev_id.as_str()),
            ("bed-07", "bed-09")
        );
        assert_eq!((device.counter, device.today.uplinks), (5, 3));
        assert_eq!(
            (device.frames.missing_upstream, device.frames.missing()),
            (3, 3)
        );
        assert_eq!(device.hardware_serial, network.device("bed-07").dev_eui());
        assert_eq!(device.data_rate, "SF7BW125");
        assert!(!device.gateway.is_empty() && device.rssi.is_some() && device.snr.is_some());
        assert!(device.today.airtime > Duration::ZERO);
        assert!(device.heard_ago < SOON);
        assert_eq!((device.usual_interval, device.is_silent), (None, false));
        let json = ttn::serde_json::to_value(device).unwrap();
        assert_eq!(
            (&json["dev_id"], &json["frames"]["missing_upstream"]),
            (&"bed-07".into(), &3.into())
        );
        assert!(json["last_uplink"].is_string() && json["heard_ago"].is_number());
    }
}

#[test]
fn the_last_battery_level_stays_in_the_list() {
    let _watchdog = watchdog(LIMIT);
    let network = Simulator::builder(Network::V3)
        .release("3.33.1")
        .start()
        .expect("the simulated network starts");
    let client = builder(&network).device_watch(true).build().unwrap();
    client.connect().unwrap();
    let device = network.device("bed-07");
    device.send(Uplink::new(1, [1]).battery(80.0));
    device.uplink(1, [2]);
    let is_heard = |device: &DeviceStatus| device.counter == 1;
    assert!(wait_until(SOON, || client
        .devices()
        .unwrap()
        .iter()
        .any(is_heard)));
    let battery = status(&client, "bed-07").battery.unwrap();
    assert!(
        (battery.percentage.unwrap() - 80.0).abs() < 1.0,
        "{battery:?}"
    );
}

#[test]
fn the_list_has_the_downlinks_that_are_followed_and_not_final() {
    let _watchdog = watchdog(LIMIT);
    for version in [Network::V3, Network::V2] {
        let network = network(version);
        let client = builder(&network).device_watch(true).build().unwrap();
        client.connect().unwrap();
        let device = network.device("valve-3");
        device.join();
        device.uplink(1, [1]);
        assert!(wait_until(SOON, || client.devices().unwrap().len() == 1));
        assert_eq!(status(&client, "valve-3").open_downlinks, 0);
        // One that is sent stays open until the device has acknowledged it.
        device.stops_acknowledging(true);
        let downlink = Downlink::bytes([1]).confirmed(true);
        let delivery = client.send("valve-3", downlink).unwrap();
        let other = client.send("other", [1]).unwrap();
        delivery.wait_for(DeliveryState::Queued, SOON).unwrap();
        assert_eq!(status(&client, "valve-3").open_downlinks, 1);
        device.stops_acknowledging(false);
        assert!(wait_until(LATER, || {
            device.uplink(1, [1]);
            delivery.is_final()
        }));
        assert!(wait_until(SOON, || {
            let valve = status(&client, "valve-3");
            valve.open_downlinks == 0 && valve.today.downlinks >= 1
        }));
        drop(other);
    }
}

#[test]
fn fetched_uplinks_count_and_the_last_one_is_the_newest_by_the_networks_time() {
    let _watchdog = watchdog(LIMIT);
    let minute = Duration::from_secs(60);
    let start = SystemTime::now() - 60 * minute;
    let network = Simulator::builder(Network::V3)
        .fixed_time(start)
        .start()
        .expect("the simulated network starts");
    network.storage(Some(Storage::new()));
    for _ in 0..20 {
        network.device("bed-07").uplink(1, [1]);
        network.device("bed-08").uplink(1, [1]);
        network.advance_clock(2 * minute);
    }
    network.advance_clock(20 * minute);
    let client = builder(&network)
        .http_address(network.http_address())
        .backfill(Backfill::on_request())
        .device_watch(true)
        .build()
        .unwrap();
    client.connect().unwrap();
    // Newer than what is fetched later.
    network.device("bed-08").uplink(1, [2]);
    assert!(wait_until(SOON, || client.devices().unwrap().len() == 1));
    let now = SystemTime::now();
    let report = client
        .backfill(start - minute..now)
        .unwrap()
        .wait()
        .unwrap();
    assert!(report.error.is_none(), "{report}");
    let silent = status(&client, "bed-07");
    assert_eq!(
        (silent.counter, silent.usual_interval),
        (19, Some(2 * minute))
    );
    assert!(
        (20 * minute..25 * minute).contains(&silent.heard_ago),
        "{silent:?}"
    );
    let heard = status(&client, "bed-08");
    assert_eq!(
        (heard.counter, heard.usual_interval),
        (20, Some(2 * minute))
    );
    assert!(heard.heard_ago < SOON);
    assert_eq!(heard.frames.missing(), 0);
}

#[test]
fn a_list_that_nobody_asked_for_is_an_error_that_says_how_to_get_it() {
    let client = Harness::simulator(Network::V3).client();
    let error = client.devices().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("device_watch(true)"), "{error}");
    let builder = || MqttClient::builder("barn@ttn", "NNSXS.ID.SECRET");
    for (builder, part) in [
        (
            builder().device_watch(true).counter_watch(0),
            "counter_watch",
        ),
        (
            builder().silence_after(3.0).counter_watch(0),
            "counter_watch",
        ),
        (builder().silence_after(1.0), "silence_after(1)"),
        (builder().silence_after(f32::NAN), "silence_after(NaN)"),
        (builder().silence_after(1e9), "silence_after"),
    ] {
        let error = builder.build().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains(part), "{error}");
    }
}
