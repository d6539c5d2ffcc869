//! The scenario language at run time: what users remember, how texts are made of it, what answers
//! must fulfil and what is taken out of them.
//!
//! Everything is compiled before the run starts, so what can be wrong is said then: patterns,
//! paths, keys, columns. While it runs, nothing here panics and nothing fails silently: a text that
//! cannot be made and an answer that cannot be read are failures of their request.
//!
//! A test that uses none of it pays nothing: a user has a [`Memory`] only if the plan has values or
//! data, and a message without expressions is rendered without coming here.

mod answer;
mod authorization;
mod checks;
mod condition;
mod extract;
mod functions;
mod inputs;
mod jwt;
mod memory;
mod private;
mod shared;
mod term;
#[cfg(test)]
pub(super) mod testing;
mod token;

pub use answer::{Answer, Headers, Unreadable};
pub use authorization::{AuthorizationError, start as authorize};
pub use checks::{CompiledCheck, Needs};
pub use condition::{Condition, Items};
pub use extract::{CompiledExtract, extract};
pub use inputs::{InputError, Inputs};
pub use memory::{List, Memory, Row, Value};
pub use private::Private;
pub use shared::Shared;
pub use term::{Compiler, Expression, Place, ScriptError, Text};
