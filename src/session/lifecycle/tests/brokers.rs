//! Brokers of one's own: several servers, and the proof that they share.

use super::*;

struct Bench {
    lifecycle: Lifecycle,
    start: Moment,
    now: Moment,
    attempt: Attempt,
}

impl Bench {
    fn new(builder: MqttClientBuilder) -> Self {
        let now = now();
        let mut bench = Self {
            lifecycle: machine(builder),
            start: now,
            now,
            attempt: Attempt(1),
        };
        bench.feed(Input::Connect(Waiter(1)));
        bench
    }

    fn feed(&mut self, input: Input) -> Vec<String> {
        self.lifecycle.handle(input, self.now);
        self.done()
    }

    fn expire(&mut self) -> (Duration, Vec<String>) {
        let deadline = self.lifecycle.next_deadline().unwrap();
        let time = deadline - self.now.instant;
        self.now = self.now.after(time);
        self.lifecycle.handle_deadline(self.now);
        (time, self.done())
    }

    fn done(&mut self) -> Vec<String> {
        let start = self.start.instant;
        let actions = actions(&mut self.lifecycle);
        actions.iter().map(|action| brief(action, start)).collect()
    }

    fn found(&mut self) -> Vec<String> {
        self.feed(Input::LookedUp(self.attempt, Ok("server".into())))
    }

    /// Fails, and returns what the machine does about it.
    fn fail(&mut self) -> Vec<String> {
        self.found();
        let refused = error(ErrorKind::ConnectionRefused);
        let done = self.feed(Input::Failed(self.attempt, refused));
        self.attempt.0 += 1;
        done
    }

    /// Reaches the proof.
    fn subscribe(&mut self) -> Vec<String> {
        self.found();
        self.feed(Input::Accepted(self.attempt));
        self.feed(Input::Entered(self.attempt));
        self.feed(Input::Granted(self.attempt))
    }

    fn marker(&mut self, is_shared: bool) -> Vec<String> {
        let attempt = self.attempt;
        self.feed(Input::Marker { attempt, is_shared })
    }
}

#[test]
fn one_connect_tries_every_server_and_fails_when_none_is_left() {
    let mut bench = Bench::new(broker(&["b1", "b2", "b3"]));
    assert_eq!(bench.lifecycle.server(), 0);
    let zero = "failed ConnectionRefused #1 in Some(0ns)";
    assert_eq!(bench.fail(), ["abandon 1", zero, "begin", "look up 2"]);
    assert_eq!(bench.lifecycle.server(), 1);
    let done = bench.fail();
    assert_eq!(done[2..], ["begin", "look up 3"]);
    assert_eq!(bench.lifecycle.server(), 2);
    let done = bench.fail();
    assert_eq!(
        done,
        [
            "abandon 3",
            "failed ConnectionRefused #3 in None",
            "discard ConnectionRefused",
            "idle",
            "connect 1 ConnectionRefused"
        ]
    );
}

#[test]
fn silent_servers_share_the_time_of_one_connect() {
    let mut bench = Bench::new(broker(&["b1", "b2"]));
    let (time, done) = bench.expire();
    assert_eq!(time, 5 * SECOND);
    assert_eq!(done.last().unwrap(), "look up 2");
    let (time, done) = bench.expire();
    assert_eq!(time, 5 * SECOND);
    assert_eq!(done.last().unwrap(), "connect 1 TimedOut");
}

#[test]
fn the_second_server_is_connected_to_when_the_first_is_down() {
    let mut bench = Bench::new(broker(&["b1", "b2"]));
    bench.fail();
    assert_eq!(bench.subscribe(), ["prove 2"]);
    assert_eq!(bench.marker(true), ["open 2 gap None", "connect 1 ok"]);
    assert_eq!(bench.lifecycle.server(), 1);
    // It is lost, and the first one is next.
    bench.feed(Input::Ended(bench.attempt, closed_by_server()));
    bench.feed(Input::Over(bench.attempt));
    assert_eq!(bench.lifecycle.server(), 0);
}

#[test]
fn a_client_is_connected_when_the_marker_of_the_group_has_come_back() {
    let mut bench = Bench::new(broker(&["b1"]));
    assert_eq!(bench.subscribe(), ["prove 1"]);
    assert_eq!(bench.marker(false), Vec::<String>::new());
    assert_eq!(bench.marker(true), ["open 1 gap None", "connect 1 ok"]);
    assert_eq!(bench.marker(true), Vec::<String>::new());
}

#[test]
fn a_broker_that_delivers_only_what_is_not_shared_fails_the_connect() {
    let mut bench = Bench::new(broker(&["b1"]).connect_retry(crate::ConnectRetry::Forever));
    bench.subscribe();
    bench.marker(false);
    let (time, done) = bench.expire();
    assert_eq!(time, 2 * SECOND);
    assert_eq!(done[0], "abandon 1");
    assert!(done[1].starts_with("ask 1 SharedSubscription"), "{done:?}");
    // No retry can change it.
    let done = bench.feed(Input::NotAsked(Question(1)));
    assert!(
        done.contains(&"connect 1 SharedSubscription".to_owned()),
        "{done:?}"
    );
}

#[test]
fn where_no_marker_comes_back_at_all_the_proof_is_given_up() {
    let mut bench = Bench::new(broker(&["b1"]));
    bench.subscribe();
    let (time, done) = bench.expire();
    assert_eq!(time, 2 * SECOND);
    assert_eq!(done, ["give up proof", "open 1 gap None", "connect 1 ok"]);
}

#[test]
fn where_a_marker_cannot_be_published_there_is_no_wait() {
    let mut bench = Bench::new(broker(&["b1"]));
    bench.subscribe();
    let done = bench.feed(Input::Unprovable(bench.attempt));
    assert_eq!(done, ["open 1 gap None", "connect 1 ok"]);
}

#[test]
fn a_proof_without_its_whole_time_is_no_verdict() {
    let mut bench = Bench::new(broker(&["b1"]).connect_timeout(SECOND));
    bench.subscribe();
    bench.marker(false);
    let (time, done) = bench.expire();
    assert_eq!(time, SECOND);
    assert_eq!(done.last().unwrap(), "connect 1 TimedOut");
}

#[test]
fn a_close_or_the_end_of_the_connection_ends_the_proof() {
    let mut bench = Bench::new(broker(&["b1"]));
    bench.subscribe();
    let done = bench.feed(Input::Close(Waiter(2)));
    assert_eq!(done[..2], ["connect 1 Closed", "abandon 1"]);

    let mut bench = Bench::new(broker(&["b1"]));
    bench.subscribe();
    bench.feed(Input::Ended(bench.attempt, closed_by_server()));
    let done = bench.feed(Input::Over(bench.attempt));
    // To the same server, and the thread leaves out the proof.
    let failed = "failed ConnectionLost #1 in Some(0ns)";
    assert_eq!(
        done,
        ["release 1", "give up proof", failed, "begin", "look up 2"]
    );
    assert_eq!(bench.lifecycle.server(), 0);
    bench.attempt = Attempt(2);
    assert_eq!(bench.subscribe(), ["prove 2"]);
    let done = bench.feed(Input::Unprovable(bench.attempt));
    assert_eq!(done, ["open 2 gap None", "connect 1 ok"]);
}
