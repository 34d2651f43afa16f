//! The MQTT client: Paho, behind a wire that is ours.
//!
//! What Paho does that has to be known here, and what this room does about it. What concerned
//! sockets, TLS, names, keys and CONNACK is the wire's business, which Paho never sees.
//!
//! | Paho | here |
//! |---|---|
//! | one lock and two threads serve all clients of the process, and callbacks run with the lock held: any call but a publish stops all of them | callbacks push to a channel |
//! | a panic in a callback aborts the process | they have nothing that panics; the wire takes out topics that are not text |
//! | a client that is dropped while it connects or has a socket can stop all of them; a token is done a moment before Paho lets go of it | [`Transport::is_over`], and a barrier before the drop |
//! | hundreds of sockets that open or close in a row stop all of them | the wire opens and closes each in its turn (its gate) |
//! | `disconnect` may never be done, and calls back on the caller's thread | never called: the wire ends the connection, Paho notices |
//! | a connect cannot be cancelled, and its timeout has a grain of 3 s | the wire closes the loopback, which takes a millisecond |
//! | dropping the last client of the process takes up to a second and leaks two descriptors | one that never connects is kept |
//! | the keep-alive has one clock for all clients, set by the last to connect | 18 hours; the wire has its own |
//! | automatic reconnect crashes and does not subscribe; a client that connects again writes what was left over | a new client for each connection |
//! | 100 messages may wait to be written, then publishing fails | 65 536, and a smaller limit of ours |
//! | there are no message ids, and a result can be read once | our own ids, and each token is read once |
//! | `subscribe_many` says Ok of a refusal | one `subscribe` for each filter |
//! | callbacks that are set during a connect are ignored | set before |
//! | QoS 0 is done when the bytes are in the kernel | the kernel's loopback; documented at [`Event::Published`](crate::Event::Published) |

mod inlet;
mod paho;

pub(crate) use inlet::{Attempt, Inlet, Operation, Outlet, Signal, Tagged, inlet};
pub(crate) use paho::{Outcome, Transport};
