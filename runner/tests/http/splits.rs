//! The codec's law: any split of the input gives the same result.

use loadtest_runner::http::HeadMemory;
use proptest::prelude::*;

use crate::{
    outcome,
    samples::{BAD, GOOD},
};

/// Cuts `input` at the given places.
fn pieces<'a>(input: &'a [u8], cuts: &[prop::sample::Index]) -> Vec<&'a [u8]> {
    let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(input.len() + 1)).collect();
    places.extend([0, input.len()]);
    places.sort_unstable();
    places
        .windows(2)
        .map(|pair| &input[pair[0]..pair[1]])
        .collect()
}

/// Lines that matter, in orders that may not.
fn any_response() -> impl Strategy<Value = Vec<u8>> {
    let status = prop::sample::select(vec![
        "HTTP/1.1 200 OK\r\n",
        "HTTP/1.0 200 OK\r\n",
        "HTTP/1.1 204 x\r\n",
        "HTTP/1.1 304 x\r\n",
        "HTTP/1.1 100 x\r\n\r\nHTTP/1.1 200 OK\r\n",
        "HTTP/1.1 101 x\r\n",
        "HTTP/1.1 2x0 x\r\n",
        "HTTP/1.1 200 OK\n",
    ]);
    let header = prop::sample::select(vec![
        "Content-Length: 10\r\n",
        "Content-Length: 3, 3\r\n",
        "content-length: 11\r\n",
        "Transfer-Encoding: chunked\r\n",
        "Transfer-Encoding: gzip\r\n",
        "Connection: close\r\n",
        "Connection: keep-alive\r\n",
        "X-Header: value\r\n",
        "X-Empty:\r\n",
        " folded\r\n",
        "bad name: x\r\n",
        "\rX",
        "X: \0\r\n",
    ]);
    let body = prop::sample::select(vec![
        "",
        "0123456789",
        "3\r\nabc\r\n0\r\n\r\n",
        "3;x=y\r\nabc\r\n10\r\n0123456789abcdef\r\n0\r\nT: x\r\n\r\n",
        "3\r\nabcd\r\n",
        "z\r\n",
        "0\r\nT\r\n",
    ]);
    (
        status,
        prop::collection::vec(header, 0..5),
        prop::collection::vec(body, 1..3),
    )
        .prop_map(|(status, headers, body)| {
            format!("{status}{}\r\n{}", headers.concat(), body.concat()).into_bytes()
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn any_split_gives_the_same_result(
        input in any_response(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
        head_request in any::<bool>(),
    ) {
        let whole = outcome::of_pieces(head_request, [input.as_slice()]);
        prop_assert_eq!(outcome::of_pieces(head_request, pieces(&input, &cuts)), whole.clone());
        prop_assert_eq!(outcome::of_pieces(head_request, input.chunks(1)), whole.clone());

        // The second time the head is known, if it comes in one piece; the third it is another.
        let mut memory = HeadMemory::new();
        for head_request in [head_request, head_request, !head_request] {
            let plain = outcome::of_pieces(head_request, pieces(&input, &cuts));
            let seen = outcome::remembering(head_request, pieces(&input, &cuts), &mut memory);
            prop_assert_eq!(seen, plain);
        }
    }
}

#[test]
fn every_split_in_two_of_the_samples_gives_the_same_result() {
    for input in GOOD.iter().chain(BAD).map(|input| input.as_bytes()) {
        let whole = outcome::of(input);
        for cut in 0..=input.len() {
            let (a, b) = input.split_at(cut);
            assert_eq!(outcome::of_pieces(false, [a, b]), whole, "cut at {cut}");
        }
        for size in 1..8 {
            assert_eq!(
                outcome::of_pieces(false, input.chunks(size)),
                whole,
                "pieces of {size}"
            );
        }
    }
}

#[test]
fn the_limits_hold_however_the_input_is_cut() {
    let long = format!("HTTP/1.1 200 OK\r\nX: {}\r\n\0", "y".repeat(40 << 10));
    let whole = outcome::of(long.as_bytes());
    assert_eq!(
        whole.end,
        Err(loadtest_runner::http::ProtocolError::HeadTooLarge)
    );
    for size in [1 << 10, 4_097, 32 << 10, (32 << 10) + 1] {
        assert_eq!(
            outcome::of_pieces(false, long.as_bytes().chunks(size)),
            whole
        );
    }
}
