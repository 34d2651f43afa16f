//! What a network server needs apart from its broker.

use std::{sync::Arc, time::Duration};

use super::{Applications, Clock, Delays, Windows};
use crate::simulator::activity::Activities;

/// Applications, clock and receive windows of a network.
pub(crate) struct Environment {
    pub(crate) applications: Arc<Applications>,
    pub(crate) windows: Arc<Windows>,
    pub(crate) clock: Clock,
    /// How long each receive window stays open.
    pub(crate) receive_window: Duration,
    /// How long the real network takes, if this one takes as long.
    pub(crate) delays: Option<Delays>,
    /// Of The Things Stack.
    pub(crate) release: Release,
    /// What clients and devices do.
    pub(crate) activities: Arc<Activities>,
    /// How many of the things that are remembered for tests are kept.
    pub(crate) history: usize,
}

/// A release of The Things Stack: the three numbers of its version.
pub(crate) type Release = [u32; 3];
