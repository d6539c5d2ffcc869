//! What runners talk to: a TLS server that knows each runner by its pod's token, and the
//! coordinators of the runs under way.

mod auth;
mod registry;
mod server;
mod signature;
mod tls;

pub use auth::{AUDIENCE, Authenticator, Identity, TokenError};
pub use registry::{Active, Loss, Need, Registry, RunId, Trouble};
pub use server::{Gate, REFUSAL_REASONS, serve};
pub use tls::{Authority, TlsError};
