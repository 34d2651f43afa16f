//! The last of many things, and how many there were.

use std::collections::VecDeque;

/// Keeps the newest items, up to a limit.
pub(super) struct History<T> {
    items: VecDeque<T>,
    limit: usize,
    count: usize,
}

impl<T: Clone> History<T> {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            items: VecDeque::new(),
            limit,
            count: 0,
        }
    }

    pub(super) fn push(&mut self, item: T) {
        self.count += 1;
        self.items.push_back(item);
        while self.items.len() > self.limit {
            self.items.pop_front();
        }
    }

    /// Returns how many there were, also those that are no longer kept.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// Returns those that are kept, oldest first.
    pub(super) fn kept(&self) -> Vec<T> {
        self.items.iter().cloned().collect()
    }
}
