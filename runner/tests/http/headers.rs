//! What can be read of a head besides its end, and that nothing is kept of it unasked.

use loadtest_runner::http::{ContentEncoding, HeadMemory, Keep, Progress, ResponseParser};

const REDIRECT: &[u8] = b"HTTP/1.1 302 Found\r\nLOCATION:\t/next?a=b \r\nX-Empty:\r\n\
    Set-Cookie: a=1; Path=/\r\nset-cookie: b=\"x:y\"\r\nContent-Length: 2\r\n\r\nok";

const COOKIES: Keep = Keep {
    cookies: true,
    ..Keep::NOTHING
};
const LOCATION: Keep = Keep {
    location: true,
    ..Keep::NOTHING
};
const ALL: Keep = Keep {
    all: true,
    ..Keep::NOTHING
};

/// The headers that are kept of a response that comes in pieces of `size`.
fn kept(input: &[u8], keep: Keep, size: usize) -> Vec<(String, String)> {
    let mut parser = ResponseParser::new();
    parser.reset_keeping(false, keep);
    let mut progress = Progress::NeedMore;
    for piece in input.chunks(size) {
        assert_eq!(progress, Progress::NeedMore);
        progress = parser.feed(piece, |_| ()).expect("a response");
    }
    assert!(matches!(progress, Progress::Done { .. }));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    parser
        .headers()
        .map(|(name, value)| (text(name), text(value)))
        .collect()
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

#[test]
fn kept_headers_are_read_in_order_however_they_came() {
    let expected = pairs(&[
        ("LOCATION", "/next?a=b"),
        ("X-Empty", ""),
        ("Set-Cookie", "a=1; Path=/"),
        ("set-cookie", "b=\"x:y\""),
        ("Content-Length", "2"),
    ]);
    let interim = b"HTTP/1.1 103 x\r\nSet-Cookie: early=1\r\nLink: </a>\r\n\r\n".to_vec();
    let after_interim = [interim, REDIRECT.to_vec()].concat();
    let bare_line_feeds: Vec<u8> = REDIRECT.iter().copied().filter(|b| *b != b'\r').collect();
    for size in [1, 7, 50, 1000] {
        for keep in [ALL, COOKIES, LOCATION] {
            assert_eq!(kept(REDIRECT, keep, size), expected);
            assert_eq!(kept(&after_interim, keep, size), expected);
            assert_eq!(kept(&bare_line_feeds, keep, size), expected);
        }
    }
}

#[test]
fn heads_are_kept_only_for_what_was_asked() {
    let plain: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    let created: &[u8] = b"HTTP/1.1 201 x\r\nLocation: /1\r\nContent-Length: 0\r\n\r\n";
    let cases: [(&[u8], Keep, bool); 7] = [
        (REDIRECT, Keep::NOTHING, false),
        (plain, Keep::NOTHING, false),
        (plain, COOKIES, false),
        (plain, LOCATION, false),
        (plain, ALL, true),
        (created, LOCATION, false), // names what was made, and is no redirection
        (created, ALL, true),
    ];
    for (input, keep, is_kept) in cases {
        for size in [1, 1000] {
            assert_eq!(!kept(input, keep, size).is_empty(), is_kept, "{keep:?}");
        }
    }
}

#[test]
fn a_kept_head_is_gone_with_the_next_reset_and_only_a_small_one_holds_memory() {
    let mut parser = ResponseParser::new();
    let mut memory = HeadMemory::new();
    for _ in 0..3 {
        // From the memory the second time: it is kept all the same.
        parser.reset_keeping(false, COOKIES);
        assert!(
            parser
                .feed_remembering(REDIRECT, Some(&mut memory), |_| ())
                .is_ok()
        );
        let cookies: Vec<&[u8]> = parser.headers().named("set-cookie").collect();
        assert_eq!(cookies, [b"a=1; Path=/".as_slice(), b"b=\"x:y\""]);
        assert_eq!(parser.headers().named("location").count(), 1);
        assert_eq!(parser.headers().named("locatio").count(), 0);
    }
    assert!(parser.held_bytes() >= REDIRECT.len() - 2);
    parser.reset_keeping(false, COOKIES);
    assert_eq!(parser.headers().count(), 0);

    let large = format!(
        "HTTP/1.1 204 x\r\nSet-Cookie: {}\r\n\r\n",
        "c".repeat(30 << 10)
    );
    assert!(parser.feed(large.as_bytes(), |_| ()).is_ok());
    assert!(parser.held_bytes() > 30 << 10);
    parser.reset_keeping(false, COOKIES);
    assert_eq!(parser.held_bytes(), 0);

    // An error leaves nothing behind either.
    assert!(parser.feed(b"HTTP/1.1 200 OK\r\nSet-Coo", |_| ()).is_ok());
    assert!(parser.feed(b"kie\r\n", |_| ()).is_err());
    assert_eq!((parser.headers().count(), parser.held_bytes()), (0, 0));
}

#[test]
fn the_coding_of_the_body_is_named() {
    use ContentEncoding::{Brotli, Deflate, Gzip, Identity, Other};
    for (lines, expected) in [
        ("", Identity),
        ("Content-Encoding:\r\n", Identity),
        ("Content-Encoding: identity\r\n", Identity),
        ("content-encoding: GZip\r\n", Gzip),
        ("Content-Encoding: x-gzip\r\n", Gzip),
        ("Content-Encoding: ,deflate,\r\n", Deflate),
        ("Content-Encoding: br\r\n", Brotli),
        ("Content-Encoding: identity, br\r\n", Brotli),
        ("Content-Encoding: zstd\r\n", Other),
        ("Content-Encoding: gzip, gzip\r\n", Other),
        ("Content-Encoding: gzip\r\nContent-Encoding: br\r\n", Other),
    ] {
        let input = format!("HTTP/1.1 200 OK\r\n{lines}Content-Length: 0\r\n\r\n");
        let mut parser = ResponseParser::new();
        assert!(parser.feed(input.as_bytes(), |_| ()).is_ok());
        assert_eq!(parser.content_encoding(), expected, "{lines:?}");
        parser.reset(false);
        assert_eq!(parser.content_encoding(), Identity);
    }
}
