//! Many messages of a v3 network in one text, one in each line: what storage answers, what an event stream
//! sends, what the Console exports.

use std::io::BufRead;

use crate::{error::Result, message::Event, network::Network};

/// An iterator over the messages in a text, returned by [`Event::read_all`].
#[derive(Debug)]
pub struct Records<R> {
    network: Network,
    reader: R,
}

impl Event {
    /// Reads the messages in a text, one in each line.
    pub fn read_all<R: BufRead>(network: Network, reader: R) -> Records<R> {
        Records { network, reader }
    }
}

impl<R: BufRead> Iterator for Records<R> {
    type Item = Result<Event>;

    fn next(&mut self) -> Option<Result<Event>> {
        let mut line = Vec::new();
        match self.reader.read_until(b'\n', &mut line) {
            Ok(0) => None,
            _ => Some(Event::from_json(self.network, line)),
        }
    }
}
