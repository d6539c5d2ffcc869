//! To be written.

pub mod http;
