//! What each kind of response comes to.

use loadtest_runner::http::{
    MAX_HEAD_BYTES, MAX_HEADERS, Progress,
    ProtocolError::{self, *},
    ResponseParser,
};

use crate::outcome::{self, Outcome};

fn head(lines: &str) -> String {
    format!("HTTP/1.1 200 OK\r\n{lines}\r\n")
}

fn chunked(body: &str) -> String {
    head("Transfer-Encoding: chunked\r\n") + body
}

/// Input, status, body, reusable.
fn well_formed() -> Vec<(String, u16, &'static str, bool)> {
    let cases: Vec<(&str, u16, &str, bool)> = vec![
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
    let mut cases: Vec<(String, u16, &str, bool)> = cases
        .into_iter()
        .map(|(input, a, b, c)| (input.to_owned(), a, b, c))
        .collect();
    for (body, expected) in [
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
    ] {
        cases.push((chunked(body), 200, expected, true));
    }
    cases.push((
        head("Transfer-Encoding: ,chunked,\r\n") + "0\r\n\r\n",
        200,
        "",
        true,
    ));
    cases
}

#[test]
fn well_formed_responses_end_where_they_should() {
    for (input, status, body, keep_alive) in well_formed() {
        let expected = Outcome {
            end: Ok(Some(input.len())),
            closed: Ok(()),
            status,
            body: body.into(),
            keep_alive,
        };
        assert_eq!(outcome::of(input.as_bytes()), expected, "{input:?}");

        // What follows the end is not part of it, and spoils the connection.
        let longer = input.clone() + "HTTP/1.1 200 OK\r\n";
        let expected = Outcome {
            keep_alive: false,
            ..expected
        };
        assert_eq!(outcome::of(longer.as_bytes()), expected, "{longer:?}");
    }
}

#[test]
fn every_prefix_of_a_response_needs_more_and_closing_there_is_an_error() {
    for (input, ..) in well_formed() {
        for cut in 0..input.len() {
            let seen = outcome::of(&input.as_bytes()[..cut]);
            assert_eq!(seen.end, Ok(None), "{cut} bytes of {input:?}");
            assert!(!seen.keep_alive);
            let error = seen.closed.expect_err("closed too early");
            match error {
                ClosedBeforeResponse => assert_eq!(cut, 0),
                TruncatedHead => assert_eq!(seen.status, 0),
                TruncatedBody => assert_ne!(seen.status, 0),
                other => panic!("{other:?} for {cut} bytes of {input:?}"),
            }
        }
    }
}

#[test]
fn a_body_without_a_length_ends_when_the_server_closes() {
    for input in [
        "HTTP/1.1 200 OK\r\n\r\nabc",
        "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\r\nabc",
    ] {
        let seen = outcome::of(input.as_bytes());
        assert_eq!(seen.end, Ok(None));
        assert_eq!(seen.closed, Ok(()));
        assert_eq!(
            (seen.status, seen.body.as_slice()),
            (200, b"abc".as_slice())
        );
        assert!(!seen.keep_alive);
    }
}

#[test]
fn the_answer_to_head_has_no_body() {
    for lines in [
        "Content-Length: 100\r\n",
        "Transfer-Encoding: chunked\r\n",
        "",
        "Content-Length: 1\r\nContent-Length: 2\r\n",
    ] {
        let input = head(lines);
        let seen = outcome::of_pieces(true, [input.as_bytes()]);
        assert_eq!(seen.end, Ok(Some(input.len())), "{lines:?}");
        assert!(seen.keep_alive);
    }
}

#[test]
fn every_malformation_is_refused_by_its_name() {
    let framing = |lines: &str| head(lines) + "0\r\n\r\n";
    let many_headers = "X: y\r\n".repeat(MAX_HEADERS + 1);
    let long_header = format!("X: {}\r\n", "y".repeat(MAX_HEAD_BYTES));
    let many_trailers = format!("0\r\n{}\r\n", "X: y\r\n".repeat(65));
    let long_trailer = format!("0\r\nX: {}\r\n\r\n", "y".repeat(MAX_HEAD_BYTES));
    let long_extension = format!("5;{}\r\nhello\r\n", "x".repeat(16 << 10));
    let many_zeros = format!("{}5\r\nhello\r\n", "0".repeat(16 << 10));
    let cases: Vec<(String, ProtocolError)> = vec![
        ("SSH-2.0-OpenSSH_9.2\r\n".into(), NotHttp),
        ("x".into(), NotHttp),
        ("\x16\x03\x01\x02\x00".into(), NotHttp),
        ("\r\nHTTP/1.1 200 OK\r\n\r\n".into(), NotHttp),
        ("http/1.1 200 OK\r\n\r\n".into(), NotHttp),
        ("HTTP/2.0 200 OK\r\n\r\n".into(), Version),
        ("HTTP/0.9 200 OK\r\n\r\n".into(), Version),
        ("HTTP/1.2 200 OK\r\n\r\n".into(), Version),
        ("HTTP/1.1\t200 OK\r\n\r\n".into(), StatusLine),
        ("HTTP/1.1 20 OK\r\n\r\n".into(), StatusLine),
        ("HTTP/1.1 2000 OK\r\n\r\n".into(), StatusLine),
        ("HTTP/1.1 2x0 OK\r\n\r\n".into(), StatusLine),
        ("HTTP/1.1 099 OK\r\n\r\n".into(), StatusLine),
        ("HTTP/1.1 200 O\0K\r\n\r\n".into(), StatusLine),
        ("HTTP/1.1 200 OK\rX: y\r\n\r\n".into(), StatusLine),
        (head("no colon\r\n"), HeaderName),
        (head(": no name\r\n"), HeaderName),
        (head("Space : x\r\n"), HeaderName),
        (head("X: y\r\nB\u{e9}d: x\r\n"), HeaderName),
        (head("X: a\0b\r\n"), HeaderValue),
        (head("X: a\rb\r\n"), HeaderValue),
        (head("X: y\r\n\rX"), LineEnd),
        (head("X: a\r\n b\r\n"), FoldedHeader),
        (head("X: a\r\n\tb\r\n"), FoldedHeader),
        (head(" X: a\r\n"), FoldedHeader),
        (head(&many_headers), TooManyHeaders),
        (head(&long_header), HeadTooLarge),
        (framing("Content-Length: five\r\n"), ContentLength),
        (framing("Content-Length: -5\r\n"), ContentLength),
        (framing("Content-Length: +5\r\n"), ContentLength),
        (framing("Content-Length: 0x5\r\n"), ContentLength),
        (framing("Content-Length: 5 5\r\n"), ContentLength),
        (framing("Content-Length: 5,\r\n"), ContentLength),
        (framing("Content-Length:\r\n"), ContentLength),
        (
            framing("Content-Length: 18446744073709551616\r\n"),
            ContentLength,
        ),
        (
            framing("Content-Length: 5\r\nContent-Length: 6\r\n"),
            ConflictingContentLengths,
        ),
        (
            framing("Content-Length: 5, 6\r\n"),
            ConflictingContentLengths,
        ),
        (
            framing("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"),
            ContentLengthWithTransferEncoding,
        ),
        (
            framing("Transfer-Encoding: identity\r\nContent-Length: 5\r\n"),
            ContentLengthWithTransferEncoding,
        ),
        (framing("Transfer-Encoding: gzip\r\n"), TransferCoding),
        (
            framing("Transfer-Encoding: gzip, chunked\r\n"),
            TransferCoding,
        ),
        (
            framing("Transfer-Encoding: chunked, gzip\r\n"),
            TransferCoding,
        ),
        (
            framing("Transfer-Encoding: chunked, chunked\r\n"),
            TransferCoding,
        ),
        (
            framing("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"),
            TransferCoding,
        ),
        (framing("Transfer-Encoding: xchunked\r\n"), TransferCoding),
        (framing("Transfer-Encoding:\r\n"), TransferCoding),
        (
            "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".into(),
            TransferEncodingInHttp10,
        ),
        (
            "HTTP/1.1 101 Switching Protocols\r\n\r\n".into(),
            SwitchedProtocols,
        ),
        (
            "HTTP/1.1 100 Continue\r\n\r\n".repeat(33),
            TooManyInterimResponses,
        ),
        (chunked("\r\n"), ChunkSize),
        (chunked("x\r\n"), ChunkSize),
        (chunked("-5\r\n"), ChunkSize),
        (chunked(" 5\r\n"), ChunkSize),
        (chunked("5\nhello"), ChunkSize),
        (chunked("5\rhello"), ChunkSize),
        (chunked("5 5\r\n"), ChunkSize),
        (chunked("5;x\nhello"), ChunkSize),
        (chunked("10000000000000000\r\n"), ChunkSize),
        (chunked(&long_extension), ChunkExtensionTooLong),
        (chunked(&many_zeros), ChunkExtensionTooLong),
        (chunked("5\r\nhello!\r\n"), ChunkEnd),
        (chunked("5\r\nhello\n"), ChunkEnd),
        (chunked("5\r\nhello\rx"), ChunkEnd),
        (chunked("0\r\nno colon\r\n\r\n"), Trailer),
        (chunked("0\r\n: x\r\n\r\n"), Trailer),
        (chunked("0\r\nX: a\r\n b\r\n\r\n"), Trailer),
        (chunked("0\r\nX: a\n\r\n"), Trailer),
        (chunked("0\r\nX: a\rb"), Trailer),
        (chunked("0\r\n\rx"), Trailer),
        (chunked(&many_trailers), TrailersTooLarge),
        (chunked(&long_trailer), TrailersTooLarge),
    ];
    for (input, error) in cases {
        let seen = outcome::of(input.as_bytes());
        assert_eq!(seen.end, Err(error), "{:?}", &input[..input.len().min(120)]);
        assert_eq!(seen.closed, Err(error), "the error stays");
        assert!(!seen.keep_alive);
    }
}

#[test]
fn the_limits_themselves_are_allowed() {
    let headers = head(&("X: y\r\n".repeat(MAX_HEADERS - 1) + "Content-Length: 0\r\n"));
    assert_eq!(outcome::of(headers.as_bytes()).end, Ok(Some(headers.len())));

    let padding = MAX_HEAD_BYTES - head("Content-Length: 3\r\nX: \r\n").len();
    let longest = head(&format!(
        "Content-Length: 3\r\nX: {}\r\n",
        "y".repeat(padding)
    ));
    assert_eq!(longest.len(), MAX_HEAD_BYTES);
    let input = longest + "abc";
    assert_eq!(outcome::of(input.as_bytes()).end, Ok(Some(input.len())));

    let interim = "HTTP/1.1 100 Continue\r\n\r\n".repeat(32) + "HTTP/1.1 204 x\r\n\r\n";
    assert_eq!(outcome::of(interim.as_bytes()).end, Ok(Some(interim.len())));

    let chunk = chunked("ffffffffffffffff\r\nabc");
    assert_eq!(outcome::of(chunk.as_bytes()).closed, Err(TruncatedBody));
}

#[test]
fn one_parser_serves_a_connection() {
    let mut parser = ResponseParser::new();
    assert!(!parser.started());
    assert_eq!(parser.end_of_stream(), Err(ClosedBeforeResponse));

    parser.reset(false);
    assert_eq!(parser.feed(b"", |_| ()), Ok(Progress::NeedMore));
    assert!(!parser.started(), "no byte, no start");
    assert_eq!(parser.feed(b"H", |_| ()), Ok(Progress::NeedMore));
    assert!(parser.started());
    let rest = b"TTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc";
    let mut body = Vec::new();
    let progress = parser.feed(rest, |part| body.extend_from_slice(part));
    assert_eq!(
        progress,
        Ok(Progress::Done {
            consumed: rest.len()
        })
    );
    assert_eq!(
        (parser.status(), parser.body_bytes(), body),
        (200, 3, b"abc".to_vec())
    );
    assert!(parser.keep_alive());

    parser.reset(true);
    assert_eq!(
        (parser.status(), parser.body_bytes(), parser.started()),
        (0, 0, false)
    );
    assert!(
        !parser.keep_alive(),
        "nothing is known of a response that has not come"
    );
    let head = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n";
    assert_eq!(
        parser.feed(head, |_| ()),
        Ok(Progress::Done {
            consumed: head.len()
        })
    );
    assert!(parser.keep_alive());
    // The server has nothing to say now.
    assert_eq!(
        parser.feed(b"x", |_| ()),
        Ok(Progress::Done { consumed: 0 })
    );
    assert!(!parser.keep_alive());

    parser.reset(false);
    assert_eq!(parser.feed(b"garbage", |_| ()), Err(NotHttp));
    assert_eq!(parser.feed(head, |_| ()), Err(NotHttp), "until it is reset");
    parser.reset(false);
    assert_eq!(parser.feed(head, |_| ()), Ok(Progress::NeedMore));
}

#[test]
fn a_parser_is_small() {
    // Each user of a test has one: 4 KiB per user is the goal for everything.
    assert!(
        size_of::<ResponseParser>() <= 96,
        "{}",
        size_of::<ResponseParser>()
    );
}
