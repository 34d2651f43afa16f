//! Which server to connect to.

mod discovery;
mod route;

pub(crate) use route::Route;
