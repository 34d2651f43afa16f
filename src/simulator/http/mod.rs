//! The HTTP server of the simulated network: connections, requests, answers and faults. It knows
//! neither devices nor what is asked.

mod answer;
mod body;
mod connection;
mod fault;
mod frames;
mod gzip;
mod request;
mod seen;
mod server;
mod service;
mod stream;

pub(crate) use answer::Answer;
pub use fault::HttpFault;
pub(crate) use frames::{Frame, Frames, Listed};
pub(crate) use request::Request;
pub use seen::HttpRequest;
pub(crate) use server::Server;
pub(crate) use service::Service;
