//! What can be wrong with a response, one variant per malformation.

/// Why bytes from a server are not a response, or not one whose end is certain.
///
/// After any of these the connection is of no use: where the next response would begin is unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum ProtocolError {
    /// The first bytes are not `HTTP/`.
    #[error("the answer is not HTTP")]
    NotHttp,
    /// `HTTP/` is followed by another version than 1.0 or 1.1.
    #[error("the answer has an HTTP version other than 1.0 and 1.1")]
    Version,
    /// The status line has no three-digit status of at least 100, or goes on in a way it must not.
    #[error("the status line is malformed")]
    StatusLine,
    /// A header's name is empty, has a byte that names cannot have, or no colon follows it.
    #[error("a header name is malformed")]
    HeaderName,
    /// A header's value has a byte that values cannot have.
    #[error("a header value is malformed")]
    HeaderValue,
    /// A carriage return without a line feed where the head should end.
    #[error("a line of the head ends without a line feed")]
    LineEnd,
    /// A header line begins with white space: line folding, obsolete since RFC 7230.
    #[error("a header is folded over two lines")]
    FoldedHeader,
    /// More than [`MAX_HEADERS`](super::MAX_HEADERS) headers.
    #[error("the head has more than 64 headers")]
    TooManyHeaders,
    /// The head is longer than [`MAX_HEAD_BYTES`](super::MAX_HEAD_BYTES).
    #[error("the head is longer than 32 KiB")]
    HeadTooLarge,
    /// A `Content-Length` that is not a number of at most 64 bits.
    #[error("the content-length is not a number")]
    ContentLength,
    /// `Content-Length` is given more than once, with different values.
    #[error("there are two different content-lengths")]
    ConflictingContentLengths,
    /// Both framings at once: what response smuggling is made of (RFC 9112, 6.3).
    #[error("there are both a content-length and a transfer-encoding")]
    ContentLengthWithTransferEncoding,
    /// HTTP/1.0 knows no transfer codings: such a message's framing is faulty (RFC 9112, 6.1).
    #[error("an HTTP/1.0 answer has a transfer-encoding")]
    TransferEncodingInHttp10,
    /// A transfer coding other than `chunked`, which was never asked for.
    #[error("the transfer-encoding is not chunked")]
    TransferCoding,
    /// `101 Switching Protocols`, which was never asked for.
    #[error("the server switched protocols without being asked to (status 101)")]
    SwitchedProtocols,
    /// More interim (1xx) responses before the final one than anybody needs.
    #[error("there are more than 32 interim responses (status 1xx)")]
    TooManyInterimResponses,
    /// A chunk's size is missing, not hexadecimal, too large for 64 bits, or its line goes on in a
    /// way it must not.
    #[error("a chunk size is malformed")]
    ChunkSize,
    /// A chunk's extensions are longer than 16 KiB.
    #[error("a chunk's extensions are longer than 16 KiB")]
    ChunkExtensionTooLong,
    /// The data of a chunk goes on beyond the chunk's size.
    #[error("a chunk is longer than its size says")]
    ChunkEnd,
    /// A trailer line is not a header, or is folded.
    #[error("a trailer is malformed")]
    Trailer,
    /// Trailers of more than 64 lines or 32 KiB.
    #[error("there are more than 64 trailers or 32 KiB of them")]
    TrailersTooLarge,
    /// The server closed without sending a byte of a response.
    #[error("the connection was closed before an answer")]
    ClosedBeforeResponse,
    /// The server closed inside the head of a response.
    #[error("the connection was closed inside the head of the answer")]
    TruncatedHead,
    /// The server closed before all of the body had come.
    #[error("the connection was closed inside the body of the answer")]
    TruncatedBody,
}
