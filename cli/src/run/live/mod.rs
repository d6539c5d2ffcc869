//! The live view of a run on a terminal: what it shows ([`picture`]) and how it gets there
//! ([`screen`]).

pub mod picture;
pub mod screen;
pub mod spark;
