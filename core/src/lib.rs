//! The domain of a load test.
//!
//! A [`Plan`](plan::Plan) says what load to send; [`shard`] splits it over runners so that the
//! shards add up exactly to the whole, and [`data`] has the rows that users take; runners measure
//! into a [`SeriesSet`](series::SeriesSet) and send it in [`report`]s; the
//! [`Coordinator`](coordinator::Coordinator) merges them, evaluates [`threshold`]s and decides the
//! [`verdict`].
//!
//! Architecture invariant: nothing here reads a clock, a file, a socket or the environment. Time
//! enters as a parameter, so every behaviour can be tested without waiting.

pub mod baseline;
mod bounded;
pub mod coordinator;
pub mod data;
pub mod histogram;
pub mod identity;
pub mod plan;
pub mod report;
pub mod scalar;
pub mod schedule;
pub mod series;
pub mod shard;
pub mod template;
pub mod threshold;
pub mod verdict;
pub mod view;
