//! The client's half of HTTP/1.1 (RFC 9112): bytes of a connection in, one response out.
//!
//! There are no sockets here and no clocks: whoever owns a connection feeds what it read and learns
//! when the response is over. Only what a load generator needs is looked at: the status, where the
//! body ends, and whether the connection may carry another request. Nothing else of a head is kept
//! unless the caller asks for it ([`Keep`]), and nothing is allocated unless a head is kept or
//! arrives in pieces.
//!
//! The law of this module: however the input is cut into pieces, the outcome is the same — the
//! same body, the same end, and on malformed input the same [`ProtocolError`].
//!
//! A response that could be understood in two ways is refused instead of guessed at. A load test
//! has no use for a lenient reading: a target that answers nonsense under load is a finding.

mod chunked;
mod error;
mod fields;
mod head;
mod headers;
mod memory;
mod response;
mod scan;

pub use error::ProtocolError;
pub use head::{MAX_HEAD_BYTES, MAX_HEADERS};
pub use headers::{ContentEncoding, Headers, Keep};
pub use memory::HeadMemory;
pub use response::{Progress, ResponseParser};
