//! The resources that another process uses. The functions return `None` on a system that does not
//! report them.

use std::{fs, thread, time::Duration};

/// Memory of a process, in KiB.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Memory {
    pub resident: f64,
    /// The part that it shares with no other process.
    pub private: f64,
}

impl Memory {
    pub fn of(process: u32) -> Option<Self> {
        let sums = fs::read_to_string(format!("/proc/{process}/smaps_rollup")).ok()?;
        let sum = |name: &str| -> Option<f64> {
            let value = sums.lines().find_map(|line| line.strip_prefix(name))?;
            value.trim().strip_suffix(" kB")?.parse().ok()
        };
        Some(Self {
            resident: sum("Rss:")?,
            private: sum("Private_Clean:")? + sum("Private_Dirty:")?,
        })
    }

    /// Returns the memory once it has not changed for half a second.
    pub fn settled(process: u32) -> Option<Self> {
        const LOOK: Duration = Duration::from_millis(50);
        let mut last = Self::of(process)?;
        let mut same = 0;
        for _ in 0..200 {
            thread::sleep(LOOK);
            let now = Self::of(process)?;
            same = if now == last { same + 1 } else { 0 };
            last = now;
            if same == 10 {
                break;
            }
        }
        Some(last)
    }
}

/// Returns the CPU time of a process in seconds.
pub fn processor_seconds(process: u32) -> Option<f64> {
    // Linux counts in hundredths of a second here.
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    let (_, after_name) = stat.rsplit_once(')')?;
    let user_and_system = after_name.split_whitespace().skip(11).take(2);
    let ticks = user_and_system.map(|ticks| ticks.parse::<f64>().ok());
    Some(ticks.sum::<Option<f64>>()? / 100.0)
}
