//! Names with several addresses, some of them dead, and addresses of both families: the client
//! reaches the server at any of them, with and without TLS.
#![cfg(target_os = "linux")]

use std::{
    io::{self, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream},
    thread,
    time::{Duration, Instant},
};

use crate::support::{
    certificates::Certificates,
    harness::SOON,
    names::{Lookup, NAME, Names, run_with_names, run_with_names_and_network},
    resources::loopback,
    tls_front::TlsFront,
    tls_server::{APP, KEY},
    watchdog::watchdog,
};
use socket2::{Domain, Socket, Type};
use ttn::{ErrorKind, Event, MqttClient, MqttClientBuilder, Network, simulator::Simulator};

const LIMIT: Duration = Duration::from_secs(120);

/// The time limit for an attempt that is expected to fail.
const TIMEOUT: Duration = Duration::from_secs(3);

/// Much shorter than the time that an address without an answer could use up.
const QUICKLY: Duration = Duration::from_secs(2);

/// The tolerance for a busy machine.
const SLACK: Duration = Duration::from_millis(700);

const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

/// A network whose link leads nowhere: packets to 198.51.100.9 or 2001:db8::9 are lost silently,
/// and there is no route to 192.0.2.1.
const NOWHERE: &str = "ip link set lo up \
    && ip link add nowhere type veth peer name void \
    && ip addr add 198.51.100.1/24 dev nowhere \
    && ip -6 addr add 2001:db8::1/64 dev nowhere nodad \
    && ip link set void up \
    && ip link set nowhere up \
    && ip neigh add 198.51.100.9 lladdr 02:00:00:00:00:09 dev nowhere \
    && ip -6 neigh add 2001:db8::9 lladdr 02:00:00:00:00:09 dev nowhere";
const LOST_V4: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 9));
const LOST_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 9));
const NO_WAY: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

/// The simulated network on one address, with TLS or without.
struct Server {
    network: Simulator,
    front: Option<TlsFront>,
    certificates: Certificates,
}

impl Server {
    /// Runs a test against a server without TLS and, if this build supports it, a server with TLS.
    fn each(host: IpAddr, test: impl Fn(&Server)) {
        test(&Self::start(host, false));
        if cfg!(feature = "tls") {
            test(&Self::start(host, true));
        }
    }

    /// Does the same with a port that nobody else uses at the other address.
    fn each_alone(host: IpAddr, other: IpAddr, test: impl Fn(&Server)) {
        for tls in [false, cfg!(feature = "tls")] {
            let (server, _reserved) = (0..100)
                .find_map(|_| {
                    let server = Self::start(host, tls);
                    let reserved = reserve(SocketAddr::new(other, server.port()))?;
                    Some((server, reserved))
                })
                .expect("a port that is free at both addresses");
            test(&server);
        }
    }

    fn start(host: IpAddr, tls: bool) -> Self {
        let network = Simulator::builder(Network::V3)
            .application(APP, KEY)
            .address(SocketAddr::new(host, 0).to_string())
            .start()
            .expect("the simulated network starts");
        let certificates = Certificates::new();
        let names = [NAME, "127.0.0.1", "::1"];
        let identity =
            certificates
                .authority
                .server_for(certificates.folder(), "many-names", &names);
        let front = tls.then(|| {
            let front = TlsFront::builder(&identity).at(host);
            front.start(network.address()).expect("a free port")
        });
        Self {
            network,
            front,
            certificates,
        }
    }

    fn port(&self) -> u16 {
        match &self.front {
            Some(front) => front.port(),
            None => self.network.address().port(),
        }
    }

    /// Returns the builder of a client that connects to the server by this name or address.
    fn builder(&self, host: &str) -> MqttClientBuilder {
        let scheme = if self.front.is_some() {
            "mqtts"
        } else {
            "mqtt"
        };
        MqttClient::builder(APP, KEY)
            .mqtt_address(format!("{scheme}://{host}:{}", self.port()))
            .ca_pem(self.certificates.authority.certificate_pem())
            .connect_timeout(SOON)
            .reconnect_delay(Duration::from_millis(10), Duration::from_millis(50))
    }

    /// Asserts that a client connects quickly, and again after it has lost its connection.
    #[track_caller]
    fn is_reached_at(&self, host: &str) {
        let client = self.builder(host).build().expect("the options are valid");
        let events = client.events();
        let start = Instant::now();
        if let Err(error) = client.connect() {
            panic!("{error:?}");
        }
        let taken = start.elapsed();
        assert!(taken < QUICKLY, "{taken:?}");
        assert!(matches!(events.recv_timeout(SOON), Ok(Event::Connected(_))));
        let start = Instant::now();
        self.network.disconnect_clients();
        let event = events.recv_timeout(SOON);
        assert!(matches!(event, Ok(Event::Disconnected(_))), "{event:?}");
        let event = events.recv_timeout(SOON);
        assert!(matches!(event, Ok(Event::Connected(_))), "{event:?}");
        let taken = start.elapsed();
        assert!(taken < QUICKLY, "{taken:?}");
        client.close().expect("no callback runs");
    }

    /// Asserts that every address fails; the error has one of these kinds and names each address
    /// with its cause.
    #[track_caller]
    fn is_not_reached(&self, kinds: &[ErrorKind], causes: &[(IpAddr, &str)]) {
        let client = self.builder(NAME).connect_timeout(TIMEOUT).build();
        let client = client.expect("the options are valid");
        let start = Instant::now();
        let error = client.connect().expect_err("nobody is there");
        let (taken, text) = (start.elapsed(), error.to_string());
        assert!(taken < TIMEOUT + SLACK, "after {taken:?}: {text}");
        assert!(kinds.contains(&error.kind()), "{error:?}");
        assert!(text.contains(NAME), "{text}");
        let text = text.to_lowercase();
        let mut places: Vec<_> = causes
            .iter()
            .map(|(address, _)| {
                let address = SocketAddr::new(*address, self.port()).to_string();
                let place = text.find(&address);
                place.unwrap_or_else(|| panic!("{address} is missing in: {text}"))
            })
            .collect();
        places.sort_unstable();
        for (address, cause) in causes {
            let address = SocketAddr::new(*address, self.port()).to_string();
            let place = text.find(&address).expect("found before");
            let next = places.iter().find(|other| **other > place);
            let part = &text[place..next.copied().unwrap_or(text.len())];
            assert!(part.contains(cause), "{address} without {cause:?}: {text}");
        }
    }
}

/// A port that neither accepts nor refuses connections: the queue of its listener is full.
struct Dead {
    _listener: TcpListener,
    _queue: Vec<TcpStream>,
}

impl Dead {
    fn new(address: SocketAddr) -> Self {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None);
        let socket = socket.expect("a socket");
        socket.set_reuse_address(true).expect("a socket");
        socket.bind(&address.into()).expect("a free port");
        socket.listen(0).expect("bound");
        let mut queue = Vec::new();
        while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(100)) {
            queue.push(stream);
            assert!(queue.len() < 100, "the queue has no end");
        }
        Self {
            _listener: socket.into(),
            _queue: queue,
        }
    }
}

/// Keeps other tests from listening at an address, which refuses connections.
fn reserve(address: SocketAddr) -> Option<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).ok()?;
    // So that a dead server can listen there.
    socket.set_reuse_address(true).ok()?;
    socket.bind(&address.into()).ok()?;
    Some(socket)
}

/// Runs the test in a process whose name lookups it controls.
fn with_names(test: &str, body: impl FnOnce(&Names)) {
    let _watchdog = watchdog(LIMIT);
    match Names::of_this_process() {
        None => run_with_names(module_path!(), test),
        Some(names) => body(&names),
    }
}

/// Does the same in the network that leads nowhere.
fn with_names_and_network(test: &str, body: impl FnOnce(&Names)) {
    let _watchdog = watchdog(LIMIT);
    match Names::of_this_process() {
        None => run_with_names_and_network(NOWHERE, module_path!(), test),
        Some(names) => body(&names),
    }
}

/// Returns whether this machine has an IPv6 loopback; prints a message if it does not.
fn has_ipv6() -> bool {
    let bound = TcpListener::bind((Ipv6Addr::LOCALHOST, 0));
    if let Err(error) = &bound {
        let thread = thread::current();
        let test = thread.name().unwrap_or("main");
        // Not `eprintln!`: the test harness would swallow it.
        let _ = writeln!(io::stderr(), "SKIPPED {test}: no IPv6 loopback: {error}");
    }
    bound.is_ok()
}

#[test]
fn a_second_address_is_tried_when_the_first_refuses() {
    with_names(
        "a_second_address_is_tried_when_the_first_refuses",
        |names| {
            let (good, refusing) = (loopback().into(), loopback().into());
            Server::each(good, |server| {
                for addresses in [[refusing, good], [good, refusing]] {
                    names.set(Lookup::At(&addresses));
                    server.is_reached_at(NAME);
                }
            });
        },
    );
}

#[test]
fn a_second_address_is_tried_when_the_first_is_dead() {
    with_names(
        "a_second_address_is_tried_when_the_first_is_dead",
        |names| {
            let (good, dead) = (loopback().into(), loopback().into());
            Server::each(good, |server| {
                let _dead = Dead::new(SocketAddr::new(dead, server.port()));
                for addresses in [[dead, good], [good, dead]] {
                    names.set(Lookup::At(&addresses));
                    server.is_reached_at(NAME);
                }
            });
        },
    );
}

#[test]
fn dead_and_refusing_addresses_before_the_right_one_cost_little() {
    with_names(
        "dead_and_refusing_addresses_before_the_right_one_cost_little",
        |names| {
            let good = loopback().into();
            let others = [(); 3].map(|()| IpAddr::from(loopback()));
            Server::each(good, |server| {
                let _dead: Vec<_> = others[..2]
                    .iter()
                    .map(|dead| Dead::new(SocketAddr::new(*dead, server.port())))
                    .collect();
                names.set(Lookup::At(&[others[0], others[2], others[1], good]));
                server.is_reached_at(NAME);
            });
        },
    );
}

#[test]
fn a_name_of_both_families_is_reached_where_the_server_has_only_one() {
    with_names(
        "a_name_of_both_families_is_reached_where_the_server_has_only_one",
        |names| {
            if !has_ipv6() {
                return;
            }
            for (good, other) in [(V4, V6), (V6, V4)] {
                Server::each_alone(good, other, |server| {
                    for addresses in [[V4, V6], [V6, V4]] {
                        names.set(Lookup::At(&addresses));
                        server.is_reached_at(NAME);
                        let _dead = Dead::new(SocketAddr::new(other, server.port()));
                        server.is_reached_at(NAME);
                    }
                });
            }
        },
    );
}

#[test]
fn an_address_of_ipv6_is_reached() {
    let _watchdog = watchdog(LIMIT);
    if has_ipv6() {
        Server::each(V6, |server| server.is_reached_at("[::1]"));
    }
}

#[test]
fn an_error_names_each_address_and_why_it_failed() {
    with_names("an_error_names_each_address_and_why_it_failed", |names| {
        let [good, refusing, other, dead] = [(); 4].map(|()| IpAddr::from(loopback()));
        Server::each(good, |server| {
            names.set(Lookup::At(&[refusing, other]));
            let causes = [(refusing, "refused"), (other, "refused")];
            server.is_not_reached(&[ErrorKind::ConnectionRefused], &causes);
            let _dead = Dead::new(SocketAddr::new(dead, server.port()));
            for addresses in [[refusing, dead], [dead, refusing]] {
                names.set(Lookup::At(&addresses));
                let kinds = [ErrorKind::ConnectionRefused, ErrorKind::TimedOut];
                let causes = [(refusing, "refused"), (dead, "no answer")];
                server.is_not_reached(&kinds, &causes);
            }
        });
    });
}

#[test]
fn addresses_without_a_way_to_them_are_passed_over() {
    with_names_and_network("addresses_without_a_way_to_them_are_passed_over", |names| {
        for good in [V4, V6] {
            Server::each(good, |server| {
                for addresses in [
                    &[NO_WAY, good][..],
                    &[LOST_V4, good],
                    &[LOST_V6, good],
                    &[LOST_V6, LOST_V4, NO_WAY, good],
                ] {
                    names.set(Lookup::At(addresses));
                    server.is_reached_at(NAME);
                }
            });
        }
    });
}

#[test]
fn an_error_tells_the_addresses_without_a_way_from_those_that_do_not_answer() {
    with_names_and_network(
        "an_error_tells_the_addresses_without_a_way_from_those_that_do_not_answer",
        |names| {
            Server::each(V4, |server| {
                names.set(Lookup::At(&[NO_WAY, LOST_V4, V6]));
                let kinds = [
                    ErrorKind::Unreachable,
                    ErrorKind::ConnectionRefused,
                    ErrorKind::TimedOut,
                ];
                let causes = [
                    (NO_WAY, "unreachable"),
                    (LOST_V4, "no answer"),
                    (V6, "refused"),
                ];
                server.is_not_reached(&kinds, &causes);
            });
        },
    );
}
