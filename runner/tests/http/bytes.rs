//! Every byte in every place of a reason, a name and a value: the parser looks at eight together,
//! RFC 9112 speaks of one.

use loadtest_runner::http::ProtocolError::{self, *};

use crate::outcome;

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// What comes of a head in which `byte` stands between `before` and `after` of its line.
fn with(before: &str, byte: u8, after: &str) -> Result<Option<usize>, ProtocolError> {
    let input = [
        before.as_bytes(),
        &[byte],
        after.as_bytes(),
        b"\r\nContent-Length: 0\r\n\r\n",
    ]
    .concat();
    let end = outcome::of(&input).end;
    if end.is_ok() {
        assert_eq!(end, Ok(Some(input.len())), "{before:?} {byte:#x} {after:?}");
    }
    end
}

#[test]
fn every_byte_is_refused_where_it_must_not_be_and_only_there() {
    // A line feed ends a line, also without a carriage return: `table` has it.
    for byte in (0..=u8::MAX).filter(|byte| *byte != b'\n') {
        let is_text = matches!(byte, b'\t' | b' '..=0x7e | 0x80..);
        for place in 0..20 {
            let (before, after) = ("a".repeat(place), "-".repeat(19 - place));
            let name_error = match byte {
                b':' => (place == 0).then_some(HeaderName), // the name is shorter, unless empty
                b' ' | b'\t' if place == 0 => Some(FoldedHeader),
                b'\r' if place == 0 => Some(LineEnd),
                _ if is_token(byte) => None,
                _ => Some(HeaderName),
            };
            let cases = [
                (
                    format!("HTTP/1.1 200 {before}"),
                    format!("{after}: x"),
                    (!is_text).then_some(StatusLine),
                ),
                (
                    format!("HTTP/1.1 200 OK\r\nX: {before}"),
                    format!("{after}: x"),
                    (!is_text).then_some(HeaderValue),
                ),
                (
                    format!("HTTP/1.1 200 OK\r\n{before}"),
                    format!("{after}: x"),
                    name_error,
                ),
            ];
            for (before, after, error) in cases {
                let seen = with(&before, byte, &after);
                assert_eq!(seen.err(), error, "{before:?} {byte:#x} {after:?}");
            }
        }
    }
}
