//! The messages of The Things Stack, as its servers print them.

mod bodies;
mod correlation;
mod downlink;
mod failure;
mod ids;
mod reception;
mod schema;
mod text;

pub(super) use bodies::{
    DEDUPLICATION, at_network_server, battery, invalidated, join_accept, location_solved,
    locations, position_solved, service_data, wrapped_key,
};
pub(super) use correlation::{Cause, Correlation, joined};
pub(super) use downlink::PRIORITIES;
pub(crate) use downlink::{ClassBC, Downlink, FixedGateway, Retry};
pub(super) use failure::{EMBEDDED, Failure};
pub(super) use ids::{Ids, split};
pub(super) use reception::Reception;
pub(super) use schema::{check, print};
pub(super) use text::{double, random_bytes, time, ulid};
