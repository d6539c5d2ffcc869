//! What a run leaves for people and programs: table, status, files.

pub mod locust;
pub mod table;
pub mod terminal;
