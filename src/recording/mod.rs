//! Recordings: messages as they arrived, in a file that people and programs read, and what is done with them later.

mod anonymizer;
mod files;
mod line;
mod members;
mod pacing;
mod read;
mod reader;
mod recorder;
mod replay;
mod speed;
#[cfg(test)]
mod tests;

pub use anonymizer::Anonymizer;
pub use pacing::Pacing;
pub use reader::{Note, Recorded, Recording};
pub use recorder::{Recorder, RecorderBuilder};
pub use replay::{Replay, ReplayStopper};
pub use speed::Speed;
