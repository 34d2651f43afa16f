//! The devices, which send a measurement each from time to time.

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    f64::consts::TAU,
    sync::Arc,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use fastrand::Rng;
use ttn::{
    crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded},
    serde_json::{Value, json},
    simulator::Simulator,
};

/// The FPort of measurements.
const PORT: u8 = 1;
/// How many measurements a day of a device has; its temperature follows the day.
const DAY: u32 = 144;

/// The thread that lets devices send.
pub(super) struct Fleet {
    thread: JoinHandle<()>,
    /// Dropped to end it.
    going: Sender<()>,
}

impl Fleet {
    /// Registers the devices, and lets each send every so often, if that is more than no time.
    pub(super) fn start(
        simulator: &Arc<Simulator>,
        names: &[String],
        every: Duration,
        seed: u64,
    ) -> Result<Self> {
        simulator.set_decoder(|port, bytes| Ok(decoded(port, bytes)));
        let mut sensors: Vec<_> = (0..)
            .zip(names)
            .map(|(number, name)| (simulator.device(name), Sensor::new(seed, number)))
            .collect();
        let mut plan = Plan::new(Instant::now(), sensors.len(), every, seed);
        let (going, stopped) = bounded(0);
        let run = move || {
            while wait_until(plan.next(), &stopped) {
                if let Some((device, sensor)) = plan
                    .take(Instant::now())
                    .and_then(|index| sensors.get_mut(index))
                {
                    device.uplink(PORT, sensor.measure());
                }
            }
        };
        let thread = thread::Builder::new().name("ttn-devices".into());
        let thread = thread.spawn(run).context("cannot start a thread")?;
        Ok(Self { thread, going })
    }

    /// Ends it after the uplink that is being sent.
    pub(super) fn stop(self) {
        drop(self.going);
        let _ = self.thread.join();
    }
}

/// Waits until then, or for ever; returns false once it is stopped.
fn wait_until(due: Option<Instant>, stopped: &Receiver<()>) -> bool {
    match due {
        None => stopped.recv().is_ok(),
        Some(due) => stopped.recv_deadline(due) == Err(RecvTimeoutError::Timeout),
    }
}

/// When which device sends.
struct Plan {
    every: Duration,
    random: Rng,
    /// When each is due: with jitter, the number of the device, and without jitter.
    due: BinaryHeap<Reverse<(Instant, usize, Instant)>>,
}

impl Plan {
    fn new(now: Instant, count: usize, every: Duration, seed: u64) -> Self {
        let mut plan = Self {
            every,
            random: Rng::with_seed(seed),
            due: BinaryHeap::new(),
        };
        if every.is_zero() {
            return plan;
        }
        for index in 0..count {
            let share = index as f64 / count as f64;
            plan.add(index, now + every.mul_f64(share));
        }
        plan
    }

    fn add(&mut self, index: usize, at: Instant) {
        let jitter = self.every.mul_f64(self.random.f64() / 10.0);
        self.due.push(Reverse((at + jitter, index, at)));
    }

    fn next(&self) -> Option<Instant> {
        self.due.peek().map(|Reverse((at, ..))| *at)
    }

    /// Returns the device that is due, and plans its next uplink.
    fn take(&mut self, now: Instant) -> Option<usize> {
        if self.next()? > now {
            return None;
        }
        let Reverse((_, index, at)) = self.due.pop()?;
        // A machine that is too slow sends fewer uplinks, rather than later and later ones.
        let next = at + self.every;
        self.add(index, if next < now { now } else { next });
        Some(index)
    }
}

/// A sensor for temperature, humidity and the voltage of its battery.
struct Sensor {
    random: Rng,
    /// In degrees Celsius.
    mean: f64,
    /// Relative, in percent.
    humidity: f64,
    /// In volts.
    battery: f64,
    measured: u32,
}

impl Sensor {
    /// Returns the sensor with that number, the same for the same seed.
    fn new(seed: u64, number: u64) -> Self {
        let mut random =
            Rng::with_seed(seed.wrapping_add(number.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
        Self {
            mean: 12.0 + 12.0 * random.f64(),
            humidity: 40.0 + 40.0 * random.f64(),
            battery: 3.4 + 0.25 * random.f64(),
            measured: random.u32(..DAY),
            random,
        }
    }

    fn measure(&mut self) -> [u8; 5] {
        self.measured = self.measured.wrapping_add(1);
        let day = (f64::from(self.measured % DAY) / f64::from(DAY) * TAU).sin();
        let temperature = self.mean + 5.0 * day + 0.4 * (self.random.f64() - 0.5);
        self.humidity = (self.humidity + 2.0 * (self.random.f64() - 0.5)).clamp(20.0, 99.0);
        self.battery = (self.battery - 0.000_01).max(2.8);
        let [t1, t2] = ((temperature * 100.0).round() as i16).to_be_bytes();
        let [b1, b2] = ((self.battery * 1000.0).round() as u16).to_be_bytes();
        [t1, t2, (self.humidity * 2.0).round() as u8, b1, b2]
    }
}

/// The payload formatter of the application: no fields for what is not a measurement.
fn decoded(port: u8, bytes: &[u8]) -> Option<Value> {
    let (PORT, [t1, t2, humidity, b1, b2]) = (port, bytes) else {
        return None;
    };
    Some(json!({
        "temperature": f64::from(i16::from_be_bytes([*t1, *t2])) / 100.0,
        "humidity": f64::from(*humidity) / 2.0,
        "battery": f64::from(u16::from_be_bytes([*b1, *b2])) / 1000.0,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn uplinks_are_spread_over_the_interval() {
        let start = Instant::now();
        let mut plan = Plan::new(start, 10, 10 * SECOND, 7);
        let mut sent = vec![Vec::new(); 10];
        while let Some(at) = plan.next().filter(|at| *at < start + 100 * SECOND) {
            let index = plan.take(at).expect("it is due");
            sent[index].push(at);
        }
        for (index, times) in sent.iter().enumerate() {
            let nominal = start + index as u32 * SECOND;
            assert_eq!(times.len(), 10, "{index}");
            for (number, at) in (0..).zip(times) {
                let late = *at - (nominal + number * 10 * SECOND);
                assert!(late <= SECOND, "{index}: {late:?}");
            }
        }
    }

    #[test]
    fn a_slow_machine_sends_fewer_uplinks() {
        let start = Instant::now();
        let mut plan = Plan::new(start, 1, SECOND, 7);
        assert_eq!(plan.take(start + 60 * SECOND), Some(0));
        assert!(plan.next() >= Some(start + 60 * SECOND));
        assert_eq!(plan.take(start + 59 * SECOND), None);
    }

    #[test]
    fn without_an_interval_nothing_is_sent() {
        let mut plan = Plan::new(Instant::now(), 3, Duration::ZERO, 7);
        assert_eq!(plan.next(), None);
        assert_eq!(plan.take(Instant::now() + SECOND), None);
    }

    #[test]
    fn a_seed_makes_the_same_measurements_and_each_device_others() {
        let measured = |seed, number| {
            let mut sensor = Sensor::new(seed, number);
            (0..50).map(|_| sensor.measure()).collect::<Vec<_>>()
        };
        assert_eq!(measured(7, 0), measured(7, 0));
        assert_ne!(measured(7, 0), measured(7, 1));
        assert_ne!(measured(7, 0), measured(8, 0));
    }

    #[test]
    fn measurements_are_plausible_and_decoded() {
        for number in 0..20 {
            let mut sensor = Sensor::new(1, number);
            for _ in 0..1000 {
                let fields = decoded(PORT, &sensor.measure()).expect("it is a measurement");
                let number = |name: &str| fields[name].as_f64().expect("a number");
                assert!((0.0..40.0).contains(&number("temperature")), "{fields}");
                assert!((20.0..=99.0).contains(&number("humidity")), "{fields}");
                assert!((2.8..3.7).contains(&number("battery")), "{fields}");
            }
        }
        assert_eq!(
            decoded(PORT, &[0xff, 0x38, 111, 0x0e, 0x10]),
            Some(json!({"temperature": -2.0, "humidity": 55.5, "battery": 3.6}))
        );
        assert_eq!(decoded(PORT, &[1]), None);
        assert_eq!(decoded(2, &[1, 2, 3, 4, 5]), None);
    }
}
