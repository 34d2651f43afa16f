//! The MQTT client: Paho, behind the [wire](crate::wire).
//!
//! This table lists the behaviour of Paho that matters here, and how this module deals with it. Paho
//! never sees the server's socket, TLS, host name, access key or CONNACK: those belong to the wire.
//!
//! | Paho | here |
//! |---|---|
//! | one lock and two threads serve all clients of the process, and callbacks run with the lock held: any call except a publish blocks all clients | callbacks only push to a channel |
//! | a panic in a callback aborts the process | callbacks cannot panic; the wire filters out topics that are not text |
//! | dropping a client that is connecting or has a socket can block all clients; a token completes a moment before Paho releases it | [`Transport::is_over`], and a call that waits for the release before the drop |
//! | opening or closing hundreds of sockets in a row blocks all clients | the wire opens and closes them one at a time (its gate) |
//! | it does not notice when its threads cannot be started, and never connects after that | before the first connect, as many threads are started and end |
//! | a fork has its memory without its threads | a fork gets an error |
//! | `disconnect` may never complete, and calls back on the caller's thread | never called: the wire ends the connection, and Paho notices |
//! | a connect cannot be cancelled, and its timeout has a resolution of 3 s | the wire closes the loopback, which takes a millisecond |
//! | dropping the last client of the process takes up to a second and leaks two descriptors | one client that never connects is kept |
//! | all clients share one keep-alive clock, set by the last to connect | 18 hours; the wire has its own keep-alive |
//! | automatic reconnect crashes and does not resubscribe; a client that reconnects writes leftover messages | a new client for each connection |
//! | a message with QoS 1 that is not acknowledged when the connection ends is kept for the next connection, or reported as failed, or not at all | the session answers it when it leaves the connection: it is not known to be there |
//! | publishing fails when 100 messages wait to be written | the limit is 65 536, above our own limit |
//! | a packet takes eight system calls, however small | the wire puts messages that come together into one packet ([`wire::first_of`](crate::wire::first_of)) |
//! | there are no message ids, and a result can be read only once | our own ids, and each token is read once |
//! | `subscribe_many` returns Ok for a refusal, and reads as many codes as there are filters, wherever the SUBACK ends | each code is checked; the wire passes only a SUBACK with a code for each filter |
//! | callbacks that are set while connecting are ignored | set before |
//! | QoS 0 completes when the bytes are in the kernel | that is the loopback; documented at [`Event::Published`](crate::Event::Published) |

mod handed;
mod inlet;
mod paho;

pub(crate) use inlet::{Attempt, Inlet, Messages, Operation, Outlet, Run, Signal, Tagged, inlet};
pub(crate) use paho::{Outcome, Transport, check_process, claim_process};
