//! What a run leaves for people and programs: table, status, files.

pub mod beside;
mod grid;
pub mod locust;
pub mod table;
pub mod terminal;
