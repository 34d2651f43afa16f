//! What the table shows of a device, and how devices are sorted.

use std::{cmp::Ordering, time::Duration};

use clap::ValueEnum;
use ttn::{DeviceStatus, FairUse};

/// A device.
#[derive(Clone, Debug, Default)]
pub(super) struct Row {
    pub(super) dev_id: String,
    pub(super) dev_eui: String,
    pub(super) is_silent: bool,
    pub(super) heard_ago: Duration,
    pub(super) usual_interval: Option<Duration>,
    pub(super) counter: u32,
    /// Frames that are missing: because the client was away, dropped messages, or did not get them.
    pub(super) lost: [u64; 3],
    /// Frames that were late, were repeated, and restarts.
    pub(super) odd: [u64; 3],
    pub(super) gateway: String,
    pub(super) rssi: Option<f64>,
    pub(super) snr: Option<f64>,
    pub(super) data_rate: String,
    /// Today.
    pub(super) airtime: Duration,
    pub(super) uplinks: u64,
    pub(super) downlinks: u64,
    pub(super) battery: Option<f64>,
    pub(super) open_downlinks: usize,
}

impl Row {
    pub(super) fn new(device: &DeviceStatus) -> Self {
        let frames = device.frames;
        Self {
            dev_id: device.dev_id.clone(),
            dev_eui: device.hardware_serial.clone(),
            is_silent: device.is_silent,
            heard_ago: device.heard_ago,
            usual_interval: device.usual_interval,
            counter: device.counter,
            lost: [
                frames.missing_away,
                frames.missing_dropped_here,
                frames.missing_upstream,
            ],
            odd: [frames.late, frames.repeated, frames.resets],
            gateway: device.gateway.clone(),
            rssi: device.rssi,
            snr: device.snr,
            data_rate: device.data_rate.clone(),
            airtime: device.today.airtime,
            uplinks: device.today.uplinks,
            downlinks: device.today.downlinks,
            battery: device.battery.as_ref().and_then(|it| it.percentage),
            open_downlinks: device.open_downlinks,
        }
    }

    /// Returns whether it has used more than the policy allows in a day.
    pub(super) fn is_over_fair_use(&self) -> bool {
        self.airtime > FairUse::AIRTIME || self.downlinks > FairUse::DOWNLINKS
    }
}

/// What devices are sorted by. What needs attention comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Sort {
    Name,
    Last,
    Lost,
    Rssi,
    Snr,
    Airtime,
    Battery,
}

impl Sort {
    pub(super) fn compare(self, one: &Row, other: &Row) -> Ordering {
        let lost = |row: &Row| row.lost.iter().sum::<u64>();
        let order = match self {
            Self::Name => Ordering::Equal,
            Self::Last => other.heard_ago.cmp(&one.heard_ago),
            Self::Lost => lost(other).cmp(&lost(one)),
            Self::Rssi => lowest(one.rssi, other.rssi),
            Self::Snr => lowest(one.snr, other.snr),
            Self::Airtime => other.airtime.cmp(&one.airtime),
            Self::Battery => lowest(one.battery, other.battery),
        };
        order.then_with(|| one.dev_id.cmp(&other.dev_id))
    }
}

/// Puts the lowest number first, and what is unknown last.
fn lowest(one: Option<f64>, other: Option<f64>) -> Ordering {
    let number = |value: Option<f64>| value.unwrap_or(f64::INFINITY);
    number(one).total_cmp(&number(other))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_needs_attention_comes_first_and_equal_devices_are_sorted_by_name() {
        let rows = || {
            let row = |dev_id: &str, ago, lost, rssi| Row {
                dev_id: dev_id.to_owned(),
                heard_ago: Duration::from_secs(ago),
                lost: [0, lost, 1],
                rssi,
                airtime: Duration::from_secs(lost),
                ..Row::default()
            };
            vec![
                row("d", 3, 7, None),
                row("c", 9, 0, Some(-90.0)),
                row("b", 3, 2, Some(-120.0)),
                row("a", 1, 2, Some(-60.0)),
            ]
        };
        for (sort, expected) in [
            (Sort::Name, "abcd"),
            (Sort::Last, "cbda"),
            (Sort::Lost, "dabc"),
            (Sort::Rssi, "bcad"),
            (Sort::Snr, "abcd"),
            (Sort::Airtime, "dabc"),
            (Sort::Battery, "abcd"),
        ] {
            let mut rows = rows();
            rows.sort_by(|one, other| sort.compare(one, other));
            let names: String = rows.iter().map(|row| row.dev_id.as_str()).collect();
            assert_eq!(names, expected, "{sort:?}");
        }
    }
}
