//! A whole wire between a hostile server and a client, both played byte by byte.

mod acknowledging;
mod admission;
mod alone;
mod cancelling;
mod ends;
mod keep_alive;
mod opening;
mod peer;
mod relaying;
mod visiting;

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, unbounded};
use peer::{Client, Server};

use super::{
    Acknowledging, Destination, Doorway, End, Login, Loss, Plan, Report, Traffic, Unreadable, Wire,
};
use crate::error::Error;

/// The limit for everything that is not measured.
const LONG: Duration = Duration::from_secs(20);

/// The limit for what must happen at once, on a busy machine. Deadlines that must not end a wait are
/// longer.
const AT_ONCE: Duration = Duration::from_secs(2);

const KEY: &str = "NNSXS.kEepTh1s";

/// How a wire is started.
struct Setting {
    limit: Duration,
    keep_alive: Duration,
    max_packet: usize,
    tls: bool,
    proxy: Option<&'static str>,
    acknowledging: Option<Acknowledging>,
}

impl Default for Setting {
    fn default() -> Self {
        Self {
            limit: Duration::from_secs(60),
            keep_alive: Duration::from_secs(60),
            max_packet: 1 << 20,
            tls: false,
            proxy: None,
            acknowledging: None,
        }
    }
}

impl Setting {
    fn tls(tls: bool) -> Self {
        Self {
            tls,
            ..Self::default()
        }
    }

    fn limit(limit: Duration) -> Self {
        Self {
            limit,
            ..Self::default()
        }
    }

    fn keep_alive(seconds: u64) -> Self {
        Self {
            keep_alive: Duration::from_secs(seconds),
            ..Self::default()
        }
    }

    /// Dials a server, or a proxy, at `address`.
    fn start(self, address: SocketAddr) -> Attempt {
        let traffic = Arc::new(Traffic::default());
        let plan = Plan {
            destination: Destination {
                server: "the server".to_owned(),
                host: "localhost".to_owned(),
                port: address.port(),
                addresses: vec![address],
                proxy: self.proxy.map(|proxy| proxy.parse().unwrap()),
                trust: self.tls.then(peer::trust),
            },
            login: Login {
                client_id: "the-client".to_owned(),
                user_name: Some("app".to_owned()),
                password: Some(KEY.as_bytes().to_vec()),
                keep_alive: self.keep_alive,
                is_clean: true,
            },
            deadline: Instant::now() + self.limit,
            max_packet: self.max_packet,
            traffic: Arc::clone(&traffic),
            acknowledging: self.acknowledging,
        };
        let (sender, reports) = unbounded();
        let wire = Wire::start(plan, move |report| {
            let _ = sender.send(report);
        });
        Attempt {
            wire: wire.unwrap(),
            reports,
            traffic,
        }
    }

    /// Connects the client through the relay to a server.
    fn connect(self) -> (Attempt, peer::Peer, Client) {
        let (server, tls) = (Server::start(), self.tls);
        let attempt = self.start(server.address());
        let mut peer = server.accept(tls);
        peer.log_in();
        let client = Client::come_in(&attempt.doorway());
        (attempt, peer, client)
    }
}

/// Where the client connects, and with which token.
struct Way {
    port: u16,
    token: String,
}

struct Attempt {
    wire: Wire,
    reports: Receiver<Report>,
    traffic: Arc<Traffic>,
}

impl Attempt {
    #[track_caller]
    fn report(&self) -> Report {
        self.reports.recv_timeout(LONG).expect("a report")
    }

    #[track_caller]
    fn doorway(&self) -> Way {
        match self.report() {
            // Returns the permit, for the other tests of this process.
            Report::Ready(Doorway { port, token, .. }) => Way { port, token },
            other => panic!("{other:?}"),
        }
    }

    #[track_caller]
    fn unreadable(&self) -> Unreadable {
        match self.report() {
            Report::Unreadable(message) => message,
            other => panic!("{other:?}"),
        }
    }

    #[track_caller]
    fn end(&self) -> End {
        match self.report() {
            Report::Ended(end) => end,
            other => panic!("{other:?}"),
        }
    }

    /// Asserts that the thread has ended and has reported nothing more.
    #[track_caller]
    fn is_over(&self) {
        let after = self.reports.recv_timeout(LONG);
        assert!(after.is_err_and(|error| error.is_disconnected()));
    }

    #[track_caller]
    fn failure(&self) -> Error {
        match self.end() {
            End::Failed(error) => {
                assert!(!format!("{error:?}").contains(KEY));
                error
            }
            other => panic!("{other:?}"),
        }
    }

    #[track_caller]
    fn loss(&self) -> (Loss, Error) {
        match self.end() {
            End::Lost { loss, error, .. } => (loss, error),
            other => panic!("{other:?}"),
        }
    }
}

/// Runs something that must not take longer than [`AT_ONCE`].
#[track_caller]
fn at_once<T>(run: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let result = run();
    let elapsed = start.elapsed();
    assert!(elapsed < AT_ONCE, "it took {elapsed:?}");
    result
}
