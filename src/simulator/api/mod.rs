//! What users hold: the simulator and its devices.

mod backlog;
mod builder;
mod device;
mod formatters;
mod http;
mod identity;
mod instance;
mod payload_functions;
mod registry;
mod simulate;
mod simulator;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

pub use builder::SimulatorBuilder;
pub use device::Device;
use instance::Instance;
pub use simulator::Simulator;
