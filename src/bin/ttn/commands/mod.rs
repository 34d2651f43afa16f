//! The commands, one in each file.

mod backfill;
mod clear;
mod completions;
mod devices;
mod doctor;
mod feed;
mod listen;
mod queue;
mod record;
mod replay;
mod send;
mod simulate;

use anyhow::Result;
use clap::Subcommand;

use crate::status::Status;

#[derive(Debug, Subcommand)]
pub(crate) enum Commands {
    Listen(listen::Listen),
    Send(send::Send),
    Queue(queue::Queue),
    Clear(clear::Clear),
    Devices(devices::Devices),
    Backfill(backfill::Backfill),
    Doctor(doctor::Doctor),
    Feed(feed::Feed),
    Record(record::Record),
    Replay(replay::Replay),
    Simulate(simulate::Simulate),
    Completions(completions::Completions),
}

impl Commands {
    pub(crate) fn run(self) -> Result<Status> {
        match self {
            Self::Listen(command) => command.run(),
            Self::Send(command) => command.run(),
            Self::Queue(command) => command.run(),
            Self::Clear(command) => command.run(),
            Self::Devices(command) => command.run(),
            Self::Backfill(command) => command.run(),
            Self::Doctor(command) => command.run(),
            Self::Feed(command) => command.run(),
            Self::Record(command) => command.run(),
            Self::Replay(command) => command.run(),
            Self::Simulate(command) => command.run(),
            Self::Completions(command) => command.run(),
        }
    }
}
