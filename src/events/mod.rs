//! The stream of events: one source and any number of subscribers, each with its own bounded queue.
//!
//! The crate uses each of these words in one meaning:
//!
//! | word | meaning |
//! |---|---|
//! | *dropped* | a message or an event that this client discarded because a queue was full or the client was closed |
//! | *lagged* | a subscriber that was told about its drops, by [`Event::Lagged`](crate::Event::Lagged), at the place where they happened |
//! | *missing* | a frame that has not arrived, according to the frame counter of its device, although later ones have; drops of this client are one possible reason |
//! | *missed* | a message that the network sent while the client was not connected |
//! | *lost* | a connection that ended although the program did not close it |

mod interrupt;
mod reader;
mod spent;
mod subscriber;
mod subscribers;
mod subscription;
#[cfg(test)]
mod tests;

pub(crate) use reader::Reader;
pub(crate) use spent::{Returned, Spent, spent};
pub(crate) use subscriber::Subscriber;
pub(crate) use subscribers::Subscribers;
pub use subscription::{Events, EventsIter};
pub(crate) use subscription::{shared_subscriptions, subscription};

/// How many lifecycle events have room in a queue that is full of messages.
const RESERVE: usize = 16;
