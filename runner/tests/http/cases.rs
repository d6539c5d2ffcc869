//! The tables: what each kind of response comes to.

use loadtest_runner::http::ProtocolError::{self, *};

/// Input, status, body, reusable.
pub const WELL_FORMED: &[(&str, u16, &str, bool)] = &[
    (
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        200,
        "hello",
        true,
    ),
    (
        "HTTP/1.1 200 OK\r\ncOnTeNt-LeNgTh:5\r\n\r\nhello",
        200,
        "hello",
        true,
    ),
    (
        "HTTP/1.1 200 OK\r\nContent-Length: \t5 \r\n\r\nhello",
        200,
        "hello",
        true,
    ),
    (
        "HTTP/1.1 200 OK\r\nContent-Length: 0005\r\n\r\nhello",
        200,
        "hello",
        true,
    ),
    (
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        200,
        "",
        true,
    ),
    ("HTTP/1.1 404\r\nContent-Length: 0\r\n\r\n", 404, "", true),
    ("HTTP/1.1 404 \r\nContent-Length: 0\r\n\r\n", 404, "", true),
    (
        "HTTP/1.1 599 h\u{e9}\r\nContent-Length: 0\r\n\r\n",
        599,
        "",
        true,
    ),
    (
        "HTTP/1.1 999 LinkedIn\r\nContent-Length: 0\r\n\r\n",
        999,
        "",
        true,
    ),
    (
        "HTTP/1.1 200 OK\nContent-Length: 5\n\nhello",
        200,
        "hello",
        true,
    ),
    // Equal lengths are one length.
    (
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok",
        200,
        "ok",
        true,
    ),
    (
        "HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nok",
        200,
        "ok",
        true,
    ),
    // Connection.
    (
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
        200,
        "",
        false,
    ),
    (
        "HTTP/1.1 200 OK\r\nConnection: foo,CLOSE\r\nContent-Length: 0\r\n\r\n",
        200,
        "",
        false,
    ),
    (
        "HTTP/1.1 200 OK\r\nConnection: closed\r\nContent-Length: 0\r\n\r\n",
        200,
        "",
        true,
    ),
    (
        "HTTP/1.1 200 OK\r\nConnection: keep-alive\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
        200,
        "",
        false,
    ),
    (
        "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
        200,
        "ok",
        false,
    ),
    (
        "HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 2\r\n\r\nok",
        200,
        "ok",
        true,
    ),
    // No body, whatever the head says.
    ("HTTP/1.1 204 No Content\r\n\r\n", 204, "", true),
    (
        "HTTP/1.1 204 No Content\r\nContent-Length: 9\r\n\r\n",
        204,
        "",
        true,
    ),
    (
        "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n",
        304,
        "",
        true,
    ),
    (
        "HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n",
        304,
        "",
        true,
    ),
    // Interim responses.
    (
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 x\r\n\r\n",
        204,
        "",
        true,
    ),
    (
        "HTTP/1.1 102 x\r\nContent-Length: 5\r\n\r\nHTTP/1.1 103 x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n!",
        200,
        "!",
        true,
    ),
];

/// Chunks, and the body in them.
pub const WELL_FORMED_CHUNKS: &[(&str, &str)] = &[
    ("0\r\n\r\n", ""),
    ("5\r\nhello\r\n0\r\n\r\n", "hello"),
    (
        "5\r\nhello\r\n00006\r\n world\r\n000\r\n\r\n",
        "hello world",
    ),
    (
        "a\r\n0123456789\r\nA\r\n0123456789\r\n0\r\n\r\n",
        "01234567890123456789",
    ),
    (
        "5;name=value;other=\"x y\"\r\nhello\r\n0;last\r\n\r\n",
        "hello",
    ),
    ("5 \t\r\nhello\r\n0 ;x\r\n\r\n", "hello"),
    ("2\r\n\r\n\r\n0\r\n\r\n", "\r\n"),
    (
        "5\r\nhello\r\n0\r\nExpires: never\r\nX-Empty:\r\nX: \u{e9}\r\n\r\n",
        "hello",
    ),
];

/// Whole inputs.
pub const MALFORMED: &[(&str, ProtocolError)] = &[
    ("SSH-2.0-OpenSSH_9.2\r\n", NotHttp),
    ("x", NotHttp),
    ("\x16\x03\x01\x02\x00", NotHttp),
    ("\r\nHTTP/1.1 200 OK\r\n\r\n", NotHttp),
    ("http/1.1 200 OK\r\n\r\n", NotHttp),
    ("HTTP/2.0 200 OK\r\n\r\n", Version),
    ("HTTP/0.9 200 OK\r\n\r\n", Version),
    ("HTTP/1.2 200 OK\r\n\r\n", Version),
    ("HTTP/1.1\t200 OK\r\n\r\n", StatusLine),
    ("HTTP/1.1 20 OK\r\n\r\n", StatusLine),
    ("HTTP/1.1 2000 OK\r\n\r\n", StatusLine),
    ("HTTP/1.1 2x0 OK\r\n\r\n", StatusLine),
    ("HTTP/1.1 099 OK\r\n\r\n", StatusLine),
    ("HTTP/1.1 200 O\0K\r\n\r\n", StatusLine),
    ("HTTP/1.1 200 OK\rX: y\r\n\r\n", StatusLine),
    (
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        TransferEncodingInHttp10,
    ),
    (
        "HTTP/1.1 101 Switching Protocols\r\n\r\n",
        SwitchedProtocols,
    ),
];

/// Header lines.
pub const MALFORMED_HEADERS: &[(&str, ProtocolError)] = &[
    ("no colon\r\n", HeaderName),
    (": no name\r\n", HeaderName),
    ("Space : x\r\n", HeaderName),
    ("X: y\r\nB\u{e9}d: x\r\n", HeaderName),
    ("X: a\0b\r\n", HeaderValue),
    ("X: a\rb\r\n", HeaderValue),
    ("X: y\r\n\rX", LineEnd),
    ("X: a\r\n b\r\n", FoldedHeader),
    ("X: a\r\n\tb\r\n", FoldedHeader),
    (" X: a\r\n", FoldedHeader),
];

/// Header lines before a body of one empty chunk.
pub const MALFORMED_FRAMING: &[(&str, ProtocolError)] = &[
    ("Content-Length: five\r\n", ContentLength),
    ("Content-Length: -5\r\n", ContentLength),
    ("Content-Length: +5\r\n", ContentLength),
    ("Content-Length: 0x5\r\n", ContentLength),
    ("Content-Length: 5 5\r\n", ContentLength),
    ("Content-Length: 5,\r\n", ContentLength),
    ("Content-Length:\r\n", ContentLength),
    ("Content-Length: 18446744073709551616\r\n", ContentLength),
    (
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        ConflictingContentLengths,
    ),
    ("Content-Length: 5, 6\r\n", ConflictingContentLengths),
    (
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        ContentLengthWithTransferEncoding,
    ),
    (
        "Transfer-Encoding: identity\r\nContent-Length: 5\r\n",
        ContentLengthWithTransferEncoding,
    ),
    ("Transfer-Encoding: gzip\r\n", TransferCoding),
    ("Transfer-Encoding: gzip, chunked\r\n", TransferCoding),
    ("Transfer-Encoding: chunked, gzip\r\n", TransferCoding),
    ("Transfer-Encoding: chunked, chunked\r\n", TransferCoding),
    (
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        TransferCoding,
    ),
    ("Transfer-Encoding: xchunked\r\n", TransferCoding),
    ("Transfer-Encoding:\r\n", TransferCoding),
];

/// Chunks.
pub const MALFORMED_CHUNKS: &[(&str, ProtocolError)] = &[
    ("\r\n", ChunkSize),
    ("x\r\n", ChunkSize),
    ("-5\r\n", ChunkSize),
    (" 5\r\n", ChunkSize),
    ("5\nhello", ChunkSize),
    ("5\rhello", ChunkSize),
    ("5 5\r\n", ChunkSize),
    ("5;x\nhello", ChunkSize),
    ("10000000000000000\r\n", ChunkSize),
    ("5\r\nhello!\r\n", ChunkEnd),
    ("5\r\nhello\n", ChunkEnd),
    ("5\r\nhello\rx", ChunkEnd),
    ("0\r\nno colon\r\n\r\n", Trailer),
    ("0\r\n: x\r\n\r\n", Trailer),
    ("0\r\nX: a\r\n b\r\n\r\n", Trailer),
    ("0\r\nX: a\n\r\n", Trailer),
    ("0\r\nX: a\rb", Trailer),
    ("0\r\n\rx", Trailer),
];
