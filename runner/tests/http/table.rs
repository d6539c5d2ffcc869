//! What each kind of response comes to.

use loadtest_runner::http::{
    MAX_HEAD_BYTES, MAX_HEADERS, Progress,
    ProtocolError::{self, *},
    ResponseParser,
};

use crate::{
    cases::{
        MALFORMED, MALFORMED_CHUNKS, MALFORMED_FRAMING, MALFORMED_HEADERS, WELL_FORMED,
        WELL_FORMED_CHUNKS,
    },
    outcome::{self, Outcome},
};

fn head(lines: &str) -> String {
    format!("HTTP/1.1 200 OK\r\n{lines}\r\n")
}

fn chunked(body: &str) -> String {
    head("Transfer-Encoding: chunked\r\n") + body
}

/// Input, status, body, reusable.
fn well_formed() -> Vec<(String, u16, &'static str, bool)> {
    let whole = WELL_FORMED
        .iter()
        .map(|(input, status, body, keep_alive)| ((*input).into(), *status, *body, *keep_alive));
    let in_chunks = WELL_FORMED_CHUNKS
        .iter()
        .map(|(body, expected)| (chunked(body), 200, *expected, true));
    let empty_items = head("Transfer-Encoding: ,chunked,\r\n") + "0\r\n\r\n";
    whole
        .chain(in_chunks)
        .chain([(empty_items, 200, "", true)])
        .collect()
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
    let mut cases: Vec<(String, ProtocolError)> = vec![
        (head(&many_headers), TooManyHeaders),
        (head(&long_header), HeadTooLarge),
        (
            "HTTP/1.1 100 Continue\r\n\r\n".repeat(33),
            TooManyInterimResponses,
        ),
        (chunked(&long_extension), ChunkExtensionTooLong),
        (chunked(&many_zeros), ChunkExtensionTooLong),
        (chunked(&many_trailers), TrailersTooLarge),
        (chunked(&long_trailer), TrailersTooLarge),
    ];
    cases.extend(
        MALFORMED
            .iter()
            .map(|(input, error)| ((*input).to_owned(), *error)),
    );
    cases.extend(
        MALFORMED_HEADERS
            .iter()
            .map(|(lines, error)| (head(lines), *error)),
    );
    cases.extend(
        MALFORMED_FRAMING
            .iter()
            .map(|(lines, error)| (framing(lines), *error)),
    );
    cases.extend(
        MALFORMED_CHUNKS
            .iter()
            .map(|(body, error)| (chunked(body), *error)),
    );
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
