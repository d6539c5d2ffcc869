//! hyper's client reads the same bytes: where both take a response, both see the same one.

use http_body_util::{BodyExt, Empty};
use hyper::{Method, Request, body::Bytes};
use hyper_util::rt::TokioIo;
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{outcome, samples::GOOD};

/// Status and body as hyper sees them when a server answers so and closes.
async fn by_hyper(head_request: bool, answer: &[u8]) -> Result<(u16, Vec<u8>), String> {
    let (client, mut server) = tokio::io::duplex(1 << 20);
    let serve = async {
        let mut request = [0u8; 1024];
        let mut seen = 0;
        while !request[..seen].ends_with(b"\r\n\r\n") {
            seen += server
                .read(&mut request[seen..])
                .await
                .expect("the request arrives");
        }
        server.write_all(answer).await.expect("the answer fits");
        drop(server);
    };
    let ask = async {
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(client)).await?;
        let request = Request::builder()
            .method(if head_request {
                Method::HEAD
            } else {
                Method::GET
            })
            .uri("/")
            .header("host", "localhost")
            .body(Empty::<Bytes>::new())
            .expect("a request");
        let read = async {
            let response = sender.send_request(request).await?;
            let status = response.status().as_u16();
            let body = response.into_body().collect().await?.to_bytes().to_vec();
            Ok::<_, hyper::Error>((status, body))
        };
        // The connection moves the bytes; it ends after the response or with it.
        let (read, _) = tokio::join!(read, connection);
        read
    };
    let (seen, ()) = tokio::join!(ask, serve);
    seen.map_err(|error| error.to_string())
}

fn compare(head_request: bool, answer: &[u8]) -> Result<(), TestCaseError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    let theirs = runtime.block_on(by_hyper(head_request, answer));
    let ours = outcome::of_pieces(head_request, [answer]);
    prop_assert_eq!(ours.closed, Ok(()), "a generated response is well-formed");
    prop_assert_eq!(theirs, Ok((ours.status, ours.body)));
    Ok(())
}

#[derive(Debug, Clone, Copy)]
enum Framed {
    Length,
    Chunks,
    Close,
}

fn framed(framed: Framed, sizes: &[usize], body: &[u8], trailers: bool) -> (String, Vec<u8>) {
    match framed {
        Framed::Length => (format!("Content-Length: {}\r\n", body.len()), body.to_vec()),
        Framed::Close => (String::new(), body.to_vec()),
        Framed::Chunks => {
            let mut out = Vec::new();
            let mut rest = body;
            for size in sizes.iter().chain([&body.len()]) {
                let (data, after) = rest.split_at((*size).min(rest.len()));
                rest = after;
                if !data.is_empty() {
                    let extension = if size % 3 == 0 { ";a=b" } else { "" };
                    out.extend_from_slice(format!("{:x}{extension}\r\n", data.len()).as_bytes());
                    out.extend_from_slice(data);
                    out.extend_from_slice(b"\r\n");
                }
            }
            out.extend_from_slice(if trailers {
                b"0\r\nT: x\r\n\r\n"
            } else {
                b"0\r\n\r\n"
            });
            ("Transfer-Encoding: chunked\r\n".into(), out)
        }
    }
}

fn a_header() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("Connection: keep-alive\r\n".to_owned()),
        Just("Connection: close\r\n".to_owned()),
        ("X-[A-Za-z0-9_.~!-]{0,20}", "[ -~]{0,40}").prop_map(|(k, v)| format!("{k}: {v}\r\n")),
        Just("Set-Cookie: a=b; Path=/; HttpOnly\r\n".to_owned()),
    ]
}

fn a_response() -> impl Strategy<Value = (bool, Vec<u8>)> {
    let framing = prop::sample::select(vec![Framed::Length, Framed::Chunks, Framed::Close]);
    (
        any::<bool>(),
        prop::sample::select(vec![
            200u16, 201, 204, 206, 301, 304, 400, 404, 418, 500, 503, 599,
        ]),
        framing,
        prop::collection::vec(a_header(), 0..12),
        prop::collection::vec(any::<u8>(), 0..3_000),
        prop::collection::vec(1usize..400, 0..6),
        0usize..3,
        any::<bool>(),
    )
        .prop_map(
            |(head_request, status, framing, headers, body, sizes, interim, trailers)| {
                let (line, mut body) = framed(framing, &sizes, &body, trailers);
                if head_request || status == 204 || status == 304 {
                    body.clear();
                }
                let interim = "HTTP/1.1 100 Continue\r\n\r\n".repeat(interim);
                let head = format!(
                    "{interim}HTTP/1.1 {status} Text\r\n{}{line}\r\n",
                    headers.concat()
                );
                (head_request, [head.into_bytes(), body].concat())
            },
        )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn hyper_reads_generated_responses_the_same_way((head_request, answer) in a_response()) {
        compare(head_request, &answer)?;
    }
}

#[test]
fn hyper_reads_the_samples_the_same_way() {
    for answer in GOOD {
        compare(false, answer.as_bytes()).unwrap_or_else(|error| panic!("{answer:?}: {error}"));
    }
}
