//! The gateways, and how they reach a device.

use std::collections::BTreeMap;

use super::messages::FixedGateway;
use crate::simulator::lorawan::{self, Gateway};

/// How well the gateways transmit.
#[derive(Default)]
pub(super) struct Gateways {
    pub(super) down: bool,
    /// Those that heard a device, by id.
    known: BTreeMap<String, Path>,
    /// Whether they are connected but take no downlinks.
    pub(super) deaf: bool,
    /// Whether they transmit without a report.
    pub(super) silent: bool,
    /// The result of each transmission, if it fails.
    pub(super) failure: Option<String>,
}

/// A gateway that can transmit.
#[derive(Clone, Copy, Default)]
pub(super) struct Path {
    /// Whether it knows the time.
    pub(super) has_time: bool,
    /// Whether it is connected but takes no downlinks.
    pub(super) deaf: bool,
}

impl From<&Gateway> for Path {
    fn from(gateway: &Gateway) -> Self {
        Self {
            has_time: gateway.has_gps,
            deaf: gateway.deaf,
        }
    }
}

/// What becomes of a transmission.
#[derive(Clone, Copy)]
pub(super) enum Outcome<'a> {
    /// The gateway loses it.
    Lost,
    /// The gateway reports that it failed.
    Failed(&'a str),
    Done {
        is_reported: bool,
    },
}

impl Gateways {
    /// Returns what becomes of a transmission through a gateway.
    pub(super) fn outcome(&self, path: Path) -> Outcome<'_> {
        match &self.failure {
            _ if self.deaf || path.deaf => Outcome::Lost,
            Some(result) => Outcome::Failed(result),
            None => Outcome::Done {
                is_reported: !self.silent,
            },
        }
    }

    /// Takes note of gateways that heard a device.
    pub(super) fn meet(&mut self, heard: &[Gateway]) {
        let known = heard.iter();
        self.known
            .extend(known.map(|gateway| (gateway.id.clone(), gateway.into())));
    }

    /// Returns the paths through named gateways, without those that do not exist.
    pub(super) fn fixed(&self, gateways: &[FixedGateway]) -> Vec<Path> {
        let path = |gateway: &FixedGateway| {
            let id = &gateway.gateway_id;
            let of_network = || lorawan::is_gateway(id).then(Path::default);
            self.known.get(id).copied().or_else(of_network)
        };
        gateways.iter().filter_map(path).collect()
    }
}

/// Returns the paths back to a device that these gateways heard, the best one first.
pub(super) fn paths(heard: &[Gateway], packet_broker: bool) -> Vec<Path> {
    let own = lorawan::answering(heard).into_iter().map(Path::from);
    own.chain(packet_broker.then(Path::default)).collect()
}
