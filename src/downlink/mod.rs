//! Downlinks from `send` to the network's last report about them.

mod book;
mod delivery;
mod draft;
mod key;
mod open;
mod outbox;
mod pacer;

pub(crate) use book::{Answer, Book, Cause, Followed, Following, Lookup, NotSeen, Sighting};
pub use delivery::{Delivery, DeliveryState};
pub(crate) use draft::{Correlation, Draft};
pub(crate) use open::OpenDownlinks;
pub(crate) use outbox::{Batch, Message, Outbox, Room, WaitingRoom};
pub(crate) use pacer::Pacer;
