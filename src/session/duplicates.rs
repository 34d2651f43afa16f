//! The keys of the last uplinks, so that one that comes again is marked. Pure state.

use std::{
    collections::{HashSet, VecDeque},
    sync::Arc,
};

use crate::message::{Identity, UplinkMessage};

#[derive(Debug, Default)]
pub(super) struct Duplicates {
    capacity: usize,
    known: HashSet<u64>,
    /// The same, the oldest first.
    order: VecDeque<u64>,
}

impl Duplicates {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            capacity,
            ..Self::default()
        }
    }

    /// Marks an uplink whose key came before, and remembers the key otherwise.
    pub(super) fn mark(&mut self, uplink: &mut Arc<UplinkMessage>) {
        if self.capacity == 0 {
            return;
        }
        let key = Identity::of(uplink).hash();
        if !self.known.insert(key) {
            Arc::make_mut(uplink).duplicate = true;
            return;
        }
        self.order.push_back(key);
        if self.order.len() > self.capacity {
            if let Some(oldest) = self.order.pop_front() {
                self.known.remove(&oldest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{message::Event, network::Network};

    fn uplink(counter: u32) -> Arc<UplinkMessage> {
        let json = format!(
            r#"{{"end_device_ids":{{"device_id":"bed-07","application_ids":{{"application_id":"greenhouse"}}}},
            "uplink_message":{{"f_port":1,"f_cnt":{counter},"received_at":"2026-11-27T07:30:00Z"}}}}"#
        );
        match Event::from_json(Network::V3, json).unwrap() {
            Event::Uplink(uplink) => uplink,
            event => panic!("{event:?}"),
        }
    }

    fn is_marked(duplicates: &mut Duplicates, counter: u32) -> bool {
        let mut uplink = uplink(counter);
        duplicates.mark(&mut uplink);
        uplink.is_duplicate()
    }

    #[test]
    fn an_uplink_that_comes_again_is_marked_as_long_as_its_key_is_remembered() {
        let mut duplicates = Duplicates::new(3);
        for counter in [1, 2, 3] {
            assert!(!is_marked(&mut duplicates, counter));
            assert!(is_marked(&mut duplicates, counter));
        }
        assert!(is_marked(&mut duplicates, 1));
        assert!(!is_marked(&mut duplicates, 4));
        assert!(!is_marked(&mut duplicates, 1));
        assert!(is_marked(&mut duplicates, 3));
        assert_eq!(duplicates.known.len(), 3);
    }

    #[test]
    fn a_window_of_none_marks_nothing() {
        let mut duplicates = Duplicates::new(0);
        assert!(!is_marked(&mut duplicates, 1));
        assert!(!is_marked(&mut duplicates, 1));
    }
}
