//! A fleet of random devices with everything that happens to their frames on the way, and how often the
//! watch is right about them. It knows nothing of how the watch works.

mod plans;

use std::{
    collections::HashSet,
    fmt,
    time::{Duration, Instant, SystemTime},
};

use fastrand::Rng;
use serde_json::json;

use super::Devices;
use crate::{
    message::{CounterFinding, UplinkMessage},
    network::Network,
    seeds::for_seeds,
};

const RUNS: u64 = 20;

const SECOND: u64 = 1_000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// What the device does when its session or its counter ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ends {
    Never,
    /// It joins, and the client learns a new session from every uplink.
    NewSession,
    /// It joins, and the client learns that from the message about the join.
    Join,
    /// It starts over, and nobody says so.
    Restart,
}

#[derive(Clone, Copy)]
enum Payload {
    Equal,
    /// One of this many.
    Few(u8),
    Changing,
}

/// What a device and the way to the client are like. Times in milliseconds.
#[derive(Clone, Copy)]
struct Plan {
    name: &'static str,
    ends: Ends,
    /// How many frames it sends before that, at most.
    life: u32,
    top: u32,
    start: u32,
    period: (u64, u64),
    /// Between the frames of one life, if that is less than the period.
    within: Option<(u64, u64)>,
    payload: Payload,
    loss: f64,
    /// How often it sends a frame, at most, until it is acknowledged.
    tries: u32,
    retry: (u64, u64),
    /// How often everything arrives again, and how much later.
    again: f64,
    again_after: u64,
    disorder: u64,
    /// How often it is silent for long, and for how long.
    silence: f64,
    silent: (u64, u64),
    away: f64,
    drops: f64,
    client_restarts: f64,
    simulated: f64,
    /// The greatest share of restarts that look like something else, on v3 and on V2: because nothing of
    /// the frames between was heard, or because the frames look like repetitions.
    unseen: [f64; 2],
}

const PLAIN: Plan = Plan {
    name: "plain",
    ends: Ends::Never,
    life: u32::MAX,
    top: u32::MAX,
    start: 0,
    period: (10 * SECOND, DAY),
    within: None,
    payload: Payload::Changing,
    loss: 0.2,
    tries: 1,
    retry: (2 * SECOND, 10 * SECOND),
    again: 0.0,
    again_after: 0,
    disorder: 0,
    silence: 0.0,
    silent: (DAY, 120 * DAY),
    away: 0.0,
    drops: 0.0,
    client_restarts: 0.0,
    simulated: 0.0,
    unseen: [0.0; 2],
};

#[derive(Clone, Copy, PartialEq, Eq)]
struct Frame {
    life: u32,
    number: u32,
    payload: u64,
    /// When the network received it.
    received: u64,
}

#[derive(Clone, Copy)]
enum Thing {
    Frame(Frame),
    Join,
    Simulated,
    ClientRestarts,
    Leaves,
    Returns,
    DropsBegin,
    DropsEnd,
}

/// What an arrival is in truth.
const TRUTHS: [&str; 8] = [
    "first", "next", "gap", "late", "again", "restart", "session", "stray",
];
/// What the watch says.
const SAID: [&str; 5] = ["-", "missing", "late", "repeated", "reset"];

/// Of each truth, how often the watch said what.
#[derive(Default)]
struct Score {
    table: [[u64; SAID.len()]; TRUTHS.len()],
    /// The runs in which the missing frames without the late ones are not those that were lost.
    wrong_sums: u64,
}

impl Score {
    /// Returns how often the watch said something else than this, of all times.
    fn other(&self, truth: &str, said: &[&str]) -> (u64, u64) {
        let row = TRUTHS.iter().position(|name| *name == truth).unwrap();
        let row = self.table[row];
        let right = SAID.iter().zip(row).filter(|(name, _)| said.contains(name));
        let right: u64 = right.map(|(_, count)| count).sum();
        let all: u64 = row.iter().sum();
        (all - right, all)
    }
}

impl fmt::Display for Score {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} wrong sums", self.wrong_sums)?;
        for (truth, row) in TRUTHS.iter().zip(self.table) {
            let said = SAID.iter().zip(row).filter(|(_, count)| *count > 0);
            said.into_iter()
                .try_for_each(|(said, count)| write!(f, "; {truth}: {said} {count}"))?;
        }
        Ok(())
    }
}

fn between(random: &mut Rng, (least, most): (u64, u64)) -> u64 {
    if least == most {
        return least;
    }
    // Evenly over the orders of magnitude.
    let exponent = (most as f64 / least.max(1) as f64).ln() * random.f64();
    (least.max(1) as f64 * exponent.exp()) as u64
}

fn template() -> UplinkMessage {
    let body = json!({
        "end_device_ids": {"device_id": "bed-07", "application_ids": {"application_id": "greenhouse"}},
        "uplink_message": {"f_port": 2, "f_cnt": 1, "consumed_airtime": "0.05s"},
    });
    UplinkMessage::from_json(Network::V3, body.to_string()).unwrap()
}

/// Everything that arrives, in order.
fn story(plan: &Plan, random: &mut Rng) -> Vec<(u64, Thing)> {
    let period = between(random, plan.period);
    let mut story = Vec::new();
    let mut now = DAY;
    let (mut life, mut number) = (0, 0);
    let mut left = random.u32(1..=plan.life.min(100_000));
    for _ in 0..300 {
        if left == 0 {
            life += 1;
            number = 0;
            left = random.u32(1..=plan.life);
            now += period;
            if plan.ends == Ends::Join {
                story.push((now - 5 * SECOND, Thing::Join));
            }
        } else {
            let step = plan
                .within
                .map_or(period, |within| between(random, within).min(period));
            // Clocks of devices are not exact, and the payload takes some time to make.
            now += step + random.u64(0..=step / 50);
        }
        left -= 1;
        if random.f64() < plan.silence {
            now += between(random, plan.silent);
        }
        let payload = match plan.payload {
            Payload::Equal => 7,
            Payload::Few(few) => random.u8(..few).into(),
            Payload::Changing => random.u64(..),
        };
        let frame = Frame {
            life,
            number,
            payload,
            received: 0,
        };
        number += 1;
        for _ in 0..plan.tries {
            if random.f64() >= plan.loss {
                let at = now + random.u64(50..300) + random.u64(0..=plan.disorder);
                let frame = Frame {
                    received: now,
                    ..frame
                };
                story.push((at, Thing::Frame(frame)));
                if random.f64() < plan.again {
                    let after = at + random.u64(0..=plan.again_after);
                    story.push((after, Thing::Frame(frame)));
                }
                if random.f64() < 0.7 {
                    break;
                }
            }
            if plan.tries > 1 {
                now += between(random, plan.retry);
            }
        }
        if random.f64() < plan.simulated {
            story.push((now + random.u64(..period), Thing::Simulated));
        }
        if random.f64() < plan.client_restarts {
            story.push((now + random.u64(..period), Thing::ClientRestarts));
        }
        if random.f64() < plan.away {
            let leaves = now + random.u64(..period);
            story.push((leaves, Thing::Leaves));
            story.push((
                leaves + between(random, (SECOND, 20 * period)),
                Thing::Returns,
            ));
        }
        if random.f64() < plan.drops {
            let begin = now + random.u64(..period);
            story.push((begin, Thing::DropsBegin));
            story.push((begin + 4 * period, Thing::DropsEnd));
        }
    }
    story.sort_by_key(|(at, _)| *at);
    story
}

/// What a client knows in truth.
#[derive(Default)]
struct Truth {
    life: Option<u32>,
    first: u32,
    highest: u32,
    arrived: HashSet<(u32, u32)>,
    lost: u64,
}

impl Truth {
    fn settle(&mut self) {
        if let Some(life) = self.life {
            let lost = (self.first..self.highest)
                .filter(|number| !self.arrived.contains(&(life, *number)));
            self.lost += lost.count() as u64;
        }
    }

    fn arrives(&mut self, frame: Frame, ends: Ends) -> usize {
        let is_new = self.arrived.insert((frame.life, frame.number));
        match self.life {
            Some(life) if life == frame.life => {
                if !is_new {
                    return 4;
                }
                if frame.number < self.highest {
                    return if frame.number < self.first { 7 } else { 3 };
                }
                let gap = frame.number - self.highest;
                self.highest = frame.number;
                if gap == 1 { 1 } else { 2 }
            }
            Some(life) if life > frame.life => 7,
            known => {
                self.settle();
                self.life = Some(frame.life);
                self.first = frame.number;
                self.highest = frame.number;
                match (known, ends) {
                    (None, _) => 0,
                    (_, Ends::Restart) => 5,
                    _ => 6,
                }
            }
        }
    }
}

fn run(plan: &Plan, is_v3: bool, random: &mut Rng, score: &mut Score) {
    let story = story(plan, random);
    let begin = Instant::now();
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    let mut uplink = template();
    let simulated = {
        let mut uplink = template();
        uplink.simulated = true;
        uplink
    };
    let mut devices = Devices::new(10);
    let mut truth = Truth::default();
    let (mut away, mut dropping) = (0, 0);
    let mut found = 0;
    for (at, thing) in story {
        let now = begin + Duration::from_millis(at);
        let here = away == 0;
        match thing {
            Thing::Frame(_) | Thing::Join | Thing::Simulated if !here || dropping > 0 => {}
            Thing::Join => devices.starts_over("bed-07"),
            Thing::Simulated => {
                assert!(devices.uplink(&simulated, now, time) == [None, None]);
            }
            Thing::Frame(frame) => {
                if plan.ends == Ends::NewSession {
                    uplink.session_key_id = frame.life.to_le_bytes().to_vec();
                } else if is_v3 {
                    uplink.dev_addr = "260B0007".to_owned();
                }
                uplink.metadata.time = Some(time + Duration::from_millis(frame.received));
                uplink.counter = plan.start.wrapping_add(frame.number) & plan.top;
                uplink.payload_raw = frame.payload.to_le_bytes().to_vec();
                let is = truth.arrives(frame, plan.ends);
                let reports = devices.uplink(&uplink, now, time);
                let mut said = 0;
                for report in reports.into_iter().flatten() {
                    said = match report.finding {
                        CounterFinding::Missing { frames, .. } => {
                            found += i64::from(frames);
                            1
                        }
                        CounterFinding::Late => {
                            found -= 1;
                            2
                        }
                        CounterFinding::Repeated => 3,
                        CounterFinding::Reset => 4,
                        finding @ CounterFinding::Filled { .. } => panic!("{finding:?}"),
                    };
                }
                score.table[is][said] += 1;
            }
            Thing::ClientRestarts => {
                devices = Devices::new(10);
                truth.settle();
                let lost = truth.lost;
                truth = Truth {
                    lost,
                    ..Truth::default()
                };
                if away > 0 {
                    devices.left(now, Duration::ZERO);
                }
            }
            Thing::Leaves => {
                if away == 0 {
                    devices.left(now, Duration::ZERO);
                }
                away += 1;
            }
            Thing::Returns => {
                away -= 1;
                if away == 0 {
                    devices.attempt();
                    devices.returned(now);
                }
            }
            Thing::DropsBegin => dropping += 1,
            Thing::DropsEnd => {
                dropping -= 1;
                devices.dropped();
            }
        }
    }
    truth.settle();
    score.wrong_sums += u64::from(found != truth.lost as i64);
}

#[test]
fn what_happens_to_a_fleet_is_told_apart_and_what_it_loses_is_counted() {
    for plan in plans::plans() {
        let v3 = (plan.tries == 1).then_some(true);
        let v2 = (plan.ends != Ends::NewSession).then_some(false);
        for is_v3 in v3.into_iter().chain(v2) {
            let mut score = Score::default();
            for_seeds(RUNS, |random| run(&plan, is_v3, random, &mut score));
            let network = if is_v3 { "v3" } else { "V2" };
            let text = format!("{} on {network}: {score}", plan.name);
            for (truth, said) in [
                ("first", &["-"][..]),
                ("next", &["-"]),
                ("gap", &["missing"]),
                ("late", &["late"]),
                ("again", &["repeated"]),
                ("stray", &["repeated", "-"]),
            ] {
                assert_eq!(score.other(truth, said).0, 0, "{text}");
            }
            let unseen = plan.unseen[usize::from(!is_v3)];
            for (truth, said) in [("restart", "reset"), ("session", "-")] {
                let (other, all) = score.other(truth, &[said]);
                assert!(other as f64 <= all as f64 * unseen, "{text}");
            }
            assert!(score.wrong_sums == 0 || unseen > 0.0, "{text}");
        }
    }
}
