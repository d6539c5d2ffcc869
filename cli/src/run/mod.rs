//! `loadtest run`: the whole of a run on this machine.

pub mod children;
pub mod clock;
pub mod control;
pub mod directory;
pub mod driver;
pub mod history;
pub mod parts;
pub mod progress;
pub mod scratch;
