//! What a v3 server answers over HTTP: one file for each call, one reader of answers. A call that fails
//! returns a [`Failure`], and its caller, who knows what the answer is for, turns that into an error.

mod answer;
mod connection_info;

use std::{sync::Arc, time::Duration};

use crate::config::{AccessKey, Certificates, WayOut};

pub(crate) use answer::{Failure, Refusal};
pub(crate) use connection_info::ConnectionInfo;

/// A v3 server and how to ask it.
#[derive(Clone, Debug)]
pub(crate) struct Api<'a> {
    /// The URL of the server, without a slash at its end.
    pub(crate) base: &'a str,
    pub(crate) key: &'a AccessKey,
    pub(crate) certificates: &'a Arc<Certificates>,
    pub(crate) way_out: &'a WayOut,
    /// For one call.
    pub(crate) timeout: Duration,
}
