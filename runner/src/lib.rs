//! To be written.

pub mod http;
pub mod pool;
