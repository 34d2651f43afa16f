//! How many downlinks of each device are open: followed, and not final. The book counts, every thread reads.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use crate::{process::Home, sync};

/// The numbers, by device id; devices without an open downlink are not in it.
#[derive(Clone, Debug)]
pub(crate) struct OpenDownlinks {
    home: Home,
    numbers: Arc<Mutex<HashMap<Arc<str>, usize>>>,
}

impl OpenDownlinks {
    pub(crate) fn new() -> Self {
        Self {
            home: Home::here(),
            numbers: Arc::default(),
        }
    }

    /// Counts a downlink until the result is dropped.
    pub(super) fn open(&self, dev_id: &Arc<str>) -> Open {
        *sync::lock(&self.numbers)
            .entry(Arc::clone(dev_id))
            .or_default() += 1;
        Open {
            numbers: Arc::clone(&self.numbers),
            dev_id: Arc::clone(dev_id),
        }
    }

    /// Returns a copy; in a fork, nothing.
    pub(crate) fn copy(&self) -> HashMap<Arc<str>, usize> {
        let numbers = self.home.lock(&self.numbers);
        numbers.map_or_else(HashMap::new, |numbers| numbers.clone())
    }
}

/// A downlink that is open.
pub(super) struct Open {
    numbers: Arc<Mutex<HashMap<Arc<str>, usize>>>,
    dev_id: Arc<str>,
}

impl Drop for Open {
    fn drop(&mut self) {
        let mut numbers = sync::lock(&self.numbers);
        if let Some(number) = numbers.get_mut(&self.dev_id) {
            *number -= 1;
            if *number == 0 {
                numbers.remove(&self.dev_id);
            }
        }
    }
}
