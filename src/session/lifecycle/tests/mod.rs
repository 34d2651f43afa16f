//! The machine by numbers: no thread, no socket, no waiting.

mod brokers;
mod sequences;
mod states;

use std::time::{Duration, Instant, SystemTime};

use super::{Action, Input, Left, Lifecycle, Question, Waiter};
use crate::{
    clock::Moment,
    config::MqttClientBuilder,
    error::{Error, ErrorKind},
    mqtt::Attempt,
    wire::{self, End},
};

const SECOND: Duration = Duration::from_secs(1);

fn builder() -> MqttClientBuilder {
    MqttClientBuilder::new("greenhouse@ttn".to_owned(), "NNSXS.ID.SECRET".to_owned())
        .cluster("eu1")
        .connect_timeout(10 * SECOND)
        .reconnect_delay(SECOND, 60 * SECOND)
}

/// A broker of one's own with these servers, which has to prove that it shares.
fn broker(servers: &[&str]) -> MqttClientBuilder {
    MqttClientBuilder::own_broker("greenhouse@ttn".to_owned())
        .mqtt_address(servers.join(","))
        .shared_group("workers")
        .connect_timeout(10 * SECOND)
        .reconnect_delay(SECOND, 60 * SECOND)
}

fn machine(builder: MqttClientBuilder) -> Lifecycle {
    Lifecycle::new(&builder.check().unwrap())
}

fn now() -> Moment {
    Moment {
        instant: Instant::now(),
        time: SystemTime::UNIX_EPOCH,
    }
}

fn error(kind: ErrorKind) -> Error {
    Error::new(kind, "no")
}

fn closed_by_server() -> End {
    End::Lost {
        loss: wire::Loss::Closed,
        heard: Moment::now(),
        error: error(ErrorKind::ConnectionLost),
    }
}

/// Everything that there is to do.
fn actions(lifecycle: &mut Lifecycle) -> Vec<Action> {
    std::iter::from_fn(|| lifecycle.poll()).collect()
}

/// An action in a few letters, with times counted from `start`.
fn brief(action: &Action, start: Instant) -> String {
    match action {
        Action::Begin => "begin".to_owned(),
        Action::LookUp(attempt) => format!("look up {}", attempt.0),
        Action::Dial { attempt, deadline } => {
            format!("dial {} until {:?}", attempt.0, *deadline - start)
        }
        Action::Enter(attempt) => format!("enter {}", attempt.0),
        Action::Inquire { attempt, deadline } => {
            format!("inquire {} until {:?}", attempt.0, *deadline - start)
        }
        Action::Subscribe(attempt) => format!("subscribe {}", attempt.0),
        Action::Prove(attempt) => format!("prove {}", attempt.0),
        Action::GiveUpProof => "give up proof".to_owned(),
        Action::ReportConnected(attempt, gap) => {
            let gap = gap.as_ref().map(|gap| gap.length);
            format!("open {} gap {gap:?}", attempt.0)
        }
        Action::Interrupt {
            attempt,
            rate_limited,
            ..
        } => format!("interrupt {} limited {rate_limited}", attempt.0),
        Action::Drain(attempt) => format!("drain {}", attempt.0),
        Action::Flush(attempt) => format!("flush {}", attempt.0),
        Action::Finish(attempt) => format!("finish {}", attempt.0),
        Action::Abandon(attempt) => format!("abandon {}", attempt.0),
        Action::Release(attempt) => format!("release {}", attempt.0),
        Action::Linger(attempt) => format!("linger {}", attempt.0),
        Action::Ask {
            question,
            error,
            attempts,
            delay,
        } => format!(
            "ask {} {:?} #{attempts} in {delay:?}",
            question.0,
            error.kind()
        ),
        Action::ReportFailed {
            error,
            attempts,
            retry_in,
            ..
        } => format!("failed {:?} #{attempts} in {retry_in:?}", error.kind()),
        Action::RestorePace => "restore pace".to_owned(),
        Action::ReportLost {
            connected_for,
            retry_in,
            ..
        } => format!("lost after {connected_for:?} in {retry_in:?}"),
        Action::ReportCallback(_) => "callback failed".to_owned(),
        Action::Discard(error) => format!("discard {:?}", error.kind()),
        Action::ReportClosed { error, last } => format!(
            "closed {:?} up to {}",
            error.as_ref().map(Error::kind),
            last.0
        ),
        Action::ReportIdle => "idle".to_owned(),
        Action::AnswerConnect(waiter, Ok(())) => format!("connect {} ok", waiter.0),
        Action::AnswerConnect(waiter, Err(error)) => {
            format!("connect {} {:?}", waiter.0, error.kind())
        }
        Action::AnswerClose { waiters, within } => {
            let waiters: Vec<_> = waiters.iter().map(|waiter| waiter.0).collect();
            format!("close {waiters:?} within {within:?}")
        }
    }
}
