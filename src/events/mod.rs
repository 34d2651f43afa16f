//! The stream of events: one source and any number of subscribers, each with its own bounded queue.
//!
//! The crate uses these words for what a program does not receive, each in one meaning:
//!
//! | word | meaning |
//! |---|---|
//! | *dropped* | a message or an event that this client threw away because a queue was full, or because it was closed |
//! | *lagged* | a subscriber that has been told of its drops, by [`Event::Lagged`](crate::Event::Lagged), at the place where they happened |
//! | *missing* | a frame that never arrived, as the frame counter of its device shows; the drops of this client are one possible reason |
//! | *missed* | what the network sent while the client was not connected |
//! | *lost* | a connection that ended although nobody closed it |

mod interrupt;
mod reader;
mod subscriber;
mod subscribers;
mod subscription;
#[cfg(test)]
mod tests;

pub(crate) use reader::Reader;
pub(crate) use subscriber::Subscriber;
pub(crate) use subscribers::Subscribers;
pub use subscription::Events;
pub(crate) use subscription::subscription;

/// Room for lifecycle events in a queue that is full of messages.
const RESERVE: usize = 16;
