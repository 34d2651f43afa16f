//! A shared group behind one Mosquitto.

use std::time::Duration;

use ttn::Acknowledge;

use crate::{
    account::Account,
    consumers::{Consumers, Plan},
    is_long, messages, print,
    publisher::{Load, Publisher},
    support::{mosquitto::Mosquitto, resources::pause},
    turn,
};

const MEMBERS: usize = 3;

/// How many messages Mosquitto sends before the first is acknowledged.
const IN_FLIGHT: usize = 20;

/// How long nothing may be handled before what is missing counts as lost.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long a consumer is away.
const AWAY: Duration = Duration::from_secs(3);

/// How long it takes to handle an uplink: longer than there is until the next one, so that a queue forms.
const WORK: Duration = Duration::from_millis(2);

/// The group behind a broker.
fn members(broker: &Mosquitto, acknowledge: Acknowledge, capacity: usize) -> Vec<Plan> {
    (0..MEMBERS)
        .map(|member| Plan {
            addresses: vec![broker.address()],
            session: format!("worker-{member}"),
            group: Some("workers"),
            partitions: None,
            acknowledge,
            receive_capacity: capacity,
            work: Duration::ZERO,
        })
        .collect()
}

fn load(broker: &Mosquitto, rate: u32) -> Load {
    Load {
        addresses: vec![broker.address()],
        numbers: 0..messages(),
        rate,
        partitions: None,
    }
}

#[test]
fn a_group_at_peace_handles_every_message_once_and_in_equal_shares() {
    let _turn = turn();
    let Some(broker) = Mosquitto::builder().persistent().start() else {
        return;
    };
    let mut consumers = Consumers::start(members(&broker, Acknowledge::Handled, 1_000));
    let published = Publisher::start(load(&broker, 2_000)).end();
    let account = consumers.account(&published, PATIENCE);
    print("a group at peace", &account);
    assert!(account.lost.is_empty(), "{account}");
    assert!(account.twice.is_empty(), "{account}");
    for share in &account.shares {
        let percent = 100.0 * *share as f64 / f64::from(messages());
        assert!((percent - 33.3).abs() <= 1.0, "{account}");
    }
}

/// Kills the first consumer (SIGKILL) while messages are published, and starts it again.
fn kill_one(consumers: &mut Consumers, load: Load) -> Account {
    let kill_at = messages() as usize * 2 / 5;
    let publisher = Publisher::start(load);
    publisher.wait_for(kill_at);
    consumers.kill(0);
    pause(AWAY);
    consumers.start_again(0);
    consumers.account(&publisher.end(), PATIENCE)
}

#[test]
fn a_killed_consumer_that_acknowledges_what_is_handled_loses_nothing_and_repeats_a_window() {
    let _turn = turn();
    let Some(broker) = Mosquitto::builder().persistent().start() else {
        return;
    };
    let mut plans = members(&broker, Acknowledge::Handled, 1_000);
    plans.iter_mut().for_each(|plan| plan.work = WORK);
    let mut consumers = Consumers::start(plans);
    let account = kill_one(&mut consumers, load(&broker, 2_000));
    print("a consumer killed, Handled", &account);
    assert!(account.lost.is_empty(), "{account}");
    assert!(account.twice.len() <= IN_FLIGHT, "{account}");
    assert!(
        account.unmarked.is_empty(),
        "{account}: {:?}",
        account.unmarked
    );
}

#[test]
fn a_killed_consumer_that_acknowledges_what_is_received_loses_its_queue_at_most() {
    const CAPACITY: usize = 64;
    let _turn = turn();
    let Some(broker) = Mosquitto::builder().persistent().start() else {
        return;
    };
    let mut plans = members(&broker, Acknowledge::Received, CAPACITY);
    plans.iter_mut().for_each(|plan| plan.work = WORK);
    let mut consumers = Consumers::start(plans);
    let account = kill_one(&mut consumers, load(&broker, 2_000));
    print("a consumer killed, Received", &account);
    assert!(account.lost.len() <= CAPACITY + 1, "{account}");
    assert!(account.twice.len() <= IN_FLIGHT, "{account}");
}

/// How many messages are published when all members are back.
const AFTERWARDS: u32 = 300;

/// How a broker ends.
#[derive(Clone, Copy, Debug)]
enum End {
    /// In order (SIGTERM).
    Terminated,
    /// SIGKILL.
    Killed,
}

#[test]
fn all_members_come_back_by_themselves_after_the_broker_was_away() {
    let _turn = turn();
    let runs: &[&[End]] = match is_long() {
        true => &[&[End::Terminated], &[End::Killed]],
        false => &[&[End::Terminated, End::Killed]],
    };
    for ends in runs {
        let Some(mut broker) = Mosquitto::builder().persistent().start() else {
            return;
        };
        let mut consumers = Consumers::start(members(&broker, Acknowledge::Handled, 1_000));
        let publisher = Publisher::start(load(&broker, 1_000));
        for (number, end) in ends.iter().enumerate() {
            publisher.wait_for(messages() as usize * (number + 1) * 3 / 10);
            match end {
                End::Terminated => broker.terminate(),
                End::Killed => broker.kill(),
            }
            pause(AWAY);
            broker.restart();
            for member in 0..MEMBERS {
                consumers.wait_for(member, "connected", number + 2);
            }
        }
        let account = consumers.account(&publisher.end(), PATIENCE);
        // Mosquitto 2.0.11 does not restore shared subscriptions from disk: what is published before the members
        // subscribe again is acknowledged and gone.
        print(&format!("the broker {ends:?} and back"), &account);
        let afterwards = Load {
            numbers: messages()..messages() + AFTERWARDS,
            ..load(&broker, 1_000)
        };
        let account = consumers.account(&Publisher::start(afterwards).end(), PATIENCE);
        assert!(account.lost.is_empty(), "{account}");
        assert!(account.shares.iter().all(|share| *share > 0), "{account}");
    }
}
