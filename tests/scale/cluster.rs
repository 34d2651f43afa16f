//! Partitions on a cluster of three NATS nodes, with a consumer on each.

use std::{
    ops::Range,
    time::{Duration, Instant},
};

use ttn::{Acknowledge, ErrorKind, MqttClient, Session};

use crate::{
    account::Account,
    consumers::{CONNECT, Consumers, Plan},
    is_long, messages, print,
    publisher::{APP_ID, Load, Publisher},
    support::{
        nats::{NODES, NatsCluster},
        resources::pause,
    },
    turn,
};

pub const PARTITIONS: u32 = 6;

/// How long a consumer is away.
const AWAY: Duration = Duration::from_secs(3);

/// How long a node is away.
const DOWN: Duration = Duration::from_secs(5);

/// How long a consumer may handle nothing when its node is gone, and how much longer than the redelivery it may take until
/// nothing is missing. Elections take longer on a busy machine.
fn limits() -> (Duration, Duration) {
    match is_long() {
        true => (Duration::from_secs(15), Duration::from_secs(10)),
        false => (Duration::from_secs(60), Duration::from_secs(60)),
    }
}

/// How long to wait for a redelivery before a message counts as lost.
pub fn patience() -> Duration {
    ack_wait() + limits().1
}

/// After what time a message is delivered again that is not acknowledged: NATS's default is 30 seconds.
pub fn ack_wait() -> Duration {
    Duration::from_secs(if is_long() { 30 } else { 8 })
}

/// A consumer on each node, which reads its share of the partitions.
pub fn members(cluster: &NatsCluster) -> Vec<Plan> {
    (0..NODES)
        .map(|member| Plan {
            addresses: cluster.addresses_from(member),
            session: format!("worker-{member}"),
            group: None,
            partitions: Some((PARTITIONS, member as u32, NODES as u32)),
            acknowledge: Acknowledge::Handled,
            receive_capacity: 1_000,
            work: Duration::ZERO,
        })
        .collect()
}

/// Publishes, strikes in the middle of it, and gives an account.
fn run(
    cluster: &mut NatsCluster,
    consumers: &mut Consumers,
    numbers: Range<u32>,
    strike: impl FnOnce(&mut NatsCluster, &mut Consumers),
) -> Account {
    let load = Load {
        // Not on the node that is killed.
        addresses: cluster.addresses_from(1),
        numbers,
        rate: 400,
        partitions: Some(PARTITIONS),
    };
    let publisher = Publisher::start(load);
    publisher.wait_for(messages() as usize * 2 / 5);
    strike(cluster, consumers);
    consumers.account(&publisher.end(), patience())
}

fn check(title: &str, account: &Account) {
    print(title, account);
    assert!(account.lost.is_empty(), "{account}");
    assert!(
        account.out_of_order.is_empty(),
        "{account}: {:?}",
        account.out_of_order
    );
    assert!(account.untold.is_empty(), "{account}: {:?}", account.untold);
    assert!(account.after <= patience(), "{account}");
    let (longest, _) = limits();
    assert!(account.gaps.iter().all(|gap| *gap <= longest), "{account}");
}

#[test]
fn partitions_lose_nothing_and_keep_their_order_when_a_consumer_or_a_node_is_killed() {
    let _turn = turn();
    let Some(mut cluster) = NatsCluster::start(ack_wait()) else {
        return;
    };
    let mut consumers = Consumers::start(members(&cluster));
    let first = 0..messages();
    let account = run(&mut cluster, &mut consumers, first, |_, consumers| {
        consumers.kill(0);
        pause(AWAY);
        consumers.start_again(0);
    });
    check("NATS, a consumer killed", &account);
    let second = messages()..2 * messages();
    let account = run(
        &mut cluster,
        &mut consumers,
        second,
        |cluster, consumers| {
            let before = consumers.records.notes_of(0, "connected");
            cluster.kill(0);
            // On another node.
            consumers.wait_for(0, "connected", before + 1);
            pause(DOWN);
            cluster.start_again(0);
            cluster.wait_for(0);
        },
    );
    check("NATS, a node killed", &account);
}

#[test]
fn connect_says_that_a_cluster_without_shared_subscriptions_has_none() {
    let _turn = turn();
    let Some(cluster) = NatsCluster::start(ack_wait()) else {
        return;
    };
    let client = MqttClient::own_broker(APP_ID)
        .mqtt_address(cluster.address(0).to_string())
        .session(Session::persistent("worker-0"))
        .shared_group("workers")
        .connect_timeout(CONNECT)
        .build()
        .expect("the options are valid");
    let begin = Instant::now();
    let error = client.connect().expect_err("this broker does not share");
    let time = begin.elapsed();
    assert_eq!(error.kind(), ErrorKind::SharedSubscription, "{error}");
    assert!(error.to_string().contains("NATS"), "{error}");
    assert!(time < CONNECT, "{time:?}");
    print(
        "connect to a cluster without shared subscriptions",
        &format!("{time:.1?}: {error}"),
    );
}
