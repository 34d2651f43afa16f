//! The messages of The Things Stack, as its servers print them.

mod bodies;
mod downlink;
mod failure;
mod ids;
mod reception;
mod text;

pub(super) use bodies::{
    battery, invalidated, join_accept, location_solved, locations, service_data,
};
pub(super) use downlink::PRIORITIES;
pub(crate) use downlink::{ClassBC, Downlink, FixedGateway, Retry};
pub(super) use failure::Failure;
pub(super) use ids::{Ids, split};
pub(super) use reception::{Reception, test_gateway};
pub(super) use text::{double, random_bytes, ulid};
