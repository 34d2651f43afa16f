//! Every way in which a downlink can end, without an effect on any other delivery.
#![cfg(unix)]

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use crate::support::{harness::SOON, resources::wait_until, watchdog::watchdog};
use serde_json::json;
use ttn::{
    Delivery, DeliveryState, Downlink, DownlinkEvent, DownlinkStep, ErrorDetails, ErrorKind, Event,
    Events, MqttClient, MqttClientBuilder, Network, Schedule,
    simulator::{Device, PublishRate, Simulator, SimulatorBuilder, Uplink},
};

const LIMIT: Duration = Duration::from_secs(60);
const NETWORKS: [Network; 2] = [Network::V2, Network::V3];
/// How long the client waits for a report of the network in tests about that.
const PATIENCE: Duration = Duration::from_millis(200);

/// A client of a network whose devices listen only during their uplinks.
struct Desk {
    network: Simulator,
    client: MqttClient,
    events: Events,
    valve: Device,
    /// The test is not about what is sent to this device.
    other: Device,
    bystander: Delivery,
}

impl Desk {
    fn new(network: Network) -> Self {
        Self::with(network, |builder| builder, |client| client)
    }

    fn impatient(network: Network) -> Self {
        Self::with(
            network,
            |builder| builder,
            |client| client.unconfirmed_after(PATIENCE),
        )
    }

    fn with(
        network: Network,
        network_options: impl FnOnce(SimulatorBuilder) -> SimulatorBuilder,
        client_options: impl FnOnce(MqttClientBuilder) -> MqttClientBuilder,
    ) -> Self {
        let builder = Simulator::builder(network).receive_window(Duration::ZERO);
        let network = network_options(builder).start().unwrap();
        let client = MqttClient::builder(network.app_id(), network.access_key())
            .mqtt_address(network.mqtt_address())
            .reconnect_delay(Duration::from_millis(10), Duration::from_millis(50));
        let client = client_options(client).build().unwrap();
        let events = client.events();
        client.connect().unwrap();
        let (valve, other) = (network.device("valve-3"), network.device("valve-4"));
        let bystander = client.send("valve-4", last([1]).confirmed(true)).unwrap();
        bystander.wait_for(DeliveryState::Queued, SOON).unwrap();
        Self {
            network,
            client,
            events,
            valve,
            other,
            bystander,
        }
    }

    fn send(&self, downlink: impl Into<Downlink>) -> Delivery {
        self.client.send("valve-3", downlink).unwrap()
    }

    /// Returns another client of the application.
    fn colleague(&self) -> MqttClient {
        let client = MqttClient::builder(self.network.app_id(), self.network.access_key())
            .mqtt_address(self.network.mqtt_address())
            .build()
            .unwrap();
        client.connect().unwrap();
        client
    }

    /// Sends a downlink that the network queues.
    #[track_caller]
    fn queue(&self, downlink: impl Into<Downlink>) -> Delivery {
        let delivery = self.send(downlink);
        delivery.wait_for(DeliveryState::Queued, SOON).unwrap();
        delivery
    }

    /// Waits until the client has read everything up to a report of this step about the valve.
    #[track_caller]
    fn until(&self, step: DownlinkStep) -> Arc<DownlinkEvent> {
        loop {
            match self.events.recv_timeout(SOON).unwrap() {
                Event::Downlink(report) if report.step == step && report.dev_id == "valve-3" => {
                    return report;
                }
                _ => {}
            }
        }
    }

    /// Asserts that the other device's delivery was not disturbed, and that the next one to the
    /// valve arrives.
    #[track_caller]
    fn assert_goes_on(self) {
        assert!(is(&self.bystander, "queued"), "{:?}", self.bystander);
        self.other.uplink(1, [0]);
        self.other.uplink(1, [0]);
        let end = self.bystander.wait_for(DeliveryState::Acknowledged, SOON);
        assert!(end.is_ok(), "{end:?}");
        let next = self.queue(last([99]));
        for _ in 0..3 {
            self.valve.uplink(1, [0]);
        }
        next.wait_for(DeliveryState::Sent, SOON).unwrap();
        let arrived = self.valve.received();
        assert!(
            arrived
                .try_iter()
                .last()
                .is_some_and(|last| last.payload == [99])
        );
    }
}

fn last(bytes: impl Into<Vec<u8>>) -> Downlink {
    Downlink::bytes(bytes).schedule(Schedule::Last)
}

fn is(delivery: &Delivery, state: &str) -> bool {
    delivery.state().to_string() == state
}

/// Returns the network's message about a downlink that it refused or gave up on.
#[track_caller]
fn words(delivery: &Delivery) -> String {
    let end = delivery.wait_for(DeliveryState::Acknowledged, SOON);
    let error = end.expect_err("it cannot arrive");
    assert_eq!(error.kind(), ErrorKind::DownlinkFailed, "{error}");
    assert!(delivery.is_final());
    let state = delivery.wait();
    assert!(matches!(state, DeliveryState::Failed(_)), "{state}");
    error.to_string()
}

/// Returns the error of a v3 network, from which the message is made.
#[track_caller]
fn details(delivery: &Delivery) -> ErrorDetails {
    let words = words(delivery);
    let state = delivery.state();
    let details = state.error_details().expect("the error in its parts");
    assert!(words.contains(&details.to_string()), "{words}");
    details.clone()
}

#[track_caller]
fn unconfirmed(delivery: &Delivery) -> String {
    match delivery.wait() {
        DeliveryState::Unconfirmed(error) => error.to_string(),
        state => panic!("{state}"),
    }
}

/// Returns the rank of a state, in the documented order.
fn rank(state: &DeliveryState) -> u8 {
    match state {
        DeliveryState::Accepted => 0,
        DeliveryState::Written => 1,
        DeliveryState::Queued => 2,
        DeliveryState::Sent => 3,
        DeliveryState::Acknowledged => 4,
        state => panic!("{state}"),
    }
}

// Downlinks that a v3 network refuses at once.

#[test]
fn a_full_queue_refuses_one_and_keeps_the_others() {
    let _watchdog = watchdog(LIMIT);
    let desk = Desk::new(Network::V3);
    desk.network.quirks(|quirks| quirks.downlink_queue = 1);
    let first = desk.queue(last([1]));
    let second = desk.send(last([2]));
    assert_eq!(
        details(&second).id(),
        "pkg/networkserver:downlink_queue_capacity"
    );
    assert!(is(&first, "queued"));
    desk.valve.uplink(1, [0]);
    first.wait_for(DeliveryState::Sent, SOON).unwrap();
    desk.assert_goes_on();
}

#[test]
fn a_downlink_that_is_too_long_for_the_band_is_told_how_long_it_may_be() {
    let _watchdog = watchdog(LIMIT);
    let desk = Desk::new(Network::V3);
    let details = details(&desk.send(last(vec![1; 250])));
    let id = "pkg/networkserver:application_downlink_too_long";
    assert_eq!(details.id(), id);
    let attributes = json!({"length": 250, "max": "242"});
    assert_eq!(Some(&details.attributes), attributes.as_object());
    let words = details.to_string();
    assert!(words.contains("250") && words.contains("242"), "{words}");
    desk.assert_goes_on();
}

#[test]
fn a_downlink_whose_time_is_past_by_the_networks_clock_has_failed() {
    let _watchdog = watchdog(LIMIT);
    let later = SystemTime::now() + Duration::from_secs(3600);
    let ahead = |builder: SimulatorBuilder| builder.fixed_time(later);
    let desk = Desk::with(Network::V3, ahead, |client| client);
    let minute = Duration::from_secs(60);
    let delivery = desk.send(last([1]).absolute_time(SystemTime::now() + minute));
    assert_eq!(
        details(&delivery).id(),
        "pkg/networkserver:downlink_expired"
    );
    desk.assert_goes_on();
}

#[test]
fn a_refused_batch_has_failed_as_a_whole_and_replaces_nothing() {
    let _watchdog = watchdog(LIMIT);
    let desk = Desk::new(Network::V3);
    let waiting = desk.queue(last([1]));
    let batch = [vec![2], vec![3; 250], vec![4]].map(Downlink::bytes);
    let batch = desk.client.send_batch("valve-3", batch).unwrap();
    let ids: Vec<_> = batch.iter().map(|one| details(one).id()).collect();
    assert_eq!(ids, ["pkg/networkserver:application_downlink_too_long"; 3]);
    assert!(is(&waiting, "queued"));
    desk.valve.uplink(1, [0]);
    waiting.wait_for(DeliveryState::Sent, SOON).unwrap();
    desk.assert_goes_on();
}

// Downlinks that a v3 network gives up on later.

#[test]
fn a_downlink_that_is_too_long_for_the_data_rate_fails_when_its_turn_comes() {
    let _watchdog = watchdog(LIMIT);
    let desk = Desk::new(Network::V3);
    let delivery = desk.queue(last(vec![1; 60]));
    let next = desk.queue(last([2]));
    desk.valve.send(Uplink::new(1, [0]).data_rate("SF12BW125"));
    let attributes = json!({"length": 60, "max": "51"});
    let details = details(&delivery);
    assert_eq!(details.name, "application_downlink_too_long");
    assert_eq!(Some(&details.attributes), attributes.as_object());
    next.wait_for(DeliveryState::Sent, SOON).unwrap();
    desk.assert_goes_on();
}

#[test]
fn a_simulated_report_settles_no_delivery_and_counts_nowhere() {
    let _watchdog = watchdog(LIMIT);
    let desk = Desk::new(Network::V3);
    let delivery = desk.queue(last([1]).confirmed(true));
    let id = delivery.correlation_id().unwrap();
    let report = |kind: &str, body: serde_json::Value| {
        let topic = format!("v3/{}/devices/valve-3/{kind}", desk.network.app_id());
        let mut message = json!({
            "end_device_ids": {"device_id": "valve-3", "application_ids": {"application_id": "app"}},
            "simulated": true
        });
        message
            .as_object_mut()
            .unwrap()
            .extend(body.as_object().unwrap().clone());
        desk.network.publish(&topic, message.to_string());
    };
    let downlink = json!({"f_port": 1, "f_cnt": 1, "frm_payload": "AQ==", "correlation_ids": [id]});
    report("down/sent", json!({"downlink_sent": downlink}));
    report("down/nack", json!({"downlink_nack": downlink}));
    report(
        "down/failed",
        json!({"downlink_failed": {"downlink": downlink}}),
    );
    report(
        "down/invalidated",
        json!({"downlink_queue_invalidated": {"downlinks": [downlink]}}),
    );
    report("down/ack", json!({"downlink_ack": downlink}));
    let simulated = desk.until(DownlinkStep::Acknowledged);
    assert!(simulated.is_simulated() && simulated.is_about(&delivery));
    assert!(is(&delivery, "queued"), "{}", delivery.state());
    let stats = desk.client.stats();
    assert_eq!(stats.confirmed, 0);
    assert_eq!(stats.fair_use.device("valve-3").downlinks, 0);

    desk.valve.uplink(1, [0]);
    delivery.wait_for(DeliveryState::Sent, SOON).unwrap();
    desk.valve.uplink(1, [0]);
    delivery
        .wait_for(DeliveryState::Acknowledged, SOON)
        .unwrap();
}

#[test]
fn a_downlink_whose_time_passes_in_the_queue_has_failed() {
    let _watchdog = watchdog(LIMIT);
    let desk = Desk::new(Network::V3);
    let time = SystemTime::now() + Duration::from_secs(3);
    let delivery = desk.queue(last([1]).absolute_time(time));
    let next = desk.queue(last([2]));
    assert!(wait_until(SOON, || SystemTime::now() > time));
    // Only a device of class B or C could have received it.
    desk.valve.uplink(1, [0]);
    assert_eq!(
        details(&delivery).id(),
        "pkg/networkserver:downlink_expired"
    );
    next.wait_for(DeliveryState::Sent, SOON).unwrap();
    desk.assert_goes_on();
}

#[test]
fn a_downlink_for_gateways_that_do_not_exist_has_failed() {
    let _watchdog = watchdog(LIMIT);
    let desk = Desk::new(Network::V3);
    desk.valve.class_c(true);
    desk.valve.uplink(1, [0]);
    let delivery = desk.send(last([1]).gateway("gateway-of-nobody"));
    assert_eq!(details(&delivery).id(), "pkg/networkserver:fixed_paths");
    desk.valve.class_c(false);
    desk.assert_goes_on();
}

#[test]
fn a_downlink_that_no_gateway_could_transmit_has_failed() {
    let _watchdog = watchdog(LIMIT);
    let desk = Desk::new(Network::V3);
    let delivery = desk.queue(last([1]));
    let next = desk.queue(last([2]));
    desk.network.transmission_fails(Some("TOO_LATE"));
    desk.valve.uplink(1, [0]);
    let details = details(&delivery);
    assert_eq!(details.id(), "pkg/networkserver:transmission");
    assert!(details.to_string().contains("TOO_LATE"), "{details}");
    assert!(is(&next, "queued"));
    desk.network.transmission_fails(None);
    desk.valve.uplink(1, [0]);
    next.wait_for(DeliveryState::Sent, SOON).unwrap();
    desk.assert_goes_on();
}

#[test]
fn a_confirmed_downlink_goes_on_when_a_transmission_fails() {
    let _watchdog = watchdog(LIMIT);
    let desk = Desk::new(Network::V3);
    let delivery = desk.queue(last([1]).confirmed(true));
    let steps = delivery.states();
    desk.network.transmission_fails(Some("TOO_LATE"));
    desk.valve.uplink(1, [0]);
    desk.until(DownlinkStep::Failed);
    assert!(!delivery.is_final());
    let not_sent = delivery.state();
    assert!(matches!(not_sent, DeliveryState::NotSent(_)), "{not_sent}");
    let details = not_sent.error_details().expect("the error in its parts");
    assert_eq!(details.id(), "pkg/networkserver:transmission");
    desk.network.transmission_fails(None);
    desk.valve.uplink(1, [0]);
    desk.valve.uplink(1, [0]);
    assert!(matches!(delivery.wait(), DeliveryState::Acknowledged));
    let steps: Vec<_> = steps.iter().map(|state| state.to_string()).collect();
    let nack = "not acknowledged, attempt 2 follows";
    let not_sent = not_sent.to_string();
    assert!(not_sent.contains("TOO_LATE"), "{not_sent}");
    assert_eq!(steps, ["queued", &not_sent, nack, "sent", "acknowledged"]);
    desk.assert_goes_on();
}

#[test]
fn a_downlink_that_was_tried_as_often_as_allowed_has_failed() {
    let _watchdog = watchdog(LIMIT);
    let desk = Desk::new(Network::V3);
    let delivery = desk.queue(last([1]).confirmed(true).max_attempts(2));
    desk.network.transmission_fails(Some("TOO_LATE"));
    for _ in 0..3 {
        desk.valve.uplink(1, [0]);
    }
    let details = details(&delivery);
    assert_eq!(details.id(), "pkg/applicationserver:max_retries_reached");
    assert!(details.to_string().contains("(2)"), "{details}");
    // The last report is the refusal of that attempt, which changes nothing any more.
    while desk.until(DownlinkStep::NotAcknowledged).attempt != Some(3) {}
    assert!(matches!(delivery.state(), DeliveryState::Failed(_)));
    desk.network.transmission_fails(None);
    desk.assert_goes_on();
}

#[test]
fn all_downlinks_of_an_invalidated_queue_have_failed() {
    let _watchdog = watchdog(LIMIT);
    let desk = Desk::new(Network::V3);
    let waiting = [1, 2].map(|number| desk.queue(last([number])));
    desk.valve.invalidate_queue();
    for delivery in &waiting {
        assert!(words(delivery).contains("session keys"));
    }
    desk.assert_goes_on();
}

#[test]
fn a_downlink_that_is_to_be_sent_again_can_be_replaced() {
    let _watchdog = watchdog(LIMIT);
    let desk = Desk::new(Network::V3);
    desk.valve.stops_acknowledging(true);
    let old = desk.queue(last([1]).confirmed(true));
    desk.valve.uplink(1, [0]);
    old.wait_for(DeliveryState::Sent, SOON).unwrap();
    desk.network.gateways_down(true);
    desk.valve.uplink(1, [0]);
    desk.until(DownlinkStep::NotAcknowledged);
    assert_eq!(desk.valve.queue().len(), 1);
    let new = desk.queue(Downlink::bytes([2]));
    assert!(is(&old, "replaced"), "{old:?}");
    desk.network.gateways_down(false);
    desk.valve.uplink(1, [0]);
    new.wait_for(DeliveryState::Sent, SOON).unwrap();
    desk.assert_goes_on();
}

#[test]
fn a_downlink_that_was_not_sent_is_replaced_on_v2_only() {
    let _watchdog = watchdog(LIMIT);
    for network in NETWORKS {
        let desk = Desk::new(network);
        let hinder = |hindered: bool| match network {
            Network::V2 => desk.network.gateways_down(hindered),
            _ => desk
                .network
                .transmission_fails(hindered.then_some("TOO_LATE")),
        };
        let old = desk.queue(last([1]).confirmed(true));
        hinder(true);
        desk.valve.uplink(1, [0]);
        desk.until(DownlinkStep::Failed);
        let new = desk.queue(Downlink::bytes([2]));
        hinder(false);
        for _ in 0..3 {
            desk.valve.uplink(1, [0]);
        }
        new.wait_for(DeliveryState::Sent, SOON).unwrap();
        let received: Vec<_> = desk.valve.received().try_iter().collect();
        let old_arrived = received.iter().any(|one| one.payload == [1]);
        // v3 does not withdraw a downlink whose fate the next uplink decides.
        assert_eq!(old_arrived, network == Network::V3);
        if old_arrived {
            assert!(matches!(old.wait(), DeliveryState::Acknowledged));
        } else {
            assert!(is(&old, "replaced"), "{old:?}");
        }
        desk.assert_goes_on();
    }
}

#[test]
fn a_downlink_that_waits_for_its_acknowledgement_is_replaced_on_v2_only() {
    let _watchdog = watchdog(LIMIT);
    for network in NETWORKS {
        let desk = Desk::new(network);
        let old = desk.queue(last([1]).confirmed(true));
        desk.valve.uplink(1, [0]);
        old.wait_for(DeliveryState::Sent, SOON).unwrap();
        let new = desk.queue(Downlink::bytes([2]));
        if network == Network::V2 {
            assert!(is(&old, "replaced"), "{old:?}");
        } else {
            assert!(is(&old, "sent"), "{old:?}");
        }
        desk.valve.uplink(1, [0]);
        if network == Network::V3 {
            old.wait_for(DeliveryState::Acknowledged, SOON).unwrap();
        }
        new.wait_for(DeliveryState::Sent, SOON).unwrap();
        desk.assert_goes_on();
    }
}

// V2.

#[test]
fn a_v2_downlink_waits_while_there_are_no_gateways() {
    let _watchdog = watchdog(LIMIT);
    let desk = Desk::new(Network::V2);
    let delivery = desk.queue(last([1]));
    let next = desk.queue(last([2]));
    desk.network.gateways_down(true);
    desk.valve.uplink(1, [0]);
    desk.until(DownlinkStep::Failed);
    assert!(!delivery.is_final());
    let not_sent = delivery.state();
    assert!(matches!(not_sent, DeliveryState::NotSent(_)), "{not_sent}");
    let words = not_sent.to_string();
    assert!(words.contains("No gateways available"), "{words}");
    assert!(is(&next, "queued"));
    desk.network.gateways_down(false);
    desk.valve.uplink(1, [0]);
    delivery.wait_for(DeliveryState::Sent, SOON).unwrap();
    desk.assert_goes_on();
}

#[test]
fn fields_that_a_v2_network_cannot_encode_fail_at_the_next_uplink() {
    let _watchdog = watchdog(LIMIT);
    let desk = Desk::new(Network::V2);
    let fields = Downlink::fields(json!({"open": true})).schedule(Schedule::Last);
    let unencoded = desk.queue(fields.clone());
    let next = desk.queue(last([2]));
    desk.valve.uplink(1, [0]);
    let words_of_none = words(&unencoded);
    assert!(words_of_none.contains("no Encoder function set"));
    assert!(is(&next, "queued"));
    desk.valve.uplink(1, [0]);
    next.wait_for(DeliveryState::Sent, SOON).unwrap();

    desk.network
        .set_encoder(|_port, _fields| Err::<Vec<u8>, _>("TypeError: open".into()));
    let failing = desk.queue(fields.clone());
    desk.valve.uplink(1, [0]);
    assert!(words(&failing).contains("Encoder threw error: TypeError: open"));

    desk.network.set_encoder(|_port, _fields| Ok(vec![7]));
    let encoded = desk.queue(fields);
    desk.valve.uplink(1, [0]);
    encoded.wait_for(DeliveryState::Sent, SOON).unwrap();
    desk.assert_goes_on();
}

#[test]
fn fields_that_are_encoded_to_nothing_are_not_taken_for_sent() {
    let _watchdog = watchdog(LIMIT);
    let desk = Desk::new(Network::V2);
    desk.network.set_encoder(|_port, _fields| Ok(Vec::new()));
    let fields = Downlink::fields(json!({"open": true})).schedule(Schedule::Last);
    let nothing = desk.queue(fields);
    let next = desk.queue(last([2]));
    desk.valve.uplink(1, [0]);
    desk.valve.uplink(1, [0]);
    next.wait_for(DeliveryState::Sent, SOON).unwrap();
    assert!(is(&nothing, "queued"), "{nothing:?}");
    desk.assert_goes_on();
}

#[test]
fn v2_repeats_of_a_confirmed_downlink_are_not_the_next_one_of_the_same_content() {
    let _watchdog = watchdog(LIMIT);
    let desk = Desk::new(Network::V2);
    desk.valve.stops_acknowledging(true);
    let first = desk.queue(last([1]).confirmed(true));
    let second = desk.queue(last([1]).confirmed(true));
    for _ in 0..3 {
        desk.valve.uplink(1, [0]);
        desk.until(DownlinkStep::Sent);
        assert!(is(&first, "sent") && is(&second, "queued"));
    }
    desk.valve.stops_acknowledging(false);
    desk.valve.uplink(1, [0]);
    first.wait_for(DeliveryState::Acknowledged, SOON).unwrap();
    desk.until(DownlinkStep::Sent);
    desk.valve.uplink(1, [0]);
    second.wait_for(DeliveryState::Acknowledged, SOON).unwrap();
    desk.assert_goes_on();
}

#[test]
fn a_v2_acknowledgement_of_an_uplink_is_nobodys_downlink() {
    let _watchdog = watchdog(LIMIT);
    let desk = Desk::new(Network::V2);
    desk.network.quirks(|quirks| quirks.lose_events = true);
    let delivery = desk.send(last([1]));
    assert!(wait_until(SOON, || desk.valve.queue().len() == 1));
    desk.valve.uplink(1, [0]);
    desk.network.quirks(|quirks| quirks.lose_events = false);
    // The queue is empty now, so this is all that is sent.
    desk.valve.send(Uplink::new(1, [0]).confirmed(true));
    let sent = desk.until(DownlinkStep::Sent);
    assert_eq!((sent.port, sent.payload_raw.len()), (0, 0));
    assert!(rank(&delivery.state()) < 2, "{delivery:?}");
    desk.assert_goes_on();
}

#[test]
fn other_peoples_v2_downlinks_are_told_apart_by_port_and_confirmation_too() {
    let _watchdog = watchdog(LIMIT);
    let desk = Desk::new(Network::V2);
    let colleague = desk.colleague();
    let send = |downlink| {
        let delivery = colleague.send("valve-3", downlink).unwrap();
        delivery.wait_for(DeliveryState::Queued, SOON).unwrap();
        delivery
    };
    let theirs = [send(last([1]).port(2)), send(last([1]).confirmed(true))];
    let mine = desk.queue(last([1]));
    for other in &theirs {
        desk.valve.uplink(1, [0]);
        other.wait_for(DeliveryState::Sent, SOON).unwrap();
        desk.until(DownlinkStep::Sent);
        assert!(is(&mine, "queued"), "{mine:?}");
    }
    desk.valve.uplink(1, [0]);
    mine.wait_for(DeliveryState::Sent, SOON).unwrap();
    desk.assert_goes_on();
}

#[test]
fn of_v2_downlinks_with_the_same_content_all_have_come_as_far_when_the_last_one_has() {
    let _watchdog = watchdog(LIMIT);
    let desk = Desk::new(Network::V2);
    let colleague = desk.colleague();
    let same = || last([1]).confirmed(true);
    let theirs = colleague.send("valve-3", same()).unwrap();
    theirs.wait_for(DeliveryState::Queued, SOON).unwrap();
    // If it were read later, the report could be mistaken for a report about the client's own
    // downlink.
    desk.until(DownlinkStep::Queued);
    let mine = desk.queue(same());
    for _ in 0..3 {
        desk.valve.uplink(1, [0]);
    }
    theirs.wait_for(DeliveryState::Acknowledged, SOON).unwrap();
    mine.wait_for(DeliveryState::Acknowledged, SOON).unwrap();
    assert_eq!(desk.valve.received().try_iter().count(), 2);
    desk.assert_goes_on();
}

// Silence, late reports, and reports in another order.

#[test]
fn of_what_is_lost_only_the_later_steps_are_known() {
    let _watchdog = watchdog(LIMIT);
    for network in NETWORKS {
        let desk = Desk::impatient(network);
        desk.network.quirks(|quirks| quirks.lose_events = true);
        let delivery = desk.send(last([1]).confirmed(true));
        assert!(unconfirmed(&delivery).contains("valve-3"));
        desk.valve.uplink(1, [0]);
        assert!(desk.valve.next_downlink(SOON).is_some());
        desk.network.quirks(|quirks| quirks.lose_events = false);
        desk.valve.uplink(1, [0]);
        let end = wait_until(SOON, || is(&delivery, "acknowledged"));
        assert!(end, "{network:?}: {delivery:?}");
        desk.assert_goes_on();
    }
}

#[test]
fn what_comes_after_the_silence_was_concluded_still_counts() {
    let _watchdog = watchdog(LIMIT);
    for network in NETWORKS {
        let desk = Desk::impatient(network);
        desk.network
            .quirks(|quirks| quirks.event_delay = 3 * PATIENCE);
        let delivery = desk.send(last([1]).confirmed(true));
        unconfirmed(&delivery);
        let steps = delivery.states();
        assert!(delivery.is_final());
        assert!(wait_until(SOON, || is(&delivery, "queued")));
        assert!(!delivery.is_final());
        desk.network.quirks(|quirks| quirks.event_delay = PATIENCE);
        desk.valve.uplink(1, [0]);
        desk.valve.uplink(1, [0]);
        assert!(matches!(delivery.wait(), DeliveryState::Acknowledged));
        // A subscriber that waited until then received the conclusion.
        assert_eq!(steps.iter().count(), 1);
        desk.network
            .quirks(|quirks| quirks.event_delay = Duration::ZERO);
        desk.assert_goes_on();
    }
}

#[test]
fn a_late_refusal_is_the_end() {
    let _watchdog = watchdog(LIMIT);
    let desk = Desk::impatient(Network::V3);
    desk.network
        .quirks(|quirks| quirks.event_delay = 3 * PATIENCE);
    let delivery = desk.send(last(vec![1; 250]));
    unconfirmed(&delivery);
    desk.until(DownlinkStep::Failed);
    assert_eq!(details(&delivery).name, "application_downlink_too_long");
    desk.network
        .quirks(|quirks| quirks.event_delay = Duration::ZERO);
    desk.assert_goes_on();
}

#[test]
fn words_in_another_order_lead_to_the_same_end_and_never_back() {
    let _watchdog = watchdog(LIMIT);
    for network in NETWORKS {
        // The second report before the first, and the third before the second.
        for exchanged in [[1, 0, 2], [0, 2, 1]] {
            let desk = Desk::new(network);
            desk.network.quirks(|quirks| {
                quirks.shuffle_events = true;
                quirks.event_delay = Duration::from_millis(500);
            });
            let delivery = desk.send(last([1]).confirmed(true));
            let steps = delivery.states();
            if exchanged[0] == 0 {
                delivery.wait_for(DeliveryState::Queued, SOON).unwrap();
            } else {
                assert!(wait_until(SOON, || desk.valve.queue().len() == 1));
            }
            desk.valve.uplink(1, [0]);
            if exchanged[0] == 1 {
                delivery.wait_for(DeliveryState::Sent, SOON).unwrap();
                desk.until(DownlinkStep::Queued);
            }
            desk.valve.uplink(1, [0]);
            let end = delivery.wait_for(DeliveryState::Acknowledged, SOON);
            assert!(end.is_ok(), "{network:?} {exchanged:?}: {end:?}");
            assert!(matches!(delivery.wait(), DeliveryState::Acknowledged));
            let ranks: Vec<_> = steps.iter().map(|state| rank(&state)).collect();
            assert!(ranks.is_sorted(), "{network:?} {exchanged:?}: {ranks:?}");
            desk.network.quirks(|quirks| *quirks = Default::default());
            desk.assert_goes_on();
        }
    }
}

#[test]
fn no_word_that_overtakes_the_writing_is_lost() {
    let _watchdog = watchdog(LIMIT);
    let desk = Desk::new(Network::V3);
    // It is sent as soon as it is queued.
    desk.valve.class_c(true);
    desk.valve.uplink(1, [0]);
    for number in 0..200 {
        let delivery = desk.send(last([number]));
        let steps = delivery.states();
        assert!(matches!(delivery.wait(), DeliveryState::Sent));
        let ranks: Vec<_> = steps.iter().map(|state| rank(&state)).collect();
        assert!(ranks.is_sorted(), "{ranks:?}");
        assert_eq!(ranks.last(), Some(&3));
    }
    desk.valve.class_c(false);
    desk.assert_goes_on();
}

#[test]
fn news_that_fell_into_a_gap_of_the_connection_are_named_and_later_ones_count() {
    let _watchdog = watchdog(LIMIT);
    for network in NETWORKS {
        let patience = Duration::from_secs(1);
        let desk = Desk::with(
            network,
            |builder| builder,
            |client| client.unconfirmed_after(patience),
        );
        desk.network.quirks(|quirks| quirks.lose_events = true);
        let delivery = desk.send(last([1]).confirmed(true));
        assert!(wait_until(SOON, || desk.valve.queue().len() == 1));
        desk.network.disconnect_clients();
        let words = unconfirmed(&delivery);
        assert!(words.contains("lost with the connection"), "{words}");
        assert!(wait_until(SOON, || desk.client.is_connected()));
        desk.network.quirks(|quirks| quirks.lose_events = false);
        desk.valve.uplink(1, [0]);
        assert!(wait_until(SOON, || is(&delivery, "sent")), "{delivery:?}");
        desk.valve.uplink(1, [0]);
        assert!(matches!(delivery.wait(), DeliveryState::Acknowledged));
        desk.assert_goes_on();
    }
}

#[test]
fn a_delivery_is_not_disturbed_by_a_limit_that_another_one_exceeds() {
    let _watchdog = watchdog(LIMIT);
    let desk = Desk::impatient(Network::V3);
    let rate = PublishRate {
        per_minute: 0,
        burst: 1,
    };
    desk.network
        .quirks(|quirks| quirks.publish_rate = Some(rate));
    let within = desk.queue(last([1]));
    let above = desk.send(last([2]));
    let words = unconfirmed(&above);
    assert!(words.contains("when its rate limit is exceeded"), "{words}");
    assert!(wait_until(SOON, || desk.client.stats().reconnects == 1));
    assert!(is(&within, "queued"));
    desk.network.quirks(|quirks| quirks.publish_rate = None);
    desk.valve.uplink(1, [0]);
    within.wait_for(DeliveryState::Sent, SOON).unwrap();
    assert_eq!(desk.valve.queue().len(), 0);
    desk.assert_goes_on();
}
