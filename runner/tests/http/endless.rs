//! Servers that never stop: each gets a named outcome before long, or is let go on without that
//! anything grows.

use loadtest_runner::http::{
    MAX_HEAD_BYTES, Progress,
    ProtocolError::{self, *},
    ResponseParser,
};

/// Feeds `begin`, then `again` for ever in pieces of `size` bytes, until the parser has had enough.
/// Returns how many bytes that took, and why.
fn endure(begin: &str, again: &str, size: usize) -> (usize, ProtocolError) {
    let mut parser = ResponseParser::new();
    let mut fed = begin.len();
    let mut result = parser.feed(begin.as_bytes(), |_| ());
    let mut input = again.bytes().cycle();
    loop {
        assert!(parser.held_bytes() < 2 * MAX_HEAD_BYTES);
        match result {
            Ok(progress) => assert_eq!(progress, Progress::NeedMore),
            Err(error) => {
                assert_eq!(parser.held_bytes(), 0, "nothing is kept of it");
                return (fed, error);
            }
        }
        let piece: Vec<u8> = input.by_ref().take(size).collect();
        fed += size;
        assert!(fed < 1 << 20, "{begin:?} goes on for ever");
        result = parser.feed(&piece, |_| ());
    }
}

#[test]
fn what_has_no_end_is_refused_by_its_name() {
    const CHUNKED: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let last_chunk = format!("{CHUNKED}3\r\nabc\r\n0\r\n");
    let extension = format!("{CHUNKED}3;");
    let cases = [
        ("HTTP/1.1 200 ", "reason ", HeadTooLarge),
        ("HTTP/1.1 200 OK\r\n", "name-", HeadTooLarge),
        ("HTTP/1.1 200 OK\r\nX: ", "value ", HeadTooLarge),
        ("HTTP/1.1 200 OK\r\nX: ", "\t", HeadTooLarge),
        ("HTTP/1.1 200 OK\r\n", "X: y\r\n", TooManyHeaders),
        (
            "",
            "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n",
            TooManyInterimResponses,
        ),
        (CHUNKED, "0", ChunkExtensionTooLong),
        ("", "\0", NotHttp),
        (&extension, "x=y;", ChunkExtensionTooLong),
        (&last_chunk, "X: y\r\n", TrailersTooLarge),
        (&last_chunk, "long-", TrailersTooLarge),
    ];
    for (begin, again, error) in cases {
        for size in [61, 4096, 64 << 10] {
            let (fed, seen) = endure(begin, again, size);
            assert_eq!(seen, error, "{begin:?} and {again:?} in pieces of {size}");
            assert!(fed <= begin.len() + MAX_HEAD_BYTES + size, "{fed} bytes");
        }
    }
}

/// A body may be endless; what ends it is the request's timeout.
#[test]
fn endless_bodies_take_no_memory_and_are_never_over() {
    let block = vec![b'x'; 64 << 10];
    let chunk = [b"10000\r\n".to_vec(), block.clone(), b"\r\n".to_vec()].concat();
    let tiny = b"1\r\nx\r\n".repeat(4096);
    let length = format!("Content-Length: {}", u64::MAX);
    let largest = "Transfer-Encoding: chunked\r\n\r\nffffffffffffffff;x";
    for (lines, piece, data, closed) in [
        (length.as_str(), &block, 64 << 10, Err(TruncatedBody)),
        (
            "Transfer-Encoding: chunked",
            &chunk,
            64 << 10,
            Err(TruncatedBody),
        ),
        (
            "Transfer-Encoding: chunked",
            &tiny,
            4096,
            Err(TruncatedBody),
        ),
        (largest, &block, 64 << 10, Err(TruncatedBody)),
        ("Server: x", &block, 64 << 10, Ok(())),
    ] {
        let end = if lines == largest { "\r\n" } else { "\r\n\r\n" };
        let head = format!("HTTP/1.1 200 OK\r\n{lines}{end}");
        let mut parser = ResponseParser::new();
        assert_eq!(parser.feed(head.as_bytes(), |_| ()), Ok(Progress::NeedMore));
        for _ in 0..256 {
            assert_eq!(parser.feed(piece, |_| ()), Ok(Progress::NeedMore));
            assert_eq!(parser.held_bytes(), 0);
        }
        assert_eq!(parser.body_bytes(), 256 * data, "{lines}");
        assert_eq!(parser.end_of_stream(), closed, "{lines}");
    }
}
