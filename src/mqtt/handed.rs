//! The messages that were handed to a connection and that the server may not have processed. Pure
//! state.

use std::{collections::VecDeque, sync::Arc};

use crate::message::MessageIds;

/// The most messages to remember. A server that has answered nothing for that many never will; beyond
/// it, the oldest count as processed.
const MAX_MESSAGES: usize = 100_000;

/// Messages in the order of their PUBLISH packets.
#[derive(Debug, Default)]
pub(super) struct Handed {
    /// How many messages before the first of `messages` are processed.
    processed: u64,
    messages: VecDeque<Entry>,
    /// How many of them carry downlinks.
    downlinks: usize,
}

#[derive(Debug)]
struct Entry {
    /// `None` for a message with QoS 1, for which an acknowledgement of its own speaks.
    ids: Option<MessageIds>,
    /// The correlation id of its last downlink.
    correlation_id: Option<Arc<str>>,
}

impl Handed {
    pub(super) fn len(&self) -> usize {
        self.downlinks
    }

    /// Notes that a message was handed to the connection.
    pub(super) fn push(&mut self, ids: MessageIds, correlation_id: Option<Arc<str>>) {
        self.downlinks += 1;
        self.add(Entry {
            ids: Some(ids),
            correlation_id,
        });
    }

    /// Notes that a message with QoS 1 was handed to the connection. It only takes its place among the others.
    pub(super) fn push_acknowledged(&mut self) {
        self.add(Entry {
            ids: None,
            correlation_id: None,
        });
    }

    fn add(&mut self, entry: Entry) {
        self.messages.push_back(entry);
        if self.messages.len() > MAX_MESSAGES {
            self.advance(self.processed + 1);
        }
    }

    /// Notes that the connection will not write a message. It writes no later one either.
    pub(super) fn remove(&mut self, ids: MessageIds) {
        self.messages.retain(|message| message.ids != Some(ids));
        self.downlinks = self
            .messages
            .iter()
            .filter_map(|message| message.ids)
            .count();
    }

    /// Notes that the server has processed this many messages in all, and returns the newly processed ones.
    pub(super) fn advance(&mut self, messages: u64) -> Vec<MessageIds> {
        let news = usize::try_from(messages.saturating_sub(self.processed)).unwrap_or(usize::MAX);
        let news = news.min(self.messages.len());
        self.processed += news as u64;
        let news = self.messages.drain(..news);
        let news: Vec<_> = news.filter_map(|message| message.ids).collect();
        self.downlinks -= news.len();
        news
    }

    /// Notes that the network has reported on a downlink with these correlation ids. The server has
    /// processed its message, and those before it; returns those that are news. A report that repeats
    /// only the content proves nothing: it can be about the downlink of another client.
    pub(super) fn reported(&mut self, correlation_ids: &[String]) -> Vec<MessageIds> {
        let is_it = |message: &Entry| {
            let own = message.correlation_id.as_deref();
            correlation_ids.iter().any(|id| Some(id.as_str()) == own)
        };
        let before = self.messages.iter().position(is_it);
        before.map_or_else(Vec::new, |before| {
            self.advance(self.processed + before as u64 + 1)
        })
    }

    /// Returns the messages that may not be processed, and forgets them.
    pub(super) fn take(&mut self) -> Vec<MessageIds> {
        self.downlinks = 0;
        let messages = std::mem::take(&mut self.messages).into_iter();
        messages.filter_map(|message| message.ids).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handed(messages: u64) -> Handed {
        let mut handed = Handed::default();
        for id in 1..=messages {
            let correlation_id = format!("id-{id}").into();
            handed.push(MessageIds::new(10 * id, 2), Some(correlation_id));
        }
        handed
    }

    /// The numbers of these messages.
    fn numbers(messages: Vec<MessageIds>) -> Vec<u64> {
        let first = |ids: MessageIds| ids.iter().next().map_or(0, |id| id.get() / 10);
        messages.into_iter().map(first).collect()
    }

    fn left(handed: &mut Handed) -> Vec<u64> {
        numbers(handed.take())
    }

    #[test]
    fn each_message_is_told_as_processed_once_and_in_order() {
        let mut handed = handed(5);
        assert_eq!(numbers(handed.advance(2)), [1, 2]);
        assert_eq!(numbers(handed.advance(2)), Vec::<u64>::new());
        assert_eq!(numbers(handed.reported(&["id-4".to_owned()])), [3, 4]);
        assert_eq!(numbers(handed.advance(3)), Vec::<u64>::new());
        assert_eq!(numbers(handed.advance(9)), [5]);
        handed.push(MessageIds::new(60, 1), None);
        assert_eq!(numbers(handed.advance(5)), Vec::<u64>::new());
        assert_eq!(numbers(handed.advance(6)), [6]);
    }

    #[test]
    fn a_message_with_an_acknowledgement_of_its_own_takes_its_place_and_is_never_told() {
        let mut handed = Handed::default();
        for id in 1..=3 {
            handed.push_acknowledged();
            handed.push(MessageIds::new(10 * id, 1), None);
        }
        assert_eq!(handed.len(), 3);
        assert_eq!(numbers(handed.advance(1)), Vec::<u64>::new());
        assert_eq!(numbers(handed.advance(3)), [1]);
        assert_eq!(handed.len(), 2);
        handed.remove(MessageIds::new(30, 1));
        assert_eq!(handed.len(), 1);
        assert_eq!(left(&mut handed), [2]);
        assert_eq!(handed.len(), 0);
    }

    #[test]
    fn what_is_not_processed_is_left_in_order() {
        let mut handed = handed(5);
        handed.advance(2);
        handed.advance(1);
        assert_eq!(handed.len(), 3);
        assert_eq!(left(&mut handed), [3, 4, 5]);
        assert_eq!(handed.len(), 0);
    }

    #[test]
    fn a_report_about_a_downlink_proves_it_and_everything_before_it() {
        let mut handed = handed(5);
        let ids = ["other", "id-3"].map(str::to_owned);
        handed.reported(&ids);
        handed.reported(&ids);
        assert_eq!(handed.len(), 2);
        handed.reported(&["id-2".to_owned(), "id-9".to_owned()]);
        handed.advance(4);
        assert_eq!(left(&mut handed), [5]);
    }

    #[test]
    fn more_answers_than_messages_change_nothing() {
        let mut handed = handed(1);
        handed.advance(9);
        handed.push(MessageIds::new(90, 1), None);
        handed.advance(2);
        assert_eq!(left(&mut handed), Vec::<u64>::new());
    }

    #[test]
    fn a_server_that_answers_nothing_does_not_fill_the_memory() {
        let mut handed = handed(MAX_MESSAGES as u64 + 9);
        assert_eq!(handed.len(), MAX_MESSAGES);
        handed.advance(10);
        assert_eq!(left(&mut handed)[0], 11);
    }

    #[test]
    fn a_message_that_was_not_written_is_not_uncertain() {
        let mut handed = handed(3);
        handed.remove(MessageIds::new(30, 2));
        assert_eq!(left(&mut handed), [1, 2]);
    }
}
